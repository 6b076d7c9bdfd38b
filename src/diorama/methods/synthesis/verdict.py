"""What the network itself says of what was synthesized: plainly, and moved as it never was while it formed."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ...data import nesting
from ...data.nesting import Nested
from ...data.text_places import at_ends
from .engine import values_of
from .objectives import Objective
from .stage import MadeInput
from .transforms import Transforms

DRAWS = 8
"""Unseen changes of place and size."""
HELD_OUT = 1_000_003
"""What is added to a seed for changes that played no part in the synthesis."""
_TASKS = ("classification", "multi_label", "next_token")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The objective of each input as it is shown and, for a class, the network's probability for it.

    *Meaning* ``moved`` and ``moved_probability`` are means over changes of place and size drawn from a held-out seed.
    *Shapes* each (n,); ``answer`` the class that the network gives, -1 where it gives none.
    """

    value: Tensor
    moved: Tensor
    probability: Tensor | None = None
    moved_probability: Tensor | None = None
    answer: Tensor | None = None

    @property
    def still(self) -> bool:
        """There was nothing to move."""
        return self.moved is self.value


def verdict(
    stage: MadeInput, objective: Objective, x: Nested, transforms: Transforms, seed: int, numbers: list[int] | None = None
) -> Verdict:
    """Ask the network about inputs; ``numbers`` are the classes that they were made for, one each.

    *Cost* a forward pass, and eight more where there are transforms to draw.
    """
    look = stage.look
    value = values_of(look, objective, x).cpu()
    moved = value
    own = list(nesting.tensors(x))[stage.frame.part]
    variants: list[Nested] = []
    if stage.image and transforms.any:
        planes, generator = stage.frame.planes(own).to(own.device), torch.Generator().manual_seed(seed + HELD_OUT)
        drawn = (transforms(planes, generator) for _ in range(DRAWS))
        variants = [stage.frame.around(stage.frame.as_input(part)) for part in drawn]
        moved = torch.stack([values_of(look, objective, one).cpu() for one in variants]).mean(0)
    if numbers is None or look.reading.task not in _TASKS:
        return Verdict(value, moved)
    chances = _chances(stage, x)
    index = torch.tensor(numbers)[:, None]
    plain = chances.gather(1, index)[:, 0]
    swayed = plain
    if variants:
        swayed = torch.stack([_chances(stage, one).gather(1, index)[:, 0] for one in variants]).mean(0)
    return Verdict(value, moved, plain, swayed, chances.argmax(1))


def _chances(stage: MadeInput, x: Nested) -> Tensor:
    """Probabilities of the classes, (n, classes): at the last token of a text."""
    chances = stage.look.reading.probabilities(stage.look.scores(x)).detach().cpu()
    if chances.ndim == 3:
        return at_ends(stage.look.kind, x, chances)
    return chances.flatten(2).mean(2) if chances.ndim > 3 else chances
