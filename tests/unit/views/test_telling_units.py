"""Units whose answers hardly differ between classes, beside how they differ within one, are painted pale and stand for no class."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from diorama.core.marks import Network
from diorama.scene import Scene
from diorama.views.relate._columns import NO_CLASS


def _scene() -> Scene:
    """Six inputs, three of which are the class with a little noise and three noise alone, each handed on by a unit of its own."""
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    x = torch.cat([nn.functional.one_hot(y, 3) + 0.2 * torch.randn(300, 3, generator=draw), torch.randn(300, 3, generator=draw)], 1)
    net = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(6))
    return Scene(net, x, y)


def test_noise_is_pale_and_named_by_no_class() -> None:
    """A row tells how far its class means lie apart beside its answers: as one-way variances say, computed here by themselves."""
    scene = _scene()
    part = scene.derive("clusters").value["layers"][0]
    x, y = scene.examples.x.double().numpy(), scene.examples.y.numpy()
    means = np.stack([x[y == k].mean(0) for k in range(3)])
    between = 100 * np.square(means - x.mean(0)).sum(0)
    whole = np.square(x - x.mean(0)).sum(0)
    wanted = np.clip((between - 2 * (whole - between) / 297) / whole, 0, 1)
    np.testing.assert_allclose(part["share"], wanted, atol=1e-6)
    np.testing.assert_allclose(part["spread"], x.std(0), rtol=1e-5)
    network = next(mark for mark in scene.view("clusters").marks() if isinstance(mark, Network))
    seen = 0
    for vertex in network.vertices:
        units = [int(key.split("/")[1]) for key in vertex.keys if key.startswith("unit:0/")]
        if vertex.pixels is None or not units:
            continue
        seen += len(units)
        strongest = np.abs(vertex.pixels).max(1)
        noise = np.array(units) >= 3
        assert (strongest[noise] < 0.3).all()
        assert (strongest[~noise] > 1.0).all()
        if noise.all():
            assert (vertex.label, vertex.colour) == (NO_CLASS, None)
        elif not noise.any():
            assert vertex.label in ("0", "1", "2")
    assert seen == 6
    springs = next(mark for mark in scene.view("springs").marks() if isinstance(mark, Network))
    dots = {vertex.keys[0]: vertex for vertex in springs.vertices if vertex.form == "dot"}
    assert [dots[f"unit:0/{unit}"].colour is None for unit in range(6)] == [False] * 3 + [True] * 3


def test_a_class_that_is_chosen_lights_no_noise() -> None:
    """Units that do not tell the classes apart answer to none."""
    caption = _scene().view("clusters", select="class:1").caption
    assert " 2 units answer to" in caption
