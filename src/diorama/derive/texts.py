"""Properties of a text that a cell may keep in mind, as a number for each token."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UsageError
from ..data.melodies import MIDDLE_C, REST, is_mark, pitch, sounding
from ..data.tokens import Tokens

Floats = NDArray[np.float64]
_QUOTES = "\"'"
_DIRECTIVE = re.compile(r"#[ \t]*(include|define|undef|if|ifdef|ifndef|elif|else|endif|pragma|error|line)\b")
_OPENING, _NEXT = re.compile(r"[ \t]*\("), re.compile(r"[ \t]*(?:[=<>!+*|&?-]|/(?![/*])|and\b|or\b|in\b|is\b|not\b)")
_IF = re.compile(r"\b(?:if|elif)\b")
LONGEST_PATTERN = 200


@functools.lru_cache(2)
def _read(text: str) -> tuple[Floats, Floats]:
    """Where quotes are open and where comments are, (characters,) each.

    A line's end closes a quote, as an apostrophe is no quote for long; a quote in a comment opens none, nor does a comment in
    a quote. Comments are those of Python and of C, whose directives are none.
    """
    quoted, comment = np.zeros(len(text)), np.zeros(len(text))
    opener, until, begun = "", "", 0
    for k, letter in enumerate(text):
        if until:
            comment[k] = letter != "\n" or until == "*/"
            ends = letter == "\n" if until == "\n" else letter == "/" and text[k - 1] == "*" and k - begun > 2
            until = "" if ends else until
            continue
        if letter == "\n":
            opener = ""
        elif opener and letter == opener:
            opener, quoted[k] = "", 1
            continue
        elif not opener:
            if text.startswith("/*", k):
                until, begun = "*/", k
            elif text.startswith("//", k) or (letter == "#" and not _DIRECTIVE.match(text, k)):
                until = "\n"
            # An apostrophe in a word does not open a quote.
            elif letter in _QUOTES and not (letter == "'" and k and text[k - 1].isalnum()):
                opener = letter
        comment[k], quoted[k] = bool(until), bool(opener)
    return quoted, comment


def _inside_if(text: str) -> Floats:
    """1 from an ``if`` to the end of its condition: the bracket that closes it, or the colon, or the line's end."""
    found = np.zeros(len(text))
    for match in _IF.finditer(text):
        depth, k, bracketed = 0, match.end(), _OPENING.match(text, match.end()) is not None
        while k < len(text):
            depth += (text[k] in "([{") - (text[k] in ")]}")
            # A bracket with which a term of the condition ends does not end it.
            ended = bracketed and text[k] == ")" and _NEXT.match(text, k + 1) is None
            if depth < 0 or (depth == 0 and (text[k] in ":\n" or ended)):
                break
            k += 1
        found[match.start() : k + 1] = 1
    return found


def _line_position(text: str) -> Floats:
    """How many characters lie between the line's start and here."""
    found, at = np.zeros(len(text)), 0
    for k, letter in enumerate(text):
        found[k] = at
        at = 0 if letter == "\n" else at + 1
    return found


def _indentation(text: str) -> Floats:
    """How many blanks the line begins with, as far as they are read."""
    found, depth, begun = np.zeros(len(text)), 0, False
    for k, letter in enumerate(text):
        if letter == "\n":
            depth, begun = 0, False
        elif not begun and letter in " \t":
            depth += 4 if letter == "\t" else 1
        else:
            begun = True
        found[k] = depth
    return found


def _depth(text: str) -> Floats:
    """How many brackets are open."""
    found, depth = np.zeros(len(text)), 0
    for k, letter in enumerate(text):
        depth = max(0, depth + (letter in "([{") - (letter in ")]}"))
        found[k] = depth
    return found


def _word_position(text: str) -> Floats:
    """How many letters of the word have been read."""
    found, at = np.zeros(len(text)), 0
    for k, letter in enumerate(text):
        at = at + 1 if letter.isalnum() or letter == "_" else 0
        found[k] = at
    return found


def _each(test: Callable[[str], bool]) -> Callable[[str], Floats]:
    def measured(text: str) -> Floats:
        known = {letter: float(test(letter)) for letter in set(text)}
        return np.array([known[letter] for letter in text])

    return measured


PROPERTIES: dict[str, Callable[[str], Floats]] = {
    "inside quotes": lambda text: _read(text)[0],
    "position in the line": _line_position,
    "indentation": _indentation,
    "open brackets": _depth,
    "comment": lambda text: _read(text)[1],
    "inside an if-statement": _inside_if,
    "position in the word": _word_position,
    "vowel": _each(lambda letter: letter in "aeiouAEIOU"),
    "digit": _each(str.isdigit),
    "uppercase": _each(str.isupper),
    "blank": _each(str.isspace),
    "line end": _each(lambda letter: letter == "\n"),
}
"""By name: a number for each character of a text."""


def _pitches(tokens: Sequence[str]) -> Floats:
    """The pitch of the note that was heard last, in half tones; that of the middle C before the first."""
    found, at = np.zeros(len(tokens)), MIDDLE_C
    for k, token in enumerate(tokens):
        number = pitch(token)
        at = at if number is None else number
        found[k] = at
    return found


def _leaps(tokens: Sequence[str]) -> Floats:
    """By how many half tones the note that was heard last lies over the one before it."""
    found, before, leap = np.zeros(len(tokens)), None, 0
    for k, token in enumerate(tokens):
        number = pitch(token)
        if number is not None:
            leap, before = 0 if before is None else number - before, number
        found[k] = leap
    return found


def _since(begins: Callable[[str], bool], tokens: Sequence[str]) -> Floats:
    """How many tokens ago something began, or the text did."""
    found, at = np.zeros(len(tokens)), 0
    for k, token in enumerate(tokens):
        at = 0 if begins(token) or k == 0 else at + 1
        found[k] = at
    return found


def _beats(tokens: Sequence[str]) -> Floats:
    """1 where a beat begins: at every other token from the first on, or from the first behind a mark."""
    found, at = np.zeros(len(tokens)), 0
    for k, token in enumerate(tokens):
        at = 0 if is_mark(token) else at + 1
        found[k] = at % 2
    return found


MUSIC: dict[str, Callable[[Sequence[str]], Floats]] = {
    "pitch": _pitches,
    "leap from the note before": _leaps,
    "a note begins": lambda tokens: np.array([float(pitch(token) is not None) for token in tokens]),
    "length of the note so far": lambda tokens: _since(lambda token: pitch(token) is not None, tokens),
    "silence": lambda tokens: np.array([float(token == REST) for token in tokens]),
    "position in the melody": lambda tokens: _since(is_mark, tokens),
    "on the beat": _beats,
}
"""By name: a number for each token of a melody, which has neither words nor comments."""


def told_of(kind: Tokens | None) -> dict[str, Callable[..., Floats]]:
    """The properties that tokens of a kind can have: those of melodies where they write one, else those of a text."""
    return dict(MUSIC if kind is not None and sounding(kind.vocabulary) else PROPERTIES)


def pattern(text: str) -> re.Pattern[str] | None:
    """A regular expression as a person types it; None where nothing was typed.

    *Raises* UsageError for what is none.
    """
    if not text:
        return None
    if len(text) > LONGEST_PATTERN:
        raise UsageError(f"a regular expression wants at most {LONGEST_PATTERN} characters, got {len(text)}")
    try:
        return re.compile(text, re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{text!r} is no regular expression: {error}") from None


def properties(tokens: Sequence[str], wanted: re.Pattern[str] | None = None, kind: Tokens | None = None) -> Floats:
    """All properties at the first character of each token, (properties, tokens); last of all what a pattern matches.

    Of a ``kind`` of tokens those of :func:`told_of`, in the text as a person reads it: words with a blank between them.
    """
    between = "" if kind is None else kind.joined(["", ""])
    shown = [token or " " for token in tokens]
    text = between.join(shown)
    starts = np.cumsum([0, *(len(token) + len(between) for token in shown)])[:-1].astype(int)
    told = told_of(kind)
    found = [measure(tokens) for measure in MUSIC.values()] if "pitch" in told else [measure(text)[starts] for measure in told.values()]
    if wanted is not None:
        inside = np.zeros(len(text))
        for match in wanted.finditer(text):
            inside[match.start() : match.end()] = 1
        found.append(inside[starts])
    return np.stack(found)
