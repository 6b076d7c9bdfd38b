"""A module of a network that is followed by a layer, or listened to by a way round, of which the network's own code does not know."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from ...core.errors import NotApplicable


class Skip(nn.Module):
    """A way round: adds to what it gets what an earlier layer gave, through a layer of its own that is zero at first."""

    def __init__(self, way: nn.Module, source: str) -> None:
        super().__init__()
        self.way, self.source, self.target = way, source, ""
        """Where it begins, and the layer that it follows."""
        self.given: Tensor | None = None
        """What the source gave in this pass."""

    def forward(self, x: Tensor) -> Tensor:
        """What it gets, and what comes along the way."""
        given, self.given = self.given, None
        if given is None:
            raise NotApplicable(f"a way round reads what {self.source!r} gives, which does not come before it")
        along: Tensor = self.way(given)
        return x + along

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "given": None}


class Followed:
    """A module that hands its answer to a layer which was added after it, and to ways round; it is the same object with the same weights.

    *Meaning* these run after the module's call is over, so hooks on the module see its own answer. They are registered beside
    the module, not in it, so no name changes.
    """

    plain: ClassVar[type[nn.Module]]
    """Its class as it was."""
    then: tuple[nn.Module, ...]
    """The layer, where there is one."""
    heard: tuple[Skip, ...]
    """The ways round that begin here."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's answer to its own, or its own."""
        answer = super().__call__(*args, **kwargs)  # type: ignore[misc]
        for skip in self.heard:
            skip.given = answer
        return self.then[0](answer) if self.then else answer

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _blank, (type(self).plain,), self.__dict__


def _followed(plain: type[nn.Module]) -> type[nn.Module]:
    return type(plain.__name__, (Followed, plain), {"plain": plain, "heard": (), "then": ()})


def _blank(plain: type[nn.Module]) -> nn.Module:
    made = _followed(plain)
    return made.__new__(made)


def _swapped(module: nn.Module) -> None:
    """Let a module hand its answer on, or no longer where nobody wants it."""
    if not isinstance(module, Followed):
        module.__class__ = _followed(type(module))
        return
    if not (module.then or module.heard):
        module.__class__ = module.plain  # type: ignore[assignment]  # the class it had before
        for name in ("then", "heard"):
            vars(module).pop(name, None)


def hand_on_again(module: nn.Module) -> None:
    """Let a module that was put together anew from what it held hand its answer on as before."""
    if vars(module).get("then") or vars(module).get("heard"):
        _swapped(module)


def follow(module: nn.Module, layer: nn.Module) -> None:
    """Let a layer follow a module from now on."""
    _swapped(module)
    object.__setattr__(module, "then", (layer,))


def alone(module: nn.Module) -> None:
    """Let no layer follow a module any more."""
    if isinstance(module, Followed):
        object.__setattr__(module, "then", ())
        _swapped(module)


def hear(module: nn.Module, skip: Skip) -> None:
    """Let a way round begin at a module from now on."""
    heard = module.heard if isinstance(module, Followed) else ()
    _swapped(module)
    object.__setattr__(module, "heard", (*heard, skip))


def unheard(model: nn.Module, skip: nn.Module) -> nn.Module | None:
    """Let a way round begin nowhere any more; returns the module where it began."""
    for module in model.modules():
        if isinstance(module, Followed) and any(each is skip for each in module.heard):
            object.__setattr__(module, "heard", tuple(each for each in module.heard if each is not skip))
            _swapped(module)
            return module
    return None


def followed(module: nn.Module) -> bool:
    """Whether a layer was added after a module."""
    return isinstance(module, Followed) and bool(module.then)


def owner_of(model: nn.Module, layer: nn.Module) -> nn.Module | None:
    """The module that hands its answer to an added layer; None where the layer stands by itself."""
    return next((each for each in model.modules() if isinstance(each, Followed) and each.then and each.then[0] is layer), None)
