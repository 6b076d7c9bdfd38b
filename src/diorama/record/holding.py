"""Facts that findings need beside what is measured: what the optimizer holds, and what the probe set is like."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from ..core.errors import DioramaError
from ..data.examples import Examples
from ..model.axes import first_tensor
from ..model.outputs import CLASSES, Reading
from ..training.subject import Subject

_MOST = 512


def held(subject: Subject) -> dict[str, Any] | None:
    """Which parameters learn from nothing: those that no optimizer holds, and those that want no gradient; None where no
    optimizer was told."""
    groups = [group for optimizer in subject.optimizers for group in getattr(optimizer, "param_groups", ())]
    if not groups:
        return None
    mine = {id(p) for group in groups for p in group["params"]}
    outside = [name for name, p in subject.parameters.items() if p.requires_grad and id(p) not in mine]
    still = [name for name, p in subject.parameters.items() if not p.requires_grad]
    return {"outside": outside, "still": still, "count": len(subject.parameters) - len(outside) - len(still)}


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
        elif known is not None and reading.criterion is None and bool((known >= 0).any()):
            # Of tokens and pixels only what one answer for all of them would have: there are many in an example.
            share = torch.bincount(known[known >= 0].cpu().long()).double()
            share /= share.sum()
            found["floor"] = float(-(share * share.clamp_min(1e-12).log()).sum())
        elif reading.task == "regression" and y.is_floating_point() and len(y) > 1:
            found["spread"] = float(y.double().reshape(len(y), -1).std(0, correction=0).mean())
            if reading.criterion is None:
                found["floor"] = float(y.double().reshape(len(y), -1).var(0, correction=0).mean())
    return {name: value for name, value in found.items() if _plain(value)}


def _plain(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(each == each and abs(each) < float("inf") for each in values)


def loss_scale(subject: Subject) -> float | None:
    """The factor of the first gradient scaler among what belongs to the training; None without one."""
    for thing in subject.state:
        if hasattr(thing, "get_scale") and hasattr(thing, "unscale_"):
            return float(thing.get_scale())
    return None
