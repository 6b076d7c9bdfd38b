"""Writes the widths of the characters of Inter, by which graphs are laid out; run after another Inter is shipped.

``python -m diorama.export.lettering`` reads the fonts that the build of the page leaves in ``static/fonts``.
"""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib import ft2font

FONT = Path(__file__).resolve().parent.parent / "static" / "fonts" / "Inter-Regular.ttf"
TABLE = Path(__file__).resolve().parent.parent / "core" / "inter.json"


def table() -> str:
    """The text of ``core/inter.json``: characters by their width in thousandths of an em."""
    font = ft2font.FT2Font(str(FONT))
    font.set_size(100, 72)
    found: dict[int, list[str]] = {}
    for code in sorted(font.get_charmap()):
        advance = font.load_char(code, flags=ft2font.LoadFlags.NO_HINTING).linearHoriAdvance / 65536 / 100
        found.setdefault(round(1000 * advance), []).append(chr(code))
    return json.dumps({str(each): "".join(found[each]) for each in sorted(found)}, ensure_ascii=True, indent=0) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
