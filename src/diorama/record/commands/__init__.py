"""What a person may ask of a running training: one command a file, applied between two steps."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from ...core.blame import given
from ...core.errors import NotApplicable
from ...core.knobs import Plugin, describe
from ..acts import Reversal

if TYPE_CHECKING:
    from ..controls import Controls
    from ..lineage import Line


class Outcome(NamedTuple):
    """What a command changed: the value before and after, a sentence for the event, and how it is taken back."""

    old: str
    new: str
    text: str
    reversal: Reversal | None = None
    """How the command ``undo`` takes it back; None for what is no change that could be (a pause, a snapshot). A command of the families weights,
    structure, optimizer or data that ``steers`` and gives None is told at once to be for good."""
    unchanged: bool = False
    """Whether all was so already: then it is no act, and has neither a way back nor a twin."""


def applied(command: Any, done: Any) -> Outcome:
    """What a command did. *Raises* Faulty, which names it, where that cannot be written down, as it would end the record, or not be taken back."""
    for text in given(command, done, Outcome)[:3]:
        given(command, text, str).encode()
    if given(command, done.reversal, Reversal, NoneType) is not None:
        given(command, done.reversal.size, int)
    return done  # type: ignore[no-any-return]


def left_by(training: Controls, done: Any) -> str:
    """Say what is in force of a command that broke off, or gave what is no answer: what gave a way back is taken back."""
    if isinstance(getattr(done, "reversal", None), Reversal):
        with contextlib.suppress(Exception, SystemExit):
            done.reversal.back(training, ())
            return "what it changed was taken back"
    return STAYS


STAYS = "whatever it had changed by then stays, and undo knows nothing of it"
_LASTING = frozenset({"weights", "structure", "optimizer", "data"})
"""The families of commands that change what a training goes on from."""


def lasting(command: Command) -> bool:
    """Whether what a command did is there to be taken back, where it gave no way back."""
    return command.steers and command.family in _LASTING


def before(number: int, told: str) -> str:
    """The way out of what has no way back, with the checkpoint from before it; ``told`` says why none was kept."""
    return f"; {told}" if told else f"; go_back command={number} stands before it"


def check_reach(command: Any, count: int, agreed: bool, spread: str) -> None:
    """*Raises* NotApplicable for a command that would not reach all of a training's processes alike, or weights that no process has."""
    if count < 2 or command.alone:
        return
    if spread and command.shared and not command.plain:
        raise NotApplicable(f"no process has all weights, which are spread by {spread}: {type(command).name} cannot reach them; change the script")
    if not agreed:
        way = "change the script" + (
            ": it reaches all of them where one records, watch(…, ranks=0), and DistributedDataParallel lets them wait for each other"
        ) * command.shared
        raise NotApplicable(
            f"{type(command).name} would reach one of the {count} processes of this training, whose weights would part "
            f"from those of the others; end it, and {way}"
        )


class Command(Plugin):
    """Base of all commands; the knobs are what the command takes.

    Whoever sends a command (a server, a command line) imports its file for its knobs, and shall not wait for torch: what
    ``apply`` needs of it is imported there.

    ``training.subject`` is what is trained, see ``Subject``. A layer is frozen where ``layer in training.subject.frozen.layers``, which
    holds the names that were frozen: of a frozen block the block's alone, not those of the layers in it.
    ``training.set_frozen(layer, True)`` freezes one that is not, and False thaws it.

    Check all before you change anything: what ``apply`` had changed when it raised stays. A knob of kind "layer" holds the
    name of a layer that is there, or "" where that is its default; whether it has the weight that you change is yours to ask.
    ``training`` has more methods than a command needs: use ``subject``, ``groups()``, ``set_frozen``, ``set_factor``, ``set_value``,
    ``set_layer``, ``set_clip``, ``set_bend``, ``pause``, ``resume``, ``allow``, ``stop`` and ``keep``; the others are the recorder's.

    Where several processes train together, each person's command reaches one of them, and is refused unless its class says how it is meant:
    ``shared = True`` where every process shall apply it after the same step, and what it does follows from its knobs and the training
    alone, not from a process's own batch or random numbers; ``plain = True`` besides where it looks at no weight, which may be spread over the
    processes; ``alone = True`` where it is enough that one does it, as for a file that is written. A shared one reaches all of them where one
    records for all, ``ranks=0``, the default; where each records, ``ranks="all"``, it is refused as the others are. What it decides by must be
    the same in every process: one that changes weights in some and raises in others parts their weights, which a warning in the run tells.

    A ``Setting`` is told by its ``slot``. Where a command sets what a built-in one sets, it uses that one's slot and function, so that
    taking back either leaves the other's value as it should be:

    - ``("frozen", layer)``: True or False, put by ``partial(training.set_frozen, layer)``;
    - ``("factor", group)``: the factor on a parameter group's learning rate, by ``partial(training.set_factor, group)``; ``group`` is the
      group's place in ``training.groups()``;
    - ``("factor", layer)``: a layer's own factor, or None, by ``partial(training.set_layer, layer, "factor")``;
    - ``("momentum", group)`` and ``("momentum", layer)``, alike for ``weight_decay`` and other values: by
      ``partial(training.set_value, group, "momentum")`` and ``partial(training.set_layer, layer, "momentum")``;
    - ``"clip"`` by ``training.set_clip``, ``"schedule"`` by ``training.set_bend``, ``("rule", number)`` by ``partial(training.put_rule, rule)``.

    To freeze a layer, so that ``undo``, ``freeze`` and ``thaw`` know of it:
    ``SettingsReversal([Setting(("frozen", layer), partial(training.set_frozen, layer), False, True)])``.
    """

    family: ClassVar[Literal["loop", "optimizer", "weights", "structure", "data", "time", "rules", "other"]] = "other"
    """Among which commands the page lists it: those of the loop, weights, optimizer, structure, data, time, rules, or other ones."""
    alone: ClassVar[bool] = False
    """Whether it is enough that one process of a distributed training does it: the others wait for that one."""

    shared: ClassVar[bool] = False
    """Whether all processes of a distributed training apply it after the same step, and stay equal: it follows from the command and the
    training alone."""
    plain: ClassVar[bool] = False
    """Whether it sets values of the loop or the optimizer, or a rule, and looks at no weight, so that a shared one is also applied where the
    weights are spread over the processes."""
    steers: ClassVar[bool] = True
    """Whether it is an act that has a twin: what it is about to change is copied before it, and kept as a checkpoint where it was applied,
    so that the run which was left alone can be trained beside it."""
    later: ClassVar[bool] = False
    """Whether it changes nothing by itself, but says what is to be changed later: what is copied before it pushes out none of the
    checkpoints from before acts that did change something."""
    previewed: ClassVar[bool] = False
    """Whether it changes at once what the network answers, by the model and the probe set alone, so that it can be shown
    beforehand: ``apply`` is then run on a copy of the model, whose optimizers only stand in for
    the training's, and its reversal is thrown away. The page and ``run.preview`` show that; the command line has no preview."""
    living: ClassVar[bool] = True
    """Whether a living training applies it; else whoever asks for it does, with :meth:`start`."""
    _asked_with = ("wait", "sender")

    def start(self, record: Line, page: int | None) -> Outcome:  # noqa: ARG002 - for those that use them
        """Do what needs no living training; ``page`` is the process of the page that asks."""
        raise NotApplicable(f"{type(self).name} is applied by a living training")

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The command as plain data: what a plug-in tells, its family, and whether it is previewed."""
        return {**describe(cls), "family": cls.family, "previewed": cls.previewed}

    @classmethod
    def gathered(cls, knobs: Mapping[str, Any]) -> dict[str, Any]:
        """The knobs as they are sent, from those that a caller passes."""
        return dict(knobs)

    def check(self, training: Controls) -> None:  # noqa: B027 - most have nothing to check there
        """Raises UsageError or NotApplicable for what only the process that records can tell: of several it is the one that is asked."""

    @abstractmethod
    def apply(self, training: Controls) -> Outcome:
        """Change the training, between two steps, on its own thread; raises UsageError or NotApplicable if it can't."""
