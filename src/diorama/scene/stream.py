"""What becomes of what a view yields: work that nobody waits for stops, and drafts are made when the next picture is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from types import NoneType
from typing import TYPE_CHECKING, Any

from ..core.blame import blamed, charged, given, reckoned, sound, yielded
from ..core.errors import DioramaError, Faulty
from ..core.knobs import build, knobs_of
from ..core.picture import Draft, Picture, Progress
from ..core.registry import commands, is_own, told
from ..core.selection import Key, Selection

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
    due, whole = time.monotonic() + SOON * PACE, True
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
                if not whole and not is_own(view):
                    raise Faulty(f"{told(view)} wants mending: its last picture is told as one that another follows (final=False)")
                return
            if isinstance(item, Progress):
                if progress is not None:
                    progress(reckoned(view, sound(view, item), "done", "total", "seconds"))
            elif item is not None:
                whole = item.final
                yield _leading(view, sound(view, item))
                due = max(due, time.monotonic() + PACE)
    finally:
        made.close()


def _leading(view: Any, picture: Picture) -> Picture:
    """A picture. *Raises* Faulty, which names the view, where a key, a handle or an action of a third party's leads to nothing."""
    if is_own(view):
        return picture
    knobs = knobs_of(type(view))
    try:
        for mark in picture.marks():
            if mark.handle is not None and mark.handle.knob not in knobs:
                raise Faulty(f"a handle sets {mark.handle.knob!r}, which is none of its knobs ({', '.join(knobs) or 'it has none'})")
            for action in getattr(mark, "actions", ()):
                build(commands[action.command], action.knobs)
            for field in mark.__struct_fields__:
                if field.endswith(("key", "keys")) and field != "x_key":
                    held = getattr(mark, field)
                    for key in filter(None, (held,) if isinstance(held, str) else held or ()):
                        Key.parse(key)
    except DioramaError as error:
        raise Faulty(f"{told(view)} wants mending: {error}") from error
    return picture
