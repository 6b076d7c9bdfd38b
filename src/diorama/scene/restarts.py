"""The states from which a long text is read on, so that a stretch of it is looked into without reading all that stands before it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.kinds import Tokens
from ..data.nesting import Nested
from ..model.capture import Capture
from ..model.layers import Layer
from ..model.plain_module import fed
from ..model.recurrent_kernels import CannotCarry, Carry, States
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

    NOTE = "places read, up to those shown; they are kept"

    def __init__(self, x: Tensor) -> None:
        self._x, self._kept = x, [dict[str, tuple[Tensor, ...]]()]
        self._known: bool | None = None
        self.nbytes = x.nbytes

    @classmethod
    def of(cls, scene: Scene, x: Nested) -> Restarts | None:
        """Those of a text, as far as it was read in this process; None for a short one, or where nothing can be read on."""
        if cls.unfit(scene, x) is not None or not isinstance(x, Tensor) or x.shape[1] <= LONG:
            return None
        return cls.kept(scene, x)

    @classmethod
    def unfit(cls, scene: Scene, x: Nested) -> str | None:
        """Why a text is read whole; None where it may be read on from its middle."""
        if not isinstance(scene.kind, Tokens) or not isinstance(x, Tensor) or x.ndim != 2 or len(x) != 1:
            return "it reads one text, and the input is none"
        return "edits may name places, so that the text is read whole" if scene.edits else None

    @classmethod
    def kept(cls, scene: Scene, x: Nested) -> Restarts:
        """Those of a text: one object as long as the scene remembers it."""
        assert isinstance(x, Tensor)
        name = _name(x)
        made: Restarts = scene.once(name, lambda: cls(x))
        return made

    def holds(self, scene: Scene) -> bool:
        """Whether the network may be read on from the middle of a text: tried once, or told by whoever tried it before."""
        if self._known is None:
            self._known = bool(scene.once("restarts/hold", lambda: self._hold(scene)))
        return self._known

    def plain(self) -> dict[str, Any]:
        """All that is kept, as arrays."""
        if not self._known:
            return {"holds": False, "states": {}}
        states: dict[str, list[np.ndarray]] = {}
        for name, own in self._kept[1].items() if len(self._kept) > 1 else ():
            states[name] = [torch.stack([one[name][part] for one in self._kept[1:]]).cpu().numpy() for part in range(len(own))]
        return {"holds": True, "states": states}

    def take(self, value: Mapping[str, Any]) -> None:
        """Read on from what was kept before, where that is further than this has come."""
        self._known = bool(value["holds"])
        states = {name: [torch.tensor(part, device=self._x.device) for part in own] for name, own in value["states"].items()}
        count = 1 + min((len(part) for own in states.values() for part in own), default=0)
        for k in range(len(self._kept) - 1, count - 1):
            self._keep({name: tuple(part[k] for part in own) for name, own in states.items()})

    def forms(self, scene: Scene) -> dict[str, list[tuple[tuple[int, ...], Any]]]:
        """The shapes and types that :meth:`plain` has once the text is read, by module."""
        count = (self.total - 1) // APART
        if not count:
            return {}
        ends = self._pass(scene, 0, 1, (), opened=False)[0].ends
        return {
            name: [((count, *part.shape), part[None].cpu().numpy().dtype) for part in own] for name, own in ends.items()
        }

    def read(self, scene: Scene, place: int) -> Iterator[int]:
        """Read on up to a place; yields how far it is."""
        if self.reached > place:
            return
        while self.reached <= place:
            start = APART * (len(self._kept) - 1)
            carry = self._pass(scene, start, start + APART, (), opened=False)[0]
            self._keep({name: tuple(part.clone() for part in own) for name, own in carry.ends.items()})
            yield start + APART
        scene.memory.put(_name(self._x), self)  # it has grown

    def _keep(self, states: dict[str, tuple[Tensor, ...]]) -> None:
        self._kept.append(states)
        self.nbytes += sum(part.nbytes for own in states.values() for part in own)

    @property
    def reached(self) -> int:
        """Before this place everything is looked into at once."""
        return APART * len(self._kept)

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


def _name(x: Tensor) -> str:
    return f"restarts/{hashlib.blake2b(x.detach().cpu().contiguous().numpy().tobytes(), digest_size=8).hexdigest()}"


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
