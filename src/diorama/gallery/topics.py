"""Sentences of Python's own documentation, by what they are about."""

from __future__ import annotations

import ast
import collections
import functools
import math
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import NotApplicable, Unavailable
from ..core.knobs import knob
from ..data import kinds
from ..data.examples import Examples
from ._demo import Demo

MODULES = {
    "network": "socket ssl http urllib smtplib ftplib imaplib poplib socketserver ipaddress xmlrpc email mailbox",
    "files": "os shutil pathlib tarfile zipfile gzip bz2 lzma tempfile glob fileinput filecmp io _pyio",
    "numbers": "fractions decimal _pydecimal statistics random numbers",
    "concurrency": "threading asyncio queue multiprocessing concurrent sched subprocess selectors",
    "text": "re string textwrap difflib codecs encodings csv html json xml configparser shlex",
    "code": "ast dis inspect tokenize importlib pdb bdb trace traceback unittest doctest pydoc typing",
}
"""The topics, each with the modules of the standard library whose documentation is about it."""
LENGTH, WORDS, MOST = 28, 3000, 1300
"""Words a sentence has at most, words that the network knows, sentences of each topic at most."""


class TopicsDemo(Demo):
    """A small transformer learns what a sentence of Python's own documentation is about, such as files or numbers."""

    title: ClassVar[str] = "What a sentence is about"
    question: ClassVar[str] = "Which words make a network decide what a sentence is about?"

    width: int = knob(48, "Numbers that stand for each word.", low=8, high=512, main=True)
    blocks: int = knob(2, "Transformer blocks, one reading the other.", low=1, high=8)
    steps: int = knob(1800, "After how many steps the training ends by itself.", low=1, main=True)
    learning_rate: float = knob(0.002, "How far each step goes along the gradient.", low=0.0, log=True, main=True)

    def examples(self) -> Examples:
        """Sentences from the docstrings of the standard library, each once, as rows of word numbers."""
        x, y, vocabulary = _read(Path(sysconfig.get_paths()["stdlib"]))
        return Examples.of(x.copy(), y.copy(), list(MODULES), inputs=kinds.Tokens(vocabulary, separator=" "))

    def accept(self, examples: Examples) -> Examples:
        """Any rows of token numbers with a class for each."""
        if not isinstance(examples.kind, kinds.Tokens):
            raise NotApplicable(
                "this demo reads rows of token numbers (.npz); for images use the demo digits, for tables moons"
            )
        if examples.y is None or examples.y.ndim != 1 or examples.y.is_floating_point():
            raise NotApplicable("this demo tells classes apart: y wants one class number for each text")
        return examples

    def network(self, examples: Examples) -> nn.Module:
        """An embedding, transformer blocks, and the mean of what they make of the words."""
        tokens = int(examples.kind.size or 0)  # type: ignore[union-attr]
        return Reader(tokens, len(examples.classes), self.width, self.blocks)


class Reader(nn.Module):
    """Scores for topics: (n, words) numbers of words to (n, topics). Number 0 fills up short texts and is not read."""

    def __init__(self, tokens: int, classes: int, width: int, blocks: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4 if width % 4 == 0 else 1, 2 * width, 0.1, batch_first=True)
            for _ in range(blocks)
        )
        self.out = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Read all words at once, each knowing all others and its own place."""
        there = (x != 0).unsqueeze(-1).float()
        state = self.embed(x) + _places(x.shape[1], self.embed.embedding_dim, x.device)
        for block in self.blocks:
            state = block(state)
        scores: Tensor = self.out((state * there).sum(1) / there.sum(1).clamp(min=1))
        return scores


def _places(length: int, width: int, device: torch.device) -> Tensor:
    """Waves of rising length that tell the places apart, for texts of any length (Vaswani et al. 2017, section 3.5)."""
    place = torch.arange(length, device=device, dtype=torch.float32).unsqueeze(1)
    rate = torch.exp(torch.arange((width + 1) // 2, device=device, dtype=torch.float32) * (-2 * math.log(10_000) / width))
    waves = torch.stack([torch.sin(place * rate), torch.cos(place * rate)], 2).flatten(1)
    return 0.1 * waves[:, :width]


@functools.cache  # a process reads the library once
def _read(library: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Rows of word numbers, the topic of each, and the words: from the same library always the same."""
    found: dict[str, int] = {}
    for topic, modules in enumerate(MODULES.values()):
        mine = list(dict.fromkeys(sentence for name in modules.split() for sentence in _sentences(library, name)))
        order = np.random.default_rng([0, topic]).permutation(len(mine))[:MOST]
        found.update((mine[number], topic) for number in order if mine[number] not in found)
    if len(found) < 1000:
        raise Unavailable(f"Python's own source is not at {str(library)!r}; choose another demo")
    counts = collections.Counter(word for sentence in found for word in sentence.split())
    vocabulary = ("<pad>", "<unk>", *(word for word, _ in counts.most_common(WORDS)))
    numbers = {word: number for number, word in enumerate(vocabulary)}
    x = np.zeros((len(found), LENGTH), np.int64)
    for row, sentence in zip(x, found, strict=True):
        words = sentence.split()
        row[: len(words)] = [numbers.get(word, 1) for word in words]
    return x, np.array(list(found.values())), vocabulary


def _sentences(library: Path, name: str) -> Iterator[str]:
    """The sentences of a module's docstrings: plain lower-case words and marks, of a length that says something."""
    single = library / f"{name}.py"
    for file in [single] if single.is_file() else sorted((library / name).rglob("*.py")):
        try:
            tree = ast.parse(file.read_text("utf-8", errors="ignore"))
        except (SyntaxError, OSError, ValueError):
            continue
        for node in _statements(tree):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for sentence in re.split(r"(?<=[.!?:])\s+|\n\s*\n", ast.get_docstring(node) or ""):
                words = re.findall(r"[a-z]+|[.,;:!?()]", sentence.lower())
                if len(words) <= LENGTH and sum(word.isalpha() for word in words) >= 5:
                    yield " ".join(words)


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """A module and its statements, level by level as `ast.walk` goes, without the expressions, which hold no docstring."""
    waiting: collections.deque[ast.AST] = collections.deque([tree])
    while waiting:
        node = waiting.popleft()
        waiting.extend(
            child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case)
        )
        yield node
