"""Widgets of one kernel follow each other."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from paper import PICTURES
from torch import nn

import diorama
from diorama.core.picture import Picture
from diorama.core.registry import widget_for
from diorama.notebook import widget
from diorama.notebook.widget import Widget


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """Each test has a kernel of its own."""
    widget._shown.clear()
    yield
    widget._shown.clear()


def _scene(seed: int = 0) -> diorama.Scene:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3))
    return diorama.Scene(model, torch.rand(6, 1, 8, 8, generator=generator), torch.arange(6) % 3)


def _title(shown: Widget) -> str:
    return Picture.from_bytes(shown.picture).title


def _choose(shown: Widget, *keys: str) -> None:
    """What the browser does when the person clicks: it sets the trait."""
    shown.selection = list(keys)


def test_a_unit_chosen_in_one_is_followed_by_the_other() -> None:
    """A unit clicked in the activations turns the weights to its layer and is ringed in both."""
    scene = _scene()
    activations, weights = Widget(scene.view("activations")), Widget(scene.view("weights"))
    assert _title(weights) == "Weights of layer 0"
    _choose(activations, "unit:2/3")
    assert _title(weights) == "Weights of layer 2"
    assert weights.selection == ["unit:2/3"]


def test_other_kinds_of_key_stay() -> None:
    """Choosing a unit takes over the unit only; the sibling keeps its example."""
    scene = _scene()
    first = Widget(scene.view("activations", example=1))
    second = Widget(scene.view("activations", example=4))
    _choose(first, "example:1", "unit:0/1")
    assert second.selection == ["example:4", "unit:0/1"]


def test_another_model_does_not_follow() -> None:
    """A unit of one network means nothing to another network's picture."""
    here, there = Widget(_scene().view("activations")), Widget(_scene().view("weights"))
    before = there.picture
    _choose(here, "unit:2/3")
    assert (there.selection, there.picture) == ([], before)


def test_a_picture_from_a_file_takes_part_in_highlighting() -> None:
    """A picture without a scene is not made again, but what is chosen elsewhere is ringed in it."""
    live, still = Widget(_scene().view("activations")), Widget(PICTURES["tiles"])
    _choose(live, "unit:conv1/3")
    assert still.selection == ["unit:conv1/3"]
    assert still.picture == PICTURES["tiles"].to_bytes()


def test_a_knob_set_in_the_browser_is_asked_for() -> None:
    """A message that sets a knob makes the picture again with it; a wrong value is told in one sentence."""
    shown = Widget(_scene().view("weights"))
    shown._told(shown, {"do": "set", "knob": "layer", "value": "2"}, [])
    assert _title(shown) == "Weights of layer 2"
    shown._told(shown, {"do": "set", "knob": "layer", "value": "no such layer"}, [])
    assert "no such layer" in shown.error
    assert _title(shown) == "Weights of layer 2"


def test_a_command_without_a_training_says_so() -> None:
    """An action clicked in the picture of a model that nothing trains answers with a sentence."""
    shown = Widget(_scene().view("weights"))
    shown._told(shown, {"do": "act", "command": "pause", "knobs": {}}, [])
    assert "not being trained" in shown.error


def test_what_nobody_sees_is_not_computed() -> None:
    """A widget whose cell ran again is left alone, and catches up when it is seen again."""
    scene = _scene()
    activations, weights = Widget(scene.view("activations")), Widget(scene.view("weights"))
    weights._view_count = 1
    weights._view_count = 0
    _choose(activations, "unit:2/3")
    assert _title(weights) == "Weights of layer 0"
    weights._view_count = 1
    assert _title(weights) == "Weights of layer 2"


def test_the_newest_choice_wins() -> None:
    """While a notebook's loop runs, two quick choices make one picture: that of the last."""
    scene = _scene()
    activations, weights = Widget(scene.view("activations")), Widget(scene.view("weights"))
    made: list[str] = []
    weights.observe(lambda change: made.append(_title(weights)), "picture")

    async def two() -> None:
        _choose(activations, "unit:2/3")
        _choose(activations, "unit:0/1")
        await asyncio.gather(*weights._tasks)

    asyncio.run(two())
    assert made in ([], ["Weights of layer 0"])
    assert _title(weights) == "Weights of layer 0"
    assert weights.selection == ["unit:0/1"]


def test_a_notebook_gets_the_widget_and_a_still(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The bundle has the live view and a PNG for readers without a kernel; without the built page, the PNG alone."""
    (tmp_path / "widget.js").write_text("export default {}")
    monkeypatch.setattr(widget, "STATIC", tmp_path)
    data, _ = widget_for(_scene().view("weights"))
    assert "application/vnd.jupyter.widget-view+json" in data
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    (tmp_path / "widget.js").unlink()
    data, size = widget_for(_scene().view("weights"))
    assert set(data) == {"image/png", "text/plain"}
    assert size["image/png"]["width"] > 100


def test_without_widgets_a_picture_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where anywidget is missing a picture still shows as its text."""
    import sys

    monkeypatch.setitem(sys.modules, "diorama.notebook.widget", None)
    bundle: Any = PICTURES["tiles"]._repr_mimebundle_()
    assert bundle == {"text/plain": repr(PICTURES["tiles"])}
