"""What becomes of what a view yields: work that nobody waits for stops, and drafts are made when the next picture is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from types import NoneType
from typing import TYPE_CHECKING, Any

from ..core.blame import blamed, charged, given, sound, yielded
from ..core.picture import Draft, Picture, Progress
from ..core.selection import Selection

if TYPE_CHECKING:
    from .scene import Scene

PACE = 0.15
"""Seconds between a picture and the next draft, at least: the eye follows no faster."""
SOON = 0.2
"""So much of the pace until the first draft, while nothing is seen yet; what is whole by then comes without one."""
SHARE = 9.0
"""Work goes on for so many times as long as a draft took to make: drafts take a tenth of the time at most."""

_END = object()


def streamed(
    scene: Scene, view: Any, selection: Selection, progress: Callable[[Progress], None] | None, *, drafts: bool = True
) -> Generator[Picture]:
    """The pictures of a view; closing the iterator stops the work, and so does the scene's ``cancel`` between two items."""
    made = yielded(view, lambda: view.pictures(scene, selection), Picture, Draft, Progress, some=False)
    due = time.monotonic() + SOON * PACE
    try:
        while True:
            with blamed():
                if scene.cancel is not None:
                    scene.cancel()
                item: Any = next(made, _END)
                if isinstance(item, Draft):
                    draft, item, began = item, None, time.monotonic()
                    if drafts and began >= due:
                        with charged(view):
                            item = given(view, draft.make(), Picture, NoneType)
                        due = began + (1 + SHARE) * (time.monotonic() - began)
            if item is _END:
                return
            if isinstance(item, Progress):
                if progress is not None:
                    progress(sound(view, item))
            elif item is not None:
                yield sound(view, item)
                due = max(due, time.monotonic() + PACE)
    finally:
        made.close()
