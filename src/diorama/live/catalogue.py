"""What this installation offers, as the page is told; kept in a file, so that starting needs no torch."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..core import arrivals, protocol
from ..core.entry_points import offered
from ..core.glossary import TERMS
from ..core.knobs import describe
from ..core.registry import REGISTRIES, Registry, commands, methods, views
from ..core.version import VERSION

KEPT = 12
"""Catalogues of so many installations are kept."""


def describe_installation(told: Callable[[int, int, str], None] = lambda *_: None, wanted: str | None = None) -> dict[str, Any]:
    """Rooms, every plug-in of every registry, and the glossary as plain data. Imports all of them; a third party's that
    cannot be used, or has not come when one has waited for it, is left out, and ``broken`` says why; ``slow`` names the packages that one
    still waits for, by kind and name.

    *told* hears how many are described, of how many, and which kind comes now, or what is waited for. Where one kind is *wanted* alone,
    slow ones of the others are hardly waited for.
    """
    from ..views.view import describe as describe_view
    from ..views.view import rooms

    found: dict[str, Any] = {"version": VERSION, "rooms": [room.describe() for room in rooms()], "glossary": TERMS}
    ways: dict[str, tuple[Callable[[Any], Any], type[protocol.Described]]] = {
        views.kind: (describe_view, protocol.View), methods.kind: (_describe_method, protocol.Method),
        commands.kind: (lambda command: command.describe(), protocol.CommandEntry),
    }
    total, done = sum(len(registry.names) for registry in REGISTRIES), 0
    found["left_out"], found["slow"] = {}, {}
    with arrivals.waiting() as waits:
        for registry in REGISTRIES:
            waits.hear = functools.partial(told, done, total)
            waits.hear(f"reading the {registry.kind}")
            waits.most = arrivals.PATIENCE if wanted in (None, registry.kind) else arrivals.LEAST
            found[registry.kind] = _described(registry, *ways.get(registry.kind, (describe, protocol.Described)))
            found["left_out"][registry.kind] = dict(registry.broken)
            if late := _late(registry, found):
                found["slow"][registry.kind] = late
            done += len(registry.names)
    found["broken"] = [reason for reasons in found["left_out"].values() for reason in reasons.values()]
    return found


def _describe_method(method: type[Any]) -> dict[str, Any]:
    """A method as plain data, with where the catalogue shows it."""
    about = {"papers": [method.source] if method.source else [], "rows": list(method.rows)}
    return {**describe(method), **about, "view": method.view, "demo": method.demo}


def installed(kind: str | None = None) -> dict[str, Any]:
    """The catalogue: as it was kept, or made now and kept. One in which plug-ins had not come is made anew, unless another *kind* is asked for."""
    stamp = installation_stamp()
    found = kept_catalogue(stamp)
    if found is None or {kind} & found["slow"].keys() or (kind is None and found["slow"]):
        found = describe_installation(wanted=kind)
        keep_catalogue(stamp, found)
    return found


def _late(registry: Registry, found: Mapping[str, Any]) -> dict[str, str]:
    """The packages of those that are asked for again, by name: on their way, or come while the rest was described, so that they stand nowhere yet."""
    coming = registry.coming
    described, left_out = {told["name"] for told in found[registry.kind]}, {*found["left_out"][registry.kind]} - {*coming}
    return {name: registry.package_of(name) for name in registry.names if name not in described and name not in left_out or name in coming}


def _described(registry: Registry, how: Callable[[Any], Any], form: type[protocol.Described]) -> list[dict[str, Any]]:
    found = []
    for name, plugin in registry.items():
        try:
            told = msgspec.to_builtins(how(plugin))
            msgspec.convert(told, form)
            found.append(told)
        except Exception as error:
            if not registry.is_foreign(name):
                raise
            registry.leave_out(name, error)
    return found


def installation_stamp() -> str:
    """Changes when any source file of the package or any installed plug-in does."""
    package = Path(__file__).parents[1]
    stamp = hashlib.sha256(str(package).encode())
    for folder, folders, files in os.walk(package):
        folders[:] = sorted(name for name in folders if name not in ("__pycache__", "static"))
        _stamp(stamp, folder, files)
    for registry in REGISTRIES:
        for point in offered(registry.kind):
            version = point.dist.version if point.dist is not None else ""
            stamp.update(f"{registry.kind} {point.name} {point.value} {version}\n".encode())
            for folder in _folders(point.module):
                with contextlib.suppress(OSError):
                    _stamp(stamp, folder, os.listdir(folder))
    return stamp.hexdigest()[:20]


def _stamp(stamp: Any, folder: str, files: list[str]) -> None:
    """Tell the sources of a folder: their names, when they were written, and their sizes."""
    for name in sorted(files):
        if name.endswith(".py"):
            stat = os.stat(os.path.join(folder, name))
            stamp.update(f"{folder}/{name} {stat.st_mtime_ns} {stat.st_size}\n".encode())


def _folders(module: str) -> list[str]:
    """The folders on the way to a module of a third party, which may be changed where it lies; nothing is imported."""
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if not spec.submodule_search_locations:
        return [os.path.dirname(spec.origin)] if spec.origin and os.path.isabs(spec.origin) else []
    return [os.path.join(place, *rest[:depth]) for place in spec.submodule_search_locations for depth in range(len(rest) + 1)
            if os.path.isdir(os.path.join(place, *rest[:depth]))]


def kept_catalogue(stamp: str) -> dict[str, Any] | None:
    """The catalogue as it was kept for this installation, or None."""
    try:
        found: dict[str, Any] = msgspec.json.decode(_place(stamp).read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return found


def keep_catalogue(stamp: str, catalogue: dict[str, Any]) -> None:
    """Keep the catalogue for the next start; a folder that cannot be written only makes that start slower."""
    place = _place(stamp)
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Several installations share the folder: the newest few stay, so that none makes the others start anew.
        others = sorted(place.parent.glob("catalogue-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in others[KEPT - 1 :]:
            old.unlink(missing_ok=True)
        beside = place.with_suffix(f".{os.getpid()}")
        beside.write_bytes(msgspec.json.encode(catalogue))
        beside.replace(place)
    except OSError:
        return


def _place(stamp: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "diorama" / f"catalogue-{stamp}.json"
