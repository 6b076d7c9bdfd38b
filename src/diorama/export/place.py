"""A file appears whole or not at all: it is written beside its place and then renamed."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A name next to the path: it takes the path's place when the block ends well and goes away when it does not."""
    path = Path(path)
    draft = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def put(path: Path, data: bytes) -> None:
    """Write a whole file."""
    with beside(path) as draft:
        draft.write_bytes(data)
