"""The golden pictures: what every mark looks like on paper; run this file to make them anew.

They are drawn small, in DejaVu as matplotlib brings it, so that they do not depend on the built page. Look at each
before it is committed: they are the record of how figures look.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402 - the samples lie one folder up
from paper import PICTURES  # noqa: E402
from PIL import Image  # noqa: E402

from diorama.export import typeset  # noqa: E402
from diorama.export.figure import compose, raster  # noqa: E402
from diorama.export.sheet import PER_INCH  # noqa: E402
from diorama.export.style import Style  # noqa: E402


@contextmanager
def _dejavu() -> Iterator[None]:
    """Draw with the fonts that matplotlib brings, whatever else is installed."""

    def forget() -> None:
        typeset.files.cache_clear()
        typeset.runs.cache_clear()

    with mock.patch.object(typeset, "_STATIC", HERE / "nothing"), mock.patch.object(typeset, "_OTHERS", ()):
        forget()
        yield
    forget()


def drawn(name: str) -> np.ndarray:
    """The pixels of a sample, half a page wide."""
    with _dejavu():
        return raster(compose(PICTURES[name], Style(420.0, scale=1.0, rows=6)), PER_INCH).copy()


def main() -> None:
    """Write every golden picture."""
    for old in HERE.glob("*.png"):
        old.unlink()
    for name in PICTURES:
        Image.fromarray(drawn(name)).quantize(128, dither=Image.Dither.NONE).save(HERE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
