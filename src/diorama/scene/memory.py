"""What was computed for one moment of a model, in memory under one bound: what was used longest ago goes first."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

BOUND = 256_000_000
"""Bytes that a scene keeps of what it computed."""
_DEEP = 8


class Memory:
    """Anything by name. What is put there may be gone when it is asked for again, so it can always be made again."""

    def __init__(self, bound: int = BOUND) -> None:
        self.bound, self.size = bound, 0
        self.version: object = None
        """Of the weights from which all was computed."""
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._guard = threading.RLock()

    def forget(self, version: object) -> None:
        """Start anew, for weights of another version."""
        with self._guard:
            self.version, self.size = version, 0
            self._kept.clear()

    def get(self, name: str) -> Any:
        """What is kept under the name, or None."""
        with self._guard:
            if name not in self._kept:
                return None
            self._kept.move_to_end(name)
            return self._kept[name][0]

    def put(self, name: str, value: Any) -> None:
        """Keep something; what alone is beyond the bound is not kept."""
        size = weight(value)
        with self._guard:
            self.drop(name)
            if size > self.bound:
                return
            self._kept[name] = value, size
            self.size += size
            while self.size > self.bound:
                self.size -= self._kept.popitem(last=False)[1][1]

    def has(self, name: str) -> bool:
        """Whether something is kept under the name."""
        return name in self._kept

    def drop(self, name: str) -> None:
        """Let go of what is kept under the name."""
        with self._guard:
            if name in self._kept:
                self.size -= self._kept.pop(name)[1]

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What is kept under the name, made where it is not there."""
        with self._guard:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name][0]
        made = make()
        self.put(name, made)
        return made

    def part(self, name: str) -> Memory:
        """A part of it with names of its own, under the same bound: what is looked at otherwise, at the same weights."""
        return _Part(self, name)

    def __len__(self) -> int:
        return len(self._kept)


class _Part(Memory):
    """What begins with one word in a memory; its weights, its bound and its guard are the whole's."""

    def __init__(self, whole: Memory, name: str) -> None:
        super().__init__(whole.bound)
        self._whole, self._name = whole, name
        self.version = whole.version

    def forget(self, version: object) -> None:
        if self._whole.version != version:
            self._whole.forget(version)
        self.version = version

    def get(self, name: str) -> Any:
        return self._whole.get(f"{self._name}/{name}")

    def put(self, name: str, value: Any) -> None:
        self._whole.put(f"{self._name}/{name}", value)

    def has(self, name: str) -> bool:
        return self._whole.has(f"{self._name}/{name}")

    def drop(self, name: str) -> None:
        self._whole.drop(f"{self._name}/{name}")

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        return self._whole.once(f"{self._name}/{name}", make)


_SMALL = frozenset((int, float, bool, type(None)))


def weight(value: Any, deep: int = _DEEP) -> int:
    """About how many bytes something takes: its arrays and texts, as deep as they lie in lists, dicts and objects."""
    kind = type(value)
    if kind in _SMALL:
        return 64
    if kind is str:
        return len(value) + 64  # asked first, as there are many
    told = getattr(value, "nbytes", None)
    if isinstance(told, int):
        return told  # arrays, tensors, and objects that say it of what cannot be seen in them
    if isinstance(value, str | bytes):
        return sys.getsizeof(value)
    if deep == 0 or value is None or isinstance(value, bool | int | float | type | nn.Module):
        return 64
    if isinstance(value, Mapping):
        return 64 + sum(weight(name, deep - 1) + weight(each, deep - 1) for name, each in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return 64 + sum(weight(each, deep - 1) for each in value)
    inside = getattr(value, "__dict__", None)
    if inside is None and dataclasses.is_dataclass(value):
        inside = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return 64 + (weight(inside, deep - 1) if isinstance(inside, dict) else 0)
