"""What an act on a running training would change at once, computed beside it on a copy of its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..core import registry
from ..core.errors import NotApplicable
from ..core.knobs import build, title_of
from ..record.run_folder import Content
from ..record.stand_in import stand_in
from .turned_answers import turned

if TYPE_CHECKING:
    from .scene import Scene


class Preview(NamedTuple):
    """What the network answers to the probe set before an act and after it; None where there is no such number."""

    step: int | None
    """Of the weights that were looked at."""
    text: str
    """What the act would do."""
    loss_before: float | None
    loss: float | None
    accuracy_before: float | None
    accuracy: float | None
    turned: int | None
    """Answers that would be other ones: of texts those at their tokens, of maps those at their places …"""
    examples: int
    """… of so many."""

    def __str__(self) -> str:
        parts = []
        if self.loss is not None and self.loss_before is not None:
            parts.append(f"loss {self.loss_before:.4g} → {self.loss:.4g}")
        if self.accuracy is not None and self.accuracy_before is not None:
            parts.append(f"right {100 * self.accuracy_before:.1f} → {100 * self.accuracy:.1f} %")
        if self.turned is not None:
            parts.append(f"{self.turned} of {self.examples} answers turn")
        return ", ".join(parts)


def preview(scene: Scene, name: str, knobs: Mapping[str, Any]) -> Preview:
    """What a command would do to the answers to the probe set; neither the training nor the scene changes.

    *Cost* a copy of the model, and one pass over the probe set (two the first time).
    *Raises* UsageError, NotApplicable where the command would be refused, as the training would say it, or changes no answer at once.
    Averaged copies that the training's own code keeps, and its other processes, are not known here.
    """
    command = build(registry.commands[name], knobs)
    if not command.previewed:
        raise NotApplicable(f"{title_of(type(command)).lower()} changes no answer at once, so there is nothing to show beforehand")
    with torch.random.fork_rng(devices=[]):
        run = scene.run
        trial = stand_in(
            scene.model, Content(scene.model, scene.live, scene.reading, scene.table, {}, {}), run.frozen() if run is not None else (),
            run.meta.get("memory") if run is not None else None,
        )
        with torch.no_grad():
            applied = command.apply(trial)
        model = trial.subject.model
    before, after = scene.answers(), scene.with_model(model).answers()
    differ = turned(scene, after)
    return Preview(
        scene.step, applied.text, _known(before.loss), _known(after.loss), _known(before.accuracy), _known(after.accuracy),
        differ.count if differ is not None and differ.total else None, differ.total if differ is not None else len(scene.live),
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
