"""NumPy's archive of arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ...core.knobs import knob
from ...core.picture import Picture
from ..place import beside
from ..plain_data import spelled, taken_apart
from . import Saver


class Npz(Saver):
    """Every array of the picture under its path (``body.images``), and ``header``: the rest as JSON text.

    In the header an array is ``{"array": path}``. Nothing in the file needs pickle:
    ``json.loads(str(numpy.load(file)["header"]))``.
    """

    compressed: bool = knob(True, "make the file smaller; off is faster")

    def save(self, picture: Picture, path: Path) -> None:
        """Write the picture."""
        header, arrays = taken_apart(picture)
        text = json.dumps(spelled(header), ensure_ascii=False, allow_nan=False, default=str)
        write = np.savez_compressed if self.compressed else np.savez
        with beside(path) as draft:
            write(draft, header=np.array(text), **arrays)  # type: ignore[arg-type]  # numpy's own keyword among the arrays' names
