"""The finding `not_finite`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...core.selection import as_key, layer_key, number_key
from ..batch_texts import MASKED
from . import Diagnosis, Finding, layer_of, named, series_between
from .learning_rate_too_high import StepGain, added

if TYPE_CHECKING:
    from ..reader import RunReader

_HELPS = (
    "Go back to a snapshot before it, with a lower rate or clipped gradients; guard the op (a logarithm or a root of numbers above 0, "
    "a division by one that is not 0)."
)
_UNLABELLED = "Look at the labels: mask less, cut texts where the answer stays, or leave out batches without a label."


class NotFinite(Finding):
    """Numbers that are NaN or infinite: in what the loop reports, in weights or in gradients.

    *Meaning* whatever touches NaN becomes NaN, so the training cannot recover by itself; it has to go on from an
    earlier snapshot, with a lower learning rate or with gradients clipped. A loss that is NaN where every gradient is 0 is the mean of
    no losses: no label was left, and the weights are as they were.
    """

    broken = True
    rests = ("loss|weights/*/norm|gradients/*/norm|first_bad",)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for all of them, at the step where the first appeared."""
        seen: list[tuple[int, str, str]] = []
        for name in run.series_names:
            if "/" in name or name == "learning_rate":
                continue
            steps, values = run.series(name)
            bad = np.flatnonzero(~np.isfinite(values))
            if len(bad):
                seen.append((int(steps[bad[0]]), name, ""))
        for front in ("weights/", "gradients/"):
            for name, steps, values in series_between(run, front, "/norm"):
                bad = np.flatnonzero(~np.isfinite(values))
                if len(bad):
                    seen.append((int(steps[bad[0]]), front + name, layer_of(name)))
        fact = run.meta.get("first_bad")
        if not isinstance(fact, Mapping) or not isinstance(fact.get("step"), int):
            fact = None
        elif not seen or fact["step"] <= min(seen)[0]:
            layer = str(fact.get("layer", ""))
            seen.append((fact["step"], "", layer_key(layer) if layer else ""))
        if not seen:
            return []
        seen.sort()
        first, name, _ = seen[0]
        others = [name for _, name, _ in seen if name]
        began = f"At step {first} {name or 'a number'} was NaN or infinite for the first time"
        concerned = f"; {named(others)} {'is' if len(others) == 1 else 'are'} concerned." if others else "."
        before = [step for step in run.snapshots if step < first]
        back = f" The last snapshot before that is at step {before[-1]}." if before else ""
        skipped = fact is not None and bool(fact.get("skipped")) and not others
        empty = "" if fact or any("/" in name for name in others) else _without_labels(run, others, first)
        more = StepGain() if empty or skipped else added(run)
        keys = [str(as_key("op", str(fact["op"])))] if fact and fact.get("op") else []
        return [Diagnosis(
            self.name, 0.7 if skipped else 1.0, "NaN or infinite numbers",
            f"{began}{concerned}{f' {place_told(fact)}' if fact else ''}{f' {empty}' if empty else back}{more.told}",
            ", ".join(f"{name} from step {step}" for step, name, _ in seen[:6] if name),
            (*dict.fromkeys(key for _, _, key in seen if key), *keys, number_key("step", first)), ("stop", {}), first,
            _sure(fact),
            _UNLABELLED if empty else more.helps + _HELPS, "first_bad" if fact else "learns_from" if _texts_read(run) and empty else "curves",
        )]


def _without_labels(run: RunReader, numbers: Sequence[str], first: int) -> str:
    """That no label was left, in a sentence, where a reading says so: the loss is NaN, and every gradient is exactly 0.

    Anything else that makes a loss NaN makes gradients NaN, but the mean of no losses has none.
    """
    slopes = [(steps, values) for _, steps, values in series_between(run, "gradients/", "/norm")]
    read = sorted({int(step) for steps, _ in slopes for step in steps if step >= first})
    bad = set[int]()
    for name in numbers:
        steps, values = run.series(name)
        bad |= set(steps[np.isnan(values)].tolist())
    for step in read:
        found = np.concatenate([values[steps == step] for steps, values in slopes])
        if step not in bad or not len(found) or found.any():
            continue
        labels = _labels(run, step)
        if len(labels) and (labels == MASKED).all():
            return (
                f"At step {step} no label was left in the texts of the batch that were read: every token was masked. The mean of no losses is NaN, "
                "and has no gradient: nothing was learnt from that batch, and no weight became NaN."
            )
        if not len(labels):
            return (
                f"At step {step} it was NaN while all gradients were exactly 0: so it is where no label is left, as where all have the ignored index "
                "(−100). The mean of no losses is NaN, and has no gradient: nothing was learnt from that batch, and no weight became NaN."
            )
    return ""


def _labels(run: RunReader, step: int) -> NDArray[np.float32]:
    """The labels of the texts of a batch that were read at a step; none where no texts were."""
    if not _texts_read(run):
        return np.zeros(0, np.float32)
    steps, rows = run.rows("texts/labels")
    own: NDArray[np.float32] = rows[steps == step].ravel()
    found: NDArray[np.float32] = own[np.isfinite(own)]
    return found


def _texts_read(run: RunReader) -> bool:
    return "texts/labels" in run.row_names


_UNLIKE = {
    "state": "run twice on the same batch, the model answers otherwise: it draws random numbers of its own, or goes by what earlier passes left",
    "altered": "the model writes into the batch it is given, and what was there before is not held",
    "refilled": "tensors of its batch were written to afterwards, by the loop or a later pass",
    "dropped": "the step had more passes than are held, and the first are gone",
}
"""Why a pass could not be run again as it was."""


def place_told(fact: Mapping[str, Any]) -> str:
    """Where the first bad number began, in a sentence."""
    layer, op, text, thing, doubt = (str(fact.get(name, "")) for name in ("layer", "op", "text", "tensor", "doubt"))
    inside = f" in layer {layer}" if layer else ""
    lower = f" under autocast to {fact['autocast']}" if fact.get("autocast") else ""
    slope = f"the op {op}{inside}, whose slope is not finite" if op else thing
    since = f", out of infinities that the op {fact['since']} wrote" if fact.get("since") else ""
    made = "holds infinities that the code wrote itself, and they came to the answers" if doubt == "put" else "made it"
    if op and fact.get("where") == "backward" and doubt:
        slope = f"the loss, or, if it takes {doubt}, at {slope}"
    told = {
        "weights": f"{thing} was NaN or infinite when the step began, by the optimizer's step before it or by hand: {text}",
        "input": f"The batch itself held it: in {thing} {text}",
        "forward": f"The op {op}{inside} {made} in the forward pass{since}{lower}: {text}{_taken(fact)}",
        "backward": f"The forward pass was finite; on the way back it began at {slope}: {text}",
        "loss": f"The answers were finite when the batch was run again{lower}: it began in the loss or in its gradient, and {text}",
        "unlike": f"The pass could not be repeated ({_UNLIKE.get(str(fact.get('unlike')), '')}), so it is not known where it began: {text}",
    }.get(str(fact.get("where")), f"{text}; running the batch again did not show where it began")
    which = f" (pass {fact['pass']} of the step's {fact['passes']})" if fact.get("passes", 1) > 1 else ""
    out = f" {left_out(fact)}" if fact.get("skipped") else ""
    if fact.get("redrawn"):
        out += " The pass was run again with other random numbers than it had: at the last reading before it, none were drawn."
    if fact.get("unlike") and fact.get("where") != "unlike":
        out += f" The pass could not be repeated quite as it was: {_UNLIKE.get(str(fact['unlike']), '')}."
    return f"{told}{_whose(fact)}{which}.{_doubted(fact)}{out}"


def _whose(fact: Mapping[str, Any]) -> str:
    """Which examples are concerned; rows, where no axis is known to count examples."""
    rows = [str(each) for each in fact.get("examples") or fact.get("rows") or ()]
    if not rows:
        return ""
    few = ", ".join(rows[:8]) + (" …" if fact.get("concerned", 0) > 8 else "")
    of = fact.get("of")
    whole = f"of the batch's {of} examples" if fact.get("examples") else f"of the {of} rows of its first axis"
    made = "; it is made of weights alone, not of the batch" if fact.get("weights") else ""
    return f", in {fact.get('concerned')} {whole} ({few}, counted from 0){made}"


def _doubted(fact: Mapping[str, Any]) -> str:
    """Why the place may not be the cause, in a sentence."""
    doubt = str(fact.get("doubt", ""))
    if not doubt:
        return ""
    if doubt == "put":
        return " Whether these are the fault, or the loss is, is not known."
    if doubt == "aside":
        return " But the answers were finite: unless the loss takes it from there, it began in the loss."
    return f" Whether the loss takes {doubt} is not known." if fact.get("where") == "forward" else ""


def left_out(fact: Mapping[str, Any]) -> str:
    """That nobody took the step, in a sentence; a scaler is named only where one was seen, as a loop may do so by itself."""
    return "The gradient scaler left the step out." if fact.get("scale") else "No optimizer stepped after it, so no weight took it."


def _sure(fact: Mapping[str, Any] | None) -> str:
    if not fact:
        return "Certain."
    if fact.get("redrawn"):
        return "The step is certain; the place is that of the same batch and weights with other random numbers."
    if fact.get("where") in ("unlike", "unknown"):
        return "The step is certain; the place is not known."
    if fact.get("unlike"):
        return "The step is certain; the place is that of the same batch and weights, but the pass could not be repeated quite as it was."
    if fact.get("doubt"):
        return "The step is certain; the place only if the loss takes what is bad there."
    if fact.get("where") == "input":
        return "Certain: the batch was looked at."
    if fact.get("where") == "weights":
        return "Certain: the weights were looked at before the optimizer's step."
    return "Certain: the batch was run again with the same weights and random numbers, twice, to the same answers."


def _taken(fact: Mapping[str, Any]) -> str:
    return f"; the largest number that it took was {fact['took']:.3g}" if fact.get("took") else ""
