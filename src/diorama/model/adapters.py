"""Adapters beside frozen weights: LoRA and its kin, from peft or by hand, and what each changes in its layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .low_rank_pair import pair
from .plain_module import named_modules, unwrap
from .preservation import Preservation
from .surroundings import NeutralSurroundings

WHOLE = 1024
"""Of a matrix with more rows and columns than this only the largest singular values are found."""


@dataclasses.dataclass(frozen=True)
class Adapter:
    """One layer with an adapter: where it is, its frozen weight, and the parameters that adapt it, by name."""

    name: str
    weight: str
    parts: tuple[str, ...]
    pair: tuple[str, str] | None = None
    """The low-rank matrices whose product is added, in the order in which the layer has them."""


def adapters(model: nn.Module) -> tuple[Adapter, ...]:
    """The adapters of a model in the order of its modules.

    *Meaning* a layer with a frozen weight and, beside it, two matrices whose product has its shape and a lower rank; or one that
    wraps a ``base_layer``, as peft's do. Where the rank is no lower, as 8 is beside a head of 3 answers, or one of the two matrices is frozen
    too, a layer that answers as its weight does plus that product.
    *Cost* none, but for layers of the last kind, which answer a few random vectors.
    """
    found = {path: adapter for path, module in named_modules(unwrap(model)).items() if (adapter := _adapter(path, module)) is not None}
    # A block holds the adapters of its layers, and is none itself.
    return tuple(one for path, one in found.items() if not any(other.startswith(f"{path}.") or (not path and other) for other in found))


def _adapter(path: str, module: nn.Module) -> Adapter | None:
    own = dict(module.named_parameters())
    base = getattr(module, "base_layer", None)
    if isinstance(base, nn.Module):
        weights = [name for name, part in own.items() if name.startswith("base_layer.") and part.ndim >= 2]
        parts = tuple(name for name in own if not name.startswith("base_layer."))
        if len(weights) != 1 or not parts:
            return None
        shapes = {name: part.shape for name, part in own.items()}
        return Adapter(path, weights[0], parts, pair(shapes, weights[0], parts) or pair(shapes, weights[0], parts, lower=False))
    if len(own) > 8:
        return None
    frozen = [name for name, part in own.items() if part.ndim == 2 and not part.requires_grad]
    parts = tuple(name for name, part in own.items() if part.requires_grad)
    shapes = {name: part.shape for name, part in own.items()}
    for weight in frozen if parts else ():
        found = pair(shapes, weight, parts)
        if found is None:
            # Shapes alone tell little of a rank that is not below the weight's, or where one of the two factors is frozen too.
            held = [name for name in frozen if name != weight]
            likely = (pair(shapes, weight, parts, lower=False), *(pair(shapes, weight, (own_part, other)) for own_part in parts for other in held))
            found = next((each for each in likely if each is not None and _adds(module, weight, each)), None)
        if found is not None:
            return Adapter(path, weight, parts, found)
    return None


def _adds(module: nn.Module, weight: str, factors: tuple[str, str]) -> bool:
    """Whether a layer answers as its weight does plus the product of two matrices, times a number: tried with random ones."""
    own = dict(module.named_parameters())
    down, up = (torch.linspace(-1, 1, own[name].numel()).reshape(own[name].shape).mul(7).sin().to(own[name]) for name in factors)
    frozen = own[weight].detach()
    rows = frozen if _turned(module, frozen) else frozen.T
    x = torch.linspace(-2, 2, 4 * len(rows)).reshape(4, -1).mul(5).sin().to(frozen)

    def answer(*parts: Tensor) -> Tensor:
        put = dict(zip(factors, parts, strict=True))
        made: Tensor = functional_call(module, put, (x,)) - functional_call(module, put, (torch.zeros_like(x),))
        return made

    with NeutralSurroundings(), Preservation(module), torch.no_grad():
        try:
            bare, whole = answer(torch.zeros_like(down), torch.zeros_like(up)), answer(down, up)
        except Exception:  # noqa: BLE001 - a layer of another form than a matrix
            return False
        if not bare.shape == whole.shape == (len(x), rows.shape[1]) or not torch.allclose(bare, x @ rows, rtol=1e-2, atol=1e-3):
            return False
        # Either may come first in the layer, and both may stand as (in, out).
        products = (one @ two for one, two in ((down, up), (up, down), (down.T, up.T), (up.T, down.T)) if one.shape[1] == len(two))
        changed = (whole - bare).flatten().double()
        alike = [torch.cosine_similarity(changed, (x @ made).flatten().double(), 0) for made in products if made.shape == rows.shape]
        return any(bool(each.abs() > 1 - 1e-3) for each in alike)


@dataclasses.dataclass(frozen=True)
class Change:
    """What an adapter changes: its update (out, in) as its layer computes it, and the frozen weight beside it."""

    update: Tensor
    weight: Tensor


def change(model: nn.Module, adapter: Adapter) -> Change | None:
    """The update of an adapter, as its layer computes it: what it answers beyond its frozen weight.

    *Meaning* found by running the layer on every unit vector (on every token of an embedding), so scale, gates and norms of the
    update are in it. None for a layer that answers otherwise than a matrix does.
    *Cost* one pass of the layer over as many vectors as it has inputs.
    """
    model = unwrap(model)
    module = named_modules(model)[adapter.name]
    weight = dict(module.named_parameters())[adapter.weight].detach()
    if weight.ndim != 2:
        return _told(module, weight)
    with NeutralSurroundings(), Preservation(model), torch.no_grad():
        base = getattr(module, "base_layer", module)
        if isinstance(base, nn.Embedding) or "Embedding" in type(base).__name__:
            tokens = torch.arange(weight.shape[0], device=weight.device)
            return Change((module(tokens) - weight).float(), weight.float())
        turned = _turned(module, weight)
        rows = weight if turned else weight.T
        units = torch.eye(rows.shape[0], dtype=weight.dtype, device=weight.device)
        try:
            answered = module(units) - module(torch.zeros_like(units[:1]))
        except Exception:  # noqa: BLE001 - a layer of another form than a matrix
            return _told(module, weight)
        if not isinstance(answered, Tensor) or answered.shape != rows.shape:
            return _told(module, weight)
        update = (answered - rows).float()
        # What the layer computes beyond its weight in rounding is no update.
        eps = 16 * torch.finfo(weight.dtype).eps * float(rows.float().abs().max())
        update = torch.where(update.abs() <= eps, torch.zeros_like(update), update) if float(update.abs().max()) <= eps else update
        return Change(update if turned else update.T, weight.float())


def _turned(module: nn.Module, weight: Tensor) -> bool:
    """Whether a weight stands as (in, out), as in GPT-2's layers."""
    return any(type(one).__name__ == "Conv1D" for one in module.modules())


def _told(module: nn.Module, weight: Tensor) -> Change | None:
    """What peft's own layers say of their update, where they do."""
    said = getattr(module, "get_delta_weight", None)
    active = getattr(module, "active_adapters", None)
    if said is None or not active:
        return None
    with torch.no_grad():
        parts = [said(name) for name in active if name in getattr(module, "lora_A", {})]
    if not parts or any(part.shape != weight.shape for part in parts):
        return None
    return Change(sum(parts[1:], parts[0]).detach().flatten(1).float(), weight.flatten(1).float())


def effective_rank(update: Tensor) -> tuple[float, int]:
    """How many directions an update has: the exponential of its singular values' entropy, and how many are not rounding.

    *Source* Roy & Vetterli 2007, "The effective rank".
    """
    if not bool(update.isfinite().all()):
        return float("nan"), 0
    sizes = torch.linalg.svdvals(update.double()) if min(update.shape) <= WHOLE else torch.svd_lowrank(update, q=128, niter=2)[1].double()
    total = float(sizes.sum())
    if total <= 0:
        return 0.0, 0
    shares = sizes / total
    spread = float(-(shares * shares.clamp_min(1e-300).log()).sum())
    return float(torch.tensor(spread).exp()), int((sizes > 1e-5 * sizes[0]).sum())


def switch_off(model: nn.Module, chosen: tuple[Adapter, ...]) -> None:
    """Let layers of a model answer by their frozen weights alone. It changes the model: give it a copy."""
    modules = named_modules(unwrap(model))
    for adapter in chosen:
        module = modules[adapter.name]
        switch = getattr(module, "enable_adapters", None)
        if callable(switch):
            switch(False)
            continue
        assert adapter.pair is not None
        parameters = dict(module.named_parameters())
        with torch.no_grad():
            for name in adapter.pair:
                parameters[name].zero_()


def trainable(model: nn.Module, adapter: Adapter) -> Iterator[nn.Parameter]:
    """The parameters of an adapter that learn."""
    own = dict(named_modules(unwrap(model))[adapter.name].named_parameters())
    return (own[name] for name in adapter.parts if own[name].requires_grad)
