"""Checks what `watch` was told, before the first step, and finds out the rest."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ..core import arrivals, registry
from ..core.errors import DioramaError, UsageError
from ..core.knobs import build
from ..core.paths import path_of
from ..data import nesting
from ..data.examples import Examples
from ..data.steered_set import SteeredBase
from ..model.batch_size import called
from ..model.filler_labels import without_filling
from ..model.input_hints import as_read, with_names
from ..model.last_op import made_by
from ..model.layers import LayerTable, layers
from ..model.outputs import Reading
from ..model.own_labels import beside_labels
from ..model.plain_module import fed, processes, unwrap
from ..model.preservation import Preservation
from ..training.subject import Subject
from . import snapshots
from .architecture import facts_of, read_as, structure_of
from .layer_reader import LayerReader
from .own_hooks import UNSOUGHT, compiled
from .pace import Pace
from .padding import looks_at_padding
from .run_folder import Content
from .side_facts import ahead, likeness
from .signals import Signal

_SPREAD = (
    "the weights are spread over processes by {}: their numbers are those of this process's part, and snapshots, "
    "checkpoints and looks at the probe set are left out"
)
_LARGE = 64_000_000
"""Bytes that an object in ``state`` may take."""


class WatchArguments(NamedTuple):
    """What the user passed to ``watch``."""

    model: nn.Module
    path: str | Path
    probe: Any
    classes: Any
    optimizer: Any
    every: int | str
    snapshots: str | int
    budget: int
    inputs: Any
    outputs: Any
    task: str | None
    criterion: Any
    data: Any
    scheduler: Any
    state: Any
    ranks: int | str
    device: Any
    name: str
    signals: Any
    resume: bool
    parent: Any = None
    metadata: Any = None


class Setup(NamedTuple):
    """What a recorder works with."""

    path: Path
    content: Content
    examples: Examples | None
    reading: Reading | None
    subject: Subject
    signals: tuple[Signal, ...]
    pace: Pace
    reader: LayerReader | None
    probe_reader: LayerReader | None
    left_out: tuple[str, ...] = ()
    """What cannot be recorded of this training, a sentence each."""

    def describe(self) -> None:
        """The network is another one now: what is known of it, but for its pickle, follows, and so do those who read it."""
        content, subject = self.content, self.subject
        content.table = subject.table = self.tabled()
        for reader in filter(None, (self.reader, self.probe_reader)):
            reader.follow(subject.model, subject.table)
        content.facts |= structure_of(content) | {"units": subject.journal.births}

    def reread(self, reading: Reading, number: int) -> dict[str, Any]:
        """How outputs are read from this step on, since they are no probabilities as those of the steps before: facts of the run."""
        before, self.content.reading = self.content.reading, reading
        new = [label for label in reading.filling if before is None or label not in before.filling]
        self.content.facts |= read_as(self.examples, reading) | {"reread": number} | ({"unasked": new} if new else {})
        return {name: self.content.facts[name] for name in ("guessed", "form", "ahead", "reread", "unasked") if name in self.content.facts}

    def tabled(self) -> LayerTable | None:
        """The layers as they are now; None where the model cannot take the probe set (any more)."""
        return _tabled(self.subject.model, lambda: self.examples)


def prepared(told: WatchArguments, report: Callable[[Exception], None]) -> Setup | None:
    """Check everything; None where another process of a distributed training records."""
    path = _place(told)
    if path is None:
        return None
    pace = Pace(told.every)
    if isinstance(told.budget, bool) or not isinstance(told.budget, int | float) or told.budget <= 0:
        raise UsageError(f"budget wants a number of bytes above 0, got {told.budget!r}")
    snapshots.Plan(told.snapshots, int(told.budget))
    subject = subject_of(told)
    plain = subject.model
    examples = _examples(told, plain)
    reading = table = None
    if examples is not None and not subject.spread:
        reading, table = _tried(plain, examples, told)
    elif examples is None and (told.classes is not None or told.inputs is not None):
        raise UsageError("classes= and inputs= describe the probe set; pass probe=(x, y) too")
    subject.table = table
    content = Content(plain, examples, reading, table, {}, _beside(told, examples))
    content.spread = subject.spread and f"its weights are spread over processes by {subject.spread}"
    content.facts = facts_of(content) | {"units": {}, "every": told.every, "data": _data(told.data), "probe": likeness(examples, reading)}
    if (sees := ahead(plain, examples, reading)) is not None:
        content.facts["probe"]["ahead"] = sees
    if (turned := looks_at_padding(plain, examples)) is not None:
        content.facts["probe"]["turned"] = turned
    closed = compiled(plain) or (plain is not told.model and type(told.model).__name__ == "OptimizedModule")
    # A compiled model would compile its hooks too, and those of a later reading never run.
    reader = None if closed else LayerReader(plain, table, report)
    probe_reader = LayerReader(plain, table, report) if examples is not None else None
    signals = chosen_signals(told.signals)
    left_out = []
    if subject.spread:
        left_out.append(_SPREAD.format(subject.spread))
    if table is not None:
        left_out += table.notes
    if not subject.spread:
        left_out += snapshots.unkept(plain)
    if closed:
        known = " (those on the probe set are, in their place)" if examples is not None else ""
        unread = f"activations on training batches are not read while a compiled model trains{known}, {UNSOUGHT}"
        left_out.append(f"{unread}: hooks would make it compile again")
    return Setup(
        path, content, examples, reading, subject, signals, pace, reader, probe_reader, tuple(left_out)
    )


def _tabled(model: nn.Module, examples_of: Callable[[], Examples | None]) -> LayerTable | None:
    try:
        examples = examples_of()
        return layers(model, examples.x) if examples is not None else None
    except Exception:  # noqa: BLE001 - a network that was changed by hand may not run, which must not stop anything
        return None


def followed(told: WatchArguments) -> Subject:
    """What is trained, in a process that does not record: its table of layers, by which commands go, is made when one asks for it."""
    subject = subject_of(told)
    if not subject.spread:
        subject.table_by(lambda: _tabled(subject.model, lambda: _examples(told, subject.model)))
    return subject


def subject_of(told: WatchArguments) -> Subject:
    """What is trained."""
    schedulers, state = _several(told.scheduler), _several(told.state)
    if isinstance(told.data, SteeredBase) and not any(told.data is each for each in state):
        state = (*state, told.data)
    for scheduler in schedulers:
        if not hasattr(scheduler, "state_dict"):
            raise UsageError(f"scheduler wants an object with a state_dict(), got {type(scheduler).__name__}")
    for each in state:
        _check_state(each)
    together = isinstance(told.model, nn.parallel.DistributedDataParallel) or _spread_over_all(told.model)
    return Subject(unwrap(told.model), told.optimizer, schedulers, state, together=together)


def _spread_over_all(model: nn.Module) -> bool:
    """Whether weights are spread over all processes, which then wait for each other in every step to gather them."""
    meshes = (getattr(parameter, "device_mesh", None) for parameter in model.parameters())
    return processes() > 1 and any(mesh is not None and mesh.size() == processes() for mesh in meshes)


def _place(told: WatchArguments) -> Path | None:
    """The folder to write to, by the rank of this process."""
    path_of(told.path, "path wants the name of a folder")
    if told.ranks != "all" and (isinstance(told.ranks, bool) or not isinstance(told.ranks, int) or told.ranks < 0):
        raise UsageError(f"ranks wants 'all' or the number of one, got {told.ranks!r}")
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank = torch.distributed.get_rank() if together else int(os.environ.get("RANK", 0) or 0)
    if told.ranks == "all":
        return Path(told.path) / f"rank-{rank}" if together else Path(told.path)
    return Path(told.path) if rank == told.ranks else None


class _Sink(io.RawIOBase):
    """Counts what is written into it, and refuses when it is too much."""

    def __init__(self) -> None:
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        count = memoryview(data).nbytes
        self.size += count
        if self.size > _LARGE:
            raise OverflowError
        return count


def _check_state(thing: Any) -> None:
    """Refuse what would make each checkpoint as large as a data set, or none at all, before the first step."""
    if hasattr(thing, "state_dict"):
        return
    kind = type(thing).__name__
    way = "pass its generator or sampler, or an object with state_dict() and load_state_dict()"
    if isinstance(thing, torch.utils.data.DataLoader | torch.utils.data.Dataset):
        raise UsageError(f"state wants what a training needs to go on, and a {kind} would be stored with all its data in "
                         f"every checkpoint; {way}")
    sink = _Sink()
    try:
        pickle.Pickler(sink, pickle.HIGHEST_PROTOCOL).dump(thing)
    except OverflowError:
        raise UsageError(
            f"state wants what a training needs to go on, and this {kind} takes over {_LARGE // 10**6} MB in every "
            f"checkpoint; {way}"
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"state wants objects that can be stored, and this {kind} cannot ({reason}); {way}") from error


def _several(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _examples(told: WatchArguments, model: nn.Module) -> Examples | None:
    probe = told.probe
    if probe is None:
        return None
    if isinstance(probe, Examples):
        examples = probe.told(told.classes, told.inputs, told.metadata)
    elif isinstance(probe, SteeredBase):
        examples = probe.examples(classes=told.classes, inputs=told.inputs).told(metadata=told.metadata)
    elif isinstance(probe, tuple) and len(probe) == 2:
        examples = Examples.of(with_names(model, probe[0]), probe[1], told.classes, told.inputs, told.metadata)
    else:
        examples = Examples.of(with_names(model, probe), None, told.classes, told.inputs, told.metadata)
    if not len(examples):
        raise UsageError("the probe set wants at least one example, got none")
    if told.device is not None:
        x = nesting.to(examples.x, torch.device(told.device))
        examples = dataclasses.replace(examples, x=x, held_out=None)
    return as_read(model, examples)


def _output(model: nn.Module, x: Any) -> Any:
    with Preservation(model), torch.no_grad():
        return called(model, fed(model, x))


def _tried(model: nn.Module, examples: Examples, told: WatchArguments) -> tuple[Reading, LayerTable]:
    """Run the model on two examples of the probe set, and see whether the answers can be read."""
    few = examples.first(2)
    try:
        output, ending = made_by(model, few.x, lambda x: _output(model, x))
    except DioramaError:
        raise
    except Exception as error:
        raise _unfit(examples, error, told) from error
    names = examples.classes
    reading = Reading.of(
        output, few.y, outputs=told.outputs, task=told.task, criterion=told.criterion, x=beside_labels(model, few.x, few.y), classes=names,
        ending=ending,
    )
    if few.y is not None and len(examples) > len(few):
        # Two labels may not show what all of them do.
        given = beside_labels(model, examples.x, examples.y)
        with ending:
            scores = reading.scores(output)
            wide = scores[:1].expand(len(examples), *scores.shape[1:])
        whole = Reading.of(wide, examples.y, task=told.task, criterion=told.criterion, x=given, classes=names, ending=ending)
        reading = dataclasses.replace(whole, outputs=told.outputs)
    scores = reading.scores(output)
    reading = without_filling(reading, reading.width(scores), examples, model)
    if not scores.ndim or len(scores) != len(few):
        raise UsageError(
            f"the model answers {len(few)} examples with scores of shape {tuple(scores.shape)}; "
            "its first axis must count the examples (pick another output with outputs=)"
        )
    wanted = reading.wanted(few.x, few.y)
    if wanted is not None and few.y is not None and reading.task:
        try:
            reading.losses(scores, wanted.to(scores.device))
        except DioramaError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            shapes = f"the model's scores {tuple(scores.shape)} do not go with y {tuple(few.y.shape)}"
            if told.criterion is not None:
                what = f"the scores that outputs={told.outputs!r} picks" if told.outputs is not None else "the model's scores"
                shapes = (f"criterion= failed; it is called with {what}, a tensor of shape {tuple(scores.shape)}, and y of shape "
                          f"{tuple(few.y.shape)} ({type(error).__name__})")
            raise UsageError(f"{shapes}: {reason}") from error
    return reading, layers(model, few.x)


def _unfit(examples: Examples, error: Exception, told: WatchArguments) -> UsageError:
    """The error for a probe set that the model cannot take."""
    shapes = ", ".join(str(tuple(tensor.shape[1:])) for tensor in nesting.tensors(examples.x))
    reason = " ".join(str(error).split())[:300]
    hint = ""
    if isinstance(error, TypeError) and isinstance(told.probe, tuple) and "missing" in reason:
        hint = "; for a model of two inputs pass probe=((x, t), y), or ((x, t), None) without labels"
    return UsageError(f"the model cannot take the probe set, with examples of shape {shapes}: {reason}{hint}")


def _beside(told: WatchArguments, examples: Examples | None) -> dict[str, Any]:
    """What is pickled beside the model: functions, which a safe format can't hold."""
    return {"outputs": told.outputs, "criterion": told.criterion, "kind": examples.kind if examples else None}


def _data(data: Any) -> str | None:
    if data is None or isinstance(data, SteeredBase):
        return None
    if not isinstance(data, str | os.PathLike):
        raise UsageError(f"data wants the path of a file or folder with the whole data set, or a data set that diorama.data wrapped, got "
                         f"{type(data).__name__}")
    if not path_of(data, "data wants an existing file or folder").exists():
        raise UsageError(f"data wants an existing file or folder, got {str(data)!r}")
    return os.path.abspath(data)


_PATIENCE = 60.0
"""Seconds for which a training waits for a third party's signals to be imported, each: it would be recorded without them."""


def chosen_signals(changes: Any) -> tuple[Signal, ...]:
    """All signals with the user's changes: knob values by name, None to leave one out, or signals of one's own."""
    with arrivals.waiting(_PATIENCE):
        found = {name: plugin() for name, plugin in registry.signals.items()}
    if isinstance(changes, Mapping):
        for name, values in changes.items():
            if isinstance(values, Signal):
                found[name] = values
                continue
            plugin = registry.signals[name]
            if values is None or values is False:
                found.pop(name, None)
            elif callable(values):
                raise UsageError(
                    f"signals={{{name!r}: …}} wants a dict of its knobs' values, None to leave it out, or a signal of your own "
                    f"(an object of a class on diorama.plugins.Signal), got {type(values).__name__}"
                )
            else:
                found[name] = build(plugin, values)
    elif isinstance(changes, Sequence) and all(isinstance(change, Signal) for change in changes):
        found |= {change.name or type(change).__name__: change for change in changes}
    elif changes is not None:
        raise UsageError("signals wants a dict of knob values by signal, or a list of signals")
    order = ["metrics", "learning_rate"]
    return tuple(found[name] for name in sorted(found, key=lambda n: (order.index(n) if n in order else 2, n)))
