"""The word hello over and over, letter by letter."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core.knobs import knob
from ..data import kinds
from ..data.examples import Examples
from ._demo import Demo, next_tokens

LETTERS = ("h", "e", "l", "o", " ")
WORD = "hello "
LENGTH = 19
"""Letters of an example; it is cut out of the word over and over, from each of its letters on."""


class HelloDemo(Demo):
    """Three recurrent cells learn the word hello by heart: behind its first l comes another, behind that an o, which the letter alone does
    not tell."""

    title: ClassVar[str] = "Hello, step by step"
    question: ClassVar[str] = "What happens, number by number, while a recurrent network reads?"
    task: ClassVar[str] = "next_token"
    probe: ClassVar[int] = 6

    hidden: int = knob(3, "Cells of the recurrent layer.", low=1, high=64, main=True)
    steps: int = knob(600, "After how many steps the training ends by itself.", low=1, main=True)
    pace: float = knob(10.0, "At most so many steps a second, to have something to watch; 0: no rest.", low=0.0, unit="steps/s")
    learning_rate: float = knob(0.02, "How far each step goes along the gradient.", low=0.0, log=True, main=True)
    batch: int = knob(4, "Examples a step learns from.", low=1)

    def examples(self) -> Examples:
        """The word over and over, from each of its letters on; nothing is held out from what is learnt by heart."""
        numbers = torch.tensor([[LETTERS.index(WORD[(start + place) % len(WORD)]) for place in range(LENGTH + 1)] for start in range(len(WORD))])
        made = Examples.of(numbers[:, :-1], numbers[:, 1:], LETTERS, inputs=kinds.Tokens(LETTERS))
        return dataclasses.replace(made, held_out=made)

    def accept(self, examples: Examples) -> Examples:
        """Any text, or rows of token numbers with the numbers that follow each."""
        return next_tokens(examples, "a text (.txt); for images use the demo digits, for tables moons or regression")

    def network(self, examples: Examples) -> nn.Module:
        """A one for the letter that is read, a recurrent layer, and a score for each letter that may follow."""
        tokens = max(len(examples.classes), int(examples.kind.size or 0))  # type: ignore[union-attr]
        return Speller(tokens, self.hidden)


class Speller(nn.Module):
    """Scores for the next letter at every place of a word: (n, t) numbers of letters to (n, t, letters)."""

    def __init__(self, tokens: int, hidden: int) -> None:
        super().__init__()
        self.letter = nn.Embedding.from_pretrained(torch.eye(tokens), freeze=True)
        self.rnn = nn.RNN(tokens, hidden, batch_first=True)
        self.out = nn.Linear(hidden, tokens)

    def forward(self, x: Tensor) -> Tensor:
        """Read the word from left to right."""
        states, _ = self.rnn(self.letter(x))
        scores: Tensor = self.out(states)
        return scores
