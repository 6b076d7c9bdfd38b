"""A network that judges what another one makes, as in a GAN: how well it tells them apart, as its passes of one step show."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..model.axes import first_tensor
from .own_hooks import OwnHook

_PASSES = 6
"""Passes of a step that are looked at."""
_MOST = 4096
"""Answers of a pass that are looked at."""
_LOOKED = 2**22
"""Numbers of the inputs of a pass that are looked at for how far apart they lie."""
_WAITED = 24
"""Passes that may come before one of what is made: a critic steps several times for each step of its partner."""
_NEARER = 0.5
"""So much nearer to what is made than the other one a judge's own pass must lie, to be taken for what is made as well."""
_EVEN = 0.05
"""Examples of its own of either kind that a judge has at least, as a share."""


@dataclasses.dataclass
class _JudgedPass:
    """The answers of one pass, one number an example, and the gradient that came to them."""

    answers: Tensor
    made: bool
    """Whether what it judged was made by a network that learns by it."""
    steep: Tensor
    """How fast the answer changes at most from one example to the next: a bound from below of the Lipschitz constant."""
    middle: Tensor
    """The mean of what it judged."""
    gradient: Tensor | None = None


class _Pull(NamedTuple):
    """Which way a loss pulls all answers of a pass (1: up), and the mean of what was judged."""

    up: bool
    middle: Tensor


class JudgeFollower:
    """Follows the passes of a step, each with one number an example for an answer.

    *Meaning* a network judges what another makes where a step has passes of both kinds: inputs that another network made and learns by (the
    gradient goes on to it), and inputs that are data, by which the judge itself learns. How sure it is, is told where its loss is that of
    logits (binary cross-entropy), which the gradient at the answers says; once seen it is taken to stay.
    """

    def __init__(self) -> None:
        self._passes: list[_JudgedPass] = []
        self._logits = False
        self._handle: Any = None
        self._turned: bool | None = None

    def disarm(self) -> None:
        """Wait for no pass any more."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def clear(self) -> None:
        """A step begins."""
        self._passes = []

    def see(self, x: Tensor | None, scores: Tensor) -> None:
        """A pass with gradients, whose answers are these."""
        if x is None or not x.ndim or not scores.requires_grad or scores.is_leaf or len(self._passes) >= _PASSES:
            return
        if scores.numel() != len(scores) or len(scores) != len(x):
            return
        answers = scores.detach().reshape(-1)[:_MOST].clone()
        seen = _JudgedPass(answers, x.requires_grad and not x.is_leaf, _steepest(x.detach()[:_MOST], answers), _middle(x))
        self._passes.append(seen)

        def keep(gradient: Tensor) -> None:
            if seen.gradient is None:
                seen.gradient = gradient.detach().reshape(-1)[:_MOST].clone()

        scores.register_hook(OwnHook(keep))  # type: ignore[no-untyped-call]

    def finish(self, model: nn.Module) -> dict[str, float]:
        """``judge``: 1 where a network judges; ``fooled``: how likely it holds what is made for real, in the mean; ``apart``: the share of its
        own examples that it answers rightly; ``steep``: of a critic, how fast its score changes at most between two examples of a pass;
        ``turned``: 1 where it pulls at what is made the same way as that one's maker does, 0 where against it."""
        passes = [(one, one.gradient) for one in self._passes if one.gradient is not None]
        self._passes = []
        arrays = [(one, _array(gradient)) for one, gradient in passes]
        found = _of_critic(arrays)
        self._look(model, [(one, pull) for one, slopes in arrays if (pull := _pull(one, slopes)) is not None])
        if self._turned is not None:
            found["turned"] = float(self._turned)
        if len({one.made for one, _ in passes}) < 2:
            return found
        numbers = [(one.made, _array(one.answers), _array(gradient)) for one, gradient in passes]
        self._logits |= any(of_one_number(answers, slopes)[0] is not None for _, answers, slopes in numbers)
        if not self._logits:
            return {**found, "judge": 1.0}
        made = np.concatenate([answers for made, answers, _ in numbers if made])
        answers, slopes = (np.concatenate([each[k] for each in numbers if not each[0]]) for k in (1, 2))
        # Of an answer that is sure and right the gradient may be nothing at all.
        labels = np.where(slopes == 0, answers > 0, slopes < 0)
        found |= {"judge": 1.0, "fooled": float(_chances(made).mean())}
        if _EVEN < labels.mean() < 1 - _EVEN:
            found["apart"] = float((labels == (answers > 0)).mean())
        return found

    def _look(self, model: nn.Module, pulls: list[tuple[_JudgedPass, _Pull]]) -> None:
        """Compare which way the judge pulls at what is made with which way its maker does, now or at the next pass of what is made."""
        self.disarm()
        own, made = ([pull for one, pull in pulls if one.made is made] for made in (False, True))
        if len({pull.up for pull in own}) < 2:
            return
        if made:
            self._compare(own, made[0])
            return
        calls = 0

        def seen(module: nn.Module, args: Any, output: Any) -> None:
            nonlocal calls
            calls += 1
            x, scores = first_tensor(args), first_tensor(output)
            if calls > _WAITED:
                self.disarm()
            elif x is not None and scores is not None and x.requires_grad and not x.is_leaf and scores.numel() == len(scores) == len(x):
                one = _JudgedPass(scores.detach().reshape(-1)[:_MOST].clone(), True, scores.detach().new_zeros(()), _middle(x))

                def keep(gradient: Tensor) -> None:
                    self.disarm()
                    if (pull := _pull(one, _array(gradient.detach().reshape(-1)[:_MOST]))) is not None:
                        self._compare(own, pull)

                scores.register_hook(OwnHook(keep))  # type: ignore[no-untyped-call]

        self._handle = model.register_forward_hook(OwnHook(seen))

    def _compare(self, own: list[_Pull], made: _Pull) -> None:
        apart = sorted((float((pull.middle - made.middle).norm()), k) for k, pull in enumerate(own) if pull.middle.shape == made.middle.shape)
        other = [distance for distance, k in apart if own[k].up != own[apart[0][1]].up]
        if other and apart[0][0] < _NEARER * other[0]:
            self._turned = own[apart[0][1]].up == made.up


def _middle(x: Tensor) -> Tensor:
    return x.detach()[:_MOST].reshape(min(len(x), _MOST), -1)[:, :_MOST].double().mean(0)


def _pull(one: _JudgedPass, slopes: NDArray[np.float64]) -> _Pull | None:
    """Which way a loss pulls: of one that takes scores as they are or cuts them off (a hinge), or of logits; None for any other, whose pull
    goes by where the answer lies (squares)."""
    some = slopes[slopes != 0]
    if not len(some) or not np.isfinite(some).all() or (some > 0).any() == (some < 0).any():
        return None
    even = _even(some)
    chance = _chances(_array(one.answers))
    wanted = np.abs(chance - (some[0] < 0))
    scale = np.abs(slopes) / np.maximum(wanted, 1e-12)
    logits = len(slopes) == len(chance) and np.ptp(scale) <= 1e-2 * scale.max()
    return _Pull(bool(some[0] < 0), one.middle) if even or logits else None


def _steepest(x: Tensor, answers: Tensor) -> Tensor:
    """The largest change of an answer from an example to the next, by the distance of the two."""
    if len(x) < 2 or not x.is_floating_point() or not x[0].numel():
        return answers.new_zeros(())
    few = min(len(x), max(2, _LOOKED // x[0].numel()))
    apart = x[:few].reshape(few, -1).diff(dim=0).norm(dim=1).to(answers)
    change = answers[:few].diff().abs()
    return torch.where(apart > 0, change / apart.clamp_min(1e-12), 0).max()


def _of_critic(passes: list[tuple[_JudgedPass, NDArray[np.float64]]]) -> dict[str, float]:
    """Of a loss that takes scores as they are (Wasserstein): one pass is pulled down and another up, each example as much as any other."""
    own = [(one, slopes) for one, slopes in passes if not one.made]  # its partner's pass may have come before the step
    even = [(one, slopes) for one, slopes in own if len(slopes) > 1 and slopes[0] and _even(slopes)]
    if len({bool(slopes[0] > 0) for _, slopes in even}) < 2:
        return {}
    return {"steep": max(float(one.steep) for one, _ in even)}


def of_one_number(
    scores: NDArray[np.float64], slopes: NDArray[np.float64]
) -> tuple[NDArray[np.int64] | None, NDArray[np.float64] | None]:
    """Labels and probabilities of answers of one number, where their gradient is that of a binary cross-entropy of logits."""
    chance = _chances(scores)
    labels = (slopes < 0).astype(np.int64)
    scale = slopes / np.where(chance == labels, np.inf, chance - labels)
    usual = float(np.median(scale))
    clear = np.abs(chance - labels) > 1e-3
    if usual <= 0 or not clear.any() or np.abs(scale[clear] / usual - 1).max() > 1e-2 or np.ptp(scores) < 1e-6:
        return None, None
    if _even(np.abs(slopes[clear])):  # as of a loss that takes scores as they are, where these are large
        return None, None
    return labels, np.stack([1 - chance, chance], 1)


def _chances(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        found: NDArray[np.float64] = 1 / (1 + np.exp(-scores))
    return found


def _even(slopes: NDArray[np.float64]) -> bool:
    return bool(np.ptp(slopes) <= 1e-4 * abs(slopes[0]))


def _array(values: Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values.to(torch.float64).cpu().numpy()
    return found
