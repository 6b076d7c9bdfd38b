"""Whether a pass that is run again is the same one, and which of its axes counts examples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.record.bad_trace import batch_of


def test_the_axis_of_the_examples_is_the_one_that_answers_share() -> None:
    """The second of what puts time first; none where both would do, nor of heads that are folded into the batch."""
    late = batch_of([torch.zeros(20, 8, 4)], [torch.zeros(8, 2)], frozenset({"cells"}))
    assert late.examples == 8
    assert [late.axis((20, 8, 4)), late.axis((8, 8, 4), "cells"), late.axis((8, 4), "head"), late.axis((32, 20, 20))] == [1, 1, 0, None]
    unknown = batch_of([torch.zeros(5, 8, 4)], [torch.zeros(5, 8, 2)], frozenset({"cells"}))
    assert unknown.axis((5, 8, 2)) is None


class _Own(nn.Module):
    """Divides by nothing at its ninth call, or by what only that call knows; its probe, and the run again, see it no more."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.inner, self.own = way, nn.Linear(3, 2), torch.Generator().manual_seed(0)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor | dict[str, Tensor]) -> Tensor:
        """Two numbers for each example."""
        if isinstance(x, dict):
            return torch.as_tensor(self.inner(x.pop("x").log()))
        if self.way == "counts":
            self.calls += 1
            return torch.as_tensor(self.inner(x) / (9 - self.calls))
        if self.way == "draws":
            return torch.as_tensor(self.inner(x) / (torch.rand(6, 1, generator=self.own) > 0.1))
        return torch.as_tensor(self.inner(x.log_() if self.way == "writes" else x))


@pytest.mark.parametrize(
    ("way", "unlike"), [("counts", "state"), ("draws", "state"), ("writes", "altered"), ("refills", "refilled"), ("many", "dropped")],
)
def test_a_pass_that_cannot_be_repeated_is_told_as_one(tmp_path: Path, way: str, unlike: str) -> None:
    """A model that counts, draws from a generator of its own or writes into its batch, a batch that the loop refills, and more passes than are held:
    the step is certain, and nobody says that it began in the loss.
    """
    torch.manual_seed(0)
    model, one = _Own(way), torch.rand(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.001)
    passes, last = {"refills": 3, "many": 66}.get(way, 1), 20 if way == "draws" else 9
    before = model.own.get_state()
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, every=10) as recorder:
        for step in range(1, last + 1):
            optimizer.zero_grad()
            for part in range(passes):
                batch = one.copy_(torch.rand(6, 3) + 0.1) if way == "refills" else torch.rand(6, 3) + 0.1
                if step == 9 and part == passes // 2 * (way == "refills") and way in ("writes", "refills", "many"):
                    batch[1, 2] = 0.0 if way == "writes" else torch.inf
                model(batch).square().mean().backward()
            optimizer.step()
            recorder.step()
    run = diorama.open(tmp_path / "run")
    fact, found = run.meta["first_bad"], next(each for each in run.findings() if each.finding == "not_finite")
    assert (fact["where"], fact["unlike"]) == ("unlike", unlike)
    assert way == "draws" or fact["step"] == 9
    assert "could not be repeated" in found.text
    assert found.sure == "The step is certain; the place is not known."
    if way == "draws":
        other = torch.Generator()
        other.set_state(before)
        for _ in range(last):
            torch.rand(6, 1, generator=other)
        assert torch.equal(other.get_state(), model.own.get_state())


def test_a_batch_that_the_model_takes_apart_is_held_whole(tmp_path: Path) -> None:
    """A dict of which the forward pass pops what it reads: run again, it is there."""
    model = _Own("")
    optimizer = torch.optim.SGD(model.parameters(), 0.001)
    with diorama.watch(model, tmp_path / "run", optimizer=optimizer, every=10) as recorder:
        for step in range(1, 6):
            optimizer.zero_grad()
            model({"x": torch.where(torch.arange(6)[:, None] == 4, 0.0 if step == 5 else 1.0, torch.full((6, 3), 0.5))}).square().mean().backward()
            optimizer.step()
            recorder.step()
    fact = diorama.open(tmp_path / "run").meta["first_bad"]
    assert (fact["step"], fact["where"], fact["examples"], fact["op"]) == (5, "forward", [4], "log")
