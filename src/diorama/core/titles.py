"""The titles that the page gives to plug-ins, read from their files without importing one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_TITLE = re.compile(r'^    title(?:: ClassVar\[str\])? = "([^"]+)"', re.MULTILINE)


def titled(folders: Iterable[str], wanted: str) -> str:
    """The name of the plug-in in these folders that bears a title, however it is spelled (``learning_rate`` for "Learning rate"); else nothing."""
    plain = _plain(wanted)
    for folder in folders:
        for path in sorted((*Path(folder).glob("*.py"), *Path(folder).glob("*/__init__.py"))):
            name = path.parent.name if path.name == "__init__.py" else path.stem
            if name.startswith("_") or path.parent == Path(folder) and path.name == "__init__.py":
                continue
            if plain and plain in map(_plain, _TITLE.findall(path.read_text("utf-8", "replace"))):
                return name
    return ""


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().lower()
