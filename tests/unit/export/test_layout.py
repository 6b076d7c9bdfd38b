"""Paper: nothing overlaps, nothing is cut off."""

from __future__ import annotations

import importlib
import itertools

import numpy as np
import pytest
from paper import PICTURES, with_checks

from diorama.core.colour import symmetric
from diorama.core.errors import LeftOut, UsageError
from diorama.core.marks import MARKS, Bars, Block, Blocks, Column, Edge, Group, Lines, Number, Series, Table
from diorama.core.picture import Check, Picture
from diorama.export import typeset
from diorama.export.figure import checked, compose
from diorama.export.marks import draw
from diorama.export.marks.heatmap import named_rows
from diorama.export.sheet import Shape, Sheet, TextLine
from diorama.export.style import SOFT, Style


def _texts(sheet: Sheet) -> list[tuple[str, tuple[float, float, float, float]]]:
    return [(item.text, box) for item, box in sheet.boxes() if isinstance(item, TextLine)]


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """The area that two boxes share, a layout pixel of grace at each side."""
    across = min(a[2], b[2]) - max(a[0], b[0]) - 1
    down = min(a[3], b[3]) - max(a[1], b[1]) - 1
    return max(0.0, across) * max(0.0, down)


def test_every_mark_is_drawn_in_some_sample() -> None:
    """The samples of these tests use the whole vocabulary."""
    used = {type(mark).__name__.lower() for picture in PICTURES.values() for mark in picture.marks()}
    assert used >= set(MARKS)


def test_a_word_that_is_no_anchor_is_told_where_it_is_given() -> None:
    """As the text is written, not when the sheet is measured; the words that there are are told."""
    with pytest.raises(UsageError, match="'left', 'center', 'right', not 'middle'"):
        Sheet().text(0.0, 0.0, "a", 8.0, anchor="middle")  # type: ignore[arg-type]


def test_rows_that_share_a_name_are_named_once() -> None:
    """Where names would touch, neighbours of one name have one, in their middle; apart, each row has its own."""
    assert named_rows(["a"] * 4 + ["b"] * 4 + ["c"], 3) == [("a", 2), ("b", 6)]
    assert [middle for _, middle in named_rows(["a", "a", "b"], 0.9)] == [0.5, 1.5, 2.5]
    assert named_rows(["a", "b", "c", "d"], 2) == [("a", 0.5), ("c", 2.5)]


@pytest.mark.parametrize("width", [700.0, 340.0])
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_lies_on_another(name: str, width: float) -> None:
    """On a page's width and on half of it, every line of text has its place to itself."""
    texts = _texts(compose(PICTURES[name], Style(width)))
    assert texts
    clashes = [(a, b) for (a, box), (b, other) in itertools.combinations(texts, 2) if _overlap(box, other)]
    assert not clashes, clashes[:5]


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_leaves_the_paper(name: str) -> None:
    """Everything that is drawn lies inside the sheet, with all that may stand below a picture; each mark inside its own, as others stand
    beside it with some room between."""
    whole = compose(with_checks(PICTURES[name]), Style(), footer=True)
    for sheet, least, room in ((whole, -0.5, 0.5), *((draw(mark, Style()), -np.inf, 8.0) for mark in PICTURES[name].marks())):
        for item, (left, top, right, bottom) in sheet.boxes():
            if sheet is not whole and isinstance(item, TextLine):
                continue
            inside = left >= least and top >= least and right <= sheet.width + room and bottom <= sheet.height + room
            assert inside, (item, (left, top, right, bottom), (sheet.width, sheet.height))


def _rectangles(sheet: Sheet) -> list[tuple[float, ...]]:
    return [tuple(np.round(box, 1)) for item, box in sheet.boxes() if isinstance(item, Shape) and item.fill and item.stroke]


@pytest.mark.parametrize("width", [700.0, 180.0, 60.0])
def test_a_graph_on_paper_stands_where_it_stands_in_the_page(width: float) -> None:
    """Every block is drawn in the place that the mark carries, all made smaller alike where there is less room, to six tenths at most."""
    graph = PICTURES["blocks_nested"].body
    assert isinstance(graph, Blocks)
    assert graph.places is not None
    scale = max(0.6, min(1.0, width / graph.extent[0]))
    wanted = [tuple(np.round((x * scale, y * scale, (x + w) * scale, (y + h) * scale), 1)) for x, y, w, h in graph.places]
    sheet = draw(graph, Style(width))
    np.testing.assert_allclose(sorted(_rectangles(sheet)), sorted(wanted), atol=0.11)
    assert sheet.width == pytest.approx(graph.extent[0] * scale, abs=2)


def test_a_tall_graph_goes_on_in_further_columns() -> None:
    """Of sixty blocks in a row, some of them nested, each is drawn once and whole, in columns that are cut where no block stands."""
    blocks = [Block(id=f"b{i}", label=f"b{i}", parent="whole" if i > 20 else "", detail="64 × 56 × 56") for i in range(60)]
    blocks.append(Block(id="whole", label="whole", open=True, expandable=True))
    edges = [Edge(source=f"b{i}", target=f"b{i + 1}") for i in range(59)]
    graph = Blocks(blocks=tuple(blocks), edges=(*edges, Edge(source="b0", target="b59", label="round")))
    sheet = draw(graph, Style(700.0))
    labels = [text for text, _ in _texts(sheet)]
    assert sorted(labels) == sorted([block.label for block in blocks] + ["64 × 56 × 56"] * 60 + ["round"])
    assert sheet.height < graph.extent[1] / 3
    assert graph.places is not None
    heights = [bottom - top for (_, top, _, bottom) in _rectangles(sheet)]
    assert np.isclose(heights, graph.places[0, 3], atol=0.2).sum() == 60
    lefts = sorted({round(left) for left, _, right, _ in _rectangles(sheet) if right - left < 120})
    assert len(lefts) >= 4
    for item, (left, top, right, bottom) in sheet.boxes():
        assert left >= -1, item
        assert top >= -1, item
        assert right <= sheet.width + 1, item
        assert bottom <= sheet.height + 1, item


def test_title_caption_checks_and_provenance_are_written() -> None:
    """A figure carries its words: title, step, caption, note, checks, and on request how it was made."""
    picture = with_checks(PICTURES["tiles"])
    words = " ".join(text for text, _ in _texts(compose(picture, Style(), footer=True)))
    for wanted in (
        "Weights of conv1",
        "step 495",
        "Each square is one filter",
        "3 units are NaN",
        "completeness gap",
        "seed 3",
    ):
        assert wanted in words
    assert "seed 3" not in " ".join(text for text, _ in _texts(compose(picture, Style())))


def test_a_check_reads_as_a_sentence() -> None:
    """What goes on from its number does so, and what is a sentence of its own begins behind a full stop."""
    for sentence, said in (
        ("of the variance.", "share seen: 50 % of the variance."), ("how clear it is.", "share seen: 50 %, how clear it is."),
        ("It sums to 1.", "share seen: 50 %. It sums to 1."), ("", "share seen: 50 %"),
    ):
        assert checked(Check(name="share_seen", value=50.0, unit="%", sentence=sentence)).replace("\N{THIN SPACE}", " ") == said


def test_a_small_picture_gets_whole_pixels() -> None:
    """Every cell of a tile is the same whole number of device pixels, whatever the resolution."""
    for scale in (1.0, 2.0, 3.0):
        for cells in (3, 5, 7, 28, 64):
            size = Style(scale=scale).snap(44, cells)
            assert (size * scale / cells) == pytest.approx(round(size * scale / cells))


def test_special_numbers_are_counted_in_the_legend() -> None:
    """NaN, infinite and clipped cells are counted beside the colour bar."""
    words = " ".join(text for text, _ in _texts(compose(PICTURES["tiles_not_finite"], Style())))
    assert "25 NaN" in words
    assert "6 infinite" in words
    assert "clipped" in words


def test_names_too_long_keep_their_ends() -> None:
    """A cut name shows where it begins and where it ends, and fits."""
    cut = typeset.fit("class number 17", 11, 60)
    assert cut.startswith("cla")
    assert cut.endswith("17")
    assert typeset.width(cut, 11) <= 60


def test_a_table_that_needs_the_whole_width_stands_alone_and_keeps_its_words() -> None:
    """In a row it goes to a line of its own instead of cutting short words; only long texts are cut."""
    names = tuple(f"column number {k}" for k in range(8))
    table = Table(columns=tuple(Column(name=name, kind="text", texts=("automobile", "x" * 200 if k == 0 else "y")) for k, name in enumerate(names)))
    bars = Bars(values=np.ones(2), labels=("a", "b"))
    lines = [text for text, _ in _texts(draw(Group(children=(bars, table), direction="row"), Style(700.0)))]
    assert lines.count("automobile") == 8
    assert set(names) <= set(lines)
    assert any("…" in line for line in lines)


def test_a_bar_that_begins_in_the_middle_is_led_to_from_its_name() -> None:
    """Where bars may go both ways, each has a track as those have that go one way: from beside its name to beside its number."""
    for limits in (None, symmetric(np.array([1.0, 3.0]))):
        sheet = draw(Bars(values=np.array([1.0, 3.0]), labels=("a", "b"), limits=limits), Style(400.0))
        names = [box for item, box in sheet.boxes() if isinstance(item, TextLine) and item.text in ("a", "b")]
        tracks = [box for item, box in sheet.boxes() if isinstance(item, Shape) and item.fill == SOFT]
        assert [round(left - name[2]) for name, (left, *_) in zip(names, tracks, strict=True)] == [8, 8]


def test_every_character_can_be_drawn() -> None:
    """Control characters get signs, unknown ones a box, and the measured width is that of what is drawn."""
    assert typeset.visible("a\nb\tc") == "a↵b⇥c"
    drawn = typeset.runs("é日\U0010fffd")
    assert "".join(run.text for run in drawn)[0] == "é"
    assert all(run.width > 0 for run in drawn)


def test_lines_break_at_spaces_and_inside_endless_words() -> None:
    """No wrapped line is wider than the room, and no character is lost."""
    text = "a caption with " + "unbelievable" * 9 + " words"
    lines = typeset.wrap(text, 11, 90)
    assert all(typeset.width(line, 11) <= 90 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_each_mark_file_has_one_draw() -> None:
    """The static half of a mark is the function draw in the file that bears its name."""
    for name in MARKS:
        assert callable(importlib.import_module(f"diorama.export.marks.{name}").draw)


def test_names_of_lines_that_end_together_stand_apart() -> None:
    """Lines that end at one value have their names below each other, each inside the plot's height."""
    x = np.arange(5.0)
    series = tuple(Series(name=f"line {k}", x=x, y=x, colour=k) for k in range(5))
    boxes = [
        box for text, box in _texts(compose(Picture(title="", body=Lines(series=series)), Style())) if "line" in text
    ]
    assert len(boxes) == 5
    assert not any(_overlap(a, b) for a, b in itertools.combinations(boxes, 2))


def test_a_half_that_fails_is_told_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one mark cannot be drawn, paper says which one and why, and the others are drawn."""
    monkeypatch.setattr(importlib.import_module("diorama.export.marks.lines"), "draw", lambda mark, style: 1 / 0)
    line = Lines(series=(Series(x=np.zeros(1), y=np.zeros(1), name="a"),))
    with pytest.warns(LeftOut, match="The mark 'lines' could not be drawn on paper: ZeroDivisionError"):
        sheet = draw(Group(children=(line, Number(label="beside it", value=3.0))), Style(420.0))
    said = " ".join(item.text for item, _, _ in sheet.items if isinstance(item, TextLine))
    assert "The mark 'lines' could not be drawn" in said
    assert "beside it" in said


def test_a_name_is_whole_where_a_bar_can_be_told_beside_it() -> None:
    """Names that differ in their middle are not cut there for bars that have room enough."""
    names = tuple(f"brightness {down} centre" for down in ("middle", "bottom"))
    told = {"values": np.array([-0.3, 0.6]), "limits": symmetric(np.array([-1.0, 1.0]))}
    sheet = draw(Bars(labels=names, **told), Style(270.0))
    assert set(names) <= {text for text, _ in _texts(sheet)}
