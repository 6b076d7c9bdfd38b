"""Two structures laid beside one another."""

from __future__ import annotations

import torch
from torch import nn

import diorama
from diorama.core.marks import Blocks, Group
from diorama.model.alignment import aligned
from diorama.model.graph import graph


def _block(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())


def _net(*, blocks: int = 3, hidden: int = 10, act: type[nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), *(_block(4) for _ in range(blocks)), nn.Flatten(), nn.Linear(144, hidden), act(), nn.Linear(hidden, 3))


def _two(one: nn.Module, other: nn.Module) -> tuple[object, object]:
    x = torch.rand(2, 1, 8, 8)
    return graph(one, x), graph(other, x)


def test_the_same_network_is_the_same_everywhere() -> None:
    """A network beside itself with other weights has nothing that differs, and each node is matched with its own."""
    one, other = (graph(_net(), torch.rand(2, 1, 8, 8)) for _ in range(2))
    match = aligned(one, other)
    assert match.pairs == {node.id: node.id for node in one.nodes}
    assert match.count("same") == len(match.inmost[0])
    assert not match.own


def test_planted_differences_are_found_and_nothing_else() -> None:
    """A block that stands in one alone, a widened layer, another activation: each is told, and what stands behind is still matched."""
    x = torch.rand(2, 1, 8, 8)
    more = aligned(graph(_net(), x), graph(_net(blocks=4), x))
    alone = {name for name, state in more.states[1].items() if state == "alone"}
    assert len({name for name in alone if name.count(".") == 0 and name.startswith("layer:")}) == 1
    assert not [name for name, state in more.states[0].items() if state != "same"]
    assert more.pairs["layer:7"] == "layer:8"
    wide = aligned(graph(_net(), x), graph(_net(hidden=20), x))
    changed = {name for name, state in wide.states[0].items() if state == "changed" and name.startswith("layer:")}
    assert changed == {"layer:5", "layer:6", "layer:7"}
    assert {"layer:5", "layer:7"} < wide.own
    acting = aligned(graph(_net(), x), graph(_net(act=nn.Tanh), x))
    assert acting.states[0]["layer:6"] == "changed"
    assert [name for name, state in acting.states[0].items() if state == "alone"] == ["op:6.relu"]
    assert [name for name, state in acting.states[1].items() if state == "alone"] == ["op:6.tanh"]


def test_the_view_lays_both_out_and_marks_what_differs() -> None:
    """Beside another network the structure is a pair; a matched block bears the key of its match, and marks say what is otherwise there."""
    x, y = torch.rand(6, 1, 8, 8), torch.arange(6) % 3
    scene, other = diorama.Scene(_net(), x, y), diorama.Scene(_net(blocks=4, hidden=20), x, y)
    picture = scene.view("structure", other=other)
    assert isinstance(picture.body, Group)
    here, there = picture.body.children
    assert isinstance(here, Blocks) and isinstance(there, Blocks)  # noqa: PT018 - one claim
    said = {block.label: block.warning for block in there.blocks}
    assert sum("only in" in text for text in said.values()) == 1
    assert any("20 · " in block.warning or block.warning.endswith("weights") for block in here.blocks if block.label == "5")
    assert next(block.key for block in there.blocks if block.label == "8") == "layer:7"
    assert "stand there alone" in picture.caption
    same = scene.view("structure", other=diorama.Scene(_net(), x, y))
    assert isinstance(same.body, Blocks)
    assert "is built the same" in same.caption


def test_maps_stand_in_the_blocks() -> None:
    """Asked for, what a layer makes of the input stands as small maps in its block, so that structure and maps are one picture."""
    scene = diorama.Scene(_net(), torch.rand(6, 1, 8, 8), torch.arange(6) % 3)
    mark = scene.view("structure", maps=3, open="1").body
    assert isinstance(mark, Blocks)
    maps = {block.label: block.maps for block in mark.blocks if block.maps is not None}
    assert maps["0"].shape == (3, 6, 6)
    assert maps["5"].shape == (1, 1, 10)
