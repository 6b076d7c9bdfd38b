"""Models and inputs of unusual make get in: what cannot be looked into is said in one sentence, with the way out."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.blame import blamed
from diorama.data import nesting
from diorama.data.examples import Examples
from diorama.model.capture import Capture
from diorama.model.layers import layers


class Middle(nn.Module):
    """A network whose middle may be of any make."""

    def __init__(self, middle: Any) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(5, 8), middle, nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        for part in self.middle if isinstance(self.middle, list | nn.ModuleList) else [self.middle]:
            x = F.relu(part(x))
        return self.last(x)


class Bound(nn.Module):
    """A network that only takes batches of four."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.first(x)).view(4, 8))


class Mapped(nn.Module):
    """A network under ``vmap``, in which no layer answers once for each example."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.vmap(lambda row: self.last(F.relu(self.first(row))))(x)


def _data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(8, 5), torch.arange(8) % 3


def _recorded(model: nn.Module, folder: Path, batch: Any, **told: Any) -> diorama.Run:
    """A run of two steps."""
    x, y = _data()
    with diorama.watch(model, folder, probe=(x, y), every=1, **told) as recorder:
        for _ in range(2):
            model(batch).square().mean().backward()
            recorder.step(loss=1.0)
    return diorama.open(folder)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("make", ["script", "trace"])
def test_a_scripted_part_is_a_closed_layer_of_a_plain_model(make: str, tmp_path: Path) -> None:
    """Its output is read and edited, its inside is closed, and a run stores it."""
    x, y = _data()
    inner = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    model = Middle(torch.jit.script(inner) if make == "script" else torch.jit.trace(inner, torch.randn(2, 8)))
    assert diorama.Scene(model, x, y).layers.names == ("first", "middle", "last")
    with Capture(model, ["middle"], edits=[{"key": "unit:middle/2", "lesion": True}]) as look:
        look(x)
    assert not look["middle"][:, 2].any()
    with pytest.raises(diorama.NotApplicable, match="torch hides"):
        diorama.attribute(model, x, target=0, method="lrp")
    scene = _recorded(model, tmp_path / "run", x).scene()
    assert torch.allclose(scene.scores(x), model(x), atol=1e-6)


def test_modules_in_a_plain_list_are_followed_and_told() -> None:
    """Relevance runs through them as through a ModuleList, their weights stay trainable, and the scene says what they lack."""
    x, y = _data()
    parts = [nn.Linear(8, 8), nn.Linear(8, 8)]
    plain, known = Middle(parts), Middle(nn.ModuleList(parts))
    known.load_state_dict(plain.state_dict(), strict=False)
    for method in ("lrp", "deep_lift"):
        one, other = (diorama.attribute(model, x, target=1, method=method).values for model in (plain, known))
        assert torch.equal(one, other), method
    assert all(parameter.requires_grad for part in parts for parameter in part.parameters())
    assert "4 of the weights that the model uses are not among its parameters" in diorama.Scene(plain, x, y).guessed[-1]
    assert layers(known, x).notes == ()


def test_a_model_bound_to_its_batch_size_is_recorded_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its training is recorded with the whole probe set, once told, and views look at any number of examples."""
    x, y = _data()
    run = _recorded(Bound(), tmp_path / "run", x[:4])
    assert capsys.readouterr().err.count("is given 4 examples at a time") == 1
    assert sum("is given 4 examples at a time" in event.text for event in run.events) == 1
    assert {"probe/loss", "activations/first/dead"} <= set(run.series_names)
    scene = run.scene()
    assert len(scene.examples) == 8
    bare = nn.Sequential(scene.model.first, nn.ReLU(), scene.model.last).requires_grad_(False)
    torch.testing.assert_close(scene.scores(), bare(x))
    assert run.series("probe/loss")[1][-1] == pytest.approx(float(F.cross_entropy(bare(x), y)), rel=1e-5)
    scene.view("answer")


def test_what_a_run_lacks_is_told_while_it_trains_and_where_it_is_asked_for(tmp_path: Path) -> None:
    """Layers that cannot be read are an event of the run, and the views of their numbers give that reason."""
    run = _recorded(Mapped(), tmp_path / "run", _data()[0])
    assert any("no layer answers once for each example" in event.text for event in run.events)
    for view, knobs in (("distributions", {"of": "activations"}), ("curves", {"show": "dead units"})):
        with pytest.raises(diorama.NotApplicable, match="no layer answers once for each example"):
            run.scene().view(view, **knobs)


def test_a_model_that_cannot_be_stored_is_an_event_of_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What holds a lock trains and is recorded; the record says from the start that views want a factory."""
    model = Middle(nn.Linear(8, 8))
    model.lock = threading.Lock()  # type: ignore[assignment]
    run = _recorded(model, tmp_path / "run", _data()[0])
    assert "cannot be stored" in capsys.readouterr().err
    assert any("cannot be stored" in event.text for event in run.events)


class Rounded(nn.Linear):
    """Flat everywhere, and different at each whole number."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.round())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantized_model_is_opened_and_a_flat_gradient_told(tmp_path: Path) -> None:
    """Its run opens with its packed weights; an op without a derivative is refused, and a slope of nothing is not called
    independence."""
    x, _ = _data()
    model = torch.ao.quantization.quantize_dynamic(Middle(nn.Linear(8, 8)), {nn.Linear}, dtype=torch.qint8)
    folder = tmp_path / "run"
    with diorama.watch(model, folder, probe=_data()) as recorder:
        recorder.step(loss=1.0)
    assert torch.equal(diorama.open(folder).scene().scores(x), model(x))
    with pytest.raises(diorama.NotApplicable, match="no derivative"):
        diorama.attribute(model, x, target=0, method="gradient")
    note = diorama.attribute(Rounded(5, 3), 3 * x, target=0, method="gradient").note
    assert "though the target changes with the input" in note
    still = nn.Linear(5, 3)
    nn.init.zeros_(still.weight)
    assert "does not depend on this input" in diorama.attribute(still, x, target=0, method="gradient").note


class Kernels(nn.Module):
    """The same network with the functions of ``nn.functional`` or, as exported graphs call them, by their schemas."""

    def __init__(self, schemas: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.fc, self.last = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(36, 8), nn.LayerNorm(8)
        self.embed, self.schemas = nn.Embedding(7, 8), schemas
        for values in (self.norm.running_mean, self.norm.weight, self.norm.bias):
            nn.init.normal_(values)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        ops, n, y = torch.ops.aten, self.norm, self.last
        if not self.schemas:
            h = F.max_pool2d(F.relu(n(self.conv(x))), 2).flatten(1)
            return F.relu(y(F.dropout(self.fc(h), 0.5, False)) + self.embed(t).mean(1))
        h = ops.conv2d.default(x, self.conv.weight, self.conv.bias)
        h = ops.batch_norm.default(h, n.weight, n.bias, n.running_mean, n.running_var, False, 0.1, 1e-5, True)
        h = ops.flatten.using_ints(ops.max_pool2d.default(ops.relu.default(h), [2, 2]), 1)
        h = ops.dropout.default(ops.linear.default(h, self.fc.weight, self.fc.bias), 0.5, False)
        h = ops.layer_norm.default(h, [8], y.weight, y.bias)
        return ops.relu.default(ops.add.Tensor(h, ops.mean.dim(ops.embedding.default(self.embed.weight, t), [1])))


def _sum(output: Tensor) -> Tensor:
    return output.sum(1)


@pytest.mark.parametrize("method", ["lrp", "deep_lift", "guided_backprop", "integrated_gradients", "occlusion"])
def test_ops_called_by_their_schemas_are_the_same_ops(method: str) -> None:
    """An exported graph is explained as the model it was made from, whatever the order of its arguments."""
    torch.manual_seed(0)
    plain, graph = Kernels(False).eval(), Kernels(True).eval()
    graph.load_state_dict(plain.state_dict())
    x = (torch.randn(3, 1, 8, 8), torch.randint(0, 7, (3, 4)))
    one, other = (diorama.attribute(model, x, target=_sum, method=method, seed=0) for model in (plain, graph))
    assert torch.allclose(one.values[0], other.values[0], atol=1e-6)
    assert one.values[0].any()


class Detecting(nn.Module):
    """Answers with one dict an example."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        return [{"boxes": row[None], "scores": row[None].softmax(-1)} for row in self.fc(x)]


class Timed(nn.Module):
    """Takes two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.fc(torch.cat([x, t[:, None]], 1))


@pytest.mark.parametrize(
    ("call", "way"),
    [
        (lambda x, y, folder: diorama.Scene(Detecting(), x).task, r"outputs=lambda found: torch\.stack"),
        (lambda x, y, folder: diorama.Scene(Timed(), x, (y, x)).task, "outputs= names its output, y holds its labels"),
        (lambda x, y, folder: diorama.Scene(Timed(), x, {"a": y}).task, "outputs= names its output, y holds its labels"),
        (lambda x, y, folder: diorama.Scene(Timed(), x, y, task=["regression"]), "task wants one word"),
        (lambda x, y, folder: diorama.watch(Timed(), folder, probe=(x, torch.rand(8))), r"pass probe=\(\(x, t\), y\)"),
        (lambda x, y, folder: diorama.attribute(Timed(), x, target=0), r"as a tuple, \(x, t\)"),
        (lambda x, y, folder: diorama.Scene(Middle(nn.Linear(8, 8)), x.to_sparse(), y), r"pass x\.to_dense\(\)"),
        (lambda x, y, folder: diorama.Scene(Middle(nn.Linear(8, 8)), torch.nested.nested_tensor([x[:2], x[:3]])), "padded"),
        (lambda x, y, folder: diorama.Scene(Middle(nn.Linear(8, 8)), (None, True)), "at least one tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_cannot_be_taken_names_the_form_that_can(call: Any, way: str, tmp_path: Path) -> None:
    """Several tasks, a detector, sparse and nested inputs, two inputs told as one: the sentence says what to type."""
    with pytest.raises(diorama.DioramaError, match=way):
        call(*_data(), tmp_path / "run")


def test_what_the_sentences_name_works(tmp_path: Path) -> None:
    """The forms that the sentences name are taken."""
    x, y = _data()
    pick = lambda found: torch.stack([one["scores"].max()[None] for one in found])  # noqa: E731 - as a user writes it
    diorama.Scene(Detecting(), x, outputs=pick).view("answer")
    diorama.watch(Timed(), tmp_path / "run", probe=((x, torch.rand(8)), y)).close()
    assert diorama.attribute(Timed(), (x, torch.rand(8)), target=0).values[1].shape == (8,)


def test_a_fault_of_ours_is_not_laid_on_the_model() -> None:
    """What the model's own code raises is told as its; what ours raises inside of a pass comes as it is."""

    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("half way")

    def wrong(name: str, tensor: Tensor) -> None:
        raise KeyError(name)

    x, y = _data()
    with pytest.raises(diorama.NotApplicable, match=r"failed with 1 example: ValueError: half way \(in .*test_ways_in"):
        diorama.Scene(Failing(), x, y).view("answer")
    with pytest.raises(KeyError), blamed(), Capture(Middle(nn.Linear(8, 8)), ["first"], reduce=wrong) as look:
        look(x)


def test_examples_keep_what_has_no_example_axis(tmp_path: Path) -> None:
    """A probe set with nothing, flags, words, lists and packed sequences comes back from its file as it was."""
    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 2), torch.ones(2, 2)])
    given = {"x": torch.randn(2, 3), "none": None, "flag": True, "word": "w", "scale": torch.tensor(2.0),
             "both": [torch.zeros(2, 1), torch.ones(2, 1)], "text": packed}
    examples = Examples.of(given)
    examples.save(tmp_path / "probe.safetensors")
    again = Examples.load(tmp_path / "probe.safetensors")
    assert again.fingerprint == examples.fingerprint
    assert list(again.kind) == ["x", "both.0", "both.1", "text.steps", "text.lengths"]  # type: ignore[arg-type]
    assert (again.x["none"], again.x["flag"], again.x["word"]) == (None, True, "w")  # type: ignore[call-overload]
    assert isinstance(again.x["both"], list)  # type: ignore[call-overload]
    assert isinstance(again.x["text"], nesting.PaddedSequence)  # type: ignore[call-overload]
    assert float(nesting.select(again.x, [1])["scale"]) == 2.0  # type: ignore[call-overload]
