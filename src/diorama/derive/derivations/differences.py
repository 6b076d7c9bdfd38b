"""Where two networks differ: in which answers, in which layers, and in whose weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ...core.errors import DioramaError, NotApplicable
from ...core.knobs import build, knob
from ...methods.cost import Cost
from ...model.layers import Layer
from ...model.outputs import CLASSES
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage
from .needed import chosen_layers
from .similarity import FEWEST, HsicSums, batches, looked

ARRAYS = ("alike", "weights", "swapped", "answers")


class DifferencesDerivation(Derivation):
    """Where two networks differ: example by example, and layer by layer.

    *Meaning* ``answers`` is how far the two answers to an example lie apart: half the sum of the differences of probabilities (0 to 1),
    else the distance of the numbers. For each layer that both have by name: ``alike`` how alike both place the examples (CKA, 1: the same);
    ``weights`` how far its weights lie apart, as a share of their own length; ``swapped`` how far this network's answers move when the
    layer has the other's weights: a layer that moves them as far as the other network does is where they differ.
    NaN where a layer has no weights of one shape in both.
    *Shapes* answers (examples,); one number a layer, by ``layers``.
    *Cost* a pass an example in each network, and one for each layer.
    *Source* Kornblith et al. 2019 (CKA); Zhang, Bengio & Singer 2019, arXiv:1902.01996 (weights put back layer by layer).
    """

    layers: int = knob(40, "So many layers at most, spread over the network.", low=1, high=400)
    beside: Scene | None = dataclasses.field(default=None, compare=False, repr=False)
    """The other network."""

    @classmethod
    def asked(cls, scene: Scene, options: Mapping[str, Any]) -> Self:
        """The other network: the one beside, else the run's own first snapshot."""
        made: Self = build(cls, options)
        return dataclasses.replace(made, beside=beside(scene))

    def fits(self, scene: Scene) -> str | None:
        """Two networks that can be looked into."""
        return scene.missing or uncompared(scene)

    def cost(self, scene: Scene) -> Cost:
        """A pass an example and layer."""
        return Cost((2 + self.layers) * len(scene.live))

    def material(self, scene: Scene) -> dict[str, Any]:
        """The other network's weights."""
        assert self.beside is not None
        return {"other": self.beside.fingerprint, "edits": [edit.named() for edit in self.beside.edits]}

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The answers, then layer by layer."""
        assert self.beside is not None
        other = self.beside.alone(scene.cancel).on(scene.live)
        layers = both_have(scene, other, self.layers)
        mine = _answered(scene)
        try:
            theirs = _answered(other)
        except (DioramaError, RuntimeError) as error:
            if scene.cancel is not None:
                scene.cancel()
            reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
            raise NotApplicable(f"the other network does not take these examples ({reason})") from error
        if mine.shape != theirs.shape:
            raise NotApplicable(
                f"the two networks answer with {tuple(mine.shape[1:])} and {tuple(theirs.shape[1:])} numbers, which cannot be compared; "
                "use clusters or matrix"
            )
        value: dict[str, Any] = {"layers": [one.name for one in layers], "answers": _apart(scene, mine, theirs)}
        told = {name: np.full(len(layers), np.nan) for name in ("alike", "weights", "swapped")}
        told["alike"] = _alike(scene, other, [one.name for one in layers])
        yield Stage({**value, **{name: each.copy() for name, each in told.items()}}, 1.0, len(layers) + 1.0, "answers, and how alike layers are")
        own, others = scene.model.state_dict(), other.model.state_dict()
        for k, one in enumerate(layers):
            names = _weights(one, own, others)
            if names:
                told["weights"][k] = _far(own, others, names)
                moved = _answered(scene.with_weights({name: others[name] for name in names}))
                told["swapped"][k] = float(np.nanmean(_apart(scene, mine, moved)))
            yield Stage(
                {**value, **{name: each.copy() for name, each in told.items()}}, k + 2.0, len(layers) + 1.0,
                f"the other's weights in {k + 1} of {len(layers)} layers",
            )

    def check(self, scene: Scene, value: Plain) -> None:
        """Numbers for each layer and example."""
        assert self.beside is not None
        if not isinstance(value, dict) or set(value) != {"layers", *ARRAYS}:
            raise ValueError("layers and numbers are wanted")
        if value["layers"] != [one.name for one in both_have(scene, self.beside, self.layers)]:
            raise ValueError("the layers that both have are wanted")
        for name in ARRAYS:
            count = len(scene.live) if name == "answers" else len(value["layers"])
            if not isinstance(value[name], np.ndarray) or value[name].dtype != np.float64 or value[name].shape != (count,):
                raise ValueError(f"{name} of another shape")


def beside(scene: Scene) -> Scene | None:
    """The network to compare with: the one beside, else this run's at its first snapshot."""
    if scene.other is not None:
        return scene.other
    return scene.at(scene.steps[0]) if scene.run is not None and len(scene.steps) > 1 else None


def uncompared(scene: Scene) -> str | None:
    """Why there are no two networks to compare; None where there are."""
    if not scene.kinds:
        return f"it compares answers, and {scene.network.without}"
    other = beside(scene)
    if other is None:
        return "it compares two networks: give the other with other=, or open a run with several snapshots"
    if other.missing is not None:
        return other.missing
    return "it looks inside two networks, and one of them is a plain function; use compare" if scene.function or other.function else None


def both_have(scene: Scene, other: Scene, most: int) -> list[Layer]:
    """The layers that both networks have by name, blocks left out, of more than so many some at even distances."""
    found = [one for one in chosen_layers(scene, 10_000) if one.leaf and other.layers.has(one.name)]
    return found if len(found) <= most else [found[k] for k in sorted({round(k) for k in np.linspace(0, len(found) - 1, most)})]


def _answered(scene: Scene) -> Tensor:
    """Probabilities where there are some, else plain numbers, (n, …)."""
    scores = scene.scores()
    told = scene.reading.probabilities(scores) if scene.task in (*CLASSES, "multi_label") else scores
    return told.double()


def _apart(scene: Scene, one: Tensor, other: Tensor) -> np.ndarray:
    """How far two answers to each example lie apart: total variation of probabilities, the mean over places or labels; else the distance."""
    gap = (one - other).abs()
    if scene.task in CLASSES:
        # A single probability stands for two, which differ by as much.
        per = gap.sum(-1) / 2 if gap.shape[-1] > 1 else gap[..., 0]
        found = per.reshape(len(per), -1).mean(1)
    elif scene.task == "multi_label":
        found = gap.reshape(len(gap), -1).mean(1)
    else:
        found = gap.reshape(len(gap), -1).square().sum(1).sqrt()
    return np.asarray(found.numpy(), np.float64)


def _alike(scene: Scene, other: Scene, names: list[str]) -> np.ndarray:
    """CKA of each layer with the one of its name."""
    if len(scene.live) < FEWEST or not names:
        return np.full(len(names), np.nan)
    sums = HsicSums()
    for _, x in batches(scene, names, 0):
        sums.add(looked(scene, x, names), looked(other, x, names))
    found: np.ndarray = np.asarray(sums.paired(), np.float64)
    return found


def _weights(layer: Layer, own: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> list[str]:
    """The layer's numbers by name, where both networks have them in one shape; else none."""
    names = [name for name in own if name.startswith(f"{layer.path}." if layer.path else "")]
    same = [name for name in names if name in others and others[name].shape == own[name].shape]
    return names if len(same) == len(names) else []


def _far(own: Mapping[str, Tensor], others: Mapping[str, Tensor], names: list[str]) -> float:
    """The distance of a layer's weights as a share of their own length."""
    held = [name for name in names if not own[name].is_meta and not others[name].is_meta]
    pairs = [(_plain(own[name]), _plain(others[name])) for name in held if own[name].is_floating_point() or own[name].is_complex()]
    if not pairs:
        return float("nan")
    mine, theirs = (torch.cat([pair[k] for pair in pairs]) for k in (0, 1))
    return float((mine - theirs).norm() / mine.norm().clamp_min(1e-12))


def _plain(tensor: Tensor) -> Tensor:
    found = tensor.detach().cpu()
    found = found if found.layout is torch.strided else found.to_dense()
    return (torch.view_as_real(found) if found.is_complex() else found).double().flatten()
