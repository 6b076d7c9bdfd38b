"""The base of all kinds of input, and how they are written down."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ..core.errors import UsageError, not_found
from .drawing import Drawing

KINDS: dict[str, type[Kind]] = {}
"""All kinds by their word."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind(abc.ABC):
    """What the inputs are, both ways: ``encode`` turns raw input into a batch, ``decode`` a batch into what is
    shown."""

    word: ClassVar[str] = ""
    sentence: str = ""
    """What a person should know about the inputs: what was guessed and why, or how the data was made."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        KINDS[cls.word] = cls

    @abc.abstractmethod
    def encode(self, raw: Any) -> Tensor:
        """One raw input as a batch of one, ready for the model; raises UsageError for raw input of another kind."""

    @abc.abstractmethod
    def decode(self, batch: Tensor) -> Any:
        """A batch as what is shown of it."""

    def fitted(self, x: Tensor) -> Kind:
        """The same kind with all that was left open learned from examples."""
        return self

    def valid_range(self) -> tuple[float, float] | None:
        """The lowest and highest number that an input may hold, in the model's own numbers."""
        return None

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Read back a stored kind: what a later version added has its default."""
        names = {field.name for field in dataclasses.fields(self)}
        type(self).__init__(self, **{name: value for name, value in state.items() if name in names})

    def describe(self) -> dict[str, Any]:
        """The kind as plain data for the page."""
        return {"kind": self.word, "sentence": self.sentence}

    def to_json(self) -> dict[str, Any]:
        """The kind as plain data, to be stored with a run; functions are left out."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        kept = {name: plain(value) for name, value in fields.items() if not callable(value) and value is not None}
        return {"kind": self.word, **kept}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Kind:
        """Read what :meth:`to_json` wrote; fields of a later version are ignored."""
        if value["kind"] not in KINDS:
            raise not_found("kind of input", value["kind"], KINDS)
        kind = KINDS[value["kind"]]
        names = {field.name for field in dataclasses.fields(kind)}
        fields = {name: firm(part) for name, part in value.items() if name in names}
        if isinstance(fields.get("drawing"), dict):
            fields["drawing"] = Drawing.from_json(fields["drawing"])
        return kind(**fields)


def unfit(raw: Any, kind: str, wanted: str) -> UsageError:
    """The error for raw input of another kind."""
    came = f"a {raw['kind']}" if isinstance(raw, Mapping) and "kind" in raw else type(raw).__name__
    return UsageError(f"the model's input is {kind}: give {wanted}, got {came}")


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Drawing):
        return value.to_json()
    if isinstance(value, (np.ndarray, Tensor)):
        return value.tolist()
    if isinstance(value, (tuple, list)):
        return list(value) if _words(value) else [plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def firm(value: Any) -> Any:
    """Lists as tuples, so that what was read equals what was written."""
    if not isinstance(value, list):
        return value
    return tuple(value) if _words(value) else tuple(firm(part) for part in value)


def _words(value: Sequence[Any]) -> bool:
    """Whether only texts are listed, as in a vocabulary of some ten thousand tokens."""
    return set(map(type, value)) == {str}
