"""A learnt map of inputs onto a plane, and back to inputs to which a network answers alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

WIDE = 64
"""Units of each layer in between."""
BATCH = 96
RATE, DECAY = 1e-2, (0.9, 0.999)
DROPPED, ROUGH, LOOSE = 0.5, 0.2, 0.1
"""While it learns: the share of numbers that are left out, and the noise on what the network says and on places."""


class InputMap:
    """A small network from rows to places on a plane, and one from places back to rows, as they learn; any step follows from the one before.

    ``rows`` (n, numbers) are on a scale of one, ``said`` (n, answers) is what the network says of each, on a scale of one too; ``answered``
    takes rows and numbers of examples, and tells how far the network's answers to these rows are from its answers to those examples: one
    number with a gradient.

    *Meaning* it learns from the ``seen`` rows that both come back: the row, and what the network makes of it.
    *Error* for rows that it never saw, which is for the caller to measure.
    *Source* Yang et al. 2022, DVI (AAAI), sections 3 and 4.2: reconstruction and preserved predictions.
    """

    def __init__(
        self, rows: Tensor, said: Tensor, seen: Tensor, answered: Callable[[Tensor, Tensor], Tensor], steps: int, seed: int, begun: Any = None,
    ) -> None:
        self.rows, self.said, self.seen, self.answered, self.steps, self.seed = rows, said, seen, answered, steps, seed
        self.spread = rows[seen].square().sum(1).mean().clamp_min(1e-12)
        self.step = 0
        if begun is not None:
            self.step = int(begun["step"])
            self.weights, self.first, self.second = ([torch.tensor(one) for one in begun[name]] for name in ("weights", "first", "second"))
            return
        dice = torch.Generator().manual_seed(seed)
        sizes = [(rows.shape[1] + said.shape[1], WIDE), (WIDE, WIDE), (WIDE, 2), (2, WIDE), (WIDE, WIDE), (WIDE, rows.shape[1])]
        self.weights = []
        for before, after in sizes:
            self.weights += [torch.randn(before, after, generator=dice) / (3 * before) ** 0.5, torch.zeros(after)]
        self.first, self.second = ([torch.zeros_like(one) for one in self.weights] for _ in range(2))

    def advance(self) -> None:
        """One step of Adam, whose rate falls to nothing as a cosine."""
        dice = torch.Generator().manual_seed((self.seed * 1_000_003 + self.step) % (1 << 62))
        chosen = self.seen[torch.randint(len(self.seen), (min(BATCH, len(self.seen)),), generator=dice)]
        rows, said = self.rows[chosen], self.said[chosen]
        kept = (torch.rand(rows.shape, generator=dice) >= DROPPED) / (1 - DROPPED)
        with torch.enable_grad():
            weights = [one.detach().requires_grad_() for one in self.weights]
            places = _placed(weights, rows * kept, said + ROUGH * torch.randn(said.shape, generator=dice))
            back = _back(weights[6:], places + LOOSE * torch.randn(places.shape, generator=dice))
            loss = (back - rows).square().sum(1).mean() / self.spread + self.answered(back, chosen)
            gradients = torch.autograd.grad(loss, weights)
        self.step += 1
        rate = RATE * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * (self.step - 1) / self.steps)))
        for k, gradient in enumerate(gradients):
            sound = gradient.nan_to_num(0.0, 0.0, 0.0)
            self.first[k] = DECAY[0] * self.first[k] + (1 - DECAY[0]) * sound
            self.second[k] = DECAY[1] * self.second[k] + (1 - DECAY[1]) * sound.square()
            mean, size = self.first[k] / (1 - DECAY[0] ** self.step), self.second[k] / (1 - DECAY[1] ** self.step)
            self.weights[k] = self.weights[k] - rate * mean / (size.sqrt() + 1e-8)

    def places(self) -> Tensor:
        """Where all rows lie, (n, 2)."""
        return _placed(self.weights, self.rows, self.said)

    def returning(self) -> list[Tensor]:
        """What leads back from places to rows, for :func:`returned`."""
        return self.weights[6:]

    def state(self) -> Mapping[str, Any]:
        """All that is needed to go on from here, as plain data."""
        parts = {"weights": self.weights, "first": self.first, "second": self.second}
        return {"step": self.step, **{name: [one.numpy() for one in group] for name, group in parts.items()}}


def learned(made: InputMap) -> Iterator[InputMap]:
    """The map after each step."""
    while made.step < made.steps:
        made.advance()
        yield made


def returned(weights: Sequence[Tensor], places: Tensor) -> Tensor:
    """The rows at places, (n, numbers)."""
    return _back(weights, places)


def _placed(weights: Sequence[Tensor], rows: Tensor, said: Tensor) -> Tensor:
    wide = torch.tanh(torch.cat([rows, said], 1) @ weights[0] + weights[1])
    return torch.tanh(wide @ weights[2] + weights[3]) @ weights[4] + weights[5]


def _back(weights: Sequence[Tensor], places: Tensor) -> Tensor:
    wide = torch.tanh(torch.tanh(places @ weights[0] + weights[1]) @ weights[2] + weights[3])
    return wide @ weights[4] + weights[5]
