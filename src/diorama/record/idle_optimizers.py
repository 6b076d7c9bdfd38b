"""Optimizers that a run was told of, and that step no more while their weights go on moving: the loop has made others, and did not tell."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..core.errors import NotApplicable
from ..model.plain_module import local
from ..training.optimizers import hooked
from ..training.subject import Subject

_WEIGHTS = 8
"""Weights of an optimizer that are looked at …"""
_NUMBERS = 64
"""… and numbers of each."""
_MOVES = 4
"""Looks between which the weights must have moved by themselves: fewer may be an average that was put in and taken out, or a limit."""
_PATIENCE = 2
"""So many times the longest rest between two of its steps is waited: some step at every hundredth step of the record."""
_SHARE = 0.02
"""Of the time that looks at weights may take."""
GATHERED = "the gradients gathered since the optimizer's last step are of the weights before it; unless they are cleared they go into its next step"
"""What is said of an act on weights where gradients wait."""


Taken = tuple[Tensor | None, Tensor | None, int, int, int, int]
"""What :func:`marked` tells: two weights, and of the gradient of each which it is and how often it was added to."""


@dataclasses.dataclass(eq=False)
class _WatchedOptimizer:
    """What is known of one optimizer."""

    optimizer: Optimizer
    looked: list[Tensor]
    """Weights that it alone holds."""
    count: int
    """Its steps when they last were more than before …"""
    since: int
    """… and the step of the record at which that was seen."""
    rest: int = 0
    """The longest between two such looks."""
    at: int = 0
    """The step of the last look, whatever it saw …"""
    steady: bool = True
    """… whether it stepped once in every step of the record up to there …"""
    even: bool = True
    """… and whether it did up to the look before the one that saw its last step."""
    last: int = 0
    """The step of the record in which it stepped last; at the latest, where it did not step in each."""
    few: Tensor | None = None
    moves: int = 0


class IdleOptimizers:
    """Tells which of a training's optimizers have stopped stepping, while the weights that they hold go on moving.

    *Meaning* an optimizer that waits (gradients are added up, a scaler leaves steps out, it steps at every hundredth step) leaves its weights
    as they are; where those move and it has not stepped, another does. Weights that two of them hold tell nothing of either, nor does an
    optimizer that nobody can follow.
    *Cost* nothing while it steps: a look compares two counts. While it does not, 512 numbers a look, within 2 % of the time.
    """

    def __init__(self, subject: Subject, counts: Mapping[int, int], taken: dict[int, Taken], tell: Callable[[str, str, str], None]) -> None:
        self._subject, self._counts, self._taken, self._tell = subject, counts, taken, tell
        self._watched: list[_WatchedOptimizer] = []
        self.idle: list[_WatchedOptimizer] = []
        """Those that step no more."""
        self._next = 0.0

    def begin(self, number: int) -> None:
        """Know the optimizers of now, after so many steps."""
        held = [[p for group in each.param_groups for p in group["params"]] for each in self._subject.optimizers]
        often: dict[int, int] = {}
        for parameters in held:
            for place in {id(p) for p in parameters}:
                often[place] = often.get(place, 0) + 1
        before = {id(each.optimizer): each for each in self._watched}
        self._watched = []
        for told, parameters in zip(self._subject.optimizers, held, strict=True):
            optimizer = hooked(told)
            alone = [p for p in parameters if often[id(p)] == 1 and p.requires_grad and p.numel() and not p.is_meta]
            if optimizer is None or not alone or self._subject.spread:
                continue
            known = before.get(id(optimizer)) or _WatchedOptimizer(optimizer, [], self._counts.get(id(optimizer), 0), number, at=number, last=number)
            known.looked, known.few = alone[:: max(1, len(alone) // _WEIGHTS)][:_WEIGHTS], None
            self._watched.append(known)
        self.idle = [each for each in self.idle if each in self._watched]

    def look(self, number: int) -> None:
        """At the end of some steps: has each stepped, or its weights moved without it?"""
        for each in self._watched:
            count = self._counts.get(id(each.optimizer), 0)
            if count != each.count:
                each.rest = max(each.rest, number - each.since)
                new, looks = count - each.count, number - each.at
                each.last = each.at + new if each.steady and new < looks else number  # looks lie many steps apart
                each.steady, each.even = each.steady and new == looks, each.steady
                each.count, each.since, each.few, each.moves = count, number, None, 0
                if each in self.idle:
                    self.idle.remove(each)
            elif (began := time.monotonic()) >= self._next and number > each.since:
                few = _few(each.looked)
                each.moves += each.few is not None and not torch.equal(few, each.few)
                each.few = few
                self._next = time.monotonic() + (time.monotonic() - began) / _SHARE
                if each.moves >= _MOVES and each not in self.idle and number - each.since > _PATIENCE * each.rest:
                    self.idle.append(each)
                    self._tell("warning", "optimizer", _said(each))
            each.at = number

    def forget(self) -> None:
        """Somebody else is about to change weights, or has: what they were tells nothing."""
        for each in self._watched:
            each.few = None

    def waiting(self, number: int) -> bool:
        """Whether gradients are kept for a step to come: some came since an optimizer's last one."""
        return any(
            not _same(self._taken.get(id(each.optimizer))) and any(_holds(p.grad) for p in each.looked) for each in self._watched
        )

    def spared(self) -> None:
        """What an act made of the gradients is no newer than those that the optimizers took."""
        for each in self._watched:
            self._taken[id(each.optimizer)] = marked(each.optimizer)

    def told(self) -> list[dict[str, Any]]:
        """Those that step no more as plain data."""
        return [{"optimizer": type(each.optimizer).__name__, "since": each.last, "latest": not each.even} for each in self.idle]

    def check(self, optimizers: Sequence[Any] | None = None) -> None:
        """*Raises* NotApplicable where one of these (of all, when left out) steps no more: nothing would come of what is asked of it."""
        for each in self.idle:
            if optimizers is None or any(hooked(told) is each.optimizer for told in optimizers):
                raise NotApplicable(f"{_said(each)}; pass the one that steps to recorder.changed(optimizer=…)")


def _said(idle: _WatchedOptimizer) -> str:
    latest = "" if idle.even else " at the latest"
    return (f"{type(idle.optimizer).__name__}, which this run was told of, has not stepped since step {idle.last}{latest}, while the weights that it "
            "holds moved: something else moves them, another optimizer or the loop by hand, which is not known here")


def marked(optimizer: Optimizer) -> Taken:
    """Which gradients the first and the last weight of an optimizer have, as often as they were added to."""
    groups = optimizer.param_groups
    first, last = groups[0]["params"], groups[-1]["params"]
    return marks_of(first[0] if first else None, last[-1] if last else None)


def marks_of(first: Tensor | None, last: Tensor | None) -> Taken:
    """The same of two weights that are known."""
    one, other = None if first is None else first.grad, None if last is None else last.grad
    return first, last, id(one), 0 if one is None else one._version, id(other), 0 if other is None else other._version


def _same(taken: Taken | None) -> bool:
    """Whether the gradients are those that an optimizer's last step took."""
    return taken is not None and marks_of(*taken[:2])[2:] == taken[2:]


def _holds(grad: Tensor | None) -> bool:
    return grad is not None and (grad.layout != torch.strided or bool(grad.any()))


def _few(weights: Sequence[Tensor]) -> Tensor:
    """Some numbers of weights, on the processor; what is no number is 0, as it equals nothing."""
    found = []
    for weight in weights:
        flat = local(weight.detach()).reshape(-1)
        some = flat[:: max(1, len(flat) // _NUMBERS)][:_NUMBERS]
        found.append((torch.view_as_real(some).reshape(-1) if some.is_complex() else some).to(torch.float64, copy=True))
    return torch.cat([each.cpu() for each in found]).nan_to_num()
