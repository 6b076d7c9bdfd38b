"""Examples: inputs with their labels, class names and kind; a probe set, a training set, a whole data set."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..core.errors import Damaged, Unavailable, UsageError
from . import kinds, metadata
from .fingerprint import fingerprint, written
from .metadata import Column, columns
from .nesting import Nested, PaddedSequence, Positional, as_tensors, each, first, named, select, size, tensors, to
from .text_places import filled

_LABELS_BESIDE = "guessed: the labels beside the inputs are the truth."
_BY_NUMBERS = "guessed: the classes are named by their numbers."


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Inputs ``x`` (a tensor, tuple or dict), labels ``y`` if known, the classes' names, and what kind of input it is.

    ``guessed`` lists in sentences what was guessed rather than told; ``held_out`` is the test set where a file has one.
    """

    x: Nested
    y: Tensor | None = None
    classes: tuple[str, ...] = ()
    kind: kinds.Kinds = dataclasses.field(default_factory=kinds.Table)
    guessed: tuple[str, ...] = ()
    held_out: Examples | None = None
    numbers: Tensor | None = None
    """What the examples are numbered in the data set that they were taken from, where that is known."""
    metadata: Mapping[str, Column] = dataclasses.field(default_factory=dict)
    """What is known of each beside: numbers or words by name."""

    def __len__(self) -> int:
        return size(self.x)

    def __repr__(self) -> str:
        shapes = ", ".join("×".join(map(str, tensor.shape[1:])) or "single" for tensor in tensors(self.x))
        what = " + ".join(kind.word for kind in (self.kind.values() if isinstance(self.kind, dict) else [self.kind]))
        named = f", {len(self.classes)} classes" if self.classes else ""
        return f"<Examples: {len(self)} of {what} ({shapes}){named}>"

    @classmethod
    def of(
        cls, x: Any, y: Any = None, classes: Sequence[str] | None = None, inputs: Any = None, metadata: Mapping[str, Any] | None = None
    ) -> Examples:
        """Make examples from arrays or tensors, also several by tuple or dict; guesses the kind and checks the lengths.

        ``inputs`` is a kind (or one a name) that overrides the guess; what it leaves open is learned from ``x``. A dict as models of
        transformers take it, with ``labels`` beside ``input_ids`` or the like, brings its labels along.
        """
        x = as_tensors(_apart(x, y))
        first(x)  # raises where there is none
        lengths = sorted({int(tensor.shape[0]) for tensor in tensors(x)})
        if len(lengths) != 1:
            raise UsageError(f"all inputs want the same number of examples, got {lengths}")
        if lengths == [0]:
            raise UsageError("at least one example is wanted, got none")
        beside = _labels_in(x) if y is None else None
        labels = beside if y is None else _labels(y)
        if labels is not None and len(labels) != size(x):
            raise UsageError(f"x and y want the same number of examples, got {size(x)} and {len(labels)}")
        kind, guessed = _kind(x, inputs)
        if any(tensor.is_complex() for tensor in tensors(x)):
            guessed = (*guessed, "The inputs are complex numbers; what is shown of them is their magnitude.")
        names, more = _classes(labels, classes)
        if beside is not None:
            more = (_LABELS_BESIDE, *more)
        if _spelled(x, labels, kind, names):
            said = f"guessed: the {len(names)} class names are the tokens' texts, as the truth is a token at each place."
            # Words that do not bring their own spaces are set apart.
            words = sum(len(name) > 1 for name in names) > len(names) / 2 and not any(mark in "".join(names) for mark in " ▁Ġ")
            apart = getattr(kind, "separator", "") or (" " if words else "")
            kind, guessed = kinds.Tokens(vocabulary=names, separator=apart, sentence=said), (said,)
            kind = kind.fitted(first(x))
        kind = filled(kind, x, labels)
        return cls(x, labels, names, kind, (*guessed, *more), metadata=columns(metadata, size(x)))

    @classmethod
    def taken(cls, x: Any, y: Any, classes: Sequence[str] | None, inputs: Any, metadata: Mapping[str, Any] | None) -> Examples:
        """Examples made of arrays, or such as are there already, with what is told beside. *Raises* UsageError for labels beside the latter."""
        if not isinstance(x, cls):
            return cls.of(x, y, classes, inputs, metadata)
        if y is not None:
            raise UsageError("y= is for inputs alone, and these examples bring their own labels: x=examples.x, y=… takes others")
        return x.told(classes, inputs, metadata)

    def told(self, classes: Sequence[str] | None = None, inputs: Any = None, metadata: Mapping[str, Any] | None = None) -> Examples:
        """The same examples with what a caller tells of them beside: it goes before what was guessed or told earlier; the rest stays."""
        found = self
        if inputs is not None:
            names = None if _BY_NUMBERS in self.guessed else self.classes or None
            made = Examples.of(self.x, self.y, names if classes is None else classes, inputs)
            beside = tuple(each for each in self.guessed if each == _LABELS_BESIDE)
            found = dataclasses.replace(self, classes=made.classes, kind=made.kind, guessed=(*made.guessed, *beside))
        elif classes is not None:
            names, _ = _classes(self.y, classes)
            found = dataclasses.replace(self, classes=names, guessed=tuple(each for each in self.guessed if each != _BY_NUMBERS))
        if found is not self and self.held_out is not None:
            found = dataclasses.replace(found, held_out=self.held_out.told(classes, inputs))
        if metadata is not None:
            found = dataclasses.replace(found, metadata={**found.metadata, **columns(metadata, len(self))})
        return found

    def filled(self, numbers: Collection[int]) -> Examples:
        """The same examples, of which it is known that one of some ``numbers`` fills texts up, where it stands at their ends alone."""
        kind = filled(self.kind, self.x, self.y, numbers) if numbers else self.kind
        return self if kind == self.kind else dataclasses.replace(self, kind=kind)

    @property
    def fingerprint(self) -> str:
        """A short name of inputs, labels and kind: equal examples have equal names. Found once for each version of them."""
        parts = [*tensors(self.x), *([] if self.y is None else [self.y])]
        now = tuple(map(written, parts))
        kept: tuple[object, str] | None = self.__dict__.get("_named")
        if kept is None or kept[0] != now:
            flat: dict[str, Tensor] = {} if self.y is None else {"y": self.y}
            about: dict[str, Any] = {"shape": _flatten(self.x, "x", flat), "kind": kinds.to_json(self.kind), "classes": self.classes}
            if self.metadata:
                about["metadata"] = metadata.flat(self.metadata, flat)
            kept = self.__dict__["_named"] = now, fingerprint({**flat, "about": json.dumps(about, sort_keys=True)})
        return kept[1]

    def take(self, indices: Any) -> Examples:
        """The examples at the indices, with everything else kept."""
        chosen = select(self.x, indices)
        if isinstance(indices, (int, np.integer)):
            indices = [int(indices)]
        y = None if self.y is None else first(select(self.y, indices))
        numbers = None if self.numbers is None else first(select(self.numbers, indices))
        about = {name: metadata.taken(column, indices) for name, column in self.metadata.items()}
        return dataclasses.replace(self, x=chosen, y=y, held_out=None, numbers=numbers, metadata=about)

    def first(self, count: int) -> Examples:
        """The first examples, at most ``count``; shares memory."""
        if count >= len(self):
            return self
        y = None if self.y is None else self.y[:count]
        numbers = None if self.numbers is None else self.numbers[:count]
        about = {name: column[:count] for name, column in self.metadata.items()}
        return dataclasses.replace(self, x=each(self.x, lambda tensor: tensor[:count]), y=y, held_out=None, numbers=numbers, metadata=about)

    def to(self, device: Any) -> Examples:
        """The examples on a device; these themselves where they are there already."""
        if all(part.device == torch.device(device) for part in (*tensors(self.x), *([] if self.y is None else [self.y]))):
            return self
        return dataclasses.replace(self, x=to(self.x, device), y=None if self.y is None else self.y.to(device))

    def batch(self, indices: Any, device: Any = None) -> Nested:
        """The inputs at the indices, in the structure that the model takes, on a device."""
        return to(select(self.x, indices), device)

    def shown(self, indices: Any = None) -> Any:
        """What is shown of the inputs: pictures, tokens, rows; for several inputs a dict by name."""
        x = self.x if indices is None else select(self.x, indices)
        if isinstance(self.kind, dict):
            parts = named(x)
            return {name: kind.decode(parts[name]) for name, kind in self.kind.items() if name in parts}
        return self.kind.decode(x)  # type: ignore[arg-type]

    def save(self, path: str | Path) -> None:
        """Write to one safetensors file; functions of a kind are not stored, nor the held-out set."""
        flat: dict[str, Tensor] = {}
        shape = _flatten(self.x, "x", flat)
        if self.y is not None:
            flat["y"] = self.y
        if self.numbers is not None:
            flat["numbers"] = self.numbers
        about = {
            "shape": shape, "classes": list(self.classes), "kind": kinds.to_json(self.kind),
            "guessed": list(self.guessed), "metadata": metadata.flat(self.metadata, flat),
        }
        stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in flat.items()}
        with shared_as_usual(path):
            save_file(stored, str(path), {"examples": json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path) -> Examples:
        """Read what :meth:`save` wrote; raises Unavailable without the file, Damaged when it is another."""
        if not Path(path).is_file():
            raise Unavailable(f"no examples at {str(path)!r}")
        try:
            with safe_open(str(path), "pt") as file:
                about = json.loads((file.metadata() or {})["examples"])
                flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            x = _unflatten(about["shape"], flat)
            kind = kinds.from_json(about["kind"])
            if isinstance(kind, dict):
                # An older file names a part that holds several tensors once.
                kind = {name: kind[name if name in kind else name.partition(".")[0]] for name in named(x)}
            known = metadata.read(about.get("metadata"), flat, size(x))
        except Exception as error:
            raise Damaged(f"{str(path)!r} does not hold examples: {error}") from error
        return cls(x, flat.get("y"), tuple(about["classes"]), kind, tuple(about["guessed"]), numbers=flat.get("numbers"), metadata=known)


def _apart(x: Any, y: Any) -> Any:
    """A list of several inputs, as torch's own collation makes of a tuple, as a tuple; a list of examples stays one."""
    if not isinstance(x, list) or len(x) < 2 or not all(isinstance(part, Tensor | np.ndarray) and part.ndim for part in x):
        return x
    lengths, alike = {len(part) for part in x}, len({tuple(part.shape) for part in x}) == 1
    told = len(y) if isinstance(y, Tensor | np.ndarray | list) else None
    several = len(lengths) == 1 and (lengths == {told} and told != len(x) if alike else told in (None, *lengths))
    return tuple(x) if several else x


def _labels(y: Any) -> Tensor:
    if isinstance(y, dict) or (isinstance(y, list | tuple) and any(isinstance(part, Tensor) and part.ndim for part in y)):
        whole = list(y.values()) if isinstance(y, dict) else y
        shapes = {tuple(part.shape) for part in whole if isinstance(part, Tensor)}
        if isinstance(y, dict) or len(shapes) > 1:
            raise UsageError(
                f"y wants the labels of one task in one tensor, got {len(y)}; of a model with several tasks look at one: "
                "outputs= names its output, y holds its labels"
            )
    if not isinstance(y, Tensor):
        array = np.asarray(y)
        if array.dtype.kind in "OUS":
            raise UsageError("y wants numbers (class indices or values); give the names as classes=")
    labels = as_tensors(y)
    if not isinstance(labels, Tensor) or not labels.ndim:
        raise UsageError("y wants one label an example, in one array or tensor")
    # Class indices come in all widths; a loss wants int64.
    small = labels.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32)
    return labels.long() if small else labels


def _meant(inputs: Any) -> str:
    """What was likely meant where no kind was given."""
    if isinstance(inputs, list | tuple) and inputs and all(isinstance(each, str) for each in inputs):
        return f"; names of a table's columns are told as diorama.Table(columns={list(inputs)!r})"
    known = {kind.__name__: kind for kind in kinds.KINDS.values()}
    name = inputs.__name__ if isinstance(inputs, type) else str(inputs).capitalize()
    return f"; a kind is made by calling it: diorama.{name}(…)" if name in known else ""


def _kind(x: Nested, inputs: Any) -> tuple[kinds.Kinds, tuple[str, ...]]:
    if inputs is None:
        kind, sentence = kinds.guess(x)
        return kind, (sentence,)
    if isinstance(inputs, kinds.Kind):
        if not isinstance(x, Tensor):
            alone = _kind_of_one(named(x), inputs)
            if alone is None:
                raise UsageError(
                    f"a model with several inputs wants inputs= as a dict of kinds, one a name ({', '.join(map(repr, named(x)))})"
                )
            return _kind(x, alone)
        return inputs.fitted(x), ()
    parts = None if isinstance(x, Tensor) else named(x)
    told = {str(name): kind for name, kind in inputs.items()} if isinstance(inputs, dict) else {}
    if parts is not None and set(told) - set(parts) and len(parts) <= len(x):  # by their positions
        told = {name: told[key] for key, name in zip(map(str, range(len(parts))), parts, strict=True) if key in told}
    if not isinstance(inputs, dict) or parts is None or set(told) - set(parts) or len(told) < len(inputs):
        own = f" ({', '.join(map(repr, parts))})" if parts else ""
        raise UsageError(
            f"inputs= wants a kind such as diorama.Image(), or a dict of them by the inputs' names{own}, got {inputs!r}{_meant(inputs)}"
        )
    found: dict[str, kinds.Kind] = {}
    guessed = []
    for name, part in parts.items():
        if name in told:
            found[name] = told[name].fitted(part)
        else:
            one, sentence = kinds.guess(part, name=name)
            assert isinstance(one, kinds.Kind)  # of one tensor
            found[name] = one
            guessed.append(f"Input {name!r}: {sentence}")
    return found, tuple(guessed)


_INPUTS = ("input_ids", "inputs_embeds", "pixel_values", "input_values", "input_features", "decoder_input_ids")
"""What models of transformers call their inputs, beside which ``labels`` are the truth: of other models these may be an input as well."""
_BESIDE = ("labels", "mask", "token_type_ids", "position_ids", "cache_position")
"""How the names of what stands beside an input end."""


def _labels_in(x: Nested) -> Tensor | None:
    """The labels in a dict as models of transformers take it, which find their loss by them; None where there are none."""
    told = x.get("labels") if isinstance(x, dict) and any(name in x for name in _INPUTS) else None
    return _labels(told) if isinstance(told, Tensor) and told.ndim and len(told) == size(x) else None


def _kind_of_one(parts: Mapping[str, Tensor], inputs: kinds.Kind) -> dict[str, kinds.Kind] | None:
    """One kind told for several entries, where a single one of them is an input: for it, and for labels that look like it."""
    own = [name for name in parts if not name.endswith(_BESIDE)] if len(parts) > 1 else list(parts)
    if len(own) != 1:
        return None
    main = parts[own[0]]
    told = {own[0]}
    if (labels := parts.get("labels")) is not None and labels.shape == main.shape and labels.dtype == main.dtype and bool((labels >= 0).all()):
        told.add("labels")  # the tokens of the same text
    return {name: inputs for name in parts if name in told}


def _classes(y: Tensor | None, classes: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    whole = y is not None and y.ndim == 1 and not y.is_floating_point() and y.dtype != torch.bool
    highest = int(y.max()) if whole and y is not None and y.numel() else -1
    if classes is not None:
        names = tuple(map(str, classes))
        if names and highest >= len(names):
            raise UsageError(f"y holds class {highest}, and classes= names {', '.join(names)} alone: name each class, from 0 to {highest}")
        return names, ()
    if highest < 0 or highest > 10_000:
        return (), ()
    return tuple(map(str, range(highest + 1))), (_BY_NUMBERS,)


def _spelled(x: Nested, y: Tensor | None, kind: kinds.Kinds, names: tuple[str, ...]) -> bool:
    """Whether the names of classes are the texts of tokens: of a model that says at each place which token comes."""
    if not isinstance(kind, kinds.Tokens) or kind.vocabulary is not None or kind.decode_with is not None:
        return False
    if not isinstance(x, Tensor) or y is None or y.is_floating_point() or y.shape != x.shape or not names:
        return False
    return int(x.max()) < len(names) and int(y.max()) < len(names) if x.numel() else False


@contextlib.contextmanager
def shared_as_usual(path: str | Path) -> Iterator[None]:
    """Give the file that is written meanwhile to whom any new file is given; safetensors lets its owner alone read it."""
    with open(path, "wb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    yield
    os.chmod(path, mode)


def _flatten(x: Nested, name: str, into: dict[str, Tensor]) -> Any:
    """Put the tensors under names; what comes back says how they were nested."""
    if isinstance(x, Tensor):
        into[name] = x
        return name
    if isinstance(x, dict):
        parts = {key: _flatten(part, f"{name}.{k}", into) for k, (key, part) in enumerate(x.items())}
        return [None, "padded", parts] if isinstance(x, PaddedSequence) else parts
    if isinstance(x, tuple | list):
        listed = [_flatten(part, f"{name}.{k}", into) for k, part in enumerate(x)]
        if isinstance(x, Positional):
            return [None, "positional", [listed, list(x.names)]]
        return [None, "list", listed] if isinstance(x, list) else listed
    return [None, "constant", x]


def _unflatten(shape: Any, flat: dict[str, Tensor]) -> Nested:
    if isinstance(shape, str):
        return flat[shape]
    if isinstance(shape, dict):
        return {key: _unflatten(part, flat) for key, part in shape.items()}
    if shape[:1] == [None]:
        _, form, content = shape
        if form == "positional":
            return Positional((_unflatten(part, flat) for part in content[0]), content[1])
        if form == "constant":
            return content  # type: ignore[no-any-return]
        found: Any = _unflatten(content, flat)
        return PaddedSequence(found) if form == "padded" else list(found)
    return tuple(_unflatten(part, flat) for part in shape)
