"""An input, the changed one that the network answers otherwise, and what lies between: as marks and numbers."""

from __future__ import annotations

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.colour import symmetric
from ...core.marks import Bars, Event, Group, Heatmap, Image, Lines, Node, Number, Series
from ...core.picture import Check
from ...core.selection import Key, number_key
from ...data.kinds import Image as ImageKind
from ...data.kinds import Table
from ...methods.attribution_picture import channels_summed
from ...methods.method import Look
from ...methods.perturbation.flip import Flip
from ...scene import Scene
from ...scene.input import CurrentInput, decoded
from .. import answers, inputs

Floats = NDArray[np.floating]
SIDE = 130
RANDOM = 32
"""So many random changes of the same size are tried."""
FAR = 2.0
"""The way is followed to so many times the change."""
PLACES = 33
MOST = 24
"""So many columns of a table are shown, those that changed most."""


class FoundFlip:
    """What was found, and what is measured of it."""

    def __init__(self, scene: Scene, current: CurrentInput, look: Look, flip: Flip, norm: str, wanted: int | None) -> None:
        self.scene, self.current, self.look, self.flip, self.norm, self.wanted = scene, current, look, flip, norm, wanted
        self.found = bool(flip.flipped[0])
        self.before, self.after = int(flip.before[0]), int(flip.after[0])
        self.change = flip.change[0].detach().float().cpu().numpy()
        self.x: Tensor = current.x  # type: ignore[assignment]
        self.scores = [look.scores(x).cpu() for x in (self.x, flip.x)]
        self.chances = [scene.reading.probabilities(one)[0].float() for one in self.scores]
        self.way: tuple[Floats, Floats] | None = None
        self.random: int | None = None
        self.rounded: bool | None = None

    @property
    def size(self) -> float:
        """The change's norm."""
        return float(self.flip.norms[0])

    @property
    def share(self) -> float:
        """The change's norm as a share of the input's."""
        flat = np.nan_to_num(self.x[0].detach().float().cpu().numpy().ravel())
        whole = float(np.abs(flat).max(initial=0)) if self.norm == "Linf" else float(np.linalg.norm(flat))
        return self.size / whole if whole else float("inf")

    def name(self, number: int) -> str:
        """A class in words."""
        return self.scene.classes[number]

    def measure(self) -> None:
        """The answer along the way, random changes of the same size, and the change as a picture of 256 levels."""
        places = torch.linspace(0, FAR, PLACES)
        change, wide = self.flip.change, (-1, *[1] * (self.x.ndim - 1))
        points = self.x + change * places.reshape(wide).to(change)
        found = self.scene.reading.probabilities(self.look.scores(points).cpu()).float()
        self.way = places.double().numpy(), found[:, [self.before, self.after]].double().numpy()
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn((RANDOM, *self.x.shape[1:]), generator=generator).to(change)
        noise = noise.sign() * self.size if self.norm == "Linf" else noise * (
            self.size / noise.flatten(1).norm(dim=1).clamp_min(1e-20)
        ).reshape(wide)
        self.random = int((self._answers(self.x + noise) != self.before).sum())
        kind = self.scene.kind
        if isinstance(kind, ImageKind):
            again = kind.encode(np.asarray(decoded(kind, self.flip.x))).to(change)
            if again.shape == self.x.shape:
                self.rounded = int(self._answers(again)[0]) != self.before

    def _answers(self, x: Tensor) -> Tensor:
        return self.scene.reading.predictions(self.look.scores(x).cpu()).reshape(-1)


def body(turned: FoundFlip) -> Node:
    """The input, the changed one and the change; below them the answers and the way."""
    first = inputs.drawn(turned.scene, turned.current, SIDE)
    if not turned.found:
        bars = answers.bars(turned.scene, turned.scores[0])
        title = "No answer" if answers.answerless(turned.scene, turned.scores[0]) else "The answer stays"
        return Group(children=(first, msgspec.structs.replace(bars, title=title)), direction="row")
    kind = turned.scene.kind
    if isinstance(kind, Table):
        return Group(children=(_columns(turned, kind), Group(children=(*_numbers(turned), _bars(turned), *_way(turned)))),
                     direction="row")
    assert not isinstance(kind, dict)
    shown = CurrentInput(turned.flip.x, "changed", shown=decoded(kind, turned.flip.x))
    second = inputs.drawn(turned.scene, shown, SIDE)
    pictures = (
        msgspec.structs.replace(first, title=f"{turned.current.label}: {turned.name(turned.before)}"),
        msgspec.structs.replace(second, title=f"changed: {turned.name(turned.after)}"),
        _change(turned, kind if isinstance(kind, ImageKind) else None),
    )
    return Group(
        children=(
            Group(children=pictures, direction="row"),
            Group(children=_numbers(turned), direction="row"),
            Group(children=(_bars(turned), *_way(turned)), direction="row"),
        )
    )


def _change(turned: FoundFlip, kind: ImageKind | None) -> Node:
    if kind is not None:
        values = channels_summed(turned.change, kind)
        pixels = np.asarray(turned.current.shown)
        if values.ndim == 2 and values.shape == pixels.shape[:2]:
            title = "the change, colours summed" if pixels.ndim == 3 else "the change"
            return Image(pixels=values, limits=symmetric(values), title=title, size=SIDE)
    values = turned.change.reshape(-1, turned.change.shape[-1])
    if len(values) <= 8 and values.shape[1] > 1:
        lines = tuple(
            Series(name=f"channel {k}", x=np.arange(values.shape[1], dtype=np.float64), y=row, colour=k)
            for k, row in enumerate(values.astype(np.float64))
        )
        return Lines(series=lines, x_title="time", x_kind="number", title="the change")
    return Heatmap(values=values, limits=symmetric(values), title="the change")


def _columns(turned: FoundFlip, kind: Table) -> Node:
    """A row's columns: what changed, and from what to what in the table's own units."""
    before, after = (np.asarray(kind.decode(x)[0], np.float64).reshape(-1) for x in (turned.x, turned.flip.x))
    change = turned.change.reshape(-1)
    order = np.arange(len(change))
    if len(order) > MOST:
        order = np.sort(np.argsort(-np.abs(change), kind="stable")[:MOST])
    names = kind.columns if len(kind.columns) == len(change) else tuple(f"column {k}" for k in range(len(change)))
    return Bars(
        values=change[order], labels=tuple(names[int(k)] for k in order), limits=symmetric(change),
        notes=tuple(f"{before[k]:.4g} → {after[k]:.4g}" for k in order),
        title=f"The change of {turned.current.label}" + (f" ({MOST} largest)" if len(order) < len(change) else ""),
    )


def _numbers(turned: FoundFlip) -> tuple[Number, ...]:
    share = turned.share
    of = f"{100 * share:.2g} % of the input's own" if np.isfinite(share) else "the input itself is zero"
    of = f"in the model's numbers, {_levels(turned)}{of}"
    word = "Length of the change (L2)" if turned.norm == "L2" else "Largest change of a number (Linf)"
    again = Number(
        label="Run again by itself", note=f"answers {answers.said(turned.scene, turned.scores[1])}, was {_said(turned)}",
        tone="good" if turned.found else "bad", key=number_key("class", turned.after),
    )
    return (Number(label=word, value=turned.size, note=of), again)


def _levels(turned: FoundFlip) -> str:
    """The largest change of an image's number also in the levels that a screen knows."""
    kind = turned.scene.kind
    if not isinstance(kind, ImageKind) or turned.norm != "Linf":
        return ""
    std, (low, high) = kind.normal()[1], kind.span()
    planes = np.abs(kind.planes(turned.flip.change)) * std / (high - low) * 255
    return f"up to {float(planes.max()):.2g} of 255 levels, "


def _said(turned: FoundFlip) -> str:
    return answers.said(turned.scene, turned.scores[0])


def _bars(turned: FoundFlip) -> Node:
    bars = answers.bars(turned.scene, turned.scores[1], horizontal=True)
    numbers = [Key.parse(key).number for key in bars.keys]
    reference = turned.chances[0][numbers].numpy()
    return msgspec.structs.replace(bars, reference=reference, title="Answer to the changed input (tick: before)")


def _way(turned: FoundFlip) -> tuple[Node, ...]:
    if turned.way is None:
        return ()
    places, chances = turned.way
    lines = tuple(
        Series(name=turned.name(k), x=places, y=chances[:, at], key=number_key("class", k), colour=k)
        for at, k in enumerate((turned.before, turned.after))
    )
    return (
        Lines(
            series=lines, x_title="how much of the change", x_kind="number", y_title="probability", y_range=(0.0, 1.0),
            events=(Event(x=1.0, label="flips", kind="flip"),), title="Along the change and beyond", height=160,
        ),
    )


def caption(turned: FoundFlip) -> str:
    """What is seen, and how far to believe it."""
    label = turned.current.label
    to = f" to {turned.name(turned.wanted)}" if turned.wanted is not None else ""
    if answers.answerless(turned.scene, turned.scores[0]):
        return f"The network answers {label} with {answers.NOTHING}. So there is no answer that a change could flip."
    if not turned.found:
        return (
            f"No change within the valid range that flips the answer to {label}{to} was found in {turned.flip.steps} steps; the "
            f"network stays with {_said(turned)}. Allow more steps, or choose another class."
        )
    word = "length" if turned.norm == "L2" else "largest change of a number"
    share = f", {100 * turned.share:.2g} % of the input's own" if np.isfinite(turned.share) else ""
    said = (
        f"The smallest change found that turns the answer to {label} from {turned.name(turned.before)} into "
        f"{turned.name(turned.after)}: its {word} is {turned.size:.3g}{share}. Blue was raised, orange lowered. "
        "That it flips is certain; a still smaller one may exist."
    )
    if turned.random is not None:
        said += f" Of {RANDOM} random changes of that size {turned.random or 'none'} flip{'s' if turned.random == 1 else ''} it."
    if turned.rounded is not None:
        said += " It " + ("still flips" if turned.rounded else "no longer flips") + " when rounded to 256 levels."
    return said


def checks(turned: FoundFlip) -> tuple[Check, ...]:
    """Whether it flips when it is run again, and whether any change of that size would."""
    found = [
        Check(
            name="flipped", value=float(turned.found), good=turned.found,
            sentence="1 when the changed input, run again by itself, gets another answer (the wanted one); else 0.",
        )
    ]
    if turned.random is not None:
        found.append(
            Check(
                name="random changes that flip", value=100 * turned.random / RANDOM, unit="%",
                sentence=f"The share of {RANDOM} random changes of the same norm that flip the answer too.",
            )
        )
    return tuple(found)
