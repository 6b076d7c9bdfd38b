"""Which modules of a network hold weights that they multiply with, whether an example runs them or not, and which lead to its answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import DioramaError
from ..data.nesting import Nested
from .axes import tensors_in
from .capture import Capture
from .layers import Layer, LayerTable, main_weight
from .outputs import Reading
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


def answering(model: nn.Module, reading: Reading, layers: list[Layer], x: Nested) -> list[Layer]:
    """Those of some layers from which the scores are made: of several heads not the others. All of them where slopes cannot tell.

    *Cost* one forward and one backward pass.
    """
    try:
        with Capture(model, [one.name for one in layers], grad=True) as look, torch.enable_grad():
            scores = reading.scores(look(x))
            kept: list[Any] = [next(tensors_in((look[one.name], {})), None) for one in layers]
            told = [part for part in kept if isinstance(part, Tensor) and part.requires_grad]
            if not told or not scores.requires_grad:
                return layers
            slopes = dict(zip(map(id, told), torch.autograd.grad(scores.abs().sum(), told, allow_unused=True), strict=True))
    except (DioramaError, RuntimeError, ValueError, TypeError):
        return layers
    return [one for one, part in zip(layers, kept, strict=True) if id(part) not in slopes or slopes[id(part)] is not None]
