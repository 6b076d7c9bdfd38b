"""A picture is a small tree of marks with its title, caption, checks and provenance; it travels as JSON header + binary arrays."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from . import registry
from .blame import charged
from .errors import Damaged, Faulty, Unavailable, not_found
from .knobs import build, knobs_of
from .marks import Group, Mark, Node
from .paths import path_of
from .provenance import Provenance

MAGIC = b"DIO1"
_HEAD = struct.Struct("<4sI")


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A number that says how far to believe a picture, with one sentence on how to read it."""

    name: str
    value: float
    sentence: str = ""
    unit: str = ""
    good: bool | None = None


class MapPlaces(msgspec.Struct, frozen=True, kw_only=True):
    """Where the points of a picture stand: ``of`` names the map, the same at all steps of a training; ``step`` is the one whose map it is."""

    of: str
    step: int


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What a view may yield between pictures: how far its work is; ``seconds`` is what is left, when known."""

    done: float
    total: float
    note: str = ""
    seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class Draft:
    """A picture on the way: a view may offer one after every piece of its work, and it is made only when the next one is due."""

    make: Callable[[], Picture | None]
    """None where there is nothing to show yet."""


class Picture(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """What a view yields. ``final`` is False while refinements follow; ``note`` says what is missing or unusual; ``hint`` what can
    be done with it in the page, and stands there alone; ``idle`` names knobs that change nothing as the others stand, and choices of
    one that do not apply (``knob=choice``), each with a sentence why; ``places`` tells of a map that follows a training at which step its
    points stand, which is an earlier one until that of this step is there."""

    title: str
    body: Node
    caption: str = ""
    provenance: Provenance | None = None
    checks: tuple[Check, ...] = ()
    note: str = ""
    hint: str = ""
    step: int | None = None
    final: bool = True
    idle: dict[str, str] = {}
    places: MapPlaces | None = None

    def to_bytes(self) -> bytes:
        """The binary form: magic, header length, JSON header, then the arrays, each at a multiple of 8 bytes."""
        arrays: list[np.ndarray] = []

        def place(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                arrays.append(_portable(value))
                return {"$": len(arrays) - 1}
            if isinstance(value, np.generic):
                return value.item()
            raise TypeError(f"a picture cannot carry {type(value).__name__}")

        content = msgspec.to_builtins(self, enc_hook=place)
        layout, offset = [], 0
        for array in arrays:
            layout.append({"dtype": array.dtype.str[1:], "shape": list(array.shape), "offset": offset})
            offset += -(-array.nbytes // 8) * 8
        try:
            header = msgspec.json.encode({"picture": content, "arrays": layout})
        except UnicodeEncodeError:
            # Halves of a character, as texts have that were read from other bytes than UTF-8.
            header = msgspec.json.encode({"picture": _whole(content), "arrays": layout})
        header += b" " * (-(len(header) + _HEAD.size) % 8)
        parts: list[bytes | memoryview] = [_HEAD.pack(MAGIC, len(header)), header]
        for array in arrays:
            parts += [array.data.cast("B") if array.size else b"", b"\0" * (-array.nbytes % 8)]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Picture:
        """Read the binary form; raises Damaged when it is not one."""
        try:
            magic, length = _HEAD.unpack_from(data)
            if magic != MAGIC:
                raise ValueError("wrong magic")
            header = json.loads(bytes(data[_HEAD.size : _HEAD.size + length]))
            start = _HEAD.size + length
            arrays = [_array(data, start, entry) for entry in header["arrays"]]

            def take(kind: type, value: Any) -> Any:
                if kind is np.ndarray:
                    return arrays[value["$"]]
                raise TypeError(kind)

            return msgspec.convert(header["picture"], cls, dec_hook=take)
        except (struct.error, ValueError, KeyError, IndexError, TypeError) as error:
            raise Damaged(f"these bytes are not a picture: {error}") from error

    def save(self, path: str | Path, **options: Any) -> Path:
        """Save as .png, .svg, .pdf, .html, .json, .npz, .mp4 or .gif, or in a third party's format, by the path's suffix.

        ``mp4`` and ``gif`` make a film over all snapshots of the run that the picture came from. ``footer=True`` writes the
        provenance below a figure; it always stands in the file's metadata.

        *Raises* NotFound for another suffix, or another option than the format has; Unavailable where the file cannot be written; Faulty, which
        names it, where a saver writes no file.
        """
        target = path_of(path, "a picture wants the path of a file")
        suffix = target.suffix.lstrip(".").lower()
        if suffix not in registry.savers:
            raise not_found("file format", suffix or str(path), registry.savers.names)
        kind = registry.savers[suffix]
        hears = {field.name for field in dataclasses.fields(kind)} - {*knobs_of(kind)}  # progress and cancel, of films
        saver = build(kind, {name: value for name, value in options.items() if name not in hears})
        if hears & options.keys():
            saver = dataclasses.replace(saver, **{name: value for name, value in options.items() if name in hears})
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with charged(saver):
                saver.save(self, target)
        except OSError as error:
            raise Unavailable(f"{str(target)!r} cannot be written: {error.strerror or error}") from error
        if not target.is_file():
            wrote = "made a folder of" if target.is_dir() else "wrote nothing to"
            raise Faulty(f"{registry.told(saver)} wants mending: it {wrote} {target}, where one file is wanted")
        return target

    @property
    def frames(self) -> Callable[[], Iterator[Picture]] | None:
        """What makes the film: the same view at each snapshot, in order; None when there is only this moment."""
        found: Callable[[], Iterator[Picture]] | None = self.__dict__.get("frames_")
        return found

    def with_frames(self, frames: Callable[[], Iterator[Picture]]) -> Picture:
        """Attach what makes the film; it is not stored with the picture."""
        self.__dict__["frames_"] = frames
        return self

    def marks(self) -> Iterator[Mark]:
        """All marks of the tree, groups included, from the top."""
        waiting: list[Mark] = [self.body]
        while waiting:
            mark = waiting.pop(0)
            yield mark
            if isinstance(mark, Group):
                waiting = [*mark.children, *waiting]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        notebook = registry.widget_for(self)
        return notebook if notebook is not None else {"text/plain": repr(self)}

    def _display_(self) -> Any:
        # What marimo shows; it knows widgets, but not their MIME bundles.
        return registry.widget_for(self, bundle=False) or repr(self)

    def __repr__(self) -> str:
        kinds = ", ".join(type(mark).__name__.lower() for mark in self.marks() if not isinstance(mark, Group))
        at = f" at step {self.step}" if self.step is not None else ""
        return f"<Picture {self.title!r}{at}: {kinds}>"


def _whole(content: Any) -> Any:
    """The same plain data, in which what is half a character is the sign for one that is missing."""
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(content, dict):
        return {_whole(name): _whole(value) for name, value in content.items()}
    return [_whole(each) for each in content] if isinstance(content, list | tuple) else content


def _portable(array: np.ndarray) -> np.ndarray:
    """The array in a type that a browser has: 64-bit integers and half floats are widened or narrowed without loss of meaning."""
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    elif array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        small = array.size == 0 or (array.min() >= -(2**31) and array.max() < 2**31)
        array = array.astype(np.int32 if small else np.float64)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def _array(data: bytes, start: int, entry: dict[str, Any]) -> np.ndarray:
    count = int(np.prod(entry["shape"], dtype=np.int64))
    dtype = np.dtype("<" + entry["dtype"])
    if dtype.kind not in "fiu" or count < 0:
        raise ValueError("a type that no picture has")
    return np.frombuffer(data, dtype, count, start + entry["offset"]).reshape(entry["shape"])
