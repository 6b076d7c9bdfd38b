"""File formats, one a file: the file's name is the suffix."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.knobs import Plugin

if TYPE_CHECKING:
    from ...core.picture import Picture


class Saver(Plugin):
    """Base of all file formats; the knobs are what ``picture.save(path, …)`` takes besides the path."""

    @abstractmethod
    def save(self, picture: Picture, path: Path) -> None:
        """Write the picture to a path whose folder is there."""
