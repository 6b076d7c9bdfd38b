"""What the view of examples offers for doubtful labels of a running training, and how it lists what was changed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
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
from diorama.core.numerals import being
from diorama.record import requests, rounds
from diorama.views.training import _doubtful_examples


def test_doubtful_labels_are_changed_in_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The offer relabels the planted wrong labels as they were, is made only after enough looks and while it trains, and what it did is listed."""
    monkeypatch.setattr(rounds, "LOOK", 0.0)
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

    def offered(chosen: Iterable[int] = ()) -> Number:
        written = threading.Event()
        recorder._background.do(lambda _: written.set(), 0, sure=True)  # the writer comes to it after all that waits now
        assert written.wait(120)
        picture = diorama.open(recorder.path).scene().view("examples", show="mislabelled", select=[f"example:{k}" for k in chosen])
        assert isinstance(picture.body, Group)
        assert isinstance(picture.body.children[0], Number)
        return picture.body.children[0]

    train(5)
    assert "Too early" in offered().note
    train(80)
    assert not offered().actions  # nothing is changed that nobody chose
    doubt = diorama.open(recorder.path).scene().derive("margins").value["doubt"]
    some = np.flatnonzero(doubt > 0).tolist()
    assert set(range(6)) <= set(some)
    assert "None of the 1 chosen" in offered([int(np.argmin(doubt))]).note
    beside = offered([0, 1, int(np.argmin(doubt))])
    assert [set(str(act.knobs["examples"]).split(",")) for act in beside.actions] == [{"0", "1"}] * 2
    assert "1 more is chosen that is not doubtful" in beside.note
    preview = offered([*range(6)])
    moves = {(int(y[k]), int(truth[k])) for k in range(6)}
    assert all(f"from {old} to {new}" in preview.note for old, new in moves)
    relabel, drop = offered(some).actions
    chosen = [number for run in numbers_in(str(relabel.knobs["examples"])) for number in run]
    assert sorted(chosen) == some
    assert drop.knobs["examples"] == relabel.knobs["examples"]
    with pytest.raises(NotApplicable, match="is changed"):
        diorama.open(recorder.path).scene().view("examples", show="changed")
    taught = diorama.open(recorder.path).scene().view("influence", example=9, limit=4)
    assert "All examples of the probe set are among what it is trained on" in taught.caption
    (click,) = next(mark for mark in taught.marks() if isinstance(mark, Number)).actions
    proponents = next(mark for mark in taught.marks() if isinstance(mark, Table)).row_keys
    assert (click.command, click.knobs["of"]) == ("drop", "probe")
    assert {f"example:{k}" for run in numbers_in(str(click.knobs["examples"])) for k in run} == {*proponents}
    requests.send(recorder.path, relabel.command, relabel.knobs)
    train(2)
    new = dict(zip(chosen, map(int, str(relabel.knobs["labels"]).split(",")), strict=True))
    assert all(new[k] == int(truth[k]) for k in range(6))
    assert data[[0, 7]][1].tolist() == [new[0], new.get(7, int(y[7]))]
    train(5)
    left = diorama.open(recorder.path).scene().view("examples", show="mislabelled", limit=512)
    table = next(mark for mark in left.marks() if isinstance(mark, Table))
    assert not {f"example:{k}" for k in chosen} & set(table.row_keys)  # not accused by the label that they had
    assert f"{len(chosen)} examples that the training was told to drop or relabel are left out" in left.caption
    recorder.close()
    scene = diorama.open(recorder.path).scene()
    compared = scene.view("compare", other=scene.at(0))
    beside = next(mark for mark in compared.marks() if isinstance(mark, Table))
    told = {column.name: column.numbers for column in beside.columns}
    labels = torch.tensor([new.get(k, int(y[k])) for k in range(120)])
    right = [float((each.model(x).argmax(1) == labels).float().mean()) for each in (scene, scene.at(0))]
    assert told["right by the changed labels"] == pytest.approx(right)
    here, there = (each.model(x).argmax(1) == labels for each in (scene, scene.at(0)))
    shown = scene.view("examples", sort="index", limit=512)
    assert isinstance(shown.body, Table)
    names = {column.name: column.texts for column in shown.body.columns}
    assert "number in the probe set" in names  # the data number them otherwise
    assert names["truth"] == tuple(f"{y[k]} → {new[k]}" if new.get(k, int(y[k])) != y[k] else str(int(y[k])) for k in range(120))
    assert shown.body.flagged is not None
    assert shown.body.flagged.tolist() == (scene.model(x).argmax(1) != labels).tolist()  # none is wrong by a label that was taken from it
    assert f"{100 * right[0]:.1f} % with the new labels of {len(chosen)} of them" in shown.caption
    for name, knobs in (("examples", {}), ("confusion", {}), ("curves", {}), ("projection", {"method": "pca"}), ("boundary", {"resolution": 8})):
        assert f"{len(chosen)} examples of the probe set are trained under another label since step 86" in scene.view(name, **knobs).note
    assert "→" in scene.view("answer", example=0).caption
    before = diorama.open(recorder.path).scene(80)
    assert "→" not in before.view("answer", example=0).caption
    assert "relabel" not in before.view("examples").note
    assert any(f"{len(chosen)} examples of the probe set (" in found.text for found in diorama.open(recorder.path).findings())
    assert f"by the changed labels {being(int((here & ~there).sum()))} right here alone, {int((there & ~here).sum())} there" in compared.caption
    picture = diorama.open(recorder.path).scene().view("examples", show="changed")
    assert isinstance(picture.body, Table)
    columns = {column.name: column for column in picture.body.columns}
    assert columns["number in the data"].numbers is not None
    assert columns["number in the data"].numbers.tolist() == sorted(chosen)
    assert columns["label"].texts[:6] == tuple(str(int(label)) for label in truth[:6])
    assert columns["label before"].texts[:6] == tuple(str(int(label)) for label in y[:6])
    assert picture.body.row_keys[0] == "example:0"
    assert f"{len(chosen)} of its examples, 0 of them dropped" in picture.caption
    assert not any(isinstance(mark, Number) for mark in diorama.open(recorder.path).scene().view("examples", show="mislabelled").marks())


def test_nothing_is_offered_for_what_is_not_in_the_data(tmp_path: Path) -> None:
    """A probe set of which an example is not among the training's data gets no offer, and neither does a training without wrapped data."""
    suspected = np.array([1, 2])
    labels = np.zeros(4, np.int64)

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
        assert (_doubtful_examples.ways(Scene, suspected, suspected, labels, {1}, 20, str) is not None) == there  # type: ignore[arg-type]
    Scene.run.meta = {"steered": {"matched": 2, "probe": 2, "labels": "whole"}}
    part = _doubtful_examples.ways(Scene, suspected, suspected, labels, {1, 2, 3}, 20, str)  # type: ignore[arg-type]
    assert part is not None
    assert "1 doubtful example chosen; 1 more is chosen that is not doubtful, and stays. 1 chosen example lies beyond the first 2 " in part.note


def test_a_step_before_labels_were_learnt_by_heart_is_named() -> None:
    """Where most looks were at a network that answers nearly all labels: the step from which on it does; while it learns nothing is said."""
    steps, known = np.arange(0, 200, 5), np.ones(40, bool)
    right = (np.arange(40)[:, None] < np.minimum(40, 4 * np.arange(len(steps)))).astype(float)  # a tenth more at each look
    told = _doubtful_examples.by_heart({"steps": steps, "right": right, "known": known})
    assert "From step 45 on" in told
    assert "look at step 45 or before" in told
    for some in (slice(16), slice(5)):
        assert not _doubtful_examples.by_heart({"steps": steps[some], "right": right[:, some], "known": known})
    assert not _doubtful_examples.by_heart({"steps": steps, "right": 0.9 * right, "known": known})
