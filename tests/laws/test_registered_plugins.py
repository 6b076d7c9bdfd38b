"""What plug-ins that a script or a notebook registers do badly is told as theirs, and stops nothing."""

from __future__ import annotations

import contextlib
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from broken_plugins import first_of
from test_plugins import USES, _fails
from torch import nn

import diorama
from diorama import plugins
from diorama.cli import program
from diorama.core import blame, registry
from diorama.core.errors import Faulty, LeftOut, NotApplicable, NotFound, Unavailable
from diorama.core.knobs import sentence
from diorama.core.registry import Registry
from diorama.derive import work
from diorama.live.worker import run_job
from diorama.views.view import describe

REGISTRIES = registry.REGISTRIES


@pytest.fixture(autouse=True)
def _taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    for kind in REGISTRIES:
        for known in ("_loaded", "_left_out", "_registered"):
            monkeypatch.setattr(kind, known, dict(getattr(kind, known)))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> diorama.Run:
    """A short training."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("registered") / "run"
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    with diorama.watch(model, folder, probe=(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))) as recorder:
        recorder.step(loss=3.0)
    return diorama.open(folder)


@pytest.fixture
def scene() -> diorama.Scene:
    """A small network."""
    torch.manual_seed(0)
    return diorama.Scene(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), torch.randn(12, 4))


@pytest.mark.parametrize("kind", REGISTRIES, ids=lambda kind: kind.kind)
def test_what_is_left_out_is_told_as_whose_it_is(kind: Registry) -> None:
    """The sentence, the advice and the place of the warning are those of whoever registered it; of diorama's own they are diorama's; registering
    it anew takes it in again."""
    mine, own = type("Mine", (first_of(kind),), {}), kind.own[0]
    kind.register("mine", mine)
    assert kind.is_foreign("mine")
    assert not kind.is_foreign(own)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        kind.leave_out("mine", ValueError("no luck"))
        kind.leave_out(own, ImportError("No module named 'elsewhere'"))
        first = kind.broken[own]
        kind.leave_out(own, ValueError("no luck"))
    said = rf"the {kind.noun} 'mine' registered by \S*test_registered_plugins \(test_registered_plugins\.py, line \d+\) cannot be used and is "
    assert re.fullmatch(said + r"left out \(ValueError: no luck\); mend it there and register it again", kind.broken["mine"])
    assert Path(told[0].filename) == Path(__file__)
    assert first.endswith("of diorama cannot be used and is left out (ImportError: No module named 'elsewhere'); install what it needs")
    assert kind.broken[own].endswith("; this is a fault of diorama")
    with pytest.raises(Unavailable):
        kind["mine"]
    kind.register("mine", mine)
    assert kind["mine"] is mine
    assert "mine" not in kind.broken


@pytest.mark.parametrize("name", sorted(USES))
def test_a_registered_one_that_fails_is_its_registrars(name: str, recorded: diorama.Run, tmp_path: Path) -> None:
    """What a script registers is named by the script and the line, and never said to be diorama's."""
    kind: Registry = getattr(registry, name.partition(".")[0])
    base, member, use = USES[name]
    kind.register("mine", type("Mine", (base,), {member: _fails}))
    try:
        said = str(use(recorded, tmp_path / "run"))
    except (Faulty, plugins.NotApplicable) as error:
        said = str(error)
    except ZeroDivisionError as error:
        said = program._whose(error)
    assert re.search(rf"he {kind.noun} 'mine' registered by \S+ \(test_registered_plugins\.py, line \d+\)", said), said
    assert "no luck" in said


@pytest.mark.parametrize("fails", ["no", "foreign", "missing", "asked"])
def test_findings_of_a_script_are_left_out_like_others(fails: str, tmp_path: Path) -> None:
    """One that raises, also by asking for what the run does not have, and one that gives what is none are told in one wording, and stand in
    ``broken``."""

    def judge(_: Any, run: Any) -> Any:
        if fails == "foreign":
            raise RuntimeError("boom")
        if fails == "asked":
            raise diorama.DioramaError("boom")
        return run.series("nowhere") if fails == "missing" else 5

    diorama.findings.register("mine", type("Mine", (plugins.Finding,), {"__call__": judge}))
    with diorama.watch(nn.Linear(2, 2), tmp_path / "run"):
        pass
    run = diorama.open(tmp_path / "run")
    with pytest.warns(LeftOut, match=r"the finding 'mine' registered by .* cannot be used and is left out"):
        run.findings()
    said = {"no": "must give a list or tuple, and gave 5", "foreign": "RuntimeError: boom", "missing": "no series named 'nowhere'", "asked": "boom"}
    assert said[fails] in diorama.findings.broken["mine"]
    assert "mine" not in list(diorama.findings)
    assert run.scene().view("findings").title


class Bare(plugins.View):
    """Says what it is for."""

    room = "relate"

    def pictures(self, scene: plugins.Scene, selection: plugins.Selection) -> Iterator[plugins.Picture]:
        """Nothing at all."""
        yield from ()


def test_a_view_that_yields_nothing_says_so(scene: diorama.Scene) -> None:
    """In Python, in a stream, and to the page: by its name and whose it is."""
    diorama.views.register("mine", Bare)
    said = r"the view 'mine' registered by .* has nothing to show here"
    with pytest.raises(NotApplicable, match=said):
        scene.view("mine")
    told: list[dict[str, Any]] = []
    run_job(SimpleNamespace(perform=lambda *_: list(scene.stream("mine")) and None), {}, told.append, lambda: False)  # type: ignore[arg-type]
    assert told[-1]["event"] == "error"
    assert re.search(said, told[-1]["message"])


def test_a_view_without_a_question_is_asked_for_by_what_it_says_of_itself() -> None:
    """The page has a line under its title in any case."""
    assert describe(Bare)["question"] == sentence(Bare) == "Says what it is for."


def test_a_map_without_numbers_is_noted(scene: diorama.Scene) -> None:
    """A method whose values are not numbers is shown, and the map says so, in Python as in the view."""

    def attribute(self: Any, look: Any, x: Any, target: Any) -> Any:
        yield self.found(look, x, target, x * float("nan"), look.target(x, target))

    diorama.methods.register("mine", type("Mine", (plugins.Method,), {"attribute": attribute}))
    found = diorama.attribute(scene.model, scene.live.x[:2], 0, method="mine")
    assert "not finite" in found.note
    assert "not finite" in found.picture().note
    assert "not finite" in scene.view("attribution", method="mine").to_bytes().decode("utf-8", "replace")


class Kept(plugins.Derivation):
    """Goes on from a state that cannot be had."""

    def cost(self, scene: plugins.Scene) -> plugins.Cost:
        """No pass."""
        return plugins.Cost(0)

    def stages(self, scene: plugins.Scene, begun: Any = None, before: Any = None) -> Iterator[plugins.Stage]:
        """Three stages."""
        for k in range(3):
            yield plugins.Stage(np.full(2, float(k)), k, 3, state=lambda: 1 / 0)

    def check(self, scene: plugins.Scene, value: Any) -> None:
        """Any."""


def test_a_state_that_fails_does_not_end_the_work(scene: diorama.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed to go on could not be kept: it is said once, with the place, and the value is made."""
    monkeypatch.setattr(work, "SHORT", 0.0)
    diorama.derivations.register("mine", Kept)
    with pytest.warns(RuntimeWarning) as told:
        stages = list(scene.derive("mine").stream())
    assert stages[-1].value.tolist() == [2.0, 2.0]
    said = r"the derivation 'mine' registered by .* begins anew where it is stopped: its state failed \(ZeroDivisionError: .* in test_registered"
    assert [bool(re.search(said, str(each.message))) for each in told] == [True]
    assert [bool(re.search(said, stage.note)) for stage in stages].count(True) == 1


def test_a_plug_in_that_all_waits_for_is_named_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that does not end stops the training that it is in: the training's terminal says which it is."""
    monkeypatch.setattr(blame, "LONG", 0.01)
    diorama.commands.register("mine", type("Mine", (first_of(registry.commands),), {}))
    heard = threading.Event()
    monkeypatch.setattr("diorama.core.registry.warnings.warn_explicit", lambda text, *_: (said.append(text), heard.set()))
    said: list[str] = []
    with blame.announced(diorama.commands["mine"]):
        assert heard.wait(60)
    assert re.fullmatch(r"the command 'mine' registered by .* has been at work for 0\.01 s, and all else waits for it here", said[0])
    with blame.announced(registry.commands["pause"]):
        pass
    assert len(said) == 1


def _writing(save: Callable[[Path], Any]) -> type[plugins.Saver]:
    """A file format that is written so."""
    return type("Mine", (plugins.Saver,), {"save": lambda self, picture, path: save(path)})


@pytest.mark.parametrize(("save", "said"), [(str, "it wrote nothing to"), (Path.mkdir, "it made a folder of")], ids=["nothing", "folder"])
def test_a_saver_that_writes_no_file_is_named(save: Callable[[Path], Any], said: str, scene: diorama.Scene, tmp_path: Path) -> None:
    """And so is an option that it does not have, of any format."""
    registry.savers.register("mine", _writing(save))
    picture = scene.view("weights")
    with pytest.raises(Faulty, match=f"the file format 'mine' registered by .* wants mending: {said} "):
        picture.save(tmp_path / "it.mine")
    for suffix in ("mine", *registry.savers.own):
        with pytest.raises(NotFound, match=f"no knob of {suffix} named 'dep'"):
            picture.save(tmp_path / f"it.{suffix}", dep=1)


class Calm(plugins.Finding):
    """Finds nothing."""

    def __call__(self, run: plugins.RunReader) -> list[plugins.Diagnosis]:
        """Nothing."""
        return []


@pytest.mark.parametrize("wanted", ["loss:1.5", "loss:-3", "loss:", "", "||", "loss&", "loss:knobs", "loss:abc", "loss:title", "loss@begun"])
def test_a_finding_that_rests_on_what_cannot_be_read_is_refused(wanted: str) -> None:
    """With the form that is wanted, before anything is judged."""
    with pytest.raises(diorama.DioramaError, match="its rests holds .* behind a colon how many readings"):
        diorama.findings.register("mine", type("Mine", (Calm,), {"rests": (wanted,)}))
    with pytest.raises(diorama.DioramaError, match="its about is 'nosuchpart', .* there are 'batch norm'"):
        diorama.findings.register("mine", type("Mine", (Calm,), {"about": "nosuchpart"}))


def test_a_finding_that_breaks_what_asks_all_is_left_out(recorded: diorama.Run) -> None:
    """Its name is told, and the others are judged as ever, in each view that asks them."""
    mine = type("Mine", (Calm,), {"rests": ("loss:4|steps:9&examples",), "about": "dropout"})
    diorama.findings.register("mine", mine)
    assert recorded.unjudged()[-1:] != []
    assert "mine" in {lack.finding for lack in recorded.unjudged()}
    mine.rests = ("loss:abc",)  # type: ignore[attr-defined]
    mine.about = ""  # type: ignore[attr-defined]
    with pytest.warns(LeftOut, match=r"the finding 'mine' registered by .* cannot be used and is left out"):
        told = recorded.unjudged()
    assert told
    assert "mine" not in {lack.finding for lack in told}
    for view in ("findings", "health"):
        recorded.scene().view(view)


def _beside(**said: Any) -> type[plugins.Method]:
    """A method that gives this beside its values."""

    def attribute(self: Any, look: Any, x: Any, target: Any) -> Any:
        yield self.found(look, x, target, x.clone(), look.target(x, target), **said)

    return type("Mine", (plugins.Method,), {"attribute": attribute})


@pytest.mark.parametrize(("said", "wanted"), [
    ({"checks": {"completeness": "fine"}}, r"the check 'completeness' must be a number, and is 'fine'"),
    ({"checks": {"completeness": torch.ones(2)}}, r"the check 'completeness' must be a number"),
    ({"checks": ["completeness"]}, r"checks are wanted as a dict of numbers by name"),
    ({"maps": {"more": "no map"}}, r"the map 'more' must be a tensor whose first dimension is the 2 example\(s\), and is 'no map'"),
    ({"maps": {"more": torch.ones(3, 2)}}, r"the map 'more' must be .* one of the shape \(3, 2\)"),
    ({"summed": torch.ones(2, 4)}, r"summed, the sum of each example, is wanted in the shape \(2,\), not \(2, 4\)"),
    ({"summed": 3.0}, r"summed, .*, not float"),
], ids=["text", "tensor", "list", "no map", "another map", "summed", "number"])
def test_what_stands_beside_a_map_is_checked(said: dict[str, Any], wanted: str, scene: diorama.Scene) -> None:
    """By the method's name, when it gives it, and not where it is drawn."""
    diorama.methods.register("mine", _beside(**said))
    with pytest.raises(Faulty, match=f"the attribution method 'mine' registered by .* wants mending: {wanted}"):
        diorama.attribute(scene.model, scene.live.x[:2], 0, method="mine")


def _placing(place: Any) -> type[plugins.Projection]:
    """A projection that places the rows so."""

    def placed(self: Any, rows: Any, dimensions: int, start: Any, begun: Any) -> Any:
        yield plugins.Placement(place(rows[:, :dimensions].copy()))

    return type("Mine", (plugins.Projection,), {"placed": placed, "free": True})


def _half(points: Any) -> Any:
    points[::2] = np.nan
    return points


def _half_an_axis(points: Any) -> Any:
    points[::2, 0] = np.nan
    return points


@pytest.mark.parametrize(("place", "said"), [
    (np.zeros_like, ", all at one place in this map, which says nothing of who is near whom"),
    (_half, ", only {} of which have a place in this map, so how near they lie was not measured"),
    (_half_an_axis, ", only {} of which have a place in this map, so how near they lie was not measured"),
], ids=["one place", "half", "half an axis"])
@pytest.mark.parametrize("view", ["projection", "units"])
def test_a_map_of_which_nothing_was_measured_claims_no_nearness(view: str, place: Any, said: str, scene: diorama.Scene) -> None:
    """Where points have no place or all the same, the caption says how many have one, and no check stands there."""
    diorama.projections.register("mine", _placing(place))
    picture = scene.view(view, method="mine", layer="0")
    assert said.format(6 if view == "projection" else 2) in picture.caption, picture.caption
    assert "near each other" not in picture.caption
    assert not [check for check in picture.checks if check.name == "trustworthiness"]
    if view == "projection":
        assert "in one of these maps" in scene.view(view, method="mine", layer="0", beside="seed").caption


@pytest.mark.parametrize("view", ["projection", "units"])
def test_places_that_no_picture_holds_are_refused(view: str, scene: diorama.Scene) -> None:
    """By the projection's name."""
    diorama.projections.register("mine", _placing(lambda points: np.sign(points) * 1e308))
    with pytest.raises(Faulty, match=r"the projection 'mine' registered by .* places examples as far out as 1e\+308"):
        scene.view(view, method="mine", layer="0")


def _asking(name: str, met: threading.Barrier | None = None) -> type[plugins.Derivation]:
    """A derivation that asks for the one of this name; where two begin in threads of their own, when both have begun."""

    def stages(self: Any, scene: plugins.Scene, begun: Any = None, before: Any = None) -> Iterator[plugins.Stage]:
        if met is not None:
            with contextlib.suppress(threading.BrokenBarrierError):
                met.wait(60)
        yield plugins.Stage(scene.derive(name).value, 1, 1)

    told = {"stages": stages, "cost": lambda self, scene: plugins.Cost(0), "check": lambda self, scene, value: None}
    return type("Mine", (plugins.Derivation,), told)


def test_a_derivation_that_asks_for_itself_is_refused(scene: diorama.Scene) -> None:
    """At once, by its name, whether it asks by itself, by another one, or by one that another thread makes."""
    diorama.derivations.register("alone", _asking("alone"))
    with pytest.raises(Faulty, match=r"the derivation 'alone' registered by .* wants mending: to be made it asks for its own value"):
        scene.derive("alone").value  # noqa: B018
    ring = r"the derivation 'one' registered by .* asks for the derivation 'other' registered by .*, which asks for it, so that each would wait"
    diorama.derivations.register("one", _asking("other"))
    diorama.derivations.register("other", _asking("one"))
    with pytest.raises(Faulty, match=ring):
        scene.derive("one").value  # noqa: B018
    met = threading.Barrier(2)
    diorama.derivations.register("one", _asking("other", met))
    diorama.derivations.register("other", _asking("one", met))
    said: list[str] = []

    def ask(name: str) -> None:
        try:
            scene.derive(name).value  # noqa: B018
        except Faulty as error:
            said.append(str(error))
            met.abort()

    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(said) == 2
    assert "so that each would wait for ever" in said[0]


def _yielding(*pictures: Any) -> type[plugins.View]:
    """A view with one knob that yields these."""

    class Mine(Bare):
        """Shows something."""

        size: int = plugins.knob(3, "How large.", low=1)

        def pictures(self, scene: plugins.Scene, selection: plugins.Selection) -> Iterator[Any]:
            """All of them."""
            yield from (self.picture(scene, selection, "It", one, "It is there.") if isinstance(one, plugins.marks.Mark) else one for one in pictures)

    return Mine


_NUMBER = plugins.marks.Number(label="loss", value=0.3)
_LEADS = [
    ({"handle": plugins.marks.Handle(knob="nosuch", kind="slide")}, r"a handle sets 'nosuch', which is none of its knobs \(size\)"),
    ({"actions": (plugins.marks.Action(command="nosuch", label="Do it"),)}, r"no command named 'nosuch'"),
    ({"actions": (plugins.marks.Action(command="freeze", label="Do it", knobs={"nosuch": 1}),)}, r"no knob of freeze named 'nosuch'"),
    ({"key": "nonsense:1"}, r"no kind of key named 'nonsense'"),
]


@pytest.mark.parametrize(("said", "wanted"), _LEADS, ids=["handle", "action", "action's knob", "key"])
def test_what_leads_to_nothing_is_refused(said: dict[str, Any], wanted: str, scene: diorama.Scene) -> None:
    """By the view's name; what leads somewhere is drawn."""
    number = plugins.marks.Number(label="loss", value=0.3, **said)
    diorama.views.register("mine", _yielding(plugins.marks.Group(children=(_NUMBER, number))))
    with pytest.raises(Faulty, match=f"the view 'mine' registered by .* wants mending: {wanted}"):
        scene.view("mine")
    good = plugins.marks.Number(
        label="loss", key="example:1", handle=plugins.marks.Handle(knob="size", kind="slide"),
        actions=(plugins.marks.Action(command="freeze", label="Do it", knobs={"layer": "0"}),),
    )
    diorama.views.register("mine", _yielding(good), replace=True)
    assert scene.view("mine").body == good


def test_a_last_picture_that_is_none_is_named(scene: diorama.Scene) -> None:
    """One that says that another follows, where none does: a film would have no frames of it."""
    draft = plugins.Picture(title="It", body=_NUMBER, final=False)
    diorama.views.register("mine", _yielding(draft))
    with pytest.raises(Faulty, match=r"the view 'mine' registered by .* wants mending: its last picture is told as one that another follows"):
        scene.view("mine")
    diorama.views.register("mine", _yielding(draft, _NUMBER), replace=True)
    assert scene.view("mine").final


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1.0])
def test_how_far_work_is_and_what_it_costs_are_numbers(wrong: float, scene: diorama.Scene) -> None:
    """Else whoever says it is named: of stages, places, progress and costs."""
    stages = {"cost": lambda self, scene: plugins.Cost(0), "check": lambda self, scene, value: None}
    for stage in (plugins.Stage(1.0, wrong, 1), plugins.Stage(1.0, 1, wrong), plugins.Stage(1.0, 1, 1, seconds=wrong)):
        diorama.derivations.register("mine", type("Mine", (plugins.Derivation,), {**stages, "stages": lambda *_, s=stage: iter((s,))}))
        with pytest.raises(Faulty, match=r"the derivation 'mine' registered by .* wants mending: Stage\.\w+ must be a finite number, not below 0"):
            scene.derive("mine").value  # noqa: B018
    diorama.derivations.register("mine", type("Mine", (plugins.Derivation,), {**stages, "stages": lambda *_: iter((plugins.Stage(1.0, state=3),))}))
    with pytest.raises(Faulty, match=r"Stage\.state must be a function that gives the state, and is 3"):
        scene.derive("mine").value  # noqa: B018
    diorama.views.register("mine", _yielding(plugins.Progress(done=wrong, total=1), _NUMBER))
    with pytest.raises(Faulty, match=r"the view 'mine' registered by .* wants mending: Progress\.done must be a finite number"):
        list(scene.stream("mine", progress=lambda _: None))
    with pytest.raises(Faulty, match=r"wants mending: Cost\.forward must be"):
        plugins.Cost.of(diorama.views["mine"](), lambda: plugins.Cost(forward=-1))


def test_completeness_of_a_third_party_is_that_of_diorama(scene: diorama.Scene) -> None:
    """What methods with a baseline check is the gap as a share of the score less the baseline's, and anybody measures it alike."""
    x, baseline = scene.live.x[:3], torch.full((1, 4), 0.5)
    found = diorama.attribute(scene.model, x, 1, method="integrated_gradients", baseline=baseline)
    with torch.no_grad():
        change = scene.model(x)[:, 1] - scene.model(baseline)[:, 1]
    assert found.checks["completeness"] == pytest.approx(plugins.completeness(found.values, change), rel=0.05, abs=1e-6)
    assert plugins.completeness(torch.tensor([[1.0, 2.0]]), torch.tensor([4.0])) == pytest.approx(0.25)
