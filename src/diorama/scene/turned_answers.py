"""Where two networks, or one at two moments, answer otherwise: counted by what is asked, which of a text is each token, of a map each place."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..core.numerals import counted
from .probe import Answers
from .scene import Scene
from .sets import several

ONE_EACH = ("classification", "multi_label", "segmentation", "next_token")
"""Tasks whose answers are the same or not; plain numbers are near or far."""


@dataclasses.dataclass(frozen=True)
class TurnedAnswers:
    """Answers that are other ones, ``differ``, of those that are ``asked`` for: (n,), of texts and maps (n, places); ``what`` one of them is."""

    differ: Tensor
    asked: Tensor
    what: str

    @property
    def count(self) -> int:
        """How many answers are other ones."""
        return int(self.differ.sum())

    @property
    def total(self) -> int:
        """Of how many."""
        return int(self.asked.sum())

    @property
    def share(self) -> float:
        """Which part of them; not a number where none is asked for."""
        return self.count / self.total if self.total else float("nan")

    @property
    def examples(self) -> Tensor:
        """The examples of which some answer is another one, (n,)."""
        return self.differ.reshape(len(self.differ), -1).any(1)

    @property
    def of(self) -> str:
        """Of how many answers, in words: "40 examples", "612 tokens of 40 texts"."""
        whole = {"tokens": "texts", "places": "examples"}.get(self.what)
        return counted(self.total, self.what) + (f" of {counted(len(self.asked), whole)}" if whole else "")


def turned(scene: Scene, there: Answers, here: Answers | None = None) -> TurnedAnswers | None:
    """Where answers to the live examples are other ones than those ``here``, by themselves the scene's.

    *Meaning* where neither says anything, as their scores are no numbers, none is another one. None where answers are plain numbers, or of
    another shape.
    """
    here = scene.answers() if here is None else here
    if scene.task not in ONE_EACH or here.predictions.shape != there.predictions.shape:
        return None
    silent = _silent(here) & _silent(there) if scene.task == "multi_label" else None
    found = turned_between(scene.task, here.predictions, there.predictions, here.places, silent)
    return dataclasses.replace(found, what=several(scene)) if found.what == "tokens" else found


def turned_between(task: str, here: Tensor, there: Tensor, places: Tensor | None, silent: Tensor | None = None) -> TurnedAnswers:
    """The same of predictions, and the ``places`` of texts and maps that are asked for; ``silent`` are examples that neither answers."""
    differ = here != there
    if task in ("next_token", "segmentation"):
        asked = ((here >= 0) | (there >= 0)) if places is None else ((here >= 0) | (there >= 0)) & places
        return TurnedAnswers(differ & asked, asked, "tokens" if task == "next_token" else "places")
    if task == "multi_label":
        differ = differ.reshape(len(differ), -1).any(1)
        asked = torch.ones_like(differ) if silent is None else ~silent
    else:
        asked = ((here >= 0) | (there >= 0)).reshape(differ.shape)
    return TurnedAnswers(differ & asked, asked, "examples")


def _silent(answers: Answers) -> Tensor:
    """Examples with labels whose scores are no numbers: such a score is above nothing, which reads as "none of the labels"."""
    if answers.losses is None:
        return torch.zeros(len(answers.predictions), dtype=torch.bool)
    broken = answers.losses.isnan()
    return broken if answers.known is None else broken & answers.known.to(broken.device)
