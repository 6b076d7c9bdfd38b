"""Which columns of what a layer reads each other layer's answers stand in, and with which sign: sums and differences of streams apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .axes import tensors_in
from .mode import WithoutModes
from .ops import CONVOLUTIONS, OPS, named

Rails = tuple[Tensor, Tensor]
"""Of each number of a tensor whether (1 or 0) it grows with a layer's answers, and whether it falls with them."""
Group = tuple[frozenset[str], "Rails | None"]
"""Layers that stand in the same places of a tensor; None where the places are not known."""
_KEPT = named("function", "along", "softmax", "normalizes", "scaled", "cast", "dropout", "handed_on") | {"masked_fill"}
_TURNED = frozenset(("neg", "negative", "reciprocal", "rsqrt"))
_EVEN = frozenset(("abs", "absolute", "square", "cos", "sin", "pow", "float_power"))
"""What does not always grow with what it is given."""
_SUMS = named("sum") | named("extreme")
_MOVED = named("rearranged", "shares", "choice", "writes")
_UNTOLD = frozenset(("sort", "topk", "median", "kthvalue", "diff", "masked_scatter", "fill", "zero", "zeros_like"))


class FollowedColumns:
    """The places of every tensor of a pass in which each layer's answers stand, with no weights between."""

    def __init__(self) -> None:
        self.known: dict[int, list[Group]] = {}
        self.found: defaultdict[tuple[str, str], list[Rails | None]] = defaultdict(list)
        """Of each reader and layer that it reads, at each reading: the columns that grow and those that fall with that layer's answers."""

    def wrote(self, name: str, tensors: Sequence[Tensor]) -> None:
        """A layer answered."""
        for one in tensors:
            self.known[id(one)] = [(frozenset([name]), (torch.ones(one.shape), torch.zeros(one.shape)))]

    def untold(self, names: frozenset[str], tensors: Sequence[Tensor]) -> None:
        """Layers stand in tensors, nobody knows where."""
        for one in tensors:
            self.known[id(one)] = [(names, None)] if names else []

    def read(self, reader: str, op: str, args: Sequence[Any]) -> None:
        """A layer reads what stands along the last axis, or, in a convolution, along the second."""
        for one in tensors_in(args):
            axis = 1 if op in CONVOLUTIONS else -1
            own = {"linear": 0, "matmul": 0, "mm": 0, "multi_head_attention_forward": 2}.get(op, -1)  # of an attention the values
            told = op in CONVOLUTIONS or op == "kernel" or (0 <= own < len(args) and one is args[own])
            for names, rails in self.known.get(id(one), ()):
                kept = None
                if told and rails is not None and one.ndim > 1:
                    p, n = (rail.movedim(axis, -1).flatten(0, -2).amax(0) for rail in rails)
                    kept = (p, n)
                for name in names:
                    self.found[reader, name].append(kept)

    def passed(self, op: str, func: Any, args: Any, kwargs: Any, results: Sequence[Tensor]) -> None:
        """An op without weights made tensors of others."""
        given = list(tensors_in((args, kwargs)))
        keys: defaultdict[tuple[int, ...], set[str]] = defaultdict(set)
        names = frozenset().union(*(own for one in given for own, _ in self.known.get(id(one), ())))
        held_in = [self._places(one) for one in given]
        for name in names:
            keys[tuple(places.get(name, -1) for places in held_in)].add(name)
        made: list[list[Group]] = [[] for _ in results]
        for places, own in keys.items():
            held = {id(one): self.known[id(one)][place][1] for one, place in zip(given, places, strict=True) if place >= 0}
            try:
                with WithoutModes(), torch.no_grad():
                    told = None if None in held.values() else _made(op, func, args, kwargs, held, len(names) > 1)  # type: ignore[arg-type]
            except Exception:  # An op that cannot be run on these: where the layers stand is not known.
                told = None
            for number, result in enumerate(results):
                rails = told[number] if told is not None and number < len(told) and told[number][0].shape == result.shape else None
                _add(made[number], frozenset(own), rails)
        for result, groups in zip(results, made, strict=True):
            self.known[id(result)] = groups

    def _places(self, tensor: Tensor) -> dict[str, int]:
        """The group of a tensor in which each layer stands."""
        return {name: k for k, (names, _) in reversed([*enumerate(self.known.get(id(tensor), ()))]) for name in names}

    def signs(self, widths: Mapping[str, int]) -> dict[tuple[str, str], np.ndarray]:
        """By reader and layer the sign with which each column holds that layer: 0 where it does not, not a number where it can be both.

        ``widths`` says how many columns each reader reads; what is not known is left out. Layers that stand alike share one array.
        """
        found: dict[tuple[str, str], np.ndarray] = {}
        alike: dict[tuple[int, ...], np.ndarray] = {}
        for (reader, name), told in self.found.items():
            whole = [one for one in told if one is not None and len(one[0]) == widths.get(reader)]
            if not whole or len(whole) < len(told):
                continue
            same = tuple(id(one) for one in whole)
            if same not in alike:
                p, n = (torch.stack([one[k] for one in whole]).amax(0).numpy() > 0 for k in (0, 1))
                alike[same] = np.where(p & n, np.nan, p.astype(np.float32) - n.astype(np.float32)).astype(np.float32)
            found[reader, name] = alike[same]
        return found


def _add(groups: list[Group], names: frozenset[str], rails: Rails | None) -> None:
    """Layers in the same places are one group."""
    for number, (others, own) in enumerate(groups):
        if (own is None and rails is None) or (
            own is not None and rails is not None and torch.equal(own[0], rails[0]) and torch.equal(own[1], rails[1])
        ):
            groups[number] = (others | names, own)
            return
    groups.append((names, rails))


def _made(op: str, func: Any, args: Any, kwargs: Any, held: dict[int, Rails], shared: bool) -> list[Rails] | None:
    """The places of some layers in what an op made; None where they cannot be told."""
    first = args[0] if args else None
    own = held.get(id(first))
    if op in _UNTOLD:
        return None
    if op in _TURNED:
        return [(own[1], own[0])] if own is not None else None
    if op in _EVEN:
        return [_even(own, shared)] if own is not None else None
    if op in _KEPT:
        return [own] if own is not None else None
    if op in _SUMS and len(args) > 1:
        return _summed(op, args, kwargs, held)
    if OPS[op].kind == "factor" if op in OPS else False:
        return _scaled(op, args, held, shared)
    return _run(op, func, args, kwargs, held) if op in _MOVED else None


def _even(own: Rails, shared: bool) -> Rails:
    """What an even function says of one layer alone is its size; of a difference, or of several, it may go either way."""
    if not shared and not own[1].any():
        return own
    both = torch.maximum(*own)
    return both, both


def _rails(value: Any, held: dict[int, Rails]) -> Rails:
    found = held.get(id(value))
    size = value.shape if isinstance(value, Tensor) else ()
    return found if found is not None else (torch.zeros(size), torch.zeros(size))


def _summed(op: str, args: Any, kwargs: Any, held: dict[int, Rails]) -> list[Rails]:
    one, other = _rails(args[0], held), _rails(args[1], held)
    alpha = kwargs.get("alpha", 1)
    if (op in ("sub", "subtract")) != (alpha < 0):
        other = other[::-1]
    if op == "rsub":
        one = one[::-1]
    return [(torch.maximum(one[0], other[0]), torch.maximum(one[1], other[1]))]


def _scaled(op: str, args: Any, held: dict[int, Rails], shared: bool) -> list[Rails] | None:
    """Each factor with the sign of the other."""
    if op == "rdiv" or len(args) < 2:
        return None
    if args[0] is args[1]:
        return [_even(held[id(args[0])], shared)]
    found: Rails | None = None
    for number, (value, by) in enumerate(((args[0], args[1]), (args[1], args[0]))):
        own = held.get(id(value))
        if own is None:
            continue
        factor = torch.as_tensor(by).detach().cpu()
        wide = np.broadcast_shapes(own[0].shape, factor.shape)  # torch's own loads all of sympy, once a process
        p, n = own[0].expand(wide), own[1].expand(wide)
        if number and op not in ("mul", "multiply"):
            p = n = torch.maximum(p, n)
        elif (factor < 0).any():
            # A factor that itself is made of answers may have another sign elsewhere.
            steady = not isinstance(by, Tensor) or (id(by) not in held and not shared)
            p, n = (torch.where(factor < 0, n, p), torch.where(factor < 0, p, n)) if steady else (torch.maximum(p, n),) * 2
        found = (p, n) if found is None else (torch.maximum(found[0], p), torch.maximum(found[1], n))
    return [found] if found is not None else None


def _run(op: str, func: Any, args: Any, kwargs: Any, held: dict[int, Rails]) -> list[Rails] | None:
    """What an op that only moves or averages numbers does with the places themselves."""
    turn = -1 if op in ("min", "amin") else 1
    sides: list[list[Tensor]] = []
    for side in (0, 1):
        def swapped(value: Tensor, side: int = side) -> Tensor:
            if not value.is_floating_point():
                return value
            rail = held[id(value)][side] if id(value) in held else torch.zeros(value.shape)
            return rail.clone() * turn
        own_args, own_kwargs = _mapped(args, swapped), _mapped(kwargs, swapped)
        result = func(*own_args, **own_kwargs)
        sides.append([(one != 0).float() if one.is_floating_point() else torch.zeros(one.shape)
                      for one in tensors_in(own_args[0] if op == "setitem" else result)])
    return list(zip(*sides, strict=True))


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(one, change) for key, one in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_mapped(one, change) for one in value)
    return value
