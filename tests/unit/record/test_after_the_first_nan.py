"""A network that became NaN answers nothing: what it would be said to answer is no finding about the data or the learning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

import diorama
from diorama.core.registry import findings
from diorama.record.past import Past, sound_until

if TYPE_CHECKING:
    from pathlib import Path

_BAD, _LAST = 61, 90


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> diorama.Run:
    """A training of two classes that has learnt when a loss that is NaN makes everything so."""
    path: Path = tmp_path_factory.mktemp("broken") / "run"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = torch.randn(300, 6)
        y = (x[:, 0] > 0).long()
        model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        with diorama.watch(model, path, probe=(x[200:], y[200:]), optimizer=optimizer, every=1) as recorder:
            for step in range(1, _LAST + 1):
                rows = torch.randint(0, 200, (32,))
                loss = nn.functional.cross_entropy(model(x[rows]), y[rows]) * (float("nan") if step == _BAD else 1.0)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                recorder.step(loss=loss)
    return diorama.open(path)


def test_nothing_but_the_bad_numbers_is_told(broken: diorama.Run) -> None:
    """As before the step, for all findings that there are, and the bad numbers themselves."""
    assert sound_until(Past(broken)) == _BAD - 1
    assert broken.series("probe/accuracy")[1][-1] == 0  # by which it would be told otherwise
    before = {found.finding for found in broken.findings(_BAD - 1)}
    told = {found.finding for found in broken.findings()}
    assert told - before == {"not_finite"}, told


def test_each_finding_says_whether_it_is_about_bad_numbers() -> None:
    """Those alone are asked with what came after the first bad number."""
    assert {name for name, finding in findings.items() if finding.broken} == {
        "exploding_updates", "gradient_overflow", "learning_rate_too_high", "not_finite", "turned_loss", "unscaled_targets",
    }


def test_a_loss_alone_that_is_nan_breaks_no_network(broken: diorama.Run) -> None:
    """Weights and answers are sound: nothing is cut off."""
    class OfLoss(Past):
        @property
        def series_names(self) -> list[str]:
            return ["loss"]

    assert sound_until(OfLoss(broken)) is None
