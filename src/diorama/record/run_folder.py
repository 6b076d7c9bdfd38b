"""How a run begins: checked before the first step, made under another name and then renamed, or taken up again."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import DioramaError, Unavailable, UsageError
from ..data.examples import Examples
from ..model.layers import LayerTable
from ..model.outputs import Reading
from . import checkpoints, checksums, database, files, lineage, models, origin, requests, snapshots
from .architecture import kept
from .architecture import write as write_architecture
from .arrays import LIVE
from .lock import RunLock
from .lock import held as lock_held
from .origin import Origin
from .reader import RunReader
from .writer import Value, Writer

PROBE = "probe.safetensors"


@dataclasses.dataclass
class Content:
    """What a run is made of before its first step."""

    model: nn.Module
    examples: Examples | None
    reading: Reading | None
    table: LayerTable | None
    facts: dict[str, Any]
    more: dict[str, Any]
    """What goes into the pickle beside the model."""
    origin: Origin | None = None
    """How the training was started."""
    spread: str = ""
    """What spreads the weights over processes, so that none has a model to keep."""
    stored: int | None = None
    """By what its pickle is known that was stored last."""


@dataclasses.dataclass
class NewRun:
    """A run that is ready to be written."""

    folder: Path
    lock: RunLock
    writer: Writer
    number: int
    """The step to go on from."""
    architecture: int
    resumed: bool
    frozen: list[list[Any]] = dataclasses.field(default_factory=list)
    """What was frozen, and from which step to which."""
    kept: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What a run that is taken up told of itself: what was in force when it ended."""
    told: str = ""
    """From where a child goes on, in words."""


def begin(
    path: str | Path, content: Content, first: Mapping[str, Value], name: str, resume: bool = False, *, afresh: bool = False
) -> NewRun:
    """Make a new run, or take up an existing one whose training has ended: with ``resume``, or where the model has the
    weights of its last snapshot. Another training is never mixed with it: its run is made beside, and that is said.

    *Raises* UsageError where the path holds something else, Unavailable where it can't be written or another training
    has it.
    """
    folder = Path(os.path.abspath(path))
    try:
        if (folder / database.NAME).is_file():
            if not afresh and (resume or lock_held(folder) or _goes_on(folder, content.model)):
                return _resume(folder, content)
            folder = beside(folder)
            told = f"{str(path)!r} holds another training, so this one is recorded into {str(Path(path).with_name(folder.name))!r}"
            print(f"diorama: {told}; resume=True takes the other one up", file=sys.stderr)  # noqa: T201
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{str(path)!r} exists and is no run; choose another folder, or an empty one")
        return _create(folder, content, first, name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unavailable(f"the run folder {str(path)!r} cannot be written: {reason}; choose another one") from error


def begin_child(
    parent: Path, kept: Mapping[str, Any], content: Content, first: Mapping[str, Value], path: Path
) -> NewRun:
    """Make a run that goes on from a checkpoint of another one beside it.

    *Raises* Unavailable where it cannot be written.
    """
    parent = parent.resolve()
    folder, step = path, int(kept["step"])
    frozen = _frozen(parent, (kept.get("steering") or {}).get("frozen", ()), step)
    facts = lineage.told(parent, step, kept.get("time")) | _in_force(kept.get("steering") or {}, content) | {"frozen": frozen}
    try:
        begun = _create(folder, content, first, folder.name, step, facts, requests.last(parent))
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unavailable(f"the run folder {str(folder)!r} cannot be written: {reason}") from error
    begun.frozen = frozen
    begun.told = f"goes on from step {step} of {parent.name!r}"
    return begun


def _frozen(parent: Path, layers: Iterable[str], step: int) -> list[list[Any]]:
    """Which layers are frozen at a step of a run, and were before it, since when: what a child reads of that time is judged by it."""
    try:
        with RunReader(parent) as reader:
            before = [list(each) for each in reader.meta.get("frozen") or () if each[1] <= step]
    except DioramaError:
        before = []
    past = [each for each in before if each[2] is not None and each[2] <= step]
    since = {layer: begun for layer, begun, until in before if until is None or until > step}
    return past + [[layer, since.get(layer, step), None] for layer in layers]


def _in_force(steering: Mapping[str, Any], content: Content) -> dict[str, Any]:
    """What was in force at a checkpoint, as the child tells it from its first moment: its training may be killed before it tells more."""
    factors = [*steering.get("factors", ())]
    groups = content.facts.get("optimizer") or [{} for _ in factors]
    return {
        "optimizer": [
            {**group, "factor": factor, "in_force": group.get("learning_rate", 0.0) * factor} for group, factor in zip(groups, factors, strict=False)
        ],
        "wishes": {name: steering.get(name) for name in ("clip", "schedule")} | {"layers": steering.get("layers") or {}},
    }


def _goes_on(folder: Path, model: nn.Module) -> bool:
    """Whether a model has, bit by bit, the weights with which the training in a folder ended."""
    try:
        with RunReader(folder) as reader:
            steps = reader.snapshots
            if not steps or (steps[-1] == 0 and reader.last_step > 0):
                return False  # the first weights of all say nothing: a script that is run again has them too
            kept = reader.state(steps[-1])
    except DioramaError:
        return False
    weights = {name: p.detach().cpu() for name, p in model.named_parameters() if not p.is_meta}
    return all(name in kept and _same(kept[name], tensor) for name, tensor in weights.items())


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.numel():
        return True
    # By their bits, so that a NaN equals itself.
    dense = (tensor if tensor.layout is torch.strided else tensor.to_dense() for tensor in (one, other))
    return torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in dense))


def beside(folder: Path) -> Path:
    """The first folder of that name with a number that does not exist yet; a child of a child is numbered as one."""
    name = folder.name
    with contextlib.suppress(DioramaError), lineage.Line(folder, 1.0) as line:
        name = line.ancestry[-1][0].name if line.ancestry else name
    number = 2
    while (found := folder.with_name(f"{name}-{number}")).exists():
        number += 1
    return found


def _create(
    folder: Path, content: Content, first: Mapping[str, Value], name: str, step: int = 0, facts: Mapping[str, Any] | None = None,
    after: int = 0,
) -> NewRun:
    """All of it is made beside and renamed at once: whatever is interrupted, a folder with a run in it opens."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _clean(folder)
    beside = folder.parent / f".{folder.name}.{os.getpid()}.new"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    lock = RunLock(beside)
    try:
        lock.take()
        (beside / snapshots.FOLDER).mkdir()
        database.create(beside)
        requests.create(beside, after)
        writer = Writer(beside)
        _describe(writer, content, 0, name or folder.name)
        writer.write([], meta=facts)
        if not content.spread:
            tensors, shared = snapshots.copied(content.model)
            take_snapshot(writer, step, tensors, shared, anchor=True, architecture=0)
        writer.write([(step, time.time(), first)])
        writer.close()
        if os.name == "nt" and folder.exists():
            folder.rmdir()
        os.rename(beside, folder)
    except BaseException:
        lock.free()
        shutil.rmtree(beside, ignore_errors=True)
        raise
    lock.folder = folder
    return NewRun(folder, lock, Writer(folder), step, 0, False)


def _clean(folder: Path) -> None:
    """Remove what trainings left that died while they began a run of this name."""
    for left in folder.parent.glob(f".{folder.name}.*.new"):
        if not lock_held(left) and time.time() - left.stat().st_mtime > 1:
            shutil.rmtree(left, ignore_errors=True)


def _resume(folder: Path, content: Content) -> NewRun:
    lock = RunLock(folder)
    lock.take()
    try:
        writer = Writer(folder)
        try:
            number, meta = max(writer.last_step, 0), writer.meta()
            architecture = int(meta.get("architecture", 0))
            if meta.get("parameters") != content.facts["parameters"]:
                writer.write([], meta=kept(architecture, meta))
                architecture += 1
            _describe(writer, content, architecture, "")
            known = {file for _, file, _, _ in writer.snapshots()}
            files.own(folder, checkpoints.FOLDER)
            for file in files.own(folder, snapshots.FOLDER).iterdir():
                if snapshots.OWN.fullmatch(file.name) and f"{snapshots.FOLDER}/{file.name}" not in known:
                    file.unlink()
            if not content.spread and number not in {step for step, _, _, _ in writer.snapshots()}:
                tensors, shared = snapshots.copied(content.model)
                take_snapshot(writer, number, tensors, shared, anchor=False, architecture=architecture)
            with contextlib.suppress(OSError):
                (folder / LIVE).unlink()
        except BaseException:
            writer.abandon()
            raise
    except BaseException:
        lock.free()
        raise
    return NewRun(folder, lock, writer, number, architecture, True, list(meta.get("frozen") or ()), kept=meta)


def _describe(writer: Writer, content: Content, architecture: int, name: str) -> None:
    """Write the facts, the probe set and the model's pickle."""
    folder, facts = writer.folder, dict(content.facts)
    facts |= {"architecture": architecture, "paused": False, "ended": None}
    if name:
        facts |= {"name": name, "created": time.time()}
    data, reason = (b"", content.spread) if content.spread else models.pack(content.model, content.more)
    content.stored = None if content.spread else models.mark(content.model, content.more, data)
    facts["model_error"] = content.facts["model_error"] = reason
    if content.examples is not None:
        beside = files.cleared(folder / f".{PROBE}")
        content.examples.save(beside)
        size, crc = checksums.checksum(beside)
        os.replace(beside, folder / PROBE)
        writer.index_file(PROBE, size, crc)
    write_architecture(writer, architecture, data)
    if content.origin is not None:
        size, data = origin.write(folder, content.origin)
        writer.index_file(origin.NAME, size, zlib.crc32(data))
    writer.write([], meta=facts)


def take_snapshot(writer: Writer, step: int, tensors: Any, shared: Any, *, anchor: bool, architecture: int) -> int:
    """Write a snapshot and enter it into the index; returns its size."""
    file = f"{snapshots.FOLDER}/{step:09d}.safetensors"
    about = {"step": str(step), "model": str(architecture)}
    size, crc = snapshots.write(files.own(writer.folder, snapshots.FOLDER) / Path(file).name, tensors, shared, about)
    writer.index_snapshot(step, file, size, crc, anchor=anchor, model=architecture)
    return size
