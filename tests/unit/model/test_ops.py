"""Ops as a function mode sees them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from diorama.model.mode import OpMode


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (lambda x: x + 1, "add"),
        (lambda x: 1 + x, "add"),
        (lambda x: x.__iadd__(1), "add_"),
        (lambda x: 1 / x, "div"),
        (lambda x: x @ x, "matmul"),
        (lambda x: x.T, "T"),
        (F.relu, "relu"),
        (torch.relu_, "relu_"),
        (lambda x: F.conv1d(x[None], torch.ones(1, 3, 1)), "conv1d"),
    ],
)
def test_ops_have_their_usual_names(act: Any, name: str) -> None:
    """Signs, in-place signs, functions, methods and properties are all heard of under the op's usual name."""
    heard: list[str] = []
    with OpMode().on_op(lambda name, func, args, kwargs, result: heard.append(name)):
        act(torch.ones(3, 3))
    assert heard[-1] == name


def test_a_rule_replaces_results_and_the_first_that_answers_decides() -> None:
    """A rule's answer stands for the op's result; NotImplemented leaves the op as it is."""

    def silent(name: str, func: Any, args: Any, kwargs: Any) -> Any:
        return torch.zeros_like(args[0]) if name == "relu" else NotImplemented

    def never(name: str, func: Any, args: Any, kwargs: Any) -> Any:
        raise AssertionError(name) if name == "relu" else None
        return NotImplemented

    net, x = nn.Sequential(nn.Linear(3, 3), nn.ReLU()), torch.ones(2, 3)
    with OpMode().replace(silent).replace(lambda name, *rest: NotImplemented):
        assert net(x).abs().sum() == 0
    assert net(x).shape == (2, 3)


def test_a_rule_may_let_its_own_ops_be_seen() -> None:
    """Ops inside a rule are not seen, unless it runs them inside the mode."""
    heard: list[str] = []
    mode = OpMode().on_op(lambda name, func, args, kwargs, result: heard.append(name))

    def split(name: str, func: Any, args: Any, kwargs: Any) -> Any:
        if name != "linear":
            return NotImplemented
        with mode:
            return args[0].matmul(args[1].t()).add(args[2])

    x, w, b = torch.ones(2, 3), torch.ones(4, 3), torch.ones(4)
    with mode.replace(split):
        found = F.linear(x, w, b)
    assert torch.equal(found, F.linear(x, w, b))
    assert heard == ["t", "matmul", "add", "linear"]


def test_cancel_is_asked_before_each_op() -> None:
    """Cancelling raises before the op runs."""

    class StopError(Exception):
        pass

    x = torch.ones(3)

    def cancel() -> None:
        raise StopError

    with pytest.raises(StopError), OpMode(cancel=cancel):
        x.add_(1)
    assert torch.equal(x, torch.ones(3))


def test_ops_in_threads_are_not_seen() -> None:
    """The mode belongs to its thread: a training in another one is not slowed or changed."""
    import threading

    heard: list[str] = []

    def work(results: list[Tensor]) -> None:
        results.append(torch.ones(2) + 1)

    results: list[Tensor] = []
    with OpMode().on_op(lambda name, func, args, kwargs, result: heard.append(name)):
        thread = threading.Thread(target=work, args=(results,))
        thread.start()
        thread.join()
    assert len(results) == 1
    assert heard == []
