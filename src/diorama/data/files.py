"""Reading examples from a user's own files: .npz, MNIST-style idx, a folder of images with one folder a class, .csv,
.txt."""

from __future__ import annotations

import dataclasses
import gzip
import math
import re
import struct
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import UnidentifiedImageError

from ..core.errors import Damaged, NotFound, UsageError
from .examples import Examples
from .kinds import Tokens
from .nesting import first
from .tables import read_table

WINDOW = 96
"""Characters of one example of text."""
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_LARGEST = 224
MOST_BYTES = 4_000_000_000
"""Bytes that a packed file may unpack to."""
MOST_PIXELS = 100_000_000
"""Pixels of one image."""
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_TOO_MANY = f"at most {MOST_PIXELS:,} are read, so scale it down"
_FORMS = ".npz, an idx file, a folder of images with one folder a class, .csv or .txt"


def read(path: str | Path) -> Examples:
    """Read examples from a file or folder; the test set, where there is one, is their ``held_out``.

    *Raises* NotFound when nothing is there, UsageError for another form, Damaged when the file cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise NotFound(f"no data at {str(path)!r}; give {_FORMS}")
    try:
        return _reader(path)(path)
    except (OSError, EOFError, struct.error, zipfile.BadZipFile, zlib.error, UnicodeDecodeError) as error:
        raise Damaged(f"{str(path)!r} cannot be read: {error}") from error


def _reader(path: Path) -> Callable[[Path], Examples]:
    if path.is_dir():
        return _read_folder
    name = path.name.lower()
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _read_npz
    if suffix in (".csv", ".tsv"):
        return read_table
    if suffix in (".txt", ".py", ".md"):
        return _read_text
    if "idx" in name or name.endswith(("ubyte", "ubyte.gz")):
        return _read_idx
    raise UsageError(f"data wants {_FORMS}, got {path.name!r}")


def _read_npz(path: Path) -> Examples:
    if not zipfile.is_zipfile(path):
        raise Damaged(f"{path.name!r} is no .npz file: np.savez makes one")
    with zipfile.ZipFile(path) as archive:
        _bounded(path, sum(part.file_size for part in archive.infolist()))
    with np.load(path, allow_pickle=False) as file:
        try:
            arrays = {name: file[name] for name in file.files}
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise Damaged(f"{path.name!r} cannot be read: {error}") from error
            raise UsageError(
                f"{path.name!r} holds Python objects, which are not read; save plain arrays x and y"
            ) from None
        except (MemoryError, zlib.error) as error:
            raise Damaged(f"{path.name!r} is not what it says: {error}") from error
    return from_arrays(arrays, path.name)


def _bounded(path: Path, size: int) -> None:
    """Refuse a file by what it says it unpacks to, before any of it is."""
    if size > MOST_BYTES:
        raise UsageError(
            f"{path.name!r} unpacks to {size:,} bytes; at most {MOST_BYTES:,} are read, so give a part of it"
        )


def from_arrays(arrays: Mapping[str, NDArray[Any]], source: str) -> Examples:
    """Examples from named arrays: ``x``, ``y``, ``classes``, or ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    Several inputs are ``x0``, ``x1``, … in their order, or bear the names by which the model takes them.
    """
    classes = [str(name) for name in arrays["classes"]] if "classes" in arrays else None
    if "x_train" in arrays:
        train = _labelled(arrays["x_train"], arrays.get("y_train"), classes)
        if "x_test" not in arrays:
            return train
        names = classes or (list(train.classes) or None)
        test = _labelled(arrays["x_test"], arrays.get("y_test"), names, train.kind)
        return dataclasses.replace(train, held_out=test)
    if "x" in arrays:
        return _labelled(arrays["x"], arrays.get("y"), classes)
    inputs = [name for name in arrays if name not in ("y", "classes")]
    if len(inputs) == 1:
        return _labelled(arrays[inputs[0]], arrays.get("y"), classes)
    if not inputs or any(re.fullmatch(r"arr_\d+", name) for name in inputs):
        raise UsageError(
            f"{source!r} wants arrays x and y (or x_train, y_train, x_test, y_test; several inputs as x0, x1, … or by the names "
            f"that the model gives them), got {', '.join(arrays) or 'none'}"
        )
    if all(re.fullmatch(r"x_?\d+", name) for name in inputs):
        order = sorted(inputs, key=lambda name: int(name.lstrip("x_")))
        return _labelled(tuple(arrays[name] for name in order), arrays.get("y"), classes)
    return _labelled({name: arrays[name] for name in inputs}, arrays.get("y"), classes)


def _labelled(x: Any, y: NDArray[Any] | None, classes: list[str] | None, kind: Any = None) -> Examples:
    """Labels in a column of one are one a row; labels in words become classes."""
    if y is not None and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y is not None and y.dtype.kind in "US":
        words = classes or sorted({str(word) for word in y})
        y, classes = np.array([words.index(str(word)) for word in y]), list(words)
    if y is not None and y.dtype == np.bool_:
        y = y.astype(np.int64)
    if (
        y is not None
        and y.dtype.kind == "f"
        and y.ndim == 1
        and np.isfinite(y).all()
        and classes
        and (y == y.round()).all()
    ):
        y = y.astype(np.int64)
    return Examples.of(x, y, classes, inputs=kind)


_IDX = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx_array(path: Path) -> NDArray[Any]:
    """One array in the idx form of the MNIST files, compressed or not."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        head = file.read(4)
        zero, code, dimensions = struct.unpack(">HBB", head)
        if zero != 0 or code not in _IDX:
            raise Damaged(f"{path.name!r} is not in the idx form: it begins with {head.hex()}")
        shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
        wanted, width = math.prod(shape), np.dtype(_IDX[code]).itemsize
        _bounded(path, wanted * width)
        data = file.read(wanted * width + 1)
    if len(data) != wanted * width:
        short = len(data) < wanted * width
        said = f"is cut short: {len(data) // width} numbers of {wanted}" if short else f"holds more than {wanted} numbers"
        raise Damaged(f"{path.name!r} {said}")
    body = np.frombuffer(data, _IDX[code])
    return body.reshape(shape).astype(_IDX[code][1:])


def _beside(path: Path, *changes: tuple[str, str]) -> Path | None:
    """The file of the same set under its other name, packed or not."""
    name = path.name
    for old, new in changes:
        name = name.replace(old, new)
    plain = name.removesuffix(".gz")
    return next(
        (path.with_name(other) for other in (name, plain, plain + ".gz") if path.with_name(other).is_file()), None
    )


def _read_idx(path: Path) -> Examples:
    if "labels" in path.name:
        path = _beside(path, ("labels", "images"), ("idx1", "idx3")) or path
    train = _idx_pair(path)
    test = _beside(path, ("train", "t10k")) if "train" in path.name else None
    if test is None or test == path:
        return train
    held_out = _idx_pair(test)
    return dataclasses.replace(train, held_out=dataclasses.replace(held_out, classes=train.classes, kind=train.kind))


def _idx_pair(path: Path) -> Examples:
    labels = _beside(path, ("images", "labels"), ("idx3", "idx1"))
    y = read_idx_array(labels) if labels is not None and labels != path else None
    return Examples.of(read_idx_array(path), y)


def _read_folder(path: Path) -> Examples:
    idx = sorted(
        file for file in path.iterdir() if "images" in file.name and ("idx" in file.name or "ubyte" in file.name)
    )
    if idx:
        return _read_idx(next((file for file in idx if "train" in file.name), idx[0]))
    sets = {folder.name.lower(): folder for folder in path.iterdir() if folder.is_dir()}
    test = next((sets[name] for name in ("test", "val", "valid", "validation") if name in sets), None)
    if "train" in sets and test is not None:
        train = _read_images(sets["train"], None)
        _, height, width, _ = train.x.shape  # type: ignore[union-attr]
        return dataclasses.replace(train, held_out=_read_images(test, (height, width), train))
    return _read_images(path, None)


def _read_images(path: Path, size: tuple[int, int] | None, like: Examples | None = None) -> Examples:
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir())
    files = [(file, folder.name) for folder in folders for file in sorted(folder.rglob("*")) if _is_image(file)]
    if not files:
        files = [(file, "") for file in sorted(path.iterdir()) if _is_image(file)]
    if not files:
        raise UsageError(
            f"{str(path)!r} holds no images; wanted one folder a class with {', '.join(_IMAGES[:4])} … in it"
        )
    pictures = [_open(file) for file, _ in files]
    sizes = Counter(picture.size for picture in pictures)
    width, height = sizes.most_common(1)[0][0] if size is None else size[::-1]
    largest = _LARGEST / max(width, height, _LARGEST)
    width, height = max(1, round(width * largest)), max(1, round(height * largest))
    coloured = any(picture.mode != "L" for picture in pictures)
    colour = first(like.x).shape[3] == 3 if like is not None else coloured
    x = np.stack([_cut(picture.convert("RGB" if colour else "L"), width, height) for picture in pictures])
    classes = list(like.classes) if like is not None else sorted({name for _, name in files})
    unknown = {name for _, name in files} - set(classes)
    if unknown:
        raise UsageError(
            f"the held-out folder {path.name!r} has classes that the training lacks: {', '.join(sorted(unknown))}"
        )
    y = np.array([classes.index(name) for _, name in files]) if classes != [""] else None
    x = x if x.ndim == 4 else x[..., None]
    examples = Examples.of(x, y, classes if y is not None else None)
    if len(sizes) > 1 or largest < 1:
        said = f"guessed: the images, of {len(sizes)} sizes, are cut and scaled to {width} × {height} pixels."
        examples = dataclasses.replace(examples, guessed=(*examples.guessed, said))
    return examples


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in _IMAGES and file.is_file()


def _open(file: Path) -> Picture.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Picture.DecompressionBombWarning)  # our own bound is below
            opened = Picture.open(file)
        with opened as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise UsageError(f"{file.name!r} has {picture.width} × {picture.height} pixels; {_TOO_MANY}")
            picture.load()
            grey = picture.mode in ("1", "L", "I", "I;16", "F")
            return picture.convert("L" if grey else "RGB")
    except Picture.DecompressionBombError:
        raise UsageError(f"{file.name!r} has too many pixels; {_TOO_MANY}") from None
    except UsageError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        raise Damaged(f"{file.name!r} is no image that can be read: {error}") from None


def _cut(picture: Picture.Image, width: int, height: int) -> NDArray[np.uint8]:
    """Cut to the proportions about the middle, then scale."""
    if picture.size == (width, height):
        return np.asarray(picture)
    scale = min(picture.width / width, picture.height / height)
    left, top = (picture.width - width * scale) / 2, (picture.height - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    return np.asarray(picture.resize((width, height), Picture.Resampling.BILINEAR, box=box))


def _read_text(path: Path) -> Examples:
    text, said = _decoded(path.read_bytes())
    examples = from_text(text)
    return dataclasses.replace(examples, guessed=(*examples.guessed, said)) if said else examples


def _decoded(data: bytes) -> tuple[str, str]:
    """A text's bytes as characters, as UTF-8 or what their first bytes say they are, and in a sentence what was not."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            text = data[len(mark) :].decode(name, "replace")
            break
    else:
        name, text = "utf-8", data.decode("utf-8", "replace")
    strange = text.count("�") - data.decode(name, "ignore").count("�")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text, f"{strange:,} places of the text are no {name.upper()} and stand as �." if strange > 0 else ""


def from_text(text: str, vocabulary: tuple[str, ...] | None = None, window: int = WINDOW) -> Examples:
    """Windows of characters (n, window) with, as labels, the characters that follow each; rare characters become
    '�'."""
    if vocabulary is None:
        counts = Counter(text)
        common = [character for character, _ in counts.most_common(255) if character != "�"]
        vocabulary = tuple(sorted(common))
        if len(counts) > len(vocabulary):
            vocabulary = (*vocabulary, "�")
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    known = {ord(character): number for number, character in enumerate(vocabulary) if len(character) == 1}
    numbers = np.full(max(int(codes.max(initial=0)), *known, 0) + 1, known.get(ord("�"), 0))
    numbers[list(known)] = list(known.values())
    ids = torch.from_numpy(numbers[codes])
    count = (len(ids) - 1) // window
    if count < 1:
        raise UsageError(f"a text wants more than {window} characters, got {len(ids)}")
    x = ids[: count * window].reshape(count, window)
    y = ids[1 : count * window + 1].reshape(count, window)
    return Examples.of(x, y, vocabulary, inputs=Tokens(vocabulary))
