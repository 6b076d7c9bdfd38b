"""The nearest of many codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from diorama.model.nearest_index import ExactIndex, Index, directed


def _codes(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return directed(torch.randn(count, 24, generator=generator))


def test_comparing_in_parts_finds_the_nearest_of_all() -> None:
    """In whatever parts the codes come, the nearest are those of one sort of all cosines."""
    codes, queries = _codes(500), _codes(20, 1)
    wanted = (queries @ codes.T).sort(descending=True, stable=True)
    for step in (7, 100, 500):
        search = ExactIndex(queries, 9)
        for start in range(0, 500, step):
            search.take(codes[start : start + step], torch.arange(start, min(start + step, 500)))
        assert torch.equal(search.numbers, wanted.indices[:, :9])
        torch.testing.assert_close(search.near, wanted.values[:, :9])


def test_fewer_codes_than_wanted_leave_places_open() -> None:
    """With three codes and five wanted, two places hold no number, by comparing and by the index."""
    codes, queries = _codes(3), _codes(2, 1)
    search = ExactIndex(queries, 5)
    search.take(codes, torch.arange(3))
    index = Index(24)
    index.add(codes, 0)
    near, numbers = index.search(queries, 5)
    for found in (search.numbers, numbers):
        assert (found >= 0).sum(1).tolist() == [3, 3]
    assert torch.isinf(near[:, 3:]).all()


def test_an_index_finds_nearly_all_and_says_how_many() -> None:
    """Of 4,000 codes nine of ten nearest at least are found, the cosines are right, and recall says what is true."""
    codes, queries = _codes(4000), _codes(64, 1)
    index = Index(24)
    for start in range(0, 4000, 1000):
        index.add(codes[start : start + 1000], start)
    near, numbers = index.search(queries, 9)
    wanted = (queries @ codes.T).topk(9).indices
    shares = [len(np.intersect1d(a, b)) / 9 for a, b in zip(numbers.numpy(), wanted.numpy(), strict=True)]
    assert np.mean(shares) > 0.9
    assert abs(index.recall(queries, 9) - np.mean(shares)) < 0.05
    torch.testing.assert_close(near, (queries @ codes.T).gather(1, numbers), atol=2e-3, rtol=0)


def test_a_graph_of_bytes_finds_the_same_and_grows_the_same() -> None:
    """Read from its bytes it finds what it found, and takes more; made twice it is the same; cut bytes and other codes are refused."""
    codes, queries = _codes(600), _codes(8, 1)
    index, again = Index(24), Index(24)
    for made in (index, again):
        made.add(codes[:400], 0)
    graph = index.packed()
    np.testing.assert_array_equal(graph, again.packed())
    looked, grown = Index.of(graph, 24, more=False), Index.of(graph, 24)
    assert torch.equal(looked.search(queries, 5)[1], index.search(queries, 5)[1])
    grown.add(codes[400:], 400)
    assert len(grown) == 600
    assert grown.search(codes[500:501], 1)[1].item() == 500
    for spoilt, units in ((graph[:-1], 24), (graph[:30], 24), (graph[:0], 24), (graph, 25)):
        with pytest.raises(ValueError, match="graph of"):
            Index.of(spoilt, units)


def test_codes_that_are_left_out_are_not_found() -> None:
    """A query that is in the index itself finds others once its own numbers are left out."""
    codes = _codes(300)
    index = Index(24)
    index.add(codes, 0)
    assert index.search(codes[:10], 1)[1][:, 0].tolist() == list(range(10))
    numbers = index.search(codes[:10], 4, range(10))[1]
    assert int(numbers.min()) >= 10


def test_what_is_no_number_is_near_to_nothing() -> None:
    """Codes that are not finite become zeros, so that their cosine with everything is 0."""
    codes = directed(torch.tensor([[torch.nan, torch.nan], [torch.inf, -torch.inf], [3.0, 4.0]]))
    torch.testing.assert_close(codes, torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.6, 0.8]]))
