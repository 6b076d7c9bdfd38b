"""Requests: read strictly, equal when they mean the same."""

from __future__ import annotations

import pytest

from diorama.core.errors import UsageError
from diorama.core.request import Request


@pytest.mark.parametrize(
    "wrong",
    [
        None, [], "x", {}, {"run": "r"}, {"run": 1, "view": "v"}, {"run": "r", "view": "v", "step": "soon"},
        {"run": "r", "view": "v", "step": True}, {"run": "r", "view": "v", "knobs": []},
        {"run": "r", "view": "v", "selection": "nonsense"}, {"run": "r", "view": "v", "other": {"step": 1}},
        {"run": "r", "view": "v", "edits": ["x"]}, {"run": "r", "view": "v", "input": 3},
    ],
)
def test_what_is_not_a_request_is_refused(wrong: object) -> None:
    """Anything malformed is a UsageError, never a crash."""
    with pytest.raises(UsageError):
        Request.parse(wrong)


def test_a_request_survives_the_way_to_a_worker() -> None:
    """A request read from its plain form is the same request, with the same fingerprint."""
    made = Request.parse({
        "run": "r", "view": "activations", "step": "live", "other": {"run": "s", "step": 4}, "knobs": {"layer": "a"},
        "selection": "unit:features.3/17@5,8+example:4|class:1", "edits": [{"key": "unit:a/1", "lesion": True}],
        "input": {"kind": "text", "text": "ab"},
    })
    assert Request.parse(made.plain()) == made
    assert Request.parse(made.plain()).fingerprint == made.fingerprint
    assert made.live
    assert made.runs == ("r", "s")


def test_only_followed_keys_stay() -> None:
    """A view is asked with the keys it reads, so that other selections find the same picture again."""
    made = Request.parse({"run": "r", "view": "v", "selection": "unit:a/1+example:4+example:5|class:1+example:2"})
    assert made.following(("example",)).selection == "example:4+example:5|example:2"
    assert made.following(()).selection == ""



def test_a_request_compares_with_any_number() -> None:
    """None, one as before, or a list of others: the same runs are looked at, each once, and any live one makes it live."""
    base = {"run": "r", "view": "curves"}
    one, three = {"run": "s", "step": 4}, [{"run": "s", "step": 4}, {"run": "r"}, {"run": "t", "step": "live"}]
    assert Request.parse(base).others == ()
    assert Request.parse({**base, "other": one}).others == Request.parse({**base, "other": [one]}).others
    several = Request.parse({**base, "other": three})
    assert [(other.run, other.step) for other in several.others] == [("s", 4), ("r", None), ("t", "live")]
    assert several.runs == ("r", "s", "t")
    assert several.live
    assert Request.parse(several.plain()) == several
    with pytest.raises(UsageError, match="at most 16"):
        Request.parse({**base, "other": [one] * 17})
