"""Does the jobs: views to pictures, pictures to files, and what the page must know of a run."""

from __future__ import annotations

import contextlib
import importlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import arrivals
from ..core.blame import answered, failure
from ..core.errors import Cancelled, DioramaError, UsageError, not_found
from ..core.knobs import build
from ..core.picture import Picture, Progress
from ..core.registry import methods, savers, views
from ..core.request import Request
from ..core.selection import Selection
from ..data.text_places import beside
from .catalogue import describe_installation
from .scenes import Scenes

if TYPE_CHECKING:
    from ..scene import Scene
    from ..scene.moment import Moment

Emit = Callable[..., None]
LATER = (
    "torch.fx.experimental.symbolic_shapes", "scipy.ndimage", "skimage.morphology", "skimage.transform", "scipy.stats", "scipy.cluster.hierarchy",
)
"""What some jobs load while they run, where a worker has had no time for it before."""


class ViewPerformer:
    """One worker's performer: keeps its runs and scenes loaded between jobs."""

    def __init__(self) -> None:
        self._scenes = Scenes()

    def warm(self, level: str) -> None:
        """Import ahead: what reads a record, or everything that looks into a model."""
        from .. import run  # noqa: F401 - imported for its effect: the next job finds it loaded

        if level == "model":
            from .. import scene  # noqa: F401

            _one_thread_here()
            for name in views.own:  # third parties' come with what asks for them: nobody waits here for what takes long to import
                _importable(name)
        else:
            _importable("curves")

    def idle(self, level: str) -> Iterator[None]:
        """Import what the first backward pass, the first drawing and the first map need, one after the other: it takes longer
        than they do.
        """
        if level == "model":
            for needed in LATER:
                with contextlib.suppress(Exception):  # not all are public: other versions may not have them
                    importlib.import_module(needed)
                yield
            for name in methods.own:
                with contextlib.suppress(Exception):  # it is reported when it is asked for
                    methods[name]
                yield

    def perform(self, job: dict[str, Any], emit: Emit, cancelled: Callable[[], bool]) -> dict[str, Any] | None:
        """Do one job by its kind: view, export, anatomy or catalogue."""
        kind = job["kind"]
        arrivals.expect(job.get("slow", ()))
        if kind == "catalogue":
            return describe_installation(
                lambda done, total, note: emit({"event": "progress", "done": done, "total": total, "note": note})
            )
        if kind == "anatomy":
            return anatomy(self._scenes, job["source"], lambda: emit({"event": "loaded"}))
        request = Request.parse(job["request"])
        pictures = self._pictures(request, job["sources"], emit, cancelled)
        if kind == "export":
            return _export(pictures, job["suffix"], job.get("options", {}), emit)
        shown = b""
        for picture in pictures:
            told = picture.to_bytes()
            if told != shown:  # work that has come to rest offers the same draft again and again
                emit({"event": "picture"}, told)
            shown = told
            if cancelled():
                raise Cancelled("it was cancelled")
        return None

    def _pictures(
        self, request: Request, sources: Mapping[str, Mapping[str, Any]], emit: Emit, cancelled: Callable[[], bool]
    ) -> Iterator[Picture]:
        view = views[request.view]
        scene: Scene | Moment
        if view.needs == "record" and request.input is None and not request.edits:
            scene = self._scenes.moment(request, sources)
        else:
            scene = self._scenes.of(request, sources)
            _load(scene)
        emit({"event": "loaded"})

        def progress(made: Progress) -> None:
            emit({
                "event": "progress", "done": made.done, "total": made.total, "note": made.note, "seconds": made.seconds
            })

        selection = Selection.parse(request.selection)
        yield from scene.stream(
            request.view, select=selection, cancel=cancelled, progress=progress, **_named(view, request.knobs)
        )


def _one_thread_here() -> None:
    """Let torch count on one thread in this one alone: in a process that trains, the threads that come later keep what they had.

    What `set_num_threads` is told holds for the thread that calls it and for those that have not counted yet.
    """
    import torch

    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    for_others = threading.Thread(target=torch.set_num_threads, args=(usual,))
    for_others.start()
    for_others.join()


def _named(view: Any, knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs of a request, checked by name: nothing else of a request may become an argument."""
    from ..core.knobs import knobs_of

    known = knobs_of(view)
    for name in knobs:
        if name not in known:
            raise not_found(f"knob of {view.name}", name, known)
    return dict(knobs)


def _importable(name: str) -> bool:
    """Import a view; a broken one is reported when it is asked for, not when the worker starts."""
    try:
        return views[name] is not None
    except Exception:  # noqa: BLE001 - any fault of a third party's view
        return False


def _export(pictures: Iterator[Picture], suffix: str, options: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Save the last picture and send the file's bytes."""
    if suffix not in savers:
        raise not_found("file format", suffix, savers.names)
    build(savers[suffix], options)  # before the work
    last = None
    for last in pictures:  # noqa: B007 - the last one is wanted
        pass
    if last is None:
        raise UsageError("the view gave no picture to save")
    with tempfile.TemporaryDirectory(prefix="diorama-") as folder:
        path = last.save(Path(folder) / f"picture.{suffix}", **options)
        emit({"event": "picture"}, path.read_bytes())
    return {"title": last.title}


def _load(scene: Any) -> None:
    """Load what the scene looks at; what is wrong with it is said by whoever needs it."""
    with contextlib.suppress(DioramaError):
        if scene.missing is None:
            scene.model  # noqa: B018 - it is loaded when it is asked for


def anatomy(scenes: Scenes, source: Mapping[str, Any], loaded: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """What the page must know of a run beyond its record: its layers, its kind of input, and which views fit it.

    ``loaded`` hears when the run has been loaded.
    """
    scene = scenes.at(source, None)
    _load(scene)
    loaded()
    missing = scene.missing
    found: dict[str, Any] = {"model": missing, "layers": [], "input": None, "classes": None, "task": None}
    if missing is None:
        found["layers"] = _layers(scene)
        found["classes"], found["task"] = _or_none(lambda: list(scene.classes)), _or_none(lambda: scene.task)
    found["input"] = _or_none(lambda: _kind(scene.kind))
    found["properties"] = _or_none(lambda: _properties(scene)) or []
    found["fits"] = {name: _fits(name, scene) for name in views if _importable(name)}
    twice = scene.compared_with(scene)
    found["pairs"] = [name for name, reason in found["fits"].items() if reason is not None and _fits(name, twice) is None]
    return found


def _layers(scene: Scene) -> list[dict[str, Any]]:
    try:
        table = scene.layers
    except DioramaError:
        return []
    return [{"name": one.name, "units": one.units, "kind": one.kind, "shape": list(one.shape)} for one in table]


def _kind(kind: Any) -> Any:
    if not isinstance(kind, dict):
        return kind.describe()
    along = beside(kind)
    return {name: one.describe() | ({"beside": True} if name in along else {}) for name, one in kind.items()}


def _properties(scene: Scene) -> list[str]:
    """What examples can be coloured by besides classes and answers."""
    from ..views.inputs import property_names

    return property_names(scene)


def _or_none(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except DioramaError:
        return None


def _fits(name: str, scene: Scene) -> str | None:
    try:
        reason: str | None = answered(views[name], lambda: views[name].fits(scene), str, type(None))
    except Exception as error:  # noqa: BLE001 - one view's fault must not hide the others
        return failure(error)
    return reason
