"""A table from a .csv file: numbers stay, words become one column a word, the last column or ``target`` is what is
predicted."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.errors import UsageError
from ..core.rounding import DOUBLE, deviations
from .examples import Examples
from .kinds import Table

_CLASSES = 20
"""Whole numbers with no more different values than this, each often enough, are classes."""
_WORDS = 32
"""A column of more different words than this is no category."""


def read_table(path: Path) -> Examples:
    """Examples from a .csv or .tsv file; columns are standardized, and shown in their own units."""
    names, rows = _rows(path)
    target = names.index("target") if "target" in names else len(names) - 1
    columns = [[row[k] for row in rows] for k in range(len(names))]
    wide: list[tuple[str, NDArray[np.float64]]] = []
    said: list[str] = [f"guessed: column {names[target]!r} is what is predicted."]
    for k, name in enumerate(names):
        if k != target:
            wide += _columns(name, columns[k], said)
    if not wide:
        raise UsageError(f"{path.name!r} wants at least one column of numbers besides {names[target]!r}")
    raw = np.stack([values for _, values in wide], 1)
    mean, std = raw.mean(0), deviations(raw, DOUBLE)
    std[std == 0] = 1.0
    y, classes = _target(columns[target])
    x = torch.from_numpy(((raw - mean) / std).astype(np.float32))
    kind = Table(columns=tuple(name for name, _ in wide), mean=tuple(mean.tolist()), std=tuple(std.tolist()))
    examples = Examples.of(x, y, classes, inputs=kind)
    return dataclasses.replace(examples, guessed=(*said, *examples.guessed))


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        sample = file.read(8192)
        file.seek(0)
        delimiter = max(",;\t", key=sample.split("\n", 1)[0].count)
        rows = [
            [cell.strip() for cell in row] for row in csv.reader(file, delimiter=delimiter) if any(map(str.strip, row))
        ]
    if len(rows) < 2 or len(rows[0]) < 2:
        raise UsageError(f"{path.name!r} wants at least two columns and two rows")
    headed = not any(_number(cell) is not None for cell in rows[0])
    names = rows.pop(0) if headed else [f"x{k + 1}" for k in range(len(rows[0]) - 1)] + ["target"]
    for number, row in enumerate(rows, 1 + headed):
        if len(row) != len(names):
            raise UsageError(f"row {number} of {path.name!r} has {len(row)} cells, the others {len(names)}")
    return names, rows


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


_MISSING = ("", "na", "nan", "null", "none", "?")


def _columns(name: str, cells: list[str], said: list[str]) -> list[tuple[str, NDArray[np.float64]]]:
    """One column of the file as columns of numbers; what was done besides is said."""
    missing = np.array([cell.lower() in _MISSING for cell in cells])
    numbers = [None if gone else _number(cell) for cell, gone in zip(cells, missing, strict=True)]
    if all(number is not None or gone for number, gone in zip(numbers, missing, strict=True)) and not missing.all():
        values = np.array([np.nan if number is None else number for number in numbers], np.float64)
        gaps = ~np.isfinite(values)
        if gaps.any():
            values[gaps] = np.median(values[~gaps]) if not gaps.all() else 0.0
            said.append(f"guessed: {int(gaps.sum())} missing values of {name!r} are its median.")
        return [(name, values)]
    words = sorted(set(cells))
    if len(words) > _WORDS:
        said.append(f"guessed: column {name!r} is left out, it has {len(words)} different texts.")
        return []
    return [(f"{name}={word}", np.array([cell == word for cell in cells], np.float64)) for word in words]


def _target(cells: list[str]) -> tuple[Any, tuple[str, ...] | None]:
    """Labels and class names: words are classes, few different whole numbers too, other numbers are values."""
    numbers = [_number(cell) for cell in cells]
    if any(number is None or not np.isfinite(number) for number in numbers):
        words = tuple(sorted(set(cells)))
        if len(words) > max(2, len(cells) // 2):
            raise UsageError(
                f"the column to predict wants numbers or a few class names, got {len(words)} different texts"
            )
        return torch.tensor([words.index(cell) for cell in cells]), words
    values = np.array(numbers, np.float64)
    different = np.unique(values)
    if (values == values.round()).all() and len(different) <= _CLASSES and len(values) >= 5 * len(different):
        return torch.from_numpy(np.searchsorted(different, values)), tuple(f"{value:g}" for value in different)
    return torch.from_numpy(values.astype(np.float32)), None
