"""Differences from a baseline, shared out by ratios instead of slopes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from ...core.knobs import knob
from ...data.nesting import Nested
from ...model.preservation import weights_held
from ...model.targets import Target
from ..cost import Cost
from ..method import Attribution, Group, Look, Method, completeness
from ..paths import BASELINES, baseline_points, begun
from ..relevance.differences import Differences
from ..relevance.relevance_pass import forward


class DeepLift(Method):
    """How much each part's difference from a baseline changed the target, passed back through ratios of differences.

    *Meaning* the values sum to the target at the input minus that at the baseline. Any model goes: products, softmaxes,
    normalizations, gates and attention have exact rules of their own.
    *Shapes* as the input; (n, tokens) for tokens.
    *Error* the check measures the gap of that sum; a note names ops that had no rule and followed their slope.
    *Cost* two forward passes and one backward pass.
    *Source* Shrikumar, Greenside, Kundaje 2017, the rescale rule.
    """

    title = "DeepLIFT"
    opens: ClassVar[bool] = True
    group: ClassVar[Group] = "relevance"
    source: ClassVar[str] = "Shrikumar, Greenside, Kundaje 2017 (arXiv:1704.02685), section 3.5.1"
    completeness: ClassVar[bool] = True
    wide: ClassVar[bool] = True

    baseline: str = knob(
        "zero",
        "What the input is compared with: zeros, or the example's own lowest, highest or mean number in each channel.",
        choices=BASELINES,
    )

    def cost(self, look: Look, x: Nested) -> Cost:
        """One pass over the baseline, one over the input, one back."""
        return Cost(2, 1)

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """One map, from a pass over the baseline and one over the input."""
        ends = look.points(x)
        starts = [start.clone().requires_grad_() for start in baseline_points(look, x, ends, self.baseline)]
        rule = Differences()
        with weights_held(look.model), rule.released():
            before = forward(look, x, target, starts, (rule,)).detach()
            rule.compare()
            value = forward(look, x, target, ends, (rule,))
            slopes = look.gradients(value, ends)
        parts = [slope * (end - start).detach() for slope, end, start in zip(slopes, ends, starts, strict=True)]
        values = look.shaped(x, parts)
        said = f"Ops without a rule followed their slope: {', '.join(sorted(rule.followed))}." if rule.followed else ""
        gap = completeness(values, value.detach() - before)
        yield self.found(look, x, target, values, value, checks={"completeness": gap}, note=said, baseline=begun(look, self.baseline, before))
