"""What units or directions of a layer would like to see."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.knobs import knob
from ...core.selection import several
from ...data import nesting
from ...data.kinds import Table
from ...methods.cost import Cost
from ...methods.synthesis import objectives
from ...methods.synthesis.contest import StrongestExamples, contest
from ...methods.synthesis.engine import Ascent, SynthesisState
from ...methods.synthesis.objectives import Objective
from ...methods.synthesis.priors import Priors
from ...methods.synthesis.stage import MadeInput as Made
from ...model.directions import Direction
from ...model.layers import Layer
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage
from ..synthesis_stage import staged
from ..windows import MiddlePlace

STEPS = 96
PRIORS = Priors(total_variation=0.15, gaussian=0.3)
ROWS_AT_ONCE = 32
STILL = 32
"""Windows of fewer pixels a side are not moved while they form."""


class PreferredDerivation(Derivation):
    """What units of a layer would like to see, each an input that forms from noise.

    *Meaning* ``inputs`` as the model takes them, and ``values``: each unit's activation at the place where it responds
    most to its own (of a unit that sees a part of the picture, at the place in the middle, where it was asked); of a
    direction, how far its layer goes that way. ``note`` says which ones were made again from the strongest example.
    *Cost* 96 forward and backward passes, twice where noise ends below the strongest example (of rows both at once); one pass an
    example.
    """

    version = 4
    layer: str = knob("", "The layer.", kind="layer")
    units: str = knob("", "Its units' numbers, some with + between; all when left out.")
    seed: int = knob(0, "What the noise is drawn from.", low=0)
    given: tuple[Direction, ...] = dataclasses.field(default=(), compare=False, repr=False)
    """Directions of the layer, in place of its units."""

    def fits(self, scene: Scene) -> str | None:
        """The layer and the units exist."""
        if scene.missing is None:
            layer = scene.layers[self.layer]
            if any(number >= layer.units for number in self.numbers(layer)):
                return f"{self.layer} has units 0 to {layer.units - 1}"
        return scene.missing

    def cost(self, scene: Scene) -> Cost:
        """Passes for each that is asked."""
        count = len(self.given) or len(self.numbers(scene.layers[self.layer]))
        return Cost(len(scene.live) + STEPS * count, STEPS * count)

    def material(self, scene: Scene) -> dict[str, Any]:
        """The directions, where they are asked."""
        return {"directions": [hashlib.blake2b(one.vector.tobytes(), digest_size=16).hexdigest() for one in self.given]}

    def numbers(self, layer: Layer) -> list[int]:
        """The units that are asked."""
        return [int(text) for text in several(self.units)] if self.units else list(range(layer.units))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The inputs as they form, some at a time."""
        made = staged(scene, scene.current().x, self.seed, self.layer)
        window = None if self.given else MiddlePlace.of(scene, scene.layers[self.layer])
        asked: Sequence[Any] = self.given or self.numbers(scene.layers[self.layer])
        size = made.together if made.image else ROWS_AT_ONCE
        waves = [asked[k : k + size] for k in range(0, len(asked), size)]
        value, first, rest = begun["value"] if begun is not None else None, 0, None
        if begun is not None:
            first, rest = begun["wave"], begun["climb"]
            if "start" in rest:
                made.look.generator.set_state(torch.from_numpy(rest["start"].copy()))
                rest = None
        for number in range(first, len(waves)):
            done = value
            for formed in self._formed(scene, made, window, waves[number], rest):
                value = _joined(made, done, formed)
                part = formed.step / max(formed.steps, 1)
                state = partial(_state, made, number, done, value, formed)
                yield Stage(value, STEPS * (number + min(part, 1.0)), STEPS * len(waves), state=state)
            rest = None
        if first == len(waves):
            yield Stage(value, 1.0, 1.0)  # it was stopped when all was done

    def _formed(
        self, scene: Scene, made: Made, window: MiddlePlace | None, wave: Sequence[Any], rest: dict[str, Any] | None
    ) -> Iterator[SynthesisState]:
        # What a small window holds would be moved out of it.
        still = window is not None and max(window.largest) < STILL
        moves = (0, 0.0, 0.0, 0.0) if still else (None, 0.1, 8.0, 0.1)
        ascent = Ascent(STEPS, priors=PRIORS)
        ascent = made.suited(ascent, jitter=moves[0], scale=moves[1], rotate=moves[2], crop=moves[3])
        objective, measure, asked = self._wanted(scene, window, wave)
        generator = made.look.generator
        canvas = made.canvas(len(wave), generator)
        strongest = StrongestExamples.of(made, asked, nesting.to(scene.live.x, scene.device), len(wave))
        if window is not None:
            strongest = dataclasses.replace(strongest, starts=_centred(scene, made, window, self.layer, wave, strongest))
        rows = isinstance(made.kind, Table)
        return contest(made, canvas, objective, ascent, generator, strongest, measure=measure, begun=rest, at_once=rows)

    def _wanted(
        self, scene: Scene, window: MiddlePlace | None, wave: Sequence[Any]
    ) -> tuple[Objective, Objective | None, Objective]:
        """What is climbed, by what the best step is told, and by what examples are."""
        if self.given:
            way = torch.from_numpy(np.stack([one.vector for one in wave]))
            along = objectives.direction(self.layer, way, cosine=1.0)
            return along, None, along
        layer = scene.layers[self.layer]
        place = window.place if window is not None else None
        climbed = objectives.woken(objectives.units(self.layer, wave, place), self.layer, wave, scene.layers)
        peaks = objectives.peaks(self.layer, wave)
        return climbed, peaks if place is None and objectives.places(layer) else None, peaks

    def check(self, scene: Scene, value: Plain) -> None:
        """Inputs like the model's, a value each, and a note."""
        count = len(self.given) or len(self.numbers(scene.layers[self.layer]))
        if set(value) != {"inputs", "values", "note"} or not isinstance(value["note"], str):
            raise ValueError("inputs, values and a note are wanted")
        made = staged(scene.alone(), scene.current().x, self.seed, self.layer)
        shape, kind = (count, *made.frame.own.shape[1:]), "iu" if made.tokens else "f"
        for part, wanted, kinds in ((value["inputs"], shape, kind), (value["values"], (count,), "f")):
            if not isinstance(part, np.ndarray) or part.shape != wanted or part.dtype.kind not in kinds:
                raise ValueError(f"an array of shape {wanted} is wanted")


def _state(made: Made, wave: int, done: Plain, value: Plain, formed: SynthesisState) -> Plain:
    """What is needed to go on: in the middle of a wave, or at the beginning of the next."""
    if formed.state is not None:
        return {"wave": wave, "value": done, "climb": formed.state()}
    return {"wave": wave + 1, "value": value, "climb": {"start": made.look.generator.get_state().numpy().copy()}}


def _joined(made: Made, done: Plain, formed: SynthesisState) -> Plain:
    """What was there before, and what has formed."""
    own = list(nesting.tensors(formed.x))[made.frame.part].detach().cpu()
    inputs = (own.float() if own.is_floating_point() else own).numpy()
    values = formed.values.float().numpy()
    if done is None:
        return {"inputs": inputs, "values": values, "note": formed.note}
    note = " ".join(dict.fromkeys(filter(None, (done["note"], formed.note))))
    return {
        "inputs": np.concatenate([done["inputs"], inputs]), "values": np.concatenate([done["values"], values]), "note": note,
    }


def _centred(
    scene: Scene, made: Made, window: MiddlePlace, name: str, wave: Sequence[int], strongest: StrongestExamples
) -> Tensor:
    """The strongest examples moved so that what the unit sees there lies where it is asked, on the mean colour."""
    layer = scene.layers[name]
    planes = made.frame.planes(strongest.starts)
    moved = made.colours.mean[None, :, None, None].expand(planes.shape).clone().to(planes)
    x = nesting.to(scene.live.batch(strongest.numbers.tolist()), scene.device)
    values = scene.activations([layer.name], x)[layer.name]
    for k, unit in enumerate(wave):
        own = values[k, unit].nan_to_num(-torch.inf)
        place = tuple(int(at) for at in np.unravel_index(int(own.argmax()), tuple(own.shape)))
        window.pasted(moved[k], planes[k], place, tuple(own.shape))
    return made.frame.as_input(moved.to(strongest.starts.device))
