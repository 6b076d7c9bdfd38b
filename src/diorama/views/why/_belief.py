"""How far to believe a map: what happens when its places are covered, and whether it depends on what was learned."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.blame import alone
from ...core.errors import NotApplicable
from ...core.marks import Column, Lines, Node, Series, Table
from ...data import nesting
from ...data.kinds import Image as ImageKind
from ...data.nesting import Nested
from ...methods.attribution_picture import gap
from ...methods.cost import Cost
from ...methods.faithfulness import randomization as shuffled
from ...methods.faithfulness.curve import Curve
from ...methods.faithfulness.deletion import deletion
from ...methods.faithfulness.insertion import insertion
from ...methods.faithfulness.randomization import Randomization, randomization
from ...methods.method import Attribution
from ...model.targets import Target
from ._question import ChosenMethod, InputQuestion, total

STEPS = 20
DRAWS = 3
"""So many random orders are averaged, for comparison."""
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Belief:
    """What was measured of one map; None where it was not asked for, or cannot be."""

    deletion: Curve | None = None
    insertion: Curve | None = None
    randomization: Randomization | None = None
    signed: float = 1.0
    """The rank correlation of both maps with their signs, which the test leaves aside."""
    note: str = ""

    @property
    def insensitive(self) -> bool:
        """The map hardly changes when half of the layers are randomized, neither in its sizes nor in its signs."""
        test = self.randomization
        return bool(test is not None and test.insensitive and self.signed > shuffled.INSENSITIVE)

    @property
    def sensitivity(self) -> str:
        """What the randomization test found, in words."""
        test = self.randomization
        if test is None:
            return ""
        if np.isnan(test.score):
            return "flat: the same everywhere, with what was learned and without it"
        if self.insensitive:
            return f"insensitive: hardly changes (rank correlation {test.score:.2f})"
        if test.insensitive:
            return f"its signs change (rank correlation {self.signed:.2f}), its sizes hardly do ({test.score:.2f})"
        return f"changes with what was learned (rank correlation {test.score:.2f})"


class MapChecks:
    """The checks of the maps of one input."""

    def __init__(self, asked: InputQuestion, checks: str, fill: str) -> None:
        self.asked = asked
        self.covers = checks in ("deletion and insertion", "all")
        self.shuffles = checks in ("randomization", "all")
        self.fill = ("mean" if _colours(asked) else "constant") if fill == "auto" else fill
        self.target: Target = asked.chance or asked.target
        self.unit = "probability" if asked.chance is not None else "score"
        self.random: Curve | None = None

    def cost(self, one: ChosenMethod) -> Cost:
        """What the checks of a method's map take."""
        look, x = self.asked.looking_for(one.method), self.asked.current.x
        parts = [Cost(2 * (STEPS + 1))] if self.covers else []
        if self.shuffles:
            with contextlib.suppress(NotApplicable):
                parts.append(shuffled.cost(one.method, look, x))
        return total(parts)

    def first_cost(self) -> Cost:
        """What the random orders take, once an input."""
        return Cost(DRAWS * (STEPS + 1) if self.covers else 0)

    def of(self, one: ChosenMethod, found: Attribution) -> Belief:
        """Measure a map."""
        look, x = self.asked.looking_for(one.method), self.asked.current.x
        made, notes = Belief(), []
        if self.covers:
            try:
                made = dataclasses.replace(
                    made, deletion=deletion(look, x, self.target, found.values, steps=STEPS, fill=self.fill),  # type: ignore[arg-type]
                    insertion=insertion(look, x, self.target, found.values, steps=STEPS, fill=self.fill),  # type: ignore[arg-type]
                )
                self.random = self.random or self._random(found.values)
            except Exception as error:  # noqa: BLE001 - a map without one of its measures is shown all the same
                notes.append(alone(error))
        if self.shuffles:
            try:
                test = randomization(look, x, self.asked.target, one.method)
                signed = _ranked(found.values, test.maps[test.half])
                made = dataclasses.replace(made, randomization=test, signed=signed)
            except Exception as error:  # noqa: BLE001 - a map without one of its measures is shown all the same
                notes.append(alone(error))
        return dataclasses.replace(made, note="; ".join(notes))

    def _random(self, like: Nested) -> Curve:
        """The mean curve of places covered in random orders."""
        dice = torch.Generator().manual_seed(0)
        look, x = self.asked.look, self.asked.current.x
        curves = [
            deletion(look, x, self.target, nesting.each(like, _drawn(dice)), steps=STEPS, fill=self.fill)  # type: ignore[arg-type]
            for _ in range(DRAWS)
        ]
        values = np.mean([curve.values for curve in curves], 0)
        return Curve(curves[0].shares, values, np.mean([curve.areas for curve in curves], 0))

    def lines(self, belief: Belief) -> Node | None:
        """Both curves, and that of random orders for comparison."""
        if belief.deletion is None or belief.insertion is None:
            return None
        down, up = belief.deletion, belief.insertion
        x = 100 * down.shares.astype(np.float64)
        series = [Series(name=f"covered, area {float(down.areas[0]):.3g}", x=x, y=_numbers(down), colour=6)]
        series.append(Series(name=f"shown first, area {float(up.areas[0]):.3g}", x=x, y=_numbers(up), colour=0))
        if self.random is not None:
            area = f"covered at random, area {float(self.random.areas[0]):.3g}"
            series.append(Series(name=area, x=x, y=_numbers(self.random), colour=8, dash=True))
        return Lines(
            series=tuple(series), x_title="% of the places", y_title=self.unit, x_kind="number", x_range=(0.0, 100.0),
            y_range=(0.0, 1.0) if self.unit == "probability" else None, height=150, title="Deletion and insertion",
        )


def _drawn(dice: torch.Generator) -> Callable[[Tensor], Tensor]:
    return lambda part: torch.rand(part.shape, generator=dice).to(part.device)


def _ranked(a: Nested, b: Nested) -> float:
    """Spearman's rank correlation of two maps, signs and all; 0 where one of them is flat."""
    rows = [np.nan_to_num(np.concatenate([part.detach().double().cpu().numpy().ravel() for part in nesting.tensors(m)]))
            for m in (a, b)]
    ranks = [scipy.stats.rankdata(row) - (len(row) + 1) / 2 for row in rows]
    size = float(np.linalg.norm(ranks[0]) * np.linalg.norm(ranks[1]))
    return float(ranks[0] @ ranks[1]) / size if size > 0 else 0.0


def _numbers(curve: Curve) -> Floats:
    return np.asarray(curve.values[0], np.float64)


def _colours(asked: InputQuestion) -> bool:
    return isinstance(asked.scene.kind, ImageKind)


def table(rows: list[tuple[str, Attribution, Belief]], unit: str) -> Table:
    """All that was measured, a row a map."""
    columns = [Column(name="map", kind="text", texts=tuple(name for name, _, _ in rows))]
    read, gaps = [], [gap(found) for _, found, _ in rows]
    if any(value is not None for value in gaps):
        told = tuple("" if value is None else f"{100 * value:.2g} %" for value in gaps)
        columns.append(Column(name="sum off by", kind="text", texts=told))
    beliefs = [belief for _, _, belief in rows]
    if any(belief.deletion is not None for belief in beliefs):
        columns.append(Column(name=f"{unit}, covered", numbers=_areas([belief.deletion for belief in beliefs])))
        columns.append(Column(name=f"{unit}, shown", numbers=_areas([belief.insertion for belief in beliefs])))
        read.append(
            f"Covered: the mean {unit} while the places that a map calls most important are covered first (small: a good "
            "map). Shown: while they are shown first (large: a good map)."
        )
    stubborn = None
    if any(belief.randomization is not None for belief in beliefs):
        alike = [float("nan") if b.randomization is None else b.randomization.score for b in beliefs]
        columns.append(Column(name="alike, randomized", numbers=np.array(alike)))
        stubborn = np.array([belief.insensitive for belief in beliefs])
        read.append(
            "Alike: the rank correlation of the map's sizes with those of the same network whose upper half lost what it "
            "learned. Near 1, the map does not show what was learned there; if its signs stay too, the row is marked."
        )
    flagged = stubborn if stubborn is not None and stubborn.any() else None
    return Table(
        columns=tuple(columns), flagged=flagged, title="How far to believe each map", caption=" ".join(read)
    )


def _areas(curves: list[Curve | None]) -> Floats:
    return np.array([np.nan if curve is None else float(curve.areas[0]) for curve in curves], np.float64)
