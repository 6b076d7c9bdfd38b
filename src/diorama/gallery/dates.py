"""Dates as people write them, and as ISO 8601 has them."""

from __future__ import annotations

import datetime
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..core.errors import NotApplicable
from ..core.knobs import knob
from ..data import kinds
from ..data.examples import Examples
from ._demo import Demo

MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
VOCABULARY = (" ", *"0123456789", *"abcdefghijklmnopqrstuvwxyz", *"-/.,")
"""A blank, which also fills up what is shorter than the longest, then digits, letters and marks."""
LENGTH, ANSWER = 28, 10
TEXTS = 10_000


class DatesDemo(Demo):
    """An encoder and a decoder with attention between them learn to write dates as a machine reads them: 3 may 2026 is 2026-05-03."""

    title: ClassVar[str] = "Dates in words"
    question: ClassVar[str] = "Where does a network look while it translates?"
    task: ClassVar[str] = "next_token"
    probe: ClassVar[int] = 256

    width: int = knob(48, "Numbers that stand for each character.", low=8, high=512, main=True)
    steps: int = knob(3000, "After how many steps the training ends by itself.", low=1, main=True)
    learning_rate: float = knob(0.004, "How far each step goes along the gradient.", low=0.0, log=True, main=True)

    def examples(self) -> Examples:
        """Days of two thousand years, each in one of eight ways of writing a date."""
        generator = np.random.default_rng(0)
        numbers = {character: number for number, character in enumerate(VOCABULARY)}
        x, y = np.zeros((TEXTS, LENGTH), np.int64), np.zeros((TEXTS, ANSWER), np.int64)
        for row, answer in zip(x, y, strict=True):
            day = datetime.date(1000, 1, 1) + datetime.timedelta(int(generator.integers(730_000)))
            text = written(day, int(generator.integers(8)))
            row[: len(text)] = [numbers[character] for character in text]
            answer[:] = [numbers[character] for character in day.isoformat()]
        return Examples.of(x, y, VOCABULARY, inputs=kinds.Tokens(VOCABULARY))

    def accept(self, examples: Examples) -> Examples:
        """Any rows of token numbers with rows of token numbers to translate them to; number 0 fills up what is shorter."""
        if not isinstance(examples.kind, kinds.Tokens):
            raise NotApplicable("this demo reads rows of token numbers (.npz); for images use the demo digits")
        if examples.y is None or examples.y.ndim != 2 or examples.y.is_floating_point():
            raise NotApplicable("this demo translates: y wants a row of token numbers for each text")
        return examples

    def network(self, examples: Examples) -> nn.Module:
        """Convolutions that read, a recurrent layer that goes from place to place of the answer, and attention between them."""
        assert examples.y is not None
        tokens = max(len(examples.classes), int(examples.kind.size or 0))  # type: ignore[union-attr]
        return Translator(tokens, self.width, examples.y.shape[1])


class Translator(nn.Module):
    """Scores for the characters of the answer: (n, t) numbers of characters to (n, places, characters); 0 is not looked at."""

    def __init__(self, tokens: int, width: int, places: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.near, self.far = (nn.Conv1d(width, width, 5, padding=2) for _ in range(2))
        self.places = nn.Parameter(torch.randn(places, width))
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True)
        self.out = nn.Linear(2 * width, tokens)

    def forward(self, x: Tensor) -> Tensor:
        """Read it at once, then write place after place, each time looking at what was read."""
        # What fills up is nothing: a text says the same with it and without.
        there = ((x != 0) | (x != 0).flip(1).cumsum(1).flip(1).bool()).unsqueeze(-1)
        read = self.embed(x) * there
        read = read + F.relu(self.near(read.transpose(1, 2)).transpose(1, 2)) * there
        read = read + F.relu(self.far(read.transpose(1, 2)).transpose(1, 2)) * there
        state, _ = self.decoder(self.places.expand(len(x), -1, -1))
        taken, _ = self.attention(state, read, read, ~there.squeeze(-1), need_weights=False)
        found: Tensor = self.out(torch.cat([state, taken], -1))
        return found


def written(day: datetime.date, way: int) -> str:
    """A day in one of eight ways; the first four name year, month and day in the order of ISO 8601."""
    month, name = MONTHS[day.month - 1], DAYS[day.weekday()]
    return (
        f"{day.year}/{day.month:02}/{day.day:02}", f"{day.year} {month[:3]} {day.day:02}", f"{day.year}, {month} {day.day}",
        f"{day.year}.{day.month}.{day.day}", f"{day.day} {month} {day.year}", f"{month[:3]} {day.day}, {day.year}",
        f"{name[:3]}, {day.day} {month} {day.year}", f"{day.day:02}.{day.month:02}.{day.year}",
    )[way]
