"""The runs and scenes that a worker keeps loaded, so that the next look at them starts at once."""

from __future__ import annotations

import dataclasses
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import Unavailable, UsageError
from ..core.request import Request, Step, digest
from ..record.arrays import LIVE

if TYPE_CHECKING:
    from ..run import Run
    from ..scene import Scene
    from ..scene.moment import Moment

KEPT = 4
"""Scenes of each sort that a worker keeps; the one used longest ago goes first."""

LOCAL: dict[str, Any] = {}
"""What only lives in this process, by the folder of its runs: a factory, or a scene whose model can't be copied."""


def local(path: str | Path) -> Any:
    """The factory or scene of a run that can only be looked at in this process; None for all others."""
    return next((LOCAL[str(folder)] for folder in (Path(path), *Path(path).parents) if str(folder) in LOCAL), None)


class Scenes:
    """Opened runs and scenes by run, step, edits and input."""

    def __init__(self, keep: int = KEPT) -> None:
        self._keep = keep
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._scenes: OrderedDict[str, tuple[object, Scene]] = OrderedDict()
        self._changed: OrderedDict[str, tuple[object, Scene]] = OrderedDict()
        """Scenes with edits or an input; kept apart, so that a pen that draws does not push out what it draws for."""

    def run(self, source: Mapping[str, Any]) -> Run:
        """The run of a source ``{"path", "trust", "model"}``, kept open."""
        from ..run import open_run

        name = digest({**source, "made": _made(source["path"])})
        if name in self._runs:
            self._runs.move_to_end(name)
            return self._runs[name]
        factory = local(source["path"]) or source.get("model")
        run = open_run(source["path"], trust=bool(source.get("trust")), model=factory)
        self._runs[name] = run
        while len(self._runs) > self._keep:
            self._runs.popitem(last=False)
        return run

    def at(self, source: Mapping[str, Any], step: Step) -> Scene:
        """The scene of a run at a step; a live one is read again only when the training wrote a newer one."""
        own = local(source["path"])
        if own is not None and not callable(own):
            scene: Scene = own
            return scene
        run = self.run(source)
        if step != "live":
            step = _nearest(run, step)
        fresh = live_mark(source["path"]) if step == "live" else None
        return self._kept(self._scenes, digest([source["path"], step]), fresh, lambda: run.scene(step))

    def of(self, request: Request, sources: Mapping[str, Mapping[str, Any]]) -> Scene:
        """The scene that a request looks at, with its edits, its input and what it is compared with."""
        source = sources[request.run]
        scene = self.at(source, request.step)
        if request.edits or request.input is not None:
            # Between two networks the second one says where the plane lies.
            beside = request.others[:1] if any(str(edit.get("key")) == "plane:between" for edit in request.edits) else ()
            moments = [(sources[other.run], request.beside(other, scene.step)) for other in beside]
            others = [self.at(*moment) for moment in moments]
            base, name = scene, digest([source["path"], request.step, request.edits, request.input, [(s["path"], step) for s, step in moments]])
            scene = self._kept(self._changed, name, (base, *others), lambda: _as_asked(base.compared_with(others), request))
        if request.others:
            scene = scene.compared_with([self.at(sources[other.run], request.beside(other, scene.step)) for other in request.others])
        return scene

    def moment(self, request: Request, sources: Mapping[str, Mapping[str, Any]]) -> Moment:
        """The moment of the record that a request looks at, and those beside it; needs no torch."""
        from ..scene.moment import Moment

        def at(name: str, step: Step) -> Moment:
            run = self.run(sources[name])
            return Moment(run, step if isinstance(step, int) else run.last_step)

        here = at(request.run, request.step)
        return dataclasses.replace(here, others=tuple(at(other.run, request.beside(other, here.step)) for other in request.others))

    def _kept(
        self, group: OrderedDict[str, tuple[object, Scene]], name: str, fresh: object, make: Callable[[], Scene]
    ) -> Scene:
        kept = group.get(name)
        if kept is None or kept[0] != fresh:
            kept = group[name] = (fresh, make())
        group.move_to_end(name)
        while len(group) > self._keep:
            group.popitem(last=False)
        return kept[1]


def _as_asked(scene: Scene, request: Request) -> Scene:
    for edit in request.edits:
        values = dict(edit)
        key = values.pop("key", None)
        if not isinstance(key, str):
            raise UsageError(f"an edit names what it changes under 'key', got {edit!r}")
        scene = scene.edit(key, **values)
    return scene if request.input is None else scene.with_input(request.input)


def _nearest(run: Run, step: int | None) -> int:
    """The snapshot at or before a step, so that two steps with the same snapshot share one scene."""
    steps = run.snapshots
    if not steps:
        raise Unavailable(f"the run {run.name!r} has no snapshot yet; its first one comes with its first step")
    return steps[-1] if step is None else max((s for s in steps if s <= step), default=steps[0])


def live_mark(path: str | Path) -> tuple[int, ...]:
    """What changes when the training wrote newer weights: its live snapshot, or one for good."""
    marks: list[int] = []
    for name in (LIVE, "snapshots"):
        try:
            stat = os.stat(os.path.join(path, name))
            marks += [stat.st_mtime_ns, stat.st_ino]
        except OSError:
            marks += [0, 0]
    return tuple(marks)


def _made(path: str) -> int:
    """Tells a run from one that was deleted and recorded anew under the same name."""
    try:
        return os.stat(os.path.join(path, "run.db")).st_ino
    except OSError:
        return 0
