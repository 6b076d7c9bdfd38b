"""Sentences that praise or blame, phrase by phrase."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import NotApplicable, Unavailable
from ..core.knobs import knob
from ..data import kinds
from ..data.examples import Examples
from ..data.trees import Tree, parsed, read
from ._demo import Demo

CLASSES = ("very bad", "bad", "neutral", "good", "very good")
THINGS = ("film", "plot", "music", "ending", "acting", "story", "cast", "dialogue")
JUDGED = {
    "good": 1, "nice": 1, "clever": 1, "warm": 1, "great": 2, "brilliant": 2, "wonderful": 2,
    "bad": -1, "dull": -1, "weak": -1, "slow": -1, "awful": -2, "terrible": -2, "horrible": -2, "long": 0, "french": 0, "recent": 0,
}
"""What an adjective says by itself, from −2 to 2."""
SENTENCES = 1600
LONGEST = 60
"""Words of the longest phrase that is learnt from."""


class SentimentDemo(Demo):
    """A recurrent network learns how much a phrase praises or blames, from sentences of a small grammar with negation: not bad is good."""

    title: ClassVar[str] = "Praise and blame"
    question: ClassVar[str] = "What does a word such as not do to the phrase that it stands before?"

    width: int = knob(32, "Numbers that stand for each word, and cells that read in each direction.", low=4, high=512, main=True)
    steps: int = knob(3000, "After how many steps the training ends by itself.", low=1, main=True)
    learning_rate: float = knob(0.005, "How far each step goes along the gradient.", low=0.0, log=True, main=True)

    def prepare(self, data: str | Path | Examples | None = None) -> Examples:
        """The examples to train on; of a text file with a labelled tree in brackets in each line, all phrases of all trees."""
        if isinstance(data, str | Path) and (found := _bank(Path(data))):
            return self._split(_examples(found))
        return super().prepare(data)

    def examples(self) -> Examples:
        """All phrases of some sentences, each with what it says."""
        generator = np.random.default_rng(0)
        return _examples([judged(parsed(sentence(generator))) for _ in range(SENTENCES)])

    def accept(self, examples: Examples) -> Examples:
        """Any rows of token numbers with a class for each; number 0 fills up what is shorter."""
        if not isinstance(examples.kind, kinds.Tokens):
            raise NotApplicable("this demo reads rows of token numbers (.npz) or trees in brackets (.txt); for images use the demo digits")
        if examples.y is None or examples.y.ndim != 1 or examples.y.is_floating_point():
            raise NotApplicable("this demo tells classes apart: y wants one class number for each text")
        return examples

    def network(self, examples: Examples) -> nn.Module:
        """An embedding, a recurrent layer that reads in both directions, and the mean of what it says at the words."""
        return Judge(int(examples.kind.size or 0), len(examples.classes), self.width)  # type: ignore[union-attr]


class Judge(nn.Module):
    """Scores for classes: (n, words) numbers of words to (n, classes). Number 0 fills up short texts and is not read."""

    def __init__(self, tokens: int, classes: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, width, padding_idx=0)
        self.rnn = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Read forwards and backwards, then judge by what was said at the words."""
        there = (x != 0).unsqueeze(-1).float()
        states, _ = self.rnn(self.embed(x))
        scores: Tensor = self.out((states * there).sum(1) / there.sum(1).clamp(min=1))
        return scores


def sentence(generator: np.random.Generator) -> list[str]:
    """One sentence of the grammar: one clause, or two that are joined by and or but."""
    words = _clause(generator)
    if generator.random() < 0.4:
        words += [str(generator.choice(["and", "but"])), *_clause(generator)]
    return [*words, "."]


def _clause(generator: np.random.Generator) -> list[str]:
    judged = [str(generator.choice(list(JUDGED)))]
    if generator.random() < 0.35:
        judged.insert(0, "very")
    if generator.random() < 0.4:
        judged.insert(0, "not")
    return ["the", str(generator.choice(THINGS)), str(generator.choice(["is", "was"])), *judged]


def judged(tree: Tree) -> Tree:
    """The tree with what every phrase says, 0 (very bad) to 4, as the grammar means it."""

    def said(tree: Tree) -> tuple[Tree, int]:
        if not tree.parts:
            value = JUDGED.get(tree.word, 0)
            return Tree(tree.word, (), str(value + 2)), value
        below = [said(part) for part in tree.parts]
        value = _joined(tree, [one for _, one in below])
        return Tree("", tuple(part for part, _ in below), str(value + 2)), value

    return said(tree)[0]


def _joined(tree: Tree, values: list[int]) -> int:
    """Not turns what follows it round and makes it weaker, very makes it stronger; of two clauses but hears the second, and both."""
    first = tree.parts[0].word
    rest = values[-1]
    if first == "not":
        return -int(np.sign(rest))
    if first == "very":
        return int(np.sign(rest)) * 2
    joining = tree.parts[-1].parts[0].word if tree.parts[-1].parts else ""
    if joining == "and":
        return int(np.clip(round((values[0] + rest) / 2 + 0.1 * np.sign(values[0] + rest)), -2, 2))
    if joining == "but":
        return rest
    return int(np.clip(sum(values), -2, 2))


def _examples(trees: list[Tree]) -> Examples:
    """Every phrase once, as a row of word numbers."""
    found: dict[tuple[str, ...], int] = {}
    for tree in trees:
        for phrase in tree.phrases():
            words = tuple(word.lower() for word in phrase.words())
            if phrase.label and words not in found:
                found[words] = int(phrase.label)
    longest = min(LONGEST, max(map(len, found)))
    rows = [(words, label) for words, label in found.items() if len(words) <= longest]
    vocabulary = ("<pad>", "<unk>", *sorted(set(itertools.chain.from_iterable(words for words, _ in rows))))
    numbers = {word: number for number, word in enumerate(vocabulary)}
    x = torch.zeros(len(rows), longest, dtype=torch.long)
    for row, (words, _) in zip(x, rows, strict=True):
        row[: len(words)] = torch.tensor([numbers[word] for word in words])
    y = torch.tensor([label for _, label in rows])
    return Examples.of(x, y, CLASSES, inputs=kinds.Tokens(vocabulary, separator=" "))


def _bank(path: Path) -> list[Tree]:
    """The labelled trees of a file, one a line; none where its first line is no tree."""
    if path.suffix.lower() != ".txt" or not path.is_file():
        return []
    lines = [line for line in path.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    if not lines or not lines[0].lstrip().startswith("("):
        return []
    trees = [read(line) for line in lines]
    labels = {phrase.label for tree in trees for phrase in tree.phrases() if phrase.label}
    if not labels or not labels <= set("01234"):
        raise Unavailable(f"the trees of {path.name} want a label from 0 (very bad) to 4 (very good) at their phrases")
    return trees
