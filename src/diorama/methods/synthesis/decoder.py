"""A network trained to draw a picture from a layer's code: what the code tells on average, at once for any example."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from ...model.randomness import RandomnessKeeper

EVERY = 0.5
"""Seconds between looks at the training."""
_WIDTH, _LEAST = 64, 16
_BATCH = 32
_RATE = 2e-3


class Decoder(nn.Module):
    """Up-convolutions from a code (n, units, …) to planes (n, channels, height, width) from 0 to 1.

    *Meaning* a code without places is first spread over a coarse grid; then the grid is doubled and convolved until it
    has the picture's size.
    *Source* Dosovitskiy & Brox 2016, "Inverting visual representations with convolutional networks", section 3.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, code: tuple[int, ...], size: tuple[int, ...], generator: torch.Generator | None) -> None:
        super().__init__()
        self.code, self.size = code, size
        self.register_buffer("mean", torch.zeros(code[0]))
        self.register_buffer("deviation", torch.ones(code[0]))
        height, width = size[1:]
        self.grid = code[1:] if len(code) == 3 else _coarse(height, width)
        doublings = max(0, math.ceil(math.log2(max(height / self.grid[0], width / self.grid[1]))))
        wide = _WIDTH
        entrance: nn.Module
        if len(code) == 3:
            entrance = nn.Conv2d(code[0], wide, 3, padding=1)
        else:
            entrance = nn.Linear(math.prod(code), wide * self.grid[0] * self.grid[1])
        self.entrance = entrance
        self.steps = nn.ModuleList()
        for _ in range(max(1, doublings)):
            narrow = max(_LEAST, wide // 2)
            self.steps.append(nn.Conv2d(wide, narrow, 3, padding=1))
            wide = narrow
        self.last = nn.Conv2d(wide, size[0], 3, padding=1)
        self.doublings = doublings
        for part in self.modules() if generator is not None else ():
            if isinstance(part, nn.Conv2d | nn.Linear):
                fan = part.weight[0].numel()
                with torch.no_grad():
                    part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * math.sqrt(1.6 / fan))
                    if part.bias is not None:
                        part.bias.zero_()

    @classmethod
    def shapes(cls, code: tuple[int, ...], size: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The shapes of its weights, without making them."""
        with torch.device("meta"), RandomnessKeeper():
            made = cls(code, size, None)
        return {name: tuple(part.shape) for name, part in made.state_dict().items()}

    def fit(self, codes: Tensor) -> None:
        """Learn the mean and deviation of each unit."""
        flat = codes.transpose(0, 1).flatten(1)
        self.mean.copy_(flat.mean(1))
        self.deviation.copy_(flat.std(1).clamp_min(1e-6))

    def forward(self, code: Tensor) -> Tensor:
        """Planes from codes."""
        broad = (1, -1, *[1] * (code.ndim - 2))
        x = (code - self.mean.reshape(broad)) / self.deviation.reshape(broad)
        if isinstance(self.entrance, nn.Linear):
            x = self.entrance(x.flatten(1)).reshape(len(x), -1, *self.grid)
        else:
            x = self.entrance(x)
        x = F.leaky_relu(x, 0.2)
        for number, step in enumerate(self.steps):
            if number < self.doublings:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.leaky_relu(step(x), 0.2)
        if tuple(x.shape[2:]) != tuple(self.size[1:]):
            x = F.interpolate(x, tuple(self.size[1:]), mode="bilinear", align_corners=False)
        return torch.sigmoid(self.last(x))


def _coarse(height: int, width: int) -> tuple[int, int]:
    """A grid of about four places a side that doubles to the picture's size."""
    doublings = max(0, math.floor(math.log2(max(1, min(height, width) / 4))))
    return math.ceil(height / 2**doublings), math.ceil(width / 2**doublings)


@dataclasses.dataclass(frozen=True)
class DecoderMoment:
    """A moment of a decoder's training: its loss on its examples and on those held out (mean squared errors)."""

    decoder: Decoder
    step: int
    steps: int
    loss: float
    held_out: float
    final: bool
    state: Callable[[], dict[str, Any]] | None = None
    """Gives all that is needed to go on from here, when it is asked before the training goes on."""


def teach(
    codes: Tensor, planes: Tensor, held: tuple[Tensor, Tensor], *, steps: int, seconds: float, generator: torch.Generator,
    begun: dict[str, Any] | None = None,
) -> Iterator[DecoderMoment]:
    """Train a decoder on codes (n, units, …) and planes; ``held`` are codes and planes that it never learns from.

    *Meaning* Adam on the mean squared error, for so many steps or seconds, whichever is over first. ``begun`` is the
    state in which it was stopped.
    """
    with RandomnessKeeper():
        decoder = Decoder(tuple(codes.shape[1:]), tuple(planes.shape[1:]), generator)
    decoder.fit(codes)
    weights = list(decoder.parameters())
    climb = _Adam(weights)
    began = shown = time.monotonic()
    running, first = 0.0, 1
    if begun is not None:
        for name, part in decoder.state_dict().items():
            part.copy_(torch.from_numpy(np.array(begun["weights"][name])))
        climb.restore(begun["adam"])
        generator.set_state(torch.from_numpy(np.array(begun["dice"])))
        running, first, began = begun["loss"], begun["step"] + 1, began - begun["elapsed"]
    for step in range(first, steps + 1):
        index = torch.randint(0, len(codes), (min(_BATCH, len(codes)),), generator=generator)
        with torch.enable_grad():
            wrong = F.mse_loss(decoder(codes[index]), planes[index])
            grads = torch.autograd.grad(wrong, weights)
        left = 1 - max(step / steps, (time.monotonic() - began) / seconds if seconds else 0.0)
        climb.step(grads, _RATE * max(0.05, left))
        loss = float(wrong.detach())
        running = loss if step == 1 else 0.95 * running + 0.05 * loss
        now = time.monotonic()
        over = step == steps or (seconds > 0 and now - began > seconds)
        if over or now - shown > EVERY:
            shown = now
            with torch.no_grad():
                unseen = float(F.mse_loss(decoder(held[0]), held[1])) if len(held[0]) else math.nan
            told = {"step": step, "loss": running, "elapsed": now - began}
            state = None if over else partial(_state, decoder, climb, generator, told)
            yield DecoderMoment(decoder, step, steps, running, unseen, over, state)
        if over:
            return


def _state(decoder: Decoder, climb: _Adam, generator: torch.Generator, told: dict[str, Any]) -> dict[str, Any]:
    weights = {name: part.detach().numpy().copy() for name, part in decoder.state_dict().items()}
    return {**told, "weights": weights, "adam": climb.state(), "dice": generator.get_state().numpy().copy()}


class _Adam:
    """Adam's steps (Kingma & Ba 2015), without the seconds that importing torch's compiler for its own takes."""

    def __init__(self, weights: list[nn.Parameter]) -> None:
        self.weights, self.turn = weights, 0
        self.first = [torch.zeros_like(part) for part in weights]
        self.second = [torch.zeros_like(part) for part in weights]

    def state(self) -> dict[str, Any]:
        """Where it stands."""
        return {
            "turn": self.turn, "first": [part.numpy().copy() for part in self.first],
            "second": [part.numpy().copy() for part in self.second],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.turn = state["turn"]
        for own, kept in zip((*self.first, *self.second), (*state["first"], *state["second"]), strict=True):
            own.copy_(torch.from_numpy(np.array(kept)))

    @torch.no_grad()
    def step(self, grads: tuple[Tensor, ...], rate: float) -> None:
        """One step down the slope."""
        self.turn += 1
        for weight, grad, first, second in zip(self.weights, grads, self.first, self.second, strict=True):
            first.mul_(0.9).add_(grad, alpha=0.1)
            second.mul_(0.999).addcmul_(grad, grad, value=0.001)
            deep = (second / (1 - 0.999**self.turn)).sqrt_().add_(1e-8)
            weight.addcdiv_(first, deep, value=-rate / (1 - 0.9**self.turn))


def to_plain(taught: DecoderMoment) -> dict[str, Any]:
    """A trained decoder, and what is known about it, as numbers and arrays."""
    decoder = taught.decoder
    return {
        "code": list(decoder.code), "size": list(decoder.size), "step": taught.step, "steps": taught.steps,
        "loss": taught.loss, "held_out": taught.held_out,
        "weights": {name: part.detach().numpy().copy() for name, part in decoder.state_dict().items()},
    }


def of_plain(value: Any) -> DecoderMoment:
    """What :func:`to_plain` told. *Raises* ValueError for anything else."""
    code, size = (tuple(value[name]) for name in ("code", "size"))
    whole = all(isinstance(k, int) and 0 < k < 2**16 for k in (*code, *size))
    if not whole or len(size) != 3 or not 1 <= len(code) <= 8 or math.prod(size) > 2**28 or math.prod(code) > 2**28:
        raise ValueError("the sizes of no picture")
    if set(value) != {"code", "size", "step", "steps", "loss", "held_out", "weights"}:
        raise ValueError("not what is told of a decoder")
    shapes = Decoder.shapes(code, size)
    weights = value["weights"]
    if set(weights) != set(shapes) or any(
        not isinstance(part, np.ndarray) or part.shape != shapes[name] or part.dtype != np.float32
        for name, part in weights.items()
    ):
        raise ValueError("the weights of no decoder")
    loss, held_out = (float(value[name]) for name in ("loss", "held_out"))
    with RandomnessKeeper():
        decoder = Decoder(code, size, torch.Generator())
    decoder.load_state_dict({name: torch.from_numpy(np.array(part)) for name, part in weights.items()})
    return DecoderMoment(decoder, int(value["step"]), max(1, int(value["steps"])), loss, held_out, True)
