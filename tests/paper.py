"""A picture of every mark with realistic and with awkward data: the golden pictures and the layout rules use them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diorama.core import marks as m
from diorama.core.colour import magnitude, symmetric
from diorama.core.picture import Check, Picture
from diorama.core.provenance import Provenance

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LONG = "a very long name of a layer that no picture was made for, features.stage4.block17.conv2"
CAPTION = "Each square is one filter of conv1; blue pixels push it up, orange pull it down. The scale stays fixed."
MADE = Provenance(
    method="weights", sentence="Every unit's weights.", knobs={"layer": "conv1"}, step=495, run="digits", seed=3
)
PICTURES: dict[str, Picture] = {}


def _picture(
    title: str,
) -> Callable[[Callable[[np.random.Generator], m.Node]], Callable[[np.random.Generator], m.Node]]:
    def keep(make: Callable[[np.random.Generator], m.Node]) -> Callable[[np.random.Generator], m.Node]:
        body = make(np.random.default_rng(7))
        PICTURES[make.__name__] = Picture(title=title, body=body, caption=CAPTION, step=495, provenance=MADE)
        return make

    return keep


def _digits(count: int, size: int = 12) -> np.ndarray:
    """Smooth blobs that look like something, in bytes."""
    at = np.linspace(-1, 1, size)
    grid = np.stack(np.meshgrid(at, at), -1)
    angles = np.arange(count) * 0.7
    centres = 0.5 * np.stack([np.cos(angles), np.sin(angles)], -1)
    distance = ((grid[None] - centres[:, None, None]) ** 2).sum(-1)
    return (255 * np.exp(-4 * distance)).astype(np.uint8)


@_picture("Weights of conv1")
def tiles(rng: np.random.Generator) -> m.Node:
    weights = rng.normal(0, 0.3, (64, 5, 5)).astype(np.float32)
    labels = tuple(str(i) for i in range(64))
    keys = tuple(f"unit:conv1/{i}" for i in range(64))
    return m.Tiles(images=weights, limits=symmetric(weights), labels=labels, keys=keys)


@_picture("Weights that are no longer numbers")
def tiles_not_finite(rng: np.random.Generator) -> m.Node:
    weights = rng.normal(0, 0.3, (12, 5, 5)).astype(np.float32)
    weights[1], weights[2, 2, 2], weights[3, 1] = np.nan, np.inf, -np.inf
    badges = ("", "dead", *[""] * 10)
    faded = np.arange(12) == 1
    return m.Tiles(images=weights, limits=symmetric(weights, 0.4), labels=(LONG,) * 12, badges=badges, faded=faded)


@_picture("Examples in colour")
def tiles_colour(rng: np.random.Generator) -> m.Node:
    images = np.repeat(_digits(10, 16)[..., None], 3, -1)
    images[..., 0] //= 2
    boxes = tuple(m.Box(x=3, y=3, width=8, height=8) for _ in range(10))
    return m.Tiles(images=images, labels=NAMES, notes=("0.93",) * 10, boxes=boxes)


@_picture("Why this answer?")
def image(rng: np.random.Generator) -> m.Node:
    pixels = _digits(1, 28)[0]
    heat = (pixels / 255.0 - 0.5) * np.linspace(-1, 1, 28)[None]
    box = m.Box(x=6, y=6, width=10, height=10, label="receptive field")
    heated = m.Image(
        pixels=pixels, heat=heat, heat_limits=symmetric(heat), contour=0.5, boxes=(box,), label="example 4", size=160
    )
    plain = m.Image(pixels=pixels, limits=magnitude([0, 255], scale="grey"), label="what the net receives")
    scores = m.Bars(values=rng.dirichlet(np.ones(10)), labels=NAMES, colours=tuple(range(10)), strong=3)
    return m.Group(direction="row", children=(plain, heated, scores))


@_picture("Confusion")
def heatmap(rng: np.random.Generator) -> m.Node:
    counts = rng.integers(0, 5, (10, 10)) + np.diag(rng.integers(80, 100, 10)).astype(float)
    return m.Heatmap(
        values=counts, limits=magnitude(counts), row_labels=NAMES, column_labels=NAMES, row_title="truth",
        column_title="answer", numbers=True, square=True, size=24,
    )


@_picture("Confusion of a hundred classes")
def heatmap_large(rng: np.random.Generator) -> m.Node:
    values = rng.random((100, 100))
    values[50:53, 20:40], values[10, 10] = np.nan, np.inf
    labels = tuple(f"class number {i}" for i in range(100))
    return m.Heatmap(
        values=values, limits=magnitude(values, 0, 0.9), row_labels=labels, column_labels=labels, square=True,
        row_title="truth", column_title="answer",
    )


@_picture("A dense layer")
def heatmap_row(rng: np.random.Generator) -> m.Node:
    return m.Group(
        children=(
            m.Heatmap(title="hidden", values=rng.normal(0, 1, (1, 64)), limits=symmetric([2.0])),
            m.Heatmap(title=LONG, values=rng.normal(0, 1, (1, 512)), limits=symmetric([3.0])),
        )
    )


def _loss(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = np.arange(0, 900.0, 3)
    return x, 2.3 * np.exp(-x / 150) + 0.05 + 0.02 * rng.normal(size=x.size) ** 2


@_picture("Loss")
def lines(rng: np.random.Generator) -> m.Node:
    x, y = _loss(rng)
    noisy = y * np.exp(0.4 * rng.normal(size=x.size))
    series = (
        m.Series(name="train", x=x, y=noisy, faint=True),
        m.Series(name="train", x=x, y=y),
        m.Series(name="held out", x=x[::10], y=y[::10] * 1.2, colour=1),
    )
    events = (
        m.Event(x=297, label="learning rate × 0.5"),
        m.Event(x=420, label="3 units of conv2 never fire", kind="finding"),
        m.Event(x=440, label="pause"),
        m.Event(x=600, end=650, label="gap", kind="gap"),
    )
    return m.Lines(series=series, y_log=True, y_title="loss", events=events, cursor=495.0)


@_picture("Many curves, some of them broken")
def lines_not_finite(rng: np.random.Generator) -> m.Node:
    x, y = _loss(rng)
    y[100:120], y[140] = np.nan, np.inf
    series = tuple(
        m.Series(
            name=f"updates/features.{i}.weight/ratio", x=x, y=y * (i + 1), low=y * (i + 0.5), high=y * (i + 2), colour=i
        )
        for i in range(8)
    )
    other = m.Series(name="loss", x=x, y=y, group="another run", colour=8)
    return m.Lines(series=(*series, other), x_kind="time", y_title="Δw/w")


@_picture("Weights of conv2 over training")
def ridges(rng: np.random.Generator) -> m.Node:
    steps, edges = np.arange(0, 900, 60.0), np.linspace(-1, 1, 61)
    middles = (edges[1:] + edges[:-1]) / 2
    width = (0.1 + 0.0003 * steps)[:, None]
    density = np.exp(-0.5 * (middles / width) ** 2) / width
    train = m.RidgeSet(name="train", steps=steps, edges=edges, density=density)
    test = m.RidgeSet(name="test", steps=steps, edges=edges + 0.1, density=density[::-1], colour=1)
    one = m.Ridges(sets=(train,), x_title="weight", cursor=480.0)
    return m.Group(children=(one, m.Ridges(sets=(train, test), x_title="activation", title="Two sets")))


@_picture("What the network plays")
def roll(rng: np.random.Generator) -> m.Node:
    starts, chances = np.arange(0, 16, 0.5), rng.random(32)
    pitches = 60.0 + np.array([0, 2, 4, 5, 7, 9, 11, 12] * 4) + np.repeat([0, 12, -12, 0], 8)
    plain = m.Roll(starts=starts[::2], lengths=np.ones(16), pitches=pitches[::2], beats=16.0, title="Plain")
    return m.Group(children=(m.Roll(
        starts=starts, lengths=np.full(32, 0.5), pitches=pitches, beats=20.0, values=chances, limits=magnitude(chances, 0.0, 1.0, "probability"),
    ), plain))


@_picture("A hundred bars")
def bars_many(rng: np.random.Generator) -> m.Node:
    values = rng.normal(0, 1, 100)
    values[4], values[6] = np.nan, np.inf
    labels = tuple(f"class number {i}" for i in range(100))
    return m.Bars(values=values, labels=labels, limits=symmetric(values, 1.5), reference=rng.normal(0, 1, 100))


@_picture("By class")
def bars(rng: np.random.Generator) -> m.Node:
    lying = m.Bars(values=rng.random(10), labels=NAMES, colours=tuple(range(10)), notes=("most", *[""] * 9))
    digits = tuple(str(i) for i in range(10))
    standing = m.Bars(values=rng.dirichlet(np.ones(10)), labels=digits, horizontal=False, strong=2, unit="probability")
    signed = m.Bars(values=rng.normal(0, 1, 10), labels=NAMES, horizontal=False)
    return m.Group(direction="grid", children=(lying, standing, signed))


@_picture("Boundary")
def field(rng: np.random.Generator) -> m.Node:
    at = np.linspace(-2, 2, 60)
    x, y = np.meshgrid(at, at)
    first = 1 / (1 + np.exp(-3 * (x + np.sin(2 * y))))
    points = rng.normal(0, 0.8, (150, 2))
    truth = (points[:, 0] + np.sin(2 * points[:, 1]) < 0).astype(float)
    classes = m.Field(
        values=np.stack([first, 1 - first], -1), extent=(-2, 2, -2, 2), classes=("moon A", "moon B"), points=points,
        point_values=truth, wrong=rng.random(150) < 0.05, x_title="x₀", y_title="x₁",
    )
    numbers = np.where(first > 0.98, np.nan, first * 2 - 1)
    plane = m.Field(values=numbers, limits=symmetric([1.0]), extent=(-2, 2, -2, 2), points=points, point_values=truth)
    return m.Group(direction="row", children=(classes, plane))


@_picture("Clusters")
def network(rng: np.random.Generator) -> m.Node:
    """Boxes with a matrix, a picture and nothing, a bundle between them, and dots held by springs."""
    matrix = rng.normal(size=(5, 4)).astype(np.float32)
    matrix[1, 2] = np.nan
    keys = tuple(f"unit:conv1/{k}" for k in range(5))
    vertices = (
        m.Vertex(form="heading", label="conv1", note="16 units", keys=("layer:conv1",)),
        m.Vertex(label="ship, truck", note="5 units", id="a", keys=keys, pixels=matrix, colour=1, expandable=True),
        m.Vertex(label="cat", note="9 units", id="b", pixels=np.repeat(_digits(1)[0][..., None], 3, 2), colour=3),
        m.Vertex(form="joint", id="j", shares=(3.0, 1.0), told="5 units to 9", expandable=True),
        m.Vertex(label="still", note="2 units", faded=True),
    )
    places = np.array([(0, 0, 108, 30), (0, 34, 108, 70), (200, 20, 108, 90), (150, 60, 9, 24), (0, 120, 108, 32)], np.float32)
    boxes = m.Network(
        vertices=vertices, places=places, links=np.array([(1, 3), (3, 2), (4, 2)]), strengths=np.array([1.0, 0.8, -0.3]),
        limits=symmetric(matrix, 2.0, "σ"), column_labels=NAMES[:4],
    )
    dots = m.Network(
        vertices=tuple(m.Vertex(form="dot", label=f"fc/{k}", colour=k % 3, keys=(f"unit:fc/{k}",)) for k in range(12)),
        places=np.column_stack([rng.uniform(0, 190, (12, 2)), np.full((12, 2), 8.0)]).astype(np.float32),
        links=np.array([(k, (k + 5) % 12) for k in range(12)]), strengths=rng.normal(size=12), extent=(200, 200),
    )
    return m.Group(children=(boxes, dots))


@_picture("Cell 17 of rnn.l1")
def text(rng: np.random.Generator) -> m.Node:
    tokens = tuple("def close(self):\n    self._file.close()\n\treturn")
    values = np.tanh(rng.normal(0, 1, len(tokens)))
    values[5] = np.nan
    likely = tuple(
        tuple(
            m.Alternative(str(c), float(p))
            for c, p in zip(rng.choice(list("etaoi \n\t"), 5), 0.5 ** np.arange(1, 6), strict=True)
        )
        for _ in tokens
    )
    return m.Text(tokens=tokens, values=values, limits=symmetric(values, 0.9), alternatives=likely, characters=True)


@_picture("Tokens")
def text_words(rng: np.random.Generator) -> m.Node:
    tokens = (
        "The",
        " film",
        "",
        " is ",
        "unbelievablylong" * 3,
        "日本",
        "\U0001f600",
        "<b>&",
        "\x00",
        "\u202e",
        *NAMES * 2,
    )
    return m.Text(tokens=tokens, values=rng.normal(0, 1, len(tokens)), limits=symmetric([2.0]))


@_picture("Examples")
def table(rng: np.random.Generator) -> m.Node:
    truth = rng.integers(0, 10, 50)
    columns = (
        m.Column(name="example", kind="image", images=_digits(50), limits=magnitude([0, 255], scale="grey")),
        m.Column(name="index", numbers=np.arange(50.0)),
        m.Column(name="truth", kind="class", numbers=truth.astype(float), texts=tuple(NAMES[i] for i in truth)),
        m.Column(name="probability", kind="share", numbers=rng.random(50)),
        m.Column(name="loss", numbers=np.r_[np.nan, np.inf, rng.exponential(1, 48)], unit="nats"),
        m.Column(name="what happened", kind="text", texts=tuple(LONG if i % 3 else "–" for i in range(50))),
    )
    return m.Table(columns=columns, sort="loss", descending=True, flagged=rng.random(50) < 0.3)


@_picture("Findings")
def number(rng: np.random.Generator) -> m.Node:
    note = "Units 4, 11, 19 are off for all 256 examples since step 120. Reinitialize them, or lower the rate."
    revive = m.Action(command="revive", label="Revive")
    return m.Group(
        children=(
            m.Number(label="3 units of conv2 never fire", note=note, tone="warn", actions=(revive,)),
            m.Number(label="Accuracy", value=0.9731, tone="good"),
            m.Number(label="Weights", value=14802),
            m.Number(label=LONG, value=float("nan"), tone="bad", unit="nats"),
        )
    )


def _chain() -> tuple[list[m.Block], list[m.Edge]]:
    maps, found, edges = _digits(14).astype(np.float32), [m.Block(id="x", label="input", detail="1 × 28 × 28")], []
    for k in range(3):
        found.append(
            m.Block(
                id=f"c{k}",
                label=f"features.{3 * k}",
                kind="Conv2d",
                detail="12 × 24 × 24",
                value=0.1 * k - 0.1,
                notes=("Δw/w 8.4e-04", f"{k} % off"),
                maps=maps,
                spark=np.exp(-np.arange(30) / 9.0),
                expandable=True,
                warning="3 units never fire" if k == 1 else "",
            )
        )
        found.append(m.Block(id=f"r{k}", label="ReLU", kind="op"))
        edges += [m.Edge(source=f"r{k - 1}" if k else "x", target=f"c{k}", label="12 × 24²")]
        edges += [m.Edge(source=f"c{k}", target=f"r{k}")]
    found.append(m.Block(id="fc", label=LONG, kind="Linear", maps=np.arange(10.0).reshape(1, 1, 10), value=0.2))
    return found, [*edges, m.Edge(source="r2", target="fc")]


@_picture("Structure")
def blocks(rng: np.random.Generator) -> m.Node:
    found, edges = _chain()
    return m.Blocks(blocks=tuple(found), edges=tuple(edges), limits=symmetric([0.2]), value_title="update ratio")


@_picture("Network")
def blocks_list(rng: np.random.Generator) -> m.Node:
    found, edges = _chain()
    return m.Blocks(blocks=tuple(found), edges=tuple(edges), limits=symmetric([0.2]), layout="list")


@_picture("A residual network, opened")
def blocks_nested(rng: np.random.Generator) -> m.Node:
    found = [m.Block(id="stem", label="stem", kind="Conv2d")]
    edges, before = [], "stem"
    for stage in ("layer1", "layer2"):
        found.append(m.Block(id=stage, label=stage, kind="Sequential", expandable=True, open=True))
        names = [f"{stage}.{op}" for op in ("conv1", "relu", "conv2", "add")]
        found += [
            m.Block(id=name, label=name.split(".")[1], kind="op", parent=stage, detail="64 × 56 × 56") for name in names
        ]
        edges += [m.Edge(source=a, target=b) for a, b in zip([before, *names[:-1]], names, strict=True)]
        edges.append(m.Edge(source=before, target=names[-1], label="residual"))
        before = names[-1]
    two = [m.Block(id=f"head{i}", label=f"head{i}", kind="Linear") for i in range(2)]
    edges += [m.Edge(source=before, target=block.id) for block in two]
    return m.Blocks(blocks=(*found, *two), edges=tuple(edges))


def with_checks(picture: Picture) -> Picture:
    """The picture with everything that may stand below it."""
    checks = (
        Check(
            name="completeness gap", value=0.00034, sentence="Small is good: the parts add up to the answer.", good=True
        ),
        Check(name="off", value=12, unit="%", good=False),
    )
    return Picture(
        title=f"{picture.title} {LONG}", body=picture.body, caption=picture.caption * 3, note="3 units are NaN.",
        checks=checks, provenance=MADE, step=495,
    )


@_picture("Six trainings side by side")
def parallel(rng: np.random.Generator) -> m.Node:
    values = np.stack([rng.uniform(1e-3, 1e-1, 6), rng.integers(16, 129, 6), rng.uniform(0.6, 0.99, 6), rng.normal(0, 2, 6)], 1)
    values[2, 1], values[4, 3] = np.nan, np.inf
    axes = ("learning rate", "batch", "accuracy", LONG)
    keys, labels = tuple(f"run:r{i}" for i in range(6)), tuple(f"run {i}" for i in range(6))
    return m.Parallel(values=values, axes=axes, keys=keys, labels=labels, colours=tuple(range(6)), height=140)


@_picture("Examples as points")
def scatter(rng: np.random.Generator) -> m.Node:
    classes = np.arange(300) % 3
    points = rng.normal(0, 0.5, (300, 3)) + np.array([[0, 2, 0], [-2, -1, 1], [2, -1, -1]])[classes]
    points[5] = np.nan
    told = {"classes": ("zero", LONG, "two"), "values": classes.astype(float), "kind": "example", "size": 220}
    border = np.array([[-3, -2, -1, -2, 1], [-1, -2, -1, 0, 1], [-1, 0, -3, -2, 1]], float)
    pictures = rng.integers(0, 255, (300, 5, 5, 3)).astype(np.uint8)
    plane = m.Scatter(
        points=points[:, :2], borders=border, wrong=classes == 2, trails=points[:, None, :2] * np.array([0.5, 0.8])[:, None], **told,
    )
    numbers = m.Scatter(
        arrows=np.array([[2.0, 1.0], [-1.5, -1.0]]), arrow_labels=("unit 3", "unit 7"), middle=(0.0, 0.0),
        points=points[:, :2], values=points[:, 0], limits=magnitude(points[:, 0]), faded=classes == 1, sizes=np.abs(points[:, 1]), size=220,
    )
    small = m.Scatter(points=points[:, :2], drawn="thumbnails", pictures=pictures, **told)
    return m.Group(children=(plane, m.Scatter(points=points, **told), numbers, small), direction="grid")


@_picture("The layers' health")
def table_of_histories(rng: np.random.Generator) -> m.Node:
    steps = np.arange(0, 480, 10.0)
    ratio = 10 ** rng.normal(-2.6, 0.15, (4, 48))
    ratio[1, 30:] *= np.linspace(1, 300, 18)
    ratio[2] /= 10_000
    ratio[3, 40:] = np.nan
    dead = np.linspace(0, 1, 4)[:, None] * np.linspace(40, 70, 48)
    update = m.Column(
        name="update", kind="history", numbers=ratio[:, -1], histories=ratio, log=True, range=(1e-8, 1),
        healthy=np.broadcast_to(np.array([1e-5, 0.1]), (4, 48, 2)), outside=np.array([0, 1, -1, 2], np.int8),
    )
    share = m.Column(
        name="dead", kind="history", numbers=dead[:, -1], histories=dead, range=(0, 100), unit="%",
        healthy=np.broadcast_to(np.array([-np.inf, 50.0]), (4, 48, 2)), outside=np.array([0, 0, 0, 1], np.int8),
    )
    names = m.Column(name="layer", kind="text", texts=("conv1", "conv2", "hidden", "out"))
    return m.Table(columns=(names, update, share), steps=steps, cursor=400.0)
