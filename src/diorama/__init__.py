"""diorama: see inside any PyTorch network, from every side, at every moment of its training.

>>> with diorama.watch(model, "runs/mine", probe=(x, y), optimizer=optimizer) as recorder:   # doctest: +SKIP
...     recorder.step(loss=loss)
>>> diorama.serve("runs/")                                                                   # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .core.errors import (
    Cancelled,
    Damaged,
    DioramaError,
    NotApplicable,
    NotFound,
    Unavailable,
    Untrusted,
    UsageError,
)
from .core.registry import commands, demos, derivations, findings, projections, signals
from .core.selection import Key, Selection
from .core.version import VERSION

if TYPE_CHECKING:
    from . import data, methods, views
    from .core.picture import Picture
    from .data.kinds import Image, Series, Sound, Strokes, Table, Tokens
    from .derive.scans import scan
    from .methods.attribute import attribute
    from .methods.synthesis.synthesize import synthesize
    from .record.recorder import watch
    from .run import Run
    from .run import open_run as open  # noqa: A004 - the interface's word
    from .scene import Scene
    from .server.serve import serve

# What needs torch is imported when it is first used, so that `diorama list` and `diorama --help` answer at once.
_LAZY = {
    "Picture": "core.picture:Picture",
    "watch": "record.recorder:watch",
    "data": "data",
    "open": "run:open_run",
    "Run": "run:Run",
    "Scene": "scene:Scene",
    "scan": "derive.scans:scan",
    "serve": "server.serve:serve",
    "Image": "data.kinds:Image",
    "Table": "data.kinds:Table",
    "Tokens": "data.kinds:Tokens",
    "Series": "data.kinds:Series",
    "Strokes": "data.kinds:Strokes",
    "Sound": "data.kinds:Sound",
    "attribute": "methods.attribute:attribute",
    "synthesize": "methods.synthesis.synthesize:synthesize",
    "views": "views",
    "methods": "methods",
}

__version__ = VERSION
__all__ = [
    "Cancelled", "Damaged", "DioramaError", "Image", "Key", "NotApplicable", "NotFound", "Picture", "Run", "Scene",
    "Selection", "Series", "Sound", "Strokes", "Table", "Tokens", "Unavailable", "Untrusted", "UsageError", "attribute",
    "commands", "data", "demos", "derivations", "findings", "methods", "open", "projections", "scan", "serve", "signals", "synthesize",
    "views", "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'diorama' has no attribute {name!r}")
    place, _, attribute = _LAZY[name].partition(":")
    module = importlib.import_module(f"{__name__}.{place}")
    return getattr(module, attribute) if attribute else module


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
