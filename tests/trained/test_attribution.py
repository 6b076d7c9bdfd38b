"""Every attribution method on trained networks: a finite map with its checks, or a sentence that says why not."""

from __future__ import annotations

import functools
from typing import Any

import networks
import pytest
import torch
import trained_nets
from pairings import pairs
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.knobs import knobs_of
from diorama.methods.method import Attribution
from diorama.scene import Scene

TAUGHT = {
    "vit": trained_nets.vit, "faces": trained_nets.faces, "reader": trained_nets.reader, "words": functools.partial(trained_nets.reader, False),
    "row": trained_nets.row,
}
ALL = (*networks.PICTURED, *TAUGHT)
FEWER = {"steps": 4, "draws": 2, "samples": 20, "segments": 6}
"""Knobs that make a method do little: its map is rough, and still finite."""
ATTENTION = {"attention_rollout", "attention_x_gradient"}
RECTIFIED = {"guided_backprop", "deconvnet"}
SLOPES = {"gradient", "smooth_grad", *RECTIFIED}
"""Methods that tell the slope along an embedding, which is not what its word adds."""
CAMS = {"cam", "grad_cam", "grad_cam_plus_plus", "layer_cam", "score_cam", "eigen_cam"}
REFUSED = {
    "resnet20": ATTENTION, "lenet5": ATTENTION, "tinyvgg": ATTENTION | {"cam"}, "darknet": ATTENTION | RECTIFIED,
    "faces": ATTENTION | {"cam"}, "vit": {"cam"}, "reader": {"discrepancy"},
    "words": ATTENTION | {"discrepancy"}, "row": ATTENTION | CAMS | {"discrepancy"},
}
"""What does not apply to each network."""


@functools.cache
def opened(net: str) -> Scene:
    """A network in its scene, made once."""
    if net in TAUGHT:
        return TAUGHT[net]()
    return networks.scene(net, **({"count": 8} if net in ("resnet20", "lenet5") else {}))


def ask(net: str, name: str, x: Tensor, target: Any = None, **options: Any) -> Attribution:
    """A map made with few repeats."""
    scene, known = opened(net), knobs_of(diorama.methods[name])
    knobs: dict[str, Any] = {knob: value for knob, value in FEWER.items() if knob in known}
    if name == "shapley_sampling":
        knobs["samples"] = 1
    if name in ("occlusion", "discrepancy") and x.ndim == 4:
        knobs |= {"size": x.shape[-1] // 4, "stride": x.shape[-1] // 4}
    if name == "score_cam" and net == "darknet":
        # Its last maps are a thousand.
        knobs["layer"] = "conv2d_9"
    if name == "expected_gradients":
        knobs["baseline"] = scene.examples.x[2:4]
    told = {"classes": scene.classes, "inputs": scene.kind, "task": scene.task}
    return diorama.attribute(scene.model, x, target, method=name, **{**told, **knobs, **options})


@pairs("name, net", list(diorama.methods), ALL, 3)
def test_a_method_explains_the_network_or_says_what_does(name: str, net: str) -> None:
    """A method that applies gives a finite map with its checks; one that does not names another that does."""
    x = opened(net).examples.x[:2]
    if name in REFUSED[net]:
        with pytest.raises(NotApplicable, match=rf"; use (\w+, )*({'|'.join(diorama.methods)})"):
            ask(net, name, x)
        return
    heat = ask(net, name, x)
    assert isinstance(heat.values, Tensor)
    assert heat.values.shape == x.shape
    assert bool(torch.isfinite(heat.values).all())
    assert bool(heat.values.any())
    scores = opened(net).scores(x)
    assert torch.allclose(heat.scores.float(), scores.amax(1).float(), atol=1e-3)
    assert ("completeness" in heat.checks) or not diorama.methods[name].completeness
    assert heat.picture(1).title


def test_darknet_finds_a_small_cat_wherever_it_lies() -> None:
    """Maps for the cat's class lie mostly on a cat that fills a quarter of the picture, beside a cup of coffee."""
    cat, coffee = F.interpolate(opened("darknet").examples.x[:2], 112, mode="area")
    places = [(0, 0), (112, 112)]
    x = torch.full((2, 3, 224, 224), 0.5)
    for k, (top, left) in enumerate(places):
        x[k, :, top : top + 112, left : left + 112] = cat
        x[k, :, 112 - top : 224 - top, 112 - left : 224 - left] = coffee
    for name, least in (("grad_cam", 0.7), ("layer_cam", 0.7), ("lrp", 0.6), ("integrated_gradients", 0.5)):
        heat = ask("darknet", name, x, "tabby").values.sum(1).clamp_min(0)
        for k, (top, left) in enumerate(places):
            share = heat[k, top : top + 112, left : left + 112].sum() / heat[k].sum()
            assert share > least, (name, float(share))


def test_a_digit_stands_out_from_its_paper() -> None:
    """Of LeNet-5's relevance for a digit, most lies on the pixels near its ink, though they are few."""
    x = opened("lenet5").examples.x[:8]
    near = F.max_pool2d((x > -0.5).float(), 3, 1, 1)
    assert float(near.mean()) < 0.25
    for name in ("gradient", "input_x_gradient", "occlusion", "lrp"):
        heat = ask("lenet5", name, x, **({"value": -1.0} if name == "occlusion" else {})).values.abs()
        assert float((heat * near).sum() / heat.sum()) > 0.5, name


@pytest.mark.parametrize(
    ("net", "name"),
    [
        *(("reader", name) for name in (*sorted(ATTENTION), "lrp", "deep_lift", "occlusion", "shapley_sampling")),
        *(("words", name) for name in diorama.methods if name not in REFUSED["words"] | SLOPES),
    ],
)
def test_the_word_that_decides_has_the_most_relevance(net: str, name: str) -> None:
    """For nearly every text, the one telling word gets the largest value, where words are mixed and where they are not."""
    scene = opened(net)
    right = scene.answers().right
    assert right is not None
    assert float(right.mean()) > 0.97
    x = scene.examples.x[:12]
    options: dict[str, Any] = {"baseline": torch.zeros_like(x[:1])} if name == "expected_gradients" else {}
    found = x.gather(1, ask(net, name, x, **options).values.abs().argmax(1, keepdim=True))
    assert float((found >= 10).float().mean()) >= 0.8


@pytest.mark.parametrize("name", [name for name in diorama.methods if name not in REFUSED["row"]])
def test_the_column_that_decides_has_the_most_relevance(name: str) -> None:
    """For nearly every row, the one column that decides gets the largest value, by every method."""
    values = ask("row", name, opened("row").examples.x[:12]).values
    assert float((values.abs().argmax(1) == 1).float().mean()) >= 0.7


def test_a_transformer_attends_to_the_digit() -> None:
    """The patches to which attention leads hold more ink than the others."""
    x = opened("vit").examples.x[:32]
    for name in sorted(ATTENTION):
        heat = ask("vit", name, x).values
        assert float((heat * x).sum() / heat.sum()) > 1.1 * float(x.mean()), name
