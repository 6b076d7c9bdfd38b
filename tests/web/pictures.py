"""Pictures of every mark with data like that of real networks, for the browser tests and for looking at them."""

from __future__ import annotations

from typing import Any

import numpy as np
from pictures_of_words import cells, findings, handles, heads, health, network, structure, table
from samples import DIGITS, HOSTILE, NAMES, picture, random_maps
from sklearn.datasets import make_moons

from diorama.core import marks
from diorama.core.colour import Limits, magnitude, symmetric
from diorama.core.picture import Picture


def activations() -> Picture:
    """Maps of three layers, a dead one and the chosen digit."""
    groups = []
    for layer, count, size, shown in (("conv1", 12, 24, 44), ("conv2", 24, 16, 40), ("conv3", 24, 8, 36)):
        maps = random_maps(count, size, size)
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
    return picture("Activations of the drawn 3", marks.Group(children=tuple(groups)), caption)


def maps() -> Picture:
    """Maps of several methods side by side on one input, and one of another size."""
    found = random_maps(3, 24, 11)
    pixels = np.kron(DIGITS.images[3] / 16, np.ones((3, 3))).astype(np.float32)
    grey = Limits(low=0, high=1, scale="grey")
    over = [
        marks.Image(
            title=f"method {i}", pixels=pixels, limits=grey, heat=heat - heat.mean(), heat_limits=symmetric(heat), size=120
        )
        for i, heat in enumerate(found[:2])
    ]
    alone = marks.Image(title="alone", pixels=found[2], limits=magnitude(found[2]), size=120)
    other = marks.Image(title="another size", pixels=pixels[:12, :12], limits=grey, size=120)
    return picture("Why a 3", marks.Group(children=(*over, alone, other), direction="grid"))


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
    return picture("Weights", tiles)


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
    return picture("Top examples", tiles)


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
    maps = random_maps(1, 24, 3)[0]
    second = marks.Image(
        title="conv2/7", pixels=maps, limits=magnitude(maps), place_key="unit:conv2/7", label="on the drawn 3", size=130
    )
    return picture("Images", marks.Group(children=(first, second), direction="grid"))


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
    return picture(
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
    return picture("Envelopes", marks.Group(children=(wide, percentiles, compared), direction="row"))


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
    return picture("Distributions", marks.Group(children=(single, both), direction="row"))


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
    return picture("Bars", marks.Group(children=(by_class, columns, standing), direction="row"))


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
    return picture("Matrices", marks.Group(children=(square, odd, dense), direction="row"))


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
    return picture("Boundary", marks.Group(children=(regions, surface), direction="row"))


def all_pictures() -> dict[str, Picture]:
    """Every picture by its name."""
    return {name: make() for name, make in MAKERS.items()}


def roll() -> Picture:
    """A melody with how likely each note was, and one without; nothing at all."""
    starts, pitches = np.arange(0, 8, 0.5), np.array([60.0, 62, 64, 65, 67, 69, 71, 72, 72, 71, 69, 67, 65, 64, 62, 60])
    chances = np.linspace(0.1, 1, 16)
    own = marks.Roll(
        title="Melody", starts=starts, lengths=np.full(16, 0.5), pitches=pitches, beats=10.0, values=chances,
        limits=magnitude(chances, 0.0, 1.0, "probability", unit="probability"), keys=tuple(f"token:{k}" for k in range(16)),
    )
    plain = marks.Roll(title=HOSTILE, starts=starts[::4], lengths=np.full(4, 1.5), pitches=pitches[::4], beats=8.0)
    silent = marks.Roll(title="silent", starts=starts[:0], lengths=starts[:0], pitches=starts[:0], beats=8.0)
    return picture("What it plays", marks.Group(children=(own, marks.Group(children=(plain, silent), direction="grid"))))


def parallel() -> Picture:
    """Six runs over four quantities, two of them without a number."""
    values = np.random.default_rng(5).uniform(0, 1, (6, 4))
    values[2, 1], values[4, 3] = np.nan, np.inf
    mark = marks.Parallel(
        title="Runs", values=values, axes=("learning rate", "batch", "accuracy", HOSTILE), colours=tuple(range(6)),
        keys=tuple(f"run:r{i}" for i in range(6)), labels=tuple(f"run {i}" for i in range(6)),
    )
    return picture("Six trainings", mark)


def scatter() -> Picture:
    """Sixty points of three classes on a plane with trails and contours, and in space; their pictures on a grid."""
    rng = np.random.default_rng(6)
    classes = np.arange(60) % 3
    points = rng.normal(0, 0.6, (60, 2)) + np.array([[0, 2], [-2, -1], [2, -1]])[classes]
    pictures = (rng.uniform(0, 1, (60, 6, 6)) * 255).astype(np.uint8).repeat(3).reshape(60, 6, 6, 3)
    points[7] = np.nan
    told: dict[str, Any] = {
        "values": classes.astype(float), "classes": ("zero", "one", HOSTILE), "kind": "example", "pictures": pictures, "size": 240,
        "labels": tuple(f"the item {i}" for i in range(60)),
    }
    ways = np.stack([points * share for share in (0.5, 0.8)], 1)
    border = np.array([[-3, -2, -1, -2, 1], [-1, -2, -1, 0, 1], [-1, 0, -3, -2, 1]], float)
    plane = marks.Scatter(title="Plane", points=points, trails=ways, borders=border, wrong=classes == 2, **told)
    space = marks.Scatter(
        title="Space", points=np.column_stack([points, rng.normal(0, 1, 60)]), faded=classes == 1, arrows=np.array([[1.5, 1.5, 0.5]]),
        arrow_labels=(HOSTILE,), middle=(0.0, 0.0, 0.0), **told,
    )
    small = marks.Scatter(title="Pictures", points=points, drawn="thumbnails", **told)
    return picture("Sixty points", marks.Group(children=(plane, space, small), direction="row"))


def clusters() -> Picture:
    """Clusters of units in three columns with a bundle between them, one opened; and dots held by springs."""
    rng = np.random.default_rng(4)
    values = rng.normal(0, 1, (6, 5)).astype(np.float32)
    values[2, 3], values[4, 1] = np.nan, 9
    keys = tuple(f"unit:conv1/{k}" for k in range(6))
    photo = np.asarray(rng.integers(0, 255, (20, 20, 3)), np.uint8)
    vertices = (
        marks.Vertex(form="heading", label="conv1", note="16 units", keys=("layer:conv1",), id="own/0", expandable=True),
        marks.Vertex(label="ship, truck", note="6 units", id="0/0", keys=keys, pixels=values, colour=1, expandable=True),
        marks.Vertex(form="joint", id="0:1", shares=(3, 1), told="6 units of conv1 to 9 of conv2", expandable=True),
        marks.Vertex(label=HOSTILE, note="9 units", id="1/0", keys=("unit:conv2/3",), pixels=photo, colour=3),
        marks.Vertex(label="still", note="2 units", id="1/1", faded=True, expandable=True, open=True),
    )
    places = np.array([(0, 0, 108, 30), (0, 34, 108, 70), (145, 60, 9, 24), (192, 20, 108, 90), (192, 118, 108, 32)], np.float32)
    boxes = marks.Network(
        title="Clusters", vertices=vertices, places=places, links=np.array([(1, 2), (2, 3), (2, 4)]), strengths=np.array([1.0, 0.7, -0.3]),
        limits=symmetric(values, 3.0, "σ"), column_labels=("one", "two", "three", "four", "five"),
        column_keys=("class:1", "class:2", "class:3", "", "class:5"), handle=marks.Handle(knob="open", kind="type", value="1/1"),
    )
    dots = marks.Network(
        title="Springs", vertices=tuple(marks.Vertex(form="dot", label=f"fc/{k}", colour=k % 3, keys=(f"unit:fc/{k}",)) for k in range(20)),
        places=np.column_stack([rng.uniform(0, 190, (20, 2)), np.full((20, 2), 9.0)]).astype(np.float32),
        links=np.array([(k, (k + 7) % 20) for k in range(20)]), strengths=rng.normal(size=20), extent=(200, 200),
    )
    return picture("Clusters of units", marks.Group(children=(boxes, dots), direction="row"))


MAKERS = {
    make.__name__: make
    for make in (
        activations,
        parallel,
        roll,
        heads,
        scatter,
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
        clusters,
        cells,
        table,
        health,
        handles,
        maps,
        findings,
    )
}
