"""Numbers in sentences, said one way: without computer notation, and with as many digits as they deserve."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NOTATION = re.compile(r"(?<![\w.])([-−+]?)(\d+(?:\.\d+)?)e([-+]\d{2,3})(?!\d)( %)?")
_PERCENT = re.compile(r"(?<=\d)%(?![\w%])")
_QUOTED = str.maketrans({"\n": "↵", "\t": "⇥", "\r": "␍"})
_LAYER = re.compile(r"(?:^|(?<=[.!?] ))layer (?=\d)")
_HYPHEN = re.compile(r"(?:^|(?<=[\s(±]))-(?=\d)")
_SMALLEST = 0.01
"""A share below this, in percent, is told as being below it."""
_LOST = re.compile(r"(?:(?<=[a-z:] )|(?<=\w, ))(?:nan|([-−]?)inf)(?![\w\-])")
_NOTHING = re.compile(r"(?<![\w.])[-−](0(?:\.0+)?)(?!\w|\.\d)")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plain(text: str) -> str:
    """A sentence with its numbers in plain digits: ``1.2e+02 %`` is 120 %, ``7.84e-08 %`` less than 0.01 %, ``-3%`` is −3 %.

    What is no number is NaN, what is beyond all of them ∞ (after a word, "loss nan", and in a row, "3, nan"), and nothing has no sign: −0.00 is 0.00.
    Numbers of more digits than a reader counts become powers of ten: 3.2 × 10⁹. Line ends and tabs of texts that it quotes stand as the signs
    that pictures show for them, ↵ and ⇥, and a sentence that begins with the number of a layer has its capital: "Layer 3 …". All else stays as it is.
    """
    text = _LAYER.sub("Layer ", text.translate(_QUOTED))
    text = _PERCENT.sub(" %", text) if "%" in text else text
    text = _NOTATION.sub(_said, text) if "e" in text else text
    text = _NOTHING.sub(r"\1", text) if "0" in text else text
    text = _LOST.sub(lambda found: "NaN" if found.group(0) == "nan" else f"{'−' * bool(found.group(1))}∞", text)
    return _HYPHEN.sub("−", text) if "-" in text else text


def percent(share: float, digits: int = 2) -> str:
    """A share of one as a percentage, with so many digits that count; of nearly all, with as many as tell it from 100 % (at most 5)."""
    while abs(share) < 1 and digits < 5 and float(f"{100 * abs(share):.{digits}g}") == 100:
        digits += 1
    return plain(f"{100 * share:.{digits}g} %")


def counted(count: int, many: str) -> str:
    """How many there are: ``counted(3, "units")`` is 3 units, of one it is 1 unit."""
    one = many.removesuffix("es" if many.endswith("sses") else "s")
    return f"{count:,} {one if count == 1 else many}"


def being(count: int, many: str = "are", one: str = "is") -> str:
    """How many do or are something: ``being(3)`` is 3 are, of one it is 1 is."""
    return f"{count:,} {one if count == 1 else many}"


def leading(values: Sequence[float], names: Sequence[str]) -> str:
    """Whose value is the largest: a name, or all that share it, such as "b and c"; of more than three "b, c and 4 more"."""
    most = max(values)
    first = [name for value, name in zip(values, names, strict=True) if value == most]
    return joined(first if len(first) <= 3 else [*first[:2], f"{len(first) - 2} more"])


def joined(names: Sequence[str]) -> str:
    """Names in a sentence: "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _said(match: re.Match[str]) -> str:
    sign, digits, power, unit = match.group(1), match.group(2), int(match.group(3)), match.group(4) or ""
    value = float(f"{digits}e{power}")
    if unit and 0 < value < _SMALLEST:
        return f"{'more' if sign in ('-', '−') else 'less'} than {sign if sign != '+' else ''}{_SMALLEST} %"
    if value == 0 or -5 <= power < 6:
        places = max(0, len(digits.partition(".")[2]) - power)
        return f"{sign}{value:,.{places}f}{unit}"
    return f"{sign}{digits} × 10{str(power).translate(_RAISED)}{unit}"
