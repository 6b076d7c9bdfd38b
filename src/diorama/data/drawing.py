"""A drawing on the page's pad, made into what the net would receive: the way the data was made is learned from
examples."""

from __future__ import annotations

import dataclasses
from hashlib import blake2b
from typing import Any

import numpy as np
import scipy  # and skimage: their parts are loaded where they are used, which takes longer than all of diorama
import skimage
from numpy.typing import NDArray

Grey = NDArray[np.float32]
_WORK = 140
"""Drawings are worked on at this size, which keeps the preparing under some milliseconds."""
_SAMPLE = 24
"""Examples that the blur and the stroke are fitted on; the measures of the frame use more."""
_KEPT = 32


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How the data was made: the frame, the levels, where the ink sits and how thick and soft its strokes are.

    ``paper`` and ``ink`` are levels in the data's own numbers, ``box`` the longest side of the ink's bounding box in
    pixels,
    ``stroke`` the width of a stroke in pixels, ``blur`` the standard deviation of its softness in pixels and ``gain``
    what brings softened ink back to full
    strength. ``by_mass`` centres
    by the centre of mass, otherwise by the bounding box; ``centre`` is where that centre lies (row, column).
    """

    height: int
    width: int
    paper: float = 0.0
    ink: float = 255.0
    box: float = 20.0
    by_mass: bool = True
    centre: tuple[float, float] = (0.0, 0.0)
    stroke: float = 2.0
    blur: float = 0.5
    gain: float = 1.0

    @classmethod
    def fit(cls, x: Any) -> Drawing | None:
        """Learn from grey examples (n, height, width) of any range; None when they are not drawings on an even
        ground.

        *Cost* some 40 ms; the same examples are looked at once in a process, however many scenes are opened on them.
        """
        images = np.ascontiguousarray(x, np.float32)
        if images.ndim != 3 or not len(images) or min(images.shape[1:]) < 6 or not np.isfinite(images).all():
            return None
        of = images.shape, blake2b(images.data, digest_size=16).digest()
        if of not in _FITTED:
            while len(_FITTED) >= _KEPT:
                _FITTED.pop(next(iter(_FITTED)), None)
            _FITTED[of] = cls._learn(images)
        return _FITTED[of]

    @classmethod
    def _learn(cls, images: Grey) -> Drawing | None:
        levels = _levels(images)
        if levels is None:
            return None
        paper, ink = levels
        inked = np.clip((images - paper) / (ink - paper), 0, 1)
        frames = [frame for frame in map(_measure, inked[:256]) if frame is not None]
        if not frames:
            return None
        box, mass, middle = (np.array([frame[k] for frame in frames]) for k in range(3))
        by_mass = bool(mass.std(0).sum() <= middle.std(0).sum())
        centre = (mass if by_mass else middle).mean(0)
        made = cls(
            height=images.shape[1], width=images.shape[2], paper=paper, ink=ink, box=float(np.median(box)),
            by_mass=by_mass, centre=(float(centre[0]), float(centre[1])),
        )
        return made._with_strokes(inked[:_SAMPLE])

    def _with_strokes(self, inked: Grey) -> Drawing:
        """Choose stroke and blur so that examples, drawn again with a hard pen, come out as they were."""
        redrawn = [_Ink.of(_pen(image)) for image in inked]
        pairs = [(ink, image) for ink, image in zip(redrawn, inked, strict=True) if ink is not None]
        if not pairs:
            return self
        start = float(np.median([ink.stroke / (ink.side / max(self.box - 1, 2)) for ink, _ in pairs]))
        wanted = np.stack([image for _, image in pairs])
        best, smallest = self, np.inf
        for factor in (0.7, 0.85, 1.0, 1.2):
            thick = dataclasses.replace(self, stroke=start * factor, blur=0.0)
            sharp = [(thick._place(ink), image) for ink, image in pairs]
            for blur in (0.0, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8):
                soft = np.stack([_soften(drawn, blur) for drawn, _ in sharp])
                for gain in (1.0, 1.15, 1.35, 1.6):
                    error = _unlike(np.minimum(soft * gain, 1), wanted)
                    if error < smallest:
                        best, smallest = dataclasses.replace(thick, blur=blur, gain=gain), error
        return best

    def prepare(self, canvas: Any) -> Grey:
        """A canvas (height, width) of uint8, 0 = paper and 255 = ink, as an image like the data (height, width).

        *Meaning* the strokes are brought to the data's thickness, scaled to its usual box, centred as it is, softened
        as it
        is and given its levels. An empty canvas is plain paper.
        """
        ink = _Ink.of(np.asarray(canvas, np.float32) / np.float32(255))
        plain = np.zeros((self.height, self.width), np.float32)
        if ink is not None:
            plain = np.minimum(_soften(self._place(ink), self.blur) * self.gain, 1)
        return (self.paper + plain * (self.ink - self.paper)).astype(np.float32)

    def _place(self, ink: _Ink) -> Grey:
        """The strokes in the data's thickness, scaled and centred in the data's frame; 0 to 1."""
        scale = max(ink.side, 4.0) / max(self.box - self.stroke, self.box / 3)
        image = np.clip(self.stroke * scale / 2 - ink.distance + 0.5, 0, 1).astype(np.float32)
        rows, columns = np.mgrid[: self.height, : self.width]
        at = scipy.ndimage.center_of_mass(image) if self.by_mass else ink.middle
        # Smooth before sampling, so that thin strokes do not fall between the data's pixels.
        smooth = scipy.ndimage.uniform_filter(image, max(1, round(scale)), mode="constant")
        row = at[0] + (rows - self.centre[0]) * scale
        column = at[1] + (columns - self.centre[1]) * scale
        return np.asarray(scipy.ndimage.map_coordinates(smooth, [row, column], order=1, mode="constant"), np.float32)

    def to_json(self) -> dict[str, Any]:
        """The drawing's numbers as plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Drawing:
        """Read what :meth:`to_json` wrote."""
        return cls(**{**value, "centre": tuple(value["centre"])})


_FITTED: dict[tuple[tuple[int, ...], bytes], Drawing | None] = {}
"""What was learned from which examples, by their shape and content."""


@dataclasses.dataclass(frozen=True)
class _Ink:
    """A drawing's strokes: the distance of every pixel from their middle line, and their measures in pixels."""

    distance: NDArray[np.float64]
    stroke: float
    box: tuple[float, float, float, float]  # top, left, height, width of the middle line

    @property
    def middle(self) -> tuple[float, float]:
        return self.box[0] + (self.box[2] - 1) / 2, self.box[1] + (self.box[3] - 1) / 2

    @property
    def side(self) -> float:
        return max(self.box[2], self.box[3])

    @classmethod
    def of(cls, canvas: Grey) -> _Ink | None:
        """Measure a canvas of 0 (paper) to 1 (ink); None when nothing is drawn."""
        if max(canvas.shape) > _WORK:
            scale = _WORK / max(canvas.shape)
            shape = tuple(max(1, round(side * scale)) for side in canvas.shape)
            canvas = skimage.transform.resize(canvas, shape, order=1, anti_aliasing=False).astype(np.float32)
        # Room around it: a stroke may end at the very edge.
        canvas = np.pad(canvas, 8)
        black = canvas > 0.5
        if not black.any():
            return None
        line = skimage.morphology.skeletonize(black)
        if not line.any():
            line = black
        # A blob's middle line is a point: the stroke is then as wide as the blob.
        inside = scipy.ndimage.distance_transform_edt(black)
        stroke = 2 * float(np.median(inside[line])) - 0.5
        distance = scipy.ndimage.distance_transform_edt(~line)
        return cls(distance, max(stroke, 1.0), _box(line))


def _box(black: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(black.any(1)), np.flatnonzero(black.any(0))
    return float(rows[0]), float(columns[0]), float(rows[-1] - rows[0] + 1), float(columns[-1] - columns[0] + 1)


def _levels(images: Grey) -> tuple[float, float] | None:
    """The paper's and the ink's level, or None when the border is not an even ground."""
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], 1).ravel()
    low, high = np.percentile(images, [0.5, 99.5])
    if high <= low:
        return None
    paper = float(np.median(border))
    if abs(paper - low) < abs(paper - high):
        ink = float(np.median(images.reshape(len(images), -1).max(1)))
    else:
        ink = float(np.median(images.reshape(len(images), -1).min(1)))
    near = np.abs(images - paper) < 0.15 * (high - low)
    even = np.abs(border - paper) < 0.25 * (high - low)
    if even.mean() < 0.6 or near.mean() < 0.25 or abs(ink - paper) < 0.3 * (high - low):
        return None
    return paper, ink


def _measure(inked: Grey) -> tuple[float, tuple[float, float], tuple[float, float]] | None:
    """Of one example: the longest side of its ink, its centre of mass, the middle of its bounding box."""
    black = inked > 0.5
    if black.sum() < 2:
        return None
    top, left, height, width = _box(black)
    mass = scipy.ndimage.center_of_mass(inked)
    return max(height, width), (mass[0], mass[1]), (top + (height - 1) / 2, left + (width - 1) / 2)


def _pen(inked: Grey) -> Grey:
    """The example as a person would have drawn it on the pad: large, and black or white."""
    scale = max(1, _WORK // max(inked.shape))
    large = skimage.transform.resize(
        inked, (inked.shape[0] * scale, inked.shape[1] * scale), order=1, mode="constant", anti_aliasing=False
    )
    return np.asarray(large > 0.5, np.float32)


def _unlike(drawn: Grey, wanted: Grey) -> float:
    """How far drawings are from what they should be: pixel by pixel, and in how many pixels have which level."""
    levels = np.sort(drawn.ravel()) - np.sort(wanted.ravel())
    return float(np.mean((drawn - wanted) ** 2) + 2 * np.mean(levels**2))


def _soften(image: Grey, blur: float) -> Grey:
    return image if blur == 0 else scipy.ndimage.gaussian_filter(image, blur, mode="constant").astype(np.float32)
