"""Laws of views where a training learns some examples of the probe set under another label than they came with."""

from __future__ import annotations

import dataclasses
import os

import msgspec
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.knobs import knobs_of
from diorama.core.picture import Picture
from diorama.core.registry import views
from diorama.data import changes
from diorama.live.state import Tracker
from diorama.record import requests, rounds
from diorama.run import Run
from diorama.scene import Scene
from diorama.views.changed_labels import of_numbers, relabelled

FEWER = {"steps": 6, "starts": 2, "layers": 2, "places": 7, "count": 3, "segments": 10, "units": 8}
NEW = {0: 1, 1: 2, 2: 0, 5: 0}
"""Examples of the probe set, and the labels that they are given."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training of small pictures of three classes whose data are the probe set; four are relabelled after its fourth step, one after that."""
    for each in list(changes.known):
        changes.known.discard(each)
    torch.manual_seed(0)
    y = torch.arange(24) % 3
    x = torch.rand(24, 1, 6, 6) + 0.4 * y.reshape(-1, 1, 1, 1)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer, data = torch.optim.Adam(model.parameters(), 0.01), diorama.data(TensorDataset(x, y))
    path = tmp_path_factory.mktemp("relabelled") / "run"
    names = ("zero", "one", "two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "LOOK", 0.0)
        with diorama.watch(
            model, path, probe=data.examples(24), optimizer=optimizer, every=1, snapshots=1, data=data, classes=names
        ) as recorder:
            for step in range(8):
                if step == 4:
                    labels = [names[label] for label in NEW.values()]
                    requests.send(path, "relabel", {"examples": list(NEW), "of": "probe", "labels": labels})
                if step == 6:
                    requests.send(path, "relabel", {"examples": [8], "of": "probe", "label": "zero"})
                inputs, truth = data[list(range(24))]
                loss = nn.functional.cross_entropy(model(inputs), truth)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                recorder.step(loss=loss.detach())
    return diorama.open(path)


def _shown(scene: Scene, name: str) -> Picture | None:
    """The last picture of a view, without what tells how it was made; None where it refuses."""
    knobs = {knob: value for knob, value in FEWER.items() if isinstance(getattr(knobs_of(views[name]).get(knob), "default", None), int)}
    try:
        return list(scene.stream(name, **knobs))[-1]
    except NotApplicable:
        return None


def _drawn(picture: Picture | None) -> bytes:
    return msgspec.json.encode((picture.title, picture.caption, picture.note, picture.checks)) + picture.to_bytes() if picture is not None else b""


def _relabelled(scene: Scene) -> Scene:
    """The same moment with the new labels in its probe set."""
    assert scene._examples is not None
    assert scene._examples.y is not None
    y = scene._examples.y.clone()
    for k, label in NEW.items():
        y[k] = label
    scene._examples = scene._live = dataclasses.replace(scene._examples, y=y)
    return scene


SWEEP = bool(os.environ.get("DIORAMA_SWEEP"))
BY_LABELS = [name for name in views if views[name].by_labels]
OTHERS = [name for name in views if name not in BY_LABELS and views[name].needs != "record"]


@pytest.mark.parametrize("name", BY_LABELS)
def test_a_view_that_goes_by_labels_says_which(name: str, run: Run) -> None:
    """It tells how many examples are trained under another label by the step that it shows, and since when."""
    shown = _shown(run.scene(5), name)
    assert shown is None or "4 examples of the probe set are trained under another label since step 5 (relabel)" in shown.note


def test_each_example_is_relabelled_from_its_own_step_on(run: Run) -> None:
    """Before the first act none is, after it those that it named, and after the last all; curves of all steps name the first and the last."""
    assert [relabelled(run.scene(step)) for step in (4, 5, 6, 7)] == [{}, NEW, NEW, {**NEW, 8: 0}]
    assert "5 examples of the probe set are trained under another label since steps 5 to 7" in of_numbers(run)[0]
    assert not of_numbers(run, 4)
    assert run.classes == ("zero", "one", "two")  # told beside a probe set that was taken from the data
    assert str(Tracker("run", run.path).summary().score).endswith(" % by the old labels")
    texts = {step: " ".join(found.text for found in run.findings(step)) for step in (4, 6, 8)}
    assert "(relabel" not in texts[4]
    assert "trained under another label" not in texts[4]
    assert "trained under another label since step 5" in texts[6]
    assert "trained under another label since steps 5 to 7" in texts[8]


@pytest.mark.parametrize("name", OTHERS if SWEEP else OTHERS[::9])
def test_what_no_view_says_goes_by_labels_does_not(name: str, run: Run) -> None:
    """The picture of a view that does not say so is the same whatever labels the probe set has; all views are looked at in the sweep."""
    first = _drawn(_shown(run.scene(8), name))
    other = _drawn(_shown(_relabelled(run.scene(8)), name))
    if first != other:  # it may say how long it took, or that something was kept
        assert other == _drawn(_shown(run.scene(8), name)) or first != _drawn(_shown(run.scene(8), name)), f"{name} wants by_labels = True"
