"""A data set whose examples can be dropped, relabelled and weighed while a training draws them."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import random
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, default_collate, get_worker_info

from ..core.errors import UsageError
from .changes import AGAIN, ANOTHER_ORDER, FIRST, MORE, Changes, Numbers, known
from .equal_examples import content_hash
from .examples import Examples
from .labels import Label, form_of, like

STREAM = 1 << 18
"""Examples of a stream of unknown length that can be steered: the first."""
_RECENT = 64
"""Examples of a stream that are kept, to take the place of one that is dropped."""
_ALIKE = 4
"""Where the first so many of two workers are the same, each gives the whole stream."""

_ALL_INPUTS = "guessed: all parts of an item are inputs; diorama.data(dataset, label=2) says which of them is the truth."


def wrapped(
    dataset: Any, label: str | int | None = None, number: Callable[[Any], int] | None = None, changes: str | Path | None = None,
    seed: int = 0,
) -> SteeredBase:
    """What ``diorama.data`` returns; the package's docstring tells about it."""
    if isinstance(dataset, SteeredBase):
        raise UsageError("this data set is wrapped already; pass it as it is")
    if isinstance(dataset, DataLoader):
        raise UsageError("data wants the data set, not its loader: DataLoader(diorama.data(dataset), …)")
    if number is not None and not callable(number):
        raise UsageError(f"number wants a function from an item to its number, got {number!r}")
    if isinstance(dataset, IterableDataset):
        made: SteeredBase = (SizedStream if hasattr(dataset, "__len__") else SteeredStream)(dataset, label, number, seed)
    elif hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        if number is not None:
            raise UsageError("number tells the examples of a stream; this data set numbers its own")
        made = SteeredSet(dataset, label, seed)
    else:
        raise UsageError(
            f"data wants a data set with __getitem__ and __len__, or an IterableDataset, got {type(dataset).__name__}"
        )
    if changes is not None:
        made.load(changes)
    return made


def _parts(inputs: Any) -> list[Any]:
    """The inputs of an item that has several, each alone: one of them may be all that the network reads, and the others its number or a name."""
    several = list(inputs.values()) if isinstance(inputs, dict) else list(inputs) if isinstance(inputs, tuple | list) else []
    return [each for each in several if isinstance(each, Tensor | np.ndarray) and math.prod(each.shape) > 1]


class SteeredBase:
    """A data set with what was changed of its examples (``changes``), which workers share; everything else is the data set's own."""

    def __init__(self, dataset: Any, label: str | int | None, changes: Changes) -> None:
        self.dataset, self._label, self.changes = dataset, Label(label), changes
        self._sought: tuple[int, dict[int, list[int]]] = (-1, {})
        changes.late = weakref.WeakMethod(self.late)
        known.add(changes)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("dataset", "changes", "_label"):
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __repr__(self) -> str:
        changed = self.changes.changed()
        return f"<{type(self.dataset).__name__} whose examples can be steered: {len(changed.numbers):,} changed>"

    def examples(self, count: int = 512, *, seed: int = 0, classes: Any = None, inputs: Any = None) -> Examples:
        """Some examples, by chance, as a probe set that knows their numbers: ``diorama.watch(…, probe=…)``.

        Inputs in a tuple or list are several inputs, as of ``TensorDataset(series, static, y)``. Of a stream the first. What they are drawn
        from, and the random state, stay as they were.
        """
        with unmoved():
            numbers, items = zip(*self._sampled(count, seed), strict=True)
            parts = [self._label.inputs(item) for item in items]
            labels = [form_of(self._label.of(item)) for item in items]
            whole = [self._label.of(item) for item in items]
            try:
                x = default_collate(parts)
                x = tuple(x) if isinstance(x, list) else x  # which torch makes of a tuple
                y = None if whole[0] is None else default_collate(whole)
            except (RuntimeError, TypeError, ValueError) as error:
                raise UsageError(
                    f"examples of this data set cannot be put into one batch ({' '.join(str(error).split())[:160]}); pass "
                    "probe=(x, y) as the model takes it"
                ) from error
        if y is not None and labels[0][0] == "one-hot":
            y = torch.tensor([int(number) for _, number, _ in labels])
        found = Examples.of(x, y, classes, inputs)
        told = (*found.guessed, _ALL_INPUTS) if y is None and isinstance(items[0], tuple | list) and len(items[0]) > 1 else found.guessed
        return dataclasses.replace(found, numbers=torch.tensor(numbers), guessed=told)

    def save(self, path: str | Path) -> None:
        """Write what is changed into a file, .csv or .json, which ``diorama.data(dataset, changes=path)`` reads."""
        from .changes_file import write

        write(path, self.changes)

    def load(self, path: str | Path) -> None:
        """Change what a file says; what is changed already stays unless the file says otherwise."""
        from .changes_file import read

        self.changes.put(read(path, self.changes))

    def state_dict(self) -> dict[str, Any]:
        """What is changed, and all that decides what is drawn next."""
        return self.changes.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand where another stood."""
        self.changes.load_state_dict(state)

    def late(self) -> int:
        """How many batches may come as they were, since workers load ahead; −1 where that is not known."""
        workers = self.changes.workers
        if not workers:
            return 0
        ahead = []
        for holder in gc.get_referrers(self):
            held = holder if isinstance(holder, dict) else getattr(holder, "__dict__", {})
            if held.get("dataset") is self and "prefetch_factor" in held:
                ahead.append(int(held.get("num_workers") or 0) * int(held.get("prefetch_factor") or 0))
        return max(ahead, default=-1)

    def _told(self, number: int, item: Any) -> Any:
        """An item on its way: its label is remembered, and changed where a person changed it."""
        form, value, classes = form_of(self._label.of(item))
        self.changes.tell(number, value, form, classes)
        self._matched(number, item)
        return self._named(number, item)

    def _named(self, number: int, item: Any) -> Any:
        changes = self.changes
        if changes.relabels and number < changes.count and not math.isnan(new := float(changes.labels[number])):
            return self._label.changed(item, new)
        return item

    def _matched(self, number: int, item: Any) -> None:
        """Look whether the item is one of the probe set's."""
        if sought := self._seeks():
            inputs = self._label.inputs(item)
            for part in (inputs, *_parts(inputs)):
                for k in sought.get(content_hash(part), ()):
                    self.changes.match(k, number)

    def _seeks(self) -> dict[int, list[int]]:
        """Which examples of the probe set are looked for, by the hashes of their contents."""
        changes = self.changes
        if not changes.looks:
            return {}
        if self._sought[0] != (version := changes.version):
            sought: dict[int, list[int]] = {}
            for k, value in enumerate(changes.looks_for.tolist()):
                sought.setdefault(value, []).append(k)
            self._sought = version, sought
        return self._sought[1]


class SteeredSet(SteeredBase, Dataset[Any]):
    """A data set that gives an example by its number."""

    def __init__(self, dataset: Any, label: str | int | None = None, seed: int = 0) -> None:
        super().__init__(dataset, label, Changes(len(dataset), seed=seed))

    def __getattr__(self, name: str) -> Any:
        if name == "__getitems__":  # only where the data set loads a batch at once
            if hasattr(self.dataset, name):
                return self._many
            raise AttributeError(name)
        return super().__getattr__(name)

    def __len__(self) -> int:
        return len(self.dataset)

    def _sampled(self, count: int, seed: int) -> Iterator[tuple[int, Any]]:
        for number in sorted(np.random.default_rng([seed, 2]).permutation(len(self))[:count].tolist()):
            yield number, self.dataset[number]

    def __getitem__(self, index: Any) -> Any:
        number = self._number(index)
        if number is None:
            return self._batch(index) if _several(index) is not None else self.dataset[index]
        changes = self.changes
        _look_at_workers(changes)
        self._ask(number)
        if changes.weighs:
            drawn = int(changes.drawn(np.array([number]))[0])
            if drawn != number:
                index = number = drawn
        return self._told(number, self.dataset[index])

    def _many(self, indices: list[Any]) -> list[Any]:
        numbers = [self._number(index) for index in indices]
        if None in numbers:
            return list(self.dataset.__getitems__(indices))
        _look_at_workers(self.changes)
        wanted = np.array(numbers, np.int64)
        self._ask(wanted)
        drawn = self.changes.drawn(wanted) if self.changes.weighs else wanted
        asked = [index if number == new else int(new) for index, number, new in zip(indices, numbers, drawn, strict=True)]
        items = self.dataset.__getitems__(asked)
        return [self._told(int(number), item) for number, item in zip(drawn, items, strict=True)]

    def _batch(self, indices: Any) -> Any:
        """Several at once, as a sampler of batches asks for them of a data set that takes lists."""
        numbers = np.asarray(_several(indices), np.int64) % max(1, len(self))
        changes = self.changes
        _look_at_workers(changes)
        self._ask(numbers)
        drawn = changes.drawn(numbers) if changes.weighs else numbers
        if (drawn != numbers).any():
            indices = torch.from_numpy(drawn) if isinstance(indices, Tensor) else drawn if isinstance(indices, np.ndarray) else drawn.tolist()
        batch = self.dataset[indices]
        labels = self._label.of(batch, many=True)
        if not isinstance(labels, Tensor | np.ndarray) or len(labels) != len(drawn):
            return batch
        values = labels if isinstance(labels, Tensor) else torch.from_numpy(labels)
        inputs = self._label.inputs(batch, many=True) if self._seeks() else None
        for k, (number, value) in enumerate(zip(drawn.tolist(), values, strict=True)):
            form, label, classes = form_of(value)
            changes.tell(number, label, form, classes)
            if inputs is not None:
                self._matched(number, (_row(inputs, k), value))
        if changes.relabels and not np.isnan(changes.labels[drawn]).all():
            new = changes.labels[drawn].tolist()
            rows = [value if math.isnan(label) else like(value, label) for value, label in zip(values, new, strict=True)]
            stacked = torch.stack(rows)
            return self._label.replaced(batch, stacked if isinstance(labels, Tensor) else stacked.numpy(), many=True)
        return batch

    def _ask(self, numbers: int | Numbers) -> None:
        """A training asks for these; what is asked for in this process without gradients is not learnt from."""
        worker = get_worker_info()
        if worker is not None and self.changes.part is None:
            self.changes.part = _part(worker.dataset, self)
        if worker is not None or torch.is_grad_enabled():
            self.changes.ask(numbers)

    def _number(self, index: Any) -> int | None:
        """The number of the one example that an index names; None where it names several, or is a name."""
        one = isinstance(index, Tensor) and not index.ndim and not index.is_floating_point()
        if isinstance(index, bool) or not (one or isinstance(index, int | np.integer)):
            return None
        number, count = int(index), self.changes.count
        number += count if number < 0 else 0
        return number if 0 <= number < count else None


class SteeredStream(SteeredBase, IterableDataset[Any]):
    """A data set that gives its examples in an order of its own.

    An example's number is its place: with several workers, each of which gives a part, they are counted in turn. Each process steers what it
    gives itself, and gives as many as came: an example that weighs as much as the mean of them or more comes, one that weighs less gives some of
    its places up, in which those that weigh more come again, and at the end of a pass any of the last that were kept. Where all that a process
    gives are dropped it gives none.
    """

    def __init__(self, dataset: Any, label: str | int | None = None, number: Callable[[Any], int] | None = None, seed: int = 0) -> None:
        sized = hasattr(dataset, "__len__")
        long = min(max(1, len(dataset)), STREAM) if sized else STREAM
        super().__init__(dataset, label, Changes(long, seed=seed, growing=not sized or number is not None))
        self._number = number

    def _sampled(self, count: int, seed: int) -> Iterator[tuple[int, Any]]:  # noqa: ARG002 - a stream has no choice
        for place, item in enumerate(islice(iter(self.dataset), count)):
            if self._number is None and place < self.changes.count:
                self._watch_order(place, item, place, 1, 0)
            yield place if self._number is None else self._number(item), item

    def __iter__(self) -> Iterator[Any]:
        changes, worker = self.changes, get_worker_info()
        _look_at_workers(changes)
        stride, first = (worker.num_workers, worker.id) if worker is not None else (1, 0)
        pass_ = _StreamPass(changes, slice(None) if self._number is not None else slice(first, None, stride))
        for place, item in enumerate(iter(self.dataset)):
            number = self._number(item) if self._number is not None else place * stride + first
            if 0 <= number < changes.count:
                if self._number is None:
                    self._watch_order(number, item, place, stride, first)
                item = self._told(number, item)
                changes.come(number)
            elif self._number is None and stride > 1 and number < STREAM and not changes.unplaced:
                changes.mark_unplaced(MORE)
            yield from pass_.gives(number, item)
        yield from pass_.rest()
        if changes.weighs or changes.empty:
            changes.tell_empty(pass_.empty)

    def _named(self, number: int, item: Any) -> Any:
        return item if self.changes.unplaced and self._number is None else super()._named(number, item)

    def _watch_order(self, number: int, item: Any, place: int, stride: int, first: int) -> None:
        """A stream that comes in another order than before, or of which each worker gives all, has no places by which its examples could be told."""
        changes = self.changes
        if changes.unplaced:
            return
        _, label, _ = form_of(self._label.of(item))
        before = float(changes.seen[number])
        changes.seen[number] = label
        if not math.isnan(before) and not math.isnan(label) and before != label:
            changes.mark_unplaced(ANOTHER_ORDER)
        if number >= FIRST:
            return
        mine, known = content_hash(self._label.inputs(item)), int(changes.first[number])
        changes.first[number] = mine
        if math.isnan(label) and mine and known and mine != known:
            changes.mark_unplaced(ANOTHER_ORDER)
        if stride > 1 and place == _ALIKE - 1:
            every = changes.first[: _ALIKE * stride].reshape(_ALIKE, -1)
            if len(set(every[:, first].tolist()) - {0}) > 1 and ((every == every[:, [first]]).all(0).sum() > 1):
                changes.mark_unplaced(AGAIN)


class _StreamPass:
    """One pass of one process through a stream: who keeps a place, and who comes again in one that is free."""

    def __init__(self, changes: Changes, part: slice) -> None:
        self._changes, self._part = changes, part
        self._recent: deque[tuple[int, Any]] = deque(maxlen=_RECENT)
        self._again: deque[tuple[int, Any]] = deque(maxlen=_RECENT)
        """Those that come again as soon as a place is free."""
        self._free = 0
        self._kept, self._more = -1.0, 0.0
        """Shares of places that were kept, and of copies, since the last whole one of each: so that both come out even."""

    def gives(self, number: int, item: Any) -> Iterator[Any]:
        """What is given where an example came: mostly itself."""
        changes = self._changes
        share = changes.share(number, self._part) if changes.weighs and not changes.unplaced else 1.0
        if self._kept < 0:  # where the first whole one lies follows from the seed and from how often the first example came
            self._kept = changes.luck(number, self._visit(number))
            self._more = 1.0 - self._kept
        if share > 0:
            self._recent.append((number, item))
        self._kept += min(share, 1.0)
        if self._kept >= 1.0:
            self._kept -= 1.0
            yield item
        else:
            self._free += 1
        self._more += max(share - 1.0, 0.0)
        while self._more >= 1.0:
            self._more -= 1.0
            self._again.append((number, item))
        while self._free and self._again:
            once = self._again.popleft()
            if self._weighs(once[0]):
                self._free -= 1
                yield once[1]

    def rest(self) -> Iterator[Any]:
        """What is given at the end, in places that are still free."""
        kept = [each for each in self._recent if self._weighs(each[0])]
        for place in range(self._free if kept else 0):
            number, item = kept[int(self._changes.luck(kept[0][0], place) * len(kept))]
            yield item

    @property
    def empty(self) -> bool:
        """Whether none was given, as all that came were dropped."""
        return self._free > 0 and not self._recent

    def _weighs(self, number: int) -> bool:
        return not 0 <= number < self._changes.count or self._changes.weights[number] > 0

    def _visit(self, number: int) -> int:
        """How often a pass began with an example while anything was weighed."""
        changes = self._changes
        if not 0 <= number < changes.count or not changes.weighs:
            return 0
        changes.visits[number] += 1
        return int(changes.visits[number])


class SizedStream(SteeredStream):
    """A stream that knows how long it is."""

    def __len__(self) -> int:
        return len(self.dataset)


@contextlib.contextmanager
def unmoved() -> Iterator[None]:
    """What is drawn inside leaves the process's random numbers as they were."""
    mine, python, array = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch.set_rng_state(mine)
        random.setstate(python)
        np.random.set_state(array)


def _several(index: Any) -> Any:
    """The numbers that an index names where it is a list of them; None for anything else."""
    if isinstance(index, Tensor | np.ndarray):
        whole = not index.is_floating_point() if isinstance(index, Tensor) else index.dtype.kind in "iu"
        return index if index.ndim == 1 and whole and (not isinstance(index, Tensor) or index.dtype != torch.bool) else None
    if isinstance(index, list | tuple) and index and all(isinstance(k, int | np.integer) and not isinstance(k, bool) for k in index):
        return index
    return None


def _row(batch: Any, k: int) -> Any:
    """One example of a batch of inputs."""
    if isinstance(batch, dict):
        return {name: _row(part, k) for name, part in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(_row(part, k) for part in batch)
    return batch[k]


def _part(dataset: Any, steered: SteeredBase) -> Numbers | None:
    """The examples of a data set that a worker draws from, where it does so through subsets of it; None where that is not known."""
    if dataset is steered:
        return np.arange(steered.changes.count, dtype=np.int64)
    outer = _part(dataset.dataset, steered) if isinstance(dataset, Subset) else None
    return None if outer is None else outer[np.asarray(dataset.indices, np.int64)]


def _look_at_workers(changes: Changes) -> None:
    worker = get_worker_info()
    if worker is not None and changes.workers < worker.num_workers:
        changes.workers = worker.num_workers
