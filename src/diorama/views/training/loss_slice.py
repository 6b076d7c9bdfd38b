"""The loss around the weights at hand."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from ...core.colour import magnitude
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Column, Field, Group, Handle, Node, Number, Table
from ...core.picture import Check, Draft, Picture, Progress
from ...core.selection import Selection, number_key
from ...scene import Scene, weight_planes
from ...scene.turned_answers import turned
from ...scene.weight_planes import WeightPlane
from ..view import View
from ._mean_loss import uncounted
from ._slice import FEW, GridPlaces, Slice, Walker, outline, walked

MANY = 12
"""At most so many examples with another answer are named."""


def _held(good: np.ndarray, share: float, rule: str) -> str:
    """What the outline holds, in a sentence."""
    if not good.any():
        return f"None of the {good.size:,} places that were tried has {rule}, so there is no outline."
    if share < 0.01:
        return f"The outline holds the few places with {rule}: less than 1 % of all."
    return f"The outline holds the {100 * share:.0f} % of the places with {rule}."


class LossSliceView(View):
    """A plane through the weights of the network, with the loss over the probe set at each place.

    *Meaning* the cross stands where the network is tried out: drag it or click a place, and read what it would answer there; every other
    view looks at the network at that place until the cross is back at 0,0. The outlined region holds the places that do well
    enough. Points are the snapshots of the training, at their nearest places on the plane.
    *Error* the plane is one of very many, and the path mostly leaves it: the check says how much of it lies within.
    *Cost* places² passes an example; twice as many where the statistics of batch norm are estimated anew.
    """

    title = "Loss around here"
    question = "Is the network in a wide valley, and how did the training get there?"
    family = "process"
    papers = ("Li et al. 2018, Visualizing the loss landscape", "Goodfellow et al. 2015", "Jordan et al. 2022, REPAIR")
    rows = ("C24",)
    by_labels = True
    moves = ("directions", "at", "to", "seed", "statistics")

    directions: str = knob("random", "What spans the plane.", choices=weight_planes.DIRECTIONS, main=True)
    at: str = knob("0,0", "The place at which the network is tried out, x,y; 0,0 is the network itself.", main=True)
    to: int | None = knob(None, "Between: the step of the other weights; by itself the other run, else the last snapshot.", low=0, kind="step")
    seed: int = knob(0, "What random directions are drawn from.", low=0)
    places: int = knob(17, "Places along each side, an odd number; 9, 17 and 33 are refined from coarse to fine.", low=3, high=65)
    reach: float = knob(1.0, "Random directions: how far, as a share of the weights' own length.", low=0.01, high=10.0)
    success: str = knob(
        "auto", "A place does well by its accuracy, or by its loss; auto takes accuracy where there is one.",
        choices=("auto", "accuracy", "loss"),
    )
    enough: float | None = knob(
        None, "From which accuracy, or up to which loss; by itself 95 % of the accuracy here, or 1.25 × the loss.", low=0.0, kind="number"
    )
    statistics: str = knob(
        "snapshot", "Batch norm: keep the snapshot's statistics, or estimate them anew at each place.", choices=weight_planes.STATISTICS
    )

    @classmethod
    def fits(cls, scene: Scene) -> str | None:
        """It needs a network and the truth."""
        reason = super().fits(scene)
        if reason is None and scene.live.y is None:
            return "it shows the loss, and the probe set has no labels; pass y, or probe=(x, y)"
        return reason if reason is not None or scene.task else "it shows the loss, and the task is not known; pass task="

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """Coarse to fine, then what changes at the chosen place."""
        scene, place = weight_planes.origin(scene), weight_planes.place(self.at)
        # An odd number has the network itself in its middle.
        resolution = self.places | 1
        plane = weight_planes.plane(scene, self.directions, self.to, self.seed, self.reach)
        walker = Walker(scene, plane, self.statistics == "anew")
        beside = scene.other.fingerprint if scene.other is not None and self.directions == "between" else ""
        name = f"loss_slice/{self.directions}/{self.to}/{self.seed}/{resolution}/{self.reach}/{self.statistics}/{beside}"
        places: GridPlaces = scene.once(name, lambda: GridPlaces(plane.extent, resolution))

        def shown(found: Slice, tried: Node | None = None) -> Picture:
            return self._picture(scene, selection, plane, walker, found, place, tried)

        tried = self._tried(scene, walker, place) if places.covered and not places.whole else None
        if tried is not None:  # somebody looked before, and left when it was not yet whole
            yield shown(places.slice(), tried)
        for found, done, total in walked(walker, places):
            known = int(places.known.sum())
            yield Progress(done=done, total=total, note=f"{known:,} of {places.known.size:,} places" if known else f"all places by {FEW} examples")
            if places.covered and tried is None and not places.whole:
                tried = self._tried(scene, walker, place)
                yield shown(places.slice(), tried)
            elif found is not None and not places.whole:
                yield Draft(functools.partial(shown, found, tried))
        yield shown(places.slice(), tried or self._tried(scene, walker, place))

    def _picture(
        self, scene: Scene, selection: Selection, plane: WeightPlane, walker: Walker, found: Slice, place: tuple[float, float], tried: Node | None
    ) -> Picture:
        by_accuracy, enough, here = self._enough(found)
        judged = found.right if by_accuracy else found.losses
        with np.errstate(invalid="ignore"):
            good = judged >= enough - 1e-9 if by_accuracy else judged <= enough + 1e-9
        half = [(axis[1] - axis[0]) / 2 for axis in (found.xs, found.ys)]
        extent = (found.xs[0] - half[0], found.xs[-1] + half[0], found.ys[0] - half[1], found.ys[-1] + half[1])
        field = Field(
            values=found.losses.astype(np.float32), extent=tuple(map(float, extent)),  # type: ignore[arg-type]
            limits=magnitude(found.losses, 0.0, self._high(scene, here)),
            points=plane.path.astype(np.float32) if len(plane.path) else None,
            point_keys=tuple(number_key("step", step) for step in plane.steps), joined=True,
            outline=outline(good, extent).astype(np.float32), x_title=plane.titles[0], y_title=plane.titles[1],
            handle=Handle(knob="at", kind="point", value=f"{place[0]:g},{place[1]:g}"), size=360,
        )
        children: list[Node] = [field]
        if tried is not None:
            children.append(tried)
        share = float(good.mean())
        broken = weight_planes.broken_tensors(walker.begun)
        rule = f"an accuracy of {enough:.3g} or more" if by_accuracy else f"a loss of {enough:.3g} or less"
        words = f"Colour is the mean loss. {plane.words} {_held(good, share, rule)} "
        if broken:
            words = f"Colour is the mean loss. {plane.words} Some weights are not numbers here ({broken} tensors), so the loss is none either. "
        if walker.norms:
            words += (
                "Away from the centre batch norm gets statistics of its own, over the probe set. "
                if walker.anew else "Batch norm keeps the statistics of this snapshot. "
            )
        rough = int(found.rough.sum())
        so_far = f"At {rough:,} of {found.rough.size:,} places it is so far the loss of {FEW} of {len(scene.live)} examples." if rough else ""
        return self.picture(
            scene, selection, "Loss around here", Group(children=tuple(children), direction="row"), words.strip(),
            checks=self._checks(scene, plane, None if found.rough[found.centre] else here),
            note=" ".join(filter(None, [uncounted(scene), so_far])), final=tried is not None and not rough,
        )

    def _enough(self, found: Slice) -> tuple[bool, float, float]:
        """Whether places are judged by accuracy, what is enough, and the loss at the centre."""
        here, right = float(found.losses[found.centre]), float(found.right[found.centre])
        accuracy = np.isfinite(right) if self.success == "auto" else self.success == "accuracy"
        if accuracy and not np.isfinite(right) and np.isfinite(here):
            raise NotApplicable("these answers are not right or wrong; judge places by their loss (success=loss)")
        own = 0.95 * right if accuracy else 1.25 * here
        return bool(accuracy), self.enough if self.enough is not None else own, here

    def _high(self, scene: Scene, here: float) -> float:
        """The top of the colours: the same at every step of a run."""
        high = 4 * here
        if scene.run is not None and "probe/loss" in scene.run.series_names:
            told = scene.run.series("probe/loss")[1]
            told = told[np.isfinite(told)]
            high = 1.5 * float(told.max()) if len(told) else high
        return high if np.isfinite(high) and high > 0 else 1.0

    def _tried(self, scene: Scene, walker: Walker, place: tuple[float, float]) -> Node:
        """What the network answers at the place, beside what it answers where it is."""
        loss, right = walker.asked(*place)
        there = walker.scene.predictions().clone()
        here = scene.predictions()
        now = scene.answers()
        differ = turned(scene, walker.scene.answers(sure=False))
        changed = [] if differ is None else np.flatnonzero(differ.examples.numpy()).tolist()
        children: list[Node] = [
            Number(label="loss at the cross", value=loss, note=f"at {place[0]:.3g}, {place[1]:.3g}"),
        ]
        if np.isfinite(right):
            children.append(Number(label="accuracy at the cross", value=100 * right, unit="%"))
        if differ is not None and differ.total:
            children.append(Number(label="answers that change", value=float(differ.count), note=f"of {differ.of}"))
        if changed and scene.task == "classification" and now.losses is not None:
            classes = scene.classes
            shown = changed[:MANY]

            def names(answers: np.ndarray) -> tuple[str, ...]:
                return tuple(classes[k] if 0 <= k < len(classes) else "none" for k in answers[shown].tolist())

            children.append(Table(
                columns=(
                    Column(name="example", kind="text", texts=tuple(map(str, shown))),
                    Column(name="here", kind="text", texts=names(here.reshape(len(here)).numpy())),
                    Column(name="at the cross", kind="text", texts=names(there.reshape(len(there)).numpy())),
                ),
                row_keys=tuple(number_key("example", k) for k in shown),
                caption=f"the first {MANY} of {len(changed)}" if len(changed) > MANY else "",
            ))
        return Group(children=tuple(children))

    def _checks(self, scene: Scene, plane: WeightPlane, here: float | None) -> tuple[Check, ...]:
        found = []
        if np.isfinite(plane.seen):
            found.append(Check(
                name="path within the plane", value=plane.seen, good=plane.seen > 0.5,
                sentence="The share of the training's squared distance from here that lies in this plane: near 0, the path's places say little.",
            ))
        run = scene.run
        if here is not None and run is not None and not scene.edits and len(scene.live) == len(scene.examples) and "probe/loss" in run.series_names:
            steps, losses = run.series("probe/loss")
            at = np.flatnonzero(steps == scene.step)
            if len(at) and np.isfinite(losses[at[-1]]):
                gap = abs(here - float(losses[at[-1]]))
                found.append(Check(
                    name="centre", value=gap, good=gap <= 1e-3 * max(1.0, abs(here)),
                    sentence="How far the loss in the middle is from the one that the training recorded at this step.",
                ))
        return tuple(found)
