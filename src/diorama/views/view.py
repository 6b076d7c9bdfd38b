"""What a view is, and what a room of the page is.

A view is one file in a room's folder. It reads a scene and what the user has chosen, and yields pictures, each a
refinement of the last. It never draws: pictures are made of marks.
"""

from __future__ import annotations

import abc
import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from ..core import knobs
from ..core.knobs import Plugin
from ..core.marks import Group, Node, Table
from ..core.numerals import plain
from ..core.picture import Check, Draft, MapPlaces, Picture, Progress
from ..core.selection import Selection
from .changed_labels import of_numbers
from .samples import noted

if TYPE_CHECKING:
    from ..scene import Scene

Needs = Literal["model", "record", "snapshot"]
Family = Literal["features", "relationships", "process"]
Panel = Literal["", "map", "inspector", "answer", "probe"]
_VIEWS = __name__.rpartition(".")[0]


class View(Plugin, abc.ABC):
    """Base of all views: knobs, what the page must know about the view, and the pictures it yields.

    A view of one layer has a knob of kind "layer" that is None by default, and asks ``scene.layer(self.layer, selection, fits)``: the layer
    of the knob, else the chosen one, else the first that fits; one that is named and does not fit is refused in a sentence. With
    ``follows = ("layer", "unit")`` the page asks again where another is chosen.
    """

    room: ClassVar[str] = ""
    """The folder that the file lies in, set by the registry; a third party's class says it: "training", "why", "unit" or "relate"."""
    question: ClassVar[str] = ""
    """What a newcomer asks when this is the answer; the first sentence of its docstring when left out."""
    family: ClassVar[Family] = "process"
    """Its place in the survey's taxonomy."""
    papers: ClassVar[tuple[str, ...]] = ()
    rows: ClassVar[tuple[str, ...]] = ()
    """The numbered features that it serves."""
    needs: ClassVar[Needs] = "model"
    """"record": a run's signals alone; "snapshot": the weights alone; "model": the module itself."""
    answers: ClassVar[bool] = False
    """It needs nothing but the model's answers, so that it also shows a plain function."""
    follows: ClassVar[tuple[str, ...]] = ()
    """The kinds of keys that it reads from the selection: nothing else makes the page ask again."""
    input: ClassVar[bool] = False
    """It looks at the current input, so that a drawn one makes the page ask again."""
    hovers: ClassVar[tuple[str, ...]] = ()
    """The kinds of keys among those it follows that the page may try out while the pointer rests on one."""
    moves: ClassVar[tuple[str, ...]] = ()
    """Its knobs that move the weights for every other view: the first names the plane, the second the place on it, the rest are
    told beside them (``scene.edit("plane:NAME", …)``). At the place's default nothing is moved."""
    by_labels: ClassVar[bool] = False
    """What it shows goes by the probe set's labels: where a training learns some of its examples under another, its pictures say so."""
    panel: ClassVar[Panel] = ""
    """Where the page's shell shows it, for views that are not in a room's grid."""
    demo: ClassVar[str] = "digits"
    example: ClassVar[Mapping[str, Any]] = {}
    """The catalogue opens it on this demo, with these knobs."""
    _asked_with = ("select", "other", "input", "cancel", "progress")

    @classmethod
    def flaw(cls) -> str | None:
        """Whatever is wrong with its knobs, or with its place in the page: without one nobody would find it there."""
        found = super().flaw()
        names = [module.name for module in pkgutil.iter_modules(importlib.import_module(_VIEWS).__path__) if module.ispkg]
        if found is None and not cls.panel and cls.room not in names:
            found = f"it stands in no room of the page: write room = {names[0]!r}, or another of {', '.join(names[1:])}, got {cls.room!r}"
        return found

    @classmethod
    def fits(cls, scene: Scene) -> str | None:
        """Say in one sentence why the view does not fit the scene, or None when it does."""
        if cls.needs == "record" and scene.run is None:
            return "it shows what a training recorded, and this model was not opened from a run"
        if cls.needs != "record" and not cls.answers and scene.function:
            return "it looks inside a model, and this one is a plain function; use attribution, examples, confusion or boundary"
        return (scene.missing if cls.needs == "model" else None) or cls.wants(scene)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """Say in one sentence what this view wants of a scene that this one lacks, or None when it has all."""
        return None

    @abc.abstractmethod
    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """Yield pictures, each better than the last, and between them drafts, which are made when the next picture is due, and how far
        the work is; closing the iterator stops the work."""

    def filmed(self, scene: Scene) -> View:
        """The view as a film over the scene's snapshots shows it: with what must hold still from frame to frame."""
        return self

    def picture(
        self,
        scene: Scene,
        selection: Selection,
        title: str,
        body: Node,
        caption: str,
        *,
        checks: tuple[Check, ...] = (),
        note: str = "",
        hint: str = "",
        final: bool = True,
        source: str = "",
        mode: str = "eval",
        idle: Mapping[str, str] | None = None,
        places: MapPlaces | None = None,
    ) -> Picture:
        """Make a picture with its step and provenance; ``source`` names the paper or formula, ``hint`` says what can be done with the
        picture in the page (a file does not say it), ``idle`` names the knobs that change nothing here, and choices that do not apply
        (``knob=choice``), each with the reason, ``places`` at which step the points of a map stand."""
        checks = tuple(
            msgspec.structs.replace(check, sentence=_plainly(check.sentence)) if isinstance(check, Check) else check for check in checks
        )
        # What is known of the network as a whole costs passes: a first picture that needs none of it comes without.
        known = final or self.needs != "model" or scene.network.surveyed
        # How answers are read is told with how it is made; the pass that finds it out mostly shows the layers too, so that it comes first.
        made = scene.provenance(self, selection, source=source or "; ".join(self.papers), mode=mode, **({} if known else {"guessed": False}))
        table = scene.table if self.input and self.needs == "model" and known else None
        if table is not None and table.mixing:
            note = f"{note} {table.mixing[0].upper()}{table.mixing[1:]}.".strip()
        if self.needs != "record" and scene.instead:
            note = noted(note, scene.instead)
        untold = [clause for clause in of_numbers(scene.run, scene.step) if clause not in note] if self.by_labels else []
        if untold:
            note = noted(note, *untold)
        return Picture(
            title=_plainly(title),
            body=_said(body),
            caption=_plainly(caption),
            provenance=made,
            checks=checks,
            note=_plainly(note),
            hint=_plainly(hint),
            step=scene.step,
            final=final,
            idle=dict(idle or {}),
            places=places,
        )


_SAID = ("title", "caption", "label", "note")
"""Where a mark says something in words."""
_NUMBER = re.compile(r"[-−+]?\d+(\.\d+)?e[-+]\d+( %)?")
"""A field of a table that is a number and nothing else."""


def _plainly(text: str) -> str:
    """Words with their numbers in plain digits; what is no text stays, and is told with its field where the picture goes on its way."""
    return plain(text) if isinstance(text, str) else text


def _said(node: Node) -> Node:
    """A mark that says its numbers in plain digits; the same one where it does already, or where it is none."""
    found: dict[str, Any] = {}
    for name in _SAID:
        text = getattr(node, name, None)
        if isinstance(text, str) and (told := plain(text)) != text:
            found[name] = told
    notes = getattr(node, "notes", ())
    if isinstance(notes, tuple) and (several := tuple(map(_plainly, notes))) != notes:
        found["notes"] = several
    if isinstance(node, Table) and any(_computed(text) for column in node.columns for text in column.texts):
        found["columns"] = tuple(
            msgspec.structs.replace(column, texts=tuple(plain(text) if _computed(text) else text for text in column.texts))
            for column in node.columns
        )
    if isinstance(node, Group) and isinstance(node.children, tuple):
        children = tuple(map(_said, node.children))
        if any(one is not other for one, other in zip(children, node.children, strict=True)):
            found["children"] = children
    return msgspec.structs.replace(node, **found) if found else node


def _computed(text: str) -> bool:
    """Whether a field of a table is a number in computer notation."""
    return isinstance(text, str) and "e" in text and _NUMBER.fullmatch(text) is not None


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a view stands in a room: its size on a grid of twelve columns, and the knobs it starts with."""

    view: str
    columns: int = 6
    rows: int = 2
    knobs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """The place as plain data for the page."""
        return {"view": self.view, "columns": self.columns, "rows": self.rows, "knobs": dict(self.knobs)}


ROWS = 9
"""So many rows of a room are in sight at 1440 × 900."""


@dataclasses.dataclass(frozen=True)
class Opening:
    """The views on which a room opens where the data, the task and the network are of one nature: one screenful."""

    when: tuple[str, ...] = ()
    """Words of a run's nature, as :mod:`diorama.record.nature` says them; all must hold."""
    training: tuple[Place, ...] = ()
    input: tuple[Place, ...] = ()

    def describe(self) -> dict[str, Any]:
        """The opening as plain data for the page."""
        return {
            "when": list(self.when),
            "training": [place.describe() for place in self.training],
            "input": [place.describe() for place in self.input],
        }


@dataclasses.dataclass(frozen=True)
class Room:
    """One room of the page: a question, and its views for "this training" and for "this input".

    It shows the first opening that suits the run; its other views stand in a row of names, one click away. A room
    without a suiting opening shows all its views.
    """

    name: str
    title: str
    question: str
    order: int
    training: tuple[Place, ...] = ()
    input: tuple[Place, ...] = ()
    openings: tuple[Opening, ...] = ()

    def describe(self) -> dict[str, Any]:
        """The room as plain data for the page."""
        return {
            "name": self.name,
            "title": self.title,
            "question": self.question,
            "training": [place.describe() for place in self.training],
            "input": [place.describe() for place in self.input],
            "openings": [opening.describe() for opening in self.openings],
        }


def rooms() -> tuple[Room, ...]:
    """All rooms that have views, in the page's order."""
    package = importlib.import_module(_VIEWS)
    found = []
    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg and not module.name.startswith("_"):
            room = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "ROOM", None)
            if isinstance(room, Room) and (room.training or room.input):
                found.append(room)
    return tuple(sorted(found, key=lambda room: room.order))


def describe(view: type[View]) -> dict[str, Any]:
    """A view as plain data: what every plug-in says of itself, and what the page must know about views."""
    return {
        **knobs.describe(view),
        "room": view.room,
        "question": view.question or knobs.sentence(view) or knobs.title_of(view),
        "family": view.family,
        "papers": list(view.papers),
        "rows": list(view.rows),
        "needs": view.needs,
        "follows": list(view.follows),
        "hovers": list(view.hovers),
        "moves": list(view.moves),
        "input": view.input,
        "panel": view.panel,
        "demo": view.demo,
        "example": dict(view.example),
    }
