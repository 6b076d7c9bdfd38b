"""Incremental inference equals running every changed input in full, whatever the model is made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from zoo import Functional, Residual

from diorama.core.errors import Cancelled, NotApplicable, UsageError
from diorama.model.capture import Capture
from diorama.model.incremental_inference import IncrementalInference
from diorama.model.windows import Slide


def _patches(x: Tensor, count: int, size: tuple[int, int], seed: int = 0) -> tuple[Tensor, list[int], list[int]]:
    """Random patches, among them one in each corner."""
    generator = torch.Generator().manual_seed(seed)
    down, over = x.shape[2] - size[0], x.shape[3] - size[1]
    tops = torch.randint(0, down + 1, (count,), generator=generator).tolist()
    lefts = torch.randint(0, over + 1, (count,), generator=generator).tolist()
    tops[:4], lefts[:4] = [0, 0, down, down], [0, over, 0, over]
    return torch.randn(count, x.shape[1], *size, generator=generator), tops, lefts


def _in_full(run: Callable[[Tensor], Tensor], x: Tensor, values: Tensor, tops: list[int], lefts: list[int]) -> Tensor:
    changed = x.repeat(len(values), 1, 1, 1)
    for k, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        changed[k, :, top : top + values.shape[2], left : left + values.shape[3]] = values[k]
    with torch.no_grad():
        return run(changed)


def _check(run: Callable[[Tensor], Tensor], x: Tensor, size: tuple[int, int] = (3, 4), seed: int = 0) -> IncrementalInference:
    """Twice, as the second call uses what the first kept."""
    engine = IncrementalInference(run, x)
    for turn in range(2):
        values, tops, lefts = _patches(x, 9, size, seed + turn)
        wanted = _in_full(run, x, values, tops, lefts)
        torch.testing.assert_close(engine(values, tops, lefts), wanted, rtol=1e-5, atol=1e-5)
    return engine


class Joined(nn.Module):
    """Two ways of other reach, joined by channels and by sums of windows of other sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 3, 5, padding=2)
        self.mix = nn.Conv2d(6, 3, 3, padding="same", dilation=2)
        self.scale = nn.Parameter(torch.randn(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        near, far = self.near(x), self.far(x)
        y = self.mix(torch.cat([near, far], 1)) * self.scale + 1
        return F.silu(near - y).mean((2, 3))


class Aliases(nn.Module):
    """Ops that write into their inputs, of which other names are still read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        same, before = y.detach(), y.clone()
        flat = y.view(x.size(0), -1)
        y.relu_()
        y += 1
        return torch.cat([flat, same.flatten(1), before.flatten(1)], 1)


class Branches(nn.Module):
    """What comes next depends on the numbers themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y = torch.relu(y) if y.sum() > 0 else torch.tanh(y)
        return F.max_pool2d(y, 2).amax((2, 3))


class Squeeze(nn.Module):
    """Channels scaled by a number that the whole map decides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return (y * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(y, 1)))).amax((2, 3))


@pytest.mark.parametrize("make", [Functional, Residual])
def test_zoo_nets(make: Callable[[], nn.Module]) -> None:
    """Networks with functional, in-place and shared ops give the same scores, and compute less."""
    torch.manual_seed(0)
    model = make().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    engine = _check(model, torch.randn(1, 1, 24, 21))
    assert engine.operations < engine.operations_in_full / 2


@pytest.mark.parametrize("make", [Joined, Aliases, Branches, Squeeze])
def test_odd_nets(make: Callable[[], nn.Module]) -> None:
    """Joins, names of one memory, decisions by numbers and gates by whole maps come out right."""
    torch.manual_seed(1)
    _check(make().eval(), torch.randn(1, 2, 15, 17))


def _random_net(seed: int) -> nn.Sequential:
    pick = torch.Generator().manual_seed(seed)

    def one(*choices: int) -> int:
        return choices[int(torch.randint(len(choices), (1,), generator=pick))]

    layers: list[nn.Module] = []
    channels = 4
    for _ in range(one(2, 3, 4)):
        width, groups = one(4, 8), one(1, 2, 4)
        layers.append(
            nn.Conv2d(channels, width, (one(1, 2, 3, 5), one(1, 3, 4)), (one(1, 1, 2, 3), one(1, 2)),
                      (one(0, 1, 2), one(0, 1, 3)), (one(1, 1, 2), one(1, 3)), groups, bool(one(0, 1)))
        )
        channels = width
        more: list[nn.Module] = [
            nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.LeakyReLU(0.1), nn.Tanh(), nn.Dropout2d(0.5), nn.PReLU(width),
            nn.MaxPool2d(3, one(1, 2), one(0, 1), ceil_mode=bool(one(0, 1))), nn.AvgPool2d(2, one(1, 2), one(0, 1)),
            nn.AvgPool2d(3, 2, 1, ceil_mode=True), nn.MaxPool2d(2, one(1, 3), dilation=2), nn.LocalResponseNorm(3),
            nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.GroupNorm(2, width), nn.Hardswish(), nn.ReLU6(True),
        ]
        layers += [more[one(*range(len(more)))] for _ in range(2)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("seed", range(40))
def test_random_conv_nets(seed: int) -> None:
    """Any kernel, stride, padding, dilation, groups, pooling and norm gives what running in full gives."""
    torch.manual_seed(seed)
    model = _random_net(seed).eval()
    x = torch.randn(1, 4, 37, 41)
    try:
        with torch.no_grad():
            model(x)
    except RuntimeError:
        pytest.skip("this net's kernels are larger than its maps")
    _check(lambda batch: model(batch).flatten(1), x, (1 + seed % 6, 1 + seed % 4), seed)


def test_a_whole_map_comes_back() -> None:
    """A model whose output is a map answers with the whole changed maps, in the structure that it returns."""
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, padding=1)
    x = torch.randn(1, 2, 9, 9)
    values, tops, lefts = _patches(x, 5, (2, 2))
    found = IncrementalInference(lambda batch: {"map": conv(batch), "pair": (batch * 2, 1)}, x)(values, tops, lefts)
    wanted = _in_full(conv, x, values, tops, lefts)
    torch.testing.assert_close(found["map"], wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["pair"][0][4], 2 * _in_full(lambda b: b, x, values, tops, lefts)[4])
    assert found["pair"][1] == 1


def test_channels_last_and_capture() -> None:
    """A model with channels last, looked at by a capture in the same pass, gives the same scores and activations."""
    torch.manual_seed(0)
    model = Residual().eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(1, 1, 16, 16).contiguous(memory_format=torch.channels_last)

    def run(batch: Tensor) -> Tensor:
        with Capture(model, ["layer1.0"], cancel=lambda: None) as look:
            output = look(batch)
            return torch.cat([output, look["layer1.0"][:, :, 5, 5]], 1)

    _check(run, x)


def test_what_is_whole_is_named() -> None:
    """The first op that asks for whole maps is named, and windows reach up to it."""
    torch.manual_seed(0)
    engine = _check(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 100, 3)), torch.randn(1, 1, 12, 12)
    )
    assert engine.uncovered == ["flatten"]


def test_weights_that_change_are_seen() -> None:
    """Dropout left in train mode runs in full rather than being skipped."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Dropout(1.0))
    x = torch.randn(1, 1, 8, 8)
    assert not IncrementalInference(model, x)(torch.ones(1, 1, 2, 2), [1], [1]).any()


def test_it_can_be_cancelled() -> None:
    """A wish to stop is met at the next op."""

    def cancel() -> None:
        raise Cancelled("no longer wanted")

    with pytest.raises(Cancelled):
        IncrementalInference(nn.Conv2d(1, 1, 3), torch.randn(1, 1, 8, 8), cancel=cancel)(torch.ones(1, 1, 2, 2), [0], [0])


def test_wrong_requests_are_refused() -> None:
    """Inputs that are no image, and patches that reach over its border, are refused with what was wanted."""
    with pytest.raises(NotApplicable, match="one image"):
        IncrementalInference(nn.Linear(3, 3), torch.randn(1, 3))
    with pytest.raises(UsageError, match="inside 8 × 8"):
        IncrementalInference(nn.Conv2d(1, 1, 3), torch.randn(1, 1, 8, 8))(torch.ones(1, 1, 2, 2), [7], [0])


@pytest.mark.parametrize("slide", [Slide(1), Slide(3, 1, 1, 1), Slide(3, 2, 2, 1), Slide(2, 3), Slide(5, 2, 1, 2)])
def test_touched_outputs_hold_all_that_read_the_change(slide: Slide) -> None:
    """The touched range of outputs holds every output that reads a changed input, by trying all."""
    inputs = 23
    outputs = (inputs + 2 * slide.before - slide.reach) // slide.stride + 1
    for start in range(inputs - 3):
        (first,), count = slide.touched([start], 4, outputs)
        reads = [
            out for out in range(outputs)
            if any(start <= out * slide.stride - slide.before + k * slide.dilation < start + 4 for k in range(slide.kernel))
        ]
        assert not reads or (first <= reads[0] and reads[-1] < first + count)
        assert first >= 0
        assert first + count <= outputs
