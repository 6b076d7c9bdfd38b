"""Where a scene's model comes from: the user's own object, or a snapshot of a run put into the run's stored model."""

from __future__ import annotations

import abc
import dataclasses
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..core.errors import DioramaError, NotApplicable
from ..data.fingerprint import fingerprint
from ..model import points
from ..model.changes import state_now
from ..model.duplicate import duplicate
from ..model.function import FunctionModule
from ..model.plain_module import held, unwrap
from ..record.snapshots import state_of
from .memory import Memory

if TYPE_CHECKING:
    from ..data.examples import Examples
    from ..model.graph import Graph
    from ..model.layers import LayerTable
    from ..model.outputs import Reading
    from ..run import Run


@dataclasses.dataclass
class SharedFacts:
    """What scenes of one architecture share, as it does not depend on the weights."""

    layers: LayerTable | None = None
    asked: weakref.ref[Source] | None = None
    """The moment whose layers were asked for last: in its model ops are looked for."""
    graph: Graph | None = None
    reading: Reading | None = None
    width: int = 0
    complex: tuple[str, ...] | None = None
    """Names of the weights and buffers whose numbers are complex, once somebody asked."""
    memory: Memory = dataclasses.field(default_factory=Memory)
    """What views keep about the whole run, such as a scale that stays fixed over time."""
    directions: dict[str, Any] = dataclasses.field(default_factory=dict)
    """How the directions that a person named are fitted, by name: these never go."""


class Source(abc.ABC):
    """A model at one moment; what is missing is said, not raised, until it is needed."""

    run: Run | None = None
    step: int | None = None
    instead: str = ""
    """Which step is shown instead of the one that was asked for, as a sentence; empty where it is that one."""
    name: str = ""
    unread: str = ""
    """Why the examples that there are cannot be read."""
    shared: SharedFacts
    _named: tuple[object, str] | None = None

    def missing(self) -> str | None:
        """Why there is no model, with the way out; None when there is one."""
        return None

    @abc.abstractmethod
    def module(self) -> nn.Module:
        """The model; raises what :meth:`missing` says."""

    @property
    def function(self) -> bool:
        """Whether the model is a plain function; of a recorded one its weights need not be read."""
        return isinstance(self.module(), FunctionModule)

    def state(self) -> dict[str, Tensor]:
        """Weights and buffers by name, without the model where possible."""
        return dict(self.module().state_dict())

    def complex(self) -> list[str]:
        """Names of the weights and buffers whose numbers are complex."""
        return _complex_in(self.state())

    @abc.abstractmethod
    def holding(self, model: nn.Module) -> Source:
        """The same moment with another model of this structure in it."""

    def version(self) -> object:
        """Changes whenever the weights were written; cheap to ask."""
        return self.step

    def fingerprint(self) -> str:
        """A short name of the weights, computed once for each version of them."""
        now = self.version()
        if self._named is None or self._named[0] != now:
            self._named = (now, fingerprint(self.state()))
        return self._named[1]


class GivenSource(Source):
    """The user's own model, which is only ever looked at."""

    def __init__(self, model: nn.Module, device: Any = None) -> None:
        if not isinstance(model, nn.Module):
            raise NotApplicable(
                f"a scene wants a torch.nn.Module or a function, got {type(model).__name__}"
            )
        # On another device than the model's own one looks at a copy, so that the user's stays where it is.
        moved = device is not None and any(p.device != torch.device(device) for p in model.parameters())
        self._model = duplicate(unwrap(model)).to(device) if moved else unwrap(model)
        self.name = type(self._model).__name__
        self.shared = SharedFacts()

    def module(self) -> nn.Module:
        """The model itself."""
        return self._model

    def holding(self, model: nn.Module) -> Source:
        """Another model, under this one's name."""
        given = GivenSource(model)
        given.name, given.shared = self.name, self.shared
        return given

    def version(self) -> object:
        """What :func:`state_now` tells of the model."""
        return state_now(self._model)


_SHARED: weakref.WeakKeyDictionary[Any, dict[int, SharedFacts]] = weakref.WeakKeyDictionary()
"""By run and the number of its architecture, which surgery may change in the middle of a training."""


def _instead(step: int, asked: int | None) -> str:
    """A sentence on the snapshot that is taken for a step that has none."""
    if asked is None or asked == step:
        return ""
    return f"step {asked:,} has no snapshot; this is step {step:,}, the {'newest before' if step < asked else 'first after'} it"


class RecordedSource(Source):
    """A snapshot of a run. The stored model is loaded when it is first needed, once for all snapshots."""

    def __init__(
        self, run: Run, step: int, state: dict[str, Tensor] | None = None, architecture: int | None = None, asked: int | None = None
    ) -> None:
        self.run: Run = run
        self.instead = _instead(step, asked)
        self._architecture = run.model_at(step) if architecture is None else architecture
        self.step: int = step
        self.name = run.name
        self._state = state
        self._model: nn.Module | None = None
        self.shared = _SHARED.setdefault(run, {}).setdefault(self._architecture, SharedFacts())

    def examples(self) -> Examples | None:
        """The run's probe set; None, with the reason in ``unread``, where it cannot be read: what was recorded can be looked at even so."""
        try:
            return self.run.shown_examples
        except DioramaError as error:
            self.unread = str(error)
            return None

    def missing(self) -> str | None:
        """Why the run's model can't be used, with the way out."""
        try:
            self.run.architecture(self._architecture)
        except DioramaError as error:
            return str(error)
        return None

    def module(self) -> nn.Module:
        """The run's model with this snapshot's weights; the stored one stays as it is, for the other snapshots."""
        if self._model is None:
            stored = unwrap(self.run.architecture(self._architecture))
            model = duplicate(stored)
            points.copied(model, stored)
            state = _with_plain(model, self.state())
            _fit_buffers(model, state)
            try:
                model.load_state_dict(state)
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise NotApplicable(
                    f"the weights of step {self.step} do not go into the run's model: {reason}"
                ) from error
            self._model = model
        return self._model

    @property
    def function(self) -> bool:
        """Whether what the run stored is a plain function."""
        return isinstance(self._model if self._model is not None else unwrap(self.run.architecture(self._architecture)), FunctionModule)

    def complex(self) -> list[str]:
        """Names of the weights and buffers whose numbers are complex, as the stored model tells: no snapshot need be read for that."""
        model = unwrap(self.run.architecture(self._architecture))
        # Names are worked out where there are some.
        return _complex_in(model.state_dict()) if any(tensor.is_complex() for tensor in held(model)) else []

    def holding(self, model: nn.Module) -> Source:
        """The same step of the run, looked at with another model."""
        source = RecordedSource(self.run, self.step, dict(model.state_dict()), self._architecture)
        source._model = model
        return source

    def state(self) -> dict[str, Tensor]:
        """The snapshot, read from the run folder."""
        if self._state is None:
            self._state = self.run.state(self.step)
        return self._state


def _complex_in(state: Mapping[str, Any]) -> list[str]:
    return [name for name, tensor in state.items() if isinstance(tensor, Tensor) and tensor.is_complex()]


def _with_plain(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A snapshot's tensors with what else the model's state holds: quantized weights and meta tensors, which never change in a training,
    and state that is no tensor, which no snapshot has.
    """
    own, kept = model.state_dict(), state_of(model)
    if len(own) == len(kept):
        return state
    for name in kept.keys() - state.keys():
        del own[name]
    own.update(state)
    return own  # with its versions, by which such modules read themselves


def _fit_buffers(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Give buffers the shapes that a snapshot has: caches and statistics may grow while a network stays the same."""
    for path, module in model.named_modules():
        for name, own in list(module._buffers.items()):
            kept = state.get(f"{path}.{name}" if path else name)
            if kept is not None and (own is None or own.shape != kept.shape):
                module._buffers[name] = torch.empty_like(kept, device=own.device if own is not None else None)
