"""Structure: nested modules and ops, and what flows between them."""

from __future__ import annotations

import pytest
import torch
from large_nets import Bottleneck
from torch import Tensor, nn
from zoo import ZOO, Residual, Specimen

import diorama
from diorama.core.errors import NotFound
from diorama.core.selection import Key
from diorama.model.graph import graph
from diorama.scene.directions import default_layer
from diorama.views.units import telling_layers

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


class ShortcutLast(nn.Module):
    """Calls what fits its way round after its own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.way, self.answer = nn.Linear(3, 5), nn.Linear(5, 6), nn.Linear(3, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x).relu())
        y += self.way(x)
        return self.answer(y.relu())


def _ends(edges: tuple[tuple[str, str, str], ...]) -> set[tuple[str, str]]:
    return {edge[:2] for edge in edges}


@pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)
def test_every_structure_hangs_together(specimen: Specimen) -> None:
    """In each network a path leads from the inputs to the output, in the open graph and in the closed one."""
    whole = graph(*specimen())
    for shown in (whole, whole.view(())):
        ends = _ends(shown.edges)
        reached = {node.id for node in shown.nodes if node.kind == "input"}
        while more := {b for a, b in ends if a in reached} - reached:
            reached |= more
        assert "output" in reached
        known = {node.id for node in shown.nodes}
        assert all(a in known and b in known for a, b in ends)
        assert all(not node.parent or node.parent in known for node in shown.nodes)
        assert all(str(Key.parse(node.key)) == node.key for node in shown.nodes if node.key)


def test_a_residual_sum_has_two_sources() -> None:
    """The sum of a residual block is an op in the block, fed by the last norm and by what came into the block."""
    whole = graph(Residual(), torch.randn(2, 1, 8, 8))
    block = whole.view({"layer:layer1", "layer:layer1.0"})
    sources = {a for a, b in _ends(block.edges) if b == "op:layer1.0.add_"}
    assert sources == {"layer:layer1.0.bn2", "layer:stem"}
    node = block["op:layer1.0.add_"]
    assert (node.kind, node.parent, node.shape, node.is_op) == ("add_", "layer:layer1.0", (4, 8, 8), True)
    assert not whole.shortcuts()  # nothing is fitted on its way round


def test_what_only_fits_a_way_round_is_told_and_no_view_opens_on_it() -> None:
    """The projection beside a block's layers is a shortcut, wherever it is called; the layer that views open on is the block's own last."""
    model = nn.Sequential(Bottleneck(3, 2, 2), Bottleneck(8, 3, 1), nn.Flatten(), nn.Linear(12 * 16, 3))
    assert graph(model, torch.randn(2, 3, 8, 8)).shortcuts() == {"0.downsample.0", "1.downsample.0"}
    scene = diorama.Scene(ShortcutLast(), torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    assert [one.name for one in scene.layers.leaves] == ["first", "second", "way", "answer"]
    assert default_layer(scene).name == "second"
    assert [one.name for one in telling_layers(scene)] == ["first", "second", "answer"]


def test_closed_modules_hide_their_inside() -> None:
    """A closed module is one node with its shape and parameters, and edges end at it."""
    model = Residual()
    closed = graph(model, torch.randn(2, 1, 8, 8)).view(())
    assert [node.id for node in closed.nodes] == [
        "input",
        "layer:stem",
        "layer:layer1",
        "op:mean",
        "layer:fc",
        "output",
    ]
    assert closed["layer:layer1"].parameters == sum(p.numel() for p in model.layer1.parameters())
    assert ("layer:stem", "layer:layer1", "4 × 8 × 8") in closed.edges
    assert closed["layer:layer1"].shape == (4, 8, 8)


def test_opening_a_module_shows_its_ops() -> None:
    """An open convolution holds its op, with the op's shape and parameters."""
    shown = graph(Residual(), torch.randn(2, 1, 8, 8)).view({"layer:stem"})
    (op,) = shown.children("layer:stem")
    assert (op.id, op.kind, op.shape, op.parameters) == ("op:stem.conv2d", "conv2d", (4, 8, 8), 4 * 9 + 4)
    assert ("input", op.id, "1 × 8 × 8") in shown.edges


def test_the_neighbourhood_of_a_node() -> None:
    """Near a node are the nodes one edge away, and the modules around them."""
    shown = graph(Residual(), torch.randn(2, 1, 8, 8)).view({"layer:layer1"})
    assert {node.id for node in shown.near("layer:layer1.0").nodes} == {
        "layer:stem", "layer:layer1", "layer:layer1.0", "layer:layer1.1",
    }
    assert "input" in {node.id for node in shown.near("layer:layer1.0", hops=2).nodes}
    with pytest.raises(NotFound, match="node"):
        shown.near("layer:layer9")


def test_search_finds_names_and_kinds() -> None:
    """Search finds nodes by a piece of their name or kind, the exact name first."""
    whole = graph(Residual(), torch.randn(2, 1, 8, 8))
    assert whole.find("layer1.1")[0].id == "layer:layer1.1"
    assert {node.id for node in whole.find("BatchNorm")} == {f"layer:layer1.{b}.bn{k}" for b in (0, 1) for k in (1, 2)}


def test_modules_without_ops_still_pass_data_on() -> None:
    """An identity stands between its neighbours, and several inputs have nodes of their own."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Identity(), nn.Linear(3, 2))
    assert _ends(graph(model, torch.randn(2, 3)).view(()).edges) >= {("layer:0", "layer:1"), ("layer:1", "layer:2")}
    several = graph(*next(s for s in ZOO if s.name == "several_dict")())
    assert {node.id for node in several.nodes if node.kind == "input"} == {"input.row", "input.image"}


def test_calls_that_do_nothing_are_left_out() -> None:
    """A conversion to the type that a tensor already has is no op; one that changes it is."""

    class Careful(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.float().contiguous().detach().double().relu()

    whole = graph(Careful(), torch.randn(2, 3))
    assert [node.id for node in whole.nodes] == ["input", "op:double", "op:relu", "output"]
    assert _ends(whole.edges) == {("input", "op:double"), ("op:double", "op:relu"), ("op:relu", "output")}
