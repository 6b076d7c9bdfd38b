"""How layers are called in whatever is said: one whose name is a mere number is a layer, in each sentence of each view and finding."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from picture_rules import words_in
from torch import nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.knobs import knobs_of
from diorama.core.marks import Blocks
from diorama.core.registry import views
from diorama.run import Run
from diorama.scene import Scene

NAMES = ("4711", "4712", "4713", "4714", "4715", "4716")
BARE = re.compile(r"(?<![Ll]ayer )(?<![.\w/:])471\d(?!\.weight|\.bias|\w)")
"""A layer's number without the word before it."""
QUICK = {"count": 4, "steps": 5, "starts": 1, "places": 3, "synthesize": False}


def _net(seed: int, width: int) -> nn.Sequential:
    torch.manual_seed(seed)
    made = nn.Sequential()
    inside = (nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 3))
    for name, module in zip(NAMES, inside, strict=True):
        made.add_module(name, module)
    return made


def _trained(path: Path) -> Run:
    model = _net(0, 8)
    x = torch.randn(30, 6)
    y = x[:, :3].argmax(1)
    with torch.no_grad():
        model[0].bias[:7] = -50.0  # nearly all dead
        model[4].weight.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, path, probe=(x, y), optimizer=optimizer, every=1, snapshots=1) as recorder:
        for _ in range(12):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.detach())
    return diorama.open(path)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """A training of numbered layers of which one is frozen and one nearly dead, at its end and early on."""
    run = _trained(tmp_path_factory.mktemp("numbered") / "run")
    return [run.scene(), run.scene(run.snapshots[1])]


def _said(scene: Scene, name: str) -> list[str]:
    known = knobs_of(views[name])
    knobs = {knob: value for knob, value in QUICK.items() if knob in known and value in (known[knob].choices or (value,))}
    try:
        picture = scene.view(name, **knobs)
    except NotApplicable as error:
        return [str(error)]
    labels = [label for mark in picture.marks() if not isinstance(mark, Blocks) for label in getattr(mark, "labels", ())]
    return [picture.title, picture.caption, picture.note, *(check.sentence for check in picture.checks), *labels, *words_in(picture.body)]


@pytest.mark.parametrize("name", sorted(views))
def test_a_numbered_layer_is_called_a_layer(name: str, scenes: list[Scene]) -> None:
    """Title, caption, note, checks and labels say "layer 4711", of several each, and so does a refusal."""
    told = [text for scene in scenes for text in _said(scene, name)]
    assert not [text for text in told if BARE.search(text)]


def test_a_finding_calls_numbered_layers_layers(scenes: list[Scene]) -> None:
    """Findings do so too, in title, reason and advice."""
    findings = scenes[0].run.findings() if scenes[0].run is not None else []
    assert findings
    for finding in findings:
        assert not [text for text in (finding.title, finding.text) if BARE.search(text)]


def test_a_network_beside_is_called_by_its_step_within_one_run(scenes: list[Scene]) -> None:
    """Of two moments of one training the other is told by its step, as they share a name; and numbered layers are layers there too."""
    picture = scenes[0].view("differences", other=scenes[1])
    assert picture.title == f"Where it differs from step {scenes[1].step}"
    assert not BARE.search(picture.caption)
