"""A scene: a model at a moment, its probe set, its kinds of input and output, and the edits one looks at it with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .scene import Scene

__all__ = ["Scene"]


def __getattr__(name: str) -> Any:
    # Imported when it is first used: views of a record ask without it, before torch is loaded.
    if name == "Scene":
        from .scene import Scene

        return Scene
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
