"""A scan of a data set with a scene's model: made, stored with the run, taken up again, and found by views."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import Damaged, NotApplicable, UsageError
from ..core.numerals import counted
from ..core.selection import number_key, together
from ..data import nesting
from ..data.examples import Examples
from ..data.nesting import Nested
from ..model.company import MERGED
from ..model.layers import Layer
from ..model.plain_module import fed
from ..model.scan import Scan, Statistics
from ..model.scan import scan as run_through
from ..model.statistics import TopK
from ..scene import Scene
from ..scene.input import pictured
from ..scene.other_data import prepared, read, truth
from ..scene.sets import named
from . import kept_examples, statistics
from .batches import Batches
from .derivation import DerivedValue
from .derivations.scan import LIVE, _classes, resolved
from .derivations.scan import ScanDerivation as Scanning
from .statistics import GIVEN, PROBE
from .store import FOLDER, Store


@dataclasses.dataclass(frozen=True)
class FoundScan:
    """A scan and the examples that it saw, as far as they can be read: all of them, or those with ``numbers``."""

    scan: Scan
    examples: Examples
    source: str
    numbers: np.ndarray | None = None

    @property
    def words(self) -> str:
        """Which examples these are."""
        named = {PROBE: "the probe set", GIVEN: "the scanned data", "": "the scanned data"}
        return f"{counted(self.scan.examples, 'examples')} of {named.get(self.source) or Path(self.source).name}"

    def statistics(self, layer: str) -> Statistics:
        """A layer's statistics, in which only examples stand that can be shown."""
        part = self.scan[layer]
        if self.numbers is None:
            return part
        bottom = None if part.bottom is None else _only(part.bottom, self.numbers)
        return dataclasses.replace(part, top=_only(part.top, self.numbers), bottom=bottom)


@dataclasses.dataclass(frozen=True)
class SeenUnits:
    """What a layer's units did over many examples, and the examples themselves."""

    statistics: Statistics
    examples: Examples
    probe: bool
    """The examples are those of the scene, so that they have keys."""
    words: str
    """Which examples these are."""
    stored: bool
    numbers: np.ndarray | None = None
    """The numbers of the examples, where only some can be shown."""

    def inputs(self, scene: Scene, indices: Sequence[int]) -> Nested:
        """The examples as a batch that the model takes."""
        return fed(scene.model, prepared(scene, self.examples.batch(self.rows(indices), scene.device)))

    def pictures(self, indices: Sequence[int]) -> np.ndarray | None:
        """The examples as pixels, where they are pictures."""
        found = pictured(self.examples, self.rows(indices))
        return None if found is None else np.asarray(found)

    def keys(self, indices: Sequence[int]) -> tuple[str, ...]:
        """Keys of the examples; empty texts where they are not in the probe set."""
        return tuple(number_key("example", int(k)) if self.probe else "" for k in indices)

    def names(self, scene: Scene, indices: Sequence[int]) -> tuple[str, ...]:
        """The classes of the examples where they are known, else their numbers."""
        known = truth(scene, self.examples.y)
        if known is None:
            return tuple(str(int(k)) for k in indices)
        return tuple(named(scene, int(known[k])) for k in self.rows(indices))

    def truth(self, scene: Scene) -> np.ndarray | None:
        """The true class of every example by its number, -1 for those that are not here; None for other tasks."""
        known = truth(scene, self.examples.y)
        if known is None or self.numbers is None:
            return None if known is None else known.numpy()
        found = np.full(int(self.numbers.max(initial=-1)) + 1, -1, np.int64)
        found[self.numbers] = known.numpy()
        return found

    def rows(self, indices: Sequence[int]) -> list[int]:
        """Where examples of these numbers lie among those that can be shown."""
        whole = [int(k) for k in indices]
        return whole if self.numbers is None else [int(k) for k in np.searchsorted(self.numbers, whole)]


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
    start: int = 0,
    store: bool = True,
    progress: Callable[[int, int | None], object] | None = None,
    cancel: Callable[[], object] | None = None,
) -> Scan:
    """Run a whole data set through a model once, and keep for every unit what drives it.

    *Meaning* for every unit: the k examples that drive it highest and lowest, with the places where they do; its mean
    for each class; a histogram; mean, spread and extremes. ``what`` is a scene, a run (at ``step``) or a module.
    ``data`` is by default the probe set; else a file, arrays or tensors (with ``y``), Examples, or an iterable of
    batches such as a loader, of any length: ``(x, y)``, ``(x,)``, ``x``, or dicts such as ``{"image": x, "label": y}``.
    With a run the result is stored in its folder for this snapshot, and views use it: a loader's under a hash of the
    batches that it handed over. Of examples that are in no file those are kept beside it that drive units most. A scan
    that was stopped goes on where it was (not with a loader). ``start`` is the number of the first example, so that
    parts of a data set can be scanned apart and merged. ``progress(done, total)`` hears again and again how far it is.
    *Cost* 1.2 to 1.5 forward passes over the data on a large network; memory for one batch and the statistics.
    *Raises* UsageError for data that the model does not take; whatever ``cancel`` raises, with what was done kept.
    """
    scene, given = _asked(what, data, y, step)
    if cancel is not None:
        scene = scene.alone(lambda: _called(cancel))
    file = resolved(data) if isinstance(data, str | Path) else ""
    made = Scanning(
        data=file, layers=layers if isinstance(layers, str) else together(layers), k=k, histogram=histogram, start=start,
        size=size, given=given,
    )
    keep = store and not scene.edits
    value = _loaded(scene, made, keep, progress) if isinstance(given, Batches) else _value(scene, made, keep, progress)
    found = statistics.of_plain(value)
    found.about = {
        "model": scene.fingerprint, "source": made.source, "k": k, "histogram": histogram, "start": start,
        "layers": "all" if layers == "all" else list(layers), "examples": found.examples,
    }
    if not scene.edits and not start:
        scene.memory.put("scan", _with_examples(scene, value, given if isinstance(given, Examples) else None))
    return found


def _value(scene: Scene, made: Scanning, keep: bool, progress: Any) -> Any:
    derived = made.at(scene)
    derived.always = keep
    if not keep:
        derived.store = None
    total, told = made.total(scene), -1.0
    for stage in derived.stream():
        if progress is not None and not stage.final and stage.done != told:
            told = stage.done
            progress(int(told), total)
        if stage.final:
            return stage.value
    raise AssertionError


def _loaded(scene: Scene, made: Scanning, keep: bool, progress: Any) -> Any:
    """The scan of a loader: only when all was seen it is known what it is called."""
    reason = made.fits(scene)
    if reason is not None:
        raise NotApplicable(reason)
    total, stage = made.total(scene), None
    for stage in made.stages(scene):
        if progress is not None:
            progress(int(stage.done), total)
    assert stage is not None
    derived = DerivedValue(scene, made)
    return derived.kept(stage.value, keep)


def _called(cancel: Callable[[], object]) -> None:
    cancel()


ALONE = 256
"""So many examples are asked one by one at most."""


def seen(scene: Scene, layer: Layer) -> SeenUnits:
    """A layer's statistics: of the stored scan where there is one, else of the live examples, in one pass."""
    return seen_each(scene, [layer])[layer.name]


def seen_each(scene: Scene, layers: Sequence[Layer]) -> dict[str, SeenUnits]:
    """The statistics of several layers by name: of the stored scan, else of the live examples, all in one pass."""
    found = stored(scene)
    names = [layer.name for layer in layers]
    if found is not None and all(name in found.scan.layers for name in names):
        return {
            name: SeenUnits(found.statistics(name), found.examples, found.source == PROBE, found.words, True, found.numbers)
            for name in names
        }
    parts = {name: kept for name in names if (kept := scene.memory.get(f"statistics/{name}")) is not None}
    missing = [name for name in names if name not in parts]
    single = [name for name in names if apart(scene.layers[name])]
    made: dict[str, Statistics] = {}
    if plain := [name for name in missing if name not in single]:
        made |= statistics.of_plain(scene.derive("scan", data=LIVE, layers=together(plain)).value).layers
    if picked := [name for name in missing if name in single]:
        made |= _alone(scene, picked).layers
    for name in missing:
        if name not in made:
            raise NotApplicable(f"{name} {scene.layers[name].unlike or MERGED}, so nothing can be said of its units")
        parts[name] = made[name]
        scene.memory.put(f"statistics/{name}", made[name])
    told = counted(len(scene.live), "examples")
    asked = f"{min(len(scene.live), ALONE):,} examples, each asked alone"
    return {name: SeenUnits(parts[name], scene.live, True, asked if name in single else told, False) for name in names}


def apart(layer: Layer) -> bool:
    """Whether the rows of a layer are those of examples, but not all of them, or not in their order: each example asked alone tells its own."""
    return bool(layer.unlike) and layer.reason != MERGED


def each_alone(scene: Scene) -> Iterator[tuple[int, Nested]]:
    """The live examples one by one as the model takes them, with their numbers; :data:`ALONE` of them at most."""
    for chosen, x in scene.batches():
        for k, number in enumerate(chosen):
            if number >= ALONE:
                return
            yield number, nesting.select(x, slice(k, k + 1))


def _alone(scene: Scene, names: list[str]) -> Scan:
    """A scan of layers whose rows the network sorts or picks. *Cost* a forward pass an example."""
    y = truth(scene, scene.live.y)
    single = ((x, None if y is None else y[number : number + 1]) for number, x in each_alone(scene))
    return run_through(
        scene.model, single, names, classes=_classes(scene), bottom=True, table=scene.layers, kind=scene.kind, edits=scene.edits, cancel=scene.cancel
    )


def known(scene: Scene, layer: Layer) -> bool:
    """Whether :func:`seen` comes at once."""
    found = stored(scene)
    return (found is not None and layer.name in found.scan.layers) or scene.memory.has(f"statistics/{layer.name}")


def stored(scene: Scene) -> FoundScan | None:
    """The largest scan that was made at these weights and whose examples can be shown; None without one."""
    if scene.edits:
        return None
    kept: FoundScan | None = scene.memory.get("scan")
    if kept is not None or scene.run is None:
        return kept
    best: FoundScan | None = None
    for path in Store(scene.run.path / FOLDER).listed("scan", scene.fingerprint):
        try:
            stamp = path.stat(follow_symlinks=False)
            found: FoundScan | None = scene.once(
                f"file/{path.name}/{stamp.st_ino}/{stamp.st_size}", lambda path=path: _opened(scene, path)  # type: ignore[misc]
            )
        except OSError:
            continue
        if found is not None and (best is None or found.scan.examples > best.scan.examples):
            best = found
    return best


def _opened(scene: Scene, path: Path) -> FoundScan | None:
    """A stored scan; None for what cannot be read, as it can always be made again."""
    assert scene.run is not None
    try:
        value = Store(scene.run.path / FOLDER).open(path) or _older(scene, path)
        if value is None:
            return None
        statistics.check(scene, value)
        return None if value["start"] or value["source"] == LIVE else _with_examples(scene, value)
    except (Damaged, UsageError, NotApplicable, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None


def _older(scene: Scene, path: Path) -> dict[str, Any] | None:
    """A scan as it was stored before there were derivations."""
    if path.is_symlink() or not os.path.isfile(path):
        return None
    made = Scan.load(path)
    return statistics.to_plain(made) | {"source": str(made.about.get("source", "")), "edits": []}


def _with_examples(scene: Scene, value: Any, examples: Examples | None = None) -> FoundScan | None:
    """The scan with what it saw; None where that cannot be read any more."""
    source, scanned = value["source"], statistics.of_plain(value)
    if examples is not None:
        return FoundScan(scanned, Scanning(given=examples).examples(scene), source)
    if source == PROBE:
        return FoundScan(scanned, scene.examples, source)
    if source == GIVEN and value["shown"]["x"] is not None:
        told = value["shown"]
        labels = [each for each in told["labels"] if each is not None]
        y = torch.tensor(labels) if labels and len(labels) == len(told["numbers"]) else None
        own = Examples.of(nesting.named_like(kept_examples.of_plain(told["x"]), scene.examples.x), y, scene.classes or None, scene.kind)
        return FoundScan(scanned, own, source, told["numbers"])
    return FoundScan(scanned, read(scene, source), source) if source and os.path.isfile(source) else None


def _only(found: TopK, numbers: np.ndarray) -> TopK:
    """The strongest examples of which only some can be shown."""
    there = np.isin(found.examples, numbers)
    order = np.argsort(~there, 1, kind="stable")
    kept = np.take_along_axis(there, order, 1)
    values = np.where(kept, np.take_along_axis(found.values, order, 1), np.nan)
    examples, places = (
        np.where(kept, np.take_along_axis(each, order, 1), -1) for each in (found.examples, found.places)
    )
    return TopK(found.k, values, examples, places, found.largest)


def _asked(what: Any, data: Any, y: Any, step: int | str | None) -> tuple[Scene, Examples | Batches | None]:
    """The scene that is scanned, and examples that are in no file."""
    if isinstance(what, Scene):
        scene = what
    elif isinstance(what, nn.Module):
        return _of_module(what, data, y)
    elif hasattr(what, "scene"):
        scene = what.scene(step)
    else:
        raise UsageError(f"a scan wants a scene, a run or a module, got {type(what).__name__}")
    if data is None or isinstance(data, str | Path):
        return scene, None
    if isinstance(data, Examples):
        return scene, data
    if _is_loader(data):
        return scene, Batches(data, scene.examples.x)
    return scene, Examples.of(nesting.named_like(data, scene.examples.x), y, scene.classes or None, scene.kind)


def _of_module(model: nn.Module, data: Any, y: Any) -> tuple[Scene, Examples | Batches | None]:
    if data is None:
        raise UsageError("a scan of a module wants data: arrays, a file, or an iterable of batches (x, y)")
    if isinstance(data, str | Path):
        from ..data.files import read as read_file

        return Scene(model, read_file(data)), None
    if not _is_loader(data):
        return Scene(model, data, y), None
    found = Batches(data)
    scene = Scene(model, *found.first)
    found.like = scene.examples.x
    return scene, found


def _is_loader(data: Any) -> bool:
    array = isinstance(data, Tensor | np.ndarray | tuple | dict | list | str | Path | Examples)
    return not array and hasattr(data, "__iter__") or (isinstance(data, list) and bool(data) and all(map(_is_batch, data)))


def _is_batch(part: Any) -> bool:
    """Whether a part of a list is examples with their labels, and not one input of several."""
    if not isinstance(part, tuple) or len(part) != 2 or not all(isinstance(one, Tensor | np.ndarray) for one in part):
        return False
    x, y = part
    return y.ndim == 1 <= x.ndim and len(x) == len(y)
