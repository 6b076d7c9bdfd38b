"""Everything that page and server say to each other, as structs: JSON both ways, pictures in binary beside it.

``python -m diorama.core.typescript`` writes ``web/src/protocol.ts`` from it. A message to the server says what to ``do``, one from it
names its ``event``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .knobs import Knob
from .request import Knobs, Request

LONGEST_MESSAGE = 24_000_000
"""Bytes of one message from the page: a large photograph, encoded."""
LONGEST_TEXT = 50_000
"""Characters of a text that somebody types or uploads: a network would take minutes for more."""
Number = Annotated[int, Meta(ge=0, lt=2**32)]
"""Of a channel, a frame, a question."""


class _Struct(msgspec.Struct, kw_only=True):
    """What all of them are."""


# What there is.
class Described(_Struct):
    """A plug-in as plain data."""

    name: str
    title: str
    sentence: str
    knobs: tuple[Knob, ...]


class View(Described):
    """A view, and what the page must know of it."""

    room: str
    question: str
    family: str
    papers: tuple[str, ...]
    rows: tuple[str, ...]
    needs: str
    follows: tuple[str, ...]
    hovers: tuple[str, ...]  # kinds of keys that it tries out while the pointer rests on one
    moves: tuple[str, ...]  # its knobs that move the weights for every other view: plane, place, and what else is told
    input: bool
    panel: str
    demo: str
    example: Knobs


class Method(Described):
    """An attribution method; ``view`` shows it, by its knob ``method``."""

    papers: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    demo: str | None = None
    view: str | None = None


class CommandEntry(Described):
    """A command to a training: among which ones it is listed, and whether what it would change can be shown beforehand."""

    family: str
    previewed: bool = False


class Place(_Struct):
    """Where a view stands in a room."""

    view: str
    columns: int
    rows: int
    knobs: Knobs


class Opening(_Struct):
    """The views on which a room opens where all words of ``when`` hold of the run."""

    when: tuple[str, ...]
    training: tuple[Place, ...]
    input: tuple[Place, ...]


class Room(_Struct):
    """A room of the page, arranged for a training and for an input."""

    name: str
    title: str
    question: str
    training: tuple[Place, ...]
    input: tuple[Place, ...]
    openings: tuple[Opening, ...]


class RunEntry(_Struct):
    """A run in the list of runs: how far it came, what is ``wrong`` with it; ``error`` says why it cannot be opened."""

    name: str
    steps: int
    alive: bool
    title: str
    score: str | UnsetType = UNSET  # its accuracy or its loss, in words
    wrong: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    parent: str | UnsetType = UNSET  # the run from which it goes on, of this list …
    left: int = 0  # … and the step at which it left that one


class RunEvent(_Struct):
    """A moment on the time axis."""

    step: int
    kind: str
    name: str
    text: str


class InputKind(_Struct):
    """What the network takes, as the tray must know it."""

    kind: str | UnsetType = UNSET
    sentence: str | UnsetType = UNSET
    height: int | None | UnsetType = UNSET
    width: int | None | UnsetType = UNSET
    channels: int | None | UnsetType = UNSET
    draw: bool | UnsetType = UNSET
    receives: tuple[float, float] | UnsetType = UNSET  # for black and for white, over all channels
    columns: tuple[str, ...] | None | UnsetType = UNSET
    vocabulary: int | None | UnsetType = UNSET
    length: int | None | UnsetType = UNSET
    separator: str | None | UnsetType = UNSET  # what stands between the tokens of a text that is made of a vocabulary's
    typed: bool | UnsetType = UNSET  # of tokens: a text can be typed, as it is known which numbers its words are
    beside: bool | UnsetType = UNSET  # it stands beside a text, as a mask does, goes along with what is typed, and is none to be typed itself
    parts: dict[str, InputKind] | UnsetType = UNSET  # of a network with several inputs, by name; all else is then unset


class LayerEntry(_Struct):
    """A layer of the run's network."""

    name: str
    units: int
    kind: str
    shape: tuple[int, ...]


OptimizerGroup = Annotated[
    dict[str, Any],
    Meta(extra_json_schema={"typescript": "{ group: number; learning_rate?: number; [name: string]: number | undefined }"}),
]
"""The values of one group of an optimizer, by their names."""


class SteeredData(_Struct):
    """The training's data as people change them: how many examples there are, how many are changed, and how many of the probe set are among them."""

    examples: int
    dropped: int
    relabelled: int
    weighed: int
    probe: int
    matched: int
    labels: str  # unknown, whole, real, one-hot, or none: no number stands for them


class Way(_Struct):
    """How a training is started again from a checkpoint: at once, or after consent to its line; or why it cannot be."""

    line: str
    folder: str
    at_once: bool
    refused: str


class ActEntry(_Struct):
    """A command that changed the training; ``checkpoint``: one from before it is there, so that it can be left out or gone back before."""

    command: int
    step: int
    name: str
    text: str
    state: str  # in force, taken back, or for good: what was before is not kept
    plain: bool  # a value is set back as if the act had not been; else weights have learnt on since
    checkpoint: bool
    run: str  # in which it was applied, where this one goes on from that; else empty
    blocked: str = ""  # why it cannot be taken back while later acts are in force


class RuleEntry(_Struct):
    """A rule in force, how often it came true, and at which step last."""

    rule: int
    text: str
    fired: int = 0
    last: int | None = None


class BendEntry(_Struct):
    """Factors on the learning rate at steps counted from ``start``."""

    start: int
    steps: tuple[float, ...]
    factors: tuple[float, ...]


class MovesEntry(_Struct):
    """Where units lie from a snapshot on: the numbers that they were born with, as the first of each run and how many."""

    since: int
    births: dict[str, tuple[tuple[int, int], ...]]  # by layer ("layer:conv1") or axis of a weight ("weight:conv1.weight:1")


class RunState(_Struct):
    """Everything that the page must know of a run at this moment."""

    first: int
    last: int
    snapshots: tuple[int, ...]
    alive: bool
    paused: bool
    events: tuple[RunEvent, ...]
    dropped: int
    optimizer: tuple[OptimizerGroup, ...]
    classes: tuple[str, ...]
    task: str
    input: InputKind | None
    nature: tuple[str, ...]  # what data, task and network are, in words that rooms know
    examples: int
    layers: tuple[LayerEntry, ...]
    series: tuple[str, ...]
    histograms: tuple[str, ...]
    model: str | None  # why the model cannot be looked into
    fits: dict[str, str | None]
    known: bool  # whether layers and fitting views are: a worker finds them
    seconds_a_step: float | None
    properties: tuple[str, ...] = ()  # the columns of a table; of other inputs what can be said of them, such as brightness
    checkpoints: tuple[int, ...] = ()  # steps to which the training can go back, along its line
    heir: str | None = None  # the run in which the training goes on, where it went back
    steered: SteeredData | None = None  # none where the training's data are not wrapped
    pairs: tuple[str, ...] = ()  # the views that fit once a second run or step is chosen, and not before
    way: Way | None = None  # how the training is started again, where that was written down
    acts: tuple[ActEntry, ...] = ()  # oldest first
    rules: tuple[RuleEntry, ...] = ()  # those in force
    bend: BendEntry | None = None  # the schedule as people bent it
    frozen: tuple[str, ...] = ()  # layers, or blocks, that a command froze
    moves: tuple[MovesEntry, ...] = ()  # where acts of structure gave units other places, oldest first


# An input that is not from the probe set, as the tray makes it; pixels are bytes in base64.


class _Input(_Struct, tag_field="kind", tag=lambda name: name.removesuffix("Input").lower()):
    """What a person made."""


class DrawingInput(_Input):
    """Light strokes on black."""

    width: int
    height: int
    pixels: str


class ImageInput(_Input):
    """A picture in three colours."""

    width: int
    height: int
    pixels: str


class PixelsInput(_Input):
    """Exact pixels of the data's own size, perhaps made out of an example."""

    width: int
    height: int
    channels: Literal[1, 3]
    pixels: str
    example: int | UnsetType = UNSET


class TextInput(_Input):
    """A text."""

    text: str


class RowInput(_Input):
    """The numbers of a table's row."""

    values: tuple[float, ...]


class PartsInput(_Input):
    """Some parts of an input of several, by name; the others are those of an example."""

    parts: dict[str, DrawingInput | ImageInput | PixelsInput | TextInput | RowInput]
    example: int


RawInput = DrawingInput | ImageInput | PixelsInput | TextInput | RowInput | PartsInput


# From the page.


class _ToServer(_Struct, tag_field="do", tag=str.lower):
    """A message from the page."""


class Follow(_ToServer):
    """Tell me the state of this run whenever it changes."""

    run: str


class Show(_ToServer):
    """Show this on a channel, and go on showing it."""

    channel: Number
    request: Request


class Hide(_ToServer):
    """Close a channel."""

    channel: Number


class Ack(_ToServer):
    """A frame is on the screen: the next one may come."""

    channel: Number
    sequence: Number


class Cancel(_ToServer):
    """Stop the work of a channel; what it shows stays."""

    channel: Number


class Command(_ToServer):
    """Send a command to a training."""

    id: Number
    run: str
    name: str
    knobs: Knobs = {}


class Keep(_ToServer):
    """Keep a long selection."""

    id: Number
    text: str


class Recall(_ToServer):
    """Say the selection that was kept under a name."""

    id: Number
    name: str


ToServer = Follow | Show | Hide | Ack | Cancel | Command | Keep | Recall


# To the page.


class _FromServer(_Struct, tag_field="event", tag=str.lower):
    """A message to the page."""


class Preparing(_FromServer):
    """On the very first start: what the server is busy with before it can greet."""

    done: int
    total: int
    note: str


class Hello(_FromServer):
    """The greeting: what there is to see."""

    version: str
    runs: tuple[RunEntry, ...]
    rooms: tuple[Room, ...]
    views: tuple[View, ...]
    commands: tuple[CommandEntry, ...]
    methods: tuple[Method, ...]
    demos: tuple[Described, ...]
    savers: tuple[Described, ...]
    glossary: dict[str, str]
    broken: tuple[str, ...] = ()  # plug-ins of third parties that cannot be used, each with the reason


class RunTold(_FromServer, tag="run"):
    """The state of a followed run."""

    run: str
    state: RunState


class Runs(_FromServer):
    """The list of runs has changed."""

    runs: tuple[RunEntry, ...]


class Progressed(_FromServer, tag="progress"):
    """How far a look is; ``seconds`` are left, where that is known."""

    channel: int
    done: float
    total: float
    note: str = ""
    seconds: float | None = None


class Busy(_FromServer):
    """A look has begun."""

    channel: int


class Done(_FromServer):
    """A look has given its last picture, or was cancelled."""

    channel: int
    seconds: float
    cancelled: bool = False


class Failed(_FromServer, tag="error"):
    """Something could not be done: on a channel, for a question, or for a run."""

    channel: int | None
    kind: str
    message: str
    id: int | UnsetType = UNSET
    run: str | UnsetType = UNSET


class Answered(_FromServer, tag="command"):
    """What became of a command."""

    id: int
    ok: bool
    message: str
    run: str | UnsetType = UNSET  # the new run that came of it, beside this one; it may not have begun yet


class Kept(_FromServer):
    """The short name of a kept selection."""

    id: int
    name: str


class Recalled(_FromServer):
    """A kept selection."""

    id: int
    text: str


FromServer = Preparing | Hello | RunTold | Runs | Progressed | Busy | Done | Failed | Answered | Kept | Recalled
