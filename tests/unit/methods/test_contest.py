"""What forms from noise against what forms from the strongest example."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

import diorama
from diorama.methods.method import Look
from diorama.methods.synthesis import objectives
from diorama.methods.synthesis.contest import StrongestExamples, contest
from diorama.methods.synthesis.engine import Ascent, SynthesisState
from diorama.methods.synthesis.stage import MadeInput


def test_rows_are_made_from_noise_and_from_the_example_at_once() -> None:
    """In half as many steps it comes out as one after the other; what was stopped goes on to the same, and notes tell of no start twice."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 4))
    x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    kind = diorama.Scene(model, x).examples.kind
    stage, numbers = MadeInput.of(Look(model, x=x, kind=kind, task="classification"), kind, x, x), [0, 1, 2]
    wanted, steps = objectives.units("2", numbers), Ascent(4, first=0.0, every=0.0)
    best = StrongestExamples.of(stage, wanted, x)

    def made(at_once: bool, begun: Any = None) -> Iterator[SynthesisState]:
        generator = torch.Generator().manual_seed(0)
        return contest(stage, stage.canvas(3, generator), wanted, steps, generator, best, begun=begun, at_once=at_once)

    both, after = list(made(True)), list(made(False))
    assert len(both) == 4 < len(after)
    torch.testing.assert_close(both[-1].values, after[-1].values)
    torch.testing.assert_close(both[-1].x, after[-1].x)
    assert "made again from it" in both[-1].note
    assert both[-1].note == after[-1].note
    half = next(formed for formed in made(True) if formed.step == 2)
    assert half.state is not None
    *_, resumed = made(True, half.state())
    torch.testing.assert_close(resumed.values, both[-1].values)
