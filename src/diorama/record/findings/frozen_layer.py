"""The finding `frozen_layer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.selection import layer_key
from . import Finding, Found, layer_of, named

if TYPE_CHECKING:
    from ..reader import RunReader


class FrozenLayer(Finding):
    """Layers that are frozen on purpose: by the command, or since their parameters want no gradient.

    *Meaning* nothing is wrong; it is told so that a layer that does not move is not wondered about. Where adapters learn beside frozen
    weights (peft's, each with its ``base_layer``), that the rest stands still is what they are for, and only what the command froze is told.
    """

    def __call__(self, run: RunReader) -> list[Found]:
        """One calm line for all of them."""
        held = run.meta.get("held") or {}
        tuned = any(".base_layer." in str(name) for name in held.get("still", ()))
        still = list(dict.fromkeys(layer_of(str(name)) for name in held.get("still", ()) if not tuned))
        keys = list(dict.fromkeys([*(layer_key(name) for name in run.frozen()), *still]))
        if not keys:
            return []
        names = named([key.partition(":")[2] for key in keys])
        be, do, own = ("is", "does", "its") if len(keys) == 1 else ("are", "do", "their")
        return [Found(
            self.name, 0.05, f"{names} {be} frozen", f"{names} {do} not learn, on purpose: "
            f"{'by the command freeze' if run.frozen() else f'{own} parameters want no gradient'}.",
            "1 layer is frozen" if len(keys) == 1 else f"{len(keys)} layers are frozen", tuple(keys), None, 0, "Certain.",
            "Thaw it with the command thaw, or turn requires_grad on, where it should learn.", "health",
        )]
