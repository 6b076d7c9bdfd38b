"""What a model's layers tell of its inputs: along which axis a series has time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.marks import Heatmap, Lines
from diorama.data.examples import Examples
from diorama.model.given import as_read
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
