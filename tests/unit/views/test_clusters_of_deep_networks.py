"""Clusters of a network of very many layers: no more is asked than is drawn."""

from __future__ import annotations

import pytest
import torch
from large_nets import deep

from diorama.core.picture import Draft, Picture
from diorama.core.selection import Selection
from diorama.model.connections import Connections
from diorama.scene import Scene
from diorama.views.relate.clusters import ClustersView


def test_lines_between_few_columns_cost_what_few_layers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred layers, each of which reads all before it, only those between the columns are measured, and first clusters wait for no lines."""
    torch.manual_seed(0)
    scene = Scene(deep(100), torch.randn(150, 4), torch.arange(150) % 3)
    asked, weights, plain, whole = [], [], Connections.strengths, Scene.parameters
    monkeypatch.setattr("diorama.derive.derivations.clusters.SOON", 0.0)
    monkeypatch.setattr(Connections, "strengths", lambda self, *told: (asked.append(told), plain(self, *told))[1])
    monkeypatch.setattr(Scene, "parameters", lambda self: (weights.append(self), whole(self))[1])
    first = 0
    for one in ClustersView().pictures(scene, Selection()):
        picture = one.make() if isinstance(one, Draft) else one
        if isinstance(picture, Picture) and not first:
            first = 1
            assert not picture.final
            assert scene.keep("connections") is None
    columns = 6
    assert 0 < len(asked) <= columns * (columns - 1) / 2
    assert 0 < len(weights) <= 4 * columns
