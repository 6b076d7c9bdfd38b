"""What the recurrent layers of a scene hold from step to step: their gates, cells and outputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..core.errors import NotApplicable, not_found
from ..core.selection import without_call
from ..data.nesting import Nested, size
from ..model import kernels
from ..model.layers import Layer
from ..model.plain_module import fed, named_modules
from ..model.recurrent_kernels import States
from .scene import Scene

STATES = ("auto", "output", "memory")
"""What may be asked of a cell: what it says, what it keeps, or by itself the memory of those that have one."""
NO_MEMORY = "{layer} is a {kind}, which has no memory beside its output, cell by cell; use state=output"


def parts(scene: Scene, name: str) -> tuple[Layer, ...]:
    """The recurrent layers that a name means: a part, a cell in a loop, or of a module its last layer, in each direction.

    *Raises* NotFound for a layer that is not there; NotApplicable for one that keeps no states.
    """
    layer = scene.layers[without_call(name)]
    if layer.part or layer.loop:
        return (layer,)
    own = [one for one in scene.layers.recurrent if one.path == layer.path and one.call == 1]
    if not own:
        there = ", ".join(one.name for one in scene.layers.stepwise) or "none here"
        raise NotApplicable(f"{name} is a {layer.kind}, which keeps no states from step to step; layers that do: {there}")
    last = own[-1].part.removesuffix(".reverse")
    return tuple(one for one in own if one.part.removesuffix(".reverse") == last)


def states(scene: Scene, layer: str, x: Nested) -> States:
    """Gates and states of a layer by letter (i, f, g, o, c, h of an LSTM), each (n, steps, cells).

    *Meaning* of a module that reads both ways, the cells that read backward stand behind those that read forward.
    """
    found = kernels.recurrent(scene.model, fed(scene.model, x), edits=scene.edits, cancel=scene.cancel)
    return stepped(found, parts(scene, layer), layer, size(x))


def stepped(found: Mapping[str, States], wanted: Sequence[Layer], layer: str, count: int) -> States:
    """The states of a layer's parts among those of all layers, side by side on the CPU; ``count`` examples were read."""
    if missing := [one.name for one in wanted if one.name not in found]:
        raise not_found("recurrent layer", missing[0], found)
    own = [_steps(found, one) for one in wanted]
    if any(len(one["h"]) != count for one in own):
        raise NotApplicable(f"{layer} does not answer once for each example: it is called with another number of rows")
    if len(own) == 1:
        return own[0].mapped(lambda value: value.detach().cpu())
    joined = {name: torch.cat([one[name] for one in own], -1).detach().cpu() for name in own[0]}
    return States(joined, None if own[0].running is None else own[0].running.cpu())


def hidden(scene: Scene, layer: str, x: Nested) -> Tensor:
    """What a layer says at each step, (n, units, steps) on the CPU: of a cell in a loop its output at each turn.

    *Raises* NotApplicable for a layer that does not answer at each step.
    """
    if scene.layers[layer].loop:
        return states(scene, layer, x)["h"].movedim(1, 2)
    values = scene.activations(layer, x)[layer]
    if values.ndim != 3:
        raise NotApplicable(f"{layer} does not answer at each step; layers that do: {', '.join(told(scene)) or 'none'}")
    return values


def remembers(scene: Scene, layer: str) -> bool:
    """Whether each cell of a layer keeps a memory beside what it says: an LSTM's, where no projection makes fewer outputs of it."""
    one = scene.layers[layer]
    module = named_modules(scene.model).get(one.path)
    return isinstance(module, nn.LSTM | nn.LSTMCell) and not getattr(module, "proj_size", 0) and (one.loop or one.sequence)


def keeps(scene: Scene, layer: str, state: str) -> bool:
    """Whether one of STATES asks for what the cells of a layer keep: auto does so wherever they keep a memory."""
    return state == "memory" or (state == "auto" and remembers(scene, layer))


def memory(scene: Scene, layer: str, x: Nested) -> Tensor:
    """What each cell of a layer keeps at each step, (n, units, steps) on the CPU: tanh of an LSTM's memory.

    *Raises* NotApplicable for a layer that keeps none, or not one for each of its units.
    """
    if not remembers(scene, layer):
        raise NotApplicable(NO_MEMORY.format(layer=layer, kind=scene.layers[layer].kind))
    return states(scene, layer, x)["c"].movedim(1, 2).tanh()


def told(scene: Scene) -> list[str]:
    """The layers that answer at each step, and once for each example."""
    return [one.name for one in scene.layers if one.loop or (one.sequence and one.each)]


def readable(scene: Scene) -> str:
    """The layer whose states say most of a text: the last recurrent one, else the widest inside; empty where there is none."""
    if len(scene.layers.stepwise):
        return parts(scene, scene.layers.stepwise[-1].path)[0].name
    good = told(scene)
    sizes = {getattr(kind, "size", None) for kind in scene.kinds.values()}
    inner = [
        one for one in scene.layers if one.name in good and one.leaf and one.weight is not None
        and not one.kind.startswith("Embedding") and one.units not in sizes
    ]
    # The hidden layer of a transformer's MLP is its widest.
    best = max(inner or [scene.layers[name] for name in good], key=lambda one: one.units, default=None)
    return best.name if best is not None else ""


def bare(name: str) -> str:
    """The recurrent layer that one of several calls of a module or cell belongs to: ``rnn.l0`` for ``rnn#2.l0``."""
    return re.sub(r"#\d+(?=\.l\d|$)", "", name)


def _steps(found: Mapping[str, States], layer: Layer) -> States:
    """The states of a layer; where a loop of the model calls it again and again, of all its calls, one after another."""
    calls = [one for name, one in found.items() if bare(name) == layer.name]
    loop = layer.loop or all(
        after["h"].shape[0] == before["h"].shape[0] and torch.allclose(after.terms["h"][:, 0], before["h"][:, -1], atol=1e-6, rtol=1e-5)
        for before, after in pairwise(calls)
    )
    return States.joined(calls) if loop else calls[0]


def gates(scene: Scene, x: Nested, seen: Callable[[str, States], None]) -> None:
    """The gates of all recurrent layers, some steps at a time, none of which is kept."""
    kernels.gates(scene.model, fed(scene.model, x), seen, edits=scene.edits, cancel=scene.cancel)
