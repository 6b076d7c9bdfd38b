"""Images: any layout and range, to the model and back to what is shown."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import UsageError, not_found
from .drawing import Drawing
from .kind import Kind, unfit
from .nesting import real

Layout = str
"""NCHW, NHWC, NHW (grey without a channel dimension) or flat (pixels in a row, channel by channel)."""
LAYOUTS = ("NCHW", "NHWC", "NHW", "flat")
_LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)


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
        array = real(batch, torch.float32).numpy()
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
        return np.asarray(pixels[:, 0] if pixels.shape[1] == 1 else np.rint(pixels.mean(1)), np.uint8)

    def encode(self, raw: Any) -> Tensor:
        """A drawing, an uploaded picture, exact pixels or an array of pixels (height, width[, 3]) as a batch of one."""
        if isinstance(raw, Mapping) and raw.get("kind") == "pixels":
            return self.of_pixels(self._exact(raw))
        if isinstance(raw, Mapping) and raw.get("kind") == "drawing":
            return self.of_pixels(self._drawn(_pixels(raw, 1)))
        if isinstance(raw, Mapping) and raw.get("kind") == "image":
            return self.of_pixels(self._sized(_pixels(raw, 3)))
        if isinstance(raw, (str, bytes, Mapping, list)):
            raise unfit(raw, "an image", "a drawing, a picture or an array of pixels")
        array = np.asarray(raw)
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
            raise UsageError(f"an image wants pixels of shape (height, width) or (height, width, 3), got {array.shape}")
        if array.dtype.kind == "f":
            array = array * 255 if array.max(initial=0) <= 1 else array
        array = array[:, :, None] if array.ndim == 2 else array
        return self.of_pixels(self._sized(array[:, :, :3].astype(np.float32)))

    def edited(self, raw: Mapping[str, Any], of: Tensor) -> Tensor:
        """Exact pixels that a person made out of an example, as a batch of one.

        *Meaning* a pixel that still looks as it did keeps the example's own number, beyond what 256 levels can say, so
        that an example nobody has changed comes back as it is; *of* is the example as a batch of one.
        """
        mine, own = self.encode(raw), of.detach().to("cpu")
        seen = np.atleast_3d(self.decode(own)[0]).astype(np.float32)
        again = self.of_pixels(seen)
        return torch.where(mine == again, own, mine) if mine.shape == own.shape == again.shape else mine

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

    def _exact(self, raw: Mapping[str, Any]) -> NDArray[np.float32]:
        """Pixels that were painted at the data's own size: they are taken as they are, or refused."""
        channels = raw.get("channels")
        if channels not in (1, 3) or (self.channels is not None and channels != self.channels):
            wanted = self.channels if self.channels in (1, 3) else "1 or 3"
            raise UsageError(f"exact pixels want the data's own {wanted} channels, got {channels!r}")
        pixels = _pixels(raw, int(channels))
        size = self.height or pixels.shape[0], self.width or pixels.shape[1]
        if pixels.shape[:2] != size:
            raise UsageError(
                f"exact pixels want the data's own size {size[0]} × {size[1]}, got {pixels.shape[0]} × "
                f"{pixels.shape[1]}; send a picture to have it scaled"
            )
        return pixels.astype(np.float32)

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
        from .kind_guess import image_from

        return image_from(self, x)

    def describe(self) -> dict[str, Any]:
        """Size, channels, range and whether drawings can be made into such images."""
        low, high = self.span()
        draw = self.drawing is not None
        return {
            **super().describe(), "height": self.height, "width": self.width, "channels": self.channels,
            "range": [low, high], "receives": list(self.valid_range()), "draw": draw,
        }


def _pixels(raw: Mapping[str, Any], channels: int) -> NDArray[np.uint8]:
    """The pixels that the page sent, as (height, width, channels)."""
    try:
        shape = int(raw["height"]), int(raw["width"]), channels
        if min(shape) < 1:
            raise ValueError("no pixels")
        data = base64.b64decode(raw["pixels"], validate=True)
        return np.frombuffer(data, np.uint8).reshape(shape)
    except (KeyError, TypeError, ValueError, binascii.Error):
        kind = {"image": "an image", "drawing": "a drawing"}.get(raw["kind"], "a picture")
        raise UsageError(f"{kind} wants width, height and as many pixels ({channels} bytes each, in base64)") from None
