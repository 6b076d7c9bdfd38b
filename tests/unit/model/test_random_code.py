"""A variational autoencoder is known by its form, whatever encodes, decodes and is handed out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

import diorama
from diorama.core.errors import NotApplicable
from diorama.model.random_code import drawn
from diorama.scene import Scene
from diorama.scene.code_means import code_layer
from diorama.views.unit._live_codes import LiveCodes
from diorama.views.why import ROOM

DRAWS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "randn_like": lambda mu, wide: mu + torch.randn_like(mu) * (wide / 2).exp(),
    "turned": lambda mu, wide: torch.exp(0.5 * wide).mul(torch.randn(mu.shape)) + mu,
    "normal": lambda mu, wide: mu + torch.normal(0.0, 1.0, mu.shape) * wide.exp().sqrt(),
    "rsample": lambda mu, wide: Normal(mu, wide.exp()).rsample(),
    "addcmul": lambda mu, wide: torch.addcmul(mu, torch.randn_like(mu), nn.functional.softplus(wide)),
}


class Coder(nn.Module):
    """The autoencoder of PyTorch's own examples: it answers with its pictures in a row, means and log-variances."""

    def __init__(self, draw: str = "randn_like", always: bool = True, flat: bool = True) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22, self.fc3, self.fc4 = (nn.Linear(a, b) for a, b in ((64, 24), (24, 5), (24, 5), (5, 4), (4, 64)))
        self.draw, self.always, self.flat = draw, always, flat

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The picture again, mean and log-variance."""
        hidden = self.fc1(x.reshape(-1, 64)).relu()
        mu, wide = self.fc21(hidden), self.fc22(hidden)
        z = DRAWS[self.draw](mu, wide) if self.always or self.training else mu
        again = self.fc4(self.fc3(z).relu()).sigmoid()
        return again if self.flat else again.reshape(x.shape), mu, wide


def _pictures(count: int = 40) -> Tensor:
    return (torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.7).float()


@pytest.mark.parametrize(("draw", "always", "flat"), [*((draw, True, True) for draw in DRAWS), ("randn_like", False, False)])
def test_the_means_are_the_code(draw: str, always: bool, flat: bool) -> None:
    """However noise is drawn, the task is to give the input back, the code is the means, and no rows are sorted; noise is not enough of it."""
    torch.manual_seed(0)
    scene = Scene(Coder(draw, always, flat).eval(), _pictures())
    assert scene.task == "reconstruction"
    assert scene.scores().shape == (40, 1, 8, 8)
    assert (made := code_layer(scene)) is not None
    assert made.name == LiveCodes.of(scene, None).place == "fc21"
    assert scene.view("card").title.startswith("fc21")
    assert "fc21" in scene.view("projection").caption
    assert not [note for note in scene.layers.notes if "sorted" in note]
    assert scene.view("answer").final


def test_noise_alone_or_a_spread_alone_is_no_code() -> None:
    """Noise beside an answer, and a sum with an exponential that is multiplied with what was learnt, are other things."""
    a, b = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    for answer in (a + torch.randn(4, 3), a + b.exp() * a, a * b.exp(), a + torch.randn(4, 3) * b):
        assert not drawn(answer)
    assert drawn(a * 1 + torch.randn(4, 3) * (b * 1).exp())


GATES: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "a part of the input": lambda _model, x: x[:, :16],
    "made of the input": lambda _model, x: (x[:, :16] - 0.5) * 2,
    "a mask of the input": lambda _model, x: (x[:, :16] > 0).float(),
    "a buffer": lambda model, _x: model.kept,
    "a buffer for each": lambda model, x: model.kept.expand(len(x), -1),
    "a factor": lambda _model, _x: torch.tensor(0.5),
    "dropout by hand": lambda _model, x: (torch.rand(len(x), 16) > 0.5).float(),
    "one draw for all": lambda _model, x: torch.randn(1, 16).expand(len(x), -1),
}


class Gated(nn.Module):
    """A shift and a gate, the gate times what is no noise: a coupling of a flow, or a layer with an exponential."""

    kept: Tensor

    def __init__(self, gate: str) -> None:
        super().__init__()
        self.wide, self.shift, self.narrow, self.up = nn.Linear(64, 16), nn.Linear(64, 16), nn.Linear(16, 4), nn.Linear(4, 64)
        self.gate = gate
        self.register_buffer("kept", torch.randn(16))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Its input again, the shift and the gate."""
        shift, wide = self.shift(x), self.wide(x)
        return self.up(self.narrow(shift + GATES[self.gate](self, x) * wide.exp())), shift, wide


@pytest.mark.parametrize("gate", GATES)
def test_what_is_not_drawn_anew_for_each_example_is_no_noise(gate: str) -> None:
    """Nothing is a code beside a gate, neither of the scene, also where the inputs are a standard normal's, nor of a batch."""
    torch.manual_seed(0)
    model, x = Gated(gate).eval(), torch.randn(64, 64)
    assert code_layer(Scene(model, x)) is None
    if gate != "made of the input":  # a batch is seen once
        assert not drawn(model(x)[0], (x, *model.buffers()))


def test_an_input_is_no_noise_and_noise_beside_it_is() -> None:
    """The very numbers that are noise when drawn are none when they came in, or when they lie elsewhere or otherwise."""
    torch.manual_seed(0)
    a, b, noise = torch.randn(64, 40, requires_grad=True) * 1, torch.randn(64, 40, requires_grad=True) * 1, torch.randn(64, 40)
    assert drawn(a + b.exp() * noise)
    assert not drawn(a + b.exp() * noise, [noise])
    uniform = (torch.rand(64, 40) - 0.5) * 12**0.5
    for other in (noise + 1, noise * 2, uniform):
        assert not drawn(a + b.exp() * other)


def test_answers_of_another_count_are_no_flattened_picture() -> None:
    """A row of numbers is the input again only where it has as many."""
    assert Scene(nn.Sequential(nn.Flatten(), nn.Linear(64, 63)), _pictures()).task == ""


def test_rows_of_noise_are_not_sorted_rows() -> None:
    """A code that tells nothing leaves the noise of each place, whichever example comes there."""
    model = Coder().eval()
    with torch.no_grad():
        for layer in (model.fc21, model.fc22):
            layer.weight.zero_()
            layer.bias.zero_()
    scene = Scene(model, _pictures())
    assert not [note for note in scene.layers.notes if "sorted" in note]


def test_what_is_advised_can_be_done() -> None:
    """No single number is the answer: the unit that is named instead is of the code, and can be asked for as it says, of a function and of a view."""
    model, x = Coder(always=False).eval(), _pictures()
    scene = Scene(model, x)
    with pytest.raises(NotApplicable, match="a unit of its code") as raised:
        scene.view("attribution")
    told = dict(re.findall(r"(target|unit)='([^']*)'", str(raised.value)))
    assert told["unit"] == "fc21/0"
    assert diorama.attribute(model, x[:1], told["target"]).values.shape == x[:1].shape
    assert scene.view("attribution", unit=told["unit"]).final


def test_pixels_are_no_chances_and_never_flip() -> None:
    """The way from one picture to another is not told as if answers had chances and flipped; the room opens on the code instead."""
    scene = Scene(Coder(always=False).eval(), _pictures())
    picture = scene.view("morph")
    assert "flip" not in picture.caption
    assert not [mark for mark in picture.marks() if getattr(mark, "y_title", "") == "probability"]
    opening = next(one for one in ROOM.openings if one.when == ("reconstruction",))
    assert [place.view for place in (*opening.training, *opening.input)] == ["latent", "regions"] * 2


@pytest.mark.parametrize("beta", [0.0, 60.0])
def test_a_code_that_collapses_is_found(beta: float, tmp_path: Path) -> None:
    """The KL term of PyTorch's own example, much too heavy, presses all of the code into the noise; without it nothing is said."""
    torch.manual_seed(0)
    model, x = Coder(), _pictures(256)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    with diorama.watch(model, tmp_path / "run", probe=x[:64], optimizer=optimizer, every=5) as recorder:
        for step in range(150):
            part = x[torch.arange(64) + 64 * (step % 4)]
            again, mu, wide = model(part)
            kl: Any = -0.5 * torch.sum(1 + wide - mu.pow(2) - wide.exp())
            loss = (nn.functional.binary_cross_entropy(again, part.view(-1, 64), reduction="sum") + beta * kl) / len(part)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    found = {one.finding for one in diorama.open(recorder.path).findings()}
    assert ("collapsed_code" in found) == (beta > 0)
