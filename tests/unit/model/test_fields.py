"""Receptive fields."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from zoo import Functional, Residual

from diorama.model.capture import Capture
from diorama.model.fields import ReceptiveField, fields
from diorama.model.layers import by_unit, layers

RANDOM = torch.Generator().manual_seed(0)


class _Steps(nn.Module):
    """Strides, dilation, uneven padding, a residual sum of two paths of unlike fields, crops and joins."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, (3, 5), stride=(2, 1), padding=(1, 0), dilation=(1, 2))
        self.wide, self.narrow = nn.Conv2d(3, 3, 5, padding=2), nn.Conv2d(3, 3, 1)
        self.same = nn.Conv2d(6, 2, 3, padding="same")
        self.pool = nn.AvgPool2d(3, 2, 1, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        x = self.wide(x) + self.narrow(x)
        x = torch.cat([x, x.flip(1)], 1)[:, :, 1:]
        return self.pool(self.same(F.pad(x, (0, 1, 2, 0))))


class _Resizing(nn.Module):
    """Adaptive pooling, transposed convolution, resizing, a mean over rows, and places moved to other axes."""

    def __init__(self, mode: str = "nearest") -> None:
        super().__init__()
        self.mode = mode
        self.up, self.norm = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1), nn.BatchNorm2d(3)
        self.act, self.last, self.line = nn.Softplus(), nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(x, (5, 4))
        x = self.act(self.norm(self.up(x)))
        x = F.interpolate(x, scale_factor=1.5, mode=self.mode)
        x = self.last(x.permute(0, 2, 3, 1).contiguous())
        return self.line(x.mean(1).transpose(1, 2))


class _Pooling(nn.Module):
    """Maxima with dilation, then a dense layer over all places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(2, 4, 3), nn.MaxPool2d(2, 2, dilation=2), nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.conv(x)).flatten(1))


class _Reached(nn.Module):
    """Group normalization sees the whole map; slices and splits keep their places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.end = nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.conv(x).chunk(2, 1)
        return self.norm(torch.cat([first * second, self.end(first[..., 2:] * 2)[..., :1].expand_as(second) + second], 1))


def _made(model: nn.Module, channels: int = 2, size: tuple[int, int] = (13, 11)) -> tuple[nn.Module, Tensor]:
    x = torch.rand(1, channels, *size, generator=RANDOM, dtype=torch.float64)
    model = model.double().eval()
    with torch.no_grad():
        model(x)
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=RANDOM, dtype=torch.float64) + 0.1)
    return model, x


def _boxes(field: ReceptiveField, shape: tuple[int, ...]) -> dict[tuple[int, ...], Any]:
    return {place: field.box(place) for place in np.ndindex(*shape)}


def _hull(mask: np.ndarray) -> tuple[tuple[int, int], ...]:
    found = []
    for axis in (1, 0):
        hit = np.flatnonzero(mask.any(axis))
        found.append((int(hit[0]), int(hit[-1]) + 1) if len(hit) else (0, 0))
    return tuple(found)


def _spread(model: nn.Module, x: Tensor, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Which pixel (row, column) reaches which place of which layer, from where a not-a-number spreads to."""
    table = layers(model, x)
    rows, columns = x.shape[2:]
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for k in range(rows * columns):
        marked = x.clone()
        marked[:, :, k // columns, k % columns] = torch.nan
        with Capture(model, names) as look:
            look(marked)
            for name in names:
                found[name].append(by_unit(table[name], look[name])[0].isnan().any(0).numpy())
    return {name: np.stack(hits).reshape(rows, columns, *hits[0].shape) for name, hits in found.items()}


NETS = {
    "steps": (_Steps, 2), "resizing": (_Resizing, 2), "pooling": (_Pooling, 2), "reached": (_Reached, 2),
    "functional": (Functional, 1), "residual": (Residual, 1), "bilinear": (lambda: _Resizing("bilinear"), 2),
}


@pytest.mark.parametrize("name", [name for name in NETS if name != "bilinear"])
def test_boxes_are_exactly_what_reaches_a_place(name: str) -> None:
    """For every place of every layer, the box holds all pixels that reach it and none of its sides can be drawn in."""
    make, channels = NETS[name]
    model, x = _made(make(), channels)  # type: ignore[operator]
    table = layers(model, x)
    found = fields(model, x, table)
    assert set(found) == set(table.names)
    spread = _spread(model, x, table.names)
    for layer in table:
        hits = spread[layer.name]
        for place, box in _boxes(found[layer.name], hits.shape[2:]).items():
            assert box == _hull(hits[(slice(None), slice(None), *place)]), (layer.name, place)


@pytest.mark.parametrize("name", ["steps", "residual", "resizing", "bilinear"])
def test_boxes_are_the_hull_of_the_gradient(name: str) -> None:
    """The gradient of a place is zero outside its box, and not zero at each of its sides."""
    make, channels = NETS[name]
    model, x = _made(make(), channels)  # type: ignore[operator]
    table = layers(model, x)
    found = fields(model, x, table)
    for layer in table:
        if not layer.spatial:
            continue
        x = x.detach().requires_grad_()
        with Capture(model, [layer.name], grad=True) as look:
            look(x)
            values = by_unit(layer, look[layer.name])[0]
            for place in [(0, 0), tuple(size // 2 for size in values.shape[1:]), tuple(size - 1 for size in values.shape[1:])]:
                (gradient,) = torch.autograd.grad(values[(slice(None), *place)].sum(), x, retain_graph=True)
                assert found[layer.name].box(place) == _hull(gradient[0].abs().sum(0).numpy() > 0), (layer.name, place)


def test_a_field_knows_its_size_and_whether_it_is_everything() -> None:
    """A 3 × 3 convolution sees at most three rows and columns, a dense layer everything."""
    model, x = _made(_Pooling())
    found = fields(model, x, layers(model, x))
    assert found["conv"].largest == (3, 3)
    assert not found["conv"].whole
    assert not found["pool"].whole
    assert found["fc"].box(()) == ((0, 12), (0, 10)) or found["fc"].whole


def test_an_operation_that_is_not_known_sees_all() -> None:
    """Behind a Fourier transform each place sees the whole picture."""

    class Waves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.end = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.end(torch.fft.fft2(x).real)

    x = torch.rand(1, 1, 6, 6)
    found = fields(Waves(), x, layers(Waves(), x))
    assert found["end"].box((2, 3)) == ((0, 6), (0, 6))


def test_rows_of_pixels_and_texts_have_no_boxes() -> None:
    """An input without axes of places gives no fields."""
    model = nn.Linear(4, 2)
    x = torch.rand(2, 4)
    assert fields(model, x, layers(model, x)) == {}
