"""What a model's layers tell of its inputs: along which axis a series has time."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.marks import Heatmap, Lines
from diorama.data import nesting
from diorama.data.examples import Examples
from diorama.data.nesting import named
from diorama.model.input_hints import as_read
from diorama.scene import Scene
from diorama.views import inputs

MOMENTS, CHANNELS = 20, 3


class _Turned(nn.Module):
    """A convolution over time that is given moments before channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv1d(CHANNELS, 6, 3), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.conv(x.transpose(1, 2)).mean(2))
        return found


class _Reads(nn.Module):
    """A recurrent layer over moments."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(channels, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.rnn(x)[0][:, -1])
        return found


class _Attends(nn.Module):
    """A dense layer on each moment before an attention between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(CHANNELS, 8), nn.Linear(8, 2)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        found: Tensor = self.out(self.attn(h, h, h)[0].mean(1))
        return found


def _plain() -> nn.Module:
    return nn.Sequential(nn.Conv1d(CHANNELS, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 2))


@pytest.mark.parametrize("make", [_Turned, _Reads, _Attends])
def test_channels_that_stand_last_are_told_by_the_layer_that_takes_them(make: Callable[[], nn.Module]) -> None:
    """The series is shown along time, the guess says why, and an input goes back as the model takes it."""
    x = torch.randn(6, MOMENTS, CHANNELS)
    scene = Scene(make().eval(), x, torch.arange(6) % 2)
    kind = scene.kind
    assert isinstance(kind, diorama.Series)
    assert (kind.channels, kind.length, kind.layout) == (CHANNELS, MOMENTS, "NTC")
    assert any(f"{CHANNELS} channels over {MOMENTS} moments, as" in one for one in scene.guessed)
    assert not any(f"{MOMENTS} channels" in one for one in scene.guessed)
    shown = kind.decode(x)
    np.testing.assert_array_equal(shown, x.numpy().swapaxes(1, 2))
    np.testing.assert_array_equal(kind.encode(shown[2]).numpy(), x[2:3].numpy())


def test_channels_that_stand_first_stay() -> None:
    """A convolution that takes the first axis tells that it is the channels; a dense layer alone tells nothing; nor does one of another length."""
    for model, shape in ((_plain(), (6, CHANNELS, MOMENTS)), (nn.Sequential(nn.Flatten(), nn.Linear(60, 2)), (6, MOMENTS, CHANNELS))):
        assert Scene(model.eval(), torch.randn(*shape), torch.arange(6) % 2).kind.layout is None
    told = Examples.of(torch.randn(6, MOMENTS, CHANNELS), inputs=diorama.Series(layout="NCT"))
    assert as_read(_Reads(), told).kind.channels == MOMENTS


def test_axes_as_long_as_each_other_go_by_the_recurrent_layer() -> None:
    """Where both are as long a recurrent layer with examples first takes the last, and a convolution the first."""
    assert as_read(_Reads(8), Examples.of(torch.randn(6, 8, 8) * 9)).kind.layout == "NTC"
    assert as_read(nn.Sequential(nn.Conv1d(8, 4, 3)), Examples.of(torch.randn(6, 8, 8) * 9)).kind.layout is None


def test_views_and_methods_go_along_time() -> None:
    """An occluder covers moments of all channels, a map has a row a channel, and a made series has the examples' form and ranges by channel."""
    x = torch.randn(6, MOMENTS, CHANNELS, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10.0, 0.1])
    scene = Scene(_Reads().eval(), x, torch.arange(6) % 2)
    heat = diorama.attribute(scene.model, x[:1], 1, method="occlusion", inputs=scene.kind)
    assert torch.allclose(heat.values, heat.values[..., :1].expand_as(heat.values))
    (drawn,) = (mark for mark in diorama.attribute(scene.model, x[:1], 1, method="gradient", inputs=scene.kind).picture().marks()
                if isinstance(mark, Heatmap))
    assert drawn.values.shape == (CHANNELS, MOMENTS)
    made = diorama.synthesize(scene.model, "class:0", x, inputs=scene.kind, steps=2)
    found = torch.as_tensor(np.asarray(made.x))
    assert found.shape[1:] == (MOMENTS, CHANNELS)
    assert bool((found.abs().amax((0, 1)) <= x.abs().amax((0, 1)) + 1e-4).all())
    lines = inputs.drawn(scene, scene.current(example=0))
    assert isinstance(lines, Lines)
    assert (len(lines.series), len(lines.series[0].x)) == (CHANNELS, MOMENTS)


class _Two(nn.Module):
    """A GRU over a series beside a dense layer over a row."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.rows, self.head = nn.GRU(CHANNELS, 5, batch_first=True), nn.Linear(4, 5), nn.Linear(10, 2)

    def forward(self, series: Tensor, static: Tensor) -> Tensor:
        found: Tensor = self.head(torch.cat([self.gru(series)[0][:, -1], self.rows(static).relu()], 1))
        return found


class _List(_Two):
    def forward(self, parts: list[Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(*parts)


class _Any(_Two):
    def forward(self, *parts: Tensor) -> Tensor:
        return super().forward(*parts)


SERIES, STATIC = torch.randn(6, MOMENTS, CHANNELS), torch.randn(6, 4)


@pytest.mark.parametrize(
    ("model", "x", "names"),
    [
        (_Two, (SERIES, STATIC), ["series", "static"]), (_List, ([SERIES, STATIC],), ["1st", "2nd"]), (_Any, (SERIES, STATIC), ["1st", "2nd"]),
        (lambda: torch.compile(_Two(), backend="eager"), (SERIES, STATIC), ["series", "static"]),
        (lambda: lambda one, two: one.mean((1, 2))[:, None] + two[:, :2], (SERIES, STATIC), ["one", "two"]),
    ],
)
def test_inputs_are_called_as_the_model_calls_them(model: Callable[[], nn.Module], x: Any, names: list[str], tmp_path: Path) -> None:
    """Inputs that are given by position have the names of the forward pass's parameters, in kinds, tables, files, parts and other inputs."""
    scene = Scene(model(), x, torch.arange(6) % 2)
    assert list(scene.kinds) == names
    assert [f"{name}:" in " ".join(scene.guessed) for name in map(repr, (*names, "0", "1"))] == [True, True, False, False]
    line = inputs.texts(scene, [2])[0]
    assert line.startswith((f"{names[0]}: {MOMENTS} moments", f"{names[0]}: {CHANNELS} moments"))
    assert f" · {names[1]}: x1 " in line
    scene.examples.take([1, 3]).save(tmp_path / "x")
    for held in (scene.examples.take([0]), scene.examples.first(2), Examples.load(tmp_path / "x"), pickle.loads(pickle.dumps(scene.examples))):
        assert list(named(held.x)) == names
        assert scene.scores(held.x).shape == (len(held), 2)
    for key in (names[1], "1"):
        typed = scene.with_input({key: {"kind": "row", "values": [1.0, 2, 3, 4]}}).current().x
        assert named(typed)[names[1]].tolist() == [[1, 2, 3, 4]]
    if isinstance(x[0], Tensor):
        assert list(named(scene.with_input(dict(zip(names, (x[0][0], x[1][0]), strict=True))).current().x)) == names
    assert f" · {names[1]}: x1 " in inputs.texts(scene, [0], Examples.of(nesting.named_like(x, scene.examples.x)))[0]


def test_kinds_are_told_by_the_names_or_by_position() -> None:
    """``inputs=`` takes the parameters' names, and places as before."""
    for told in ({"static": diorama.Table(columns=("a", "b", "c", "d"))}, {"1": diorama.Table(columns=("a", "b", "c", "d"))}):
        assert Scene(_Two(), (SERIES, STATIC), inputs=told).kinds["static"].columns == ("a", "b", "c", "d")  # type: ignore[attr-defined]
    heat = diorama.attribute(_Two(), (SERIES[:1], STATIC[:1]), 1, method="gradient", inputs={"series": diorama.Series(layout="NTC")})
    assert [mark.title for mark in heat.picture().marks() if getattr(mark, "title", "")]
