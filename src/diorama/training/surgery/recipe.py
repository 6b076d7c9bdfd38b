"""What an added layer is made of, as plain data: with it the same layer is made again."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from ...core.errors import NotApplicable
from .followed import Skip

Start = Literal["identity", "residual"]
STARTS: tuple[Start, ...] = ("identity", "residual")
CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class ResidualBlock(nn.Module):
    """A residual block that starts as the identity: its second layer is zero."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.rectifier, self.second = first, nn.ReLU(), second

    def forward(self, x: Tensor) -> Tensor:
        """What it gets, and what it adds to that."""
        added: Tensor = self.second(self.rectifier(self.first(x)))
        return x + added


class LayerRecipe(msgspec.Struct):
    """What an added layer is made of."""

    layer: Literal["Linear", "Conv1d", "Conv2d", "Conv3d"]
    width: int
    how: Literal["identity", "residual", "skip"]
    rectified: bool
    """Whether a ReLU follows, as what it gets is never below zero."""
    dtype: str
    source: str = ""
    """Of a way round: the layer where it begins, …"""
    read: int = 0
    """… how many units that has, …"""
    stride: list[int] = []
    """… and how many of its places come to one of the other's, along each axis."""


def recipe_of(given: Tensor, axis: int, how: Start, after: str) -> LayerRecipe:
    places = given.ndim - 2
    if axis == given.ndim - 1:
        kind = "Linear"
    elif axis == 1 and places in CONVOLUTIONS:
        kind = f"Conv{places}d"
    else:
        raise NotApplicable(f"what {after!r} gives has shape {tuple(given.shape)[1:]}, which neither a dense layer nor a convolution keeps")
    return LayerRecipe(kind, given.shape[axis], how, bool((given >= 0).all()), str(given.dtype).removeprefix("torch."))  # type: ignore[arg-type]


def made(recipe: LayerRecipe, seed: int) -> nn.Module:
    width, draw = recipe.width, torch.Generator().manual_seed(seed)
    if recipe.how == "skip":
        if recipe.layer == "Linear":
            way = _fresh(nn.Linear, draw, recipe.read, width, bias=False)
        else:
            way = _fresh(CONVOLUTIONS[int(recipe.layer[4])], draw, recipe.read, width, 1, stride=tuple(recipe.stride), bias=False)
        way.get_parameter("weight").data.zero_()
        return Skip(way, recipe.source).to(getattr(torch, recipe.dtype))
    if recipe.layer == "Linear":
        first, second = (_fresh(nn.Linear, draw, width, width) for _ in range(2))
    else:
        first, second = (_fresh(CONVOLUTIONS[int(recipe.layer[4])], draw, width, width, 3, padding=1) for _ in range(2))
    with torch.no_grad():
        if recipe.how == "residual":
            for parameter in second.parameters():
                parameter.zero_()
            made: nn.Module = ResidualBlock(first, second)
        else:
            weight, bias = first.get_parameter("weight"), first.get_parameter("bias")
            bias.zero_()
            (nn.init.eye_ if weight.ndim == 2 else nn.init.dirac_)(weight)
            made = nn.Sequential(first, nn.ReLU()) if recipe.rectified else first
    return made.to(getattr(torch, recipe.dtype))


def _fresh(kind: type[nn.Module], draw: torch.Generator, *sizes: int, **options: Any) -> nn.Module:
    """A layer as torch begins it, from a generator of its own."""
    made: nn.Module = torch.nn.utils.skip_init(kind, *sizes, **options)
    weight = made.get_parameter("weight")
    bound = 1 / math.sqrt(weight[0].numel())
    for parameter in made.parameters():
        parameter.data.uniform_(-bound, bound, generator=draw)
    return made
