"""Which pictures are answered from memory: those of the same run, at the same moment, asked the same way."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

from diorama.core.request import ComparedMoment, Request
from diorama.live.hub import Hub


class _NoPool:
    """No worker ever answers."""


@pytest.fixture
def hub(recorded: Path, tmp_path: Path) -> Hub:
    """A hub that knows two runs with the same contents, and one view of each sort."""
    for name in ("tiny", "twin"):
        shutil.copytree(recorded / "tiny", tmp_path / name)
    made = Hub([tmp_path], pool=_NoPool())  # type: ignore[arg-type]
    made._catalogue = {"views": [
        {"name": "weights", "needs": "model", "follows": []}, {"name": "curves", "needs": "record", "follows": []},
    ]}
    made._described.set()
    for name in ("tiny", "twin"):
        made.source(name)
        assert made._tracker(name).poll()
    return made


def _asked(run: str = "tiny", step: Any = 4, view: str = "weights", **more: Any) -> Request:
    return Request(run=run, step=step, view=view, **more)


@pytest.mark.parametrize("view", ["weights", "curves"])
def test_a_kept_picture_is_of_one_moment(hub: Hub, view: str) -> None:
    """Another step, run, other run or other step, edit or knob is another picture; the same asked again is the same."""
    asked = [
        _asked(view=view), _asked(view=view, step=5), _asked(view=view, run="twin"),
        _asked(view=view, other=ComparedMoment(run="twin", step=4)), _asked(view=view, other=ComparedMoment(run="twin", step=7)),
        _asked(view=view, knobs={"limit": 3}), _asked(view=view, edits=({"kind": "lesion", "keys": "unit:0/1"},)),
    ]
    names = [hub._cache_name(each) for each in asked]
    assert all(names)
    for one, other in itertools.combinations(names, 2):
        assert one != other
    assert names == [hub._cache_name(each) for each in asked]


def test_steps_that_share_their_weights_share_a_picture_of_them(hub: Hub) -> None:
    """Between two snapshots the weights are the earlier one's; a view of the record is of the step itself."""
    tracker = hub._tracker("tiny")
    tracker.snapshots = [0, 4, 8]
    assert hub._cache_name(_asked(step=4)) == hub._cache_name(_asked(step=7)) != hub._cache_name(_asked(step=8))
    assert hub._cache_name(_asked(step=4, view="curves")) != hub._cache_name(_asked(step=7, view="curves"))


def test_what_may_change_is_not_kept(hub: Hub) -> None:
    """A live picture has no name, and one of a record gets another when more was recorded."""
    assert hub._cache_name(_asked(step="live")) == ""
    before = hub._cache_name(_asked(view="curves"))
    tracker = hub._tracker("tiny")
    assert tracker.pulse is not None
    tracker.pulse = dataclasses.replace(tracker.pulse, committed=tracker.pulse.committed + 1)
    assert hub._cache_name(_asked(view="curves")) != before
