"""Planes through the inputs: of two columns, through three examples, of principal components, or learnt."""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import NotApplicable, UsageError
from ...core.numerals import counted, percent
from ...core.picture import Check, Progress
from ...core.selection import Selection
from ...data.kinds import Table
from ...derive.planes import Components, apart, flat_inputs, kept, shaped
from ...methods.input_map import returned
from ...scene import Scene
from ..changed_labels import wrong

FEW = 0.5
"""Below this share of kept answers a plane says little about the examples."""
SIDE = 12
"""How far a plane lies from the examples is measured at so many places a side."""
Range = tuple[float, float, float, float]


_FEW = 32
"""Examples by which columns that are looked up are found."""
_PART = 0.4
"""Moved by so much a whole number stays the same, cut off or rounded."""
_ALIKE = 1e-6
"""Answers that differ by less than this part of the largest are the same."""


def looked_up(scene: Scene) -> list[int]:
    """The columns of a table that are looked up, as embeddings do: whole numbers, and what lies between two of them changes nothing.

    *Error* of a column that the network does not use it is asked whether it takes larger numbers. *Cost* three passes of 32 examples at most for
    each column of whole numbers, and one.
    """
    x = scene.live.x
    if not isinstance(scene.kind, Table) or not isinstance(x, Tensor) or x.ndim != 2:
        return []
    few = x[:_FEW].detach()
    whole = [k for k in range(x.shape[1]) if bool((x[:, k] == x[:, k].round()).all()) and bool((x[:, k] >= 0).all())]
    if not whole or not len(few) or not few.is_floating_point():
        return whole if not few.is_floating_point() else []
    own = scene.scores(few)

    def same(column: int, numbers: Tensor) -> bool:
        moved = few.clone()
        moved[:, column] = numbers
        return bool(((scene.scores(moved) - own).abs() <= _ALIKE * own.abs().max()).all())

    def refused(column: int) -> bool:
        try:
            same(column, 2 * x[:, column].max() + 1)
        except Exception:  # whatever the model says of a number that it does not know
            return True
        return False

    return [
        k for k in whole
        if same(k, few[:, k] + _PART) and (not same(k, few[:, k].roll(1)) or refused(k))
    ]


class CutPlane(abc.ABC):
    """A plane through the inputs: what it is called, how far it reaches, and which input lies at each place."""

    names: tuple[str, str]
    extent: Range
    words: str
    output = 0
    """Which of several predicted numbers is drawn."""

    @property
    def kept(self) -> float | None:
        """The share of answers that stay on the way onto the plane and back; None where the question does not arise."""
        return None

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.chosen: NDArray[np.int64] = np.arange(len(scene.live))
        """The examples that are drawn as points."""

    @abc.abstractmethod
    def inputs(self, places: Tensor) -> Tensor:
        """The inputs at places (n, 2), as the network takes them."""

    @abc.abstractmethod
    def points(self) -> NDArray[np.floating]:
        """The chosen examples on the plane, (n, 2)."""

    def grid(self, across: int, up: int | None = None) -> Tensor:
        """So many places a side, the lowest y first, (n, 2)."""
        xs = torch.linspace(*self.extent[:2], across, dtype=torch.float64)
        ys = torch.linspace(*self.extent[2:], up or across, dtype=torch.float64)
        return torch.stack([xs.repeat(len(ys)), ys.repeat_interleave(len(xs))], 1)

    @property
    def faded(self) -> bool:
        """Whether the plane says little about the examples."""
        return self.kept is not None and not self.kept >= FEW

    def told(self) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_] | None]:
        """The truth of the points, and which of them are answered wrongly."""
        y = self.scene.live.y
        if y is None:
            return None, None
        told = self.scene.reading.truth(y).reshape(len(y), -1)
        truth = told[:, min(self.output, told.shape[1] - 1)].double().numpy()[self.chosen]
        truth = np.where(self.scene.reading.labelled(y).numpy()[self.chosen], truth, np.nan)
        missed = wrong(self.scene)
        return truth, None if missed is None else missed[self.chosen]

    def checks(self) -> tuple[Check, ...]:
        """How far to believe it."""
        return ()

    def doubts(self) -> str:
        """Why it is faded, in a sentence; empty where it is not."""
        return ""


class ColumnsPlane(CutPlane):
    """The plane of two columns; the others are held at those of the example at hand."""

    def __init__(self, scene: Scene, selection: Selection, columns: tuple[int, int], margin: float) -> None:
        super().__init__(scene)
        self.columns = list(columns)
        kind, x = scene.kind, scene.live.x
        assert isinstance(kind, Table)
        assert isinstance(x, Tensor)
        self.names = (kind.columns[columns[0]], kind.columns[columns[1]])
        self.current = scene.current(selection)
        self.sliced = x.shape[1] > 2
        own = x[:, self.columns].double()
        own = own[own.isfinite().all(1)]  # an example without numbers stands nowhere
        low, high = (own.amin(0), own.amax(0)) if len(own) else (torch.zeros(2).double(), torch.zeros(2).double())
        room = ((high - low) * margin).clamp_min(1e-6)
        self.low, self.high = low - room, high + room
        self.shown = np.asarray(kind.decode(x))[:, self.columns]
        corners = x[:1].double().repeat(2, 1)
        corners[0, self.columns], corners[1, self.columns] = self.low, self.high
        ends = np.asarray(kind.decode(corners))[:, self.columns]
        self.extent = (float(ends[0, 0]), float(ends[1, 0]), float(ends[0, 1]), float(ends[1, 1]))
        others = "input is" if x.shape[1] == 3 else f"{x.shape[1] - 2} inputs are"
        held = f"; the other {others} held at those of {self.current.label}" if self.sliced else ""
        self.words = f"The plane is {self.names[0]} against {self.names[1]}{held}."
        if self.sliced:
            # Of a slice only the example that it goes through lies on it.
            index = self.current.index
            self.chosen = self.chosen[index : index + 1] if index is not None else self.chosen[:0]

    def grid(self, across: int, up: int | None = None) -> Tensor:
        """In the model's own numbers, which the columns' units need not be."""
        xs = torch.linspace(float(self.low[0]), float(self.high[0]), across, dtype=torch.float64)
        ys = torch.linspace(float(self.low[1]), float(self.high[1]), up or across, dtype=torch.float64)
        return torch.stack([xs.repeat(len(ys)), ys.repeat_interleave(len(xs))], 1)

    def inputs(self, places: Tensor) -> Tensor:
        """The example at hand with two of its numbers changed."""
        base = self.current.x
        assert isinstance(base, Tensor)
        rows = base.detach().cpu().repeat(len(places), 1)
        rows[:, self.columns] = places.to(rows)
        return rows

    def points(self) -> NDArray[np.floating]:
        """In the columns' own units."""
        found: NDArray[np.floating] = self.shown[self.chosen]
        return found

    def checks(self) -> tuple[Check, ...]:
        """How many of the examples lie in their own region."""
        right = self.scene.answers().right
        if right is None or self.scene.task != "classification":
            return ()
        sentence = "The share of the examples that lie in the region of their own class."
        return (Check(name="right", value=float(right.nanmean()), sentence=sentence),)


class _MeasuredPlane(CutPlane):
    """A plane that holds no example as it is, so that how far it is to be trusted is measured."""

    instead = ""

    def measure(self, flat: Tensor, of: Tensor) -> None:
        """Of which examples (numbers) the answer is asked again at ``flat``, and how far the plane's places lie from examples."""
        self.of, self._flat = of, flat
        places = self.inputs(self.grid(SIDE)).detach().cpu().float().flatten(1)
        self.far = apart(places, flat_inputs(self.scene))

    @functools.cached_property
    def kept(self) -> float:
        """Asked when the output is known."""
        return kept(self.scene, self._flat, self.of, None if self.scene.task == "classification" else self.output)

    def _said(self) -> str:
        return "of the answers" if self.scene.task == "classification" else "of the answers' variance"

    def checks(self) -> tuple[Check, ...]:
        """The share of answers that stay, and the distance from the examples."""
        sentence = (
            f"The share {self._said()} to {self._whose()} that stays when each is put onto the plane, taken back to an input, and asked "
            "again. Below 0.5 the picture is faded."
        )
        far = "How far places of the plane lie from the nearest example, as a multiple of what examples lie from each other (medians): 1 is as near."
        return (
            Check(name="answers kept", value=self.kept, sentence=sentence, good=not self.faded),
            Check(name="distance from the examples", value=self.far, sentence=far),
        )

    def _whose(self) -> str:
        return f"all {counted(len(self.of), 'examples')}"

    def doubts(self) -> str:
        """Why it is faded."""
        if not self.faded:
            return ""
        share = f"only {percent(self.kept)}" if self.kept > 0 else "nothing"
        stay = "stay" if self.kept > 0 else "stays"
        return f"It is faded: {share} {self._said()} to {self._whose()} {stay} on the way onto this plane and back{self.instead}. "


class FlatPlane(_MeasuredPlane):
    """A flat plane: ``middle`` (numbers,) and two directions (2, numbers) of length one."""

    instead = ", as most of what the network looks at lies off it; a learnt plane (plane=learnt) keeps more"

    def __init__(
        self, scene: Scene, middle: Tensor, axes: Tensor, names: tuple[str, str], words: str, margin: float, chosen: Sequence[int] | None = None
    ) -> None:
        super().__init__(scene)
        self.middle, self.axes, self.names, self.words = middle, axes, names, words
        if chosen is not None:
            self.chosen = np.asarray(chosen)
        flat = flat_inputs(scene)
        self.places = (flat - middle) @ axes.T
        self.extent = around(self.places[self.chosen], margin)
        self.measure(self.places @ axes + middle, torch.arange(len(flat)))

    def inputs(self, places: Tensor) -> Tensor:
        """So far along both directions."""
        return shaped(self.scene, places.float() @ self.axes + self.middle)

    def points(self) -> NDArray[np.floating]:
        """Their nearest places on the plane."""
        found: NDArray[np.floating] = self.places[self.chosen].numpy()
        return found


class LearntPlane(_MeasuredPlane):
    """A plane that a small network learnt, with its way back to inputs."""

    instead = "; more steps of learning, or more examples, may help"
    names = ("first direction", "second direction")

    def __init__(self, scene: Scene, value: Any, margin: float) -> None:
        super().__init__(scene)
        self.back = [torch.tensor(np.array(one)) for one in value["back"]]
        self.base = Components(torch.tensor(np.array(value["mean"])), torch.tensor(np.array(value["axes"])), value["scale"])
        self.places = torch.tensor(np.array(value["places"])).float()
        self.extent = around(self.places, margin)
        self.words = (
            "The plane was learnt with its way back to inputs, so that inputs and the network's answers to them come back as they were; "
            "it is curved, and of another network or step it is another."
        )
        self.measure(self.base.inputs(returned(self.back, self.places)), torch.arange(3, len(self.places), 4))

    def inputs(self, places: Tensor) -> Tensor:
        """What the way back makes of places."""
        return shaped(self.scene, self.base.inputs(returned(self.back, places.float())))

    def points(self) -> NDArray[np.floating]:
        """Where the map puts them."""
        found: NDArray[np.floating] = self.places.numpy()
        return found

    def _whose(self) -> str:
        return f"the {counted(len(self.of), 'examples')} that the map never learnt from"


def of_components(scene: Scene, margin: float) -> FlatPlane:
    """The plane in which the inputs differ most."""
    flat = flat_inputs(scene)
    if len(flat) < 2 or flat.shape[1] < 2:
        raise NotApplicable("a plane of principal components wants two examples of two numbers")
    base = Components.of(flat, 2)
    within = float(((flat - base.mean) @ base.axes.T).square().sum() / (flat - base.mean).square().sum().clamp_min(1e-30))
    words = f"The plane holds the two directions in which the inputs differ most, {percent(within)} of how they differ; all else is as in their mean."
    return FlatPlane(scene, base.mean, base.axes, ("first principal component", "second"), words, margin)


def through(scene: Scene, numbers: Sequence[int], margin: float) -> FlatPlane:
    """The plane through three examples: the first in its origin, the second along the first direction."""
    flat = flat_inputs(scene)
    for number in numbers:
        if not 0 <= number < len(flat):
            raise UsageError(f"there are examples 0 to {len(flat) - 1}, got {number}")
    first, second, third = flat[list(numbers)]
    along, aside = second - first, third - first
    across = along / along.norm().clamp_min(1e-30)
    rest = aside - (aside @ across) * across
    if float(along.norm()) < 1e-6 or float(rest.norm()) < 1e-6 * max(1.0, float(aside.norm())):
        raise UsageError(f"examples {', '.join(map(str, numbers))} are the same or lie on one line, and span no plane; choose other ones")
    names = (f"from example {numbers[0]} to {numbers[1]}", f"towards example {numbers[2]}")
    words = f"The plane goes through examples {numbers[0]}, {numbers[1]} and {numbers[2]}, in the inputs' own numbers."
    return FlatPlane(scene, first, torch.stack([across, rest / rest.norm()]), names, words, margin, numbers)


def learnt(scene: Scene, margin: float, steps: int, seed: int) -> Iterator[Progress | LearntPlane]:
    """How far the map is, then the plane."""
    for stage in scene.derive("input_map", steps=steps, seed=seed).stream():
        if stage.final:
            yield LearntPlane(scene, stage.value, margin)
        else:
            yield stage.progress


def three(scene: Scene, selection: Selection, said: str | None) -> list[int]:
    """The three examples that were named, else those chosen, filled up by the first of other classes and then by any."""
    if said is not None:
        parts = said.replace("+", " ").replace(",", " ").split()
        if len(parts) != 3 or not all(part.isdigit() for part in parts) or len(set(parts)) < 3:
            raise UsageError(f"through wants the numbers of three examples, such as 3+14+20, got {said!r}")
        return [int(part) for part in parts]
    if len(scene.live) < 3:
        raise NotApplicable("a plane through three examples wants three of them")
    found = [number for key in selection.a if key.kind == "example" for number in key.numbers if number < len(scene.live)][:3]
    answers = scene.predictions().reshape(len(scene.live), -1)[:, 0].tolist()
    for other_class in (True, False):
        for number, answer in enumerate(answers):
            taken = [answers[one] for one in found]
            if len(found) < 3 and number not in found and not (other_class and answer in taken):
                found.append(number)
    return found


def around(places: Tensor, margin: float) -> Range:
    """The range of places with some room around."""
    low, high = places.double().nan_to_num(0.0, 0.0, 0.0).aminmax(dim=0)
    room = ((high - low) * margin).clamp_min(1e-6 * max(1.0, float(high.abs().max())))
    return (float(low[0] - room[0]), float(high[0] + room[0]), float(low[1] - room[1]), float(high[1] + room[1]))
