"""What an act changed in weights is known to the bit, kept small, and taken back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diorama.core.errors import NotApplicable
from diorama.training.differences import TensorPlace, changed, memories, taken_back
from diorama.training.subject import Subject


def _trained(steps: int = 2, dtype: torch.dtype = torch.float32) -> Subject:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)).to(dtype)
    subject = Subject(model.to(memory_format=torch.channels_last), torch.optim.AdamW(model.parameters(), 0.01))
    for _ in range(steps):
        _step(subject)
    return subject


def _step(subject: Subject) -> None:
    optimizer = subject.optimizers[0]
    optimizer.zero_grad()
    x = torch.ones(3, 1, 4, 4, dtype=next(subject.model.parameters()).dtype)
    subject.model(x).square().sum().backward()
    optimizer.step()


def _state(subject: Subject) -> list[torch.Tensor]:
    memory = [value for state in subject.optimizers[0].state.values() for value in state.values()]
    return [tensor.detach().clone() for tensor in [*subject.model.parameters(), *memory]]


def _same(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    return all((a.reshape(-1).view(torch.uint8) == b.reshape(-1).view(torch.uint8)).all() for a, b in zip(one, two, strict=True))


def _places(subject: Subject) -> list[TensorPlace]:
    return [TensorPlace("0.weight"), *memories(subject, "0.weight")]


def _zero(subject: Subject) -> None:
    for place in _places(subject):
        tensor = place.find(subject)
        assert tensor is not None
        tensor[1] = 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_before_it_learns_on_all_is_put_back_to_the_bit(dtype: torch.dtype) -> None:
    """Weights and moments, whatever their type and memory order, with −0 and NaN among them; only what changed is kept."""
    subject = _trained(dtype=dtype)
    with torch.no_grad():
        subject.parameters["0.weight"][1, 0, 0] = torch.tensor([-0.0, float("nan"), 1.0], dtype=dtype)
    before = _state(subject)
    found = changed(subject, _places(subject), lambda: _zero(subject))
    assert [each.place.entry for each in found] == ["", "exp_avg", "exp_avg_sq"]
    assert {len(each.numbers) for each in found} == {9}
    assert not _same(before, _state(subject))
    assert taken_back(subject, found)
    assert _same(before, _state(subject))


def test_later_only_its_own_difference_goes() -> None:
    """After two more steps each weight is where it is without what the act moved it by; other weights and moments stay."""
    subject = _trained()
    old = subject.parameters["0.weight"][1].detach().clone()
    found = changed(subject, _places(subject), lambda: _zero(subject))
    _step(subject)
    _step(subject)
    before = _state(subject)
    assert not taken_back(subject, found)
    after = _state(subject)
    torch.testing.assert_close(after[0][1], before[0][1] + old)
    after[0][1] = before[0][1]
    assert _same(before, after)


def test_an_act_that_breaks_off_changes_nothing() -> None:
    """The error goes on, and all tensors are as before."""
    subject = _trained()
    before = _state(subject)

    def broken() -> None:
        _zero(subject)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        changed(subject, _places(subject), broken)
    assert _same(before, _state(subject))


def test_a_frozen_layer_holds_what_it_was_given() -> None:
    """What an act wrote into a frozen layer stays over the next steps, and so does what its undo put back."""
    subject = _trained()
    subject.frozen.freeze("0")
    before = subject.parameters["0.weight"].detach().clone()
    found = changed(subject, _places(subject), lambda: _zero(subject))
    for expected in (0.0, before[1]):
        _step(subject)
        subject.frozen.put_back()
        assert bool((subject.parameters["0.weight"][1] == expected).all())
        taken_back(subject, found)


def test_a_weight_of_another_shape_is_refused() -> None:
    """A layer that was given another shape since is left as it is, and the way out is named."""
    subject = _trained()
    found = changed(subject, _places(subject), lambda: _zero(subject))
    subject.model[0] = nn.Conv2d(1, 5, 3)
    subject.look()
    with pytest.raises(NotApplicable, match="another shape since; go back in time"):
        taken_back(subject, found)
