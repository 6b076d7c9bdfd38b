"""What the view of examples offers for doubtful labels of a running training, and how it lists what was changed."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.knobs import numbers_in
from diorama.core.marks import Group, Number, Table
from diorama.record import controls, requests
from diorama.views.training import _doubtful


def test_doubtful_labels_are_changed_in_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The offer relabels the planted wrong labels as they were, is made only after enough looks and while it trains, and what it did is listed."""
    monkeypatch.setattr(controls, "_LOOK", 0.0)
    g = torch.Generator().manual_seed(3)
    truth = torch.arange(120) % 4
    x = 2 * torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])[truth] + 0.6 * torch.randn(120, 3, generator=g)
    y = truth.clone()
    y[:6] = (y[:6] + 1) % 4
    torch.manual_seed(0)
    model, data = nn.Linear(3, 4), diorama.data(TensorDataset(x, y))
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    recorder = diorama.watch(model, tmp_path / "run", probe=data.examples(120), optimizer=optimizer, every=5, snapshots=5, data=data)

    def train(steps: int) -> None:
        for _ in range(steps):
            inputs, labels = data[list(range(120))]
            loss = nn.functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.detach())

    def offered() -> Number:
        written = threading.Event()
        recorder._background.do(lambda _: written.set(), 0, sure=True)  # the writer comes to it after all that waits now
        assert written.wait(120)
        body = diorama.open(recorder.path).scene().view("examples", show="mislabelled").body
        assert isinstance(body, Group)
        assert isinstance(body.children[0], Number)
        return body.children[0]

    train(5)
    assert "Too early" in offered().note
    train(80)
    drop, relabel = offered().actions
    chosen = [number for run in numbers_in(str(relabel.knobs["examples"])) for number in run]
    assert set(range(6)) <= set(chosen)
    assert drop.knobs["examples"] == relabel.knobs["examples"]
    with pytest.raises(NotApplicable, match="is changed"):
        diorama.open(recorder.path).scene().view("examples", show="changed")
    requests.send(recorder.path, relabel.command, relabel.knobs)
    train(2)
    new = dict(zip(chosen, map(int, str(relabel.knobs["labels"]).split(",")), strict=True))
    assert all(new[k] == int(truth[k]) for k in range(6))
    assert data[[0, 7]][1].tolist() == [new[0], new.get(7, int(y[7]))]
    again = offered()
    assert f"{len(chosen)} of the doubtful" in again.note
    assert not set(chosen) & {number for act in again.actions for run in numbers_in(str(act.knobs["examples"])) for number in run}
    recorder.close()
    scene = diorama.open(recorder.path).scene()
    beside = next(mark for mark in scene.view("compare", other=scene.at(0)).marks() if isinstance(mark, Table))
    told = {column.name: column.numbers for column in beside.columns}
    labels = torch.tensor([new.get(k, int(y[k])) for k in range(120)])
    right = [float((each.model(x).argmax(1) == labels).float().mean()) for each in (scene, scene.at(0))]
    assert told["right by the changed labels"] == pytest.approx(right)
    picture = diorama.open(recorder.path).scene().view("examples", show="changed")
    assert isinstance(picture.body, Table)
    columns = {column.name: column for column in picture.body.columns}
    assert columns["number in the data"].numbers is not None
    assert columns["number in the data"].numbers.tolist() == sorted(chosen)
    assert columns["label"].texts[:6] == tuple(str(int(label)) for label in truth[:6])
    assert columns["label before"].texts[:6] == tuple(str(int(label)) for label in y[:6])
    assert picture.body.row_keys[0] == "example:0"
    assert f"{len(chosen)} of its examples, 0 of them dropped" in picture.caption
    body = diorama.open(recorder.path).scene().view("examples", show="mislabelled").body
    assert isinstance(body, Group)
    assert not isinstance(body.children[0], Number)


def test_nothing_is_offered_for_what_is_not_in_the_data(tmp_path: Path) -> None:
    """A probe set of which an example is not among the training's data gets no offer, and neither does a training without wrapped data."""
    suspected = np.array([1, 2])

    class Scene:
        """As much of a scene as the offer reads."""

        live = examples = range(4)

        class run:  # noqa: N801 - a scene's own word
            """A training that runs."""

            alive = True
            changes = ()
            meta: dict[str, object] = {}

    for meta, there in (({}, False), ({"matched": 3, "probe": 4, "labels": "whole"}, False), ({"matched": 4, "probe": 4, "labels": "whole"}, True)):
        Scene.run.meta = {"steered": meta} if meta else {}
        assert (_doubtful.ways(Scene, suspected, suspected, 20) is not None) == there  # type: ignore[arg-type]
