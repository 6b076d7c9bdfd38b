"""The rule for an OpMode that turns a model's backward pass into relevance propagation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ...model.layout import ChannelsLastRule
from ...model.ops import CONVOLUTIONS, GATES, MOVED, NORMALIZED, PASSED, PRODUCTS, SHARED, SOFTMAX
from . import affine, normalization
from .affine import AffineCall
from .composites import Composite
from .compound_ops import COMPOSED, in_parts
from .flow import (
    BiasFlow,
    MissingRule,
    MultilinearFlow,
    PassedFlow,
    ProductFlow,
    SoftmaxFlow,
    SumFlow,
    WeightedFlow,
    applied,
    dependents,
    put,
)
from .op_rules import OpRule
from .rules import READ_RESULT, RULES, Rule, RuleSettings


class Propagation(OpRule):
    """Answers every op that leads from the input to the target with one whose backward pass carries relevance.

    *Meaning* a weighted layer follows its rule. A sum shares out in proportion. A product gives half to each factor,
    all to the other where one is a gate (a sigmoid, or with ``hold`` a softmax); a constant factor takes nothing, a
    constant summand what a bias takes. Elementwise functions pass it on unchanged; pooling and rearranging follow the numbers. Normalizations are
    linear with their deviation held, or without ``hold`` pass it on. A batch norm is folded into the weighted layer
    before it. Attention and recurrent kernels are opened. Any other op is refused by name where relevance reaches it.
    """

    forgetful = PASSED

    def __init__(
        self,
        composite: Composite,
        settings: RuleSettings,
        *,
        hold: bool = True,
        fold: bool = True,
        layout: ChannelsLastRule | None = None,
    ) -> None:
        self._composite, self._settings, self._hold, self._fold = composite, settings, hold, fold
        self._layout = layout
        self._gates: Any = WeakIdKeyDictionary()
        self._deep: Any = WeakIdKeyDictionary()
        self._layers: Any = WeakIdKeyDictionary()

    def __call__(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        deep = any(part in self._deep for part in dependents([args, kwargs]))
        result = super().__call__(name, func, args, kwargs)
        if deep and result is not NotImplemented:
            for part in dependents([result, args[:1] if name in ("setitem", "copy_") else None]):
                self._deep[part] = True
        return result

    def copied(self, source: Tensor, into: Tensor) -> None:
        """What is known of one tensor holds for another, which has the same value."""
        self._layers.pop(into, None)
        for marks in (self._gates, self._deep):
            marks.pop(into, None)
            if source in marks:
                marks[into] = True

    # Which op it is.

    def answer(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        parts = dependents(args) + dependents(list(kwargs.values()))

        def run(*_: Any) -> Any:
            return func(*args, **kwargs)

        if not parts:
            return run()
        if name in MOVED:
            result = run()
            if any(part in self._gates for part in parts):
                for part in dependents([result]):
                    self._gates[part] = True
            return result
        if name in PASSED:
            return self._gate(name in GATES, applied(PassedFlow, parts[0], run))
        if name in SHARED:
            return self._shared(func, args, kwargs, parts)
        if name == "linear" or name in CONVOLUTIONS:
            return self._weighted(name, run, args, kwargs, parts)
        if name in ("add", "sub", "subtract", "rsub"):
            if len(parts) == 2 and kwargs.get("alpha", 1) != 1:
                return self._shared(func, args, kwargs, parts)
            return self._sum(name, run, args, kwargs, parts)
        if name in ("mul", "multiply", "div", "divide", "true_divide", "rdiv"):
            return self._product(name, run, parts)
        if name in PRODUCTS or name == "addmm":
            return self._matrix(name, func, args, kwargs, parts)
        return self._rarer(name, func, args, kwargs, parts)

    def _rarer(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], parts: list[Tensor]
    ) -> Any:
        def run(*_: Any) -> Any:
            return func(*args, **kwargs)

        if name in ("batch_norm", "native_batch_norm"):
            return self._batch_norm(run, args, kwargs, parts)
        if name in NORMALIZED:
            if not self._hold:
                return applied(PassedFlow, parts[0], run)
            return applied(MultilinearFlow, normalization.held(name, func, args, kwargs), 1, self._settings.epsilon, parts[0])
        if name in SOFTMAX:
            return self._softmax(run, args, kwargs, parts)
        if name in COMPOSED:
            return in_parts(self, name, args, kwargs)
        result = run()
        return applied(MissingRule, name, run, *parts) if dependents([result]) else result

    # What ops do.

    def _gate(self, gate: bool, result: Tensor) -> Tensor:
        if gate:
            self._gates[result] = True
        return result

    def _weighted(
        self, name: str, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], parts: list[Tensor]
    ) -> Any:
        if name == "linear":
            call = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
            x, layer = call["input"], affine.dense(call["weight"], call.get("bias"))
        else:
            given = args[0] if args else kwargs["input"]
            rest = {key: value for key, value in kwargs.items() if key != "input"}
            x, layer = affine.convolution(name, given, (given, *args[1:]), rest)
        if len(parts) > 1 or not x.requires_grad:
            return applied(MissingRule, f"{name} with weights that depend on the input", run, *parts)
        arranged = self._layout.arranged(x, layer.raw) if self._layout is not None and name == "conv2d" else None
        if arranged is not None:
            x, layer = arranged[0], dataclasses.replace(layer, raw=arranged[1])
            return self._follow(x, layer, lambda *_: layer.forward(x, layer.raw, layer.bias))
        return self._follow(x, layer, run)

    def _follow(self, x: Tensor, layer: AffineCall, run: Callable[..., Any]) -> Tensor:
        """Let a weighted layer follow its rule."""
        first = x not in self._deep

        def choose(z: Tensor) -> tuple[Rule, bool]:
            # A convolution that answers with a single place is a dense layer in other words.
            single = layer.kind == "convolution" and z.shape[layer.bias_axis + 1 :].numel() == 1
            name = self._composite.rule("dense" if single else layer.kind, first)
            return RULES[name], name in READ_RESULT

        result: Tensor = applied(WeightedFlow, x, run, layer, choose, self._settings)
        self._deep[result] = True
        self._layers[result] = (x, layer, result._version)
        return result

    def _batch_norm(
        self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], parts: list[Tensor]
    ) -> Any:
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        call = dict(zip(names, args, strict=False)) | kwargs
        x, mean, var = parts[0], call.get("running_mean"), call.get("running_var")
        if call.get("training") or mean is None or var is None:
            return applied(PassedFlow, x, run)
        scale = (var + call.get("eps", 1e-5)).rsqrt()
        scale = scale if call.get("weight") is None else scale * call["weight"]
        shift = -mean * scale if call.get("bias") is None else call["bias"] - mean * scale
        if not self._fold:
            shape = [1, -1] + [1] * (x.ndim - 2)
            return applied(
                MultilinearFlow, lambda at: at * scale.reshape(shape) + shift.reshape(shape), 1, self._settings.epsilon, x
            )
        before = self._layers.get(x)
        if before is not None and before[2] == x._version and (x.ndim + before[1].bias_axis) % x.ndim == 1:
            folded = before[1].scaled(scale, shift)
            if folded is not None:
                return self._follow(before[0], folded, run)
        return applied(PassedFlow, x, run)

    def _sum(
        self, name: str, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], parts: list[Tensor]
    ) -> Any:
        if len(parts) < 2:
            # A constant summand is a bias, wherever it is added.
            alpha, first = kwargs.get("alpha", 1), bool(args) and args[0] is parts[0]
            times = -alpha if name == "rsub" and first else 1 if first or name == "rsub" else alpha if name == "add" else -alpha
            absorbs = self._settings.bias
            result = applied(BiasFlow, parts[0], run, times, self._settings.epsilon) if absorbs else applied(PassedFlow, parts[0], run)
            return self._gate(parts[0] in self._gates, result)
        a, b = parts
        if name == "rsub":
            a, b = b, a
        return applied(SumFlow, a, b, run, 1 if name == "add" else -1, self._settings.epsilon)

    def _product(self, name: str, run: Callable[..., Any], parts: list[Tensor]) -> Any:
        gates = [part in self._gates for part in parts]
        if len(parts) == 1:
            return self._gate(gates[0] or name == "rdiv", applied(PassedFlow, parts[0], run))
        if name in ("div", "divide", "true_divide"):
            return applied(PassedFlow, parts[0], run)
        if gates[0] != gates[1]:
            return applied(PassedFlow, parts[1] if gates[0] else parts[0], run)
        return self._gate(all(gates), applied(ProductFlow, *parts, run))

    def _shared(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], parts: list[Tensor]
    ) -> Any:
        def run(*at: Tensor) -> Any:
            new = {id(part): fresh for part, fresh in zip(parts, at, strict=True)}
            return func(*put(args, new), **put(kwargs, new))

        return applied(MultilinearFlow, run, 1, self._settings.epsilon, *parts)

    def _matrix(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], parts: list[Tensor]
    ) -> Any:
        if name == "addmm":
            bias, x, weight = args[:3]
            if bias.requires_grad or weight.requires_grad or bias.ndim != 1 or kwargs:
                return applied(MissingRule, name, lambda *_: func(*args, **kwargs), *parts)
            return self._follow(x, affine.dense(weight.T, bias), lambda *_: func(*args))
        distinct = {id(part): part for part in parts}
        gated = [part for part in parts if part in self._gates]
        takers = [part for part in distinct.values() if part not in self._gates] or list(distinct.values())
        if len(parts) == 1 and name in ("matmul", "mm") and not gated:
            flipped = args[1].requires_grad
            weight = args[0] if flipped else args[1]
            if weight.ndim == 2:
                return self._follow(parts[0], affine.product(weight, flipped), lambda *_: func(*args, **kwargs))

        def run(*at: Tensor) -> Any:
            new = {id(part): fresh for part, fresh in zip(takers, at, strict=True)}
            return func(*put(args, new), **put(kwargs, new))

        ways = len(takers) if len(distinct) > 1 and len(takers) > 1 else len(parts) if len(distinct) == 1 else 1
        return applied(MultilinearFlow, run, ways, self._settings.epsilon, *takers)

    def _softmax(
        self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], parts: list[Tensor]
    ) -> Any:
        axis = kwargs.get("dim", args[1] if len(args) > 1 else -1)
        if self._hold:
            return self._gate(True, applied(PassedFlow, parts[0], run))
        return applied(SoftmaxFlow, parts[0], run, -1 if axis is None else axis)
