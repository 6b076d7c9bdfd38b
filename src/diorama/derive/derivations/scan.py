"""A data set run through the model once: of every unit what drives it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ...core.knobs import knob
from ...core.selection import several
from ...data import nesting
from ...data.examples import Examples
from ...data.nesting import Nested
from ...methods.cost import Cost
from ...model.plain_module import fed
from ...model.scan import Batch, batches
from ...model.scan import Scan as Scanned
from ...model.scan import scan as run_through
from ...scene import Scene
from ...scene.other_data import fitting, prepared, read, truth
from .. import statistics
from ..batches import Batches
from ..derivation import Derivation, Plain, Stage
from ..kept_examples import KeptExamples

LIVE = "live"
PAUSE = 0.05
"""Seconds of scanning between two stages: hooks are set anew after each."""


class ScanDerivation(Derivation):
    """A whole data set run through the model once: of every unit what drives it.

    *Meaning* for every unit: the k examples that drive it highest and lowest, with the places where they do; its mean
    for each class; a histogram; mean, spread and extremes. ``diorama.scan`` gives the same as an object.
    *Cost* 1.2 to 1.5 forward passes over the data on a large network; memory for one batch and the statistics.
    """

    on = "examples"
    version = 2

    data: str = knob("", "A file of examples; the whole probe set when left out, or its live examples: live.")
    layers: str = knob("all", "All layers, or some with + between.")
    k: int = knob(9, "So many examples of each unit, strongest and weakest.", low=1, high=1000)
    histogram: bool = knob(True, "Keep a histogram of each unit.")
    start: int = knob(0, "The number of the first example, where a part of a data set is scanned.", low=0)
    size: int = knob(64, "Examples in one batch.", low=1)
    given: Examples | Batches | None = dataclasses.field(default=None, compare=False, repr=False)
    """Examples that are in no file."""

    def cost(self, scene: Scene) -> Cost:
        """One pass an example, and the statistics."""
        total = self.total(scene)
        return Cost(math.ceil(1.3 * total) if total is not None else 0)

    def total(self, scene: Scene) -> int | None:
        """How many examples there are, where that is known."""
        return self.given.total if isinstance(self.given, Batches) else len(self.examples(scene))

    def examples(self, scene: Scene) -> Examples:
        """The examples that are scanned."""
        assert not isinstance(self.given, Batches)
        if self.given is not None:
            return fitting(scene, self.given)
        if not self.data:
            return scene.examples
        return scene.live if self.data == LIVE else read(scene, self.data)

    @property
    def source(self) -> str:
        """What the examples come from."""
        return statistics.GIVEN if self.given is not None else self.data or statistics.PROBE

    def material(self, scene: Scene) -> dict[str, Any]:
        """The examples, where they are not those of the scene."""
        if isinstance(self.given, Batches):
            return {"batches": self.given.fingerprint}
        return {"examples": self.examples(scene).fingerprint} if self.given is not None or self.data else {}

    def fits(self, scene: Scene) -> str | None:
        """The layers exist, and the data can be read."""
        if scene.missing is None:
            for name in self._names() or ():
                scene.layers[name]
            if not isinstance(self.given, Batches):
                self.examples(scene)
        return scene.missing

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The scan after each part of the data; the state is the scan itself."""
        made = statistics.of_plain(begun) if begun is not None else Scanned(start=self.start)
        total, shown = self.total(scene), KeptExamples(self.start, isinstance(self.given, Batches))
        parts = iter(self._batches(scene, made.examples, shown))
        names = self._names() or "all"
        last = max((scene.layers[name] for name in names), key=lambda one: one.order) if names != "all" else None
        whole = last is None or last.part or last.name not in dict(scene.model.named_modules())
        end = False
        while not end:
            until = time.monotonic() + PAUSE

            def some(until: float = until) -> Iterator[Batch]:
                nonlocal end
                for x, y in parts:
                    yield fed(scene.model, nesting.to(x, scene.device)), y
                    if time.monotonic() > until:
                        return
                end = True

            made = run_through(
                scene.model, some(), names, k=self.k, classes=_classes(scene), bottom=True, histogram=self.histogram,
                start=self.start, into=made, until=None if last is None or whole else last.name, table=scene.layers,
                kind=scene.kind, edits=scene.edits, cancel=scene.cancel,
            )
            shown.prune(made)
            if not end:
                yield Stage(None, made.examples, total or made.examples + 1, state=partial(statistics.to_plain, made))
        value = statistics.to_plain(made) | {"source": self.source, "edits": [edit.named() for edit in scene.edits]}
        if self.given is not None:
            value["shown"] = shown.plain(made, None if isinstance(self.given, Batches) else self.examples(scene))
        yield Stage(value, made.examples, made.examples)

    def check(self, scene: Scene, value: Plain) -> None:
        """Statistics of layers that exist, each array of the right shape, of this source and these edits."""
        statistics.check(scene, value)
        if value["source"] != self.source or any(part["top"]["k"] != self.k for part in value["layers"]):
            raise ValueError("another scan")

    def _names(self) -> list[str] | None:
        return None if self.layers == "all" else several(self.layers)

    def _batches(self, scene: Scene, done: int, shown: KeptExamples) -> Iterable[tuple[Nested, Any]]:
        if isinstance(self.given, Batches):
            for x, labels in self.given:
                ready = prepared(scene, x)
                shown.add(ready, labels)
                yield ready, truth(scene, labels)
            return
        examples = self.examples(scene)
        for x, y in batches(examples.x, truth(scene, examples.y), size=self.size, start=done):
            yield prepared(scene, x), y


def _classes(scene: Scene) -> int:
    return len(scene.classes) if scene.task == "classification" else 0


def resolved(path: str | Path) -> str:
    """A file as the knob ``data`` names it."""
    return str(Path(path).resolve())
