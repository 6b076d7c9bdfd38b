"""What a loop does with the network at a batch, a loss with the answers and the data with the labels, as the batch itself tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ..model.plain_module import local
from .own_hooks import GradientHook

_FEW = 64
"""Numbers of a gradient that are kept to be found again."""
_TRIED = 4
"""Parameters that are tried for a gradient that is not nothing, from the last layer on."""
_SUM = 1e-3
"""Probabilities sum to 1 within this, since they may have half the digits."""
_SURE = 0.95
"""Above this chance of the truth too little is left of a gradient to be measured by."""
_LEARNT = 1 - 1e-5
"""Up to this chance of the truth single precision leaves some gradient."""
_SAME = 0.02
"""Weights that lie within this share of each other are one."""
_APART = 0.05
"""Slopes of an example that add up to less than this share of their size are those of a loss over its classes."""
_ROWS = 8
"""Examples from which on their order tells something."""


class Leftovers:
    """Whether gradients of the step before are still there when those of the next one come.

    *Meaning* they add up over all steps: somebody forgot to set them to nothing. Where one pass is made a step, they are looked for as the first
    gradient comes to the answers. Of several passes the first may belong to another network's step (a judge's, by which what it judges
    learns): there all gradients that came are added up, and what the optimizer steps by is either that sum and what was there before, or not.
    Of one pass too they are left over only where the optimizer does not step by what came alone: who writes it into ``grad`` adds nothing up.
    *Cost* a few numbers of one parameter an optimizer are copied at due steps, and added up at each of their gradients.
    """

    def __init__(self) -> None:
        self._followed: dict[int, _GradientTrail | None] = {}

    def arm(self, stepped: Mapping[int, Sequence[Tensor]] | None) -> None:
        """Remember gradients of the step that has just ended, of the parameters by which each optimizer steps; None where nothing can be said."""
        self.take_off()
        self._followed = {}
        for optimizer, parameters in (stepped or {}).items():
            self._followed[optimizer] = None  # they were set to nothing as soon as the step was over
            with_gradient = [parameter for parameter in parameters if parameter.grad is not None and parameter.requires_grad]
            with_gradient.sort(key=lambda each: each.numel() > 1)  # one number alone does not tell a sum from another
            for parameter in with_gradient[::-1][:_TRIED]:
                few = _few(parameter.grad)
                if few is not None and bool(few.any()) and bool(few.isfinite().all()):
                    self._followed[optimizer] = _GradientTrail(parameter, few.clone())
                    break

    def look(self) -> None:
        """The first gradient of the step comes to the answers; no parameter has got its own yet."""
        for one in filter(None, self._followed.values()):
            one.look()

    def step(self, optimizer: int) -> None:
        """An optimizer is about to step, for the first time since then."""
        if (one := self._followed.get(optimizer)) is not None:
            one.step()

    def found(self, passes: int) -> bool | None:
        """Whether some were still there, in a step of so many passes; None where nothing could be said."""
        if not any(self._followed.values()):
            return False if self._followed else None
        told = [one.kept if passes == 1 else one.added for one in self._followed.values() if one is not None]
        return True if True in told else None if None in told else False

    def take_off(self) -> None:
        """Take the hooks off."""
        for one in filter(None, self._followed.values()):
            one.handle.remove()


class _GradientTrail:
    """A few numbers of one parameter's gradient, from the end of one step to the optimizer's next."""

    def __init__(self, parameter: Tensor, few: Tensor) -> None:
        self.parameter, self.few = parameter, few
        self.there: bool | None = None
        """Whether they are still there before any new gradient comes …"""
        self.added: bool | None = None
        """… and whether the optimizer steps by the sum of them and of all that came."""
        self.replaced = False
        """Whether it steps by what came alone: a loop that writes ``torch.autograd.grad`` into ``grad`` has no need to clear it before."""
        self._sum: Tensor | None = torch.zeros_like(few)
        self._stepped = False
        self.handle = GradientHook(parameter, self._add)

    @property
    def kept(self) -> bool | None:
        """Whether they were there as the one pass of a step came, and were not written over by it; None where that was not seen."""
        return None if self.there and self.added is None else self.there and not self.replaced

    def _add(self, gradient: Tensor) -> None:
        if self._stepped or self._sum is None:
            return
        more = _few(gradient)
        with torch.no_grad():
            self._sum = self._sum + more if more is not None and more.shape == self._sum.shape else None

    def look(self) -> None:
        if self.there is None:
            now = _few(self.parameter.grad)
            self.there = now is not None and now.shape == self.few.shape and bool((now == self.few).all())

    def step(self) -> None:
        if self._stepped:
            return
        self._stepped = True
        now = _few(self.parameter.grad)
        if now is None or self._sum is None or now.shape != self._sum.shape or not bool(now.isfinite().all() & self._sum.any()):
            return
        # Whatever is clipped is smaller alike: what lies along the sum is that sum.
        rounding = 8 * torch.finfo(now.dtype).eps
        before, came, now = (each.double() for each in (self.few, self._sum, now))
        alone = _apart(now, came)
        self.added = len(now) > 1 and _apart(now, before + came) <= rounding < 0.01 * alone
        self.replaced = alone <= rounding if len(now) > 1 else bool((now - came).abs() <= rounding * now.abs())


def _apart(one: Tensor, other: Tensor) -> float:
    """How far two rows of numbers lie apart beside the first one's size, when the second is made longer or shorter to fit."""
    size = float(other @ other)
    fitting = max(0.0, float(one @ other) / size) if size else 0.0
    return float((one - fitting * other).norm() / one.norm().clamp_min(1e-300))


def _few(gradient: Tensor | None) -> Tensor | None:
    """The first numbers of a gradient; None where there is none that lies in memory as usual."""
    return None if gradient is None or gradient.layout != torch.strided else local(gradient.detach()).reshape(-1)[:_FEW]


def in_evaluation(model: nn.Module) -> dict[str, float]:
    """``eval``: 1 where the whole network stands in evaluation mode; nothing where its layers work alike in both."""
    if not model.training:
        return {"eval": 1.0} if any(map(_has_modes, model.modules())) else {}
    return {"eval": 0.0}


def _has_modes(module: nn.Module) -> bool:
    if isinstance(module, _DropoutNd):
        return module.p > 0
    return isinstance(module, _BatchNorm) or (isinstance(module, nn.RNNBase | nn.MultiheadAttention) and module.dropout > 0)


def form_of(
    scores: NDArray[np.float64], slopes: NDArray[np.float64] | None, labels: NDArray[np.int64], whole: bool,
) -> dict[str, float]:
    """``form``: 1 where the scores of a cross-entropy are probabilities already, 2 where a negative log-likelihood is given
    probabilities whose logarithm was not taken, 3 where they sum to 1 over the examples of the batch; 0 else. What the loop made of the
    scores before the loss is told by :func:`probabilities.twice`.

    ``whole`` says that the rows are all there are. Of one score it is 1 where all lie between 0 and 1, which few logits do.
    """
    if slopes is None or not np.isfinite(scores).all():
        return {}
    if scores.shape[1] == 1:
        inside = (scores >= 0).all() and (scores <= 1).all()
        return {"form": float(inside and len(scores) >= _ROWS)}
    single = bool(((slopes != 0).sum(1) <= 1).all())
    if _shares(scores, 1):
        if not single:
            return {"form": 1.0}
        at = slopes[np.arange(len(slopes)), np.maximum(labels, 0)][labels >= 0]
        chance = scores[np.arange(len(scores)), np.maximum(labels, 0)][labels >= 0]
        # Of a logarithm that was taken, the gradient is the larger the smaller the probability is.
        alike = len(at) >= _ROWS and np.ptp(at) <= 1e-4 * np.abs(at).max() and np.ptp(chance) > 1e-3
        return {"form": 2.0 if alike else 0.0}
    chances = np.exp(np.minimum(scores, 1.0))
    if whole and len(scores) >= 4 and (_shares(scores, 0) or _shares(chances, 0)) and not _shares(chances, 1):
        return {"form": 3.0}
    return {"form": 0.0}


def across(scores: NDArray[np.float64], slopes: NDArray[np.float64] | None) -> dict[str, float]:
    """``form`` 3 where the loss itself shares probabilities out among the examples of the batch: a softmax of the scores along the wrong axis.

    *Meaning* of such a loss the slopes of each class add up to nothing over the examples, and those of an example do not. As many examples as
    classes may be pairs, whose loss is meant so.
    """
    if slopes is None or slopes.shape != scores.shape or not np.isfinite(scores).all() or not np.isfinite(slopes).all():
        return {}
    count, classes = scores.shape
    if classes < 2 or count in (classes, 1) or count < _ROWS or not slopes.any():
        return {}
    sizes = np.abs(slopes).sum(0)
    met = sizes > 1e-3 * sizes.max()
    if (np.abs(slopes.sum(0)) > 1e-3 * sizes)[met].any() or np.median(np.abs(slopes.sum(1)) / np.maximum(np.abs(slopes).sum(1), 1e-300)) < _APART:
        return {}
    shares = np.exp(scores - scores.max(0))
    shares /= shares.sum(0)
    # Where an example is not of a class, its slope is a multiple of its share of that; where it is, the same less one weight.
    clear = np.where(shares > _SUM, slopes / np.maximum(shares, _SUM), -np.inf)
    less = (clear.max(0) * shares - slopes)[:, met]
    ones = less > less.max() / 2
    if np.abs(less[ones] - np.median(less[ones])).max() > _SAME * less.max() or np.abs(less[~ones]).max(initial=0.0) > _SAME * less.max():
        return {}
    return {"form": 3.0}


def _shares(values: NDArray[np.float64], axis: int) -> bool:
    """Whether the values are shares that sum to 1 along an axis, and no two of these are alike."""
    return bool((values >= 0).all() and np.abs(values.sum(axis) - 1).max() < _SUM and np.ptp(values) > 0)


def weight_of(chances: NDArray[np.float64], slopes: NDArray[np.float64] | None, labels: NDArray[np.int64]) -> dict[str, float]:
    """``weight``: what the loss of each example weighs in the gradient of this pass, summed over them: 1 of a mean, a half where it is halved,
    and as many as there are of a sum.

    *Meaning* at the score of the label a cross-entropy's gradient is that weight times the chance of the truth less one; of a log-probability the
    weight itself. Nothing is told where examples weigh differently, or too few are unsure.
    """
    if slopes is None or chances.shape[1] < 2 or slopes.shape != chances.shape:
        return {}
    known = np.flatnonzero(labels >= 0)
    pulled, chance = -slopes[known, labels[known]], chances[known, labels[known]]
    single = bool(((slopes[known] != 0).sum(1) <= 1).all())
    unsure = chance < _SURE
    if unsure.sum() < _ROWS:
        return {}
    weights = pulled[unsure] / (1.0 if single else 1 - chance[unsure])
    usual = float(np.median(weights))
    if not usual > 0 or np.ptp(weights) > _SAME * usual:
        return {}
    return {"weight": usual * len(known)}


def following(tokens: Tensor) -> Tensor:
    """The token behind each one of texts (n, places), −1 behind the last."""
    return torch.cat([tokens[:, 1:], torch.full_like(tokens[:, :1], -1)], 1)


def unlike(tensors: Sequence[Tensor | None]) -> list[Tensor]:
    """These tensors, each once, in their order."""
    return list({id(each): each for each in tensors if each is not None}.values())


def copied(tokens: Sequence[tuple[Tensor, Tensor | None]], labels: NDArray[np.int64]) -> dict[str, float]:
    """``copied``: the share of labels that are the very token that is read at their place, of the input of which most are; ``copied_input``: where
    that one stands among the inputs of tokens; ``shifted``: of the labels behind whose place another token is read, the share that are this one, of
    the input of which most are.

    ``tokens`` is, for each input that has as many tokens as there are labels, what is read at the labels' places, and behind them.
    """
    known = labels >= 0
    found: dict[str, float] = {}
    for number, (read, after) in enumerate(tokens):
        if len(read) != len(labels) or not known.any():
            continue
        share = float((read.cpu().numpy()[known] == labels[known]).mean())
        if share > found.get("copied", -1.0):
            found |= {"copied": share} | ({"copied_input": float(number)} if len(tokens) > 1 else {})
        behind = None if after is None else after.cpu().numpy()
        if behind is not None and (there := known & (behind >= 0)).any():
            found["shifted"] = max(found.get("shifted", 0.0), float((behind[there] == labels[there]).mean()))
    return found


def unasked(slopes: NDArray[np.float64] | None, chances: NDArray[np.float64]) -> float:
    """The share of answers at which a loss does not pull at all though they are not sure: it leaves their labels out."""
    return 0.0 if slopes is None else float(((slopes == 0).all(1) & (chances.max(1) < _LEARNT)).mean())


def cut(scores: NDArray[np.float64]) -> dict[str, float]:
    """``cut``, ``cut_at`` and ``cut_side``: the share of answers that are the same number, that number, and whether it is the lowest (−1)
    or the highest (1) of the batch.

    Of one number an example; several answers that are the same to the last digit come from a function that cuts.
    """
    if scores.shape[1] != 1 or len(scores) < _ROWS or not np.isfinite(scores).all() or np.ptp(scores) == 0:
        return {}
    low, high = float(scores.min()), float(scores.max())
    at_low, at_high = float((scores == low).mean()), float((scores == high).mean())
    return {"cut": max(at_low, at_high), "cut_at": low if at_low >= at_high else high, "cut_side": -1.0 if at_low >= at_high else 1.0}


def pulled_alike(scores: NDArray[np.float64], slopes: NDArray[np.float64] | None) -> dict[str, float]:
    """``alike``: 1 where the loss pulls at each answer by what it is, and by nothing of its own: the larger the answer, the more.

    *Meaning* of a loss of one answer and one true value the pull goes by how far they lie apart, so that the order is another
    one; where each answer is compared with all true values of the batch, it is the same.
    """
    if slopes is None or scores.shape[1] != 1 or not np.isfinite(scores).all() or not np.isfinite(slopes).all():
        return {}
    answers, pulls = scores[:, 0], slopes[:, 0]
    if len(np.unique(answers)) < _ROWS or np.ptp(pulls) <= 1e-6 * np.abs(pulls).max():
        return {}
    rising = np.diff(pulls[np.argsort(answers, kind="stable")])
    return {"alike": float(rising.min() >= -1e-6 * np.ptp(pulls))}
