"""PNG."""

from __future__ import annotations

from pathlib import Path

from ...core.knobs import knob
from ...core.picture import Picture
from ..figure import compose, metadata, png
from ..place import put
from ..sheet import PER_INCH
from ..style import Style
from . import Saver


class Png(Saver):
    """A pixel picture at 300 dots an inch, provenance in its text chunks."""

    width: float = knob(7.0, "the room for the marks, margins apart", low=1.0, high=60.0, unit="inches")
    dpi: float = knob(300.0, "pixels an inch; multiples of 100 keep small pictures crisp", low=20.0, high=1200.0)
    rows: int = knob(40, "the most rows that a table shows", low=1, high=2000)
    footer: bool = knob(False, "write below how the picture was made")

    def save(self, picture: Picture, path: Path) -> None:
        """Write the picture."""
        style = Style(self.width * PER_INCH, self.dpi / PER_INCH, self.rows)
        put(path, png(compose(picture, style, footer=self.footer), self.dpi, metadata(picture)))
