"""Models that are compiled in place, before or while they are watched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diorama

STEPS, EVERY = 12, 4


class FirstHalf(nn.Module):
    """A part with a forward pass of its own: torch compiles none of its own layers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Squashed."""
        return torch.tanh(self.layer(x))


class Halves(nn.Module):
    """Two linear layers in a forward pass of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = FirstHalf(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """One after the other."""
        return self.last(self.first(x))  # type: ignore[no-any-return]


class Counted:
    """A compiler that leaves all as it is, and tells how often it was asked and for how many ops."""

    def __init__(self) -> None:
        self.ops = list[int]()

    def __call__(self, graph: torch.fx.GraphModule, examples: Any) -> Callable[..., Any]:
        self.ops.append(sum(node.op == "call_function" for node in graph.graph.nodes))
        return graph.forward


def _whole(model: Halves, counted: Counted) -> None:
    model.compile(backend=counted)


def _part(model: Halves, counted: Counted) -> None:
    model.first.compile(backend=counted)


def _trained(model: Halves, path: Path | None, at: int, compile_it: Callable[[Halves, Counted], None]) -> tuple[Counted, Tensor, set[str]]:
    """Train, compiled before a step; how it was compiled, what came out, and which activations were read at the last step."""
    torch._dynamo.reset()
    counted, x, y = Counted(), torch.linspace(-1, 1, 24).reshape(8, 3), torch.arange(8) % 2
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    if at == 0:
        compile_it(model, counted)
    recorder = None if path is None else diorama.watch(model, path, probe=(x, y), optimizer=optimizer, every=EVERY)
    for step in range(1, STEPS + 1):
        if step == at:
            compile_it(model, counted)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if recorder is not None:
            recorder.step(loss=loss)
    if recorder is None or path is None:
        return counted, model.last.weight.detach(), set()
    recorder.close()
    told = diorama.open(path)
    kept = {name: told.distributions(name).steps for name in told.histogram_names if name.startswith("activations/")}
    late = {name.removeprefix("activations/") for name, steps in kept.items() if steps[-1] == STEPS and not name.endswith("/probe")}
    # What is not read of the batches is told of the probe set, which is the batch here.
    first = nn.functional.linear(x, model.first.layer.weight, model.first.layer.bias)
    last = nn.functional.linear(torch.tanh(first), model.last.weight, model.last.bias)
    for name, answers in (("first.layer", first), ("last", last)):
        steps, means = told.series(f"activations/{name}/mean")
        assert steps[-1] == STEPS
        assert name in late or means[-1] == pytest.approx(float(answers.detach().mean()), abs=1e-5)  # those of a batch are from before the step
    return counted, model.last.weight.detach(), late


def _model() -> Halves:
    torch.manual_seed(0)
    return Halves()


@pytest.mark.parametrize("at", [0, 6])
@pytest.mark.parametrize("compile_it", [_whole, _part])
def test_what_is_compiled_in_place_takes_no_hook_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], at: int, compile_it: Callable[[Halves, Counted], None],
) -> None:
    """Whether it was compiled before it is watched or while it is: it is compiled as often as unwatched, to the same ops, and learns the same. What
    is not read, and not looked for in a whole model, is told."""
    bare, wanted, _ = _trained(_model(), None, at, compile_it)
    counted, got, late = _trained(_model(), tmp_path / "run", at, compile_it)
    assert counted.ops == bare.ops != []
    assert torch.equal(got, wanted)
    said = capsys.readouterr().err
    assert "activations on training batches" in said
    assert "compile" in said
    assert ("nor is it looked for where a first NaN" in said) is (compile_it is _whole)
    assert late == ({"last"} if compile_it is _part else set())
