"""Answers that are no numbers, and shares in numbers of few digits: what pictures of a text say of them."""

from __future__ import annotations

import pytest
import torch
from attentions import LETTERS, Writes

import diorama
from diorama.scene import Scene


def _scene(dtype: torch.dtype = torch.float32, *, broken: bool = False) -> Scene:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = Writes(0).eval(), torch.randint(0, 10, (6, 12))
    if broken:
        with torch.no_grad():
            for part in model.parameters():
                part.fill_(float("nan"))
    return Scene(model.to(dtype), x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=LETTERS))


@pytest.mark.parametrize("name", ["words", "contributions", "patching", "attention", "lens"])
def test_where_no_score_is_a_number_no_token_is_named(name: str) -> None:
    """The first token of the vocabulary is not the answer, and no check is met by numbers that are none."""
    picture = _scene(broken=True).view(name)
    said = f"{picture.title} {picture.caption}"
    assert f"“{LETTERS[0]}”" not in said
    assert "sums to 1" not in said
    assert not [check.name for check in picture.checks if check.good and not check.value]
    if name in ("words", "contributions"):
        assert picture.title.endswith(" an answer?")


def test_shares_of_few_digits_sum_to_one() -> None:
    """Rows of a softmax in bfloat16 differ from 1 by their rounding, which is told by the check's number and is no fault."""
    picture = _scene(torch.bfloat16).view("attention")
    (check,) = picture.checks
    assert 1e-4 < check.value < 0.02
    assert check.good
    assert "a row sums to 1" in picture.caption


def test_a_matrix_says_behind_what_its_units_are_seen() -> None:
    """Units of a layer whose ReLU follows at once are looked at behind it, and the caption says so."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
        scene = Scene(model, torch.randn(20, 3), torch.arange(20) % 2)
    assert "6 units of layer 0, after ReLU (rows" in scene.view("matrix", layer="0").caption
    assert "after" not in scene.view("matrix", layer="2").caption
