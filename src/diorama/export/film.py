"""A picture over a training as frames of one size, with limits and axes that stay fixed."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..core.errors import Cancelled, NotApplicable
from ..core.knobs import knob
from ..core.picture import Picture, Progress
from .figure import compose, raster
from .formats import Saver
from .held_ranges import HeldRanges
from .place import beside
from .sheet import PER_INCH
from .style import Style

Report = Callable[[Progress], None]


class Film:
    """The frames of a picture: gathered once (waiting in a temporary file), measured, painted one by one.

    Its length counts them; ``still`` says that the picture has only its one moment. Once cancelled it raises Cancelled.
    """

    def __init__(
        self,
        picture: Picture,
        style: Style,
        *,
        most: int,
        footer: bool = False,
        progress: Report | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> None:
        self.style, self.footer = style, footer
        self._progress, self._cancel = progress, cancel
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._places: list[tuple[int, int]] = []
        self._held = HeldRanges()
        self.still = picture.frames is None
        try:
            self._gather(picture, most)
            self.width, self.height = self._measure()
        except BaseException:
            self.close()
            raise

    def _gather(self, picture: Picture, most: int) -> None:
        total = _frame_count(picture)
        for frame in picture.frames() if picture.frames is not None else iter((picture,)):
            self._alive()
            data = frame.to_bytes()
            self._places.append((self._spool.tell(), len(data)))
            self._spool.write(data)
            self._tell(len(self._places), max(total, len(self._places)), "looking at each snapshot")
        if not self._places:
            raise NotApplicable("the film has no frames: the view shows nothing at any snapshot; save a .png instead")
        if len(self._places) > most:
            chosen = np.unique(np.linspace(0, len(self._places) - 1, max(2, most)).round().astype(int))
            self._places = [self._places[index] for index in chosen]
        for index in range(len(self)):
            self._held.see(self._read(index))

    def _read(self, index: int) -> Picture:
        place, length = self._places[index]
        self._spool.seek(place)
        return Picture.from_bytes(self._spool.read(length))

    def _measure(self) -> tuple[int, int]:
        """The size that holds every frame, in device pixels, even as video wants it."""
        wide = high = 0.0
        for index in range(len(self)):
            self._alive()
            sheet = compose(self._held.fix(self._read(index)), self.style, footer=self.footer)
            wide, high = max(wide, sheet.width), max(high, sheet.height)
        return _even(wide * self.style.scale), _even(high * self.style.scale)

    def __len__(self) -> int:
        return len(self._places)

    def frame(self, index: int) -> np.ndarray:
        """One frame's pixels, (height, width, 3) uint8."""
        self._alive()
        size = self.width / self.style.scale, self.height / self.style.scale
        sheet = compose(self._held.fix(self._read(index)), self.style, footer=self.footer, size=size)
        drawn = raster(sheet, self.style.scale * PER_INCH)
        pixels = np.full((self.height, self.width, 3), 255, np.uint8)
        rows, columns = min(self.height, drawn.shape[0]), min(self.width, drawn.shape[1])
        pixels[:rows, :columns] = drawn[:rows, :columns]
        return pixels

    def frames(self) -> Iterator[np.ndarray]:
        """Every frame in order."""
        for index in range(len(self)):
            yield self.frame(index)
            self._tell(index + 1, len(self), "drawing")

    def _alive(self) -> None:
        if self._cancel is not None and self._cancel():
            raise Cancelled("the film is no longer wanted")

    def _tell(self, done: int, total: int, note: str) -> None:
        if self._progress is not None:
            self._progress(Progress(done=done, total=total, note=note))

    def close(self) -> None:
        """Let the gathered frames go."""
        self._spool.close()


class FilmSaver(Saver):
    """What the formats that move share: how fast and how large a film is, and how it is gathered.

    ``progress`` is called with a Progress after each frame; ``cancel`` is asked between frames.
    """

    fps: float = knob(8.0, "snapshots a second", low=0.5, high=60.0)
    seconds: float = knob(60.0, "the longest that the film may be; snapshots are left out evenly", low=1.0, high=3600.0)
    width: float = knob(7.0, "the room for the marks, margins apart", low=1.0, high=30.0, unit="inches")
    dpi: float = knob(200.0, "pixels an inch", low=50.0, high=600.0)
    footer: bool = knob(False, "write below how the picture was made")
    progress: Report | None = dataclasses.field(default=None, compare=False)
    cancel: Callable[[], bool] | None = dataclasses.field(default=None, compare=False)

    @contextlib.contextmanager
    def film(self, picture: Picture, path: Path) -> Iterator[tuple[Film, Path]]:
        """The film of a picture, and a draft beside a file that takes the file's place at the end."""
        film = Film(
            picture, Style(self.width * PER_INCH, self.dpi / PER_INCH), most=max(2, int(self.seconds * self.fps)),
            footer=self.footer, progress=self.progress, cancel=self.cancel,
        )
        try:
            with beside(path) as draft:
                yield film, draft
        finally:
            film.close()


def _frame_count(picture: Picture) -> int:
    """How many frames will come, where the picture knows its scene; else 0."""
    request = picture.__dict__.get("request_")
    return len(request[0].steps) if request is not None and picture.frames is not None else 0


def _even(size: float) -> int:
    return 2 * math.ceil(size / 2 - 1e-6)
