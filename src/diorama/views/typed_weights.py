"""A weight that a person types: the weights of what is selected, a field, and what the typed number would change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.colour import symmetric
from ..core.errors import DioramaError
from ..core.marks import Action, Handle, Heatmap, Node, Number
from ..core.selection import Key, Selection, as_key, without_call
from ..model.edits import parameter_name
from ..model.plain_module import local, named_modules

if TYPE_CHECKING:
    from torch import Tensor

    from ..scene import Scene

_MOST = 1024
"""Weights of one unit that are shown one by one."""


def marks(scene: Scene, selection: Selection, value: float | None) -> list[Node]:
    """The weights of the newest selected unit or weight, each to be clicked; a field for what the clicked one is set to, and what
    that would change.
    """
    key = next((key for key in reversed(selection.a) if key.kind in ("unit", "weight")), None)
    if key is None:
        return []
    try:
        found = as_key("weight", str(key).partition(":")[2])
        tensor = _parameter(scene, found, key.kind == "unit")
        numbers, chosen = tensor[found.index[0]].float().cpu().numpy(), tensor[found.index]
    except (DioramaError, LookupError, TypeError):
        return []
    cells = [_cells(found, numbers)] if 0 < numbers.size <= _MOST else []
    return [*cells, *(_typed(scene, found, chosen, value) if key.kind == "weight" else ())]


def _parameter(scene: Scene, key: Key, unit: bool) -> Tensor:
    """The numbers that a key names; of a unit where its own lie together, first axis first."""
    modules = named_modules(scene.model)
    module = modules.get(without_call(key.name))
    if unit and (module is None or getattr(module, "transposed", False) or hasattr(module, "num_embeddings")):
        raise LookupError(key.name)
    name = parameter_name(key.name, modules, scene.model)
    return local(dict(scene.model.named_parameters(remove_duplicate=False))[name].detach())


def _cells(key: Key, numbers: NDArray[np.floating]) -> Heatmap:
    """One unit's weights: a row for each channel that it reads, or one row."""
    rows = numbers.reshape(len(numbers), -1) if numbers.ndim > 1 else numbers.reshape(1, -1)
    names = [Key("weight", key.name, (key.index[0], *map(int, at))) for at in np.ndindex(numbers.shape)]
    return Heatmap(
        values=rows, limits=symmetric(rows), cell_keys=tuple(map(str, names)), square=True, size=14,
        title=f"Weights of {str(Key('unit', key.name, key.index[:1])).removeprefix('unit:')}",
        row_title="reads" if numbers.ndim > 1 else "", caption="Click one to set it.",
    )


def _typed(scene: Scene, key: Key, now: Tensor, value: float | None) -> Iterator[Number]:
    """The field, and what the typed number would change."""
    name = str(key).removeprefix("weight:")
    one = now.numel() == 1
    stands = f"It is {now.item():.4g}." if one else f"{now.numel():,} numbers, from {float(now.min()):.4g} to {float(now.max()):.4g}."
    handle = Handle(knob="value", kind="type", low=-1e30, high=1e30, value="" if value is None else f"{value:g}")
    yield Number(title=f"Set {name} to", handle=handle, label=name, note=stands)
    if value is not None:
        from ..scene.preview import preview  # loads all that a training is changed by

        knobs: dict[str, str | float | int | bool] = {"key": str(key), "value": value}
        try:
            found = preview(scene, "edit_weight", knobs)
        except DioramaError as error:
            yield Number(label="This cannot be done", tone="warn", note=f"{str(error)[:1].upper()}{str(error)[1:]}.")
            return
        send = Action(command="edit_weight", label=f"Set {name} to {value:g}", knobs=knobs)
        yield Number(label=f"With {value:g}", note=f"{found}.", actions=(send,))
