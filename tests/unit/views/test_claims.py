"""Sentences that were not so, beside numbers recomputed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

import diorama
from diorama.core.marks import Bars, Field, Table
from diorama.methods.notes import FLAT
from diorama.scene import Scene


def test_a_class_that_is_misread_whole_is_compared_with_all_others() -> None:
    """Of its own class no other is left: effects are those among all, as scipy counts them, and the words say so."""
    torch.manual_seed(0)
    x, y = torch.randn(60, 3), torch.zeros(60, dtype=torch.long)
    y[:6], x[:6, 0] = 1, x[:6, 0] + 2
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        model[2].weight.zero_()
        model[2].bias.copy_(torch.tensor([3.0, 0.0]))
    picture = Scene(model, x, y, classes=["no", "yes"]).view("shared")
    assert "6, against 54 others)" in picture.caption
    assert "compared with all others" in picture.note
    assert all("within the classes" not in check.sentence for check in picture.checks)
    bars = next(mark for mark in picture.marks() if isinstance(mark, Bars))
    for k in range(3):
        effect = 2 * scipy.stats.mannwhitneyu(x[:6, k], x[6:, k]).statistic / (6 * 54) - 1
        assert bars.values[list(bars.labels).index(f"x{k + 1}")] == pytest.approx(effect)


class Words(nn.Module):
    """A bag of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 8, padding_idx=0)
        self.out = nn.Linear(8, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.embed(tokens)).sum(1))


@pytest.mark.parametrize("method", ["input_x_gradient", "integrated_gradients", "lrp", "occlusion"])
def test_a_map_of_an_input_like_its_baseline_does_not_call_the_target_independent(method: str) -> None:
    """A row of zeros has a slope; only a network without weights depends on nothing."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.zeros(2, 4)
    note = diorama.attribute(model, x, target=0, method=method).note
    assert "zero everywhere, though the target changes" in note
    assert "does not depend" not in note
    assert any(why in note for why in FLAT)  # by which notes of parts are put together
    with torch.no_grad():
        model[2].weight.zero_()
    assert "does not depend on this input" in diorama.attribute(model, x, target=0, method=method).note


def test_a_text_of_padding_alone_is_not_said_to_change_nothing() -> None:
    """Any word in its place changes the scores."""
    torch.manual_seed(0)
    texts = torch.randint(1, 6, (12, 5))
    texts[3] = 0
    inputs = diorama.Tokens(vocabulary=["<pad>", "a", "b", "c", "d", "e"])
    picture = Scene(Words(), texts, torch.arange(12) % 2, inputs=inputs).view("words", select="example:3")
    assert "though the target changes" in picture.note


def test_a_map_that_is_flat_before_and_after_is_not_said_to_change() -> None:
    """Nothing speaks for any class, so that Grad-CAM is zero; randomized weights leave it so."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():
        model[4].weight.abs_().neg_()
    picture = Scene(model, torch.rand(4, 1, 8, 8), torch.arange(4) % 3).view("attribution", checks="randomization", method="grad_cam,gradient")
    table = next(mark for mark in picture.marks() if isinstance(mark, Table))
    alike = next(column.numbers for column in table.columns if column.name == "alike, randomized")
    assert np.isnan(alike).tolist() == [True, False]
    captions = [getattr(mark, "caption", "") or "" for mark in picture.marks()]
    assert any(caption.startswith("flat: the same everywhere") for caption in captions)


def test_a_plane_of_several_outputs_says_which_and_takes_its_own_scale() -> None:
    """The first output is small and the second large: each is drawn between its own truths, and what is kept of it is its own."""
    torch.manual_seed(0)
    x = torch.randn(50, 6)
    y = torch.stack([x[:, 0], 1000 + 100 * x[:, 1]], 1)
    scene = Scene(nn.Linear(6, 2), x, y, task="regression")
    pictures = [scene.view("boundary", output=k) for k in range(2)]
    for k, picture in enumerate(pictures):
        field = next(mark for mark in picture.marks() if isinstance(mark, Field))
        assert picture.caption.startswith("Of 2 outputs this is ")
        assert (field.limits.low, field.limits.high) == pytest.approx((float(y[:, k].min()), float(y[:, k].max())))
    with pytest.raises(diorama.NotApplicable, match="numbers 0 to 1, not 2"):
        scene.view("boundary", output=2)


def test_examples_without_a_label_are_of_no_class_and_an_empty_class_is_said() -> None:
    """A contrast counts those that are labelled, as selectivity does."""
    torch.manual_seed(0)
    x = torch.randn(40, 5)
    y = (x[:, 0] > 0).long()
    y[10:16] = -100
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    counts = [int((y == k).sum()) for k in range(2)]
    scene = Scene(model, x, y, classes=["neg", "pos", "none"])
    assert f"the mean over {counts[0]} and {counts[1]} examples" in scene.view("contrast", a="neg", b="pos").caption
    assert "as there is none of none" in scene.view("contrast", a="neg", b="none").caption


def test_an_example_whose_scores_are_no_numbers_speaks_for_no_negative_class() -> None:
    """It has no answer, and the caption says so."""
    x = torch.randn(6, 3)
    x[2] = float("nan")
    picture = Scene(nn.Linear(3, 2), x, torch.zeros(6).long()).view("attribution", select="example:2", method="gradient,occlusion")
    assert "−1" not in picture.caption.split(".")[0]
    assert "answers nothing" in picture.caption
