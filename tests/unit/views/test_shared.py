"""What misread pictures share, of pictures that were changed as a whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.derive.derivations.shared import properties
from diorama.scene import Scene


def test_misread_pictures_that_are_moved_are_told_by_where_their_light_lies() -> None:
    """Spots moved aside by two share where the middle of their light lies, which each ninth of the picture tells less surely."""
    dice = torch.Generator().manual_seed(3)
    x, y = torch.zeros(120, 1, 9, 9), torch.arange(120) % 2
    for k in range(120):
        at = int(torch.randint(1, 4, (1,), generator=dice)) + 2 * (k % 5 == 0)
        x[k, 0, 2 + 3 * int(y[k]) : 5 + 3 * int(y[k]), at : at + 3] = 0.5 + 0.5 * torch.rand(1, generator=dice)
    picture = Scene(nn.Sequential(nn.Flatten(), nn.Linear(81, 2)), x, y, inputs=diorama.Image(range=(0, 1))).view(
        "shared", select="+".join(f"example:{k}" for k in range(0, 120, 5)),
    )
    assert "share more brightness to the right (effect +0." in picture.caption
    names, rows = properties(Scene(nn.Linear(9, 2), x[:1, 0], inputs=diorama.Image(range=(0, 1))), np.arange(1))
    assert names[-2:] == ["brightness to the right", "brightness to the bottom"]
    lit = x[0, 0].double()
    assert rows[0, -2] == pytest.approx(float((lit.sum(0) * torch.arange(9)).sum() / lit.sum()), abs=0.02)


@pytest.mark.parametrize(("wrong", "said"), [
    (0, "None of the 40 examples is misread, too few to compare: the 4 with"), (1, "Only 1 of the 40 examples is misread, too few"),
    (2, "Only 2 of the 40 examples are misread, too few"), (39, "39 of the 40 examples are misread, too many to compare with others: the 4 with"),
])
def test_why_no_misread_examples_are_compared_is_said(wrong: int, said: str) -> None:
    """Too few, or too many: the one that is so, with their number."""
    truth = torch.arange(40) % 2
    x = nn.functional.one_hot(torch.where(torch.arange(40) < wrong, 1 - truth, truth), 2).float()
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        for layer in net:
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
    assert said in Scene(net, x + 0.01 * torch.rand(40, 2, generator=torch.Generator().manual_seed(0)), truth).view("shared").note
    assert "An answer is not right or wrong as a whole" in Scene(net, x, x, task="regression").view("shared").note
