"""At which tokens heads look: what clusters of heads are made from, as clusters of units are from what these answer to classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import NotApplicable
from ..data.kinds import Tokens
from ..model.plain_module import fed
from ..scene import Scene
from ..scene.input import worded

Floats = NDArray[np.float64]
BATCH = 8
COLUMNS = 64
"""So many tokens at most: those that are met most often."""
ROWS = 4096
"""Of a head's weights so many are kept of each batch, evenly chosen, to tell how heads go together."""


class AttendedTokens:
    """How much more than by chance each head looks at each token: 1 where it looks at it as often as if all places before were alike."""

    by = "token"

    def __init__(self, scene: Scene, names: Sequence[str], count: int) -> None:
        self.scene, self.names, self.count = scene, list(names), count
        if not isinstance(scene.kind, Tokens):
            raise NotApplicable("heads are compared by the tokens at which they look, and these inputs are no tokens")
        self.kind = scene.kind
        self._given: dict[str, Floats] = {}
        self._chance: dict[str, Floats] = {}
        self._rows: dict[str, list[Floats]] = {name: [] for name in self.names}
        self._met = np.zeros(self.kind.size or 0)
        self.seen = 0

    @property
    def told(self) -> int:
        """So many examples are counted."""
        return self.seen

    def over(self) -> Iterator[int]:
        """Look at the examples, batch by batch."""
        for start in range(0, self.count, BATCH):
            stop = min(start + BATCH, self.count)
            x = fed(self.scene.model, self.scene.examples.batch(list(range(start, stop)), self.scene.device))
            if not isinstance(x, Tensor) or x.ndim != 2:
                raise NotApplicable("heads are compared by the tokens at which they look, and this model reads several inputs")
            ids = x.cpu().long()
            self._grow(int(ids.max()) + 1)
            words = worded(self.scene.kind, x)
            own = torch.ones_like(ids, dtype=torch.bool) if words is None else words.cpu()
            self._met += np.bincount(ids[own].numpy(), minlength=len(self._met))
            self.scene.kept(x, self.names, reduce=lambda name, tensor: self._take(name, tensor, ids, own))  # noqa: B023 - used at once
            self.seen = stop
            yield stop

    def _grow(self, size: int) -> None:
        if size > len(self._met):
            self._met = np.pad(self._met, (0, size - len(self._met)))

    def _take(self, name: str, tensor: Tensor, ids: Tensor, own: Tensor) -> None:
        weights = tensor.detach().float().cpu()
        weights = weights.reshape(len(weights), -1, *weights.shape[-2:])
        if len(weights) != len(ids) or weights.shape[-1] != ids.shape[1]:
            raise NotApplicable(f"{name} does not look at the tokens one by one, so its heads cannot be compared by them")
        # What fills a text up neither looks nor is looked at.
        between = own[:, None] & own[:, :, None] if weights.shape[-2] == ids.shape[1] else own[:, None].expand(-1, weights.shape[-2], -1)
        weights = weights * between[:, None]
        seen = (weights > 0).any(1).float()
        chance = (seen / seen.sum(-1, keepdim=True).clamp_min(1)).sum(1).double()
        given = weights.sum(2).double()  # (examples, heads, tokens that are looked at)
        heads, size = given.shape[1], len(self._met)
        sums = torch.zeros(size, heads, dtype=torch.float64).index_add_(0, ids.flatten(), given.permute(0, 2, 1).reshape(-1, heads))
        for store, part in ((self._given, sums.numpy()), (self._chance, np.bincount(ids.flatten().numpy(), chance.flatten().numpy(), size))):
            before = store.get(name, np.zeros_like(part))
            store[name] = np.pad(before, ((0, size - len(before)), *((0, 0),) * (part.ndim - 1))) + part
        flat = weights.permute(0, 2, 3, 1)[between]
        self._rows[name].append(flat[:: max(1, len(flat) // ROWS)].double().numpy())

    @property
    def chosen(self) -> NDArray[np.int64]:
        """The tokens that are told, by number."""
        return np.sort(np.argsort(-self._met, kind="stable")[: min(COLUMNS, int((self._met > 0).sum()))]).astype(np.int64)

    def profile(self, name: str) -> Floats:
        """Heads × tokens."""
        chosen, given, chance = self.chosen, self._given[name], self._chance[name]
        size = len(self._met)
        given = np.pad(given, ((0, size - len(given)), (0, 0)))[chosen]
        chance = np.pad(chance, (0, size - len(chance)))[chosen]
        found: Floats = (given / np.where(chance > 0, chance, np.inf)[:, None]).T.copy()
        return found

    def answers(self, name: str) -> Floats:
        """Some of the weights of each head, the same of all, (weights, heads)."""
        return np.concatenate(self._rows[name])

    def spread(self, name: str) -> tuple[Floats, Floats]:
        """How far each head's looks at the tokens lie apart; all of that goes with the tokens, which are what is compared."""
        profile = self.profile(name)
        return profile.std(1), np.ones(len(profile))

    def varying(self, name: str, most: int) -> NDArray[np.int64]:
        """The heads, by number."""
        return np.arange(min(most, self.answers(name).shape[1]))

    def columns(self) -> list[tuple[str, str]]:
        """A name for each token."""
        return [(self.kind.token(int(number)), "") for number in self.chosen]


def heads_of(names: Sequence[str]) -> bool:
    """Whether these are weights of attention, whose units are heads."""
    return all(name.startswith("pattern:") for name in names)
