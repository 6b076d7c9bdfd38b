"""Acts on the weights of a running training: done once, to what was meant and its optimizer's memory, and taken back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from patience import answered
from torch import Tensor, nn

import diorama
from diorama.record import requests

ACTS: dict[str, dict[str, Any]] = {
    "zero": {"unit": "body.0/2"},
    "reinitialize": {"unit": "body.0/2", "seed": 3},
    "copy_unit": {"unit": "body.0/2", "to": "body.0/4"},
    "swap_units": {"unit": "body.0/2", "to": "body.0/5"},
    "scale_layer": {"layer": "body", "factor": 0.7},
    "edit_weight": {"key": "weight:last/1,3", "value": 0.25},
    "freeze": {"layer": "body"},
    "learning_rate": {"factor": 0.5},
    "optimizer_value": {"setting": "weight_decay", "value": 0.2},
}
WEIGHTS = list(ACTS)[:6]
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.3),
}


pytestmark = pytest.mark.usefixtures("looking_at_once")


class _Net(nn.Module):
    """A block that normalizes, dropout that draws random numbers, and a last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.2))
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x))


class Loop:
    """A training of one's own, told to a recorder or not."""

    def __init__(self, optimizer: str, path: Path | None = None) -> None:
        torch.manual_seed(0)
        self.model = _Net()
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 20)
        self.recorder = None if path is None else diorama.watch(self.model, path, optimizer=self.optimizer)
        self.generator = torch.Generator().manual_seed(1)
        torch.manual_seed(2)

    def train(self, *commands: tuple[str, dict[str, Any]]) -> None:
        """One step, and commands after it, which must be accepted."""
        x = torch.randn(16, 4, generator=self.generator)
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.model(x), x[:, :3].argmax(1))
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        for name, knobs in commands:
            answer = self.send(name, **knobs)
            assert answer["ok"], answer["text"]
        if self.recorder is not None and not commands:
            self.recorder.step(loss=loss)

    def send(self, name: str, **knobs: Any) -> dict[str, Any]:
        """A command between two steps, and its answer."""
        assert self.recorder is not None
        number = requests.send(path := self.recorder.path, name, knobs)
        self.recorder.step(loss=0.0)
        return answered(path, number)

    def state(self) -> dict[str, Tensor]:
        """Weights, statistics, the optimizer's memory, and the random state."""
        found = {name: value.clone() for name, value in self.model.state_dict().items()}
        for number, memory in self.optimizer.state_dict()["state"].items():
            found |= {f"{number}/{name}": torch.as_tensor(value).clone() for name, value in memory.items()}
        return {**found, "random": torch.get_rng_state()}

    def close(self) -> None:
        """End it."""
        if self.recorder is not None:
            self.recorder.close()


def _same(one: dict[str, Tensor], two: dict[str, Tensor]) -> list[str]:
    return [name for name in one | two if name not in one or name not in two or not torch.equal(one[name], two[name])]


def test_acts_on_the_same_weights_go_in_their_order(tmp_path: Path) -> None:
    """One under a later act on the same weights is refused and names it; newest first all go, to the bit."""
    loop = Loop("adamw", tmp_path / "run")
    loop.train()
    before = loop.state()
    for name, knobs in ACTS.items():
        assert loop.send(name, **knobs)["ok"]
    refused = loop.send("undo", command=1)
    assert (refused["ok"], "command 2 (reinitialize) changed the same weights later" in refused["text"]) == (0, True)
    assert loop.send("undo", command=6)["text"].endswith("; bit by bit")
    for _ in range(8):
        assert loop.send("undo")["ok"]
    assert not _same(before, loop.state())
    assert "nothing is in force" in loop.send("undo")["text"]
    loop.close()


def test_the_optimizers_memory_follows(tmp_path: Path) -> None:
    """Zeroed with a zeroed unit, copied with a copied one, swapped with swapped ones, left alone by an edit."""
    loop = Loop("adam", tmp_path / "run")
    loop.train()
    for name in WEIGHTS:
        before = loop.state()
        loop.send(name, **ACTS[name])
        after = loop.state()
        expected = {key: value.clone() for key, value in before.items() if "/" in key}
        for key in ("0/exp_avg", "0/exp_avg_sq", "0/max_exp_avg_sq", "1/exp_avg", "1/exp_avg_sq", "1/max_exp_avg_sq"):
            if name in ("zero", "reinitialize"):
                expected[key][2] = 0
            elif name == "copy_unit":
                expected[key][4] = before[key][2]
            elif name == "swap_units":
                expected[key][[2, 5]] = before[key][[5, 2]]
        assert not _same(expected, {key: value for key, value in after.items() if "/" in key}), name
        assert all(parameter.requires_grad and parameter.is_leaf for parameter in loop.model.parameters())
    loop.close()


@pytest.mark.parametrize("name", WEIGHTS)
def test_later_only_the_act_goes_and_what_was_learnt_stays(tmp_path: Path, name: str) -> None:
    """After three more steps the undo moves the act's weights alone, by what the act moved them, or by its inverse."""
    loop = Loop("sgd", tmp_path / "run")
    loop.train()
    plain = loop.state()
    assert loop.send(name, **ACTS[name])["ok"]
    acted = loop.state()
    for _ in range(3):
        loop.train()
    before = loop.state()
    assert "training has gone on since" in loop.send("undo")["text"]
    after = loop.state()
    loop.close()
    touched = {key for key in _same(plain, acted) if "/" not in key}
    moments = {key for key in _same(plain, acted) if "/" in key} if name == "swap_units" else set()
    assert {*_same(before, after)} == touched | moments
    for key in touched:
        expected = before[key] + plain[key] - acted[key]
        if name == "scale_layer":
            expected = before[key] / 0.7
        elif name == "swap_units":
            expected = before[key].clone()
            expected[[2, 5]] = before[key][[5, 2]]
        torch.testing.assert_close(after[key], expected)
