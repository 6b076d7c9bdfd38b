"""The widths of texts by which graphs are laid out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diorama.core import lettering
from diorama.export import lettering as writing
from diorama.export import typeset


@pytest.mark.skipif(not writing.FONT.exists(), reason="the page is not built: python hatch_build.py")
def test_the_table_is_that_of_the_font_that_ships() -> None:
    """core/inter.json is what python -m diorama.export.lettering writes."""
    assert json.loads(writing.TABLE.read_text()) == json.loads(writing.table())
    text = "queries × keys, Größe, градиент"
    assert lettering.width(text, 11) == pytest.approx(typeset.width(text, 11), abs=0.2)


def test_what_the_faces_lack_has_a_width_too() -> None:
    """Digits are all alike, an arrow is nearly an em, a character of Chinese a whole one."""
    assert lettering.width("111", 10) == pytest.approx(lettering.width("888", 10))
    assert 8 < lettering.width("→", 10) < 10
    assert lettering.width("层", 10) == lettering.monospaced("层", 10) == 10


def test_the_table_is_part_of_the_package() -> None:
    """The widths lie beside the module that reads them and know the letters of three scripts."""
    assert Path(lettering.__file__).with_name("inter.json").exists()
    assert {"a", "ß", "Δ", "ж", "×"} <= lettering.advances().keys()
