"""Which layers the network can do without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

from ...core.errors import DioramaError, NotApplicable
from ...core.knobs import knob
from ...core.selection import Key
from ...methods.cost import Cost
from ...model.axes import first_tensor, tensors_in
from ...model.duplicate import duplicate
from ...model.edits import Edit
from ...model.layers import Layer
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage
from ..losses import losses, right, unmeasured

ARRAYS = ("passed", "held", "passed_right", "held_right", "passed_changed", "held_changed")


class NeededDerivation(Derivation):
    """Which layer is not needed: what it costs to leave each out, and what to let it say the same to all.

    *Meaning* ``passed``: how much the loss rises when a layer, or a block of several, hands on what it was given; NaN where what comes
    out has another shape than what goes in. ``held``: when it answers its mean over the examples to each of them. A layer that can be
    passed over changes nothing that is needed; one that can be held tells nothing that is needed. ``…_changed`` is the share of answers that
    change, ``…_right`` how much less is answered rightly, NaN where answers are numbers.
    *Shapes* one number a layer; ``layers`` by name, in their order.
    *Units* the loss's own.
    *Cost* two passes an example for each layer, and a copy of the network.
    *Source* Veit, Wilber & Belongie 2016, arXiv:1605.06431 (layers left out); Morcos et al. 2018 (means in their place).
    """

    examples: int = knob(128, "So many of the live examples.", low=2, high=512)
    layers: int = knob(40, "So many layers at most, spread over the network.", low=1, high=400)

    def fits(self, scene: Scene) -> str | None:
        """A loss can be measured, and there are layers."""
        if scene.missing is not None:
            return scene.missing
        return unmeasured(scene) or (None if chosen_layers(scene, self.layers) else "no layer that could be left out answers once for each example")

    def cost(self, scene: Scene) -> Cost:
        """Two passes an example and layer."""
        return Cost(2 * len(chosen_layers(scene, self.layers)) * min(self.examples, len(scene.live)))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """Layer by layer."""
        layers = chosen_layers(scene, self.layers)
        chosen = np.arange(min(self.examples, len(scene.live)))
        base, answers = losses(scene, chosen)
        rightly = right(scene, chosen, answers)
        told = {name: np.full(len(layers), np.nan) for name in ARRAYS}
        model = duplicate(scene.model)
        without = scene.with_model(model)
        value = {"layers": [one.name for one in layers], "loss": _mean(base), **told}

        def measured(name: str, k: int, found: tuple[np.ndarray, Tensor]) -> None:
            told[name][k] = _mean(found[0] - base)
            told[f"{name}_changed"][k] = _changed(scene, answers, found[1])
            told[f"{name}_right"][k] = _mean(rightly - right(scene, chosen, found[1]))

        for k, one in enumerate(layers):
            with _passing(model, one):
                try:
                    measured("passed", k, losses(without, chosen))
                except _Misfit:
                    pass
                except (DioramaError, RuntimeError, TypeError, ValueError, IndexError, AttributeError):
                    # What comes after does not take what went in.
                    if scene.cancel is not None:
                        scene.cancel()
            try:
                mean = _mean_answer(scene, one)
                measured("held", k, losses(scene, chosen, (Edit(Key("layer", one.name), patch=mean),)))
            except NotApplicable:
                pass
            yield Stage({**value, **{name: each.copy() for name, each in told.items()}}, k + 1.0, float(len(layers)),
                        f"{k + 1} of {len(layers)} layers left out")

    def check(self, scene: Scene, value: Plain) -> None:
        """Numbers for each layer."""
        names = [one.name for one in chosen_layers(scene, self.layers)]
        if not isinstance(value, dict) or set(value) != {"layers", "loss", *ARRAYS} or value["layers"] != names:
            raise ValueError("layers and numbers are wanted")
        if type(value["loss"]) is not float:
            raise ValueError("the loss is wanted")
        for name in ARRAYS:
            if not isinstance(value[name], np.ndarray) or value[name].dtype != np.float64 or value[name].shape != (len(names),):
                raise ValueError(f"{name} of another shape")


def chosen_layers(scene: Scene, most: int) -> list[Layer]:
    """The layers that learn, but for those that only rescale, and the blocks of several of them; of more than so many some at even distances."""
    if scene.missing is not None or scene.function or not scene.kinds:
        return []
    learning = [one for one in scene.layers.leaves if one.weight is not None and not one.normalises]
    found = [one for one in learning if one.name and one.each and one.shape and not one.part]
    for one in scene.layers:
        inside = sum(each.name.startswith(f"{one.name}.") for each in learning)
        if not one.leaf and one.name and one.each and one.shape and 1 < inside < len(learning):
            found.append(one)
    found.sort(key=lambda one: one.order)
    return found if len(found) <= most else [found[k] for k in sorted({round(k) for k in np.linspace(0, len(found) - 1, most)})]


class _Misfit(Exception):
    """What comes out of a layer has another shape than what goes in."""


class _Passing(nn.Module):
    """Hands on what it was given, as the layer hands on its answer."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = [inner]  # in a list, so that it is none of the model's modules meanwhile

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What went in, where the answer has its shape."""
        answer = self.inner[0](*args, **kwargs)
        given, own = next(tensors_in((args, kwargs)), None), first_tensor(answer)
        if given is None or own is None or given.shape != own.shape or given.dtype != own.dtype:
            raise _Misfit
        if answer is own:
            return given.clone()
        raise _Misfit


class _passing:  # noqa: N801 - read as a verb: with _passing(model, layer)
    """A context in which a layer of a model hands on what it is given."""

    def __init__(self, model: nn.Module, layer: Layer) -> None:
        path, _, self.name = layer.path.rpartition(".")
        self.parent = model.get_submodule(path)
        self.inner = self.parent._modules[self.name]

    def __enter__(self) -> None:
        assert self.inner is not None
        self.parent._modules[self.name] = _Passing(self.inner)

    def __exit__(self, *_: object) -> None:
        self.parent._modules[self.name] = self.inner


def _mean_answer(scene: Scene, layer: Layer) -> Tensor:
    """A layer's mean answer over the live examples, (1, …). *Raises* NotApplicable where answers have no one shape."""
    total: Tensor | None = None
    for _, x in scene.batches():
        part = scene.look(x, [layer.name], reduce=lambda _, tensor: tensor.sum(0, keepdim=True))[1][layer.name]
        if total is not None and part.shape != total.shape:
            raise NotApplicable(f"the answers of {layer.name} have no one shape, so they have no mean")
        total = part if total is None else total + part
    assert total is not None
    if not (total.is_floating_point() or total.is_complex()):
        raise NotApplicable(f"{layer.name} answers in whole numbers, which have no mean of their kind")
    return total / len(scene.live)


def _changed(scene: Scene, before: Tensor, after: Tensor) -> float:
    if scene.task in ("regression", "reconstruction"):
        return float("nan")
    return float((before != after).reshape(len(before), -1).double().mean())


def _mean(values: np.ndarray) -> float:
    good = values[np.isfinite(values)]
    return float(good.mean()) if len(good) else float("nan")
