"""Asking for a synthesis: ``diorama.synthesize``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...core import marks
from ...core.colour import magnitude, symmetric
from ...core.errors import UsageError
from ...core.picture import Check, Picture
from ...core.provenance import Provenance, versions
from ...data import nesting
from ...data.examples import Examples
from ...data.kinds import Image, Kind, Tokens
from ...data.nesting import Nested
from ...data.padding import stripped
from ...model.duplicate import duplicate
from ...model.input_hints import as_read, with_names
from ...model.outputs import Wanted
from ...model.plain_module import device_of, fed, unwrap
from ..method import Look
from .canvases import Canvas
from .contest import StrongestExamples, contest
from .engine import Ascent, SynthesisState, form
from .objectives import Objective
from .priors import Priors
from .stage import START, MadeInput, Parametrization
from .verdict import Verdict, verdict

SOURCE = "Erhan et al. 2009; Simonyan et al. 2013, section 2; Olah, Mordvintsev & Schubert 2017"


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """Inputs that a network was asked for, how they formed, and what the network says of them.

    *Shapes* ``x`` as the model takes it (n, …), within the range of its kind; ``values`` (n,) the objective of ``x``;
    ``curve`` (steps, n) the objective while it formed, each step as it was looked at; ``probabilities`` (n,) of the
    class, where the objective is a class. ``checks["strongest example"]`` is the most that one of the examples is worth.
    """

    x: Nested
    values: Tensor
    curve: Tensor
    objective: str
    checks: dict[str, float]
    provenance: Provenance
    note: str = ""
    probabilities: Tensor | None = None
    kind: Any = dataclasses.field(default=None, repr=False)
    stage: MadeInput | None = dataclasses.field(default=None, repr=False)

    def shown(self) -> Any:
        """What is shown of the inputs: pictures, tokens, rows."""
        own = list(nesting.tensors(self.x))[self.stage.frame.part if self.stage is not None else 0]
        return self.kind.decode(own) if isinstance(self.kind, Kind) else own.cpu().numpy()

    def picture(self) -> Picture:
        """The inputs beside the curve of their objective."""
        shown = self.shown()
        body: marks.Node
        if isinstance(self.kind, Image):
            limits = magnitude(shown, 0, 255, "grey") if shown.ndim == 3 else None
            labels = tuple(f"{float(value):.3g}" for value in self.values)
            body = marks.Tiles(images=shown, limits=limits, labels=labels, size=160)
        elif isinstance(self.kind, Tokens):
            body = marks.Group(children=tuple(marks.Text(tokens=row, characters=all(len(word) <= 1 for word in row))
                                                for row in (tuple(stripped(row)) or tuple(row) for row in shown)))
        else:
            rows = torch.as_tensor(shown).flatten(1).numpy()
            body = marks.Heatmap(values=rows, limits=symmetric(rows))
        steps = torch.arange(len(self.curve)).double().numpy()
        lines = tuple(
            marks.Series(name=str(k), x=steps, y=self.curve[:, k].double().numpy(), colour=k)
            for k in range(min(self.curve.shape[1], 10))
        )
        curve = marks.Lines(series=lines, x_title="step", x_kind="number", y_title="objective", height=120)
        checks = tuple(Check(name=name, value=value) for name, value in self.checks.items())
        caption = f"What {self.objective} asks for, and its value while it formed."
        return Picture(
            title=f"Synthesis of {self.objective}", body=marks.Group(children=(body, curve)), caption=caption,
            checks=checks, note=self.note, provenance=self.provenance,
        )

    def __repr__(self) -> str:
        shape = tuple(nesting.first(self.x).shape)
        values = ", ".join(f"{float(value):.3g}" for value in self.values[:6])
        return f"<Synthesis of {self.objective}: {shape}, {values}>"


def synthesize(
    model: nn.Module,
    objective: Any,
    x: Any,
    *,
    count: int = 1,
    steps: int = 160,
    rate: float = 1.5,
    parametrization: Parametrization = "fourier",
    start: Any = None,
    noise: float | None = None,
    jitter: int | None = None,
    scale: float = 0.1,
    rotate: float = 8.0,
    crop: float = 0.1,
    total_variation: float = 0.15,
    norm: float = 0.0,
    blur: float = 0.0,
    gaussian: float = 0.1,
    natural: float = 0.0,
    inputs: Kind | dict[str, Kind] | None = None,
    outputs: Wanted = None,
    task: str | None = None,
    classes: Sequence[str] = (),
    device: Any = None,
    seed: int = 0,
    cancel: Callable[[], object] | None = None,
    on_form: Callable[[SynthesisState], object] | None = None,
) -> Synthesis:
    """Make the input that a unit, a class or any objective asks for.

    *Meaning* ``objective`` is a class (index or name), a unit (``"features.3/17"``, ``"features.3/17@5,8"`` at one
    place), a layer (its norm), a pair (the first minus the second), a callable from the model's output to (n,)
    numbers, or an objective built with ``+ − *`` from ``diorama.methods.synthesis.objectives``. ``x`` are a few
    examples, which tell the shape, range and colours of inputs. Images form from noise as a spectrum of decorrelated
    colours, or as plain ``"pixels"``; rows of a table stay within the columns' ranges; of texts the embeddings are
    made, of which the network reads the nearest tokens in each step. ``start`` are inputs like x to start from. The best
    step comes out, as it is shown; what is worth less than the strongest example is made once more from that one. Priors
    weigh against the objective's slope (0.1 is gentle, 1 strong). ``on_form`` gets what has formed, ten times a second.
    *Cost* a forward pass, down to the objective's layer, and a backward pass a step; one forward pass an example.
    *Raises* NotFound for a layer, unit or class that does not exist; NotApplicable where nothing differentiable leads
    from the input to the objective.
    *Source* Erhan et al. 2009; Simonyan et al. 2013, section 2; Olah et al. 2017; for texts Wen et al. 2023.
    """
    if count < 1:
        raise UsageError(f"a synthesis makes at least one input, got count={count}")
    stage, wanted = _staged(model, objective, x, inputs, outputs, task, classes, device, seed, cancel)
    look = stage.look
    priors = Priors(total_variation, norm, blur, gaussian, natural)
    ascent = stage.suited(Ascent(steps, rate, priors=priors), jitter=jitter, scale=scale, rotate=rotate, crop=crop)
    canvas = _canvas(stage, count, look.generator, parametrization, start, noise)
    best, parts = _parts(stage, canvas, wanted, ascent, parametrization, nesting.to(nesting.as_tensors(x), device), start)
    for last in parts:
        if on_form is not None:
            on_form(last)
    own = None if not wanted.answers or (number := _class(objective, classes)) is None else [number] * count
    said = verdict(stage, wanted, last.x, ascent.transforms, seed, own)
    knobs = {"count": count, "steps": steps, "rate": rate, "parametrization": parametrization, "noise": noise}
    knobs |= dataclasses.asdict(ascent.transforms) | dataclasses.asdict(priors)
    return _result(stage, wanted, last, said, canvas, knobs, seed, best)


def _parts(
    stage: MadeInput, canvas: Canvas, wanted: Objective, ascent: Ascent, parametrization: Parametrization, x: Nested, start: Any
) -> tuple[StrongestExamples | None, Iterator[SynthesisState]]:
    """The strongest example, and what forms: against it, where it was not told from what to start."""
    best = None if wanted.absolute else StrongestExamples.of(stage, wanted, fed(stage.look.model, x), len(canvas))
    if best is None or start is not None:
        return best, form(stage.look, canvas, wanted, ascent, stage.look.generator)
    return best, contest(stage, canvas, wanted, ascent, stage.look.generator, best, parametrization)


def _canvas(
    stage: MadeInput, count: int, generator: torch.Generator, parametrization: Parametrization, start: Any,
    noise: float | None,
) -> Canvas:
    planes: Tensor | None = None
    if start is not None:
        own = list(nesting.tensors(fed(stage.look.model, nesting.as_tensors(start))))
        given = own[stage.frame.part if len(own) > 1 else 0]
        planes = stage.frame.planes(given) if stage.image else given
    amount = (START if start is None else 0.0) if noise is None else noise
    return stage.canvas(count, generator, parametrization=parametrization, start=planes, noise=amount)


def _staged(
    model: nn.Module, objective: Any, x: Any, inputs: Any, outputs: Wanted, task: str | None, classes: Sequence[str],
    device: Any, seed: int, cancel: Callable[[], object] | None,
) -> tuple[MadeInput, Objective]:
    module = unwrap(model)
    if device is not None and device_of(module) != torch.device(device):
        module = duplicate(module).to(device)
    ready = fed(module, nesting.to(nesting.as_tensors(with_names(module, x)), device))
    examples = as_read(module, Examples.of(ready, inputs=inputs))
    look = Look(
        module, x=ready, kind=examples.kind, outputs=outputs, task=task, classes=classes, seed=seed, cancel=cancel
    )
    wanted = Objective.of(objective, look.layers, look.reading, classes)
    return MadeInput.of(look, examples.kind, ready, ready, next(iter(wanted.keep), "")), wanted


def _class(value: Any, classes: Sequence[str]) -> int | None:
    """The class that an objective names, where it names one."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value).removeprefix("class:")
    if isinstance(value, str) and value in classes:
        return list(classes).index(value)
    return int(text) if text.isdecimal() else None


def _result(
    stage: MadeInput, objective: Objective, last: SynthesisState, said: Verdict, canvas: Canvas, knobs: dict[str, Any], seed: int,
    best: StrongestExamples | None,
) -> Synthesis:
    checks = {"value": float(said.value.mean()), "value, moved": float(said.moved.mean())}
    if said.probability is not None and said.moved_probability is not None:
        checks |= {
            "probability": float(said.probability.mean()), "probability, moved": float(said.moved_probability.mean()),
        }
    if best is not None:
        checks["strongest example"] = float(best.values.max())
    provenance = Provenance(
        method="synthesis", sentence="An input that an objective asks for.", knobs=knobs, selection=str(objective),
        seed=seed, model=stage.look.fingerprint, source=SOURCE, guessed=stage.look.reading.guessed,
        versions=versions(),
    )
    note = " ".join(part for part in (last.note, stage.note, f"Made {canvas.note}.") if part)
    return Synthesis(
        last.x, said.value, last.curve, str(objective), checks, provenance, note, said.probability, stage.kind, stage
    )
