"""What the layers of a model tell of the inputs that it is given: by which numbers texts are filled up, and along which axis a series has time."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

from torch import Tensor, nn

from ..data.examples import Examples
from ..data.kinds import Kind, Series, Tokens
from ..data.nesting import as_positional, named, ordinal
from ..data.text_places import kinds_of
from .function import FunctionModule
from .own_labels import decoder_input
from .plain_module import peeled

_INPUT = re.compile(r"Input '([^']*)':")


def as_read(model: object, examples: Examples) -> Examples:
    """The examples with what a model's layers tell of their kinds; what was told of them, or is told by nothing (as by a function), stays."""
    examples = _called(model, examples)
    if not isinstance(model, nn.Module):
        return examples
    examples = _decoded(model, examples)
    found = examples.filled(padding_numbers(model))
    known, parts = kinds_of(found.kind), named(found.x)
    turned = {name: _turned(model, kind, parts[name]) for name, kind in known.items() if isinstance(kind, Series) and name in parts}
    if not any(kind is not None for kind in turned.values()):
        return found
    kinds: dict[str, Kind] = {name: turned.get(name) or kind for name, kind in known.items()}
    said = {known[name].sentence: kind.sentence for name, kind in turned.items() if kind is not None and known[name].sentence}
    guessed = found.guessed
    for old, new in said.items():
        guessed = tuple(one.replace(old, new) for one in guessed)
    return dataclasses.replace(found, kind=kinds if isinstance(found.kind, dict) else kinds[""], guessed=guessed)


def with_names(model: object, x: Any) -> Any:
    """Several inputs in a tuple, called as the parameters are to which a model's forward pass takes them; anything else as it is.

    *Meaning* where a parameter has no name of its own (``*parts``), or one list is all that the model takes, they are the 1st, the 2nd …
    """
    if not isinstance(x, tuple) or not x:
        return x
    if len(x) == 1 and isinstance(x[0], list):
        return as_positional(x, ("",))
    function = model.function if isinstance(model, FunctionModule) else peeled(model).forward if isinstance(model, nn.Module) else model
    try:
        parameters = inspect.signature(function).parameters.values() if callable(function) else ()
    except (TypeError, ValueError):
        parameters = ()
    own = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return as_positional(x, (own[k] if k < len(own) else ordinal(k) for k in range(len(x))))


def _called(model: object, examples: Examples) -> Examples:
    """The examples with their several inputs called as the model calls them, in their kinds and in what was guessed of them too."""
    x = with_names(model, examples.x)
    if x is examples.x or not isinstance(examples.kind, dict):
        return examples
    new = dict(zip(named(examples.x), named(x), strict=True))
    kinds = {new.get(name, name): kind for name, kind in examples.kind.items()}
    said = tuple(_INPUT.sub(lambda found: f"Input {new.get(found[1], found[1])!r}:", sentence) for sentence in examples.guessed)
    held_out = None if examples.held_out is None else _called(model, examples.held_out)
    return dataclasses.replace(examples, x=x, kind=kinds, guessed=said, held_out=held_out)


def _decoded(model: nn.Module, examples: Examples) -> Examples:
    """The examples of an encoder–decoder that is given labels, with what its decoder reads in their place: a text with places of its own."""
    x = examples.x
    if not isinstance(x, dict) or "decoder_input_ids" in x or (made := decoder_input(model, x.get("labels"))) is None:
        return examples
    known = kinds_of(examples.kind)
    texts = [kind for kind in (known.get("labels"), known.get("input_ids")) if isinstance(kind, Tokens)]
    # What is read and what is written may have words of their own.
    told = next((kind for kind in texts if kind.vocabulary is None or int(made.max()) < len(kind.vocabulary)), Tokens())
    said = "Input 'decoder_input_ids': made of the labels by the model, as its decoder reads them: a start token, then all but the last."
    guessed = tuple(said if one.startswith("Input 'labels':") else one for one in examples.guessed)
    names = {name: "decoder_input_ids" if name == "labels" else name for name in x}
    return dataclasses.replace(
        examples, x={names[name]: made if name == "labels" else part for name, part in x.items()},
        y=x["labels"] if examples.y is None else examples.y, guessed=guessed if said in guessed else (*guessed, said),
        kind={names[name]: told.fitted(made) if name == "labels" else kind for name, kind in known.items()},
        held_out=None if examples.held_out is None else _decoded(model, examples.held_out),
    )


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
