"""What a page sends may be large, or say that it is: it is taken, or refused in a sentence."""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import psutil
import pytest
from client import Client
from websockets.exceptions import ConnectionClosed

from diorama.server.serve import Page

_WORDS = "x" * 10_000_000
_PIXELS = base64.b64encode(bytes(3 * 1825 * 1825)).decode()


@pytest.mark.parametrize(("own", "words"), [
    ({"kind": "image", "width": 1825, "height": 1825, "pixels": _PIXELS}, None),
    ({"kind": "image", "width": 40_000, "height": 40_000, "pixels": _PIXELS}, "an image wants width, height and as many pixels"),
    ({"kind": "drawing", "width": 8, "height": 8, "pixels": _PIXELS}, "a drawing wants width, height and as many pixels"),
    ({"kind": "image", "width": 10**9, "height": 10**9, "pixels": ""}, "an image wants width, height"),
    ({"kind": "text", "text": _WORDS}, "the model's input is an image"),
    ({"kind": _WORDS}, "the model's input is an image"),
    ({"kind": "row", "values": [_WORDS]}, "the model's input is an image"),
    ({_WORDS: 1}, ""),
])
def test_ten_megabytes_are_taken_or_refused_in_a_sentence(client: Client, own: dict[str, Any], words: str | None) -> None:
    """What somebody sends is no reason for an answer as long as it, nor for as much memory as it says to have."""
    assert client.show(1, "tiny", "activations")["event"] == "done"  # who works has come, with all that it loads
    before = _memory()
    ended = client.show(1, "tiny", "activations", input=own)
    assert ended["event"] == ("done" if words is None else "error")
    if words is not None:
        assert words in ended["message"]
        assert len(ended["message"]) < 3_000
    assert _memory() - before < 400_000_000
    assert client.show(1, "tiny", "activations")["event"] == "done"


def test_too_long_a_message_ends_its_connection_alone(page: Page, client: Client) -> None:
    """Whoever sends more than the largest photograph is hung up on, with the reason where it is still read; others go on."""
    other = Client(page.url)
    with pytest.raises(ConnectionClosed) as ended:
        other.show(1, "tiny", "activations", input={"kind": "text", "text": "x" * 25_000_000})
    if ended.value.rcvd is not None:  # else the line was down before the sender had said all
        assert "24000000" in ended.value.rcvd.reason
    assert client.show(1, "tiny", "activations")["event"] == "done"


def _memory() -> int:
    """What the server (this process) and its workers hold."""
    own = psutil.Process()
    found = 0
    for each in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += each.memory_info().rss
    return found
