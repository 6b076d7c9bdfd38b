"""Text coloured by one cell of a network that reads it, and which cells keep which property of the text."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...core.colour import symmetric
from ...core.errors import NotApplicable, UsageError
from ...core.knobs import knob
from ...core.marks import Alternative, Column, Group, Node, Table, Text
from ...core.picture import Check, Picture, Progress
from ...core.selection import Key, Selection, number_key, spoken, unit_key
from ...data.kinds import Tokens
from ...data.padding import folded, runs
from ...derive.derivations.properties import PATTERN, SHIFTS, shifts
from ...derive.texts import MUSIC, PROPERTIES, told_of
from ...model.layers import Layer
from ...scene import Scene
from ...scene.input import CurrentInput
from ...scene.layer_text import answers_on, legible, looks_ahead, misplaced, tags, text_at
from ...scene.restarts import Restarts
from ...scene.states import STATES, hidden, keeps, memory, told
from .. import texts
from ..view import View

LIKELIEST = 5
CHOSEN = "chosen tokens"
ELSE = "; choose a layer that answers at each token, or see its places in gates or matrix"
"""What to do where the places of a layer are no tokens."""
SAME = " = "
"""Between the names of properties that are one and the same in the texts."""
SURE = 0.05
"""A match that chance makes more often is none."""


class CellsView(View):
    """Each character coloured by one cell of an LSTM, GRU, RNN or transformer, with the likeliest next characters below.

    *Meaning* blue where the cell is positive, orange where it is negative: a cell that is blue inside quotes keeps in
    mind that a quote is open. An LSTM's cell is coloured by its memory, of which it says only a part at a time. Below each
    character stands what the network expected in its place, the bluer the surer (or says of it, where it reads it first). The table
    offers the cells of all recurrent layers, or of the chosen one, whose value goes along best with a property of the text: brackets,
    quotes, a regular expression, or the tokens that you choose in the text; of a melody with pitch, beat and silence.
    *Error* cells are ranked by the correlation (−1 to 1) over the first half of at most 32 texts; ``held out`` is that
    over the other half, and ``by chance`` how often the best of all cells that are ranked (of all recurrent layers, or of the
    chosen one) does as well when the property is shifted along the texts and in each of them. A cell may well mean something else that
    merely goes along with the property.
    *Cost* one forward pass of the text; once a step one of 32 texts for each recurrent layer.
    *Source* Karpathy, Johnson & Fei-Fei 2015, section 4.
    """

    title = "Cells"
    question = "What do single cells keep in mind while they read?"
    family = "features"
    papers = ("Karpathy, Johnson & Fei-Fei 2015, arXiv:1506.02078",)
    rows = ("A4", "A5")
    follows = ("unit", "layer", "example", "token")
    input = True
    demo = "text"

    layer: str | None = knob(
        None, "The layer, any that answers at each token; the chosen one, or all recurrent ones, when left open.", kind="layer"
    )
    cell: str | None = knob(
        None, "The cell; the chosen one, or the best match, when left open.", kind="cell", main=True
    )
    property: str = knob(
        "any", "Offer the cells that match this property of the text best.",
        choices=("any", *PROPERTIES, *MUSIC, PATTERN, CHOSEN), main=True,
    )
    pattern: str = knob("", "A regular expression: the cells that are on where it matches are offered too.", main=True)
    state: str = knob(
        "auto", "Colour, and rank cells, by what a cell keeps (tanh of an LSTM's memory) or says; auto: by its memory where it has one.",
        choices=STATES,
    )
    guesses: bool = knob(True, "Show the likeliest characters or tokens below each.")
    limit: int = knob(600, "The most characters or tokens that are shown.", low=1, high=4000)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs tokens and a layer that answers at each."""
        if not any(isinstance(kind, Tokens) for kind in scene.kinds.values()):
            return "it colours texts, and the inputs are no tokens"
        return None if told(scene) else "it shows the cells of a layer that answers at each token, and there is none"

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """At once when the cell is given; else after the cells have been matched with properties."""
        if self.property == PATTERN and not self.pattern:
            raise UsageError("no regular expression was given: type one as pattern, such as ^def or [A-Z]+:")
        layer = self._layer(scene, selection)
        given = self._given(layer, selection)
        if self.property in {*PROPERTIES, *MUSIC} - set(told := told_of(texts.kind(scene, text_at(scene, layer.name)))):
            raise NotApplicable(f"these tokens have no {self.property!r}; choose any, or {', '.join(told)}")
        kept = keeps(scene, layer.name, self.state)
        current = scene.current(selection)
        if reason := misplaced(scene, layer.name):
            raise NotApplicable(f"{spoken(layer.name)} {reason}{ELSE}")
        if self.property == CHOSEN or given is not None:
            seen = yield from self._seen(scene, layer, current, kept)
        if given is not None:
            yield self._drawn(scene, selection, seen, given, None)
        if self.property == CHOSEN:
            offered = _chosen(selection, seen)
            yield self._drawn(scene, selection, seen, given if given is not None else offered[0].cell if offered else 0, offered)
            return
        found: dict[str, dict[str, Any]] = {}
        layers = self._ranked(scene, selection, layer)
        for number, one in enumerate(layers):
            for stage in scene.derive("properties", layer=one.name, pattern=self.pattern, state=self.state).stream():
                if not stage.final:
                    share = (number + stage.done / stage.total) / len(layers)
                    yield Progress(done=share * stage.total, total=stage.total, note=stage.note)
            found[one.name] = stage.value
        offered = self._offered(found, given)
        if given is None:
            best = offered[0].layer if offered else layer.name
            seen = yield from self._seen(scene, scene.layers[best], current, keeps(scene, best, self.state))
        cell = given if given is not None else offered[0].cell if offered else 0
        yield self._drawn(scene, selection, seen, cell, offered, found[seen.layer.name])

    def _ranked(self, scene: Scene, selection: Selection, layer: Layer) -> list[Layer]:
        """The layers whose cells are offered: the one that was chosen, else all recurrent ones that read the same text."""
        chosen = any((key := selection.one(kind)) is not None and key.name == layer.name for kind in ("unit", "layer"))
        if chosen or self.layer is not None or self.cell is not None:
            return [layer]
        read = text_at(scene, layer.name)
        return [one for one in scene.layers.stepwise if not misplaced(scene, one.name) and text_at(scene, one.name) == read] or [layer]

    def _layer(self, scene: Scene, selection: Selection) -> Layer:
        good = set(told(scene))
        chosen = next((key for key in (selection.one("unit"), selection.one("layer")) if key is not None and key.name in good), None)
        wanted = self.layer
        named = self.cell.rpartition("/")[0].removeprefix("unit:") if self.cell is not None else ""
        if named:
            wanted = scene.layers[named].name
            if self.layer is not None and scene.layers[self.layer].name != wanted:
                raise UsageError(f"the cell {self.cell} is none of {self.layer}; name one layer")
        if wanted is None and chosen is None:
            first = next((one for one in scene.layers.stepwise if not misplaced(scene, one.name)), None)
            return first if first is not None else scene.layers[legible(scene)]
        return scene.layer(wanted, selection, lambda one: one.name in good, wanted="layer that answers at each token")

    def _given(self, layer: Layer, selection: Selection) -> int | None:
        if self.cell is not None:
            text = self.cell.rpartition("/")[2]
            if not text.isdecimal() or int(text) >= layer.units:
                raise UsageError(f"{layer.name} has cells 0 to {layer.units - 1}, got {self.cell!r}")
            return int(text)
        key = selection.one("unit")
        return key.number if key is not None and key.name == layer.name else None

    def _offered(self, found: dict[str, dict[str, Any]], given: int | None) -> list[Match]:
        """The best cells of all layers for the wanted property, or the best ones of each; of a given cell what it follows most.

        What is one property in these texts is offered once, under all its names.
        """
        each, told = list[Match](), next(iter(found.values()))
        # Who chooses from all layers is lucky as often as the best cell of any of them.
        luck = np.stack([one["shifted"] for one in found.values()]).max(0)
        rows = [row for row, first in enumerate(told["same"].tolist()) if row == first]
        if self.property != "any":
            rows = [int(told["same"][told["names"].index(self.property)])]
        most = 2 if self.property == "any" else 12
        for row in rows:
            some = [
                Match.of(own, row, int(cell), name, luck) for name, own in found.items()
                for cell in np.argsort(-np.abs(own["first"][row]), kind="stable")[:most]
            ]
            each += sorted(some, key=lambda match: -abs(match.first))[:most]
        if given is not None:
            name, own = next(iter(found.items()))
            each.append(max((Match.of(own, row, given, name, luck) for row in rows), key=lambda match: abs(match.first)))
        # A property that the texts do not have is followed by none.
        each = [match for match in each if match.first]
        return sorted(dict.fromkeys(each), key=lambda match: -abs(match.first))

    def _seen(self, scene: Scene, layer: Layer, current: CurrentInput, kept: bool) -> Generator[Progress, None, SeenText]:
        """What all cells of a layer hold at the tokens of a text; of a long one, whose memory is read on, of those that are shown."""
        restarts = Restarts.of(scene, current.x) if kept and self.property != CHOSEN else None
        if restarts is None or not restarts.holds(scene):
            return SeenText(layer, current, (memory if kept else hidden)(scene, layer.name, current.x)[0], kept)
        start = max(0, restarts.total - self.limit)
        for done in restarts.read(scene, start):
            yield Progress(done=done, total=start, note=restarts.NOTE)
        return SeenText(layer, current, restarts.states(scene, layer.name, start, restarts.total)["c"][0].T.tanh(), kept, start)

    def _drawn(self, scene: Scene, selection: Selection, seen: SeenText, cell: int, offered: list[Match] | None, found: Any = None) -> Picture:
        layer, current = seen.layer, seen.current
        read = text_at(scene, layer.name)
        tokens = texts.tokens(current.shown, read)
        end = seen.first + seen.values.shape[1]
        # Of a packed text nothing is seen behind its end.
        tokens = tokens[:end]
        if end != len(tokens):
            raise NotApplicable(f"{layer.name} answers at {end} places, and the text has {len(tokens)} tokens")
        start = max(0, len(tokens) - self.limit)
        guesses = self.guesses and scene.task == "next_token" and not tags(scene) and not misplaced(scene, "")
        elsewhere = text_at(scene) if guesses and text_at(scene) != read else ""
        text = self._text(scene, seen, tokens, cell, start, read if guesses and not elsewhere else None)
        marks: list[Node] = [text]
        checks: tuple[Check, ...] = ()
        what, one = "its memory" if seen.kept else "it", "character" if text.characters else "token"
        words = f"Cell {cell} of {spoken(layer.name)} on {current.label}: blue where {what} is positive, orange where {what} is negative."
        if self.guesses and text.alternatives:
            words += _said(scene, one)
        note = f"the last {self.limit} of {len(tokens)} {one}s" if start else ""
        if elsewhere:
            note += f"{'; ' if note else ''}what the network expects stands at the tokens of {elsewhere}, and this layer reads {read}: it is left out"
        if offered:
            marks.append(_offer(layer, offered))
            own = next((match for match in offered if match.cell == cell and match.layer in ("", layer.name)), None)
            checks = own.checks if own is not None else ()
        elif offered is not None:
            what = "any property" if self.property == "any" else f"“{self.pattern if self.property == PATTERN else self.property}”"
            note += ("; " if note else "") + f"no cell is offered: {what} does not come and go in those texts by which cells are ranked"
        return self.picture(
            scene, selection, f"Cell {cell} of {spoken(layer.name)}", Group(children=tuple(marks), direction="row"), words, checks=checks,
            note=note, final=offered is not None, idle=_unfit(texts.kind(scene, read), found),
        )

    def _text(self, scene: Scene, seen: SeenText, tokens: list[str], cell: int, start: int, guessed: str | None) -> Text:
        """The tokens from a place on, with the cell's value at each, and what was likeliest there where a text by that name is ``guessed``."""
        value = seen.values[cell, start - seen.first :].double().numpy()
        limits = symmetric(value, 1.0 if bool((np.abs(np.nan_to_num(value)) <= 1).all()) else None)
        found = runs(tokens[start:])
        shown, value = folded(tokens[start:], value, mean=True)
        keys = tuple(str(Key("token", "", tuple(dict.fromkeys((start + part.start, start + part.stop - 1))))) for _, part in found)
        alternatives: tuple[tuple[Alternative, ...], ...] = ()
        if guessed is not None:
            on = answers_on(scene)
            guesses = _guesses(scene, seen.current.x, len(tokens), start, guessed, on)
            alternatives = (*(guesses[part.start] for _, part in found), *guesses[len(tokens) - start :])
            # A place more for each that is answered behind the end.
            shown, value = (*shown, *["…"] * on), np.append(value, np.zeros(on))
            keys = (*keys, *(number_key("token", len(tokens) + k) for k in range(on)))
        return Text(
            tokens=shown, values=value, limits=limits, alternatives=alternatives, keys=keys, characters=texts.single(tokens[start:]),
        )


@dataclasses.dataclass(frozen=True)
class SeenText:
    """What all cells of a layer hold at the tokens of a text."""

    layer: Layer
    current: CurrentInput
    values: Tensor
    """(cells, tokens)."""
    kept: bool
    """It is what they keep, not what they say."""
    first: int = 0
    """The token at which the values begin."""


@dataclasses.dataclass(frozen=True)
class Match:
    """How closely a cell follows a property."""

    follows: str
    cell: int
    first: float
    """By which it was ranked."""
    held_out: float | None
    chance: float
    layer: str = ""
    """Empty where it is the one that is shown."""

    @classmethod
    def of(cls, found: dict[str, Any], row: int, cell: int, layer: str, luck: NDArray[np.float64]) -> Match:
        """One cell and property of the derivation's value; ``luck`` (properties, shifts) is the best of all ranked cells under each shift."""
        first, held_out = (float(found[name][row, cell]) for name in ("first", "held_out"))
        chance = (1 + int((luck[row] >= abs(held_out) - 1e-6).sum())) / (1 + SHIFTS)
        names = [name for name, one in zip(found["names"], found["same"].tolist(), strict=True) if one == row]
        return cls(SAME.join(names), cell, first, held_out, chance, layer)

    @property
    def checks(self) -> tuple[Check, ...]:
        """How far the match can be believed."""
        value = self.first if self.held_out is None else self.held_out
        where = "on this text" if self.held_out is None else "on texts by which it was not chosen"
        sentence = (
            f"How well this cell goes along with “{self.follows}” {where}: 1 or −1 wholly, 0 not at all. With the property "
            f"shifted along the text, {SHIFTS} times, the best of all cells that are ranked did as well "
            f"{round(self.chance * (1 + SHIFTS)) - 1} times."
        )
        return (Check(name=f"correlation with {self.follows}", value=value, sentence=sentence, good=abs(value) > 0.5 and self.chance <= SURE),)


def _unfit(kind: Tokens, found: Any) -> dict[str, str]:
    """The choices of ``property`` that say nothing of such texts, each with the reason."""
    told = told_of(kind)
    unfit = {name: "these tokens have no such property" for name in (*PROPERTIES, *MUSIC) if name not in told}
    if found is not None:
        still = [name for name, row in zip(found["names"], found["first"], strict=True) if name in told and not np.any(row)]
        unfit |= dict.fromkeys(still, "it does not come and go in these texts")
    return {f"property={name}": reason for name, reason in unfit.items()}


def _chosen(selection: Selection, seen: SeenText) -> list[Match]:
    """The cells that go along best with the tokens that were chosen in this text."""
    values = seen.values.double().numpy()
    inside = np.zeros(values.shape[1])
    for key in selection.all("token"):
        inside[[k for k in key.numbers if k < len(inside)]] = 1
    if not inside.any() or inside.all():
        raise UsageError("choose some tokens of the text, not all: the cells that are on there are offered")
    found = _along(values, inside)
    best = np.stack([np.abs(_along(values, np.roll(inside, shift))).max() for shift in shifts(len(inside))])
    chance = (1 + (best[:, None] >= np.abs(found) - 1e-9).sum(0)) / (1 + SHIFTS)
    strong = np.argsort(-np.abs(found), kind="stable")[:12]
    return [Match(CHOSEN, int(cell), float(found[cell]), None, float(chance[cell])) for cell in strong]


def _along(values: NDArray[np.float64], inside: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's correlation of each row with one; 0 where a row does not vary or is not finite."""
    with np.errstate(all="ignore"):
        apart, other = values - values.mean(1, keepdims=True), inside - inside.mean()
        found = apart @ other / np.sqrt((apart * apart).sum(1) * (other @ other))
    found[~np.isfinite(found)] = 0.0
    return np.asarray(found)


def _said(scene: Scene, one: str) -> str:
    """What stands below each token, in a sentence: a guess of what was to come, unless the network has read it."""
    on = answers_on(scene)
    if not on:
        return f" Below each {one} stand the five likeliest answers of the network at its place, the bluer the surer."
    if looks_ahead(scene):
        words = f" Below each {one} stand the five likeliest answers for its place, the bluer the surer: no guesses, since the network reads what "
        return words + "lies ahead and has seen it; last of all, what it expects next."
    words = f" Below each {one} stand the five that the network thought likeliest in its place, the bluer the surer; "
    return words + "last of all, what it expects next."


def _guesses(scene: Scene, x: Any, count: int, start: int, name: str, on: int) -> tuple[tuple[Alternative, ...], ...]:
    """For each token what was likeliest in its place, which is ``on`` behind the one that answers; nothing before it, more after the last."""
    chance = scene.probabilities(x)[0].nan_to_num(0)[:count]
    top = chance.topk(min(LIKELIEST, chance.shape[-1]), -1)
    kind = texts.kind(scene, name)
    rows = [
        tuple(Alternative(texts.visible(kind.token(int(k))), float(p)) for k, p in zip(index, value, strict=True))
        for index, value in zip(top.indices, top.values, strict=True)
    ]
    # A network that answers at fewer places says nothing of the others.
    rows += [()] * (count - len(rows))
    return (*[()] * on, *rows)[start:]


def _offer(layer: Layer, best: list[Match]) -> Table:
    joined = any(SAME in match.follows for match in best)
    columns = [
        Column(
            name="property", kind="text", texts=tuple(match.follows for match in best),
            note=f"names with “{SAME.strip()}” between them are of one and the same property in these texts" if joined else "",
        ),
        Column(name="cell", numbers=np.array([float(match.cell) for match in best])),
        Column(name="correlation", numbers=np.array([match.first for match in best]), signed=True, note="over the first half of the texts"),
        Column(
            name="held out", numbers=np.array([np.nan if match.held_out is None else match.held_out for match in best]), signed=True,
            note="the correlation over the other half",
        ),
        Column(
            name="by chance", kind="share", numbers=np.array([match.chance for match in best]),
            note="how often the best of all cells that are ranked does as well when the property is shifted along the texts",
        ),
    ]
    if best[0].held_out is None:
        del columns[3]
    if len({match.layer for match in best}) > 1:
        columns.insert(1, Column(name="layer", kind="text", texts=tuple(spoken(match.layer or layer.name) for match in best)))
    keys = tuple(unit_key(match.layer or layer.name, match.cell) for match in best)
    return Table(columns=tuple(columns), row_keys=keys, title="Cells that match a property best")
