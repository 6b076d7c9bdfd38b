"""Units held by springs: where each rests between the units that it is connected with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...core import lettering
from ...core.knobs import knob
from ...core.marks import Network, Vertex
from ...core.picture import Check, Draft, Picture, Progress
from ...core.selection import Selection, spoken, together, unit_key
from ...derive.columns import answers, columns, one_of_places
from ...derive.strengths import apart, strengths, unfollowed
from ...scene import Scene
from ..samples import layers_said, looked_at, looked_up_said, noted, part, standing, unfollowed_said
from ..view import View
from ._bundles import correlated, past_said
from ._columns import standard, telling
from ._silent_units import CLOSED, closed, unheard

SIDE, RIM, ASIDE, SHUT, DOT, ANCHOR = 460.0, 40.0, 60.0, 4.0, 7.0, 12.0
LONGEST = RIM + ASIDE - ANCHOR
"""A name takes as much room beside its dot as there is."""
NAMED, LETTERS = 16, 11.0
"""Of so many answers at most the names are written, and so large."""
STILL = "answers about the same to all classes, beside how its answers differ within one, or no numbers"
SPREAD = 1 / 3
"""Distances from the middle are drawn as their power: units of random weights rest near it."""


class SpringsView(View):
    """Every unit where its springs hold it: as strong as the weights, with the answers fixed on a circle.

    *Meaning* a positive weight draws a unit to the one it is connected with, a negative one to the opposite side. A unit near an answer
    works for it; one in the middle for none, or for all alike, as with random weights. There is one place of rest, so that the picture has
    no seed, and places change with the weights alone while time is scrubbed. Distances from the middle are drawn as their cube root.
    *Error* the largest force that is left on a unit, relative to its springs.
    *Cost* one pass an example.
    *Source* Tutte 1963 for springs between fixed points; Kunegis et al. 2010 for signed ones.
    """

    title = "Springs"
    question = "Which answers does each unit work for, and how did it get there?"
    family = "relationships"
    papers = ("Tutte 1963, How to draw a graph", "Kunegis et al. 2010, Spectral analysis of signed graphs")
    rows = ("B12",)

    edges: str = knob("weights", "What springs are: the weights where there are some, or how units go together.", choices=("weights", "together"))
    inside: str | None = knob(None, "A module: only the layers inside it.", kind="layer")
    lines: int = knob(200, "How many of the strongest connections are drawn.", low=0, high=2000, main=True)
    units: int = knob(96, "The most units of a layer: those that vary most.", low=1, high=512)
    most: int = knob(6, "The most layers: of deeper networks modules are shown as one.", low=2, high=16)
    examples: int = knob(512, "How many examples say which units vary, and which class each serves.", low=1, high=100_000)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """Connections between several layers."""
        if not scene.kinds:
            return f"it looks at what units answer, and {scene.network.without}"
        if len(columns(scene.layers)) < 2:
            return "springs join the units of two layers, and only one of this network answers once for each example; use the view weights"
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """One picture."""
        layers = [layer.name for layer in columns(scene.layers, self.inside or "", self.most)]
        told: dict[str, Any] = {"layers": together(layers), "units": self.units, "examples": self.examples}
        for stage in scene.derive("clusters", **told).stream():
            if not stage.final:
                yield stage.progress
                if stage.value is not None:
                    # Which units vary and whom they serve is known from the first examples; the springs are the weights already.
                    yield Draft(lambda found=stage.value: self._picture(scene, selection, layers, found, final=False))  # type: ignore[misc]
            elif stage.value is not None:
                yield self._picture(scene, selection, layers, stage.value, final=True)

    def _picture(self, scene: Scene, selection: Selection, layers: list[str], found: dict[str, Any], *, final: bool) -> Picture:
        every = list(strengths(scene, found, self.edges))
        beside = [number for number, pair in enumerate(every) if self.edges == "weights" and apart(scene, pair)]
        pairs = [pair for number, pair in enumerate(every) if number not in beside]
        sizes = [len(one["units"]) for one in found["layers"]]
        ends = [(layers.index(pair["source"]), layers.index(pair["target"])) for pair in pairs]
        springs = joined([np.asarray(pair["strengths"], float) for pair in pairs], sizes, ends)
        at, force = rest(springs, sizes[-1])
        # By the first examples alone, few of many units have been heard of.
        shut = [closed(scene, one) if final else np.zeros(len(one["units"]), bool) for one in found["layers"]]
        network = _network(found, springs, at, self.lines, shut, named=answers(scene, scene.layers[layers[-1]]))
        return self.picture(
            scene, selection, "Units held by springs", network,
            self._caption(scene, found, sizes, sum(int(one.sum()) for one in shut)) + correlated(pairs, "springs"),
            checks=(Check(name="force", value=force, sentence="the largest force left on a unit, relative to its springs: 0 at rest."),),
            note=noted(
                *past_said(scene, layers, every, beside, "springs"),
                *((unfollowed_said(unfollowed(scene, layers)), looked_up_said(scene, layers)) if self.edges == "weights" else ()),
                looked_at(scene, found["examples"]), standing(scene, layers),
            ),
            final=final,
        )

    def _caption(self, scene: Scene, found: dict[str, Any], sizes: Sequence[int], shut: int) -> str:
        last = spoken(found["layers"][-1]["layer"])
        total = sum(scene.layers[one["layer"]].units for one in found["layers"])
        colours = "the class that it answers to most" if found["by"] == "class" else "its layer"
        layers = layers_said([one["layer"] for one in found["layers"]])
        none = [~(np.nan_to_num(standard(one["profile"])).any(1) & telling(one)) for one in found["layers"]]
        gone = sum(int(one.sum()) for one in none) - shut if found["by"] == "class" else 0
        if gone:
            colours += f"; {part(gone, sum(sizes), 'units')} {'answers' if gone == 1 else 'answer'} about the same to all classes, or no numbers, "
            colours += f"and ha{'s' if gone == 1 else 've'} none"
        own = scene.layers[found["layers"][-1]["layer"]]
        places = 0 if answers(scene, own) else one_of_places(scene, own)
        are = f"are the answers at one of {places:,} places" if places else "are not the answers"
        other = "" if answers(scene, own) else (
            f" {last} is the last layer here, and its units {are}, so a unit near one of them works for that unit."
        )
        return (
            f"{part(sum(sizes), total, 'units')} of {layers}, each where the springs of its connections hold it; "
            f"{f'the {sizes[-1]} units of {last} are' if sizes[-1] > 1 else f'the one unit of {last} is'} fixed "
            f"{'on the circle' if sizes[-1] > 1 else 'in the middle, so all rest there'}.{other} A unit's colour is {colours}."
            f"{unheard(shut, sum(sizes), 'small and grey')} Lines are the strongest connections, blue where positive, orange where negative."
        )


def joined(strengths: Sequence[np.ndarray], sizes: Sequence[int], ends: Sequence[tuple[int, int]] | None = None) -> np.ndarray:
    """All springs between units, (units, units), signed; the springs into a layer count as much as those into any other.

    ``ends`` are the layers that each of the strengths joins, those that follow one another where they are not given.
    """
    starts = np.concatenate([[0], np.cumsum(sizes)])
    ends = ends if ends is not None else [(number, number + 1) for number in range(len(strengths))]
    plain = [np.nan_to_num(each, nan=0.0, posinf=0.0, neginf=0.0) for each in strengths]
    totals = np.zeros(len(sizes))
    for (_, target), each in zip(ends, plain, strict=True):
        totals[target] += np.abs(each).sum()
    whole = np.zeros((starts[-1], starts[-1]))
    for (source, target), each in zip(ends, plain, strict=True):
        rows, columns_ = starts[target], starts[source]
        whole[rows : rows + each.shape[0], columns_ : columns_ + each.shape[1]] = each / (totals[target] or 1.0)
    return whole + whole.T


def rest(springs: np.ndarray, fixed: int) -> tuple[np.ndarray, float]:
    """Where units rest with the last ones fixed on a circle of radius one, (units, 2), and the largest force that is left.

    The signed Laplacian of what is free is positive definite where a spring leads to what is fixed; units that none leads to
    rest in the middle.
    """
    count = len(springs)
    free = count - fixed
    angles = 2 * np.pi * np.arange(fixed) / max(1, fixed) - np.pi / 2
    at = np.zeros((count, 2))
    at[free:] = np.column_stack([np.cos(angles), np.sin(angles)]) if fixed > 1 else 0.0
    pulls = np.abs(springs).sum(1)
    # A thread to the middle keeps what hangs on nothing from flying about; it is far below any spring that counts.
    thread = 1e-6 * float(pulls.max(initial=0)) + 1e-300
    laplacian = np.diag(pulls[:free] + thread) - springs[:free, :free]
    at[:free] = _solved(laplacian, springs[:free, free:] @ at[free:])
    left = np.abs(springs[:free] @ at - pulls[:free, None] * at[:free])
    return at, float((left / np.maximum(pulls[:free, None], thread)).max(initial=0))


def _solved(laplacian: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Where the forces of springs vanish. Springs mostly join neighbouring layers, so that all that is not zero lies about the diagonal."""
    from scipy.linalg import LinAlgError, solveh_banded

    rows, columns_ = np.nonzero(laplacian)
    width = int(np.abs(rows - columns_).max(initial=0))
    band = np.zeros((width + 1, len(laplacian)))
    for off in range(width + 1):
        band[width - off, off:] = np.diagonal(laplacian, off)
    try:
        found: np.ndarray = solveh_banded(band, drawn, overwrite_ab=True, check_finite=False)
    except LinAlgError:  # rounding, where a thread is all that holds some
        found = np.linalg.solve(laplacian, drawn)
    return found


def _network(
    found: dict[str, Any], springs: np.ndarray, at: np.ndarray, lines: int, shut: Sequence[np.ndarray], *, named: bool
) -> Network:
    """The units where they rest, those that nothing hears of (``shut``, a layer each) small and grey, and the strongest springs; what is fixed
    has the names of classes where it is the answers (``named``)."""
    radius = np.linalg.norm(at, axis=1, keepdims=True)
    shown = at * np.where(radius > 0, np.maximum(radius, 1e-12) ** (SPREAD - 1), 0.0)
    middle = SIDE / 2 + shown * (SIDE / 2 - RIM)
    vertices: list[Vertex] = []
    places = []
    last = len(found["layers"]) - 1
    for number, one in enumerate(found["layers"]):
        scores = np.nan_to_num(standard(one["profile"]))
        best, still = scores.argmax(1), ~(scores.any(1) & telling(one))  # what answers the same to all, or no numbers, answers to none most
        for k, unit in enumerate(one["units"].tolist()):
            size = ANCHOR if number == last else SHUT if shut[number][k] else DOT
            x, y = middle[len(vertices)]
            by_class = found["by"] == "class"
            told = CLOSED if shut[number][k] else "" if not by_class else STILL if still[k] else f"serves {found['columns'][int(best[k])]}"
            vertices.append(Vertex(
                form="dot", label=f"{spoken(one['layer'])}, unit {unit}", note=told,
                keys=(unit_key(one["layer"], unit),),
                colour=None if shut[number][k] else number if not by_class else None if still[k] else int(best[k]),
            ))
            places.append((x - size / 2, y - size / 2, size, size))
    fixed = found["layers"][-1]
    if len(fixed["units"]) <= NAMED:
        # The answers have their names beside them, outside of the circle.
        for k, (unit, way) in enumerate(zip(fixed["units"].tolist(), at[-len(fixed["units"]) :], strict=True)):
            own = named and found["by"] == "class" and len(fixed["units"]) == len(found["columns"])
            label = found["columns"][k] if own else str(unit)
            # A long name stands further out at the sides than above and below, so that it begins where its dot ends.
            wide = min(lettering.monospaced(label, LETTERS) + 4, LONGEST)
            x, y = SIDE / 2 + way * (SIDE / 2 - RIM + ANCHOR / 2 + np.array([wide / 2 + 4, 12]))
            vertices.append(Vertex(form="heading", label=label))
            places.append((x - wide / 2, y - 8, wide, 16.0))
    rows, columns_ = np.nonzero(np.triu(springs, 1))
    values = springs[rows, columns_]
    kept = strongest(np.abs(values), lines)
    # A name beside the outermost answer reaches beyond the circle's square.
    moved = np.array(places, np.float32) + np.array([ASIDE, 0, 0, 0], np.float32)
    return Network(
        vertices=tuple(vertices), places=moved, links=np.column_stack([rows[kept], columns_[kept]]).astype(np.int32),
        strengths=values[kept].astype(np.float32), strongest=3 * float(np.abs(values).max(initial=0)), extent=(SIDE + 2 * ASIDE, SIDE),
    )


def strongest(sizes: np.ndarray, most: int) -> np.ndarray:
    """Where the largest of many sizes are, the largest first; of equal ones the first."""
    if not most:
        return np.zeros(0, np.int64)
    least = np.partition(sizes, len(sizes) - most)[len(sizes) - most] if most < len(sizes) else 0.0
    near = np.flatnonzero(sizes >= least)
    return near[np.argsort(-sizes[near], kind="stable")[:most]]
