"""A scan as plain data and back; what comes from a file is checked, array by array."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..model.scan import Scan, Statistics
from ..model.statistics import BINS, ClassMeans, Histograms, Moments, TopK
from ..scene import Scene
from . import kept_examples

PROBE, GIVEN = "probe", "given"
"""What a scan's examples come from: the probe set, or arrays and loaders that are in no file."""
_PARTS: dict[str, type] = {
    "moments": Moments, "top": TopK, "bottom": TopK, "classes": ClassMeans, "positive": ClassMeans,
    "histogram": Histograms,
}


def to_plain(scan: Scan) -> dict[str, Any]:
    """A scan as numbers and arrays, which stay as they are when the scan goes on."""
    layers = []
    for name, part in scan.items():
        told: dict[str, Any] = {"name": name, "examples": part.examples, "places": list(part.places), "on": part.on.copy()}
        for word in _PARTS:
            piece = getattr(part, word)
            if piece is not None:
                told[word] = {key: each.copy() if isinstance(each, np.ndarray) else each for key, each in vars(piece).items()}
        layers.append(told)
    return {"examples": scan.examples, "start": scan.start, "layers": layers}


def of_plain(value: dict[str, Any]) -> Scan:
    """The scan that :func:`to_plain` told."""
    layers = {}
    for told in value["layers"]:
        parts = {
            word: kind(**{key: each.copy() if isinstance(each, np.ndarray) else each for key, each in told[word].items()})
            for word, kind in _PARTS.items()
            if word in told
        }
        layers[told["name"]] = Statistics(
            **parts, on=told["on"].copy(), examples=told["examples"], places=tuple(told["places"])
        )
    return Scan(layers, value["examples"], value["start"])


def check(scene: Scene, value: Any) -> None:
    """Raise ValueError for what is no scan of the scene's model: other names, shapes, types or numbers."""
    _wanted(isinstance(value, dict) and isinstance(value.get("layers"), list), "layers")
    _whole(value["examples"], 1)
    _whole(value["start"], 0)
    _wanted(isinstance(value["source"], str) and value["edits"] == [edit.named() for edit in scene.edits], "source and edits")
    for told in value["layers"]:
        _layer(scene, told, value["start"], value["examples"])
    if "shown" in value:
        _shown(value["shown"])


def _layer(scene: Scene, told: Any, start: int, examples: int) -> None:
    layer = scene.layers[told["name"]]
    units, places = layer.units, told["places"]
    _whole(told["examples"], 1)
    _wanted(isinstance(places, list) and all(isinstance(k, int) and 0 < k < 2**31 for k in places), "places")
    _array(told["on"], "i", (units,))
    count = max(1, math.prod(places))
    classes = len(scene.classes)
    for word in _PARTS:
        if word not in told:
            _wanted(word not in ("moments", "top"), word)
            continue
        part = told[word]
        if word == "moments":
            _wanted(set(part) == {"count", "mean", "squares", "low", "high"} and isinstance(part["count"], float), word)
            for name in ("mean", "squares", "low", "high"):
                _array(part[name], "f", (units,))
        elif word in ("top", "bottom"):
            _wanted(set(part) == {"k", "values", "examples", "places", "largest"}, word)
            _wanted(part["largest"] is (word == "top"), word)
            _whole(part["k"], 1)
            _array(part["values"], "f", (units, part["k"]))
            _array(part["examples"], "i", (units, part["k"]), -1, start + examples)
            _array(part["places"], "i", (units, part["k"]), -1, count)
        elif word == "histogram":
            _wanted(set(part) == {"counts", "nan"}, word)
            _array(part["counts"], "i", (units, BINS))
            _array(part["nan"], "i", (units,))
        else:
            _wanted(set(part) == {"sums", "count"}, word)
            _array(part["sums"], "f", (classes, units))
            _array(part["count"], "i", (classes,))


def _shown(told: Any) -> None:
    numbers, labels = told["numbers"], told["labels"]
    _array(numbers, "i", (len(numbers),))
    _wanted(bool((np.diff(numbers) > 0).all()), "numbers in order")
    _wanted(isinstance(labels, list) and len(labels) in (0, len(numbers)), "a label an example")
    _wanted(all(each is None or isinstance(each, int | float) for each in labels), "labels")
    if told["x"] is not None:
        for part in _arrays(told["x"]):
            _wanted(part.ndim > 0 and len(part) == len(numbers), "an input an example")
        kept_examples.of_plain(told["x"])


def _arrays(x: Any) -> list[np.ndarray]:
    if isinstance(x, np.ndarray):
        return [x]
    _wanted(isinstance(x, list | dict), "inputs")
    return [each for part in (x.values() if isinstance(x, dict) else x) for each in _arrays(part)]


def _whole(value: Any, low: int) -> None:
    _wanted(isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**53, "a whole number")


def _array(value: Any, kind: str, shape: tuple[int, ...], low: int | None = None, end: int | None = None) -> None:
    _wanted(isinstance(value, np.ndarray) and value.dtype.kind == kind and value.shape == shape, f"an array of shape {shape}")
    if low is not None and end is not None and value.size:
        _wanted(bool(value.min() >= low and value.max() < end), f"numbers from {low} to {end}")


def _wanted(true: bool, what: str) -> None:
    if not true:
        raise ValueError(f"{what} is wanted")
