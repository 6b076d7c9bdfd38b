"""Where a network keeps its code, and what it makes of a code that is put there."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.errors import NotApplicable, UsageError
from ...core.selection import Key, spoken, unit_key
from ...data import nesting
from ...data.kinds import Table
from ...model.capture import Capture
from ...model.edits import Edit
from ...model.layers import Layer
from ...model.plain_module import fed
from ...scene import Scene
from ...scene.code_means import code_layer, of_means
from .. import answers

ROUND = 1e-3
"""A layer carries the whole code when nothing that goes round it changes the answers by more than this share."""
MOST = 0.25
"""Where no layer carries all of it, the one that most of the answer goes through is taken, if no more goes round it."""
TRIED = 12
"""So many of the narrowest layers are tried."""
BATCH = 64


def reason(scene: Scene) -> str | None:
    """Why a scene has no code to look into, in a sentence; None when it may have one."""
    found: str | None = scene.keep("latent/reason", lambda: _reason(scene))
    return found


def _reason(scene: Scene) -> str | None:
    examples = scene.examples
    if not isinstance(examples.x, Tensor) or not examples.x.is_floating_point():
        return "it looks into codes of pictures, rows or series, and the inputs are no single tensor of numbers"
    if scene.task in ("classification", "multi_label", "next_token"):
        return "it looks into autoencoders and generators, and this network answers with classes or tokens"
    if generates(scene):
        return None
    answer = tuple(scene.scores(examples.batch([0])).shape[1:])
    if answer != tuple(examples.x.shape[1:]):
        return "it looks into autoencoders and generators, and this network neither answers with its input nor draws from rows"
    return None if _narrow(scene) else "it looks into the narrowest layer, and no layer is narrower than the input"


def generates(scene: Scene) -> bool:
    """Whether the network draws pictures from rows of numbers: then its input is the code."""
    x = scene.examples.x
    return isinstance(x, Tensor) and x.ndim == 2 and isinstance(scene.kind, Table) and answers.picturing(scene) is not None


def _narrow(scene: Scene) -> list[Layer]:
    """Layers narrower than the input, the narrowest first, of equals the last."""
    x = scene.examples.x
    assert isinstance(x, Tensor)
    most = x[0].numel()
    found = [one for one in scene.layers if one.shape and 0 < int(np.prod(one.shape)) < most and not one.part]
    return sorted(found, key=lambda one: (int(np.prod(one.shape)), -one.order))


@dataclasses.dataclass(frozen=True)
class LiveCodes:
    """The codes of the live examples, and the way from a code to the answer.

    ``layer`` is None where the input itself is the code; ``gap`` is the share of an answer that goes round the layer.
    """

    scene: Scene
    layer: Layer | None
    gap: float
    shape: tuple[int, ...]
    codes: Tensor
    """Of the live examples, (n, numbers)."""
    around: int = 0
    """The example that everything beside the code comes from."""

    @classmethod
    def of(cls, scene: Scene, name: str | None, around: int = 0) -> LiveCodes:
        """The code in the named layer, by itself in the narrowest one that carries the answer.

        *Raises* NotApplicable where every narrow layer is gone round.
        """
        layer, gap = scene.once(f"latent/layer/{name}", lambda: _chosen(scene, name))
        whole = scene.once(f"latent/codes/{name}", lambda: _codes(scene, layer))
        return cls(scene, layer, gap, tuple(whole.shape[1:]), whole.flatten(1), around if gap > ROUND else 0)

    @property
    def place(self) -> str:
        """Where the code is, in words."""
        return "the input" if self.layer is None else self.layer.name

    @property
    def count(self) -> int:
        """How many numbers a code has."""
        return int(self.codes.shape[1])

    def code(self, x: Any) -> Tensor:
        """The code of one input, (numbers,)."""
        return _coded(self.scene, self.layer, x)[0].flatten().cpu()

    def name(self, number: int) -> str:
        """What one of the code's numbers is called."""
        kind = self.scene.kind
        if self.layer is None and isinstance(kind, Table):
            return kind.columns[number]
        place = self._place(number)
        return f"{spoken(self.place)}/{place[0]}" + (f" at {', '.join(map(str, place[1]))}" if place[1] else "")

    def key(self, number: int) -> str:
        """The key of the unit that one of the code's numbers is; empty for an input."""
        if self.layer is None:
            return ""
        unit, place = self._place(number)
        return unit_key(self.layer.name, unit, place)

    def _place(self, number: int) -> tuple[int, tuple[int, ...]]:
        where = [int(k) for k in np.unravel_index(number, self.shape)]
        axis = self.layer.unit_axis - 1 if self.layer is not None else 0
        return where[axis], tuple(where[:axis] + where[axis + 1 :])

    def decode(self, codes: Tensor) -> Tensor:
        """What the rest of the network makes of codes (m, numbers): its answers, on the CPU."""
        return torch.cat([self._decoded(codes[k : k + BATCH]) for k in range(0, len(codes), BATCH)])

    def _decoded(self, codes: Tensor) -> Tensor:
        whole = codes.reshape(len(codes), *self.shape)
        if self.layer is None:
            x = self.scene.examples.x
            assert isinstance(x, Tensor)
            return self.scene.look(fed(self.scene.model, whole.to(x.dtype)))[0].cpu()
        return _put(self.scene, self.layer, _repeated(self.scene, [self.around] * len(codes)), whole).cpu()

    def spread(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each of the code's numbers over the live examples."""
        return self.codes.mean(0), self.codes.std(0, correction=0)

    def traversal(self, number: int, steps: Tensor, base: Tensor) -> Tensor:
        """Answers with one of the code's numbers moved to its mean plus so many standard deviations."""
        mean, spread = self.spread()
        codes = base.repeat(len(steps), 1)
        codes[:, number] = mean[number] + steps.to(codes) * spread[number]
        return self.decode(codes)

    def grid(self, pair: tuple[int, int], across: Tensor, up: Tensor, base: Tensor) -> Tensor:
        """Answers over a plane of two of the code's numbers, row after row, the first row the lowest."""
        codes = base.repeat(len(across) * len(up), 1)
        codes[:, pair[0]] = across.repeat(len(up)).to(codes)
        codes[:, pair[1]] = up.repeat_interleave(len(across)).to(codes)
        return self.decode(codes)


def kept(scene: Scene) -> float:
    """The share of the inputs' variance over the live examples that comes back; not a number for a single example."""

    def measure() -> float:
        x = nesting.first(scene.live.x).detach().cpu().double().flatten(1)
        off = (scene.scores().double().flatten(1) - x).square().sum()
        whole = (x - x.mean(0)).square().sum()
        return float(1 - off / whole) if whole > 0 else float("nan")

    return float(scene.once("latent/kept", measure))


def broken(scene: Scene) -> bool:
    """Whether the network's answers are no numbers."""
    return not bool(scene.scores(scene.live.batch([0])).isfinite().all())


def _chosen(scene: Scene, name: str | None) -> tuple[Layer | None, float]:
    """The layer that holds the code, and the share of the answer that goes round it."""
    if name is not None:
        layer = scene.layers[name]
        if not layer.shape or layer.part:
            raise NotApplicable(f"{name} returns no codes that could be changed; choose another layer")
        return layer, _gap(scene, layer)
    if generates(scene):
        return None, 0.0
    if (made := code_layer(scene)) is not None:
        gap = _gap(scene, made)
        return made, gap if np.isfinite(gap) else 0.0
    tried = [(layer, _gap(scene, layer)) for layer in _narrow(scene)[:TRIED]]
    whole = next((found for found in tried if found[1] <= ROUND), None)
    nearest = min(tried, key=lambda found: found[1])
    if whole is not None or nearest[1] <= MOST:
        return whole or nearest
    if broken(scene):
        return tried[0][0], 0.0  # nothing can be measured, and the wreck is shown all the same
    raise NotApplicable(
        "part of the answer goes round every narrow layer (a skip, layers side by side, or codes drawn at random), so there is no code from "
        "which all of it is made; name the layer to look into with layer="
    )


def _gap(scene: Scene, layer: Layer) -> float:
    """How far answers are from those of other examples whose codes were put in, as a share of their distance."""
    count = min(4, len(scene.live))
    own, others = list(range(count)), [*range(1, count), 0]
    x = _repeated(scene, own)
    codes = _coded(scene, layer, _repeated(scene, others))
    with of_means(scene):
        wanted, answer = scene.look(_repeated(scene, others))[0], scene.look(x)[0]
    try:
        got = _put(scene, layer, x, codes)
    except UsageError:
        return float("inf")
    far = float((answer - wanted).double().norm())
    gap = float((got - wanted).double().norm())
    return gap / far if far > 0 and np.isfinite(gap) else 0.0 if gap == 0 else float("inf")


def _codes(scene: Scene, layer: Layer | None) -> Tensor:
    count = len(scene.live)
    found = [_coded(scene, layer, _repeated(scene, list(range(k, min(k + BATCH, count))))) for k in range(0, count, BATCH)]
    return torch.cat([part.float().cpu() for part in found])


def _coded(scene: Scene, layer: Layer | None, x: Any) -> Tensor:
    """Codes as the layer returns them, the example first."""
    if layer is None:
        return nesting.first(x).detach()
    found: Tensor = scene.kept(x, [layer.name])[layer.name]
    return found


def _put(scene: Scene, layer: Layer, x: Any, codes: Tensor) -> Tensor:
    """The answers when codes stand in the layer in place of its own."""
    patch = Edit(Key("layer", layer.name), patch=codes)
    before = tuple(edit for edit in scene.edits if edit.layer != layer.name)
    with of_means(scene), Capture(scene.model, edits=(*before, patch), cancel=scene.cancel) as capture:
        output = capture(x)
    return scene.reading.scores(output).detach()


def _repeated(scene: Scene, indices: list[int]) -> Any:
    return fed(scene.model, nesting.to(scene.examples.batch(indices), scene.device))
