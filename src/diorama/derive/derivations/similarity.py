"""How alike layers, of one network or of two, place the examples."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import DioramaError, NotApplicable
from ...core.knobs import build, knob
from ...core.rounding import alike
from ...core.selection import several
from ...data.nesting import Nested
from ...methods.cost import Cost
from ...model.layers import Layer, by_unit
from ...model.plain_module import fed
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage

Floats = NDArray[np.float64]
FEWEST = 4
"""The unbiased estimate wants so many examples."""
SMALL, LARGE = 1e-12, 1e12
"""Between these sizes products of numbers of single precision are such numbers, too."""
TERMS, BLOCK = 4096, 64
"""So many terms are added in single precision, and so many rows multiplied at once."""
ROOM = 128 * 2**20
"""Bytes that all Gram matrices of a batch, and the largest activation of a batch, may take."""


class SimilarityDerivation(Derivation):
    """How alike layers place the examples among one another, by linear CKA: layers × layers.

    *Meaning* 1: the same but for a rotation and one scale of all units; 0: nothing in common. Rows are the layers of this
    network, columns those of the other one, or the same again; the knob ``layers`` of the derivation names them in their order.
    NaN where a layer answers the same to all examples.
    *Shapes* (layers, layers of the other).
    *Error* HSIC is estimated without bias in each batch of examples, so single values lie a little below 0 or above 1. A CKA that is taken
    from plain sums of squares (Kornblith et al. 2019) is another number, most of all where a layer is wide beside the number of examples:
    layers of 10 and 40 units that have nothing in common have 0.24 over 60 examples there, and 0 here.
    *Cost* one pass an example in each network.
    *Source* Kornblith et al. 2019, equation 3; Nguyen, Raghu & Kornblith 2021, equations 2 and 3; Song et al. 2012, equation 5.
    """

    layers: str | None = knob(None, "Several layers with + between; all that hold no others when left open.")
    others: str | None = knob(None, "Those of the other network; by itself chosen in the same way.")
    batch: int = knob(0, "So many examples are compared with one another at once; 0: as many as memory allows.", low=0, high=512)
    beside: Scene | None = dataclasses.field(default=None, compare=False, repr=False)
    """The other network."""

    @classmethod
    def asked(cls, scene: Scene, options: Mapping[str, Any]) -> Self:
        """Layers that were not named are: they belong to the key, and say what rows and columns are."""
        made: Self = build(cls, options)
        made = dataclasses.replace(made, beside=scene.other)
        other = scene.other or scene
        if scene.missing is None and not scene.function:
            made = dataclasses.replace(made, layers=_joined(_names(scene, made.layers)))
            if other.missing is None and not other.function:
                made = dataclasses.replace(made, others=_joined(_names(other, made.others)))
        return made

    def fits(self, scene: Scene) -> str | None:
        """Both networks can be looked into, and there are examples enough."""
        for one in (scene, self.beside or scene):
            if one.missing is not None:
                return one.missing
            if one.function:
                return "it compares layers, and a plain function has none; compare answers in the view compare"
        if len(scene.live) < FEWEST:
            return f"it compares how layers place examples, and wants at least {FEWEST} of them; the probe set has {len(scene.live)}"
        if not self.layers or not self.others:
            return "no layer answers once for each example; name points of the network with layers="
        return None

    def cost(self, scene: Scene) -> Cost:
        """A pass an example in each network."""
        return Cost((1 if self.beside is None else 2) * len(scene.live))

    def material(self, scene: Scene) -> dict[str, Any]:
        """The other network's weights."""
        other = self.beside
        return {"other": other.fingerprint, "edits": [edit.named() for edit in other.edits]} if other is not None else {}

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The estimate over ever more batches."""
        mine, theirs = several(self.layers or ""), several(self.others or "")
        other = self.beside.alone(scene.cancel) if self.beside is not None else None
        joined = mine if other is not None else list(dict.fromkeys([*mine, *theirs]))
        sums, total = HsicSums(), float(len(scene.live))
        for chosen, x in batches(scene, joined, self.batch):
            grams = looked(scene, x, joined)
            if other is None:
                rows = np.array([joined.index(name) for name in mine])
                columns = np.array([joined.index(name) for name in theirs])
                sums.add(grams[rows], grams[columns])
            else:
                try:
                    beside = looked(other, x, theirs)
                except (DioramaError, RuntimeError) as error:
                    if not isinstance(error, DioramaError) and other.cancel is not None:
                        other.cancel()
                    reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
                    raise NotApplicable(f"the other network does not take these examples ({reason})") from error
                sums.add(grams, beside)
            yield Stage(sums.cka(), float(chosen.stop), total, f"{chosen.stop} of {len(scene.live)} examples")

    def check(self, scene: Scene, value: Plain) -> None:
        """A number for each pair of layers."""
        shape = (len(several(self.layers or "")), len(several(self.others or "")))
        if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != np.float64:
            raise ValueError(f"{shape[0]} × {shape[1]} numbers are wanted")


class HsicSums:
    """Sums over batches of HSIC between each of some Gram matrices and each of others."""

    def __init__(self) -> None:
        self.across: Floats | float = 0.0
        self.rows: Floats | float = 0.0
        self.columns: Floats | float = 0.0

    def add(self, mine: Floats, theirs: Floats) -> None:
        """Count a batch by its number of examples; one that is too small to say anything is left out."""
        count = mine.shape[1]
        if count < FEWEST:
            return
        self.across = self.across + count * hsic(mine, theirs)
        self.rows = self.rows + count * own_hsic(mine)
        self.columns = self.columns + count * own_hsic(theirs)

    def cka(self) -> Floats:
        """The similarity over all that was counted."""
        rows, columns = np.asarray(self.rows, np.float64), np.asarray(self.columns, np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = np.sqrt(np.where(rows > 0, rows, np.nan))[..., :, None] * np.sqrt(np.where(columns > 0, columns, np.nan))
            return np.asarray(self.across / scale, np.float64)

    def paired(self) -> Floats:
        """The similarity of each with the one of its place alone."""
        return np.diagonal(self.cka()).copy()


class SeenLayers:
    """What one network's layers answered to batches of examples: Gram matrices and HSIC of each with itself, which is told once for all that it
    is compared with."""

    def __init__(self) -> None:
        self.grams: list[Floats] = []
        self.own: list[Floats] = []

    def add(self, grams: Floats) -> None:
        """The Gram matrices (layers, n, n) of a batch; one that is too small to say anything is left out."""
        if grams.shape[1] >= FEWEST:
            self.grams.append(grams)
            self.own.append(own_hsic(grams))

    def cka(self, other: SeenLayers) -> Floats:
        """The similarity of each layer with the one of its place in another that saw the same batches, (layers,)."""
        across, rows, columns = 0.0, 0.0, 0.0
        for mine, theirs, own, others in zip(self.grams, other.grams, self.own, other.own, strict=True):
            count = mine.shape[1]
            across, rows, columns = across + count * paired_hsic(mine, theirs), rows + count * own, columns + count * others
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = np.sqrt(np.where(rows > 0, rows, np.nan)) * np.sqrt(np.where(columns > 0, columns, np.nan))
            return np.asarray(across / scale, np.float64)


def hsic(mine: Floats, theirs: Floats) -> Floats:
    """The unbiased estimate of HSIC for each pair of two stacks (layers, n, n) of Gram matrices with empty diagonals.

    *Source* Song et al. 2012, equation 5.
    """
    count = mine.shape[1]
    one, other = mine.reshape(len(mine), -1), theirs.reshape(len(theirs), -1)
    sums, others = mine.sum(2), theirs.sum(2)
    with np.errstate(invalid="ignore", over="ignore"):
        return _unbiased(one @ other.T, np.outer(sums.sum(1), others.sum(1)), sums @ others.T, count)


def paired_hsic(mine: Floats, theirs: Floats) -> Floats:
    """The same for each matrix and the one of its place alone, (layers,)."""
    count = mine.shape[1]
    one, other = mine.reshape(len(mine), -1), theirs.reshape(len(theirs), -1)
    sums, others = mine.sum(2), theirs.sum(2)
    # A product of matrices of one row and one column waits for threads longer than it takes.
    with np.errstate(invalid="ignore", over="ignore"):
        return _unbiased(np.einsum("ij,ij->i", one, other), sums.sum(1) * others.sum(1), np.einsum("ij,ij->i", sums, others), count)


def _unbiased(products: Floats, totals: Floats, inner: Floats, count: int) -> Floats:
    found = products + totals / ((count - 1) * (count - 2))
    found -= 2 / (count - 2) * inner
    return np.asarray(found / (count * (count - 3)), np.float64)


def own_hsic(grams: Floats) -> Floats:
    """The same of each with itself, zero where rounding is all there is."""
    found = paired_hsic(grams, grams)
    flat = grams.reshape(len(grams), -1)
    with np.errstate(invalid="ignore", over="ignore"):
        noise = 1e-12 * np.einsum("ij,ij->i", flat, flat) / max(1, grams.shape[1] ** 2)
    return np.where(found > noise, found, np.where(np.isfinite(found), 0.0, np.nan))


def gram(layer: Layer, tensor: Tensor) -> Floats:
    """How alike a layer's answers to each two examples are, with an empty diagonal."""
    rows = by_unit(layer, tensor).flatten(1)
    if not rows.is_floating_point():
        rows = rows.double()
        eps = 0.0
    else:
        eps = torch.finfo(rows.dtype).eps
    low, high = rows.amin(0), rows.amax(0)
    still = alike(low.double(), high.double(), eps)
    # Squares of what is larger or smaller leave the range of single precision.
    size = torch.maximum(-low, high)[~still].double()
    rows = rows.float() if rows.dtype != torch.float64 and bool(((size > SMALL) & (size < LARGE)).all()) else rows.double()
    # HSIC does not ask for means of zero; its rounding does.
    rows = rows - rows.mean(0)
    if bool(still.any()):
        rows[:, still] = 0.0
    return _products(rows).fill_diagonal_(0.0).cpu().numpy()


def _products(rows: Tensor) -> Tensor:
    """The product of each row with each, (n, n), in double precision: one half of them, as the other is the same.

    Numbers of single precision, as layers answer them, are multiplied as such and their sums of a few thousand added in double precision,
    which is as exact as they are and takes half as long.
    """
    found = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for part in rows.split(TERMS, 1):
        for start in range(0, len(rows), BLOCK):
            found[start : start + BLOCK, start:] += part[start : start + BLOCK] @ part[start:].T
    return found.triu() + found.triu(1).T


def looked(scene: Scene, x: Nested, names: Sequence[str]) -> Floats:
    """The Gram matrices of some layers, (layers, n, n), by one pass."""
    table = scene.layers
    kept = scene.kept(x, names, reduce=lambda name, tensor: gram(table[name], tensor))
    return np.stack([kept[name] for name in names])


def batches(scene: Scene, names: Sequence[str], size: int = 0) -> Iterator[tuple[range, Nested]]:
    """The live examples in batches of a size, else of as many as memory allows; none is too small to be counted."""
    count = len(scene.live)
    if not size:
        largest = max((math.prod(layer.shape) for layer in scene.layers), default=1)
        size = max(64, min(count, int(math.sqrt(ROOM / 8 / max(1, len(names)))), ROOM // (8 * max(1, largest))))
    size = max(FEWEST, min(size, count))
    starts = list(range(0, count, size))
    if len(starts) > 1 and count - starts[-1] < FEWEST:
        starts.pop()
    for start, stop in zip(starts, [*starts[1:], count], strict=True):
        yield range(start, stop), fed(scene.model, scene.live.batch(list(range(start, stop)), scene.device))


def _joined(names: Sequence[str]) -> str:
    return "+".join(name.replace("%", "%25").replace("+", "%2B") for name in names)


def _names(scene: Scene, wanted: str | None) -> list[str]:
    """The layers that were named, else all that hold no others and answer once for each example."""
    if wanted:
        return [scene.layers[name].name for name in ([wanted] if wanted in scene.layers.names else several(wanted))]
    return [layer.name for layer in scene.layers.leaves if layer.each]
