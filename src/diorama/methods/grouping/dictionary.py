"""Many directions of which each row is the sum of a few: a TopK sparse autoencoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

BATCH = 512
"""Rows a step."""
RATE = 0.008
DECAY = (0.9, 0.999)
AWAY = 24
"""A feature that was on in none of so many steps in a row is taken for dead, and learns from what the others leave over."""
HELP, HELPERS = 1 / 16, 32
"""How much that counts, and so many dead features at most take part for each row."""
CHUNK = 1 << 22
"""So many numbers are held at once while rows are encoded."""
_NAMES = ("encoder", "encoder_bias", "decoder", "bias")


@dataclasses.dataclass(frozen=True)
class SparseDictionary:
    """Features of rows: how each is read, and what each adds.

    *Meaning* a feature's value is ``row @ encoder + encoder_bias`` where that is among the ``active`` largest of the row and over
    zero, else 0; the row is nearly ``values @ decoder + bias``.
    *Shapes* encoder and decoder (features, units), each row of the decoder of length one; encoder_bias (features,), bias (units,).
    """

    encoder: Tensor
    encoder_bias: Tensor
    decoder: Tensor
    bias: Tensor
    active: int

    def encode(self, rows: Tensor) -> Tensor:
        """The values of all features in each row, (rows, features)."""
        found: Tensor = _largest(rows @ self.encoder.T + self.encoder_bias, self.active)
        return found

    def decode(self, values: Tensor) -> Tensor:
        """The rows that the values stand for, (rows, units)."""
        return values @ self.decoder + self.bias

    def rebuilt(self, rows: Tensor) -> Tensor:
        """What the dictionary makes of rows, (rows, units)."""
        return torch.cat([self.decode(self.encode(part)) for part in torch.split(rows, self.chunk)])

    @property
    def chunk(self) -> int:
        """So many rows are encoded at once."""
        return max(1, CHUNK // len(self.encoder))


class LearningDictionary:
    """A dictionary as it learns; each step follows from the one before, the rows and the seed alone.

    *Error* the mean squared error of the rows falls; that of rows it does not learn from is for the caller to measure.
    *Source* Gao et al. 2024, arXiv:2406.04093: TopK, the decoder as the encoder's transpose at first, dead features helped up by
    what the others leave over.
    """

    def __init__(self, rows: Tensor, features: int, active: int, steps: int, seed: int, begun: Any = None) -> None:
        # On a scale of its own, so that the same rate suits every layer.
        self.rows, self.active, self.steps, self.seed = rows, min(active, features), steps, seed
        self.mean = rows.mean(0)
        spread = (rows - self.mean).square().mean().sqrt()
        self.scale = spread if bool(spread > 0) else torch.ones(())
        self.step = 0
        if begun is not None:
            held = {name: torch.tensor(value) for name, value in begun.items() if name != "step"}
            self.step = int(begun["step"])
            self.weights = [held[name] for name in _NAMES]
            self.first, self.second = ([held[f"{kind} {name}"] for name in _NAMES] for kind in ("first", "second"))
            self.quiet = held["quiet"]
            return
        dice = torch.Generator().manual_seed(seed)
        ways = torch.randn(features, rows.shape[1], generator=dice)
        ways /= ways.norm(dim=1, keepdim=True)
        self.weights = [ways.clone(), torch.zeros(features), ways.clone(), torch.zeros(rows.shape[1])]
        self.first, self.second = ([torch.zeros_like(one) for one in self.weights] for _ in range(2))
        self.quiet = torch.zeros(features, dtype=torch.int64)

    def advance(self) -> float:
        """One step; returns the share of the rows' variance that is left over."""
        dice = torch.Generator().manual_seed((self.seed * 1_000_003 + self.step) % (1 << 62))
        chosen = torch.randint(len(self.rows), (min(BATCH, len(self.rows)),), generator=dice)
        x = (self.rows[chosen] - self.mean) / self.scale
        with torch.enable_grad():
            weights = [one.detach().requires_grad_() for one in self.weights]
            encoder, encoder_bias, decoder, bias = weights
            every = (x - bias) @ encoder.T + encoder_bias
            values = _largest(every, self.active)
            left = x - values @ decoder - bias
            loss = left.square().mean()
            dead = self.quiet >= AWAY
            if bool(dead.any()):
                helpers = _largest(every.masked_fill(~dead, -torch.inf), min(HELPERS, int(dead.sum())))
                loss = loss + HELP * (left.detach() - helpers @ decoder).square().mean()
            gradients = torch.autograd.grad(loss, weights)
        on = (values > 0).any(0)
        self.quiet = torch.where(on, 0, self.quiet + 1)
        self._moved(gradients)
        return float(left.detach().square().mean())

    def _moved(self, gradients: Any) -> None:
        """Adam, after which each row of the decoder has length one again; the rate falls to nothing over the last third."""
        self.step += 1
        rate = RATE * min(1.0, self.step / 20, 3 * (self.steps - self.step + 1) / self.steps)
        for k, gradient in enumerate(gradients):
            self.first[k] = DECAY[0] * self.first[k] + (1 - DECAY[0]) * gradient
            self.second[k] = DECAY[1] * self.second[k] + (1 - DECAY[1]) * gradient.square()
            mean, size = self.first[k] / (1 - DECAY[0] ** self.step), self.second[k] / (1 - DECAY[1] ** self.step)
            self.weights[k] = self.weights[k] - rate * mean / (size.sqrt() + 1e-8)
        self.weights[2] = self.weights[2] / self.weights[2].norm(dim=1, keepdim=True).clamp_min(1e-8)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on from here, as plain data."""
        parts = {"": self.weights, "first ": self.first, "second ": self.second}
        held = {f"{kind}{name}": one.numpy() for kind, group in parts.items() for name, one in zip(_NAMES, group, strict=True)}
        return {"step": self.step, "quiet": self.quiet.numpy(), **held}

    @property
    def dictionary(self) -> SparseDictionary:
        """The dictionary as it is, for rows as they came."""
        encoder, encoder_bias, decoder, bias = self.weights
        offset = self.scale * (encoder_bias - encoder @ bias) - encoder @ self.mean
        return SparseDictionary(encoder, offset, decoder, self.mean + self.scale * bias, self.active)


def learn(rows: Tensor, features: int, active: int, steps: int, seed: int, begun: Any = None) -> Iterator[LearningDictionary]:
    """The dictionary of rows (rows, units) after each step."""
    learning = LearningDictionary(rows, features, active, steps, seed, begun)
    while learning.step < steps:
        learning.advance()
        yield learning


def _largest(values: Tensor, count: int) -> Tensor:
    """Of each row the ``count`` largest that are over zero, all others 0."""
    top = values.topk(min(count, values.shape[1]), 1)
    return torch.zeros_like(values).scatter(1, top.indices, top.values.relu())
