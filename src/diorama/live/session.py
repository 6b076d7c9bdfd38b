"""One person at the page: reads what it sends, answers with events and frames. Knows no transport."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from ..core import protocol
from ..core.errors import DioramaError, UsageError
from ..core.log import write_log
from .channels import Channels, Send, SendFrame

if TYPE_CHECKING:
    from .hub import Hub

_MOST_COMMANDS = 8
_MOST_FOLLOWED = 4
_LONGEST = 2_000
"""Characters of a sentence that the page is told: whatever it sent may be quoted in one."""
_MESSAGES = msgspec.json.Decoder(protocol.ToServer)


class Session:
    """A connection to the hub: the runs it follows, its channels, its commands."""

    def __init__(self, hub: Hub, send: Send, send_frame: SendFrame) -> None:
        def told(event: protocol.FromServer) -> None:
            send(_short(event))

        self.hub, self.send = hub, told
        self.channels = Channels(hub, told, send_frame)
        self.follows: tuple[str, ...] = ()
        """The runs whose state it is told; the one asked for last at the end."""
        self._commands = threading.BoundedSemaphore(_MOST_COMMANDS)

    def open(self) -> None:
        """Greet: what there is to see, or on the very first start how far the list of it is."""
        self.hub.join(self)

    def close(self) -> None:
        """Stop all work of this connection."""
        self.hub.leave(self)
        self.channels.close()

    def receive(self, text: str | bytes) -> None:
        """Do what one message asks; whatever is wrong with it becomes an error event."""
        message: protocol.ToServer | None = None
        try:
            message = _MESSAGES.decode(text)
            self._do(message)
        except msgspec.ValidationError as error:
            self._refuse(_named(text), "UsageError", f"this message cannot be read: {error}")
        except msgspec.DecodeError as error:
            self._refuse({}, "UsageError", f"this message is not JSON: {error}")
        except DioramaError as error:
            self._refuse(_plain(message), type(error).__name__, str(error))
        except Exception as error:  # noqa: BLE001 - a message must never end the connection
            path = write_log(error, "while answering the page")
            said = f"{type(error).__name__}: {error} (the details are in {path})"
            self._refuse(_plain(message), type(error).__name__, said)

    def _refuse(self, asked: dict[str, Any], kind: str, text: str) -> None:
        if asked.get("do") == "command":
            self.send(protocol.Answered(id=asked.get("id", 0), ok=False, message=text))
        else:
            named = {name: asked[name] for name in ("id", "run") if name in asked}
            self.send(protocol.Failed(channel=asked.get("channel"), kind=kind, message=text, **named))

    def _do(self, message: protocol.ToServer) -> None:
        match message:
            case protocol.Follow(run=name):
                self.hub.source(name)
                self.follows = (*(other for other in self.follows if other != name), name)[-_MOST_FOLLOWED:]
                self.hub.look_up(name, self)
            case protocol.Show(channel=channel, request=request):
                self.channels.show(channel, self.hub.resolve(request.checked()))
            case protocol.Hide(channel=channel):
                self.channels.hide(channel)
            case protocol.Ack(channel=channel, sequence=sequence):
                self.channels.ack(channel, sequence)
            case protocol.Cancel(channel=channel):
                self.channels.cancel(channel)
            case protocol.Keep(id=asked, text=text):
                self.send(protocol.Kept(id=asked, name=self.hub.notes.keep(text)))
            case protocol.Recall(id=asked, name=name):
                self.send(protocol.Recalled(id=asked, text=self.hub.notes.recall(name)))
            case protocol.Command():
                self._command(message)

    def _command(self, message: protocol.Command) -> None:
        if not self._commands.acquire(blocking=False):
            raise UsageError(f"{_MOST_COMMANDS} commands are still waiting for their answer")
        threading.Thread(target=self._send_command, args=(message,), daemon=True).start()

    def _send_command(self, message: protocol.Command) -> None:
        """Runs in a thread of its own: the training answers between two of its steps."""
        try:
            told, child = self.hub.command(message.run, message.name, message.knobs)
            self.send(protocol.Answered(id=message.id, ok=True, message=told, run=UNSET if child is None else child))
        except DioramaError as error:
            self.send(protocol.Answered(id=message.id, ok=False, message=str(error)))
        except Exception as error:  # noqa: BLE001 - the answer must come, whatever happened
            path = write_log(error, f"while sending the command {message.name}")
            said = f"{type(error).__name__}: {error} (the details are in {path})"
            self.send(protocol.Answered(id=message.id, ok=False, message=said))
        finally:
            self._commands.release()


def _plain(message: protocol.ToServer | None) -> dict[str, Any]:
    plain: dict[str, Any] = {} if message is None else msgspec.to_builtins(message)
    return plain


def _named(text: str | bytes) -> dict[str, Any]:
    """What a message that cannot be read still tells: for which channel, question or run it was."""
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {}
    told = message if isinstance(message, dict) else {}
    kinds = {"do": str, "channel": int, "id": int, "run": str}
    return {name: told[name] for name, kind in kinds.items() if type(told.get(name)) is kind}


def _short(event: protocol.FromServer) -> protocol.FromServer:
    """The same event; a sentence that quotes something huge is cut in its middle."""
    if isinstance(event, protocol.Failed | protocol.Answered):
        for name in ("message", "run"):
            text = getattr(event, name)
            if isinstance(text, str) and len(text) > _LONGEST:
                setattr(event, name, f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}")
    return event
