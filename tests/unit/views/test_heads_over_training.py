"""Which moments of a training the heads are measured at, and what they are called that stand for no tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import diorama
from diorama.scene import Scene
from diorama.views.why._head_kinds import SNAPSHOTS, moments


def test_a_training_that_goes_on_is_measured_where_it_was_before() -> None:
    """However many snapshots there are, few are looked at, the first and the newest among them; one more asks for that one alone, but where they
    come to be every second of those before.
    """
    asked = set()
    for count in range(2, 300):
        chosen = moments(range(0, 10 * count, 10))
        assert (chosen[0], chosen[-1]) == (0, 10 * (count - 1))
        assert chosen == sorted(set(chosen))
        assert len(chosen) == count if count <= SNAPSHOTS else SNAPSHOTS / 2 <= len(chosen) <= SNAPSHOTS
        assert len(set(chosen) - asked) <= 1 or count == 2
        asked |= set(chosen)


class _Columns(nn.Module):
    """A transformer over the columns of a table, of which the last is a category that is looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.each, self.category, self.out = nn.Parameter(torch.randn(3, 8)), nn.Embedding(4, 8), nn.Linear(8, 3)
        self.blocks = nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.cat([x[:, :3, None] * self.each, self.category(x[:, 3].long())[:, None]], 1)
        for block in self.blocks:
            h = h + block(h, h, h)[0]
        return self.out(h[:, 0])


def test_columns_of_a_table_are_no_tokens() -> None:
    """A network that attends among columns is told of places, not of tokens, and its stream of no embedding, though a category is looked up."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = torch.cat([torch.randn(12, 3), torch.randint(0, 4, (12, 1)).float()], 1)
        scene = Scene(_Columns().eval(), x, torch.arange(12) % 3, inputs=diorama.Table(columns=("age", "height", "weight", "city")))
    for view in ("attention", "lens", "contributions", "patching"):
        picture = scene.view(view)
        labels = [label for mark in picture.marks() for name in ("row_labels", "labels", "column_labels") for label in getattr(mark, name, ())]
        said = " ".join((picture.caption, picture.note, picture.hint, *(check.sentence for check in picture.checks), *labels))
        assert "token" not in said, (view, said)
        assert "embedding" not in said, (view, said)
    assert "each row of a map is a place that asks" in scene.view("attention").caption
