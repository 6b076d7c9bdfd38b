"""The finding `frozen_layer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...core.selection import layer_key
from ...model.low_rank_pair import pair
from . import Diagnosis, Finding, layer_of, named

if TYPE_CHECKING:
    from ..reader import RunReader


class FrozenLayer(Finding):
    """Layers that are frozen on purpose: by the command, or since their parameters want no gradient.

    *Meaning* nothing is wrong; it is told so that a layer that does not move is not wondered about. Where adapters learn beside frozen
    weights (peft's, each with its ``base_layer``, or two matrices of one's own that change one weight), that the rest stands still is what
    they are for, and only what the command froze is told.
    """

    rests = ("held",)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One calm line for all of them."""
        held = run.meta.get("held") or {}
        tuned = _tuned(run.meta.get("parameters") or (), [str(name) for name in held.get("still", ())])
        still = list(dict.fromkeys(layer_of(str(name)) for name in held.get("still", ()) if not tuned))
        keys = list(dict.fromkeys([*(layer_key(name) for name in run.frozen()), *still]))
        if not keys:
            return []
        names = named([key.partition(":")[2] for key in keys])
        be, do, own = ("is", "does", "its") if len(keys) == 1 else ("are", "do", "their")
        if (weights := _weights_alone(run, keys)) is not None:
            return [weights]
        return [Diagnosis(
            self.name, 0.05, f"{names} {be} frozen", f"{names} {do} not learn, on purpose: "
            f"{'by the command freeze' if run.frozen() else f'{own} parameters want no gradient'}.",
            "1 layer is frozen" if len(keys) == 1 else f"{len(keys)} layers are frozen", tuple(keys), None, 0, "Certain.",
            "Thaw it with the command thaw, or turn requires_grad on, where it should learn.", "health",
        )]


def _weights_alone(run: RunReader, keys: Sequence[str]) -> Diagnosis | None:
    """Where in each of these layers something still learns (its bias, the scale of a norm): that the weights alone stand still."""
    held = run.meta.get("held") or {}
    still = {str(name) for name in held.get("still", ())}
    every = [str(name) for name, *_ in run.meta.get("parameters") or ()]
    learning = [name for name in every if name not in still]
    if run.frozen() or not {layer_of(name) for name in learning} >= set(keys):
        return None
    names, wanted = named([key.partition(":")[2] for key in keys]), sorted({name.rpartition(".")[2] for name in learning})
    what = "biases" if wanted == ["bias"] else f"parameters named {' and '.join(wanted[:2])}"
    return Diagnosis(
        "frozen_layer", 0.05, "Most weights are frozen" if 2 * len(still) >= len(every) else "Some weights are frozen",
        f"In {names} only the {what} learn: the other parameters want no gradient.",
        f"{len(learning)} of {len(every)} parameters want a gradient", tuple(keys), None, 0, "Certain; whether it is meant so cannot be told.",
        "Turn requires_grad on for what should learn.", "health",
    )


def _tuned(parameters: Sequence[Any], still: Sequence[str]) -> bool:
    """Whether adapters learn beside the weights that want no gradient."""
    if any(".base_layer." in name for name in still):
        return True
    shapes = {str(name): tuple(shape) for name, shape, *_ in parameters}
    for weight in (name for name in still if len(shapes.get(name, ())) == 2):
        module = weight.rpartition(".")[0]
        for block in (module, module.rpartition(".")[0]):  # the module of the weight, or the one that wraps it
            own = [name for name in shapes if name.startswith(f"{block}.")] if block else []
            learning = [name for name in own if name not in still]
            if len(own) <= 8 and pair(shapes, weight, learning) is not None:
                return True
    return False
