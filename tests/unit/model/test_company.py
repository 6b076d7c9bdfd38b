"""Networks whose examples are not answered each for itself: told, and never shown as if they were."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import DioramaError
from diorama.core.marks import Number
from diorama.derive.scans import seen
from diorama.model import company
from diorama.model.layers import layers


class Company(nn.Module):
    """Two layers, and between them what the name says."""

    def __init__(self, between: str) -> None:
        super().__init__()
        self.gate, self.inner, self.outer = nn.Linear(6, 3), nn.Linear(6, 8), nn.Linear(8, 3)
        self.experts = nn.ModuleList(nn.Linear(6, 8) for _ in range(3))
        self.norm, self.attend = nn.BatchNorm1d(8, track_running_stats=False), nn.MultiheadAttention(8, 2)
        self.between = between

    def forward(self, x: Tensor) -> Any:
        """Scores of three classes."""
        chosen: Tensor = self.gate(x).argmax(1)
        h = getattr(self, self.between)(x, chosen)
        out: Tensor = self.outer(h)
        return (out, self.beside) if self.between == "pairs" else out

    def plain(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Each example by itself; which it is, Python asks."""
        h: Tensor = self.inner(x)
        return h * 2 if bool(h.sum() > 1e9) else h.relu()

    def ordered(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Rows sorted by what the gate says, and put back."""
        order = chosen.argsort(stable=True)
        h = self.inner(x[order]).relu()
        return torch.zeros_like(h).index_copy(0, order, h)

    def mixture(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Experts that get the rows which the gate picks for them."""
        h = x.new_zeros(len(x), 8)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero().flatten()
            h = h.index_add(0, rows, expert(x[rows]))
        return h

    def early(self, x: Tensor, chosen: Tensor) -> Tensor:
        """A layer that runs only where the input says so."""
        h: Tensor = self.inner(x)
        return h + self.experts[0](x) if x.sum() > 0 else h

    def mean(self, x: Tensor, chosen: Tensor) -> Tensor:
        """An average over the batch, by hand."""
        h: Tensor = self.inner(x)
        return (h - h.mean(0)).relu()

    def batch(self, x: Tensor, chosen: Tensor) -> Tensor:
        """A batch norm without running statistics."""
        h: Tensor = self.norm(self.inner(x))
        return h

    def attention(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Attention along the examples, as where ``batch_first`` was forgotten."""
        h = self.inner(x)[:, None]
        out: Tensor = self.attend(h, h, h)[0][:, 0]
        return out

    def pairs(self, x: Tensor, chosen: Tensor) -> Tensor:
        """A second output holds how alike any two examples are; the scores do not."""
        h: Tensor = self.inner(x)
        self.beside = h @ h.T
        return h

    def noise(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Random numbers, which are of no other example."""
        h: Tensor = self.inner(x)
        return h + torch.randn_like(h)


def _made(between: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(3)
    return Company(between).eval(), torch.randn(24, 6) + torch.tensor([0.0, -2.0, 2.0]).repeat(8)[:, None]


ODD = {
    "plain": {}, "ordered": {"inner": company.SORTED}, "mixture": dict.fromkeys(("experts.0", "experts.1", "experts.2"), company.PICKED),
    "early": {"experts.0": "runs for some inputs only"}, "mean": {}, "batch": {}, "attention": {}, "noise": {}, "pairs": {},
}


@pytest.mark.parametrize("between", list(ODD))
def test_a_layer_is_read_example_by_example_or_says_why_not(between: str) -> None:
    """What is said of example 5 among others is what the layer answers to it alone; layers and networks of which that is
    not so say it, and no others do."""
    model, x = _made(between)
    scene = diorama.Scene(model, x)
    assert {layer.name: layer.unlike for layer in scene.layers if layer.unlike} == ODD[between]
    mixed = any("depends on the other examples" in note or "by its whole batch" in note for note in scene.guessed)
    assert mixed == (between in ("early", "mean", "batch", "attention"))
    assert any("leave" in note for note in scene.layers.notes) == bool(ODD[between])
    for layer in scene.layers:
        if layer.each and not mixed:
            alone = scene.activations(layer.name, x[5:6])[layer.name]
            if between != "noise" or layer.name != "outer":
                torch.testing.assert_close(scene.activations(layer.name)[layer.name][5:6], alone)
        elif layer.reason:
            with pytest.raises(diorama.NotApplicable, match=layer.reason):
                scene.activations(layer.name)
            with pytest.raises(diorama.NotApplicable, match=layer.reason):
                diorama.attribute(model, x, f"unit:{layer.name}/1")


def test_as_many_rows_as_examples_by_chance_are_none_of_theirs() -> None:
    """A layer that is fed the same two rows whatever comes in is not read as if they were two examples', and takes no view with it."""
    model, x = _made("plain")
    rows = nn.Linear(5, 4)
    model.register_module("rows", rows)
    model.register_forward_pre_hook(lambda module, args: (args[0] + rows(torch.ones(2, 5)).mean(),))
    scene = diorama.Scene(model, x)
    assert {layer.name: layer.reason for layer in scene.layers if layer.reason} == {"rows": company.MERGED}
    assert next(scene.stream("activations")) is not None
    # Nor does what a module fails to say of itself.
    model.extra_repr = lambda: 1 / 0  # type: ignore[assignment]
    assert scene.derive("scan").key


class _Beside(nn.Module):
    def __init__(self, between: str) -> None:
        super().__init__()
        self.inner, self.outer, self.between = nn.Linear(6, 8), nn.Linear(8, 3), between
        self.norm, self.along = nn.BatchNorm1d(8), nn.Conv1d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of three classes, by ops that treat each example alone, but for one."""
        h: Tensor = self.inner(x).relu_()
        if self.between == "unseen":
            with torch._C.DisableTorchFunction():  # as in what is written in another language
                h = h - h.mean(0)
            h = h + 0
        elif self.between == "unbatched":
            h = self.along(h)
        elif self.between == "statistics":
            h = nn.functional.batch_norm(h, self.norm.running_mean, self.norm.running_var, training=True)
        elif self.between in ("within", "across"):
            h = nn.functional.layer_norm(h, (8,)).unflatten(1, (2, 4)).flatten(1)
            h = h.softmax(-1 if self.between == "within" else 0)
        out: Tensor = self.outer(self.norm(h) + h)
        return out


class _Texts(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.embed, self.inner, self.out, self.way = nn.Embedding(9, 8), nn.Linear(8, 24), nn.Linear(8, 3), way
        self.attend = nn.MultiheadAttention(8, 2, batch_first=way == "attends")
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.cells = nn.LSTM(8, 8, batch_first=way == "recurs")
        self.places = nn.Parameter(torch.randn(5, 8))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of texts: most ways keep each by itself, some let the texts of a batch meet."""
        there = (x != 0).unsqueeze(-1).float()
        h = self.embed(x) + self.places + torch.arange(5.0).unsqueeze(1).sin()
        if self.way in ("attends", "attends across"):
            h = self.attend(h, h, h, need_weights=False)[0]
        elif self.way == "block":
            h = self.block(h, src_key_padding_mask=x == 0)
        elif self.way in ("recurs", "recurs across"):
            h = self.cells(h)[0]
        elif self.way in ("heads", "heads over texts"):
            q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.inner(h).chunk(3, -1))
            if self.way == "heads":
                shares = (q @ k.transpose(-2, -1)).mul(0.5).masked_fill(torch.ones(5, 5).triu(1) > 0, -1e9).softmax(-1)
                h = (shares @ v).transpose(1, 2).reshape(len(x), 5, 8)
            else:
                q, k, v = (part.permute(2, 1, 0, 3) for part in (q, k, v))
                h = nn.functional.scaled_dot_product_attention(q, k, v).permute(2, 0, 1, 3).flatten(2)
        elif self.way == "two by two":
            h = self.inner(h.reshape(-1, 10, 8)).mean(1, keepdim=True).expand(-1, 10, -1).reshape(len(x), 5, 24)[..., :8]
        elif self.way == "least":
            h = h - h.amin(0)
        elif self.way == "turned":
            h = h.transpose(0, 1).contiguous().view(len(x), 5, 8)
        scores: Tensor = self.out((h * there).sum(1) / there.sum(1).clamp(min=1))
        return scores


_KEPT = ("nothing", "attends", "block", "recurs", "heads")


@pytest.mark.parametrize("way", [*_KEPT, "attends across", "recurs across", "heads over texts", "two by two", "least", "turned"])
def test_attention_within_each_text_is_told_by_its_ops_and_across_texts_it_is_found(way: str) -> None:
    """Transformers and recurrent networks run once as long as every axis of texts stays by itself; wherever two texts meet, passes tell."""
    torch.manual_seed(2)
    model, runs = _Texts(way).eval(), []
    model.register_forward_hook(lambda module, args, output: runs.append(len(args[0])))
    x = torch.randint(1, 9, (6, 5))
    table = layers(model, x)
    assert bool(table.mixing) == (way not in _KEPT)
    assert (len(runs) == 1) == (way in _KEPT)
    # The pass that finds out how answers are read shows the same layers.
    scene, seen = diorama.Scene(model, x), len(runs)
    assert scene.reading is not None
    assert list(scene.layers) == list(table)
    assert scene.layers.notes == table.notes
    assert (len(runs) == seen + 1) == (way in _KEPT)


@pytest.mark.parametrize("between", ["nothing", "within", "across", "unseen", "unbatched", "statistics"])
def test_one_pass_tells_the_layers_only_where_no_op_can_mix_examples(between: str) -> None:
    """A network of plain ops runs once; one whose examples meet where no op shows it, or in an op that mostly keeps them apart, is found out."""
    torch.manual_seed(0)
    model, runs = _Beside(between).eval(), []
    model.register_forward_hook(lambda module, args, output: runs.append(len(args[0])))
    table = layers(model, torch.randn(2, 6))
    assert bool(table.mixing) == (between not in ("nothing", "within"))
    assert (len(runs) == 1) == (between in ("nothing", "within"))


@pytest.mark.parametrize("between", ["mixture", "early"])
def test_views_leave_out_what_cannot_be_read_example_by_example(between: str) -> None:
    """No foreign error, and what they say of a layer that is named for them is the reason."""
    model, x = _made(between)
    scene = diorama.Scene(model, x, torch.arange(24) % 3)
    odd = next(iter(ODD[between]))
    for name in ("activations", "clusters", "features", "selectivity"):
        told: dict[str, Any] = {"layer": odd} if name in ("features", "selectivity") else {}
        with contextlib.suppress(diorama.NotApplicable):
            next(scene.stream(name))
        if told:
            with pytest.raises(DioramaError, match=f"{odd} (answers|runs)|does not run {odd}"):
                list(scene.stream(name, **told))


@pytest.mark.parametrize("between", ["ordered", "mixture", "early"])
def test_what_a_unit_says_of_each_example_is_its_own_row(between: str) -> None:
    """The inspector and the card ask each example alone: a unit's strongest examples, and how many it is run for, are those of a plain pass."""
    model, x = _made(between)
    scene = diorama.Scene(model, x, torch.arange(24) % 3)
    odd = next(iter(ODD[between]))
    with torch.no_grad():
        runs = {"ordered": x.sum(1) < torch.inf, "mixture": model.gate(x).argmax(1) == 0, "early": x.sum(1) > 0}[between]
        own = model.get_submodule(odd)(x)[:, 2].where(runs, -torch.inf)
    found = seen(scene, scene.layers[odd]).statistics
    best = own.topk(3).indices.tolist()
    assert found.examples == int(runs.sum())
    assert found.top.examples[2][:3].tolist() == best
    picture = scene.view("inspector", select=[f"unit:{odd}/2"])
    ran = next(mark for mark in picture.marks() if isinstance(mark, Number) and mark.label == "run for")
    assert ran.value == int(runs.sum())
    scene.view("inspector", select=[f"layer:{odd}"])
    scene.view("card", select=[f"unit:{odd}/2", f"example:{best[0]}"])


def test_what_a_collapsed_gate_picked_is_refused_once_it_picks_otherwise() -> None:
    """Seen through one expert, all rows are the examples' own; an input that goes to another one is no such row, nor a foreign error."""
    model, x = _made("mixture")
    assert isinstance(model, Company)
    with torch.no_grad():
        model.gate.bias += torch.tensor([0.0, 50.0, 0.0])
    table = layers(model, x)
    assert table["experts.1"].each
    assert not table["experts.0"].each
    scene = diorama.Scene(model, x)
    assert len(scene.activations("experts.1")["experts.1"]) == 24
    with torch.no_grad():
        model.gate.bias -= torch.tensor([0.0, 50.0, 0.0])
    with pytest.raises(diorama.NotApplicable, match="experts.1 answers rows that the network picks"):
        scene.activations("experts.1", x)


class Drawing(nn.Module):
    """A layer that Python asks of, and noise on its answer, in the way that the name says."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.inner, self.how = nn.Linear(6, 8), how

    def forward(self, x: Tensor) -> Tensor:
        """An answer for each example, never twice the same, but for ``still``."""
        h: Tensor = self.inner(x)
        h = h * 2 if bool(h.sum() > 1e9) else h
        return h + {
            "normal_": lambda: torch.empty_like(h).normal_(),
            "uniform_": lambda: torch.zeros(h.shape).uniform_(),
            "rand": lambda: torch.rand(h.shape),
            "normal": lambda: torch.normal(0.0, 1.0, h.shape),
            "dropout": lambda: nn.functional.dropout(h, 0.5),
            "dropout_": lambda: torch.dropout_(h.clone(), 0.5, True),
            "rrelu": lambda: nn.functional.rrelu(-h.abs(), training=True),
            "attention": lambda: nn.functional.scaled_dot_product_attention(h[:, None, None], h[:, None, None], h[:, None, None], None, 0.5)[:, 0, 0],
            "still": lambda: nn.functional.rrelu(nn.functional.dropout(h, 0.5, training=False)),
        }[self.how]()


@pytest.mark.parametrize("how", ["normal_", "uniform_", "rand", "normal", "dropout", "dropout_", "rrelu", "attention", "still"])
def test_noise_is_not_taken_for_company(how: str) -> None:
    """A network that draws random numbers, in whatever way, is not said to mix examples or to choose by its batch."""
    torch.manual_seed(0)
    model = Drawing(how).eval()
    mixes = {layers(model, torch.randn(8, 6)).mixing for _ in range(3)}
    assert mixes == {""}
