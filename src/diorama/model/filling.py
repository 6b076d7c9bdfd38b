"""By which numbers a model takes places of a text as filled up."""

from __future__ import annotations

from torch import nn


def padding_numbers(model: nn.Module) -> frozenset[int]:
    """The padding indices of a model's embeddings: what stands there is learnt by none of them."""
    found = (module.padding_idx for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag))
    return frozenset(number for number in found if number is not None)
