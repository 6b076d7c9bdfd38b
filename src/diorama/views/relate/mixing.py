"""Which classes the network mixes, and where it starts to."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...core.colour import magnitude
from ...core.knobs import knob
from ...core.marks import Heatmap
from ...core.numerals import being, counted, joined
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, layer_key, number_key, spoken
from ...derive.class_overlap import INPUT
from ...derive.derivations.mixing import ANSWER, RISE, unclassed
from ...scene import Scene
from ...scene.sets import classes_of, named
from ..samples import first_examples, looked_at, noted, unanswered
from ..view import View

MIXED = 0.1
"""From this share of neighbours of the other class on, two classes are said to be mixed."""


MANY = 4000
"""So many examples at most: each is compared with all others in every layer."""
HALF = 0.25
"""Two classes of which the first layer mixes less than this, halfway to fully, are told apart there for the most part."""


class MixingView(View):
    """The pairs of classes that lie among one another, layer by layer, and the layer at which they start to.

    *Meaning* of an example's nearest of both classes, the share of the other class: 0 where the two lie apart, 0.5 where they are
    fully mixed. The scores come last where they are not what the last layer answers. A pair that lay apart and mixes again behind has a
    mark (●) where that starts: look there for what is lost. A pair that is mixed all along was never told apart: look at the examples.
    Choose a class, and its pairs stay.
    *Units* shares, both classes of equal weight: a neighbour counts by one over the examples of its class, so that chance is a half also where
    one class is larger, and the share is not that of a plain count. Places count each by themselves, of maps beyond 8 × 8 the means of
    neighbouring ones.
    *Cost* one forward pass an example, and for each two examples their distance in each layer.
    *Source* Paulovich et al. 2008 (neighbourhood hit); Rauber et al. 2017.
    """

    title = "Mixed classes"
    question = "Which classes does the network mix, and where does it start to?"
    family = "relationships"
    papers = ("Rauber et al. 2017, Visualizing the Hidden Activity of Artificial Neural Networks",)
    rows = ("D4",)
    by_labels = True
    follows = ("class",)

    count: int = knob(12, "So many pairs at most: those that are mixed most at the end.", low=1, high=64, main=True)
    near: int = knob(5, "So many nearest examples count, of a class of fewer as many as it has beside the example.", low=1, high=50)
    layers: int = knob(10, "So many layers at most.", low=2, high=24)
    examples: int = first_examples(4, MANY)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """A classifier with known classes."""
        return unclassed(scene)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture."""
        scene = scene.first(self.examples)
        yield Progress(done=0, total=1, note=f"one pass over {counted(len(scene.live), 'examples')}")
        value = None
        for stage in scene.derive("mixing", near=self.near, layers=self.layers).stream():
            value = stage.value or value
            if not stage.final:
                yield stage.progress
        assert value is not None
        pairs, mixed, confused = value["pairs"], value["mixed"], value["confused"]
        wanted = {key.number for key in selection.all("class")}
        shown = [k for k in range(len(pairs)) if not wanted or wanted & set(pairs[k].tolist())][: self.count]
        shown = shown or list(range(min(len(pairs), self.count)))
        names = value["layers"]
        starts = [int(value["starts"][k]) for k in shown]
        labels = tuple(f"{named(scene, int(a))} | {named(scene, int(b))}" for a, b in pairs[shown])
        mark = Heatmap(
            values=mixed[:, shown].T.astype(np.float32), limits=magnitude(mixed, 0.0, 0.5), row_labels=labels,
            column_labels=tuple(name or spoken("") for name in names),
            row_keys=tuple(number_key("class", int(a)) for a, _ in pairs[shown]),
            column_keys=tuple("" if name in (INPUT, ANSWER) else layer_key(name) for name in names),
            cell_texts=tuple(_texts(mixed[:, shown], starts)),
            row_title="two classes", column_title="layer", size=22,
        )
        first, deepest = shown[0], spoken(names[-1])
        a, b = (named(scene, int(k)) for k in pairs[first])
        last, began = float(mixed[-1, first]), value["began"][first]
        each = confused[first]
        told = f", and {each[0]:.0%} of {a} are answered as {b}, {each[1]:.0%} of {b} as {a}" if np.isfinite(each).all() else ""
        if not np.isfinite(last):
            caption = f"Which classes are mixed cannot be told: {deepest} answers too few examples of two classes with numbers."
        elif last < MIXED:
            caption = (
                f"No two classes lie among one another: the nearest are {a} and {b}, of whose nearest in {deepest} {last:.0%} are of the other "
                f"class.{self._answered(scene, pairs, confused, deepest)}"
            )
        else:
            caption = (
                f"{a} and {b} are mixed most{_as_much(mixed[-1, shown])}: of the "
                f"{self._counted(scene, pairs[first].tolist())} in {deepest}, {last:.0%} are of the other class (50 % is fully "
                f"mixed; neighbours are weighed so that both classes count alike){told}. "
                f"{self._where(mixed[:, first], names, starts[0], began)}"
            )
        checks = (Check(
            name="answered as the other", value=float(each.mean()), good=float(each.max()) < MIXED,
            sentence=f"The mean of two shares: of {a} that is answered as {b}, and of {b} as {a}.",
        ),) if np.isfinite(each).all() else ()
        present = int((np.bincount(_known(scene)) > 1).sum())
        less = present * (present - 1) // 2 - len(shown)
        chosen = any(wanted & set(pairs[k].tolist()) for k in shown)
        yield self.picture(
            scene, selection, "Which classes are mixed, and from where on?", mark, caption, checks=checks,
            note=noted(
                f"{being(less, 'other pairs are', 'other pair is')} not shown: {'it is' if less == 1 else 'they are'} mixed no more than these"
                f"{', or hold no chosen class' if chosen else ''}." if less else "",
                self._few(scene, pairs[first].tolist()), _unknown(mixed[:, shown], names), _meant(value["means"]), unanswered(scene),
                looked_at(scene),
            ),
        )

    def _answered(self, scene: Scene, pairs: np.ndarray, confused: np.ndarray, deepest: str) -> str:
        """Of classes that lie apart, which of them are answered as another all the same."""
        known = np.nan_to_num(confused, nan=0.0)
        pair, side = np.unravel_index(int(known.argmax()), known.shape)
        if known[pair, side] < MIXED:
            return ""
        own, other = (named(scene, int(pairs[pair][k])) for k in (side, 1 - side))
        said = f" All the same {known[pair, side]:.0%} of {own} are answered as {other}"
        return f"{said}." if deepest == ANSWER else f"{said}: {deepest} tells them apart, and the answer does not."

    def _few(self, scene: Scene, pair: list[int]) -> str:
        """That a share of so few says little."""
        counts = np.bincount(_known(scene), minlength=max(pair) + 1)
        some = [f"{counts[k]} of {named(scene, k)}" for k in pair if counts[k] <= self.near]
        return f"There are {joined(some)}, so few that a share of their nearest says little." if some else ""

    def _counted(self, scene: Scene, pair: list[int]) -> str:
        """So many nearest of each example of two classes count, in words: no more than there are others of its class."""
        counts = np.bincount(_known(scene), minlength=max(pair) + 1)
        each = [min(self.near, int(counts[k]) - 1) for k in pair]
        if each[0] == each[1]:
            return f"{each[0]} nearest of each" if each[0] > 1 else "nearest of each"
        return f"nearest of each ({each[0]} of one of {named(scene, pair[0])}, {each[1]} of one of {named(scene, pair[1])})"

    def _where(self, mixed: np.ndarray, names: list[str], start: int, began: str) -> str:
        known = np.flatnonzero(np.isfinite(mixed))
        start = int(np.flatnonzero(known == start)[0]) if start >= 0 else start
        mixed, names = mixed[known], [names[k] for k in known]
        lowest = int(len(mixed) - 1 - np.argmin(np.nan_to_num(mixed[::-1], nan=np.inf)))
        if start >= 0:
            return f"They lie apart most in {spoken(names[lowest])} ({mixed[lowest]:.0%}) and start to mix at {_told(names[start], began)}."
        parted = float(mixed[0] - mixed[-1])
        if parted > RISE:
            return f"The layers part them, but not to the end: {spoken(names[0])} mixes {mixed[0]:.0%}."
        if float(mixed[lowest]) >= HALF:
            return f"No layer tells them apart: {spoken(names[0])} mixes them already ({mixed[0]:.0%})."
        if f"{mixed[0]:.0%}" == f"{mixed[-1]:.0%}":
            return f"No layer parts them further: {spoken(names[0])} mixes them as much."
        if parted < 0:
            return f"No layer parts them further: {spoken(names[0])} mixes them less ({mixed[0]:.0%})."
        return f"The layers part them little further: {spoken(names[0])} mixes {mixed[0]:.0%}."


def _known(scene: Scene) -> np.ndarray:
    """The classes of the live examples, those that are known."""
    classes = np.asarray(classes_of(scene))
    return classes[classes >= 0]


def _unknown(mixed: np.ndarray, names: list[str]) -> str:
    """Where too few examples are numbers, which is why cells are empty."""
    if not (some := [spoken(names[k]) for k in np.flatnonzero(np.isnan(mixed).any(1))]):
        return ""
    more = f" and {len(some) - 6} more" if len(some) > 6 else ""
    return f"Empty where too few examples of a class are answered with numbers: {joined(some[:6])}{more}."


def _meant(names: list[str]) -> str:
    """Of which layers only the mean over the steps is compared."""
    if not names:
        return ""
    some = joined([*map(spoken, names[:4])]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"Of {some} the mean over the steps is compared, as examples are answered in different numbers of steps."


def _told(layer: str, began: str) -> str:
    """Where a pair starts to mix, in words: the layer, or the op before it or in it."""
    if not began or began == layer:
        return spoken(layer)
    return f"{spoken(began.removeprefix('op:'))}, {'in' if began.removeprefix('op:').startswith(f'{layer}.') else 'before'} {spoken(layer)}"


def _as_much(mixed: np.ndarray) -> str:
    """How many other pairs are mixed as much as the one that is mixed most."""
    others = int((np.round(mixed, 2) == round(float(np.nanmax(mixed)), 2)).sum()) - 1
    return f", as {'is one more pair' if others == 1 else f'are {others} more pairs'}" if others else ""


def _texts(mixed: np.ndarray, starts: list[int]) -> Iterator[str]:
    """The shares of a pair in each layer, pair by pair; a dot stands where it begins to be mixed."""
    for pair, start in zip(mixed.T, starts, strict=True):
        for column, share in enumerate(pair):
            yield f"{'● ' if column == start else ''}{f'{share:.2f}' if np.isfinite(share) else ''}"
