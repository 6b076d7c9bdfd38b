"""Networks of complex numbers: what is shown of them is the magnitude, and it is said."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import DioramaError
from diorama.core.marks import Bars
from diorama.model.layers import by_unit
from diorama.scene import Scene


class _Waves(nn.Module):
    """Two complex layers, of whose answer the magnitude is read."""

    def __init__(self, transform: bool) -> None:
        super().__init__()
        self.transform = transform
        self.first = nn.Linear(6, 5, dtype=torch.complex64)
        self.second, self.out = nn.Linear(5, 4, dtype=torch.complex64), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(torch.fft.fft(x) if self.transform else x)
        found: Tensor = self.out(self.second(torch.complex(h.real.relu(), h.imag)).abs())
        return found


def _scene(transform: bool = True) -> Scene:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _Waves(transform)
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float32 if transform else torch.complex64)
    return Scene(model, x, torch.arange(30) % 3)


@pytest.mark.parametrize("transform", [True, False], ids=["complex within", "complex inputs"])
def test_no_view_shows_the_real_part(transform: bool) -> None:
    """No view lets a part of a number go unsaid: each is drawn from magnitudes, or refuses in a sentence."""
    scene = _scene(transform)
    assert any("complex" in said and "magnitude" in said for said in scene.guessed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in diorama.views:
            try:
                picture = scene.view(name)
            except DioramaError:
                continue
            if diorama.views[name].needs == "model":
                assert any("magnitude" in said for said in picture.provenance.guessed)


def test_a_complex_unit_is_its_magnitude() -> None:
    """Activations, scans, targets and what a unit asks for are of the magnitude; a target's slope is that of the magnitude."""
    scene = _scene()
    raw = scene.model.first(torch.fft.fft(scene.examples.x)).detach()
    torch.testing.assert_close(scene.activations("first")["first"], raw.abs())
    assert scene.layers["first"].complex
    assert not scene.layers["out"].complex
    torch.testing.assert_close(by_unit(scene.layers["first"], raw), raw.abs())
    found = diorama.scan(scene, scene.examples.x)["first"]
    np.testing.assert_allclose(found.moments.mean, raw.abs().double().mean(0).numpy(), rtol=1e-5)
    x = scene.examples.x[:2].clone()
    slope = diorama.attribute(scene.model, x, "unit:first/2").values
    step = 1e-3
    for column in range(6):
        ends = []
        for sign in (1, -1):
            moved = x.clone()
            moved[:, column] += sign * step
            ends.append(scene.model.first(torch.fft.fft(moved)).abs()[:, 2].detach())
        torch.testing.assert_close(slope[:, column], (ends[0] - ends[1]) / (2 * step), atol=2e-3, rtol=2e-3)
    weights = scene.parameters()["first.weight"]
    np.testing.assert_allclose(weights, scene.model.first.weight.detach().abs().numpy())


def test_units_turn_the_morph_by_their_real_effect() -> None:
    """What complex units do across a flip is the real change of the target, not that of their magnitudes alone."""
    scene = _scene()
    picture = scene.view("morph", example=0)
    assert picture.final
    assert all(np.isfinite(mark.values).all() for mark in picture.marks() if isinstance(mark, Bars))
