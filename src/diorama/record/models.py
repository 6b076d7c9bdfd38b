"""The model's code and structure in a run: a signed pickle without its weights, which a snapshot fills in."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pickle
import sys
import sysconfig
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import torch
import torch.fx
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..core.errors import Damaged, Unavailable, Untrusted
from ..model.duplicate import tensors_within
from ..training.surgery.followed import Followed, hand_on_again
from . import files, trust
from .own_hooks import without
from .snapshots import state_of

LARGEST = 2_000_000_000
"""Bytes of a stored model, which comes without its weights."""
WAY_OUT = "name a factory (--model package.module:function, or model= in Python)"


def file_of(folder: Path, number: int) -> Path:
    """The pickle of an architecture."""
    return folder / f"model-{number}.pkl"


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
    """Leaves out what comes from the snapshot: the tensors of the model's state, and no others (a buffer may not be part of it)."""

    def __init__(self, file: Any, model: nn.Module, results: bool = True) -> None:
        super().__init__(file)
        self._results = results
        """Whether results of a pass that a module keeps are taken along."""
        self._tensors = list(state_of(model).values())  # held, as a number may stand for another object once its own is gone
        self._left_out = {id(tensor): k for k, tensor in enumerate(self._tensors)}

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, torch.jit.ScriptModule):
            # A scripted part has no code that could be stored by name; TorchScript's own form holds all of it.
            data = io.BytesIO()
            torch.jit.save(thing, data)  # type: ignore[no-untyped-call]
            return _scripted, (data.getvalue(),)
        if isinstance(thing, nn.Module) and parametrize.is_parametrized(thing):
            # PyTorch gives such a module a class of its own that refuses to be stored; the class it had is stored.
            kind = type(thing).plain if isinstance(thing, Followed) else type(thing)
            return _bare, (kind.__bases__[0],), thing.__dict__, None, None, _parametrized
        if isinstance(thing, torch.fx.GraphModule) and "_guards_fn" in thing._modules:
            return _exported(thing)
        return super().reducer_override(thing)

    def persistent_id(self, thing: Any) -> Any:
        if type(thing) not in (Tensor, nn.Parameter):
            return None
        if not (self._results or thing.is_leaf):
            return ("result",)
        if id(thing) not in self._left_out:
            return None
        about = (type(thing) is nn.Parameter, tuple(thing.shape), thing.dtype, thing.requires_grad)
        return ("tensor", self._left_out[id(thing)], about)


def _exported(graph: torch.fx.GraphModule) -> tuple[Any, ...]:
    """A graph of ``torch.export`` as its code, without what PyTorch puts round it and cannot store: a check of each input's
    shape, and how it was traced. What it computes is the same.
    """
    rebuild, (body, imports) = graph.__reduce__()
    code = "\n".join(line for line in body["_code"].split("\n") if "_guards_fn" not in line)
    modules = {name: part for name, part in body["_modules"].items() if name != "_guards_fn"}
    hooks = {
        name: OrderedDict((k, hook) for k, hook in body[name].items() if not getattr(hook, "__module__", "").startswith("torch."))
        for name in ("_forward_pre_hooks", "_forward_hooks")
    }
    body = {name: part for name, part in body.items() if name != "_tracer_cls" and getattr(part, "__self__", None) is not graph}
    return rebuild, ({**body, **hooks, "_code": code, "_modules": modules}, imports)


def _scripted(data: bytes) -> Any:
    """A scripted module from its stored form."""
    return torch.jit.load(io.BytesIO(data))  # type: ignore[no-untyped-call]


def _bare(kind: type[nn.Module]) -> nn.Module:
    """A module without anything in it."""
    return kind.__new__(kind)


def _parametrized(module: nn.Module, state: dict[str, Any]) -> None:
    """Fill a module whose weights are computed from others (``torch.nn.utils.parametrizations``), and let follow what followed it."""
    module.__dict__.update(state)
    parametrize._inject_new_class(module)
    for name in module._modules["parametrizations"]._modules:  # type: ignore[union-attr]
        parametrize._inject_property(module, name)
    hand_on_again(module)


class _Unpickler(pickle.Unpickler):
    """Puts empty weights where some were left out; the same object wherever the same weight stood."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self._made: dict[int, Tensor] = {}

    def persistent_load(self, found: Any) -> Any:
        _, number, (parameter, shape, dtype, wants_gradient) = found
        if number not in self._made:
            empty = torch.zeros(shape, dtype=dtype)
            self._made[number] = nn.Parameter(empty, requires_grad=wants_gradient) if parameter else empty
        return self._made[number]


def mark(model: nn.Module, more: dict[str, Any], data: bytes | None = None) -> int:
    """By what a model that is to be stored is known from one that computes something else, without the numbers of its parameters and without
    results of a pass that it keeps (the weight of an old ``weight_norm``). ``data`` is its pickle, where that is at hand.
    """
    kept = any(not tensor.is_leaf for module in model.modules() for tensor in tensors_within(vars(module), set()))
    return zlib.crc32(pack(model, more, results=False)[0] if kept or data is None else data)


def pack(model: nn.Module, more: dict[str, Any], results: bool = True) -> tuple[bytes, str]:
    """The pickle of a model with what belongs to it, or empty bytes and the reason why it can't be pickled; without ``results`` it is none
    that could be opened, but one to compare.
    """
    reason = ""
    for by_value in (True, False):
        buffer = io.BytesIO()
        try:
            with _own_modules_by_value() if by_value else contextlib.nullcontext(), _about_trees_ignored(), without(model):
                _Pickler(buffer, model, results).dump({"model": model, **more})
            return buffer.getvalue(), ""
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return b"", reason


@contextlib.contextmanager
def _about_trees_ignored() -> Iterator[None]:
    """PyTorch warns of its own way of storing the form of an exported graph's inputs, which nobody here can change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*treespec, LeafSpec", FutureWarning)
        yield


@contextlib.contextmanager
def _own_modules_by_value() -> Iterator[None]:
    """Modules outside site-packages travel inside the pickle, since whoever opens it may not find them."""
    registered: list[ModuleType] = []
    known = set(cloudpickle.list_registry_pickle_by_value())
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name != "__main__" and _is_own(module) and name not in known:
            with contextlib.suppress(ValueError):
                cloudpickle.register_pickle_by_value(module)
                registered.append(module)
    try:
        yield
    finally:
        for module in registered:
            with contextlib.suppress(ValueError):
                cloudpickle.unregister_pickle_by_value(module)


def _is_own(module: ModuleType) -> bool:
    file, name = getattr(module, "__file__", None), getattr(module, "__name__", "")
    if not file or name.partition(".")[0] in ("diorama", "torch") or name not in sys.modules:
        return False
    return _lies_apart(file)


@functools.cache  # thousands of modules are asked for again at each start of a recording, and links are slow to follow
def _lies_apart(file: str) -> bool:
    """Whether a file is none of a package that was installed, nor of the standard library."""
    return not any("site-packages" in place or "dist-packages" in place or place.startswith(_standard()) for place in _places(file))


def _places(file: str) -> Iterator[str]:
    yield file
    yield os.path.realpath(file)


@functools.cache
def _standard() -> tuple[str, ...]:
    """The folders of the standard library."""
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    return tuple({folder + os.sep for path in paths if path for folder in (path, os.path.realpath(path))})


def opened(data: bytes) -> dict[str, Any]:
    """What :func:`pack` packed, with empty weights: it runs code, and is for those who know whose it is."""
    with _about_trees_ignored():
        found = _Unpickler(io.BytesIO(data)).load()
    assert isinstance(found, dict)
    return found


def write(folder: Path, number: int, data: bytes) -> None:
    """Write a pickle with its signature."""
    files.put(file_of(folder, number), data)
    signature = trust.sign(data)
    if signature:
        files.put(file_of(folder, number).with_suffix(".sig"), signature.encode())


def load(folder: Path, number: int, trusted: bool = False) -> dict[str, Any]:
    """Load the model (with empty weights) and what belongs to it.

    *Raises* Untrusted for a pickle that this user did not make, Unavailable where there is none.
    """
    name = file_of(folder, number).name
    try:
        data = files.content(folder, name, LARGEST)
    except FileNotFoundError:
        raise Unavailable(f"the run {folder.name!r} holds no model; to look into it, {WAY_OUT}") from None
    signed = trust.verify(data, trust.signature(folder, name))
    if not signed and not trusted:
        raise Untrusted(
            f"the model of {folder.name!r} was not stored by this user, and loading it would run its code; "
            f"if you trust where it comes from say --trust (trust=True in Python), or {WAY_OUT}"
        )
    try:
        return opened(data)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise Damaged(f"the stored model of {folder.name!r} cannot be loaded here ({reason}); {WAY_OUT}") from error
