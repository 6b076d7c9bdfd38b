"""What the cells of a recurrent layer follow in a text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ...core.knobs import knob
from ...data.kinds import Tokens
from ...methods.cost import Cost
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage
from ..texts import PROPERTIES, properties

TEXTS = 32
"""Cells are matched over so many texts."""
AT_ONCE = 8


class Properties(Derivation):
    """How each cell of a layer goes along with properties of the text: brackets, quotes, the place in the line.

    *Meaning* Pearson's correlation over every character of the first texts: 1 or −1 wholly, 0 not at all.
    *Shapes* ``correlations`` (properties, cells), the properties in the order of ``names``.
    *Cost* one forward pass an example, of at most 32.
    *Source* Karpathy, Johnson & Fei-Fei 2015, arXiv:1506.02078, section 4.2, who found such cells by looking.
    """

    layer: str = knob("", "The layer.", kind="layer")

    def fits(self, scene: Scene) -> str | None:
        """It needs texts, and a layer that answers at each token."""
        if scene.missing is None:
            if not any(isinstance(kind, Tokens) for kind in scene.kinds.values()):
                return "it follows texts, and the inputs are no tokens"
            if not scene.layers[self.layer].sequence:
                return f"{self.layer} does not answer at each token"
        return scene.missing

    def cost(self, scene: Scene) -> Cost:
        """One pass an example."""
        return Cost(min(TEXTS, len(scene.live)))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The sums of products so far, from which the correlations follow."""
        few = scene.live.first(TEXTS)
        shown = few.shown()
        texts = next(part for part in shown.values() if isinstance(part, list)) if isinstance(shown, dict) else shown
        units = scene.layers[self.layer].units
        sums = _Sums(len(PROPERTIES), units) if begun is None else _Sums.of(begun)
        while True:
            start = sums.texts
            part = list(range(start, min(start + AT_ONCE, len(few))))
            if part:
                values = scene.activations(self.layer, few.batch(part, scene.device))[self.layer].movedim(1, 2)
                # Of packed texts the longest may end before the row does.
                features = torch.from_numpy(np.concatenate([properties(texts[k])[:, : values.shape[1]] for k in part], 1))
                sums.add(features, values.reshape(-1, units).double().T, len(part))
            yield Stage(
                {"names": list(PROPERTIES), "correlations": sums.correlations()}, sums.texts, len(few),
                "cells matched with properties", state=sums.plain,
            )
            if sums.texts >= len(few):
                return

    def check(self, scene: Scene, value: Plain) -> None:
        """A correlation for each property and cell."""
        shape = (len(PROPERTIES), scene.layers[self.layer].units)
        found = value["correlations"]
        if set(value) != {"names", "correlations"} or value["names"] != list(PROPERTIES):
            raise ValueError("the properties by name, and correlations are wanted")
        if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype.kind != "f":
            raise ValueError(f"correlations of shape {shape} are wanted")


class _Sums:
    """Moments of two sets of rows, and of their products; each row is counted from its first value on."""

    def __init__(self, rows: int, columns: int) -> None:
        self.count = self.texts = 0
        self.parts = {
            "a": torch.zeros(rows, dtype=torch.float64), "b": torch.zeros(columns, dtype=torch.float64),
            "aa": torch.zeros(rows, dtype=torch.float64), "bb": torch.zeros(columns, dtype=torch.float64),
            "ab": torch.zeros(rows, columns, dtype=torch.float64),
        }
        self.shift: Tensor | None = None

    def add(self, a: Tensor, b: Tensor, texts: int) -> None:
        """Count some values of both, (rows, n) and (columns, n)."""
        if self.shift is None:
            # Sums about a value nearby lose no digits.
            self.shift = torch.cat([a[:, 0], b[:, 0]]).nan_to_num(0, 0, 0)
        rows = len(self.parts["a"])
        a, b = a - self.shift[:rows, None], b - self.shift[rows:, None]
        for name, part in (("a", a.sum(1)), ("b", b.sum(1)), ("aa", a.square().sum(1)), ("bb", b.square().sum(1)), ("ab", a @ b.T)):
            self.parts[name] = self.parts[name] + part
        self.count, self.texts = self.count + a.shape[1], self.texts + texts

    def correlations(self) -> np.ndarray:
        """Pearson's correlation of the rows; 0 where a row does not vary or is not finite."""
        part, count = self.parts, max(self.count, 1)
        both = part["ab"] - part["a"][:, None] * part["b"] / count
        lengths = [(part[2 * name] - part[name].square() / count).clamp_min(0).sqrt() for name in ("a", "b")]
        still = [length <= 1e-7 * part[2 * name].sqrt() for length, name in zip(lengths, ("a", "b"), strict=True)]
        found = both / (lengths[0][:, None] * lengths[1]).clamp_min(1e-12)
        found = found.masked_fill(still[0][:, None] | still[1], 0.0).nan_to_num(0, 0, 0).clamp(-1, 1)
        return np.asarray(found.numpy())

    def plain(self) -> Plain:
        """All that is needed to go on."""
        assert self.shift is not None
        told = {name: part.numpy().copy() for name, part in self.parts.items()}
        return {**told, "count": self.count, "texts": self.texts, "shift": self.shift.numpy().copy()}

    @classmethod
    def of(cls, told: Plain) -> _Sums:
        """What :meth:`plain` told."""
        made = cls(len(told["a"]), len(told["b"]))
        made.parts = {name: torch.from_numpy(told[name].copy()) for name in made.parts}
        made.shift, made.count, made.texts = torch.from_numpy(told["shift"].copy()), told["count"], told["texts"]
        return made
