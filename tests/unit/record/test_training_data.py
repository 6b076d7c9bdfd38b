"""Examples of a running training are dropped, relabelled and weighed; each act is told, taken back, and kept with the run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from patience import answered
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import diorama
from diorama.core.errors import UsageError
from diorama.core.knobs import numbers_in, numbers_written
from diorama.data import changes
from diorama.record import requests, rounds
from diorama.training import measures
from diorama.training.trainer import Trainer


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are looked for at every step, however short it is, and no data set of another test is known."""
    monkeypatch.setattr(rounds, "LOOK", 0.0)
    for each in list(changes.known):
        changes.known.discard(each)


def _rows(count: int = 60) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 4, generator=generator)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


class _Steered:
    """A recorded loop of the user's own over a wrapped data set, that stands between two steps."""

    def __init__(self, path: Path, probe: Any = None, **knobs: Any) -> None:
        self.x, self.y = _rows()
        self.data = diorama.data(TensorDataset(self.x, self.y))
        torch.manual_seed(0)
        self.model = nn.Linear(4, 3)
        self.recorder = diorama.watch(self.model, path / "run", probe=probe or (self.x[:8].clone(), self.y[:8]), **knobs)
        self.run = diorama.open(self.recorder.path)
        self.epoch()

    def epoch(self) -> list[int]:
        """Load all once; the labels as they came by example, −1 for one that did not come."""
        found = [-1] * len(self.x)
        for x, y in DataLoader(self.data, 10, shuffle=True):
            for row, label in zip(x, y, strict=True):
                found[int((self.x == row).all(1).nonzero()[0])] = int(label)
        return found

    def send(self, name: str, **knobs: Any) -> dict[str, Any]:
        """Send a command; the answer, as it is acknowledged."""
        number = requests.send(path := self.recorder.path, name, knobs)
        self.recorder.step(loss=0.0)
        return {**answered(path, number), "number": number}

    def state(self) -> Any:
        """What is changed now."""
        return [part.tolist() for part in self.data.changes.changed()[:2]]


@pytest.fixture
def steered(tmp_path: Path) -> Any:
    made = _Steered(tmp_path, classes=("few", "some", "many"))
    yield made
    made.recorder.close()


def test_examples_are_dropped_relabelled_and_weighed(steered: _Steered) -> None:
    """What a command says is what the loader gives from then on, the run lists it, and a file of it does it again."""
    assert steered.send("drop", examples=[3, 4])["text"] == "dropped 2 examples of the data (3, 4)"
    answer = steered.send("relabel", examples="7", label="many")
    assert (answer["old"], answer["new"]) == (["0 (few)", "1 (some)", "2 (many)"][int(steered.y[7])], "2 (many)")
    assert answer["text"] == "gave the label 2 (many) to example 7 of the data"
    steered.send("relabel", examples="20-22", labels=[0, "some", 2])
    assert steered.send("weigh", examples=[9], weight=3.0)["old"] == "1"
    acts = steered.recorder.controls.acts.told()
    for name, knobs in (("drop", {"examples": "3,4"}), ("relabel", {"examples": "7", "label": 2}), ("weigh", {"examples": "9", "weight": 3})):
        answer = steered.send(name, **knobs)
        assert (answer["ok"], answer["text"].partition(", ")[2].split(" (")[0].endswith("so nothing changed")) == (1, True), answer
    assert steered.recorder.controls.acts.told() == acts
    labels = steered.epoch()
    assert labels[3] == labels[4] == -1
    assert {labels[7]} <= {2, -1}
    assert {labels[21]} <= {1, -1}
    steered.recorder.close()
    rows = {row["example"]: row for row in steered.run.changes}
    assert rows[3] == {"example": 3, "weight": 0.0, "label": None, "label before": int(steered.y[3]), "probe": 3, "since": 1}
    assert rows[7]["label"] == 2
    assert rows[9]["weight"] == 3.0
    assert steered.run.info()["changed_examples"] == {"dropped": 2, "relabelled": 4, "weighed": 1}
    assert steered.run.check() == []
    assert steered.run.meta["acts"][0]["examples"] == "3-4"
    assert steered.run.scene().view("acts").note == "command 3: examples 20-22; command 1: examples 3-4"
    assert steered.run.meta["steered"] | {"probe": 0, "matched": 0} == {
        "examples": 60, "dropped": 2, "relabelled": 4, "weighed": 1, "probe": 0, "matched": 0, "labels": "whole",
    }
    path = steered.recorder.path.parent / "kept.json"
    steered.run.save_changes(path)
    again = diorama.data(TensorDataset(steered.x, steered.y), changes=path).changes.changed()
    for one, other in zip(again, steered.data.changes.changed(), strict=True):
        assert np.array_equal(one, other, equal_nan=True)


def test_a_label_that_tells_no_examples_says_why(steered: _Steered, tmp_path: Path) -> None:
    """A class that all its examples have left, and data with several labels each, of which some have but one, are refused for what they are."""
    assert steered.send("relabel", labelled="few", label="many")["ok"]
    said = steered.send("drop", labelled="few")["text"]
    assert f"no example has the label few now: {int((steered.y == 0).sum())} examples that came with it have another by now" in said
    several = diorama.data(TensorDataset(steered.x, torch.eye(3)[steered.y] + torch.eye(3)[0] * (steered.y == 2)[:, None]))
    next(iter(DataLoader(several, 60)))
    with diorama.watch(nn.Linear(4, 3), tmp_path / "several", data=several) as recorder:
        number = requests.send(recorder.path, "drop", {"labelled": "1"})
        recorder.step(loss=0.0)
    assert "no single classes" in (diorama.open(recorder.path).acknowledgement(number) or {})["text"]
    assert not several.changes.touched


def test_data_that_a_loop_does_not_load_are_told(tmp_path: Path) -> None:
    """Where the loop reads round the wrap, an act on its data says that it changes nothing."""
    data = diorama.data(TensorDataset(*_rows()))
    with diorama.watch(nn.Linear(4, 3), tmp_path / "round", data=data) as recorder:
        recorder.step(loss=0.0)
        number = requests.send(recorder.path, "drop", {"examples": "1"})
        recorder.step(loss=0.0)
        recorder.step(loss=0.0)
    assert "has loaded none of the data" in (diorama.open(recorder.path).acknowledgement(number) or {})["text"]


def test_acts_on_the_same_examples_are_taken_back_in_any_order(steered: _Steered) -> None:
    """An older act goes without the younger one, which then gives back what was before both; restore takes all back."""
    first = steered.send("drop", examples="1-4")["number"]
    second = steered.send("weigh", examples="3-6", weight=2.0)["number"]
    assert "2 of them" in steered.send("undo", command=first)["text"]
    assert steered.state() == [[3, 4, 5, 6], [2.0] * 4]
    steered.send("undo", command=second)
    assert steered.state() == [[], []]
    dropped, new = steered.send("drop", examples="5")["number"], steered.send("relabel", examples="5,6", label=1)["number"]
    assert "of the chosen examples none is changed" in steered.send("restore", examples="1-4")["text"]
    assert steered.send("restore", labelled="some")["text"] == (
        f"restored 2 examples of the data (5, 6), 1 dropped and 2 relabelled by commands {dropped} (drop) and {new} (relabel)"
    )
    assert steered.state() == [[], []]
    steered.send("undo")
    assert steered.state() == [[5, 6], [0.0, 1.0]]
    steered.send("restore", examples="6")
    assert steered.state() == [[5], [0.0]]


@pytest.mark.parametrize(
    ("name", "knobs", "said"),
    [
        ("drop", {"examples": "60"}, "below 60"), ("drop", {"examples": "0-59"}, "none would be left"), ("drop", {}, "either"),
        ("drop", {"examples": "0-999999999999"}, "below 60"), ("drop", {"examples": "8", "of": "probe"}, "below 8"),
        ("drop", {"examples": "-3"}, "wants numbers of examples"), ("drop", {"examples": [1.5]}, "wants numbers of examples"),
        ("drop", {"labelled": "nine"}, "no class is called"), ("drop", {"labelled": "7"}, "no example with the label"),
        ("weigh", {"examples": "1", "weight": float("nan")}, "weight wants"), ("weigh", {"examples": "1", "weight": -1}, "weight wants"),
        ("relabel", {"examples": "1", "label": 3}, "from 0 to 2"), ("relabel", {"examples": "1", "label": 0.5}, "from 0 to 2"),
        ("relabel", {"examples": "1,2", "labels": "1"}, "each of the 2"), ("relabel", {"examples": "1"}, "either"),
        ("relabel", {"examples": "1", "labels": "a"}, "no class is called 'a'; the classes are few, some, many"),
        ("relabel", {"examples": "1", "label": float("nan")}, "label wants"), ("relabel", {"examples": "1", "label": "nan"}, "finite number"),
        ("restore", {}, "nothing to restore"),
    ],
)
def test_wrong_commands_change_nothing(steered: _Steered, name: str, knobs: dict[str, Any], said: str) -> None:
    """Each is refused with a sentence, and the loader gives what it gave."""
    answer = steered.send(name, **knobs)
    assert not answer["ok"]
    assert said in answer["text"]
    assert steered.state() == [[], []]


def test_the_probe_set_is_found_among_the_data(steered: _Steered, tmp_path: Path) -> None:
    """Examples of the probe set that are in the data are dropped there by their place in it; by content, or since they were taken from it."""
    assert steered.send("drop", examples="2", of="probe")["ok"]
    assert steered.state() == [[2], [0.0]]
    data = diorama.data(TensorDataset(steered.x, steered.y))
    probe = data.examples(10, seed=3)
    assert probe.numbers is not None
    with diorama.watch(steered.model, tmp_path / "sampled", probe=probe, data=data) as recorder:
        requests.send(recorder.path, "drop", {"examples": "4", "of": "probe"})
        recorder.step(loss=0.0)
    assert data.changes.changed().numbers.tolist() == [int(probe.numbers[4])]
    run = diorama.open(tmp_path / "sampled")
    assert run.examples is not None
    assert run.examples.numbers is not None
    assert run.meta["steered"]["matched"] == 10


@pytest.mark.parametrize(("taken", "known"), [(True, 600), (False, 512)])
def test_a_large_probe_set_knows_all_its_examples(tmp_path: Path, taken: bool, known: int) -> None:
    """Taken from the data it names each of them, also beyond the first 512; where contents have to tell, it is said which were looked for."""
    x, y = _rows(600)
    data = diorama.data(TensorDataset(x, y))
    probe = data.examples(600) if taken else (x, y)
    with diorama.watch(nn.Linear(4, 3), tmp_path / "run", probe=probe, classes=["few", "some", "many"], data=data) as recorder:
        for k in range(600):
            data[k]
        number = requests.send(recorder.path, "relabel", {"examples": "3,599", "of": "probe", "label": "many"})
        recorder.step(loss=0.0)
    run = diorama.open(tmp_path / "run")
    assert (run.meta["steered"]["probe"], run.meta["steered"]["matched"]) == (known, known)
    assert run.classes == ("few", "some", "many")
    answer = run.acknowledgement(number)
    assert answer is not None
    assert answer["ok"] == taken
    assert taken or "the first 512 alone were looked for" in answer["text"]
    assert [row["probe"] for row in run.changes] == ([3, 599] if taken else [])


_ITEMS: dict[str, Any] = {
    "a pair": lambda x, y, k: (x, y), "by name": lambda x, y, k: {"x": x, "y": y},
    "with its number": lambda x, y, k: {"image": x, "label": y, "id": k},
    "with its weight": lambda x, y, k: (x, y, 0.5),
}


@pytest.mark.parametrize("form", _ITEMS)
def test_partners_are_found_in_every_form_of_item_beside_other_data_sets(tmp_path: Path, form: str) -> None:
    """Which of two data sets is loaded is seen at the first batches, and what is in an item beside the input does not matter."""
    x, y = _rows(20)
    other, data = (diorama.data([_ITEMS[form](row, int(label), k) for k, (row, label) in enumerate(zip(x, y, strict=True))]) for _ in range(2))
    with diorama.watch(nn.Linear(4, 3), tmp_path / "run", probe=(x[:8], y[:8])) as recorder:
        for batch in [*range(0, 20, 5)] * 2:
            for k in range(batch, batch + 5):
                data[k]
            recorder.step(loss=0.0)
        requests.send(recorder.path, "drop", {"examples": "3", "of": "probe"})
        recorder.step(loss=0.0)
    assert [each.changes.changed().numbers.tolist() for each in (data, other)] == [[3], []]


def test_what_has_no_partner_cannot_be_dropped(tmp_path: Path) -> None:
    """An example of the probe set that is not in the data is refused by its number."""
    made = _Steered(tmp_path, (9 + torch.rand(4, 4), torch.tensor([0, 1, 2, 0])))
    answer = made.send("drop", examples="1", of="probe")
    assert not answer["ok"]
    assert "1 no partner" in answer["text"]
    made.recorder.close()


class _Stream(IterableDataset[Any]):
    """Rows in order, or from now on backwards."""

    def __init__(self) -> None:
        self.rows = list(zip(*_rows(20), strict=True))

    def __iter__(self) -> Any:
        yield from self.rows


def test_of_a_stream_what_cannot_be_done_is_refused_and_what_fails_later_is_told(tmp_path: Path) -> None:
    """Examples that never came, and all that did, are not dropped; where places tell no example any more, or a file dropped all, the run says so."""
    data = diorama.data(_Stream())
    with diorama.watch(nn.Linear(4, 3), tmp_path / "run", data=data) as recorder:
        run = diorama.open(recorder.path)

        def send(**knobs: Any) -> str:
            number = requests.send(recorder.path, "drop", knobs)
            recorder.step(loss=0.0)
            return str(answered(recorder.path, number)["text"])

        list(data)
        assert "example 20 of the stream has not come yet (20 did so far)" in send(examples="3,20")
        assert "of 20 none would be left" in send(examples="0-19")
        assert not data.changes.touched
        assert send(examples="3") == "dropped example 3 of the data"
        data.dataset.rows.reverse()
        list(data)
        assert "places tell no example" in send(examples="4")
        recorder._told_at = -math.inf  # it is looked once a second
        recorder.step(loss=0.0)
    assert [event.text for event in run.events if event.kind == "warning"] == [event.text for event in run.events if "not in force any" in event.text]
    other = diorama.data(_Stream())
    other.changes.put(changes.ChangedExamples(np.arange(20), np.zeros(20), np.full(20, np.nan)))
    with diorama.watch(nn.Linear(4, 3), tmp_path / "empty", data=other) as recorder:
        assert list(other) == []
        recorder._told_at = -math.inf
        recorder.step(loss=0.0)
    assert any("it gives none" in event.text for event in diorama.open(recorder.path).events)


def test_without_a_wrapped_data_set_the_line_to_write_is_told(tmp_path: Path) -> None:
    """A training whose data are not wrapped, and one beside a wrapped set that it does not load, refuse with the way out."""
    model = nn.Linear(4, 3)
    other = None
    for said in ("diorama.data", "data=train"):
        with diorama.watch(model, tmp_path / said) as recorder:
            number = requests.send(recorder.path, "drop", {"examples": "1"})
            recorder.step(loss=0.0)
        answer = diorama.open(recorder.path).acknowledgement(number)
        assert answer is not None
        assert said in answer["text"]
        other = diorama.data(TensorDataset(*_rows()))
    assert other is not None
    assert not other.changes.touched


def test_changes_are_in_force_again_when_a_training_is_taken_up(tmp_path: Path) -> None:
    """A run that is taken up in another process drops what it dropped, and says so."""
    made = _Steered(tmp_path)
    made.send("drop", examples="3,8")
    made.recorder.close()
    data = diorama.data(TensorDataset(made.x, made.y))
    with diorama.watch(made.model, made.recorder.path, probe=(made.x[:8], made.y[:8]), data=data, resume=True) as recorder:
        recorder.step(loss=0.0)
    assert data.changes.changed().numbers.tolist() == [3, 8]
    assert any("2 examples of the data is in force again" in event.text for event in made.run.events)
    state = data.state_dict()
    data.load_state_dict(None)
    assert not len(data.changes.changed().numbers)
    data.load_state_dict(state)
    assert data.changes.changed().numbers.tolist() == [3, 8]


def test_each_relabelled_example_has_its_own_step(steered: _Steered) -> None:
    """The list of changes says of each since which step it has its label; so it does after an undo, going back, and in a training taken up."""
    def told() -> dict[int, int | None]:
        return {row["example"]: row["since"] for row in diorama.open(steered.recorder.path).changes}

    first = steered.send("relabel", examples="3", label=2 - int(steered.y[3]))["step"]
    steered.send("snapshot")
    second = steered.send("relabel", examples=[4, 5], labels=[2, 2])
    dropped = steered.send("drop", examples="9")["step"]
    last = steered.send("relabel", examples="5", label=0)
    undone = steered.send("undo", command=last["number"])["step"]
    steered.send("go_back", step=first + 1)
    steered.recorder.close()
    path = steered.recorder.path
    assert told() == {3: first}
    parent = {row["example"]: row["since"] for row in steered.run.changes}
    assert parent == {3: first, 4: second["step"], 5: undone, 9: dropped}
    steered.data = data = diorama.data(TensorDataset(steered.x, steered.y))
    with diorama.watch(steered.model, path, probe=(steered.x[:8], steered.y[:8]), data=data, resume=True) as recorder:
        steered.recorder, steered.run = recorder, diorama.open(recorder.path)
        steered.epoch()  # what labels look like is known once some were loaded
        again = steered.send("relabel", examples="6", label=1)["step"]
    assert told() == {3: first, 6: again}


def test_the_built_in_loop_is_steered(tmp_path: Path) -> None:
    """Its batches follow from seed, step and changes: with them taken back at once it trains bit by bit as without, and it resumes them."""
    def made() -> Trainer:
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        return Trainer(model, torch.optim.SGD(model.parameters(), 0.1), *_rows(), measures.cross_entropy, batch=6)

    plain, steered = made(), made()
    for trainer in (plain, steered):
        list(trainer.run(3))
    with diorama.watch(steered.model, tmp_path / "run", state=[steered]) as recorder:
        for command in ({"examples": "0-20"}, None):
            requests.send(recorder.path, "drop" if command else "undo", command or {})
            recorder.step(loss=0.0)
    for trainer in (plain, steered):
        list(trainer.run(12))
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), steered.model.parameters(), strict=True))
    steered.changes.set("weight", np.arange(20), 0.0)
    steered.changes.set("label", np.arange(20, 60), 2.0)
    seen: list[Any] = []
    steered.loss = lambda output, y: seen.append(y) or measures.cross_entropy(output, y)  # type: ignore[func-returns-value]
    list(steered.run(20))
    assert torch.cat(seen).tolist() == [2] * 48
    other = made()
    other.load_state_dict(steered.state_dict())
    other.model.load_state_dict(steered.model.state_dict())
    for trainer in (steered, other):
        list(trainer.run(25))
    assert all(torch.equal(a, b) for a, b in zip(other.model.parameters(), steered.model.parameters(), strict=True))


def test_numbers_of_examples_are_written_shortly() -> None:
    """Texts, numbers and lists of them become one text with runs, in their order; anything else is refused."""
    assert numbers_written([3, 4, 5, 9, 8], "examples") == "3-5,9,8"
    assert numbers_written(np.array([7]), "examples") == "7"
    assert numbers_written(" 3, 5-6 ,", "examples") == "3,5-6"
    assert [list(run) for run in numbers_in("3-5,9")] == [[3, 4, 5], [9]]
    for wrong in ("a", "3--4", [-1], [1.0], {"a": 1}, True and "1.5"):
        with pytest.raises(UsageError):
            numbers_written(wrong, "examples")


def test_a_training_that_goes_back_draws_as_it_did(steered: _Steered) -> None:
    """Going back to a checkpoint takes back what was changed of the data since, and puts in force what was then."""
    steered.send("drop", examples="1,2")
    steered.send("snapshot")
    steered.send("weigh", examples="2,3", weight=4.0)
    step = steered.recorder.number - 1
    answer = steered.send("go_back", step=step)
    assert answer["ok"], answer["text"]
    assert steered.state() == [[1, 2], [0.0, 0.0]]
    assert (steered.data.changes.asked[:60] == 1).all()  # so that who takes a place comes out the same again
    steered.recorder.close()
    assert [row["example"] for row in diorama.open(steered.recorder.path).changes] == [1, 2]
