"""The page's generated types follow the marks."""

from __future__ import annotations

from diorama.core import marks, typescript


def test_types_are_fresh() -> None:
    """web/src/types.ts is what the generator writes now, so that the page's type check sees every change of a mark."""
    stale = "web/src/types.ts is stale: run python -m diorama.core.typescript"
    assert typescript.target().read_text(encoding="utf-8") == typescript.source(), stale


def test_every_mark_has_an_interface() -> None:
    """No mark of the vocabulary is missing from the page's types, nor from its folder of marks."""
    text = typescript.source()
    for name, mark in marks.MARKS.items():
        assert f'readonly mark: "{name}";' in text
        assert f"export interface {mark.__name__} " in text
        assert (typescript.target().parent / "marks" / f"{name}.ts").exists(), f"web/src/marks/{name}.ts is missing"
