"""Examples read from a user's own files."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zlib
from pathlib import Path

import handwritten_digits
import numpy as np
import pytest
import torch
from PIL import Image as Picture

from diorama.core.errors import Damaged, NotFound, UsageError
from diorama.data import files
from diorama.data.files import read
from diorama.data.kinds import Image, Table, Tokens


def test_arrays(tmp_path: Path) -> None:
    """An .npz with x, y and classes gives these examples; several inputs come by name, or in the order of their numbers."""
    np.savez(tmp_path / "a.npz", x=np.random.rand(10, 3), y=np.arange(10) % 2, classes=np.array(["cat", "dog"]))
    examples = read(tmp_path / "a.npz")
    assert examples.classes == ("cat", "dog")
    assert examples.held_out is None
    a, b = np.random.rand(10, 3), np.arange(10)
    np.savez(tmp_path / "two.npz", picture=a, word=b, y=b % 2)
    assert isinstance(named := read(tmp_path / "two.npz").x, dict)
    assert {name: tuple(part.shape) for name, part in named.items()} == {"picture": (10, 3), "word": (10,)}
    np.savez(tmp_path / "order.npz", x1=b, x0=a, y=b % 2)
    assert [tuple(part.shape) for part in read(tmp_path / "order.npz").x] == [(10, 3), (10,)]
    np.savez(tmp_path / "bare.npz", a, b)
    with pytest.raises(UsageError, match="x0, x1"):
        read(tmp_path / "bare.npz")


def test_arrays_with_a_test_set(tmp_path: Path) -> None:
    """An .npz with x_train and x_test gives a training set with its held-out one, of the same kind and classes."""
    images = np.random.randint(0, 255, (10, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=np.arange(10)[:, None], x_test=images[:4], y_test=np.arange(4))
    examples = read(tmp_path / "a.npz")
    assert examples.held_out is not None
    assert (len(examples), len(examples.held_out)) == (10, 4)
    assert examples.held_out.classes == examples.classes
    assert isinstance(examples.kind, Image)


def test_arrays_in_words(tmp_path: Path) -> None:
    """Labels in words become classes in alphabetical order."""
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)), y=np.array(["dog", "ant", "dog"]))
    examples = read(tmp_path / "a.npz")
    assert examples.classes == ("ant", "dog")
    assert examples.y is not None
    assert examples.y.tolist() == [1, 0, 1]


def test_arrays_of_objects_are_not_read(tmp_path: Path) -> None:
    """An .npz with Python objects is refused: reading it would run code."""
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(UsageError, match="objects"):
        read(tmp_path / "a.npz")


def _idx(path: Path, array: np.ndarray) -> None:
    data = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files(tmp_path: Path, suffix: str) -> None:
    """MNIST's own files are read with their labels and their test set, from either file or their folder."""
    for name, count in (("train", 7), ("t10k", 3)):
        _idx(tmp_path / f"{name}-images-idx3-ubyte{suffix}", np.random.randint(0, 255, (count, 8, 9)).astype(np.uint8))
        _idx(tmp_path / f"{name}-labels-idx1-ubyte{suffix}", np.arange(count).astype(np.uint8))
    for path in (
        tmp_path,
        tmp_path / f"train-images-idx3-ubyte{suffix}",
        tmp_path / f"train-labels-idx1-ubyte{suffix}",
    ):
        examples = read(path)
        assert examples.held_out is not None
        assert (len(examples), len(examples.held_out)) == (7, 3)
        assert examples.y is not None
        assert examples.y.tolist() == list(range(7))


def test_folders_of_images(tmp_path: Path) -> None:
    """One folder a class gives the classes; images of other sizes are cut and scaled, and that is said."""
    for name, size in (("ant", (12, 12)), ("bee", (12, 12)), ("cow", (30, 20))):
        (tmp_path / name).mkdir()
        Picture.new("RGB", size, "red").save(tmp_path / name / "1.png")
    examples = read(tmp_path)
    assert examples.classes == ("ant", "bee", "cow")
    assert isinstance(examples.x, torch.Tensor)
    assert examples.x.shape == (3, 12, 12, 3)
    assert any("12 × 12" in sentence for sentence in examples.guessed)


def test_folders_with_a_test_set(tmp_path: Path) -> None:
    """Folders named train and test give a training set and its held-out one."""
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            (tmp_path / part / name).mkdir(parents=True)
            Picture.new("L", (9, 9), 100).save(tmp_path / part / name / "1.png")
    examples = read(tmp_path)
    assert examples.held_out is not None
    assert isinstance(examples.x, torch.Tensor)
    assert examples.x.shape == (2, 9, 9, 1)


def test_tables(tmp_path: Path) -> None:
    """A .csv is standardized and shown in its own units; words are columns; gaps are filled, and that is said."""
    (tmp_path / "t.csv").write_text("age,colour,target\n10,red,1.5\n20,blue,2.5\n,red,3.5\n")
    examples = read(tmp_path / "t.csv")
    assert isinstance(examples.kind, Table)
    assert tuple(examples.kind.columns) == ("age", "colour=blue", "colour=red")
    np.testing.assert_allclose(examples.shown()[:, 0], [10, 20, 15], rtol=1e-6)
    assert examples.y is not None
    assert examples.y.tolist() == [1.5, 2.5, 3.5]
    assert any("missing" in sentence for sentence in examples.guessed)


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["a", "b"] * 10, ("a", "b")),
        (["0", "1"] * 10, ("0", "1")),
        (["3", "7"] * 10, ("3", "7")),
        (["0.5", "1.5"] * 10, ()),
    ],
)
def test_what_a_table_predicts(tmp_path: Path, cells: list[str], classes: tuple[str, ...]) -> None:
    """Words and few different whole numbers are classes, other numbers are values."""
    (tmp_path / "t.csv").write_text("x;y\n" + "".join(f"{k};{cell}\n" for k, cell in enumerate(cells)))
    assert read(tmp_path / "t.csv").classes == classes


@pytest.mark.parametrize(
    ("mark", "data", "wanted", "strange"),
    [
        (b"", "naïve שלום 👩 ".encode(), "naïve שלום 👩 ", 0), (b"\xef\xbb\xbf", "naïve ".encode(), "naïve ", 0),
        (b"\xff\xfe", "naïve ".encode("utf-16-le"), "naïve ", 0), (b"\xfe\xff", "naïve ".encode("utf-16-be"), "naïve ", 0),
        (b"", b"caf\xe9 ", "caf� ", 40), (b"", b"a\xff\xfeb\r\n", "a��b\n", 80), (b"", "a � b".encode(), "a � b", 0),
    ],
)
def test_a_text_in_other_bytes_than_utf_8_is_read_and_says_so(
    tmp_path: Path, mark: bytes, data: bytes, wanted: str, strange: int
) -> None:
    """Marks of order are obeyed; what is no character stands as the sign for a missing one, and is counted in a sentence."""
    (tmp_path / "t.txt").write_bytes(mark + data * 40)
    examples = read(tmp_path / "t.txt")
    shown = "".join(examples.shown([0])[0])
    assert shown == (wanted * 40)[: len(shown)]
    told = [text for text in examples.guessed if "stand as" in text]
    assert len(told) == bool(strange)
    assert not strange or told[0].startswith(str(strange))


def test_texts(tmp_path: Path) -> None:
    """A .txt gives windows of characters with, as labels, the characters that follow."""
    text = "the quick brown fox. " * 20
    (tmp_path / "t.txt").write_text(text)
    examples = read(tmp_path / "t.txt")
    assert isinstance(examples.kind, Tokens)
    assert "".join(examples.shown([0])[0]) == text[:96]
    assert "".join(examples.kind.decode(examples.y[:1])[0]) == text[1:97]  # type: ignore[index]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """A missing path, an unknown form, a broken file and an empty folder are told apart, each with a sentence."""
    with pytest.raises(NotFound, match="no data"):
        read(tmp_path / "none.npz")
    for name, content, error in (
        ("a.doc", b"", UsageError), ("a.npz", b"broken", Damaged),
        ("train-idx3-ubyte", b"\0\0\x08\x01\0\0\0\x09ab", Damaged),
        ("a.csv", b"one,two\n", UsageError), ("a.txt", b"short", UsageError), ("b.csv", b"a,b\n1,2,3\n", UsageError),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(error):
            read(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="no images"):
        read(tmp_path / "folder")


@pytest.mark.parametrize("which", ["own", "real"])
def test_mnist(tmp_path: Path, which: str) -> None:
    """A file of MNIST's make gives drawable grey images with a held-out set."""
    path, count, held_out = handwritten_digits.file(which, tmp_path)
    examples = read(path)
    assert len(examples) == count
    assert isinstance(examples.kind, Image)
    assert examples.kind.drawing is not None
    assert examples.held_out is not None
    assert len(examples.held_out) == held_out


def _png(width: int, height: int) -> bytes:
    """The beginning of a picture of any size, with hardly any data."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(99)))):
        parts += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(kind + body))]
    return b"".join(parts)


@pytest.mark.parametrize("form", ["npz", "idx", "png", "png that Pillow refuses"])
def test_what_unpacks_to_too_much_is_refused_before_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """A small file that says it is vast costs one sentence with the bound, and no memory."""
    monkeypatch.setattr(files, "MOST_BYTES", 1_000_000)
    if form == "npz":
        place = tmp_path / "a.npz"
        np.savez_compressed(place, x=np.zeros((2000, 1000), np.uint8))
    elif form == "idx":
        place = tmp_path / "train-images-idx3-ubyte.gz"
        place.write_bytes(gzip.compress(struct.pack(">HBBIII", 0, 8, 3, 2**31, 2**31, 2**31)))
    else:
        place = tmp_path / "pictures"
        (place / "cats").mkdir(parents=True)
        (place / "cats" / "a.png").write_bytes(_png(12_000, 10_000) if form == "png" else _png(2**20, 2**20))
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match="at most"):
            read(place)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_an_idx_file_that_unpacks_to_more_than_it_says(tmp_path: Path) -> None:
    """What comes after the last number is not read."""
    place = tmp_path / "train-images-idx3-ubyte.gz"
    place.write_bytes(gzip.compress(struct.pack(">HBBIII", 0, 8, 3, 1, 2, 2) + bytes(50_000_000)))
    with pytest.raises(Damaged, match="more than 4 numbers"):
        read(place)
