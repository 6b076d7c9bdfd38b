"""Questions about pictures of coloured shapes."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..core.errors import NotApplicable
from ..core.knobs import knob
from ..data import kinds, nesting
from ..data.examples import Examples
from ..data.nesting import Nested
from ..training.trainer import Trainer
from ._demo import Demo

COLOURS = {
    "red": (0.9, 0.2, 0.15), "green": (0.2, 0.7, 0.3), "blue": (0.25, 0.4, 0.95), "yellow": (0.95, 0.85, 0.2), "purple": (0.65, 0.3, 0.85),
    "white": (0.95, 0.95, 0.95),
}
SHAPES = ("circle", "square", "triangle", "cross", "bar", "ring")
CLASSES = (*COLOURS, *SHAPES)
ASKED = (
    ("what colour is the {}", "the {} has which colour", "how is the {} painted", "and the {}"),
    ("what shape is the {} thing", "the {} thing has which shape", "what is {}", "and the {} thing"),
)
"""Ways to ask for the colour of a shape, and for the shape of what has a colour."""
VOCABULARY = ("<pad>", "<unk>", *sorted({word for ways in ASKED for way in ways for word in way.split()} - {"{}"}), *CLASSES)
HELD_OUT = (("red", "triangle"), ("green", "circle"), ("blue", "square"), ("yellow", "cross"))
"""Pairs of colour and shape that no picture of the training shows: what is held out asks about these alone."""
SIDE, CELL, THINGS, WORDS = 24, 8, 3, 6
"""Pixels of a picture's side and of the cell in which a thing lies, the most things, and the most words."""
PICTURES, PROBE = 8000, 256


class VqaDemo(Demo):
    """A network answers questions about pictures, such as: what colour is the circle? The probe set shows pairs of colour and shape that are new."""

    title: ClassVar[str] = "Questions about a picture"
    question: ClassVar[str] = "Which words and which pixels make the answer?"
    probe: ClassVar[int] = PROBE

    width: int = knob(32, "Numbers that stand for each word, for the colour and for the shape at each place.", low=4, high=512, main=True)
    steps: int = knob(3000, "After how many steps the training ends by itself.", low=1, main=True)
    learning_rate: float = knob(0.003, "How far each step goes along the gradient.", low=0.0, log=True, main=True)
    pace: float = knob(50.0, "At most so many steps a second, to have something to watch; 0: no rest.", low=0.0, unit="steps/s")
    batch: int = knob(48, "Examples a step learns from.", low=1)

    def examples(self) -> Examples:
        """Pictures of one to three things with a question each; what is held out asks about pairs that no other picture shows."""
        generator = np.random.default_rng(0)
        return dataclasses.replace(asked(generator, PICTURES).examples, held_out=asked(generator, PROBE, held_out=True).examples)

    def accept(self, examples: Examples) -> Examples:
        """Any pictures by the name image with rows of token numbers by the name question, and a class for each; number 0 fills up what is shorter."""
        kind = examples.kind
        if not isinstance(kind, dict) or not isinstance(kind.get("image"), kinds.Image) or not isinstance(kind.get("question"), kinds.Tokens):
            raise NotApplicable("this demo answers questions about pictures: x wants image and question by name; for images alone use digits")
        if examples.y is None or examples.y.ndim != 1 or examples.y.is_floating_point():
            raise NotApplicable("this demo tells answers apart: y wants one class number for each question")
        return examples

    def augment(self, x: Nested, generator: torch.Generator) -> Nested:
        """Half of the words are left out of a question, as people do, but never the one that names a thing: it tells by itself what is asked for."""
        question = nesting.named(x)["question"]
        left_out = (torch.rand(question.shape, generator=generator) < 0.5) & (question < len(VOCABULARY) - len(CLASSES))
        return {**x, "question": question.masked_fill(left_out, 0)}  # type: ignore[dict-item]

    def trainer(self, model: nn.Module, examples: Examples) -> Trainer:
        """The plain loop; of questions in other words none is left out, as it is not known which name a thing."""
        made = super().trainer(model, examples)
        if examples.kind["question"].vocabulary != VOCABULARY:  # type: ignore[index, union-attr]
            made.augment = None
        return made

    def network(self, examples: Examples) -> nn.Module:
        """Colour and shape seen apart at each place, the places that the question means, and of these what it asks for."""
        parts = nesting.named(examples.x)
        words = examples.kind["question"].size  # type: ignore[index, union-attr]
        return Answerer(int(words or 0), len(examples.classes), self.width, parts["image"].shape[1])


class Answerer(nn.Module):
    """Scores for answers (n, classes) from pictures (n, channels, height, width) and questions (n, words); word 0 is not read.

    Colour and shape go separate ways: the ink that the shape is told from is one number a pixel, and an answer is read from the
    colour alone or from the shape alone. So a pair that was never seen is as good as any other.
    """

    def __init__(self, tokens: int, classes: int, width: int, channels: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, width, padding_idx=0)
        self.paint = nn.Conv2d(channels, width, 1)
        self.ink = nn.Conv2d(channels, 1, 1)
        self.outline = nn.Conv2d(1, 2 * width, CELL, stride=CELL)
        self.shape = nn.Conv2d(2 * width, width, 1)
        self.looks_for = nn.Linear(width, 2 * width)
        self.asks = nn.Linear(width, 2)
        self.colour_is, self.shape_is = nn.Linear(width, classes), nn.Linear(width, classes)

    def forward(self, image: Tensor, question: Tensor) -> Tensor:
        """See every place, find the one that the question means, and say what is asked of it."""
        colour = F.avg_pool2d(torch.relu(self.paint(image)), CELL)
        shape = torch.relu(self.shape(torch.relu(self.outline(torch.sigmoid(self.ink(image))))))
        places = torch.cat([colour, shape], 1).flatten(2)
        words = self.embed(question).sum(1)
        found = torch.softmax(self.looks_for(words).unsqueeze(1) @ places, -1) @ places.transpose(1, 2)
        colour, shape = found.squeeze(1).chunk(2, 1)
        asked = torch.softmax(self.asks(words), -1)
        scores: Tensor = asked[:, :1] * self.colour_is(colour) + asked[:, 1:] * self.shape_is(shape)
        return scores


@dataclasses.dataclass(frozen=True)
class PictureQuestions:
    """Questions about pictures with their answers, and what each is about."""

    examples: Examples
    where: NDArray[np.bool_]
    """The pixels of the thing that is asked about, (n, height, width)."""
    names: NDArray[np.int64]
    """At which place of the question the word stands that names the thing."""


def asked(generator: np.random.Generator, count: int, *, held_out: bool = False) -> PictureQuestions:
    """Pictures of coloured shapes with a question each, about the one thing in it that has the named colour or shape.

    Of things of a picture no two have the same colour or the same shape. ``held_out``: three things in each, and the question is about one of
    a pair that is held out; else one to three, none of such a pair.
    """
    colours, shapes = _things(generator, count, held_out=held_out)
    things = np.full(count, THINGS) if held_out else generator.integers(1, THINGS + 1, count)
    cells = np.argsort(generator.random((count, (SIDE // CELL) ** 2)), 1)[:, :THINGS]
    drawn = outlines()[shapes, generator.integers(0, 2, shapes.shape), generator.integers(0, 2, shapes.shape)]
    ink = np.array(list(COLOURS.values()), np.float32)
    rows = np.arange(count)
    pictures = np.zeros((count, (SIDE // CELL) ** 2, 3, CELL, CELL), np.float32)
    for k in range(THINGS):
        there = rows[k < things]
        pictures[there, cells[there, k]] = drawn[there, k][:, None] * ink[colours[there, k]][:, :, None, None]
    # The first thing is the one that is asked about; where it lies is drawn at random.
    where = np.zeros((count, (SIDE // CELL) ** 2, 1, CELL, CELL), bool)
    where[rows, cells[:, 0], 0] = drawn[:, 0]
    what, way = generator.integers(0, 2, count), generator.integers(0, len(ASKED[0]), count)
    named = np.where(what == 0, shapes[:, 0] + len(COLOURS), colours[:, 0])
    answers = np.where(what == 0, colours[:, 0], shapes[:, 0] + len(COLOURS))
    texts, places = _questions()
    questions = texts[what, way]
    questions[rows, places[what, way]] = named + len(VOCABULARY) - len(CLASSES)
    kind: dict[str, kinds.Kind] = {"image": kinds.Image(range=(0.0, 1.0)), "question": kinds.Tokens(VOCABULARY, separator=" ")}
    examples = Examples.of({"image": _whole(pictures), "question": questions}, answers, CLASSES, inputs=kind)
    return PictureQuestions(examples, _whole(where)[:, 0], places[what, way])


def outlines() -> NDArray[np.bool_]:
    """Which pixels of a cell a shape covers, (shapes, down, across, rows, columns): it may lie one pixel down or across."""
    y, x = np.mgrid[-3:4, -3:4]
    square = x * x + y * y
    covered = (
        square <= 10, np.ones_like(square, bool), 2 * abs(x) <= y + 3, (abs(x) <= 1) | (abs(y) <= 1), abs(y) <= 1,
        (square <= 13) & (square >= 5),
    )
    made = np.zeros((len(SHAPES), 2, 2, CELL, CELL), bool)
    for down in range(2):
        for across in range(2):
            made[:, down, across, down : down + 7, across : across + 7] = covered
    return made


def _things(generator: np.random.Generator, count: int, *, held_out: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The colours and the shapes of three things a picture, (n, 3) each."""
    kept = np.zeros((len(COLOURS), len(SHAPES)), bool)
    for colour, shape in HELD_OUT:
        kept[list(COLOURS).index(colour), SHAPES.index(shape)] = True
    found: list[NDArray[np.int64]] = []
    while sum(map(len, found)) < count:
        drawn = np.stack([np.argsort(generator.random((2 * count, 6)), 1)[:, :THINGS] for _ in range(2)], -1)
        rare = kept[drawn[..., 0], drawn[..., 1]]
        found.append(drawn[rare[:, 0] if held_out else ~rare.any(1)])
    things = np.concatenate(found)[:count]
    return things[..., 0], things[..., 1]


def _questions() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each way to ask as numbers of words (2, ways, words), and where in it the name stands."""
    numbers = {word: number for number, word in enumerate(VOCABULARY)}
    texts = np.zeros((2, len(ASKED[0]), WORDS), np.int64)
    places = np.zeros(texts.shape[:2], np.int64)
    for what, ways in enumerate(ASKED):
        for k, way in enumerate(ways):
            words = way.split()
            texts[what, k, : len(words)] = [numbers.get(word, 0) for word in words]
            places[what, k] = words.index("{}")
    return texts, places


def _whole(cells: NDArray[Any]) -> NDArray[Any]:
    """Pictures from their cells (n, cells, channels, rows, columns)."""
    side = SIDE // CELL
    apart = cells.reshape(len(cells), side, side, *cells.shape[2:])
    return apart.transpose(0, 3, 1, 4, 2, 5).reshape(len(cells), cells.shape[2], SIDE, SIDE)
