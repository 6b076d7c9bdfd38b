"""How a picture was made: carried by every picture, shown under "how is this made?", stored in exported files."""

from __future__ import annotations

import functools
import platform
import sys
from importlib import metadata
from typing import Any

import msgspec

from .knobs import Plugin, sentence
from .version import VERSION


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything needed to make a picture again.

    ``model`` is a fingerprint of the weights, ``guessed`` lists what was guessed rather than told (the kind of input, the
    output picked), ``source`` names the paper or formula, ``mode`` whether the model was looked at in eval or train mode,
    ``edits`` what was changed while looking,
    ``maker`` who made what was read from a file: this user or another one.
    """

    method: str
    sentence: str = ""
    knobs: dict[str, Any] = {}
    selection: str = ""
    step: int | None = None
    run: str = ""
    seed: int | None = None
    mode: str = "eval"
    model: str = ""
    source: str = ""
    guessed: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    maker: str = ""
    edits: tuple[str, ...] = ()

    @classmethod
    def of(cls, plugin: Plugin, selection: object = "", **more: Any) -> Provenance:
        """How a plug-in makes a picture with its knobs; None is not told."""
        told = {name: value for name, value in plugin.knobs().items() if value is not None}
        return cls(
            method=plugin.name, sentence=sentence(type(plugin)), knobs=told, selection=str(selection), versions=versions(), **more
        )


def versions() -> dict[str, str]:
    """The versions of what a picture depends on."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "diorama": VERSION}
    for name in ("torch", "numpy"):
        try:
            # One that is imported knows its version; finding it among the installed packages takes milliseconds.
            found[name] = str(getattr(sys.modules.get(name), "__version__", None) or metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
    return found
