"""What layers and heads add to the score of an answer: direct logit attribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attentions import LETTERS, Writes
from torch import nn
from zoo import ZOO

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Bars, Heatmap
from diorama.scene import Scene


def _scene(classes: int = 0) -> Scene:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = Writes(classes).eval(), torch.randint(0, 10, (6, 12))
    return Scene(model, x, torch.arange(6) % 3 if classes else x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=LETTERS))


@pytest.mark.parametrize("classes", [0, 3])
def test_layers_add_what_the_formula_says(classes: int) -> None:
    """Each layer's term is its answer, centred, over the norm's own size, times the norm's and the answer's weights."""
    scene = _scene(classes)
    found = scene.derive("contributions", example=2, answer=1).value
    model, x = scene.model, scene.examples.x[2:3]
    with torch.no_grad():
        held = model.stream(x)
        size = (held[-1].var(-1, unbiased=False, keepdim=True) + model.norm.eps).sqrt()
        parts = [held[0], held[1] - held[0], held[2] - held[1]]
        rows = [(part - part.mean(-1, keepdim=True)) / size * model.norm.weight @ model.head.weight[1] for part in parts]
        terms = [float(row.mean() if classes else row[0, -1]) for row in rows]
        score = float(model(x)[0, 1] if classes else model(x)[0, -1, 1])
    values = found["values"]
    np.testing.assert_allclose([values[0], values[1] + values[2], values[3] + values[4]], terms, atol=1e-5)
    assert found["score"] == pytest.approx(score, abs=1e-6)
    assert values.sum() + found["constant"] == pytest.approx(score, abs=1e-5)


def test_heads_add_up_to_their_layer() -> None:
    """What the heads of an attention add, and the bias of its projection, is what the attention adds."""
    scene = _scene()
    found = scene.derive("contributions", answer=4).value
    model = scene.model
    with torch.no_grad():
        end = model.stream(scene.examples.x[:1])[-1][0, -1]
        size = (end.var(unbiased=False) + model.norm.eps).sqrt()
        slope = model.norm.weight * model.head.weight[4]
        slope = (slope - slope.mean()) / size
        biases = [float(slope @ block.out.bias) for block in model.blocks]
    assert found["attentions"] == ["blocks.0", "blocks.1"]
    np.testing.assert_allclose(found["heads"].sum(1) + biases, found["values"][[1, 3]], atol=1e-5)


class _InOneForward(nn.Module):
    """A tied transformer whose attentions are sums and a softmax in its own forward pass, a layer after another in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.asks, self.out = (nn.ModuleList(nn.Linear(8, width, bias=False) for _ in range(3)) for width in (24, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stream = self.embed(x)
        (n, t), later = x.shape, torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        for asks, out in zip(self.asks, self.out, strict=True):
            query, key, value = asks(stream).reshape(n, t, 3, 2, 4).unbind(2)
            weights = torch.einsum("nihd,njhd->nhij", query, key).masked_fill(later, -torch.inf).softmax(-1)
            stream = stream + out(torch.einsum("nhij,njhd->nihd", weights, value).reshape(n, t, 8))
        return stream @ self.embed.weight.T


def test_heads_are_told_where_the_network_itself_attends() -> None:
    """Attentions that no module holds have their heads told apart layer by layer: without biases they add up to their layer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = _InOneForward().eval(), torch.randint(0, 10, (6, 12))
    scene = Scene(model, x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=LETTERS))
    found = scene.derive("contributions", example=1).value
    assert found["attentions"] == ["attention", "attention#2", "attention#3"]
    np.testing.assert_allclose(found["heads"].sum(1), found["values"][1:], atol=1e-5)


def test_the_view_sums_to_the_score() -> None:
    """Bars, constant and check tell the same sum for the chosen answer and place; heads can be chosen."""
    picture = _scene().view("contributions", class_=3, token=5)
    bars = next(mark for mark in picture.marks() if isinstance(mark, Bars))
    heads = next(mark for mark in picture.marks() if isinstance(mark, Heatmap))
    assert "“d” at position 5" in picture.caption
    assert picture.checks[0].value < 1e-5
    assert bars.labels[-1] == "constant"
    assert heads.cell_keys[3] == "head:blocks.1/1"


def test_norms_on_the_stream_are_refused() -> None:
    """Where norms lie behind the sums, terms would not add up, and the refusal says so; so it does without a stream."""
    model, x = next(specimen for specimen in ZOO if specimen.name == "encoder_late")()
    with pytest.raises(NotApplicable, match="do(es)? not add up"):
        Scene(model, x).view("contributions")
    with pytest.raises(NotApplicable, match="residual stream"):
        Scene(nn.Linear(3, 2), torch.rand(3, 3)).derive("contributions")


class _Block(nn.Module):
    """A layer whose answer is added in sight, or written into a copy of the stream."""

    def __init__(self, written: bool = False) -> None:
        super().__init__()
        self.layer, self.written = nn.Linear(4, 4), written

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.written:
            return x + self.layer(x)
        kept = x.clone()
        kept[:] = x + self.layer(x)
        return kept


class _Mixed(_Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.lerp(x, self.layer(x), 0.5)


class _Parallel(_Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.5 * (self.layer(x) + self.layer(x.tanh()))


def _scene_of(*layers: nn.Module) -> Scene:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), *layers, nn.Linear(4, 3)).eval()
        return Scene(model, torch.randn(6, 3), torch.arange(6) % 3)


def test_bars_are_the_score_only_where_they_sum_to_it() -> None:
    """Where the way out bends, the caption tells both numbers."""
    picture = _scene_of(_Block(), nn.GELU()).view("contributions")
    assert not picture.checks[0].good
    assert "while all bars sum to" in picture.caption
    assert "as what follows the last layer is not linear" in picture.caption


def test_the_layer_that_takes_most_is_not_said_to_add() -> None:
    """The caption names the largest part, and whether it speaks for the answer or against it, as its bar does."""
    scene = _scene_of(_Block())
    for answer in range(3):
        picture = scene.view("contributions", class_=answer)
        (bars,) = (mark for mark in picture.marks() if isinstance(mark, Bars))
        terms = bars.values[:-1]
        best = int(np.abs(terms).argmax())
        assert f"most is {'added' if terms[best] > 0 else 'taken'} by {bars.labels[best]} ({terms[best]:+.3g})".replace("-", "−") in picture.caption


def test_layers_in_parallel_are_told_apart() -> None:
    """Where answers are summed, and scaled, before they are added, each layer's term is its own, as by hand."""
    scene = _scene_of(_Parallel(), _Parallel())
    found = scene.derive("contributions", example=3, answer=1).value
    first, second, third, head = scene.model
    with torch.no_grad():
        terms = [held := first(scene.examples.x[3:4])]
        for block in (second, third):
            terms += [0.5 * block.layer(held), 0.5 * block.layer(held.tanh())]
            held = held + terms[-2] + terms[-1]
        by_hand = [float(term[0] @ head.weight[1]) for term in terms]
    assert found["layers"] == ["0", *(f"{k}.layer{more}" for k in (1, 2) for more in ("", "#2"))]
    np.testing.assert_allclose(found["values"], by_hand, atol=1e-6)


def test_what_is_written_into_the_stream_unseen_is_refused() -> None:
    """The layer behind would be told what was written before it."""
    with pytest.raises(NotApplicable, match=r"before 2\.layer adds"):
        list(_scene_of(_Block(written=True), _Block()).derive("contributions").stream())


def test_layers_behind_the_stream_are_named() -> None:
    """Where a layer adds in a way that is not followed, contributions refuses by its name, and lens says that it runs in every row."""
    scene = _scene_of(_Block(), _Mixed())
    with pytest.raises(NotApplicable, match="2 adds to it in another way"):
        scene.view("contributions")
    assert "What 2 and layers behind it add" in scene.view("lens").note


class _ReadOn(nn.Module):
    """A recurrent layer, or a cell in a loop, between a residual stream and the answer."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.embed, self.block, self.head = nn.Embedding(10, 4), _Block(), nn.Linear(4, 10)
        self.reader = kind(4, 4) if "Cell" in kind.__name__ else kind(4, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.block(self.embed(x))
        if isinstance(self.reader, nn.GRUCell):
            state = h.new_zeros(len(h), 4)
            h = torch.stack([state := self.reader(h[:, k], state) for k in range(h.shape[1])], 1)
        else:
            h = self.reader(h)[0]
        out: torch.Tensor = self.head(h)
        return out


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN, nn.GRUCell])
def test_a_recurrent_layer_behind_the_stream_is_refused_by_name(kind: type[nn.Module]) -> None:
    """What layers add to a state that bends it at every place is not defined, and no bars are drawn for it."""
    x = torch.randint(0, 10, (6, 5))
    scene = Scene(_ReadOn(kind).eval(), x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=LETTERS), task="next_token")
    with pytest.raises(NotApplicable, match="reader reads it place by place"):
        scene.view("contributions")
