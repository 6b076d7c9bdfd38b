"""One widget that shows any picture: a unit clicked in one is followed by all that look at the same network.

A picture that a scene made carries its request (scene, view, knobs, selection), so the widget can ask again. A picture
that was read from a file is shown as it is and still takes part in the highlighting.
"""

from __future__ import annotations

import asyncio
import base64
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ..core import registry
from ..core.errors import DioramaError
from ..core.picture import Picture, Progress
from ..core.selection import Selection
from ..export.figure import compose, metadata, png
from ..export.style import Style

STATIC = Path(__file__).resolve().parent.parent / "static"
_shown: weakref.WeakSet[Widget] = weakref.WeakSet()


def _built(name: str) -> str:
    file = STATIC / name
    return file.read_text("utf-8") if file.exists() else "export default { render() {} };"


class Widget(anywidget.AnyWidget):  # type: ignore[misc]
    """A picture in a notebook, linked to its siblings: those of the same run, or of the same model."""

    _esm = _built("widget.js")
    # Counted by Jupyter's front end: a cell that ran again leaves a widget behind that nobody sees.
    _view_count = traitlets.Int(0, allow_none=True).tag(sync=True)

    picture = traitlets.Bytes(b"").tag(sync=True)
    selection = traitlets.List(traitlets.Unicode()).tag(sync=True)
    progress = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)

    def __init__(self, picture: Picture, **options: Any) -> None:
        asked: tuple[Any, str, dict[str, Any], Selection] = picture.__dict__.get("request_") or (None, "", {}, Selection())
        self.scene, self.view, chosen = asked[0], asked[1], asked[3]
        self.knobs = dict(asked[2])
        self._ticket = 0
        self._was_seen = self._stale = self._quiet = False
        self._tasks: set[asyncio.Task[None]] = set()
        super().__init__(picture=picture.to_bytes(), selection=[str(key) for key in chosen.a], **options)
        self._against = chosen.b
        self.observe(self._chosen, "selection")
        self.observe(self._seen, "_view_count")
        self.on_msg(self._told)
        _shown.add(self)

    # What the person does.

    def _chosen(self, change: Any) -> None:
        """The person chose keys here: siblings take them over, and whoever follows their kinds looks again."""
        if self._quiet:
            return
        kinds = {key.partition(":")[0] for key in {*change["old"]} ^ {*change["new"]}}
        keys = [key for key in change["new"] if key.partition(":")[0] in kinds]
        for widget in list(_shown):
            if widget is self or widget._beside(self):
                widget._take(keys, kinds, widget is self)

    def _take(self, keys: list[str], kinds: set[str], own: bool) -> None:
        if not own:
            others = [key for key in self.selection if key.partition(":")[0] not in kinds]
            self._quietly([*others, *keys])
        if self.scene is not None and kinds & set(registry.views[self.view].follows):
            self.renew()

    def _quietly(self, keys: list[str]) -> None:
        self._quiet = True
        try:
            self.selection = keys
        finally:
            self._quiet = False

    def _told(self, widget: Any, content: Any, buffers: Any) -> None:
        """A message from the browser: a knob set, a command for the training, a step of the time axis."""
        if self.scene is None or not isinstance(content, dict):
            return
        do = content.get("do")
        if do == "set":
            self.knobs[str(content["knob"])] = content["value"]
            self.renew()
        elif do == "step":
            for sibling in [w for w in _shown if w is self or (w.scene is not None and w._beside(self))]:
                sibling._go(int(content["step"]))
        elif do == "act":
            self._act(str(content["command"]), dict(content.get("knobs") or {}))

    def _go(self, step: int) -> None:
        if self.scene.run is not None:
            self.scene = self.scene.at(step)
            self.renew()

    def _act(self, command: str, knobs: dict[str, Any]) -> None:
        try:
            if self.scene.run is not None:
                self.scene.run.command(command, wait=0.0, **knobs)
            self.error = "" if self.scene.run is not None else "this model is not being trained by a recorded run"
        except DioramaError as error:
            self.error = str(error)

    # Whom it is linked to, and whether anyone looks.

    @property
    def world(self) -> object:
        """What the widget looks at: its run's folder or its model; None for a picture without a scene."""
        if self.scene is None:
            return None
        return str(self.scene.run.path) if self.scene.run is not None else id(self.scene.model)

    def _beside(self, other: Widget) -> bool:
        return None in (self.world, other.world) or self.world == other.world

    def _seen(self, change: Any) -> None:
        self._was_seen = self._was_seen or bool(change["new"])
        if change["new"] and self._stale:
            self.renew()

    # Looking again.

    def renew(self) -> None:
        """Ask the view again with the present knobs and selection; an older answer that is still awaited is dropped."""
        if self.scene is None:
            return
        self._stale = self._was_seen and not self._view_count
        if self._stale:
            return
        self._ticket += 1
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            for _ in self._pictures(self._ticket):
                pass
            return
        task = loop.create_task(self._between(self._ticket))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _between(self, ticket: int) -> None:
        """Let the notebook's other messages through between two refinements."""
        await asyncio.sleep(0)
        for _ in self._pictures(ticket):
            await asyncio.sleep(0)

    def _pictures(self, ticket: int) -> Iterator[None]:
        selection = Selection.of(*self.selection, against=self._against)

        def gone() -> bool:
            return ticket != self._ticket

        if gone():
            return
        try:
            stream = self.scene.stream(self.view, select=selection, cancel=gone, progress=self._progress, **self.knobs)
            for picture in stream:
                if gone():
                    return
                self.picture, self.error = picture.to_bytes(), ""
                yield
        except DioramaError as error:
            if not gone():
                self.error = str(error)
        finally:
            if not gone():
                self.progress = ""

    def _progress(self, progress: Progress) -> None:
        share = f"{progress.done / progress.total:.0%}" if progress.total else ""
        self.progress = " ".join(filter(None, [share, progress.note]))


def show(picture: Picture) -> Any:
    """The live widget of a picture; None where the page is not built."""
    return Widget(picture) if (STATIC / "widget.js").exists() else None


def bundle(picture: Picture) -> dict[str, Any] | tuple[dict[str, Any], dict[str, Any]]:
    """What a notebook shows for a picture: the widget, and a still for readers without a kernel.

    The live half is left out where the page is not built.
    """
    still = png(compose(picture, Style(scale=2.0)), 200.0, metadata(picture))
    data: dict[str, Any] = {"image/png": base64.b64encode(still).decode("ascii"), "text/plain": repr(picture)}
    size = {"image/png": {"width": int.from_bytes(still[16:20], "big") // 2}}
    if not (STATIC / "widget.js").exists():
        return data, size
    shown = Widget(picture)._repr_mimebundle_()
    if shown is None:
        return data, size
    live, more = shown
    return {**live, **data}, {**more, **size}
