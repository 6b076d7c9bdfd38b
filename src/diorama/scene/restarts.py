"""The states from which a long text is read on, so that a stretch of it is looked into without reading all that stands before it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..data.kinds import Tokens
from ..data.nesting import Nested
from ..model.capture import Capture
from ..model.layers import Layer
from ..model.recurrent import CannotCarry, Carry, States
from ..model.unwrap import fed
from .scene import Scene
from .states import bare, parts, stepped

APART = 256
"""A state is kept at each place that is a multiple of this."""
LONG = 4 * APART
"""Shorter texts are read whole."""
_SAME = 1e-4


class Restarts:
    """What all recurrent layers of a scene held at every 256th place of one text, as far as it was read.

    *Error* a text is read so only where two stretches, one after the other, hold what one pass over both holds, to 1e-4: not where a
    layer reads backward, or looks at places to both sides.
    *Cost* one pass over the text up to the place that is asked for, in stretches of 256 places; a stretch of it then costs itself and
    at most 256 places more. Kept are two vectors a layer and stretch.
    """

    def __init__(self, name: str, x: Tensor) -> None:
        self._name, self._x, self._kept = name, x, [dict[str, tuple[Tensor, ...]]()]
        self.nbytes = x.nbytes

    @classmethod
    def of(cls, scene: Scene, x: Nested) -> Restarts | None:
        """Those of a text; None for one that is short, or that cannot be read on from its middle."""
        if not isinstance(scene.kind, Tokens) or not isinstance(x, Tensor) or x.ndim != 2 or len(x) != 1 or x.shape[1] <= LONG or scene.edits:
            return None
        digest = hashlib.blake2b(x.detach().cpu().contiguous().numpy().tobytes(), digest_size=8).hexdigest()
        name = f"restarts/{digest}"
        made: Restarts = scene.once(name, lambda: cls(name, x))
        if not scene.once("restarts/hold", lambda: made._hold(scene)):
            return None
        return made

    def read(self, scene: Scene, place: int) -> Iterator[int]:
        """Read on up to a place; yields how far it is."""
        if len(self._kept) > place // APART:
            return
        while len(self._kept) <= place // APART:
            start = APART * (len(self._kept) - 1)
            carry = self._pass(scene, start, start + APART, (), opened=False)[0]
            kept = {name: tuple(part.clone() for part in own) for name, own in carry.ends.items()}
            self._kept.append(kept)
            self.nbytes += sum(part.nbytes for own in kept.values() for part in own)
            yield start + APART
        scene.memory.put(self._name, self)  # it has grown

    @property
    def total(self) -> int:
        """How many places the text has."""
        return int(self._x.shape[1])

    def states(self, scene: Scene, layer: str, start: int, stop: int) -> States:
        """Gates and states of a layer over a stretch, as :func:`~diorama.scene.states.states` gives them of a whole text."""
        for _ in self.read(scene, start):
            pass
        first = start // APART
        look = self._pass(scene, first * APART, stop, (), opened=True)[1]
        found = stepped(look.gates, parts(scene, layer), layer, 1)
        return found.mapped(lambda value: value[:, start - first * APART :])

    def outputs(self, scene: Scene, layer: Layer, start: int, stop: int) -> Tensor:
        """What the layer itself says over a stretch, (n, steps, units), by torch's own kernel."""
        first = start // APART
        look = self._pass(scene, first * APART, stop, (layer.name,), opened=False)[1]
        found: Tensor = look[layer.name][:, start - first * APART :]
        return found

    def _pass(self, scene: Scene, start: int, stop: int, keep: Iterable[str], *, opened: bool) -> tuple[Carry, Capture]:
        """A pass over a stretch that begins at a kept state."""
        carry = Carry(self._kept[start // APART], opened)
        with Capture(scene.model, keep=keep, cancel=scene.cancel, gates=carry) as look, torch.no_grad():
            look(fed(scene.model, self._x[:, start:stop]))
        return carry, look

    def _hold(self, scene: Scene) -> bool:
        """Whether stretches hold what one pass over them holds."""
        try:
            first, whole = (self._pass(scene, 0, count * APART, (), opened=True) for count in (1, 2))
            self._kept[1:] = [dict(first[0].ends)]
            second = self._pass(scene, APART, 2 * APART, (), opened=True)
        except CannotCarry:
            return False
        finally:
            del self._kept[1:]
        return _alike(_outputs(whole[1]), _outputs(first[1]), _outputs(second[1]))


def _outputs(look: Capture) -> Mapping[str, Any]:
    joined: dict[str, list[Tensor]] = {}
    for name, states in look.gates.items():
        joined.setdefault(bare(name), []).append(states["h"])
    return {name: torch.cat(own, 1) for name, own in joined.items()}


def _alike(whole: Mapping[str, Tensor], first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    if not whole or set(whole) != set(first) or set(whole) != set(second):
        return False
    for name, value in whole.items():
        both = torch.cat([first[name], second[name]], 1)
        if both.shape != value.shape or not torch.allclose(both, value, atol=_SAME, rtol=_SAME, equal_nan=True):
            return False
    return True
