"""What a person may do to a running training with what is selected: each act with what it would change at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..core import registry
from ..core.errors import DioramaError
from ..core.knobs import title_of
from ..core.marks import Action, Number
from ..core.selection import Key, Selection, spoken, spoken_unit, spoken_weight, unit_key, without_call
from ..record.checkpoints import before_each
from ..record.commands.rule import knobs_in
from ..scene.preview import preview

if TYPE_CHECKING:
    from ..scene import Scene

Offer = tuple[str, str, dict[str, Any]]
"""A command, what its button says, and its knobs."""


def offers(scene: Scene, selection: Selection, most: float = math.inf) -> Iterator[Number]:
    """Acts on the newest selected unit, layer or weight, one by one as they are tried on a copy; none where nothing trains.

    The first is always tried: where it would be refused, nothing is offered, and a sentence says why. The others are not where the
    model has more than ``most`` weights.
    """
    run = scene.run
    if run is None or not run.alive:
        return
    small = sum(parameter.numel() for parameter in scene.model.parameters()) <= most
    factors = {layer: values.get("factor", 1.0) for layer, values in run.meta.get("wishes", {}).get("layers", {}).items()}
    for number, (command, label, knobs) in enumerate(_offered(selection, run.frozen(), factors)):
        try:
            tried = command in _TRIED and (small or not number)
            note = str(preview(scene, command, knobs)) if tried else _LATER.get(command, "What would change is told in the view Acts")
        except DioramaError as error:
            if number:
                continue
            yield Number(label="Nothing can be changed here", note=f"{str(error)[:1].upper()}{str(error)[1:]}.")
            return
        yield Number(label=title_of(registry.commands[command]), note=f"{note}.", actions=(Action(command=command, label=label, knobs=knobs),))


_TRIED = ("zero", "reinitialize", "copy_unit", "swap_units", "scale_layer", "edit_weight")
_LATER: Mapping[str, str] = {
    "freeze": "No answer changes at once; from the next step on it no longer learns",
    "thaw": "No answer changes at once; from the next step on it learns again",
    "learning_rate": "No answer changes at once; its steps are of another size from the next one on",
}


def _offered(selection: Selection, frozen: tuple[str, ...], factors: Mapping[str, float]) -> Iterator[Offer]:
    key = next((key for key in reversed(selection.a) if key.kind in ("unit", "layer", "weight")), None)
    if key is None:
        return
    if key.kind == "unit":
        yield from _of_unit(key, [other for other in selection.all("unit") if other != key])
    elif key.kind == "layer":
        name = without_call(key.name)
        yield from _of_layer(name, name in frozen, factors.get(name, 1.0))
    else:
        name = spoken_weight(key)
        yield "edit_weight", f"Set {name} to 0", {"key": str(key), "value": 0.0}
        yield "edit_weight", f"Halve {name}", {"key": str(key), "scale": 0.5}
        yield "edit_weight", f"Double {name}", {"key": str(key), "scale": 2.0}


def _of_unit(key: Key, others: list[Key]) -> Iterator[Offer]:
    unit = _name(key)
    said = _said(key)
    yield "zero", f"Zero {said}", {"unit": unit}
    yield "reinitialize", f"Reinitialize {said}", {"unit": unit}
    for other in others[-1:]:
        yield "copy_unit", f"Copy {_said(other)} to {said}", {"unit": _name(other), "to": unit}
        yield "swap_units", f"Swap {said} and {_said(other)}", {"unit": unit, "to": _name(other)}


def _of_layer(layer: str, frozen: bool, factor: float) -> Iterator[Offer]:
    yield "scale_layer", f"Halve the weights of {spoken(layer)}", {"layer": layer, "factor": 0.5}
    yield "scale_layer", f"Double the weights of {spoken(layer)}", {"layer": layer, "factor": 2.0}
    yield "reinitialize", f"Reinitialize {spoken(layer)}", {"layer": layer}
    if frozen:
        yield "thaw", f"Let {spoken(layer)} learn again", {"layer": layer}
    else:
        yield "freeze", f"Freeze {spoken(layer)}", {"layer": layer}
    yield "learning_rate", f"Halve the learning rate of {spoken(layer)}", {"layer": layer, "factor": factor / 2}
    yield "learning_rate", f"Double the learning rate of {spoken(layer)}", {"layer": layer, "factor": factor * 2}


def asked(scene: Scene, command: str, text: str) -> Iterator[Number]:
    """What a command with these knobs would change at once, or why it cannot be; its button is not here."""
    try:
        found = preview(scene, command, knobs_in(text))
    except DioramaError as error:
        yield Number(label="This cannot be done", tone="warn", note=f"{str(error)[:1].upper()}{str(error)[1:]}.")
        return
    yield Number(label=f"It would be so: {found.text}", note=f"{found or 'No answer changes'}.")


def _said(key: Key) -> str:
    return spoken_unit(without_call(key.name), key.number)


def _name(key: Key) -> str:
    return unit_key(without_call(key.name), key.number).removeprefix("unit:")


def lost(name: str) -> str:
    """Why an act of a command stays for good, and the way out."""
    family = registry.commands[name].family if name in registry.commands else ""
    if family == "data":
        return "What the examples had before is held in no memory any more: Restore gives them back their own."
    return "What it changed is held in no memory any more: only going back to before it takes it back."


def in_force(scene: Scene, most: int) -> Iterator[Number]:
    """What commands changed, the newest first: each with the button that takes it back while it trains."""
    run = scene.run
    if run is None:
        return
    told = run.meta.get("acts", [])[-most:]
    kept = before_each(run.path, told)
    for act in reversed(told):
        blocked = act.get("blocked", "")
        state = {
            "in force": blocked and f"Not taken back as it stands: {blocked}.", "taken back": "Taken back.", "for good": lost(act["name"]),
        }[act["state"]]
        where = f" of {act['run']}" if act.get("run") else ""
        number = {"command": act["command"]}
        actions = [Action(command="undo", label="Take it back", knobs=number)] if act["state"] == "in force" and not blocked and run.alive else []
        if act["command"] in kept:
            actions.append(Action(command="twin", label="Compare with the run without it", knobs=number))
        yield Number(
            label=act["text"][:1].upper() + act["text"][1:], note=f"After step {act['step']}{where}, command {act['command']}. {state}".strip(),
            tone="plain", key=f"step:{act['step']}", actions=tuple(actions),
        )


def examples(scene: Scene, most: int) -> str:
    """All numbers of the examples that the newest acts changed, of which an act's own words may name the first ones only."""
    run = scene.run
    told = [(act["command"], act.get("examples", "")) for act in reversed(run.meta.get("acts", [])[-most:])] if run is not None else []
    return "; ".join(f"command {number}: examples {each}" for number, each in told if "," in each or "-" in each)
