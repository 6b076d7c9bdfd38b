"""MP4."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from ...core.errors import Unavailable
from ...core.picture import Picture
from ..figure import metadata
from ..film import Film, FilmSaver

CODECS: tuple[tuple[str, dict[str, str]], ...] = (("libx264", {"crf": "16", "preset": "medium"}), ("libopenh264", {}), ("mpeg4", {"qscale": "3"}))
"""The first one that the installed PyAV has is used: H.264, else MPEG-4 part 2."""


class Mp4(FilmSaver):
    """A film over all snapshots of the run; a picture without a run becomes a still of one second, and says so.

    ``progress`` and ``cancel`` as :class:`FilmSaver` has them.
    """

    def save(self, picture: Picture, path: Path) -> None:
        """Write the film."""
        with self.film(picture, path) as (film, draft), av.open(str(draft), "w", format="mp4") as container:
            _describe(container, picture, film)
            self._write(container, film)

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
