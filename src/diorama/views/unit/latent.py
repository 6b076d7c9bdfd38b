"""The code of an autoencoder or a generator: where the examples lie in it, and what the network draws from each place."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ...core.errors import UsageError
from ...core.knobs import knob
from ...core.marks import Group, Node
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, spoken
from ...scene import Scene
from ...scene.code_means import draws, joint_layer
from ..view import View
from . import _code_marks as drawing
from ._code_marks import STEPS, CodeLook
from ._live_codes import ROUND, LiveCodes, broken, generates, kept, reason

ROWS, BESIDE = 8, 3
"""So many of a code's numbers are moved, those that vary most; of so few each stands beside the plane."""


class LatentView(View):
    """Where the examples lie in the code of an autoencoder or generator, and what the network draws from every place.

    *Meaning* each point of the plane is an example at its code, in the colour of its class; the ground is coloured by
    the class whose codes lie densest there. The board holds the picture that the rest of the network draws from each
    place of the same plane. Below, each of the code's numbers is moved alone, from three standard deviations under its
    mean to three above (title: mean ± 3 × standard deviation). Click a place of the plane to draw from it, or draw an input to see where it lies.
    *Units* the code's own numbers; standard deviations are over the examples.
    *Error* the code is the narrowest layer that carries the answer: codes of other examples put there give their
    answers, up to the stated share. Pictures of places where no example lies show what was learned, not what there is.
    *Cost* one pass over the live examples, board² forward passes for the board, seven for each number that is moved;
    kept until the weights change.
    *Source* Kingma & Welling 2013 (figure 4); Higgins et al. 2017 (traversals).
    """

    title = "Codes"
    question = "What does the network keep of an example, and what does it draw from a code?"
    family = "features"
    papers = ("Kingma & Welling 2013, arXiv:1312.6114", "Higgins et al. 2017, beta-VAE, ICLR")
    rows = ("D12",)
    by_labels = True
    follows = ("example",)
    hovers = ("example",)
    input = True
    demo = "autoencoder"

    layer: str | None = knob(
        None, "The layer that holds the code; by itself the narrowest one that the whole answer goes through.", kind="layer"
    )
    at: str = knob("", "A place of the plane to draw from, as x,y; by itself the code of the example.")
    x: int | None = knob(None, "The code's number along the horizontal axis; by itself one of the two that vary most.",
                         kind="integer", low=0, main=True)
    y: int | None = knob(None, "The code's number along the vertical axis.", kind="integer", low=0, main=True)
    others: str = knob("mean", "Where the code's other numbers stay: at their mean, or at the example's.",
                       choices=("mean", "example"))
    board: int = knob(15, "Pictures along each side of the board.", low=2, high=40)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a network that answers with its input, or draws pictures from rows of numbers."""
        return reason(scene)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The plane and the place at once, then the board and what each number draws."""
        current = scene.current(selection)
        code = LiveCodes.of(scene, self.layer, current.index or 0)
        pair = self._pair(code)
        own = code.code(current.x)
        mean = code.spread()[0]
        base = own if self.others == "example" else mean
        looked = CodeLook(scene, code, pair, current, own, base, *self._place(pair, base))
        if not self._ready(looked):
            yield self._picture(scene, selection, looked, None, final=False)
            yield Progress(done=0, total=1, note=f"drawing {self._side(looked) ** 2} places of the plane")
        yield self._picture(scene, selection, looked, self._board(looked), final=True)

    def _pair(self, code: LiveCodes) -> tuple[int, int]:
        """The two numbers of the plane: the given ones, else those that vary most; of a single one, twice the same."""
        for name, number in (("x", self.x), ("y", self.y)):
            if number is not None and number >= code.count:
                raise UsageError(f"{name} wants one of the code's numbers 0 to {code.count - 1}, got {number}")
        strong = code.spread()[1].nan_to_num(0).argsort(descending=True, stable=True).tolist()
        free = sorted(number for number in strong[:2] if number not in (self.x, self.y))
        free += [number for number in strong[2:] if number not in (self.x, self.y)]
        first = self.x if self.x is not None else free.pop(0) if free else 0
        second = self.y if self.y is not None else next((number for number in free if number != first), first)
        return first, second

    def _place(self, pair: tuple[int, int], base: Tensor) -> tuple[Tensor | None, tuple[float, float] | None]:
        """The code at the place that was put, and where that is; None where none was."""
        if not self.at.strip():
            return None, None
        try:
            x, y = (float(part) for part in self.at.split(","))
        except ValueError:
            raise UsageError(f"at wants a place x,y of the plane, as in '0.5,-1', got {self.at!r}") from None
        if not (math.isfinite(x) and math.isfinite(y)):
            raise UsageError(f"at wants a place x,y of the plane, as in '0.5,-1', got {self.at!r}")
        there = base.clone()
        there[pair[0]], there[pair[1]] = x, y
        return there, (x, y)

    # What is kept.

    def _side(self, looked: CodeLook) -> int:
        return min(self.board, max(2, drawing.LARGEST // max(1, looked.height)))

    def _name(self, looked: CodeLook) -> str:
        base = looked.current.key or looked.current.label if self.others == "example" else "mean"
        if looked.scene.custom and self.others == "example":
            base = ",".join(f"{float(value):.9g}" for value in looked.base)
        return f"latent/board/{self.layer}/{looked.pair}/{self._side(looked)}/{base}/{looked.code.around}"

    def _ready(self, looked: CodeLook) -> bool:
        return looked.scene.memory.has(self._name(looked))

    def _board(self, looked: CodeLook) -> drawing.CodeDrawing:
        found: drawing.CodeDrawing = looked.scene.once(self._name(looked), lambda: self._drawn(looked))
        return found

    def _drawn(self, looked: CodeLook) -> drawing.CodeDrawing:
        code, side = looked.code, self._side(looked)
        across, up = looked.axes(side)
        rows = code.spread()[1].nan_to_num(0).argsort(descending=True, stable=True)[:ROWS].sort().values
        steps = torch.tensor(STEPS)
        moved = {int(number): code.traversal(int(number), steps, looked.base) for number in rows}
        return drawing.CodeDrawing(code.grid(looked.pair, across, up, looked.base) if looked.pictures else None, moved, side)

    # The picture.

    def _picture(
        self, scene: Scene, selection: Selection, looked: CodeLook, drawn: drawing.CodeDrawing | None, *, final: bool
    ) -> Picture:
        first: list[Node] = [drawing.plane(looked, drawn)]
        if drawn is not None and drawn.board is not None:
            first.append(drawing.board(looked, drawn))
        moved = drawing.traversals(looked, drawn) if drawn is not None else []
        # A few rows stand beside the plane, many below it.
        beside = moved if len(moved) <= BESIDE else []
        first.append(Group(children=(drawing.places(looked), *beside)))
        body: list[Node] = [Group(children=tuple(first), direction="row")]
        if not beside:
            body += [Group(children=tuple(moved[k : k + 2]), direction="row") for k in range(0, len(moved), 2)]
        unused = drawing.unused(drawn) if drawn is not None else []
        note = "The network answers with what are no numbers at this step: choose another one." if broken(scene) else ""
        if _joint(looked):
            note += f" {spoken(looked.code.place)} holds means and log-variances together: only the means are the code."
        elif unused:
            named = ", ".join(looked.code.name(number) for number in unused)
            note += f" Moving {named} changes next to nothing: the network does not use {'them' if len(unused) > 1 else 'it'}."
        if not generates(scene) and draws(scene):
            note += " When it answers the network adds noise to its code; what is drawn here is made of the codes as they stand."
        if drawn is not None and len(drawn.moved) < looked.code.count:
            note += f" {len(drawn.moved)} of {looked.code.count} numbers are moved, those that vary most."
        apart = looked.code.layer is not None and looked.code.place != "code"
        title = f"The code in {spoken(looked.code.place)}" if apart else "The code"
        return self.picture(
            scene, selection, title, Group(children=tuple(body)), self._caption(looked),
            checks=self._checks(looked), note=note.strip(), final=final,
        )

    def _caption(self, looked: CodeLook) -> str:
        code, count = looked.code, looked.code.count
        numbers = "one number" if count == 1 else f"{count} numbers"
        if generates(looked.scene) and code.layer is None:
            told = f"The network draws from {numbers}, its input. Each point is an example"
        else:
            told = f"Every example goes through {numbers} in {code.place}. Each point is an example at its code"
        told += ", coloured by its class." if looked.labels is not None else "."
        if looked.pictures:
            told += " The board shows what the network draws from each place of the plane; the rows, from each number moved alone."
        else:
            told += " The rows show what the network answers when each number is moved alone."
        if count > 2:
            one, own = count == 3, self.others != "mean"
            where = f"{'that' if one else 'those'} of {looked.current.label}" if own else f"{'its' if one else 'their'} mean"
            told += f" The other {'number stays' if one else f'{count - 2} numbers stay'} at {where}."
        return told

    def _checks(self, looked: CodeLook) -> tuple[Check, ...]:
        found: list[Check] = []
        if not generates(looked.scene):
            sentence = "The share of the examples' variance that comes back through the code; 0 is no better than their mean."
            share = kept(looked.scene)
            if math.isfinite(share):
                value = 100 * max(0.0, share)
                found.append(Check(name="comes back", value=value, unit="%", sentence=sentence, good=share > 0.5))
        gap = looked.code.gap
        if ROUND < gap < math.inf:
            sentence = "The share of the answer that goes round this layer, so that its codes alone do not make it."
            found.append(Check(name="goes round", value=100 * gap, unit="%", sentence=sentence, good=False))
        return tuple(found)


def _joint(looked: CodeLook) -> bool:
    """Whether the code's layer is, or ends in, the one that gives means and log-variances in one."""
    held, own = joint_layer(looked.scene), looked.code.layer
    return held is not None and own is not None and (held.name == own.name or held.name.startswith(f"{own.name}."))
