"""What syntheses are made of, against slow formulas written out."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.methods.method import Look
from diorama.methods.synthesis import objectives, priors
from diorama.methods.synthesis.canvases import Fourier, Frame, spectrum_scale
from diorama.methods.synthesis.code_inversion import spread
from diorama.methods.synthesis.colours import Colours
from diorama.methods.synthesis.decoder import of_plain, teach, to_plain
from diorama.methods.synthesis.deep_dream import DreamPlan, octave_sizes
from diorama.methods.synthesis.engine import values_of
from diorama.methods.synthesis.facets import grouped
from diorama.methods.synthesis.priors import Gaussian, Priors, slope
from diorama.methods.synthesis.transforms import Transforms


def _planes(seed: int = 0, shape: tuple[int, ...] = (2, 3, 6, 5)) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_total_variation_is_its_formula(beta: float) -> None:
    """The variation is the mean of (Δx² + Δy²)^(β/2) over all numbers, with no step beyond the edge."""
    planes = _planes()
    wanted = []
    for picture in planes.double().numpy():
        total = 0.0
        channels, height, width = picture.shape
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    down = picture[c, i + 1, j] - picture[c, i, j] if i + 1 < height else 0.0
                    over = picture[c, i, j + 1] - picture[c, i, j] if j + 1 < width else 0.0
                    total += (down**2 + over**2 + (1e-8 if beta == 1 else 0.0)) ** (beta / 2)
        wanted.append(total / picture.size)
    assert priors.total_variation(planes, beta).numpy() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", ["total_variation", "norm", "natural"])
def test_slopes_of_priors_are_their_derivatives(name: str) -> None:
    """The written slopes are what automatic differentiation finds, times the number of pixels."""
    planes, middle = _planes(), torch.full((1, 3, 1, 1), 0.4)
    at = planes.clone().requires_grad_()
    value = {
        "total_variation": lambda: priors.total_variation(at), "norm": lambda: priors.norm(at, middle),
        "natural": lambda: priors.natural(at, middle),
    }[name]()
    wanted = torch.autograd.grad(value.sum(), at)[0] * planes[0].numel()
    torch.testing.assert_close(slope(Priors(**{name: 1.0}), planes, middle, None), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_likeness_is_that_of_the_examples(channels: int) -> None:
    """Independent colours have unit deviation, the examples are as unlike as themselves, and the slope is the derivative."""
    planes = _planes(8, (30, channels, 6, 5)) * 0.5
    planes[:, -1] = 0.7 * planes[:, 0] + 0.1 * planes[:, -1]
    like = priors.LikenessToExamples.of(planes)
    flat = like.unmixed(planes).transpose(0, 1).flatten(1)
    torch.testing.assert_close(flat @ flat.T / flat.shape[1], torch.eye(channels), atol=1e-3, rtol=1e-3)
    assert float(like(planes).mean()) == pytest.approx(1.5, rel=1e-3)
    at = planes[:3].clone().requires_grad_()
    (wanted,) = torch.autograd.grad(like(at).sum(), at)
    torch.testing.assert_close(like.slope(planes[:3]), wanted, rtol=1e-3, atol=1e-5)


def test_mahendrans_norm_is_its_formula() -> None:
    """The α-norm sums the sixth powers of the colours' lengths over B, B = 80/255; the variation is over V = B/6.5."""
    planes, middle = _planes(1, (1, 3, 4, 4)), torch.full((1, 3, 1, 1), 0.5)
    bound, total = 80 / 255, 0.0
    picture = planes[0].double().numpy() - 0.5
    for i in range(4):
        for j in range(4):
            total += (math.sqrt(sum(picture[c, i, j] ** 2 for c in range(3))) / bound) ** 6
            down = picture[:, i + 1, j] - picture[:, i, j] if i < 3 else np.zeros(3)
            over = picture[:, i, j + 1] - picture[:, i, j] if j < 3 else np.zeros(3)
            total += float((down**2 + over**2).sum()) / (bound / 6.5) ** 2
    assert float(priors.natural(planes, middle)) == pytest.approx(total / 16, rel=1e-4)


def test_a_picture_is_the_sum_of_its_waves() -> None:
    """The Fourier parametrization is sigmoid(middle + colours · Σ waves weighed by wavelength), written as a sum."""
    height, width = 4, 6
    colours = Colours(torch.tensor([[0.9, 0.1], [0.2, 0.7]]), torch.tensor([0.3, 0.6]), True, "")
    frame = Frame(torch.zeros(1, 2, height, width), 0, diorama.Image())
    canvas = Fourier(frame, torch.full((1, 2, height, width), 0.5), colours)
    canvas.z = torch.randn(canvas.z.shape, generator=torch.Generator().manual_seed(0))
    scale = spectrum_scale((height, width)).double()
    numbers = torch.view_as_complex(canvas.z)[0].to(torch.complex128) * scale
    waves = np.zeros((2, height, width))
    for c in range(2):
        for i in range(height):
            for j in range(width):
                total = 0.0
                for v in range(height):
                    for u in range(width // 2 + 1):
                        # A half spectrum: the other half is the mirrored conjugate, so inner columns count twice, and
                        # of the columns that are their own mirror only the part that a real picture has.
                        weight = 1 if u in (0, width // 2) else 2
                        turn = cmath.exp(2j * math.pi * (v * i / height + u * j / width))
                        total += weight * (complex(numbers[c, v, u]) * turn).real
                waves[c, i, j] = total / math.sqrt(height * width)
    mixed = np.einsum("dc,chw->dhw", colours.matrix.double().numpy(), waves)
    offset = np.log(np.array([0.3, 0.6]) / (1 - np.array([0.3, 0.6])))[:, None, None]
    wanted = 1 / (1 + np.exp(-(mixed + offset)))
    assert canvas.made(canvas.z)[0].numpy() == pytest.approx(wanted, abs=1e-5)


def test_the_scale_of_a_spectrum_falls_with_frequency() -> None:
    """Each frequency weighs as its wavelength, the lowest as the longest side, and white noise keeps unit variance."""
    scale = spectrum_scale((8, 8))
    ratio = scale / scale[0, 1]
    assert float(ratio[0, 2]) == pytest.approx(0.5)
    assert float(ratio[3, 4]) == pytest.approx(1 / 5)
    assert float(ratio[0, 0]) == pytest.approx(1.0)
    noise = torch.randn(400, 8, 8, generator=torch.Generator().manual_seed(0))
    shaped = torch.fft.irfft2(torch.fft.rfft2(noise, norm="ortho") * scale, s=(8, 8), norm="ortho")
    assert float(shaped.square().mean()) == pytest.approx(1.0, rel=0.1)


def test_a_spectrum_gives_its_picture_back() -> None:
    """A picture encoded as a spectrum is made again, in colours that were measured."""
    planes = _planes(2, (3, 3, 7, 8)) * 0.8 + 0.1
    colours = Colours.measure(_planes(3, (40, 3, 6, 6)))
    assert colours.measured
    canvas = Fourier(Frame(planes, 0, diorama.Image()), planes, colours)
    torch.testing.assert_close(canvas.made(canvas.z), planes, atol=1e-5, rtol=1e-4)


def test_decorrelated_colours_are_those_of_the_examples() -> None:
    """Independent noise through the matrix has colours correlated as in the examples."""
    mixing = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.4, 0.0], [0.3, 0.2, 0.5]])
    noise = torch.randn(20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    planes = torch.einsum("dc,nchw->ndhw", mixing, noise) * 0.1 + 0.5
    found = Colours.measure(planes)
    made = found.matrix @ found.matrix.T
    real = mixing @ mixing.T
    torch.testing.assert_close(made / made[0, 0], real / real[0, 0], atol=0.06, rtol=0.06)


def test_diversity_is_its_formula() -> None:
    """Minus the mean cosine of each input's correlations of units with those of the others."""
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU())
    x = _planes(4, (4, 1, 5, 5))
    look = Look(model, x=x)
    found = values_of(look, objectives.diversity("0"), x)
    with torch.no_grad():
        units = model[0](x).double().numpy().reshape(4, 3, -1)
    grams = [u @ u.T for u in units]
    for k in range(4):
        cosines = [
            float((grams[k] * grams[m]).sum() / np.linalg.norm(grams[k]) / np.linalg.norm(grams[m]))
            for m in range(4) if m != k
        ]
        assert float(found[k]) == pytest.approx(-sum(cosines) / 3, rel=1e-4)


def test_objectives_add_as_numbers_do() -> None:
    """+ − * of objectives are + − * of their values, also with a weight for each input."""
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten(), nn.Linear(48, 4))
    x = _planes(5, (2, 1, 5, 5))
    look = Look(model, x=x)
    a, b = objectives.channel("0", 1), objectives.unit("2", 3)
    values = {name: values_of(look, one, x) for name, one in (("a", a), ("b", b))}
    weight = torch.tensor([2.0, -1.0])
    torch.testing.assert_close(values_of(look, a - 0.5 * b, x), values["a"] - 0.5 * values["b"])
    torch.testing.assert_close(values_of(look, (a + b) * weight, x), (values["a"] + values["b"]) * weight)
    torch.testing.assert_close(values_of(look, -a, x), -values["a"])


def test_the_distance_to_a_code_is_its_formula() -> None:
    """Matching is minus the squared distance over the code's own square."""
    model = nn.Sequential(nn.Linear(3, 4))
    x, other = torch.randn(2, 3), torch.randn(1, 3)
    look = Look(model, x=x)
    with torch.no_grad():
        code, own = model(other), model(x)
    wanted = -((own - code) ** 2).sum(1) / (code**2).sum()
    torch.testing.assert_close(values_of(look, objectives.match("0", code), x), wanted)


def test_pictures_like_the_examples_are_likely() -> None:
    """Under the examples' Gaussian their own kind scores about one, and white noise much more."""
    generator = torch.Generator().manual_seed(0)
    scale = spectrum_scale((16, 16))

    def natural(count: int) -> Tensor:
        noise = torch.randn(count, 1, 16, 16, generator=generator)
        return torch.fft.irfft2(torch.fft.rfft2(noise, norm="ortho") * scale, s=(16, 16), norm="ortho") * 0.1 + 0.5

    gaussian = Gaussian.of(natural(200))
    noise = torch.randn(50, 1, 16, 16, generator=generator) * 0.1 + 0.5
    assert float(gaussian(natural(50)).mean()) == pytest.approx(1.0, rel=0.1)
    assert float(gaussian(noise).mean()) > 2


def test_a_blur_keeps_the_mean_and_spreads_a_point() -> None:
    """A blurred point becomes a Gaussian of the wanted deviation."""
    planes = torch.zeros(1, 1, 21, 21)
    planes[0, 0, 10, 10] = 1
    blurred = priors.blurred(planes, 1.5)[0, 0]
    at = torch.arange(21.0) - 10
    assert float(blurred.sum()) == pytest.approx(1.0, abs=1e-4)
    assert float((blurred.sum(0) * at**2).sum()) == pytest.approx(1.5**2, rel=0.05)


def test_transforms_move_within_their_reach() -> None:
    """Jitter moves every input of a batch by the same whole pixels, no farther than asked, in all directions."""
    planes = torch.zeros(2, 1, 15, 15)
    planes[:, :, 7, 7] = 1
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(200):
        moved = Transforms(jitter=2)(planes, generator)
        assert torch.equal(moved[0], moved[1])
        row, column = divmod(int(moved[0].argmax()), 15)
        assert float(moved.sum()) == 2
        seen.add((row - 7, column - 7))
    assert {a for a, _ in seen} == {b for _, b in seen} == {-2, -1, 0, 1, 2}


def test_rotation_keeps_shapes_round() -> None:
    """On an oblong picture a turned disc stays a disc: its height and width change alike."""
    y, x = torch.meshgrid(torch.arange(40.0) - 19.5, torch.arange(80.0) - 39.5, indexing="ij")
    disc = ((x**2 + y**2) < 100).float()[None, None]
    generator = torch.Generator().manual_seed(3)
    turned = Transforms(rotate=45)(disc, generator)[0, 0]
    assert float((turned - disc[0, 0]).abs().sum()) < 0.06 * float(disc.sum())


def test_groups_are_found() -> None:
    """k-means tells two planted clouds apart, and says that their middles are far from each other."""
    rows = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)) * 0.1
    rows[::3] += 2
    groups, apart = grouped(rows, 2)
    assert [sorted(group) for group in groups] == [[k for k in range(30) if k % 3], list(range(0, 30, 3))]
    assert apart > 5


def test_octaves_end_at_the_full_size() -> None:
    """Octaves grow by their factor to the picture's size, and none is too small to hold anything."""
    assert octave_sizes((100, 60), DreamPlan(octaves=3, octave=2.0)) == [(25, 15), (50, 30), (100, 60)]
    assert octave_sizes((12, 12), DreamPlan(octaves=4, octave=2.0)) == [(12, 12)]


def test_the_spread_of_pictures_is_their_mean_distance() -> None:
    """Of three pictures the mean of the three distances, over the yardstick."""
    planes = _planes(6, (3, 1, 4, 4))
    pairs = [float((planes[a] - planes[b]).norm()) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert spread(planes, 2.0) == pytest.approx(sum(pairs) / 6)


def test_a_decoder_learns_is_repeatable_and_is_kept() -> None:
    """A decoder's error falls on pictures that it never saw, the same seed gives the same decoder, and as plain data it
    stays the same; plain data of another shape is refused.
    """
    made = {}
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(80, 1, 2, 2, generator=generator)
    planes = nn.functional.interpolate(low, (8, 8), mode="bilinear", align_corners=False)
    mixing = torch.randn(4, 6, generator=generator)
    codes = low.flatten(1) @ mixing
    before = torch.get_rng_state()

    def run() -> list[float]:
        found = list(
            teach(codes[:64], planes[:64], (codes[64:], planes[64:]), steps=150, seconds=0,
                  generator=torch.Generator().manual_seed(1))
        )
        made.update(to_plain(found[-1]))
        return [found[-1].held_out, float((planes[64:] - planes[:64].mean(0)).square().mean())]

    (error, guess), again = run(), run()
    assert error < 0.5 * guess
    assert error == again[0]
    assert torch.equal(before, torch.get_rng_state())
    kept = of_plain(made).decoder
    with torch.no_grad():
        assert float((kept(codes[64:]) - planes[64:]).square().mean()) == pytest.approx(error, rel=1e-4)
    for wrong in ({**made, "size": [1, 8, 2**15]}, {**made, "code": [5]}, {**made, "weights": {}}):
        with pytest.raises(ValueError, match="of no"):
            of_plain(wrong)
