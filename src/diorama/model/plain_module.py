"""From what the user holds (compiled, parallel, plain) to the plain module inside it, and what it wants to be fed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..core.errors import NotApplicable
from ..data import nesting
from ..data.nesting import Nested


def unwrap(model: nn.Module) -> nn.Module:
    """The plain module inside a compiled or parallel one.

    *Raises* NotApplicable for a scripted model, which cannot be looked into, and for one that was never run and whose
    lazy layers have no weights yet.
    """
    if not isinstance(model, nn.Module):
        raise NotApplicable(f"a model is a torch.nn.Module, got {type(model).__name__}; wrap the function in a module")
    plain = peeled(model)
    if isinstance(plain, torch.jit.ScriptModule):
        name = getattr(plain, "original_name", type(plain).__name__)
        raise NotApplicable(f"{name} is a scripted model, whose inside is closed; pass the module it was made from")
    # Whether it is a plain one is asked first: to ask for an instance of a parameter calls Python each time.
    own = (parameter for module in modules_of(plain) for parameter in module._parameters.values() if type(parameter) is not nn.Parameter)
    if any(isinstance(parameter, nn.parameter.UninitializedParameter) for parameter in own):
        path = next(path for path, parameter in plain.named_parameters() if isinstance(parameter, nn.parameter.UninitializedParameter))
        raise NotApplicable(f"{path} has no shape yet, as its layer is lazy; run one batch through the model first")
    return plain


def peeled(module: nn.Module) -> nn.Module:
    """The module inside compiled and parallel ones, whatever it is."""
    while True:
        if type(module).__name__ == "OptimizedModule":
            inner = module._modules.get("_orig_mod")
        elif isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module._modules.get("module")
        else:
            return module
        if inner is None:
            return module
        module = inner


def spread(model: nn.Module) -> str:
    """What spreads a model's weights over several processes, by name; empty where each has all of them.

    Running such a model, or reading a weight whole, takes all processes at once.
    """
    for module in model.modules():
        if type(module).__name__ == "FullyShardedDataParallel":
            return "FullyShardedDataParallel"
    for parameter in model.parameters():
        if hasattr(parameter, "to_local"):
            return "FSDP or tensor parallelism (DTensor)"
        if hasattr(parameter, "ds_id"):
            return "DeepSpeed"
    return ""


def local(tensor: Tensor) -> Tensor:
    """The part of a spread tensor that lies in this process; any other tensor as it is."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def wrapped_children(module: nn.Module) -> dict[str, nn.Module]:
    """The children of a module that are compiled or parallel, by name, as the plain modules inside them."""
    found = {}
    for name, child in module._modules.items():
        if child is not None and peeled(child) is not child:
            found[name] = peeled(child)
    return found


def modules_of(model: nn.Module) -> list[nn.Module]:
    """What ``model.modules()`` yields, without working out their names: each look at a model goes through all of them ten times."""
    if type(model).named_modules is not nn.Module.named_modules or type(model).modules is not nn.Module.modules:
        return list(model.modules())
    found, waiting = dict[int, nn.Module](), [model]
    while waiting:
        module = waiting.pop()
        if id(module) not in found:
            found[id(module)] = module
            if module._modules:  # most hold none
                waiting += [child for child in reversed(module._modules.values()) if child is not None]
    return list(found.values())


def named_modules(model: nn.Module) -> dict[str, nn.Module]:
    """All modules below a model by path, seen through wrappers; a module that stands in two places has its first path.

    Scripted modules count as closed; parametrizations (they compute weights, not activations) are left out.
    """
    return dict(_walk(model, "", set()))


def layer_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that are layers: all below a model, and the model itself (its path is empty) where nothing below it
    holds weights and it does.
    """
    below = named_modules(model)
    own = "parametrizations" in model._modules or any(p is not None for p in model._parameters.values())
    if not own or any(True for module in below.values() for _ in module.parameters()):
        return below
    return {**below, "": model}


def _walk(module: nn.Module, prefix: str, seen: set[int]) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, torch.jit.ScriptModule):
        return
    for name, child in module._modules.items():
        if child is None or name == "parametrizations":
            continue
        child = peeled(child)
        if id(child) in seen:
            continue
        seen.add(id(child))
        yield prefix + name, child
        yield from _walk(child, f"{prefix}{name}.", seen)


def quantized(model: nn.Module) -> list[str]:
    """The quantized layers of a model, by name; the model itself where it is one."""
    found: list[str] = []
    for name, module in [("", model), *named_modules(model).items()]:
        inside = any(not outer or name.startswith(f"{outer}.") for outer in found)
        if ".quantized" in type(module).__module__ and not inside:
            found.append(name)
    return [name or type(model).__name__ for name in found]


def held(model: nn.Module) -> Iterator[Tensor]:
    """Every parameter and buffer of a model, one that stands in two places twice."""
    for module in modules_of(model):
        for own in (module._parameters, module._buffers):
            for tensor in own.values():
                if tensor is not None:
                    yield tensor


def weights_in(module: nn.Module) -> int:
    """How many numbers the parameters of a module have, and those below it, each counted once; no function mode hears of the question."""
    with torch._C.DisableTorchFunction():
        if module._modules or type(module).named_parameters is not nn.Module.named_parameters:
            return sum(parameter.numel() for parameter in module.parameters())
        own = {id(parameter): parameter for parameter in module._parameters.values() if parameter is not None}
        return sum(parameter.numel() for parameter in own.values())


def device_of(model: nn.Module) -> torch.device:
    """Where a model's weights lie; the CPU for a model without any."""
    return next((tensor.device for tensor in itertools.chain(model.parameters(), model.buffers())), torch.device("cpu"))


def made_in_inference(tensor: Tensor) -> bool:
    """Whether a tensor was made in inference mode; no function mode hears of the question."""
    with torch._C.DisableTorchFunction():
        return tensor.is_inference()


def dtype_of(model: nn.Module) -> torch.dtype | None:
    """The one floating-point type of a model's weights; None when they have several or none."""
    with torch._C.DisableTorchFunction():  # for every weight of every pass a function mode would be asked
        every = {tensor.dtype for module in modules_of(model) for tensor in module._parameters.values() if tensor is not None}
    kinds = {dtype for dtype in every if dtype.is_floating_point}
    return kinds.pop() if len(kinds) == 1 else None


def fed(model: nn.Module, x: Nested) -> Nested:
    """An input on the model's device, its floating-point tensors in the model's type."""
    return placed(x, device_of(model), dtype_of(model))


def placed(x: Nested, device: torch.device, dtype: torch.dtype | None) -> Nested:
    """An input on a device, its floating-point tensors in a type, where one is given."""

    def place(tensor: Tensor) -> Tensor:
        if made_in_inference(tensor) and not torch.is_inference_mode_enabled():
            # Made in inference mode: autograd takes nothing but a copy.
            tensor = tensor.clone()
        if tensor.is_floating_point() and dtype is not None and tensor.dtype != dtype:
            return tensor.to(device, dtype)
        return tensor.to(device)

    return nesting.to(nesting.each(x, place), device)


def processes() -> int:
    """How many processes train together."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if together else 1
