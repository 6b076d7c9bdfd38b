"""At which layer a network makes up its mind: what it would answer after each, at every position."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.colour import magnitude
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Group, Heatmap, Lines, Node, Series
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, number_key
from ...derive.derivations.lens import scores
from ...derive.streams import divergence, log_chances, residual_stream, without_stream
from ...model.stream import Stream
from ...scene import Scene
from ...scene.input import CurrentInput, ending, stretches
from .. import answers
from ..view import View
from ._positions import Positions, said_at, translates

COLUMNS = 64
"""At most so many positions are shown."""


class LensView(View):
    """What the network would answer if it stopped after a layer: a row a layer, a column a position.

    *Meaning* each cell names the likeliest answer after its layer and is the brighter the surer that is. The row below all
    others is the network's own answer; the first row from which a column does not change any more is where the network has
    made up its mind. The tuned lens learns for each layer a map that foresees the end, as early layers speak a language of
    their own.
    *Units* probabilities; divergences in nats.
    *Error* the check tells how far the last layer's row is from the network's output. The divergence says how much of the
    final answer a layer does not know yet; for the tuned lens it is that on texts that the maps never saw.
    *Cost* two forward passes, and the way out once a layer; the tuned lens is trained first, in seconds for a small network.
    *Source* nostalgebraist 2020; Belrose et al. 2023.
    """

    title = "Lens"
    question = "At which layer does the network make up its mind?"
    family = "process"
    papers = ("nostalgebraist 2020, “interpreting GPT: the logit lens”", "Belrose et al. 2023, arXiv:2303.08112")
    rows = ("D6", "E5")
    follows = ("example", "token")
    input = True
    demo = "repeats"

    kind: str = knob("logit", "The stream as it is, or through a map that was learnt for each layer.", choices=("logit", "tuned"), main=True)
    show: str = knob(
        "likeliest", "Colour by how sure the likeliest answer is, or by the probability of the network's final answer.",
        choices=("likeliest", "final"), main=True,
    )
    limit: int = knob(32, "The most positions that are shown: those up to the chosen token, else the last.", low=1, high=COLUMNS)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a residual stream, and probabilities."""
        if (reason := without_stream(scene)) is not None:
            return reason
        try:
            log_chances(scene)
        except NotApplicable as error:
            return str(error)
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The logit lens at once; the tuned one when its maps are learnt."""
        current = scene.current(selection)
        learnt: Any = None
        if self.kind == "tuned":
            if (reason := without_stream(scene, steps=True)) is not None:
                raise NotApplicable(reason)
            known = scene.derive("translators")
            if not known.known:
                yield self._picture(scene, selection, current, _scores(scene, current, "logit", None), None, final=False)
            for stage in known.stream():
                learnt = stage.value
                if not stage.final:
                    yield stage.progress
        yield self._picture(scene, selection, current, _scores(scene, current, self.kind, learnt), learnt, final=True)

    def _picture(
        self, scene: Scene, selection: Selection, current: CurrentInput, found: NDArray[np.float32], learnt: Any, *, final: bool,
    ) -> Picture:
        line = residual_stream(scene, current.x)
        chances = log_chances(scene)(torch.tensor(found))
        output = log_chances(scene)(scene.scores(current.x))[0]
        # Of a long text the last positions are held.
        first = len(output) - chances.shape[1]
        told, place = self._window(selection, first, len(output), ending(scene, current.x), _words(scene, current, len(output)))
        shown = chances[:, told.start - first : told.stop - first]
        apart = (output[first:] - chances[-1]).abs()
        gap = float(apart.nan_to_num(0, 0, 0).max()) if bool(apart.isfinite().any()) else float("nan")
        at = place - told.start if place is not None else shown.shape[1] - 1
        rows = line.names
        heat = self._heat(scene, current, rows, shown, len(output), told)
        below = Group(children=(_rising(scene, rows, shown[:, at]), _apart(rows, chances, learnt)), direction="row")
        settled = _settled(shown[:, at])
        best = int(shown[-1, at].nan_to_num(-np.inf).argmax())
        says = f"Where position {told.start + at} is answered, “{_name(scene, best)}” comes first from {rows[settled]} on." if (
            len(output) > 1) else f"The final answer, “{_name(scene, best)}”, comes first from {rows[settled]} on."
        if not bool(shown[-1, at].isfinite().any()):
            says = f"The answers {f'at position {told.start + at}' if len(output) > 1 else 'of the last layer'} are not numbers."
        # Against what is no number nothing was held.
        checks = () if np.isnan(gap) else (Check(
            name="last layer against the output", value=gap, good=gap < 1e-3,
            sentence="The largest difference of log-probabilities between the last row and what the network answers.",
        ),)
        kind = "tuned" if learnt is not None else "logit"
        return self.picture(
            scene, selection, f"What the network would answer after each layer ({kind} lens)", Group(children=(heat, below)),
            f"{current.label.capitalize()}: a row a layer, from the first to the last, which is the network's own answer; "
            f"each cell names the likeliest answer there. {says}", checks=checks, final=final,
            note=" ".join(part for part in (_note(len(output), told), _further(line)) if part),
        )

    def _window(self, selection: Selection, first: int, count: int, ended: int | None, words: int) -> tuple[slice, int | None]:
        """The positions that are shown, none behind the ``words`` unless it is chosen, and the chosen one: that which answers with its successor."""
        key = selection.one("token")
        place = key.number if key is not None and count > 1 and first <= key.number < count else ended
        end = count if ended is None else max(ended + 1, words, first + 1)
        stop = end if place is None else max(place + 1, min(end, first + self.limit))
        return slice(max(first, stop - self.limit), stop), place

    def _heat(self, scene: Scene, current: CurrentInput, rows: tuple[str, ...], shown: Tensor, answered: int, told: slice) -> Heatmap:
        clean = shown.nan_to_num(-np.inf)
        best = clean.argmax(-1)
        final = best[-1]
        if self.show == "final":
            values = shown.gather(-1, final[None, :, None].expand(len(shown), -1, 1))[..., 0].exp()
        else:
            values = shown.gather(-1, best[..., None])[..., 0].exp()
        columns = _columns(scene, current, answered, told)
        names = [[_name(scene, int(k)) for k in row] for row in best]
        return Heatmap(
            values=values.numpy(), limits=magnitude(values.numpy(), 0.0, 1.0, "probability", unit="probability"),
            row_labels=rows, column_labels=columns, cell_texts=tuple(name for row in names for name in row),
            column_keys=tuple(number_key("token", k) for k in range(told.start, told.start + shown.shape[1])) if answered > 1 else (),
            column_title="" if answered < 2 else "place of the answer" if translates(scene) == answered else "the token that is read", size=17,
        )


def _scores(scene: Scene, current: CurrentInput, kind: str, learnt: Any) -> NDArray[np.float32]:
    """Of an example of the probe set the derivation; of an input of one's own at once."""
    if current.index is None:
        return scores(scene, current.x, learnt if kind == "tuned" else None)
    return np.asarray(scene.derive("lens", example=current.index, kind=kind).value)


def _further(line: Stream) -> str:
    """What runs in every row although it is a layer."""
    return "" if not line.further else (
        f"What {line.further} and layers behind it add cannot be followed, so they run in every row: it tells what the network would "
        "answer if only the layers named here did nothing."
    )


def _columns(scene: Scene, current: CurrentInput, answered: int, told: slice) -> tuple[str, ...]:
    """What is read at each shown position; nothing for a single answer."""
    if answered == 1:
        return ()
    whole: Positions = said_at(scene, current, answered)
    return whole.names[told.start : told.stop]


def _name(scene: Scene, number: int) -> str:
    if scene.task == "classification":
        return scene.classes[number] if number < len(scene.classes) else str(number)
    return answers.token(scene, number)


def _words(scene: Scene, current: CurrentInput, count: int) -> int:
    """Behind which of so many positions no word of the text stands; 0 where they are none of its tokens, or that is not known."""
    found = stretches(scene.kind, current.x)
    return 0 if found is None or translates(scene) == count else min(found[0].stop, count)


def _settled(column: Tensor) -> int:
    """The first layer from which the likeliest answer is that of the last."""
    best = column.nan_to_num(-np.inf).argmax(-1)
    other = (best != best[-1]).nonzero().reshape(-1)
    return int(other[-1]) + 1 if len(other) else 0


def _rising(scene: Scene, rows: tuple[str, ...], column: Tensor) -> Lines:
    """The probability of the final answer and its rivals, layer by layer."""
    count = min(4, column.shape[-1])
    order = [int(k) for k in column[-1].nan_to_num(-np.inf).argsort(descending=True, stable=True)[:count]]
    x = np.arange(len(rows), dtype=np.float64)
    series = tuple(
        Series(name=_name(scene, k), x=x, y=column[:, k].exp().double().numpy(), colour=number) for number, k in enumerate(order)
    )
    return Lines(series=series, x_title="layer, counted from the first row", y_title="probability", x_kind="number", y_range=(0.0, 1.0),
                 height=150, title="The likeliest answers over the layers")


def _apart(rows: tuple[str, ...], chances: Tensor, learnt: Any) -> Node:
    """How far the answer after each layer is from the final one: of this input, or where maps were learnt, of unseen ones."""
    x = np.arange(len(rows), dtype=np.float64)
    series: tuple[Series, ...]
    if learnt is not None:
        series = (Series(name="logit lens", x=x, y=learnt["logit"], colour=0), Series(name="tuned lens", x=x, y=learnt["tuned"], colour=1))
        title = "Divergence from the output on unseen examples"
    else:
        series = (Series(name="this input", x=x, y=divergence(chances[-1], chances).mean(1).double().numpy(), colour=0),)
        title = "Divergence from the output"
    return Lines(series=series, x_title="layer, counted from the first row", y_title="nats", x_kind="number", height=150, title=title)


def _note(count: int, told: slice) -> str:
    shown = told.stop - told.start
    return f"{shown} of {count} positions shown." if shown < count else ""

