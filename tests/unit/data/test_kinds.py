"""Kinds of input: guessed from shapes and numbers, and true both ways."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
import torch

import diorama
from diorama.core.errors import NotFound, UsageError
from diorama.data.kinds import Image, Kind, Series, Sound, Table, Tokens, from_json, guess, to_json


def _smooth(*shape: int) -> torch.Tensor:
    """Pictures: neighbours look alike."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(*shape[:2], 4, 4, generator=generator)
    return torch.nn.functional.interpolate(small, shape[2:], mode="bilinear").clamp(0, 1)


@pytest.mark.parametrize(
    ("x", "word"),
    [
        (_smooth(20, 1, 12, 12), "image"),
        (_smooth(20, 3, 12, 12).permute(0, 2, 3, 1), "image"),
        (_smooth(20, 1, 12, 12)[:, 0], "image"),
        (_smooth(20, 1, 12, 12).flatten(1), "image"),
        (_smooth(20, 3, 12, 12).flatten(1), "image"),
        (torch.randint(0, 256, (20, 28, 28), dtype=torch.uint8), "image"),
        (torch.randn(20, 64), "table"),
        (torch.randn(20, 2), "table"),
        (torch.randn(20), "table"),
        (torch.randint(0, 30, (20, 12)), "tokens"),
        (torch.randn(20, 3, 50), "series"),
        (torch.randn(20, 8000), "sound"),
        (torch.randn(20, 1, 8000), "sound"),
    ],
)
def test_guesses_the_kind_and_says_why(x: torch.Tensor, word: str) -> None:
    """The kind is guessed from shape, type and numbers, and the sentence says what was guessed."""
    kind, sentence = guess(x)
    assert isinstance(kind, Kind)
    assert kind.word == word
    assert sentence.startswith("guessed: ")


def test_several_inputs_are_guessed_by_name() -> None:
    """A dict of inputs gives a dict of kinds; a tuple's are named by position."""
    kinds, sentence = guess({"picture": _smooth(9, 1, 8, 8), "text": torch.randint(0, 5, (9, 4))})
    assert isinstance(kinds, dict)
    assert [kind.word for kind in kinds.values()] == ["image", "tokens"]
    assert "'picture'" in sentence
    assert list(guess((torch.randn(9, 2), torch.randn(9, 3)))[0]) == ["0", "1"]


@pytest.mark.parametrize(
    ("x", "low", "high"),
    [
        (torch.tensor([0.0, 255.0]), 0, 255), (torch.tensor([0.0, 16.0]), 0, 16), (torch.tensor([0.0, 0.9]), 0, 1),
        (torch.tensor([-1.0, 0.95]), -1, 1), (torch.tensor([-0.5, 0.48]), -0.5, 0.5), (torch.tensor([-2.5, 2.75]), -2.5, 2.75),
        (torch.tensor([0.0, 1e-3]), 0, 1e-3), (torch.tensor([3.0, 3.0]), 3, 4),
    ],
)
def test_the_range_of_images_is_found_and_stated(x: torch.Tensor, low: float, high: float) -> None:
    """Images of any range are shown from black to white, and the range is said."""
    images = x[torch.arange(3 * 8 * 8) % 2].reshape(3, 1, 8, 8)
    kind, sentence = guess(images)
    assert isinstance(kind, Image)
    assert kind.span() == pytest.approx((low, high))
    assert f"{low:.3g}" in sentence
    shown = kind.decode(images)
    assert shown.min() == 0
    assert float(shown.max()) == pytest.approx((float(x.max()) - low) / (high - low) * 255, abs=0.6)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NHW", "flat"])
@pytest.mark.parametrize("channels", [1, 3])
def test_encoding_and_decoding_undo_each_other(layout: str, channels: int) -> None:
    """A picture that was encoded is decoded to the same pixels, in every layout and under mean and std."""
    if layout == "NHW" and channels == 3:
        pytest.skip("no such images")
    mean, std = (0.1307, 0.3081) if channels == 1 else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    kind = Image(mean=mean, std=std, layout=layout, height=6, width=5, channels=channels)
    shape = (6, 5) if channels == 1 else (6, 5, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    batch = kind.encode(pixels)
    assert batch.shape[0] == 1
    np.testing.assert_array_equal(kind.decode(batch)[0], pixels)
    low, high = kind.valid_range()
    assert low <= float(batch.min())
    assert float(batch.max()) <= high


def test_mean_and_std_are_undone() -> None:
    """What the model receives as (0.5 − mean) / std is shown as middle grey."""
    kind = Image(mean=0.2, std=0.1)
    assert kind.decode(torch.full((1, 1, 2, 2), (0.5 - 0.2) / 0.1)).tolist() == [[[128, 128], [128, 128]]]
    assert Image(mean=(120.0, 110.0, 100.0), std=60.0).span() == (0.0, 255.0)


def test_not_finite_pixels_are_shown() -> None:
    """NaN is shown black, infinities black or white; nothing raises."""
    x = torch.tensor([[float("nan"), float("inf")], [float("-inf"), 0.5]]).reshape(1, 1, 2, 2)
    assert Image(range=(0, 1)).decode(x).tolist() == [[[0, 255], [0, 128]]]


def test_uploads_fit_the_model() -> None:
    """An uploaded picture is cut about the middle, scaled and made grey as the model wants it."""
    kind = Image(range=(0.0, 1.0), height=4, width=4, channels=1)
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 4:12] = (255, 0, 0)
    raw = {"kind": "image", "width": 16, "height": 8, "pixels": base64.b64encode(pixels.tobytes()).decode()}
    batch = kind.encode(raw)
    assert batch.shape == (1, 1, 4, 4)
    torch.testing.assert_close(batch[0, 0], torch.full((4, 4), 0.299))


@pytest.mark.parametrize(
    "raw",
    [
        "text", {"kind": "text", "text": "x"}, np.zeros((2, 2, 2, 2)),
        {"kind": "image", "width": 3, "height": 3, "pixels": "AA=="},
        {"kind": "drawing", "width": 2, "height": 2}, {"kind": "image", "width": 1, "height": 1, "pixels": "?"}, [1, 2],
    ],
)
def test_what_is_no_image_is_refused(raw: object) -> None:
    """Raw input of another kind, or with too few pixels, is a usage error."""
    with pytest.raises(UsageError):
        Image(height=4, width=4, channels=1).encode(raw)


def test_images_keep_their_number_type() -> None:
    """A model that takes bytes gets bytes."""
    kind = Image().fitted(torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8))
    batch = kind.encode(np.full((8, 8, 3), 200, np.uint8))
    assert batch.dtype == torch.uint8
    assert int(batch.max()) == 200


def test_tables_are_shown_in_their_own_units() -> None:
    """Standardized columns are shown and typed in their own units."""
    kind = Table(columns=("age", "size"), mean=(40.0, 1.7), std=(10.0, 0.1))
    batch = kind.encode({"kind": "row", "values": [50, 1.6]})
    torch.testing.assert_close(batch, torch.tensor([[1.0, -1.0]]))
    np.testing.assert_allclose(kind.decode(batch), [[50, 1.6]], rtol=1e-6)
    with pytest.raises(UsageError, match="2 numbers"):
        kind.encode([1.0])
    with pytest.raises(UsageError, match="3 columns"):
        Table(columns=("a",)).fitted(torch.randn(4, 3))


def test_tokens_with_a_vocabulary() -> None:
    """Characters go to their numbers and back; one that is not in the vocabulary is named."""
    kind = Tokens(tuple("ab c"))
    assert kind.encode("a cab").tolist() == [[0, 2, 3, 0, 1]]
    assert kind.decode(torch.tensor([[0, 1], [3, 9]])) == [["a", "b"], ["c", "⟨9⟩"]]
    with pytest.raises(UsageError, match="'x'"):
        kind.encode("abx")
    assert Tokens((*"ab", "<unk>")).encode("abx").tolist() == [[0, 1, 2]]


def test_tokens_longer_than_a_character() -> None:
    """Without a separator the longest token that fits is taken; with one the text is cut there."""
    assert Tokens(("a", "ab", "b")).encode("abba").tolist() == [[1, 2, 0]]
    assert Tokens(("the", "cat"), separator=" ").encode("the  cat").tolist() == [[0, 1]]


def test_tokens_by_functions_and_by_number() -> None:
    """A tokenizer's own functions are used; without any, tokens are typed as numbers."""
    kind = Tokens(encode=lambda text: [ord(c) for c in text], decode=lambda ids: "".join(map(chr, ids)))
    assert kind.decode(kind.encode("hi")) == [["h", "i"]]
    plain = Tokens().fitted(torch.tensor([[0, 7]]))
    assert plain.encode("3, 1").tolist() == [[3, 1]]
    for text in ("8", "hello", ""):
        with pytest.raises(UsageError):
            plain.encode(text)


def test_functions_come_back_with_a_run(tmp_path: Path) -> None:
    """What a tokenizer reads is typed and shown in a run that was opened again; a kind that an earlier version stored has defaults."""
    kind = Tokens(encode=lambda text: [ord(c) - 97 for c in text], decode=lambda ids: "".join(chr(97 + k) for k in ids))
    model = torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Tanh(), torch.nn.Linear(3, 5))
    x = torch.arange(5).repeat(4, 1)
    diorama.Scene(model, x, x.roll(-1, 1), inputs=kind).save(tmp_path / "run")
    scene = diorama.open(tmp_path / "run").scene()
    assert scene.kind.encode("dab").tolist() == [[3, 0, 1]]
    assert scene.examples.shown([0]) == [list("abcde")]
    assert scene.examples.fingerprint == diorama.open(tmp_path / "run").examples.fingerprint
    earlier = Tokens.__new__(Tokens)
    earlier.__setstate__({"vocabulary": ("a", "b"), "sentence": "", "gone": 1})
    assert (earlier.vocabulary, earlier.size, earlier.annotations) == (("a", "b"), 2, {})


def test_series_and_sounds() -> None:
    """Series are shown as (n, channels, steps), and are given the dimensions that the model takes."""
    kind = Series(rate=50.0).fitted(torch.randn(4, 2, 9))
    assert kind.encode([[1.0] * 9, [2.0] * 9]).shape == (1, 2, 9)
    with pytest.raises(UsageError):
        kind.encode([1.0, 2.0])
    sound = Sound(rate=16000).fitted(torch.randn(4, 5000))
    assert sound.encode(np.zeros(100)).shape == (1, 100)
    assert sound.decode(torch.zeros(2, 100)).shape == (2, 1, 100)


def test_kinds_are_stored_as_plain_data() -> None:
    """A kind, or several by name, comes back from JSON equal to what was stored."""
    kinds = {
        "a": Image(mean=(0.1, 0.2, 0.3), std=0.5, height=8, width=8, channels=3), "b": Tokens(("x", "y")),
        "c": Table(columns=("p", "q"), mean=np.array([1.0, 2.0]), std=2.0), "d": Sound(rate=8000.0),
    }
    import json

    back = from_json(json.loads(json.dumps(to_json(kinds))))
    assert isinstance(back, dict)
    for name, kind in kinds.items():
        assert back[name].describe() == kind.describe()
        assert to_json(back[name]) == to_json(kind)
    with pytest.raises(NotFound):
        from_json({"kind": "smell"})


def test_wrong_options_are_named() -> None:
    """A layout or range that cannot be is refused when it is given."""
    with pytest.raises(NotFound):
        Image(layout="HWC")
    with pytest.raises(UsageError):
        Image(range=(1, 0))
    with pytest.raises(UsageError, match="height"):
        Image().fitted(torch.zeros(5, 17))


def _painted(kind: Image, batch: torch.Tensor) -> dict[str, object]:
    """An example's pixels as the page's editor sends them."""
    shown = kind.decode(batch)[0]
    channels = 1 if shown.ndim == 2 else 3
    pixels = base64.b64encode(shown.tobytes()).decode()
    return {"kind": "pixels", "height": shown.shape[0], "width": shown.shape[1], "channels": channels, "pixels": pixels}


@pytest.mark.parametrize(
    "x",
    [
        _smooth(20, 1, 12, 10), _smooth(20, 3, 12, 12), _smooth(20, 3, 12, 12).permute(0, 2, 3, 1),
        _smooth(20, 1, 12, 12)[:, 0] * 2 - 1, _smooth(20, 3, 12, 12).flatten(1) * 16,
        (_smooth(20, 1, 12, 12) * 255).to(torch.uint8), (_smooth(20, 1, 9, 9) * 255).to(torch.uint8)[:, 0],
    ],
)
def test_exact_pixels_reach_the_model_as_they_are(x: torch.Tensor) -> None:
    """An example that was only sent through the editor comes back within 1/255 of the range, in any layout and type."""
    kind = guess(x)[0]
    assert isinstance(kind, Image)
    again = kind.encode(_painted(kind, x[3:4]))
    low, high = kind.valid_range()
    assert again.shape == x[3:4].shape
    assert again.dtype == x.dtype
    assert float((again.double() - x[3:4].double()).abs().max()) <= (high - low) / 255


def test_an_unchanged_pixel_keeps_the_examples_own_number() -> None:
    """What was not painted over is bitwise the example's, also where its numbers lie beyond the range; the rest is new."""
    x = _smooth(20, 3, 8, 8) * 4 - 2
    x[3, 0, 0, 0] = 9.0
    kind = Image(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)).fitted(x)
    sent = _painted(kind, x[3:4])
    assert torch.equal(kind.edited(sent, x[3:4]), x[3:4])
    pixels = bytearray(base64.b64decode(str(sent["pixels"])))
    at = 3 * (2 * 8 + 5) + 1  # row 2, column 5, green
    pixels[at] = 255 if pixels[at] < 128 else 0
    changed = kind.edited({**sent, "pixels": base64.b64encode(bytes(pixels)).decode()}, x[3:4])
    assert (changed != x[3:4]).nonzero().tolist() == [[0, 1, 2, 5]]


@pytest.mark.parametrize("wrong", [{"width": 7}, {"channels": 3}, {"channels": 2}, {"channels": None}, {"pixels": "AAAA"}])
def test_exact_pixels_of_another_shape_are_refused(wrong: dict[str, object]) -> None:
    """Exact pixels are never scaled, cut or coloured: another size or number of channels is refused."""
    x = _smooth(20, 1, 8, 8)
    kind = guess(x)[0]
    assert isinstance(kind, Image)
    with pytest.raises(UsageError, match=r"exact pixels|wants width, height"):
        kind.encode({**_painted(kind, x[:1]), **wrong})


def test_a_list_of_words_is_typed_with_spaces() -> None:
    """Words are shown and typed with spaces, marks at them are read apart, and what is written as one is still read; characters stay."""
    kind = Tokens(("[PAD]", "[CLS]", "the", "film", "not", "bad", "."))
    shown = kind.joined(["[CLS]", "the", "film", "not", "bad", "."])
    assert shown == "[CLS] the film not bad ."
    for typed in (shown, "[CLS] The film not bad.", "[CLS]thefilmnotbad."):
        assert kind.encode(typed).tolist() == [[1, 2, 3, 4, 5, 6]], typed
    assert kind.describe()["separator"] == " "
    with pytest.raises(UsageError, match="'sun'.*read with spaces between tokens.*separator="):
        kind.encode("the sun")
    letters = Tokens((*"abc ", "[PAD]"))
    assert letters.encode("a cab").tolist() == [[0, 3, 2, 0, 1]]
    assert letters.describe()["separator"] == ""
    genes = Tokens((*"ACGT", "[PAD]"))
    assert genes.encode("GATTACA").shape == (1, 7)
    assert genes.joined(["G", "A"]) == "GA"
    assert genes.describe()["separator"] == ""


@pytest.mark.parametrize(("vocabulary", "separator", "tokens", "read"), [
    (("<pad>", "the", "cat", "a", "sat"), "", ["a", "cat", "sat"], "a cat sat"),
    (("<pad>", "a", "b", "c"), "", ["a", "b"], "ab"),
    (("the", " cat", " sat", "s"), "", ["the", " cat", "s"], "the cats"),
    (("play", "##ing", "cat"), "", ["play", "##ing"], "play##ing"),
    (("C4", "D4"), "-", ["C4", "D4"], "C4-D4"),
    (None, "", ["12", "7"], "12 7"),
])
def test_tokens_are_read_as_they_are_written(vocabulary: tuple[str, ...] | None, separator: str, tokens: list[str], read: str) -> None:
    """Words without spaces of their own stand apart, characters and parts of words do not."""
    assert Tokens(vocabulary=vocabulary, separator=separator).joined(tokens) == read
