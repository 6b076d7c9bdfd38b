"""A learnt map of the examples onto a plane, and back to inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import scipy
import torch
from torch import Tensor

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...methods.cost import Cost
from ...methods.input_map import BATCH, InputMap, learned, returned
from ...methods.method import Look
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage
from ..planes import Components, flat_inputs, kept, said_of, shaped

EVERY = 10
"""It tells how far it is after so many steps."""


class InputMapDerivation(Derivation):
    """A learnt map of the examples onto a plane, and back to inputs that the network answers like them.

    *Meaning* ``places`` are the examples on the plane; ``back`` leads from places to coordinates among the principal ``axes`` of the
    inputs about their ``mean``, each times ``scale``. ``kept`` is the share of answers that stay after the way onto the plane and back,
    of a quarter of the examples that it never learnt from (for numbers: the share of their variance), ``kept_seen`` that of the others. The map
    looks at the input and at what the network says of it.
    *Shapes* places (examples, 2); axes (components, numbers of an input).
    *Error* ``kept``: with another seed it differs by some hundredths.
    *Cost* its steps × 96 forward and backward passes.
    *Source* Yang et al. 2022, DVI (AAAI); ``kept`` is its prediction preserving rate.
    """

    steps: int = knob(400, "Steps of learning.", low=1, high=10_000, log=True)
    seed: int = knob(0, "What its first weights and batches are drawn from.", low=0)

    def fits(self, scene: Scene) -> str | None:
        """It learns through the network from inputs that are one tensor of numbers."""
        if scene.missing is not None:
            return scene.missing
        if scene.function:
            return "it learns through the network's gradient, and a plain function has none; choose the plane of components"
        if scene.task not in ("classification", "regression"):
            return "it keeps one answer for each example, and this network answers otherwise"
        try:
            rows = flat_inputs(scene)
        except NotApplicable as reason:
            return str(reason)
        return None if len(rows) >= 8 else f"it learns from examples and holds a quarter out, which wants eight of them, and there are {len(rows)}"

    def cost(self, scene: Scene) -> Cost:
        """A forward and a backward pass of a batch a step, and the examples before and after."""
        each = self.steps * min(BATCH, len(scene.live))
        return Cost(each + 2 * len(scene.live), each)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The map as it learns."""
        yield Stage(None, 0.0, 1.0, f"principal components of {len(scene.live)} inputs")
        inputs = flat_inputs(scene)
        number = torch.arange(len(inputs))
        held = number % 4 == 3
        base = Components.of(inputs[~held])
        said = said_of(scene)
        made = InputMap(
            base.coordinates(inputs), _even(said, ~held), number[~held], _answered(scene, base, said, ~held), self.steps, self.seed, begun
        )
        for now in learned(made):
            if scene.cancel is not None:
                scene.cancel()
            if now.step % EVERY == 0 and now.step < self.steps:
                yield Stage(None, now.step, self.steps, f"step {now.step} of {self.steps}", state=now.state)
        yield Stage(self._value(scene, base, made, inputs, held))

    def _value(self, scene: Scene, base: Components, made: InputMap, inputs: Tensor, held: Tensor) -> Plain:
        places, back = made.places().double(), [one.double() for one in made.returning()]
        wanted = base.coordinates(inputs)[:, :2].double()
        if bool(places.isfinite().all()) and bool(wanted.isfinite().all()) and wanted.shape[1] == 2:
            # Turned as the inputs' two main directions lie, so that maps of different steps look alike.
            middle, there = places.mean(0), wanted.mean(0)
            turn = torch.tensor(scipy.linalg.orthogonal_procrustes((places - middle).numpy(), (wanted - there).numpy())[0])
            places = (places - middle) @ turn + there
            back[1] = (middle - there @ turn.T) @ back[0] + back[1]
            back[0] = turn.T @ back[0]
        flat = base.inputs(returned([one.float() for one in back], places.float()))
        return {
            "places": places.numpy(), "back": [one.float().numpy() for one in back], "mean": base.mean.numpy(), "axes": base.axes.numpy(),
            "scale": base.scale, "kept": kept(scene, flat, held), "kept_seen": kept(scene, flat, ~held),
        }

    def check(self, scene: Scene, value: Plain) -> None:
        """Places of the examples, and a way back to inputs of this size."""
        names = {"places", "back", "mean", "axes", "scale", "kept", "kept_seen"}
        if set(value) != names or any(type(value[name]) is not float for name in ("scale", "kept", "kept_seen")):
            raise ValueError("a map with its measures is wanted")
        width = flat_inputs(scene).shape[1]
        shapes = [one.shape for one in value["back"] if isinstance(one, np.ndarray) and one.dtype == np.float32]
        axes = value["axes"]
        if not isinstance(axes, np.ndarray) or axes.ndim != 2 or axes.shape[1] != width or axes.dtype != np.float32:
            raise ValueError("axes among inputs of this size are wanted")
        if value["places"].shape != (len(scene.live), 2) or value["mean"].shape != (width,) or value["mean"].dtype != np.float32:
            raise ValueError("a place for each example is wanted")
        if len(shapes) != 6 or shapes[0][0] != 2 or shapes[4][1:] != (len(axes),) or shapes[5] != (len(axes),):
            raise ValueError("a way back from places is wanted")


def _even(said: Tensor, seen: Tensor) -> Tensor:
    """What the network says of each example, about 0 and on a scale of one."""
    about = said - said[seen].mean(0)
    size = about[seen].square().mean().sqrt()
    return about / size if bool(size > 0) else about


def _answered(scene: Scene, base: Components, said: Tensor, seen: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """How far answers to rows are from those to examples: Kullback-Leibler, or the squared error as a share of the variance."""
    look = Look(
        scene.model, x=scene.live.x, kind=scene.kind, reading=scene.reading, classes=scene.classes, table=scene.layers,
        cancel=scene.cancel, edits=scene.edits,
    )
    spread = said[seen].var(0).sum().clamp_min(1e-12)

    def measure(rows: Tensor, chosen: Tensor) -> Tensor:
        x = shaped(scene, base.inputs(rows))
        scores = look.run(x, None, [x], grad=True).scores.cpu().float()
        wanted = said[chosen]
        if scene.task == "regression":
            return (scores.reshape(wanted.shape) - wanted).square().sum(1).mean() / spread
        shares = wanted.exp()
        logs = scene.reading.probabilities(scores).clamp_min(1e-12).log()
        return (shares * (wanted - logs)).sum(1).mean()

    return measure
