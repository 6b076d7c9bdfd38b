"""Facts that findings need beside what is measured: what the optimizer holds, and what the probe set is like."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..core.errors import DioramaError, NotApplicable
from ..data import nesting
from ..data.examples import Examples
from ..model.axes import first_tensor
from ..model.batch_size import called
from ..model.outputs import CLASSES, Reading
from ..model.plain_module import fed
from ..model.preservation import Preservation
from ..training.optimizers import check_apart, elsewhere, far, remembered, unlike
from ..training.subject import Subject
from .picture_order import PictureOrder
from .probe_overlap import COMPARED, again

_HELD = 0.002
"""The part of the time in which it is looked up what the optimizers hold."""
_MOST = 512
_TOLD = 1000
"""Weights of which it is told at most that what is remembered of them has another shape."""


class OptimizerFacts:
    """What the optimizers of a training hold and remember, as facts of its run.

    *Cost* some ten microseconds a weight; of tens of thousands of weights half a second, so it is looked up in :data:`_HELD` of the time.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject, self._facts, self._next = subject, dict[str, Any](), 0.0

    def facts(self, anew: bool = True) -> dict[str, Any]:
        """What they hold: as it is now, or as it was lately."""
        if anew or time.monotonic() >= self._next:
            began = time.monotonic()
            self._facts = {"held": held(self._subject), "memory": memory_told(self._subject)}
            self._next = (ended := time.monotonic()) + (ended - began) / _HELD
        return self._facts


def held(subject: Subject) -> dict[str, Any] | None:
    """Which parameters learn from nothing: those that no optimizer holds, and those that want no gradient; None where no
    optimizer was told."""
    owned = [(type(optimizer).__name__, group) for optimizer in subject.optimizers for group in getattr(optimizer, "param_groups", ())]
    groups = [group for _, group in owned]
    if not groups:
        return None
    mine = {id(p) for group in groups for p in group["params"]}
    outside = [name for name, p in subject.parameters.items() if p.requires_grad and id(p) not in mine]
    still = [name for name, p in subject.parameters.items() if not p.requires_grad]
    kinds = [type(optimizer).__name__ for optimizer in subject.optimizers]
    # In the order of their series: learning_rate, learning_rate/1 and so on.
    places = [{id(p) for p in group["params"]} for group in groups]
    apart = {
        "groups": [[name for name, p in subject.parameters.items() if id(p) in own] for own in places],
        "settings": [[kind, _number(group.get("weight_decay")), _momentum(group)] for kind, group in owned],
    } if len(groups) > 1 else {}
    return {
        **apart,
        "outside": outside, "still": still, "count": len(subject.parameters) - len(outside) - len(still), "kinds": kinds,
        "decay": max((_number(group.get("weight_decay")) for group in groups), default=0.0),
        "momentum": max(_momentum(group) for group in groups),
    }


def _momentum(group: Mapping[str, Any]) -> float:
    return _number(group.get("momentum", (group.get("betas") or (0.0,))[0]))


def _number(value: Any) -> float:
    """A setting of an optimizer; 0 for what is none."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return 0.0
    return found if math.isfinite(found) else 0.0


_NUMBERS, _COLUMNS = 4096, 64
"""Of inputs of more numbers every n-th is compared; of so few each counts by its own deviation."""
_EXAMPLES = 20
"""Examples from which on a column may be called a copy of the true value."""


def likeness(examples: Examples | None, reading: Reading | None) -> dict[str, Any]:
    """What the probe set is like: the range of its inputs, the share of each class, the loss of one answer for all."""
    if examples is None:
        return {}
    few = examples.first(_MOST)
    found: dict[str, Any] = {}
    x, y = first_tensor(few.x), few.y
    with contextlib.suppress(RuntimeError, ValueError, DioramaError), torch.no_grad():
        if x is not None and x.is_floating_point() and x.numel():
            part = x.detach().reshape(-1)[: 2**22].float()
            found["inputs"] = [float(part.min()), float(part.max()), float(part.mean()), float(part.std(correction=0))]
            if (order := _order(x)) is not None:
                found["order"] = order
        parts = [one for one in nesting.tensors(few.x) if len(one) == len(few)]
        if len(few) > 1 and parts and all(bool((one == one[:1]).all()) for one in parts):
            found["alike"] = True
        if (twice := again(examples)) is not None:
            found |= {"again": twice, "compared": min(COMPARED, len(examples))}
        if reading is not None and reading.task == "reconstruction" and reading.criterion is None:
            wanted = reading.wanted(few.x, y)
            if wanted is not None and wanted.is_floating_point() and len(wanted) > 1:
                found |= _spread(wanted) | {"floor": float(wanted.double().reshape(len(wanted), -1).var(0, correction=0).mean())}
            return {name: value for name, value in found.items() if _plain(value)}
        if y is None or reading is None:
            return found
        known = reading.truth(y) if reading.task in CLASSES else None
        if known is not None and known.ndim == 1 and not known.is_floating_point():
            counts = torch.bincount(known[known >= 0].cpu().long()).double()
            share = counts / counts.sum()
            found["balance"] = share.tolist()
            found["floor"] = float(-(share * share.clamp_min(1e-12).log()).sum())
            found["count"] = int(counts.sum())
            found["labels"] = known.tolist()
            if x is not None and x.is_floating_point() and len(x) == len(known):
                found["nearest"] = _nearest(x, known)
        elif known is not None and reading.criterion is None and bool((known >= 0).any()):
            # Of tokens and pixels only what one answer for all of them would have: there are many in an example.
            share = torch.bincount(known[known >= 0].cpu().long()).double()
            share /= share.sum()
            found["floor"] = float(-(share * share.clamp_min(1e-12).log()).sum())
        elif reading.task == "regression" and y.is_floating_point() and len(y) > 1:
            found |= _spread(y)
            if x is not None and (column := _copied(x, y)) is not None:
                found["copied"] = column
            if reading.criterion is None:
                found["floor"] = float(y.double().reshape(len(y), -1).var(0, correction=0).mean())
    return {name: value for name, value in found.items() if _plain(value)}


def _spread(y: torch.Tensor) -> dict[str, Any]:
    """How far true values lie apart from example to example, their mean, and between which numbers nine tenths of them lie."""
    values = y.detach().cpu().double()
    ends = values.reshape(-1)[:_MOST]
    return {
        "middle": float(values.mean()),
        "spread": float(values.reshape(len(y), -1).std(0, correction=0).mean()),
        "ends": [float(ends.quantile(0.05)), float(ends.quantile(0.95))],
    }


def _order(x: torch.Tensor) -> list[float] | None:
    """How much neighbouring rows and columns of pictures differ beside any two; None of what is none."""
    told: dict[str, float] = {}
    order = PictureOrder()
    for part in x.split(32):
        told = order.told(part)
    return [told["rows"], told["columns"]] if told else None


def _nearest(x: torch.Tensor, labels: torch.Tensor) -> list[int]:
    """The label of the example whose input lies nearest to each one's, by the sum of squared differences in the columns' own deviations; -100 where
    it has none.

    *Cost* of 512 examples at most one product of their inputs with each other, of 4,096 numbers each.
    """
    rows = x.detach().cpu().reshape(len(x), -1).float()
    rows = rows[:, :: -(-rows.shape[1] // _NUMBERS)]
    rows = rows - rows.mean(0)
    if rows.shape[1] <= _COLUMNS:  # columns of a table have units of their own, pixels have one
        rows = rows / rows.std(0, correction=0).clamp_min(1e-12)
    apart = torch.cdist(rows, rows)
    apart[:, labels.cpu() < 0] = torch.inf
    apart.fill_diagonal_(torch.inf)
    near = apart.min(1)
    return torch.where(near.values.isfinite(), labels.cpu()[near.indices], torch.full_like(near.indices, -100)).tolist()


def _copied(x: torch.Tensor, y: torch.Tensor) -> int | None:
    """The column of a table of two or more that is the true value of a regression but for a shift and a factor."""
    if x.ndim != 2 or x.shape[1] < 2 or y.numel() != len(x) or len(x) < _EXAMPLES or not x.is_floating_point():
        return None
    rows, truth = x.detach().cpu().double(), y.detach().cpu().double().reshape(-1, 1)
    rows, truth = rows - rows.mean(0), truth - truth.mean(0)
    alike = (rows * truth).sum(0).abs() / (rows.norm(dim=0) * truth.norm(dim=0)).clamp_min(1e-300)
    best = int(alike.argmax())
    return best if bool(alike[best] > 1 - 1e-6) else None


def ahead(model: nn.Module, examples: Examples | None, reading: Reading | None) -> bool | None:
    """Of texts whose labels are the next tokens: whether answers depend on the very tokens that they are to tell; None where
    nothing like that is asked.

    *Cost* two forward passes of one example.
    """
    if examples is None or reading is None or reading.task != "next_token" or examples.y is None:
        return None
    x, y = examples.x, examples.y
    if not isinstance(x, torch.Tensor) or x.ndim != 2 or x.shape != y.shape or x.is_floating_point() or len(x) < 2 or x.shape[1] < 4:
        return None
    few = x[:_MOST]
    known, middle = y[:_MOST, :-1] >= 0, x.shape[1] // 2
    if not bool(known.any()) or float((few[:, 1:] == y[:_MOST, :-1])[known].double().mean()) < 0.95:
        return None
    other = x[:1].clone()
    for row in x[1:_MOST]:
        if not torch.equal(row[middle:], x[0, middle:]):
            other[0, middle:] = row[middle:]
            break
    else:
        return None
    try:
        with Preservation(model), torch.no_grad():
            one, two = (reading.scores(called(model, fed(model, each)))[0, :middle].double() for each in (x[:1], other))
    except Exception:  # noqa: BLE001 - a model that does not take one text says nothing
        return None
    return bool((one - two).abs().max() > 1e-3 * one.std())


def _plain(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(each == each and abs(each) < float("inf") for each in values)


def loss_scale(subject: Subject) -> float | None:
    """The factor of the first gradient scaler among what belongs to the training; None without one."""
    for thing in subject.state:
        if hasattr(thing, "get_scale") and hasattr(thing, "unscale_"):
            return float(thing.get_scale())
    return None


def memory_told(subject: Subject) -> list[dict[str, Any]]:
    """What an act has to know of each optimizer's memory, as plain data: whether it remembers all weights as one (``joined``), and of which
    it remembers what is unlike them, by name what that is (``apart``) and how (``how``); what it, or who is around it, keeps of their shape
    ``elsewhere``: who, what, of which weights, and of which of them it is a copy.

    *Cost* for what is kept elsewhere one pass over it.
    """
    found = []
    for optimizer in subject.optimizers:
        apart: dict[str, str] = {}
        how: dict[str, str] = {}
        for name, weight in subject.parameters.items():
            for kind, value in remembered(optimizer, weight).items():
                if len(apart) < _TOLD and name not in apart and (wrong := unlike(value, weight)):
                    apart[name], how[name] = str(kind), wrong
        found.append({
            "optimizer": type(optimizer).__name__, "joined": _joined(optimizer), "apart": apart, "how": how,
            "elsewhere": _elsewhere(optimizer, subject.parameters),
        })
    return found


def _elsewhere(optimizer: Any, weights: Mapping[str, torch.Tensor]) -> list[dict[str, Any]]:
    told: dict[tuple[str, str], dict[str, Any]] = {}
    for name, holder, kind, tensors in elsewhere(optimizer, weights):
        by = "" if holder is optimizer else type(holder).__name__
        mine = told.setdefault((by, str(kind)), {"by": by, "what": str(kind), "of": [], "copies": []})
        if len(mine["of"]) < _TOLD:
            mine["of"].append(name)
            if not all(far(each, weights[name]) for each in tensors):
                mine["copies"].append(name)
    return list(told.values())


def _joined(optimizer: Any) -> bool:
    try:
        check_apart([optimizer], "")
    except NotApplicable:
        return True
    return False
