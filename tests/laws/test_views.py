"""Laws of views: every view of the registry, on networks of every make and at every moment of a training."""

from __future__ import annotations

import copy
import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attentions import Adapted
from pairings import pairs
from picture_rules import ONE_OF_MANY, checked, words_in
from torch import Tensor, nn
from zoo import ZOO, Specimen, crooked

import diorama
from diorama.core.errors import Cancelled, NotApplicable
from diorama.core.knobs import knobs_of
from diorama.core.marks import Blocks, Table
from diorama.core.picture import Picture
from diorama.core.registry import views
from diorama.core.selection import KINDS
from diorama.run import Run
from diorama.scene import Scene
from diorama.views.view import rooms

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
]
EVERY_VIEW = pytest.mark.parametrize("name", list(views))
HOLE = re.compile(r"(^|[\s(])/\d|^ |  | [,.;:)]| $|''")
"""Where a name is missing."""
KEY = re.compile(r"[a-z]+:")
TOKENS = tuple("abcde fghij")
MAKES = ("images", "letters", "plane", "numbers", "codes")
FEWER = {"steps": 6, "starts": 2, "layers": 2, "places": 7, "count": 3, "segments": 10, "decoder_steps": 20, "units": 8, "length": 9}
"""Knobs that make a law quick: what it says holds for any number."""


class _Letters(nn.Module):
    """A small LSTM over letters, and a block of attention and a network upon it, with residual sums."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.out = nn.Embedding(11, 6), nn.LSTM(6, 8, batch_first=True), nn.Linear(8, 11)
        self.attn, self.mlp = nn.MultiheadAttention(8, 2, batch_first=True), Adapted(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.rnn(self.embed(x))[0]
        x = x + self.attn(x, x, x, need_weights=False)[0]
        return self.out(x + torch.tanh(self.mlp(x)))


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(),
        nn.Linear(8, 3),
    )


def _plane() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))


def _numbers() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def _codes() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(36, 12), nn.Tanh(), nn.Linear(12, 3), nn.Linear(3, 36), nn.Unflatten(1, (1, 6, 6))
    )


def _made(kind: str) -> tuple[nn.Module, Tensor, Tensor, dict[str, Any]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        if kind == "letters":
            x = torch.randint(0, 11, (12, 9))
            return _Letters(), x, x.roll(-1, 1), {"inputs": diorama.Tokens(vocabulary=TOKENS)}
        if kind == "sentences":
            x = torch.randint(0, 11, (12, 9))
            return nn.Sequential(nn.EmbeddingBag(11, 3)), x, torch.arange(12) % 3, {"inputs": diorama.Tokens(vocabulary=TOKENS)}
        if kind == "pen":
            x = torch.cat([torch.randn(12, 9, 2), (torch.rand(12, 9, 1) > 0.8).float()], 2)
            return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)), x, x.roll(-1, 1), {}
        if kind == "plane":
            return _plane(), torch.randn(24, 2), torch.arange(24) % 2, {}
        if kind == "numbers":
            return _numbers(), torch.randn(24, 4), torch.randn(24), {}
        if kind == "codes":
            x = torch.rand(24, 1, 6, 6)
            return _codes(), x, x, {}
        return _cnn(), torch.rand(24, 1, 8, 8), torch.arange(24) % 3, {"classes": ("zero", "one", "two")}


def _train(kind: str, path: Path) -> Run:
    """A run of six steps with a snapshot at each."""
    model, x, y, told = _made(kind)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, path, probe=(x, y), optimizer=optimizer, every=1, snapshots=1, **told) as recorder:
        for _ in range(6):
            output = model(x)
            wrong = (
                nn.functional.mse_loss(output[:, 0] if kind == "numbers" else output, y)
                if kind in ("numbers", "codes", "pen")
                else nn.functional.cross_entropy(output.reshape(-1, output.shape[-1]), y.reshape(-1))
            )
            optimizer.zero_grad()
            wrong.backward()
            optimizer.step()
            recorder.step(loss=wrong.detach())
    return diorama.open(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """One short training of each make."""
    folder = tmp_path_factory.mktemp("runs")
    return {kind: _train(kind, folder / kind) for kind in MAKES}


def _state(model: nn.Module) -> list[Any]:
    """What a look could change in a model and in the process."""
    found: list[Any] = [bytes(torch.get_rng_state().numpy()), random.getstate(), bytes(np.random.get_state()[1])]
    found.append(torch.get_num_threads())
    for name, module in model.named_modules():
        found.append((name, module.training, len(module._forward_hooks), len(module._forward_pre_hooks)))
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found.append((name, id(tensor), tensor.detach().tolist(), tensor.requires_grad, tensor.grad, tensor._version))
    return found


def _quick(name: str) -> dict[str, Any]:
    """Few rounds of what a view repeats."""
    return {knob: value for knob, value in FEWER.items() if isinstance(getattr(knobs_of(views[name]).get(knob), "default", None), int)}


def _look(scene: Scene, name: str, most: int | None = None, **more: Any) -> list[Picture]:
    """All pictures of a view (or as many), or none when it says in one sentence that it does not fit."""
    known = knobs_of(views[name])
    try:
        return list(itertools.islice(scene.stream(name, **_quick(name), **{k: more[k] for k in more if k in known}), most))
    except NotApplicable as error:
        sentence = str(error)
    assert len(sentence) > 20
    assert "\n" not in sentence
    return []


@pytest.fixture(scope="module")
def met() -> dict[str, Scene]:
    """Networks in scenes, met once and looked at by view after view, as a person does."""
    return {}


@pairs("specimen, name", ZOO, list(views), 3, lambda each: getattr(each, "name", each))
def test_a_view_fits_any_network_or_says_why(name: str, specimen: Specimen, met: dict[str, Scene]) -> None:
    """Every view draws every network of the zoo or refuses in one sentence, and leaves the model as it was found."""
    if specimen.name not in met:
        met[specimen.name] = Scene(*specimen())
    before = _state(met[specimen.name].model)
    # What a unit would like to see is asked of two of them: it is the same search in all.
    for picture in _look(met[specimen.name], name, synthesize=specimen.name in ("residual", "lstm_all")):
        checked(picture)
    assert _state(met[specimen.name].model) == before


OF_THE_TRAINING = ("influence",)
"""Views of gradients as the training had them, which refuse weights that it never had."""


def _refusing(*told: object, **named: object) -> None:
    raise AssertionError("the weights that were not moved are asked")


@pairs("kind, name", MAKES, list(views), 2)
def test_a_view_works_at_every_moment(name: str, kind: str, runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """A view that fits a run works at step 0 and half-way (its first pictures) and at the newest step, and says which step it shows;
    half-way the weights are moved, and it tells so and asks nothing of those that were not, but for the view that moves them."""
    run = runs[kind]
    drawn = []
    taken = run.snapshots
    for step, most in ((taken[0], 2), (taken[len(taken) // 2], 1), (taken[-1], None)):
        scene = run.scene(step)
        if most == 1:
            start, scene = scene, scene.edit("plane:random", at="0.1,0.05")
            if not views[name].moves:
                monkeypatch.setattr(start.model, "forward", _refusing)
        pictures = _look(scene, name, most)
        for picture in pictures:
            checked(picture)
            assert picture.step == step
            told = any(edit.startswith("weights moved") for edit in picture.provenance.edits)
            assert told == (most == 1 and views[name].needs != "record" and not views[name].moves)
        if most != 1 or name not in OF_THE_TRAINING:
            drawn.append(bool(pictures))
        assert most or not pictures or pictures[-1].final
    assert len(set(drawn)) == 1


def test_every_view_fits_some_run(runs: dict[str, Run], tmp_path: Path) -> None:
    """No view refuses all of five unlike trainings; one that does draws texts with classes or a pen's strokes, at the first and last moment."""
    fitting = {name for name in views if any(_look(run.scene(), name, 1) for run in runs.values())}
    others = [_train(kind, tmp_path / kind) for kind in ("sentences", "pen")]
    for name in set(views) - fitting:
        for moment in (0, -1):
            pictures = [one for run in others for one in _look(run.scene(run.snapshots[moment]), name)]
            assert pictures, f"{name} refuses every training"
            for picture in pictures:
                checked(picture)


@EVERY_VIEW
def test_closing_stops_the_work(name: str, runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a stream is closed, after three pictures at most, no further forward pass runs."""
    passes = itertools.count()
    real = Scene._looked

    def counted(self: Scene, *args: Any, **options: Any) -> Any:
        next(passes)
        return real(self, *args, **options)

    monkeypatch.setattr(Scene, "_looked", counted)
    for run in runs.values():
        try:
            stream = run.scene().stream(name)
            for _ in itertools.islice(stream, 3):
                pass
        except NotApplicable:
            continue
        stream.close()
        done = next(passes)
        assert next(stream, None) is None
        assert next(passes) == done + 1


@EVERY_VIEW
def test_cancelling_raises(name: str, runs: dict[str, Run]) -> None:
    """A view that runs the model stops with Cancelled when its result is no longer wanted."""
    if views[name].needs != "model":
        pytest.skip("it does not run the model")
    for run in runs.values():
        scene = run.scene()
        scene.reading, scene.layers, scene.graph  # noqa: B018 - known already, as for a scene that is looked at again
        if views[name].fits(scene) is None and name != "structure":
            try:
                list(scene.stream(name, cancel=lambda: True))
            except Cancelled:
                continue
            pytest.fail(
                f"{name} ran no pass of the model, so that it could not be cancelled: look through scene.look, or declare "
                'needs = "record" or "snapshot" where the view needs no pass'
            )


def test_every_view_stands_somewhere() -> None:
    """A view stands in a room or in a panel of the page; one that stands nowhere is found by nobody."""
    placed = {
        place.view
        for room in rooms()
        for part in (room, *room.openings)
        for place in (*part.training, *part.input)
    }
    lost = {name for name in views if name not in placed and not views[name].panel and name != "own_view"}
    assert not lost, f"{sorted(lost)}: give each a Place in ROOM of its folder's __init__.py, or a panel"
    assert placed <= set(views), f"rooms name views that do not exist: {sorted(placed - set(views))}"


@pytest.fixture(scope="module")
def broken() -> dict[str, tuple[Scene, Scene]]:
    """A network of each make with weights that are no numbers, and beside it one without."""
    pairs = {}
    for kind in MAKES:
        model, x, y, told = _made(kind)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.reshape(-1)[0] = float("nan")
                parameter.reshape(-1)[-1] = float("inf")
        pairs[kind] = Scene(model, x, y, **told), Scene(*_made(kind)[:3], **told)
    return pairs


@pairs("kind, name", MAKES, list(views), 2)
def test_a_view_survives_weights_that_are_not_numbers(name: str, kind: str, broken: dict[str, tuple[Scene, Scene]]) -> None:
    """With NaN in its weights a network is still drawn by every view that fits it, and nothing is claimed of an answer that it has not."""
    pictures = _look(broken[kind][0], name)
    assert bool(pictures) == bool(_look(broken[kind][1], name, 1))
    for picture in pictures:
        checked(picture)
        said = " ".join((picture.caption, picture.note, *(check.sentence for check in picture.checks)))
        assert not re.search(r"\b([+]?nan|never flips|answer stays|is certain|amplified in|of the 0|other 1|beyond what|comes first)\b", said), said
        # Shares of inputs, labels and units that are numbers can be told; others want it said that answers are none.
        if name not in ("boundary", "learns_from", "directions", "regions") and re.search(r"\d %|\d times as|effect ", said):
            assert re.search(r"\b(no|not|not a) (finite )?numbers?\b", said), said
    if name in ("active", "selectivity") and pictures:
        assert "with what is no number" in pictures[-1].note


@EVERY_VIEW
def test_hostile_names_stay_text(name: str) -> None:
    """Markup in the names of classes, layers and tokens arrives as it was, and its keys can be read; a number is called a layer."""
    bad = "<script>alert('1')</script>"
    model = nn.Sequential()
    model.add_module("<img src=x onerror=1>/@|+,", nn.Linear(2, 4))
    model.add_module("{{act}}", nn.ReLU())
    model.add_module("4712", nn.Linear(4, 2))
    scene = Scene(model, torch.randn(8, 2), torch.arange(8) % 2, classes=(bad, "a&b"), inputs=diorama.Table(columns=(bad, "y")))
    for picture in _look(scene, name):
        checked(picture)
        told = repr(Picture.from_bytes(picture.to_bytes()).body)
        assert "&lt;" not in told
        labels = [label for mark in picture.marks() if not isinstance(mark, Blocks) for label in getattr(mark, "labels", ())]
        said = [picture.title, picture.caption, picture.note, *labels, *words_in(picture.body)]
        assert not [text for text in said if re.search(r"(?<![Ll]ayer )\b4712(?!\.weight|\.bias)", text)]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Networks that are one layer, which has no name; the first in a run."""
    torch.manual_seed(0)
    folder = Scene(nn.Linear(6, 3), torch.randn(24, 6), torch.arange(24) % 3).save(tmp_path_factory.mktemp("bare") / "run")
    return [
        diorama.open(folder).scene(), Scene(nn.Conv2d(1, 4, 3), torch.rand(8, 1, 9, 9)),
        Scene(nn.Embedding(9, 4), torch.arange(48).reshape(8, 6) % 9), Scene(nn.Linear(1, 1), torch.randn(1, 1), torch.randn(1, 1)),
    ]


@EVERY_VIEW
def test_a_layer_without_a_name_leaves_no_hole(name: str, bare: list[Scene]) -> None:
    """Where the model itself is the layer, each sentence and label says so instead of nothing; of one unit or example none speaks as of many."""
    known = knobs_of(views[name])
    knobs = {"method": "gradient", "steps": 5, "starts": 1, "places": 3, "count": 2, "synthesize": False}
    knobs = {knob: value for knob, value in knobs.items() if knob in known and value in (known[knob].choices or (value,))}
    for scene in bare:
        try:
            picture = scene.view(name, select=[f"unit:/{min(1, scene.layers[''].units - 1)}"], **knobs)
        except NotApplicable as error:
            said = [str(error)]
        else:
            said = [picture.title, picture.caption, picture.note, *words_in(picture.body)]
            assert not [key for mark in picture.marks() for key in _nameless(mark)]
        assert not [text for text in said if HOLE.search(text) and not KEY.match(text)]
        assert not [text for text in said if ONE_OF_MANY.search(text)]


def _nameless(mark: Any) -> Iterator[str]:
    """What of a mark stands for a layer or its unit, and bears no name."""
    for labels, keys in (("labels", "keys"), ("row_labels", "row_keys"), ("column_labels", "column_keys")):
        told = [*zip(getattr(mark, labels, ()), getattr(mark, keys, ()), strict=False)]
        named = {key for label, key in told if label}
        yield from (key for _, key in told if key.startswith(("layer:", "unit:/")) and key not in named)
    if isinstance(mark, Blocks):
        yield from (block.key for block in mark.blocks if block.key and not block.label)
    if isinstance(mark, Table):
        yield from (column.name for column in mark.columns if column.name == "layer" and "" in column.texts)


@EVERY_VIEW
def test_a_view_says_what_the_page_needs(name: str) -> None:
    """A view has a question, a family, kinds of keys that exist, and knobs that can be left alone."""
    view = views[name]
    assert view.question.endswith("?")
    assert view.family in ("features", "relationships", "process")
    assert set(view.follows) <= set(KINDS)
    assert view.needs in ("model", "record", "snapshot")
    assert set(view.example) <= set(knobs_of(view)) | set(KINDS)
    view()


def test_a_view_of_ones_own_can_be_registered() -> None:
    """A view made in a notebook is found by its name, and its stream closes it."""
    closed = []

    class Own(diorama.views.view.View):  # type: ignore[name-defined,misc]
        """Endless pictures."""

        question = "?"
        room = "training"

        def pictures(self, scene: Scene, selection: Any) -> Iterator[Picture]:
            try:
                while True:
                    yield self.picture(scene, selection, "own", diorama.core.marks.Number(label="x", value=1.0), "One.")
            finally:
                closed.append(True)

    views.register("own_view", Own)
    try:
        model, x, y, _ = _made("plane")
        stream = Scene(model, x, y).stream("own_view")
        assert len(list(itertools.islice(stream, 3))) == 3
        stream.close()
        assert closed == [True]
    finally:
        del views._loaded["own_view"]


class _Causal(nn.Module):
    """A language model as its libraries have them: tokens and labels by name, a dict with the loss and the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(11, 6), nn.GRU(6, 8, batch_first=True), nn.Linear(8, 11)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.head(self.rnn(self.embed(input_ids))[0])
        found = {"logits": logits}
        if labels is not None:
            found["loss"] = nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])
        return found


def _unlabelled(kind: str) -> tuple[nn.Module, Any, Tensor]:
    """A network, inputs and a truth that is not known everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        if kind == "language":
            tokens = torch.randint(0, 11, (8, 7))
            labels = tokens.clone()
            labels[:, :3], labels[0] = -100, -100
            return _Causal(), {"input_ids": tokens, "labels": labels}, labels
        if kind == "segmentation":
            y = torch.randint(0, 3, (8, 8, 8))
            y[0], y[1, :4] = 255, 255
            return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)), torch.rand(8, 1, 8, 8), y
        y = torch.arange(12) % 3
        y[:4] = -1
        return _cnn(), torch.rand(12, 1, 8, 8), y


@pytest.fixture(scope="module")
def unlabelled() -> dict[str, Scene]:
    """A network of each kind of truth that is not known everywhere."""
    return {kind: Scene(*_unlabelled(kind)) for kind in ("language", "segmentation", "classes")}


@EVERY_VIEW
@pytest.mark.parametrize("kind", ["language", "segmentation", "classes"])
def test_a_view_stands_on_labels_that_say_nothing(name: str, kind: str, unlabelled: dict[str, Scene]) -> None:
    """Where some examples, steps or places have no label, a view is drawn, or refuses as it would with all of them."""
    for picture in _look(unlabelled[kind], name):
        checked(picture)
        assert "nan" not in picture.caption.lower().replace("not a number", "")


@pytest.mark.parametrize("kind", ["language", "segmentation", "classes"])
def test_labels_that_say_nothing_are_not_recorded(kind: str, tmp_path: Path) -> None:
    """A run of such a truth starts, and its probe loss and accuracy are those of torch with the labels ignored."""
    model, x, y = _unlabelled(kind)
    with diorama.watch(model, tmp_path / "run", probe=(x, y)) as recorder:
        recorder.step(loss=1.0)
    run = diorama.open(tmp_path / "run")
    with torch.no_grad():
        output = model(**x) if isinstance(x, dict) else model(x)
    scores = output["logits"][:, :-1].transpose(1, 2) if kind == "language" else output
    label, told = {"language": -100, "segmentation": 255, "classes": -1}[kind], y[:, 1:] if kind == "language" else y
    loss, right = nn.functional.cross_entropy(scores, told, ignore_index=label), (scores.argmax(1) == told)[told != label].double().mean()
    assert run.series("probe/loss")[1][0] == pytest.approx(float(loss), rel=1e-4)
    assert run.series("probe/accuracy")[1][0] == pytest.approx(float(right), rel=1e-4)
    # Views say the same of the step, over all labels alike.
    scene = run.scene()
    assert (scene.answers().loss, scene.answers().accuracy) == pytest.approx((float(loss), float(right)), rel=1e-4)
    assert f"{100 * right:.1f} %" in scene.view("examples").caption
    assert scene.derive("needed", examples=len(y)).value["loss"] == pytest.approx(float(loss), rel=1e-4)


@EVERY_VIEW
def test_what_a_caller_has_switched_on_changes_no_picture(name: str, runs: dict[str, Run]) -> None:
    """In no_grad, inference mode and autocast, with other default types and devices, a view says and draws the same."""
    model, x, y, told = _made("images")

    def found() -> list[Picture]:
        found = _look(Scene(copy.deepcopy(model), x, y, **told), name) or _look(runs["letters"].scene(), name)
        return found[-1:]  # how many come before depends on how quick the machine is

    wanted = found()
    with crooked():
        got = found()
        assert torch.is_inference_mode_enabled()
    assert [picture.title for picture in got] == [picture.title for picture in wanted]
    for one, other in zip(got, wanted, strict=True):
        if not re.search(r"\d m?s\b|second", other.caption):
            assert one.caption == other.caption
        for mark, like in zip(one.marks(), other.marks(), strict=True):
            for field in getattr(like, "__struct_fields__", ()):
                value = getattr(like, field)
                if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    close = np.allclose(getattr(mark, field), value, atol=1e-4, rtol=1e-3, equal_nan=True)
                    assert close, (type(mark).__name__, field)
