"""A third party's method that writes into the weights of a model is named, and what it wrote is undone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama import plugins
from diorama.core.errors import Faulty


def _in_place(model: Any) -> None:
    with torch.no_grad():
        model[0].weight.mul_(2)


def _uncounted(model: Any) -> None:
    model[0].weight.data[1, 1] += 1


def _by_numpy(model: Any) -> None:
    model[0].bias.detach().numpy()[0] = 7


def _not_a_number(model: Any) -> None:
    model[3].weight.data.fill_(torch.nan)


def _another_tensor(model: Any) -> None:
    model[3].weight = nn.Parameter(torch.zeros(3, 5))


def _another_shape(model: Any) -> None:
    model[3].weight.data = torch.zeros(3, 2)


def _statistics(model: Any) -> None:
    model[1].running_mean.add_(1)


WAYS = (_in_place, _uncounted, _by_numpy, _not_a_number, _another_tensor, _another_shape, _statistics)


def _method(write: Callable[[Any], None], then: Callable[[Any], None] = lambda model: None) -> Any:
    """A method that makes a map, does this to the model, and then that."""

    def attribute(self: Any, look: Any, x: Any, target: Any) -> Any:
        found = self.found(look, x, target, x.clone(), torch.zeros(len(x)))
        write(look.model)
        then(look.model)
        yield found

    return type("Writes", (plugins.Method,), {"attribute": attribute})()


def _net() -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).eval()
        model[0].weight.data[0, 0] = torch.nan  # what is not a number is the same as itself
        return model, torch.randn(2, 4)


def _as_before(model: nn.Module, before: dict[str, Any], held: list[Any]) -> None:
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0, equal_nan=True)
    assert all(one is other for one, other in zip(model.parameters(), held, strict=True))


@pytest.mark.parametrize("way", WAYS)
def test_what_a_method_wrote_is_undone_and_it_is_named(way: Callable[[Any], None]) -> None:
    """In whichever way it wrote, into weights, statistics or in their place."""
    model, x = _net()
    before, held = copy.deepcopy(model.state_dict()), list(model.parameters())
    where = r"3\.weight" if way in (_not_a_number, _another_tensor, _another_shape) else r"1\.running_mean" if way is _statistics else r"0\."
    with pytest.raises(Faulty, match=rf"'Writes'.* wants mending: it changed weights of the model \({where}.*, which were put back"):
        diorama.attribute(model, x, 0, method=_method(way))
    _as_before(model, before, held)


def test_a_method_that_fails_leaves_the_weights_as_they_were() -> None:
    """Its own error is what is said."""
    model, x = _net()
    before, held = copy.deepcopy(model.state_dict()), list(model.parameters())

    def fail(model: Any) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        diorama.attribute(model, x, 0, method=_method(_in_place, fail))
    _as_before(model, before, held)


def test_a_method_may_change_weights_while_it_works() -> None:
    """One that puts back what it changed did nothing wrong."""
    model, x = _net()

    def halve(model: Any) -> None:
        model[0].weight.data.mul_(0.5)

    found = diorama.attribute(model, x, 0, method=_method(_in_place, halve))
    assert found.values.shape == x.shape
