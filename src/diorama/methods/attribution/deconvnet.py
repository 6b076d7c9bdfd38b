"""The way back through a network whose ReLUs rectify the signal instead of masking it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from ...data.nesting import Nested
from ...model.targets import Target
from ..method import Attribution, Group, Look, Method
from ..rectifiers import rectified, unrectified


class Deconvnet(Method):
    """The target sent back through the network, with every ReLU keeping what is positive in the signal itself.

    *Meaning* what pattern in the input could excite the target; pooling sends each signal to the place of its maximum.
    ReLU and ReLU6 count, as modules, functions, in place or written as clamps.
    *Shapes* as the input; (n, tokens) for tokens.
    *Cost* one forward and one backward pass.
    *Raises* NotApplicable for a model without ReLUs.
    *Source* Zeiler, Fergus 2014, section 2.1.
    """

    opens: ClassVar[bool] = True
    group: ClassVar[Group] = "gradient"
    rows: ClassVar[tuple[str, ...]] = ("A10",)
    source: ClassVar[str] = "Zeiler, Fergus 2014 (arXiv:1311.2901), section 2.1"

    @classmethod
    def fits(cls, look: Look, x: Nested) -> str | None:
        """Models in which a ReLU runs."""
        return super().fits(look, x) or unrectified(look, x, cls.name)

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """One pass there and back."""
        values, scores = rectified(look, x, target, "deconvnet", self.name)
        yield self.found(look, x, target, values, scores)
