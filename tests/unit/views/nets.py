"""Small networks that are built to do a known thing, for the tests of views."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import diorama
from diorama.scene import Scene

LETTERS = tuple('abc "\n7X')


def images(dead: int | None = None) -> Scene:
    """A CNN on small grey images; one unit of its first layer may be dead."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 12), nn.ReLU(),
            nn.Linear(12, 3),
        )
        x = torch.rand(30, 1, 8, 8)
    if dead is not None:
        with torch.no_grad():
            model[0].bias[dead] = -100
    return Scene(model, x, torch.arange(30) % 3, classes=("zero", "one", "two"))


class Keeper(nn.Module):
    """An LSTM whose cell 0 is the letter 7 and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 8)
        self.rnn = nn.LSTM(8, 3, batch_first=True)
        self.out = nn.Linear(3, 8)
        with torch.no_grad():
            self.embed.weight.copy_(torch.eye(8))
            for parameter in self.rnn.parameters():
                parameter.zero_()
            # Gates in torch's order: input, forget, candidate, output. Input and output open, forget closed.
            self.rnn.bias_ih_l0[0], self.rnn.bias_ih_l0[3], self.rnn.bias_ih_l0[9] = 9.0, -9.0, 9.0
            self.rnn.weight_ih_l0[6, 6] = 9.0

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(self.embed(x))[0])


def letters() -> Scene:
    """Texts read by the Keeper."""
    x = torch.randint(0, 8, (6, 20), generator=torch.Generator().manual_seed(1))
    return Scene(Keeper(), x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=LETTERS))
