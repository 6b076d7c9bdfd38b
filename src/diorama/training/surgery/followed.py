"""A module of a network that is followed by a layer which the network's own code does not know of."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn


class Followed:
    """A module that hands its answer to a layer which was added after it; it is the same object with the same weights.

    *Meaning* the layer runs after the module's call is over, so hooks on the module see its own answer. It is registered beside
    the module, not in it, so no name changes.
    """

    plain: ClassVar[type[nn.Module]]
    """Its class as it was."""
    then: tuple[nn.Module]
    """The layer."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's answer to its own."""
        return self.then[0](super().__call__(*args, **kwargs))  # type: ignore[misc]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _blank, (type(self).plain,), self.__dict__


def _followed(plain: type[nn.Module]) -> type[nn.Module]:
    return type(plain.__name__, (Followed, plain), {"plain": plain})


def _blank(plain: type[nn.Module]) -> nn.Module:
    made = _followed(plain)
    return made.__new__(made)


def follow(module: nn.Module, layer: nn.Module) -> None:
    """Let a layer follow a module from now on."""
    module.__class__ = _followed(type(module))
    object.__setattr__(module, "then", (layer,))


def alone(module: nn.Module) -> None:
    """Let no layer follow a module any more."""
    if isinstance(module, Followed):
        module.__class__ = module.plain  # type: ignore[assignment]  # the class it had before
        object.__delattr__(module, "then")


def owner_of(model: nn.Module, layer: nn.Module) -> nn.Module | None:
    """The module that hands its answer to an added layer; None where the layer stands by itself."""
    return next((each for each in model.modules() if isinstance(each, Followed) and each.then[0] is layer), None)
