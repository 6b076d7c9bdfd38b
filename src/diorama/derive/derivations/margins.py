"""How each example of the probe set stood over the training: its loss, answer and margin at every look."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import DioramaError
from ...core.knobs import knob
from ...data.examples import Examples
from ...methods.cost import Cost
from ...model.plain_module import fed
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage

LOOKS = ("loss", "margin", "answer", "right", "likelihood")
"""What is recorded of each example at each look, as far as the task has it."""
FEW = 12
"""Where a training had recorded fewer looks, because a look takes it long or it had just begun, its snapshots are looked at besides; those
before so many looks stay so where they are more than twice as many."""
AT_ONCE = 64
"""So many examples are looked at in one piece."""
_EACH = {
    "known": "b", "aum": "f", "doubt": "f", "confidence": "f", "spread": "f", "correctness": "f", "forgettings": "i", "learnt_at": "i",
    "group": "i",
}
_ALWAYS = {"known": "b"}

Floats = NDArray[np.floating[Any]]


class MarginsDerivation(Derivation):
    """How each live example stood over the whole training: at every look its loss, answer, margin and likelihood.

    *Meaning* ``margin`` is how far the score of what is right lies above the highest other score; ``aum``, its mean over the
    looks, is lowest for examples whose label the training works against: the likely mislabelled ones. ``doubt`` is the same
    of probabilities and the other way round: how much likelier than its label the likeliest other class was, in the mean, which
    tells labels that are wrong in the same way more surely (of other tasks than classes it is −``aum``). ``confidence`` and
    ``spread`` are the mean and the deviation of the likelihood of what is right, ``correctness`` the share of looks with the
    right answer; ``forgettings`` counts how often a right answer became a wrong one at the next look; ``group`` is 1 where it
    was never right, 2 where it was right and is wrong in the end, 3 where it is right in the end (0: no label). What an
    untrained network says, at step 0, is in the arrays of looks and counts for nothing else.
    *Shapes* ``steps`` (looks,); ``loss``, ``margin``, ``answer``, ``right``, ``likelihood`` (examples, looks); all others
    (examples,). A regression has steps, losses and ``known`` alone.
    *Units* losses in nats; margins in logits.
    *Cost* none where the training had recorded twelve looks or more, in its beginning at least half as often as snapshots; else one pass
    over the live examples at snapshots without, of the beginning or until there are 24 looks; of the ``whole`` probe set, or where none was
    recorded, one at every snapshot. What was seen of a snapshot is kept meanwhile.
    *Source* Pleiss et al. 2020 (area under the margin, eq. 1 and 2); Swayamdipta et al. 2020 (data maps, §2); Toneva et al.
    2019 (forgetting events, definition 1).
    """

    whole: bool = knob(
        False, "The whole probe set, looked at in every snapshot, not only its first 512 examples, at which the training looked itself.",
    )

    then: bool = knob(
        False, "As it was at the scene's step, by the looks and snapshots until then: the same as while the training stood there.",
    )

    def fits(self, scene: Scene) -> str | None:
        """It needs a training, the truth of its probe set, and its record or its model."""
        if scene.run is None:
            return "it follows examples over a training, and this model was not opened from a run; watch() records one"
        if scene.run.examples is None:
            return "the training was recorded without a probe set; pass probe=(x, y) to watch"
        if self._recorded(scene) is None:
            if scene.missing is not None:
                later = None if self.whole else _recorded(scene)
                return scene.missing if later is None else (
                    f"at step {scene.step:,} no example had been looked at yet; the first look was at step {int(later[0][0]):,}"
                )
            if not scene.task:
                return "what the network answers is not known; say it with task="
            if scene.reading.wanted(scene.live.x, scene.live.y) is None:
                return "it needs the truth of each example; pass probe=(x, y) to watch"
        return None

    def cost(self, scene: Scene) -> Cost:
        """One pass an example and snapshot, where too little was recorded."""
        return Cost(len(self._examples(scene)) * len(self._unseen(scene)))

    def material(self, scene: Scene) -> dict[str, Any]:
        """Which looks there are; a training that goes on has more of them."""
        recorded = self._recorded(scene)
        looks = [] if recorded is None else [len(recorded[0]), int(recorded[0][-1])]
        whole = {"whole": scene.examples.fingerprint} if self.whole else {}
        return {"looks": looks, "snapshots": self._unseen(scene), **whole}

    def _examples(self, scene: Scene) -> Examples:
        return scene.examples if self.whole else scene.live

    def _recorded(self, scene: Scene) -> tuple[NDArray[np.int64], dict[str, Floats]] | None:
        found = None if self.whole else _recorded(scene)
        if found is None or not self.then or scene.step is None:
            return found
        steps, looks = found
        seen = steps <= scene.step
        return (steps[seen], {name: rows[:, seen] for name, rows in looks.items()}) if seen.any() else None

    def _unseen(self, scene: Scene) -> list[int]:
        """The snapshots that have to be looked at."""
        recorded = self._recorded(scene)
        steps = [step for step in scene.steps if not self.then or scene.step is None or step <= scene.step]
        if recorded is None:
            return steps
        seen = set(recorded[0].tolist())
        if scene.missing is not None or not scene.task:
            return []
        unseen, wanted = [step for step in steps if step not in seen], 2 * FEW - len(seen)
        if len(seen) >= FEW:
            # Where the first looks lay far apart, what came before the twelfth is known by the snapshots: labels that are wrong are learnt by
            # heart meanwhile, and the late looks alone would call none of them doubtful.
            unseen, wanted = [step for step in unseen if step < sorted(seen)[FEW - 1]], 2 * FEW
            if len(unseen) < wanted:
                return []
        # So many, evenly spaced, that there are twice as many looks as are enough: each costs a pass over all examples.
        wanted = min(len(unseen), wanted)
        return [unseen[k] for k in np.linspace(0, len(unseen) - 1, wanted).round().astype(int)] if unseen else []

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """At once from the record; else after each snapshot."""
        recorded, examples = self._recorded(scene), self._examples(scene)
        steps = self._unseen(scene)
        seen: list[dict[str, Any]] = list(begun["looks"]) if begun is not None else []
        # What was seen of a snapshot stays as it is while the training goes on; of a large probe set it would be too much to hold.
        known: dict[int, dict[str, Any]] = {} if self.whole else scene.keep(f"stood {examples.fingerprint}", dict)
        for step in steps[len(seen) :]:
            if step in known:
                seen.append(known[step])
                continue
            moment = scene.alone(scene.cancel).at(step)
            moment.edits = ()
            parts: list[dict[str, Tensor]] = []
            size = AT_ONCE if self.whole else len(examples)
            for first in range(0, len(examples), size):
                batch = examples.take(range(first, min(first + size, len(examples)))) if self.whole else examples
                wanted = moment.reading.wanted(batch.x, batch.y)
                assert wanted is not None  # fits() has seen it
                with torch.no_grad():
                    scores = moment.scores(fed(moment.model, batch.x) if self.whole else None)
                    parts.append(moment.reading.standing(scores, wanted.cpu()))
                if first + size < len(examples):
                    done = len(seen) + (first + size) / len(examples)
                    yield Stage(None, done, len(steps) + 1, f"the network of step {step:,}", state=lambda: {"looks": list(seen)})
            known[step] = {name: torch.cat([part[name] for part in parts]).to(torch.float32).numpy() for name in parts[0]}
            seen.append(known[step])
            yield Stage(None, len(seen), len(steps) + 1, f"the network of step {step:,}", state=lambda: {"looks": list(seen)})
        at, looks = recorded if recorded is not None else (np.zeros(0, np.int64), {})
        if seen:
            at = np.concatenate([at, np.array(steps, np.int64)])
            order = np.argsort(at)
            made = {name: np.stack([look[name] for look in seen], 1) for name in seen[0]}
            looks = {name: np.concatenate([*([looks[name]] if name in looks else []), made[name]], 1)[:, order] for name in made}
            at = at[order]
        yield Stage(followed(at, looks, examples), 1.0, 1.0)

    def check(self, scene: Scene, value: Plain) -> None:
        """Looks in order, and of each example a number for each; all of one training."""
        steps, count = value["steps"], len(self._examples(scene))
        if not isinstance(steps, np.ndarray) or steps.ndim != 1 or steps.dtype.kind != "i" or (np.diff(steps) <= 0).any():
            raise ValueError("steps in order are wanted")
        whole = {"steps", "loss", *_ALWAYS}
        if set(value) - whole:
            whole |= {*LOOKS, *_EACH}
        if set(value) != whole:
            raise ValueError("another set of arrays")
        for name in whole - {"steps"}:
            array, each = value[name], name in _EACH
            kind = _EACH[name] if each else "i" if name == "answer" else "f"
            shape = (count,) if each else (count, len(steps))
            if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind != kind:
                raise ValueError(f"{name} of shape {shape} is wanted")


def _recorded(scene: Scene) -> tuple[NDArray[np.int64], dict[str, Floats]] | None:
    """What the training wrote down at its looks: steps, and by name (examples, looks); None in runs that did not."""
    run = scene.run
    if run is None or run.examples is None:
        return None
    found: dict[str, Floats] = {}
    steps: NDArray[np.int64] | None = None
    try:
        names = run.row_names
        for name in LOOKS:
            if f"examples/{name}" in names:
                at, rows = run.rows(f"examples/{name}")
                # A step that was recorded twice, by a training that went on, counts as it was last.
                last = np.unique(at[::-1], return_index=True)[1]
                at, rows = at[::-1][last], rows[::-1][last]
                if steps is not None:
                    both = np.isin(at, steps)
                    at, rows = at[both], rows[both]
                steps, found[name] = at, rows.T
    except DioramaError:
        return None
    if steps is None or not len(steps) or any(rows.shape != (len(scene.live), len(steps)) for rows in found.values()):
        return None
    return steps, found


def followed(steps: NDArray[np.int64], looks: dict[str, Floats], examples: Examples) -> dict[str, Any]:
    """All that is told of the examples, from what was seen of them at each look."""
    loss = looks["loss"].astype(np.float64)
    value: dict[str, Any] = {"steps": steps.astype(np.int64), "loss": loss, "known": np.isfinite(loss).any(1)}
    if "margin" not in looks:
        return value
    margin = looks["margin"].astype(np.float64)
    known = value["known"] = value["known"] | np.isfinite(margin).any(1)
    if "right" in looks:
        right, answer = looks["right"].astype(np.float64), np.full(loss.shape, -1)
    else:
        answer = looks["answer"].astype(np.int64)
        right = np.where(known[:, None], answer == _classes(examples)[:, None], np.nan)
    likely = looks["likelihood"].astype(np.float64) if "likelihood" in looks else np.exp(-loss)
    trained = _trained(steps)
    after, whole = steps[trained], right[:, trained] >= 0.5
    ever, last = whole.any(1), whole[:, -1]
    group = np.where(~known, 0, np.where(last, 3, np.where(ever, 2, 1)))
    # The likeliest other class is less likely than the label by the margin; of means over steps or places that does not hold.
    apart = likely * np.expm1(np.clip(-margin, -_FAR, _FAR)) if "answer" in looks else -margin
    return value | {
        "margin": margin, "answer": answer.astype(np.int64), "right": right, "likelihood": likely,
        "aum": _mean(margin[:, trained]), "doubt": _mean(apart[:, trained]), "confidence": _mean(likely[:, trained]),
        "spread": _deviation(likely[:, trained]), "correctness": _mean(right[:, trained]),
        "forgettings": (whole[:, :-1] & ~whole[:, 1:]).sum(1).astype(np.int64),
        "learnt_at": np.where(ever, after[whole.argmax(1)], -1).astype(np.int64), "group": group.astype(np.int64),
    }


@dataclasses.dataclass(frozen=True)
class LikelyErrors:
    """How many labels are likely wrong, and by what."""

    share: float
    """Of labels that the network contradicted, among the fifth of which it was surest; NaN where doubt tells nothing of labels."""
    count: float
    """So many labels of the classes that are judged are wrong at that share."""
    aside: tuple[int, ...]
    """Classes most of whose labels are doubted: that is the network's own confusion, and no wrong labels."""


def likely_wrong(value: Mapping[str, Any], labels: NDArray[np.int64]) -> LikelyErrors:
    """About how many labels are wrong, from the looks at examples with one class each.

    *Meaning* a hard example is one of which a network is less sure, while a wrong label stands beside sure answers as often as beside
    others. Looked at is the time in which most was learnt and little by heart: until nine tenths of the answers that ever were right are.
    *Error* too many where a task is hard and few labels are wrong, too few where all was learnt by heart within few looks: in 64 small trainings
    (0 to 20 % of the labels wrong) it was off by 9 % of the doubtful in the median, and in nine of ten by no more than 29 %;
    ``bench/label_noise.py`` prints it for digits. The share is NaN where every second label is contradicted, fewer than half of the answers ever were
    right, or most of the doubt is of classes that are confused as a whole.
    """
    trained, doubted = _trained(value["steps"]), value["known"] & (value["doubt"] > 0)
    members = [(int(k), value["known"] & (labels == k)) for k in np.unique(labels[value["known"]])]
    aside = tuple(k for k, mine in members if doubted[mine].mean() > 0.5)
    chosen = value["known"] & ~np.isin(labels, aside)
    likely, right = value["likelihood"][chosen][:, trained], value["right"][chosen][:, trained]
    if not len(likely) or doubted[chosen].sum() < 0.5 * doubted.sum():
        return LikelyErrors(math.nan, math.nan, aside)
    shares = right.mean(0)
    looks = slice(max(2, int(np.argmax(shares >= _LEARNT * shares.max())) + 1))
    other = likely * np.exp(-np.clip(value["margin"][chosen][:, trained], -_FAR, _FAR))
    sure = np.maximum(likely, other)[:, looks].mean(1)
    against = (other - likely)[:, looks].mean(1) > 0
    share = float(against[np.argsort(-sure, kind="stable")[: max(1, len(sure) // 5)]].mean())
    share = share if share < 0.5 <= shares.max() else math.nan
    return LikelyErrors(share, min(share * len(likely), float(doubted[chosen].sum())), aside)


_LEARNT = 0.9
"""Of the most answers that ever were right."""
_FAR = 700.0


def _trained(steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The looks at a network that has learnt something: what a network says before its first step is chance."""
    after = steps > 0
    return after if after.any() else np.ones(len(steps), bool)


def _classes(examples: Examples) -> NDArray[np.int64]:
    """The true classes, also where they came as one row an example."""
    y = examples.y
    assert y is not None  # a loss was seen
    told = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(len(y)).long()
    found: NDArray[np.int64] = told.numpy()
    return found


def _mean(values: Floats) -> NDArray[np.float64]:
    """The mean over the looks at which there is a number; NaN where there is none."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(there, values, 0.0).sum(1) / there.sum(1)
    return mean


def _deviation(values: Floats) -> NDArray[np.float64]:
    apart: NDArray[np.float64] = np.sqrt(_mean((values - _mean(values)[:, None]) ** 2))
    return apart
