"""Which runs there are: the served folders, looked through again and again, so that new runs appear by themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..record.lineage import kin

_DEPTH = 3
_MOST = 2000


def is_run(path: str | Path) -> bool:
    """Whether a folder is one run, sound or not."""
    return os.path.lexists(os.path.join(path, "run.db"))


def find_runs(roots: Sequence[Path]) -> dict[str, Path]:
    """All runs at or below the roots, by name: a root's own name, or the way from a root to the run.

    With a root that is a run come those beside it that go on from one another with it.
    Names are text that a page can be told, whatever bytes the folders' names are.
    """
    found: dict[str, Path] = {}
    for root in roots:
        for path in _below(root, _DEPTH):
            name = _text(path.relative_to(root).as_posix() if path != root else root.name)
            while name in found and found[name] != path:
                longer = f"{_text(path.parent.name)}/{name}"
                name = longer if longer not in found else f"{name}'"
            found[name] = path
            if len(found) >= _MOST:
                return found
    for root in roots:
        for path in kin(root) if is_run(root) else ():
            if path not in found.values() and path.name not in found:
                found[_text(path.name)] = path
    return found


def _text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """The runs in a folder; of folders that this user may not look into those that stand beside runs, as each may be one."""
    if is_run(folder):
        yield folder
        return
    if depth == 0:
        return
    try:
        names = sorted(e.name for e in os.scandir(folder) if not e.name.startswith(".") and e.is_dir())
    except OSError:
        return
    found, shut = False, [folder / name for name in names if not os.access(folder / name, os.X_OK)]
    for name in names:
        for path in _below(folder / name, depth - 1):
            found = True
            yield path
    if found:
        yield from shut
