"""What people wanted of a training, in force again where it is taken up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .acts import Setting, SettingsReversal
from .factors import Bend, Clip
from .rules import SetRule

if TYPE_CHECKING:
    from .controls import Controls


def inherited(training: Controls, kept: Mapping[str, Any], run: str) -> None:
    """In a run that goes on from a checkpoint of another one: what was in force there is again, and what was done until then is known."""
    training.put_back(dict(kept))
    training.acts.take_up(kept.get("acts", ()), run, partial(_again, training))
    training.tell_all()
    training.tell_acts()


def taken_up(training: Controls, kept: Mapping[str, Any], frozen: Sequence[str]) -> str:
    """Let be in force what was when the training of a run ended, from what it told; what that is, as the end of a sentence.

    What the data are, the run's ``changes.csv`` tells; values of the optimizer's groups lie in its own state.
    """
    names = {name for name, _ in training.subject.model.named_modules()}
    try:
        training.wish({
            **(kept.get("wishes") or {}), "factors": [group.get("factor", 1.0) for group in kept.get("optimizer") or ()],
            "frozen": [layer for layer in frozen if layer in names],
        })
        training.rules.take_up(rule["kept"] for rule in kept.get("rules") or () if "kept" in rule)
        training.acts.take_up(kept.get("acts") or (), again=partial(_again, training))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        training.let_go()
        return f"; what was in force is not any more, as the record does not tell it in full ({type(error).__name__}: {error})"
    training.tell_all()
    training.tell_acts()
    factors = training.factors
    told = [f"learning rate × {group.factor:g}" for group in factors.groups if group.factor != 1.0]
    told += [f"own values of {layer}" for layer in factors.layers] + [f"{layer} frozen" for layer in training.subject.frozen.layers]
    told += ["clipping"] * (factors.clip is not None) + ["the bent schedule"] * (factors.bend is not None)
    told += [f"rule {number}" for number in training.rules.known]
    return f"; in force again: {', '.join(told)}" if told else ""


def _again(training: Controls, kept: Any) -> SettingsReversal | None:
    """The way back of plain values that were set before the training was taken up; None where it is not told, or by what nobody knows."""
    try:
        return SettingsReversal([_setting(training, each) for each in kept]) if kept else None
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def _setting(training: Controls, kept: Mapping[str, Any]) -> Setting:
    slot = kept["slot"] if isinstance(kept["slot"], str) else tuple(kept["slot"])
    old, new = kept["old"], kept["new"]
    if slot == "clip":
        return Setting(slot, training.set_clip, *(None if value is None else Clip(**value) for value in (old, new)))
    if slot == "schedule":
        bends = (value and Bend(value["start"], tuple(value["steps"]), tuple(value["factors"])) for value in (old, new))
        return Setting(slot, training.set_bend, *bends)
    name, where = slot[0], slot[1]
    if name == "rule":
        put: Any = partial(training.put_rule, SetRule.of(kept["rule"]))
    elif name == "frozen":
        put = partial(training.set_frozen, where)
    elif isinstance(where, str):
        put = partial(training.set_layer, where, name)
    else:
        put = partial(training.set_factor, where) if name == "factor" else partial(training.set_value, where, name)
    return Setting(slot, put, old, new)
