"""Parameters of networks that have very many of them are read in groups, by module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from .reduction import flattened

MOST = 1024
"""Tensors that are read one by one at most; each costs some fifty microseconds and a kilobyte a reading."""


class Groups:
    """Which parameters are read together.

    *Meaning* with more than :data:`MOST` parameters those of one module are taken as one row of numbers, named
    ``blocks.3.*``; where there are too many modules, those of one parent, and so on. A group's norm is that of all its
    numbers together.
    """

    def __init__(self, names: Iterable[str], most: int = MOST) -> None:
        names = list(names)
        self._groups: dict[str, list[str]] = {}
        if len(names) <= most:
            return
        depth = max(name.count(".") for name in names)
        while True:
            self._groups = _by_prefix(names, depth)
            if len(self._groups) <= most or not depth:
                break
            depth -= 1

    def __bool__(self) -> bool:
        return bool(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def joined(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The tensors themselves, or one new row of numbers a group; what a group lacks is left out."""
        if not self._groups:
            return tensors
        found = {}
        for group, names in self._groups.items():
            parts = [flattened(tensors[name]) for name in names if name in tensors]
            if parts:
                found[group] = torch.cat(parts)
        return found


def _by_prefix(names: list[str], depth: int) -> dict[str, list[str]]:
    """Names by their first ``depth`` parts; none of them stands for the parameter itself."""
    found: dict[str, list[str]] = {}
    for name in names:
        prefix = name.split(".")[:-1][:depth]
        found.setdefault(".".join([*prefix, "*"]), []).append(name)
    return found
