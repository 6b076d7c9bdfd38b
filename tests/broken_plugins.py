"""What is wrong with a third party's plug-in before it is ever used: each of these is named and left out."""

from __future__ import annotations

from typing import Any

from diorama import plugins
from diorama.core import registry
from diorama.core.registry import Registry


def first_of(kind: Registry) -> type:
    """One of diorama's; whoever asks for all while one is loaded has them all loaded again."""
    plugin: type = kind[next(iter(kind._find()))]
    return plugin


def base_of(kind: Registry) -> type:
    return next(cls for cls in first_of(kind).__mro__ if f"{cls.__module__}:{cls.__name__}" == kind.base)


def missing(kind: Registry) -> Any:
    raise ModuleNotFoundError("No module named 'elsewhere'")


def leaves(kind: Registry) -> Any:
    raise SystemExit(3)


def raises_in_its_body(kind: Registry) -> Any:
    return type("Mine", (first_of(kind),), {"__init_subclass__": 1 / 0})


def stranger(kind: Registry) -> Any:
    return type("Mine", (), {})


def no_class(kind: Registry) -> Any:
    return 3


def wrong_help(kind: Registry) -> Any:
    return type("Mine", (first_of(kind),), {"__annotations__": {"a": "int"}, "a": plugins.knob(1, 5)})  # type: ignore[arg-type]


def wrong_default(kind: Registry) -> Any:
    own = {"__annotations__": {"a": "str"}, "a": plugins.knob("z", "One of two.", choices=("x", "y"))}
    return type("Mine", (first_of(kind),), own)


def wrong_title(kind: Registry) -> Any:
    return type("Mine", (first_of(kind),), {"title": ("Mine",)})


def no_knob(kind: Registry) -> Any:
    return type("Mine", (first_of(kind),), {"__annotations__": {"limit": "int"}, "limit": 3})


def typed_title(kind: Registry) -> Any:
    return type("Mine", (first_of(kind),), {"__annotations__": {"title": "str"}, "title": "Mine"})


def another_type(kind: Registry) -> Any:
    return type("Mine", (first_of(kind),), {"__annotations__": {"limit": int}, "limit": plugins.knob("3", "How many.")})


def crossed(kind: Registry) -> Any:
    return type("Mine", (first_of(kind),), {"__annotations__": {"limit": "int"}, "limit": plugins.knob(3, "How many.", low=5, high=2)})


def twice(kind: Registry) -> Any:
    return first_of(kind)


_MET: dict[str, type] = {}


def another_kind(kind: Registry) -> Any:
    other = first_of(registry.signals if kind is registry.views else registry.views)
    return _MET.setdefault(kind.kind, type("Mine", (other,), {"name": "elsewhere"}))


def family_of_none(kind: Registry) -> Any:
    return type("Mine", (first_of(kind),), {"family": "nonsense"}) if hasattr(first_of(kind), "family") else 3


def nothing_written(kind: Registry) -> Any:
    return type("Mine", (base_of(kind),), {"room": "training"})


def no_class_method(kind: Registry) -> Any:
    """What a base asks of the class is written as an ordinary method: `wants` of a view, `fits` of a method and so on; of others `flaw`."""
    own = [name for name, each in vars(base_of(kind)).items() if isinstance(each, classmethod) and name[0] != "_" and name != "flaw"]
    return type("Mine", (first_of(kind),), {(own or ["flaw"])[0]: lambda self: None})


FAULTS = (
    missing, leaves, raises_in_its_body, stranger, no_class, wrong_help, wrong_default, wrong_title,
    no_knob, typed_title, another_type, crossed, nothing_written, twice, another_kind, family_of_none, no_class_method,
)
SAID = {
    no_knob: "a knob is written limit: … = knob(3,", typed_title: "write title = 'Mine', without a type",
    another_type: "write limit: str = knob(…)", crossed: "low is at most its high", nothing_written: "leaves open: def ",
    twice: "derive one of its own", no_class_method: "write @classmethod above def ",
}
"""What some say of the way out."""
