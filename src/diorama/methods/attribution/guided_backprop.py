"""The gradient through ReLUs that pass back only positive signals where they were open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from ...data.nesting import Nested
from ...model.targets import Target
from ..method import Attribution, Group, Look, Method
from ..rectifiers import rectified, unrectified


class GuidedBackprop(Method):
    """The gradient, with every ReLU passing back only positive signals, and only where its own input was positive.

    *Meaning* sharp pictures of what the network's filters respond to; they say little about the class, which the
    randomization test shows. ReLU and ReLU6 count, as modules, functions, in place or written as clamps.
    *Shapes* as the input; (n, tokens) for tokens.
    *Cost* one forward and one backward pass.
    *Raises* NotApplicable for a model without ReLUs.
    *Source* Springenberg, Dosovitskiy, Brox, Riedmiller 2015, figure 1.
    """

    opens: ClassVar[bool] = True
    group: ClassVar[Group] = "gradient"
    rows: ClassVar[tuple[str, ...]] = ("A12",)
    source: ClassVar[str] = "Springenberg, Dosovitskiy, Brox, Riedmiller 2015 (arXiv:1412.6806), figure 1"

    @classmethod
    def fits(cls, look: Look, x: Nested) -> str | None:
        """Models in which a ReLU runs."""
        return super().fits(look, x) or unrectified(look, x, cls.name)

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """One pass there and back."""
        values, scores = rectified(look, x, target, "guided", self.name)
        yield self.found(look, x, target, values, scores)
