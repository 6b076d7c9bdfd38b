"""Sample pictures made of blocks, text, tables and numbers."""

from __future__ import annotations

import numpy as np
from samples import DIGITS, HOSTILE, NAMES, picture, random_maps

from diorama.core import marks
from diorama.core.colour import Limits, magnitude, symmetric
from diorama.core.picture import Check, Picture


def structure() -> Picture:
    """A residual block opened to its ops, coloured by a signal."""
    names = [
        ("input", "", "input", "1 × 24 × 24"),
        ("conv1", "", "Conv2d", "12 × 24 × 24 · 120"),
        ("layer1", "", "Sequential", "24 × 12 × 12"),
        ("layer1.0", "layer1", "BasicBlock", "24 × 12 × 12"),
        ("layer1.0.conv1", "layer1.0", "Conv2d", "24 × 12 × 12 · 2,592"),
        ("layer1.0.bn1", "layer1.0", "BatchNorm2d", "24 × 12 × 12 · 48"),
        ("op:layer1.0.relu", "layer1.0", "relu", ""),
        ("layer1.0.conv2", "layer1.0", "Conv2d", "24 × 12 × 12 · 5,184"),
        ("op:layer1.0.add", "layer1.0", "add", ""),
        ("op:layer1.0.relu#2", "layer1.0", "relu", ""),
        ("layer1.1", "layer1", "BasicBlock", "24 × 12 × 12"),
        ("fc", "", "Linear", "10 · 970"),
    ]
    flows = [
        ("input", "conv1", "1 × 24 × 24"),
        ("conv1", "layer1.0.conv1", "12 × 24 × 24"),
        ("conv1", "op:layer1.0.add", "12 × 24 × 24"),
        ("layer1.0.conv1", "layer1.0.bn1", ""),
        ("layer1.0.bn1", "op:layer1.0.relu", ""),
        ("op:layer1.0.relu", "layer1.0.conv2", ""),
        ("layer1.0.conv2", "op:layer1.0.add", ""),
        ("op:layer1.0.add", "op:layer1.0.relu#2", ""),
        ("op:layer1.0.relu#2", "layer1.1", "24 × 12 × 12"),
        ("layer1.1", "fc", "96"),
    ]
    values = {"conv1": 8.4e-4, "layer1.0.conv1": 1.4e-3, "layer1.0.conv2": 2e-3, "fc": 1.3e-3}
    openable = {"layer1", "layer1.0", "layer1.1"}
    blocks = tuple(
        marks.Block(
            id=name,
            label=name.rsplit(".", 1)[-1].removeprefix("op:"),
            parent=parent,
            kind=kind,
            detail=detail,
            key=name if ":" in name else f"layer:{name}",
            value=values.get(name),
            expandable=name in openable,
            open=name in {"layer1", "layer1.0"},
            warning="3 units never fire" if name == "layer1.0.conv2" else "",
        )
        for name, parent, kind, detail in names
    )
    edges = tuple(marks.Edge(source=a, target=b, label=label) for a, b, label in flows)
    limits = magnitude(np.array(list(values.values())), unit="Δw/w")
    body = marks.Blocks(
        blocks=blocks,
        edges=edges,
        limits=limits,
        value_title="update ratio",
        handle=marks.Handle(knob="open", kind="type"),
    )
    return picture("Structure", body)


def network() -> Picture:
    """The network map: cards with maps, curves and facts."""
    generator = np.random.default_rng(0)
    layers = [
        ("conv1", "12 × 24 × 24", "1→12, 3×3"),
        ("conv2", "24 × 12 × 12", "12→24, 3×3"),
        ("conv3", "24 × 6 × 6", "24→24, 3×3"),
        ("hidden", "64", "96→64"),
        ("out", "10", "64→10"),
    ]
    blocks = []
    for i, (name, shape, wiring) in enumerate(layers):
        maps = (
            random_maps(11, (24, 16, 8)[min(i, 2)], i)
            if i < 3
            else np.maximum(generator.normal(size=(1, 1, (64, 10)[i - 3])), 0)
        )
        spark = 1 / (1 + np.arange(40) / 6) + generator.normal(0, 0.03, 40)
        blocks.append(
            marks.Block(
                id=name,
                label=name,
                detail=shape,
                kind="Conv2d" if i < 3 else "Linear",
                key=f"layer:{name}",
                maps=maps.astype(np.float32),
                maps_limits=magnitude(maps),
                spark=spark,
                notes=(wiring, "Δw/w 0.00084", f"{i * 9} % off"),
                warning="3 units never fire" if name == "conv2" else "",
            )
        )
    flows = ("ReLU · max-pool 2", "ReLU · max-pool 2", "ReLU · average-pool → 2 × 2", "ReLU")
    edges = tuple(
        marks.Edge(source=a[0], target=b[0], label=flow) for a, b, flow in zip(layers, layers[1:], flows, strict=False)
    )
    return picture("Network", marks.Blocks(blocks=tuple(blocks), edges=edges, layout="list"))


def cells() -> Picture:
    """Text by one cell, with the five likeliest next characters below each."""
    passage = 'def open(path, mode="r"):\n    """Open a file."""\n    return _io.open(path, mode)\n'
    generator = np.random.default_rng(2)
    inside, values = 0.0, []
    for character in passage:
        inside = 1.0 if character == "(" else -0.6 if character == ")" else inside * 0.96 + generator.normal(0, 0.05)
        values.append(np.tanh(inside))
    letters = "etaoinsr ("
    others = []
    for character in passage:
        shares = np.sort(generator.dirichlet(np.full(5, 0.6)))[::-1]
        guesses = [character, *generator.permutation([c for c in letters if c != character])[:4]]
        if generator.random() < 0.3:
            guesses[0], guesses[1] = guesses[1], guesses[0]
        others.append(tuple(marks.Alternative(str(c), float(p)) for c, p in zip(guesses, shares, strict=True)))
    array = np.array(values, np.float32)
    text = marks.Text(
        title="rnn.l1/37",
        tokens=tuple(passage),
        values=array,
        limits=symmetric(array, 1),
        alternatives=tuple(others),
        characters=True,
        keys=tuple(f"token:{i}" for i in range(len(passage))),
    )
    words = ("The", "cat", "sat", "on", "the", "mat", "because", "it", "was", HOSTILE)
    signed = np.linspace(-1, 1, len(words))
    plain = marks.Text(title="What pushes", tokens=words, values=signed, limits=symmetric(signed))
    return picture("Cells", marks.Group(children=(text, plain)))


def heads() -> Picture:
    """What a head takes for a patch of a picture, the answers after each layer, what each head is, and a text partly struck out."""
    shares = np.random.default_rng(9).dirichlet(np.ones(16), 1)[0].reshape(4, 4)
    seen = marks.Image(
        title="Patches", pixels=DIGITS.images[3], limits=magnitude(DIGITS.images[3], 0, 16, "grey"), heat=np.kron(shares, np.ones((2, 2))),
        heat_limits=magnitude(shares), patches=(4, 4), patch_keys=tuple(f"token:{k}" for k in range(16)), size=160,
    )
    sure = np.linspace(0.1, 1, 12).reshape(3, 4)
    layers = marks.Heatmap(
        title="Lens", values=sure, limits=magnitude(sure, 0, 1, "probability"), cell_texts=(*"abcdefgh", "↵", "␣", "the", HOSTILE),
        row_labels=("embedding", "first", "second"), column_labels=tuple("wxyz"), size=18,
    )
    kinds = marks.Heatmap(
        title="Heads", values=sure, limits=magnitude(sure), cell_keys=tuple(f"head:b.{k // 4}/{k % 4}" for k in range(12)), numbers=True, size=18,
    )
    losses = np.array([0.0, 0.0, 1.2, 0.4, 2.0])
    text = marks.Text(
        title="Struck", tokens=("a", "prompt", "that", "is", HOSTILE), values=losses, limits=magnitude(losses, unit="nats"),
        struck=np.array([True, True, False, False, False]),
    )
    return picture("Attention", marks.Group(children=(seen, layers, kinds, text), direction="grid"))


def table() -> Picture:
    """Examples with picture, truth, answer, loss and confidence."""
    generator = np.random.default_rng(3)
    count = 24
    truth = DIGITS.target[:count]
    answer = np.where(generator.random(count) < 0.2, generator.integers(0, 10, count), truth)
    columns = (
        marks.Column(
            name="example",
            kind="image",
            images=(255 - DIGITS.images[:count] * 15.9).astype(np.uint8),
            limits=Limits(low=0, high=255, scale="grey"),
        ),
        marks.Column(name="true", kind="class", numbers=truth, texts=tuple(NAMES[i] for i in truth)),
        marks.Column(name="answer", kind="class", numbers=answer, texts=tuple(NAMES[i] for i in answer)),
        marks.Column(name="certainty", kind="share", numbers=generator.beta(8, 2, count)),
        marks.Column(name="loss", numbers=np.where(truth == answer, 0.05, 2.4) * generator.random(count)),
        marks.Column(name="change", numbers=generator.normal(0, 0.1, count), signed=True),
        marks.Column(name="note", kind="text", texts=(HOSTILE, *[""] * (count - 1))),
    )
    body = marks.Table(
        columns=columns,
        row_keys=tuple(f"example:{i}" for i in range(count)),
        sort="loss",
        descending=True,
        flagged=truth != answer,
    )
    return picture("Examples", body)


def health() -> Picture:
    """A table of small histories: within their range, above it, below it, not a number, and not recorded; one row folds."""
    generator = np.random.default_rng(8)
    steps = np.arange(0, 480, 10.0)
    ratio = 10 ** generator.normal(-2.6, 0.15, (5, 48))
    ratio[1, 30:] *= np.linspace(1, 300, 18)
    ratio[2] /= 10_000
    ratio[3, 40:] = np.nan
    ratio[4] = np.nan
    ends = np.broadcast_to(np.array([1e-5, 0.1]), (5, 48, 2))
    dead = np.linspace(0, 1, 5)[:, None] * np.linspace(40, 70, 48)
    open_end = np.broadcast_to(np.array([-np.inf, 50.0]), (5, 48, 2))
    columns = (
        marks.Column(name="layer", kind="text", texts=("conv1", "conv2", HOSTILE, "blocks.*.attn × 12", "out")),
        marks.Column(
            name="update", kind="history", numbers=ratio[:, -1], histories=ratio, healthy=ends, log=True, range=(1e-8, 1),
            outside=np.array([0, 1, -1, 2, 0], np.int8), note="How much a step changes. Healthy: 0.00001 to 0.1.",
        ),
        marks.Column(
            name="dead", kind="history", numbers=dead[:, -1], histories=dead, spreads=np.stack([dead - 5, dead + 5], 2),
            healthy=open_end, range=(0, 100), outside=np.array([0, 0, 0, 1, 1], np.int8), unit="%",
        ),
    )
    body = marks.Table(
        columns=columns, row_keys=("layer:conv1", "layer:conv2", "layer:a", "layer:blocks.3.attn", "layer:out"), steps=steps,
        cursor=400.0, folds=("", "", "", "blocks.*.attn", ""), handle=marks.Handle(knob="open", kind="type"),
    )
    return picture("Health", body)


def handles() -> Picture:
    """A slider, a place on an image, a place on a plane and a line over one: what dragging sets."""
    maps = random_maps(4, 24, 5)
    slide = marks.Handle(knob="strength", kind="slide", low=0, high=2, value="1")
    tiles = marks.Tiles(title="Slide", images=maps, limits=magnitude(maps), handle=slide)
    point = marks.Handle(knob="patch", kind="point")
    image = marks.Image(title="Drag", pixels=maps[0], limits=magnitude(maps), handle=point, size=120)
    plane = np.add.outer(np.linspace(-1, 1, 20), np.linspace(-1, 1, 30))
    box = (0.0, 3.0, 0.0, 2.0)
    field = marks.Field(title="Click", values=plane, limits=symmetric(plane), extent=box, handle=point, size=160)
    line = marks.Handle(knob="way", kind="strokes", value="0.5,0.5;1.5,1.5;2.5,1")
    drawn = marks.Field(title="Draw", values=plane, limits=symmetric(plane), extent=box, handle=line, size=160)
    return picture("Handles", marks.Group(children=(tiles, image, field, drawn), direction="row"))


def findings() -> Picture:
    """Findings with actions, and numbers with units."""
    notes = (
        marks.Number(
            label="3 units of conv2 never fire",
            tone="warn",
            note="units 4, 11, 19 are off for all 256 examples since step 120.",
            key="layer:conv2",
            actions=(
                marks.Action(command="snapshot", label="Snapshot"),
                marks.Action(command="learning_rate", label="Halve the rate", knobs={"factor": 0.5}),
            ),
        ),
        marks.Number(label="8 is often read as 1", note="6 % of the eights, falling."),
        marks.Number(label="conv1 has settled", tone="good", note="It moved 0.4 % in the last 200 steps."),
        marks.Number(label="Loss is not finite", tone="bad", value=float("nan")),
        marks.Number(label="weights", value=14802.0),
        marks.Number(label=HOSTILE, value=0.00084, unit="Δw/w"),
    )
    return picture(
        "Findings",
        marks.Group(children=notes),
        checks=(Check(name="completeness gap", value=0.003, sentence="the closer to 0 the better"),),
    )
