"""All that is needed to train on: weights, optimizers, schedulers, random generators and the user's own objects."""

from __future__ import annotations

import contextlib
import io
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.errors import Damaged, Unavailable, Untrusted
from . import files, trust
from .writer import Writer

if TYPE_CHECKING:
    from ..training.subject import Subject
    from .lineage import Line

FOLDER = "checkpoints"
KEPT = 3
"""Automatic checkpoints that are kept: the newest."""
ACT = "act"
KEPT_ACTS = 5
"""Checkpoints before acts that are kept: the newest …"""
ACT_BYTES = 2_000_000_000
"""… as long as they take no more bytes together; a larger one is not taken at all …"""
SMALL_ACTS, SMALL_BYTES = 20, 100_000_000
"""… and more of them where all together are small."""
LATER, RULE = "later", "rule"
"""In the name of one that was kept before an act which changes nothing by itself; and before one that a rule sent."""
KINDS = ("", LATER, RULE)
"""Kinds of acts; those of one push no checkpoint from before one of another kind out."""
PERIOD = 60.0
"""Seconds between two automatic checkpoints."""
SHARE = 0.01
LARGEST = 100_000_000_000
"""Bytes of a checkpoint."""


class Checkpoints:
    """Takes checkpoints: by hand, and automatically as often as a small share of the time allows."""

    def __init__(self, subject: Subject, steering: Callable[[], dict[str, Any]], waiting: Callable[[int], bool] = lambda _: False) -> None:
        self._subject = subject
        self._waiting = waiting
        """Whether gradients are kept for a step to come."""
        self._steering = steering
        """What people's wishes are in force."""
        self._last = time.monotonic()
        self._cost = 0.0

    def due(self, now: float) -> bool:
        """Whether an automatic one should be taken."""
        return now - self._last >= max(PERIOD, self._cost / SHARE)

    def put_off(self) -> None:
        """One that was due is not taken."""
        self._last = time.monotonic()

    def copy(self, step: int) -> CheckpointCopy:
        """All of it as it stands now. Tensors are copied and no more: what takes longer is left to whoever wants the bytes."""
        from . import restoration  # not above: what a run holds is told without torch

        began, subject = time.monotonic(), self._subject
        seen: dict[int, Any] = {}
        weights = restoration.weights_of(subject.model)
        rest = {
            "extra": weights.pop("extra"),
            "schedulers": [each.state_dict() for each in subject.schedulers],
            "state": [each.state_dict() if hasattr(each, "state_dict") else each for each in subject.state],
            "random": restoration.random_state(),
            "steering": self._steering(),
        }
        content: dict[str, Any] = {"step": step, "time": time.time(), "structure": subject.journal.told()}
        parts: list[tuple[str, Any]] = [("weights", weights), ("optimizers", [each.state_dict() for each in subject.optimizers])]
        if self._waiting(step):
            parts.append(("gradients", {name: p.grad for name, p in subject.model.named_parameters() if p.grad is not None}))
        for name, value in parts:
            try:
                content[name] = _apart(value, seen)
            except _ForeignValueError:
                rest[name] = value
        size = sum(tensor.numel() * tensor.element_size() for _, tensor in seen.values())
        # These are the user's own objects, which may be anything: pickled now, as they may be other ones soon.
        content["rest"] = _saved(rest)
        self._last = time.monotonic()
        self._cost = self._last - began
        return CheckpointCopy(content, size + len(content["rest"]))


class CheckpointCopy(NamedTuple):
    """A checkpoint in memory."""

    content: dict[str, Any]
    size: int
    """Its bytes, but for a few."""

    def packed(self) -> bytes:
        """It as bytes; on any thread."""
        return _saved(self.content)


class _ForeignValueError(Exception):
    """A value of which nobody knows how it is copied."""


def _apart(value: Any, seen: dict[int, Any]) -> Any:
    """Plain containers with their tensors, copied to the CPU; ``seen`` has each tensor with its copy. *Raises* _ForeignValueError."""
    import torch

    if isinstance(value, torch.Tensor):
        if type(value) not in (torch.Tensor, torch.nn.Parameter):
            raise _ForeignValueError
        if id(value) not in seen:
            seen[id(value)] = value, value.detach().to("cpu", copy=True)
        return seen[id(value)][1]
    if isinstance(value, Mapping):
        if not isinstance(value, dict):
            raise _ForeignValueError
        return {name: _apart(each, seen) for name, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_apart(each, seen) for each in value)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return value
    raise _ForeignValueError


def _saved(content: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def write(writer: Writer, step: int, data: bytes, anchor: bool, act: int | None = None, kind: str = "") -> None:
    """Write a checkpoint with its signature; automatic ones push out the oldest of their kind: those between, and those before acts of each
    kind of ``KINDS``."""
    folder = files.own(writer.folder, FOLDER)
    folder.mkdir(exist_ok=True)
    before = f".{ACT}{act}{f'.{kind}' * bool(kind)}" if act is not None else ""
    name = f"{step:09d}{before}{'' if anchor else '.auto'}.pt"
    signature = trust.sign(data)
    if signature:
        files.put((folder / name).with_suffix(".sig"), signature.encode())
    files.put(folder / name, data)
    writer.index_file(f"{FOLDER}/{name}", len(data), zlib.crc32(data))
    there = automatic(writer.folder)
    before_acts = sorted((file for file in there if f".{ACT}" in file.name), key=_act_of)
    others = [file for file in there if file not in before_acts]
    for old in others[:-KEPT]:
        forget(writer, old)
    for each in KINDS:
        alike = [file for file in before_acts if _kind_of(file) == each]
        for old in alike[:-_fitting(alike)]:
            forget(writer, old)


def _fitting(before_acts: list[Path]) -> int:
    """How many of the newest are kept; one at least."""
    taken = count = 0
    for file in reversed(before_acts[-max(KEPT_ACTS, SMALL_ACTS):]):
        with contextlib.suppress(OSError):
            taken += file.stat().st_size
        if taken > (ACT_BYTES if count < KEPT_ACTS else SMALL_BYTES):
            break
        count += 1
    return max(1, count)


def automatic(folder: Path) -> list[Path]:
    """The files of the automatic checkpoints, oldest first."""
    return sorted((folder / FOLDER).glob("*.auto.pt"))


def before_acts(folder: Path) -> list[int]:
    """The numbers of the commands before which a checkpoint was taken that is still there."""
    return sorted(number for file in automatic(folder) if (number := _act_of(file)))


def _act_of(file: Path) -> int:
    """The number of the command before which a checkpoint was taken; 0 for one that was taken before none."""
    part = next((part for part in file.name.split(".") if part.startswith(ACT)), "")[len(ACT):]
    return int(part) if part.isascii() and part.isdigit() and len(part) < 19 else 0


def _kind_of(file: Path) -> str:
    """The kind of act before which it was taken."""
    return next((part for part in file.name.split(".") if part in KINDS[1:]), "")


def before_each(folder: Path, acts: Iterable[Mapping[str, Any]]) -> dict[int, Path]:
    """By the number of each act of which a run tells: the folder with the checkpoint from before it, where that is still there.

    What was done in a run that this one goes on from has its checkpoint there, beside this run.
    """
    there: dict[str, list[int]] = {}
    found: dict[int, Path] = {}
    for act in acts:
        run = str(act.get("run") or "")
        if run in (".", "..") or Path(run).name != run:
            continue  # a run names no folder but those beside it
        place = folder.resolve().with_name(run) if run else folder
        if act["command"] in there.setdefault(run, before_acts(place)):
            found[act["command"]] = place
    return found


def before(folder: Path, command: int, acts: Iterable[Mapping[str, Any]]) -> tuple[Path, int]:
    """The folder with the checkpoint from before a command, and after which step it was taken. *Raises* Unavailable where there is none
    any more.
    """
    known = before_each(folder, acts)
    for file in automatic(known[command]) if command in known else ():
        if f".{ACT}{command}." in file.name:
            return known[command], int(file.name.partition(".")[0])
    there = ", ".join(map(str, sorted(known))) or "none"
    raise Unavailable(f"no checkpoint from before command {command} is left; of these commands there is one: {there}")


def forget(writer: Writer, file: Path) -> None:
    """Give a checkpoint up."""
    writer.forget_file(f"{FOLDER}/{file.name}")
    with contextlib.suppress(OSError, Damaged):
        files.own(writer.folder, FOLDER)
        file.unlink()
        file.with_suffix(".sig").unlink()


def steps(folder: Path) -> list[int]:
    """Steps with a checkpoint."""
    names = (file.name.partition(".")[0] for file in (folder / FOLDER).glob("*.pt"))
    return sorted({int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 19})


def along(line: Line) -> dict[int, Path]:
    """Steps with a checkpoint along a line, each with the folder of the run that holds it."""
    ways = list(reversed(line.ancestry))
    found = {each: place for place, until in ways for each in steps(place) if each <= until}
    first = ways[-1][1] if ways else 0
    return found | {each: line.path for each in steps(line.path) if each >= first}


def _file(folder: Path, step: int, act: int | None) -> Path | None:
    """The file of a step: the one taken before an act, where it is asked for and there; else the most lasting, or that before its first act."""
    there = [file for file in (folder / FOLDER).glob(f"{step:09d}.*pt") if file.name[0] != "."]
    wanted = f".{ACT}{act}."
    there.sort(key=lambda file: (wanted not in file.name, f".{ACT}" in file.name, ".auto" in file.name, _act_of(file)))
    return there[0] if there else None


def content(folder: Path, step: int, trusted: bool = False, act: int | None = None) -> bytes:
    """The bytes of a checkpoint. *Raises* Unavailable, Untrusted for one that this user did not make, Damaged."""
    file = _file(folder, step, act)
    if file is None:
        raise Unavailable(f"no checkpoint at step {step}; there are: {', '.join(map(str, steps(folder))) or 'none'}")
    name = f"{FOLDER}/{file.name}"
    try:
        data = files.content(folder, name, LARGEST)
    except OSError as error:
        raise Unavailable(f"the checkpoint of step {step} cannot be read: {error.strerror}") from error
    signed = trust.verify(data, trust.signature(folder, name))
    if not signed and not trusted:
        raise Untrusted(
            f"the checkpoint of step {step} was not made by this user, and loading it may run code; "
            "if you trust where it comes from say trust=True"
        )
    return data


def load(folder: Path, step: int, trusted: bool = False, act: int | None = None) -> dict[str, Any]:
    """Read a checkpoint: that before an act where it is named and there. Raises what :func:`content` raises."""
    data = content(folder, step, trusted, act)
    try:
        return unpacked(data)
    except Exception as error:
        raise Damaged(f"the checkpoint of step {step} cannot be read: {error}") from error


def among_acts(kept: Mapping[str, Any], step: int, acts: Iterable[Mapping[str, Any]]) -> str:
    """After which acts of its step a checkpoint was taken, and before which, in words; nothing where there are none."""
    done = {act["command"] for act in kept.get("steering", {}).get("acts") or ()}
    there = {act["command"]: f"command {act['command']} ({act['name']})" for act in acts if act["step"] == step}
    parts = [
        f"{word} {' and '.join(told)}" for word, told in (
            ("after", [told for number, told in there.items() if number in done]),
            ("before", [told for number, told in there.items() if number not in done]),
        ) if told
    ]
    return "".join(f", {part}" for part in parts)


def unpacked(data: bytes) -> dict[str, Any]:
    """What was packed by one who is trusted: reading it may run code."""
    import torch

    found: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=False)
    if "rest" in found:  # earlier versions had no parts
        found |= torch.load(io.BytesIO(found.pop("rest")), weights_only=False)
        found["weights"]["extra"] = found.pop("extra")
    return found


def load_whole(folder: Path, step: int, subject: Subject, act: int | None = None) -> dict[str, Any]:
    """A checkpoint with its weights, which those of earlier versions left to the snapshot of that step; raises what
    :func:`load` raises.
    """
    found = load(folder, step, act=act)
    if "weights" not in found:
        from .reader import RunReader

        with RunReader(folder) as reader:
            if step not in reader.snapshots:
                raise Unavailable(f"the checkpoint of step {step} has no weights, and no snapshot of that step is left")
            names = subject.shapes()
            state = reader.state(step)
        parameters = {name: tensor for name, tensor in state.items() if name in names}
        buffers = {name: tensor for name, tensor in state.items() if name not in names}
        found |= {"weights": {"parameters": parameters, "buffers": buffers, "extra": {}}, "steering": {}}
    return found
