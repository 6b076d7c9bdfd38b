"""GIF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ...core.knobs import knob
from ...core.picture import Picture
from ..cells import bytes_of
from ..figure import metadata
from ..film import Film, FilmSaver
from ..style import INK, PAPER

SAMPLES = 6
"""How many frames the shared palette is chosen from."""


class Gif(FilmSaver):
    """A film over all snapshots of the run in 256 colours shared by all frames, repeating; without a run, a still.

    ``progress`` and ``cancel`` as :class:`FilmSaver` has them.
    """

    fps: float = knob(8.0, "snapshots a second", low=0.5, high=50.0)
    seconds: float = knob(30.0, "the longest that the film may be; snapshots are left out evenly", low=1.0, high=600.0)
    dpi: float = knob(100.0, "pixels an inch", low=50.0, high=300.0)

    def save(self, picture: Picture, path: Path) -> None:
        """Write the film."""
        each = max(20, round(1000 / self.fps / 10) * 10)
        with self.film(picture, path) as (film, draft):
            palette = _palette(film)
            frames = (_few(pixels, palette) for pixels in film.frames())
            durations = [each] * (len(film) - 1) + [each + 1000]
            first = next(frames)
            first.save(
                draft,
                "gif",
                save_all=True,
                append_images=frames,
                duration=durations if len(film) > 1 else 1000,
                loop=0,
                comment=_comment(picture, film),
                optimize=False,
            )


def _comment(picture: Picture, film: Film) -> bytes:
    told = metadata(picture)
    still = "One moment only: a still. " if film.still else ""
    return f"{told['Title']}. {still}{told['Description']} {told['Source']}".encode("ascii", "backslashreplace")


def _palette(film: Film) -> Image.Image:
    chosen: Iterator[int] = iter(np.unique(np.linspace(0, len(film) - 1, min(SAMPLES, len(film))).astype(int)).tolist())
    stack = np.concatenate([film.frame(index) for index in chosen])
    found = Image.fromarray(stack).quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    colours = np.array(found.getpalette(), np.int32).reshape(-1, 3)
    # Median cut averages: paper must stay paper, and ink ink.
    for exact in (PAPER, INK):
        wanted = bytes_of(exact).astype(np.int32)
        colours[((colours - wanted) ** 2).sum(1).argmin()] = wanted
    found.putpalette(colours.astype(np.uint8).tobytes())
    return found


def _few(pixels: np.ndarray, palette: Image.Image) -> Image.Image:
    found = Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.NONE)
    # Pillow looks colours up coarsely; the paper is looked up exactly.
    places = np.array(found)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    paper = bytes_of(PAPER)
    places[(pixels == paper).all(-1)] = int((colours == paper).all(1).argmax())
    exact = Image.fromarray(places)
    exact.putpalette(palette.getpalette() or [])
    return exact
