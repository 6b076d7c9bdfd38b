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
