"""What a loss wants of all answers of a step together: nothing, where it sees only how they differ."""

from __future__ import annotations

import torch
from torch import Tensor

from .own_hooks import OwnHook

_MOST = 64
"""Passes of a step that are followed."""
_LEVEL = 1e-5
"""Pulls that add up to less than this share of their size add up to nothing: so much is rounding."""


class PullSums:
    """Adds up the gradients at the answers of all passes of a step.

    *Meaning* a loss that compares answers with each other (ranking by pairs or lists, preferences, a partial likelihood, a correlation) stays
    as it is when the same number is added to all of them: what it wants of each column of answers adds up to nothing over a step.
    *Error* none of a sum in double precision but the slopes' own rounding; of half precision such a loss may be missed.
    *Cost* two sums of the answers' slopes a pass, at due steps.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """A step begins."""
        self._sums: list[tuple[Tensor, Tensor]] = []
        self._seen, self._step = 0, object()

    def see(self, scores: Tensor) -> None:
        """A pass with gradients, whose answers (n,) or (n, columns) are these."""
        if not scores.requires_grad or scores.is_leaf or scores.ndim > 2 or self._seen > _MOST:
            return
        self._seen += 1
        step = self._step

        def keep(gradient: Tensor) -> None:
            if self._step is step:
                slopes = gradient.detach().double() if gradient.device.type != "mps" else gradient.detach().cpu().double()
                self._sums.append((slopes.sum(0), slopes.abs().sum(0)))

        scores.register_hook(OwnHook(keep))  # type: ignore[no-untyped-call]

    def level(self) -> bool | None:
        """Whether they add up to nothing in each column; None where passes were left out, or nothing was wanted."""
        if not self._sums or self._seen > _MOST or len(self._sums) < self._seen or len({each.shape for each, _ in self._sums}) > 1:
            return None
        sums, sizes = (torch.stack([pair[k].reshape(-1) for pair in self._sums]).sum(0).cpu() for k in (0, 1))
        if not bool(torch.isfinite(sizes).all()) or not bool(sizes.any()):
            return None
        return bool((sums.abs() <= _LEVEL * sizes).all())
