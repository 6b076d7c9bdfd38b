"""A made-up training: what it tells of itself, and pictures from made-up numbers."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from diorama.core import colour, marks
from diorama.core.picture import Check, Picture
from diorama.core.provenance import Provenance
from diorama.core.selection import Selection

LAYERS = (("conv1", 12, (24, 24)), ("conv2", 24, (12, 12)), ("conv3", 24, (6, 6)))
CLASSES = [str(digit) for digit in range(10)]


def _knob(name: str, kind: str, default: object, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "default": default,
        "help": f"what {name} does",
        "low": None,
        "high": None,
        "choices": [],
        "unit": "",
        "log": False,
        "main": False,
        "optional": default is None,
        **more,
    }


def _view(name: str, title: str, follows: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "sentence": f"{title}, drawn from made-up numbers.",
        "knobs": [],
        "room": "training",
        "question": f"What do the {name} say?",
        "family": "process",
        "papers": [],
        "rows": [],
        "needs": "model",
        "follows": list(follows),
        "moves": [],
        "input": False,
        "panel": "",
        "demo": "digits",
        "example": {},
        **more,
    }


VIEWS = [
    _view(
        "curves",
        "Loss",
        knobs=[
            _knob("smoothing", "number", 16.0, low=0.0, high=100.0, main=True),
            _knob("log", "flag", True, main=True),
            _knob("series", "series", "loss"),
        ],
        needs="record",
        rows=["C8"],
        papers=["TensorBoard"],
    ),
    _view("findings", "Findings", needs="record", rows=["C13"]),
    _view(
        "activations",
        "Activations",
        ("example", "layer"),
        input=True,
        family="features",
        rows=["A1", "A2"],
        papers=["Karpathy 2014"],
        knobs=[_knob("sort", "choice", "strength", choices=["strength", "number"], main=True)],
    ),
    _view("weights", "Weights", ("layer",), family="features", knobs=[_knob("layer", "layer", None, main=True)]),
    _view("confusion", "Confusion", ("class",), rows=["C12"]),
    _view(
        "examples",
        "Examples",
        ("example",),
        knobs=[
            _knob("layout", "choice", "table", choices=["table", "strip"]),
            _knob("sort", "choice", "loss", choices=["loss", "number"], main=True),
            _knob("class_", "class", None),
        ],
    ),
    _view("structure", "Network", ("layer",), panel="map"),
    _view("inspector", "Inspector", ("layer", "unit", "example", "class"), panel="inspector", input=True),
    _view("answer", "Answer", ("example",), panel="answer", input=True),
    _view("why", "Why this answer?", ("class", "example"), room="why", input=True, hovers=["class"]),
    _view("moved", "Moved by hand", room="play", knobs=[_knob("at", "text", ""), _knob("share", "number", 0.5), _knob("turns", "integer", 0)]),
    _view("broken", "Broken", room="relate", family="relationships"),
    _view("slow", "Slow", room="relate", family="relationships"),
    _view("misfit", "Misfit", room="relate", family="relationships", demo="text"),
]


def _place(view: str, columns: int, rows: int, **knobs: Any) -> dict[str, Any]:
    return {"view": view, "columns": columns, "rows": rows, "knobs": knobs}


ROOMS = [
    {
        "name": "training",
        "title": "Training",
        "question": "Is it learning well?",
        "training": [
            _place("curves", 8, 3),
            _place("findings", 4, 3),
            _place("activations", 12, 3),
            _place("weights", 4, 3),
            _place("confusion", 4, 3),
            _place("examples", 4, 3),
        ],
        "input": [_place("activations", 12, 5), _place("weights", 12, 4)],
        "openings": [{"when": ["plane"], "training": [_place("curves", 12, 5), _place("confusion", 12, 4)], "input": []}],
    },
    {"name": "why", "title": "Why", "question": "Why?", "training": [_place("why", 12, 6)], "input": []},
    {"name": "unit", "title": "Unit", "question": "What?", "training": [], "input": []},
    {
        "name": "relate",
        "title": "How do they relate?",
        "question": "Which belong together?",
        "input": [],
        "training": [_place("broken", 6, 3), _place("slow", 6, 3), _place("misfit", 6, 3)],
    },
    {"name": "play", "title": "Play", "question": "What if?", "training": [_place("moved", 12, 6)], "input": []},
]
COMMANDS = [
    {"name": name, "title": name.replace("_", " ").capitalize(), "sentence": f"{name} the training.", "knobs": [],
     "family": family, "previewed": False}
    for family, names in {
        "loop": "pause resume step stop", "optimizer": "learning_rate optimizer_value", "rules": "rule unrule",
        "time": "snapshot checkpoint go_back branch twin undo",
    }.items() for name in names.split()
]
COMMANDS += [
    {"name": name, "title": name.capitalize(), "sentence": f"{name} what is selected.", "knobs": [_knob(kind, kind, "", main=True)],
     "family": "weights", "previewed": False}
    for name, kind in (("zero", "unit"), ("freeze", "layer"))
]


def act(command: int, step: int, text: str, **more: Any) -> dict[str, Any]:
    """An act as the state tells of it."""
    return {"command": command, "step": step, "name": text.split()[0], "text": text, "state": "in force", "plain": False,
            "checkpoint": True, "run": "", **more}


class Training:
    """What the made-up run is doing; a test changes it at will."""

    def __init__(self) -> None:
        self.last, self.alive, self.paused, self.factor = 812, True, False, 1.0
        self.classes = list(CLASSES)
        self.events = [
            {"step": 297, "kind": "command", "name": "learning_rate", "text": "learning rate × 0.5"},
            {"step": 400, "kind": "finding", "name": "dead_units", "text": "3 units of conv2 never fire"},
        ]
        self.runs = [
            {"name": "digits", "steps": 812, "alive": True, "title": "a CNN on digits"},
            {"name": "older/digits", "steps": 300, "alive": False, "title": "the same, before"},
        ]
        self.requests: list[dict[str, Any]] = []
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self.steered: dict[str, Any] | None = None
        self.kept: dict[str, str] = {}
        self.child = "older/digits"
        """The run that a branch or a twin is said to train in."""
        self.family: dict[str, Any] = {}
        """What its state tells of checkpoints, branches and the run in which it goes on."""
        rng = np.random.default_rng(0)
        self.digits = rng.integers(0, 256, (64, 8, 8), np.uint8)
        self.coloured = False
        self.several = False
        """Whether the network takes a question beside its picture."""
        self.segmented = False
        """Whether the network answers with a class for each place."""
        self.nature = ["classification", "image"]
        self.slow: dict[str, float] = {}
        """Seconds that a view takes, by name."""
        self.maps = {name: rng.random((units, *size)).astype(np.float32) for name, units, size in LAYERS}

    @property
    def image(self) -> dict[str, Any]:
        return {
            "kind": "image",
            "height": 8,
            "width": 8,
            "channels": 3 if self.coloured else 1,
            "receives": [-1.0, 1.0],
            "draw": not self.coloured,
            "sentence": "guessed: images",
        }

    def state(self) -> dict[str, Any]:
        return {
            "first": 0,
            "last": self.last,
            "snapshots": list(range(0, self.last + 1, 10)),
            "alive": self.alive,
            "paused": self.paused,
            "events": self.events,
            "dropped": 0,
            "optimizer": [{"group": 0, "learning_rate": 0.1, "factor": self.factor, "momentum": 0.9}],
            "classes": self.classes,
            "known": True,
            "task": "classification",
            "nature": self.nature,
            "input": {"parts": {
                "image": self.image, "question": {"kind": "tokens", "separator": " "}, "question_mask": {"kind": "tokens", "beside": True},
            }}
            if self.several else self.image,
            "examples": 64,
            "layers": [{"name": n, "units": u, "kind": "Conv2d", "shape": [u, *s]} for n, u, s in LAYERS],
            "series": ["loss", "accuracy"],
            "histograms": ["weights/conv1.weight"],
            "model": None,
            "fits": {"misfit": "it colours text, and this network reads images"},
            "seconds_a_step": 0.02,
            "acts": [],
            "rules": [],
            "bend": None,
            "steered": self.steered,
            **self.family,
        }


def picture(training: Training, request: dict[str, Any]) -> Picture:
    """Draw what a request asks for, from made-up numbers."""
    step = training.last if request["step"] in (None, "live") else int(request["step"])
    chosen = Selection.parse(request["selection"])
    body, title, caption = _BODIES[request["view"]](training, request, step, chosen)
    made = Provenance(
        method=request["view"], sentence="Made up.", knobs={**request["knobs"], "method": "by hand"}, step=step, run=request["run"]
    )
    checks = (Check(name="completeness", value=0.0031, sentence="how far the parts are from the whole", good=True),)
    return Picture(title=title, body=body, caption=caption, provenance=made, step=step, checks=checks[: step % 2 or 1])


def _curves(training: Training, request: dict[str, Any], step: int, chosen: Selection) -> tuple[Any, str, str]:
    x = np.arange(0, training.last + 1)
    raw = np.exp(-x / 200) * (1 + 0.3 * np.sin(x)) + 0.01
    series = (
        marks.Series(name="train", x=x, y=raw, faint=True),
        marks.Series(name="held out", x=x, y=raw * 1.3, colour=1),
    )
    event = marks.Event(x=297, label="lr × 0.5")
    return marks.Lines(series=series, y_log=True, cursor=step, events=(event,)), "Loss", "Training loss of each batch."


def _findings(training: Training, request: dict[str, Any], step: int, chosen: Selection) -> tuple[Any, str, str]:
    finding = marks.Number(
        label="3 units of conv2 never fire",
        tone="warn",
        note="off for all 64 examples since step 120",
        actions=(marks.Action(command="learning_rate", label="Halve the rate", knobs={"factor": 0.5}),),
    )
    return marks.Group(children=(finding, marks.Number(label="conv1 has settled", tone="good"))), "Findings", ""


def _activations(training: Training, request: dict[str, Any], step: int, chosen: Selection) -> tuple[Any, str, str]:
    rows = []
    for name, maps in training.maps.items():
        shown = maps * (0.2 + step / 1000)
        keys = tuple(f"unit:{name}/{i}" for i in range(len(maps)))
        rows.append(
            marks.Tiles(
                title=name,
                images=shown,
                limits=colour.magnitude(shown),
                keys=keys,
                labels=tuple(map(str, range(len(maps)))),
                size=44,
            )
        )
    of = (
        f"the {request['input']['kind']}" if request["input"] else f"example {chosen.one('example').number if chosen.one('example') else 0}"
    )
    return marks.Group(children=tuple(rows)), f"Activations of {of}", "Each square is one unit's map."


def _weights(training: Training, request: dict[str, Any], step: int, chosen: Selection) -> tuple[Any, str, str]:
    values = np.random.default_rng(1).normal(size=(12, 3, 3)).astype(np.float32) * (0.3 + step / 1000)
    layer = request["knobs"].get("layer") or (chosen.one("layer").name if chosen.one("layer") else "conv1")
    keys = tuple(f"unit:{layer}/{i}" for i in range(12))
    tiles = marks.Tiles(
        images=values, limits=colour.symmetric(values, 2.0), keys=keys, labels=tuple(map(str, range(12)))
    )
    return tiles, f"Weights of {layer}", "Each square is one 3 × 3 filter; blue pushes up, orange pulls down."


def _confusion(training: Training, request: dict[str, Any], step: int, chosen: Selection) -> tuple[Any, str, str]:
    values = np.eye(10) * 6 + np.random.default_rng(2).integers(0, 2, (10, 10))
    keys = tuple(f"class:{i}" for i in range(10))
    names = tuple(training.classes)
    body = marks.Heatmap(
        values=values,
        limits=colour.magnitude(values),
        row_labels=names,
        column_labels=names,
        row_keys=keys,
        row_title="truth",
        column_title="answer",
        square=True,
    )
    return body, "Confusion", "Rows are true classes, columns are answers."


def _examples(training: Training, request: dict[str, Any], step: int, chosen: Selection) -> tuple[Any, str, str]:
    limits = colour.magnitude(training.digits, scale="grey")
    keys = tuple(f"example:{i}" for i in range(64))
    return marks.Tiles(images=training.digits, limits=limits, keys=keys, size=40), "Examples", "The probe set."


def _structure(training: Training, request: dict[str, Any], step: int, chosen: Selection) -> tuple[Any, str, str]:
    blocks = tuple(
        marks.Block(
            id=name,
            label=name,
            kind="Conv2d",
            detail=f"{units} × {size[0]} × {size[1]}",
            key=f"layer:{name}",
            notes=(f"Δw/w {step / 1e6:.1e}", "0 % off"),
            maps=training.maps[name][:10],
            maps_limits=colour.magnitude(training.maps[name]),
            spark=np.exp(-np.arange(40) / 9),
        )
        for name, units, size in LAYERS
    )
    return marks.Blocks(blocks=blocks, layout="list"), "Network", "14,802 weights"


def _inspector(training: Training, request: dict[str, Any], step: int, chosen: Selection) -> tuple[Any, str, str]:
    by_class = np.linspace(1, 2, 10)
    bars = marks.Bars(title="By class", values=by_class, labels=tuple(training.classes), colours=tuple(range(10)))
    best = marks.Tiles(
        title="Fires most for",
        images=training.digits[:9],
        limits=colour.magnitude(training.digits, scale="grey"),
        columns=3,
        size=72,
        keys=tuple(f"example:{i}" for i in range(9)),
    )
    return marks.Group(children=(best, bars)), str(chosen.a[-1]) if chosen.a else "Inspector", "Most for 9."


def received(training: Training, request: dict[str, Any], chosen: Selection) -> np.ndarray:
    """What the made-up network receives: edited pixels as they are, else the example's."""
    sent = request["input"]
    if sent is not None and sent["kind"] == "parts":
        sent = sent["parts"].get("image")
    if sent is not None and sent["kind"] == "pixels":
        shape = (sent["height"], sent["width"], 3) if sent["channels"] == 3 else (sent["height"], sent["width"])
        return np.frombuffer(base64.b64decode(sent["pixels"]), np.uint8).reshape(shape)
    example = chosen.one("example")
    pixels = training.digits[example.number if example else 0]
    return np.stack([pixels, 255 - pixels, pixels // 2], 2) if training.coloured else pixels


def _answer(training: Training, request: dict[str, Any], step: int, chosen: Selection) -> tuple[Any, str, str]:
    pixels = received(training, request, chosen)
    limits = colour.magnitude(pixels, scale="grey") if pixels.ndim == 2 else None
    receives = marks.Image(title="the net receives", pixels=pixels, size=44, limits=limits)
    values = np.array([0.01] * 3 + [0.91] + [0.01] * 6)
    bars = marks.Bars(
        title="answer", values=values, labels=tuple(training.classes), colours=tuple(range(10)), horizontal=False,
        keys=tuple(f"class:{i}" for i in range(10)),
    )
    if training.segmented:
        given = np.where(pixels[..., None] > 128, np.array([60, 140, 220], np.uint8), np.array([250, 160, 20], np.uint8))
        told = (marks.Image(title=title, pixels=given, size=64) for title in ("answer", "truth"))
        shares = marks.Bars(
            values=np.array([0.7, 0.2, 0.1]), labels=("ground", "disc", "square"), colours=(0, 1, 2), horizontal=True, unit="share of the places",
        )
        return marks.Group(children=(receives, marks.Group(children=(*told, shares), direction="row")), direction="row"), "Answer", ""
    if training.several:
        words = marks.Text(title="question", tokens=("is", "it", f"a {chosen.one('example').number if chosen.one('example') else 0}"))
        return marks.Group(children=(marks.Group(children=(receives, words)), bars), direction="row"), "Answer", ""
    return marks.Group(children=(receives, bars), direction="row"), "Answer", ""


def _why(training: Training, request: dict[str, Any], step: int, chosen: Selection) -> tuple[Any, str, str]:
    pixels = training.digits[0]
    heat = np.random.default_rng(3).normal(size=(8, 8))
    grey = colour.magnitude(pixels, scale="grey")
    maps = tuple(
        marks.Image(title=name, pixels=pixels, limits=grey, heat=heat * k, heat_limits=colour.symmetric(heat * k), size=120)
        for k, name in enumerate(("gradient", "occlusion"), 1)
    )
    asked, against = chosen.one("class"), [str(key) for key in chosen.b]
    of = f"for {asked.number}" if asked else "for the predicted class"
    words = f"Why {of}" + (f" rather than {', '.join(against)}" if against else "")
    return marks.Group(children=maps, direction="grid"), words, "What speaks for it."


def _moved(training: Training, request: dict[str, Any], step: int, chosen: Selection) -> tuple[Any, str, str]:
    at, share = request["knobs"].get("at", ""), request["knobs"].get("share", 0.5)
    pixels = training.digits[0]
    place = marks.Handle(knob="at", kind="point", value=at)
    image = marks.Image(pixels=pixels, limits=colour.magnitude(pixels, scale="grey"), handle=place, size=160)
    slide = marks.Handle(knob="share", kind="slide", low=0, high=1, value=str(share))
    turns = int(request["knobs"].get("turns", 0))
    whole = marks.Handle(knob="turns", kind="slide", low=0, high=5, value=str(turns), whole=True)
    counted = marks.Number(label="turns", value=turns, handle=whole)
    return marks.Group(children=(image, marks.Number(label="share", value=share, handle=slide), counted)), f"At {at}", ""


_BODIES = {
    "curves": _curves,
    "findings": _findings,
    "activations": _activations,
    "weights": _weights,
    "confusion": _confusion,
    "examples": _examples,
    "structure": _structure,
    "inspector": _inspector,
    "answer": _answer,
    "why": _why,
    "moved": _moved,
}
