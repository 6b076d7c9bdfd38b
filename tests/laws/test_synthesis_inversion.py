"""Laws of inversion and dream, and of batches: early layers keep what late ones lose, and what is amplified grows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import diorama
from diorama.methods.method import Look
from diorama.methods.synthesis import objectives
from diorama.methods.synthesis.code_inversion import Yardstick, climb, codes, invert
from diorama.methods.synthesis.deep_dream import DreamPlan, dream
from diorama.methods.synthesis.engine import Ascent, form, values_of
from diorama.methods.synthesis.stage import MadeInput
from diorama.methods.synthesis.synthesize import synthesize

PICTURES = torch.rand(40, 1, 12, 12, generator=torch.Generator().manual_seed(0))


def _cnn() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(288, 10), nn.ReLU(), nn.Linear(10, 4),
        )


def _stage(model: nn.Module, x: Tensor) -> MadeInput:
    examples = diorama.Scene(model, x).examples
    look = Look(model, x=x, kind=examples.kind)
    return MadeInput.of(look, examples.kind, x, x)


def test_inversion_keeps_in_early_layers_what_late_ones_lose(trained: tuple[nn.Module, Tensor]) -> None:
    """Several starts agree with the picture in the first layer, and differ from it and each other in the answer."""
    model, x = trained
    stage = _stage(model, x)
    yard = Yardstick.of(stage, ["0", "7"], x[:40])
    found = {}
    for layer in ("0", "7"):
        *_, found[layer] = invert(stage, layer, x[3:4], yard, climb(stage, 120), starts=5)
    assert len(found["0"].planes) == 5
    assert float(found["0"].pixel_error.mean()) < 0.12
    assert float(found["7"].pixel_error.mean()) > 2 * float(found["0"].pixel_error.mean())
    assert found["7"].spread > 2 * found["0"].spread
    for layer, made in found.items():
        assert float(made.code_error.max()) < 0.35, layer
        code = codes(stage.look, [layer], x[3:4])[layer]
        again = codes(stage.look, [layer], made.planes)[layer]
        wanted = (again - code).flatten(1).norm(dim=1) / yard.codes[layer]
        torch.testing.assert_close(made.code_error, wanted, atol=1e-4, rtol=1e-3)


def test_a_dream_raises_what_it_amplifies_frame_by_frame() -> None:
    """Each dreamed frame responds more than the picture that it began with, stays in range, and moves when zoomed."""
    stage = _stage(_cnn(), PICTURES)
    wanted, planes = objectives.norm("3"), PICTURES[:1]
    first = float(values_of(stage.look, wanted, planes)[0])
    frames = [
        made for made in dream(stage, wanted, planes, DreamPlan(2, steps=4), torch.Generator().manual_seed(0), 3)
        if made.done
    ]
    assert [made.frame for made in frames] == [0, 1, 2]
    for made in frames:
        assert made.value > 1.05 * first
        assert made.planes.shape == planes.shape
        assert 0 <= float(made.planes.min()) <= float(made.planes.max()) <= 1
    assert float((frames[1].planes - frames[0].planes).abs().mean()) > 0.01


def test_a_network_that_reads_memory_as_it_lies_is_batched_too() -> None:
    """A batch of coloured pictures forms also in a network that flattens by a view, which pictures laid out with their
    channels last do not allow.
    """

    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(400, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.relu(self.conv(x)).view(len(x), -1))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Views()
    x = torch.rand(20, 3, 10, 10, generator=torch.Generator().manual_seed(0))
    made = synthesize(model, 1, x, count=3, steps=20)
    assert bool((made.curve[-1] > made.curve[0]).all())


def test_a_silenced_unit_is_left_in_peace() -> None:
    """What has no slope any more because it is fully silenced is not shaken, and nobody is told that it does not respond."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 2, 5), nn.ReLU())
    stage = _stage(model, PICTURES)
    generator = torch.Generator().manual_seed(0)
    canvas = stage.canvas(1, generator, start=PICTURES[:1], noise=0.0)
    wanted = -1 * objectives.unit("1", 0)
    first = float(values_of(stage.look, wanted, canvas.shown())[0])
    *_, last = form(stage.look, canvas, wanted, Ascent(120, 2.0), generator)
    assert first < -0.001
    assert float(last.curve[-1]) == 0
    assert last.note == ""
