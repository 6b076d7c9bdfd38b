"""What a person asks to see: complete in itself, so that it can be cached, repeated and run anywhere."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import msgspec

from .errors import UsageError
from .selection import Selection

MOST = 16
"""Moments that a request may compare with."""
Step = int | Literal["live"] | None
"""A step, the live end, or None for the newest snapshot."""


Knobs = Annotated[dict[str, Any], msgspec.Meta(extra_json_schema={"typescript": "Record<string, KnobValue>"})]
"""Knobs by name; which values they take is checked where they are declared."""
Input = Annotated[dict[str, Any], msgspec.Meta(extra_json_schema={"typescript": "RawInput"})]
"""An input of the person's own, as its kind decodes it."""
Edits = Annotated[tuple[dict[str, Any], ...], msgspec.Meta(extra_json_schema={"unsaid": True})]
"""Edits as plain data; left out where there are none."""


class ComparedMoment(msgspec.Struct, frozen=True):
    """A run at a step, which another one is compared with.

    Another run of which no step is named stands where the one stands that it is laid beside, or as far before as it has come.
    """

    run: str
    step: Step = None


class Request(msgspec.Struct, frozen=True):
    """One view of one run at one step, perhaps compared with others, with an input of the person's own."""

    run: str
    view: str
    step: Step = None
    other: ComparedMoment | tuple[ComparedMoment, ...] | None = None
    knobs: Knobs = {}
    selection: str = ""
    edits: Edits = ()
    input: Input | None = None

    @classmethod
    def parse(cls, value: Any) -> Request:
        """Read a request from plain data; raises UsageError that names the wrong field."""
        try:
            request = msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise UsageError(f"this is not a request to see something: {error}") from None
        return request.checked()

    def checked(self) -> Request:
        """The request itself; raises UsageError where it compares with too many or its selection cannot be read."""
        if len(self.others) > MOST:
            raise UsageError(f"a view compares with at most {MOST} others, got {len(self.others)}")
        if not self.selection.startswith("@"):
            Selection.parse(self.selection)
        return self

    def plain(self) -> dict[str, Any]:
        """The request as plain data."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @property
    def live(self) -> bool:
        """Whether any side of it stands at a live end."""
        return self.step == "live" or any(other.step == "live" for other in self.others)

    @property
    def others(self) -> tuple[ComparedMoment, ...]:
        """All that it is compared with."""
        if self.other is None:
            return ()
        return (self.other,) if isinstance(self.other, ComparedMoment) else self.other

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs that it looks at."""
        return tuple(dict.fromkeys((self.run, *(other.run for other in self.others))))

    def beside(self, other: ComparedMoment, step: Step) -> Step:
        """The step of one that it is compared with, while it stands at a step itself."""
        return step if other.step is None and other.run != self.run else other.step

    def following(self, kinds: tuple[str, ...]) -> Request:
        """The same request with only those keys of the selection that the view reads."""
        if not self.selection:
            return self
        chosen = Selection.parse(self.selection)
        kept = Selection(tuple(k for k in chosen.a if k.kind in kinds), tuple(k for k in chosen.b if k.kind in kinds))
        return msgspec.structs.replace(self, selection=str(kept))

    @property
    def fingerprint(self) -> str:
        """A short name of the request, equal for equal requests."""
        return digest(self.plain())


def digest(value: Any) -> str:
    """A short hexadecimal name of plain data."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:24]
