"""Why this answer: maps of several methods side by side."""

from __future__ import annotations

from collections.abc import Iterator

from ...core.blame import alone
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.picture import Draft, Picture, Progress
from ...core.selection import Selection
from ...methods.attribute import attributions
from ...methods.cost import Cost
from ...methods.relevance.composites import COMPOSITES
from ...scene import Scene
from ..view import View
from ._belief import MapChecks
from ._bench import Bench, MapStyle, caption
from ._question import GROUPS, ChosenMethod, InputQuestion, currents, named, of_group, ruled, total

LONG = 2.0
"""Work that is expected to take longer, in seconds, says so before it begins."""


class AttributionView(View):
    """Which parts of the input speak for this answer, and which against it, by several methods side by side.

    *Meaning* blue speaks for the target, orange against it; methods that only know magnitudes go from dark to bright.
    The target is what was chosen last: a class (click a bar of the answer; with another class in set B, the first
    rather than the second), a unit, one place of its map, a layer; else what the network answers. Several chosen
    examples make several rows. Methods disagree: believe what several of them show, mind the gap between a map's sum
    and the score, and let ``checks`` measure the rest.
    *Cost* one forward and one backward pass for the gradient methods, some tens to thousands for the others; the maps
    appear one by one. Deletion and insertion take 42 passes a map, randomization each method four times more.
    *Source* the checks: Petsiuk et al. 2018 (deletion and insertion), Adebayo et al. 2018 (randomization).
    """

    title = "Why this answer?"
    question = "Which parts of the input speak for this answer, and which against it?"
    answers = True
    family = "features"
    papers = (
        "Simonyan et al. 2013", "Zeiler & Fergus 2014", "Springenberg et al. 2014", "Bach et al. 2015",
        "Selvaraju et al. 2017", "Sundararajan et al. 2017",
    )
    rows = ("A7", "A10", "A11", "A12", "A13", "A14", "A15", "A16", "A18")
    follows = ("example", "class", "unit", "layer", "direction")
    hovers = ("class",)
    input = True

    group: str = knob(
        "few", "Which methods: one or two of each family, the quick ones (a few passes each), or a family.",
        choices=GROUPS, main=True,
    )
    checks: str = knob(
        "none", "Measure how far to believe each map: cover and show its places in its own order, or randomize the "
        "upper half of the network.", choices=("none", "deletion and insertion", "randomization", "all"), main=True,
    )
    overlay: bool = knob(True, "Lay the map over the input, or show it alone.")
    method: str | None = knob(
        None, "Methods by name with commas between them, knobs in brackets: gradient, lrp(rule=epsilon); empty for the group."
    )
    rule: str = knob(
        "auto", "The rule of LRP where it is among the methods; auto takes LRP's own.", choices=("auto", *COMPOSITES)
    )
    inputs: int = knob(1, "How many inputs: the chosen examples, and the next ones up to this number.", low=1, high=16)
    sign: str = knob("signed", "All of the map, or only what speaks for the target.", choices=("signed", "positive"))
    scale: str = knob(
        "own", "Each map its own scale, one for all inputs of a method, or one for all signed maps and one for the others.",
        choices=("own", "method", "all"),
    )
    contour: float | None = knob(
        None, "Draw a line where the map reaches this share of its scale.", kind="number", low=0.01, high=1.0
    )
    fill: str = knob(
        "auto", "What covers places in the check: zeros, an image's mean colour or its blur; auto takes the mean colour "
        "of images and zeros of all else.", choices=("auto", "constant", "mean", "blur"),
    )

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """The maps as they are done, then the same with what was measured of them."""
        rows = [InputQuestion(scene, selection, current) for current in currents(scene, selection, self.inputs)]
        chosen = named(self.method) if self.method else of_group(self.group, rows[0])
        if self.rule != "auto" and (self.method or self.group != "relevance"):
            chosen = [ruled(one, self.rule) for one in chosen]
        refused: dict[str, str] = {}
        for one in chosen:
            reason = rows[0].refused(one.method)
            if reason is not None:
                refused[one.title] = reason
        if refused and len(chosen) == 1:
            raise NotApplicable(next(iter(refused.values())))
        fitting = [one for one in chosen if one.title not in refused]
        style = MapStyle(self.overlay, self.sign == "positive", self.scale, self.contour)
        bench = Bench(rows, [MapChecks(row, self.checks, self.fill) for row in rows], style)
        work = _Work(bench, fitting, refused, self.checks != "none")
        if work.whole.seconds(rows[0].seconds) > LONG:
            rows[0].timed()
        if work.whole.seconds(rows[0].seconds) > LONG:
            yield Progress(
                done=0, total=work.total, note=work.whole.said(rows[0].seconds),
                seconds=work.whole.seconds(rows[0].seconds),
            )
        for note in work.steps():
            if bench.cells:
                yield Draft(lambda: self._picture(scene, selection, bench, refused, final=False))
            yield Progress(done=work.done, total=work.total, note=note)
        if not bench.cells:
            raise NotApplicable("none of these methods fits the model: " + "; ".join(dict.fromkeys(refused.values())))
        yield self._picture(scene, selection, bench, refused, final=True)

    def _picture(
        self, scene: Scene, selection: Selection, bench: Bench, refused: dict[str, str], *, final: bool
    ) -> Picture:
        note = "Not shown: " + "; ".join(f"{title}: {why}" for title, why in refused.items()) + "." if refused else ""
        said = caption(bench, len({title for title, _ in bench.cells}) if final else None)
        return self.picture(scene, selection, "Why this answer?", bench.body(), said, note=note, final=final)


class _Work:
    """The maps and then the checks, counted in passes."""

    def __init__(self, bench: Bench, methods: list[ChosenMethod], refused: dict[str, str], checked: bool) -> None:
        self._bench, self._methods, self._refused, self._checked = bench, methods, refused, checked
        first, times = bench.rows[0], len(bench.rows)
        self._costs = {one.title: _sum(first.cost(one.method)) for one in methods}
        costs = [first.cost(one.method) for one in methods]
        self._checks: dict[str, int] = {}
        if checked:
            believing = bench.believing[0]
            measured = {one.title: believing.cost(one) for one in methods}
            self._checks = {title: _sum(cost) for title, cost in measured.items()}
            costs += [*measured.values(), believing.first_cost()]
        one = total(costs)
        self.whole = Cost(one.forward * times, one.backward * times)
        self.total, self.done = max(1, times * (sum(self._costs.values()) + sum(self._checks.values()))), 0

    def steps(self) -> Iterator[str]:
        """Do it all, and say what is done; what turns out not to fit is told apart."""
        rows = self._bench.rows
        for one in self._methods:
            for number, asked in enumerate(rows):
                try:
                    for found in attributions(asked.looking_for(one.method), asked.current.x, asked.target, one.method):
                        self._bench.add(one, number, found)
                        yield one.title
                except Exception as error:
                    if len(self._methods) == 1 and not self._refused:
                        raise
                    self._refused[one.title] = alone(error)
                self.done += self._costs[one.title]
                yield one.title
        if not self._checked:
            return
        yield "measuring"
        for one in self._methods:
            for number in range(len(rows)):
                cell = self._bench.cells.get((one.title, number))
                if cell is not None:
                    self._bench.beliefs[one.title, number] = self._bench.believing[number].of(one, cell.found)
                self.done += self._checks[one.title]
                yield f"{one.title}: measuring"


def _sum(cost: Cost) -> int:
    return cost.forward + cost.backward
