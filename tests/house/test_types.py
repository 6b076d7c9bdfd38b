"""What is written from the marks and the messages follows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from diorama.core import marks, typescript

PAGE = Path(__file__).parents[2] / "web" / "src"


@pytest.mark.parametrize("path", typescript.targets(), ids=lambda path: path.name)
def test_what_is_written_is_fresh(path: Path) -> None:
    """Each written file is what the generator writes now, so that a type check sees every change of a mark."""
    stale = f"{path.name} is stale: run python -m diorama.core.typescript"
    assert path.read_text(encoding="utf-8") == typescript.targets()[path](), stale


def test_every_mark_has_an_interface() -> None:
    """No mark of the vocabulary is missing from the page's types, nor is what a mark is made of."""
    text = typescript.types_source()
    for name, mark in marks.MARKS.items():
        assert f'readonly mark: "{name}";' in text
        assert f"export interface {mark.__name__} " in text
    for part in ("Series", "Block", "Column", "Handle", "Limits", "Check", "Provenance"):
        assert f"export interface {part} " in text
