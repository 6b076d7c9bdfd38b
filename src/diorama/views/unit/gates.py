"""The gates of one recurrent cell over time, and how often all of them are shut or open."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...core.colour import symmetric
from ...core.errors import UsageError
from ...core.knobs import knob
from ...core.marks import Column, Field, Group, Handle, Lines, Node, Series, Table, Text
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, number_key, spoken, unit_key
from ...data.text_places import ends
from ...model.layers import Layer
from ...model.recurrent_kernels import States
from ...scene import Scene
from ...scene.input import CurrentInput
from ...scene.layer_text import mirrored, misplaced, text_at
from ...scene.restarts import Restarts
from ...scene.states import parts, states
from .. import inputs, texts
from ..view import View

Floats = NDArray[np.float64]
NAMES = {
    "i": "input gate", "f": "forget gate", "o": "output gate", "g": "candidate", "c": "cell", "h": "output",
    "r": "reset gate", "z": "update gate", "n": "candidate",
}
SHUT, OPEN = 0.1, 0.9
WORDS = "x: input, h and c: output and cell at this place, with ′ at the place before; each product with its bias"
LINES = (("ifrzo", "Gates: open at 1, shut at 0", (0.0, 1.0)), ("gnh", "Candidate and output", None), ("c", "Memory", None))


class GatesView(View):
    """What the gates of one cell of an LSTM or GRU let through at each place of a text or series, and what the cell makes of it.

    *Meaning* a gate is open at 1 and shut at 0. An LSTM keeps its cell where the forget gate is open, writes its candidate
    where the input gate is open, and says what it holds where the output gate is open. A GRU writes its candidate where the
    update gate is shut. The table holds the formulas with the numbers of the chosen moment. On the planes every dot is a cell:
    far to the right its gate is nearly always open, far up nearly always shut, at the lower left neither.
    *Error* the check is the largest difference between the outputs that the gates give and those that the layer returns.
    *Cost* one forward pass with the recurrent layers place by place; two of the live examples for the planes. A text of more than
    1,024 places is read once, up to the places shown, and states are kept; after that the places shown cost themselves.
    *Source* Karpathy, Johnson & Fei-Fei 2015, figure 2.
    """

    title = "Gates"
    question = "What does a recurrent cell let in, keep and let out?"
    family = "features"
    papers = ("Karpathy, Johnson & Fei-Fei 2015, arXiv:1506.02078", "Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735")
    rows = ("C32",)
    follows = ("unit", "layer", "example", "token")
    input = True
    demo = "text"

    layer: str | None = knob(None, "The recurrent layer; the first, or the chosen one, when left open.", kind="layer", main=True)
    cell: int | None = knob(
        None, "The cell; the chosen one, or the one whose colour moves most (of a long text: over the places shown), when left open.", kind="integer",
        low=0, main=True,
    )
    moment: float | None = knob(
        None, "The place whose numbers stand in the formulas; the chosen token, or the last, before padding, when left open.", kind="number", low=0
    )
    limit: int = knob(300, "The most places that are shown.", low=2, high=4000)
    saturation: bool = knob(True, "Count how often the gates of all cells are shut and open.")

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a layer that keeps states."""
        return None if len(scene.layers.stepwise) else "it shows the gates of an LSTM, GRU or RNN, and the network runs none"

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The cell over time; then with the planes of all cells."""
        known = {one.name for one in scene.layers.stepwise} | {one.path for one in scene.layers.stepwise}
        layer = scene.layer(self.layer, selection, lambda one: one.name in known, wanted="recurrent layer")
        current = scene.current(selection)
        restarts = Restarts.of(scene, current.x)
        if restarts is not None and current.index is not None:
            yield from self._taken(scene, selection, current, restarts)
        if restarts is None or not restarts.holds(scene):
            seen = self._seen(scene, selection, layer, current)
        else:
            moment, start, stop = self._window(selection, restarts.total, _end(scene, current, restarts.total))
            for done in restarts.read(scene, start):
                yield Progress(done=done, total=start, note=restarts.NOTE)
            seen = self._stretch(scene, selection, layer, current, restarts, moment, range(start, stop))
        gated = seen.kind != "rnn"
        yield self._drawn(scene, selection, seen, None, final=not (self.saturation and gated))
        if self.saturation and gated:
            for stage in scene.derive("saturation", layer=seen.layer.name).stream():
                if not stage.final:
                    yield stage.progress
            yield self._drawn(scene, selection, seen, stage.value, final=True)

    def _taken(self, scene: Scene, selection: Selection, current: CurrentInput, restarts: Restarts) -> Iterator[Progress]:
        """Take the states that are kept with the run, as far as the places shown; read on and keep them where nobody has."""
        start = self._window(selection, restarts.total, _end(scene, current, restarts.total))[1]
        for stage in scene.derive("restarts", example=current.index).stream():
            if stage.final:
                restarts.take(stage.value)
            elif stage.done > start or restarts.reached > start:
                return
            else:
                yield Progress(done=stage.done, total=start, note=stage.note)

    def _seen(self, scene: Scene, selection: Selection, layer: Layer, current: CurrentInput) -> SeenCell:
        """One cell of the layer on the whole of the current input."""
        layer, asked = self._part(scene, selection, layer)
        found = states(scene, layer.name, current.x)
        values = _values(found)
        steps = len(values["h"])
        if not steps:
            raise UsageError("the gates want a text of at least one place, got an empty one")
        cell = self._cell(asked, layer, values)
        own = scene.activations(layer.name, current.x)[layer.name][0].T if _returns(layer) else None
        moment, _, _ = self._window(selection, steps, _end(scene, current, steps))
        return SeenCell(layer, current, found, values, cell, moment, steps, 0, _gap(own, values["h"]))

    def _stretch(
        self, scene: Scene, selection: Selection, layer: Layer, current: CurrentInput, restarts: Restarts, moment: int, places: range
    ) -> SeenCell:
        """One cell of the layer on a stretch of a long text, read on from the nearest kept state."""
        layer, asked = self._part(scene, selection, layer)
        found = restarts.states(scene, layer.name, places.start, places.stop)
        values = _values(found)
        own = restarts.outputs(scene, layer, places.start, places.stop)[0] if _returns(layer) else None
        cell = self._cell(asked, layer, values)
        return SeenCell(layer, current, found, values, cell, moment, restarts.total, places.start, _gap(own, values["h"]))

    def _window(self, selection: Selection, steps: int, last: int | None = None) -> tuple[int, int, int]:
        """The moment, by itself the ``last``, and the places that are shown about it: from which to behind which."""
        key = selection.one("token")
        last = steps - 1 if last is None else last
        asked = self.moment if self.moment is not None else float(key.number if key is not None else last)
        moment = min(round(asked), steps - 1)
        start = min(max(0, moment - self.limit // 2), max(0, steps - self.limit))
        return moment, start, min(steps, start + self.limit)

    def _part(self, scene: Scene, selection: Selection, layer: Layer) -> tuple[Layer, int | None]:
        """The part of a module in which a cell lies, and the cell's number there: behind those that read forward stand those that
        read backward."""
        key = selection.one("unit")
        asked = self.cell if self.cell is not None else key.number if key is not None and key.name == layer.name else None
        own = parts(scene, layer.name)
        if asked is None or len(own) == 1:
            return own[0], asked
        units = own[0].units
        if asked >= units * len(own):
            raise UsageError(f"{layer.name} has cells 0 to {units * len(own) - 1}, got {asked}")
        return own[asked // units], asked % units

    def _cell(self, asked: int | None, layer: Layer, values: dict[str, Floats]) -> int:
        wide = values[next(iter(values))].shape[1]
        if asked is None:
            # As the text is coloured: a memory that runs off to one side moves far, and tells nothing from nothing.
            kept = np.tanh(values["c"]) if "c" in values else values["h"]
            return int(np.nan_to_num(kept).std(0).argmax())
        if asked >= wide:
            raise UsageError(f"{layer.name} has cells 0 to {wide - 1}, got {asked}")
        return asked

    def _drawn(self, scene: Scene, selection: Selection, seen: SeenCell, counted: Any, *, final: bool) -> Picture:
        _, start, stop = self._window(selection, seen.steps)
        here = slice(start - seen.first, stop - seen.first)
        marks: list[Node] = []
        tokens = texts.tokens(seen.current.shown, text_at(scene, seen.layer.name))
        if seen.steps < len(tokens) and not misplaced(scene, seen.layer.name):
            # Of a packed text nothing is seen behind its end.
            tokens = tokens[: seen.steps]
        turned = mirrored(scene, seen.layer.name)
        tokens = [] if turned else tokens
        kept = np.tanh(seen.line("c")) if "c" in seen.values else seen.line("h")
        if len(tokens) == seen.steps:
            part = kept[here]
            what = "tanh of the memory" if "c" in seen.values else "the output"
            marks.append(Text(
                tokens=tuple(tokens[start:stop]), values=part, limits=symmetric(part, 1.0 if seen.bounded else None),
                characters=texts.single(tokens), keys=tuple(number_key("token", k) for k in range(start, stop)),
                title=f"The text, coloured by {what}",
            ))
        handle: Handle | None = Handle(knob="moment", kind="slide", low=float(start), high=float(stop - 1), value=str(seen.moment), whole=True)
        x = np.arange(start, stop, dtype=float)
        along = inputs.along(scene.kind)
        for letters, title, span in LINES:
            series = tuple(
                Series(name=f"{name}: {NAMES[name]}", x=x, y=seen.line(name)[here], colour="ifogchrzn".index(name))
                for name in letters if name in seen.values
            )
            if series:
                marks.append(Lines(
                    series=series, x_title=along, x_kind="number", y_range=span, cursor=float(seen.moment), handle=handle,
                    title=title if seen.kind != "rnn" else "Output", height=90,
                ))
                handle = None  # one slider moves the cursor of all
        marks.append(_equations(seen))
        if counted is not None:
            marks.append(Group(children=tuple(_planes(seen, counted)), direction="row"))
        title = f"{'Gates of cell' if seen.kind != 'rnn' else 'Cell'} {seen.cell} of {spoken(seen.layer.name)}"
        note = f"places {start} to {stop - 1} of {seen.steps}" if stop - start < seen.steps else ""
        note += ("; " * bool(note) + "the layer reads the text from its end: place 0 is the last token") if turned else ""
        own = parts(scene, seen.layer.path)
        if len(own) > 1 and seen.layer.name == own[0].name:
            back, units = own[1], own[0].units
            note += "; " * bool(note) + (
                f"cells that read forward: of {spoken(seen.layer.path)}, cells {units} to {units + back.units - 1} read backward; "
                f"choose one, or layer={back.name}"
            )
        return self.picture(
            scene, selection, title, Group(children=tuple(marks)), _caption(seen, tokens, counted), checks=seen.checks, note=note,
            final=final,
        )


@dataclasses.dataclass(frozen=True)
class SeenCell:
    """One cell of a recurrent layer on one input."""

    layer: Layer
    current: CurrentInput
    states: States
    values: dict[str, Floats]
    cell: int
    moment: int
    steps: int
    """How many places the input has …"""
    first: int
    """… and from which on the values are."""
    gap: float | None

    @property
    def wide(self) -> int:
        """How many cells there are; a projected layer has fewer outputs."""
        return int(self.values[next(iter(self.values))].shape[1])

    @property
    def kind(self) -> str:
        """The formula: lstm, gru or rnn."""
        return "lstm" if "c" in self.values else "gru" if "z" in self.values else "rnn"

    @property
    def bounded(self) -> bool:
        """Whether what the text is coloured by lies between −1 and 1 by its formula."""
        return self.kind == "lstm" or bool((np.abs(np.nan_to_num(self.values["h"])) <= 1).all())

    @property
    def projected(self) -> bool:
        """Whether what the layer says is mixed from all cells."""
        return bool(self.values["h"].shape[1] != self.wide)

    def line(self, name: str) -> Floats:
        """A state of the cell over all places; its own output where the layer says mixtures."""
        if name == "h" and self.projected:
            line: Floats = self.values["o"][:, self.cell] * np.tanh(self.values["c"][:, self.cell])
            return line
        return self.values[name][:, self.cell]

    @property
    def checks(self) -> tuple[Check, ...]:
        """Whether the gates give what the layer says."""
        if self.gap is None:
            return ()
        sentence = "The largest difference between the layer’s outputs and those that follow from its gates."
        return (Check(name="gates against the layer", value=self.gap, sentence=sentence, good=self.gap < 1e-5),)


def _values(found: States) -> dict[str, Floats]:
    """The states of one example by letter, (places, cells)."""
    ran = found.mask[0]
    return {name: value[0][ran].double().numpy() for name, value in found.items()}


def _end(scene: Scene, current: CurrentInput, steps: int) -> int | None:
    """The place of the text's last token, where padding follows it and the layer reads place by place."""
    found = ends(scene.kind, current.x, steps)
    return found[0] if found else None


def _returns(layer: Layer) -> bool:
    """Whether the layer returns what it says at all places in one piece."""
    return layer.sequence and not layer.loop


def _gap(own: Tensor | None, h: Floats) -> float | None:
    """How far the outputs that the gates give lie from the layer's own (places, units)."""
    if own is None:
        return None
    said = own.double().cpu().numpy()
    apart = np.abs(said[: len(h)] - h) if said.shape[1:] == h.shape[1:] and len(said) >= len(h) else np.zeros(0)
    return float(apart.max()) if apart.size and np.isfinite(apart).all() else None


def _equations(seen: SeenCell) -> Table:
    """The formulas with the numbers of one moment."""
    at, k = seen.moment - seen.first, seen.cell
    ran = seen.states.mask[0]
    terms = {name: value[0][ran][at].double().numpy() for name, value in seen.states.terms.items()}
    here = {name: float(seen.line(name)[at]) for name in seen.values}
    rows: list[tuple[str, str, str, float]] = []
    letters = {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}[seen.kind]
    for place, letter in enumerate(letters):
        if terms:
            fed, back = (float(terms[name].reshape(len(letters), -1)[place, k]) for name in ("fed", "back"))
        else:
            fed = back = float("nan")
        name = NAMES[letter]
        if letter in "gh":
            activation = "tanh" if letter == "g" or seen.layer.kind != "RNN" or -1 <= here[letter] <= 1 else "relu"
            rows.append((name, f"{letter} = {activation}(Wx + Uh)", f"{activation}({_n(fed)} + {_n(back)})", here[letter]))
        elif letter == "n":
            rows.append((name, "n = tanh(Wx + r · Uh)", f"tanh({_n(fed)} + {_n(here['r'])} · {_n(back)})", here["n"]))
        else:
            rows.append((name, f"{letter} = σ(Wx + Uh)", f"σ({_n(fed)} + {_n(back)})", here[letter]))
    if seen.kind == "lstm":
        last = float(terms["c"][k]) if "c" in terms else float("nan")
        rows.append(("cell", "c = f · c′ + i · g", f"{_n(here['f'])} · {_n(last)} + {_n(here['i'])} · {_n(here['g'])}", here["c"]))
        rows.append(("output", "h = o · tanh(c)", f"{_n(here['o'])} · tanh({_n(here['c'])})", here["h"]))
    if seen.kind == "gru":
        last = float(terms["h"][k]) if "h" in terms else float("nan")
        rows.append(("output", "h = (1 − z) · n + z · h′", f"{_n(1 - here['z'])} · {_n(here['n'])} + {_n(here['z'])} · {_n(last)}", here["h"]))
    return Table(
        columns=(
            Column(name="what", kind="text", texts=tuple(row[0] for row in rows)),
            Column(name="formula", kind="text", texts=tuple(row[1] for row in rows), note=WORDS),
            Column(name="with the numbers", kind="text", texts=tuple(row[2] for row in rows)),
            Column(name="value", numbers=np.array([row[3] for row in rows]), signed=True),
        ),
        title=f"At place {seen.moment}",
    )


def _n(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _planes(seen: SeenCell, counted: Any) -> list[Node]:
    """For each gate a plane: how often it is open, and how often it is shut, a dot a cell."""
    found: list[Node] = []
    for letter, left, right in zip(counted["gates"], counted["left"], counted["right"], strict=True):
        points = np.stack([right, left], 1).astype(float)
        keys = () if seen.projected else tuple(unit_key(seen.layer.name, k) for k in range(len(points)))
        found.append(Field(
            values=np.full((2, 2, 1), 0.5, np.float32), extent=(-0.03, 1.03, -0.03, 1.03), classes=("cells",), points=points,
            point_values=np.zeros(len(points)), point_keys=keys, x_title=f"share above {OPEN}", y_title=f"share below {SHUT}", size=170,
            title=NAMES[letter].capitalize(),
        ))
    return found


def _caption(seen: SeenCell, tokens: Sequence[str], counted: Any) -> str:
    words = f"Cell {seen.cell} of {spoken(seen.layer.name)} on {seen.current.label}, place by place"
    if seen.moment < len(tokens) == seen.steps:
        words += f"; the formulas are at “{texts.visible(tokens[seen.moment])}”, place {seen.moment}"
    words += "."
    if seen.projected:
        words += f" The layer mixes its {seen.wide} cells to {seen.values['h'].shape[1]} outputs; shown is what the cell itself says."
    if counted is not None:
        words += f" On the planes each dot is a cell, over {counted['steps']:,} places: to the right its gate is often open, further up often shut."
    return words
