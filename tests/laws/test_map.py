"""A law of the network's map: what it says that a layer reads is what the drawn structure leads to it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from zoo import ZOO

import diorama
from diorama.core.errors import DioramaError
from diorama.views.units import main_layers


class Shared(nn.Module):
    """Two texts through one embedding and one block, each into a recurrent layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.block = nn.Embedding(5, 4), nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.enc, self.dec, self.out = nn.GRU(4, 4, batch_first=True), nn.GRU(4, 4, batch_first=True), nn.Linear(8, 5)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        read, _ = self.enc(self.block(self.emb(src)))
        told, _ = self.dec(self.block(self.emb(tgt)))
        found: Tensor = self.out(torch.cat([told, read], -1))
        return found


def _shared() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    x = torch.arange(18).reshape(6, 3) % 5
    return Shared(), (x, x)


@pytest.mark.parametrize("make", [*ZOO, _shared], ids=[*(specimen.name for specimen in ZOO), "shared"])
def test_the_map_names_what_the_structure_leads_to_a_layer(make: object) -> None:
    """What a card is said to read, or the card above it, leads to it with no other card between."""
    model, x = make()  # type: ignore[operator]
    scene = diorama.Scene(model, x)
    try:
        edges, graph = scene.view("map").body.edges, scene.graph
    except DioramaError as error:
        pytest.skip(str(error))
    parents = {node.id: node.parent for node in graph.nodes}
    cards: dict[str, list[str]] = {}
    for one in main_layers(scene):
        again = "" if one.layer.call == 1 else f"#{one.layer.call}"
        cards.setdefault(f"layer:{one.layer.path}{again}", []).append(f"layer:{one.name}")
    names = {key: {one.removeprefix("layer:") for one in own} for key, own in cards.items()}
    names |= {node.id: {"the input" if node.label == "input" else node.label} for node in graph.nodes if node.kind == "input"}

    def card(node: str) -> str:
        while node and node not in cards:
            node = parents.get(node, "")
        return node

    def read(key: str) -> set[str]:
        """What leads to a card with no other card between."""
        found, seen = set[str](), set[str]()
        heads = [source for source, target, _ in graph.edges if card(target) == key and card(source) != key]
        while heads:
            node = heads.pop()
            if node not in seen:
                seen.add(node)
                if known := names.get(card(node) or node):
                    found |= known
                else:
                    heads += [source for source, target, _ in graph.edges if target == node]
        return found

    shown = {edge.target: edge for edge in edges}
    order = [f"layer:{one.name}" for one in main_layers(scene)]
    for before, now in zip(order, order[1:], strict=False):
        key = next(key for key, own in cards.items() if now in own)
        if before in cards[key]:
            continue  # the layers of one recurrent module follow each other inside it
        label = shown[now].label.split(" · ")[0] if now in shown else ""
        told = label.removeprefix("from ").replace(" and ", ", ").split(", ") if label.startswith("from ") else [before.removeprefix("layer:")]
        assert set(told) <= read(key), f"{now}: {label!r}"
