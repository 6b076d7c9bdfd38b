"""Which modules of a network hold weights that they multiply with, whether an example runs them or not, and which lead to its answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import DioramaError
from ..data import nesting
from ..data.nesting import Nested
from .axes import tensors_in, with_tensor
from .capture import Capture
from .layers import Layer, LayerTable, main_weight
from .outputs import Reading
from .plain_module import layer_modules


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
        inside = any(path[:at] in leaves for at, sign in enumerate(path) if sign == ".")
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


def decides(model: nn.Module, reading: Reading, one: Layer, x: Nested) -> bool:
    """Whether the scores are made of what one layer answers alone, whatever is then done with it.

    *Meaning* False where anything else that was computed before, or the input, reaches them past it: another branch of a product, an
    expert, a residual sum. True also where slopes cannot tell.
    *Cost* one forward and one backward pass.
    """
    modules = layer_modules(model)
    before: list[Tensor] = []
    calls = 0
    cut = False

    def left(module: nn.Module, given: Any, answer: Any) -> Any:
        nonlocal calls, cut
        calls += module is modules[one.path]
        here = module is modules[one.path] and calls == one.call
        for tensor in [] if cut else list(tensors_in(answer)):
            if here or not tensor.requires_grad:
                if tensor.is_floating_point() or tensor.is_complex():
                    leaf = tensor.detach().requires_grad_()
                    before.extend([] if here else [leaf])
                    answer = with_tensor(answer, tensor, leaf.clone())  # what follows may write into it
            else:
                before.append(tensor)
        cut = cut or here
        return answer

    given = nesting.each(x, lambda part: part.detach().clone().requires_grad_() if part.is_floating_point() or part.is_complex() else part)
    handles = [nn.Module.register_forward_hook(module, left) for module in modules.values()]
    try:
        with Capture(model, grad=True) as look, torch.enable_grad():
            scores = reading.scores(look(given))
            before += [part for part in nesting.tensors(given) if part.requires_grad]
            if not cut or not before or not scores.requires_grad:
                return True
            return all(slope is None for slope in torch.autograd.grad(scores.abs().sum(), before, allow_unused=True))
    except (DioramaError, RuntimeError, ValueError, TypeError, AttributeError):
        return True
    finally:
        for handle in handles:
            handle.remove()
