"""SVG."""

from __future__ import annotations

from pathlib import Path

from ...core.knobs import knob
from ...core.picture import Picture
from ..figure import compose, metadata, svg
from ..place import put
from ..sheet import PER_INCH
from ..style import Style
from . import Saver


class Svg(Saver):
    """A vector picture; text is outlined, small pictures keep their own pixels."""

    width: float = knob(7.0, "the room for the marks, margins apart", low=1.0, high=60.0, unit="inches")
    rows: int = knob(40, "the most rows that a table shows", low=1, high=2000)
    footer: bool = knob(False, "write below how the picture was made")

    def save(self, picture: Picture, path: Path) -> None:
        """Write the picture."""
        sheet = compose(picture, Style(self.width * PER_INCH, rows=self.rows), footer=self.footer)
        put(path, svg(sheet, metadata(picture)))
