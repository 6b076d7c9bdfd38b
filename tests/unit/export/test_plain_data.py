"""Pictures as plain data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from paper import PICTURES

from diorama.core.marks import Image, Mark
from diorama.core.picture import Picture
from diorama.export.plain_data import taken_apart


def test_json_holds_every_number(tmp_path: Path) -> None:
    """JSON is standard (no bare NaN) and gives back every number of the picture exactly."""
    picture = PICTURES["tiles_not_finite"]
    text = picture.save(tmp_path / "x.json").read_text("utf-8")

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    whole = json.loads(text, parse_constant=refuse)
    images = whole["picture"]["body"]["images"]
    found = np.array([float(v) for v in _flat(images["values"])], images["dtype"]).reshape(images["shape"])
    assert np.array_equal(found, picture.body.images, equal_nan=True)  # type: ignore[union-attr]
    assert whole["picture"]["provenance"]["seed"] == 3


def _flat(values: object) -> list[object]:
    return [leaf for part in values for leaf in _flat(part)] if isinstance(values, list) else [values]


def test_npz_holds_every_array_by_its_path(tmp_path: Path) -> None:
    """NPZ needs no pickle, its arrays are bit-exact, and the header says where each belongs."""
    picture = PICTURES["heatmap_row"]
    with np.load(picture.save(tmp_path / "x.npz"), allow_pickle=False) as archive:
        header = json.loads(str(archive["header"]))
        assert header["body"]["children"][1]["values"] == {"array": "body.children.1.values"}
        values = picture.body.children[1].values  # type: ignore[union-attr]
        assert archive["body.children.1.values"].tobytes() == values.tobytes()


@pytest.mark.parametrize("name", PICTURES)
def test_every_sample_is_plain_data(name: str, tmp_path: Path) -> None:
    """Every mark saves to JSON and NPZ, and no array is forgotten."""
    json.loads(PICTURES[name].save(tmp_path / "x.json").read_text("utf-8"))
    _, arrays = taken_apart(PICTURES[name])
    with np.load(PICTURES[name].save(tmp_path / "x.npz"), allow_pickle=False) as archive:
        assert set(archive.files) == {"header", *arrays}
    assert len(arrays) >= sum(1 for mark in PICTURES[name].marks() if _has_array(mark))


def _has_array(mark: Mark) -> bool:
    return any(isinstance(getattr(mark, name), np.ndarray) for name in mark.__struct_fields__)


def test_half_floats_keep_their_value(tmp_path: Path) -> None:
    """Arrays of any type of number are listed with the value they have."""
    picture = Picture(title="x", body=Image(pixels=np.array([[0.1, 65504]], np.float16)))
    values = json.loads(picture.save(tmp_path / "x.json").read_text())["picture"]["body"]["pixels"]["values"]
    assert np.array_equal(np.array(values, np.float16), picture.body.pixels)  # type: ignore[union-attr]
