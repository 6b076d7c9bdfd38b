"""The view of what taught an answer: proponents, opponents, and what it says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from recorded_runs import recorded

import diorama
from diorama.core.marks import Bars, Group, Table
from diorama.core.picture import Picture


def _tables(picture: Picture) -> list[Table]:
    return [mark for part in picture.body.children for mark in part.children if isinstance(mark, Table)]


def test_proponents_and_opponents_are_ranked(tmp_path: Path) -> None:
    """Strongest first, with their numbers and labels, the example itself left out; the classes' sums are of all."""
    run = recorded(tmp_path / "run", steps=30)
    scene = run.scene()
    picture = scene.view("influence", example=5, limit=6)
    best, worst = _tables(picture)
    scores = scene.derive("influence", example=5, most=2000).value["scores"].copy()
    scores[5] = 0
    assert [int(key.split(":")[1]) for key in best.row_keys] == np.argsort(-scores)[:6].tolist()
    assert [int(key.split(":")[1]) for key in worst.row_keys] == np.argsort(scores)[:6].tolist()
    head = picture.body.children[0]
    assert isinstance(head, Group)
    bars = head.children[-1]
    assert isinstance(bars, Bars)
    assert bars.values.sum() == pytest.approx(scores.sum())
    answer = run.classes[int(scene.predictions()[5])]
    assert f"answering example 5 with {answer}, as the network does" in picture.caption
    assert "probe set stands in" in picture.caption
    assert "the example itself is left out" in picture.note


def test_the_answer_is_asked_for_once_and_not_for_each_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many passes of the whole network are asked for the answer's words and bars of many snapshots as of one."""
    run, asked = recorded(tmp_path / "run", steps=30), []
    plain = diorama.Scene.scores
    monkeypatch.setattr(diorama.Scene, "scores", lambda scene, x=None: (asked.append(x), plain(scene, x))[1])
    counts = []
    for snapshots in (1, 8):
        asked.clear()
        shown = [picture for picture in run.scene().stream("influence", example=5, snapshots=snapshots) if picture.body]
        counts.append((len(shown), len(asked)))
    assert counts[1][0] > counts[0][0]
    assert counts[1][1] == counts[0][1]


def test_training_data_in_a_file_is_looked_at(tmp_path: Path) -> None:
    """What the training named as its data is found by itself; a drawn input may be asked about, and the cost comes first."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(50, 3, generator=g)
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=(x[:, 0] > 0).long().numpy())
    scene = recorded(tmp_path / "run", steps=10, data=tmp_path / "data.npz").scene()
    told: list[str] = []
    picture = list(scene.stream("influence", input=torch.ones(1, 3), layers="all", most=20, progress=lambda one: told.append(one.note)))[-1]
    assert "passes, about" in told[0]
    assert "examples of data.npz" in picture.caption
    assert "20 of 50 examples were looked at" in picture.note
    assert picture.checks[0].value < 0.2
    assert all(table.row_keys == () for table in _tables(picture))
    assert diorama.views["influence"].fits(scene.edit("unit:first/0", lesion=True))


def test_an_example_that_is_no_number_is_counted_once() -> None:
    """Of four examples that are no numbers three have no influence on the fourth, which is left out itself."""
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    x[:4] = torch.nan
    scene = diorama.Scene(torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)), x, torch.arange(20) % 3)
    assert scene.view("influence", example=6).note.endswith("the example itself is left out; 4 examples have an influence that is no number")
    assert scene.view("influence", example=1).note.endswith("the example itself is left out; 19 examples have an influence that is no number")


def test_data_that_were_in_memory_alone_are_told_from_data_that_nobody_named(tmp_path: Path) -> None:
    """Whoever wrapped a data set in memory is asked for a file of it, and not for what was said already."""
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    data = diorama.data(torch.utils.data.TensorDataset(x, (x[:, 0] > 0).long()))
    for given, said in ((data, "was in the training's memory alone (name a file of it as data)"), (None, "is not known here (say it with data=)")):
        scene = recorded(tmp_path / f"run{given is None}", steps=10, data=given).scene()
        assert f"What it was trained on {said}, so the probe set stands in" in scene.view("influence", example=0).caption
