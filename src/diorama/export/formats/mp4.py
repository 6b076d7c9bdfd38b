"""MP4."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from ...core.errors import Unavailable
from ...core.knobs import Plugin, knob
from ...core.picture import Picture, Progress
from ..figure import metadata
from ..film import Film
from ..place import beside
from ..sheet import PER_INCH
from ..style import Style

CODECS = (("libx264", {"crf": "16", "preset": "medium"}), ("libopenh264", {}), ("mpeg4", {"qscale": "3"}))
"""The first one that the installed PyAV has is used: H.264, else MPEG-4 part 2."""


class Mp4(Plugin):
    """A film over all snapshots of the run; a picture without a run becomes a still of one second, and says so.

    ``progress`` is called with a Progress after each frame; ``cancel`` is asked between frames.
    """

    fps: float = knob(8.0, "snapshots a second", low=0.5, high=60.0)
    seconds: float = knob(60.0, "the longest that the film may be; snapshots are left out evenly", low=1.0, high=3600.0)
    width: float = knob(7.0, "the room for the marks, margins apart", low=1.0, high=30.0, unit="inches")
    dpi: float = knob(200.0, "pixels an inch", low=50.0, high=600.0)
    footer: bool = knob(False, "write below how the picture was made")
    progress: Callable[[Progress], None] | None = dataclasses.field(default=None, compare=False)
    cancel: Callable[[], bool] | None = dataclasses.field(default=None, compare=False)

    def save(self, picture: Picture, path: Path) -> None:
        """Write the film."""
        style = Style(self.width * PER_INCH, self.dpi / PER_INCH)
        film = Film(
            picture,
            style,
            most=max(2, int(self.seconds * self.fps)),
            footer=self.footer,
            progress=self.progress,
            cancel=self.cancel,
        )
        try:
            with beside(path) as draft, av.open(str(draft), "w", format="mp4") as container:
                _describe(container, picture, film)
                self._write(container, film)
        finally:
            film.close()

    def _write(self, container: Any, film: Film) -> None:
        stream = _stream(container, Fraction(self.fps).limit_denominator(1000), film)
        for index, pixels in enumerate(film.frames()):
            last = index == len(film) - 1
            # The last moment stays on for a second, so that it can be looked at.
            for _ in range(max(2, round(self.fps)) if last else 1):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())


def _stream(container: Any, rate: Fraction, film: Film) -> Any:
    for codec, options in CODECS:
        if codec in av.codecs_available:
            stream = container.add_stream(codec, rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt = film.width, film.height, "yuv420p"
            return stream
    names = ", ".join(name for name, _ in CODECS)
    raise Unavailable(f"the installed PyAV can write none of {names}; reinstall av from PyPI, or save a .gif")


def _describe(container: Any, picture: Picture, film: Film) -> None:
    told = metadata(picture)
    still = "One moment only: a still. " if film.still else ""
    container.metadata["title"] = told["Title"]
    container.metadata["comment"] = still + told["Description"] + " " + told["Source"]
