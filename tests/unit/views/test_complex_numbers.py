"""Networks of complex numbers: what is shown of them is the magnitude, and it is said."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import DioramaError
from diorama.core.marks import Bars
from diorama.model.gradients import Sketcher
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


def test_a_training_of_complex_numbers_is_recorded(tmp_path: Path) -> None:
    """Weights, gradients, updates and activations of complex numbers are recorded as magnitudes, and the view says so."""
    model, x = _scene().model, torch.randn(12, 6, generator=torch.Generator().manual_seed(2))
    y, rows = torch.arange(12) % 3, []
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    handle = model.first.register_forward_hook(lambda module, args, output: rows.append(output.detach().clone()))
    with diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer, every=1) as recorder:
        before = model.first.weight.detach().clone()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        trained, slope = rows[-1], model.first.weight.grad.clone()
        optimizer.step()
        recorder.step(loss=loss)
    handle.remove()
    run = diorama.open(tmp_path / "run")
    now = model.first.weight.detach()
    wanted = {
        "weights/first.weight": now, "gradients/first.weight": slope, "updates/first.weight": now - before,
        "activations/first": trained,
    }
    for name, tensor in wanted.items():
        found = run.histograms(name)
        assert found.norm[-1] == pytest.approx(float(torch.linalg.vector_norm(tensor)), rel=1e-4), name
        assert (found.low[-1], found.high[-1]) == pytest.approx((float(tensor.abs().min()), float(tensor.abs().max())), rel=1e-4)
    assert "activations/first/dead" not in run.series_names
    ratio = run.series("updates/first.weight/ratio")[1][-1]
    assert ratio == pytest.approx(float(torch.linalg.vector_norm(now - before) / torch.linalg.vector_norm(before)), rel=1e-4)
    for of in ("weights", "gradients", "updates", "activations"):
        assert "magnitude" in run.scene(1).view("distributions", of=of, layer="first").note
    assert "magnitude" not in run.scene(1).view("distributions", of="weights", layer="out").note


def test_rules_for_real_numbers_refuse_complex_weights_wherever_they_stand() -> None:
    """Also those that stand in no layer of their own."""
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.out = nn.Parameter(torch.randn(6, 4, dtype=torch.complex64)), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.out((x @ self.weight).abs())
            return found

    with pytest.raises(diorama.NotApplicable, match="complex"):
        diorama.attribute(Own(), torch.randn(2, 6, dtype=torch.complex64), 1, method="lrp")


def test_two_classes_of_complex_inputs_are_told_apart() -> None:
    """Where inputs have no gradients a method that only asks the network takes the default's place, and it is said."""
    picture = _scene(False).view("contrast", limit=3)
    assert picture.note.startswith("Occlusion takes the place of Integrated gradients")
    with pytest.raises(DioramaError, match="complex"):
        _scene(False).view("contrast", method="gradient", limit=3)


@pytest.mark.parametrize("fill", ["mean", "constant"])
def test_complex_pictures_are_covered_whole(fill: str) -> None:
    """What covers a complex picture has both parts: the change of the score is that of covering by hand."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        layer, head = nn.Conv2d(1, 3, 3, dtype=torch.complex64), nn.Linear(3, 3)
        x = torch.randn(1, 1, 6, 6, dtype=torch.complex64)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = layer, head

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.layer(x).abs().mean((2, 3)))
            return out

    model = Net()
    covered = x.clone()
    covered[:, :, :3, :3] = x.mean() if fill == "mean" else 0.5
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        found = diorama.attribute(model, x, 1, method="occlusion", fill=fill, value=0.5, size=3, stride=3)
        gone = model(x)[0, 1] - model(covered)[0, 1]
        diorama.attribute(model, x, 1, method="kernel_shap", samples=20)
    torch.testing.assert_close(found.values[0, 0, :3, :3], gone.expand(3, 3), rtol=1e-4, atol=1e-5)


def test_gradients_of_complex_weights_are_sketched_whole() -> None:
    """Both parts of every complex weight count: the length of a sketch is that of the whole gradient."""
    scene = _scene()
    x, y = scene.examples.x[:1], scene.examples.y[:1]
    found = Sketcher(scene.model, scene.reading, 64, 0).gradients(x, y)
    loss = nn.functional.cross_entropy(scene.model(x), y)
    slopes = torch.autograd.grad(loss, list(scene.model.parameters()))
    wanted = sum(float(slope.abs().double().square().sum()) for slope in slopes) ** 0.5
    assert float(found.lengths) == pytest.approx(wanted, rel=1e-4)
