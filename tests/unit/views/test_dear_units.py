"""Which units are silenced: one that first order passes over is found, and the check looks at units that nothing spoke for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diorama.core.marks import Table
from diorama.scene import Scene

DEAR = 30


class _Needed(nn.Module):
    """Unit 30 alone carries class 1; units 10 to 19 are on for it too, and nothing reads them; the others say a little to all classes."""

    def __init__(self, units: int, *, squashed: bool) -> None:
        super().__init__()
        self.hidden, self.out, self.squashed = nn.Linear(4, units), nn.Linear(units, 3), squashed
        with torch.no_grad():
            self.hidden.weight.zero_()
            self.hidden.bias.zero_()
            self.out.weight.zero_()
            self.out.bias.zero_()
            self.hidden.weight[:, 3] = 0.1
            self.out.weight[1] = 0.5 if squashed else 0.05
            for unit, axis in ((0, 0), (2, 2), (DEAR, 1), *((decoy, 1) for decoy in range(10, 20))):
                self.hidden.weight[unit] = 10 * torch.eye(4)[axis]
            self.out.weight[:, 10:20] = 0
            self.out.weight[:, [0, 2, DEAR]] = (4.0 if squashed else 1.6) * torch.eye(3)[:, [0, 2, 1]]

    def forward(self, x: Tensor) -> Tensor:
        found = torch.relu(self.hidden(x))
        return self.out(torch.tanh(3 * found) if self.squashed else found)


def _scene(units: int, *, squashed: bool) -> Scene:
    """Ninety rows; the fourth number is on everywhere, or only in one example, which is misread."""
    y = torch.arange(90) % 3
    x = torch.zeros(90, 4)
    x[:, :3] = torch.eye(3)[y] * (0.8 + 0.4 * torch.rand(90, 1, generator=torch.Generator().manual_seed(0)))
    x[:, 3] = float(squashed)
    if not squashed:
        x[1] = torch.tensor([1.0, 0.0, 0.0, 1.0])
    return Scene(_Needed(units, squashed=squashed), x, y, classes=("a", "b", "c"))


@pytest.mark.parametrize(("units", "squashed"), [(60, True), (600, False)])
def test_a_unit_is_found_where_the_slope_of_the_loss_says_little(units: int, squashed: bool) -> None:
    """Behind a function that is flat, and where the network is sure of all but one answer: by hand the unit is dearest by far."""
    scene = _scene(units, squashed=squashed)
    value = scene.derive("serving", of_class=1).value
    own = scene.live.y.numpy() == 1
    rise = (scene.edit(f"unit:hidden/{DEAR}", lesion=True).losses() - scene.losses()).double().numpy()
    assert value["unit"][0] == DEAR
    assert value["cost"][0] == pytest.approx(rise[own].mean(), rel=1e-4)
    assert value["cost"][0] > 10 * value["cost"][1]
    # To first order others are dearer, by which it was passed over.
    assert (value["expected"] > value["expected"][0]).sum() > 10
    assert value["first"] == min(units, 256)
    said = scene.view("serving", class_=1).note
    assert f"24 of {units} units were silenced" in said
    assert f"each of {'60' if units == 60 else '256 of 600'} units cost 16 examples of b" in said


def test_the_check_counts_units_that_nothing_spoke_for() -> None:
    """Some are drawn at random from all others; the picture says how many, and whether one costs more than all that were chosen."""
    scene = _scene(60, squashed=True)
    value = scene.derive("serving", of_class=1).value
    assert value["drawn"].sum() == 4
    assert not value["drawn"][value["unit"] == DEAR].any()
    assert value["tried"][value["drawn"]].max() <= np.sort(value["tried"])[-14]
    picture = scene.view("serving", class_=1)
    (check,) = picture.checks
    assert "4 units were drawn at random from all that were not chosen, and none costs more" in check.sentence
    assert check.good


def test_as_many_examples_are_looked_at_as_are_told() -> None:
    """Where few are of other classes, more of the class are taken; both are spread evenly."""
    y = torch.tensor([1] * 70 + [0] * 20)
    x = torch.cat([torch.eye(3)[y], torch.ones(90, 1)], 1)
    scene = Scene(_Needed(40, squashed=True), x, y, classes=("a", "b", "c"))
    for asked in (32, 60, 90):
        value = scene.derive("serving", of_class=1, examples=asked).value
        assert value["own"] + value["rest"] == asked
        assert ("examples are looked at" in scene.view("serving", class_=1, examples=asked).note) == (asked < 90)
    few = scene.view("serving", class_=1, examples=60)
    assert "60 of 90 examples are looked at" in few.note
    assert isinstance(list(few.marks())[-1], Table)
