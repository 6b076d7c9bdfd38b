"""Text coloured by one cell of a recurrent network, and which cells keep which property of the text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...core.colour import symmetric
from ...core.errors import NotApplicable, UsageError
from ...core.knobs import knob
from ...core.marks import Alternative, Column, Group, Node, Table, Text
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, number_key, unit_key
from ...data.kinds import Tokens
from ...derive.texts import PROPERTIES
from ...model.layers import Layer
from ...scene import Scene
from ...scene.states import states
from ..answers import visible
from ..view import View

LIKELIEST = 5


class Cells(View):
    """Each character coloured by one cell of an LSTM, GRU or RNN, with the likeliest next characters below.

    *Meaning* blue where the cell is positive, orange where it is negative: a cell that is blue inside quotes keeps in
    mind that a quote is open. Below each character stands what the network expected in its place. The table offers the
    cells whose value goes along best with a property of the text.
    *Error* the correlation (−1 to 1) over at most 32 texts of the probe set says how well a cell and a property go
    together; a cell may well mean something else that merely goes along with it.
    *Cost* one forward pass of the text; once a step one of 32 texts.
    *Source* Karpathy, Johnson & Fei-Fei 2015, section 4.
    """

    title = "Cells"
    question = "What do single cells keep in mind while they read?"
    family = "features"
    papers = ("Karpathy, Johnson & Fei-Fei 2015, arXiv:1506.02078",)
    rows = ("A4", "A5")
    follows = ("unit", "layer", "example")
    input = True
    demo = "text"

    layer: str | None = knob(None, "The recurrent layer; the first, or the chosen one, when left open.", kind="layer")
    cell: str | None = knob(
        None, "The cell; the chosen one, or the best match, when left open.", kind="cell", main=True
    )
    property: str = knob(
        "any", "Offer the cells that match this property of the text best.",
        choices=("any", *PROPERTIES), main=True,
    )
    state: str = knob(
        "output", "Colour by what the cell says, or by what it keeps (an LSTM's memory).", choices=("output", "memory")
    )
    guesses: bool = knob(True, "Show the likeliest characters below each.")
    limit: int = knob(600, "The most characters that are shown.", low=1, high=4000)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs tokens and a recurrent layer."""
        if not any(isinstance(kind, Tokens) for kind in scene.kinds.values()):
            return "it colours texts, and the inputs are no tokens"
        return None if _recurrent(scene) else "it shows the cells of an LSTM, GRU or RNN, and there is none"

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """At once when the cell is given; else after the cells have been matched with properties."""
        layer = scene.layer(self.layer, selection, lambda one: one in _recurrent(scene), wanted="recurrent layer")
        given = self._given(layer, selection)
        if given is not None:
            yield self._drawn(scene, selection, layer, given, None)
        for stage in scene.derive("properties", layer=layer.name).stream():
            if not stage.final:
                yield stage.progress
        table = stage.value["correlations"]
        cell = given if given is not None else self._best(table)[0][1]
        yield self._drawn(scene, selection, layer, cell, table)

    def _given(self, layer: Layer, selection: Selection) -> int | None:
        if self.cell is not None:
            text = self.cell.rpartition("/")[2]
            if not text.isdecimal() or int(text) >= layer.units:
                raise UsageError(f"{layer.name} has cells 0 to {layer.units - 1}, got {self.cell!r}")
            return int(text)
        key = selection.one("unit")
        return key.number if key is not None and key.name == layer.name else None

    def _best(self, table: NDArray[np.float64]) -> list[tuple[str, int, float]]:
        """The best cells for the wanted property, or the best ones of each: property, cell, correlation."""
        found = []
        for name, row in zip(PROPERTIES, table, strict=True):
            if self.property in ("any", name):
                strong = np.argsort(-np.abs(row), kind="stable")[: 3 if self.property == "any" else 12]
                found += [(name, int(cell), float(row[cell])) for cell in strong]
        return sorted(found, key=lambda match: -abs(match[2]))

    def _drawn(
        self, scene: Scene, selection: Selection, layer: Layer, cell: int, table: NDArray[np.float64] | None
    ) -> Picture:
        current = scene.current(selection)
        tokens = _tokens(current.shown)
        values = self._values(scene, layer, current.x)[cell].double().numpy()
        start = max(0, len(tokens) - self.limit)
        text = self._text(scene, current.x, tokens, values, start)
        marks: list[Node] = [text]
        checks: tuple[Check, ...] = ()
        words = (
            f"Cell {cell} of {layer.name} on {current.label}: blue where it is positive, orange where it is negative."
        )
        if self.guesses and text.alternatives:
            words += " Below each character stand the five that the network thought likeliest in its place, "
            words += "with their probabilities; last of all, what it expects next."
        if table is not None:
            best = self._best(table)
            marks.append(_offer(layer, best))
            which = int(np.abs(table[:, cell]).argmax())
            name, value = tuple(PROPERTIES)[which], float(table[which, cell])
            sentence = f"How well this cell goes along with “{name}”: 1 or −1 wholly, 0 not at all."
            checks = (Check(name=f"correlation with {name}", value=value, sentence=sentence, good=abs(value) > 0.5),)
        note = f"the last {self.limit} of {len(tokens)} characters" if start else ""
        return self.picture(
            scene, selection, f"Cell {cell} of {layer.name}", Group(children=tuple(marks)), words, checks=checks,
            note=note, final=table is not None,
        )

    def _values(self, scene: Scene, layer: Layer, x: object) -> Tensor:
        """Every cell's value at each token, (cells, tokens)."""
        if self.state == "memory":
            found = states(scene, layer.name, x)  # type: ignore[arg-type]
            if "c" not in found:
                raise NotApplicable(
                    f"{layer.name} is a {layer.kind}, which has no memory beside its output; use state=output"
                )
            return found["c"][0].T.tanh().cpu()
        return scene.activations(layer.name, x)[layer.name][0]  # type: ignore[arg-type]

    def _text(self, scene: Scene, x: object, tokens: Sequence[str], values: NDArray[np.float64], start: int) -> Text:
        shown = list(tokens[start:])
        value = values[start:]
        alternatives: tuple[tuple[Alternative, ...], ...] = ()
        keys = tuple(number_key("token", start + k) for k in range(len(shown)))
        if self.guesses and scene.task == "next_token":
            alternatives = _guesses(scene, x, start)
            # One place more, for what is expected after the end.
            shown, value = [*shown, "…"], np.append(value, 0.0)
            keys = (*keys, number_key("token", len(tokens)))
        return Text(
            tokens=tuple(shown), values=value, limits=symmetric(value, 1.0), alternatives=alternatives, keys=keys,
            characters=all(len(token) == 1 for token in shown),
        )


def _recurrent(scene: Scene) -> list[Layer]:
    return list(scene.layers.recurrent)


def _tokens(shown: object) -> list[str]:
    value = next((part for part in shown.values() if isinstance(part, list)), []) if isinstance(shown, dict) else shown
    return list(value) if isinstance(value, list) else []


def _guesses(scene: Scene, x: object, start: int) -> tuple[tuple[Alternative, ...], ...]:
    """For each token what was likeliest in its place; nothing for the first, and one more after the last."""
    chance = scene.probabilities(x)[0].nan_to_num(0)  # type: ignore[arg-type]
    top = chance.topk(min(LIKELIEST, chance.shape[-1]), -1)
    kind = next(kind for kind in scene.kinds.values() if isinstance(kind, Tokens))
    rows = [
        tuple(Alternative(visible(kind.token(int(k))), float(p)) for k, p in zip(index, value, strict=True))
        for index, value in zip(top.indices, top.values, strict=True)
    ]
    return ((), *rows)[start:]


def _offer(layer: Layer, best: Sequence[tuple[str, int, float]]) -> Table:
    columns = (
        Column(name="property", kind="text", texts=tuple(match[0] for match in best)),
        Column(name="cell", numbers=np.array([float(match[1]) for match in best])),
        Column(name="correlation", numbers=np.array([match[2] for match in best]), signed=True),
    )
    keys = tuple(unit_key(layer.name, match[1]) for match in best)
    return Table(columns=columns, row_keys=keys, title="Cells that match a property best")
