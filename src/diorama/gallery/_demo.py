"""What every demo is: data, a model and a plain training loop that is recorded. (The underscore keeps it out of the
registry.)"""

from __future__ import annotations

import abc
import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..core.blame import charged, given
from ..core.errors import NotApplicable, Unavailable, UsageError
from ..core.knobs import Plugin, knob, knobs_of
from ..data import kinds
from ..data.examples import Examples
from ..data.files import read
from ..data.nesting import Nested
from ..record import checkpoints, origin, restoration
from ..record.recorder import watch
from ..record.store import RunReader
from ..training import measures
from ..training.subject import Subject
from ..training.trainer import Trainer

OnStep = Callable[[int, Mapping[str, float]], None]


class Demo(Plugin, abc.ABC):
    """A training to watch: its data, its network and its loop."""

    question: ClassVar[str] = ""
    """What a newcomer can find out with it."""
    task: ClassVar[str] = "classification"
    outputs: ClassVar[str | None] = None
    """Which piece of the network's outputs is its answer, where there are several."""
    probe: ClassVar[int] = 512
    """How many held-out examples every view looks at."""

    steps: int = knob(3000, "After how many steps the training ends by itself.", low=1, main=True)
    seed: int = knob(0, "Decides the first weights, the batches and the split of the data.", low=0)
    pace: float = knob(20.0, "At most so many steps a second, to have something to watch; 0: no rest.",
                       low=0.0, unit="steps/s")
    learning_rate: float = knob(0.01, "How far each step goes along the gradient.", low=0.0, log=True, main=True)
    batch: int = knob(32, "Examples a step learns from.", low=1)

    @abc.abstractmethod
    def examples(self) -> Examples:
        """The demo's own data, with its held-out examples."""

    @abc.abstractmethod
    def accept(self, examples: Examples) -> Examples:
        """A user's data as this demo trains on it; raises UsageError for data of another kind."""

    @abc.abstractmethod
    def network(self, examples: Examples) -> nn.Module:
        """The untrained network for these examples."""

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """What changes the weights."""
        return torch.optim.Adam(model.parameters(), self.learning_rate)

    def augment(self, x: Nested, generator: torch.Generator) -> Nested:
        """A batch as the network is trained on it: here as it is."""
        return x

    def loss(self, output: Any, y: Tensor) -> Tensor:
        """What the training makes small."""
        return measures.cross_entropy(output, y)

    def metrics(self) -> dict[str, Callable[[Any, Tensor], float]]:
        """Further numbers to record at each step, of the batch that is trained on."""
        return {"accuracy": measures.share_right}

    def prepare(self, data: str | Path | Examples | None = None) -> Examples:
        """The examples to train on: the demo's own or a user's; a fifth is held out where no test set comes with
        them."""
        if data is None:
            return self._split(given(self, self.examples(), Examples))
        own = data if isinstance(data, Examples) else read(data)
        if own.y is None:
            raise UsageError("a training wants labels, the data has none: give y, or one folder a class")
        return self._split(self.accept(own))

    def _split(self, examples: Examples) -> Examples:
        """Hold some out; both parts come shuffled by the seed, so that the first examples are of all classes."""
        generator = np.random.default_rng([self.seed, 1])
        if examples.held_out is not None:
            chosen = generator.permutation(len(examples.held_out))[: self.probe]
            return dataclasses.replace(examples, held_out=examples.held_out.take(chosen))
        if len(examples) < 5:
            raise UsageError(_too_few(examples))
        order = generator.permutation(len(examples))
        out = min(max(1, len(examples) // 5), self.probe)
        return dataclasses.replace(examples.take(order[out:]), held_out=examples.take(order[:out]))

    def build(self, examples: Examples) -> nn.Module:
        """The network with first weights that follow from the seed; the process's own random state stays as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network: nn.Module = given(self, self.network(examples), nn.Module)
            return network

    def trainer(self, model: nn.Module, examples: Examples) -> Trainer:
        """The plain loop for a network and its examples."""
        if examples.y is None:
            raise UsageError("a training wants labels, the examples have none")
        return Trainer(
            model, self.optimizer(model), examples.x, examples.y, self.loss, batch=self.batch, seed=self.seed,
            metrics=self.metrics(), augment=self.augment,
        )

    def run(
        self, path: str | Path, steps: int | None = None, data: str | Path | Examples | None = None,
        on_step: OnStep | None = None,
    ) -> nn.Module:
        """Train and record into a folder until the last step or until someone stops it; returns the trained network.

        A folder with an ended training of the same network is taken up again where it ended.
        ``on_step(step, scalars)`` is called after each step. The training uses one thread, which leaves the other cores
        to the page; the number of threads is set back afterwards.
        """
        with charged(self):
            return self._run(Path(path), self.steps if steps is None else steps, data, on_step)

    def _run(self, path: Path, until: int, data: str | Path | Examples | None, on_step: OnStep | None) -> nn.Module:
        examples = self.prepare(data)
        model = self.build(examples)
        trainer = self.trainer(model, examples)
        _take_up(path, model, trainer)
        if trainer.step >= until:
            return model
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with self._origin(until, data), self._watch(model, path, examples, trainer) as recorder:
                clock = _Pace(self.pace)
                while trainer.step < until and not recorder.stopped:
                    scalars = trainer.advance()
                    recorder.step(**scalars)
                    if on_step is not None:
                        on_step(trainer.step, scalars)
                    clock.rest()
        finally:
            torch.set_num_threads(threads)
        return model

    def _origin(self, until: int, data: Any) -> Any:
        """How this training is started again."""
        knobs = {name: getattr(self, name) for name in knobs_of(type(self))}
        name = type(self).name or type(self).__module__.rpartition(".")[2]
        return origin.of_demo(name, {**knobs, "steps": until}, data)

    def criterion(self, model: nn.Module) -> Callable[[Tensor, Tensor], Tensor] | None:  # noqa: ARG002 - for those that need it
        """The loss of each example as the training counts it; None where the task's own is that."""
        return None

    def _watch(self, model: nn.Module, path: str | Path, examples: Examples, trainer: Trainer) -> Any:
        held_out = examples.held_out if examples.held_out is not None else examples.first(self.probe)
        return watch(
            model, path, probe=(held_out.x, held_out.y), classes=examples.classes, optimizer=trainer.optimizer,
            inputs=examples.kind, outputs=self.outputs, task=self.task, state=[trainer], name=type(self).name,
            every=10, criterion=self.criterion(model),
        )


def _take_up(path: Path, model: nn.Module, trainer: Trainer) -> None:
    """Stand where the training in a folder ended, if there is one: its last weights, its last step."""
    try:
        run = RunReader(path)
    except Unavailable:
        return
    with run:
        if run.alive or not run.snapshots:
            return
        last = run.snapshots[-1]
        try:
            Subject(model).journal.stand(model, restoration.revisions_of(run.meta), (trainer.optimizer,))
            model.load_state_dict(run.state(last))
        except (RuntimeError, NotApplicable):
            raise UsageError(
                f"{str(path)!r} holds the training of another network; choose another folder or the same knobs"
            ) from None
        trainer.step = run.last_step
    # The optimizer's memory is in a checkpoint; without one of that very step it begins anew.
    if last in checkpoints.steps(path):
        kept = checkpoints.load(path, last)
        trainer.optimizer.load_state_dict(kept["optimizers"][0])


class _Pace:
    """Rests between steps so that there are at most so many a second."""

    def __init__(self, pace: float) -> None:
        self.between = 1 / pace if pace > 0 else 0.0
        self.due = time.monotonic()

    def rest(self) -> None:
        if not self.between:
            return
        # Time lost (in a pause, say) is not caught up.
        self.due = max(self.due + self.between, time.monotonic() - self.between)
        time.sleep(max(0.0, self.due - time.monotonic()))


def _too_few(examples: Examples) -> str:
    """Why examples are too few: of a text, how long it has to be."""
    kind, x = examples.kind, examples.x
    if isinstance(kind, kinds.Tokens) and kind.describe()["characters"] and isinstance(x, Tensor) and x.ndim == 2:
        pieces = f"only {len(x)} such pieces" if len(x) > 1 else "one such piece"
        return f"a training wants a text of at least {5 * x.shape[1] + 1} characters, 5 pieces of {x.shape[1]} each, got {pieces}"
    return f"a training wants at least 5 examples, got {len(examples)}"


def next_tokens(examples: Examples, reads: str) -> Examples:
    """Examples that tell at each place of a text which token comes next.

    *Raises* NotApplicable for any others, with what the demo reads.
    """
    if not isinstance(examples.kind, kinds.Tokens):
        raise NotApplicable(f"this demo reads {reads}")
    if examples.y is None or examples.y.shape != examples.x.shape:  # type: ignore[union-attr]
        raise NotApplicable("this demo learns what comes next: y wants the next token for each token of x")
    return examples
