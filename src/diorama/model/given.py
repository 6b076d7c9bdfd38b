"""What the layers of a model tell of the inputs that it is given: by which numbers texts are filled up, and along which axis a series has time."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from ..data.examples import Examples
from ..data.kinds import Kind, Series
from ..data.nesting import named
from ..data.wording import kinds_of


def as_read(model: object, examples: Examples) -> Examples:
    """The examples with what a model's layers tell of their kinds; what was told of them, or is told by nothing (as by a function), stays."""
    if not isinstance(model, nn.Module):
        return examples
    found = examples.filled(padding_numbers(model))
    known, parts = kinds_of(found.kind), named(found.x)
    turned = {name: _turned(model, kind, parts[name]) for name, kind in known.items() if isinstance(kind, Series) and name in parts}
    if not any(kind is not None for kind in turned.values()):
        return found
    kinds: dict[str, Kind] = {name: turned.get(name) or kind for name, kind in known.items()}
    old = {kind.sentence for name, kind in known.items() if turned.get(name) is not None}
    said = tuple((f"Input {name!r}: " if name else "") + kind.sentence for name, kind in turned.items() if kind is not None and kind.sentence)
    guessed = (*(one for one in found.guessed if not any(each and one.endswith(each) for each in old)), *said)
    return dataclasses.replace(found, kind=kinds if isinstance(found.kind, dict) else kinds[""], guessed=guessed)


def padding_numbers(model: nn.Module) -> frozenset[int]:
    """The padding indices of a model's embeddings: what stands there is learnt by none of them."""
    found = (module.padding_idx for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag))
    return frozenset(number for number in found if number is not None)


def _turned(model: nn.Module, kind: Series, x: Tensor) -> Series | None:
    """A series with its channels last, where the first layer that has channels takes as many as the last axis is long; None where not.

    *Meaning* a convolution over time and a recurrent layer say how many channels they take, and a dense layer does before one of them or an
    attention. Of axes as long as each other a recurrent layer that has examples first takes the last.
    """
    if kind.layout is not None or kind.dimensions != 3 or x.ndim != 3:
        return None
    first, last = int(x.shape[1]), int(x.shape[2])
    mixes = any(isinstance(module, nn.RNNBase | nn.MultiheadAttention | nn.RNNCellBase) for module in model.modules())
    for name, module in model.named_modules():
        takes = module.in_channels if isinstance(module, nn.Conv1d) else None
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            takes = module.input_size
        elif isinstance(module, nn.Linear) and mixes:
            takes = module.in_features
        if takes not in (first, last):
            continue
        even = first == last and isinstance(module, nn.RNNBase) and module.batch_first
        if takes == first and not even:
            return None
        said = f"guessed: numbers of shape {first}×{last} are series of {last} channels over {first} moments, as {name} takes {last}."
        made = dataclasses.replace(kind, layout="NTC", sentence=said if kind.sentence else "")
        return made.fitted(x)  # type: ignore[return-value]
    return None
