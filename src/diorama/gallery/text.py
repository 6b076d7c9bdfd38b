"""Characters of Python source."""

from __future__ import annotations

import dataclasses
import re
import sysconfig
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core.errors import Unavailable
from ..core.knobs import knob
from ..data.examples import Examples
from ..data.files import from_text
from ._demo import Demo, next_tokens

_CORPUS = 1_500_000
"""Characters of source that are read; more would not be seen in a few minutes."""
_WINDOW = 256
"""Characters of an example: some seven lines, so that it pays to keep in mind how deep the last one was."""
_DOCSTRING = re.compile(r"""(\A|:\n)(?:[ ]*(?:\#.*)?\n)*[ ]*[rRuU]?(?P<mark>\"{3}|'{3})(?s:.*?)(?P=mark)[ ]*\n""", re.VERBOSE)
"""Text in three quotes where a module, class or function begins."""
_HELD_OUT = ("textwrap.py", "queue.py", "shlex.py", "sched.py", "fractions.py")


class TextDemo(Demo):
    """An LSTM learns to write Python, one character after the other, from the source of Python's own standard
    library, without its docstrings."""

    title: ClassVar[str] = "Python source, letter by letter"
    question: ClassVar[str] = "What do single cells of a recurrent network keep in mind while they read?"
    task: ClassVar[str] = "next_token"
    probe: ClassVar[int] = 128

    hidden: int = knob(128, "Cells in each LSTM layer.", low=4, high=1024, main=True)
    layers: int = knob(1, "LSTM layers, one reading the other.", low=1, high=4)
    steps: int = knob(5000, "After how many steps the training ends by itself.", low=1, main=True)
    learning_rate: float = knob(0.01, "How far each step goes along the gradient.", low=0.0, log=True, main=True)
    batch: int = knob(16, "Examples a step learns from.", low=1)

    def examples(self) -> Examples:
        """Windows of characters of the standard library; some modules are held out whole."""
        folder = Path(sysconfig.get_paths()["stdlib"])
        files = [file for file in sorted(folder.glob("*.py")) if file.name.isascii()]
        held_out = [file for file in files if file.name in _HELD_OUT]
        if len(files) < 20 or not held_out:
            raise Unavailable(f"Python's own source is not at {str(folder)!r}; give a text with --data FILE.txt")
        train = ""
        for file in files:
            if file.name not in _HELD_OUT and len(train) < _CORPUS:
                train += _source(file)
        made = from_text(train[:_CORPUS], window=_WINDOW)
        other = from_text("".join(map(_source, held_out)), made.kind.vocabulary, _WINDOW)  # type: ignore[union-attr]
        return dataclasses.replace(made, held_out=other)

    def accept(self, examples: Examples) -> Examples:
        """Any text, or rows of token numbers with the numbers that follow each."""
        return next_tokens(examples, "a text (.txt); for images use the demo digits, for tables moons or regression")

    def network(self, examples: Examples) -> nn.Module:
        """An embedding, one or more LSTM layers, and a score for each character that may follow."""
        tokens = len(examples.classes) or int(examples.kind.size)  # type: ignore[union-attr]
        return Characters(tokens, self.hidden, self.layers)


class Characters(nn.Module):
    """Scores for the next character at every place of a text: (n, t) numbers of characters to (n, t, characters)."""

    def __init__(self, tokens: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, 32)
        self.lstm = nn.LSTM(32, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, tokens)
        # Cells begin with all spans of memory, from one character to an example: one that forgets half of all at each character has
        # lost an indentation before it could learn to keep it (Tallec & Ollivier 2018, arXiv:1804.11188).
        with torch.no_grad():
            for layer in range(layers):
                spans = torch.empty(hidden).uniform_(1, _WINDOW - 1).log()
                getattr(self.lstm, f"bias_ih_l{layer}")[: 2 * hidden] = torch.cat([-spans, spans])

    def forward(self, x: Tensor) -> Tensor:
        """Read the text from left to right, knowing at each place only what came before."""
        states, _ = self.lstm(self.embed(x))
        scores: Tensor = self.out(states)
        return scores


def _source(file: Path) -> str:
    """A module's source in plain characters, without docstrings, which are prose; tabs are rare enough to be a distraction."""
    text = _DOCSTRING.sub(r"\1", file.read_text("utf-8", errors="ignore").expandtabs(4))
    return re.sub("[^\n -~]", "", re.sub("\n{3,}", "\n\n", text)) + "\n"
