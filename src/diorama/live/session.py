"""One person at the page: reads what it sends, answers with events and frames. Knows no transport."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ..core.errors import DioramaError, UsageError
from .channels import Channels, Send, SendFrame
from .log import write_log
from .requests import Request

if TYPE_CHECKING:
    from .hub import Hub

_MOST_COMMANDS = 8
_MOST_FOLLOWED = 4


class Session:
    """A connection to the hub: the runs it follows, its channels, its commands."""

    def __init__(self, hub: Hub, send: Send, send_frame: SendFrame) -> None:
        self.hub, self.send = hub, send
        self.channels = Channels(hub, send, send_frame)
        self.follows: tuple[str, ...] = ()
        """The runs whose state it is told; the one asked for last at the end."""
        self._commands = threading.BoundedSemaphore(_MOST_COMMANDS)
        self._verbs: dict[str, Callable[[dict[str, Any]], None]] = {
            "follow": self._follow, "show": self._show, "hide": self._hide, "ack": self._ack, "cancel": self._cancel,
            "command": self._command, "keep": self._keep, "recall": self._recall,
        }  # fmt: skip

    def open(self) -> None:
        """Greet: what there is to see, or on the very first start how far the list of it is."""
        self.hub.join(self)

    def close(self) -> None:
        """Stop all work of this connection."""
        self.hub.leave(self)
        self.channels.close()

    def receive(self, text: str | bytes) -> None:
        """Do what one message asks; whatever is wrong with it becomes an error event."""
        message: Any = None
        try:
            message = msgspec.json.decode(text)
            if not isinstance(message, dict):
                raise UsageError(f"a message is an object with 'do', got {type(message).__name__}")
            verb = self._verbs.get(message.get("do"))  # type: ignore[arg-type]
            if verb is None:
                raise UsageError(f"a message does one of {', '.join(self._verbs)}, got {message.get('do')!r}")
            verb(message)
        except msgspec.DecodeError as error:
            self._refuse(None, "UsageError", f"this message is not JSON: {error}")
        except DioramaError as error:
            self._refuse(message, type(error).__name__, str(error))
        except Exception as error:  # noqa: BLE001 - a message must never end the connection
            path = write_log(error, "while answering the page")
            self._refuse(message, type(error).__name__, f"{type(error).__name__}: {error} (the details are in {path})")

    def _refuse(self, message: Any, kind: str, text: str) -> None:
        asked = message if isinstance(message, dict) else {}
        if asked.get("do") == "command":
            self.send({"event": "command", "id": asked.get("id"), "ok": False, "message": text})
        else:
            names = {name: asked[name] for name in ("channel", "id", "run") if isinstance(asked.get(name), int | str)}
            self.send({"event": "error", "channel": None, **names, "kind": kind, "message": text})

    def _follow(self, message: dict[str, Any]) -> None:
        name = message.get("run")
        if not isinstance(name, str):
            raise UsageError(f"follow wants the name of a run, got {name!r}")
        self.hub.source(name)
        self.follows = (*(other for other in self.follows if other != name), name)[-_MOST_FOLLOWED:]
        self.hub.look_up(name, self)

    def _show(self, message: dict[str, Any]) -> None:
        number = _whole(message, "channel")
        self.channels.show(number, self.hub.resolve(Request.parse(message.get("request"))))

    def _hide(self, message: dict[str, Any]) -> None:
        self.channels.hide(_whole(message, "channel"))

    def _ack(self, message: dict[str, Any]) -> None:
        self.channels.ack(_whole(message, "channel"), _whole(message, "sequence"))

    def _cancel(self, message: dict[str, Any]) -> None:
        self.channels.cancel(_whole(message, "channel"))

    def _keep(self, message: dict[str, Any]) -> None:
        self.send({"event": "kept", "id": message.get("id"), "name": self.hub.notes.keep(message.get("text"))})

    def _recall(self, message: dict[str, Any]) -> None:
        self.send({"event": "recalled", "id": message.get("id"), "text": self.hub.notes.recall(message.get("name"))})

    def _command(self, message: dict[str, Any]) -> None:
        run, name, knobs = message.get("run"), message.get("name"), message.get("knobs", {})
        if not isinstance(run, str) or not isinstance(name, str) or not isinstance(knobs, dict):
            raise UsageError("a command has the texts 'run' and 'name', and 'knobs' as an object")
        if not self._commands.acquire(blocking=False):
            raise UsageError(f"{_MOST_COMMANDS} commands are still waiting for their answer")
        threading.Thread(target=self._send_command, args=(message, run, name, knobs), daemon=True).start()

    def _send_command(self, message: dict[str, Any], run: str, name: str, knobs: dict[str, Any]) -> None:
        """Runs in a thread of its own: the training answers between two of its steps."""
        try:
            told = self.hub.command(run, name, knobs)
            self.send({"event": "command", "id": message.get("id"), "ok": True, "message": told})
        except DioramaError as error:
            self._refuse(message, type(error).__name__, str(error))
        except Exception as error:  # noqa: BLE001 - the answer must come, whatever happened
            path = write_log(error, f"while sending the command {name}")
            self._refuse(message, type(error).__name__, f"{type(error).__name__}: {error} (the details are in {path})")
        finally:
            self._commands.release()


def _whole(message: dict[str, Any], name: str) -> int:
    value = message.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32:
        raise UsageError(f"{name} wants a whole number, got {value!r}")
    return value
