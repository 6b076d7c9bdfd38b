"""Confusion in all its forms: cells and their examples, differences, folding, several labels, places; beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score, multilabel_confusion_matrix
from torch import nn

import diorama
from diorama.core.marks import Group, Heatmap, Table
from diorama.scene import Scene


def _scene(classes: int, count: int = 300, seed: int = 0, flip: float = 0.3) -> Scene:
    """A network that answers with the place of the largest number; a share of the labels is another one."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(count, classes, generator=g)
    y = x.argmax(1)
    wrong = torch.rand(count, generator=g) < flip
    y = torch.where(wrong, (y + 1) % classes, y)
    return diorama.Scene(nn.Identity(), x, y, task="classification", classes=[f"c{k}" for k in range(classes)])


def test_the_matrix_is_scikit_learns() -> None:
    """Cells equal sklearn's counts and shares; without the diagonal only mix-ups are left."""
    scene = _scene(5)
    wanted = confusion_matrix(scene.live.y, scene.predictions())
    np.testing.assert_array_equal(scene.view("confusion", share=False).body.values, wanted)
    np.testing.assert_allclose(scene.view("confusion").body.values, wanted / wanted.sum(1, keepdims=True))
    assert not np.diag(scene.view("confusion", errors=True).body.values).any()


def test_more_of_a_large_probe_set_is_counted_when_asked() -> None:
    """By itself the first examples, with the numbers of both; else as many as one says, here and in the examples and what they share."""
    scene = _scene(5, 700)
    few, whole = scene.view("confusion", share=False), scene.view("confusion", share=False, examples=700)
    assert (few.body.values.sum(), few.note) == (512, "512 of 700 examples are looked at")
    np.testing.assert_array_equal(whole.body.values, confusion_matrix(scene.examples.y, scene.examples.x.argmax(1)))
    assert whole.note == ""
    wrong = int((scene.examples.x.argmax(1) != scene.examples.y).sum())
    picture = scene.view("examples", examples=700, only="wrong", sort="index", limit=500)
    assert len(picture.body.row_keys) == wrong
    assert picture.body.row_keys[-1] == f"example:{int(torch.nonzero(scene.examples.x.argmax(1) != scene.examples.y)[-1])}"
    assert f"{100 * (1 - wrong / 700):.1f} % of 700 examples" in picture.caption
    assert "512 of 700 examples are looked at" in scene.view("examples").note


def test_a_cell_shows_its_examples() -> None:
    """Two chosen classes list the examples of that truth and answer; one lists all its examples, wrong ones first."""
    scene = _scene(4)
    y, given = scene.live.y.numpy(), scene.predictions().numpy()
    table = scene.view("confusion", select=["class:2", "class:1"], limit=200).body.children[1]
    assert isinstance(table, Table)
    assert [int(key.split(":")[1]) for key in table.row_keys] == np.flatnonzero((y == 2) & (given == 1)).tolist()
    table = scene.view("confusion", select=["class:2"], limit=200).body.children[1]
    assert len(table.row_keys) == (y == 2).sum()
    assert table.flagged.tolist() == sorted(table.flagged.tolist(), reverse=True)
    none = scene.view("confusion", select=["class:1", "class:3"]).body
    assert isinstance(none, Group)
    assert none.children[1].title.startswith("no example")


def test_a_difference_is_signed() -> None:
    """Compared with another network, each cell is the difference of both; the caption tells both shares."""
    one, other = _scene(4, flip=0.1), _scene(4, flip=0.4)
    heat = one.view("confusion", other=other, share=False)
    counts = [confusion_matrix(each.live.y, each.predictions()) for each in (one, other)]
    np.testing.assert_array_equal(heat.body.values, counts[0] - counts[1])
    assert heat.body.limits.scale == "diverging"
    assert f"{100 * np.trace(counts[0]) / 300:.1f} % are right here" in heat.caption


@pytest.mark.parametrize("classes", [100, 1000])
def test_many_classes_are_folded(classes: int) -> None:
    """The most mixed-up classes are shown, those mixed up side by side; all others are one row and column, none is lost."""
    scene = _scene(classes, 512)
    picture = scene.view("confusion", share=False)
    heat = picture.body
    assert isinstance(heat, Heatmap)
    assert len(heat.values) <= 41
    assert heat.row_labels[-1].endswith(" others")
    assert heat.row_keys[-1] == ""
    assert heat.values.sum() == 512
    assert "folded" in picture.note
    shown = [int(label[1:]) for label in heat.row_labels[:-1]]
    assert shown != sorted(shown)
    mixed = heat.values[:-1, :-1] - np.diag(np.diag(heat.values[:-1, :-1]))
    apart = np.abs(np.subtract(*np.nonzero(mixed)))
    plain = scene.view("confusion", share=False, order="number").body.values[:-1, :-1]
    number = np.abs(np.subtract(*np.nonzero(plain - np.diag(np.diag(plain)))))
    assert len(apart) == len(number)


def test_several_labels_are_told_each() -> None:
    """Found, missed and said wrongly are sklearn's, label by label; shares are of those that have it or lack it."""
    g = torch.Generator().manual_seed(2)
    x = torch.randn(80, 5, generator=g)
    y = ((x + 0.8 * torch.randn(80, 5, generator=g)) > 0).float()
    scene = diorama.Scene(nn.Identity(), x, y, task="multi_label")
    (tn, fp), (fn, tp) = multilabel_confusion_matrix(y, x > 0).transpose(1, 2, 0)
    np.testing.assert_array_equal(scene.view("confusion", share=False).body.values, np.stack([tp, fn, fp, tn], 1))
    np.testing.assert_allclose(scene.view("confusion").body.values[:, 1], fn / (fn + tp))
    assert f"{tp.sum()} are found, {fn.sum()} missed; {fp.sum()} are said wrongly" in scene.view("confusion").caption
    even = diorama.Scene(nn.Identity(), torch.tensor([[-1.0, 1, 1], [1, -1, 1]]), torch.tensor([[1.0, 1, 1], [1, 1, 1]]), task="multi_label")
    assert "Most often wrong are 0 and 1, once each." in even.view("confusion").caption
    even = diorama.Scene(nn.Identity(), torch.eye(3), torch.tensor([1, 2, 2]))
    assert "0 is taken for 1" not in even.view("confusion").caption
    assert "1 is taken for 0 most often, once, and so is one more pair as often." in even.view("confusion").caption


def test_a_segmentation_counts_places() -> None:
    """Cells count places whose truth is known, and the check is sklearn's mean intersection over union."""
    g = torch.Generator().manual_seed(3)
    x = torch.randn(6, 3, 8, 8, generator=g)
    y = (x + torch.randn(6, 3, 8, 8, generator=g)).argmax(1)
    y[0, 0] = -100
    scene = diorama.Scene(nn.Identity(), x, y, task="segmentation")
    picture = scene.view("confusion", share=False)
    known, given = (y != -100).numpy(), x.argmax(1).numpy()
    np.testing.assert_array_equal(picture.body.values, confusion_matrix(y.numpy()[known], given[known]))
    assert picture.checks[0].value == pytest.approx(jaccard_score(y.numpy()[known], given[known], average="macro"))
    assert f"of {known.sum()} places" in picture.caption
