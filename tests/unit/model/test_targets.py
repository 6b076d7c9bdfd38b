"""What can be explained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo import ZOO, Functional, Outputs

from diorama.core.errors import NotFound, UsageError
from diorama.model.capture import Capture
from diorama.model.layers import layers
from diorama.model.targets import Target


def _value(model: nn.Module, x: Any, target: Target) -> Tensor:
    with Capture(model, keep=target.keep) as look:
        return target(look(x), look)


def test_every_form_of_target_is_one_number_an_example() -> None:
    """Classes by index, name and key, units, places, layers, differences and callables give (n,)."""
    model, x = ZOO[0]()
    names = ("cat", "dog", "bird")
    with Capture(model, keep=["conv2"]) as look:
        scores = look(x)
    maps = look["conv2"]
    table = layers(model, x)
    for value, wanted in [
        (1, scores[:, 1]),
        ("dog", scores[:, 1]),
        ("class:1", scores[:, 1]),
        ("unit:conv2/3", maps[:, 3].mean((1, 2))),
        ("conv2/3@0,1", maps[:, 3, 0, 1]),
        ("layer:conv2", maps.flatten(1).mean(1)),
        ((0, 2), scores[:, 0] - scores[:, 2]),
        (("cat", "unit:conv2/3"), scores[:, 0] - maps[:, 3].mean((1, 2))),
        (lambda output: output.sum(1), scores.sum(1)),
    ]:
        for known in (None, table):
            assert torch.allclose(_value(model, x, Target.of(value, names, layers=known)), wanted, atol=1e-6), value
    assert str(Target.of((0, "bird"), names)) == "cat − bird"


def test_scores_are_taken_from_structured_outputs() -> None:
    """A class of a model with a dict output is that of its logits, or of the output that is named."""
    model, x = Outputs("dict").eval(), torch.randn(4, 5)
    with torch.no_grad():
        output = model(x)
    assert torch.allclose(_value(model, x, Target.of(2)), output["logits"][:, 2])
    assert torch.allclose(_value(model, x, Target.of(2, outputs="state")), output["state"][:, 2])


def test_a_single_score_speaks_for_the_second_class() -> None:
    """Where one score tells two classes apart, the first class is its negative; a sequence counts at its end."""
    model, x = nn.Linear(5, 1), torch.randn(4, 5)
    for told in ({"task": "classification"}, {"classes": ("no", "yes")}):
        assert torch.allclose(_value(model, x, Target.of(0, **told)), -_value(model, x, Target.of(1, **told)))
    tagger, steps = nn.Sequential(nn.Linear(5, 6)), torch.randn(4, 7, 5)
    with torch.no_grad():
        assert torch.allclose(_value(tagger, steps, Target.of(3)), tagger(steps)[:, -1, 3])


@pytest.mark.parametrize("task", ["", "regression", "multi_label"])
def test_a_single_number_is_target_0(task: str) -> None:
    """One number that is no score of two classes is itself, and there is no second one."""
    model, x = nn.Linear(5, 1), torch.randn(4, 5)
    with torch.no_grad():
        assert torch.equal(_value(model, x, Target.of("0", task=task)), model(x)[:, 0])
    with pytest.raises(UsageError, match="target 0, got 1"):
        _value(model, x, Target.of(1, task=task))


def test_gradients_of_a_unit_reach_the_input() -> None:
    """With gradients on, a target inside the model can be differentiated."""
    model, x = Functional().eval(), torch.randn(2, 1, 8, 8, requires_grad=True)
    target = Target.of("unit:conv2/1")
    with Capture(model, keep=target.keep, grad=True, until="conv2") as look:
        (grad,) = torch.autograd.grad(target(look(x), look).sum(), x)
    assert grad.abs().max() > 0


def test_a_number_of_the_answer_is_called_as_the_task_has_it() -> None:
    """A class by its name; without one by its number, as an output where nothing says that there are classes."""
    tasks = ("classification", "next_token", "regression", "")
    assert [str(Target.of(1, task=task)) for task in tasks] == ["class 1", "token 1", "output 1", "output 1"]
    assert str(Target.of(1, ("cat", "dog"))) == "dog"


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (9, UsageError, "classes 0 to 2, got 9"),
        (-1, UsageError, "numbered from 0"),
        ("dgo", NotFound, "nearest: 'dog'"),
        ("unit:conv2/99", UsageError, "conv2 has units 0 to 5, got 99"),
        ("unit:conv2/1@7,7", UsageError, r"shape \(2, 2\)"),
        ("unit:conv7/1", NotFound, "nearest: 'conv"),
        ((1, 2, 3), UsageError, "wants two targets, got 3"),
        (2.5, UsageError, "got float"),
        ("step:3", UsageError, "a class, a unit or a layer"),
        (lambda output: output, UsageError, r"got shape \(4, 3\)"),
    ],
)
def test_wrong_targets_say_what_was_wanted(value: Any, error: type[Exception], says: str) -> None:
    """A target that is not there is refused with what is."""
    model, x = ZOO[0]()
    with pytest.raises(error, match=says):
        _value(model, x, Target.of(value, ("cat", "dog", "bird")))
    if value == "dgo":
        with pytest.raises(error, match=r"pass classes=\["):
            Target.of((0, value))
