"""The maps of a pair of classes, gathered example by example, and the picture of their mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...core import marks
from ...core.colour import magnitude, symmetric
from ...core.marks import Bars, Column, Group, Heatmap, Image, Lines, Node, Series, Text, Tiles
from ...core.numerals import counted
from ...core.picture import Check
from ...core.selection import number_key
from ...data import nesting
from ...data.kinds import Image as ImageKind
from ...data.kinds import Table, Tokens
from ...data.padding import folded, pads
from ...methods.attribution_picture import by_place, channels_summed
from ...methods.method import Attribution, Look
from ...model.plain_module import fed
from ...scene import Scene
from ...scene.input import CurrentInput
from .. import inputs

Floats = NDArray[np.float64]
WORDS = 12
"""So many words of each class are listed."""
DRAWS = 5
"""The check hides so many random tenths."""
BINS = 24


class PairMaps:
    """The maps so far: one row an example, in the shape that is shown (places, columns, or words)."""

    def __init__(
        self, scene: Scene, current: CurrentInput, a: int, b: int, why: str, method: str, mine: Attribution
    ) -> None:
        self.scene, self.current, self.a, self.b, self.why, self.method, self.mine = (
            scene, current, a, b, why, method, mine,
        )
        self.signed = mine.signed
        self.note = ""
        self.indices: list[int] = []
        self.own: list[int] = []
        self.rows: list[Floats] = []
        self.scores: list[float] = []
        self.hidden: tuple[float, float, float] | None = None
        """How the difference of the scores falls when the strongest tenth is hidden, and random tenths: mean, spread."""

    def add(self, indices: list[int], own: NDArray[np.int64], found: Attribution) -> None:
        """Take the maps of a few more examples."""
        self.indices += indices
        self.own += [int(k) for k in own]
        self.scores += [float(value) for value in found.scores]
        x = self.scene.live.batch(indices)
        self.rows += [self.row(part, nesting.first(x)[k]) for k, part in enumerate(nesting.first(found.values))]

    def row(self, values: torch.Tensor, x: torch.Tensor) -> Floats:
        """One example's map as it is shown: channels summed up, words of a text put together."""
        numbers = values.detach().float().cpu().numpy()
        if isinstance(self.scene.kind, Tokens):
            size = int(self.scene.kind.size or int(x.max()) + 1)
            words = np.zeros(max(size, int(x.max()) + 1))
            np.add.at(words, x.reshape(-1).cpu().numpy(), numbers.reshape(-1).astype(np.float64))
            return words
        return by_place(numbers, self.scene.kind).astype(np.float64)  # type: ignore[arg-type]

    @property
    def both(self) -> tuple[Floats, Floats]:
        """The mean map of each class; zeros where it has no examples."""
        whole, own = np.stack(self.rows), np.array(self.own)
        empty = np.zeros(whole.shape[1:])
        first, second = (whole[own == k].mean(0) if (own == k).any() else empty for k in (self.a, self.b))
        return first, second

    @property
    def mean(self) -> Floats:
        """The mean of both classes, each counting the same."""
        there = [part for part, k in zip(self.both, (self.a, self.b), strict=True) if k in self.own]
        found: Floats = np.mean(there, 0)
        return found

    @property
    def agreement(self) -> Floats:
        """The cosine of each example's map with the mean of the others (each class counting the same), (n,)."""
        whole, own = np.stack([row.ravel() for row in self.rows]), np.array(self.own)
        sums = {k: whole[own == k].sum(0) for k in (self.a, self.b)}
        counts = {k: int((own == k).sum()) for k in (self.a, self.b)}
        found = np.full(len(whole), np.nan)
        for row, (values, k) in enumerate(zip(whole, own, strict=True)):
            parts = []
            for other in (self.a, self.b):
                mine = other == k
                left = counts[other] - mine
                if left > 0:
                    parts.append((sums[other] - (values if mine else 0)) / left)
            if parts:
                found[row] = cosine(values, np.mean(parts, 0))
        return found

    @property
    def names(self) -> tuple[str, str]:
        """The two classes."""
        return self.scene.classes[self.a], self.scene.classes[self.b]


def cosine(a: Floats, b: Floats) -> float:
    """The cosine of two maps; NaN where one of them is zero or not finite."""
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a.ravel() @ b.ravel()) / length if length > 0 and np.isfinite(length) else float("nan")


def hidden(look: Look, gathered: PairMaps) -> tuple[float, float, float] | None:
    """How far the difference of the scores goes towards the other class when parts of the inputs are hidden.

    *Meaning* the strongest tenth of the mean map is filled with the mean of all examples, in every example at once; the
    first number is the mean change of each class's lead over the other. The second and third are the mean of the same
    for random tenths, and the largest of them.
    """
    kind, scene = gathered.scene.kind, gathered.scene
    if isinstance(kind, Tokens) or not np.isfinite(gathered.mean).all():
        return None
    x = nesting.first(scene.live.batch(gathered.indices))
    if not x.is_floating_point() or channels_summed(x[0].float().numpy(), kind).shape != gathered.mean.shape:  # type: ignore[arg-type]
        return None
    filled = nesting.first(scene.live.x).float().mean(0).to(x.dtype)
    size = gathered.mean.size
    count = max(1, round(size / 10))
    order = np.argsort(-np.abs(gathered.mean).ravel(), kind="stable")[:count]
    generator = np.random.default_rng(0)
    chosen = [order, *(generator.choice(size, count, replace=False) for _ in range(DRAWS))]
    sides = torch.tensor([1.0 if k == gathered.a else -1.0 for k in gathered.own])
    before = torch.tensor(gathered.scores) * sides
    found = []
    for places in chosen:
        mask = np.zeros(size, bool)
        mask[places] = True
        wide = torch.from_numpy(_spread(mask.reshape(gathered.mean.shape), x[0].shape, kind))
        scores = torch.cat([
            look.scores(fed(scene.model, torch.where(wide, filled, part))) for part in torch.split(x, 64)  # type: ignore[no-untyped-call]
        ]).cpu()
        found.append(float((before - _difference(scores, gathered) * sides).mean()))
    return found[0], float(np.mean(found[1:])), float(np.max(found[1:]))


def _difference(scores: torch.Tensor, gathered: PairMaps) -> torch.Tensor:
    rows = scores.reshape(len(scores), -1).float()
    if rows.shape[1] == 1:
        return 2 * rows[:, 0] * (1 if gathered.a == 1 else -1)
    return rows[:, gathered.a] - rows[:, gathered.b]


def _spread(mask: NDArray[np.bool_], shape: tuple[int, ...], kind: Any) -> NDArray[np.bool_]:
    """A mask of places over all channels of an input."""
    if isinstance(kind, ImageKind) and kind.layout == "NHWC":
        return np.broadcast_to(mask[..., None], shape).copy()
    if isinstance(kind, ImageKind) and kind.layout == "flat":
        return np.tile(mask.ravel(), (kind.channels or 1, 1)).reshape(shape)
    return np.broadcast_to(mask, shape).copy()


def body(gathered: PairMaps, shown: int) -> Node:
    """The pair's picture, the current input's, and how far single examples agree."""
    top = _pair(gathered)
    rows: list[Node] = [Group(children=tuple(top), direction="row")]
    agreement = gathered.agreement
    if np.isfinite(agreement).sum() > 1:
        rows.append(_spread_of(gathered, agreement))
        rows += _extremes(gathered, agreement, shown)
    return Group(children=tuple(rows))


def _pair(gathered: PairMaps) -> list[Node]:
    kind, mean = gathered.scene.kind, gathered.mean
    first, second = gathered.names
    title = f"{first} (blue) against {second} (orange), {counted(len(gathered.rows), 'examples')}"
    mine = gathered.row(nesting.first(gathered.mine.values)[0], nesting.first(gathered.current.x)[0])
    agrees = cosine(mine, mean) if mine.shape == mean.shape else float("nan")
    own = f"{gathered.current.label} alone"
    near = f"Its cosine with the mean is {agrees:.2f}." if np.isfinite(agrees) else ""
    if isinstance(kind, Tokens):
        return _words(gathered, title, own, near)
    limits = symmetric(mean) if gathered.signed else magnitude(mean)
    if isinstance(kind, ImageKind) and mean.ndim == 2:
        pixels = np.asarray(gathered.current.shown)
        grey = inputs.grey(pixels) if pixels.ndim == 2 else None
        scale = symmetric(mine) if gathered.signed else magnitude(mine)
        drawn: list[Node] = [
            Image(pixels=mean, limits=limits, title=title, size=260),
            Image(
                pixels=np.abs(mean), limits=magnitude(np.abs(mean), scale="grey"), title="In one ink: where they differ",
                size=180, caption="Bright where the two are told apart, whichever way.",
            ),
        ]
        if pixels.shape[:2] == mine.shape:
            drawn.append(Image(pixels=pixels, limits=grey, heat=mine, heat_limits=scale, title=own, caption=near, size=180))
        return drawn
    if mean.ndim == 1 and (isinstance(kind, Table) or len(mean) <= 64):
        names = tuple(getattr(kind, "columns", ()) or ())
        labels = names if len(names) == len(mean) else tuple(str(k) for k in range(len(mean)))
        bars = Bars(
            values=mean, labels=labels, reference=mine, limits=symmetric(np.concatenate([mean, mine])), title=title,
            caption=f"The tick is {own}. {near}".strip(),
        )
        return [bars]
    flat = mean.reshape(len(mean), -1) if mean.ndim > 1 else mean[None]
    return [Heatmap(values=flat, limits=limits, title=title)]


def _words(gathered: PairMaps, title: str, own: str, near: str) -> list[Node]:
    kind, mean = gathered.scene.kind, gathered.mean
    assert isinstance(kind, Tokens)
    # What fills a text up is no word of it.
    order = [k for k in np.argsort(-np.nan_to_num(mean), kind="stable") if not pads(kind.token(int(k)))]
    chosen = [k for k in order[:WORDS] if mean[k] > 0] + [k for k in order[::-1][:WORDS][::-1] if mean[k] < 0]
    values = mean[chosen] if chosen else np.zeros(1)
    labels = tuple(kind.token(int(k)) or "∅" for k in chosen) if chosen else ("no word",)
    mine = nesting.first(gathered.mine.values)[0].detach().double().cpu().numpy().reshape(-1)
    words, mine = folded(kind.decode(nesting.first(gathered.current.x))[0], mine)
    return [
        Bars(
            values=values, labels=labels, limits=symmetric(values), title=title,
            caption="What a word adds to an example on the average, all its occurrences together.",
        ),
        Text(
            tokens=words, values=mine, limits=symmetric(mine), title=own, caption=near, characters=all(len(word) <= 1 for word in words)
        ),
    ]


def _spread_of(gathered: PairMaps, agreement: Floats) -> Node:
    edges = np.linspace(-1, 1, BINS + 1)
    series = []
    for k, name in zip((gathered.a, gathered.b), gathered.names, strict=True):
        own = agreement[(np.array(gathered.own) == k) & np.isfinite(agreement)]
        if len(own):
            share = np.histogram(np.clip(own, -1, 1), edges)[0] / len(own)
            middles = (edges[1:] + edges[:-1]) / 2
            series.append(Series(name=name, x=middles, y=share, colour=k, key=number_key("class", k)))
    return Lines(
        series=tuple(series), x_title="cosine with the mean of the others", x_range=(-1.0, 1.0), x_kind="number", height=90,
        y_title="share", title="How far single examples agree",
        caption="Right: an example whose own map looks like the picture; about 0: it has nothing in common with it.",
    )


def _extremes(gathered: PairMaps, agreement: Floats, shown: int) -> list[Node]:
    order = [int(k) for k in np.argsort(-np.where(np.isfinite(agreement), agreement, -2), kind="stable")]
    order = [k for k in order if np.isfinite(agreement[k])]
    count = min(shown, max(1, len(order) // 2))
    found: list[Node] = []
    for title, rows in (("Agree most", order[:count]), ("Agree least", order[::-1][:count])):
        indices = [gathered.indices[k] for k in rows]
        keys = tuple(number_key("example", index) for index in indices)
        labels = tuple(gathered.scene.classes[gathered.own[k]] for k in rows)
        notes = tuple(f"{agreement[k]:.2f}" for k in rows)
        found.append(_tiles(gathered, rows, indices, keys, labels, notes, title))
    return [Group(children=tuple(found), direction="row")]


def _tiles(
    gathered: PairMaps, rows: list[int], indices: list[int], keys: tuple[str, ...], labels: tuple[str, ...],
    notes: tuple[str, ...], title: str,
) -> Node:
    scene = gathered.scene
    if not isinstance(scene.kind, ImageKind):
        columns = (
            inputs.column(scene, indices), Column(name="class", kind="text", texts=labels),
            Column(name="cosine", numbers=np.array([float(note) for note in notes]), signed=True),
        )
        return marks.Table(columns=columns, row_keys=keys, title=title)
    images = inputs.thumbnails(np.asarray(scene.kind.decode(nesting.first(scene.live.batch(indices)))))
    assert images is not None
    whole = Tiles(
        images=images, limits=inputs.grey(images) if images.ndim == 3 else None, labels=labels, notes=notes, keys=keys,
        title=title, columns=len(rows),
    )
    maps = np.stack([gathered.rows[k] / (np.abs(gathered.rows[k]).max() or 1.0) for k in rows])
    if maps.ndim != 3:
        return whole
    limits = symmetric(maps, 1.0) if gathered.signed else magnitude(maps, 0.0, 1.0)
    own = Tiles(images=maps, limits=limits, keys=keys, columns=len(rows), caption="Their maps, each on its own scale.")
    return Group(children=(whole, own))


def caption(gathered: PairMaps) -> str:
    """What is seen, in sentences."""
    first, second = gathered.names
    counts = [gathered.own.count(k) for k in (gathered.a, gathered.b)]
    if not np.isfinite(gathered.mean).all():
        return f"What separates {first} from {second} cannot be told: the maps of {sum(counts)} examples hold what is no number."
    over = f"{counts[0]} and {counted(counts[1], 'examples')}"
    if 0 in counts:
        there, absent = (first, second) if counts[0] else (second, first)
        over = f"{counted(sum(counts), 'examples')} of {there}, as there is none of {absent},"
    said = f"Blue speaks for {first} rather than {second}, orange for {second} ({gathered.why}): the mean over {over} "
    said += f"of what {gathered.method} says of the difference of the two scores. "
    agreement = gathered.agreement[np.isfinite(gathered.agreement)]
    if len(agreement) > 1:
        half = float(np.median(agreement))
        said += f"Half of the examples have a map of their own whose cosine with it is above {half:.2f}. "
    return said.rstrip()


def checks(gathered: PairMaps) -> tuple[Check, ...]:
    """How far to believe it."""
    found = []
    agreement = gathered.agreement[np.isfinite(gathered.agreement)]
    if len(agreement) > 1:
        half = float(np.median(agreement))
        found.append(Check(
            name="median agreement", value=half, good=half > 0.5,
            sentence="The cosine of an example's own map with the mean map of the others; 1 is the same pattern.",
        ))
    if gathered.hidden is not None and all(np.isfinite(gathered.hidden)):
        own, random, most = gathered.hidden
        found.append(Check(
            name="hiding the strongest tenth", value=own, good=own > most,
            sentence=f"How much of its lead each class loses; random tenths: {random:.3g} on the average, {most:.3g} at most.",
        ))
    return tuple(found)
