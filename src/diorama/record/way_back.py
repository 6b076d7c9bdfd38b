"""The way back to a checkpoint: a living training is put where it stood, and a run is made in which it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import Unavailable
from ..training.trainer import Trainer
from . import checkpoints, restoration
from .acts_in_force import inherited
from .lineage import Line
from .run_folder import NewRun, begin_child, beside

if TYPE_CHECKING:
    from .controls import Controls
    from .setup import Setup

First = Callable[[int], Mapping[str, Any]]
"""What is read where a run begins."""


class WayBack:
    """Puts a training back, all of it or nothing, and leaves out batches that it draws."""

    def __init__(self, setup: Setup) -> None:
        self._setup, self._subject, self._content = setup, setup.subject, setup.content
        self._path = self._place = Path()
        self._kept: restoration.Kept = {}
        self._child: NewRun | None = None
        self._among = ""
        """Which acts of its step came before the checkpoint, and which after it."""
        self.skipping = 0
        """Batches that are still to be left out."""

    def look(self, path: Path, step: int | None, command: int | None = None, known: Sequence[Mapping[str, Any]] = ()) -> int:
        """Find the checkpoint of a step, or the last one, along the line of a run, or that before a command of the known acts; its step.

        Nothing is changed.

        *Raises* Unavailable, Untrusted or Damaged where there is none that can be read, NotApplicable where it does not
        fit the training as it is now.
        """
        if command is not None:
            place, step = checkpoints.before(path, command, known)
            places = {step: place}
        else:
            with Line(path) as line:
                places = checkpoints.along(line)
            step = max(places, default=0) if step is None else step
        if step not in places:
            raise Unavailable(f"no checkpoint at step {step}; there are: {', '.join(map(str, places)) or 'none'}")
        self._subject.look()
        self._path, self._place = path, places[step]
        self._kept = checkpoints.load_whole(self._place, step, self._subject, command)
        restoration.check_fit(self._kept, self._subject, step)
        self._among = checkpoints.among_acts(self._kept, step, known)
        return step

    def go(self, step: int, skip: int, now: bytes, controls: Controls, first: First) -> tuple[str, str, str]:
        """Put the training back and make the run in which it goes on; ``now`` is how it stands, if that fails.

        Returns the step that was left, the new run and a sentence.
        """
        number, steering, acts = controls.number, controls.kept(), self._subject.journal.revisions
        try:
            controls.let_go()
            put = restoration.put_back(self._kept, self._subject)
            if self._subject.journal.revisions != acts:
                self._setup.describe()
            self._content.facts |= {"optimizer": controls.optimizer_values()}
            self._child = begin_child(self._place, self._kept, self._content, first(step), beside(self._path))
        except BaseException:
            another = self._subject.journal.revisions != acts
            restoration.put_back(checkpoints.unpacked(now), self._subject)
            if another:
                self._setup.describe()
            controls.put_back(steering)
            raise
        batches = self._batches(skip)
        told = restoration.told(*put, batches)
        return str(number), self._child.folder.name, f"went back to step {step}{self._among}, in the new run {self._child.folder.name!r}: {told}"

    def _batches(self, skip: int) -> str:
        """Leave batches out, and say which come next."""
        trainer = next((each for each in self._subject.state if isinstance(each, Trainer)), None)
        said = "the batches go on as the loop draws them" if trainer is None else "the same batches come again"
        if trainer is not None:
            trainer.skip(skip)
        self.skipping = skip if trainer is None else 0
        return said if not skip else f"{said}, and the next {'one is' if skip == 1 else f'{skip} are'} left out"

    def entered(self) -> NewRun:
        """The run in which the training goes on."""
        child, self._child = self._child, None
        assert child is not None
        return child

    def settle(self, controls: Controls) -> None:
        """The run is begun: the wishes of then are in force."""
        controls.rules.take_up(self._kept["steering"].get("rules", ()))
        inherited(controls, self._kept["steering"], self._place.name)
        self._rest()

    def skip(self, controls: Controls) -> None:
        """A batch was trained on that is left out: the training stands where it stood before."""
        self.skipping -= 1
        controls.let_go()
        restoration.put_back(self._kept, self._subject, everything=False)
        controls.put_back(self._kept["steering"])
        self._rest()

    def _rest(self) -> None:
        """Hold in memory no longer what is not needed any more."""
        if not self.skipping:
            self._kept = {}
