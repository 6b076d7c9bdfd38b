"""Networks drawn at random: kind of input, style of ops, form of output, number type, reuse, own and tied parameters,
weight norm, nesting."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

KINDS = ("image", "sequence", "tokens", "table", "volume", "dict", "signal", "clip")
STYLES = ("modules", "functional", "in place", "hidden", "einsum")
FORMS = ("tensor", "tuple", "dict", "dataclass", "list", "two heads")
WEIGHTS = ("plain", "plain", "tied", "normed", "nested")
TYPES = (torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64)


@dataclasses.dataclass(frozen=True)
class Traits:
    """What makes one drawn network unlike another."""

    kind: str
    style: str
    form: str
    dtype: torch.dtype
    reused: bool
    own: bool
    weights: str
    """Of the layer between: its own, one that another layer has too, of a norm of their own, or in nested sequentials."""

    def __str__(self) -> str:
        extra = " reused" * self.reused + " own" * self.own + f" {self.weights}" * (self.weights != "plain")
        return f"{self.kind}, {self.style}, {self.form}, {str(self.dtype)[6:]}{extra}"


def traits(seed: int) -> Traits:
    """The traits of a number: kinds, styles and forms come in turn, so that few draws meet all of them."""
    chance = random.Random(seed)
    dtype = chance.choice(TYPES)
    kind, style = KINDS[seed % len(KINDS)], STYLES[seed % len(STYLES)]
    if dtype.is_complex:  # in-place rectifiers and attention are of real numbers
        kind, style = ("table", "signal", "image", "sequence")[seed % 4], "functional"
    form = FORMS[(seed * 2 + seed // 5) % len(FORMS)]
    reused, own, weights = chance.random() < 0.5, chance.random() < 0.5, chance.choice(WEIGHTS)
    if dtype.is_complex and weights == "normed":
        weights = "tied"  # torch has no weight norm of complex numbers
    return Traits(kind, style, form, dtype, reused, own, weights)


@dataclasses.dataclass
class Answer:
    """An output with names."""

    logits: Tensor
    state: Tensor


class _Hidden(torch.autograd.Function):
    """A ReLU that no mode sees."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * (ctx.saved_tensors[0] > 0)


class Drawn(nn.Module):
    """A stem for the kind of input, a layer called once or twice, perhaps attention, a mean over places, a head."""

    def __init__(self, traits: Traits) -> None:
        super().__init__()
        self.traits, kind = traits, traits.kind
        if kind in ("image", "dict"):
            self.stem: nn.Module = nn.Conv2d(1, 4, 3, padding=1)
        elif kind in ("volume", "clip"):
            self.stem = nn.Conv3d(3 if kind == "clip" else 1, 4, 3, padding=1)
        elif kind == "signal":
            self.stem = nn.Conv1d(2, 4, 3, padding=1)
        else:
            self.stem = nn.Embedding(11, 4) if kind == "tokens" else nn.Linear(5, 4)
        if kind == "dict":
            self.side = nn.Linear(5, 4)
        self.between, self.head = self._middle(), nn.Linear(4, 3)
        self.beside = nn.Linear(4, 2) if traits.form == "two heads" else None
        self.act = nn.ReLU() if traits.style == "modules" else None
        self.scale = nn.Parameter(torch.rand(4) + 0.5) if traits.own else None
        self.register_buffer("turn", torch.tensor([1.0, -1.0, 0.5, 2.0]), persistent=False)  # in no state_dict()

    def _middle(self) -> nn.Module:
        made = nn.Linear(4, 4)
        if self.traits.weights == "tied":
            other = nn.Linear(4, 4)
            other.weight = made.weight
            return nn.Sequential(made, other)
        if self.traits.weights == "normed":
            return nn.utils.parametrizations.weight_norm(made)
        return nn.Sequential(nn.Sequential(made), nn.Identity()) if self.traits.weights == "nested" else made

    def forward(self, x: Any = None, image: Any = None, row: Any = None) -> Any:
        h = self._bent(self.stem(x if image is None else image))
        if isinstance(self.stem, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            h = h.flatten(2).transpose(1, 2)
        if row is not None:
            h = h + self.side(row)[:, None]
        if self.traits.style == "einsum" and h.ndim == 3:
            pattern = torch.einsum("nqc,nkc->nqk", h, h).mul(0.5).softmax(-1)
            h = h + torch.einsum("nqk,nkc->nqc", pattern, h)
        for _ in range(1 + self.traits.reused):
            h = self._bent(self.between(h))
        if self.scale is not None:
            h = h * self.scale * self.turn
        state = h.mean(1) if h.ndim == 3 else h
        scores = self.head(state)
        if scores.is_complex():
            scores = scores.abs()
        form = self.traits.form
        if form == "tensor":
            return scores
        if self.beside is not None:
            return scores, self.beside(state).abs() if state.is_complex() else self.beside(state)
        if form == "dict":
            return {"logits": scores, "state": state}
        return Answer(scores, state) if form == "dataclass" else [scores, state] if form == "list" else (scores, state)

    def _bent(self, h: Tensor) -> Tensor:
        if h.is_complex():
            return torch.tanh(h)
        if self.act is not None:
            return self.act(h)
        return {"functional": F.relu, "in place": torch.relu_, "hidden": _Hidden.apply, "einsum": F.gelu}[self.traits.style](h)


def drawn(seed: int, count: int = 4) -> tuple[Drawn, Any, Tensor]:
    """A network, an input and classes for a number; the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = traits(seed)
        model = Drawn(made).to(made.dtype).eval()
        shape = {"sequence": (6, 5), "table": (5,), "volume": (1, 3, 4, 4), "clip": (3, 3, 4, 4), "signal": (2, 6)}.get(made.kind, (1, 6, 6))
        x: Any = torch.randn(count, *shape).to(made.dtype)
        if made.dtype.is_complex:
            x = torch.randn(count, *shape, dtype=made.dtype)
        if made.kind == "tokens":
            x = torch.randint(0, 11, (count, 7))
        if made.kind == "dict":
            x = {"image": x, "row": torch.randn(count, 5).to(made.dtype)}
    return model, x, torch.arange(count) % 3


def scores_of(output: Any) -> Tensor:
    """The scores in any form of output."""
    if isinstance(output, dict):
        return output["logits"]
    return output.logits if isinstance(output, Answer) else output if isinstance(output, Tensor) else output[0]
