"""The residual stream of a scene's model, and what the model makes of it at any layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..core.errors import NotApplicable
from ..data.kinds import Table
from ..data.nesting import Nested
from ..model.points import points
from ..model.stream import Stream, stream
from ..model.tail import Tail

if TYPE_CHECKING:
    from ..scene import Scene

NONE = (
    "the model has no residual stream that can be followed: blocks whose answers are added to what they were given, one after "
    "another; look at its layers with activations"
)


def residual_stream(scene: Scene, x: Nested | None = None) -> Stream:
    """The residual stream of a scene's model. *Raises* NotApplicable where there is none that holds anything at two places."""
    found = stream(points(scene.model, x if x is not None else scene.network.few()))
    if found is None or len(found.points) < 2:
        raise NotApplicable(NONE)
    # What stands for the columns of a table is no word's embedding, also where a category is looked up.
    columns = bool(scene.kinds) and all(isinstance(kind, Table) for kind in scene.kinds.values())
    return dataclasses.replace(found, first="the beginning") if columns and found.first == "embedding" else found


def without_stream(scene: Scene, steps: bool = False) -> str | None:
    """Why the residual stream of a scene cannot be looked at; None where it can. ``steps``: it is wanted step by step."""
    if scene.missing is not None:
        return scene.missing
    if scene.function:
        return "it looks inside a model, and this one is a plain function"
    try:
        found = residual_stream(scene)
    except NotApplicable as error:
        return str(error)
    if steps and len(found.shape) != 2:
        return "it wants a residual stream with a row of numbers for each position, and this one holds maps"
    return None


def tail_of(scene: Scene, x: Nested, line: Stream) -> Tail:
    """What the model makes of the end of its residual stream."""
    return Tail(scene.model, x, line.points[-1], scene.reading.scores, scene.cancel)


def held(scene: Scene, x: Nested, line: Stream) -> list[Tensor]:
    """What the stream holds at each of its points, each (n, …)."""
    kept = scene.kept(x, line.points)
    return [kept[point] for point in line.points]


def by_position(scores: Tensor) -> Tensor:
    """Scores (n, positions, vocabulary); one position where an example has one answer."""
    if scores.ndim == 1:
        return scores[:, None, None]
    return scores[:, None] if scores.ndim == 2 else scores.flatten(1, -2) if scores.ndim > 3 else scores


def log_chances(scene: Scene) -> Callable[[Tensor], Tensor]:
    """How scores of the model become logarithms of probabilities. *Raises* NotApplicable where they are plain numbers."""
    form = scene.reading.form
    if scene.task not in ("classification", "next_token"):
        raise NotApplicable("it compares probabilities of classes or tokens, and the model answers with plain numbers; say task=")

    def told(scores: Tensor) -> Tensor:
        scores = by_position(scores).float()
        if form == "probabilities":
            return scores.clamp_min(1e-30).log()
        if scores.shape[-1] == 1:
            return torch.cat([-scores, scores], -1).div(2).log_softmax(-1) if scene.task == "classification" else scores
        return scores.log_softmax(-1)

    return told


def divergence(final: Tensor, other: Tensor) -> Tensor:
    """KL(final ‖ other) of logarithms of probabilities, for each position, in nats."""
    there = final.exp()
    terms: Any = torch.where(there > 0, there * (final - other), torch.zeros_like(final))
    found: Tensor = terms.sum(-1)
    return found
