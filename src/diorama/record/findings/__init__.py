"""What may be wrong with a training: one diagnosis a file, each from what was recorded, with its evidence."""

from __future__ import annotations

import dataclasses
import os
from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ...core import registry
from ...core.blame import given, sound
from ...core.errors import DioramaError, Faulty, UsageError, not_found
from ...core.knobs import Plugin, build
from ...core.registry import is_own
from ...core.selection import Key, layer_key, spoken, without_call
from ..evidence import families_of, ill_formed

if TYPE_CHECKING:
    from ..event import RecordedEvent
    from ..reader import RunReader
    from ..store_bytes import Floats, Steps

LONG = 48
"""Names of more characters than this, as a title shows them, say once what they begin with in common."""


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """One diagnosis: what it is, how bad (0 to 1), and what was seen that says so.

    All of it is checked when it is taken from a third party's finding: the types, that ``finding`` is the name that its own is registered under
    (``self.name``), so that none speaks in another's, that ``severity`` lies in 0 to 1, that ``action`` is a
    command with knobs that it takes, that ``view`` is a view, and that ``keys`` read as keys. Whether a key's layer is there is not. A finding
    that gives a wrong one is left out, with a sentence that names it, and the others stay.
    """

    finding: str
    severity: float
    title: str
    text: str
    evidence: str
    keys: tuple[str, ...] = ()
    """What it is about: layers and steps, as ``("layer:features.3",)``; a click leads to the first."""
    action: tuple[str, dict[str, Any]] | None = None
    """A command that may help, with its knobs."""
    step: int = 0
    """Where it was seen first."""
    sure: str = ""
    """How far to believe it, in a sentence."""
    helps: str = ""
    """What usually helps, in a sentence."""
    view: str = ""
    """The view that shows it."""


def checked(finding: Any, one: Any) -> Diagnosis:
    """What a finding gave. *Raises* Faulty, which names it, for what the page could not show or a person could not use."""
    found: Diagnosis = sound(finding, given(finding, one, Diagnosis))
    if is_own(finding):
        return found
    try:
        if found.finding != finding.name:
            raise UsageError(f"Diagnosis.finding is the finding's own name, {finding.name!r} (self.name), and is {found.finding!r}")
        if not 0 <= found.severity <= 1:
            raise UsageError(f"Diagnosis.severity lies between 0 and 1, and is {found.severity}")
        if found.action is not None:
            build(registry.commands[found.action[0]], found.action[1])
        if found.view and found.view not in registry.views:
            raise not_found("view", found.view, registry.views.names)
        for key in found.keys:
            Key.parse(key)
        for text in (found.finding, found.title, found.text, found.evidence, found.sure, found.helps):
            text.encode()
    except (DioramaError, ValueError) as error:
        raise Faulty(f"{registry.told(finding)} wants mending: {error}") from error
    return found


class Finding(Plugin):
    """Base of all findings: a pure function of a run's record."""

    steady: ClassVar[bool] = False
    """It rests on data that stay what they are: it is not asked about a network that judges what another one makes, as in a GAN."""
    broken: ClassVar[bool] = False
    """It tells of numbers that are NaN or infinite: it is asked with the whole record. Others are asked with what was recorded before a network
    became so for good, since what that answers then says nothing of the data or the learning."""
    rests: ClassVar[tuple[str, ...]] = ()
    """The series without which it can tell nothing, as ``("updates/*/ratio:readings", "loss:100")``: behind a colon how many readings, or the
    knob that says so. One of several is enough with ``|`` between them; what is not there is named as not judged."""
    about: ClassVar[str] = ""
    """What not every training has and it is about, as ``"dropout"``: a name of ``record.evidence.PARTS``; where that is not there, and
    nothing is found, it is named as not asked."""

    @classmethod
    def flaw(cls) -> str | None:
        """Whatever is wrong with its knobs, or what cannot be read of that which it rests on or is about."""
        return super().flaw() or ill_formed(cls)

    @abstractmethod
    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """Everything of this kind that the record shows; nothing when all is well."""


ALARM = 0.5
"""From this severity on a finding is an alarm: something is wrong, not only worth knowing."""


def series(run: RunReader, name: str) -> tuple[Steps, Floats]:
    """A series, empty where the run has none of that name."""
    return run.series(name) if run.has_series(name) else (np.zeros(0, np.int64), np.zeros(0))


def last(run: RunReader, name: str, count: int) -> Floats:
    """The last numbers of a series."""
    return series(run, name)[1][-count:]


def acts_between(run: RunReader, first: int, last: int, *families: str) -> list[RecordedEvent]:
    """What commands of these families changed after steps from the first to the last, oldest first."""
    return [
        event for event in getattr(run, "events", ()) if event.kind == "command" and first <= event.step <= last
        and event.name in registry.commands and registry.commands[event.name].family in families
    ]


def until_looked(run: RunReader, name: str, count: int) -> Floats:
    """The last numbers of a series up to the newest accuracy of the probe set, so that what is compared with that is of one moment: a network
    that has learnt since, or was changed by hand, is no other than its own probe set."""
    (looks, _), (steps, values) = series(run, "probe/accuracy"), series(run, name)
    return values[steps <= looks[-1]][-count:] if len(looks) else values[-count:]


def of_next_tokens(run: RunReader) -> bool:
    """Whether the labels are the tokens that follow in a text, of which several are right."""
    shifted = last(run, "batch/shifted", 3)
    return run.meta.get("task") == "next_token" or bool(len(shifted) and shifted.min() >= _SHIFTED)


_SHIFTED = 0.9
"""Labels of which so many are the token behind the one that is read are next tokens."""


class Judgement(NamedTuple):
    """How well the model does beside one that gives the same answer to everything."""

    learnt: bool | None
    """Whether it is far better; None where nothing is known to compare with."""
    told: str = ""


def judged(run: RunReader) -> Judgement:
    """Whether a training has learnt already, by the probe set or by the labels of its batches.

    *Meaning* a loss below half of what one answer for all would have, or an accuracy that stands far above that of the most
    frequent class: there a loss that no longer falls is no fault. Neither is it where all inputs are alike, and nobody can do better than
    one answer for all. Of a network that judges what another one makes nothing is known: its
    partner learns to be taken for real.
    """
    if len(series(run, "batch/judge")[0]):
        return Judgement(None, "it judges what another network makes, and answers the worse the better that one gets")
    floor, loss = floor_of(run), last(run, "probe/loss", 3)
    right, most = last(run, "batch/accuracy", 10), last(run, "batch/labels", 10)
    level, chance = (float(np.mean(values)) if len(values) >= 3 else np.nan for values in (right, most))
    told = chance < 0.9  # a batch of one label (a half of what a discriminator is shown) says nothing
    if told and level > chance + 0.5 * (1 - chance):
        return Judgement(True, f"{level:.0%} of the batches' answers are right, {chance:.0%} would be by one answer")
    if isinstance(floor, int | float) and floor > 0 and len(loss):
        share = float(np.median(loss)) / floor
        if blind(run):
            return Judgement(True, "all inputs of the probe set are the same, so that no loss is lower than that of one answer for all")
        return Judgement(share < 0.5, f"the probe loss is {share:.0%} of what one answer for all would have")
    if told:
        return Judgement(False, f"{level:.0%} of the batches' answers are right, {chance:.0%} would be by one answer")
    return Judgement(None)


def floor_of(run: RunReader) -> Any:
    """The probe loss that one answer for all would have; None where it is not known, or in doubt what that loss measures, or where true values
    are of another scale than the training's."""
    return None if run.meta.get("doubt") or otherwise_scaled(run) else (run.meta.get("probe") or {}).get("floor")


class OtherScale(NamedTuple):
    """The true values of a regression, in the training's batches and in the probe set: their means and deviations."""

    step: int
    mine: tuple[float, float]
    probe: tuple[float, float]


def otherwise_scaled(run: RunReader) -> OtherScale | None:
    """That the probe set's true values are of another scale than the training's, as if one of the two alone were scaled; None where they are not,
    or it is not known. It rests on batches of a mean squared error."""
    like = run.meta.get("probe") or {}
    (steps, means), spreads = series(run, "batch/wanted"), series(run, "batch/wanted_std")[1]
    middle, spread = like.get("middle"), like.get("spread")
    if len(means) < _BATCHES or len(spreads) != len(means) or not spread or middle is None:
        return None
    mean, std = float(np.median(means)), float(np.median(spreads))
    if not std > 0 or (1 / _SCALED < spread / std < _SCALED and abs(middle - mean) < _SHIFTS * max(spread, std)):
        return None
    # What differs from batch to batch as much as from the probe set is no scale.
    if np.ptp(means) > abs(middle - mean) and spreads.max() > spread / _SCALED and spreads.min() < spread * _SCALED:
        return None
    return OtherScale(int(steps[0]), (mean, std), (float(middle), float(spread)))


_BATCHES, _SCALED, _SHIFTS = 3, 4.0, 3.0
"""Batches that are read; how many times as far apart true values of another scale lie, or by how many of the larger deviations their means differ."""


def blind(run: RunReader) -> bool:
    """Whether all inputs of the probe set are the same, and the loss there is what one answer for all would have: nobody could do better."""
    probe, loss = run.meta.get("probe") or {}, last(run, "probe/loss", 3)
    floor = floor_of(run)
    if not probe.get("alike") or not isinstance(floor, int | float) or not len(loss):
        return False
    return abs(float(np.median(loss)) - floor) < _OPTIMAL * floor


_OPTIMAL = 0.05
"""A loss that differs from that of one answer for all by less than this share of it is about as low."""


class SeriesTable(NamedTuple):
    """Several series that were read at the same steps."""

    steps: Steps
    names: list[str]
    values: Floats
    """A row a step, a column a name."""


def learning(run: RunReader, front: str, back: str) -> SeriesTable | None:
    """A number of all weights that are meant to learn, at the steps at which each of them was read; biases, what is frozen on
    purpose and what no optimizer holds are left out."""
    known, aside = matrices(run), resting(run)
    found = [
        (name, steps, values)
        for name, steps, values in series_between(run, front, back)
        if name in known and name not in aside
    ]
    if not found:
        return None
    most = max(len(steps) for _, steps, _ in found)
    found = [each for each in found if len(each[1]) == most]  # one that came later, or is read no more, is not compared
    steps = found[0][1]
    found = [each for each in found if np.array_equal(each[1], steps)]
    return SeriesTable(steps, [name for name, _, _ in found], np.stack([values for _, _, values in found], 1))


def resting(run: RunReader) -> set[str]:
    """The parameters that are not meant to learn, or that nobody makes learn."""
    held = run.meta.get("held") or {}
    frozen = run.frozen()
    names = {str(name) for name in (*held.get("outside", ()), *held.get("still", ()))}
    return names | {
        name for name, _, _ in run.meta.get("parameters", ()) if any(name == one or name.startswith(f"{one}.") for one in frozen)
    }


def series_between(run: RunReader, front: str, back: str) -> Iterator[tuple[str, Steps, Floats]]:
    """Series whose names stand between two texts: what stands there, steps and values."""
    family, slash, _ = front.partition("/")
    for name in families_of(run).get(family, ()) if slash else run.series_names:
        if name.startswith(front) and name.endswith(back) and len(name) > len(front) + len(back):
            steps, values = run.series(name)
            if len(steps):
                yield name[len(front) : len(name) - len(back)], steps, values


def layers_between(run: RunReader, front: str, back: str) -> Iterator[tuple[str, Steps, Floats]]:
    """The same for layers, each under a name that views know: of a layer that older runs counted anew in each forward
    pass, only the first call."""
    known = {layer["name"] for layer in run.meta.get("layers", ())}
    for name, steps, values in series_between(run, front, back):
        if name in known or without_call(name) == name:
            yield name, steps, values


def since(steps: Steps, bad: np.ndarray) -> int:
    """The first step of the unbroken stretch of bad readings that ends at the last one."""
    good = np.flatnonzero(~bad)
    return int(steps[good[-1] + 1]) if len(good) else int(steps[0])


def matrices(run: RunReader) -> dict[str, int]:
    """Sizes of the parameters that have two axes or more: weights, not biases."""
    return {name: int(np.prod(shape)) for name, shape, _ in run.meta.get("parameters", ()) if len(shape) > 1}


def from_zero(run: RunReader) -> set[str]:
    """The parameters that began at zero, as one half of an adapter does: beside such a size any update is large."""
    return {name for name, _, norms in series_between(run, "weights/", "/norm") if len(norms) and norms[0] == 0}


def last_made(run: RunReader) -> dict[str, Any]:
    """The last layer that holds weights, out of which the answers come; empty where none is known."""
    made = [layer for layer in run.meta.get("layers", ()) if layer.get("weight") and layer.get("leaf")]
    return max(made, key=lambda layer: layer.get("order", 0), default={})


def layer_of(parameter: str) -> str:
    """The key of the layer that a parameter belongs to."""
    return layer_key(parameter.rpartition(".")[0] or parameter)


def called(name: str) -> str:
    """A layer in a sentence: where its name is a mere number, as in an ``nn.Sequential``, with the word before it."""
    return spoken(name) if name else name


def named(names: list[str], most: int = 3) -> str:
    """A few names in words; what long ones begin with in common is said once."""
    front = ".".join(os.path.commonprefix([name.split(".")[:-1] for name in names])) if len(names) > 1 else ""
    front = front if sum(map(len, names[:most])) > LONG else ""
    shown = ", ".join(called(name.removeprefix(f"{front}.") if front else name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "") + (f" in {called(front)}" if front else "")
