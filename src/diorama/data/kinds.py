"""What an input is: an image, a table's row, tokens, a series or a sound; how raw input becomes a tensor and a tensor
is shown."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import UsageError, not_found
from .drawing import Drawing

Layout = str
"""NCHW, NHWC, NHW (grey without a channel dimension) or flat (pixels in a row, channel by channel)."""
LAYOUTS = ("NCHW", "NHWC", "NHW", "flat")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """What the inputs are, both ways: ``encode`` turns raw input into a batch, ``decode`` a batch into what is
    shown."""

    word: ClassVar[str] = ""
    sentence: str = ""
    """What was guessed and why; empty when told."""

    def encode(self, raw: Any) -> Tensor:
        """One raw input as a batch of one, ready for the model; raises UsageError for raw input of another kind."""
        raise NotImplementedError

    def decode(self, batch: Tensor) -> Any:
        """A batch as what is shown of it."""
        raise NotImplementedError

    def fitted(self, x: Tensor) -> Kind:
        """The same kind with all that was left open learned from examples."""
        return self

    def valid_range(self) -> tuple[float, float] | None:
        """The lowest and highest number that an input may hold, in the model's own numbers."""
        return None

    def describe(self) -> dict[str, Any]:
        """The kind as plain data for the page."""
        return {"kind": self.word, "sentence": self.sentence}

    def to_json(self) -> dict[str, Any]:
        """The kind as plain data, to be stored with a run; functions are left out."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {name: _plain(value) for name, value in fields.items() if not callable(value) and value is not None}
        return {"kind": self.word, **plain}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Kind:
        """Read what :meth:`to_json` wrote; fields of a later version are ignored."""
        if value["kind"] not in KINDS:
            raise not_found("kind of input", value["kind"], KINDS)
        kind = KINDS[value["kind"]]
        names = {field.name for field in dataclasses.fields(kind)}
        fields = {name: _firm(part) for name, part in value.items() if name in names}
        if isinstance(fields.get("drawing"), dict):
            fields["drawing"] = Drawing.from_json(fields["drawing"])
        return kind(**fields)


@dataclasses.dataclass(frozen=True)
class Image(Kind):
    """Images; ``mean`` and ``std`` say what was subtracted and divided by, ``range`` the values that stand for black
    and white.

    *Meaning* the model receives ``(value in range − mean) / std``. Whatever is left out is learned from the examples;
    when
    ``mean`` is given and ``range`` is not, the pictures were scaled to 0–1 first (or 0–255 where the mean exceeds 2).
    """

    word: ClassVar[str] = "image"
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    range: tuple[float, float] | None = None
    layout: Layout = "NCHW"
    height: int | None = None
    width: int | None = None
    channels: int | None = None
    drawing: Drawing | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise not_found("layout of images", self.layout, LAYOUTS)
        if self.range is not None and not self.range[0] < self.range[1]:
            raise UsageError(f"an image's range wants a lower and a higher number, got {self.range}")

    def normal(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation, one a channel, shaped (channels, 1, 1)."""
        return tuple(
            np.atleast_1d(np.asarray(fallback if value is None else value, np.float32)).reshape(-1, 1, 1)
            for value, fallback in ((self.mean, 0.0), (self.std, 1.0))
        )  # type: ignore[return-value]

    def span(self) -> tuple[float, float]:
        """The values that are shown as black and white, before mean and std were applied."""
        if self.range is not None:
            return float(self.range[0]), float(self.range[1])
        return (0.0, 255.0) if self.mean is not None and float(np.max(self.mean)) > 2 else (0.0, 1.0)

    def valid_range(self) -> tuple[float, float]:
        """The range in the model's own numbers, over all channels."""
        mean, std = self.normal()
        ends = [(np.float32(end) - mean) / std for end in self.span()]
        return float(min(end.min() for end in ends)), float(max(end.max() for end in ends))

    def planes(self, batch: Tensor) -> NDArray[np.float32]:
        """The batch as (n, channels, height, width) in the model's own numbers, whatever its layout."""
        array = batch.detach().to("cpu", torch.float32).numpy()
        if self.layout == "NHWC":
            return np.moveaxis(array, 3, 1)
        if self.layout == "NHW":
            return array[:, None]
        if self.layout == "flat":
            return array.reshape(len(array), self.channels or 1, self.height or 1, -1)
        return array

    def decode(self, batch: Tensor) -> NDArray[np.uint8]:
        """Pictures as uint8: (n, height, width) for one channel, (n, height, width, 3) for three; others show their
        mean."""
        mean, std = self.normal()
        low, high = self.span()
        planes = (self.planes(batch) * std + mean - low) / (high - low)
        planes = np.nan_to_num(planes, nan=0.0, posinf=1.0, neginf=0.0)
        pixels = np.rint(np.clip(planes, 0, 1) * 255).astype(np.uint8)
        if pixels.shape[1] == 3:
            return np.ascontiguousarray(np.moveaxis(pixels, 1, 3))
        return pixels[:, 0] if pixels.shape[1] == 1 else np.rint(pixels.mean(1)).astype(np.uint8)

    def encode(self, raw: Any) -> Tensor:
        """A drawing, an uploaded picture or an array of pixels (height, width[, 3]) as a batch of one."""
        if isinstance(raw, Mapping) and raw.get("kind") == "drawing":
            return self.of_pixels(self._drawn(_pixels(raw, 1)))
        if isinstance(raw, Mapping) and raw.get("kind") == "image":
            return self.of_pixels(self._sized(_pixels(raw, 3)))
        if isinstance(raw, (str, bytes, Mapping, list)):
            raise _unfit(raw, "an image", "a drawing, a picture or an array of pixels")
        array = np.asarray(raw)
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
            raise UsageError(f"an image wants pixels of shape (height, width) or (height, width, 3), got {array.shape}")
        if array.dtype.kind == "f":
            array = array * 255 if array.max(initial=0) <= 1 else array
        array = array[:, :, None] if array.ndim == 2 else array
        return self.of_pixels(self._sized(array[:, :, :3].astype(np.float32)))

    def of_pixels(self, pixels: NDArray[np.floating]) -> Tensor:
        """Pixels (height, width, 1 or 3) of 0 to 255 as the model receives them."""
        wanted = self.channels or pixels.shape[2]
        if wanted != pixels.shape[2]:
            grey = pixels.mean(2, keepdims=True) if pixels.shape[2] == 1 else pixels @ _LUMA
            pixels = np.repeat(grey, wanted, 2)
        mean, std = self.normal()
        low, high = self.span()
        planes = (np.moveaxis(pixels, 2, 0) / 255 * (high - low) + low - mean) / std
        batch = torch.from_numpy(np.ascontiguousarray(planes[None], np.float32))
        if self.layout == "NHWC":
            batch = batch.permute(0, 2, 3, 1).contiguous()
        elif self.layout == "NHW":
            batch = batch[:, 0]
        elif self.layout == "flat":
            batch = batch.flatten(1)
        dtype: torch.dtype = getattr(torch, self.dtype)
        return batch.to(dtype) if dtype.is_floating_point else batch.round().clamp(*self.valid_range()).to(dtype)

    def _drawn(self, canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.drawing is not None:
            return self.drawing.prepare(canvas[:, :, 0])[:, :, None]
        # Examples that are not drawings: ink is white, as on a blackboard.
        return self._sized(canvas.astype(np.float32))

    def _sized(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Cut to the data's proportions about the middle, then scaled to its size."""
        height, width = self.height or pixels.shape[0], self.width or pixels.shape[1]
        if pixels.shape[:2] == (height, width):
            return pixels.astype(np.float32)
        scale = min(pixels.shape[0] / height, pixels.shape[1] / width)
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
        cut = torch.from_numpy(np.ascontiguousarray(pixels[top : top + rows, left : left + columns], np.float32))
        planes = torch.nn.functional.interpolate(
            cut.permute(2, 0, 1)[None], (height, width), mode="bilinear", antialias=True, align_corners=False
        )
        return planes[0].permute(1, 2, 0).numpy()

    def fitted(self, x: Tensor) -> Image:
        """Size, channels, layout, range and the way of drawing, learned from examples."""
        from .guessing import image_from

        return image_from(self, x)

    def describe(self) -> dict[str, Any]:
        """Size, channels, range and whether drawings can be made into such images."""
        low, high = self.span()
        draw = self.drawing is not None
        return {
            **super().describe(), "height": self.height, "width": self.width, "channels": self.channels,
            "range": [low, high], "draw": draw,
        }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Table(Kind):
    """Rows of numbers; ``mean`` and ``std`` undo a standardization, so that columns are shown in their own units."""

    word: ClassVar[str] = "table"
    columns: Sequence[str] = ()
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    shape: tuple[int, ...] | None = None
    dtype: str = "float32"

    def decode(self, batch: Tensor) -> NDArray[np.float64]:
        """Rows (n, columns) in the columns' own units."""
        rows = batch.detach().to("cpu", torch.float64).numpy().reshape(len(batch), -1)
        return rows * _filled(self.std, 1.0) + _filled(self.mean, 0.0)

    def encode(self, raw: Any) -> Tensor:
        """A row of numbers in the columns' own units as a batch of one."""
        values = raw.get("values") if isinstance(raw, Mapping) and raw.get("kind") == "row" else raw
        try:
            row = np.asarray(values, np.float64).reshape(1, -1)
        except (TypeError, ValueError):
            raise _unfit(raw, "a table", "a row of numbers") from None
        wanted = len(self.columns) or (int(np.prod(self.shape)) if self.shape is not None else row.shape[1])
        if row.shape[1] != wanted:
            raise UsageError(f"a row wants {wanted} numbers ({', '.join(self.columns[:6])} …), got {row.shape[1]}")
        row = (row - _filled(self.mean, 0.0)) / _filled(self.std, 1.0)
        batch = torch.from_numpy(row).to(getattr(torch, self.dtype))
        return batch.reshape(1, *self.shape) if self.shape is not None else batch

    def fitted(self, x: Tensor) -> Table:
        """The columns are named by number when they have no names."""
        wide = int(np.prod(x.shape[1:], dtype=np.int64))
        if self.columns and len(self.columns) != wide:
            raise UsageError(f"the table has {wide} columns, but {len(self.columns)} names were given")
        columns = tuple(map(str, self.columns)) or tuple(f"x{k + 1}" for k in range(wide))
        dtype = str(x.dtype).removeprefix("torch.")
        return dataclasses.replace(self, columns=columns, shape=tuple(x.shape[1:]), dtype=dtype)

    def describe(self) -> dict[str, Any]:
        """The columns."""
        return {**super().describe(), "columns": list(self.columns)}


@dataclasses.dataclass(frozen=True)
class Tokens(Kind):
    """Texts as numbers; ``vocabulary`` lists the tokens by number, or ``encode`` and ``decode`` are functions that do
    it."""

    word: ClassVar[str] = "tokens"
    vocabulary: Sequence[str] | None = None
    encode_with: Callable[[str], Any] | None = None
    decode_with: Callable[[Any], Any] | None = None
    separator: str = ""
    length: int | None = None
    size: int | None = None

    def __init__(
        self, vocabulary: Sequence[str] | None = None, encode: Callable[[str], Any] | None = None,
        decode: Callable[[Any], Any] | None = None, separator: str = "", *, length: int | None = None,
        size: int | None = None, sentence: str = "", encode_with: Callable[[str], Any] | None = None,
        decode_with: Callable[[Any], Any] | None = None,
    ) -> None:  # fmt: skip
        fields = {
            "vocabulary": None if vocabulary is None else tuple(vocabulary), "encode_with": encode or encode_with,
            "decode_with": decode or decode_with, "separator": separator, "length": length,
            "size": len(vocabulary) if vocabulary is not None else size, "sentence": sentence,
        }  # fmt: skip
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def encode(self, raw: Any) -> Tensor:
        """A text as a batch of one (1, tokens)."""
        text = raw.get("text") if isinstance(raw, Mapping) and raw.get("kind") == "text" else raw
        if not isinstance(text, str):
            raise _unfit(raw, "tokens", "a text")
        if not text:
            raise UsageError("a text wants at least one token, got an empty one")
        if self.encode_with is not None:
            ids = torch.as_tensor(self.encode_with(text))
        elif self.vocabulary is not None:
            ids = torch.tensor(self._numbers(text))
        else:
            try:
                ids = torch.tensor([int(word) for word in text.replace(",", " ").split()])
            except ValueError:
                raise UsageError(
                    "without a vocabulary, tokens are typed as numbers (12 7 40); give inputs=Tokens(vocabulary=…)"
                ) from None
            if self.size is not None and (ids.min() < 0 or ids.max() >= self.size):
                raise UsageError(f"tokens want numbers from 0 to {self.size - 1}, got {int(ids.max())}")
        return ids.reshape(1, -1).long()

    def _numbers(self, text: str) -> list[int]:
        table = {token: number for number, token in enumerate(self.vocabulary or ())}
        unknown = next((table[word] for word in ("<unk>", "[UNK]", "�") if word in table), None)
        found, missing = [], []
        for token in _split(text, table, self.separator):
            number = table.get(token, unknown)
            found.append(number) if number is not None else missing.append(token)
        if missing:
            shown = ", ".join(repr(token) for token in dict.fromkeys(missing[:5]))
            raise UsageError(f"the vocabulary's {len(table)} tokens do not include {shown}; leave it out")
        return [number for number in found if number is not None]

    def decode(self, batch: Tensor) -> list[list[str]]:
        """The tokens of each text, as text."""
        rows = batch.detach().cpu().long().reshape(len(batch), -1).tolist()
        return [[self.token(number) for number in row] for row in rows]

    def token(self, number: int) -> str:
        """One token's text."""
        if self.vocabulary is not None:
            return self.vocabulary[number] if 0 <= number < len(self.vocabulary) else f"⟨{number}⟩"
        if self.decode_with is not None:
            text = self.decode_with([number])
            return text if isinstance(text, str) else str(text[0])
        return str(number)

    def valid_range(self) -> tuple[float, float] | None:
        """From the first to the last token's number."""
        return None if self.size is None else (0.0, float(self.size - 1))

    def fitted(self, x: Tensor) -> Tokens:
        """Length of the texts, and the number of tokens when there is no vocabulary."""
        highest = int(x.max()) + 1 if x.numel() else 0
        if self.vocabulary is not None and highest > len(self.vocabulary):
            raise UsageError(
                f"the vocabulary has {len(self.vocabulary)} tokens, but the examples hold number {highest - 1}"
            )
        length = int(x.shape[1]) if x.ndim > 1 else 1
        return dataclasses.replace(self, length=length, size=self.size or highest)

    def describe(self) -> dict[str, Any]:
        """The size of the vocabulary, the length of the texts, and whether text can be typed."""
        characters = (
            self.vocabulary is not None and self.separator == "" and max(map(len, self.vocabulary), default=0) == 1
        )
        typed = self.vocabulary is not None or self.encode_with is not None
        return {
            **super().describe(), "vocabulary": self.size, "length": self.length, "characters": characters,
            "typed": typed,
        }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Series(Kind):
    """Measurements over time (n, channels, steps); ``rate`` is the number of steps a second."""

    word: ClassVar[str] = "series"
    rate: float | None = None
    channels: int | None = None
    length: int | None = None
    dimensions: int = 3

    def decode(self, batch: Tensor) -> NDArray[np.float32]:
        """Series (n, channels, steps)."""
        array = batch.detach().to("cpu", torch.float32).numpy()
        return array[:, None] if array.ndim == 2 else array.reshape(len(array), array.shape[1], -1)

    def encode(self, raw: Any) -> Tensor:
        """An array (steps) or (channels, steps) as a batch of one."""
        values = raw.get("values") if isinstance(raw, Mapping) else raw
        try:
            array = np.atleast_2d(np.asarray(values, np.float32))
        except (TypeError, ValueError):
            raise _unfit(raw, f"a {self.word}", "an array of numbers over time") from None
        if array.ndim != 2 or (self.channels is not None and len(array) != self.channels):
            raise UsageError(f"a {self.word} wants an array of shape ({self.channels}, steps), got {array.shape}")
        batch = torch.from_numpy(array)[None]
        return batch[:, 0] if self.dimensions == 2 else batch

    def fitted(self, x: Tensor) -> Series:
        """Channels and length."""
        channels = int(x.shape[1]) if x.ndim == 3 else 1
        return dataclasses.replace(self, channels=channels, length=int(x.shape[-1]), dimensions=x.ndim)

    def describe(self) -> dict[str, Any]:
        """Channels, length and rate."""
        return {**super().describe(), "channels": self.channels, "length": self.length, "rate": self.rate}


@dataclasses.dataclass(frozen=True)
class Sound(Series):
    """Waveforms (n, samples) or (n, channels, samples); ``rate`` is the number of samples a second."""

    word: ClassVar[str] = "sound"

    def valid_range(self) -> tuple[float, float]:
        """From −1 to 1, full scale."""
        return -1.0, 1.0


KINDS: dict[str, type[Kind]] = {kind.word: kind for kind in (Image, Table, Tokens, Series, Sound)}
Kinds = Kind | dict[str, Kind]
"""One kind, or one a name for a model with several inputs (positions "0", "1" for a tuple)."""

_LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)


def to_json(kinds: Kinds) -> dict[str, Any]:
    """A kind, or several by name, as plain data."""
    if isinstance(kinds, dict):
        return {"kind": "several", "inputs": {name: kind.to_json() for name, kind in kinds.items()}}
    return kinds.to_json()


def from_json(value: Mapping[str, Any]) -> Kinds:
    """Read what :func:`to_json` wrote."""
    if value["kind"] == "several":
        return {name: Kind.from_json(part) for name, part in value["inputs"].items()}
    return Kind.from_json(value)


def describe(kinds: Kinds) -> dict[str, Any]:
    """A kind, or several by name, as plain data for the page."""
    if isinstance(kinds, dict):
        return {"kind": "several", "inputs": {name: kind.describe() for name, kind in kinds.items()}}
    return kinds.describe()


def guess(x: Any, y: Any = None) -> tuple[Kinds, str]:
    """Guess what inputs are from their shapes and numbers; the sentence says what was guessed and why."""
    from .guessing import kind_of

    return kind_of(x)


def _plain(value: Any) -> Any:
    if isinstance(value, Drawing):
        return value.to_json()
    if isinstance(value, (np.ndarray, Tensor, tuple, list)):
        return [_plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def _firm(value: Any) -> Any:
    return tuple(_firm(part) for part in value) if isinstance(value, list) else value


def _filled(value: float | Sequence[float] | None, fallback: float) -> NDArray[np.float64]:
    return np.asarray(fallback if value is None else value, np.float64)


def _split(text: str, table: Mapping[str, int], separator: str) -> list[str]:
    """A text's tokens: cut at the separator, or the longest that fits at each place."""
    if separator:
        return [word for word in text.split(separator) if word]
    longest = max(map(len, table), default=1)
    if longest <= 1:
        return list(text)
    found, at = [], 0
    while at < len(text):
        token = next((text[at : at + n] for n in range(longest, 0, -1) if text[at : at + n] in table), text[at])
        found.append(token)
        at += len(token)
    return found


def _pixels(raw: Mapping[str, Any], channels: int) -> NDArray[np.uint8]:
    """The pixels that the page sent, as (height, width, channels)."""
    try:
        shape = int(raw["height"]), int(raw["width"]), channels
        data = base64.b64decode(raw["pixels"], validate=True)
        return np.frombuffer(data, np.uint8).reshape(shape)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise UsageError(
            f"a {raw.get('kind')} wants width, height and as many pixels ({channels} bytes each, in base64)"
        ) from None


def _unfit(raw: Any, kind: str, wanted: str) -> UsageError:
    came = f"a {raw['kind']}" if isinstance(raw, Mapping) and "kind" in raw else type(raw).__name__
    return UsageError(f"the model's input is {kind}: give {wanted}, got {came}")
