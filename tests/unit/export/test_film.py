"""Films."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
from paper import MADE
from PIL import Image, ImageSequence

from diorama.core.colour import symmetric
from diorama.core.errors import Cancelled, NotApplicable, UsageError
from diorama.core.marks import Bars, Group, Lines, Network, Series, Tiles, Vertex
from diorama.core.marks.network import THICKEST
from diorama.core.picture import Picture, Progress
from diorama.export.film import Film
from diorama.export.held_ranges import HeldRanges
from diorama.export.style import Style


def _moment(step: int) -> Picture:
    weights = np.full((4, 3, 3), 0.1 * (step + 1), np.float32)
    x = np.arange(step + 2.0)
    body = Group(
        children=(
            Tiles(images=weights, limits=symmetric(weights), labels=tuple("abcd")),
            Lines(series=(Series(name="loss", x=x, y=x),)),
            Bars(values=np.array([step + 1.0, -step]), labels=("one", "two")),
            Network(
                vertices=(Vertex(form="dot"),) * 2, places=np.array([[0.0, 0, 9, 9], [40, 0, 9, 9]]), links=np.array([[0, 1]]),
                strengths=np.array([step + 1.0]),
            ),
        )
    )
    return Picture(title="Weights", body=body, caption="A caption. " * (step % 3), step=step, provenance=MADE)


def _film(count: int) -> Picture:
    def frames() -> Iterator[Picture]:
        for step in range(count):
            yield _moment(step)

    return _moment(count - 1).with_frames(frames)


def _decoded(path: Path) -> tuple[Any, list[np.ndarray], dict[str, str]]:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return container.streams.video[0].codec_context, frames, dict(container.metadata)


def test_mp4_plays_every_snapshot_in_one_size(tmp_path: Path) -> None:
    """An MP4 has a frame a snapshot (the last stays a second), even sides, a common format, and provenance."""
    codec, frames, told = _decoded(_film(5).save(tmp_path / "x.mp4", fps=4, dpi=100))
    assert len(frames) == 4 + 4
    assert codec.pix_fmt == "yuv420p"
    assert codec.name in ("h264", "mpeg4")
    assert codec.width % 2 == codec.height % 2 == 0
    assert told["title"] == "Weights"
    assert '"seed": 3' in told["comment"]
    assert np.abs(frames[0].astype(int) - frames[3]).max() > 50


def test_gif_plays_every_snapshot_with_shared_colours(tmp_path: Path) -> None:
    """A GIF has a frame a snapshot, repeats, keeps paper white and says how it was made."""
    path = _film(5).save(tmp_path / "x.gif", fps=5)
    with Image.open(path) as opened:
        assert opened.n_frames == 5
        assert opened.info["loop"] == 0
        assert b'"seed": 3' in opened.info["comment"]
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(opened)]
        assert durations == [200] * 4 + [1200]
        assert opened.convert("RGB").getpixel((2, 2)) == (255, 255, 255)


def test_limits_and_axes_stay_fixed() -> None:
    """Colour limits, axes, bars and links span all frames, so the same value looks the same at each step."""
    held = HeldRanges()
    moments = [_moment(step) for step in range(4)]
    for moment in moments:
        held.see(moment)
    fixed = [held.fix(moment).body for moment in moments]
    for tiles, lines, bars, network in (group.children for group in fixed):  # type: ignore[union-attr]
        assert tiles.limits.high == pytest.approx(0.4)
        assert lines.x_range == (0.0, 4.0)
        assert (bars.limits.low, bars.limits.high) == (-3.0, 4.0)
        assert network.widths() == pytest.approx(THICKEST * network.strengths / 4)
    assert moments[0].body.children[0].limits.high == pytest.approx(0.1)  # type: ignore[union-attr]


def test_every_frame_has_the_size_of_the_largest() -> None:
    """Frames with more words do not change the film's size."""
    film = Film(_film(4), Style(scale=1.0), most=100)
    shapes = {film.frame(index).shape for index in range(len(film))}
    film.close()
    assert shapes == {(film.height, film.width, 3)}


def test_long_films_are_thinned_evenly() -> None:
    """More snapshots than the film has room for are left out evenly; the first and the last stay."""
    film = Film(_film(30), Style(scale=1.0), most=7)
    steps = [film._read(index).step for index in range(len(film))]
    film.close()
    assert len(steps) == 7
    assert (steps[0], steps[-1]) == (0, 29)
    assert max(np.diff(steps)) - min(np.diff(steps)) <= 1  # type: ignore[arg-type]


def test_one_moment_becomes_a_still_that_says_so(tmp_path: Path) -> None:
    """A picture without a run makes a film of one second, and its metadata says that it is a still."""
    _, frames, told = _decoded(_moment(3).save(tmp_path / "x.mp4", fps=8, dpi=100))
    assert len(frames) == 8
    assert told["comment"].startswith("One moment only")
    with Image.open(_moment(3).save(tmp_path / "x.gif")) as opened:
        assert opened.n_frames == 1


def test_a_film_tells_how_far_it_is_and_can_be_cancelled(tmp_path: Path) -> None:
    """Progress counts up to the last frame; cancelling between frames leaves no file behind."""
    seen: list[Progress] = []
    _film(4).save(tmp_path / "x.gif", progress=seen.append)
    assert seen[-1].done == seen[-1].total == 4
    with pytest.raises(Cancelled):
        _film(4).save(tmp_path / "y.mp4", cancel=lambda: len(seen) > 9, progress=seen.append)
    assert [p.name for p in tmp_path.iterdir()] == ["x.gif"]


def test_a_film_of_nothing_is_refused(tmp_path: Path) -> None:
    """A view that shows nothing at any snapshot gives a sentence, not an empty file."""
    picture = _moment(0).with_frames(lambda: iter(()))
    with pytest.raises(NotApplicable, match=r"\.png"):
        picture.save(tmp_path / "x.mp4")
    with pytest.raises(UsageError, match="fps"):
        picture.save(tmp_path / "x.mp4", fps=0)
    assert not list(tmp_path.iterdir())


def test_provenance_of_a_film_is_json(tmp_path: Path) -> None:
    """What the comment says after the words can be read by a program."""
    _, _, told = _decoded(_film(2).save(tmp_path / "x.mp4", dpi=100))
    start = told["comment"].index("{")
    assert json.loads(told["comment"][start:])["provenance"] == msgspec.to_builtins(MADE)
