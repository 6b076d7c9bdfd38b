"""A number that stands in two places of a page is written alike: in cells, which the browser fills, and in sentences, which Python writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.marks import Table
from diorama.core.numerals import plain
from diorama.export.style import number


@pytest.mark.parametrize("value", [3.125, 3.375, 12.25, 12.75, 0.09375, 2.675, 9.995, 99.75])
def test_paper_and_sentences_round_alike(value: float) -> None:
    """What lies in the middle goes to the even one in both; the page's own test holds the same numbers."""
    assert number(value).rstrip("0") == plain(f"{value:.3g}").rstrip("0")


class _Reused(nn.Module):
    """A layer that is called three times, and a recurrent one with several weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.cells, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.GRU(8, 8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        for _ in range(3):
            x = torch.relu(self.again(x))
        found: torch.Tensor = self.last(self.cells(x[:, None])[0][:, -1])
        return found


@pytest.mark.parametrize("fold", ["no", "yes"])
@pytest.mark.parametrize("kind", ["reused", "attention", "repeated"])
def test_health_counts_the_rows_that_it_shows(tmp_path: Path, kind: str, fold: str) -> None:
    """Of layers that have a row a call or a weight, or that share one, the caption says how many rows there are."""
    torch.manual_seed(0)
    model: nn.Module = _Reused()
    if kind == "attention":
        model = nn.Sequential(nn.Unflatten(1, (1, 6)), nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), nn.Flatten(), nn.Linear(6, 3))
    elif kind == "repeated":
        blocks = [nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(5)]
        model = nn.Sequential(*blocks, nn.Linear(6, 3))
    x, y = torch.randn(64, 6), torch.arange(64) % 3
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer, every=1) as recorder:
        for _ in range(4):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            recorder.step(loss=loss)
    picture = diorama.open(tmp_path / "run").scene().view("health", fold=fold)
    (table,) = [mark for mark in picture.marks() if isinstance(mark, Table)]
    assert re.search(rf"\b{len(table.row_keys)} (layers|rows|calls)\b", picture.caption), picture.caption


def test_health_says_when_its_numbers_were_read(tmp_path: Path) -> None:
    """Where the last reading lies before the step that is looked at, the caption is of that reading; where it is of that step it says no more."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    x, y = torch.randn(64, 6), torch.arange(64) % 3
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer, every=10) as recorder:
        for _ in range(35):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            recorder.step(loss=loss)
    run = diorama.open(tmp_path / "run")
    late = run.scene().view("health").caption
    assert late.startswith("At step 30, the last one that was read up to step 35, ")
