"""A scan of a data set with a scene's model: made, stored with the run, taken up again, and found by views."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import Damaged, NotApplicable, UsageError
from ..core.selection import number_key
from ..data import nesting
from ..data.examples import Examples
from ..data.image import Image
from ..data.nesting import Nested
from ..model.layers import Layer
from ..model.scan import Batch, Scan, Statistics, batches
from ..model.scan import scan as run_through
from ..model.unwrap import fed
from .input import pictured
from .sets import named

if TYPE_CHECKING:
    from .scene import Scene

FOLDER = "derived"
SAVED_EVERY = 10.0
"""Seconds between two savings of a scan that is not done."""
PROBE = "probe"


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a layer's units did over many examples, and the examples themselves."""

    statistics: Statistics
    examples: Examples
    probe: bool
    """The examples are those of the scene, so that they have keys."""
    words: str
    """Which examples these are."""
    stored: bool

    def inputs(self, scene: Scene, indices: Sequence[int]) -> Nested:
        """The examples as a batch that the model takes."""
        return fed(scene.model, prepared(scene, self.examples.batch(list(indices), scene.device)))

    def pictures(self, indices: Sequence[int]) -> np.ndarray | None:
        """The examples as pixels, where they are pictures."""
        found = pictured(self.examples, list(indices))
        return None if found is None else np.asarray(found)

    def keys(self, indices: Sequence[int]) -> tuple[str, ...]:
        """Keys of the examples; empty texts where they are not in the probe set."""
        return tuple(number_key("example", int(k)) if self.probe else "" for k in indices)

    def names(self, scene: Scene, indices: Sequence[int]) -> tuple[str, ...]:
        """The classes of the examples where they are known, else their numbers."""
        truth = _truth(scene, self.examples.y)
        if truth is None:
            return tuple(str(int(k)) for k in indices)
        return tuple(named(scene, int(truth[int(k)])) for k in indices)

    def truth(self, scene: Scene) -> np.ndarray | None:
        """The true class of every example; None for other tasks."""
        found = _truth(scene, self.examples.y)
        return None if found is None else found.numpy()


def scan(
    what: Any,
    data: Any = None,
    y: Any = None,
    *,
    layers: Sequence[str] | Literal["all"] = "all",
    k: int = 9,
    histogram: bool = True,
    step: int | str | None = None,
    size: int = 64,
    store: bool = True,
    progress: Callable[[int, int | None], object] | None = None,
    cancel: Callable[[], object] | None = None,
) -> Scan:
    """Run a whole data set through a model once, and keep for every unit what drives it.

    *Meaning* for every unit: the k examples that drive it highest and lowest, with the places where they do; its mean
    for each class; a histogram; mean, spread and extremes. ``what`` is a scene, a run (at ``step``) or a module.
    ``data`` is by default the probe set; else a file, arrays or tensors (with ``y``), Examples, or an iterable of
    batches ``(x, y)`` such as a loader, of any length. With a run the result is stored in its folder for this
    snapshot, and views use it; a scan that was stopped goes on where it was (not with a loader).
    ``progress(done, total)`` hears of every batch.
    *Cost* 1.2 to 1.5 forward passes over the data on a large network; memory for one batch and the statistics.
    *Raises* UsageError for data that the model does not take; whatever ``cancel`` raises, with what was done kept.
    """
    scene = _scene(what, data, y, step)
    examples, source = _examples(scene, data, y)
    found: Iterable[Batch]
    classes = len(scene.classes) if scene.task == "classification" else 0
    about = {
        "model": scene.fingerprint, "source": source, "k": k, "histogram": histogram, "classes": classes,
        "layers": layers if layers == "all" else list(layers), "examples": len(examples) if examples else 0,
    }  # fmt: skip
    kept = _Kept(scene, about) if store and examples is not None and not scene.edits else None
    into = kept.begun() if kept is not None else None
    if examples is not None:
        truth = _truth(scene, examples.y)
        found = batches(examples.x, truth, size=size, start=into.examples if into else 0)
    else:
        found = ((x, _truth(scene, labels)) for x, labels in _loaded(data))

    def told(done: Scan) -> None:
        if kept is not None:
            kept.soon(done)
        if progress is not None:
            progress(done.examples, len(examples) if examples is not None else None)

    made = run_through(
        scene.model, ((fed(scene.model, nesting.to(prepared(scene, x), scene.device)), t) for x, t in found), layers,
        k=k, classes=classes, bottom=True, histogram=histogram, into=into, table=scene.layers, edits=scene.edits,
        cancel=cancel or scene.cancel, progress=told,
    )  # fmt: skip
    made.about = about
    if kept is not None:
        kept.done(made)
    if examples is not None and not scene.edits:
        scene.memory.put("scan", (made, examples, source))
    return made


def seen(scene: Scene, layer: Layer) -> Seen:
    """A layer's statistics: of the stored scan where there is one, else of the live examples, in one pass."""
    return seen_each(scene, [layer])[layer.name]


def seen_each(scene: Scene, layers: Sequence[Layer]) -> dict[str, Seen]:
    """The statistics of several layers by name: of the stored scan, else of the live examples, all in one pass."""
    found = stored(scene)
    names = [layer.name for layer in layers]
    if found is not None:
        made, examples, source = found
        if all(name in made.layers for name in names):
            words = "the probe set" if source == PROBE else Path(source).name if source else "the scanned data"
            told = f"{made.examples:,} examples of {words}"
            return {name: Seen(made[name], examples, source == PROBE, told, True) for name in names}
    parts = {name: kept for name in names if (kept := scene.memory.get(f"statistics/{name}")) is not None}
    missing = [name for name in names if name not in parts]
    if missing:
        for name, part in _live(scene, missing).items():
            parts[name] = part
            scene.memory.put(f"statistics/{name}", part)
    told = f"{len(scene.live):,} examples"
    return {name: Seen(parts[name], scene.live, True, told, False) for name in names}


def _live(scene: Scene, names: Sequence[str]) -> Scan:
    """A scan of the live examples, no further into the network than to the last of the layers."""
    classes = len(scene.classes) if scene.task == "classification" else 0
    truth = _truth(scene, scene.live.y)
    parts = ((fed(scene.model, nesting.to(x, scene.device)), t) for x, t in batches(scene.live.x, truth))
    last = max((scene.layers[name] for name in names), key=lambda layer: layer.order)
    until = last.name if not last.part and last.name in dict(scene.model.named_modules()) else None
    made = run_through(
        scene.model, parts, names, classes=classes, bottom=True, histogram=True, until=until, table=scene.layers,
        edits=scene.edits, cancel=scene.cancel,
    )  # fmt: skip
    for name in names:
        if name not in made.layers:
            raise NotApplicable(f"{name} does not answer once for each example, so nothing can be said of its units")
    return made


def known(scene: Scene, layer: Layer) -> bool:
    """Whether :func:`seen` comes at once."""
    found = stored(scene)
    return (found is not None and layer.name in found[0].layers) or scene.memory.has(f"statistics/{layer.name}")


def stored(scene: Scene) -> tuple[Scan, Examples, str] | None:
    """The largest scan that was made at these weights and whose examples can be read; None without one."""
    if scene.edits:
        return None
    found: tuple[Scan, Examples, str] | None = scene.memory.get("scan")
    if found is not None:
        return found
    if scene.run is None or not (scene.run.path / FOLDER).is_dir():
        return None
    best = None
    for path in sorted((scene.run.path / FOLDER).glob(f"scan-{scene.fingerprint}-*.safetensors")):
        try:
            made = scene.once(f"file/{path.name}", lambda path=path: Scan.load(path))  # type: ignore[misc]
            source = str(made.about.get("source", ""))
            if (best is None or made.examples > best[0].examples) and (source == PROBE or Path(source).is_file()):
                best = (made, source)
        except Damaged:
            continue  # a scan can always be made again
    if best is None:
        return None
    made, source = best
    return made, scene.examples if source == PROBE else _read(scene, source), source


def prepared(scene: Scene, x: Nested) -> Nested:
    """Pixels of whole numbers as the model takes them, where it takes fractions; all else as it is."""
    kind, whole = scene.kind, nesting.first(x)
    wanted = nesting.first(scene.examples.x) if scene._examples is not None else None
    if not isinstance(x, Tensor) or not isinstance(kind, Image) or wanted is None or whole.dtype == wanted.dtype:
        return x
    if whole.dtype != torch.uint8 or whole.ndim not in (3, 4):
        return x.to(wanted.dtype)
    pixels = whole.numpy()
    if pixels.ndim == 4 and pixels.shape[1] in (1, 3) and pixels.shape[3] not in (1, 3):
        pixels = np.moveaxis(pixels, 1, 3)
    return torch.cat([kind.encode(each) for each in pixels])


class _Kept:
    """A scan's file in the run's folder, named by what it was made from."""

    def __init__(self, scene: Scene, about: dict[str, Any]) -> None:
        self._folder = scene.run.path / FOLDER if scene.run is not None else None
        name = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=6).hexdigest()
        self._name, self._about = f"scan-{scene.fingerprint}-{name}", about
        self._last = time.monotonic()

    def begun(self) -> Scan | None:
        """What was done of the same scan before it was stopped."""
        if self._folder is None or not (path := self._folder / f"{self._name}.part").is_file():
            return None
        try:
            return Scan.load(path)
        except Damaged:
            return None

    def soon(self, made: Scan) -> None:
        """Save what is done now and then."""
        if self._folder is not None and time.monotonic() - self._last > SAVED_EVERY:
            made.about = self._about
            self._save(made, "part")
            self._last = time.monotonic()

    def done(self, made: Scan) -> None:
        """Save the whole."""
        if self._folder is not None:
            self._save(made, "safetensors")
            (self._folder / f"{self._name}.part").unlink(missing_ok=True)

    def _save(self, made: Scan, suffix: str) -> None:
        assert self._folder is not None
        try:
            made.save(self._folder / f"{self._name}.{suffix}")
        except PermissionError:
            self._folder = None  # a run in a folder that only allows reading is scanned all the same


def _scene(what: Any, data: Any, y: Any, step: int | str | None) -> Scene:
    from .scene import Scene

    if isinstance(what, Scene):
        return what
    if isinstance(what, nn.Module):
        if data is None:
            raise UsageError("a scan of a module wants data: arrays, a file, or an iterable of batches (x, y)")
        if isinstance(data, str | Path):
            return Scene(what, _file(data))
        return Scene(what, *((data, y) if not _is_loader(data) else next(iter(_loaded(data)))))
    if hasattr(what, "scene"):
        found: Scene = what.scene(step)
        return found
    raise UsageError(f"a scan wants a scene, a run or a module, got {type(what).__name__}")


def _examples(scene: Scene, data: Any, y: Any) -> tuple[Examples | None, str]:
    """The data as examples with what they come from; None for an iterable of batches."""
    if data is None:
        return scene.examples, PROBE
    if isinstance(data, str | Path):
        source = str(Path(data).resolve())
        return _read(scene, source), source
    if isinstance(data, Examples):
        return _fitting(scene, data), ""
    if _is_loader(data):
        return None, ""
    kind = scene.kind
    return _fitting(scene, Examples.of(data, y, scene.classes or None, kind)), ""


def _read(scene: Scene, source: str) -> Examples:
    return _fitting(scene, scene.keep(f"data/{source}", lambda: _file(source)))  # type: ignore[no-any-return]


def _file(path: str | Path) -> Examples:
    from ..data.files import read

    return read(path)


def _fitting(scene: Scene, examples: Examples) -> Examples:
    """The examples, read as the scene's own are. *Raises* UsageError for those of another shape."""
    one = prepared(scene, examples.batch([0]))
    came, wanted = nesting.first(one).shape[1:], nesting.first(scene.examples.x).shape[1:]
    if came != wanted and isinstance(scene.kind, Image):
        raise UsageError(f"the data's examples have shape {tuple(came)}, and this model's have {tuple(wanted)}")
    if nesting.first(one).dtype == nesting.first(examples.x).dtype:
        return dataclasses.replace(examples, kind=scene.kind)
    return examples


def _is_loader(data: Any) -> bool:
    array = isinstance(data, Tensor | np.ndarray | tuple | dict | list | str | Path | Examples)
    return not array and hasattr(data, "__iter__")


def _loaded(data: Any) -> Iterator[tuple[Nested, Tensor | None]]:
    for batch in data:
        x, labels = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
        yield nesting.as_tensors(x), None if labels is None else torch.as_tensor(labels)


def _truth(scene: Scene, y: Tensor | None) -> Tensor | None:
    if y is None or scene.task != "classification":
        return None
    try:
        return scene.reading.truth(y).cpu()
    except (NotApplicable, RuntimeError):
        return None
