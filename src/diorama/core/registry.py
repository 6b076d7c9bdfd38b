"""A registry is a folder of one-plug-in files, plus entry points, as a mapping from name to class.

This is the one place that goes from a name to a plug-in at run time, so that a lower room can use what a higher one
offers without importing it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from .errors import UsageError, not_found
from .knobs import Plugin


class Registry(Mapping[str, Any]):
    """Plug-ins of one kind by name. A file's name is its plug-in's name, as is a package's whose
    ``__init__.py`` holds the class; nothing is imported before it is asked for.

    With ``rooms=True`` the files stand one folder deeper and the folder's name becomes ``plugin.room``.
    Third parties add theirs under the entry-point group ``diorama.<kind>`` (``diorama.views`` and so on).
    """

    def __init__(self, kind: str, package: str, noun: str, *, rooms: bool = False) -> None:
        self.kind, self.package, self.noun, self.rooms = kind, package, noun, rooms
        self._modules: dict[str, str] | None = None
        self._foreign: dict[str, importlib.metadata.EntryPoint] = {}
        self._loaded: dict[str, Any] = {}

    def _find(self) -> dict[str, str]:
        if self._modules is None:
            found: dict[str, str] = {}
            for folder in self._folders():
                for module in pkgutil.iter_modules(_paths(folder)):
                    if not module.name.startswith("_"):
                        found[module.name] = f"{folder}.{module.name}"
            for point in importlib.metadata.entry_points(group=f"diorama.{self.kind}"):
                if point.name in found:
                    warnings.warn(
                        f"{self.noun} {point.name!r} of {point.value} is hidden by diorama's own", stacklevel=2
                    )
                else:
                    self._foreign[point.name] = point
            self._modules = found
        return self._modules

    def _folders(self) -> list[str]:
        if not self.rooms:
            return [self.package]
        rooms = [m.name for m in pkgutil.iter_modules(_paths(self.package)) if m.ispkg and not m.name.startswith("_")]
        return [f"{self.package}.{room}" for room in rooms]

    def register(self, name: str, plugin: Any) -> None:
        """Add a plug-in made in this process (a notebook's own view, say)."""
        if not isinstance(plugin, type) or not issubclass(plugin, Plugin):
            raise UsageError(f"{self.noun} {name!r} must be a class derived from the {self.noun} base, got {plugin!r}")
        plugin.name = name
        self._loaded[name] = plugin

    def __getitem__(self, name: str) -> Any:
        if name in self._loaded:
            return self._loaded[name]
        modules = self._find()
        if name in modules:
            module = importlib.import_module(modules[name])
            plugin = _plugin_in(module)
            plugin.name = name
            if self.rooms:
                plugin.room = modules[name].split(".")[-2]
        elif name in self._foreign:
            plugin = self._foreign[name].load()
            plugin.name = name
        else:
            raise not_found(self.noun, name, self)
        self._loaded[name] = plugin
        return plugin

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._find(), *self._foreign, *self._loaded}))

    def __len__(self) -> int:
        return len({*self._find(), *self._foreign, *self._loaded})

    def __contains__(self, name: object) -> bool:
        return name in self._find() or name in self._foreign or name in self._loaded

    def __repr__(self) -> str:
        return f"<{self.kind}: {', '.join(self)}>"

    def stand_for(self, package: str) -> None:
        """Let a package be this mapping too, where both bear the same public name (``diorama.views``)."""
        module = sys.modules[package]
        module.__dict__["_registry"] = self
        module.__class__ = _PackageMapping


class _PackageMapping(ModuleType, Mapping[str, Any]):
    """A package that answers as the registry of the plug-ins in it."""

    @property
    def kind(self) -> str:
        """What the registry holds."""
        kind: str = self.__dict__["_registry"].kind
        return kind

    def __getitem__(self, name: str) -> Any:
        return self.__dict__["_registry"][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__["_registry"])

    def __len__(self) -> int:
        return len(self.__dict__["_registry"])

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__["_registry"]

    def register(self, name: str, plugin: Any) -> None:
        """Add a plug-in made in this process, as the registry does."""
        self.__dict__["_registry"].register(name, plugin)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return repr(self.__dict__["_registry"])


def _paths(package: str) -> list[str]:
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return []
    return list(spec.submodule_search_locations or []) if spec else []


def _plugin_in(module: ModuleType) -> Any:
    own = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Plugin)
        and value.__module__ == module.__name__
        and key[0] != "_"
    ]
    if len(own) != 1:
        raise ImportError(f"{module.__name__} must define one public plug-in, has {len(own)}")
    return own[0]


methods = Registry("methods", "diorama.methods.attribution", "attribution method")
derivations = Registry("derivations", "diorama.derive.derivations", "derivation")
projections = Registry("projections", "diorama.methods.projection", "projection")
views = Registry("views", "diorama.views", "view", rooms=True)
signals = Registry("signals", "diorama.record.signals", "signal")
findings = Registry("findings", "diorama.record.findings", "finding")
commands = Registry("commands", "diorama.record.commands", "command")
demos = Registry("demos", "diorama.gallery", "demo")
savers = Registry("savers", "diorama.export.formats", "file format")
"""What saves a picture, by suffix without the dot."""


def widget_for(picture: Any, *, bundle: bool = True) -> Any:
    """The live notebook widget of a picture, as a MIME bundle or as itself, where anywidget is installed; else None."""
    try:
        notebook = importlib.import_module("diorama.notebook.widget")
    except ImportError:
        return None
    return notebook.bundle(picture) if bundle else notebook.show(picture)
