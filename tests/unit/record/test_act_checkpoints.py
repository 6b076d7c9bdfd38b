"""The checkpoint before an act: kept where the act was applied, bounded in bytes, and as exact as any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from patience import answered
from torch import nn

import diorama
from diorama.record import checkpoints, requests, rounds
from diorama.record.recorder import Recorder


class _Odd(torch.optim.SGD):
    """An optimizer that remembers something of a kind of its own."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "seen": {1, 2}}


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """A training of one layer, which looks for commands at each step."""
    monkeypatch.setattr(rounds, "LOOK", 0.0)
    model = nn.Linear(3, 2)
    with diorama.watch(model, tmp_path / "run", optimizer=_Odd(model.parameters(), 0.1), state=[{"seen": [3]}]) as found:
        yield found


def _told(recorder: Recorder, name: str, **knobs: Any) -> str:
    """Send a command, do a step, and return the answer once it and what it keeps are written."""
    number = requests.send(recorder.path, name, knobs)
    recorder.step(loss=1.0)
    recorder._background.flush(60.0)
    return str(answered(recorder.path, number)["text"])


def test_what_was_refused_pushes_no_checkpoint_out(recorder: Recorder) -> None:
    """Of commands that are no act, or were refused, none is kept, however many they are."""
    _told(recorder, "learning_rate", factor=0.5)
    for _ in range(checkpoints.SMALL_ACTS):
        assert "no layer named" in _told(recorder, "zero", unit="nowhere/1")
    _told(recorder, "snapshot")
    assert checkpoints.before_acts(Path(recorder.path)) == [1]
    _told(recorder, "undo")
    assert checkpoints.before_acts(Path(recorder.path)) == [1]


def test_acts_of_one_pause_are_kept_by_their_numbers(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are those of the highest numbers, also where all are of one step: five, more where they are small; rules push none out."""
    controlled = recorder.controls

    def applied(numbers: range, name: str = "learning_rate", sender: str = "python", **knobs: Any) -> list[int]:
        for number in numbers:
            controlled.apply(requests.SentCommand(number, name, {"factor": 1.0 + number} if name == "learning_rate" else knobs, sender))
        recorder._background.flush(60.0)
        return checkpoints.before_acts(Path(recorder.path))

    assert applied(range(6, 27)) == [*range(7, 27)]
    monkeypatch.setattr(checkpoints, "SMALL_BYTES", 0)
    assert applied(range(27, 28)) == [*range(23, 28)]
    assert applied(range(28, 34), "rule", when="not_finite", do="pause") == [*range(23, 28), *range(29, 34)]
    recorder.controls.apply(requests.SentCommand(34, "unrule", {"rule": 1}, "python"))
    recorder._background.flush(60.0)
    assert checkpoints.before_acts(Path(recorder.path)) == [*range(23, 28), *range(30, 35)]
    assert applied(range(35, 42), sender="rule 1") == [*range(23, 28), *range(30, 35), *range(37, 42)]
    assert applied(range(42, 44), "clip") == [*range(23, 28), *range(30, 35), *range(37, 42)]  # nothing is clipped as it is
    assert applied(range(44, 45)) == [*range(24, 28), *range(30, 35), *range(37, 42), 44]


def test_checkpoints_of_acts_are_bounded_in_bytes_and_one_that_is_not_kept_is_told(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest that fit are kept; of a network that is too large for one, the answer says that the act has no twin, and why."""
    _told(recorder, "learning_rate", factor=0.5)
    kept = next(file for file in checkpoints.automatic(Path(recorder.path)) if ".act" in file.name)
    monkeypatch.setattr(checkpoints, "ACT_BYTES", int(2.5 * kept.stat().st_size))
    for factor in (0.25, 0.125):
        _told(recorder, "learning_rate", factor=factor)
    assert checkpoints.before_acts(Path(recorder.path)) == [2, 3]
    monkeypatch.setattr(checkpoints, "ACT_BYTES", 20)
    told = _told(recorder, "learning_rate", factor=1.0)
    assert told == ("learning rate 0.0125 → 0.1; no checkpoint was kept from before it, so it has no twin: one takes 32 bytes, and those "
                    "before acts may take 20 bytes")
    assert checkpoints.before_acts(Path(recorder.path)) == [2, 3]
    assert "took back" in _told(recorder, "undo")


def test_an_act_is_applied_where_nothing_can_be_kept_before_it(recorder: Recorder) -> None:
    """What the user gives as state may be what nobody can keep: the answer says so, and the command is applied."""
    recorder._subject.state = (lambda: None,)
    told = _told(recorder, "learning_rate", factor=0.5)
    assert told.startswith("learning rate 0.1 → 0.05; no checkpoint was kept from before it, so it has no twin: one cannot be made (")


def test_a_checkpoint_holds_what_was_though_it_is_written_later(recorder: Recorder) -> None:
    """Tensors, foreign values and the user's objects are those of the moment at which it was taken."""
    weight, state = recorder._subject.model.weight, recorder._subject.state[0]
    before = weight.detach().clone()
    kept = recorder._copies._checkpoints.copy(7)
    with torch.no_grad():
        weight.zero_()
    state["seen"].append(4)
    found = checkpoints.unpacked(kept.packed())
    assert torch.equal(found["weights"]["parameters"]["weight"], before)
    assert found["optimizers"][0]["seen"] == {1, 2}
    assert found["state"] == [{"seen": [3]}]
    assert (found["step"], found["weights"]["extra"]) == (7, {})
