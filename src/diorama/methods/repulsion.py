"""How all points of a map push each other away, told by a mesh: t-SNE's costliest sum, for a wide map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .placement import Floats

CELL = 0.5
"""How far the places of the mesh lie apart: the forces are then about as near as openTSNE's own grid tells them, at a tenth of its cost."""
WIDEST = 4096
"""A map that is wider than so many cells has larger ones, so that a point that flew off takes no memory."""
SPREAD = 3
"""A point is shared among so many places along each axis (a quadratic B-spline), so that forces change smoothly as it moves."""
ROUNDED = 32
"""Meshes have multiples of so many places, so that a map that grows seldom needs new kernels."""


class Mesh:
    """Sums over all pairs of points (n, 2) of what depends on how they lie to each other, by convolution on a mesh whose places stay.

    *Meaning* for t-SNE's similarity ``q = 1 / (1 + distance²)``: the sum of q over all pairs, and of q² times the way between.
    *Error* some percent of a force where points lie scattered; none pushes itself.
    *Source* Linderman et al. 2019 for the convolution; Essmann et al. 1995 for splines that are taken out again in frequencies.
    """

    def __init__(self) -> None:
        self._made: tuple[Any, tuple[NDArray[np.complex64], ...], Floats] | None = None

    def repulsion(self, points: Floats) -> tuple[float, Floats]:
        """The sum of q over all pairs, each counted twice; and for each point the sum of q² times the way from the others, (n, 2)."""
        from scipy import fft

        count, near = len(points), np.arange(SPREAD)
        cell = max(CELL, float(np.ptp(points, axis=0).max()) / WIDEST)
        # The mesh stays where it is while points move: its errors then push no one to and fro.
        middle = np.floor(points / cell + 0.5)
        off = points / cell - middle
        parts = np.stack([0.5 * (0.5 - off) ** 2, 0.75 - off**2, 0.5 * (0.5 + off) ** 2])
        first = middle.astype(np.int64) - middle.min(0).astype(np.int64)
        height, width = (int(fft.next_fast_len(2 * (int(size) + SPREAD) // ROUNDED * ROUNDED + ROUNDED, real=True)) for size in first.max(0))
        places = (first[:, 0] + near[:, None])[:, None] * width + (first[:, 1] + near[:, None])[None]
        shares = (parts[:, None, :, 0] * parts[None, :, :, 1]).astype(np.float32)
        charges = np.bincount(places.ravel(), shares.ravel(), height * width).reshape(height, width)
        waves = fft.rfft2(charges.astype(np.float32))
        kernels, own = self._kernels(height, width, cell)
        told = [(fft.irfft2(waves * kernel, (height, width)).ravel()[places] * shares).sum((0, 1), dtype=np.float64) for kernel in kernels]
        # What each point adds to the sum by itself, which is no pair: its shares, each with each.
        alone = np.stack([(parts[: SPREAD - apart] * parts[apart:]).sum(0) * (2 if apart else 1) for apart in near])
        itself = np.einsum("ik,jk,ij->", alone[..., 0], alone[..., 1], own)
        return float(told[0].sum() - itself), np.stack(told[1:], 1).reshape(count, 2)

    def _kernels(self, height: int, width: int, cell: float) -> tuple[tuple[NDArray[np.complex64], ...], Floats]:
        """q, and q² times the way along each axis, in frequencies, the splines of both ends taken out; and q near nothing."""
        from scipy import fft

        asked = (height, width, cell)
        if self._made is None or self._made[0] != asked:
            down, across = (cell * fft.fftfreq(count, 1 / count) for count in (height, width))
            like = 1 / (1 + down[:, None] ** 2 + across**2)
            taken = (np.sinc(fft.fftfreq(height))[:, None] * np.sinc(fft.rfftfreq(width))) ** (-2 * SPREAD)
            waves = [fft.rfft2(kernel) * taken for kernel in (like, like**2 * down[:, None], like**2 * across)]
            near = fft.irfft2(waves[0], (height, width))[:SPREAD, :SPREAD]
            self._made = asked, tuple(wave.astype(np.complex64) for wave in waves), near
        return self._made[1], self._made[2]

    def gradient(self, points: Any, attractions: Any, dof: float = 1, n_jobs: int = 1, **_: Any) -> tuple[float, Floats]:
        """What openTSNE asks a method of forces for: the error, which is not told here, and the gradient, (n, 2)."""
        from openTSNE import _tsne

        places = np.array(points, dtype=np.float64, order="C")
        total, forces = self.repulsion(places)
        slope = np.ascontiguousarray(forces / -max(total, np.finfo(np.float64).tiny))
        _tsne.estimate_positive_gradient_nn(
            attractions.indices, attractions.indptr, attractions.data, places, places, slope, dof, num_threads=n_jobs, should_eval_error=False
        )
        return 0.0, slope
