"""The finding `label_noise`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ...core.selection import number_key
from ..misread_classes import surely
from . import Diagnosis, Finding, called, last, of_next_tokens, series

if TYPE_CHECKING:
    from ..reader import RunReader

_FEW = 8
"""Readings that are set beside the probe set."""
_GAP = 0.12
"""By how much more of the probe set must be right."""
_CONTRADICTED, _NAMED = 12, 24
"""Wrong answers in a probe set at least, and so many of them that are named."""
_ORDERED, _NEAR, _FIRM = 0.8, 0.6, 1.5
"""Of classes that overlap right answers are surer than wrong ones by more than this chance, and wrong ones not so sure beside them; margins are
logits, and the right ones so large where something is learnt."""
_CALM = 0.45
"""What a model that is too small may do as well is no alarm."""
_BETTER = 0.75
"""The probe set surely has no more wrong answers than this part of those of the batches, where it speaks against the batches' labels."""
_SIDE = 2.0
"""The nearest inputs side with an answer where so many times as many of them have its label as have the example's own."""
_SMALL = 16
"""In batches of fewer rows a batch norm's statistics are so rough that answers are worse by them."""
_OFF = 0.1
"""Inputs are spread otherwise where mean or deviation differ by so many of the probe set's deviations."""
_AS_SURE = 0.76
"""A wrong answer is so sure beside a right one where being wrong has little to do with doubt."""


class LabelNoise(Finding):
    """Wrong answers to the training's own examples that are as sure as the right ones.

    *Meaning* a model is less sure where an example is hard. Where an answer's being wrong has nothing to do with doubt, the
    label is as good as drawn by chance: part of the labels is likely wrong. The share of wrong answers estimates how many,
    before the model learns them by heart. Where the probe set is some of the training's own examples, its answers are judged so too, example by
    example, and those with the largest loss are named.
    *Error* a model that is too small answers as surely where it is wrong. It is an alarm only where something else speaks of the labels: the probe
    set is answered far better than the training's batches, or the inputs most like those that are answered against their label have the label
    that was answered, and not theirs. The probe set speaks of them only where it is answered as the batches are: not where dropout or a batch norm
    of few rows is at work in the batches alone, or where their inputs are spread otherwise, as by augmentation.
    """

    steady = True
    rests = ("batch/accuracy:window|examples/margin:looks",)
    about = "classes"
    wrong: float = knob(0.07, "The share of wrong answers from which on it is told.", low=0.0, high=1.0)
    order: float = knob(0.72, "Below which chance that a right answer is surer than a wrong one.", low=0.5, high=1.0)
    window: int = knob(10, "Readings that are pooled.", low=2)
    looks: int = knob(3, "Looks at a probe set that is trained on, at each of which it must be so.", low=2)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding, at the first readings that show it."""
        return [] if of_next_tokens(run) else self._in_batches(run) or self._in_probe(run)  # of tokens several are right

    def _in_probe(self, run: RunReader) -> list[Diagnosis]:
        """The training's own examples of the probe set: each has an answer of its own, without what training adds to batches."""
        data = run.meta.get("steered") or {}
        if 2 * int(data.get("matched", 0)) <= int(data.get("probe", 0)) or "examples/margin" not in run.row_names or data.get("relabelled"):
            return []
        steps, margins = run.rows("examples/margin")
        if len(steps) < self.looks:
            return []
        told = []
        for margin in margins[-self.looks :]:
            known = margin[np.isfinite(margin)]
            wrong, right = -known[known < 0], known[known > 0]
            if len(wrong) < _CONTRADICTED or len(right) < 3 * len(wrong):
                return []
            sure, firm = float(wrong.mean()), float(right.mean())
            # How often a right answer is surer than a wrong one: half where being wrong has nothing to do with doubt.
            order = float(np.searchsorted(np.sort(wrong), right).mean() / len(wrong))
            told.append((sure, firm, order))
            if order >= _ORDERED or sure <= _NEAR * firm or firm < _FIRM:
                return []
        margin = margins[-1]
        suspects = np.argsort(np.where(np.isfinite(margin), margin, np.inf), kind="stable")[: int((margin < 0).sum())]
        share, (sure, firm, order) = len(suspects) / int(np.isfinite(margin).sum()), told[-1]
        near = _sided(run)
        return [Diagnosis(
            self.name, float(min(0.8, 0.5 + share)) if near else _CALM,
            "Some labels are likely wrong" if near else "Some labels may be wrong",
            f"{len(suspects)} of the {int(np.isfinite(margin).sum()):,} examples of the training's own that the probe set holds are answered against "
            f"their label, and nearly as surely as the others by it (a margin of {sure:.2f} against {firm:.2f} on average): their labels are likely "
            f"wrong.{near}",
            f"chance that a right answer is surer than a wrong one: {order:.2f}, at {self.looks} looks below {_ORDERED}", tuple(
                number_key("example", int(k)) for k in suspects[:_NAMED]), None, int(steps[-self.looks]),
            _LIKELY if near else _MAYBE,
            "Look at the examples with the largest loss, and relabel or drop those whose label is wrong.", "examples",
        )]

    def _in_batches(self, run: RunReader) -> list[Diagnosis]:
        """By the batches of the training."""
        steps, count = series(run, "batch/count")
        places = {int(step): k for k, step in enumerate(steps)}
        at, order = series(run, "batch/order")
        rows = [places.get(int(step), -1) for step in at]
        known = np.array([k >= 0 for k in rows], bool)
        if known.sum() < self.window:
            return []
        rows = np.array(rows)[known]
        accuracy, sure = series(run, "batch/accuracy")[1], series(run, "batch/wrong_sure")[1]
        certain = series(run, "batch/right_sure")[1]
        if len(accuracy) != len(steps) or len(sure) != len(at) or len(certain) != len(at):
            return []
        n, right = count[rows], accuracy[rows]
        wrongs, rights = n * (1 - right), n * right
        total = {
            "pairs": wrongs * rights, "above": wrongs * rights * order[known], "wrong": wrongs, "n": n,
            "sure": wrongs * sure[known], "certain": rights * certain[known], "right": rights,
        }
        pooled = {name: _moving(values, self.window) for name, values in total.items()}
        with np.errstate(divide="ignore", invalid="ignore"):
            chance = pooled["above"] / pooled["pairs"]
            error = 0.6 / np.sqrt(np.maximum(np.minimum(pooled["wrong"], pooled["right"]), 1.0))
            share = pooled["wrong"] / pooled["n"]
            believed, firm = pooled["sure"] / pooled["wrong"], pooled["certain"] / pooled["right"]
        labels = float(np.mean(series(run, "batch/labels")[1]))
        noisy = (
            (chance < self.order) & (share >= self.wrong) & (share < 0.6 * (1 - labels)) & (pooled["wrong"] >= 40)
            & (believed > _AS_SURE * firm) & (firm > 0.6)
        )
        # A window that shares no reading with another one is a second witness.
        hits = np.flatnonzero(noisy)
        if not len(hits) or hits[-1] - hits[0] < self.window:
            return self._beside_the_probe(run, at[known], total)
        k = int(hits[0])
        first = int(at[known][k])
        near = _sided(run) or _held_better(run, first, float(share[hits].mean()))
        apart = "" if near else _answered_otherwise(run)
        return [Diagnosis(
            self.name, float(min(0.85, 0.5 + share[hits].max())) if near else _CALM,
            "Some labels are likely wrong" if near else "Some labels may be wrong",
            f"About {share[k]:.0%} of the training's answers were wrong around step {int(at[known][k + self.window - 1])}, and nearly as sure as the "
            f"right ones ({believed[k]:.0%} against {firm[k]:.0%} on average): where it is wrong has little to do with doubt.{near}",
            f"chance that a right answer is surer than a wrong one: {chance[k]:.2f} (± {error[k]:.2f}), where hard examples give "
            f"0.75 to 0.95; {int(pooled['wrong'][k])} wrong answers", (), None, first,
            _LIKELY if near else f"Not sure: {apart}, which looks alike." if apart else _MAYBE,
            "Look at examples whose label the model contradicts with certainty, and relabel or drop them.", "examples",
        )]


    def _beside_the_probe(self, run: RunReader, at: np.ndarray, total: dict[str, np.ndarray]) -> list[Diagnosis]:
        """A short training has few readings; there the probe set is the second witness, of which far more is answered right."""
        few = slice(-_FEW, None)
        looks, held = series(run, "probe/accuracy")
        labelled = np.array((run.meta.get("probe") or {}).get("labels") or (), np.int64)
        told = int((labelled >= 0).sum())
        before = np.flatnonzero(looks <= at[few][0])
        if len(at) < _FEW or told < 50 or not len(before) or (run.meta.get("steered") or {}).get("matched"):
            return []
        pairs, n = total["pairs"][few].sum(), total["n"][few].sum()
        wrong, right = total["wrong"][few].sum(), total["right"][few].sum()
        if not pairs or min(wrong, right) < 25:
            return []
        # The probe set as it was before these batches: what is learnt meanwhile is no reason.
        share, probe = wrong / n, float(held[before[-1]:].min())
        chance = total["above"][few].sum() / pairs
        sure, firm = total["sure"][few].sum() / wrong, total["certain"][few].sum() / right
        error = np.sqrt(share * (1 - share) / n + probe * (1 - probe) / told)
        if probe - (1 - share) < max(_GAP, 4 * error) or chance >= self.order or sure < _AS_SURE * firm:
            return []
        apart = _answered_otherwise(run)
        return [Diagnosis(
            self.name, _CALM if apart else float(min(0.8, 0.45 + share)), "Some labels may be wrong" if apart else "Some labels are likely wrong",
            f"Since step {int(at[few][0])} {share:.0%} of the training's answers were wrong by their labels, and of the probe set's at most "
            f"{1 - probe:.0%}; the wrong ones were nearly as sure as the right ones ({sure:.0%} against {firm:.0%} on average)"
            + ("." if apart else ": labels of the training are likely wrong more often than those of the probe set."),
            f"chance that a right answer is surer than a wrong one: {chance:.2f}; {int(wrong)} wrong answers of {int(n)}", (), None, int(at[few][0]),
            f"Not sure: {apart}, which looks alike." if apart else
            "Likely; what is done to the training's inputs alone (augmentation) looks alike.",
            "Look at examples whose label the model contradicts with certainty, and relabel or drop them.", "examples",
        )]


_LIKELY = "Likely; what is drawn by chance in the inputs themselves looks alike."
_MAYBE = "Not sure: what is drawn by chance in the inputs themselves, or what a model is too small to tell, looks alike."


def _sided(run: RunReader) -> str:
    """Whether the inputs most like those of the probe set that are answered against their label have the label that was answered; in a sentence."""
    probe = run.meta.get("probe") or {}
    truth, near = (np.asarray(probe.get(name) or (), np.int64) for name in ("labels", "nearest"))
    if not len(near) or len(near) != len(truth) or "examples/answer" not in run.row_names:
        return ""
    answers = run.rows("examples/answer")[1]
    if not len(answers) or answers.shape[1] != len(truth):
        return ""
    answer = answers[-1].astype(np.int64)
    wrong = (truth >= 0) & (near >= 0) & (answer != truth)
    with_answer, with_label = int((near == answer)[wrong].sum()), int((near == truth)[wrong].sum())
    if with_answer < _CONTRADICTED or with_answer < _SIDE * max(with_label, 1) or 2 * with_answer < wrong.sum():
        return ""
    return (
        f" Of the {int(wrong.sum())} examples of the probe set that are answered against their label, the most similar input "
        f"has the label that was answered in {with_answer} cases, and the example's own in {with_label}."
    )


def _held_better(run: RunReader, first: int, share: float) -> str:
    """Whether a probe set that is not trained on surely had fewer wrong answers at any look since then; in a sentence."""
    looks, held = series(run, "probe/accuracy")
    count = int((np.asarray((run.meta.get("probe") or {}).get("labels") or (), np.int64) >= 0).sum())
    since = held[looks >= first]
    if not len(since) or count < 50 or _answered_otherwise(run) or (run.meta.get("steered") or {}).get("matched"):
        return ""
    wrong = 1 - float(since.max())
    if 1 - float(surely(1 - wrong, count)) > _BETTER * share:
        return ""
    return f" Of the probe set's answers {wrong:.0%} were wrong at the best look since then: labels of the training are wrong more often."


def _answered_otherwise(run: RunReader) -> str:
    """Why answers to the batches are worse than those to the probe set whatever the labels are; nothing where both are answered alike."""
    if float(np.mean(last(run, "batch/eval", 10) if len(series(run, "batch/eval")[0]) else 0.0)) < 1:
        if dropped := [str(name) for name, share in run.meta.get("dropouts") or () if share > 0]:
            return f"{called(dropped[0])} drops units in the training's batches alone"
        counts = last(run, "batch/count", 10)
        normed = any("BatchNorm" in layer.get("kind", "") for layer in run.meta.get("layers", ()))
        if normed and len(counts) and np.median(counts) < _SMALL:
            return "batch norm rests on few rows in the training's batches"
    known, level, spread = (run.meta.get("probe") or {}).get("inputs"), last(run, "batch/mean", 10), last(run, "batch/std", 10)
    if not known or not len(level) or not len(spread) or not known[3] > 0:
        return ""
    off = max(abs(float(np.mean(level)) - known[2]) / known[3], abs(float(np.mean(spread)) / known[3] - 1))
    return "the training's inputs are spread otherwise than the probe set's, as by augmentation" if off > _OFF else ""


def _moving(values: np.ndarray, width: int) -> np.ndarray:
    """Sums of so many neighbours."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(sums[width:] - sums[:-width])
