"""Repeated blocks of a structure, folded."""

from __future__ import annotations

import torch
from large_nets import deep
from torch import Tensor, nn

import diorama
from diorama.core.marks import Blocks
from diorama.model.graph import Graph, graph
from diorama.model.repeated_blocks import FOLD, folded


class _Looped(nn.Module):
    """Six blocks in a loop, with a sum between them that belongs to no module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.parts = nn.Linear(4, 8), nn.ModuleList(nn.Linear(8, 8) for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for part in self.parts:
            x = x + part(x)
        return x


def _inside(whole: Graph, fold: str) -> list[str]:
    return [node.id for node in whole.nodes if node.parent == fold]


def test_what_is_repeated_is_one_node_and_all_of_it_is_inside() -> None:
    """Blocks in a row that are equal, with what stands between them, lie in one fold; others stay as they are, and no edge is lost."""
    plain = graph(_Looped(), torch.rand(2, 4))
    whole = folded(plain)
    folds = [node for node in whole.nodes if node.id.startswith(FOLD)]
    assert [fold.label for fold in folds] == ["6 × Linear + add"]
    assert _inside(whole, folds[0].id) == [name for k in range(6) for name in (f"layer:parts.{k}", f"op:{'add' if not k else f'add#{k + 1}'}")]
    assert folds[0].parameters == 6 * 72
    assert whole.edges == plain.edges
    assert {node.id for node in whole.view(()).nodes} == {"input", "layer:first", folds[0].id, "output"}
    assert folded(graph(nn.Sequential(*(nn.Linear(4, 4) for _ in range(4))), torch.rand(2, 4))).nodes[1].id == "layer:0"


def test_hundreds_of_layers_are_three_blocks() -> None:
    """Two hundred layers are three blocks, and an open fold holds parts of a hundred, each of which holds ten of ten."""
    whole = folded(graph(deep(200, 4), torch.rand(2, 4)))
    seen = whole.view(())
    assert [node.label for node in seen.nodes] == ["input", "0", "198 × Residual", "199", "output"]
    parts = whole.children(seen.nodes[2].id)
    assert [part.label for part in parts] == ["100 × Residual", "98 × Residual"]
    assert [part.label for part in whole.children(parts[0].id)] == ["10 × Residual"] * 10


def test_a_search_leads_into_a_fold() -> None:
    """The view shows folds, and a search for one of the repeated blocks shows it among its neighbours alone."""
    torch.manual_seed(0)
    scene = diorama.Scene(deep(30, 4), torch.rand(6, 4), torch.arange(6) % 3)
    picture = scene.view("structure")
    assert "folded" in picture.caption
    found = scene.view("structure", search="15").body
    assert isinstance(found, Blocks)
    labels = {block.label for block in found.blocks}
    assert {"14", "15", "16"} <= labels
    assert len(labels) < 12
