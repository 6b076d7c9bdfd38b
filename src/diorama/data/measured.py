"""Measured numbers: rows of a table, series over time, sounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import UsageError
from .kind import Kind, unfit
from .nesting import real


@dataclasses.dataclass(frozen=True)
class Table(Kind):
    """Rows of numbers; ``columns`` names them; ``mean`` and ``std`` undo a standardization, so that columns are shown in their own units."""

    word: ClassVar[str] = "table"
    columns: Sequence[str] = ()
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    shape: tuple[int, ...] | None = None
    dtype: str = "float32"

    def decode(self, batch: Tensor) -> NDArray[np.float64]:
        """Rows (n, columns) in the columns' own units."""
        rows = real(batch, torch.float64).numpy().reshape(len(batch), -1)
        return rows * _filled(self.std, 1.0) + _filled(self.mean, 0.0)

    def encode(self, raw: Any) -> Tensor:
        """A row of numbers in the columns' own units as a batch of one."""
        values = raw.get("values") if isinstance(raw, Mapping) and raw.get("kind") == "row" else raw
        try:
            row = np.asarray(values, np.float64).reshape(1, -1)
        except (TypeError, ValueError):
            wrong = unfit(raw, "a table", "a row of numbers") if values is raw else UsageError("a row wants numbers, and nothing else")
            raise wrong from None
        wanted = len(self.columns) or (int(np.prod(self.shape)) if self.shape is not None else row.shape[1])
        if row.shape[1] != wanted:
            raise UsageError(f"a row wants {wanted} numbers ({', '.join(self.columns[:6])} …), got {row.shape[1]}")
        row = (row - _filled(self.mean, 0.0)) / _filled(self.std, 1.0)
        batch = torch.from_numpy(row).to(getattr(torch, self.dtype))
        return batch.reshape(1, *self.shape) if self.shape is not None else batch

    def fitted(self, x: Tensor) -> Table:
        """The columns are named by number when they have no names."""
        wide = int(np.prod(x.shape[1:], dtype=np.int64))
        if self.columns and len(self.columns) != wide:
            raise UsageError(f"the table has {wide} columns, but {len(self.columns)} names were given")
        columns = tuple(map(str, self.columns)) or tuple(f"x{k + 1}" for k in range(wide))
        dtype = str(x.dtype).removeprefix("torch.")
        return dataclasses.replace(self, columns=columns, shape=tuple(x.shape[1:]), dtype=dtype)

    def describe(self) -> dict[str, Any]:
        """The columns."""
        return {**super().describe(), "columns": list(self.columns)}


@dataclasses.dataclass(frozen=True)
class Series(Kind):
    """Measurements over time (n, channels, moments), or with the ``layout`` "NTC" (n, moments, channels), which a model's layers mostly
    tell; ``rate`` is the number of moments a second."""

    word: ClassVar[str] = "series"
    rate: float | None = None
    channels: int | None = None
    length: int | None = None
    dimensions: int = 3
    layout: str | None = None

    @property
    def turned(self) -> bool:
        """Whether channels stand last."""
        return self.layout == "NTC" and self.dimensions == 3

    def __post_init__(self) -> None:
        if self.layout not in (None, "NCT", "NTC"):
            raise UsageError(f"a {self.word} has the layout NCT (channels, then moments) or NTC, got {self.layout!r}")

    def decode(self, batch: Tensor) -> NDArray[np.float32]:
        """Series (n, channels, moments)."""
        array = real(batch, torch.float32).numpy()
        array = array.swapaxes(1, 2) if self.turned and array.ndim == 3 else array
        return array[:, None] if array.ndim == 2 else array.reshape(len(array), array.shape[1], -1)

    def encode(self, raw: Any) -> Tensor:
        """An array (moments) or (channels, moments) as a batch of one."""
        values = raw.get("values") if isinstance(raw, Mapping) else raw
        try:
            array = np.atleast_2d(np.asarray(values, np.float32))
        except (TypeError, ValueError):
            raise unfit(raw, f"a {self.word}", "an array of numbers over time") from None
        if array.ndim != 2 or (self.channels is not None and len(array) != self.channels):
            raise UsageError(f"a {self.word} wants an array of shape ({self.channels}, moments), got {array.shape}")
        batch = torch.from_numpy(array)[None]
        return batch[:, 0] if self.dimensions == 2 else batch.transpose(1, 2).contiguous() if self.turned else batch

    def fitted(self, x: Tensor) -> Series:
        """Channels and length."""
        last = self.layout == "NTC" and x.ndim == 3
        channels = int(x.shape[2 if last else 1]) if x.ndim == 3 else 1
        return dataclasses.replace(self, channels=channels, length=int(x.shape[1 if last else -1]), dimensions=x.ndim)

    def describe(self) -> dict[str, Any]:
        """Channels, length and rate."""
        return {**super().describe(), "channels": self.channels, "length": self.length, "rate": self.rate}


@dataclasses.dataclass(frozen=True)
class Sound(Series):
    """Waveforms (n, samples) or (n, channels, samples); ``rate`` is the number of samples a second."""

    word: ClassVar[str] = "sound"

    def valid_range(self) -> tuple[float, float]:
        """From −1 to 1, full scale."""
        return -1.0, 1.0


def _filled(value: float | Sequence[float] | None, fallback: float) -> NDArray[np.float64]:
    return np.asarray(fallback if value is None else value, np.float64)
