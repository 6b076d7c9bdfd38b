"""The nearest among many codes: by comparing with every one of them, or through an index where they are too many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

REACH = 256
"""So many candidates an index looks at for each that it returns: more find more of the true nearest."""
LINKS = 24
SAMPLED = 64
"""Codes by which an index is checked against the comparison with all."""


def directed(codes: Tensor) -> Tensor:
    """Codes (…, units) brought to length one, so that products are cosines; what is not a number counts as nothing."""
    return F.normalize(torch.nan_to_num(codes.float(), 0, 0, 0), dim=-1)


class ExactIndex:
    """The k nearest of each query among all codes seen so far, by comparing with every one: exact, in constant memory.

    *Shapes* ``queries`` (q, units); ``near``, ``numbers`` (q, k), nearest first, of equals the one with the lower
    number; before k codes were seen, minus infinity and -1.
    """

    def __init__(self, queries: Tensor, k: int) -> None:
        self.queries, self.k = queries, k
        self.near = torch.full((len(queries), k), -torch.inf)
        self.numbers = torch.full((len(queries), k), -1)

    def take(self, codes: Tensor, numbers: Tensor) -> None:
        """Compare with some more codes (n, units), which have these numbers."""
        near = self.queries @ codes.T
        best = near.topk(min(self.k, near.shape[1]), 1)
        joined = torch.cat([self.near, best.values], 1)
        found = torch.cat([self.numbers, numbers[best.indices]], 1)
        order = joined.sort(stable=True, dim=1, descending=True).indices[:, : self.k]
        self.near, self.numbers = joined.gather(1, order), found.gather(1, order)


class Index:
    """A graph of near neighbours: found in about the logarithm of the number of codes, after it was built once.

    *Error* some of the true nearest are missed; ``recall`` measures how many are found.
    *Cost* half the memory of the codes and some 200 bytes each; about a second for 10,000 codes to build.
    *Source* Malkov & Yashunin 2016, arXiv:1603.09320, as the library usearch makes it.
    """

    def __init__(self, units: int) -> None:
        from usearch.index import Index as Graph

        self.units = units
        self._read: np.ndarray | None = None
        self._graph = Graph(
            ndim=units, metric="cos", dtype="f16", connectivity=LINKS, expansion_add=128, expansion_search=REACH
        )

    def __len__(self) -> int:
        return len(self._graph)

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        return int(self._graph.memory_usage)

    def add(self, codes: Tensor, first: int) -> None:
        """Take in codes (n, units) with the numbers from ``first`` on."""
        keys = np.arange(first, first + len(codes), dtype=np.uint64)
        # Several threads would link them in the order in which they happen to run.
        self._graph.add(keys, codes.contiguous().numpy(), threads=1)

    def packed(self) -> NDArray[np.uint8]:
        """All of it as a row of bytes."""
        return np.frombuffer(self._graph.save() or b"", np.uint8)

    @classmethod
    def of(cls, graph: NDArray[np.uint8], units: int, *, more: bool = True) -> Index:
        """The index that :meth:`packed` told; without ``more``, where nothing is added, it lies in these very bytes.

        *Raises* ValueError for bytes that are cut, or a graph of other codes. Who is linked to whom is not looked at.
        """
        made = cls(units)
        try:
            (made._graph.load if more else made._graph.view)(graph.data)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ValueError(f"no graph of codes: {error}") from error
        if made._graph.ndim != units or str(made._graph.dtype) != str(cls(units)._graph.dtype):
            raise ValueError(f"a graph of {made._graph.ndim} units, not of {units}")
        made._read = None if more else graph
        return made

    def search(self, queries: Tensor, k: int, without: range = range(0)) -> tuple[Tensor, Tensor]:
        """Cosines and numbers (q, k) of the nearest, but for those whose numbers lie in ``without``.

        Where fewer were found, minus infinity and -1.
        """
        wanted = min(len(self), k + min(len(without), REACH))
        found = self._graph.search(queries.contiguous().numpy(), wanted, threads=torch.get_num_threads())
        numbers = np.asarray(found.keys).reshape(len(queries), -1).astype(np.int64)
        near = 1 - np.asarray(found.distances, np.float32).reshape(numbers.shape)
        out = (numbers >= without.start) & (numbers < without.stop)
        order = np.argsort(np.where(out, np.inf, -near), 1, kind="stable")[:, :k]
        near = np.where(np.take_along_axis(out, order, 1), -np.inf, np.take_along_axis(near, order, 1))
        numbers = np.where(np.isinf(near), -1, np.take_along_axis(numbers, order, 1))
        return _wide(near, k, -np.inf), _wide(numbers, k, -1)

    def recall(self, queries: Tensor, k: int) -> float:
        """The share of the k nearest that the graph finds, of those that a comparison with all finds."""
        few = queries[:: max(1, len(queries) // SAMPLED)][:SAMPLED].contiguous().numpy()
        at_most, threads = min(k, len(self)), torch.get_num_threads()
        found, true = (
            np.asarray(self._graph.search(few, at_most, exact=exact, threads=threads).keys).reshape(len(few), -1)
            for exact in (False, True)
        )
        return float(np.mean([len(np.intersect1d(a, b)) / at_most for a, b in zip(found, true, strict=True)]))


def _wide(values: NDArray[np.floating] | NDArray[np.integer], k: int, rest: float) -> Tensor:
    """An array (q, at most k) with k columns."""
    missing: Sequence[tuple[int, int]] = ((0, 0), (0, k - values.shape[1]))
    return torch.from_numpy(np.pad(values, missing, constant_values=rest))
