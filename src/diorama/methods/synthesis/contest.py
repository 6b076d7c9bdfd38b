"""What is made against the examples: where noise leads no higher than the strongest of them, it is made again from that one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.rounding import alike
from ...data import nesting
from ...data.nesting import Nested
from ..method import Look
from .canvases import Canvas
from .engine import Ascent, SynthesisState, form
from .objectives import Objective, SeenPass
from .stage import MadeInput, Parametrization
from .transforms import Transforms

EXAMPLES = 512
"""So many examples are asked at most."""
AGAIN = 0.3
"""Steps from an example are so much shorter than from noise, so that what it has is not lost at once."""
_BATCH = 64
_HELD = "the priors, the range that is kept to, or the network's own slope lead no higher"


@dataclasses.dataclass(frozen=True)
class StrongestExamples:
    """Of some examples the one that is worth most to each of several objectives.

    *Shapes* ``values`` and ``numbers`` (objectives,); ``starts`` (objectives, …) the made part of their inputs.
    """

    values: Tensor
    numbers: Tensor
    starts: Tensor
    asked: int

    @classmethod
    def of(cls, stage: MadeInput, objective: Objective, x: Nested, count: int = 1) -> StrongestExamples:
        """Ask for every example's value; ``count`` objectives, where the objective is one for all.

        *Cost* one forward pass an example, down to the objective's layer.
        """
        x = nesting.select(x, slice(0, EXAMPLES))
        values = worth(stage.look, objective, x).nan_to_num(nan=-torch.inf)
        values = values.expand(-1, max(count, values.shape[1]))
        best, numbers = values.max(0)
        own = list(nesting.tensors(nesting.select(x, numbers.cpu())))[stage.frame.part]
        return cls(best.cpu(), numbers.cpu(), own, len(values))

    def only(self, which: Sequence[bool]) -> StrongestExamples:
        """The same, but what is not marked has nothing to reach."""
        values = torch.where(torch.tensor(list(which)), self.values, torch.full_like(self.values, -torch.inf))
        return dataclasses.replace(self, values=values)


def lower(values: Tensor, than: Tensor) -> Tensor:
    """Which values are lower than others, by more than rounding."""
    fewer: Tensor = (values < than) & ~alike(values, than)
    return fewer


def worth(look: Look, objective: Objective, x: Nested) -> Tensor:
    """What each example is worth to each of the objectives, (examples, objectives)."""
    found = []
    for start in range(0, nesting.size(x), _BATCH):
        with look.opened(objective.keep, until=objective.until(look.layers)) as capture:
            some = nesting.select(x, slice(start, start + _BATCH))
            found.append(objective.across(SeenPass(capture(some), capture, look, some)).detach().float())
    return torch.cat(found)


def contest(
    stage: MadeInput, canvas: Canvas, objective: Objective, ascent: Ascent, generator: torch.Generator, strongest: StrongestExamples,
    parametrization: Parametrization = "fourier", measure: Objective | None = None, begun: dict[str, Any] | None = None,
    *, at_once: bool = False,
) -> Iterator[SynthesisState]:
    """What forms from noise and, where that ends below the strongest example, once more from the example.

    *Meaning* what comes out last is the better of both; its note says which ones were made twice, and which stay below the
    strongest example even so.
    ``at_once`` starts from both in one batch, whose inputs must know nothing of each other: of what costs no more in a larger
    batch, such as rows of a table, so one waits for half as many steps.
    *Cost* that of :func:`form`, twice where noise does not lead high enough; of twice the inputs where it starts at once.
    """
    if at_once and ascent.best and (begun is None or len(begun.get("z", ())) == 2 * len(canvas)):
        yield from _at_once(stage, canvas, objective, ascent, generator, strongest, measure, begun)
        return
    if begun is not None and "noise" in begun:
        first = _of_plain(canvas, begun["noise"])
    else:
        for first in form(stage.look, canvas, objective, ascent, generator, measure, begun):
            if not first.final:
                yield first
    below = lower(first.values, strongest.values).nonzero()[:, 0].tolist()
    if not below or not ascent.best:
        yield first
        return
    own = strongest.starts[below]
    start = stage.frame.planes(own).to(own.device) if stage.image else own
    again = stage.canvas(len(below), generator, parametrization=parametrization, start=start, noise=0.0)
    gentle = dataclasses.replace(ascent, rate=ascent.rate * AGAIN, transforms=Transforms())
    judge = None if measure is None else measure.of_some(below)
    rest = begun["again"] if begun is not None and "again" in begun else None
    for second in form(stage.look, again, objective.of_some(below), gentle, generator, judge, rest):
        yield _merged(first, second, below, strongest)


def _at_once(
    stage: MadeInput, canvas: Canvas, objective: Objective, ascent: Ascent, generator: torch.Generator, strongest: StrongestExamples,
    measure: Objective | None, begun: dict[str, Any] | None,
) -> Iterator[SynthesisState]:
    """What forms from noise and, beside it, from the strongest examples."""
    count = len(canvas)
    numbers = [*range(count), *range(count)]
    start = strongest.starts
    both = stage.canvas(2 * count, generator, start=torch.cat([start, start]), noise=0.0)
    both.put(canvas)
    steps = dataclasses.replace(ascent, beside=count, gentle=AGAIN)
    judge = None if measure is None else measure.of_some(numbers)
    for formed in form(stage.look, both, objective.of_some(numbers), steps, generator, judge, begun):
        first = _some(formed, range(count))
        if not formed.final:
            yield first
            continue
        below = lower(first.values, strongest.values).nonzero()[:, 0].tolist()
        yield _merged(first, _some(formed, [count + k for k in below]), below, strongest, 0) if below else first


def _some(formed: SynthesisState, which: Sequence[int]) -> SynthesisState:
    """Some of the inputs that formed."""
    index = list(which)
    return dataclasses.replace(
        formed, x=nesting.each(formed.x, lambda part: part[index]), values=formed.values[index], curve=formed.curve[:, index],
    )


def _plain(formed: SynthesisState) -> dict[str, Any]:
    """What ended first, as plain data."""
    return {
        "x": [(part.float() if part.is_floating_point() else part).detach().cpu().numpy() for part in nesting.tensors(formed.x)],
        "values": formed.values.numpy(),
        "curve": formed.curve.numpy(), "step": formed.step, "steps": formed.steps, "note": formed.note,
    }


def _of_plain(canvas: Canvas, told: dict[str, Any]) -> SynthesisState:
    fresh = iter([torch.from_numpy(part.copy()) for part in told["x"]])
    values, curve = (torch.from_numpy(told[name].copy()) for name in ("values", "curve"))
    x = nesting.each(canvas.shown(), lambda part: next(fresh).to(part))
    return SynthesisState(x, values, curve, told["step"], told["steps"], told["note"], True)


def _merged(first: SynthesisState, second: SynthesisState, below: list[int], strongest: StrongestExamples, more: int | None = None) -> SynthesisState:
    """The better of both, input by input; while the second forms, it. It took so many steps ``more``: all of its own, if not told."""
    better = second.values > first.values[below] if second.final else torch.isfinite(second.values)
    values, curve = first.values.clone(), first.curve.clone()
    taken = [(k, number) for k, number in enumerate(below) if bool(better[k])]
    parts = [part.clone() for part in nesting.tensors(first.x)]
    for part, other in zip(parts, nesting.tensors(second.x), strict=True):
        for k, number in taken:
            part[number] = other[k]
    longest = max(len(curve), len(second.curve))
    curve = torch.cat([curve, torch.full((longest - len(curve), curve.shape[1]), torch.nan)])
    for k, number in taken:
        values[number] = second.values[k]
        curve[:, number] = torch.nan
        curve[: len(second.curve), number] = second.curve[:, k]
    fresh = iter(parts)
    x = nesting.each(first.x, lambda _: next(fresh))
    note = f"{first.note} {_told(first, values, below, strongest)}".strip() if second.final else first.note
    told = second.state
    state = None if told is None else lambda: {"noise": _plain(first), "again": told()}
    steps = (second.step, second.steps) if more is None else (more, more)
    return SynthesisState(x, values, curve, first.step + steps[0], first.steps + steps[1], note, second.final, state)


def _told(first: SynthesisState, values: Tensor, below: list[int], strongest: StrongestExamples) -> str:
    """Which inputs were made from an example, and which stay below it."""
    if len(values) == 1:
        reached, best, now = float(first.values[0]), float(strongest.values[0]), float(values[0])
        gap = "just" if f"{reached:.3g}" == f"{best:.3g}" else f"{reached:.3g},"
        told = f"From noise it came to {gap} below the strongest example's {best:.3g}, so it was made again from that example, held still"
        if alike(min(now, best), max(now, best)):
            return f"{told}; no step from there led higher, so it is that example itself."
        return f"{told}." if now >= best else f"{told}; it stays below, at {now:.3g}: {_HELD}."
    told = f"From noise {len(below)} of {len(values)} came to less than the strongest example, and were made again from it, held still"
    still = int(lower(values, strongest.values).sum())
    return f"{told}; {still} of them stay{'s' * (still == 1)} below it: {_HELD}." if still else f"{told}."
