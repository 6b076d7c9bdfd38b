"""Which layers the network can do without."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from torch import Tensor

from ...core.errors import DioramaError, NotApplicable
from ...core.knobs import knob
from ...core.rounding import rounding
from ...methods.cost import Cost
from ...model import company
from ...model.duplicate import duplicate
from ...model.layers import Layer
from ...model.outputs import CLASSES
from ...model.weight_modules import learning, uncalled
from ...scene import Scene
from ..ablation import FAILED, SILENT, MeanHold, Misfit, PassThrough
from ..derivation import Derivation, Plain, Stage
from ..losses import losses, right, unmeasured, weights

Each = TypeVar("Each")
ARRAYS = ("passed", "held", "passed_right", "held_right", "passed_changed", "held_changed")
ALONE = "it holds each layer at its mean over the examples, and of one example that is its own answer; give two examples or more"


class NeededDerivation(Derivation):
    """Which layer is not needed: what it costs to leave each out, and what to let it say the same to all.

    *Meaning* ``passed``: how much the loss rises when a layer, or a block of several, hands on what it was given; NaN where what comes
    out has another form than what goes in, and ``unpassed`` says which. ``held``: when it answers its mean over these examples to each of
    them, in each of its calls, a recurrent layer with its states; where the network picks the rows that a layer answers, as it does for
    experts, the mean is over those rows. A layer that can be passed over changes nothing that is needed; one that can be held tells
    nothing that is needed. ``…_changed`` is the share of answers that change (of several labels each is one), ``…_right`` how much less
    is answered rightly, NaN where answers are numbers. ``untried`` says of layers that could be neither why. A rise that is no more than
    rounding is 0.
    *Shapes* one number a layer; ``layers`` by name, in their order.
    *Units* the loss's own.
    *Cost* two passes an example for each layer, and a copy of the network.
    *Source* Veit, Wilber & Belongie 2016, arXiv:1605.06431 (layers left out); Morcos et al. 2018 (means in their place).
    """

    version = 3

    examples: int = knob(128, "So many of the live examples.", low=2, high=100_000)
    layers: int = knob(40, "So many layers at most, spread over the network.", low=1, high=400)

    def fits(self, scene: Scene) -> str | None:
        """A loss can be measured, and there are layers and examples."""
        return scene.missing or unmeasured(scene) or untriable(scene)

    def cost(self, scene: Scene) -> Cost:
        """Two passes an example and layer."""
        return Cost(2 * len(spread(scene, self.layers)) * min(self.examples, len(scene.live)))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """Layer by layer."""
        layers = spread(scene, self.layers)
        chosen = np.arange(min(self.examples, len(scene.live)))
        base, answers = losses(scene, chosen)
        rightly = right(scene, chosen, answers)
        told = {name: np.full(len(layers), np.nan) for name in ARRAYS}
        (share, count), model = weights(scene, chosen), duplicate(scene.model)
        without = scene.with_model(model)
        untried, unpassed = dict[str, str](), dict[str, str]()
        loss = _mean(base, share)
        value = {"layers": [one.path for one in layers], "loss": loss, **told}
        # A rise that another order of summing would make is none; the losses of classes are differences of numbers about 1.
        least = rounding(max(abs(loss), float(scene.task in (*CLASSES, "multi_label"))))

        def measured(name: str, k: int, found: tuple[np.ndarray, Tensor]) -> None:
            rise = _mean(found[0] - base, share)
            told[name][k] = 0.0 if abs(rise) <= least else rise
            told[f"{name}_changed"][k] = _changed(scene, answers, found[1])
            told[f"{name}_right"][k] = _mean(rightly - right(scene, chosen, found[1]), count)

        for k, one in enumerate(layers):
            try:
                if one.reason:
                    raise NotApplicable(one.reason)
                with MeanHold(without, one.path, chosen, picked=not one.calls):
                    measured("held", k, losses(without, chosen))
            except NotApplicable as error:
                untried[one.path] = str(error)
            with PassThrough(model, one.path) as passing:
                try:
                    if untried.get(one.path) != SILENT:
                        found = losses(without, chosen)
                        if passing.called:
                            measured("passed", k, found)
                            untried.pop(one.path, None)
                except Misfit as error:
                    unpassed[one.path] = str(error)
                except (DioramaError, RuntimeError, TypeError, ValueError, IndexError, AttributeError):
                    # What comes after does not take what went in.
                    if scene.cancel is not None:
                        scene.cancel()
                    unpassed[one.path] = FAILED
            now = {**value, "untried": dict(untried), "unpassed": dict(unpassed), **{name: each.copy() for name, each in told.items()}}
            yield Stage(now, k + 1.0, float(len(layers)), f"{k + 1} of {len(layers)} layers left out")

    def check(self, scene: Scene, value: Plain) -> None:
        """Numbers for each layer."""
        names = [one.path for one in spread(scene, self.layers)]
        if not isinstance(value, dict) or set(value) != {"layers", "loss", "untried", "unpassed", *ARRAYS} or value["layers"] != names:
            raise ValueError("layers and numbers are wanted")
        if type(value["loss"]) is not float or not all(isinstance(value[name], dict) for name in ("untried", "unpassed")):
            raise ValueError("the loss, and what was not tried, are wanted")
        for name in ARRAYS:
            if not isinstance(value[name], np.ndarray) or value[name].dtype != np.float64 or value[name].shape != (len(names),):
                raise ValueError(f"{name} of another shape")


@dataclasses.dataclass(frozen=True)
class TriedModule:
    """A module that is left out and held: a layer that learns, or a block of several."""

    path: str
    calls: tuple[str, ...]
    """The names of its calls, where each answers once for each example."""
    reason: str = ""
    """Why its rows have no mean over examples, to be read behind its name; empty where they have."""


def tried(scene: Scene) -> list[TriedModule]:
    """The modules that learn, but for those that only rescale, and the blocks of several of them, in their order; behind them those that
    no example of the survey ran."""
    if scene.missing is not None or scene.function or not scene.kinds:
        return []
    table = scene.layers
    own = set(learning(table))
    inside = Counter(path for name in own for path in _above(name))
    several = {path for path, count in inside.items() if 1 < count < len(own)}
    parted = {one.path for one in table.leaves if one.part}
    found = []
    for one in table:
        if one.call == 1 and one.path and not one.part and one.path in own | several | parted:
            calls = [each for each in table if each.path == one.path and not each.part]
            each = all(call.each and call.shape for call in calls)
            named = tuple(call.name for call in calls) if each else ()
            found.append(TriedModule(one.path, named, one.reason if one.reason == company.MERGED else ""))
    return found + [TriedModule(path, ()) for path in uncalled(table, scene.model)]


def _above(path: str) -> list[str]:
    """The paths of the modules that hold a module."""
    parts = path.split(".")
    return [".".join(parts[:k]) for k in range(1, len(parts))]


def spread(scene: Scene, most: int) -> list[TriedModule]:
    """At most so many of the modules that are tried, at even distances."""
    return _spread(tried(scene), most)


def untriable(scene: Scene) -> str | None:
    """Why no layer can be left out or held; None where one can."""
    if not tried(scene):
        if scene.layers.names == ("",):
            return "it tries a network without each of its layers, and this one is a single layer"
        return "no layer of the network holds weights of its own"
    return ALONE if len(scene.live) < 2 else None


def chosen_layers(scene: Scene, most: int) -> list[Layer]:
    """Of these the layers that answer once for each example, by their first call; of more than so many some at even distances."""
    if scene.missing is not None:
        return []
    return _spread([scene.layers[one.calls[0]] for one in tried(scene) if one.calls], most)


def _spread(found: list[Each], most: int) -> list[Each]:
    return found if len(found) <= most else [found[k] for k in sorted({round(k) for k in np.linspace(0, len(found) - 1, most)})]


def _changed(scene: Scene, before: Tensor, after: Tensor) -> float:
    if scene.task in ("regression", "reconstruction"):
        return float("nan")
    changed = before != after
    # What had no answer, as its scores are no numbers, has none that changes.
    answered, places = before >= 0, scene.answers().places
    if places is not None and places[: len(before)].shape == answered.shape:
        answered &= places[: len(before)].to(answered.device)  # what is said at padding is no answer
    return float((changed[answered] if scene.task in CLASSES else changed).double().mean())


def _mean(values: np.ndarray, share: np.ndarray) -> float:
    good = np.isfinite(values) & (share > 0)
    return float(np.average(values[good], weights=share[good])) if good.any() else float("nan")
