"""Which modules of a network hold weights that they multiply with, whether an example runs them or not."""

from __future__ import annotations

from torch import nn

from .layers import LayerTable, main_weight
from .unwrap import layer_modules


def learning(table: LayerTable) -> list[str]:
    """The layers that hold a weight of two axes or more, but for those that only rescale, each module once; of a recurrent module its parts."""
    return list(dict.fromkeys(
        one.name if one.part else one.path for one in table.leaves if one.weight is not None and not one.normalises
    ))


def uncalled(table: LayerTable, model: nn.Module) -> list[str]:
    """The modules with such weights that no example called when the layers were found, such as experts; those inside a layer belong to it."""
    called, leaves = {one.path for one in table}, {one.path for one in table.leaves}
    found = []
    for path, module in layer_modules(model).items():
        inside = any(path.startswith(f"{leaf}.") for leaf in leaves)
        if path and path not in called and not inside and main_weight(path, module) is not None and "Norm" not in type(module).__name__:
            found.append(path)
    return found
