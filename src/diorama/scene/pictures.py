"""A request for a view: names become knobs and keys, what does not exist is refused, and pictures come out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any

from ..core import registry
from ..core.blame import answered, blamed
from ..core.errors import DioramaError, NotApplicable, UsageError, not_found
from ..core.knobs import Knob, build, knobs_of
from ..core.picture import Picture, Progress
from ..core.selection import KINDS, Key, Selection, as_key
from .stream import streamed

if TYPE_CHECKING:
    from .scene import Scene


def pictures(
    scene: Scene,
    name: str,
    select: Iterable[str | Key] | Selection,
    options: Mapping[str, Any],
    progress: Callable[[Progress], None] | None = None,
) -> Iterator[Picture]:
    """The pictures of a view, checked before the first: view, knobs and keys exist, and the view fits the scene."""
    if "torch" not in sys.modules:  # nobody can have switched anything on, and a record is drawn without torch
        return _drawn(scene, *_asked(scene, name, select, options), progress)
    from ..model.surroundings import NeutralSurroundings, neutrally

    with NeutralSurroundings(), blamed():
        asked, selection = _asked(scene, name, select, options)
    return neutrally(_drawn(scene, asked, selection, progress))


def _asked(
    scene: Scene, name: str, select: Iterable[str | Key] | Selection, options: Mapping[str, Any]
) -> tuple[Any, Selection]:
    view = registry.views[name]
    selection = (
        select
        if isinstance(select, Selection)
        else Selection.parse(select)
        if isinstance(select, str)
        else Selection.of(*select)
    )
    knobs, selection = _sorted_out(view, dict(options), selection)
    asked = build(view, knobs)
    reason = answered(view, lambda: view.fits(scene), str, NoneType)
    if reason is not None:
        raise NotApplicable(f"{name} does not fit here: {reason}")
    selection = _checked(scene, selection, view.follows)
    return asked, selection


def _drawn(
    scene: Scene, view: Any, selection: Selection, progress: Callable[[Progress], None] | None
) -> Iterator[Picture]:
    made, seen = streamed(scene, view, selection, progress), False
    with contextlib.closing(made):
        for picture in made:
            seen = True
            yield _filmed(scene, view, selection, picture)
    if not seen:
        raise NotApplicable(f"{registry.told(view)} has nothing to show here")


def _filmed(scene: Scene, view: Any, selection: Selection, picture: Picture) -> Picture:
    """The picture with what makes its film: the same view at each snapshot of the run."""
    # What a notebook's widget asks again when its siblings choose something.
    picture.__dict__["request_"] = (scene, view.name, view.knobs(), selection)
    if picture.frames is not None or view.needs == "record" or len(scene.steps) < 2:
        return picture

    def frames() -> Iterator[Picture]:
        moving = answered(view, lambda: view.filmed(scene), type(view))
        for step in scene.steps:
            moment = scene.at(step)
            try:
                then = _then(moment, selection, scene, moving.follows)
            except DioramaError:
                continue  # a network that grew: what is chosen is not there at every step
            from ..model.surroundings import neutrally

            for picture in neutrally(streamed(moment, moving, then, None, drafts=False)):
                if picture.final:
                    yield picture

    return picture.with_frames(frames)


def _sorted_out(view: type, options: dict[str, Any], selection: Selection) -> tuple[dict[str, Any], Selection]:
    """Named options that are knobs, and those that are keys (``unit=``, ``class_=``), which go into the selection."""
    known: dict[str, Knob] = knobs_of(view)
    knobs: dict[str, Any] = {}
    for name, value in options.items():
        kind = name.rstrip("_")
        if name in known:
            knobs[name] = value
        elif kind in known:
            knobs[kind] = value
        elif kind in KINDS:
            selection = selection.choose(as_key(kind, _unit_of(options, value) if kind == "unit" else value))
        else:
            raise not_found(f"knob of {getattr(view, 'name', '')}", name, known)
    return knobs, selection


def _unit_of(options: dict[str, Any], unit: Any) -> Any:
    """The unit that a number beside ``layer=`` means: ``layer="body.3", unit=7`` is ``unit="body.3/7"``. *Raises* UsageError without a layer."""
    if not str(unit).isdigit():
        return unit
    layer = str(options.get("layer") or "")
    if not layer:
        raise UsageError(f"unit= wants the layer too: unit=\"LAYER/{unit}\", or layer= beside it, got {unit!r}")
    return f"{layer.removeprefix('layer:')}/{unit}"


def _checked(scene: Scene, selection: Selection, follows: Iterable[str]) -> Selection:
    """Refuse keys that the view would follow to nothing, and write the others out in full."""
    a, b = (tuple(_known(scene, key) if key.kind in follows else key for key in part) for part in (selection.a, selection.b))
    return Selection(a, b)


def _then(moment: Scene, selection: Selection, now: Scene, follows: Iterable[str]) -> Selection:
    """What is chosen, as it is called at another moment of the run. *Raises* UsageError, NotFound where it is not there."""
    run = now.run
    a, b = (tuple(run.elsewhere(part, moment.step, now.step)) if run is not None else part for part in (selection.a, selection.b))
    lost = next((key for key, there in zip((*selection.a, *selection.b), (*a, *b), strict=True) if there is None and key.kind in follows), None)
    if lost is not None:
        raise UsageError(f"the network has no {lost} at step {moment.step}")
    known = (tuple(key for key in part if key is not None) for part in (a, b))
    return _checked(moment, Selection(*known), follows)


def _known(scene: Scene, key: Key) -> Key:
    """A key that names something in the scene, an op by its full name."""
    if key.kind in ("layer", "unit"):
        return _known_layer(scene, key)
    if key.kind == "direction":
        scene.direction(key.name)
    elif key.kind == "example":
        _check_number(key, len(scene.examples), "the probe set has examples")
    elif key.kind == "class" and scene.classes:
        _check_number(key, len(scene.classes), "there are classes")
    return key


def _known_layer(scene: Scene, key: Key) -> Key:
    if scene.missing is not None:
        if key.name not in (known := layer_names(scene)):
            raise not_found("layer", key.name, known)
        return key
    key = scene.layers.keyed(key)
    layer = scene.layers[key.name]
    if key.kind == "unit" and key.number >= layer.units:
        raise UsageError(f"{key.name} has units 0 to {layer.units - 1}, got {key.number}")
    return key


def layer_names(scene: Scene) -> tuple[str, ...]:
    """The names that keys may use: the model's layers, or without a model the modules that have weights."""
    if scene.missing is None:
        return scene.layers.names
    return tuple(dict.fromkeys(name.rpartition(".")[0] for name in scene.parameters()))


def _check_number(key: Key, count: int, where: str) -> None:
    if key.index[-1] >= count:
        raise UsageError(f"{where} 0 to {count - 1}, got {key.index[-1]}")
