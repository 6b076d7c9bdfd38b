"""Whatever is said in a path's place, wherever one is taken: it is refused in a sentence, or taken."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import diorama

_PLACES: dict[str, Callable[[Any, Path], Any]] = {
    "watch": lambda path, own: diorama.watch(nn.Linear(3, 2), path, probe=torch.rand(4, 3)).close(),
    "data": lambda path, own: diorama.watch(nn.Linear(3, 2), own, probe=torch.rand(4, 3), data=path).close(),
    "parent": lambda path, own: diorama.watch(nn.Linear(3, 2), own, probe=torch.rand(4, 3), parent=(path, 1)).close(),
    "open": lambda path, own: diorama.open(path),
    "a scene's run": lambda path, own: diorama.Scene(nn.Linear(3, 2), torch.rand(4, 3)).save(path),
    "a picture": lambda path, own: diorama.Scene(nn.Linear(3, 2), torch.rand(4, 3)).view("answer").save(
        path if isinstance(path, bytes | int) or not path else path + ".json"),
}
_SAID: dict[str, Any] = {
    "too long": "{}/" + "x" * 300, "a zero": "{}/a\0b", "half a character": "{}/a\udcff", "a file": "{}/file", "below a file": "{}/file/run",
    "nothing": "", "bytes": b"run", "a number": 3, "links that go round": "{}/round/run", "a link to nothing": "{}/lost", "not ours": "/proc/1/run",
}


@pytest.mark.parametrize("place", _PLACES)
@pytest.mark.parametrize("said", _SAID)
def test_what_is_no_path_is_refused_in_a_sentence(tmp_path: Path, place: str, said: str) -> None:
    """No error of the system's own comes out, and what it says is short."""
    (tmp_path / "file").write_text("x")
    os.symlink(tmp_path / "round", tmp_path / "round")
    os.symlink(tmp_path / "nowhere" / "else", tmp_path / "lost")
    path = _SAID[said].format(tmp_path) if isinstance(_SAID[said], str) else _SAID[said]
    try:
        _PLACES[place](path, tmp_path / "own")
    except diorama.DioramaError as error:
        assert len(str(error)) < 600  # noqa: PT017 - what is taken raises nothing
