"""Where two networks differ: in which answers, in which layers, and in whose weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
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
from ...scene.rows import rowed
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
    NaN where a layer has no weights of one shape in both. ``layers`` counts those that only rescale, whose running means are weights
    here, and modules with numbers of their own that no layer holds, such as places; ``only`` names what one of the two has alone.
    *Shapes* answers (examples,); one number a layer, by ``layers``.
    *Cost* a pass an example in each network, and one for each layer.
    *Source* Kornblith et al. 2019 (CKA); Zhang, Bengio & Singer 2019, arXiv:1902.01996 (weights put back layer by layer).
    """

    version = 2

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
        other = self.beside.alone(scene.cancel).on(scene.live).first(len(scene.live))
        own, others = scene.model.state_dict(), other.model.state_dict()
        parts = both_have(scene, other, self.layers)
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
        value: dict[str, Any] = {
            "layers": [part.name for part in parts], "answers": _apart(scene, mine, theirs), "only": _alone(own, others),
        }
        told = {name: np.full(len(parts), np.nan) for name in ("alike", "weights", "swapped")}
        looked_at = [k for k, part in enumerate(parts) if part.layer is not None and not part.layer.normalises]
        told["alike"][looked_at] = _alike(scene, other, [parts[k].name for k in looked_at])
        yield Stage({**value, **{name: each.copy() for name, each in told.items()}}, 1.0, len(parts) + 1.0, "answers, and how alike layers are")
        for k, part in enumerate(parts):
            names = [name for name in part.weights if name in others and others[name].shape == own[name].shape]
            if names and len(names) == len(part.weights):
                told["weights"][k] = _far(own, others, names)
                if _same(part, own, others):
                    told["swapped"][k] = 0.0
                else:
                    moved = _answered(scene.with_weights({name: others[name] for name in names}))
                    apart = _apart(scene, mine, moved)
                    both = np.isfinite(apart)
                    told["swapped"][k] = float(apart[both].mean()) if both.any() else np.nan
            yield Stage(
                {**value, **{name: each.copy() for name, each in told.items()}}, k + 2.0, len(parts) + 1.0,
                f"the other's weights in {k + 1} of {len(parts)} layers",
            )

    def check(self, scene: Scene, value: Plain) -> None:
        """Numbers for each layer and example."""
        assert self.beside is not None
        if not isinstance(value, dict) or set(value) != {"layers", "only", *ARRAYS}:
            raise ValueError("layers and numbers are wanted")
        if not isinstance(value["only"], list) or not all(isinstance(name, str) for name in value["only"]):
            raise ValueError("names of what one of the two has alone are wanted")
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
    if scene.function or other.function:
        return "it looks inside two networks, and one of them is a plain function; use compare"
    theirs = other.classes if other._examples is not None else scene.classes
    if scene.task == other.task == "classification" and scene.classes != theirs and not _numbers(scene.classes) and not _numbers(theirs):
        some = ", ".join(theirs[:4]) + (", …" if len(theirs) > 4 else "")
        return f"the other network has other classes, or in another order ({some}), so that its answers are not of these; use matrix or clusters"
    return None


def _numbers(classes: Sequence[str]) -> bool:
    """Whether classes have no names of their own."""
    return all(name.isdigit() for name in classes)


@dataclasses.dataclass(frozen=True)
class Part:
    """A layer, or a module with numbers of its own, that both networks have by name, and its weights by theirs; the weights may be shared."""

    name: str
    layer: Layer | None
    weights: tuple[str, ...]


def both_have(scene: Scene, other: Scene, most: int) -> list[Part]:
    """What both networks have by name, blocks left out, in the order of the layers.

    Each number of the network that both have belongs to a part: to its layer, else to the module that holds it. Of too many
    those stay whose numbers differ, or of these some at even distances.
    """
    own, others = scene.model.state_dict(), other.model.state_dict()
    inside = {one.path: tuple(name for name in own if name.startswith(f"{one.path}." if one.path else "")) for one in scene.layers.leaves}
    layers = [one for one in chosen_layers(scene, 10_000) if one.leaf and other.layers.has(one.name)]
    layers += [one for one in scene.layers.leaves if one.normalises and one.call == 1 and inside[one.path] and other.layers.has(one.name)]
    parts = [Part(one.name, one, inside[one.path]) for one in sorted(layers, key=lambda layer: layer.order)]
    held = {name for part in parts for name in part.weights}
    rest: dict[str, list[str]] = {}
    for name in own:
        if name not in held and name in others:
            rest.setdefault(name.rpartition(".")[0] or name, []).append(name)
    parts += [Part(name, None, tuple(weights)) for name, weights in rest.items()]
    return _chosen(parts, most, own, others)


def _chosen(parts: list[Part], most: int, own: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> list[Part]:
    if len(parts) <= most:
        return parts
    # What is the same in both explains nothing; it only tells how alike both are there.
    unlike = [k for k, part in enumerate(parts) if not _same(part, own, others)]
    rest = [k for k in range(len(parts)) if k not in set(unlike)]
    kept = _evenly(unlike, most)
    return [parts[k] for k in sorted({*kept, *_evenly(rest, most - len(kept))})]


def _evenly(numbers: list[int], most: int) -> list[int]:
    if len(numbers) <= most:
        return numbers
    return [numbers[k] for k in sorted({round(k) for k in np.linspace(0, len(numbers) - 1, most)})] if most > 0 else []


def _same(part: Part, own: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    """Whether both networks have the same numbers there."""
    return all(
        name in others and not own[name].is_meta and not others[name].is_meta and own[name].shape == others[name].shape
        and torch.equal(own[name].cpu(), others[name].to(own[name].dtype).cpu()) for name in part.weights
    )


def _alone(own: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> list[str]:
    """The modules whose numbers only one of the two has, or in another shape."""
    unlike = [name for name in (*own, *others) if name not in own or name not in others or own[name].shape != others[name].shape]
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name in unlike))


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
    """CKA of each layer with the one of its name; NaN where one of both has no row for each example."""
    found = np.full(len(names), np.nan)
    # Each network may choose its experts by the input, another than the other one does.
    here, there = ({one.name for one in rowed(each, [each.layers[name] for name in names])} for each in (scene, other))
    good = [k for k, name in enumerate(names) if name in here & there]
    if len(scene.live) < FEWEST or not good:
        return found
    sums, asked = HsicSums(), [names[k] for k in good]
    for _, x in batches(scene, asked, 0):
        sums.add(looked(scene, x, asked), looked(other, x, asked))
    found[good] = sums.paired()
    return found


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
