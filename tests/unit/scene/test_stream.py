"""What becomes of what a view yields: drafts, cancelling, closing, and whether the view fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from diorama.core.errors import Cancelled
from diorama.core.marks import Number
from diorama.core.picture import Draft, Picture, Progress
from diorama.core.selection import Selection
from diorama.plugins import View
from diorama.scene import Scene, stream

NOTHING = Selection()


class _Drafting(View):
    """Ten pieces of work, each with a draft, of which the third has nothing to show."""

    question = "How far is it?"
    seen: ClassVar[SimpleNamespace]

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """Drafts, and at the end the picture."""
        seen = type(self).seen = SimpleNamespace(made=[], closed=False, reached=0)
        try:
            for piece in range(10):
                seen.reached = piece
                yield Progress(done=piece, total=10)
                yield Draft(self._draft(piece))
            yield self._drawn("all")
        finally:
            seen.closed = True

    def _draft(self, piece: int) -> Callable[[], Picture | None]:
        def make() -> Picture | None:
            self.seen.made.append(piece)
            return None if piece == 2 else self._drawn(str(piece))

        return make

    def _drawn(self, title: str) -> Picture:
        return Picture(title=title, body=Number(label="n"), final=title == "all")


@pytest.fixture
def scene() -> Scene:
    """A small network."""
    return Scene(nn.Linear(3, 2), torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that moves by an eighth of a second whenever it is read."""

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            self.now += 0.125
            return self.now

    clock = Clock()
    monkeypatch.setattr(stream, "time", clock)
    return clock


def test_drafts_are_made_when_the_next_picture_is_due(scene: Scene, clock: Any) -> None:
    """Between two drafts lies at least nine times what one took; the last picture always comes, and each progress is told."""
    view, told = _Drafting(), []
    titles = [picture.title for picture in stream.streamed(scene, view, NOTHING, told.append)]
    # The first comes at once. One is offered at each tick, and making one takes a tick: nine ticks later the next is made.
    assert view.seen.made == [0, 8]
    assert titles == ["0", "8", "all"]
    assert [each.done for each in told] == [*range(10)]


def test_drafts_that_cost_nothing_come_as_often_as_the_eye_follows(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pace every draft is made; one that has nothing to show is no picture, and not the end."""
    monkeypatch.setattr(stream, "PACE", 0.0)
    monkeypatch.setattr(stream, "SHARE", 0.0)
    monkeypatch.setattr(stream.time, "monotonic", lambda: 0.0)
    view = _Drafting()
    titles = [picture.title for picture in stream.streamed(scene, view, NOTHING, None)]
    assert titles == [*"013456789", "all"]
    assert [picture.title for picture in stream.streamed(scene, view, NOTHING, None, drafts=False)] == ["all"]
    assert view.seen.made == []


def test_work_stops_where_it_is_cancelled_or_closed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scene that is cancelled ends the stream between two items, whatever the view does; so does closing."""
    view, stop = _Drafting(), [False]
    pictures = stream.streamed(scene.cancelled_by(lambda: stop[0]), view, NOTHING, lambda at: stop.__setitem__(0, at.done == 4))
    with pytest.raises(Cancelled):
        list(pictures)
    assert (view.seen.reached, view.seen.closed) == (4, True)
    monkeypatch.setattr(stream, "PACE", 0.0)
    pictures = stream.streamed(scene, view, NOTHING, None)
    next(pictures)
    assert view.seen.reached == 0
    assert not view.seen.closed
    pictures.close()
    assert view.seen.closed


def test_a_view_says_what_it_wants_after_what_all_need(scene: Scene) -> None:
    """A view whose own wish is not met is refused with its sentence; a plain function is refused before that is asked."""

    class Wanting(View):
        """Wants what is not there."""

        question = "?"

        @classmethod
        def wants(cls, scene: Scene) -> str | None:
            """Something else."""
            assert not scene.function
            return "it wants something else"

        def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture]:
            """Nothing."""
            yield from ()

    assert Wanting.fits(scene) == "it wants something else"
    function = Scene(lambda x: x @ torch.ones(3, 2), torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))
    assert "plain function" in str(Wanting.fits(function))
