"""Pictures as pages of their own."""

from __future__ import annotations

import base64
import hashlib
import html as escapes
import re
from pathlib import Path

import pytest
from paper import PICTURES

from diorama.core.errors import Unavailable
from diorama.core.marks import Number
from diorama.core.picture import Picture
from diorama.export.formats import html


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page that was built, as far as an exported file needs it."""
    (tmp_path / "static" / "assets").mkdir(parents=True)
    (tmp_path / "static" / "standalone.js").write_text('const markup = "</script><!--";\r\nlet drawn = 1;\n')
    (tmp_path / "static" / "assets" / "inter-latin-wght-normal-x.woff2").write_bytes(b"font")
    monkeypatch.setattr(html, "STATIC", tmp_path / "static")
    return tmp_path


def _policy(text: str) -> dict[str, str]:
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert found
    return dict(part.strip().partition(" ")[::2] for part in escapes.unescape(found[1]).split(";"))


def test_the_policy_allows_exactly_what_is_inside(built: Path) -> None:
    """Scripts and styles run by their hashes only; nothing is fetched from anywhere."""
    text = PICTURES["tiles"].save(built / "x.html").read_text("utf-8")
    policy = _policy(text)
    assert policy["default-src"] == "'none'"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        inline = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
        assert policy[rule] == f"'sha256-{digest}'"
    assert "unsafe" not in " ".join(policy.values())
    assert not re.search(r'(src|href)="?https?:', text)


def test_the_file_holds_the_whole_picture(built: Path) -> None:
    """The bytes in the file are the picture's, and its words can be read without scripts."""
    text = PICTURES["tiles_not_finite"].save(built / "x.html").read_text("utf-8")
    data = re.search(r'<script type="application/x-diorama" data-picture>(.*?)</script>', text)
    assert data
    assert base64.b64decode(data[1]) == PICTURES["tiles_not_finite"].to_bytes()
    assert "Each square is one filter" in text
    assert "seed 3" in text


def test_names_cannot_leave_their_place(built: Path) -> None:
    """Markup in a title or caption stays text."""
    evil = '</title></noscript><script>alert(1)</script>"\x00'
    text = Picture(title=evil, body=Number(label=evil), caption=evil).save(built / "x.html").read_text("utf-8")
    assert "<script>alert" not in text
    assert text.count("<script>") == 1


def test_without_the_built_page_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout whose page was never built says how to build it and what to use instead, and leaves no file."""
    monkeypatch.setattr(html, "STATIC", tmp_path / "nothing")
    with pytest.raises(Unavailable, match=r"make page.*\.svg"):
        PICTURES["tiles"].save(tmp_path / "x.html")
    assert not list(tmp_path.iterdir())
