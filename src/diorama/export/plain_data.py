"""A picture as plain data: a header, and its arrays by the path at which they stand."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from ..core.picture import Picture


def taken_apart(picture: Picture) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The picture without its arrays, and the arrays by path: ``body.images``, ``body.children.0.values``.

    In the header an array is ``{"array": path}``.
    """
    arrays: dict[str, np.ndarray] = {}
    found: list[np.ndarray] = []

    def keep(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            found.append(value)
            return {"$": len(found) - 1}
        if isinstance(value, np.generic):
            return value.item()
        raise TypeError(f"a picture cannot carry {type(value).__name__}")

    def name(value: Any, path: str) -> Any:
        if isinstance(value, dict):
            if set(value) == {"$"}:
                arrays[path] = found[value["$"]]
                return {"array": path}
            return {key: name(inner, f"{path}.{key}" if path else key) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [name(inner, f"{path}.{index}") for index, inner in enumerate(value)]
        return value

    header = name(msgspec.to_builtins(picture, enc_hook=keep), "")
    return header, arrays


def spelled(value: Any) -> Any:
    """Numbers that JSON lacks as the texts "NaN", "Infinity" and "-Infinity"; all else as it is."""
    if isinstance(value, float) and not np.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: spelled(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [spelled(inner) for inner in value]
    return value


def listed(array: np.ndarray) -> Any:
    """An array as nested lists, special numbers spelled."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return spelled(array.astype(np.float64).tolist())
    if array.dtype == np.float32 or array.dtype == np.float16:
        # The shortest text that gives the same number back.
        return [listed(row) for row in array] if array.ndim > 1 else [float(str(v)) for v in array]
    return array.tolist()
