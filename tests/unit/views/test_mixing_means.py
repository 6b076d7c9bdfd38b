"""The view of mixed classes where not all is numbers, or not as many for each example."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from diorama.data.kinds import Tokens
from diorama.derive.derivations.mixing import steps
from diorama.scene import Scene


class _Packed(nn.Module):
    """A recurrent layer reads texts as far as they go, and its mean over them is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.cells, self.out = nn.Embedding(12, 6, padding_idx=0), nn.GRU(6, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        lengths = (x != 0).sum(1)
        packed = nn.utils.rnn.pack_padded_sequence(self.words(x), lengths, batch_first=True, enforce_sorted=False)
        read, _ = nn.utils.rnn.pad_packed_sequence(self.cells(packed)[0], batch_first=True)
        return self.out(read.sum(1) / lengths[:, None])


def test_of_layers_with_more_steps_for_some_the_mean_is_compared() -> None:
    """Batches of texts whose longest differ in length are looked at all the same, by the mean over each text's own steps."""
    torch.manual_seed(0)
    x = torch.zeros(400, 30, dtype=torch.int64)
    for row, text in enumerate(x):
        text[: 2 + row // 14] = torch.randint(1, 12, (2 + row // 14,))
    scene = Scene(_Packed().eval(), x, torch.arange(400) % 2, inputs=Tokens([str(k) for k in range(12)]))
    value = scene.derive("mixing").value
    assert value["means"] == ["cells.l0"]
    assert np.isfinite(value["mixed"]).all()
    assert "Of cells.l0 the mean over the steps is compared" in scene.view("mixing").note


def test_an_input_that_is_no_number_is_told_and_nothing_is_said_of_it() -> None:
    """A column without values: the picture says why its cells are empty, and compares with the first layer that has numbers."""
    class Filled(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.nan_to_num(x))

    torch.manual_seed(0)
    x = torch.randn(60, 4)
    x[:, 2] = torch.nan
    scene = Scene(Filled(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval(), x, torch.arange(60) % 3)
    picture = scene.view("mixing")
    assert "nan" not in picture.caption.lower()
    assert "Empty where too few examples of a class are answered with numbers: input." in picture.note


def test_pairs_begin_to_mix_at_an_op_that_makes_new_numbers() -> None:
    """What only puts numbers in another order is never named as where classes begin to mix."""
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.out = nn.Linear(4, 8), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.out(self.first(x).view(-1, 2, 4).transpose(1, 2).reshape(-1, 8).view(-1, 2, 4).mean(2))
            return found

    scene = Scene(Turned().eval(), torch.randn(20, 4), torch.arange(20) % 2)
    between = [one.name for one in steps(scene, "first", "out")]
    assert between == ["op:mean"]
