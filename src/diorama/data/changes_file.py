"""Changes of a data set's examples as a file, .csv or .json, that people and programs read."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import Damaged, Unavailable, UsageError
from .changes import ChangedExamples, Changes, Values

NAME = "changes.csv"
"""The file of a run folder that lists what is changed."""
COLUMNS = ("example", "weight", "label", "label before", "probe", "since")
_LARGEST = 200_000_000


def rows_of(
    changed: ChangedExamples, seen: Values, partners: Sequence[int] = (), since: Mapping[int, int] | None = None
) -> list[dict[str, Any]]:
    """Each changed example: its number, its weight (0: dropped), its label where that is another now, the one that it had, of those
    that were ``seen``, which one of the probe set it is, whose ``partners`` are known, and ``since`` which step it has its label, or its weight
    where the label is its own."""
    probe = {number: k for k, number in reversed(list(enumerate(partners))) if number >= 0}
    numbers, weights, labels = (values.tolist() for values in changed)
    return [
        {
            "example": number, "weight": weight, "label": _plain(label), "label before": _plain(before), "probe": probe.get(number),
            "since": (since or {}).get(number),
        }
        for number, weight, label, before in zip(numbers, weights, labels, seen.tolist(), strict=True)
    ]


def relabelled(rows: Iterable[Mapping[str, Any]], first: int = 0) -> dict[int, int]:
    """The examples of the probe set that have another label than they came with, each with the step since which; 0: from the beginning.

    ``first`` is the step for those of which the rows do not tell, as those of a run that an earlier version wrote.
    """
    return {
        int(row["probe"]): first if row["since"] is None else int(row["since"]) for row in rows
        if row["probe"] is not None and row["label"] is not None and row["label"] != row["label before"]
    }


def write(path: str | Path, changes: Changes) -> None:
    """Write what is changed now; see :func:`write_rows`."""
    changed = changes.changed()
    write_rows(path, rows_of(changed, changes.seen[changed.numbers], changes.partners.tolist()))


def write_rows(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write changes of a data set, whole or not at all. *Raises* UsageError for another suffix."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    kind = _kind(path)
    try:
        with beside.open("w", newline="", encoding="utf-8") as file:
            if kind == ".json":
                json.dump({"changes": list(rows)}, file, indent=1)
            else:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(rows)
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise Unavailable(f"the changes cannot be written to {str(path)!r}: {error.strerror or error}") from error


def read(path: str | Path, changes: Changes) -> ChangedExamples:
    """The weights and labels that a file gives to examples of a data set; of a stream also to such as have not come yet, which are told by
    their numbers where they do. *Raises* Unavailable, Damaged, UsageError.
    """
    rows = read_rows(path)
    numbers = np.array([row["example"] for row in rows], np.int64)
    if len(numbers):
        changes.check(numbers, ahead=True)
    labels = [math.nan if row["label"] is None else float(row["label"]) for row in rows]
    found = ChangedExamples(numbers, np.array([row["weight"] for row in rows], float), np.array(labels, float))
    if len(numbers):
        left = changes.weights.copy()
        left[numbers] = found.weights
        try:
            changes.check_left(left)
        except UsageError as error:
            raise UsageError(f"a training wants at least one example, and {str(path)!r} drops all") from error
    return found


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a file of changes, checked. *Raises* Unavailable without it, Damaged where it holds something else."""
    path, kind = Path(path), _kind(Path(path))
    try:
        if path.stat().st_size > _LARGEST:
            raise Damaged(f"{str(path)!r} is too large to hold changes of a data set")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"no changes can be read from {str(path)!r}: {error.strerror or error}") from error
    except ValueError as error:
        raise Damaged(f"{str(path)!r} does not hold changes of a data set: it is no text") from error
    try:
        found: Any = json.loads(text)["changes"] if kind == ".json" else _table(text)
        rows = [_row(row) for row in found]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, csv.Error) as error:
        raise Damaged(
            f"{str(path)!r} does not hold changes of a data set, with {', '.join(COLUMNS[:3])} in each row: {error}"
        ) from error
    if len({row["example"] for row in rows}) != len(rows):
        raise Damaged(f"{str(path)!r} names an example twice")
    return rows


def _table(text: str) -> list[dict[str, Any]]:
    reader = csv.DictReader(text.splitlines())
    if not set(COLUMNS[:2]) <= set(reader.fieldnames or ()):
        raise ValueError("the first line names other columns")
    return list(reader)


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    number, weight = int(row["example"]), float(row["weight"])
    label, before, probe, since = (_number(row.get(name)) for name in COLUMNS[2:])
    if number < 0 or not math.isfinite(weight) or weight < 0 or weight > 1e6:
        raise ValueError(f"example {number} wants a number of at least 0 and a weight from 0 to 1,000,000, got {weight}")
    return {"example": number, "weight": weight, "label": label, "label before": before, "probe": probe, "since": since}


def _number(value: Any) -> float | int | None:
    if value is None or value == "":
        return None
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"a label wants a finite number, got {value!r}")
    return _plain(number)


def _plain(value: float) -> float | int | None:
    return None if math.isnan(value) else int(value) if value == int(value) else value


def _kind(path: Path) -> str:
    if path.suffix.lower() not in (".csv", ".json"):
        raise UsageError(f"changes are written as .csv or .json, got {path.name!r}")
    return path.suffix.lower()
