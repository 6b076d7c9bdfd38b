"""What a unit says of a text that padding fills up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diorama.data.kinds import Tokens
from diorama.derive.derivations.shared import _of_texts
from diorama.scene import Scene

WORDS = ["<pad>", "a", "b", "c", "d"]


class _Read(nn.Module):
    """A recurrent layer reads padded texts to their end, and the mean over all places is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.cells, self.out = nn.Embedding(5, 6), nn.LSTM(6, 7, batch_first=True), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.cells(self.words(x))[0].mean(1))
        return found


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_is_no_part_of_a_units_mean(side: str) -> None:
    """The highest, lowest and mean value over a text are those over its own tokens, on whichever side padding stands."""
    torch.manual_seed(0)
    x = torch.randint(1, 5, (20, 9))
    for row, text in enumerate(x):
        short = row % 6
        text[slice(9 - short, 9) if side == "right" else slice(0, short)] = 0
    net = _Read().eval()
    found = Scene(net, x, torch.arange(20) % 2, inputs=Tokens(WORDS)).responses(["cells.l0"])["cells.l0"]
    states = net.cells(net.words(x))[0].detach()
    for row, text in enumerate(x):
        own = states[row][text != 0]
        torch.testing.assert_close(found.mean[row], own.mean(0), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.high[row], own.amax(0), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.low[row], own.amin(0), rtol=1e-4, atol=1e-6)


def test_padding_is_no_word_that_texts_share() -> None:
    """Texts that are misread share their length, and not the padding behind them."""
    names, columns = _of_texts(Tokens(WORDS), torch.tensor([[1, 2, 0, 0], [3, 3, 3, 1]]))
    assert names == ["“c”", "“a”", "“b”", "different tokens", "how many tokens"]
    assert columns.tolist() == [[0, 1, 1, 2, 2], [3, 1, 0, 2, 4]]


def test_gates_are_told_at_the_last_word() -> None:
    """By itself the formulas stand where the text ends, not in the padding behind it."""
    torch.manual_seed(0)
    scene = Scene(_Read().eval(), torch.tensor([[1, 2, 4, 3, 0, 0, 0], [1, 1, 2, 2, 3, 3, 4]]), torch.arange(2), inputs=Tokens(WORDS))
    picture = scene.view("gates", saturation=False)
    assert "“c”" in picture.caption
    assert "<pad>" not in picture.caption
