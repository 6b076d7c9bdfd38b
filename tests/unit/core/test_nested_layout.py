"""The layout of nested graphs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.core.nested_layout import (
    NestedLayout,
    PlacedBlock,
    SizedBlock,
    inversions,
    layered,
    lifted,
    nearest,
    ranks,
)

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "layouts.json").read_text())
"""Graphs of the zoo and random ones as the browser laid them out, before Python did: a record that is not made anew."""


def _residual(count: int) -> tuple[tuple[SizedBlock, ...], tuple[tuple[str, str], ...]]:
    """A residual net: blocks of two convolutions and a sum with a way round, each block nested, in a row."""
    nodes, edges, last = [SizedBlock("in", "", 60, 30)], [], "in"
    for i in range(count):
        first, second, total = f"b{i}.a", f"b{i}.c", f"b{i}.add"
        nodes += [SizedBlock(f"b{i}", "", 60, 30), SizedBlock(first, f"b{i}", 90, 30), SizedBlock(second, f"b{i}", 60, 30)]
        nodes.append(SizedBlock(total, f"b{i}", 40, 30))
        edges += [(last, first), (first, second), (second, total), (last, total)]
        last = total
    return tuple(nodes), tuple(edges)


def _overlap(a: PlacedBlock, b: PlacedBlock) -> bool:
    across = a.x < b.x + b.width - 0.01 and b.x < a.x + a.width - 0.01
    return across and a.y < b.y + b.height - 0.01 and b.y < a.y + a.height - 0.01


def _is_sound(nodes: tuple[SizedBlock, ...], laid: NestedLayout) -> None:
    """Siblings never overlap and children lie inside their block."""
    assert set(laid.places) == {node.id for node in nodes}
    whole = PlacedBlock(0, 0, laid.width, laid.height)
    for node in nodes:
        box, outer = laid.places[node.id], laid.places.get(node.parent, whole)
        assert outer.x - 0.01 <= box.x <= outer.x + outer.width - box.width + 0.01
        assert outer.y - 0.01 <= box.y <= outer.y + outer.height - box.height + 0.01
    for one, other in itertools.combinations(nodes, 2):
        assert one.parent != other.parent or not _overlap(laid.places[one.id], laid.places[other.id])


@pytest.mark.parametrize("name", GOLDEN)
def test_a_graph_is_laid_out_as_the_page_did(name: str) -> None:
    """Places, routes and size are those that the page itself once found, within the rounding of the record."""
    kept = GOLDEN[name]
    holders = {parent for _, parent, _, _ in kept["nodes"]}  # whose titles were all 20 pixels high
    nodes = tuple(SizedBlock(name, parent, width, 20 if name in holders else high) for name, parent, width, high in kept["nodes"])
    laid = layered(nodes, tuple(map(tuple, kept["edges"])))
    assert laid.places.keys() == kept["places"].keys()
    for block, place in laid.places.items():
        np.testing.assert_allclose(place, kept["places"][block], atol=0.06)
    np.testing.assert_allclose((laid.width, laid.height), kept["size"], atol=0.06)
    assert [route[1:] for route in laid.routes] == [(edge, arrow) for _, edge, arrow in kept["routes"]]
    for route, (points, _, _) in zip(laid.routes, kept["routes"], strict=True):
        np.testing.assert_allclose(route.points, points, atol=0.06)


@st.composite
def _graphs(draw: st.DrawFn) -> tuple[tuple[SizedBlock, ...], tuple[tuple[str, str], ...]]:
    count = draw(st.integers(0, 14))
    parents = [draw(st.sampled_from(["", *map(str, range(i))])) for i in range(count)]
    sizes = [(draw(st.integers(44, 200)), draw(st.sampled_from([26, 41, 56]))) for _ in range(count)]
    ends = st.integers(0, max(0, count - 1)).map(str)
    edges = draw(st.lists(st.tuples(ends, ends), max_size=2 * count)) if count else []
    return tuple(SizedBlock(str(i), parents[i], *sizes[i]) for i in range(count)), tuple(edges)


@given(_graphs())
@settings(max_examples=60)
def test_any_nested_graph_is_laid_out_soundly(graph: tuple[tuple[SizedBlock, ...], tuple[tuple[str, str], ...]]) -> None:
    """With circles, loops, edges from a block into itself, lonely blocks or none at all, blocks neither overlap nor leave their container."""
    nodes, edges = graph
    laid = layered(nodes, edges)
    _is_sound(nodes, laid)
    assert np.isfinite([laid.width, laid.height]).all()


def test_what_flows_goes_down() -> None:
    """Of each edge of a residual net the source stands above the target."""
    nodes, edges = _residual(4)
    laid = layered(nodes, edges)
    _is_sound(nodes, laid)
    assert all(laid.places[source].y < laid.places[target].y for source, target in edges)


def test_the_main_chain_of_a_residual_block_hangs_straight_down() -> None:
    """What lies on the main way has one middle; the way round gives way."""
    places = layered(*_residual(1)).places
    middles = [places[name].x + places[name].width / 2 for name in ("b0.a", "b0.c", "b0.add")]
    np.testing.assert_allclose(middles, middles[0], atol=0.5)


def test_a_long_edge_passes_beside_what_lies_between() -> None:
    """No route of a residual net has a point inside a block on its way."""
    laid = layered(*_residual(1))
    box = laid.places["b0.c"]
    for route in laid.routes:
        for x, y in route.points:
            assert not (box.x + 1 < x < box.x + box.width - 1 and box.y + 1 < y < box.y + box.height - 1)


def test_where_all_is_joined_with_all_edges_share_their_way() -> None:
    """Of a block with many long edges one runs the whole way and the others leave it: every target is reached, and the whole stays narrow."""
    nodes = tuple(SizedBlock(str(i), "", 80, 41) for i in range(24))
    edges = tuple((str(i), str(j)) for j in range(24) for i in range(j))
    laid = layered(nodes, edges)
    _is_sound(nodes, laid)
    assert laid.width < 24 * 40
    assert len(laid.routes) == len(edges)
    ends = {point for route in laid.routes for point in route.points[1:]}
    for route in laid.routes:
        (source, _), place = edges[route.edge], laid.places[edges[route.edge][1]]
        assert route.arrow
        assert route.points[-1] == pytest.approx((place.x + place.width / 2, place.y))
        start = laid.places[source]
        assert route.points[0] in ends or route.points[0] == pytest.approx((start.x + start.width / 2, start.y + start.height))


def test_an_edge_into_an_open_block_goes_through_its_door() -> None:
    """It becomes an edge between siblings and one from the door; to its own container nothing flows."""
    parents = {"a": "", "m": "", "m.x": "m"}
    assert list(lifted("a", "m.x", parents)) == [("m", "\0in", "m.x"), ("", "a", "m")]
    assert not list(lifted("m.x", "m", parents))


def test_what_nothing_flows_into_stands_right_above_its_target() -> None:
    """A second input of the last op stands beside the op before it, not at the top."""
    assert ranks(["a", "b", "c", "late"], [("a", "b"), ("b", "c"), ("late", "c")]) == {"a": 0, "b": 1, "c": 2, "late": 1}


def test_wishes_are_met_as_far_as_the_order_and_the_gaps_allow() -> None:
    """Two that wish for the same place stand beside each other about it."""
    assert nearest([10, 10, 10], [50, 50, 200], [1, 1, 1], 4) == pytest.approx([43, 57, 200])


@given(st.lists(st.integers(0, 12), max_size=40))
def test_pairs_the_wrong_way_round_are_counted_as_one_by_one(values: list[int]) -> None:
    """The tree of sums counts what a comparison of all pairs counts."""
    assert inversions(values) == sum(a > b for a, b in itertools.combinations(values, 2))
