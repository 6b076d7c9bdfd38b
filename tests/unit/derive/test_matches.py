"""The search for phrases over which the same cells are on, against comparing every stretch of every text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable, NotFound, UsageError
from diorama.core.marks import Lines, Table, Text
from diorama.derive import phrases
from diorama.derive.phrases import STEPS, PhraseSearch, chosen, level, levels_of, reached
from diorama.scene import Scene
from diorama.views.texts import stretches
from diorama.views.unit import matches as shown

Match = tuple[int, int, int, float]


def _by_hand(on: np.ndarray, length: int, limit: int, own: tuple[int, int, int] | None) -> list[Match]:
    """Every stretch of every text that cannot be longer for its cells; ranked, and overlaps left out. ``on`` (cells, texts, tokens)."""
    cells, count, tokens = on.shape
    every = []
    for text in range(count):
        for start in range(tokens):
            for stop in range(start + 1, tokens + 1):
                together = on[:, text, start:stop].all(1)
                if not together.any():
                    break
                longer = [on[:, text, start - 1] & together] if start else []
                longer += [on[:, text, stop] & together] if stop < tokens else []
                if not any((more == together).all() for more in longer):
                    every.append((-int(together.sum()), abs(stop - start - length), text, start, stop))
    found: list[Match] = []
    taken = [own] if own is not None else []
    for shares, _, text, start, stop in sorted(every):
        if len(found) < limit and not any(text == other and start < end and stop > begin for other, begin, end in taken):
            taken.append((text, start, stop))
            found.append((text, start, stop, -shares / cells))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_matches_are_those_of_a_search_by_hand(seed: int) -> None:
    """On states that stay on for a while, the matches, their order, their scores and what is left out are those by hand."""
    random = np.random.default_rng(seed)
    cells, texts, tokens = int(random.integers(1, 7)), 4, 23
    values = np.repeat(random.normal(size=(cells, texts, 12)), 2, 2)[:, :, :tokens] + 0.3 * random.normal(size=(cells, texts, tokens))
    values = np.tanh(values).astype(np.float32)
    threshold = float(random.choice([0.0, 0.1, 0.3]))
    for own, limit in (((1, 4, 9), 1000), (None, 3)):
        got = PhraseSearch(levels_of(values, 1.0), np.arange(cells), threshold, 5, limit, own).found()
        wanted = _by_hand(values >= threshold, 5, limit, own)
        assert list(zip(*(got[name].tolist() for name in ("example", "start", "end")), strict=True)) == [one[:3] for one in wanted]
        assert got["score"].tolist() == pytest.approx([one[3] for one in wanted])


def test_a_level_tells_whether_a_value_reaches_a_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """For every threshold in steps of 1/200, and values at, just below and far from it, the level says what comparing says,
    however the values lie in memory."""
    steps = np.arange(201) / 200
    for scale in (1.0, 0.37, 12.5):
        values = np.concatenate([steps * scale, np.nextafter(steps * scale, -9), np.linspace(-2, 2, 301) * scale, [np.nan, np.inf, -np.inf]])
        far = np.abs(values[:, None] / scale * 200 - np.arange(201)) > 1e-9  # at a threshold, but for rounding, either is right
        got = levels_of(values, scale)[:, None] >= np.array([level(threshold) for threshold in steps])
        with np.errstate(invalid="ignore"):
            wanted = values[:, None] >= steps * scale
        assert (got == wanted)[far & ~np.isnan(values[:, None])].all()
        assert not got[np.isnan(values)].any()
    single = steps.astype(np.float32)
    for values in (single, np.nextafter(single, np.float32(-9)), np.nextafter(single, np.float32(9))):
        assert (levels_of(values, 1.0) == (values.astype(float)[:, None] >= steps).sum(1)).all()
    values = np.random.default_rng(0).normal(size=(3, 50, 40)).astype(np.float32)
    wanted = np.array([[[sum(value >= one for one in steps) for value in row] for row in part] for part in values[:, :2, :3].astype(float)])
    for turned in (values, np.asfortranarray(values), values.transpose(1, 2, 0).copy().transpose(2, 0, 1)):
        monkeypatch.setattr(phrases, "AT_ONCE", 7)
        assert (levels_of(turned, 1.0)[:, :2, :3] == wanted).all()


def test_chosen_cells_are_on_through_the_span() -> None:
    """Only cells that are on at each of its tokens are chosen; sharply only those that are off on both sides, or at an end."""
    on = np.array([[0, 1, 1, 0], [1, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 1]], np.float32)
    levels = levels_of(on, 1.0)
    assert chosen(levels, 1, 3, 0.5, False).tolist() == [0, 1, 3]
    assert chosen(levels, 1, 3, 0.5, True).tolist() == [0]
    assert chosen(levels, 2, 4, 0.5, True).tolist() == []
    assert chosen(levels, 0, 2, 0.5, True).tolist() == []


class _Vowels(nn.Module):
    """Its first cell is on at vowels, its second at letters; the others say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Embedding(9, 4)
        with torch.no_grad():
            self.cells.weight.zero_()
            self.cells.weight[:3, 0] = 0.9
            self.cells.weight[:7, 1] = 0.8
        self.act, self.out = nn.Tanh(), nn.Linear(4, 9)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.act(self.cells(x)))


def _scene(**annotations: Any) -> Scene:
    words = ["a", "e", "o", "b", "c", "d", "f", " ", "<pad>"]
    x = torch.randint(0, 8, (30, 16), generator=torch.Generator().manual_seed(3))
    x[:, 13:] = 8
    return Scene(_Vowels(), x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=words, annotations=annotations))


def test_matches_of_a_scene_are_those_of_its_activations() -> None:
    """By example, span and threshold the derivation is the search by hand over the layer's values; padding matches nothing."""
    scene = _scene()
    values = scene.activations("act", scene.examples.x)["act"].numpy().transpose(1, 0, 2).copy()
    values[:, :, 13:] = -1
    for example, span, threshold in ((0, (4, 6), 0.3), (7, (2, 3), 0.005), (3, (0, 2), 0.5)):
        found = scene.derive("matches", layer="act", example=example, span=span, threshold=threshold, limit=40).value
        scale = scene.derive("levels", layer="act").value["scale"]
        on = values >= threshold * scale
        cells = np.flatnonzero(on[:, example, span[0] : span[1]].all(1))
        assert found["cells"].tolist() == cells.tolist()
        levels = scene.derive("levels", layer="act").value["levels"][:, example]
        for count in range(1, len(levels) + 1):
            # At the threshold that is told so many cells are on, and at the next one fewer.
            told = reached(levels, *span, count)
            more = [len(chosen(levels, *span, told + step / STEPS, False)) for step in (0, 1)] if not np.isnan(told) else [0, 0]
            assert np.isnan(told) or more[0] >= count > more[1]
            assert np.isnan(told) == (len(chosen(levels, *span, 1 / STEPS, False)) < count)
        wanted = _by_hand(on[cells], span[1] - span[0], 40, (example, *span)) if len(cells) else []
        assert list(zip(*(found[name].tolist() for name in ("example", "start", "end")), strict=True)) == [one[:3] for one in wanted]


def test_the_view_shows_the_phrase_and_its_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are the derivation's, the lines can be brushed, chosen tokens are a span, a text of one's own has matches too."""
    scene = _scene()
    example = next(k for k, text in enumerate(scene.live.shown()) if "".join(text[2:4]).isalpha())
    picture = scene.view("matches", layer="act", example=example, span=(2, 4), threshold=0.1)
    found = scene.derive("matches", layer="act", example=example, span="2:4", threshold=0.1).value
    table = next(mark for mark in picture.marks() if isinstance(mark, Table))
    assert len(found["cells"])
    assert [int(k) for k in table.columns[4].numbers] == found["example"].tolist()
    lines = next(mark for mark in picture.marks() if isinstance(mark, Lines))
    assert (lines.handle.knob, lines.handle.kind, lines.handle.value) == ("span", "range", "2:4")
    assert "empty it" in picture.hint
    # A brush chooses tokens, as clicks do: neither keeps the other from being heard.
    brushed = scene.view("matches", layer="act", example=example, select=["token:2-3"], threshold=0.1)
    lines = next(mark for mark in brushed.marks() if isinstance(mark, Lines))
    assert (lines.handle, lines.x_key, brushed.hint, brushed.caption) == (None, "token", "", picture.caption)
    typed = scene.view("matches", layer="act", input="abcabc", select=["token:0"], threshold=0.5)
    table = next(mark for mark in typed.marks() if isinstance(mark, Table))
    assert "2 of 4 cells" in typed.caption
    assert "So few" not in typed.caption
    monkeypatch.setattr(shown, "FEW", 2)
    vowel = next(k for k, text in enumerate(scene.live.shown()) if text[2] in "aeo")
    lower = reached(scene.derive("levels", layer="act").value["levels"][:, vowel], 2, 3, 2)
    few = [scene.view("matches", layer="act", example=vowel, span=(2, 3), threshold=threshold).caption for threshold in (1.0, lower)]
    assert ["2 are on" in caption for caption in few] == [True, False]
    assert f" {lower:.3g}, 2" in few[0]
    whole = [text for text, share in zip(table.columns[2].texts, table.columns[0].numbers, strict=True) if share == 1]
    assert whole
    assert set("".join(whole)) <= set("aeo")
    silent = scene.view("matches", layer="act", threshold=1.0, span=(0, 12))
    assert "Lower the threshold" in silent.caption
    coloured, plain = (next(mark for mark in each.marks() if isinstance(mark, Text)) for each in (picture, silent))
    assert (coloured.limits.low, coloured.limits.high) == (0, 1)
    assert plain.values is None
    assert [shown._blanks(text) for text in ("  r ", "a b", "   ")] == ["␣␣r␣", "a b", "␣␣␣"]


def test_a_threshold_that_is_left_open_lets_some_cells_be_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where fewer cells are on at the usual threshold the highest is taken at which so many are; where enough are, the usual one."""
    scene = _scene()
    vowel = next(k for k, text in enumerate(scene.live.shown()) if text[2] in "aeo")
    levels = scene.derive("levels", layer="act").value["levels"][:, vowel]
    usual = len(chosen(levels, 2, 3, phrases.THRESHOLD, False))
    assert usual
    monkeypatch.setattr(shown, "FEW", usual)
    assert f"{usual} of 4 cells" in scene.view("matches", layer="act", example=vowel, span=(2, 3)).caption
    monkeypatch.setattr(shown, "THRESHOLD", 1.0)
    lower = reached(levels, 2, 3, usual)
    opened, typed = (scene.view("matches", layer="act", example=vowel, span=(2, 3), **told).caption for told in ({}, {"threshold": lower}))
    assert opened == typed


def test_spans_that_are_none_are_refused() -> None:
    """A brush is rounded to the tokens between its ends; a span that ends behind the text, or is none, says what is wanted."""
    knob = diorama.core.knobs.knobs_of(diorama.views["matches"])["span"]
    assert knob.check((4, 12)) == knob.check("4:12") == knob.check([4.0, 12]) == "4:12"
    assert knob.check("3.7:11.6") == "4:12"
    assert knob.check("") is None
    scene = _scene()
    for wrong in ((3, 3), (5, 2), "x", "1", (-1, 4), ("a", "b"), (0, float("nan")), (1, 2, 3), 7):
        with pytest.raises(UsageError, match="wants a span"):
            scene.view("matches", span=wrong)
    with pytest.raises(UsageError, match="ends behind"):
        scene.view("matches", layer="act", span=(4, 40))
    with pytest.raises(UsageError, match="ends behind"):
        list(scene.derive("matches", layer="act", span=(4, 40)).stream())
    with pytest.raises(UsageError, match="examples 0 to 29"):
        scene.derive("matches", layer="act", example=30)
    with pytest.raises(NotApplicable, match="no tokens"):
        Scene(nn.Linear(3, 2), torch.randn(4, 3)).view("matches")


def test_an_annotation_stands_under_the_phrase_and_beside_the_matches() -> None:
    """What one's own function tells of each token is shown in stretches, counted in the matches, and refused where it does not fit."""
    scene = _scene(kinds=lambda tokens: ["vowel" if token in "aeo" else "other" for token in tokens])
    picture = scene.view("matches", layer="act", input="abcaeb", span=(3, 5), threshold=0.5)
    track = [mark for mark in picture.marks() if isinstance(mark, Text)][1]
    assert track.title == "kinds, stretch by stretch"
    assert track.tokens == ("vowel ", "other ", "vowel ", "other ")
    assert track.keys == ("token:0", "token:1-2", "token:3-4", "token:5")
    table = next(mark for mark in picture.marks() if isinstance(mark, Table))
    told = next(column for column in table.columns if column.name == "kinds").texts
    for match, words in zip(table.columns[2].texts, told, strict=True):
        wanted = ["vowel" if one in "aeo" else "other" for one in match]
        assert words == " ".join(word for word, _, _ in stretches(wanted))
    assert "of the tokens of matches bear “vowel” (kinds)" in picture.caption
    indented = scene.view("matches", layer="act", input="abcaeb", threshold=0.5, annotation="vowel")
    assert any(mark.title == "vowel, stretch by stretch" for mark in indented.marks())
    with pytest.raises(NotFound, match="no annotation named 'nouns'"):
        scene.view("matches", annotation="nouns")
    for wrong, says in ((lambda tokens: [1], "told of 1"), (lambda tokens: 1 / 0, "ZeroDivisionError")):
        with pytest.raises(UsageError, match=says):
            _scene(kinds=wrong).view("matches", layer="act")


def test_a_phrase_that_nobody_chose_is_a_word_at_which_cells_are_on() -> None:
    """From the middle on, then from the beginning; where too few are on at each, the word of most; in a text without words, or where no cell is on
    at any, the longest stretch of three tokens at most at which enough are, or some."""
    tokens = list("one two three four five")
    asked = {"one": 9, "two": 7, "three": 2, "four": 4, "five": 6}

    def on(start: int, stop: int) -> int:
        return asked["".join(tokens[start:stop])]

    def word() -> str:
        start, stop = shown._word(tokens, on)
        return "".join(tokens[start:stop])

    assert word() == "five"
    asked["five"] = 0
    assert word() == "one"
    asked["one"], asked["two"] = 1, 3
    assert word() == "four"
    letters = list("abcdefgh")
    assert shown._word(letters, lambda start, stop: {(4, 7): 2, (5, 8): 6}.get((start, stop), 0)) == (5, 8)
    assert shown._word(letters, lambda start, stop: 7 if stop - start < 2 else 0) == (4, 5)
    assert shown._word(letters, lambda start, stop: 2 if (start, stop) == (6, 8) else 0) == (6, 8)
    assert shown._word(list("a b c d"), lambda start, stop: 0) == (3, 4)
