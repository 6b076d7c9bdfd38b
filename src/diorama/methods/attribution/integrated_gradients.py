"""Slopes added up along the straight line from a baseline to the input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch

from ...core.knobs import knob
from ...data import nesting
from ...data.nesting import Nested
from ...model.targets import Target
from ..cost import Cost
from ..method import Attribution, Group, Look, Method, completeness
from ..paths import BASELINES, RULES, averaged, baseline_points, begun, nodes

_LARGE_GAP = 0.05


class IntegratedGradients(Method):
    """How much each number adds to the target on the straight way from a baseline to the input.

    *Meaning* the values sum to the target at the input minus that at the baseline, up to the error of the integral,
    which ``checks["completeness"]`` measures.
    *Shapes* as the input; (n, tokens) for tokens, whose embeddings start at zero.
    *Units* of the target.
    *Error* falls with more steps; a gap of more than 5 % is noted.
    *Cost* ``steps`` forward and backward passes, several inputs in each batch, and one forward pass at either end.
    *Source* Sundararajan, Taly, Yan 2017, equations 1 and 3.
    """

    group: ClassVar[Group] = "gradient"
    rows: ClassVar[tuple[str, ...]] = ("A14",)
    source: ClassVar[str] = "Sundararajan, Taly, Yan 2017 (arXiv:1703.01365), equation 1"
    completeness: ClassVar[bool] = True

    steps: int = knob(32, "At how many places of the line slopes are taken.", low=1, high=10000, log=True, main=True)
    baseline: str = knob(
        "zero", "Where the line starts: zeros, or the example's lowest, highest or mean number in each channel.",
        choices=BASELINES,
    )
    rule: str = knob("gauss_legendre", "How the integral becomes a sum.", choices=RULES)

    def cost(self, look: Look, x: Nested) -> Cost:
        """A pass there and back a step, and both ends."""
        return Cost(self.steps + 2, self.steps)

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """Walk along the line."""
        ends = tuple(point.detach() for point in look.points(x))
        starts = baseline_points(look, x, ends, self.baseline)
        ways = tuple(end - start for start, end in zip(starts, ends, strict=True))
        places, weights = nodes(self.rule, self.steps)
        slopes = averaged(
            look, x, target,
            lambda turn: tuple(start + places[turn] * way for start, way in zip(starts, ways, strict=True)), weights,
        )
        values = look.shaped(x, [way * slope for way, slope in zip(ways, slopes, strict=True)])
        both = tuple(torch.cat([end, start]) for end, start in zip(ends, starts, strict=True))
        scores, before = look.run(nesting.join([x, x]), target, both).value.detach().chunk(2)
        gap, start = completeness(values, scores - before), begun(look, self.baseline, before)
        note = ""
        if gap > _LARGE_GAP:
            note = (
                f"The values miss what they should sum to by more than {_LARGE_GAP:.0%}: more steps come nearer, unless the "
                "function jumps on the way (rounding, routing) or no_grad and detach() hide a part of it from gradients."
            )
        yield self.found(look, x, target, values, scores, checks={"completeness": gap}, note=note, baseline=start)
