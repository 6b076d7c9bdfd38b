"""A wrapped data set gives what it gave without the wrap until somebody changes something; then what was asked for."""

from __future__ import annotations

import collections
import os
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

import diorama
from diorama.core.errors import Damaged, Unavailable, UsageError
from diorama.data import changes_file, steered_set
from diorama.data.changes import Changes
from diorama.data.examples import Examples
from diorama.data.steered_set import SteeredBase, SteeredSet

COUNT = 40


class Rows(Dataset[Any]):
    """Rows whose first number is their own; shifted by chance, as augmentation does."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not 0 <= index < COUNT:
            raise IndexError(index)
        return torch.tensor([float(index), float(torch.rand(()))]), index % 5


class Numbers(IterableDataset[Any]):
    """Numbers in order, each worker a part."""

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        worker = get_worker_info()
        first, stride = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        for number in range(first, COUNT, stride):
            yield torch.tensor([float(number)]), number % 5


class SizedNumbers(Numbers):
    """The same, whose length is known."""

    def __len__(self) -> int:
        return COUNT


def _loaded(data: Any, **knobs: Any) -> list[Any]:
    own: dict[str, Any] = {} if "batch_size" in knobs or "batch_sampler" in knobs else {"batch_size": 8}
    torch.manual_seed(3)
    return [part for batch in DataLoader(data, **own, **knobs) for part in batch]


def _asked(batches: list[Any]) -> list[int]:
    return [int(row[0]) for batch in batches[::2] for row in batch.reshape(-1, batch.shape[-1])]


@pytest.mark.parametrize(
    "knobs",
    [{"shuffle": True}, {"shuffle": True, "num_workers": 2}, {"sampler": range(COUNT - 1, -1, -1)},
     {"batch_sampler": BatchSampler(RandomSampler(range(COUNT)), 7, drop_last=True)}],
    ids=["shuffled", "forked", "sampler", "batch_sampler"],
)
def test_nothing_changes_before_somebody_changes_something(knobs: dict[str, Any]) -> None:
    """A loader gives bit by bit what it gave without the wrap, augmentation by chance included."""
    for one, other in zip(_loaded(Rows(), **knobs), _loaded(diorama.data(Rows()), **knobs), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("stream", [Numbers, SizedNumbers])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_stays_as_it_was(stream: Any, workers: int) -> None:
    """So does a stream, whose length is known where it was known."""
    data = diorama.data(stream())
    for one, other in zip(_loaded(stream(), num_workers=workers), _loaded(data, num_workers=workers), strict=True):
        assert torch.equal(one, other)
    assert hasattr(data, "__len__") == hasattr(stream(), "__len__")


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_changes_reach_workers_that_run_already(context: str) -> None:
    """Persistent workers drop and relabel in the pass after a change, whichever way they were started, and say what is late."""
    data = diorama.data(Rows())
    loader = DataLoader(data, 8, shuffle=True, num_workers=1, persistent_workers=True, multiprocessing_context=context, prefetch_factor=3)
    assert data.late() == 0  # nobody loads yet
    collections.deque(loader, 0)
    data.changes.set("weight", np.array([3, 4]), 0.0)
    data.changes.set("label", np.array([7]), 2.0)
    assert data.late() == 3
    batches = list(loader)
    numbers = [int(row[0]) for x, _ in batches for row in x]
    assert len(numbers) == COUNT
    assert not {3, 4} & set(numbers)
    assert {int(y) for x, labels in batches for row, y in zip(x, labels, strict=True) if int(row[0]) == 7} <= {2}


def test_a_weight_is_the_odds_of_being_drawn() -> None:
    """Over many passes each example comes as often as its weight says, within four standard deviations."""
    changes = Changes(COUNT, seed=5)
    weights = np.ones(COUNT)
    weights[:4] = 0.0, 0.2, 3.0, 7.0
    changes.set("weight", np.arange(4), weights[:4])
    passes = 4000
    counts = np.bincount(np.concatenate([changes.drawn(np.arange(COUNT)) for _ in range(passes)]), minlength=COUNT)
    wanted = COUNT * passes * weights / weights.sum()
    assert counts.sum() == COUNT * passes
    assert (np.abs(counts - wanted) <= 4 * np.sqrt(wanted)).all()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("held_back", ["subset", "sampler", "no_grad"])
def test_what_is_held_back_from_a_training_takes_no_place(held_back: str, workers: int) -> None:
    """Free places go to examples that the training's sampler asks for, also where those held back come through the same wrap to be looked at."""
    data = diorama.data(Rows())
    part, rest = list(range(0, COUNT, 2)), list(range(1, COUNT, 2))
    if held_back == "sampler":
        one: Any = {"dataset": data, "sampler": SubsetRandomSampler(part)}
    else:
        one = {"dataset": Subset(data, part), "shuffle": True}
    loader = DataLoader(batch_size=8, num_workers=workers, **one)
    beside = DataLoader(Subset(data, rest), 8, num_workers=workers if held_back == "subset" else 0)

    def asked(loader: Any) -> list[int]:
        return [int(row[0]) for x, _ in loader for row in x]

    for _ in range(2):
        assert sorted(asked(loader)) == part
        with torch.no_grad():
            assert held_back == "sampler" or sorted(asked(beside)) == rest
    data.changes.set("weight", np.array(part[:6]), 0.0)
    data.changes.set("weight", np.array(part[6:8]), 3.0)
    for _ in range(4):
        came = asked(loader)
        assert len(came) == len(part)
        assert set(came) <= set(part[6:])
    with torch.no_grad():
        assert sorted(asked(beside)) == rest  # what is looked at stays what it was


def test_weights_multiply_what_a_sampler_does() -> None:
    """Of a sampler that asks for some nine times as often, a weight is what their odds are multiplied by."""
    data = diorama.data(Rows())
    often = torch.where(torch.arange(COUNT) < 20, 9.0, 1.0).double()
    loader = DataLoader(data, 100, sampler=WeightedRandomSampler(often, 4000, generator=torch.Generator().manual_seed(0)))

    def share() -> float:
        numbers = torch.cat([x[:, 0] for x, _ in loader])
        return float((numbers >= 20).double().mean())

    assert abs(share() - 0.1) < 0.02
    data.changes.set("weight", np.arange(20, COUNT), 3.0)
    assert abs(share() - 0.3 / 1.2) < 0.03
    data.changes.set("weight", np.arange(20, COUNT), 1.0)
    data.changes.set("weight", np.arange(10), 0.0)
    assert abs(share() - 0.1 / 0.55) < 0.03


def test_what_is_drawn_follows_from_seed_and_place() -> None:
    """The same changes, seed and state draw the same again; another seed draws otherwise."""
    def some(seed: int) -> Changes:
        changes = Changes(COUNT, seed=seed)
        changes.set("weight", np.arange(20), 0.0)
        return changes

    one, same, other = some(1), some(1), some(2)
    asked = np.arange(COUNT)
    first = [one.drawn(asked) for _ in range(3)]
    assert all((a == same.drawn(asked)).all() for a in first)
    assert not (first[0] == first[1]).all()
    assert not (first[0] == other.drawn(asked)).all()
    taken_up = Changes(COUNT)
    taken_up.load_state_dict(one.state_dict())
    assert (taken_up.drawn(asked) == one.drawn(asked)).all()
    assert (one.drawn(asked, asked) == taken_up.drawn(asked, asked)).all()


@pytest.mark.parametrize("stream", [Numbers, SizedNumbers])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_replaces_what_is_dropped_and_loses_nothing(stream: Any, workers: int) -> None:
    """In a stream a kept example takes a dropped one's place, also at its beginning and where most are dropped; the length stays, also where
    all is changed while it is given."""
    data = diorama.data(stream())
    data.changes.set("weight", np.array([0, 1, 7]), 0.0)
    data.changes.set("label", np.array([9]), 1.0)
    for _ in range(3):
        batches = _loaded(data, num_workers=workers)
        numbers, labels = _asked(batches), [int(y) for batch in batches[1::2] for y in batch]
        assert len(numbers) == COUNT
        assert set(numbers) == set(range(COUNT)) - {0, 1, 7}
        assert labels[numbers.index(9)] == 1
    data.changes.set("weight", np.arange(30), 0.0)
    assert set(_asked(_loaded(data, num_workers=workers))) == set(range(30, COUNT))
    if not workers:
        changed = []
        for x, _ in data:
            changed.append(int(x))
            data.changes.set("weight", np.array([changed[0] if len(changed) % 2 else 39]), float(len(changed) % 3))
        assert len(changed) == COUNT


@pytest.mark.parametrize("workers", [1, 2])
def test_a_weight_is_the_odds_of_coming_in_a_stream(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over many passes each example of a worker comes as often as its weight says, and never less often than surely due."""
    data, passes = diorama.data(SizedNumbers()), 200
    weights = np.ones(COUNT)
    weights[[4, 8, 9, 39]] = 0.0, 3.0, 0.5, 2.0
    data.changes.set("weight", np.arange(COUNT), weights)
    for first in range(workers):
        worker = SimpleNamespace(id=first, num_workers=workers)
        monkeypatch.setattr(f"{__name__}.get_worker_info", lambda worker=worker: worker)
        monkeypatch.setattr(steered_set, "get_worker_info", lambda worker=worker: worker)
        counts = np.stack([np.bincount([int(x) for x, _ in data], minlength=COUNT)[first::workers] for _ in range(passes)])
        due = weights[first::workers] / weights[first::workers].mean()
        assert (counts.sum(1) == len(due)).all()
        assert (np.abs(counts.mean(0) - due) <= 4 * np.sqrt(due / passes)).all()
        assert (counts >= np.minimum(np.floor(due), 1)).all()


def test_of_a_stream_only_what_came_can_be_changed() -> None:
    """An example that has not come may not be there, and of those that came one stays."""
    data = diorama.data(Numbers())
    with pytest.raises(UsageError, match="has not come yet \\(0 did so far\\)"):
        data.changes.check([3])
    _loaded(data)
    assert data.changes.check([3]).tolist() == [3]
    with pytest.raises(UsageError, match="example 40 of the stream has not come yet \\(40 did"):
        data.changes.check([3, COUNT])
    with pytest.raises(UsageError, match="of 40 none would be left"):
        data.changes.set("weight", np.arange(COUNT), 0.0)
    assert diorama.data(SizedNumbers()).changes.check([3]).tolist() == [3]


class Every(Numbers):
    """A stream of which each worker gives all."""

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        yield from ((torch.tensor([float(number)]), number % 5) for number in range(COUNT))


class Halves(Numbers):
    """A stream of which each worker gives a part without a gap."""

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        worker = get_worker_info()
        whole = list(Every())
        yield from whole if worker is None else whole[worker.id * COUNT // 2 :][: COUNT // 2]


@pytest.mark.parametrize("kind", ["all", "all, sized", "halves"])
def test_places_that_tell_no_example_are_found_out(kind: str) -> None:
    """Where workers give all of a stream each, or other parts than a look at it gave, nothing is dropped by its place, and nothing relabelled."""
    class SizedEvery(Every):
        def __len__(self) -> int:
            return COUNT

    data = diorama.data({"all": Every(), "all, sized": SizedEvery(), "halves": Halves()}[kind])
    if kind == "halves":
        data.examples(COUNT)
        data.changes.set("label", np.array([3]), 0.0)
    with warnings.catch_warnings():  # a loader warns of a stream that gives more than its length says
        warnings.simplefilter("ignore" if kind == "all, sized" else "error")
        for _ in range(2):
            found = _loaded(data, num_workers=2)
    assert ("another order" if kind == "halves" else "each worker" if kind == "all" else "worker") in data.changes.unplaced
    if kind == "halves":
        assert [int(y) for batch in found[1::2] for y in batch] == [number % 5 for number in _asked(found)]


def test_a_stream_in_another_order_is_found_out() -> None:
    """Where the places of a stream say nothing, that is known; its own numbers say it again."""
    class Turned(Numbers):
        turned = False

        def __iter__(self) -> Iterator[tuple[Tensor, int]]:
            self.turned = not self.turned
            yield from (super().__iter__() if self.turned else reversed(list(super().__iter__())))

    data, numbered = diorama.data(Turned()), diorama.data(Turned(), number=lambda item: int(item[0]))
    numbered.changes.set("weight", np.array([3]), 0.0)
    for each in (data, numbered):
        _loaded(each)
    assert not data.changes.unplaced
    assert 3 not in _asked(_loaded(numbered))
    _loaded(data)
    assert "another order" in data.changes.unplaced


class Pair(NamedTuple):
    """An item with names."""

    x: int
    y: Any


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        ((0, 3), (0, 1)), ([0, 3.5], [0, 1.0]), (Pair(0, np.int16(3)), Pair(0, np.int16(1))), ({"image": 0, "label": 3}, {"image": 0, "label": 1}),
        ({"image": 0, "target": torch.tensor([3])}, {"image": 0, "target": torch.tensor([1])}),
        ((0, torch.tensor([0.0, 0.0, 1.0])), (0, torch.tensor([0.0, 1.0, 0.0]))),
    ],
)
def test_a_label_keeps_its_type(item: Any, wanted: Any) -> None:
    """Wherever the label lies in an item, the new one has its form, and the data set's own item stays."""
    before = pickle.dumps(item)
    data = diorama.data([item, item])
    data.changes.set("label", np.array([1]), 1.0)
    found = data[1]
    assert repr(found) == repr(wanted)
    assert type(found) is type(item)
    assert repr(data[0]) == repr(item)
    assert pickle.dumps(item) == before


def test_batches_by_lists_and_parts_are_steered() -> None:
    """A data set that takes lists of numbers, one that loads batches at once, and a part of a wrapped one are steered alike."""
    class Many(Rows):
        def __getitems__(self, indices: list[int]) -> list[Any]:
            return [self[index] for index in indices]

    x = torch.arange(COUNT).float()[:, None]
    lists = diorama.data(TensorDataset(x, torch.arange(COUNT) % 5))
    at_once, part = diorama.data(Many()), diorama.data(Rows())
    for data in (lists, at_once, part):
        data.changes.set("weight", np.array([6]), 0.0)
        data.changes.set("label", np.array([5, 8]), 4.0)
    loaders = [
        _loaded(lists, sampler=BatchSampler(range(COUNT), 8, drop_last=False), batch_size=None), _loaded(at_once),
        _loaded(Subset(part, range(5, 20))),
    ]
    for batches in loaders:
        numbers, labels = _asked(batches), torch.cat(batches[1::2]).tolist()
        assert 6 not in numbers
        assert labels[numbers.index(5)] == labels[numbers.index(8)] == 4
        assert labels[numbers.index(9)] == 4
        assert labels[numbers.index(11)] == 1
    assert not hasattr(part, "__getitems__")


def test_a_probe_set_knows_its_numbers() -> None:
    """Examples that are sampled keep their numbers through parts and files, and sampling leaves the random state as it was."""
    data = diorama.data(Rows())
    before = torch.get_rng_state()
    examples = data.examples(12, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert examples.numbers is not None
    assert examples.numbers.tolist() == examples.x[:, 0].int().tolist()  # type: ignore[index, union-attr, call-overload]
    part = examples.take([3, 5]).first(1)
    assert part.numbers is not None
    assert part.numbers.tolist() == [int(examples.numbers[3])]


SERIES, STATIC, STATE = torch.randn(20, 6, 3), torch.randn(20, 4), torch.arange(20) % 4


class Parts(Dataset[Any]):
    """Two inputs and their label, put together by a function."""

    def __init__(self, item: Any) -> None:
        self.item = item

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Any:
        return self.item(SERIES[index], STATIC[index], STATE[index])


@pytest.mark.parametrize(
    "data",
    [
        Parts(lambda a, b, y: ((a, b), y)), Parts(lambda a, b, y: ([a, b.numpy()], int(y))), Parts(lambda a, b, y: (a, b, y)),
        TensorDataset(SERIES, STATIC, STATE),
    ],
)
def test_inputs_in_tuples_and_lists_are_several_inputs(data: Any) -> None:
    """What a loader of the data set gives, in whatever way the two inputs and the label stand, is a probe set of two inputs, and is steered."""
    wrapped = diorama.data(data)
    examples = wrapped.examples(12, seed=1)
    assert isinstance(examples.x, tuple)
    assert examples.numbers is not None
    assert examples.y is not None
    for part, whole in zip((*examples.x, examples.y), (SERIES, STATIC, STATE), strict=True):
        torch.testing.assert_close(part, whole[examples.numbers])
    again = Examples.of(*(batch := next(iter(DataLoader(data, 8))))[:1], batch[1]) if isinstance(data[0][0], tuple | list) else None
    assert again is None or [tuple(part.shape) for part in again.x] == [(8, 6, 3), (8, 4)]
    wrapped.changes.set("label", np.array([3]), 1.0)
    assert next(iter(DataLoader(wrapped, 8)))[-1].tolist() == [0, 1, 2, 1, 0, 1, 2, 3]


def test_which_part_is_the_truth_is_said_or_told() -> None:
    """Of parts that may each be the truth none is taken for it; that is said, and ``label=`` tells it."""
    data = Parts(lambda a, b, y: (a, y, 7))
    examples = diorama.data(data).examples(8)
    assert examples.y is None
    assert any("label=" in each for each in examples.guessed)
    told = diorama.data(data, label=1).examples(8)
    assert told.numbers is not None
    assert torch.equal(told.y, STATE[told.numbers])  # type: ignore[arg-type]


def test_a_list_is_several_inputs_only_where_it_cannot_be_examples() -> None:
    """Tensors in a list are examples where there are as many labels as tensors, and inputs where each is as long as the labels."""
    pair = [torch.zeros(4, 3), torch.zeros(4, 3)]
    assert isinstance(Examples.of(pair, torch.arange(4)).x, tuple)
    assert len(Examples.of(pair, torch.arange(2))) == len(Examples.of(pair)) == 2


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_changes_are_written_and_read_again(tmp_path: Path, suffix: str) -> None:
    """A file of changes changes the same again; what is no such file is refused in one sentence."""
    data = diorama.data(Rows())
    collections.deque((data[k] for k in range(6)), 0)
    data.changes.set("weight", np.array([2, 30]), np.array([0.0, 2.5]))
    data.changes.set("label", np.array([5]), 3.0)
    path = tmp_path / f"changes{suffix}"
    data.save(path)
    again = diorama.data(Rows(), changes=path)
    for one, other in zip(data.changes.changed(), again.changes.changed(), strict=True):
        assert np.array_equal(one, other, equal_nan=True)
    assert changes_file.read_rows(path)[1] == {"example": 5, "weight": 1.0, "label": 3, "label before": 0, "probe": None, "since": None}
    with pytest.raises(UsageError, match="from 0 to 3"):
        diorama.data([(0, 0)] * 4, changes=path)
    for text in ("", "a,b\n1,2\n", '{"changes": [{"example": 1, "weight": NaN}]}', "[" * 99_999, "example,weight,label\n1,1,\n1,1,\n"):
        path.write_text(text)
        with pytest.raises(Damaged):
            changes_file.read_rows(path)
    with pytest.raises(UsageError, match="csv"):
        data.save(tmp_path / "changes.txt")
    with pytest.raises(Unavailable):
        diorama.data(Rows(), changes=tmp_path / f"none{suffix}")


def test_a_wrap_is_the_data_set_in_all_else(tmp_path: Path) -> None:
    """Attributes are the data set's own, wrong numbers raise what it raises, and the shared file goes with the last who holds it."""
    data = diorama.data(TensorDataset(torch.zeros(4, 2), torch.zeros(4)))
    assert data.tensors[0].shape == (4, 2)
    assert len(data) == 4
    with pytest.raises(IndexError):
        data[4]
    with pytest.raises(AttributeError):
        _ = data.nothing
    assert isinstance(pickle.loads(pickle.dumps(data)), SteeredSet)
    assert isinstance(data, SteeredBase)
    path = data.changes._path
    assert os.path.isfile(path)
    del data
    assert not os.path.exists(path)


@pytest.mark.parametrize(
    ("wrong", "knobs", "said"),
    [(3, {}, "got int"), (DataLoader(Rows()), {}, "not its loader"), ([], {}, "at least one"), ([(0, 1)], {"label": 1.5}, "label wants"),
     ([(0, 1)], {"number": int}, "numbers its own"), (Numbers(), {"number": 3}, "number wants")],
)
def test_what_cannot_be_wrapped_is_refused(wrong: Any, knobs: dict[str, Any], said: str) -> None:
    """Each with one sentence and the way out."""
    with pytest.raises(UsageError, match=said):
        diorama.data(wrong, **knobs)
