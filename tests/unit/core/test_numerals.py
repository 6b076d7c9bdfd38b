"""Numbers in sentences."""

from __future__ import annotations

import io
import math
import re

from hypothesis import given
from hypothesis import strategies as st

from diorama.core.numerals import leading, percent, plain
from diorama.core.picture import Progress
from diorama.core.progress_line import ProgressLine


def test_numbers_are_said_plainly() -> None:
    """No computer notation: plain digits, thousands apart, powers of ten beyond them, tiny shares as less than one; on one line."""
    assert plain("sum 5, 1.2e+02 % off") == "sum 5, 120 % off"
    assert plain("7.84e-08 % is left") == "less than 0.01 % is left"
    assert plain("a score of 3.29e+03, then \u22124.1e-03") == "a score of 3,290, then \u22120.0041"
    assert plain("3.2e+09 passes, 1e-12 apart") == "3.2 × 10⁹ passes, 1 × 10⁻¹² apart"
    assert plain("-3% (-1.5 to 2), 4-6, x-1, by \u2212 2e-03% of 1e-01") == "\u22123 % (\u22121.5 to 2), 4-6, x-1, by \u2212 less than 0.01 % of 0.1"
    assert plain("layer 3 behind “a\n\tb”. layer 4") == "Layer 3 behind “a↵⇥b”. Layer 4"
    assert plain("loss nan on the batch, margin -inf; rises by inf.") == "loss NaN on the batch, margin −∞; rises by ∞."
    assert plain("loss 1, nan, -inf at step 3") == "loss 1, NaN, −∞ at step 3"
    assert plain("reaches -0.00. \u22120 of 3, \u22120.004, banana, “nan”, nan") == "reaches 0.00. 0 of 3, \u22120.004, banana, “nan”, nan"
    assert percent(1.234) == "120 %"
    assert [percent(share) for share in (1, 0.996, 0.99996, 0.994, -0.996)] == ["100 %", "99.6 %", "99.996 %", "99 %", "\u221299.6 %"]
    assert percent(7.84e-10) == "less than 0.01 %"


def test_all_that_share_the_largest_are_named() -> None:
    """A superlative is of one only where no other has the same value."""
    assert [leading(values, "abcde") for values in ([1, 3, 2, 0, 0], [3, 1, 3, 3, 0], [1, 1, 1, 1, 1])] == ["b", "a, c and d", "a, b and 3 more"]


def test_what_is_no_number_stays() -> None:
    """Names and addresses that look like numbers are left alone."""
    for text in ("block1e+2x", "arXiv:1512.1e5", "conv1e2", "x.1e-05", "", "e+05", "a-1", "80%x", "2026-11-28"):
        assert plain(text) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_keeps_its_value(value: float) -> None:
    """Whatever Python writes in three digits is said with the same value."""
    written = f"{value:.3g}"
    said = plain(f"it is {written}.").removeprefix("it is ").removesuffix(".")
    assert not re.search(r"\de", said)
    digits, _, power = said.replace(",", "").replace("−", "-").partition(" × 10")
    exponent = int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))) if power else 0
    assert math.isclose(float(f"{digits}e{exponent}"), float(written), rel_tol=1e-9, abs_tol=0)


def test_long_work_says_how_far_it_is_now_and_then() -> None:
    """Nothing for ten seconds, then a line, and the next one half a minute later."""
    now, out = [0.0], io.StringIO()
    waiting = ProgressLine("examples", lambda: now[0], out)
    for now[0], done in ((5.0, 1), (11.0, 2), (30.0, 3), (42.0, 4)):
        waiting(Progress(done=done, total=8, note=f"step {done}"))
    assert out.getvalue() == "examples: 25 % done (step 2)\nexamples: 50 % done (step 4)\n"
