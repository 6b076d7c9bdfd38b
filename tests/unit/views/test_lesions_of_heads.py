"""What silencing each head of a transformer costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attentions import LETTERS, Writes
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Lines, Table
from diorama.core.picture import Picture
from diorama.scene import Scene


def _scene() -> Scene:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = Writes(0).eval(), torch.randint(0, 10, (6, 12))
    return Scene(model, x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=LETTERS))


def _table(picture: Picture) -> Table:
    return next(mark for mark in picture.marks() if isinstance(mark, Table))


def test_each_head_costs_what_the_loss_rises_without_it() -> None:
    """As by hand: the projection without what the head hands on; the dearest comes first, and each row chooses its head."""
    scene = _scene()
    table = _table(scene.view("lesions", of="heads"))
    model, examples = scene.model, scene.examples

    def loss(key: str) -> float:
        """With the columns of the projection at zero that read a head."""
        name, head = key.removeprefix("head:").split("/")
        out = model.get_submodule(name).out
        kept = out.weight.detach().clone()
        wide = kept.shape[1] // (len(table.row_keys) // 2)
        with torch.no_grad():
            if key:
                out.weight[:, int(head) * wide : (int(head) + 1) * wide] = 0
            found = F.cross_entropy(model(examples.x).flatten(0, 1), examples.y.flatten())
            out.weight.copy_(kept)
        return float(found)

    with torch.no_grad():
        whole = float(F.cross_entropy(model(examples.x).flatten(0, 1), examples.y.flatten()))
    costs = next(column.numbers for column in table.columns if column.name == "cost")
    assert set(table.row_keys) == {f"head:blocks.{block}/{head}" for block in (0, 1) for head in (0, 1)}
    np.testing.assert_allclose(costs, [loss(key) - whole for key in table.row_keys], atol=1e-5)
    assert list(costs) == sorted(costs, reverse=True)


def test_a_chosen_layer_narrows_the_heads() -> None:
    """Its own heads alone are silenced; a head that is chosen, by a click on its row, leaves the others where they are."""
    scene = _scene()
    picture = scene.view("lesions", of="heads", layer="blocks.1")
    assert set(_table(picture).row_keys) == {"head:blocks.1/0", "head:blocks.1/1"}
    assert picture.caption.startswith("Each of 2 heads silenced in turn")
    assert next(mark for mark in picture.marks() if isinstance(mark, Lines)).x_title == "% of heads silenced"
    assert "by" in picture.idle
    assert len(_table(scene.view("lesions", of="heads", select=["head:blocks.1/0"])).row_keys) == 4


def test_a_network_without_attention_has_no_heads() -> None:
    """It is told why, and units are silenced as ever."""
    scene = Scene(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.rand(6, 3), torch.arange(6) % 2)
    with pytest.raises(NotApplicable, match="no attention"):
        scene.view("lesions", of="heads")
    assert "units silenced in turn" in scene.view("lesions").caption
