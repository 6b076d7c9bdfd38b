"""JSON."""

from __future__ import annotations

import json
from pathlib import Path

from ...core.knobs import knob
from ...core.picture import Picture
from ..place import put
from ..plain_data import listed, spelled, taken_apart
from . import Saver


class Json(Saver):
    """The whole picture as one JSON object, arrays as nested lists.

    ``{"format": "diorama picture", "version": 1, "picture": {…}}``. Fields that hold their default are left out. Where
    a mark has an array there stands ``{"dtype": "f4", "shape": […], "values": […]}``; NaN and infinities, which JSON
    lacks, are the texts "NaN", "Infinity" and "-Infinity".
    """

    indent: int = knob(0, "spaces to indent by; 0 writes one line", low=0, high=8)

    def save(self, picture: Picture, path: Path) -> None:
        """Write the picture."""
        header, arrays = taken_apart(picture)
        entries = {
            name: {"dtype": array.dtype.str[1:], "shape": list(array.shape), "values": listed(array)}
            for name, array in arrays.items()
        }

        def filled(value: object) -> object:
            if isinstance(value, dict):
                if set(value) == {"array"} and value["array"] in entries:
                    return entries[value["array"]]
                return {key: filled(inner) for key, inner in value.items()}
            return [filled(inner) for inner in value] if isinstance(value, list) else spelled(value)

        whole = {"format": "diorama picture", "version": 1, "picture": filled(header)}
        text = json.dumps(whole, ensure_ascii=False, allow_nan=False, indent=self.indent or None, default=str)
        put(path, text.encode("utf-8", "replace"))
