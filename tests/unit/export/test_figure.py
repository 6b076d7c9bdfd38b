"""Figures as files."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import msgspec
import numpy as np
import pytest
from paper import PICTURES, with_checks
from PIL import Image

from diorama.core import marks
from diorama.core.errors import NotFound
from diorama.core.marks import Column, Number, Table
from diorama.core.picture import Picture
from diorama.export import typeset
from diorama.export.figure import compose, png, raster
from diorama.export.marks import draw, table
from diorama.export.sheet import PER_INCH, Sheet, TextLine
from diorama.export.style import Style


def test_png_carries_title_and_provenance(tmp_path: Path) -> None:
    """A PNG is as large as its paper at 300 dots an inch and says how it was made."""
    path = PICTURES["tiles"].save(tmp_path / "new" / "weights.png")
    sheet = compose(PICTURES["tiles"], Style())
    with Image.open(path) as opened:
        assert opened.size == (sheet.width * 3, sheet.height * 3)
        assert opened.info["dpi"][0] == pytest.approx(300, abs=1)
        assert opened.text["Title"] == "Weights of conv1"
        assert json.loads(opened.text["Source"])["provenance"]["knobs"] == {"layer": "conv1"}
    assert [p.name for p in path.parent.iterdir()] == ["weights.png"]


def test_svg_is_drawn_from_outlines_and_small_pictures(tmp_path: Path) -> None:
    """An SVG is well-formed, names no font that a reader may lack, and keeps its pictures crisp."""
    path = PICTURES["tiles"].save(tmp_path / "weights.svg")
    text = path.read_text("utf-8")
    tree = ElementTree.fromstring(text)
    images = tree.findall(".//{http://www.w3.org/2000/svg}image")
    assert len(images) == 65
    assert all("pixelated" in image.attrib["style"] for image in images)
    assert "<text" not in text
    assert "seed" in text
    assert "Weights of conv1" in text


def test_pdf_is_written(tmp_path: Path) -> None:
    """A PDF of one page embeds its fonts."""
    data = PICTURES["lines"].save(tmp_path / "loss.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert b"/FontFile" in data or b"/Type3" in data


@pytest.mark.parametrize("name", PICTURES)
def test_every_sample_becomes_each_kind_of_figure(name: str, tmp_path: Path) -> None:
    """Every mark saves to PNG, SVG and PDF without a warning."""
    for suffix in ("png", "svg", "pdf"):
        assert PICTURES[name].save(tmp_path / f"x.{suffix}").stat().st_size > 2000


def test_footer_writes_how_it_was_made(tmp_path: Path) -> None:
    """The footer makes the figure taller; without it the file's metadata says the same."""
    plain = PICTURES["tiles"].save(tmp_path / "a.png", dpi=100)
    footed = PICTURES["tiles"].save(tmp_path / "b.png", dpi=100, footer=True)
    with Image.open(plain) as a, Image.open(footed) as b:
        assert b.height > a.height
        assert b.text == a.text


def test_settings_of_the_user_are_neither_read_for_the_layout_nor_changed() -> None:
    """A user's matplotlib settings stay as they are, and do not change a figure's pixels."""
    before = dict(mpl.rcParams)
    usual = raster(compose(PICTURES["lines"], Style(scale=1.0)), PER_INCH).copy()
    assert dict(mpl.rcParams) == before
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red", "savefig.facecolor": "red"}):
        again = raster(compose(PICTURES["lines"], Style(scale=1.0)), PER_INCH)
    assert (usual == again).all()


def test_threads_draw_the_same_picture() -> None:
    """Eight threads at once make the same bytes as one."""
    sheet = compose(with_checks(PICTURES["blocks"]), Style(scale=1.0))
    wanted = png(sheet, PER_INCH, {})
    found: list[bytes] = []

    def draw() -> None:
        found.append(png(compose(with_checks(PICTURES["blocks"]), Style(scale=1.0)), PER_INCH, {}))

    threads = [threading.Thread(target=draw) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 8


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    """Markup, control characters and right-to-left marks in names end up as text, in every kind of figure."""
    evil = '"><script>alert(1)</script>]]>--><!-- \x00\x07\u202e $\\frac$ %s'
    picture = Picture(title=evil, body=Number(label=evil, note=evil, unit=evil, value=1.0), caption=evil, note=evil)
    for suffix in ("png", "svg", "pdf"):
        picture.save(tmp_path / f"x.{suffix}")
    ElementTree.parse(tmp_path / "x.svg")
    with Image.open(io.BytesIO((tmp_path / "x.png").read_bytes())) as opened:
        assert opened.text["Title"] == evil


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    """A suffix that nothing writes is refused with those that exist."""
    with pytest.raises(NotFound, match="file format"):
        PICTURES["tiles"].save(tmp_path / "x.pgn")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scale", [1.0, 2.0, 4.0])
def test_lines_are_as_thick_at_every_resolution(scale: float) -> None:
    """A line of three layout pixels is three times the scale thick in device pixels."""
    sheet = Sheet(20, 20)
    sheet.line([0, 20], [10, 10], "#000000", 3.0)
    column = raster(sheet, scale * PER_INCH)[:, 10, 0].astype(float)
    assert (255 - column).sum() / 255 == pytest.approx(3 * scale, abs=0.3)


def test_a_sentence_in_a_table_is_never_cut() -> None:
    """A rule that does not fit its column goes on in further lines, each within the column, and the row is as high as they need."""
    rule = " and ".join(f"pixel {k}, {k + 3} > 0.{k}25" for k in range(1, 12))
    short, long = (table.draw(Table(columns=(Column(name="where", kind="text", texts=(text, "always")),)), Style()) for text in ("p", rule))
    lines = [item[0] for item in long.items if isinstance(item[0], TextLine)]
    assert " ".join(line.text for line in lines).startswith(f"where {rule} always"), "whole, in order"
    assert all(typeset.width(line.text, line.size) <= Style().width for line in lines)
    said = [line.y for line in lines]
    assert len(said) > 4
    assert said == sorted(set(said)), "no line stands on another"
    assert long.height - short.height == pytest.approx(table.LINE * (len(said) - 3))
    page = table.draw(Table(columns=(Column(name="where", kind="text", texts=(" and ".join([rule] * 20),)),)), Style())
    assert page.height < 300, "a text of a whole page ends with a sign that it goes on"


def test_what_is_doubted_is_pale() -> None:
    """A mark whose check fails is drawn nearer to the paper, its title as before."""
    plain = marks.Image(pixels=np.zeros((8, 8, 3), np.uint8), title="LRP", size=80)
    strong, pale = (raster(draw(msgspec.structs.replace(plain, doubted=doubted), Style()), 100) for doubted in (False, True))
    assert strong.shape == pale.shape
    black = strong.max(-1) == 0
    assert black.sum() > 1000
    assert 100 < np.median(pale[black]) < 200
