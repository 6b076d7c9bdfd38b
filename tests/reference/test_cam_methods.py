"""Class activation methods against their papers' formulas, number by number, and Captum."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.errors import NotApplicable


class _Net(nn.Module):
    """Two convolutions, pooling over all places, and one linear layer, or two."""

    def __init__(self, deep: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 4, 3)
        self.head = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)) if deep else nn.Linear(4, 3)

    def maps(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.max_pool2d(F.relu(self.conv1(x)), 2)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.maps(x).mean((2, 3)))


def _net(deep: bool = True) -> _Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        return _Net(deep).double().eval()


def _images() -> Tensor:
    return torch.randn(2, 1, 12, 10, generator=torch.Generator().manual_seed(10)).double()


def _slopes(net: _Net, maps: Tensor, number: int) -> Tensor:
    """The slopes of a score along every number of the maps, by small differences in both directions."""
    slopes, step = torch.zeros_like(maps), 1e-5
    flat = maps.reshape(len(maps), -1)
    for k in range(flat.shape[1]):
        change = torch.zeros_like(flat)
        change[:, k] = step
        up, down = (net.head((flat + sign * change).reshape(maps.shape).mean((2, 3)))[:, number] for sign in (1, -1))
        slopes.reshape(len(maps), -1)[:, k] = (up - down).detach() / (2 * step)
    return slopes


def _weight(method: str, slopes: list[float], values: list[float]) -> list[float]:
    """A map's weight at each of its places."""
    if method == "grad_cam":
        return [sum(slopes) / len(slopes)] * len(slopes)
    if method == "layer_cam":
        return [max(slope, 0.0) for slope in slopes]
    total, weight = sum(values), 0.0
    for slope in slopes:
        below = 2 * slope**2 + total * slope**3
        weight += (slope**2 / below if below else 0.0) * max(slope, 0.0)
    return [weight] * len(slopes)


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_plus_plus", "layer_cam"])
def test_maps_are_weighted_as_in_the_papers(method: str) -> None:
    """The map is the sum of the feature maps after their ReLU, weighted as the paper says, cut off at zero."""
    net, x = _net(), _images()
    maps = net.maps(x).detach()
    slopes = _slopes(net, maps, 2)
    heat = diorama.attribute(net, x, 2, method=method).maps["map"]
    assert heat.shape == (2, *maps.shape[2:])
    for n in range(len(x)):
        places = [0.0] * maps[n, 0].numel()
        for unit in range(maps.shape[1]):
            values = maps[n, unit].flatten().tolist()
            weights = _weight(method, slopes[n, unit].flatten().tolist(), values)
            places = [a + w * v for a, w, v in zip(places, weights, values, strict=True)]
        wanted = torch.tensor([max(place, 0.0) for place in places]).double()
        assert wanted.any()
        assert torch.allclose(heat[n].flatten(), wanted, atol=1e-8)


def test_score_cam_asks_what_each_map_leaves() -> None:
    """The weights are the softmax over the scores of the input seen through each map."""
    net, x = _net(), _images()
    heat = diorama.attribute(net, x, 2, method="score_cam").maps["map"]
    maps = net.maps(x).detach()
    for n in range(len(x)):
        answers = []
        for unit in range(maps.shape[1]):
            one = maps[n, unit]
            if not one.any():
                answers.append(-math.inf)
                continue
            mask = (one - one.min()) / (one.max() - one.min())
            mask = F.interpolate(mask[None, None].float(), x.shape[2:], mode="bilinear", align_corners=False).double()
            answers.append(float(net(x[n : n + 1] * mask)[0, 2].detach()))
        powers = [math.exp(answer) for answer in answers]
        wanted = sum(power / sum(powers) * maps[n, unit] for unit, power in enumerate(powers))
        assert torch.allclose(heat[n], wanted.clamp_min(0), atol=1e-6)


def test_eigen_cam_projects_on_the_strongest_direction() -> None:
    """The direction is the strongest eigenvector of the uncentred products, found by repeated multiplication."""
    net, x = _net(), _images()
    heat = diorama.attribute(net, x, 2, method="eigen_cam").maps["map"]
    for n, maps in enumerate(net.maps(x).detach()):
        rows = maps.flatten(1).T
        direction = torch.ones(rows.shape[1]).double()
        for _ in range(500):
            direction = rows.T @ (rows @ direction)
            direction /= direction.norm()
        wanted = rows @ direction
        wanted = (wanted * wanted.sum().sign()).clamp_min(0)
        assert torch.allclose(heat[n].flatten(), wanted, atol=1e-5)
    other = diorama.attribute(net, x, 0, method="eigen_cam").maps["map"]
    assert torch.equal(heat, other)


def test_cam_is_exact_for_a_linear_head() -> None:
    """The map is the head's weights times the maps; it sums to the score without the bias, and measures that."""
    net, x = _net(deep=False), _images()
    maps = net.maps(x).detach()
    heat = diorama.attribute(net, x, 2, method="cam")
    wanted = torch.einsum("k,nkhw->nhw", net.head.weight[2].detach(), maps) / maps[0, 0].numel()
    assert torch.allclose(heat.maps["map"], wanted, atol=1e-10)
    assert torch.allclose(heat.maps["map"].sum((1, 2)), (net(x)[:, 2] - net.head.bias[2]).detach(), atol=1e-10)
    assert heat.checks["completeness"] < 1e-9


def test_cam_is_refused_for_another_head() -> None:
    """Where it would not be exact, the sentence names Grad-CAM."""
    with pytest.raises(NotApplicable, match="use grad_cam"):
        diorama.attribute(_net(), _images(), 2, method="cam")


def test_captum_finds_the_same_at_a_layer() -> None:
    """Grad-CAM equals Captum's at the same layer to 1e-5."""
    attr = pytest.importorskip("captum.attr")
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(192, 3))
    x = _images().float()
    wanted = attr.LayerGradCam(net, net[3]).attribute(x, target=1, relu_attributions=True).detach()
    heat = diorama.attribute(net, x, 1, method="grad_cam")
    assert "3" in heat.note
    assert torch.allclose(heat.maps["map"], wanted[:, 0], atol=1e-5)


class _Tokens(nn.Module):
    """A small vision transformer that reads its answer from a class token, or from the mean of all."""

    def __init__(self, token: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 4, 4)
        self.start = nn.Parameter(torch.ones(1, 1, 8)) if token else None
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        if self.start is None:
            return self.head(self.body(tokens).mean(1))
        return self.head(self.body(torch.cat([self.start.expand(len(x), -1, -1), tokens], 1))[:, 0])


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("method", ["grad_cam", "layer_cam", "grad_cam_plus_plus", "score_cam", "eigen_cam"])
def test_a_vision_transformers_tokens_lie_on_their_grid(method: str, token: bool) -> None:
    """The map has the patches' rows and columns, of a layer whose patches the answer depends on."""
    net, x = _Tokens(token).eval(), torch.randn(2, 1, 12, 20, generator=torch.Generator().manual_seed(11))
    heat = diorama.attribute(net, x, 1, method=method)
    assert heat.maps["map"].shape == (2, 3, 5)
    assert heat.values.shape == x.shape
    assert ("body.layers.0" if token else "body") in heat.note


def test_the_map_is_shared_by_the_channels() -> None:
    """Summed over the channels, the values are the map at the input's size."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(12))
    heat = diorama.attribute(net, x, 1, method="grad_cam")
    assert torch.allclose(heat.values.sum(1), heat.maps["map"], atol=1e-6)


def test_a_layer_can_be_chosen_and_must_have_maps() -> None:
    """An early layer gives a finer map; a layer of plain numbers is refused with a nearer one."""
    net, x = _net(), _images()
    assert diorama.attribute(net, x, 1, method="layer_cam", layer="conv1").maps["map"].shape == (2, 12, 10)
    with pytest.raises(NotApplicable, match="use conv2"):
        diorama.attribute(net, x, 1, method="layer_cam", layer="head.0")


@pytest.mark.parametrize("name", ["score_cam", "eigen_cam"])
def test_what_needs_no_slopes_runs_no_backward_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Score-CAM and Eigen-CAM of a convolutional network never go back, and their cost says so."""
    from diorama.methods.method import Look

    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2)).eval()
    x = torch.rand(2, 1, 8, 8)
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("a backward pass ran"))
    heat = diorama.attribute(net, x, 1, method=name)
    assert bool(heat.values.any())
    assert diorama.methods[name]().cost(Look(net, x=x), x).backward == 0


class _Barred(torch.autograd.Function):
    """Hands its input on; nothing may come back through it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The same numbers."""
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        """Never."""
        raise AssertionError("a backward pass ran below the layer")


class _BarredNet(_Net):
    """No slope may go below the last maps."""

    def maps(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(_Barred.apply(F.max_pool2d(F.relu(self.conv1(x)), 2))))


@pytest.mark.parametrize("name", ["cam", "grad_cam", "grad_cam_plus_plus", "layer_cam"])
def test_slopes_go_back_to_the_layer_alone(name: str) -> None:
    """No backward pass runs below the layer whose maps are used, and the weights get no slopes."""
    net, plain = _BarredNet(name != "cam").double().eval(), _net(name != "cam")
    net.load_state_dict(plain.state_dict())
    x = _images()
    assert torch.allclose(
        diorama.attribute(net, x, 1, method=name).values, diorama.attribute(plain, x, 1, method=name).values
    )
    assert all(part.grad is None for part in net.parameters())
    with pytest.raises(AssertionError, match="below the layer"):
        diorama.attribute(net, x, 1, method="gradient")


class _Frames(nn.Module):
    """Clips (n, time, channels, rows, columns): frame by frame, or as volumes with the time as depth."""

    def __init__(self, apart: bool) -> None:
        super().__init__()
        kind: Any = nn.Conv2d if apart else nn.Conv3d
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.last, self.head = kind(3, 4, 3, stride=2), kind(4, 5, 3, padding=1), nn.Linear(5, 3)
        self.apart = apart

    def maps(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.flatten(0, 1) if self.apart else x.transpose(1, 2)).relu()).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.maps(x), len(x))

    def read(self, maps: Tensor, n: int) -> Tensor:
        if self.apart:
            maps = maps.unflatten(0, (n, -1)).transpose(1, 2)
        return self.head((maps**2).mean((2, 3, 4)))


@pytest.mark.parametrize("apart", [True, False])
def test_a_clip_is_mapped_over_its_time_as_autograd_says(apart: bool) -> None:
    """A model that looks at frames one by one, and one that takes the time as depth, get a map (time, rows, columns) for each
    example, laid over the clip's own axes.
    """
    model = _Frames(apart).eval()
    x = torch.randn(2, 5, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    found = diorama.attribute(model, x, target=1, method="grad_cam", layer="last")
    maps = model.maps(x).detach().requires_grad_()
    (slope,) = torch.autograd.grad(model.read(maps, 2)[:, 1].sum(), maps)
    a, g = (part.unflatten(0, (2, -1)).transpose(1, 2) if apart else part for part in (maps.detach(), slope))
    heat = ((g.mean((2, 3, 4), keepdim=True) * a).sum(1)).clamp_min(0)
    torch.testing.assert_close(torch.as_tensor(found.maps["map"]), heat, rtol=1e-4, atol=1e-6)
    wide = nn.functional.interpolate(heat[:, None], (5, 9, 9), mode="trilinear")[:, 0]
    wanted = (wide[:, :, None] / 3).expand(x.shape)
    torch.testing.assert_close(torch.as_tensor(found.values), wanted, rtol=1e-4, atol=1e-6)


class _Asked(nn.Module):
    """A picture and a question of it: its words attend to one another and find a place of the map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.embed, self.out = nn.Conv2d(1, 6, 4, 4), nn.Embedding(9, 6), nn.Linear(6, 3)

    def forward(self, image: Tensor, question: Tensor) -> Tensor:
        words = self.embed(question)
        words = F.scaled_dot_product_attention(words, words, words)
        places = torch.tanh(self.conv(image).flatten(2))
        return self.out((words.mean(1, keepdim=True) @ places).softmax(-1).mul(places).sum(-1))


@pytest.mark.parametrize("words", [12, 9])
def test_the_words_beside_a_picture_are_none_of_its_patches(words: int) -> None:
    """As many words as a grid has places, or a few more, do not lie on the picture: its own maps do, also for a question of another length, and
    the words' own layer lies over the words. Their attention leads nowhere on it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = _Asked().eval()
    seed = torch.Generator().manual_seed(4)
    x = {"image": torch.randn(3, 1, 12, 12, generator=seed), "question": torch.randint(0, 9, (3, words), generator=seed)}
    found = diorama.attribute(model, x, target=1, method="grad_cam")
    assert "maps of conv" in found.note
    own = diorama.attribute(model, x, target=1, method="grad_cam", layer="embed").values
    assert not own["image"].any()
    assert own["question"].any()
    scene = diorama.Scene(model, x, torch.tensor([0, 1, 2]))
    typed = scene.with_input({"image": x["image"][:1], "question": x["question"][:1, : words - 1]})
    assert "failed" not in typed.view("attribution").note
    for method in ("attention_rollout", "attention_x_gradient"):
        with pytest.raises(NotApplicable):
            diorama.attribute(model, x, target=1, method=method)
