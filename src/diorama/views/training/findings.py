"""What is wrong with the training, and what can be done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core import registry
from ...core.knobs import knob, title_of
from ...core.marks import Action, Group, Number
from ...core.numerals import counted
from ...core.picture import Picture, Progress
from ...core.selection import Selection
from ...record import evidence, look_pace
from ...record.past import Past
from .. import layer_health
from ..samples import own_module
from ..view import View

if TYPE_CHECKING:
    from ...record.evidence import UnjudgedFinding
    from ...record.findings import Diagnosis
    from ...run import Run
    from ...scene import Scene

_EARLY = 50
"""Steps before which little can be said."""
_MUCH = 4
"""Where a larger part of the faults than one in so many still waits for readings, little can be told."""

_LOOKS = {"probe", "examples", "classes"}
_MORE = (
    f"Looks at the probe set may take {look_pace.SHARE:.0%} of the training's time, and {look_pace.SHARE * look_pace.WATCHED:.1%} while this page is "
    "open: of a smaller probe set there are more."
)
"""How more looks are had, where a finding waits for some."""


class FindingsView(View):
    """What is wrong with the training, worst first, each with its evidence and with what can be done about it at
    once; and in one line which faults could not be looked for, and why."""

    title = "Findings"
    question = "Is something going wrong, and what can I do about it?"
    family = "process"
    papers = ()
    rows = ("C13", "C14")
    needs = "record"

    least: float = knob(0.0, "Leave out what is less serious than this: 0 shows all, 1 only what ruins the training.",
                        low=0.0, high=1.0)
    limit: int = knob(8, "Findings shown at most.", low=1, high=100)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture: the findings, or what was looked for in vain."""
        run = scene.run
        if run is None:
            return
        record = Past(run)  # both judge one moment of a training that goes on, which is read once
        judged, failed = run.judged(record)
        found = [one for one in judged if one.severity >= self.least]
        shown = found[: self.limit]
        lacks = [lack for lack in run.unjudged(record) if lack.finding not in {one.finding for one in judged}]
        marked = 0 if shown else _marked(run)
        marks = tuple(_mark(one, run.alive) for one in shown) or (_calm(run.last_step, lacks, not run.alive, marked),)
        marks += _open(lacks, not run.alive)
        if not found:
            open_ = sum(lack.about for lack in lacks)
            but = f", but {counted(open_, 'faults')} could not be looked for" if open_ else ""
            but += f". In Health {counted(marked, 'layers')} {'has' if marked == 1 else 'have'} numbers outside the healthy range" if marked else ""
            nothing = "No fault was found" if marked else "Nothing stands out"
            caption = f"{nothing} in what was recorded{but}. What goes wrong is named here, with its evidence."
        else:
            caption = "The worst comes first, and a cause before what comes of it. Each finding says what was seen."
        if scene.step is not None and scene.step < max(scene.steps, default=0):
            caption += f" They are of the whole training, up to step {run.last_step:,}; the picture is of step {scene.step:,}."
        left_out = len(found) - len(shown)
        note = f"{left_out} less serious ones are left out." if left_out else ""
        note = " ".join(filter(None, [note, *(_ended(_begun(sentence)) for sentence in failed)]))
        body = marks[0] if len(marks) == 1 else Group(children=marks)
        title = f"{len(found)} findings" if len(found) > 1 else "Findings"
        yield self.picture(scene, selection, title, body, caption, note=note, hint=_hint(found, run.alive))


def _hint(found: Sequence[Diagnosis], alive: bool) -> str:
    """What can be done with the findings in the page."""
    if not found:
        return ""
    return "Click one to see the layer or step it is about." + ("" if alive else " The training has ended, so nothing can be changed any more.")


def _mark(one: Diagnosis, alive: bool) -> Number:
    """A finding as a mark: its tone says how bad it is, its actions are offered while the training runs."""
    tone = "bad" if one.severity >= 0.7 else "warn" if one.severity >= 0.3 else "plain"
    note = " ".join(filter(None, [_ended(one.text), _ended(_begun(one.evidence)), _ended(one.sure), _seen(one), _ended(one.helps)]))
    return Number(
        label=one.title, note=note, tone=tone, key=one.keys[0] if one.keys else f"step:{one.step}",  # type: ignore[arg-type]
        actions=_actions(one) if alive else (),
    )


def _seen(one: Diagnosis) -> str:
    """At which step it was seen, where its words do not say so."""
    told = {word.strip(".,;:()") for word in f"{one.title} {one.text} {one.evidence}".replace("–", " ").split()}
    return "" if one.step < 1 or {str(one.step), f"{one.step:,}"} & told else f"Seen at step {one.step:,}."


def _actions(one: Diagnosis) -> tuple[Action, ...]:
    """What the finding proposes, and for a serious one a pause to look around."""
    made = []
    if one.action is not None:
        command, values = one.action
        made.append(Action(command=command, label=_label(command, values), knobs=dict(values)))
    if one.severity >= 0.3 and all(action.command != "pause" for action in made):
        made.append(Action(command="pause", label="Pause the training"))
    return tuple(made)


def _label(command: str, values: Mapping[str, Any]) -> str:
    """A command in words."""
    factor = values.get("factor")
    if command == "learning_rate" and isinstance(factor, (int, float)):
        if factor == 0.5:
            return "Halve the learning rate"
        return f"Learning rate × {factor:g}"
    if command == "reinitialize" and "layer" in values:
        return f"Reinitialize {values['layer']}"
    if command == "learning_rate" and "value" in values:
        return f"Set the learning rate to {values['value']:g}"
    word = (
        title_of(registry.commands[command]) if command in registry.commands else command.replace("_", " ").capitalize()
    )
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
    return f"{word}: {told}" if told else word


def _marked(run: Run) -> int:
    """How many layers Health marks at the last step: where there is one, nobody says that all is well."""
    health = layer_health.looked_at(run, run.last_step)
    if health is None:
        return 0
    return len({own_module(layer_health.key_of(layer)) for row, layer in enumerate(health.layers) if health.severity(row) > 0})


def _calm(last_step: int, lacks: Sequence[UnjudgedFinding], ended: bool, marked: int = 0) -> Number:
    """Nothing was found: said calmly, with what was looked for; ``marked`` layers have a number outside its healthy range all the same."""
    lacking, asked = {lack.finding for lack in lacks}, sum(lack.about for lack in lacks)
    looked_for = [title_of(finding).lower() for name, finding in registry.findings.items() if name not in lacking]
    note = f"Looked for: {', '.join(looked_for)}." if looked_for else ""
    if not asked:
        note = f"{note} {_why(lacks, ended)}".strip()
    if last_step < _EARLY:
        return Number(label="Too early to tell", note=f"The training is at step {last_step}. {note}".strip())
    waiting = {lack.finding for lack in lacks if lack.why == evidence.TOO_FEW}
    if len(looked_for) < asked or "overfitting" in waiting or _MUCH * len(waiting) > len(looked_for) + asked:
        return Number(label="Little can be told of this training", note=f"Nothing is known to be wrong. {note}".strip())
    if marked:
        return Number(label=f"No fault is known, but Health marks {counted(marked, 'layers')}", note=note)
    if waiting:
        return Number(label="Nothing stands out so far", note=note)
    return Number(label="All is well so far", tone="good", note=note)


def _open(lacks: Sequence[UnjudgedFinding], ended: bool) -> tuple[Number, ...]:
    """Which faults could not be looked for, and why: one line, whose note unfolds where there is no room for it."""
    count = sum(lack.about for lack in lacks)
    all_ = len(registry.findings) - len(lacks) + count
    return (Number(label=f"{count} of {counted(all_, 'faults')} could not be looked for", note=_why(lacks, ended)),) if count else ()


def _why(lacks: Sequence[UnjudgedFinding], ended: bool) -> str:
    told = evidence.told(lacks, lambda name: title_of(registry.findings[name]), ended)
    looks = any(lack.why == evidence.TOO_FEW and _LOOKS & set(_asked(lack.finding)) for lack in lacks)
    return f"{told} {_MORE}" if looks else told


def _asked(finding: str) -> list[str]:
    """The families of numbers that a finding rests on."""
    return [one.split("/")[0] for wanted in registry.findings[finding].rests for way in wanted.split("|") for one in way.split("&")]


def _begun(text: str) -> str:
    """A sentence with its capital; a series keeps its name."""
    return text if "/" in text.partition(" ")[0] else text[:1].upper() + text[1:]


def _ended(text: str) -> str:
    """A sentence with its full stop."""
    return text if not text or text.rstrip().endswith((".", "!", "?")) else text.rstrip() + "."
