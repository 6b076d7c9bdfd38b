"""Pictures of every mark with data like that of real networks, for the browser tests and for looking at them."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits, make_moons

from diorama.core import marks
from diorama.core.colour import Limits, magnitude, symmetric
from diorama.core.picture import Check, Picture
from diorama.core.provenance import Provenance

DIGITS = load_digits()
NAMES = tuple(str(i) for i in range(10))
HOSTILE = '<img src=x onerror="document.title=1">'


def all_pictures() -> dict[str, Picture]:
    """Every picture by its name."""
    return {name: make() for name, make in MAKERS.items()}


def _picture(title: str, body: marks.Node, caption: str = "", **rest: object) -> Picture:
    made = Provenance(method=title, sentence="Made for the tests.", knobs={"smoothing": 16}, seed=0, source="none")
    return Picture(title=title, body=body, caption=caption, provenance=made, step=495, **rest)  # type: ignore[arg-type]


def _enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    return np.kron(image, np.ones((factor, factor), image.dtype))


def _maps(count: int, size: int, seed: int) -> np.ndarray:
    """Rectified responses of random 3 × 3 filters to a digit, strongest first."""
    generator = np.random.default_rng(seed)
    image = DIGITS.images[3] / 16
    padded = np.pad(_enlarge(image, max(1, size // 8)), 1)
    height = padded.shape[0] - 2
    found = []
    for _ in range(count):
        kernel = generator.normal(size=(3, 3))
        shifted = [padded[i : i + height, j : j + height] * kernel[i, j] for i in range(3) for j in range(3)]
        found.append(np.maximum(sum(shifted), 0))
    maps = np.stack(found).astype(np.float32)
    return maps[np.argsort(-maps.max((1, 2)))]


def activations() -> Picture:
    """Maps of three layers, a dead one and the chosen digit."""
    groups = []
    for layer, count, size, shown in (("conv1", 12, 24, 44), ("conv2", 24, 16, 40), ("conv3", 24, 8, 36)):
        maps = _maps(count, size, size)
        maps[-1] = 0
        order = np.random.default_rng(size).permutation(count)
        groups.append(
            marks.Tiles(
                title=layer,
                images=maps,
                limits=magnitude(maps),
                size=shown,
                labels=tuple(str(i) for i in order),
                keys=tuple(f"unit:{layer}/{i}" for i in order),
                faded=maps.max((1, 2)) == 0,
                badges=(*[""] * (count - 1), "dead"),
            )
        )
    caption = "Each square is one unit's map: bright where it responds. Faded squares are off for this input."
    return _picture("Activations of the drawn 3", marks.Group(children=tuple(groups)), caption)


def weights() -> Picture:
    """Signed 3 × 3 filters with NaN, infinite and clipped values."""
    values = np.random.default_rng(1).normal(0, 0.3, (12, 3, 3)).astype(np.float32)
    values[3, 1, 1], values[5, 0, 2], values[7, 2, 2] = np.nan, np.inf, 2.0
    tiles = marks.Tiles(
        title="Weights of conv1",
        images=values,
        limits=symmetric(values, 0.73),
        columns=6,
        size=44,
        labels=tuple(str(i) for i in range(12)),
        keys=tuple(f"unit:conv1/{i}" for i in range(12)),
        caption="Each square is one 3 × 3 filter. The scale stays fixed while you scrub.",
    )
    return _picture("Weights", tiles)


def examples() -> Picture:
    """Examples in their own grey, with boxes and notes."""
    pixels = (255 - DIGITS.images[:9] * 15.9).astype(np.uint8)
    tiles = marks.Tiles(
        title="Fires most for",
        images=pixels,
        limits=Limits(low=0, high=255, scale="grey"),
        columns=3,
        size=76,
        notes=tuple(f"{DIGITS.target[i]} · {10.5 - i / 10:.1f}" for i in range(9)),
        keys=tuple(f"example:{i}" for i in range(9)),
        boxes=tuple(marks.Box(x=i % 3, y=2, width=4, height=4) for i in range(9)),
    )
    return _picture("Top examples", tiles)


def image() -> Picture:
    """A coloured picture with heat, contour and a box; a map whose places can be chosen."""
    y, x = np.mgrid[0:64, 0:64] / 63
    colours = np.stack([x, y, 1 - x * y], -1)
    heat = (np.exp(-((x - 0.3) ** 2 + (y - 0.4) ** 2) * 30) - np.exp(-((x - 0.75) ** 2 + (y - 0.7) ** 2) * 40)).astype(
        np.float32
    )
    first = marks.Image(
        title="Why this answer",
        pixels=(colours * 255).astype(np.uint8),
        heat=heat,
        heat_limits=symmetric(heat),
        contour=0.5,
        boxes=(marks.Box(x=8, y=14, width=24, height=24, label="patch", key="unit:conv2/7@2,3"),),
        label="a picture",
        size=220,
    )
    maps = _maps(1, 24, 3)[0]
    second = marks.Image(
        title="conv2/7", pixels=maps, limits=magnitude(maps), place_key="unit:conv2/7", label="on the drawn 3", size=130
    )
    return _picture("Images", marks.Group(children=(first, second), direction="grid"))


def curves() -> Picture:
    """Training and held-out loss on a log scale, with events, a gap, a spike of NaN and the slider."""
    generator = np.random.default_rng(0)
    steps = np.arange(900)
    true = 2.3 * np.exp(-steps / 90) + 0.06 + 0.2 * np.exp(-(((steps - 480) / 12) ** 2))
    raw = true * np.exp(generator.normal(0, 0.5, 900))
    raw[700:703] = np.nan
    raw[704] = np.inf
    held = np.arange(0, 900, 10)
    kernel = np.ones(16) / 16
    smooth = np.convolve(np.nan_to_num(raw, nan=0.07, posinf=0.07), kernel, "same")
    series = (
        marks.Series(name="train", x=steps, y=raw, colour=0, faint=True),
        marks.Series(name="train", x=steps, y=smooth, colour=0, key="run:a"),
        marks.Series(name="held out", x=held, y=true[held] * np.exp(generator.normal(0, 0.12, 90)) * 1.2, colour=1),
    )
    events = (
        marks.Event(x=297, label="lr × 0.5"),
        marks.Event(x=480, label="2 units died", kind="finding"),
        marks.Event(x=600, end=640, label="40 steps not recorded", kind="gap"),
    )
    lines = marks.Lines(
        title="Loss",
        series=series,
        y_title="cross-entropy",
        y_log=True,
        events=events,
        cursor=495.0,
        height=210,
        handle=marks.Handle(knob="steps", kind="range", low=0, high=899),
    )
    return _picture(
        "Loss",
        lines,
        "Training loss of each batch and held-out loss every 10 steps. The learning rate was halved at step 297.",
    )


def envelope() -> Picture:
    """A million points as their exact envelope, beside percentile bands over time."""
    x = np.linspace(0, 1_000_000, 800)
    middle = np.exp(-x / 3e5) + 0.1
    high = middle + 0.05
    high[400] = 1.0
    wide = marks.Lines(
        title="A million steps",
        height=170,
        cursor=250_000.0,
        series=(marks.Series(name="loss", x=x, y=middle, low=middle - 0.05, high=high, colour=0),),
    )
    t = np.linspace(0, 540, 120)
    bands = tuple(
        marks.Series(
            name=f"{p} %", x=t, y=np.zeros_like(t), low=-s * (1 + t / 300), high=s * (1 + t / 400), band=True, colour=4
        )
        for p, s in ((90, 0.3), (50, 0.12))
    )
    median = marks.Series(name="median", x=t, y=0.02 * np.sin(t / 40), colour=4)
    percentiles = marks.Lines(title="Percentiles", series=(*bands, median), x_title="time", x_kind="time", height=170)
    runs = tuple(
        marks.Series(
            name="accuracy",
            group=g,
            x=np.arange(0, 400, 4),
            y=1 - 0.9 * np.exp(-np.arange(0, 400, 4) / r),
            colour=i,
            key=f"run:{g}",
            dash=i == 1,
        )
        for i, (g, r) in enumerate((("a", 40), ("b", 70), ("c", 75)))
    )
    compared = marks.Lines(title="Three runs", series=runs, height=170, y_title="accuracy")
    return _picture("Envelopes", marks.Group(children=(wide, percentiles, compared), direction="row"))


def distributions() -> Picture:
    """A tensor's distribution over training, alone and for two runs."""
    edges = np.linspace(-0.5, 0.5, 65)
    middle = (edges[1:] + edges[:-1]) / 2
    steps = np.arange(0, 901, 60)

    def density(growth: float) -> np.ndarray:
        widths = 0.07 + 0.1 * growth * steps / 900
        rows = np.exp(-((middle[None] - 0.02 * growth) ** 2) / (2 * widths[:, None] ** 2)) / widths[:, None]
        rows[0] = np.where(np.abs(middle) < 0.19, 2.6, 0)
        return rows / rows.sum(1, keepdims=True) * 64

    one = marks.RidgeSet(name="conv2.weight", steps=steps, edges=edges, density=density(1), colour=0)
    other = marks.RidgeSet(name="run b", steps=steps, edges=edges, density=density(0.4), colour=1)
    single = marks.Ridges(
        title="Weights of conv2 over training", sets=(one,), cursor=480.0, height=220, x_title="value"
    )
    both = marks.Ridges(title="Two runs", sets=(one, other), cursor=480.0, height=220)
    return _picture("Distributions", marks.Group(children=(single, both), direction="row"))


def bars() -> Picture:
    """Lying bars by class, signed bars with references, the answer as standing bars, and odd values."""
    means = np.array([1.49, 1.28, 1.66, 1.49, 1.54, 1.49, 1.58, 1.31, 1.35, 1.52])
    by_class = marks.Bars(
        title="By class",
        values=means,
        labels=NAMES,
        keys=tuple(f"class:{i}" for i in range(10)),
        colours=tuple(range(10)),
        caption="Most for 2, least for 1.",
    )
    signed = np.array([0.8, -0.3, 0.1, -0.9, np.nan])
    columns = marks.Bars(
        title="Pushes",
        values=signed,
        labels=("median income", "age", "rooms", "latitude", HOSTILE),
        reference=signed / 2,
        limits=symmetric(signed[:4]),
    )
    answer = np.array([0.001, 0.0, 0.02, 0.93, 0.0, 0.01, 0.0, 0.0, 0.03, 0.009])
    standing = marks.Bars(
        title="answer",
        values=answer,
        labels=NAMES,
        colours=tuple(range(10)),
        horizontal=False,
        strong=3,
        limits=Limits(low=0, high=1, scale="probability"),
        keys=tuple(f"class:{i}" for i in range(10)),
    )
    return _picture("Bars", marks.Group(children=(by_class, columns, standing), direction="row"))


def confusion() -> Picture:
    """A confusion matrix, a neuron by class matrix and a dense layer's strip."""
    generator = np.random.default_rng(4)
    counts = np.diag(np.full(10, 1.0))
    for _ in range(14):
        counts[generator.integers(10), generator.integers(10)] -= generator.uniform(0.1, 0.4)
    square = marks.Heatmap(
        title="Confusion",
        values=counts,
        limits=symmetric(counts, 1),
        row_labels=NAMES,
        column_labels=NAMES,
        row_title="true",
        column_title="answered",
        square=True,
        row_keys=tuple(f"class:{i}" for i in range(10)),
        column_keys=tuple(f"class:{i}" for i in range(10)),
    )
    numbers = generator.normal(0, 1, (6, 8))
    numbers[1, 2], numbers[3, 4], numbers[5, 5] = np.nan, np.inf, 9.0
    odd = marks.Heatmap(
        title="Numbers",
        values=numbers,
        limits=symmetric(numbers, 2.5),
        row_labels=tuple(f"unit {i}" for i in range(6)),
        column_labels=tuple("abcdefgh"),
        numbers=True,
        size=22,
    )
    strip = np.maximum(generator.normal(0, 1, (1, 64)), 0)
    dense = marks.Heatmap(
        title="hidden",
        values=strip,
        limits=magnitude(strip),
        column_keys=tuple(f"unit:hidden/{i}" for i in range(64)),
        size=18,
    )
    return _picture("Matrices", marks.Group(children=(square, odd, dense), direction="row"))


def boundary() -> Picture:
    """The regions of a moons classifier, and a regression surface."""
    points, labels = make_moons(120, noise=0.18, random_state=0)
    grid = 90
    y, x = np.mgrid[-1.2 : 1.8 : grid * 1j, -1.8 : 2.8 : grid * 1j]
    logit = 3 * (np.sin(x * 1.7 + 0.3) * 0.9 - y * 1.4 + 0.35)
    upper = 1 / (1 + np.exp(-logit))
    planes = np.stack([1 - upper, upper], -1).astype(np.float32)
    guess = (np.sin(points[:, 0] * 1.7 + 0.3) * 0.9 - points[:, 1] * 1.4 + 0.35) > 0
    regions = marks.Field(
        title="Regions",
        values=planes,
        extent=(-1.8, 2.8, -1.2, 1.8),
        classes=("upper moon", "lower moon"),
        points=points,
        point_values=labels,
        point_keys=tuple(f"example:{i}" for i in range(120)),
        wrong=guess != (labels == 1),
        x_title="x",
        y_title="y",
    )
    surface = marks.Field(
        title="Surface",
        values=logit.astype(np.float32),
        limits=symmetric(logit),
        extent=(-1.8, 2.8, -1.2, 1.8),
        size=260,
    )
    return _picture("Boundary", marks.Group(children=(regions, surface), direction="row"))


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
    return _picture("Structure", body)


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
            _maps(11, (24, 16, 8)[min(i, 2)], i)
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
                notes=(wiring, "Δw/w 8.4e-04", f"{i * 9} % off"),
                warning="3 units never fire" if name == "conv2" else "",
            )
        )
    flows = ("ReLU · max-pool 2", "ReLU · max-pool 2", "ReLU · average-pool → 2 × 2", "ReLU")
    edges = tuple(
        marks.Edge(source=a[0], target=b[0], label=flow) for a, b, flow in zip(layers, layers[1:], flows, strict=False)
    )
    return _picture("Network", marks.Blocks(blocks=tuple(blocks), edges=edges, layout="list"))


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
    return _picture("Cells", marks.Group(children=(text, plain)))


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
    return _picture("Examples", body)


def handles() -> Picture:
    """A slider, a point on an image and a point on a plane: what dragging sets."""
    maps = _maps(4, 24, 5)
    slide = marks.Handle(knob="strength", kind="slide", low=0, high=2, value="1")
    tiles = marks.Tiles(title="Slide", images=maps, limits=magnitude(maps), handle=slide)
    point = marks.Handle(knob="patch", kind="point")
    image = marks.Image(title="Drag", pixels=maps[0], limits=magnitude(maps), handle=point, size=120)
    plane = np.add.outer(np.linspace(-1, 1, 20), np.linspace(-1, 1, 30))
    box = (0.0, 3.0, 0.0, 2.0)
    field = marks.Field(title="Click", values=plane, limits=symmetric(plane), extent=box, handle=point, size=160)
    return _picture("Handles", marks.Group(children=(tiles, image, field), direction="row"))


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
    return _picture(
        "Findings",
        marks.Group(children=notes),
        checks=(Check(name="completeness gap", value=0.003, sentence="the closer to 0 the better"),),
    )


MAKERS = {
    make.__name__: make
    for make in (
        activations,
        weights,
        examples,
        image,
        curves,
        envelope,
        distributions,
        bars,
        confusion,
        boundary,
        structure,
        network,
        cells,
        table,
        handles,
        findings,
    )
}
