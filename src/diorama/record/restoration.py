"""A training put back as a checkpoint holds it: in place, so that whoever holds its tensors and objects keeps them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping, MutableSequence, MutableSet
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import NotApplicable
from ..training.optimizers import beyond
from ..training.surgery.journal import Revision, read

if TYPE_CHECKING:
    from ..training.subject import Subject

_DEVICES = ("cuda", "xpu", "mps")
Kept = dict[str, Any]
"""What a checkpoint holds, by name."""


def weights_of(model: nn.Module) -> Kept:
    """All parameters and buffers, those too that a state dict leaves out, and whatever else the modules want kept."""
    extra = {name: value for name, value in model.state_dict().items() if not isinstance(value, Tensor)}
    return {
        "parameters": {name: parameter.detach() for name, parameter in model.named_parameters() if not parameter.is_meta},
        "buffers": {name: buffer.detach() for name, buffer in model.named_buffers() if not buffer.is_meta},
        "extra": extra,
    }


def random_state() -> Kept:
    """The states of all generators of the process: Python's, NumPy's, PyTorch's and those of its devices."""
    found: Kept = {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": np.random.get_state()}
    for kind, device in _started():
        found[kind] = device.get_rng_state_all() if hasattr(device, "get_rng_state_all") else device.get_rng_state()
    return found


def _started() -> Iterator[tuple[str, Any]]:
    """The kinds of devices that the process uses."""
    for kind in _DEVICES:
        device = getattr(torch, kind, None)
        if device is not None and device.is_available() and getattr(device, "is_initialized", lambda: True)():
            yield kind, device


def unfit(kept: Kept, subject: Subject) -> str:
    """Why a checkpoint cannot be put back into a training as it is now; empty where it can."""
    then = {name: tuple(tensor.shape) for name, tensor in kept["weights"]["parameters"].items()}
    acts = revisions_of(kept)
    subject.journal.has(subject.model, acts)
    try:
        shapes = subject.journal.shapes(subject.model, acts)
    except NotApplicable as error:
        return str(error)
    shapes = {name: shape for name, shape in shapes.items() if name in then or name in subject.shapes()}
    if then != shapes:
        if then == subject.shapes():
            return "the network had another shape then, but for what commands did since"
        shaped = {name: str(shape) for name, shape in then.items()}
        return f"the network had another shape then: {subject.differences((shaped, *subject.form()[1:]))}"
    for what, now in (("optimizers", subject.optimizers), ("schedulers", subject.schedulers), ("state", subject.state)):
        if len(kept[what]) != len(now):
            return f"watch was given {len(now)} {what} now and {len(kept[what])} then"
    sizes = [[len(group["params"]) for group in optimizer.param_groups] for optimizer in subject.optimizers]
    if subject.journal.groups(sizes, acts) != [[len(group["params"]) for group in each["param_groups"]] for each in kept["optimizers"]]:
        return "the optimizer held other groups of parameters then"
    for optimizer in subject.optimizers:
        if not hasattr(optimizer, "load_state_dict"):
            return f"the optimizer {type(optimizer).__name__} has no load_state_dict()"
    return ""


def revisions_of(kept: Kept) -> list[Revision]:
    """The acts of structure that were in force. *Raises* Damaged."""
    return read(kept.get("structure", []))


def check_fit(kept: Kept, subject: Subject, step: int) -> None:
    """*Raises* NotApplicable where a checkpoint cannot be put back into a training."""
    if subject.spread:
        raise NotApplicable(f"no process has all weights, which are spread by {subject.spread}: none can go back")
    if reason := unfit(kept, subject):
        raise NotApplicable(f"the training cannot stand where it stood after step {step}: {reason}; start it again from there")


def put_back(kept: Kept, subject: Subject, *, everything: bool = True) -> tuple[list[str], list[str], list[str], bool]:
    """Put all of it back; returns the kinds of the objects in ``state`` that went back, and of those that cannot, what else is as it was, and
    whether gradients had been gathered for a step to come, which are there again.

    Without ``everything`` generators stay as they are, and so do the objects in ``state`` but modules and scalers: what
    draws batches goes on.
    """
    if subject.journal.stand(subject.model, revisions_of(kept), subject.optimizers):
        subject.look()
    with torch.no_grad():
        _put_weights(kept["weights"], subject.model)
        _put_gradients(kept.get("gradients", {}), subject.model)
    for optimizer, memory in zip(subject.optimizers, kept["optimizers"], strict=True):
        _put_memory(memory, optimizer)
    for scheduler, state in zip(subject.schedulers, kept["schedulers"], strict=True):
        scheduler.load_state_dict(state)
    went: list[str] = []
    stayed: list[str] = []
    for thing, state in zip(subject.state, kept["state"], strict=True):
        if everything or isinstance(thing, nn.Module) or hasattr(thing, "unscale_"):
            (went if _put_state(thing, state) else stayed).append(type(thing).__name__)
    if everything:
        put_random(kept["random"])
    return went, stayed, beyond(subject.optimizers, subject.state), bool(kept.get("gradients"))


def told(went: list[str], stayed: list[str], left: list[str], gathered: bool, skipped: str) -> str:
    """What went back and what did not, in words that a person can rely on."""
    parts = ["weights, optimizer, schedulers and random numbers are as they were"]
    if gathered:
        parts.append("the gradients that were gathered for the optimizer's next step are there again")
    if went:
        parts.append(f"so is what state= holds ({_named(went)})")
    if stayed:
        parts.append(f"{_named(stayed)} of state= cannot go back, having no load_state_dict()")
    if left:
        parts.append(f"{' and '.join(left)} is as it is now, as no checkpoint holds it")
    return "; ".join(filter(None, [*parts, skipped]))


def _named(kinds: list[str]) -> str:
    return ", ".join(dict.fromkeys(kinds))


def _put_weights(kept: Kept, model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if name not in kept["parameters"] and parameter.is_meta:
            continue  # its numbers are kept elsewhere
        parameter.detach().copy_(kept["parameters"][name])
    buffers = dict(model.named_buffers())
    for name, saved in kept["buffers"].items():
        path, _, own = name.rpartition(".")
        now = buffers.get(name)
        if now is not None and now.shape == saved.shape and now.dtype == saved.dtype:
            now.detach().copy_(saved)
        elif own not in (module := model.get_submodule(path))._parameters:
            module._buffers[own] = saved.clone() if now is None else saved.to(now.device, copy=True)
    if kept["extra"]:
        model.load_state_dict(kept["extra"], strict=False)


def _put_gradients(kept: Kept, model: nn.Module) -> None:
    """What was gathered until then for a step to come; where nothing was, gradients are those of another time and begin anew."""
    for name, parameter in model.named_parameters():
        now, saved = parameter.grad, kept.get(name)
        if saved is None:
            if now is not None:
                now.detach().zero_()
        elif now is not None and now.layout == saved.layout == torch.strided and now.dtype == saved.dtype:
            now.detach().copy_(saved)
        else:
            parameter.grad = saved.to(parameter.device, copy=True)


def _put_memory(kept: Kept, optimizer: Any) -> None:
    """An optimizer's memory and values; its groups stay the dictionaries that they are."""
    groups = optimizer.param_groups
    optimizer.load_state_dict(kept)
    for own, new in zip(groups, optimizer.param_groups, strict=True):
        if own is not new:
            own.clear()
            own.update(new)
    optimizer.param_groups = groups
    # Loading gives memories the type of their weights, which need not be the one that they had.
    parameters = [parameter for group in groups for parameter in group["params"]]
    numbers = [number for group in kept["param_groups"] for number in group["params"]]
    for parameter, number in zip(parameters, numbers, strict=True):
        for name, value in kept["state"].get(number, {}).items():
            now = optimizer.state[parameter].get(name)
            if isinstance(value, Tensor) and isinstance(now, Tensor) and now.dtype != value.dtype:
                optimizer.state[parameter][name] = value.to(now.device, copy=True)


def _put_state(thing: Any, kept: Any) -> bool:
    """An object of ``state``, in place; whether that can be done."""
    if hasattr(thing, "state_dict"):
        if hasattr(thing, "load_state_dict"):
            thing.load_state_dict(kept)
        return hasattr(thing, "load_state_dict")
    for kind, put in _PUT:
        if isinstance(thing, kind):
            put(thing, kept)
            return True
    return False


def _refill(thing: Any, kept: Any) -> None:
    """A dictionary, a set, a list or a queue."""
    thing.clear()
    (thing.extend if hasattr(thing, "extend") else thing.update)(kept)


def _set_bits(thing: np.random.Generator, kept: np.random.Generator) -> None:
    thing.bit_generator.state = kept.bit_generator.state


_PUT: tuple[tuple[Any, Callable[[Any, Any], object]], ...] = (
    (torch.Generator, lambda thing, kept: thing.set_state(kept.get_state())),
    (np.random.Generator, _set_bits),
    (np.random.RandomState, lambda thing, kept: thing.set_state(kept.get_state())),
    (random.Random, lambda thing, kept: thing.setstate(kept.getstate())),
    (Tensor, lambda thing, kept: thing.detach().copy_(kept)),
    (np.ndarray, lambda thing, kept: np.copyto(thing, kept)),
    (MutableMapping | MutableSequence | MutableSet | deque, _refill),
)
"""What has no state dict, and how it is put back."""


def put_random(kept: Mapping[str, Any]) -> None:
    """The states of all generators of the process, as :func:`random_state` tells them."""
    torch.set_rng_state(kept["torch"])
    random.setstate(kept["python"])
    np.random.set_state(kept["numpy"])
    for kind, device in _started():
        if kind not in kept:
            continue
        if hasattr(device, "set_rng_state_all"):
            device.set_rng_state_all(kept[kind])
        else:
            device.set_rng_state(kept[kind])
