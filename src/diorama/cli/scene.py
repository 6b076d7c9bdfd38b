"""What the command line looks at: a run, or a model of the user's own with weights and data."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import UsageError, not_found
from ..core.picture import Progress
from ..core.registry import savers
from .bar import Bar

if TYPE_CHECKING:
    from ..scene import Scene


def scene_of_model(model: str, weights: Path | None, data: Path | None) -> Scene:
    """The scene of a factory's module, or the factory's own scene. *Raises* UsageError when the parts do not fit."""
    from torch import nn

    from ..run import factory
    from ..scene import Scene

    look_here()
    make = factory(model)
    if not callable(make):
        raise UsageError(f"{model} should be a function that returns a model, it is a {type(make).__name__}")
    made = make()
    if isinstance(made, Scene):
        if data is not None or weights is not None:
            raise UsageError(f"{model} returns a Scene, which has its own; leave out --weights and --data")
        return made
    if not isinstance(made, nn.Module):
        raise UsageError(f"{model} should return a torch.nn.Module or a Scene, it returned {type(made).__name__}")
    if weights is not None:
        load_into(made, weights)
    if data is None:
        return Scene(made)
    from ..data.files import read

    examples = read(data)
    return Scene(made, examples.held_out or examples)


def look_here() -> None:
    """Let modules of the working folder be imported, as ``python -m`` does."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)


def load_into(model: Any, path: Path) -> None:
    """Load weights from a file into a model. *Raises* UsageError when they are not this model's."""
    from ..record.weights import load_weights

    state, own = load_weights(path), model.state_dict()
    missing, extra = [n for n in own if n not in state], [n for n in state if n not in own]
    wrong = [n for n in own if n in state and own[n].shape != state[n].shape]
    found = (("missing", missing), ("not in the model", extra), ("of another shape", wrong))
    parts = [f"{what}: {', '.join(names[:4])}" for what, names in found if names]
    if parts:
        raise UsageError(f"the weights {path.name!r} are not those of this model ({'; '.join(parts)})")
    model.load_state_dict(state)


def save_view(
    name: str, knobs: dict[str, Any], *, run: Path | None, model: str | None, weights: Path | None, data: Path | None,
    step: int | None, select: tuple[str, ...], against: tuple[str, ...], trust: bool, output: Path,
    other: tuple[str, ...] = (), edit: tuple[str, ...] = (),
) -> None:
    """Look once, and save the last picture."""
    suffix = output.suffix.lstrip(".").lower()
    if suffix not in savers:
        raise not_found("file format", suffix or str(output), savers.names)
    if (run is None) == (model is None):
        raise UsageError("a view looks at a run or at a model: give either --run or --model")
    scene: Scene
    if run is not None:
        if weights is not None or data is not None:
            raise UsageError("--weights and --data go with --model; a run has its own")
        from ..run import open_run

        scene = open_run(run, trust=trust).scene(step=step)
    else:
        if step is not None:
            raise UsageError("--step goes with --run; a model has only this moment")
        scene = scene_of_model(str(model), weights, data)
    from ..core.selection import Selection

    for text in edit:
        scene = edited(scene, text)
    with Bar("looking") as bar:

        def progress(told: Progress) -> None:
            bar.show(told.done, told.total, told.note)

        beside = [_beside(text, trust) for text in other] or None
        picture = scene.view(name, select=Selection.of(*select, against=against), other=beside, progress=progress, **knobs)
        bar.show(None, text=f"writing {output.name}")
        picture.save(output)
    print(output)


def edited(scene: Scene, text: str) -> Scene:
    """The scene with a change as it is told: ``unit:conv1/3 lesion``, ``weight:fc/3,1 value=0.5``, ``plane:random at=0.4,-0.2``.

    *Raises* UsageError where no change is told.
    """
    key, *words = text.split() or [""]
    if not words:
        raise UsageError(f"an edit wants a key and a change, such as 'unit:conv1/3 lesion' or 'weight:fc/3,1 value=0', got {text!r}")
    return scene.edit(key, **{name: _number(value) if sign else True for name, sign, value in (word.partition("=") for word in words)})


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _beside(text: str, trust: bool) -> Scene:
    """The scene of a run to compare with, at its newest snapshot or at a step: ``DIR`` or ``DIR@STEP``."""
    from ..run import open_run

    place, _, step = text.rpartition("@") if text.rpartition("@")[2].isdigit() else (text, "", "")
    return open_run(Path(place), trust=trust).scene(int(step) if step else None)
