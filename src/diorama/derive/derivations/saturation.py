"""How often the gates of a recurrent layer are shut or wide open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.knobs import build, knob
from ...methods.cost import Cost
from ...model.recurrent_kernels import States
from ...scene import Scene
from ...scene.input import worded
from ...scene.layer_text import mirrored
from ...scene.states import bare, gates, parts
from ..derivation import Derivation, Plain, Stage

AT_ONCE = 32
"""So many examples are read at a time."""


class SaturationDerivation(Derivation):
    """How often each gate of a recurrent layer is left-saturated (below 0.1) and right-saturated (above 0.9).

    *Meaning* a forget gate that is right-saturated always is a cell that never forgets; one that is left-saturated always
    keeps nothing from place to place; of an update gate of a GRU the same holds.
    *Shapes* ``gates`` their letters; ``left`` and ``right`` (gates, cells), shares of all places of the live examples, padding left out; ``steps``
    how many there were. Places behind the ends of packed sequences are not counted.
    *Cost* one forward pass of the live examples, and as much again for the gates; nothing is kept a place.
    *Source* Karpathy, Johnson & Fei-Fei 2015, arXiv:1506.02078, figure 2.
    """

    layer: str = knob("", "The recurrent layer, or a cell that a loop calls; that of the first module when left open.", kind="layer")
    version = 3

    low: float = knob(0.1, "A gate below this is left-saturated.", low=0.0, high=0.5)
    high: float = knob(0.9, "A gate above this is right-saturated.", low=0.5, high=1.0)

    @classmethod
    def asked(cls, scene: Scene, options: Mapping[str, Any]) -> Derivation:
        """A layer that is left open is the first that has gates."""
        made: Derivation = build(cls, options)
        if not options.get("layer") and scene.missing is None and len(scene.layers.stepwise):
            made = build(cls, {**options, "layer": parts(scene, scene.layers.stepwise[0].path)[0].name})
        return made

    def fits(self, scene: Scene) -> str | None:
        """It needs a layer with gates."""
        if scene.missing is None:
            if not len(scene.layers.stepwise):
                return "it counts the gates of an LSTM or GRU, and the network runs none"
            if any(one.kind.startswith("RNN") for one in parts(scene, self.layer)):
                return f"{self.layer} is a plain RNN, which has no gates; use the view cells"
        return scene.missing

    def cost(self, scene: Scene) -> Cost:
        """Two passes an example."""
        return Cost(2 * len(scene.live))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The counts so far."""
        own = parts(scene, self.layer)
        calls = {one.name: sum(bare(each.name) == one.name for each in scene.layers) for one in own}
        counts = Counts([one.name for one in own], self.low, self.high, calls, [one.name for one in own if mirrored(scene, one.name)])
        if begun is not None:
            counts.resume(begun)
        total = len(scene.live)
        while True:
            if part := list(range(counts.examples, min(counts.examples + AT_ONCE, total))):
                x = scene.live.batch(part, scene.device)
                counts.words, counts.turn = worded(scene.kind, x), {}
                gates(scene, x, counts)
                counts.examples += len(part)
            yield Stage(counts.shares(), counts.examples, total, "gates counted", state=counts.plain)
            if counts.examples >= total:
                return

    def check(self, scene: Scene, value: Plain) -> None:
        """Shares of each gate and cell."""
        if set(value) != {"gates", "left", "right", "steps"} or value["gates"] not in (["i", "f", "o"], ["r", "z"]):
            raise ValueError("the gates by letter, and their shares are wanted")
        if not isinstance(value["steps"], int) or isinstance(value["steps"], bool):
            raise ValueError("a number of places is wanted")
        for name in ("left", "right"):
            array = value[name]
            good = isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind == "f" and array.shape == value["left"].shape
            if not good or len(array) != len(value["gates"]) or not ((array >= 0) & (array <= 1)).all():
                raise ValueError(f"{name} as (gates, cells) is wanted")


class Counts:
    """How often the gates of some layers, side by side, were below and above two values."""

    def __init__(
        self, names: list[str], low: float, high: float, calls: Mapping[str, int] | None = None, turned: Sequence[str] = (),
    ) -> None:
        self.names, self.low, self.high, self.calls, self.turned = names, low, high, calls or {}, turned
        self.turn: dict[str, int] = {}
        """How often a layer of a loop, with so many ``calls`` in all, has been called for the batch that is counted."""
        self.found: dict[str, dict[str, Tensor]] = {}
        self.steps: dict[str, int] = {}
        self.examples = 0
        self.words: Tensor | None = None
        """Which places of the batch that is counted hold words (n, places), not padding; None where all count."""

    def __call__(self, name: str, states: States) -> None:
        """Count some places of a layer; a loop calls it once a place, under a name with its turn."""
        name = bare(name)
        if name not in self.names:
            return
        kept = self.found.setdefault(name, {})
        words = self._words(name, states.mask)
        told = words is not None and words.shape == states.mask.shape and not bool(words.all())
        mask = states.mask & words.to(states.mask.device) if told and words is not None else states.mask
        for letter in states:
            if letter not in "iforz":
                continue
            # In the order in which they lie in memory, step by step: another one would be a copy.
            value = states[letter].transpose(0, 1).flatten(0, 1) if states.running is None else states[letter][states.running]
            value = states[letter][mask] if told else value
            for side, counted in (("left", value < self.low), ("right", value > self.high)):
                key = f"{side} {letter}"
                count = _true(counted).cpu()
                kept[key] = kept[key] + count if key in kept else count
        self.steps[name] = self.steps.get(name, 0) + int(mask.sum())

    def _words(self, name: str, mask: Tensor) -> Tensor | None:
        """Which of the places that a layer is called for hold words; a loop calls it once for each place, some from the text's end."""
        words = self.words
        if words is None or words.shape[0] != mask.shape[0]:
            return None
        words = words.flip(1) if name in self.turned else words
        turn = self.turn.get(name, 0)
        self.turn[name] = turn + 1
        return words[:, turn : turn + 1] if mask.shape[1] == 1 and self.calls.get(name) == words.shape[1] else words

    def shares(self) -> dict[str, Any]:
        """What the derivation yields."""
        letters = sorted({key[-1] for key in self.found[self.names[0]]}, key="ifrzo".index)
        sides = {
            side: torch.stack([
                torch.cat([self.found[name][f"{side} {letter}"] / max(1, self.steps[name]) for name in self.names]) for letter in letters
            ]).numpy()
            for side in ("left", "right")
        }
        return {"gates": letters, **sides, "steps": self.steps[self.names[0]]}

    def plain(self) -> Plain:
        """All that is needed to go on."""
        found = {name: {key: count.numpy().copy() for key, count in kept.items()} for name, kept in self.found.items()}
        return {"found": found, "steps": dict(self.steps), "examples": self.examples}

    def resume(self, told: Mapping[str, Any]) -> None:
        """Go on from what :meth:`plain` told."""
        self.found = {name: {key: torch.from_numpy(count.copy()) for key, count in kept.items()} for name, kept in told["found"].items()}
        self.steps, self.examples = dict(told["steps"]), told["examples"]


def _true(found: Tensor) -> Tensor:
    """In how many rows each column is true, (columns,): bytes are summed in blocks that no byte overflows, which is far sooner done."""
    sums = [block.sum(0, dtype=torch.uint8) for block in found.view(torch.uint8).split(255)]
    return torch.stack(sums).sum(0) if sums else torch.zeros(found.shape[1], dtype=torch.int64, device=found.device)
