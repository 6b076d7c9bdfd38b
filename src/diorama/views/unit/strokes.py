"""Strokes that the network writes with a pen: where it may go next, at each place and at every moment of the training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.colour import magnitude
from ...core.errors import UsageError
from ...core.knobs import knob
from ...core.marks import Event, Field, Group, Handle, Lines, Node, Series, Tiles
from ...core.numerals import percent
from ...core.picture import Check, Draft, Picture, Progress
from ...core.selection import Selection, number_key
from ...data import strokes as pen
from ...data.kinds import Strokes
from ...model.mixtures import PARTS, NextStep, curves
from ...scene import Scene
from ...scene.input import CurrentInput
from ...scene.made_strokes import WrittenStrokes, penning
from .. import inputs
from ..view import View

Floats = NDArray[np.float64]
CELLS = 72
"""Cells along each side of the paper."""
NEAR = 5.0
"""What comes behind the chosen point is drawn so many usual steps to each side."""
WINDOW = 0.6
"""So many cells are added to the width of a bell curve: a narrower one would fall between the spots where it is counted."""
DRAWS = 80
"""So many next steps are drawn behind the chosen place."""


class StrokesView(View):
    """What the network writes with a pen, and behind each point how likely it holds every place for the next one.

    *Meaning* the ink is what is written; colour says how likely the next point is at a spot, as a share of the likeliest spot, so a
    wide cloud is doubt, and two clouds are two ways to go on. A click on a point asks what comes behind it. A line drawn over the
    paper is what it begins with. A network writes strokes where its inputs are rows (places, 3) of dx, dy and 1 where the pen is
    lifted, and it answers at each place the next step: by 3 numbers, or by 6 k + 1 in the order that ``parts`` names.
    *Units* those of dx and dy; surprise in nats.
    *Error* bell curves are drawn with a cell's width added to theirs; the check is the share of the distribution that the plane about the
    point holds.
    *Cost* a forward pass of a few examples for each point and moment.
    *Source* Graves 2013, equations 17 to 26; temperature as in Ha & Eck 2018, equation 8.
    """

    title = "Strokes"
    question = "What does the network write with a pen, and where does it see several ways on?"
    family = "process"
    papers = ("Graves 2013, arXiv:1308.0850", "Carter, Ha, Johnson & Olah 2016, doi:10.23915/distill.00004", "Ha & Eck 2018, arXiv:1704.03477")
    rows = ("C10", "D6")
    follows = ("example", "token")
    input = True
    demo = "strokes"

    line: str = knob("", "Begin with lines drawn over the paper, x,y;x,y;… with | where the pen is lifted; left empty, with the example.", main=True)
    begin: int = knob(1, "With so many points of the example it begins, where no line is drawn.", low=1, high=1000, main=True)
    temperature: float = knob(1.0, "Below 1 it keeps to what is likeliest, above 1 it dares more; 0 leaves no luck.", low=0.0, high=4.0, main=True)
    length: int | None = knob(
        None, "How many points it adds; as many as make the length of its examples when left open.", kind="integer", low=0, high=1000,
    )
    samples: int = knob(6, "So many are written beside each other, with another luck each.", low=1, high=24)
    count: int = knob(5, "How many moments of the training are set below each other.", low=1, high=20)
    seed: int = knob(0, "The luck with which steps are drawn, the same at every moment.", low=0)
    parts: str = knob(" ".join(PARTS), "The order of the 6 k + 1 numbers of a place.")
    lifting: str = knob("score", "Whether lifting the pen is told as a score (a logit) or as a probability.", choices=("score", "probability"))

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs strokes, and a network that answers the next step at each place."""
        x = scene.examples.x
        if not isinstance(x, Tensor) or not (isinstance(scene.kind, Strokes) or pen.are_strokes(x)):
            return "it draws what a pen writes, and the inputs are not rows (examples, places, 3) of dx, dy and 1 where the pen is lifted"
        scores = scene.once("strokes/width", lambda: tuple(scene.scores(scene.live.batch([0])).shape))
        if len(scores) != 3 or scores[1] != x.shape[1] or curves(scores[2]) is None:
            return (
                "it wants an answer at each place, of 3 numbers (dx, dy, lift) or of 6 k + 1 as its knob parts names them, and this network "
                f"answers an example with {' × '.join(map(str, scores[1:])) or 'one number'}; outputs= may pick or arrange them"
            )
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """This moment first, point by point; then the others, the oldest first."""
        current = scene.current(selection)
        begin, kind = self._begin(scene, current), _kind(scene)
        found: dict[int | None, WrittenStrokes] = {}
        papers: dict[int, _Paper] = {}
        moments: list[int | None] = [scene.step, *(step for step in self._moments(scene) if step != scene.step)]
        for number, step in enumerate(moments):
            at = scene if step == scene.step else scene.at(int(step or 0))
            for found[step] in self._penned(at, begin, kind):
                if step == scene.step:
                    yield Draft(lambda: self._picture(scene, selection, kind, found, papers, final=False))
            if len(moments) > 1:
                yield Progress(done=number + 1, total=len(moments), note="moments of the training")
            yield self._picture(scene, selection, kind, found, papers, final=number + 1 == len(moments))

    def _moments(self, scene: Scene) -> list[int]:
        """Snapshots from the first to the last, closer together early on, where more is learnt."""
        steps = scene.steps
        if not steps or scene.step is None:
            return []
        wanted = np.geomspace(1, 1 + steps[-1] - steps[0], self.count) - 1 + steps[0]
        return sorted({min(steps, key=lambda step: abs(step - one)) for one in wanted})

    def _begin(self, scene: Scene, current: CurrentInput) -> Tensor:
        """What it begins with, (1, places, 3): the line that was drawn, an input that was given, or the beginning of the example."""
        x: Tensor = current.x  # type: ignore[assignment]
        if self.line:
            return torch.from_numpy(pen.drawn(self.line, _kind(scene).step or 1.0))[None].to(x)
        return x if current.index is None else x[:, : self.begin]

    def _order(self) -> tuple[str, ...]:
        named = tuple(self.parts.replace(",", " ").split())
        if sorted(named) != sorted(PARTS):
            raise UsageError(f"parts wants each of {' '.join(PARTS)} once, in the order in which the network tells them, got {self.parts!r}")
        return named

    def _penned(self, scene: Scene, begin: Tensor, kind: Strokes) -> Iterator[WrittenStrokes]:
        """What a moment writes; the whole at once where it was written before."""
        length = self.length if self.length is not None else max(int(kind.length or 0) - begin.shape[1], 0)
        told = (self.temperature, length, self.samples, self.seed, self._order(), self.lifting)
        key = f"{scene.step}/{scene.edits!r}/{begin.tolist()}/{told}"
        memory = scene.keep("strokes", _PennedStrokes) if scene.step in scene.steps else scene.once("strokes", _PennedStrokes)
        if key in memory.kept:
            yield memory.kept[key]
            return
        one: WrittenStrokes | None = None
        for one in penning(
            scene, begin, length=length, samples=self.samples, temperature=self.temperature, seed=self.seed, parts=self._order(),
            probability=self.lifting == "probability",
        ):
            yield one
        if one is not None:
            memory.put(key, one)

    def _picture(
        self, scene: Scene, selection: Selection, kind: Strokes, found: dict[int | None, WrittenStrokes], papers: dict[int, _Paper], *, final: bool,
    ) -> Picture:
        own, half = found[scene.step], float(kind.half or 1.0)
        paper = papers.setdefault(own.rows.shape[1], _Paper(own, half, NEAR * (kind.step or 1.0)))
        chosen = _chosen(selection, paper)
        marks: list[Node] = [Group(children=(self._whole(paper), self._next(paper, chosen)), direction="row")]
        marks.append(Group(children=paper.over_places(), direction="row"))
        if self.samples > 1 or len(found) > 1:
            told = tuple(_tiles(found[step], half, step, scene.step) for step in sorted(found, key=lambda one: one or 0))
            marks.append(Group(children=told, direction="row"))
        added = own.rows.shape[1] - own.begun
        began = "what was drawn" if self.line else f"{own.begun} point{'s' * (own.begun > 1)} of the input"
        caption = f"It began with {began} and added {added} at temperature {self.temperature:g}. "
        if paper.told:
            caption += (
                "Colour: how likely the next point is at a spot, as a share of the likeliest spot; behind every point of the ink on the left, behind "
                f"the chosen one on the right, nearer, where the dots are {DRAWS} steps drawn from it. "
            )
        else:
            caption += "This network says one next step and not how likely others are: the dot on the right, and luck decides the pen alone. "
        caption += f"Lifting the pen is read as a {self.lifting}."
        if len(found) > 1:
            caption += f" Below, what it wrote at {len(found)} moments of its training, with the same luck at each place of them."
        checks: tuple[Check, ...] = ()
        if paper.told and paper.behind(chosen).finite:
            share = paper.chances(chosen, paper.about(chosen)).sum()
            checks = (Check(
                name="share in sight", value=float(share), good=bool(share > 0.9),
                sentence=f"{percent(float(share))} of what may come behind point {chosen} lie in the plane on the right.",
            ),)
        note = "At some moments what it says are not numbers, so it writes no further." if any(one.broken for one in found.values()) else ""
        off = int((np.abs(paper.at) > half).any(1).sum())
        if off:
            note = f"{note} {off} of its points {'lies' if off == 1 else 'lie'} outside the paper.".strip()
        body = Group(children=tuple(marks))
        return self.picture(scene, selection, "What the network writes with a pen", body, caption, checks=checks, note=note, final=final)

    def _whole(self, paper: _Paper) -> Field:
        """The ink, and behind each of its points where the pen may go; a line is drawn over it."""
        likely, extent = paper.whole()
        return Field(
            values=likely, limits=magnitude(likely, 0.0, 1.0), extent=extent,
            outline=paper.ink(len(paper.at)), points=paper.at, small=True, point_keys=tuple(number_key("token", k) for k in range(len(paper.at))),
            title="Where the pen may go, behind each point", handle=Handle(knob="line", kind="strokes", value=self.line), size=300,
        )

    def _next(self, paper: _Paper, chosen: int) -> Field:
        """What comes behind the chosen point: the distribution, and steps drawn from it."""
        extent, said = paper.about(chosen), paper.behind(chosen)
        likely = paper.likely(chosen, extent)
        caption = "What is said behind it are not numbers."
        steps = np.empty((0, 3))
        if said.finite:
            draws = DRAWS if paper.told and self.temperature else 1
            luck = np.random.default_rng([self.seed, chosen])
            given = torch.from_numpy(np.column_stack([luck.random((draws, 2)), luck.standard_normal((draws, 2))]))
            steps = said.at(self.temperature).times(draws).drawn(given).numpy()
            caption = f"The pen is lifted behind the next point with a probability of {percent(float(said.lift.sigmoid()))}."
        return Field(
            values=likely, limits=magnitude(likely, 0.0, 1.0), extent=extent, outline=paper.ink(chosen + 1),
            points=paper.at[chosen] + steps[:, :2], small=True, size=300, title=f"Where the pen may go behind point {chosen}", caption=caption,
        )


class _Paper:
    """The first sample on its paper: where its points lie, and what is said behind each."""

    def __init__(self, own: WrittenStrokes, half: float, near: float) -> None:
        self.rows, self.said, self.begun = own.rows[0], own.said, own.begun
        self.at = pen.points(self.rows)
        self.half, self.near = half, near
        self.told = own.said.spreads is not None
        """It says how likely each step is, and not one alone."""
        self._whole: Floats | None = None

    @property
    def last(self) -> int:
        """The last place behind which something is said."""
        return len(self.said.lift) - 1

    def behind(self, place: int) -> NextStep:
        """What is said behind a place."""
        return self.said.at_place(place)

    def ink(self, count: int) -> Floats:
        """The lines between the first points."""
        return pen.lines(self.rows[:count])

    def about(self, place: int) -> tuple[float, float, float, float]:
        """A smaller square about a point."""
        x, y = (float(one) if np.isfinite(one) else 0.0 for one in self.at[place])
        return x - self.near, x + self.near, y - self.near, y + self.near

    def chances(self, place: int, extent: tuple[float, float, float, float]) -> Floats:
        """How likely the next point lies in each cell of a square (CELLS, CELLS), the lowest row first."""
        cell = (extent[1] - extent[0]) / CELLS
        x, y = ((np.arange(CELLS) + 0.5) * cell + low for low in (extent[0], extent[2]))
        steps = torch.from_numpy(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2) - self.at[place])
        return np.asarray(self.behind(place).widened(WINDOW * cell).logs(steps).exp().numpy().reshape(CELLS, CELLS) * cell**2)

    def likely(self, place: int, extent: tuple[float, float, float, float]) -> Floats:
        """The same as a share of the likeliest cell; nothing of a plain step."""
        if not self.told:
            return np.zeros((CELLS, CELLS))
        chances = self.chances(place, extent)
        return chances / (chances.max() or 1.0)

    def whole(self) -> tuple[Floats, tuple[float, float, float, float]]:
        """How likely each cell of the paper is behind the point that makes it likeliest, and the paper's extent."""
        extent = -self.half, self.half, -self.half, self.half
        if self._whole is None:
            self._whole = np.zeros((CELLS, CELLS))
            for place in range(self.last + 1):
                self._whole = np.maximum(self._whole, self.likely(place, extent))
        return self._whole, extent

    def over_places(self) -> tuple[Lines, ...]:
        """How likely the pen was to be lifted at each point, and how much each step surprised."""
        count = min(len(self.at) - 1, self.last + 1)
        x = np.arange(1.0, count + 1)
        begun = (Event(x=self.begun - 0.5, label="from here on it writes"),) if self.begun < len(self.at) else ()
        shown = [Lines(
            series=(
                Series(name="said", x=x, y=self.said.lift.sigmoid().numpy()[:count]),
                Series(name="lifted", x=x, y=self.rows[1 : count + 1, 2], colour=1, dash=True),
            ),
            x_title="point", x_kind="number", y_range=(0.0, 1.0), events=begun, title="Probability that the pen is lifted behind a point",
        )]
        if self.told:
            nats = [-float(self.behind(k).logs(torch.from_numpy(self.rows[k + 1, :2]))) for k in range(count)]
            shown.append(Lines(
                series=(Series(name="surprise", x=x, y=np.array(nats)),), x_title="point", x_kind="number", y_title="nats", events=begun,
                title="How much each step surprised", caption="Minus the logarithm of the density of the step that led to the point.",
            ))
        return tuple(shown)


class _PennedStrokes:
    """Strokes that were written before, the newest few."""

    def __init__(self) -> None:
        self.kept: dict[str, WrittenStrokes] = {}

    def put(self, key: str, one: WrittenStrokes) -> None:
        """Keep one more; the oldest goes."""
        self.kept[key] = one
        while len(self.kept) > 60:
            del self.kept[next(iter(self.kept))]


def _kind(scene: Scene) -> Strokes:
    """The kind of a scene's strokes, also where it was taken for another."""
    if isinstance(scene.kind, Strokes):
        return scene.kind
    x: Tensor = scene.examples.x  # type: ignore[assignment]
    kind: Strokes = scene.keep("strokes/kind", lambda: Strokes().fitted(x))
    return kind


def _chosen(selection: Selection, paper: _Paper) -> int:
    """Behind which point the next is asked for: the chosen one, else the last that it began with."""
    key = selection.one("token")
    at = key.number if key is not None else paper.begun - 1
    return min(max(at, 0), paper.last)


def _tiles(one: WrittenStrokes, half: float, step: int | None, now: int | None) -> Tiles:
    """All samples of a moment."""
    images = np.stack([pen.inked(pen.lines(rows), half) for rows in one.rows])
    title = "now" if step is None else f"step {step:,}" + (" (the first is shown above)" if step == now else "")
    return Tiles(images=images, limits=inputs.grey(images), columns=-(-len(images) // 2), size=72, title=title)
