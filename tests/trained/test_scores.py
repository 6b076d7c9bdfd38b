"""Networks that others trained, opened in a scene: they score what they should, and every view that fits draws them."""

from __future__ import annotations

import math
from typing import Any

import networks
import pytest
import torch
from pairings import pairs

from diorama.core.errors import NotApplicable
from diorama.core.knobs import knobs_of
from diorama.core.picture import Picture
from diorama.core.registry import views
from diorama.scene import Scene

FEWER = {
    "steps": 2, "draws": 1, "samples": 24, "examples": 3, "count": 3, "points": 5, "size": 24, "resolution": 6,
    "places": 5, "units": 4, "segments": 8, "shown": 2, "among": 2, "layers": 4, "method": "gradient,grad_cam", "synthesize": False,
}
"""Knobs by which a view that searches, samples or sweeps does little: whether it draws does not depend on them."""


FEW_LESIONS = {"limit": 12}
BASIC = {"answer", "examples", "structure", "weights"}
"""Views that draw every network."""


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    """Each network with few examples, made when first asked for."""
    return {}


def _few(scenes: dict[str, Scene], name: str) -> Scene:
    if name not in scenes:
        told = {"resnet20": {"count": 24}, "lenet5": {"count": 24}, "charrnn": {"count": 4, "length": 32}, "darknet": {"size": 64}}.get(name, {})
        scenes[name] = networks.scene(name, **told)
    return scenes[name]


@pytest.mark.parametrize(("name", "least"), [("resnet20", 0.917), ("lenet5", 0.985), ("tinyvgg", 14 / 20)])
def test_classifiers_are_as_right_as_their_makers_say(name: str, least: float) -> None:
    """Of the examples at hand, ResNet-20, LeNet-5 and TinyVGG get the share right that their makers state."""
    answers = networks.scene(name).answers()
    assert answers.right is not None
    assert float(answers.right.sum()) / len(answers.right) >= least


def test_darknet_names_what_pictures_show() -> None:
    """Darknet-tiny sees a cat, an espresso, and one of the tall things in the picture of a rocket."""
    scene = networks.darknet()
    cat, coffee, rocket = (scene.classes[int(number)] for number in scene.predictions())
    assert cat in ("Egyptian cat", "tabby", "tiger cat")
    assert coffee == "espresso"
    top = [scene.classes[int(number)] for number in scene.scores()[2].topk(3).indices]
    assert {"missile", "space shuttle"} & set(top), rocket


def test_the_character_model_needs_as_many_bits_as_its_makers_say() -> None:
    """A character of Shakespeare costs about two bits where a long text came before it."""
    scene = networks.charrnn(8, 1024)
    scores = torch.cat([scene.scores(scene.examples.x[k : k + 1]) for k in range(8)])
    logs = scores.log_softmax(-1).gather(-1, scene.examples.y[..., None])[:, 100:]
    assert float(-logs.mean()) / math.log(2) == pytest.approx(1.94, abs=0.2)


def _drawn(scene: Scene, name: str) -> Picture | None:
    """The last picture of a view with small knobs; None where it says that it does not fit."""
    known = knobs_of(views[name])
    fewer: dict[str, Any] = {}
    for knob, value in FEWER.items():
        kinds = {str: ("text",), bool: ("flag",), int: ("integer", "number")}[type(value)]
        if knob in known and known[knob].kind in kinds:
            fewer[knob] = max(value, known[knob].low or 0) if type(value) is int else value
    if name == "lesions":
        fewer |= FEW_LESIONS
    try:
        return scene.view(name, **fewer)
    except NotApplicable:
        return None


@pairs("name, view", list(networks.NETWORKS), list(views), 3)
def test_every_view_that_fits_draws_the_network(name: str, view: str, scenes: dict[str, Scene]) -> None:
    """A view whose ``fits`` says yes ends with a final picture, which can be stored and read, or says why not."""
    scene = _few(scenes, name)
    if views[view].fits(scene) is not None:
        assert view not in BASIC
        return
    picture = _drawn(scene, view)
    if picture is None:
        assert view not in BASIC
        return
    assert picture.final
    assert Picture.from_bytes(picture.to_bytes()).title == picture.title
