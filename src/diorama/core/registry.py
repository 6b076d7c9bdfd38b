"""A registry is a folder of one-plug-in files, plus entry points, as a mapping from name to class.

This is the one place that goes from a name to a plug-in at run time, so that a lower room can use what a higher one
offers without importing it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import pkgutil
import re
import sys
import warnings
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import arrivals, entry_points
from .acceptance import check_plugin
from .arrivals import Arrival
from .errors import LeftOut, Unavailable, UsageError, not_found
from .frames import Place, raised_at, registrar, strangers
from .knobs import Plugin
from .titles import titled

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_PLUGIN = "diorama.core.knobs:Plugin"
_PLUGINS = f"{__name__.partition('.')[0]}.plugins"
_NAME = re.compile(r"\w+", re.ASCII)


class Registry(Mapping[str, Any]):
    """Plug-ins of one kind by name. A file's name is its plug-in's name, as is a package's whose
    ``__init__.py`` holds the class; nothing is imported before it is asked for.

    With ``rooms=True`` the files stand one folder deeper and the folder's name becomes ``plugin.room``.
    Third parties add theirs under the entry-point group ``diorama.<kind>`` (``diorama.views`` and so on). One that
    cannot be used (it does not import, is no such plug-in, declares knobs that are none, bears a name that is taken) is
    named in ``broken`` with the reason and left out of what is counted and listed; only who asks for it by name gets the error.
    So is one whose import takes longer than a list waits (``arrivals``), until it has come; who asks for that one by name waits for it.
    """

    def __init__(self, kind: str, package: str, noun: str, base: str = _PLUGIN, *, rooms: bool = False) -> None:
        self.kind, self.package, self.noun, self.base, self.rooms = kind, package, noun, base, rooms
        self._left_out: dict[str, str] = {}
        self._hidden: dict[str, str] = {}
        self._modules: dict[str, str] | None = None
        self._foreign: dict[str, EntryPoint] = {}
        self._loaded: dict[str, Any] = {}
        self._trying: set[str] = set()
        self._coming: dict[str, Arrival] = {}
        """What each that is left out for now waits for: its own import, or another one of its package."""
        self._by_caller: set[str] = set()
        """Those that no thread but the caller's own can import."""
        self._registered: dict[str, tuple[Any, str, Place]] = {}
        """Those that this process added by itself, and who did, in words and as a place."""

    def _find(self) -> dict[str, str]:
        if self._modules is None:
            found: dict[str, str] = {}
            for folder in self._folders():
                for module in pkgutil.iter_modules(_paths(folder)):
                    if not module.name.startswith("_"):
                        found[module.name] = f"{folder}.{module.name}"
            for point in entry_points.offered(self.kind):
                self._offer(point, found)
            self._modules = found
        return self._modules

    def _offer(self, point: EntryPoint, own: Mapping[str, str]) -> None:
        """Take an entry point, unless its name is none or is taken: nothing replaces what is there without being asked to."""
        if not _NAME.fullmatch(point.name):
            self._hide(point, f"{self._how_named()}; give it such a name")
            return
        if point.name not in own and point.name not in self._foreign:
            self._foreign[point.name] = point
            return
        first = self._foreign.get(point.name)
        if first is not None and (first.value, _package(first)) == (point.value, _package(point)):
            return  # one package, found in two places
        whose = "diorama itself" if first is None else _package(first)
        self._hide(point, f"{whose} has one of that name; give it another name")

    def _hide(self, point: EntryPoint, why: str) -> None:
        self._hidden[point.name] = f"the {self.noun} {point.name!r} of {_package(point)} is left out: {why}"
        warn(self._hidden[point.name], (point.value, 1))

    def _how_named(self) -> str:
        return f"a name is a word of letters, digits and underscores, as in my_{self.noun.split()[-1]}"

    @property
    def broken(self) -> Mapping[str, str]:
        """Plug-ins that cannot be used, by name, each with the reason in a sentence that says whose it is; third parties' that
        nobody has asked for yet are tried."""
        self._try()
        return {**self._hidden, **self._left_out, **{name: self._awaited(name, one) for name, one in self.coming.items()}}

    @property
    def own(self) -> list[str]:
        """The names of diorama's own; nothing is imported."""
        return sorted(self._find())

    @property
    def names(self) -> list[str]:
        """All names, also of what may turn out not to be of use; nothing is imported."""
        return sorted({*self._find(), *self._foreign, *self._loaded} - {*self._left_out})

    @property
    def coming(self) -> dict[str, Arrival]:
        """Third parties' that are left out for as long as they are being imported, each with what it waits for."""
        return {name: one for name, one in list(self._coming.items()) if not one.done.is_set() and not {name} & {*self._loaded, *self._left_out}}

    def _awaited(self, name: str, one: Arrival) -> str:
        """Says of a plug-in that it is on its way."""
        what = self.told(name)
        waits = "is" if one.what == what else f"waits for {one.what}, which is"
        return f"{what} {waits} {one.told} and is left out for now"

    def _try(self) -> None:
        """Load third parties' that nobody has asked for yet, save those that are being loaded: their knobs may offer what is here."""
        self._find()
        if arrivals.here():
            return
        for name in sorted({*self._foreign} - {*self._loaded, *self._left_out, *self._trying} | {*self.coming}):
            self._bring(name)

    def _bring(self, name: str) -> None:
        """Have a third party's imported aside, and wait for it, or for what its package imports already, as long as a list waits."""
        told_before = name in self._coming
        while name not in self._loaded and name not in self._left_out:
            if name in self._by_caller:
                with contextlib.suppress(Unavailable):
                    self[name]
                return
            importlib.import_module(_PLUGINS)  # it will import that: here, so that no two threads import diorama at once
            arrival = arrivals.begun(_package(self._foreign[name]), self.told(name), lambda: self._load_aside(name))
            self._coming[name] = arrival
            if not arrival.awaited():
                if not told_before:
                    warn(self._awaited(name, arrival), self._where(name, None))
                return
        self._coming.pop(name, None)

    def _load_aside(self, name: str) -> None:
        """Load a third party's in the thread that imports it; it is loaded then, left out, or left to who asked for it."""
        try:
            self._loaded[name] = self._accepted(name, aside=True)
        except Unavailable:
            pass
        except BaseException as error:  # noqa: BLE001 - whoever waits must know how it ended
            self.leave_out(name, error)

    def _folders(self) -> list[str]:
        if not self.rooms:
            return [self.package]
        rooms = [m.name for m in pkgutil.iter_modules(_paths(self.package)) if m.ispkg and not m.name.startswith("_")]
        return [f"{self.package}.{room}" for room in rooms]

    def register(self, name: str, plugin: Any, *, replace: bool = False) -> None:
        """Add a plug-in made in this process (a notebook's own view, say).

        A name that is taken is refused, unless ``replace`` says that the new one shall stand for the old one in this process; a
        class that is made anew, as by a cell that is run again, follows itself.

        *Raises* UsageError where it is none of this kind, and for a name that is taken.
        """
        refused = f"the {self.noun} {name!r} cannot be used: "
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UsageError(refused + self._how_named())
        if not replace and self._taken(name, plugin):
            raise UsageError(f"{refused}there is one of that name; give it another name, or put it in that one's place with replace=True")
        try:
            self._take(name, plugin)
        except (UsageError, TypeError) as error:
            raise UsageError(f"{refused}{error}") from None
        self._left_out.pop(name, None)
        self._registered[name] = plugin, *registrar()
        self._loaded[name] = plugin

    def _take(self, name: str, plugin: Any) -> None:
        """Check a class and give it its name; one that is refused bears the name that it had.

        *Raises* UsageError, also for one that stands under another name: it would be called by the wrong one there.
        """
        if not isinstance(plugin, type):
            check_plugin(plugin, self.base)
        before = plugin.__dict__.get("name")
        if before not in (None, name) and self.holds(before, plugin):
            raise UsageError(f"its class is {self.told(before)} already; derive a class of its own for a second name")
        plugin.name = name  # type: ignore[attr-defined]
        try:
            check_plugin(plugin, self.base)
        except BaseException:
            if before is None:
                del plugin.name  # type: ignore[attr-defined]
            else:
                plugin.name = before  # type: ignore[attr-defined]
            raise

    def _taken(self, name: str, plugin: Any) -> bool:
        if name in self._find() or name in self._foreign:
            return self._loaded.get(name) is not plugin
        there = self._loaded.get(name)
        again = isinstance(plugin, type) and there is not None and (there.__module__, there.__qualname__) == (plugin.__module__, plugin.__qualname__)
        return there is not None and not again

    def __getitem__(self, name: str) -> Any:
        if name in self._left_out:
            raise Unavailable(self._left_out[name])
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
            if self._arrives(name):
                return self[name]
            plugin = self._accepted(name)
        else:
            places = [place for folder in self._folders() for place in _paths(folder)]
            raise not_found(self.noun, name, self.names, titled(places, str(name)))
        self._loaded[name] = plugin
        return plugin

    def _arrives(self, name: str) -> bool:
        """Wait for one that is being imported aside; whether it was. *Raises* Unavailable in a thread that imports another one."""
        arrival = self.coming.get(name)
        if arrival is None or arrival.what != self.told(name):
            return False
        if arrivals.here():
            raise Unavailable(self._awaited(name, arrival))
        arrival.done.wait()
        return name in self._loaded or name in self._left_out

    def _accepted(self, name: str, *, aside: bool = False) -> Any:
        """A third party's plug-in. *Raises* Unavailable where it cannot be used, whatever it does when it is loaded."""
        try:
            self._trying.add(name)
            point = self._foreign[name]
            plugin: Any = arrivals.bounded(self.told(name), point.load) if aside else point.load()
            if is_own(plugin):
                raise UsageError("its class is diorama's own; derive one of its own")
            self._take(name, plugin)
            return plugin
        except (Exception, SystemExit) as error:
            if aside and arrivals.wants_main_thread(error):
                self._by_caller.add(name)
                raise Unavailable(str(error)) from error
            self.leave_out(name, error)
            raise Unavailable(self._left_out[name]) from error
        finally:
            self._trying.discard(name)

    def is_foreign(self, name: str) -> bool:
        """Whether a third party offers it, or this process registered it: it is none of diorama's own."""
        self._find()
        return name in self._foreign or self._registrar(name) != ""

    def _registrar(self, name: str) -> str:
        """Who registered what stands under a name, in words; empty where nobody did."""
        plugin, who, _ = self._registered.get(name, (None, "", None))
        return who if self._loaded.get(name) is plugin else ""

    def package_of(self, name: str) -> str:
        """The package of a third party's plug-in; empty for one that no package offers."""
        return _package(self._foreign[name]) if name in self._foreign else ""

    def holds(self, name: str, plugin: type) -> bool:
        """Whether this class is what the registry has under a name."""
        return self._loaded.get(name) is plugin

    def bases(self, plugin: type) -> bool:
        """Whether a class is derived from the base of this kind."""
        return any(f"{cls.__module__}:{cls.__name__}" == self.base for cls in plugin.__mro__)

    def told(self, name: str) -> str:
        """A plug-in in words: what it is, its name and, of a third party's, the package that it comes from; of a registered one the place."""
        who = self._registrar(name)
        whose = f" {who}" if who else f" of {_package(self._foreign[name])}" if name in self._foreign else ""
        return f"the {self.noun} {name!r}{whose}"

    def leave_out(self, name: str, error: BaseException) -> None:
        """Say once that a plug-in cannot be used, and name it in ``broken``."""
        text = " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split()) + raised_at(error)
        if who := self._registrar(name):
            whose, way = f" {who}", "mend it there and register it again"
        elif name in self._foreign:
            package = _package(self._foreign[name])
            whose, way = f" of {package}", f"mend, update or uninstall {package}"
        else:
            whose, way = " of diorama", "install what it needs" if isinstance(error, ImportError) else "this is a fault of diorama"
        self._left_out[name] = f"the {self.noun} {name!r}{whose} cannot be used and is left out ({text}); {way}"
        warn(self._left_out[name], self._where(name, error))

    def _where(self, name: str, error: BaseException | None) -> Place:
        """To which file and line a warning about a plug-in points: where it failed, where its class stands, or its entry point."""
        frames = strangers(error) if error is not None else []
        if frames:
            return frames[-1]
        if self._registrar(name):
            return self._registered[name][2]
        if name in self._loaded:
            return place_of(self._loaded[name])
        point = self._foreign.get(name)
        return (point.value if point is not None else self.package), 1

    def _working(self) -> dict[str, Any]:
        found = {}
        for name in self:
            try:
                found[name] = self[name]
            except (Unavailable, ImportError) as error:
                if name not in self._left_out:
                    self.leave_out(name, error)
        return found

    def items(self) -> ItemsView[str, Any]:
        """Names and plug-ins, without those of third parties that cannot be used."""
        return self._working().items()

    def values(self) -> ValuesView[Any]:
        """The plug-ins, without those of third parties that cannot be used."""
        return self._working().values()

    def __iter__(self) -> Iterator[str]:
        self._try()
        return iter(sorted({*self.names} - {*self.coming}))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self._find() or name in self._foreign or name in self._loaded

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other  # as a mapping it would import all of both to tell

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

    def register(self, name: str, plugin: Any, *, replace: bool = False) -> None:
        """Add a plug-in made in this process, as the registry does."""
        self.__dict__["_registry"].register(name, plugin, replace=replace)

    @property
    def broken(self) -> Mapping[str, str]:
        """What cannot be used, and why, as the registry tells it."""
        found: Mapping[str, str] = self.__dict__["_registry"].broken
        return found

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return repr(self.__dict__["_registry"])


def _package(point: EntryPoint) -> str:
    """The name of the package that an entry point comes from, or where it leads, for one without a package."""
    dist = getattr(point, "dist", None)
    name: str = dist.name if dist is not None else point.value
    return name


def warn(text: str, place: Place) -> None:
    """Warn of a plug-in, at a place of its own."""
    with contextlib.suppress(Warning):  # where warnings are errors, a stranger's fault still stops nothing
        warnings.warn_explicit(text, LeftOut, *place)


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
    "projections", "diorama.methods.projection", "projection", "diorama.methods.placement:Projection"
)
views = Registry("views", "diorama.views", "view", "diorama.views.view:View", rooms=True)
signals = Registry("signals", "diorama.record.signals", "signal", "diorama.record.signals:Signal")
findings = Registry("findings", "diorama.record.findings", "finding", "diorama.record.findings:Finding")
commands = Registry("commands", "diorama.record.commands", "command", "diorama.record.commands:Command")
demos = Registry("demos", "diorama.gallery", "demo", "diorama.gallery._demo:Demo")
savers = Registry("savers", "diorama.export.formats", "file format", "diorama.export.formats:Saver")
"""What saves a picture, by suffix without the dot."""
REGISTRIES = (methods, derivations, projections, views, signals, findings, commands, demos, savers)
"""Every kind of plug-in."""


def told(plugin: Any) -> str:
    """A plug-in or its class in words, ``the view 'norms' of mypackage``, whether or not a registry holds it."""
    kind = plugin if isinstance(plugin, type) else type(plugin)
    for registry in REGISTRIES:
        if registry.bases(kind):
            name = getattr(kind, "name", "") or kind.__name__
            return registry.told(name) if registry.holds(name, kind) else f"the {registry.noun} {name!r}"
    return f"the plug-in {kind.__name__!r}"


def place_of(plugin: Any) -> Place:
    """The file in which a plug-in's class stands."""
    module = plugin.__module__
    return getattr(sys.modules.get(module), "__file__", None) or module, 1


def is_own(plugin: Any) -> bool:
    """Whether it is one of diorama's own."""
    kind = plugin if isinstance(plugin, type) else type(plugin)
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


def widget_for(picture: Any, *, bundle: bool = True) -> Any:
    """The live notebook widget of a picture, as a MIME bundle or as itself, where anywidget is installed; else None."""
    try:
        notebook = importlib.import_module("diorama.notebook.widget")
    except ImportError:
        return None
    return notebook.bundle(picture) if bundle else notebook.show(picture)
