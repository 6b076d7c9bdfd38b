"""How the target changes when each number of the input does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from ...data.nesting import Nested
from ...model.targets import Target
from ..method import Attribution, Group, Look, Method


class Gradient(Method):
    """The slope of the target along each number of the input: where a small change would matter most.

    *Meaning* the sensitivity at this input, not how much a part contributed. For tokens, the slopes along the
    embedding are summed.
    *Shapes* as the input; (n, tokens) for tokens.
    *Units* of the target per unit of the input.
    *Cost* one forward and one backward pass.
    *Source* Simonyan, Vedaldi, Zisserman 2014, equation 3, without its absolute value.
    """

    group: ClassVar[Group] = "gradient"
    rows: ClassVar[tuple[str, ...]] = ("A11",)
    source: ClassVar[str] = "Simonyan, Vedaldi, Zisserman 2014 (arXiv:1312.6034), equation 3"

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """One pass there and back."""
        points = look.points(x)
        there = look.run(x, target, points, grad=True)
        values = look.shaped(x, look.gradients(there.value, points))
        yield self.found(look, x, target, values, there.value)
