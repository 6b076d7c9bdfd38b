"""What is told of texts that are made for a unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import diorama


class _Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(12, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Scores by the mean of the words; 0 fills up."""
        there = (x != 0).unsqueeze(-1).float()
        scores: Tensor = self.out((self.embed(x) * there).sum(1) / there.sum(1).clamp(min=1))
        return scores


def test_a_text_that_is_made_is_answered_as_it_stands() -> None:
    """Where a network tells padding by the tokens, what is told of a made text is its answer to that text, not to one as long as the example."""
    torch.manual_seed(0)
    model = _Padded()
    x = torch.randint(1, 12, (6, 8))
    x[:, 3:] = 0
    made = diorama.Scene(model, x).derive("preferred", layer="out").value
    with torch.no_grad():
        own = model(torch.tensor(made["inputs"]))
    torch.testing.assert_close(torch.tensor(made["values"]), own.diagonal(), rtol=1e-4, atol=1e-5)
