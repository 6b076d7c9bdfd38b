"""Which layers stand for a whole network where it has to fit into one picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from ..core.errors import NotApplicable
from ..model.layers import Layer, LayerTable
from ..model.plain_module import fed
from ..model.weight_modules import decides

if TYPE_CHECKING:
    from ..scene import Scene

MOST = 8


def columns(table: LayerTable, inside: str = "", most: int = MOST) -> list[Layer]:
    """At most so many layers, in their order: all that have weights, else what the modules that hold them hand on.

    Modules are opened from outside as far as they fit. Where one level more would be far too many, neighbours of it whose maps
    are of one size are one column, and of what is still too many some are left out at even distances; the first and the last
    stay. ``inside`` is a module: only what lies in it is shown. *Raises* NotApplicable where nothing answers.
    """
    leaves = [one for one in table.leaves if one.weight is not None and not one.normalises and _answers(one)]
    leaves = leaves or [one for one in table.leaves if _answers(one)]
    if inside:
        within = [one for one in leaves if one.name == inside or one.name.startswith(f"{inside}.")]
        leaves = within or leaves
    if not leaves:
        raise NotApplicable("no layer answers once for each example, so there are no units to show; the view examples shows what it answers")
    if len(leaves) <= most:
        return leaves
    start = inside.count(".") + 2 if inside else 1
    coarse, fine = leaves[-1:], leaves
    for depth in range(start, 1 + max(one.name.count(".") for one in leaves) + 1):
        found = _at(table, leaves, depth)
        if len(found) > most:
            fine = found
            break
        coarse = found
    if len(coarse) >= min(4, most):
        return coarse
    merged = [one for one, after in zip(fine, [*fine[1:], None], strict=True) if after is None or _places(after) != _places(one)]
    if len(merged) < len(coarse) or len(merged) < 3:
        merged = fine
    if len(merged) > most:
        merged = [merged[round(k * (len(merged) - 1) / (most - 1))] for k in range(most)]
    return merged


def answers(scene: Scene, layer: Layer) -> bool:
    """Whether a layer's units are the network's answers: the scores are made of it alone, and as many as it has units.

    *Meaning* the last layer need not be: the last module of two towers whose products are the scores, or of a network that makes another's
    weights, is one branch of several; the gate of a mixture of experts stands before them. True where it cannot be told.
    *Cost* a forward and a backward pass of one example, kept.
    """
    def told() -> bool:
        if scene.missing is not None or scene.function or not scene.kinds:
            return True
        x = fed(scene.model, scene.live.batch([0], scene.device))
        shape = tuple(scene.look(x)[0].shape[1:])
        fits = layer.units in {1 if not shape else shape[0], 1 if not shape else shape[-1]} or prod(shape) == prod(layer.shape)
        return fits and decides(scene.model, scene.reading, layer, x)

    return bool(scene.once(f"answers/{layer.name}", told))


def one_of_places(scene: Scene, layer: Layer) -> int:
    """At how many places a network answers, where a layer's units are its answers at one of them (as the last call of a loop's layer is); else 0.

    *Cost* a pass of one example, kept.
    """
    def told() -> int:
        if layer.complex or not layer.each:
            return 0
        scores, kept = scene.look(fed(scene.model, scene.live.batch([0], scene.device)), [layer.name])
        own, found = kept[layer.name][0], scores[0]
        if own.ndim != 1 or found.ndim != 2:
            return 0
        for rows in (found, found.T):
            # Logarithms of probabilities are scores but for one number a place.
            if rows.shape[1] == len(own) > 1 < len(rows):
                apart = rows - own
                if bool(((apart - apart.mean(1, keepdim=True)).abs().amax(1) <= 1e-4 * (1e-6 + own.std())).any()):
                    return len(rows)
        return 0

    return int(scene.once(f"places/{layer.name}", told))


def _answers(layer: Layer) -> bool:
    return layer.each and bool(layer.shape) and layer.units > 0


def _at(table: LayerTable, leaves: Sequence[Layer], depth: int) -> list[Layer]:
    """What the modules so deep hand on: a module's own answer, else that of the last layer in it."""
    groups: dict[str, list[Layer]] = {}
    for leaf in leaves:
        groups.setdefault(".".join(leaf.name.split(".")[:depth]), []).append(leaf)
    found = []
    for prefix, members in groups.items():
        whole = table[prefix] if len(members) > 1 and table.has(prefix) else members[-1]
        found.append(whole if _answers(whole) and whole.units > 1 else members[-1])
    return found


def _places(layer: Layer) -> tuple[int, ...]:
    return tuple(side for axis, side in enumerate(layer.shape, 1) if axis != layer.unit_axis)
