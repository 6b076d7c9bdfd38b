"""One pass forward and one back, in which relevance runs from the target to the input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.errors import NotApplicable
from ...data.nesting import Nested
from ...model.mode import OpMode, Rule
from ...model.preservation import weights_held
from ...model.slopes import slopes
from ...model.targets import Target
from ..method import Look


def forward(look: Look, x: Nested, target: Target, points: Sequence[Tensor], rules: Sequence[Rule]) -> Tensor:
    """The target's value for each example (n,), reached from the points through ops that follow the rules."""
    # Copies of the points go in, as a model may write into its input.
    seen = look.run(x, None, [point.clone() for point in points], keep=target.keep, rules=rules, grad=True)
    mode = OpMode()
    for rule in rules:
        mode.replace(rule)
    with mode, torch.enable_grad():
        return target(seen.output, seen.kept)


def relevance(look: Look, x: Nested, target: Target, rule: Rule) -> tuple[tuple[Tensor, ...], Tensor]:
    """The relevance of the target at each of the input's points, and the target's value (n,).

    *Raises* NotApplicable where the target does not depend on the input, or is reached through an op without a rule.
    """
    points = look.points(x)
    with weights_held(look.model):
        value = forward(look, x, target, points, (rule,))
        if not value.requires_grad:
            raise NotApplicable("the target does not depend on the input in a way to follow; use occlusion or lime")
        found = slopes(value, points, weight=value.detach())
    parts = tuple(torch.zeros_like(at) if part is None else part for at, part in zip(points, found, strict=True))
    return parts, value.detach()
