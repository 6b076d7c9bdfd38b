"""A moment of a run: the run, a step, and others beside it, without a model, so that curves are drawn before torch is there."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..core.errors import Cancelled, not_found
from ..core.picture import Picture, Progress
from ..core.provenance import Provenance
from ..core.selection import Key, Selection, is_point
from .pictures import pictures

if TYPE_CHECKING:
    from ..run import Run


@dataclasses.dataclass(frozen=True)
class Moment:
    """The part of a scene that lies in the record: the run, the step, what it is compared with, names of layers."""

    run: Run
    step: int | None
    others: tuple[Moment, ...] = ()
    """Any number of moments that it is compared with."""
    cancel: Callable[[], None] | None = dataclasses.field(default=None, compare=False)
    """What is called between two pictures: it raises once nobody wants them any more."""

    @property
    def other(self) -> Moment | None:
        """The first that it is compared with."""
        return self.others[0] if self.others else None

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def missing(self) -> str | None:
        """A record needs no model."""
        return None

    @property
    def steps(self) -> tuple[int, ...]:
        """The run's snapshots."""
        return tuple(self.run.snapshots)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.run.classes

    @property
    def task(self) -> str:
        """What the model answers."""
        return self.run.task

    @property
    def examples(self) -> Any:
        """The probe set."""
        return self.run.examples

    @property
    def layers(self) -> RecordedLayers:
        """The layers as the training wrote them down."""
        return RecordedLayers(self.run.structure(self.run.last_step if self.step is None else self.step)["layers"] or [])

    def stream(
        self,
        name: str,
        *,
        select: Selection,
        cancel: Callable[[], bool] | None = None,
        progress: Callable[[Progress], None] | None = None,
        **knobs: Any,
    ) -> Iterator[Picture]:
        """Every picture of a view of the record."""

        def stop() -> None:
            if cancel is not None and cancel():
                raise Cancelled("no longer wanted")

        moment = dataclasses.replace(self, cancel=stop if cancel is not None else None)
        return pictures(moment, name, select, knobs, progress)  # type: ignore[arg-type]

    def provenance(self, view: Any, selection: Selection, **more: Any) -> Provenance:
        """How a picture of this record is made."""
        return Provenance.of(view, selection, step=self.step, run=self.run.name, **more)


class RecordedLayers(Mapping[str, Any]):
    """Names and numbers of units, as far as keys are checked against them."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self._entries = {entry["name"]: _Entry(entry["name"], int(entry.get("units", 0))) for entry in entries}

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in call order."""
        return tuple(self._entries)

    def keyed(self, key: Key) -> Key:
        """A key with the layer's own name: what looks like a place may belong to the name."""
        whole = f"{key.name}@{','.join(map(str, key.place))}"
        if key.kind == "layer" and key.place and key.name not in self and whole in self:
            return dataclasses.replace(key, name=whole, place=())
        return key

    def __getitem__(self, name: str) -> Any:
        if name not in self._entries and is_point(name):
            return _Entry(name, sys.maxsize)  # of other points nothing is recorded; whoever has the model checks them
        if name not in self._entries:
            raise not_found("layer", name, self._entries)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


@dataclasses.dataclass(frozen=True)
class _Entry:
    name: str
    units: int
