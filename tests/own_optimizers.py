"""Optimizers as people write them for themselves: around others, with copies of the weights, and with memory in other places than ``state``."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


class Own(torch.optim.Optimizer):
    """What these share: a learning rate, and a step without gradients that changes each weight alone."""

    def __init__(self, params: Any, lr: float = 0.05) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": 0.0})
        self.begin()

    def begin(self) -> None:
        """Make what is remembered from the beginning on."""

    def each(self) -> Iterator[tuple[dict[str, Any], Any]]:
        """Each weight, with its group."""
        yield from ((group, p) for group in self.param_groups for p in group["params"])

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step."""
        for group, p in self.each():
            if p.grad is not None:
                self.move(group, p)

    def move(self, group: dict[str, Any], p: Any) -> None:
        """Change a weight."""
        p.sub_(p.grad, alpha=group["lr"])


class Sharp(torch.optim.Optimizer):
    """Sharpness-aware: up the slope by ``first_step``, from where ``second_step`` goes down; the weight it came from becomes the weight again."""

    copies = False

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"rho": 0.05, "lr": 0.05})
        self.base_optimizer = torch.optim.SGD(self.param_groups, lr=0.05, momentum=0.9)
        self.param_groups = self.base_optimizer.param_groups
        self.defaults.update(self.base_optimizer.defaults)

    @torch.no_grad()
    def first_step(self) -> None:
        """Up the slope."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.state[p]["old_p"] = p.data.clone()
                    p.add_(p.grad, alpha=group["rho"])
        self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        """Down from there."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and self.copies:
                    p.copy_(self.state[p]["old_p"])
                elif p.grad is not None:
                    p.data = self.state[p]["old_p"]
        self.base_optimizer.step()
        self.zero_grad()


class SharpByCopies(Sharp):
    """The same that copies the numbers back."""

    copies = True


class Lookahead(torch.optim.Optimizer):
    """Every third step the weights go half of the way from slow ones, which lie in its own state."""

    def __init__(self, params: Any) -> None:
        self.base = torch.optim.Adam(params, 0.01)
        super().__init__(self.base.param_groups, {"lr": 0.01})
        self.param_groups = self.base.param_groups
        self.count = 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step."""
        self.base.step()
        self.count += 1
        for group in self.param_groups:
            for p in group["params"]:
                slow = self.state[p].setdefault("slow", p.detach().clone())
                if self.count % 3 == 0:
                    p.copy_(slow.lerp_(p, 0.5))


class SlowList(Own):
    """The same with the slow weights in a list beside the groups."""

    def begin(self) -> None:
        """The slow weights."""
        self.slow = [p.detach().clone() for _, p in self.each()]
        self.count = 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step."""
        super().step()
        self.count += 1
        with torch.no_grad():
            for slow, (_, p) in zip(self.slow, self.each(), strict=True):
                if self.count % 3 == 0:
                    p.copy_(slow.lerp_(p, 0.5))


class ByWeight(Own):
    """Momentum in a dictionary of its own."""

    def begin(self) -> None:
        """The momentum."""
        self.sums: dict[Any, Tensor] = {p: torch.zeros_like(p) for _, p in self.each()}

    def move(self, group: dict[str, Any], p: Any) -> None:
        p.sub_(self.sums[p].mul_(0.9).add_(p.grad), alpha=group["lr"])


class Flat(Own):
    """Momentum of all weights in one row."""

    def begin(self) -> None:
        """The momentum."""
        self.sums = torch.zeros(sum(p.numel() for _, p in self.each()))

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step."""
        self.sums.mul_(0.9).add_(torch.cat([p.grad.reshape(-1) for _, p in self.each()]))
        for (group, p), own in zip(self.each(), self.sums.split([p.numel() for _, p in self.each()]), strict=True):
            p.sub_(own.reshape(p.shape), alpha=group["lr"])


class InGroups(Own):
    """Momentum in a list in each group."""

    def begin(self) -> None:
        """The momentum."""
        for group in self.param_groups:
            group["sums"] = [torch.zeros_like(p) for p in group["params"]]

    def move(self, group: dict[str, Any], p: Any) -> None:
        own = next(k for k, each in enumerate(group["params"]) if each is p)
        p.sub_(group["sums"][own].mul_(0.9).add_(p.grad), alpha=group["lr"])


class ScheduleFree(Own):
    """Gradients move ``z``; the weights are between it and its average ``x``."""

    def move(self, group: dict[str, Any], p: Any) -> None:
        state = self.state[p]
        z, x = state.setdefault("z", p.detach().clone()), state.setdefault("x", p.detach().clone())
        state["k"] = state.get("k", 0) + 1
        z.sub_(p.grad, alpha=group["lr"])
        x.lerp_(z, 1 / (state["k"] + 1))
        p.copy_(torch.lerp(z, x, 0.9))


class Master(Own):
    """The numbers themselves are kept in twice the precision, and the weights are made from them."""

    def move(self, group: dict[str, Any], p: Any) -> None:
        p.copy_(self.state[p].setdefault("master", p.detach().double()).sub_(p.grad, alpha=group["lr"]))


class Bytes(Own):
    """Momentum in whole numbers with one scale a weight, 128 for none."""

    def move(self, group: dict[str, Any], p: Any) -> None:
        state = self.state[p]
        if not state:
            state |= {"code": torch.full_like(p, 128, dtype=torch.uint8), "scale": torch.ones(())}
        sums = (state["code"].float() - 128) / 127 * state["scale"] * 0.9 + p.grad
        state["scale"] = sums.abs().max().clamp_min(1e-12)
        state["code"] = (sums / state["scale"] * 127 + 128).round().to(torch.uint8)
        p.sub_(sums, alpha=group["lr"])


class Statistics(Own):
    """A matrix for the rows and one for the columns of each weight."""

    def move(self, group: dict[str, Any], p: Any) -> None:
        grad = p.grad.reshape(len(p), -1)
        state = self.state[p]
        state["rows"] = state.get("rows", 0) + grad @ grad.T
        p.sub_((torch.linalg.pinv(state["rows"] + 0.1 * torch.eye(len(p))) @ grad).reshape(p.shape), alpha=0.1 * group["lr"])


class Beforehand(Own):
    """Momentum that is made when the optimizer is."""

    def begin(self) -> None:
        """The momentum."""
        for _, p in self.each():
            self.state[p]["exp_avg"] = torch.zeros_like(p)

    def move(self, group: dict[str, Any], p: Any) -> None:
        p.sub_(self.state[p]["exp_avg"].mul_(0.9).add_(p.grad), alpha=group["lr"])


class Averaging(Own):
    """Keeps an average of the weights beside them."""

    def move(self, group: dict[str, Any], p: Any) -> None:
        p.sub_(p.grad, alpha=group["lr"])
        self.state[p].setdefault("average", p.detach().clone()).lerp_(p, 0.1)


def memory(thing: Any, seen: set[int] | None = None) -> dict[str, Tensor]:
    """Every tensor that an optimizer holds, wherever, by the way to it; weights by their numbers."""
    seen, found = set() if seen is None else seen, {}
    if id(thing) in seen:
        return {}
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        return {"": copy.deepcopy(thing.detach())}
    parts: dict[Any, Any] = {}
    if isinstance(thing, torch.optim.Optimizer):
        parts = {kind: value for kind, value in vars(thing).items() if kind != "defaults" and "hook" not in kind}
    elif isinstance(thing, dict | defaultdict):
        parts = {name if isinstance(name, str) else id(name): value for name, value in thing.items()}
    elif isinstance(thing, list | tuple):
        parts = dict(enumerate(thing))
    elif isinstance(thing, int | float):
        return {"": torch.tensor(float(thing))}
    for name, value in parts.items():
        found |= {f"{name}/{inner}": tensor for inner, tensor in memory(value, seen).items()}
    return found
