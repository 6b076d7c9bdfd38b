"""Each number of the input times the slope along it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from ...data.nesting import Nested
from ...model.targets import Target
from ..method import Attribution, Group, Look, Method, completeness


class InputXGradient(Method):
    """Each number of the input times the target's slope along it: its share of the answer, were the model linear.

    *Meaning* exact for a linear model without biases, and for a ReLU network without biases its sum is the target.
    ``checks["completeness"]`` says how far the sum is from the target here.
    *Shapes* as the input; (n, tokens) for tokens, whose embeddings are multiplied.
    *Units* of the target.
    *Cost* one forward and one backward pass.
    *Source* Shrikumar, Greenside, Shcherbina, Kundaje 2016, section 2.
    """

    group: ClassVar[Group] = "gradient"
    title: ClassVar[str] = "Input × gradient"
    rows: ClassVar[tuple[str, ...]] = ("A14",)
    source: ClassVar[str] = "Shrikumar, Greenside, Shcherbina, Kundaje 2016 (arXiv:1605.01713), section 2"

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """One pass there and back."""
        points = look.points(x)
        there = look.run(x, target, points, grad=True)
        slopes = look.gradients(there.value, points)
        values = look.shaped(x, [at.detach() * slope for at, slope in zip(points, slopes, strict=True)])
        gap = completeness(values, there.value.detach())
        yield self.found(look, x, target, values, there.value, checks={"completeness": gap})
