"""Numbers that say what kind of head each head of a network is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...core.knobs import knob
from ...data import nesting
from ...data.nesting import Nested
from ...methods.cost import Cost
from ...model.plain_module import fed
from ...scene import Scene
from ...scene.input import stretches
from ..derivation import Derivation, Plain, Stage
from ..heads import (
    MEASURES,
    REPEATS,
    AttentionLayer,
    HeldWeights,
    at_once,
    attention_layers,
    by_head,
    examples,
    looked_back,
    marks_of,
    measured,
    said_twice,
    without,
)

Floats = NDArray[np.float64]


class HeadsDerivation(Derivation):
    """What kind of head each head is: how widely and how far it looks, and at which tokens.

    *Meaning* ``layers`` are names, ``measures`` says what is measured: ``entropy`` in nats, ``distance`` in tokens, and the
    shares of attention that go to the ``previous`` token, the ``first``, the token ``itself``, to ``marks`` (no letter or
    digit), and, on random tokens that are said twice, to the token after the last time the same one came (``induction``).
    Of a text that is filled up only its own tokens ask and are asked, as shares of what these are given; the first is the first of
    them, and its own row, in which it can but look at itself, is left out of that share.
    *Shapes* ``values`` (measures, layers, heads); NaN where a layer has fewer heads, or a measure does not apply.
    *Error* means over at most ``examples`` examples; induction over four random sequences.
    *Cost* one forward pass an example, and four for induction.
    *Source* Clark et al. 2019, arXiv:1906.04341; Olsson et al. 2022, arXiv:2209.11895.
    """

    version = 2

    examples: int = knob(8, "So many examples are looked at; fewer where their texts are long.", low=1, high=512)
    seed: int = knob(0, "What the random tokens are drawn from.", low=0)
    induction: bool = knob(True, "Also look at random tokens that are said twice; without, induction is told of no head.")

    def fits(self, scene: Scene) -> str | None:
        """The model attends."""
        return scene.missing or without(scene)

    def cost(self, scene: Scene) -> Cost:
        """A pass an example, and one for each random sequence."""
        return Cost(min(self.examples, len(scene.live)) + REPEATS * self.induction)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The means over ever more examples; induction at last."""
        layers = attention_layers(scene)
        count, size = examples(layers, min(self.examples, len(scene.live))), at_once(layers)
        total: list[list[Floats]] = [[] for _ in layers]
        held = HeldWeights(0) if count == 1 else None
        for start in range(0, count, size):
            x = fed(scene.model, scene.live.batch(list(range(start, min(start + size, count))), scene.device))
            for own, rows in zip(total, _measures(scene, x, layers, held), strict=True):
                own.extend(rows)
            if held is not None:
                scene.memory.put("attention/held", held)
            done = float(min(start + size, count))
            yield Stage(_value(layers, total, None), done, count + 1.0, f"{done:g} of {count} examples")
        yield Stage(_value(layers, total, _induction(scene, layers, self.seed) if self.induction else None), count + 1.0, count + 1.0)

    def check(self, scene: Scene, value: Plain) -> None:
        """A number for each measure of each head."""
        layers = attention_layers(scene)
        if set(value) != {"layers", "measures", "values"} or value["layers"] != [layer.name for layer in layers]:
            raise ValueError("the attentions by name, and values are wanted")
        found = value["values"]
        wide = max(layer.heads for layer in layers)
        if value["measures"] != list(MEASURES) or not isinstance(found, np.ndarray) or found.dtype != np.float64:
            raise ValueError("the measures by name, and numbers are wanted")
        if found.ndim != 3 or found.shape[:2] != (len(MEASURES), len(layers)) or found.shape[2] < wide:
            raise ValueError(f"{len(MEASURES)} × {len(layers)} × {wide} numbers are wanted")


def _measures(scene: Scene, x: Nested, layers: Sequence[AttentionLayer], held: HeldWeights | None = None) -> list[list[Floats]]:
    """For each layer and each example of a batch the measures of its heads, (heads, measures); what is held sees them with their weights."""
    single = {} if held is None else {layer.points[0]: layer for layer in layers if len(layer.points) == 1}
    marks, texts = marks_of(scene, x), stretches(scene.kind, x)
    steps = {point for layer in layers if layer.rows for point in layer.points}

    def spoken(rows: Tensor, k: int) -> tuple[Tensor, Tensor | None]:
        """The weights between the tokens of a text, without those that fill it up, and which of these are marks."""
        own, count = marks[k], rows.shape[-1]
        if texts is None or own is None or len(own) != count or texts[k] == slice(0, count):
            return rows, own
        asking = rows[:, texts[k]] if rows.shape[-2] == count else rows
        told = asking[..., texts[k]]
        return told * (asking.sum(-1, keepdim=True) / told.sum(-1, keepdim=True)).nan_to_num(0, 0, 0), own[texts[k]]

    def take(name: str, tensor: Tensor) -> list[Any]:
        rows = [by_head(tensor[k : k + 1]) for k in range(len(tensor))]
        if name in steps:
            return [one.clone() for one in rows]
        found = [measured(*spoken(one, k)) for k, one in enumerate(rows)]
        if held is not None and name in single:
            held.see(single[name], found[0], rows[0])
        return found

    def one(layer: AttentionLayer, k: int) -> Floats:
        parts = [kept[point][k] for point in layer.points]
        return measured(*spoken(layer.whole(parts), k), itself=False) if layer.rows else np.concatenate(parts)

    kept = scene.kept(x, [point for layer in layers for point in layer.points], reduce=take)
    return [[one(layer, k) for k in range(nesting.size(x))] for layer in layers]


def _induction(scene: Scene, layers: Sequence[AttentionLayer], seed: int) -> list[Floats] | None:
    """By layer how much each head looks to the token after the last same one; None where the model reads no tokens."""
    made = said_twice(scene, seed)
    if made is None:
        return None
    try:
        return _looked_back(scene, layers, *made)
    except (RuntimeError, IndexError, ValueError):
        made = said_twice(scene, seed, bound=True)
        assert made is not None
        return _looked_back(scene, layers, *made)


def _looked_back(scene: Scene, layers: Sequence[AttentionLayer], x: Nested, period: int) -> list[Floats]:
    def take(name: str, tensor: Tensor) -> Floats:
        if tensor.shape[-1] != tensor.shape[-2] or tensor.shape[-1] < 2 * period:
            return np.full(by_head(tensor[:1]).shape[0], np.nan)
        told = [looked_back(by_head(tensor[k : k + 1]), period).cpu().numpy() for k in range(len(tensor))]
        return np.asarray(np.mean(told, 0), np.float64)

    points = [point for layer in layers for point in layer.points]
    kept = scene.kept(fed(scene.model, x), points, reduce=take)
    return [np.concatenate([kept[point] for point in layer.points])[: layer.heads] for layer in layers]


def _value(layers: Sequence[AttentionLayer], total: list[list[Floats]], induction: list[Floats] | None) -> Plain:
    wide = max(max(len(rows) for rows in own) for own in total)
    found = np.full((len(MEASURES), len(layers), wide), np.nan)
    for k, own in enumerate(total):
        stacked = np.stack(own)
        told = ~np.isnan(stacked)
        with np.errstate(invalid="ignore"):
            mean = np.where(told, stacked, 0).sum(0) / told.sum(0)
        found[:, k, : mean.shape[0]] = mean.T
        if induction is not None:
            found[-1, k, : len(induction[k])] = induction[k]
    return {"layers": [layer.name for layer in layers], "measures": list(MEASURES), "values": found}
