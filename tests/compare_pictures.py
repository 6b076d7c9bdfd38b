"""Draws every view of stored runs at three steps, and compares two such drawings: what a change of the house must not change.

``python tests/compare_pictures.py draw OUT RUN…`` with each commit's sources on ``PYTHONPATH``, then
``python tests/compare_pictures.py compare BEFORE AFTER``: texts must be equal, arrays equal to 1e-6 of their largest value.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 1e-6
MADE = {"versions", "version", "seconds", "made"}
"""What a provenance says of the program and of the moment, rather than of the picture."""


def draw(out: Path, runs: list[Path], names: list[str]) -> None:
    """Write the last picture of each view, or the sentence with which it refuses, for each run and step."""
    import torch

    import diorama
    from diorama.core.errors import DioramaError

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for path in runs:
            # On a copy: views keep what they derive with the run, and the next commit must derive its own.
            copy = Path(folder) / path.name
            shutil.copytree(path, copy, ignore=shutil.ignore_patterns("derived"))
            run = diorama.open(copy)
            steps = run.snapshots
            for step in dict.fromkeys((steps[0], steps[len(steps) // 2], steps[-1])):
                scene = run.scene(step=step)
                for name in names or sorted(diorama.views):
                    target = out / path.name / str(step) / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    torch.manual_seed(0)
                    try:
                        target.with_suffix(".picture").write_bytes(scene.view(name).to_bytes())
                    except DioramaError as error:
                        target.with_suffix(".refused").write_text(f"{type(error).__name__}: {error}")
                    except Exception as error:  # noqa: BLE001 - a foreign error is what is looked for
                        target.with_suffix(".foreign").write_text(f"{type(error).__name__}: {error}")
                print(f"{path.name} at step {step}", flush=True)


def compare(before: Path, after: Path) -> int:
    """Print every place where two drawings differ; the number of views that do."""
    found = {p.relative_to(root).with_suffix("") for root in (before, after) for p in root.rglob("*.*") if p.is_file()}
    differing = 0
    for name in sorted(found):
        said = list(_differences(_read(before / name), _read(after / name)))
        differing += bool(said)
        for line in said[:6]:
            print(f"{name}: {line}"[:400])
        if len(said) > 6:
            print(f"{name}: and {len(said) - 6} more")
    print(f"{len(found)} pictures, {differing} differ")
    return differing


def _read(path: Path) -> Any:
    if (picture := path.with_suffix(".picture")).is_file():
        data = picture.read_bytes()
        length = int.from_bytes(data[4:8], "little")
        header = json.loads(data[8 : 8 + length])
        arrays = [
            np.frombuffer(data, "<" + e["dtype"], int(np.prod(e["shape"])), 8 + length + e["offset"]).reshape(e["shape"])
            for e in header["arrays"]
        ]
        return _filled(header["picture"], arrays)
    for suffix in (".refused", ".foreign"):
        if (said := path.with_suffix(suffix)).is_file():
            return said.read_text()
    return None


def _filled(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$"}:
            return arrays[value["$"]]
        return {k: _filled(v, arrays) for k, v in value.items() if k not in MADE}
    return [_filled(v, arrays) for v in value] if isinstance(value, list) else value


def _differences(a: Any, b: Any, at: str = "") -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            yield from _differences(a.get(key), b.get(key), f"{at}.{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for k, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _differences(one, other, f"{at}[{k}]")
    elif isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.shape != b.shape:
            yield f"{at}: shape {a.shape}, now {b.shape}"
        elif not _near(a, b):
            yield f"{at}: numbers differ by up to {np.nanmax(np.abs(a.astype(float) - b.astype(float))):.3g}"
    elif isinstance(a, int | float) and isinstance(b, int | float):
        if not _near(np.asarray(a), np.asarray(b)):
            yield f"{at}: {a!r}, now {b!r}"
    elif isinstance(a, np.ndarray) or isinstance(b, np.ndarray) or a != b:
        yield f"{at}: {_short(a)}, now {_short(b)}"


def _near(a: np.ndarray, b: np.ndarray) -> bool:
    finite = a[np.isfinite(a)] if a.dtype.kind == "f" else a
    scale = float(np.abs(finite).max(initial=0.0)) if finite.size else 0.0
    return bool(np.allclose(a, b, rtol=0, atol=TOLERANCE * max(scale, 1e-12), equal_nan=True))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 160 else f"{text[:150]}… ({hashlib.sha1(text.encode()).hexdigest()[:6]})"


def main(words: list[str]) -> int:
    """Run one of the two commands."""
    if len(words) >= 3 and words[0] == "draw":
        names = [word[7:] for word in words[2:] if word.startswith("--view=")]
        draw(Path(words[1]), [Path(word) for word in words[2:] if not word.startswith("--")], names)
        return 0
    if len(words) == 3 and words[0] == "compare":
        return int(compare(Path(words[1]), Path(words[2])) > 0)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
