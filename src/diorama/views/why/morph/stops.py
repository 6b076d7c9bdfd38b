"""What a morph goes between, and all that has been gathered about it so far."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....core.numerals import percent
from ....core.selection import number_key
from ....data import nesting
from ....data.kinds import Tokens
from ....methods.method import Look
from ....methods.perturbation.morph import LayerWay
from ....methods.perturbation.morph import answers as answered
from ....methods.perturbation.morph_plane import InputPlane
from ....model.capture import Capture
from ....model.targets import Target
from ....scene import Scene
from ....scene.input import CurrentInput
from ... import answers
from . import measured_way
from .measured_way import MeasuredWay

CLASSED = ("classification", "multi_label", "segmentation")
"""Tasks whose answers are the classes of the scene."""


@dataclasses.dataclass(frozen=True)
class Stops:
    """Start and end, perhaps a third input, and the two answers that are followed."""

    scene: Scene
    look: Look
    start: CurrentInput
    end: CurrentInput
    third: CurrentInput | None
    found: tuple[NDArray[np.float64], NDArray[np.float64]]
    place: int = -1
    """At which of its places a text is asked."""

    @cached_property
    def pair(self) -> tuple[int, int]:
        """The answers at start and end: classes or tokens; for labels and numbers the one that changes most, twice."""
        first, last = (np.nan_to_num(part) for part in self.found)
        if self.scene.task in ("classification", "next_token"):
            return int(first.argmax()), int(last.argmax())
        most = int(np.abs(last - first).argmax())
        return most, most

    def name(self, number: int) -> str:
        """An answer in words."""
        if self.scene.task == "next_token":
            return answers.token(self.scene, number)
        if self.scene.task in CLASSED and number < len(self.scene.classes):
            return self.scene.classes[number]
        return answers.number_name(self.scene, number, len(self.found[0]))

    def key(self, number: int) -> str:
        """The key of an answer that is a class."""
        return number_key("class", number) if self.scene.task in CLASSED else ""

    @property
    def unit(self) -> str:
        """What answers are: probabilities, shares of the places, or plain numbers."""
        if self.scene.task == "segmentation":
            return "share of the places"
        return "" if self.scene.task in ("regression", "reconstruction") else "probability"

    @cached_property
    def target(self) -> Target:
        """The score of the end's answer minus that of the start's; where they are the same, its score."""
        a, b = self.pair
        text = f"{self.name(b)} − {self.name(a)}" if a != b else self.name(b)
        text = f"the mean score of {text}" if self.scene.task == "segmentation" else text

        def score(output: Any, number: int) -> Tensor:
            scores = self.look.reading.scores(output)
            if self.scene.task == "next_token":
                scores = scores[:, self.place]
            rows = scores.flatten(2).mean(2) if self.scene.task == "segmentation" else scores.reshape(len(scores), -1)
            if self.scene.task in ("classification", "segmentation") and rows.shape[1] == 1:
                return rows[:, 0] if number == 1 else -rows[:, 0]
            return rows[:, number]

        def take(output: Any, kept: Capture) -> Tensor:
            return score(output, b) - score(output, a) if a != b else score(output, b)

        return Target(text, (), take)

    @cached_property
    def mark(self) -> str:
        """A short name of start, end and third: equal inputs have equal names."""
        made = hashlib.blake2b(digest_size=12)
        for one in (self.start, self.end, *([self.third] if self.third is not None else [])):
            for part in nesting.tensors(one.x):
                made.update(part.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return made.hexdigest()

    @property
    def tokens(self) -> Tokens | None:
        """The kind of the input where it is tokens alone."""
        return self.scene.kind if isinstance(self.scene.kind, Tokens) else None

    def said(self, found: NDArray[np.float64]) -> str:
        """An answer in words, with its probability: "5 (97 %)"."""
        if not np.isfinite(found).any():
            return "nothing that is a number"
        if self.scene.task in ("classification", "next_token"):
            best = int(np.nan_to_num(found).argmax())
            return f"{self.name(best)} ({100 * found[best]:.0f} %)"
        number = self.pair[0]
        if self.scene.task == "segmentation":
            return f"{self.name(number)}: {percent(found[number])} of the places"
        return f"{self.name(number)} {found[number]:.3g}"


@dataclasses.dataclass
class SliderPlace:
    """Where the slider stands on one way: the answer, and the input where there is one."""

    found: NDArray[np.float64]
    x: Tensor | None = None
    gap: float | None = None
    words: tuple[str, ...] = ()


class MorphResults:
    """Everything that has been gathered so far."""

    def __init__(self, view: Any, scene: Scene, stops: Stops) -> None:
        self.view, self.scene, self.stops = view, scene, stops
        self.told: list[MeasuredWay] = []
        self.more = False
        """Whether a second way is still to come."""
        self.notes: list[str] = []
        self.standing: list[SliderPlace] = []
        self.plane: InputPlane | None = None
        self.field: NDArray[np.float32] | None = None
        self.extent = (0.0, 1.0, 0.0, 1.0)

    @property
    def title(self) -> str:
        """From what to what."""
        a, b = self.stops.pair
        return f"From {self.stops.name(a)} to {self.stops.name(b)}" if a != b else "From start to end"

    @cached_property
    def others(self) -> list[int]:
        """The answers whose curves are drawn beside those of start and end: those that rise highest on the way."""
        most = np.nan_to_num(np.stack([told.answers for told in self.told])).max((0, 1))
        most[list(self.stops.pair)] = -np.inf
        room = 1 if self.stops.pair[0] != self.stops.pair[1] else 2
        return [int(k) for k in np.argsort(-most, kind="stable")[:room] if most[k] > -np.inf]

    def stand(self, at: float, window: float, pictures: bool) -> bool:
        """Find what stands at the slider, and the strips of inputs; True where a search was needed."""
        self.standing, searched = [], False
        for told in self.told:
            scores = told.way.run([at]).scores.detach()
            place = SliderPlace(answered(self.stops.look, scores, self.stops.place)[0].double().cpu().numpy())
            self.standing.append(place)
            if isinstance(told.way, LayerWay) and pictures:
                if told.strip is None and (found := told.way.found(measured_way.strip_places(told, window))) is not None:
                    told.strip, told.strip_gaps = found
                    searched = True
                if told.strip is not None:
                    one = told.way.found([at], measured_way.QUICK, measured_way.between(told.strip, at))
                    assert one is not None
                    place.x, place.gap = one[0], float(one[1][0])
            else:
                place.x = told.way.inputs([at])
                if told.strip is None:
                    told.strip = told.way.inputs(measured_way.strip_places(told, window))
                kind = self.stops.tokens
                if kind is not None and kind.size and kind.size <= 20_000 and not isinstance(told.way, LayerWay):
                    points = told.way.points([at])[0][0]
                    near = measured_way.nearest_tokens(self.stops.look, points, nesting.first(self.stops.start.x), kind.size)
                    place.words = tuple(kind.token(number) for number in near)
        return searched
