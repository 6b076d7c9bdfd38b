"""A registry is a folder of one-plug-in files, plus entry points, as a mapping from name to class.

This is the one place that goes from a name to a plug-in at run time, so that a lower room can use what a higher one
offers without importing it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import pkgutil
import sys
import warnings
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, get_args, get_origin

import msgspec

from .errors import Unavailable, UsageError, not_found
from .knobs import Plugin, describe

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_PLUGIN = "diorama.core.knobs:Plugin"


class Registry(Mapping[str, Any]):
    """Plug-ins of one kind by name. A file's name is its plug-in's name, as is a package's whose
    ``__init__.py`` holds the class; nothing is imported before it is asked for.

    With ``rooms=True`` the files stand one folder deeper and the folder's name becomes ``plugin.room``.
    Third parties add theirs under the entry-point group ``diorama.<kind>`` (``diorama.views`` and so on). One that
    cannot be used (it does not import, is no such plug-in, declares knobs that are none) is named in ``broken`` with
    the reason and left out of ``items()`` and ``values()``; only who asks for it by name gets the error.
    """

    def __init__(self, kind: str, package: str, noun: str, base: str = _PLUGIN, *, rooms: bool = False) -> None:
        self.kind, self.package, self.noun, self.base, self.rooms = kind, package, noun, base, rooms
        self.broken: dict[str, str] = {}
        """Third parties' plug-ins that were tried and cannot be used, with the reason."""
        self._modules: dict[str, str] | None = None
        self._foreign: dict[str, EntryPoint] = {}
        self._loaded: dict[str, Any] = {}

    def _find(self) -> dict[str, str]:
        if self._modules is None:
            from importlib.metadata import entry_points  # a third of the time that `import diorama` would take

            found: dict[str, str] = {}
            for folder in self._folders():
                for module in pkgutil.iter_modules(_paths(folder)):
                    if not module.name.startswith("_"):
                        found[module.name] = f"{folder}.{module.name}"
            for point in entry_points(group=f"diorama.{self.kind}"):
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
        """Add a plug-in made in this process (a notebook's own view, say). *Raises* UsageError where it is none of this kind."""
        before = plugin.__dict__.get("name") if isinstance(plugin, type) else None
        try:
            if isinstance(plugin, type):
                plugin.name = name  # type: ignore[attr-defined]
            check_plugin(plugin, self.base)
        except (UsageError, TypeError) as error:
            if before is not None:
                plugin.name = before
            raise UsageError(f"the {self.noun} {name!r} cannot be used: {error}") from None
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
            plugin = self._accepted(name)
        else:
            raise not_found(self.noun, name, self)
        self._loaded[name] = plugin
        return plugin

    def _accepted(self, name: str) -> Any:
        """A third party's plug-in. *Raises* Unavailable where it cannot be used, whatever it does when it is loaded."""
        if name not in self.broken:
            try:
                plugin = self._foreign[name].load()
                plugin.name = name
                check_plugin(plugin, self.base)
                return plugin
            except (Exception, SystemExit) as error:
                self.leave_out(name, error)
        raise Unavailable(self.broken[name])

    def is_foreign(self, name: str) -> bool:
        """Whether a third party offers it."""
        self._find()
        return name in self._foreign

    def leave_out(self, name: str, error: BaseException) -> None:
        """Say once that a plug-in cannot be used, and name it in ``broken``."""
        point = self._foreign.get(name)
        dist = getattr(point, "dist", None)
        package = "diorama" if point is None else dist.name if dist is not None else point.value
        text = " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())
        way = f"update or uninstall {package}" if point is not None else "install what it needs"
        self.broken[name] = f"the {self.noun} {name!r} of {package} cannot be used and is left out ({text}); {way}"
        with contextlib.suppress(Warning):  # where warnings are errors, a stranger's fault still stops nothing
            warnings.warn(self.broken[name], stacklevel=5)

    def _working(self) -> dict[str, Any]:
        found = {}
        for name in self:
            try:
                found[name] = self[name]
            except (Unavailable, ImportError) as error:
                if name not in self.broken:
                    self.leave_out(name, error)
        return {name: plugin for name, plugin in found.items() if name not in self.broken}

    def items(self) -> ItemsView[str, Any]:
        """Names and plug-ins, without those of third parties that cannot be used."""
        return self._working().items()

    def values(self) -> ValuesView[Any]:
        """The plug-ins, without those of third parties that cannot be used."""
        return self._working().values()

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

    def items(self) -> ItemsView[str, Any]:
        """Names and plug-ins, as the registry gives them."""
        found: ItemsView[str, Any] = self.__dict__["_registry"].items()
        return found

    def values(self) -> ValuesView[Any]:
        """The plug-ins, as the registry gives them."""
        found: ValuesView[Any] = self.__dict__["_registry"].values()
        return found

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


def check_plugin(plugin: Any, base: str) -> None:
    """Raise UsageError where a class is no plug-in of a kind: another base, knobs that are none, values of wrong types.

    *base* is written as ``package.module:Class``. What that class declares (``ClassVar``) must have the types it says.
    """
    from . import protocol

    place, _, attribute = base.partition(":")
    wanted = getattr(importlib.import_module(place), attribute)
    if not isinstance(plugin, type) or not issubclass(plugin, wanted):
        raise UsageError(f"it must be a class derived from {place}.{attribute}, got {plugin!r}")
    for cls in plugin.__mro__:
        module = vars(sys.modules.get(cls.__module__, sys))
        for name, annotation in vars(cls).get("__annotations__", {}).items() if issubclass(wanted, cls) else ():
            try:
                form = eval(annotation, module) if isinstance(annotation, str) else annotation  # noqa: S307 - our own bases' words
            except NameError:
                continue  # a type that only type checkers import
            if get_origin(form) is ClassVar:
                _check_type(name, getattr(plugin, name), get_args(form)[0])
    try:
        msgspec.convert(msgspec.to_builtins(describe(plugin)), protocol.Described)
    except (msgspec.ValidationError, TypeError) as error:
        raise UsageError(f"what it says of itself has a wrong type: {error}") from None
    plugin()  # an abstract class, or a default that its knob refuses


def _check_type(name: str, value: Any, form: Any) -> None:
    try:
        msgspec.convert(value, form)
    except (msgspec.ValidationError, TypeError) as error:
        raise UsageError(f"its {name} has a wrong type: {error}") from None


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


methods = Registry("methods", "diorama.methods.attribution", "attribution method", "diorama.methods.method:Method")
derivations = Registry(
    "derivations", "diorama.derive.derivations", "derivation", "diorama.derive.derivation:Derivation"
)
projections = Registry(
    "projections", "diorama.methods.projection", "projection", "diorama.methods.projecting:Projection"
)
views = Registry("views", "diorama.views", "view", "diorama.views.view:View", rooms=True)
signals = Registry("signals", "diorama.record.signals", "signal", "diorama.record.signals:Signal")
findings = Registry("findings", "diorama.record.findings", "finding", "diorama.record.findings:Finding")
commands = Registry("commands", "diorama.record.commands", "command", "diorama.record.commands:Command")
demos = Registry("demos", "diorama.gallery", "demo", "diorama.gallery._demo:Demo")
savers = Registry("savers", "diorama.export.formats", "file format")
"""What saves a picture, by suffix without the dot."""


def widget_for(picture: Any, *, bundle: bool = True) -> Any:
    """The live notebook widget of a picture, as a MIME bundle or as itself, where anywidget is installed; else None."""
    try:
        notebook = importlib.import_module("diorama.notebook.widget")
    except ImportError:
        return None
    return notebook.bundle(picture) if bundle else notebook.show(picture)
