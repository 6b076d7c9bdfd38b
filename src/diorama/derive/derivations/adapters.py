"""What each adapter of a network changes, and how much it still learns."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ...core.knobs import knob
from ...data import nesting
from ...methods.cost import Cost
from ...model.adapters import Adapter, adapters, change, effective_rank, trainable
from ...model.batch_size import called
from ...model.plain_module import dtype_of, fed, named_modules
from ...model.preservation import Preservation
from ...model.surroundings import NeutralSurroundings, as_built
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage

FIELDS = {
    "layer": str, "parameters": int, "rank": int, "effective_rank": float, "size": float, "weight": float, "share": float,
    "gradient": float, "trained": bool, "nothing": str,
}
"""What a record holds."""


class AdaptersDerivation(Derivation):
    """Every layer with an adapter (LoRA and its kin): how large its update is beside the frozen weight, and of what rank.

    *Meaning* a record a layer: ``size`` and ``weight`` are the Frobenius norms of the update, as the layer computes it, and of
    the frozen weight, ``share`` the one over the other; ``rank`` is how many directions its matrices
    allow, ``effective_rank`` how many the update really has. ``gradient`` is the norm of the gradient of the mean loss by its
    parameters, NaN without a truth.
    ``nothing`` says why an adapter does nothing; empty for one that does something.
    *Units* those of the weights; the gradient's are losses over weights.
    *Cost* a pass of each adapted layer over as many vectors as it has inputs, its singular values, and one forward and backward
    pass of some examples.
    *Source* Hu et al. 2021, arXiv:2106.09685; Roy & Vetterli 2007 (effective rank).
    """

    examples: int = knob(16, "So many examples are differentiated.", low=1, high=256)

    def fits(self, scene: Scene) -> str | None:
        """Some layers have an adapter."""
        return without_adapters(scene)

    def cost(self, scene: Scene) -> Cost:
        """One pass forwards and backwards of some examples."""
        count = min(self.examples, len(scene.live))
        return Cost(count, count)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """A record a layer."""
        found = adapters(scene.model)
        slopes = gradients(scene, found, self.examples)
        told: list[dict[str, Plain]] = []
        for number, adapter in enumerate(found):
            told.append(_record(scene, adapter, slopes[number]))
            yield Stage(list(told), number + 1.0, float(len(found)), f"{number + 1} of {len(found)} adapters")

    def check(self, scene: Scene, value: Plain) -> None:
        """A record for each adapter."""
        names = [adapter.name for adapter in adapters(scene.model)]
        if not isinstance(value, list) or [one.get("layer") for one in value if isinstance(one, dict)] != names:
            raise ValueError("a record of each adapter is wanted")
        for one in value:
            if {name: type(part) for name, part in one.items()} != FIELDS:
                raise ValueError(f"records of {', '.join(FIELDS)} are wanted")


def without_adapters(scene: Scene) -> str | None:
    """Why there is no adapter to show; None where there are some."""
    if scene.missing is not None:
        return scene.missing
    if scene.function:
        return "it looks inside a model, and this one is a plain function"
    if adapters(scene.model):
        return None
    return "no layer has an adapter: a frozen weight with trained matrices of a lower rank beside it, by peft or by hand"


def _record(scene: Scene, adapter: Adapter, gradient: float) -> dict[str, Plain]:
    module = named_modules(scene.model)[adapter.name]
    own = dict(module.named_parameters())
    found = change(scene.model, adapter)
    size = weight = share = effective = math.nan
    if found is not None:
        size, weight = float(found.update.norm()), float(found.weight.norm())
        share = size / weight if weight > 0 else math.nan
        effective = effective_rank(found.update)[0]
    trained = any(True for _ in trainable(scene.model, adapter))
    return {
        "layer": adapter.name, "parameters": sum(own[name].numel() for name in adapter.parts),
        "rank": min(side for name in adapter.pair for side in own[name].shape) if adapter.pair is not None else 0,
        "effective_rank": effective, "size": size, "weight": weight, "share": share, "gradient": gradient, "trained": trained,
        "nothing": _nothing(adapter, own, size, gradient, trained),
    }


def _nothing(adapter: Adapter, own: dict[str, torch.nn.Parameter], size: float, gradient: float, trained: bool) -> str:
    """Why an adapter does nothing; empty for one that does something."""
    if size != 0:
        return ""
    zeros = [name for name in adapter.parts if own[name].ndim >= 2 and not bool(own[name].detach().any())]
    why = "its update is zero, as adapters begin, or it is switched off"
    if zeros:
        why = f"{' and '.join(zeros)} {'are' if len(zeros) > 1 else 'is'} all zeros, as it begins"
    if not trained:
        return f"{why}, and it is not trained"
    if gradient == 0:
        return f"{why}, and no gradient reaches it"
    return why


def gradients(scene: Scene, found: tuple[Adapter, ...], count: int) -> list[float]:
    """The norm of the gradient of the mean loss by each adapter's parameters; NaN where there is no loss to differentiate."""
    y = scene.live.y
    parameters = [list(trainable(scene.model, adapter)) for adapter in found]
    flat = [parameter for own in parameters for parameter in own]
    if y is None or not scene.task or not flat or scene.reading.criterion is not None:
        return [math.nan] * len(found)
    chosen = list(range(min(count, len(scene.live))))
    x = fed(scene.model, scene.live.batch(chosen, scene.device))
    with NeutralSurroundings(), Preservation(scene.model), torch.enable_grad(), as_built(dtype_of(scene.model)):
        scores = scene.reading.scores(called(scene.model, x))
        truth = scene.reading.wanted(nesting.first(x), y[: len(chosen)])
        assert truth is not None
        losses = scene.reading.losses(scores, truth.to(scores.device))
        share = scene.reading.weights(truth.cpu()).to(losses)
        known = losses.isfinite() & (share > 0)
        told = losses[known] * (share[known] / share[known].sum())
        if not len(told) or not told.requires_grad:
            return [math.nan if not len(told) else 0.0] * len(found)
        slopes = dict(zip(map(id, flat), torch.autograd.grad(told.sum(), flat, allow_unused=True), strict=True))
    return [_norm([slopes[id(parameter)] for parameter in own]) for own in parameters]


def _norm(parts: list[Tensor | None]) -> float:
    return math.sqrt(sum(float(part.double().square().sum()) for part in parts if part is not None))
