"""Occlusion against plain loops over whole inputs, and against Captum."""

from __future__ import annotations

import captum.attr
import pytest
import torch
from torch import Tensor, nn
from zoo import Functional, Residual

import diorama
from diorama.core.errors import NotApplicable, UsageError
from diorama.methods.method import Look
from diorama.methods.patches import blurred
from diorama.model.targets import Target


def _last(name: str, model: nn.Module, x: Tensor, target: int, **knobs: object) -> object:
    method = diorama.methods[name](**knobs)
    *_, last = method.attribute(Look(model, x=x), x, Target.of(target))
    return last


@pytest.mark.parametrize(("size", "stride"), [(4, 3), (5, 5), (1, 1), (30, 7)])
@pytest.mark.parametrize("make", [Functional, Residual])
def test_captum_on_images(make: type[nn.Module], size: int, stride: int) -> None:
    """On images, windows of any size and step give Captum's map, also where the last ones end at the border."""
    torch.manual_seed(size)
    model, x = make().eval(), torch.randn(2, 1, 18, 23)
    found = _last("occlusion", model, x, 1, size=size, stride=stride, value=0.3)
    side = min(size, 18)
    wanted = captum.attr.Occlusion(model).attribute(
        x, (1, side, min(size, 23)), strides=(1, min(stride, 18), min(stride, 23)), target=1, baselines=0.3
    )
    torch.testing.assert_close(found.values, wanted, rtol=1e-4, atol=1e-5)


def test_captum_on_rows() -> None:
    """On a table's rows, each column covered by itself gives Captum's numbers."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), torch.randn(3, 6)
    found = _last("occlusion", model, x, 2)
    torch.testing.assert_close(found.values, captum.attr.Occlusion(model).attribute(x, (1,), target=2))


def test_maps_are_the_models_answers() -> None:
    """The three maps hold the target, the class's probability and the likeliest label with each window covered."""
    torch.manual_seed(0)
    model, x = Residual().eval(), torch.randn(1, 1, 16, 16)
    method = diorama.methods["occlusion"](size=4, stride=2, fill="mean")
    *_, found = method.attribute(Look(model, x=x, task="classification"), x, Target.of(1))
    for row, column in ((0, 0), (3, 5), (6, 6)):
        covered = x.clone()
        covered[:, :, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4] = x.mean()
        scores = model(covered)[0].detach()
        assert found.maps["response"][0, row, column] == pytest.approx(float(scores[1]), abs=1e-5)
        assert found.maps["probability"][0, row, column] == pytest.approx(float(scores.softmax(0)[1]), abs=1e-5)
        assert found.maps["label"][0, row, column] == int(scores.argmax())


def test_each_example_has_its_own_class() -> None:
    """Without a target, each example's map is for its own predicted class."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).eval(), torch.randn(6, 1, 6, 6)
    both = diorama.attribute(model, x, method="occlusion")
    predicted = model(x).argmax(1)
    assert len(predicted.unique()) > 1
    for k, answer in enumerate(predicted.tolist()):
        alone = diorama.attribute(model, x[k : k + 1], answer, method="occlusion")
        torch.testing.assert_close(both.values[k], alone.values[0])


def test_random_pixels_are_averaged_over_draws() -> None:
    """For a linear model, the mean drop under many draws of the image's own pixels nears that under its mean."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    x = torch.randn(1, 1, 8, 8)
    mean = _last("occlusion", model, x, 0, size=4, stride=4, fill="mean").values
    few = _last("occlusion", model, x, 0, size=4, stride=4, fill="random", draws=2).values
    many = _last("occlusion", model, x, 0, size=4, stride=4, fill="random", draws=600).values
    assert (many - mean).abs().max() < 0.1
    assert (few - mean).abs().max() > (many - mean).abs().max()


def test_blur_keeps_a_plain_image() -> None:
    """A blur leaves a plain image as it is and preserves the sum of a point far from the border."""
    assert torch.allclose(blurred(torch.full((1, 2, 9, 9), 3.0), 1.5), torch.tensor(3.0))
    point = torch.zeros(1, 1, 31, 31)
    point[..., 15, 15] = 1
    assert float(blurred(point, 2.0).sum()) == pytest.approx(1, abs=1e-5)


def test_refines_from_coarse_to_fine() -> None:
    """Earlier answers say so, have the same shape, and come nearer to the last."""
    torch.manual_seed(0)
    model, x = Functional().eval(), torch.randn(1, 1, 28, 28)
    method = diorama.methods["occlusion"](size=3, stride=1)
    answers = list(method.attribute(Look(model, x=x), x, Target.of(0)))
    assert len(answers) == 4
    gaps = [float((a.values - answers[-1].values).abs().mean()) for a in answers]
    assert gaps[0] > gaps[2] > gaps[3] == 0
    assert all("So far" in answer.note for answer in answers[:-1])
    assert "So far" not in answers[-1].note


def test_too_much_is_refused_before_it_starts() -> None:
    """A sweep that needs more passes than allowed names their number; its cost is known without running."""
    x = torch.randn(1, 1, 64, 64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4096, 2))
    method = diorama.methods["occlusion"](size=2, stride=1, limit=100)
    assert method.cost(Look(model, x=x), x).forward == 63 * 63 + 1
    with pytest.raises(UsageError, match="3,970 forward passes"):
        next(method.attribute(Look(model, x=x), x, Target.of(0)))
    with pytest.raises(NotApplicable, match="fill='constant'"):
        _last("occlusion", nn.Linear(4, 2), torch.randn(1, 4), 0, fill="blur")


def test_a_volume_is_covered_window_by_window_within_its_slices() -> None:
    """A place's value is the mean drop of the windows that cover it, none of which reaches into the next slice."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval()
    x = torch.randn(2, 1, 3, 5, 4)
    model(x)
    found = _last("occlusion", model, x, 1, size=2, stride=2).values
    total, times = torch.zeros_like(x), torch.zeros_like(x)
    for depth in range(3):
        for row in (0, 2, 4):
            for column in (0, 2):
                place = (..., depth, slice(row, row + 2), slice(column, column + 2))
                covered = x.clone()
                covered[place] = 0
                total[place] += (model(x) - model(covered))[:, 1].detach()[:, None, None, None]
                times[place] += 1
    assert torch.allclose(found, total / times, atol=1e-5)
    clip = nn.Sequential(_Frames(), model)
    again = _last("occlusion", clip, x.transpose(1, 2).repeat(1, 2, 1, 1, 1)[:, :6], 1, size=2, stride=2).values
    assert again.shape == (2, 6, 1, 5, 4)


class _Frames(nn.Module):
    """Takes every second frame of a clip as the slices of a volume."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, ::2].transpose(1, 2)


@pytest.mark.parametrize("method", ["feature_ablation", "lime", "kernel_shap", "shapley_sampling"])
def test_black_box_methods_cut_a_volume_into_parts(method: str) -> None:
    """A volume whose one bright cube makes the answer has its highest values in that cube."""
    x = torch.zeros(1, 1, 6, 8, 8)
    x[:, :, 2:4, 2:6, 2:6] = 1.0
    model = nn.Sequential(nn.Flatten(), nn.Linear(6 * 8 * 8, 2, bias=False))
    nn.init.constant_(model[1].weight, 0.1)
    found = _last(method, model, x, 1, segments=12).values[0, 0]
    inside = found[2:4, 2:6, 2:6].mean()
    assert float(inside) > 3 * float(found.abs().sum() - found[2:4, 2:6, 2:6].abs().sum()) / (6 * 8 * 8 - 32)
