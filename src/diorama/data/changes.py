"""What a person changed of the examples that a training draws: their weights and labels, in a file that all its processes
share, so that they reach workers which were started before."""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import Unavailable, UsageError

Numbers = NDArray[np.int64]
Values = NDArray[np.float64]
Counts = NDArray[np.uint32]

MATCHED = 512
"""Examples of a probe set that are looked for among those of the data."""
FIRST = 256
"""Examples of a stream, the first by number, whose contents are known, by which another order is found out."""
FORMS = ("unknown", "whole", "real", "one-hot", "none")
"""What the labels of the data look like; "none" where no number stands for them."""
_VERSION, _FORM, _CLASSES, _WORKERS, _UNPLACED, _WANTED, _HASHED, _FETCHED, _LOADED, _TOUCHED, _ROUND, _EMPTY, _ASKED = range(13)
_HEAD = 16
ANOTHER_ORDER, AGAIN, MORE = 1, 2, 3
UNPLACED = (
    "",
    "the stream came in another order than before, so its places tell no example",
    "each worker gives the same examples of the stream, so its places tell no example",
    "the workers together give more examples of the stream than its length says, so its places tell no example",
)
"""Why places of a stream tell no example."""

known: weakref.WeakSet[Changes] = weakref.WeakSet()
"""Those of wrapped data sets that are alive in this process: what commands may act on."""


class ChangedExamples(NamedTuple):
    """Examples with the weights and labels that they have."""

    numbers: Numbers
    weights: Values
    labels: Values
    """NaN: the example's own."""


class Changes:
    """Weights and labels of a data set's examples that a person changed while it is trained on.

    *Meaning* a weight is the odds of being drawn beside an unchanged example, which has 1; 0 drops it. Where a sampler asks for an
    example that is to come less often, another takes its place: one of those that a sampler asks for as well, so that what is held back
    from a training stays so, and as often as it asks for each, so that weights multiply what it does. Which one follows from the seed, the
    example that was asked for and how often it was. Nothing is drawn otherwise while nothing is weighed.
    """

    def __init__(self, count: int, *, seed: int = 0, growing: bool = False, shared: bool = True) -> None:
        if count < 1:
            raise UsageError("a data set that is steered wants at least one example, got none")
        self.count, self.seed, self.growing = count, seed, growing
        """How many examples can be steered; ``growing``: of a stream, of which only what came is known to be there."""
        self.late: Callable[[], Callable[[], int] | None] = lambda: None
        """Gives the function that tells how many batches were loaded ahead."""
        self._path = ""
        """The file that processes share; none where there is but one."""
        if shared:
            self._make()
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        # Workers that are started anew open the same file; where it is gone, nothing was changed.
        alone = {} if self._path else {"state": self.state_dict(), "seen": self.seen, "form": self.form}
        return {"count": self.count, "seed": self.seed, "growing": self.growing, "path": self._path, **alone}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.count, self.seed, self.growing, self._path = state["count"], state["seed"], state["growing"], state["path"]
        self.late = lambda: None
        if self._path and not os.path.isfile(self._path):
            self._make()
        self._open()
        if "state" in state:
            self.tell_all(state["seen"], state["form"])
            self.load_state_dict(state["state"])

    def _make(self) -> None:
        self._path = _made(self.count)
        weakref.finalize(self, _removed, self._path, os.getpid())

    def _open(self) -> None:
        if self._path:
            whole: Any = np.asarray(np.memmap(self._path, np.uint8, "r+"))
            parts, at = [], 0
            for kind, size in _layout(self.count):
                width = np.dtype(kind).itemsize * size
                parts.append(whole[at : at + width].view(kind))
                at += width
        else:
            parts = list(_blank(self.count))
        self._head, self.weights, self.labels, self.seen, self.visits, self.asked, self.wanted, self.partners, self.first, self.came = parts
        self._kept: tuple[int, _Odds | None] = (-1, None)
        self._basis: tuple[int, Counts | None] = (-1, None)
        """How often examples had been asked for when the odds were made: all together, and each."""
        self.part: Numbers | None = None
        """The examples that this process draws from, where that is known."""
        self._any: tuple[int, bool] = (-1, False)
        self._mean: tuple[Any, float] = (None, 1.0)

    # What is drawn.

    @property
    def version(self) -> int:
        """Raised with each change."""
        return int(self._head[_VERSION])

    @property
    def relabels(self) -> bool:
        """Whether any label is changed."""
        now = self.version
        if self._any[0] != now and not now % 2:
            self._any = now, bool((~np.isnan(self.labels)).any())
        return self._any[1]

    @property
    def weighs(self) -> bool:
        """Whether any example is drawn more or less often than it was."""
        return self._odds() is not None

    def ask(self, numbers: int | Numbers) -> None:
        """A sampler asks for examples, to learn from."""
        if isinstance(numbers, int):
            self.asked[numbers] += 1
        else:
            np.add.at(self.asked, numbers, 1)
        self._head[_ASKED] += np.size(numbers)

    def drawn(self, numbers: Numbers, places: Numbers | None = None) -> Numbers:
        """The examples that take the places of those that were asked for, (n,).

        ``places`` says which time it is, as a step of a training; left out, it is counted how often each was asked for.
        """
        odds = self._odds()
        if odds is None:
            return numbers
        if places is None:
            places = self.visits[numbers].astype(np.int64)
            self.visits[numbers] += 1
        luck = _luck(self.seed, numbers, places, 0)
        lost = luck >= odds.kept[numbers]
        if not lost.any():
            return numbers
        found = numbers.copy()
        found[lost] = odds.pick(_luck(self.seed, numbers[lost], places[lost], 1))
        return found

    def share(self, number: int, part: slice) -> float:
        """How often an example of a stream is to come, where it came once unchanged; ``part`` are those that one process gives."""
        if not 0 <= number < self.count:
            return 1.0
        known = part, self.version, bool(self._head[_ROUND]), self.fetched.bit_length()
        if self._mean[0] != known:
            mine = self.weights[part]
            # Until one comes again it is not known what there is; most are as they were then.
            there = mine if not self.growing else mine[self.came[part] > 0] if self._head[_ROUND] else np.ones(1)
            self._mean = known, float(there.mean()) if there.any() else 1.0
        return float(self.weights[number]) / self._mean[1]

    def luck(self, number: int, place: int) -> float:
        """A number from 0 up to 1 that follows from the seed, an example and its place."""
        return float(_luck(self.seed, np.array([number]), np.array([place]), 3)[0])

    def _odds(self) -> _Odds | None:
        now, asked = self.version, int(self._head[_ASKED])
        # Odd while it is being written: what held before holds a moment longer. What is asked for shows with time: it is looked at again when
        # twice as much was.
        if now % 2 or (self._kept[0] == now and (self._kept[1] is None or asked < 2 * self._basis[0])):
            return self._kept[1]
        found, counts = None, None
        if (self.weights != 1).any():
            counts = self.asked[: self.count].copy() if asked else None
            found = _Odds(self.weights, counts, self.part)
        if self.version == now:
            self._kept, self._basis = (now, found), (max(asked, 1), counts)
        return found

    # What is changed.

    def check(self, numbers: Sequence[int] | Numbers, *, ahead: bool = False) -> Numbers:
        """Numbers of examples, each once. *Raises* UsageError for one that is not there, of a stream also for one that has not come yet,
        unless it is spoken of ``ahead``.
        """
        chosen = np.array(list(dict.fromkeys(np.asarray(numbers, np.int64).tolist())), np.int64)
        if not len(chosen):
            raise UsageError("no example was named, so there is nothing to change")
        if chosen.min() < 0 or chosen.max() >= self.count:
            wrong = int(chosen.min() if chosen.min() < 0 else chosen.max())
            raise UsageError(f"examples want numbers from 0 to {self.count - 1:,} of the data set, got {wrong:,}")
        if self.growing and not ahead and not self.came[chosen].all():
            wrong = int(chosen[self.came[chosen] == 0][0])
            raise UsageError(f"example {wrong:,} of the stream has not come yet ({int(self.came.sum()):,} did so far), so it may not be there; "
                             "wait until the training has loaded it")
        return chosen

    def set(self, slot: str, numbers: Numbers, values: float | Values) -> Values:
        """Give examples a ``weight`` (0 drops them) or a ``label`` (NaN is their own); returns what they had.

        *Raises* UsageError where none would be left to draw.
        """
        held = self.weights if slot == "weight" else self.labels
        old: Values = held[numbers].copy()
        if slot == "weight":
            left = held.copy()
            left[numbers] = values
            self.check_left(left)
        with self._writing():
            held[numbers] = values
            self._head[_TOUCHED] = 1
        return old

    def check_left(self, weights: Values) -> None:
        """*Raises* UsageError where none would be left to draw with these weights."""
        there = weights[self.came > 0] if self.growing and self.came.any() else weights
        if not (there > 0).any():
            raise UsageError(f"a training wants at least one example, and of {len(there):,} none would be left")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        self._head[_VERSION] += 1
        try:
            yield
        finally:
            self._head[_VERSION] += 1

    def changed(self) -> ChangedExamples:
        """The examples that are changed now, in order."""
        numbers = np.flatnonzero((self.weights != 1) | ~np.isnan(self.labels))
        return ChangedExamples(numbers, self.weights[numbers], self.labels[numbers])

    def put(self, found: ChangedExamples) -> None:
        """Give examples weights and labels each."""
        if len(found.numbers):
            self.set("weight", found.numbers, found.weights)
            self.set("label", found.numbers, found.labels)

    def labelled(self, label: float) -> Numbers:
        """The examples whose label is this one now, as far as they were loaded."""
        return np.flatnonzero(np.where(np.isnan(self.labels), self.seen, self.labels) == label)

    # What is known of the data.

    @property
    def form(self) -> str:
        """What the labels look like, one of FORMS."""
        return FORMS[int(self._head[_FORM])]

    @property
    def classes(self) -> int:
        """How many classes the labels tell apart, as far as they were seen."""
        wide = int(self._head[_CLASSES])
        seen = self.seen[~np.isnan(self.seen)]
        return wide or (int(seen.max()) + 1 if len(seen) and self.form == "whole" else 0)

    def tell(self, number: int, label: float, form: str, classes: int = 0) -> None:
        """Remember the label of an example as it came, and what labels look like."""
        self._head[_LOADED] += 1
        if number < self.count:
            self.seen[number] = label
        known = FORMS[int(self._head[_FORM])]
        if known == "unknown" or (form == "none" and known == "one-hot"):  # of several labels, some examples have but one
            self._head[_CLASSES], self._head[_FORM] = classes, FORMS.index(form)

    def tell_all(self, labels: Values, form: str) -> None:
        """Remember all labels, where they are known from the beginning."""
        self.seen[: len(labels)] = labels
        self._head[_FORM] = FORMS.index(form)

    @property
    def passed_by(self) -> bool:
        """Whether nobody loaded any of it, where a loader is what loads it."""
        return bool(self._path) and not self.loaded

    @property
    def loaded(self) -> int:
        """About how many examples were loaded so far: it grows while a training draws from them."""
        return int(self._head[_LOADED])

    @property
    def workers(self) -> int:
        """How many processes load the data beside the training's own, as far as was seen."""
        return int(self._head[_WORKERS])

    @workers.setter
    def workers(self, count: int) -> None:
        self._head[_WORKERS] = count

    @property
    def unplaced(self) -> str:
        """Why places tell no example of a stream, as a sentence; empty where they do."""
        return UNPLACED[int(self._head[_UNPLACED])]

    def mark_unplaced(self, reason: int) -> None:
        """None of a stream's examples can be told by its place, for one of the reasons in UNPLACED."""
        self._head[_UNPLACED] = reason

    @property
    def empty(self) -> bool:
        """Whether some process gave none of a stream, as all that came to it were dropped."""
        return bool(self._head[_EMPTY])

    def tell_empty(self, empty: bool) -> None:
        """A process gave none of a stream in a pass, or some."""
        if empty != self.empty:
            self._head[_EMPTY] = empty

    @property
    def fetched(self) -> int:
        """About how many different examples of a stream came so far, of those that can be steered."""
        return int(self._head[_FETCHED])

    def come(self, number: int) -> None:
        """An example of a stream came."""
        if not self.came[number]:
            self.came[number] = 1
            self._head[_FETCHED] += 1
        elif not self._head[_ROUND]:
            self._head[_ROUND] = 1

    # The probe set's partners.

    def look_for(self, hashes: Sequence[int]) -> None:
        """Look for these examples, by hashes of their contents, among those that are loaded from now on."""
        count = min(len(hashes), MATCHED)
        with self._writing():
            self.wanted[:count] = np.array(hashes[:count], np.uint64)
            self.partners[:] = -1
            self._head[_WANTED], self._head[_HASHED] = count, 0

    @property
    def looks_for(self) -> NDArray[np.uint64]:
        """The hashes of what is looked for."""
        hashes: NDArray[np.uint64] = self.wanted[: int(self._head[_WANTED])]
        return hashes

    @property
    def looking(self) -> bool:
        """Whether it is still looked for them."""
        return bool(self._head[_WANTED]) and int(self._head[_HASHED]) <= 2 * self.count

    @property
    def looks(self) -> bool:
        """Whether it is still looked: all were loaded twice at most since then. Counts this look."""
        if not self.looking:
            return False
        self._head[_HASHED] += 1
        return True

    def match(self, example: int, number: int) -> None:
        """An example of the probe set is this one; of equal ones the first counts."""
        if number < self.count and not 0 <= self.partners[example] <= number:
            self.partners[example] = number

    # Keeping.

    @property
    def touched(self) -> bool:
        """Whether anything was ever changed."""
        return bool(self._head[_TOUCHED])

    def state_dict(self) -> dict[str, Any]:
        """All that decides what is drawn next."""
        now, visited = self.changed(), np.flatnonzero(self.visits)
        return {
            "count": self.count, "seed": self.seed, "numbers": now.numbers, "weights": now.weights, "labels": now.labels,
            "visited": visited, "visits": self.visits[visited].copy(),
            **({"asked": self.asked[: self.count].copy()} if self._head[_ASKED] else {}),
            **({"basis": self._basis[1].copy()} if self._basis[1] is not None else {}),
        }

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Stand where others stood; None: where nothing was changed. *Raises* UsageError for the state of another data set."""
        if state is not None and int(state["count"]) != self.count:
            raise UsageError(f"these are the changes of {state['count']:,} examples, and the data set has {self.count:,}")
        if state is None and not self.touched:
            return
        with self._writing():
            self.weights[:], self.labels[:], self.visits[:] = 1.0, np.nan, 0
            if state is not None:
                self.seed = int(state["seed"])
                self.weights[state["numbers"]], self.labels[state["numbers"]] = state["weights"], state["labels"]
                self.visits[state["visited"]] = state["visits"]
                if "asked" in state:
                    self.asked[: self.count] = state["asked"]
                    self._head[_ASKED] = int(self.asked.sum())
            self._head[_TOUCHED] = state is not None
        if state is not None and "basis" in state and (self.weights != 1).any():
            basis = np.asarray(state["basis"], np.uint32)
            self._kept, self._basis = (self.version, _Odds(self.weights, basis, self.part)), (max(1, int(basis.sum())), basis)


class _Odds:
    """How likely each example keeps its place, and which take the places that are free.

    *Meaning* each example comes with odds of its weight times how often samplers ask for it (``asked``; None: for all alike), and as few
    places change as can be: what weighs less than the mean of what is asked for gives some up, what weighs more gets them. One that was not
    asked for until now keeps its place, and takes none. ``part``: none but these take places.
    """

    def __init__(self, weights: Values, asked: Counts | None = None, part: Numbers | None = None) -> None:
        often = np.ones(len(weights))
        if part is not None:
            often[:] = 0.0
            often[part] = 1.0
        within = often if (often * weights).any() else np.ones(len(weights))
        if asked is not None and (within * asked * weights).any():
            often = within * asked
            if often.max() - often[often > 0].min() > 1:
                within = often
            else:  # for all alike, in the middle of a pass
                within = (often > 0).astype(np.float64)
        share = weights / float((within * weights).sum() / within.sum())
        self.kept = np.where((within == 0) & (weights > 0), 1.0, np.minimum(share, 1.0))
        free = within * (share - self.kept)
        self._sums = np.cumsum(free if free.any() else within * weights)

    def pick(self, luck: Values) -> Numbers:
        """Those that take free places."""
        whole = self._sums[-1]
        found: Numbers = np.searchsorted(self._sums, np.minimum(luck * whole, np.nextafter(whole, 0.0)), side="right")
        return found


def _luck(seed: int, numbers: Numbers, places: Numbers, lane: int) -> Values:
    """Numbers from 0 up to 1 that follow from seed, example and place (splitmix64, thrice)."""
    state = np.full(len(numbers), (seed * 4 + lane) & 0xFFFFFFFFFFFFFFFF, np.uint64)
    for part in (numbers, places, np.zeros(len(numbers), np.int64)):
        state = state ^ part.astype(np.uint64)
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return np.asarray((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _layout(count: int) -> list[tuple[Any, int]]:
    even = count + count % 2  # so that what follows stays aligned
    return [
        (np.int64, _HEAD), (np.float64, count), (np.float64, count), (np.float64, count), (np.uint32, even), (np.uint32, even),
        (np.uint64, MATCHED), (np.int64, MATCHED), (np.uint64, FIRST), (np.uint8, count),
    ]


def _blank(count: int) -> Iterator[NDArray[Any]]:
    """Arrays in which nothing is changed and nothing known."""
    filled = (0, 1.0, np.nan, np.nan, 0, 0, 0, -1, 0, 0)
    for (kind, size), value in zip(_layout(count), filled, strict=True):
        yield np.full(size, value, kind)


def _made(count: int) -> str:
    """A file in which nothing is changed; written whole, so that room for it is there."""
    path = ""
    try:
        handle, path = tempfile.mkstemp(".changes", "diorama-")
        with os.fdopen(handle, "wb") as file:
            for part in _blank(count):
                part.tofile(file)
    except OSError as error:
        _removed(path, os.getpid())
        raise Unavailable(
            f"what is changed of the data wants a small file that all its processes share, and none can be written to "
            f"{tempfile.gettempdir()!r} ({error.strerror or error}); set TMPDIR to a folder with room"
        ) from error
    return path


def _removed(path: str, process: int) -> None:
    if os.getpid() == process:
        with contextlib.suppress(OSError):
            os.remove(path)
