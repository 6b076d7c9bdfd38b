"""The input that is looked at: an example of the probe set, or one that was drawn, uploaded, typed or handed in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..core.errors import UsageError, not_found
from ..core.selection import Selection
from ..data.examples import Examples
from ..data.kinds import Image, Kinds, Strokes, Tokens
from ..data.nesting import Nested, Positional, as_tensors, each, first, named, named_like
from ..data.text_places import fills_up, last_asked
from ..data.text_places import kinds_of as kinds_of
from ..data.text_places import text_input as text_input
from ..data.text_places import worded as worded
from ..model.plain_module import fed

if TYPE_CHECKING:
    from .scene import Scene

LOOKED = 64
"""By so many examples it is found which of their parts tell how long a text is."""
_LABELS = {
    "drawing": "your drawing", "image": "your picture", "text": "your text", "row": "your row",
    "pixels": "your edited picture",
}


@dataclasses.dataclass(frozen=True)
class CurrentInput:
    """The input that is looked at: a drawn, uploaded or typed one, or an example of the probe set."""

    x: Nested
    """A batch of one."""
    label: str
    key: str = ""
    index: int | None = None
    shown: Any = None
    """What is shown of it: pixels as uint8, a list of tokens, a row of numbers; several inputs give a dict."""


def current(
    model: nn.Module, examples: Examples, given: tuple[Nested, str] | None, selection: Selection, example: int | None
) -> CurrentInput:
    """The given example, else what was drawn or typed, else the chosen example, else the first."""
    if given is not None and example is None:
        x, label = given
        return CurrentInput(x, label, shown=decoded(examples.kind, x))
    chosen = selection.one("example")
    index = example if example is not None else chosen.number if chosen is not None else 0
    if not 0 <= index < len(examples):
        raise UsageError(f"the probe set has examples 0 to {len(examples) - 1}, got {index}")
    x = fed(model, examples.batch([index]))
    return CurrentInput(x, f"example {index}", f"example:{index}", index, decoded(examples.kind, x))


def decoded(kind: Kinds, x: Nested) -> Any:
    """What is shown of a batch's first example."""
    if isinstance(kind, dict):
        found = named(x)
        return {name: one.decode(found[name])[0] for name, one in kind.items() if name in found}
    return kind.decode(first(x))[0]


def pictured(examples: Examples, indices: Any = None) -> Any:
    """Pictures (n, height, width[, 3]) of the examples where one of their inputs is an image, or strokes of a pen; else None."""
    for name, one in kinds_of(examples.kind).items():
        if isinstance(one, Strokes):
            x = named(examples.batch(range(len(examples)) if indices is None else indices))[name]
            return one.pictured(x)
        if one.word == "image":
            shown = examples.shown(indices)
            return shown[name] if isinstance(shown, dict) else shown
    return None


def encoded(examples: Examples, raw: Any) -> tuple[Nested, str]:
    """A raw input, or tensors of one example, as a batch of one, and what to call it.

    *Raises* UsageError when it is not of the model's kind.
    """
    if isinstance(raw, Tensor) or (isinstance(raw, (tuple, dict)) and not _from_the_tray(raw)):
        return _batched(named_like(as_tensors(raw), examples.x), examples.x), "your input"
    word = str(raw.get("kind")) if isinstance(raw, Mapping) else "text" if isinstance(raw, str) else ""
    label = _LABELS.get(word, "your input")
    if not isinstance(examples.kind, dict):
        number = _edited(examples, raw)
        return _encoded(examples, "", raw), label if number is None else f"your edit of example {number}"
    read = text_input(examples.kind)
    if word == "text" and "kind" not in examples.kind and read is not None:
        raw = {read[0]: raw}  # a text can only be the one that is read
    if not isinstance(raw, Mapping):
        raise UsageError(f"this model has several inputs; give them by name: {', '.join(examples.kind)}")
    number = 0
    if raw.get("kind") == "parts" and "kind" not in examples.kind:
        number, raw = _number(examples, raw.get("example")), raw.get("parts")
        label = f"your edit of example {number}"
        if not isinstance(raw, Mapping):
            raise UsageError("an input of several parts wants them by name, and the number of an example")
    # The given inputs replace those of an example, by itself the first one.
    whole = examples.batch([number])
    found = named(whole)
    at = dict(zip(map(str, range(len(found))), found, strict=True))
    given = {key if key in examples.kind else at.get(key, key): part for key, part in raw.items()}
    for name, part in given.items():
        if name not in examples.kind:
            raise not_found("input", name, examples.kind)
        before, found[name] = found[name], _encoded(examples, name, part)
        if isinstance(examples.kind[name], Tokens):
            found |= {other: _beside(other, own, found[name]) for other, own in found.items() if other not in given and own.shape == before.shape}
            told = {other: found[other] for other in lengths(examples, name) if other not in given}
            found |= {other: torch.full_like(own, _long(examples, name, other, found[name])) for other, own in told.items()}
    fresh = iter(found.values())
    return each(whole, lambda part: next(fresh)), label


def stretches(known: Kinds, x: Nested) -> list[slice] | None:
    """Where each text of a batch stands between the padding at its ends; None where the inputs are no texts, or their padding is not known."""
    words = worded(known, x)
    if words is None:
        return None
    first, last = words.long().argmax(1).tolist(), (words.shape[1] - words.flip(1).long().argmax(1)).tolist()
    return [slice(start, stop) for start, stop in zip(first, last, strict=True)]


def ending(scene: Scene, x: Nested) -> int | None:
    """The place at which one text is asked, where padding follows and the network says at each place what comes next; else None.

    *Meaning* what comes next is asked at the last token, of a translation at what was said of it last: behind padding the network was taught
    nothing. An answer with places of its own ends, for an example with labels, at the last one that says something.
    """
    found = endings(scene, x)
    return None if found is None or found[0] < 0 else found[0]


def endings(scene: Scene, x: Nested) -> list[int] | None:
    """The same for each text of a batch, −1 where its last place is asked; None where that holds of all."""
    from .layer_text import text_at

    if scene.task != "next_token":
        return None
    y, parts = scene.live.y, named(x)
    found = text_input(scene.kind)
    name = found[0] if found is not None else text_at(scene) if fills_up(scene.kind, x) else None
    part = parts.get(name) if name is not None else None
    if y is not None and y.ndim == 2 and (part is None or part.ndim != 2 or y.shape[1] != part.shape[1]):
        ends, width = _last_labels(scene, parts), y.shape[1]
    else:
        last = last_asked(scene.kind, x, name) if name is not None else None
        ends, width = ([] if last is None else last.tolist()), 0 if part is None else part.shape[1]
    ends = [-1 if end + 1 >= width else end for end in ends]
    return ends if any(end >= 0 for end in ends) else None


def _last_labels(scene: Scene, parts: Mapping[str, Tensor]) -> list[int]:
    """The last place of the answers to some inputs whose label says something; −1 of an input that is none of the examples."""
    live, found = scene.live, []
    if live.y is None or any(parts[name].shape[1:] != own.shape[1:] for name, own in named(live.x).items()):
        return []
    says = scene.reading.known(live.y)
    if says.ndim != 2 or bool(says[:, -1].all()):
        return []
    for row in range(len(next(iter(parts.values())))):
        same = [(own == parts[name][row].to(own.device)).reshape(len(own), -1).all(1) for name, own in named(live.x).items()]
        examples = torch.stack(same).all(0).nonzero()
        told = says[int(examples[0])].nonzero() if len(examples) else examples
        found.append(int(told[-1]) if len(told) else -1)
    return found


def asked(scene: Scene, x: Nested, scores: Tensor | None = None) -> Tensor:
    """The scores of one input as far as it is answered: of a text that padding follows, up to its last token; of the ``scores`` of the whole
    input, where they are known already."""
    scores, end = scene.scores(x) if scores is None else scores, ending(scene, x)
    return scores if end is None else scores[:, : end + 1]


def last(scene: Scene, x: Nested, scores: Tensor) -> Tensor:
    """Of scores (n, …) of one input, or of changed ones of its form, one row each: at a text's last token, the mean of a picture's places."""
    if scores.ndim == 3:
        end = ending(scene, x)
        return scores[:, -1 if end is None or end >= scores.shape[1] else end]
    return scores.flatten(2).mean(2) if scores.ndim > 3 else scores


def lengths(examples: Examples, name: str) -> frozenset[str]:
    """The parts beside a text that tell how long it is: a whole number an example, behind which each text holds only what fills it up."""
    parts = named(examples.x)
    own = parts.get(name)
    if own is None or own.ndim != 2 or not own.numel():
        return frozenset()
    rows = own[:LOOKED].cpu()
    places = torch.arange(rows.shape[1])[None]

    def tells(part: Tensor) -> bool:
        if part.is_floating_point() or part.is_complex() or part.dtype == torch.bool or part.numel() != len(own):
            return False
        told = part.reshape(-1, 1)[:LOOKED].cpu().long()
        if int(told.min()) < 1 or int(told.max()) > rows.shape[1]:
            return False
        behind = rows[places >= told]
        last = rows.gather(1, told - 1)[:, 0]
        return len(behind) == 0 and bool((told == rows.shape[1]).all()) or len(behind.unique()) == 1 and bool((last != behind[0]).all())

    return frozenset(key for key, part in parts.items() if key != name and tells(part))


def reading(x: Nested, name: str, tokens: Tensor, told: frozenset[str] = frozenset(), long: Sequence[int] = ()) -> Nested:
    """An input of one example with other texts (n, tokens) in the place of its own, and what stands beside going along.

    The parts that are ``told`` by :func:`lengths` say how ``long`` each text is, by itself all of it.
    """
    parts = named(x)
    own = parts[name]

    def other(key: str, part: Tensor) -> Tensor:
        if key == name:
            return tokens
        if key in told:
            counts = torch.tensor(list(long) or [tokens.shape[1]] * len(tokens), dtype=part.dtype, device=part.device)
            return counts.reshape(len(tokens), *part.shape[1:])
        beside = _beside(key, part, tokens[:1]) if part.shape == own.shape else part
        return beside.expand(len(tokens), *beside.shape[1:])

    fresh = iter([other(key, part) for key, part in parts.items()])
    return each(x, lambda part: next(fresh))


def _beside(name: str, own: Tensor, tokens: Tensor) -> Tensor:
    """What goes along with the tokens of an example, for another text: a mask sees all of it, one number a token or their places go on."""
    if own.is_floating_point() or own.ndim != 2:
        return own
    if "mask" in name:
        return torch.ones_like(tokens, dtype=own.dtype)
    if bool((own == own[:, :1]).all()):
        return own[:, :1].expand(tokens.shape)
    places = torch.arange(own.shape[1], device=own.device)
    return torch.arange(tokens.shape[1], device=own.device)[None].to(own.dtype) if bool((own == places).all()) else own


def _edited(examples: Examples, raw: Any) -> int | None:
    """The example that edited pixels were made from; None where they were made from something else."""
    number = raw.get("example") if isinstance(raw, Mapping) and raw.get("kind") == "pixels" else None
    if number is None:
        return None
    return _number(examples, number)


def _number(examples: Examples, number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(examples):
        raise UsageError(f"an edited example is one of 0 to {len(examples) - 1}, got {number!r}")
    return number


def _encoded(examples: Examples, name: str, raw: Any) -> Tensor:
    kind, number = kinds_of(examples.kind)[name], _edited(examples, raw)
    if number is None or not isinstance(kind, Image):
        return kind.encode(raw)
    batch = examples.batch([number])
    own = named(batch)[name] if name else first(batch)
    return kind.edited(raw, first(own))


def _long(examples: Examples, name: str, told: str, tokens: Tensor) -> int:
    """How many tokens a text (1, tokens) has without what fills up those of the examples, whose lengths are ``told``."""
    parts = named(examples.x)
    rows, counts = parts[name][:LOOKED], parts[told].reshape(-1, 1)[:LOOKED].to(parts[name].device)
    fill = rows[torch.arange(rows.shape[1], device=rows.device)[None] >= counts]
    words = (tokens[0] != fill[0].to(tokens.device)).nonzero() if len(fill) else tokens[0].new_zeros(0)
    return int(words[-1]) + 1 if len(words) else tokens.shape[1]


def _batched(x: Nested, like: Nested) -> Nested:
    if isinstance(like, Positional) and type(x) is dict and set(x) == set(like.names):
        x = Positional((x[name] for name in like.names), like.names)
    if isinstance(x, dict) and isinstance(like, dict):
        # Parts by name come in any order; they are compared with their own.
        x = {name: x[name] for name in (*(name for name in like if name in x), *(name for name in x if name not in like))}
        like = {name: like[name] for name in x if name in like} or like
    wanted, came = first(like), first(x)
    if came.ndim == wanted.ndim - 1:
        return each(x, lambda tensor: tensor[None])
    if came.ndim != wanted.ndim or len(came) != 1:
        raise UsageError(f"an input wants the shape {tuple(wanted.shape[1:])} of one example, got {tuple(came.shape)}")
    return x


def _from_the_tray(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "kind" in value or any(_from_the_tray(part) or isinstance(part, str) for part in value.values())
    return False
