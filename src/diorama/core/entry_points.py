"""What installed packages offer as plug-ins: their entry points, looked for once for all kinds."""

from __future__ import annotations

import functools
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

_GROUP = "diorama."


def offered(kind: str) -> tuple[EntryPoint, ...]:
    """The entry points of one kind, in the order in which packages are found.

    *Cost* some milliseconds the first time, for all kinds together, and again where the path or a folder on it has changed.
    """
    return _offered(tuple(map(_state, sys.path))).get(_GROUP + kind, ())


def _state(folder: str) -> tuple[str, int]:
    try:
        return folder, os.stat(folder or ".").st_mtime_ns
    except OSError:
        return folder, 0


@functools.lru_cache(maxsize=1)
def _offered(path: tuple[tuple[str, int], ...]) -> dict[str, tuple[EntryPoint, ...]]:
    # Of the time that `import diorama` takes it would be a third. Nearly all packages offer nothing here: the words of the few that may are
    # read whole, while `importlib.metadata.entry_points` reads those of all, for each kind anew.
    from importlib.metadata import distributions

    offering = [one for one in distributions() if _GROUP in (one.read_text("entry_points.txt") or "")]
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for package in _seen(offering):
        for point in package.entry_points:
            if point.group.startswith(_GROUP):
                found[point.group] = (*found.get(point.group, ()), point)
    return found


def _seen(packages: list[Distribution]) -> list[Distribution]:
    """Of packages that stand in several places the one that is imported, which may offer nothing."""
    from importlib.metadata import distribution

    names = dict.fromkeys(one.metadata["Name"] for one in packages)
    return [*(distribution(name) for name in names if name), *(one for one in packages if not one.metadata["Name"])]
