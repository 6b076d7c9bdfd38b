"""The plain loop: batches follow from seed and step."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from diorama.core.errors import UsageError
from diorama.training import measures
from diorama.training.trainer import Trainer


def _trainer(seed: int = 3, batch: int = 8) -> Trainer:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    x, y = torch.randn(30, 4), torch.randint(0, 3, (30,))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    metrics = {"accuracy": measures.share_right}

    def noise(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return batch + 0.1 * torch.randn(batch.shape, generator=generator)

    return Trainer(
        model,
        optimizer,
        x,
        y,
        measures.cross_entropy,
        batch=batch,
        seed=seed,
        metrics=metrics,
        augment=noise,  # type: ignore[arg-type]
    )


def test_a_resumed_training_equals_one_that_never_stopped() -> None:
    """Model, optimizer and trainer set back to an earlier state come bitwise to the same end."""
    one, other = _trainer(), _trainer(seed=99)
    for _ in one.run(7):
        pass
    kept = copy.deepcopy((one.model.state_dict(), one.optimizer.state_dict(), one.state_dict()))
    numbers = list(one.run(20))
    other.model.load_state_dict(kept[0])
    other.optimizer.load_state_dict(kept[1])
    other.load_state_dict(kept[2])
    assert list(other.run(20)) == numbers
    for mine, its in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_every_example_comes_once_a_pass() -> None:
    """Within a pass through the data no example comes twice, and passes are shuffled differently."""
    trainer = _trainer(batch=10)
    passes = [np.concatenate([trainer.indices(step) for step in range(start, start + 3)]) for start in (0, 3)]
    for one in passes:
        assert sorted(one) == list(range(30))
    assert list(passes[0]) != list(passes[1])
    np.testing.assert_array_equal(trainer.indices(0), passes[0][:10])


def test_the_process_random_state_is_left_alone() -> None:
    """Shuffling and changing batches draw no random numbers from the process's own generators."""
    trainer = _trainer()
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    trainer.advance()
    assert torch.equal(torch.get_rng_state(), torch_before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # type: ignore[index]


def test_a_step_learns() -> None:
    """The loss falls, and the numbers of a step are those of its batch before it."""
    trainer = _trainer()
    numbers = list(trainer.run(200))
    assert numbers[-1]["loss"] < 0.7 * numbers[0]["loss"]
    assert set(numbers[0]) == {"loss", "accuracy"}


def test_a_training_without_examples_is_refused() -> None:
    """Wrong lengths and empty data are usage errors before the first step."""
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for x, y, batch in ((torch.zeros(3, 2), torch.zeros(2), 1), (torch.zeros(0, 2), torch.zeros(0), 1)):
        with pytest.raises(UsageError):
            Trainer(model, optimizer, x, y, measures.cross_entropy, batch=batch)
    with pytest.raises(UsageError):
        Trainer(model, optimizer, torch.zeros(3, 2), torch.zeros(3), measures.cross_entropy, batch=0)


def test_measures_of_the_usual_tasks() -> None:
    """Cross-entropy and accuracy take classes and sequences alike; errors are in the labels' units."""
    scores = torch.tensor([[[2.0, 0.0], [0.0, 2.0]], [[2.0, 0.0], [2.0, 0.0]]])
    y = torch.tensor([[0, 1], [0, 1]])
    assert measures.share_right(scores, y) == 0.75
    expected = torch.nn.functional.cross_entropy(scores.reshape(-1, 2), y.reshape(-1))
    torch.testing.assert_close(measures.cross_entropy(scores, y), expected)
    assert measures.absolute_error(torch.tensor([[1.0], [4.0]]), torch.tensor([0.0, 2.0])) == 1.5
    assert float(measures.squared_error(torch.tensor([[1.0], [4.0]]), torch.tensor([0.0, 2.0]))) == 2.5
