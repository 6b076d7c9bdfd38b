"""The parts of the demos' transformers. (The underscore keeps the file out of the registry.)"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name


class SelfAttention(nn.Module):
    """Heads that look at all places, behind a norm."""

    causal: ClassVar[bool] = False
    """Each place sees itself and what came before, no more."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.asks, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, state: Tensor) -> Tensor:
        """What each place takes from those that it sees."""
        parts = self.asks(self.norm(state)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        taken = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        answer: Tensor = self.out(taken.transpose(1, 2).flatten(2))
        return answer


class CausalSelfAttention(SelfAttention):
    """Heads that look at what came before, behind a norm."""

    causal = True


class TransformerBlock(nn.Module):
    """An attention and a network of one hidden layer, each of which adds to what it was given."""

    def __init__(self, attention: type[SelfAttention], width: int, heads: int, wider: int = 4) -> None:
        super().__init__()
        self.attn = attention(width, heads)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, wider * width), nn.GELU(), nn.Linear(wider * width, width))

    def forward(self, state: Tensor) -> Tensor:
        """Take from other places, then think about it."""
        state = state + self.attn(state)
        thought: Tensor = state + self.mlp(state)
        return thought


def dividing(width: int, heads: int) -> int:
    """So many heads, or the next smaller number by which the width can be divided."""
    return next(count for count in range(min(heads, width), 0, -1) if width % count == 0)
