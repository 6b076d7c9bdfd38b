"""Cells over text: which follow which property, how surely, and a text of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import LETTERS, images, letters
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable, UsageError
from diorama.core.marks import Group, Table, Text
from diorama.core.picture import Picture
from diorama.derive.derivations import properties as deriving
from diorama.derive.texts import MUSIC, PROPERTIES, pattern, properties
from diorama.model.kernels import recurrent
from diorama.scene import Scene
from diorama.scene.states import hidden


def _mark(picture: Picture, kind: type) -> object:
    return next(mark for mark in picture.marks() if isinstance(mark, kind))


def test_a_cell_that_keeps_digits_is_offered_for_digits() -> None:
    """The cell that was built to fire for digits matches that property wholly, and is shown first."""
    picture = letters().view("cells", property="digit")
    assert picture.title == "Cell 0 of rnn.l0"
    assert picture.checks[0].name == "correlation with digit"
    assert picture.checks[0].value > 0.99
    table = _mark(picture, Table)
    assert table.row_keys[0] == "unit:rnn.l0/0"
    assert "Below each character stand" in picture.caption
    scene = letters()
    words = Scene(scene.model, scene.examples.x, scene.examples.y, inputs=diorama.Tokens(tuple(letter * 2 for letter in LETTERS), separator=" "))
    assert "Below each token stand" in words.view("cells", cell="rnn.l0/0").caption


def test_a_text_of_ones_own_is_coloured_letter_by_letter() -> None:
    """Typed text goes through the cell: positive at the digits, nothing elsewhere; guesses stand below each letter."""
    scene = letters()
    text = _mark(scene.view("cells", unit="rnn.l0/0", input="ab7c7"), Text)
    assert text.tokens == (*"ab7c7", "…")
    assert (text.values[[2, 4]] > 0.7).all()
    assert np.abs(text.values[[0, 1, 3]]).max() < 0.01
    chance = scene.with_input("ab7c7").current()
    likely = scene.probabilities(chance.x)[0]
    assert text.alternatives[0] == ()
    assert [each.probability for each in text.alternatives[1]] == pytest.approx(
        likely[0].topk(5).values.tolist(), abs=1e-5
    )
    assert len(text.alternatives[5]) == 5
    with pytest.raises(UsageError, match="0 to 2"):
        scene.view("cells", cell="3")
    assert scene.view("cells", cell="out/5").title == "Cell 5 of out"
    with pytest.raises(UsageError, match="none of rnn.l0"):
        scene.view("cells", cell="out/5", layer="rnn.l0")


class _Indented(nn.Module):
    """Letters read by eight cells: cell 5 keeps a tenth of the blanks that its line begins with and tells it at an a alone, cell 2 knows
    whether the line has begun, the others are left as they were drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding.from_pretrained(torch.eye(4))
        self.rnn, self.out = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 4)
        end, blank = 0, 1
        with torch.no_grad():
            fed, back, bias = (getattr(self.rnn, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih"))
            self.rnn.bias_hh_l0.zero_()
            for cell in (2, 5):
                for gate in range(4):
                    fed[8 * gate + cell], back[8 * gate + cell], bias[8 * gate + cell] = 0, 0, 10
                fed[8 + cell, end] = -20
            bias[2], fed[2, [end, blank]] = 10, -20
            bias[5], fed[5, blank], back[5, 2] = -10, 20, -40
            bias[16 + 5] = 0.1
            bias[24 + 5], fed[24 + 5, 2] = -20, 40

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.rnn(self.embed(x))[0])
        return found


def test_the_cell_that_counts_the_indentation_is_found_by_itself() -> None:
    """Among cells that were drawn at random the one that keeps the indentation is offered, surely, by what it keeps and not by what it says."""
    random = np.random.default_rng(0)
    letters = ["\n", " ", "a", "b"]
    lines = [" " * random.integers(0, 9) + "".join(random.choice(["a", "b", " "], random.integers(3, 9))) for _ in range(90)]
    text = torch.tensor([letters.index(letter) for letter in "\n".join(lines)][: 6 * 100]).reshape(6, 100)
    torch.manual_seed(0)
    scene = Scene(_Indented(), text, text.roll(-1, 1), inputs=diorama.Tokens(vocabulary=letters))
    picture = scene.view("cells", property="indentation")
    assert picture.title == "Cell 5 of rnn.l0"
    # The ranked cells stand beside the text where there is room, so that a low panel shows them.
    both = _mark(picture, Group)
    assert (both.direction, [type(child) for child in both.children]) == ("row", [Text, Table])
    assert picture.checks[0].value > 0.95
    assert picture.checks[0].good
    found, said = (scene.derive("properties", layer="rnn.l0", **told).value for told in ({}, {"state": "output"}))
    row = found["names"].index("indentation")
    assert found["chance"][row, 5] == pytest.approx(0.01)
    assert found["held_out"][row, 5] == pytest.approx(picture.checks[0].value)
    assert abs(said["held_out"][row, 5]) < 0.7


def test_a_line_that_a_window_cuts_is_none() -> None:
    """Windows that begin at a blank in the middle of a line have no indentation, nor is the place in that line known: both are those of the
    same text from the next line on."""
    text = "ab a b abba\na b ab\nabba abb a b\nbab a\n" * 40
    letters, starts = ["\n", " ", "a", "b"], np.random.default_rng(0).integers(0, 900, 24)
    starts[::2] = [text.index(" ", start) for start in starts[::2]]
    windows = torch.tensor([[letters.index(letter) for letter in text[start : start + 50]] for start in starts])
    torch.manual_seed(0)
    scene = Scene(_Indented(), windows, windows.roll(-1, 1), inputs=diorama.Tokens(vocabulary=letters))
    found = scene.derive("properties", layer="rnn.l0").value
    at = {name: k for k, name in enumerate(found["names"])}
    assert not found["correlations"][at["indentation"]].any()
    assert (found["chance"][at["indentation"]] == 1).all()
    values = scene.derive("properties", layer="rnn.l0", state="output").value
    said: tuple[list[int], list[np.ndarray]] = ([], [])
    states = hidden(scene, "rnn.l0", windows).double().numpy()
    for row, start in zip(states, starts, strict=True):
        window = text[start : start + 50]
        begin = window.index("\n") + 1
        said[0].extend([k - 1 - (begin + window[begin:k].rfind("\n")) for k in range(begin, 50)])
        said[1].append(row[:, begin:])
    wanted = [np.corrcoef(said[0], cell)[0, 1] for cell in np.concatenate(said[1], 1)]
    np.testing.assert_allclose(values["correlations"][at["position in the line"]], wanted, atol=1e-6)
    assert found["correlations"][at["vowel"]].any()


def test_cells_need_a_recurrent_layer() -> None:
    """A network without one says what the view would show."""
    with pytest.raises(NotApplicable, match="tokens"):
        images().view("cells")


def _read(text: str) -> dict[str, list[str]]:
    """Of each property that is on or off the pieces of the text where it is on."""
    found = {}
    for name, row in zip(PROPERTIES, properties(list(text)), strict=True):
        pieces = "".join(letter if on else "\0" for letter, on in zip(text, row, strict=True)).split("\0")
        found[name] = [piece for piece in pieces if piece]
    return found


def test_properties_of_a_text_are_read_rightly() -> None:
    """Quotes, comments, conditions, vowels, positions, indentation and brackets are found letter by letter."""
    found = dict(zip(PROPERTIES, properties(list('  f("a")\nx')), strict=True))
    assert found["inside quotes"].tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert found["position in the line"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 0]
    assert found["indentation"].tolist() == [1, 2, 2, 2, 2, 2, 2, 2, 0, 0]
    assert found["open brackets"].tolist() == [0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    assert found["blank"].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    c = _read('if (a == (b)) { s = "c // d"; } /* it\'s "e" */ y; // don\'t\n#include <a.h>\n/*/ q */ r')
    assert c["inside quotes"] == ['"c // d"']
    assert c["comment"] == ['/* it\'s "e" */', "// don't", "/*/ q */"]
    assert c["inside an if-statement"] == ["if (a == (b))"]
    python = _read("if (x) == 3: # no\n  elif y and f(2): 'it' if q\n  life")
    assert python["comment"] == ["# no"]
    assert python["inside an if-statement"] == ["if (x) == 3:", "elif y and f(2):", "if q\n"]
    assert python["vowel"] == ["i", "o", "e", "i", "a", "i", "i", "i", "e"]


@pytest.mark.parametrize("cut", [False, True])
def test_rankings_and_chance_are_those_of_all_characters_at_once(monkeypatch: pytest.MonkeyPatch, cut: bool) -> None:
    """Summed up text by text, in blocks, every number is numpy's: of all, of each half, and of each shift of the property; of lines,
    where the first of each text may be cut, those of all characters behind it."""
    monkeypatch.setattr(deriving, "BLOCK", 7)
    scene = letters()
    few = scene.live.first(32)
    begins = [("".join(text).find("\n") + 1) or len(text) for text in few.shown()] if cut else [0] * len(few)
    if not cut:
        monkeypatch.setattr(deriving, "_windows", lambda texts: False)
    found = scene.derive("properties", layer="rnn.l0", pattern="[a-c]+7", state="output").value
    if cut:
        found = {**found, **{name: found[name][1:3] for name in deriving.FOUND}}
    said = scene.activations("rnn.l0", few.x)["rnn.l0"].double().numpy()
    values = np.concatenate([text[:, begin:] for text, begin in zip(said, begins, strict=True)], 1)
    texts = [text[begin:] for text, begin in zip(few.shown(), begins, strict=True)]
    features = np.concatenate([properties(text, pattern("[a-c]+7")) for text in texts if text], 1)[slice(1, 3) if cut else slice(None)]

    def wanted(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.nan_to_num(np.corrcoef(a, b)[: len(a), len(a) :])

    half = features.shape[1] // 2
    np.testing.assert_allclose(found["correlations"], wanted(features, values), atol=1e-9)
    np.testing.assert_allclose(found["first"], wanted(features[:, :half], values[:, :half]), atol=1e-9)
    late, cells = features[:, half:], values[:, half:]
    np.testing.assert_allclose(found["held_out"], wanted(late, cells), atol=1e-9)
    starts = np.cumsum([0, *map(len, texts)]) - half
    moved = deriving.ShiftedRows(late, starts)
    assert cut or len(moved.starts) == (starts[:-1] > 0).sum() + 1
    best = []
    for whole, own in zip(deriving.shifts(late.shape[1]), moved.own, strict=True):
        parts = np.split(np.roll(late, whole, 1), moved.starts[1:], 1)
        turned = np.concatenate([np.roll(part, by, 1) for part, by in zip(parts, own, strict=True)], 1)
        best.append(np.abs(wanted(turned, cells)).max(1))
    as_well = (np.stack(best)[:, :, None] >= np.abs(found["held_out"]) - 1e-6).sum(0)
    np.testing.assert_allclose(found["chance"], (1 + as_well) / 100, atol=0.011)
    if cut:
        return
    generator = torch.Generator().manual_seed(0)
    for weight in scene.model.rnn.parameters():
        weight.data.copy_(2 * torch.randn(weight.shape, generator=generator))
    memories = recurrent(scene.model, few.x)["rnn.l0"]["c"].tanh().flatten(0, 1).double().numpy().T
    kept, told = (scene.derive("properties", layer="rnn.l0", state=state).value["correlations"] for state in ("auto", "output"))
    np.testing.assert_allclose(kept, wanted(features[:-1], memories), atol=1e-9)
    assert np.abs(kept - told).max() > 0.05
    assert found["names"] == [*PROPERTIES, "regular expression"]
    digit = found["names"].index("digit")
    assert found["chance"][digit, 0] == pytest.approx(0.01)
    assert found["chance"][digit, 1] == 1


def test_a_melody_has_no_comments() -> None:
    """Cells that read notes are matched with pitch and beat: a sharp begins no comment there, and asking for one says so."""
    notes = ("<waltz>", ".", "-", "C4", "F#4", "A3")
    kind = diorama.Tokens(notes, separator=" ")
    found = dict(zip(MUSIC, properties(["<waltz>", ".", "C4", "-", "F#4", "A3"], kind=kind), strict=True))
    assert found["pitch"].tolist() == [60, 60, 60, 60, 66, 57]
    assert found["leap from the note before"].tolist() == [0, 0, 0, 0, 6, -9]
    assert found["length of the note so far"].tolist() == [0, 1, 0, 1, 0, 0]
    assert found["on the beat"].tolist() == [0, 1, 0, 1, 0, 1]
    assert found["silence"].tolist() == [0, 1, 0, 0, 0, 0]
    assert not set(MUSIC) & set(PROPERTIES)
    x = torch.randint(0, 6, (4, 12), generator=torch.Generator().manual_seed(0))
    scene = Scene(nn.Sequential(nn.Embedding(6, 4), nn.RNN(4, 3, batch_first=True)).eval(), x, inputs=kind)
    assert scene.derive("properties", layer="1").value["names"] == list(MUSIC)
    with pytest.raises(NotApplicable, match="no 'comment'; choose any, or pitch"):
        scene.view("cells", layer="1", property="comment")


def test_what_is_one_property_in_these_texts_is_offered_once() -> None:
    """In texts of one long word each the place in the line and the place in the word are one thing: one row bears both names, asked by either."""
    torch.manual_seed(0)
    kind = diorama.Tokens(vocabulary=[*"abcdefghijklmnopqrstuvwxyz"])
    scene = Scene(nn.Sequential(nn.Embedding(26, 4), nn.RNN(4, 5, batch_first=True)).eval(), torch.randint(0, 26, (8, 20)), inputs=kind)
    names = [_mark(scene.view("cells", **told), Table).columns[0] for told in ({}, {"property": "position in the word"}, {"unit": "1/2"})]
    assert len([name for name in names[0].texts if "position" in name]) == 2
    assert set(names[1].texts) == {"position in the line = position in the word"}
    assert not {"position in the line", "position in the word"} & {text for column in names for text in column.texts}
    assert "one and the same property in these texts" in names[1].note
    apart = np.array([[0.0, 1, 2, 3], [5, 3, 1, -1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 2, 2]])
    assert deriving.alike(apart).tolist() == [0, 0, 2, 3, 4]


def test_what_comes_again_in_every_text_is_held_against_chance() -> None:
    """A cell that turns over at every token follows the beat wholly, and chance hardly ever does as well: shifted along texts of even
    length as a whole, the beat would be the same again, or its opposite."""
    torch.manual_seed(0)
    read = nn.RNN(4, 3, batch_first=True)
    with torch.no_grad():
        read.weight_ih_l0[0], read.weight_hh_l0[0], read.bias_ih_l0[0] = 0, torch.tensor([-5.0, 0, 0]), 1
    notes = diorama.Tokens(("<waltz>", ".", "-", "C4", "F#4", "A3"), separator=" ")
    scene = Scene(nn.Sequential(nn.Embedding(6, 4), read).eval(), torch.randint(1, 6, (32, 12)), inputs=notes)
    found = scene.derive("properties", layer="1").value
    row = found["names"].index("on the beat")
    assert abs(found["held_out"][row, 0]) > 0.95
    assert found["chance"][row, 0] == pytest.approx(0.01)


def test_words_stand_apart_where_properties_are_read() -> None:
    """Tokens that are words are read with blanks between them: each begins a word, and an if is one."""
    words = ["if", "good", ":", "go"]
    found = dict(zip(PROPERTIES, properties(words, kind=diorama.Tokens(words, separator=" ")), strict=True))
    assert found["position in the word"].tolist() == [1, 1, 0, 1]
    assert found["inside an if-statement"].tolist() == [1, 1, 1, 0]


class _Answering(nn.Module):
    """Answers at each letter with scores for all of them, by an LSTM, which may read both ways."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(6, 5), nn.LSTM(5, 7, batch_first=True, bidirectional=both)
        self.out = nn.Linear(7 * (1 + both), 6)

    def forward(self, x: Tensor) -> Tensor:
        """Scores at each place."""
        found: Tensor = self.out(self.rnn(self.embed(x))[0])
        return found


def test_answers_of_what_was_read_are_no_guesses() -> None:
    """Answers are called guesses only where the network has not read what they tell; those for a letter itself stand below that letter."""
    tokens = torch.randint(0, 6, (8, 11), generator=torch.Generator().manual_seed(0))
    x, kind = tokens[:, :-1], diorama.Tokens("abcdef")
    for both, y, words in (
        (False, tokens[:, 1:], "thought likeliest in its place"), (True, tokens[:, 1:], "no guesses, since the network reads what lies ahead"),
        (False, x, "answers of the network at its place"), (True, x, "answers of the network at its place"),
    ):
        scene = Scene(_Answering(both).eval(), x, y, inputs=kind)
        picture, on = scene.view("cells", layer="rnn.l0", cell="unit:rnn.l0/0"), int(y is not x)
        assert words in picture.caption
        assert ("thought" in picture.caption) == (not both and y is not x)
        text = _mark(picture, Text)
        assert isinstance(text, Text)
        assert len(text.tokens) == 10 + on
        chance = scene.probabilities(x[:1])[0]
        for place in range(10):
            best = text.alternatives[place + on][0]
            assert (best.text, best.probability) == ("abcdef"[int(chance[place].argmax())], pytest.approx(float(chance[place].max()), abs=1e-5))


class _Translator(nn.Module):
    """Reads a source, and says a target from what it has said so far; the source's states go into every place."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 6)
        self.read, self.say, self.out = nn.GRU(6, 5, batch_first=True), nn.LSTM(6, 5, batch_first=True), nn.Linear(10, 10)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        read, said = self.read(self.words(source))[0], self.say(self.words(target))[0]
        return self.out(torch.cat([said, read.mean(1, keepdim=True).expand_as(said)], -1))


def test_each_layer_of_a_translator_colours_the_text_that_it_reads() -> None:
    """An encoder's cells stand over the source, a decoder's over the target, and what is expected over the target alone, though both are as long."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _Translator().eval()
    source = torch.randint(1, 10, (6, 5), generator=torch.Generator().manual_seed(1))
    target = torch.cat([torch.zeros(6, 1, dtype=torch.int64), source.flip(1)[:, :-1]], 1)
    kinds = {name: diorama.Tokens(tuple(letters_)) for name, letters_ in (("source", "abcdefghij"), ("target", "ABCDEFGHIJ"))}
    scene = Scene(model, {"source": source, "target": target}, source.flip(1), inputs=kinds)
    for layer, name in (("read.l0", "source"), ("say.l0", "target"), ("out", "target")):
        picture = scene.view("cells", layer=layer, cell=f"{layer}/1")
        text, shown = _mark(picture, Text), scene.examples.shown([0])[name][0]
        assert list(text.tokens[:5]) == shown
        assert ("stands at the tokens of target" in picture.note) == (name == "source")
        assert bool(text.alternatives) == (name == "target") == ("Below each" in picture.caption)
        if name == "target":
            best = model(source[:1], target[:1])[0].argmax(-1).tolist()
            assert [row[0].text for row in text.alternatives[1:]] == ["ABCDEFGHIJ"[k] for k in best]
    gates = _mark(scene.view("gates", layer="say.l0", saturation=False), Text)
    assert list(gates.tokens) == scene.examples.shown([0])["target"][0]


def test_padding_is_not_counted() -> None:
    """Texts that are filled up, on the left or on the right, have the correlations of the same texts without padding."""
    torch.manual_seed(0)
    words = ["<pad>", *"ab7 c"]
    model = nn.Sequential(nn.Embedding(6, 4), nn.Tanh())
    rows = torch.randint(1, 6, (4, 9))
    bare = Scene(model, rows, inputs=diorama.Tokens(vocabulary=words)).derive("properties", layer="1").value
    for side in (0, 1):
        filled = torch.cat([rows, torch.zeros(4, 5, dtype=torch.long)][:: 1 - 2 * side], 1)
        found = Scene(model, filled, inputs=diorama.Tokens(vocabulary=words)).derive("properties", layer="1").value
        for name in ("correlations", "first", "held_out"):
            np.testing.assert_allclose(found[name], bare[name], atol=1e-9)


@pytest.mark.parametrize("left", [False, True])
def test_padding_is_shown_once(left: bool) -> None:
    """What fills a text up is one token with its mean value and how many there are, which all are chosen by it; guesses keep their places."""
    torch.manual_seed(0)
    words = ("<pad>", *"abcdef")
    x = torch.randint(1, 7, (6, 8))
    x[:, slice(3) if left else slice(5, 8)] = 0

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn, self.out = nn.Embedding(7, 4), nn.GRU(4, 5, batch_first=True), nn.Linear(5, 7)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.out(self.rnn(self.embed(x))[0])
            return scores

    model = Reader()
    scene = Scene(model, x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=words), task="next_token")
    text = _mark(scene.view("cells", cell="rnn.l0/2"), Text)
    own = model.rnn(model.embed(x[:1]))[0][0, :, 2].detach().numpy()
    at, inside = (0, slice(0, 3)) if left else (5, slice(5, 8))
    assert len(text.tokens) == 7  # five letters, the padding, and what is expected behind them
    assert text.tokens[at] == "<pad> × 3"
    assert text.keys[at] == f"token:{inside.start}-{inside.stop - 1}"
    assert text.values[at] == pytest.approx(own[inside].mean(), abs=1e-5)
    letters_at = [k for k in range(6) if k != at]
    np.testing.assert_allclose(np.asarray(text.values)[letters_at], np.delete(own, range(*inside.indices(8))), atol=1e-5)
    likeliest = model(x[:1])[0].argmax(-1).tolist()
    assert [one[0].text for one in text.alternatives[1:]] == [
        words[likeliest[k]] for k in ([2, 3, 4, 5, 6, 7] if left else [0, 1, 2, 3, 4, 7])
    ]


def test_a_regular_expression_and_chosen_tokens_find_their_cell() -> None:
    """The cell of digits is found by a pattern for digits, and by choosing the digits of one text by hand."""
    scene = letters()
    by_pattern = _mark(scene.view("cells", property="regular expression", pattern=r"\d"), Table)
    assert by_pattern.row_keys[0] == "unit:rnn.l0/0"
    nowhere = scene.view("cells", property="regular expression", pattern="Q")
    assert "no cell is offered: “Q” does not come and go" in nowhere.note
    assert not any(isinstance(mark, Table) for mark in nowhere.marks())
    digits = [k for k, token in enumerate(scene.live.shown()[2]) if token.isdigit()]
    picture = scene.view("cells", property="chosen tokens", example=2, select=[f"token:{k}" for k in digits])
    table = _mark(picture, Table)
    assert table.row_keys[0] == "unit:rnn.l0/0"
    assert picture.checks[0].value > 0.99
    assert [column.name for column in table.columns] == ["property", "cell", "correlation", "by chance"]
    for wrong, says in (({"pattern": "("}, "no regular expression"), ({"property": "regular expression"}, "type one as pattern"),
                        ({"property": "chosen tokens"}, "choose some tokens"), ({"pattern": "a" * 300}, "at most 200")):
        with pytest.raises(UsageError, match=says):
            scene.view("cells", **wrong)


class _Reader(nn.Module):
    """One block of a transformer over letters, without its attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.up, self.down, self.out = nn.Embedding(8, 6), nn.Linear(6, 12), nn.Linear(12, 6), nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        found = self.embed(x)
        return self.out(found + self.down(self.up(found).relu()))


def test_cells_of_any_layer_that_answers_at_each_token() -> None:
    """Of a transformer the hidden layer of its MLP is shown, and any other by name; its values are that layer's."""
    torch.manual_seed(1)
    x = torch.randint(0, 8, (6, 20))
    scene = Scene(_Reader(), x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=LETTERS))
    assert scene.view("cells").title.endswith("of up")
    text = _mark(scene.view("cells", unit="down/3", example=4), Text)
    np.testing.assert_allclose(text.values[:-1], scene.activations("down")["down"][4, 3], atol=1e-6)
    with pytest.raises(NotApplicable, match="has no memory"):
        scene.view("cells", layer="up", state="memory")


def test_luck_is_that_of_all_cells_that_are_ranked() -> None:
    """Where cells of two layers are ranked, chance is how often the best cell of either does as well; of a chosen layer, of its own."""
    generator = torch.Generator().manual_seed(3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = _TwoLayers().eval()
    scene = Scene(model, torch.randint(0, len(LETTERS), (12, 16), generator=generator), inputs=diorama.Tokens(LETTERS), task="next_token")
    found = {name: scene.derive("properties", layer=name).value for name in ("rnn.l0", "rnn.l1")}
    table = _mark(scene.view("cells", property="digit"), Table)
    columns = {column.name: column for column in table.columns}
    row = found["rnn.l0"]["names"].index("digit")
    best = np.stack([one["shifted"][row] for one in found.values()]).max(0)
    wanted = [(1 + (best >= abs(held) - 1e-6).sum()) / 100 for held in columns["held out"].numbers]
    np.testing.assert_allclose(columns["by chance"].numbers, wanted, atol=1e-9)
    own = [found[key.partition("/")[0].removeprefix("unit:")]["chance"][row, int(key.rpartition("/")[2])] for key in table.row_keys]
    assert (columns["by chance"].numbers >= np.array(own) - 1e-9).all()
    assert (columns["by chance"].numbers > np.array(own) + 1e-9).any()
    alone = _mark(scene.view("cells", property="digit", layer="rnn.l1"), Table)
    told = {column.name: column.numbers for column in alone.columns}
    cells = told["cell"].astype(int)
    np.testing.assert_allclose(told["by chance"], found["rnn.l1"]["chance"][row, cells], atol=1e-9)


class _TwoLayers(nn.Module):
    """Two recurrent layers over letters."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.out = nn.Embedding(len(LETTERS), 4), nn.GRU(4, 6, 2, batch_first=True), nn.Linear(6, len(LETTERS))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(self.embed(x))[0])


def test_features_of_each_layer_of_a_translator_stand_in_the_text_that_it_reads() -> None:
    """Of a feature of the decoder the tokens of the target are told, at its own place, and of one of the encoder those of the source."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _Translator().eval()
    dice = torch.Generator().manual_seed(1)
    source, target = torch.randint(0, 10, (8, 7), generator=dice), torch.randint(0, 10, (8, 4), generator=dice)
    kinds = {name: diorama.Tokens(tuple(letters_)) for name, letters_ in (("source", "abcdefghij"), ("target", "ABCDEFGHIJ"))}
    scene = Scene(model, {"source": source, "target": target}, target.roll(-1, 1), inputs=kinds)
    for layer, name in (("say.l0", "target"), ("read.l0", "source")):
        picture, shown = scene.view("dictionary", layer=layer), scene.examples.shown()[name]
        assert list(_mark(picture, Text).tokens) == shown[0]
        where = next(mark for mark in picture.marks() if isinstance(mark, Table) and mark.title.startswith("Where"))
        before, at, after, _, example = where.columns
        place = scene.derive("dictionary", layer=layer).value["place"][int(picture.caption.partition("Feature ")[2].split()[0])]
        for k, number in enumerate(example.numbers.astype(int)):
            assert before.texts[k] + at.texts[k] + after.texts[k] == "".join(shown[number])
            assert at.texts[k] == shown[number][place[k]]
        matches = scene.view("matches", layer=layer, span="1:3", threshold=0.0)
        lies = next(mark for mark in matches.marks() if isinstance(mark, Table) and mark.title == "Matches")
        match, example = (next(one for one in lies.columns if one.name == wanted) for wanted in ("match", "example"))
        assert all(told in "".join(shown[int(k)]) for told, k in zip(match.texts, example.numbers, strict=True))
