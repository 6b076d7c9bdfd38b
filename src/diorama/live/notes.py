"""Long selections, kept under a short name made from what they say, so that an address stays short."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from ..core.errors import UsageError
from ..core.selection import Selection

_NAME = re.compile(r"@[0-9a-f]{20}")
_LONGEST = 1_000_000


class Notes:
    """Texts by the hash of what they say, in the user's state folder; in memory alone where that cannot be written."""

    def __init__(self, folder: Path | None = None) -> None:
        state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        self._folder = folder or Path(state) / "diorama" / "selections"
        self._memory: dict[str, str] = {}

    def keep(self, text: object) -> str:
        """Keep a selection and return its short name. *Raises* UsageError for what is not a selection."""
        if not isinstance(text, str) or len(text) > _LONGEST:
            raise UsageError(f"a selection is text of at most {_LONGEST} characters")
        Selection.parse(text)
        name = "@" + hashlib.sha256(text.encode()).hexdigest()[:20]
        self._memory[name] = text
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            beside = self._folder / f"{name[1:]}.{os.getpid()}"
            beside.write_text(text, encoding="utf-8")
            beside.replace(self._folder / name[1:])
        except OSError:
            pass  # it lasts as long as this server
        return name

    def recall(self, name: object) -> str:
        """The selection of that name. *Raises* UsageError when nobody kept it here."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UsageError(f"a kept selection is named like '@0123456789abcdef0123', got {name!r}")
        if name not in self._memory:
            try:
                text = (self._folder / name[1:]).read_text(encoding="utf-8")
            except OSError:
                raise UsageError(f"the selection {name} was not kept on this machine; select again") from None
            self._memory[name] = text
        return self._memory[name]
