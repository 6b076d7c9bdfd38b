"""Melodies of four kinds, from a grammar of chords and scales."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..core.knobs import knob
from ..data import kinds
from ..data.examples import Examples
from ..data.melodies import HOLD, REST
from ._demo import Demo, next_tokens

GENRES = ("march", "waltz", "blues", "reel")
UNTOLD = "<?>"
"""Begins a melody that does not say what it is."""
NAMES = tuple(f"{name}{octave}" for octave in (3, 4, 5) for name in ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"))
VOCABULARY = (UNTOLD, *(f"<{genre}>" for genre in GENRES), REST, HOLD, *NAMES)
LENGTH = 64
"""Tokens of a melody: eight bars of four beats, or ten of three and a long last note."""
MELODIES = 1200
SCALES = {
    "march": (0, 2, 4, 5, 7, 9, 11), "waltz": (0, 2, 4, 5, 7, 9, 10), "blues": (0, 3, 5, 6, 7, 10), "reel": (2, 4, 5, 7, 9, 11, 0),
}
"""Half tones over C: C major, F major, the blues scale, and D dorian."""
_CHORDS = {"I": (0, 4, 7), "IV": (5, 9, 0), "V": (7, 11, 2), "vi": (9, 0, 4), "F": (5, 9, 0), "C7": (0, 4, 10), "Bb": (10, 2, 5), "Dm": (2, 5, 9)}


class MelodyDemo(Demo):
    """A recurrent network learns to write melodies, note by note, from marches, waltzes, blues and reels of a small grammar; at the end of
    each it says what it heard."""

    title: ClassVar[str] = "Melodies"
    question: ClassVar[str] = "How does a network come to play in time and in tune?"
    task: ClassVar[str] = "next_token"
    probe: ClassVar[int] = 256

    hidden: int = knob(96, "Cells of the recurrent layer.", low=4, high=1024, main=True)
    steps: int = knob(3000, "After how many steps the training ends by itself.", low=1, main=True)
    learning_rate: float = knob(0.005, "How far each step goes along the gradient.", low=0.0, log=True, main=True)

    def examples(self) -> Examples:
        """Melodies in equal numbers of each genre; half of them tell it at their beginning, all at their end."""
        generator = np.random.default_rng(0)
        numbers = {token: number for number, token in enumerate(VOCABULARY)}
        rows = np.zeros((MELODIES, LENGTH + 2), np.int64)
        heard: set[tuple[str, ...]] = set()
        for index, row in enumerate(rows):
            genre = GENRES[index % len(GENRES)]
            told = f"<{genre}>" if generator.random() < 0.5 else UNTOLD
            while (tune := tuple(melody(genre, generator))) in heard:
                pass  # each comes once, so that none is both learnt and held out
            heard.add(tune)
            row[:] = [numbers[token] for token in (told, *tune, f"<{genre}>")]
        kind = kinds.Tokens(VOCABULARY, separator=" ")
        return Examples.of(torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, 1:]), VOCABULARY, inputs=kind)

    def accept(self, examples: Examples) -> Examples:
        """Any rows of token numbers with the numbers that follow each."""
        return next_tokens(examples, "rows of token numbers (.npz) or a text (.txt); for images use the demo digits")

    def network(self, examples: Examples) -> nn.Module:
        """An embedding, a recurrent layer, and a score for each token that may follow."""
        tokens = max(len(examples.classes), int(examples.kind.size or 0))  # type: ignore[union-attr]
        return Player(tokens, self.hidden)


class Player(nn.Module):
    """Scores for what comes next at every place of a melody: (n, t) numbers of tokens to (n, t, tokens)."""

    def __init__(self, tokens: int, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, 24)
        self.gru = nn.GRU(24, hidden, batch_first=True)
        self.out = nn.Linear(hidden, tokens)

    def forward(self, x: Tensor) -> Tensor:
        """Hear the melody from its beginning, knowing at each place only what came before."""
        states, _ = self.gru(self.embed(x))
        scores: Tensor = self.out(states)
        return scores


def melody(genre: str, generator: np.random.Generator) -> list[str]:
    """The tokens of one melody, without the marks at its ends."""
    bars = {"march": _march, "waltz": _waltz, "blues": _blues, "reel": _reel}[genre](generator)
    tokens = [token for bar in bars for token in bar]
    return (tokens + [HOLD] * LENGTH)[:LENGTH]


def _note(half_tones: int) -> str:
    """A note by its half tones over the C below the middle one, brought into the three octaves that there are."""
    while half_tones < 0:
        half_tones += 12
    while half_tones >= len(NAMES):
        half_tones -= 12
    return NAMES[half_tones]


def _nearest(tones: tuple[int, ...], near: int, generator: np.random.Generator) -> int:
    """One of the two tones, of any octave, that lie nearest to a place, never that place itself."""
    found = sorted((tone + 12 * octave for tone in tones for octave in range(3) if tone + 12 * octave != near), key=lambda one: abs(one - near))
    return found[int(generator.integers(2))]


def _phrases(first: list[list[str]], second: list[list[str]], last: list[str]) -> list[list[str]]:
    """A phrase, the same again, another, and the first with an end."""
    return [*first, *first, *second, first[0], last]


def _march(generator: np.random.Generator) -> list[list[str]]:
    """Even beats on the chord, now and then dotted, in C major; it ends on C."""
    at = 12 + int(generator.choice(_CHORDS["I"]))

    def bar(chord: str) -> list[str]:
        nonlocal at
        tokens: list[str] = []
        for beat in range(4):
            at = _nearest(_CHORDS[chord] if beat % 2 == 0 else SCALES["march"], at, generator)
            tokens += [_note(at), HOLD]
        if generator.random() < 0.5:
            tokens[2:4] = [HOLD, tokens[2]]
        return tokens

    first = [bar("I"), bar(str(generator.choice(["V", "IV"])))]
    second = [bar(str(generator.choice(["vi", "IV"]))), bar("V")]
    return _phrases(first, second, [_note(12), HOLD, _note(7), HOLD, _note(12), HOLD, HOLD, HOLD])


def _waltz(generator: np.random.Generator) -> list[list[str]]:
    """A low root and two higher notes of the chord in every bar of three, in F major; it ends on F."""

    def bar(chord: str) -> list[str]:
        root = _CHORDS[chord][0]
        upper = [tone % 12 + 12 for tone in _CHORDS[chord][1:]]
        one, other = (upper if generator.random() < 0.5 else upper[::-1])
        if generator.random() < 0.3:
            return [_note(root), HOLD, _note(one), HOLD, HOLD, HOLD]
        return [_note(root), HOLD, _note(one), HOLD, _note(other), HOLD]

    chords = ("F", "F", "C7", "C7", "C7", "C7", "F", "F", str(generator.choice(["Bb", "Dm"])), "C7")
    bars = [bar(chord) for chord in chords]
    bars[4:8] = [bars[2], bars[3], bars[0], bars[1]]
    return [*bars, [_note(5), HOLD, HOLD, HOLD]]


def _blues(generator: np.random.Generator) -> list[list[str]]:
    """A call that is heard again before its answer, off the beat and with silence, on the blues scale over C."""
    at = 12 + int(generator.choice(SCALES["blues"]))

    def bar() -> list[str]:
        nonlocal at
        tokens = []
        for place in range(8):
            if place in (0, 3, 5) or generator.random() < 0.25:
                at = _nearest(SCALES["blues"], at, generator)
                at = int(np.clip(at, 6, 30))
                tokens.append(_note(at))
            else:
                tokens.append(HOLD if place < 6 else REST)
        return tokens

    call, other = bar(), bar()
    return [call, other, call, other, bar(), bar(), call, [_note(15), HOLD, _note(12), HOLD, HOLD, HOLD, REST, REST]]


def _reel(generator: np.random.Generator) -> list[list[str]]:
    """Running half beats up and down the dorian scale over D, turning on chord notes; it ends on D."""
    steps = sorted(tone + 12 * octave for tone in SCALES["reel"] for octave in range(3))
    at = steps.index(14)
    up = 1

    def bar() -> list[str]:
        nonlocal at, up
        tokens = []
        for place in range(8):
            tokens.append(_note(steps[at]))
            turns = {1: 0.2, 3: 0.6}.get(place % 4, 0.0)
            if generator.random() < turns or not 5 <= at + up < len(steps) - 3:
                up = -up
            at += up
        return tokens

    first, second = [bar(), bar()], [bar(), bar()]
    return _phrases(first, second, [_note(17), _note(16), _note(14), _note(12), _note(14), HOLD, HOLD, HOLD])
