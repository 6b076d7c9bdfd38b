"""Third parties' plug-ins of every kind: what is written against ``diorama.plugins`` works, what is broken stops nothing."""

from __future__ import annotations

import contextlib
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from broken_plugins import FAULTS, SAID, another_kind, base_of, first_of, missing
from torch import nn

import diorama
from diorama import plugins
from diorama.cli import program
from diorama.cli.demo import train
from diorama.core import protocol, registry
from diorama.core.errors import Faulty, LeftOut, Unavailable, UsageError
from diorama.core.knobs import knobs_of
from diorama.core.registry import Registry, check_plugin
from diorama.live import catalogue, hub, worker
from diorama.live.hub import Hub
from diorama.record import requests
from diorama.record.setup import chosen_signals
from diorama.record.step import values_of

REGISTRIES = registry.REGISTRIES


@pytest.mark.parametrize("kind", REGISTRIES, ids=lambda kind: kind.kind)
def test_a_broken_plug_in_is_named_and_left_out(kind: Registry, offered: Any) -> None:
    """Whatever a third party's plug-in does when it is loaded, the others stay, and its name tells what is wrong and whose it is."""
    own = dict(kind.items())
    for fault in FAULTS:
        offered(kind, fault.__name__, lambda fault=fault: fault(kind))
    with pytest.warns(LeftOut, match="of mine cannot be used and is left out"):
        assert dict(kind.items()) == own
    assert (set(kind), len(kind)) == (set(own), len(own))
    assert all(plugin.name == name for name, plugin in kind.items())
    assert another_kind(kind).name == "elsewhere"
    assert set(kind.broken) == {fault.__name__ for fault in FAULTS}
    for fault in FAULTS:
        with pytest.raises(Unavailable, match="update or uninstall mine") as told:
            kind[fault.__name__]
        assert SAID.get(fault, "") in str(told.value)


class _Endless(plugins.Finding):
    """Judges for ever, whatever is raised in it."""

    def __call__(self, run: plugins.RunReader) -> list[plugins.Diagnosis]:
        while True:
            with contextlib.suppress(Exception):
                int("no number")


def test_a_finding_that_never_ends_is_ended_and_named(offered: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All others wait for it: after a while it is ended, named and left out, and theirs are told."""
    monkeypatch.setattr("diorama.run._LONGEST", 0.2)
    with diorama.watch(nn.Linear(2, 2), tmp_path / "run"):
        pass
    run = diorama.open(tmp_path / "run")
    before = run.findings()
    offered(registry.findings, "endless", lambda: _Endless)
    with pytest.warns(LeftOut, match=r"'endless' of mine took longer than 0.2 seconds and was ended"):
        assert run.findings() == before
    assert run.findings() == before


@pytest.mark.parametrize("kind", REGISTRIES, ids=lambda kind: kind.kind)
def test_nothing_takes_a_name_that_is_taken(kind: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a class that is registered nor an entry point replaces what is there, unless it is told to; what stays out is named."""
    name = next(iter(kind))
    there, mine = kind[name], type("Mine", (first_of(kind),), {})
    with pytest.raises(UsageError, match="replace=True"):
        kind.register(name, mine)
    assert kind[name] is there
    monkeypatch.setattr(kind, "_hidden", {})
    with pytest.warns(LeftOut, match=f"{name!r} of mine is left out: diorama itself has one of that name"):
        kind._offer(SimpleNamespace(name=name, value="mine:Mine", dist=SimpleNamespace(name="mine")), kind._find())  # type: ignore[arg-type]
    assert kind[name] is there
    assert kind[name] in kind.values()
    assert "of mine" in getattr(diorama, kind.kind, kind).broken[name]
    monkeypatch.setitem(kind._loaded, name, there)
    kind.register(name, mine, replace=True)
    assert kind[name] is mine
    kind.register(name, type("Mine", (first_of(kind),), {}), replace=True)
    with pytest.raises(UsageError, match="a word of letters"):
        kind.register("two words", mine)
    with pytest.warns(LeftOut, match="'two words' of mine is left out: a name is a word of letters"):
        kind._offer(SimpleNamespace(name="two words", value="mine:Mine", dist=SimpleNamespace(name="mine")), kind._find())  # type: ignore[arg-type]
    standing = kind[name]
    with pytest.raises(UsageError, match=rf"its class is the {kind.noun} '{name}' registered by .* \(test_plugins.py, line \d+\) already"):
        kind.register("second", standing)
    assert standing.name == name


@pytest.mark.parametrize("kind", REGISTRIES, ids=lambda kind: kind.kind)
def test_what_comes_later_can_be_chosen(kind: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A knob that offers all of a registry offers also what is registered after the knob was made; so do its check and the page."""
    names = set(kind)
    offering = [
        (plugin, knob.name) for some in REGISTRIES for plugin in some.values() for knob in knobs_of(plugin).values() if names <= {*knob.choices}
    ]
    assert offering or kind not in (registry.methods, registry.projections)
    newcomer = type("Newcomer", (first_of(kind),), {})
    monkeypatch.setitem(kind._loaded, "newcomer", newcomer)
    kind.register("newcomer", newcomer, replace=True)
    for plugin, name in offering:
        assert "newcomer" in knobs_of(plugin)[name].choices, f"{plugin.name}.{name}: write choices=lambda: tuple(sorted(…))"
        assert getattr(plugin(**{name: "newcomer"}), name) == "newcomer"


@pytest.mark.parametrize("kind", REGISTRIES, ids=lambda kind: kind.kind)
def test_own_plug_ins_are_what_third_parties_must_be(kind: Registry) -> None:
    """Each of diorama's own plug-ins passes the check that a third party's must pass, and has the base that is exported."""
    for plugin in kind.values():
        check_plugin(plugin, kind.base)
    assert base_of(kind) in vars(plugins).values()


@pytest.mark.parametrize(("kind", "ask"), [
    (registry.views, diorama.Scene.stream), (registry.derivations, diorama.Scene.derive),
    (registry.methods, diorama.attribute), (registry.commands, diorama.Run.command),
], ids=lambda value: getattr(value, "kind", ""))
def test_no_knob_has_a_name_that_says_something_else_where_it_is_asked_for(kind: Registry, ask: Callable[..., Any]) -> None:
    """A knob that could never be set, as its name is a parameter of the call that asks for the plug-in, is refused by that name."""
    told = inspect.signature(ask).parameters.values()
    words = {one.name for one in told if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)} - {"self", "name", "baseline"}
    assert set(base_of(kind)._asked_with) == words  # type: ignore[attr-defined]
    for word in words:
        mine = type("Mine", (first_of(kind),), {"__annotations__": {word: "str"}, word: plugins.knob("", "One.")})
        assert f"its knob {word} can have no such name" in str(mine.flaw())


@pytest.mark.filterwarnings("ignore:the .* of mine cannot be used")
def test_the_catalogue_names_what_is_broken(offered: Any) -> None:
    """The page's greeting leaves out a view that says the wrong things of itself, and says why."""
    offered(registry.views, "mine", lambda: type("Mine", (registry.views["curves"],), {"rows": 7}))
    offered(registry.views, "other", lambda: type("Mine", (registry.views["curves"],), {"example": {"a": object()}}))
    found = catalogue.describe_installation()
    hello = msgspec.convert({**found, "event": "hello", "runs": ()}, protocol.Hello)
    assert {"mine", "other"}.isdisjoint(view.name for view in hello.views)
    assert any("view 'mine' of mine" in text and "rows" in text for text in hello.broken)
    assert any("view 'other' of mine" in text for text in hello.broken)
    for name in ("mine", "other"):
        assert hub._told(name) == f"the view {name!r} of mine"  # as it is said where it takes its worker with it
        with pytest.raises(Unavailable, match=f"the view {name!r} of mine cannot be used"):
            Hub.view(SimpleNamespace(catalogue=found), name)  # type: ignore[arg-type]
    for room in ("", "attic"):
        with pytest.raises(UsageError, match="write room = 'relate', or another of training, unit, why"):
            registry.views.register("mine_too", type("Mine", (Norms,), {"room": room}))


@pytest.mark.filterwarnings("ignore:the .* of mine cannot be used")
def test_a_training_is_recorded_beside_a_broken_signal(offered: Any) -> None:
    """A third party's signal that does not load is left out of what is recorded, and so is what one gives that cannot be written."""
    told: list[Any] = []
    given: list[dict[str, Any]] = [{"a": 10**400}, {"\ud800": 1.0}, {"a": "x"}]
    assert values_of([lambda step, one=one: one for one in given], None, told.append) == {}  # type: ignore[arg-type]
    assert len(told) == 3
    before = [signal.name for signal in chosen_signals(None)]
    offered(registry.signals, "mine", lambda: missing(registry.signals))
    assert [signal.name for signal in chosen_signals(None)] == before


class Norms(plugins.View):
    """How strong is each layer's weight?"""

    needs = "snapshot"
    room = "training"

    def pictures(self, scene: plugins.Scene, selection: plugins.Selection) -> Iterator[plugins.Picture]:
        """One bar a weight."""
        norms = {name: float(np.linalg.norm(values)) for name, values in scene.parameters().items()}
        bars = plugins.marks.Bars(values=np.array(list(norms.values())), labels=tuple(norms))
        yield self.picture(scene, selection, "Norms", bars, "Each bar is one norm.")


class Doubled(plugins.Method):
    """Twice the input."""

    def attribute(self, look: plugins.Look, x: Any, target: Any) -> Iterator[plugins.Attribution]:
        """One pass."""
        there = look.run(x, target, look.points(x), grad=True)
        yield self.found(look, x, target, 2 * x, there.value)


class Halved(plugins.Signal):
    """Half of the loss."""

    def __call__(self, step: plugins.Step) -> dict[str, Any]:
        """``halved``."""
        return {"halved": float(step.scalars["loss"]) / 2}


class Mark(plugins.Command):
    """Says a word."""

    word: str = plugins.knob("here", "Which word.")

    def apply(self, training: Any) -> plugins.Outcome:
        """Say it."""
        return plugins.Outcome("", self.word, f"said {self.word}")


class Total(plugins.Derivation):
    """The sum of all weights."""

    def cost(self, scene: plugins.Scene) -> plugins.Cost:
        """No pass."""
        return plugins.Cost(0)

    def stages(self, scene: plugins.Scene, begun: Any = None, before: Any = None) -> Iterator[plugins.Stage]:
        """One stage."""
        yield plugins.Stage(sum(float(values.sum()) for values in scene.parameters().values()), 1.0)

    def check(self, scene: plugins.Scene, value: Any) -> None:
        """A number."""
        if not isinstance(value, float):
            raise ValueError("no number")


class Firsts(plugins.Projection):
    """The first columns."""

    def placed(self, rows: Any, dimensions: int, start: Any, begun: Any) -> Iterator[plugins.Placement]:
        """In one stage."""
        yield plugins.Placement(rows[:, :dimensions])


def test_what_is_written_against_the_page_works(offered: Any, tmp_path: Path) -> None:
    """A view, a method, a signal, a command, a derivation and a projection that import ``diorama.plugins`` alone work by their names."""
    for kind, plugin in (
        (registry.views, Norms), (registry.methods, Doubled), (registry.signals, Halved), (registry.commands, Mark),
        (registry.derivations, Total), (registry.projections, Firsts),
    ):
        offered(kind, plugin.__name__.lower(), lambda plugin=plugin: plugin)
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), torch.randn(6, 4)
    with diorama.watch(model, tmp_path / "run", probe=(x, torch.tensor([0, 1, 2, 0, 1, 2]))) as recorder:
        asked = requests.send(tmp_path / "run", "mark", {"word": "there"}, "python")
        for _ in range(12):
            recorder.step(loss=3.0)
    run = diorama.open(tmp_path / "run")
    assert run.series("halved")[1][0] == 1.5
    answer = run.acknowledgement(asked)
    assert answer is not None
    assert "said there" in str(answer)
    scene = diorama.Scene(model, x)
    assert scene.view("norms").title == "Norms"
    assert torch.equal(diorama.attribute(model, x, 0, method="doubled").values, 2 * x)
    made = diorama.methods["integrated_gradients"](baseline="mean")
    told = diorama.attribute(model, x, 0, method="integrated_gradients", baseline="mean")  # the one word that is a knob and a tensor
    assert torch.equal(told.values, diorama.attribute(model, x, 0, method=made).values)
    wanted = sum(float(values.sum()) for values in scene.parameters().values())
    assert scene.derive("total").value == pytest.approx(wanted)
    assert scene.derive("projection", layer="0", method="firsts").value is not None


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> diorama.Run:
    """A short training."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("plugins") / "run"
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    with diorama.watch(model, folder, probe=(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))) as recorder:
        recorder.step(loss=3.0)
    return diorama.open(folder)


def _commanded(run: diorama.Run, folder: Path) -> str:
    """What a training answers to the command, and to its being taken back; what broke off says what stays, and what cannot be taken back
    is in the way of nothing older."""
    model = nn.Linear(2, 2)
    with diorama.watch(model, folder) as recorder:
        asked = [requests.send(folder, name, {}, "python") for name in ("mine", "undo", "undo")]
        recorder.step(loss=1.0)
    done, *said, last = [str(diorama.open(folder).acknowledgement(number)) for number in asked]
    assert "'ok': 1" in done or "whatever it had changed by then stays" in done
    assert "nothing is in force" in last or "undo command=1 tries it again" in last
    return " ".join((done, *said))


def _signalled(run: diorama.Run, folder: Path) -> str:
    """What a training is warned of; it goes on, and the other signals are written."""
    with pytest.warns(RuntimeWarning) as told, diorama.watch(nn.Linear(2, 2), folder) as recorder:
        recorder.step(loss=1.0)
    assert diorama.open(folder).series("loss")[1][0] == 1.0
    return " ".join(str(warning.message) for warning in told)


def _judged(run: diorama.Run, folder: Path) -> str:
    """What the view of the findings says below; the others stay."""
    before, name = len(run.findings()), next(iter(registry.findings))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        note = run.scene().view("findings").note
    assert len(run.findings()) == before
    assert name in dict(registry.findings.items())
    return str(note)


def _demonstrated(run: diorama.Run, folder: Path) -> str:
    train("mine", folder, None, {})
    return ""


USES: dict[str, tuple[type, str, Callable[[diorama.Run, Path], Any]]] = {
    "views": (Norms, "pictures", lambda run, _: run.scene().view("mine")),
    "methods": (Doubled, "attribute", lambda run, _: diorama.attribute(run.scene().model, torch.ones(2, 4), 0, method="mine")),
    "derivations": (Total, "stages", lambda run, _: run.scene().derive("mine").value),
    "projections": (Firsts, "placed", lambda run, _: run.scene().derive("projection", layer="0", method="mine").value),
    "signals": (Halved, "__call__", _signalled),
    "findings": (plugins.Finding, "__call__", _judged),
    "commands": (Mark, "apply", _commanded),
    "demos": (registry.demos["moons"], "examples", _demonstrated),
    "savers": (plugins.Saver, "save", lambda run, folder: run.scene().view("health").save(folder / "picture.mine")),
    "views.fits": (Norms, "fits", lambda run, _: run.scene().view("mine")),
    "views.filmed": (Norms, "filmed", lambda run, _: next(run.scene().view("mine").frames())),
    "methods.fits": (Doubled, "fits", lambda run, _: diorama.attribute(run.scene().model, torch.ones(2, 4), 0, method="mine")),
    "methods.cost": (Doubled, "cost", lambda run, _: run.scene().view("attribution", method="mine")),
    "derivations.fits": (Total, "fits", lambda run, _: run.scene().derive("mine")),
    "derivations.preceding": (Total, "preceding", lambda run, _: run.scene().derive("mine")),
    "derivations.material": (Total, "material", lambda run, _: run.scene().derive("mine")),
    "derivations.cost": (Total, "cost", lambda run, _: run.scene().derive("mine").cost),
    "projections.cost": (Firsts, "cost", lambda run, _: run.scene().derive("projection", layer="0", method="mine").cost),
}
"""What of a plug-in of each kind is called, and how that comes about."""


def _fails(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("no luck")


def _gives(*_: Any, **__: Any) -> Any:
    return 7


def _gives_each(*_: Any, **__: Any) -> Any:
    yield 7


def _gives_nothing(*_: Any, **__: Any) -> Any:
    yield from ()


def _not_plain(*_: Any, **__: Any) -> Any:
    yield plugins.Stage(torch.zeros(3))


def _refused(*_: Any, **__: Any) -> Any:
    yield plugins.Stage({"wrong": 1})


def _unwritten(*_: Any, **__: Any) -> Any:
    return plugins.Outcome("was", torch.ones(1), "changed")  # type: ignore[arg-type]


def _misshapen(self: Any, look: Any, x: Any, target: Any) -> Any:
    yield self.found(look, x, target, x[:, :1], look.target(x, target))


def _misscored(self: Any, look: Any, x: Any, target: Any) -> Any:
    yield self.found(look, x, target, x, look.scores(x))


def _nowhere(self: Any, rows: Any, dimensions: int, *_: Any) -> Any:
    yield plugins.Placement(np.full((len(rows), dimensions), np.nan))


def _undone(*_: Any, **__: Any) -> Any:
    yield plugins.Stage(1.0, "x", 0)  # type: ignore[arg-type]


def _priced(*_: Any, **__: Any) -> Any:
    return plugins.Cost("many")  # type: ignore[arg-type]


def _no_marks(self: Any, scene: plugins.Scene, selection: plugins.Selection) -> Any:
    yield self.picture(scene, selection, "Mine", plugins.marks.Group(children=({"text": "words"},)), "")


def _wrong_field(self: Any, scene: plugins.Scene, selection: plugins.Selection) -> Any:
    columns = (plugins.marks.Column(name="rate", kind="text", texts=(1, 2)),)  # type: ignore[arg-type]
    yield self.picture(scene, selection, "Mine", plugins.marks.Table(columns=columns), 3)


def _no_data(*_: Any, **__: Any) -> Any:
    return {"of": torch.zeros(3)}


def _found(**fields: Any) -> Callable[..., Any]:
    def found(*_: Any) -> Any:
        return [plugins.Diagnosis(**{"finding": "mine", "severity": 0.5, "title": "", "text": "", "evidence": ""} | fields)]

    found.__name__ = f"found_{next(iter(fields))}"
    return found


class _NoWayBack(plugins.Reversal):
    back = _fails


def _no_way_back(*_: Any, **__: Any) -> Any:
    return plugins.Outcome("was", "is", "changed", _NoWayBack())


def _how(*_: Any, **__: Any) -> Any:
    return plugins.Outcome("was", "is", "changed", "how?")  # type: ignore[arg-type]


def _too_few(*_: Any, **__: Any) -> Any:
    yield plugins.Placement(np.zeros((1, 2)))


@pytest.mark.parametrize(
    ("name", "does"),
    [(kind, does) for kind in USES for does in (_fails, _gives, _gives_each) if does is _fails or (kind != "savers" and "." not in kind)]
    + [(kind, _gives) for kind in USES if "." in kind]
    + [(kind, _gives_nothing) for kind in ("methods", "derivations", "projections")]
    + [("derivations", _not_plain), ("derivations", _refused), ("projections", _too_few), ("commands", _unwritten),
       ("views", _no_marks), ("views", _wrong_field), ("derivations.material", _no_data), ("commands", _no_way_back), ("commands", _how),
       ("methods", _misshapen), ("methods", _misscored), ("projections", _nowhere), ("derivations", _undone)]
    + [(f"{kind}.cost", _priced) for kind in ("methods", "derivations", "projections")]
    + [("findings", _found(**wrong)) for wrong in (
        {"finding": "dead_units"},
        {"evidence": 4}, {"severity": 7}, {"title": "\ud800"}, {"view": "nosuch"}, {"keys": ("nothing",)}, {"action": ("freeze", {"layr": "0"})},
    )],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_plug_in_that_fails_at_work_is_named(
    name: str, does: Callable[..., Any], offered: Any, recorded: diorama.Run, tmp_path: Path
) -> None:
    """Where a third party's plug-in raises, or gives what is none of its kind, a person reads which one it was and whose it is."""
    kind: Registry = getattr(registry, name.partition(".")[0])
    base, member, use = USES[name]
    offered(kind, "mine", lambda: type("Mine", (base,), {member: does}))
    try:
        said = str(use(recorded, tmp_path / "run"))
    except Faulty as error:
        said = str(error)
    except plugins.NotApplicable as error:  # of views that hold several
        said = str(error)
    except ZeroDivisionError as error:
        said = program._whose(error)
    assert f"he {kind.noun} 'mine' of mine" in said, said
    assert ("no luck" if does in (_fails, _no_way_back) else "wants mending") in said, said


@pytest.mark.parametrize("on_purpose", [False, True])
def test_who_misuses_a_mark_is_named(on_purpose: bool, offered: Any, recorded: diorama.Run, tmp_path: Path, monkeypatch: Any) -> None:
    """What diorama refuses a third party's view is said to be that one's in Python, on the page and in the log; its own refusal stands as it is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def pictures(*_: Any) -> Any:
        if on_purpose:
            raise plugins.NotApplicable("choose a layer")
        yield plugins.marks.Bars(values=[1, 2], labels=("a", "b"))  # type: ignore[arg-type]

    offered(registry.views, "mine", lambda: type("Mine", (Norms,), {"pictures": pictures, "__module__": __name__}))
    told: list[dict[str, Any]] = []
    worker.run_job(SimpleNamespace(perform=lambda *_: recorded.scene().view("mine")), {}, told.append, lambda: False)  # type: ignore[arg-type]
    by = re.compile(r"the view 'mine' of mine wants mending: Bars\..* in test_plugins\.py, line \d")
    assert [bool(by.search(each["message"])) for each in told] == [not on_purpose], told
    with pytest.raises(plugins.NotApplicable if on_purpose else Faulty) as caught:
        recorded.scene().view("mine")
    assert bool(by.fullmatch(str(caught.value).rstrip("0123456789") + "1")) is not on_purpose


def test_a_demo_that_raises_is_named_in_python(offered: Any, tmp_path: Path) -> None:
    """Whatever a third party's demo raises while it is run, a note says whose it is and where."""

    class Mine(type(registry.demos["moons"]())):  # type: ignore[misc]
        def loss(self, output: Any, y: Any) -> Any:
            raise ZeroDivisionError("no luck")

    offered(registry.demos, "mine", lambda: Mine)
    with pytest.raises(ZeroDivisionError) as caught:
        registry.demos["mine"](pace=0).run(tmp_path / "run", steps=2)
    assert any("raised by the demo 'mine' of mine in test_plugins.py, line" in note for note in caught.value.__notes__)
