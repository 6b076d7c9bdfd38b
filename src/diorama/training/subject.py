"""A training as one thing: its model, optimizers, schedulers and layers, which the recorder and commands hold alike.

A training may change its own shape: a layer grows by ``param.data``, a module is put in another's place, an optimizer
is made anew. Nobody tells; so whoever reads the weights looks first (:meth:`Subject.look`), and who asked is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from ..model.layers import LayerTable
from ..model.plain_module import spread
from .frozen_layers import FrozenLayers
from .optimizers import told_optimizers
from .surgery.journal import Journal

Told = Callable[[bool], object]
"""Called after a change; true where the architecture is another one."""
Form = tuple[dict[str, str], dict[str, str], dict[str, str]]
"""A network in words, each by name: see :meth:`Subject.form`."""
Children = dict[str, nn.Module | None]
Tensors = list[tuple[str, Tensor | None, Any]]


class Subject:
    """What a training consists of, as it is now.

    *Meaning* a change is told by shape and by identity: of modules, of parameters, of an optimizer's groups. Buffers
    are none: many models replace theirs at each pass.

    It holds ``model``, ``optimizers`` and ``schedulers`` (tuples), ``state`` (what else goes into a checkpoint), ``parameters`` (those that
    can be trained, by name), ``table`` (the layers, or None where there is no probe set with which the model could be run; in a process that does
    not record it is made when it is first asked for), ``frozen`` (``frozen.layers`` names the
    frozen ones), ``spread`` (what spreads the weights over several processes; empty where nothing does) and ``architecture`` (raised with
    each change of the structure). A command finds it as ``training.subject``.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any = None,
        schedulers: Sequence[Any] = (),
        state: Sequence[Any] = (),
        table: LayerTable | None = None,
        *,
        together: bool = False,
    ) -> None:
        self.model = model
        self.optimizers: tuple[Any, ...] = told_optimizers(optimizer)
        self.schedulers, self.state = tuple(schedulers), tuple(state)
        self._table: LayerTable | None = table
        self._table_of: Callable[[], LayerTable | None] | None = None
        self.together = together
        """Whether a wrapper of several processes waits for the gradient of every parameter."""
        self.spread = spread(model)
        """What spreads the weights over several processes; they are never read whole then."""
        self.journal = Journal()
        """The acts of structure in force."""
        self.architecture = 0
        """Raised with each change of the network's structure."""
        self._listeners: list[Told] = []
        self._learn()
        self.frozen = FrozenLayers(self)
        """The layers that a person keeps from learning."""

    @property
    def table(self) -> LayerTable | None:
        """The layers, or None where the model could not be run."""
        if self._table_of is not None:
            make, self._table_of = self._table_of, None
            self._table = make()
        return self._table

    @table.setter
    def table(self, table: LayerTable | None) -> None:
        self._table, self._table_of = table, None

    def table_by(self, make: Callable[[], LayerTable | None]) -> None:
        """Make the table when it is first asked for, and anew after each change of the structure: *cost* one pass each time."""
        self._table_of = make
        self.tell(lambda another: setattr(self, "_table_of", make) if another else None)

    def tell(self, listener: Told) -> None:
        """Call somebody after each change from now on."""
        self._listeners.append(listener)

    def forget(self) -> None:
        """Call nobody any more."""
        self._listeners.clear()

    def look(self) -> bool:
        """Whether something has changed since the last look, whoever changed it; who asked is told before this returns.

        *Cost* one comparison a tensor.
        """
        if self.spread or self._same():
            return False  # whoever spreads weights swaps them for parts and back all the time
        before = self._structure
        self._learn()
        another = self._structure != before
        self.architecture += another
        self.frozen.renew()
        for listener in self._listeners:
            listener(another)
        return True

    def trains_with(self, optimizer: Any) -> None:
        """Another optimizer, or several, from now on. *Raises* UsageError for what is none."""
        self.optimizers = told_optimizers(optimizer)
        if not self.look():
            self._learn()
            self.frozen.renew()
            for listener in self._listeners:
                listener(False)

    def differences(self, before: Form, most: int = 4) -> str:
        """What became of a network that was of this form, in words: of the shapes of its parameters (``fc.weight (8, 4) → (9, 4)``), else of
        their types, else of its modules.
        """
        now = self.form()
        for then, here in zip(before, now, strict=True):
            told = [
                f"{name or 'all of it'} {then.get(name, 'nothing')} → {here.get(name, 'nothing')}"
                for name in dict.fromkeys([*here, *then])
                if here.get(name) != then.get(name)
            ]
            if told:
                return ", ".join(told[:most]) + (f" and {len(told) - most} more" if len(told) > most else "")
        ordered = all(list(then) == list(here) for then, here in zip(before, now, strict=True))
        return "attributes, hooks or code, and no parameter" if ordered else "its modules stand in another order"

    def form(self) -> Form:
        """Shapes and types of the parameters, and the modules with their settings, in words."""
        parameters = dict(self.model.named_parameters())
        return (
            {name: str(tuple(parameter.shape)) for name, parameter in parameters.items()},
            {name: str(parameter.dtype).removeprefix("torch.") for name, parameter in parameters.items()},
            {path: f"{type(module).__name__}({_settings(module)})" for path, module in self.model.named_modules()},
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter."""
        return {name: tuple(parameter.shape) for name, parameter in self.model.named_parameters()}

    # What is known.

    def _learn(self) -> None:
        self.parameters = {
            name: p
            for name, p in self.model.named_parameters()
            if (p.is_floating_point() or p.is_complex()) and not p.is_meta
        }
        """The parameters that can be trained, by name."""
        self._modules: list[tuple[nn.Module, Children, Tensors]] = [
            (
                module,
                dict(module._modules),
                [(name, p, None if p is None else p.shape) for name, p in module._parameters.items()],
            )
            for module in self.model.modules()
        ]
        self._groups = self._grouped()
        self._structure = _structure(self.model)

    def _same(self) -> bool:
        for module, children, tensors in self._modules:
            own = module._parameters
            if module._modules != children or len(own) != len(tensors):
                return False
            for name, tensor, shape in tensors:
                now = own.get(name)
                if now is not tensor or (now is not None and now.shape != shape):
                    return False
        return self._grouped() == self._groups

    def _grouped(self) -> list[tuple[int, int]]:
        return [(id(optimizer), len(optimizer.param_groups)) for optimizer in self.optimizers]


def _structure(model: nn.Module) -> list[Any]:
    """What makes one architecture, without the numbers in it: modules with their settings, parameters with shapes."""
    modules = [(path, type(module), _settings(module)) for path, module in model.named_modules()]
    tensors = [(name, tuple(p.shape), p.dtype) for name, p in model.named_parameters()]
    return [*modules, *tensors]


def _settings(module: nn.Module) -> str:
    try:
        return module.extra_repr()
    except Exception:  # noqa: BLE001 - a user's own words about a module may fail, which must not matter here
        return ""
