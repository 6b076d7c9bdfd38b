"""What a finding rests on: which readings it wants, how many of them a record holds, and why it holds no more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..core.numerals import counted

if TYPE_CHECKING:
    from .findings import Finding
    from .reader import RunReader
    from .store_bytes import Steps

_WANTED = re.compile(r"(?P<name>[^:@]+)(?::(?P<count>\w+))?(?:@(?P<begun>\w+))?")


class UnjudgedFinding(NamedTuple):
    """A finding that a record says nothing of."""

    finding: str
    why: str
    """A clause: what is not known, or what the training has not; the same for all findings of the same reason."""
    seen: str = ""
    """Of too few readings: how many there are of how many."""
    about: bool = True
    """Whether it is about trainings like this one at all."""


TOO_FEW = "too few readings"
"""The reason where what a finding rests on is read, and was not read often enough yet."""


def ill_formed(finding: type[Finding]) -> str | None:
    """What cannot be read of that which a finding says it rests on and is about, in a sentence; None where all can."""
    if finding.about and finding.about not in PARTS:
        return f"its about is {finding.about!r}, which is no part of a training; there are {', '.join(map(repr, sorted(PARTS)))}"
    for each in (each for wanted in finding.rests for way in wanted.split("|") for each in way.split("&")):
        found = _WANTED.fullmatch(each)
        if found is None:
            return f"its rests holds {each!r}, which cannot be read: {_FORM}"
        for count in filter(None, (found["count"], found["begun"])):
            number = getattr(finding, count, None)
            if not count.isdigit() and (isinstance(number, bool) or not isinstance(number, int | float)):
                return f"its rests holds {each!r}, and {count!r} is no number of readings and no knob of its own that is one: {_FORM}"
    return None


_FORM = (
    "what it rests on is written as 'updates/*/ratio:readings' or 'loss:100', the name of a series and behind a colon how many readings or the "
    "knob that says so"
)


def families_of(run: RunReader) -> dict[str, list[str]]:
    """The names of a record's series by the word before their first stroke; of one that was read already it is known."""
    known = getattr(run, "families", None)
    return by_family(run.series_names) if known is None else known


def by_family(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of series by the word before their first stroke, each family in the order that they have."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.partition("/")[0], []).append(name)
    return found


def unjudged(run: RunReader, name: str, finding: Finding) -> UnjudgedFinding | None:
    """Why a record cannot tell of a finding; None where it can, as far as the finding declares what it rests on."""
    part = PARTS.get(finding.about)
    if part is not None and part.there(run) is False:
        return UnjudgedFinding(name, part.lacking, about=False)
    for wanted in finding.rests:
        # Of several ways the one that lacks least is told of; a way is as long as its longest wait.
        ways = [[lack for each in way.split("&") if (lack := _lack(run, finding, each)) is not None] for way in wanted.split("|")]
        if all(ways):
            why, seen = max(ways, key=lambda lacks: all(lack[0] == TOO_FEW for lack in lacks))[0]
            return UnjudgedFinding(name, why, seen)
    return None


def told(lacks: Iterable[UnjudgedFinding], title: Callable[[str], str], ended: bool) -> str:
    """Each finding that could not be judged, by reason: what waits for readings first, what is not about such a training last."""
    by_reason: dict[tuple[bool, str], list[str]] = {}
    for lack in lacks:
        by_reason.setdefault((lack.about, lack.why), []).append(title(lack.finding).lower() + (f" ({lack.seen})" if lack.seen else ""))
    order = sorted(by_reason, key=lambda reason: (not reason[0], reason[1] != TOO_FEW, -len(by_reason[reason])))
    said, aside = [], []
    for about, why in order:
        names = ", ".join(by_reason[about, why])
        if about:
            said.append(f"{why[0].upper()}{why[1:]}{'' if ended or why != TOO_FEW else ' yet'}: {names}.")
        else:
            aside.append(f"{names} ({why})")
    if aside:
        said.append(f"Not asked of such a training: {'; '.join(aside)}.")
    return " ".join(said)


def _lack(run: RunReader, finding: Finding, wanted: str) -> tuple[str, str] | None:
    """Why one thing that is wanted is not there, and how many readings of how many there are."""
    found = _WANTED.fullmatch(wanted)
    assert found is not None, wanted
    name, count, begun = found["name"], found["count"], found["begun"]
    if name in FACTS:
        there, why = FACTS[name]
        return None if there(run) else (why if isinstance(why, str) else why(run), "")
    need = 1 if count is None else int(count) if count.isdigit() else int(getattr(finding, count))
    if name == "steps":
        return None if run.last_step >= need else (TOO_FEW, f"{run.last_step:,} of {counted(need, 'steps')}")
    first = 0 if begun is None else int(begun if begun.isdigit() else getattr(finding, begun))
    have = max((sum(step >= first for step in steps) if first else len(steps) for steps in _readings(run, name)), default=0)
    if have >= need:
        return None
    return (TOO_FEW, f"{have:,} of {need:,}") if have else (_why(run, name), "")


def _readings(run: RunReader, pattern: str) -> Iterator[Sequence[int] | Steps]:
    """The steps of each series, or of each number of an example, that a pattern names."""
    if pattern == "snapshots":
        yield run.snapshots
        return
    front, star, back = pattern.partition("*")
    if not star:
        if run.has_series(pattern):
            yield run.series(pattern)[0]
    else:
        family, slash, _ = front.partition("/")
        for name in families_of(run).get(family, ()) if slash else run.series_names:
            if name.startswith(front) and name.endswith(back) and len(name) > len(front) + len(back):
                yield run.series(name)[0]
    if pattern.startswith(("examples/", "texts/", "classes/")) and pattern in run.row_names:
        yield run.rows(pattern)[0]


def _why(run: RunReader, name: str) -> str:
    """Why there are none of these readings."""
    kind = name.partition("/")[0]
    left_out = next((text for text in run.meta.get("left_out") or () if kind in text), "")
    if kind in ("activations", "weights") and left_out:
        return left_out.rstrip(".")
    if kind in ("gradients", "updates"):
        return left_out.rstrip(".") or f"no {kind} were read" + ("" if run.meta.get("held") else ", and no optimizer is known: watch(optimizer=…)")
    if kind in ("probe", "examples"):
        if not run.meta.get("examples"):
            return "there is no probe set: watch(probe=(x, y))"
        if run.has_series("probe/loss"):
            return _not_single(run) or "the probe set's answers are no classes"
        return "nothing is known of the probe set's answers, which has no true values or was not looked at yet"
    if kind == "batch" and not any(one.startswith("batch/") for one in families_of(run).get("batch", ())):
        return "no batch of the training was read"
    if name in ("batch/place", "batch/column", "batch/parted") and run.has_series("batch/labels"):
        return _not_single(run) or "the inputs are neither pictures nor columns of numbers"
    if _WHY.get(name) == _LABELS and run.has_series("batch/accuracy"):
        return _not_single(run) or "labels are known, but its inputs or classes are not of the kind that this is told of"
    if kind in _WHY:
        return _WHY[kind]
    return _WHY.get(name, f"no {kind} were read")


_LABELS = "no labels of the training are known: they are read where the loss is a cross-entropy of the answers"
_WHY = {
    "loss": "the loop tells no loss: recorder.step(loss=…)",
    "learning_rate": "no learning rate is known: watch(optimizer=…)",
    "texts": "no texts were read with their labels",
    "snapshots": "there is no snapshot",
    "batch/left": "gradients of the step before were not seen: there is no optimizer, or it steps less often than the loop",
    "batch/std": "the inputs are no real numbers",
    "batch/rows": "the inputs are no pictures",
    "batch/again": "rows of a batch cannot be told apart by their numbers",
    "batch/met": "rows can be told apart neither by diorama.data nor by their numbers",
    "batch/eval": "its layers work alike in training and in evaluation",
    "batch/mirrored": "it tells no masks of pictures that differ from their own mirror image",
    "batch/wanted": "the loss that the loop tells is no mean squared error of numbers",
    "batch/cut": "no answers of a regression were read",
    "batch/alike": "no pull of a regression's loss at one number an example was read",
} | {f"batch/{name}": _LABELS for name in (
    "accuracy", "answers", "balance", "confused", "copied", "count", "form", "labels", "most", "place", "column", "parted",
)}


_NOT_SINGLE = {
    **dict.fromkeys(("segmentation", "next_token"), "its true values are a class a place, and this is told of one class an example"),
    "multi_label": "its true values are several labels an example, and this is told of one class each",
}


def _not_single(run: RunReader) -> str:
    """That true values are classes, but not one an example; empty where they are, or are none."""
    return _NOT_SINGLE.get(str(run.meta.get("task") or ""), "")


def _truth(name: str) -> Callable[[RunReader], str]:
    """Why nothing of the probe set's true values is known."""
    def lacking(run: RunReader) -> str:
        if (run.meta.get("probe") or {}).get("floor") is None:
            return _NO_TRUTH
        if name == "floor":
            return _UNSURE
        numbers = name in ("ends", "spread")
        return "the probe set's true values are no numbers" if numbers else _not_single(run) or "the probe set's true values are no classes"

    return lacking


def _probe(name: str) -> Callable[[RunReader], bool]:
    return lambda run: (run.meta.get("probe") or {}).get(name) is not None


def _due(run: RunReader) -> bool:
    """Whether so many labels were read that even the rarest class of the probe set was due often enough to be missed."""
    shares = [share for share in (run.meta.get("probe") or {}).get("balance") or () if share > 0]
    return run.has_series("batch/count") and bool(shares) and float(run.series("batch/count")[1].sum()) * min(shares) >= _OFTEN


def _trained_on(run: RunReader) -> bool:
    data = run.meta.get("steered") or {}
    return bool(2 * data.get("matched", 0) > data.get("probe", 0))


_OFTEN = 20.0
"""How often a class must have been due that it is missed by no chance."""
_UNSURE = "it is in doubt what the loss measures"
_NO_TRUTH = "the probe set has no true values that could be compared"
FACTS: dict[str, tuple[Callable[[RunReader], bool], str | Callable[[RunReader], str]]] = {
    "held": (lambda run: bool(run.meta.get("held")), "no optimizer is known: watch(optimizer=…)"),
    "examples": (lambda run: bool(run.meta.get("examples")), "there is no probe set: watch(probe=(x, y))"),
    "apart": (lambda run: not _trained_on(run), "the probe set is trained on"),
    "sure": (lambda run: not run.meta.get("doubt"), _UNSURE),
    "due": (_due, TOO_FEW),
    "first_bad": (lambda run: bool(run.meta.get("first_bad")), "no bad number was met"),
    "steered": (lambda run: bool(run.meta.get("steered")), "the training's data are not wrapped by diorama.data"),
    **{f"probe.{name}": (_probe(name), _truth(name)) for name in ("balance", "ends", "labels", "spread", "turned")},
    "probe.floor": (lambda run: _probe("floor")(run) and not run.meta.get("doubt"), _truth("floor")),
    "probe.inputs": (_probe("inputs"), "the probe set's inputs are no real numbers"),
}
"""What a record either holds or not, by the name under which findings want it, with why it may not."""


class PartOfTraining(NamedTuple):
    """What not every training has."""

    there: Callable[[RunReader], bool | None]
    """Whether this one has it; None where that is not known."""
    lacking: str


def _task(*wanted: str) -> Callable[[RunReader], bool | None]:
    def there(run: RunReader) -> bool | None:
        task = str(run.meta.get("task") or "")
        return task in wanted if task and not run.meta.get("doubt") else None

    return there


def _seen(*names: str) -> Callable[[RunReader], bool | None]:
    """Whether it was met in a batch that was read; not known where none was."""
    def there(run: RunReader) -> bool | None:
        if any(run.has_series(name) for name in names):
            return True
        return False if run.has_series("batch/passes") else None

    return there


def _read(ending: str) -> Callable[[RunReader], bool | None]:
    """Whether a layer has such a reading; not known where no layer of the training's batches was read."""
    def there(run: RunReader) -> bool | None:
        ends = {name.rpartition("/")[2] for name in families_of(run).get("activations", ()) if name.startswith("activations/")}
        return ending in ends if ends & {"mean", "std", "dead", "saturated", "mismatch"} else None

    return there


def _norms(run: RunReader) -> bool | None:
    """Whether a batch norm was read beside its batch; not known of one that trains compiled."""
    there = _read("mismatch")(run)
    return None if there is False and any("BatchNorm" in layer.get("kind", "") for layer in run.meta.get("layers", ())) else there


def _texts(run: RunReader) -> bool | None:
    if _task("next_token")(run) or "texts/tokens" in run.row_names or run.has_series("batch/tokens") or _probe("turned")(run):
        return True
    return False if run.has_series("batch/passes") else None


PARTS: dict[str, PartOfTraining] = {
    "next tokens": PartOfTraining(_task("next_token"), "it tells no next token"),
    "batch norm": PartOfTraining(_norms, "no batch norm was read"),
    "bounded": PartOfTraining(_read("saturated"), "no layer's answers are bounded"),
    "carried": PartOfTraining(_seen("batch/carried"), "no state of a recurrent layer is handed on"),
    "classes": PartOfTraining(_task("classification", "multi_label", "segmentation", "next_token"), "its answers are no classes"),
    "code": PartOfTraining(_seen("batch/code"), "no code of a variational autoencoder was seen"),
    "critic": PartOfTraining(_seen("batch/steep"), "no critic's scores were seen"),
    "decay": PartOfTraining(lambda run: bool(run.meta["held"].get("decay")) if run.meta.get("held") else None, "weights do not decay"),
    "dropout": PartOfTraining(lambda run: bool(run.meta.get("dropouts")) if run.meta.get("layers") else None, "nothing is dropped"),
    "judge": PartOfTraining(_seen("batch/fooled"), "it judges nothing that another network makes"),
    "numbers": PartOfTraining(_task("regression", "reconstruction"), "its answers are no numbers"),
    "pictures": PartOfTraining(_seen("batch/rows"), "it is shown no pictures"),
    "rectified": PartOfTraining(_read("dead"), "no layer has a rectifier"),
    "texts": PartOfTraining(_texts, "it reads no texts"),
    "several labels": PartOfTraining(_task("multi_label"), "it tells no several labels an example"),
    "scaler": PartOfTraining(lambda run: run.has_series("loss_scale"), "no gradient scaler is known: watch(state=[scaler])"),
}
"""What a finding may be about that not every training has."""
