"""Reads the batch of a due step: what the model was asked and answered, and which labels its loss wanted."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.examples import Examples
from ..data.nesting import named
from ..model.axes import first_tensor, tensors_in
from ..model.outputs import Reading
from ..model.own_labels import read_alone
from .batch_memory import BatchMemory
from .batch_texts import BatchTexts, TextReader
from .carry_over import StateCarrier
from .codes import Codes
from .doubts import Slopes
from .input_ranges import furthest, given, in_order, range_of
from .judge_network import JudgeFollower, of_one_number
from .loop_habits import (
    Leftovers,
    across,
    copied,
    cut,
    following,
    form_of,
    in_evaluation,
    pulled_alike,
    unasked,
    unlike,
    weight_of,
)
from .mirrors import mirrored
from .own_hooks import OwnHook, compiled
from .picture_order import PictureOrder
from .places import Columns, Places
from .probabilities import twice, twice_each
from .probe_overlap import ProbeOverlap
from .pull_sums import PullSums

_MOST = 2**18
"""Scores that are looked at: of more, every n-th row."""
_CLASSES = 4096
_CONFUSION = 256
"""Classes up to which it is counted which is taken for which."""
_TOLD, _ROUNDING = 2e-6, 5e-7
"""Of the largest slopes: what rows of less tell is rounding, of which single precision leaves so much in a sum (many pixels are as sure as that)."""
_KEPT = 0.95
"""How much of an older reading's counts is kept at the next one."""


@dataclasses.dataclass(frozen=True)
class BatchReading:
    """One batch of the training, in numbers.

    *Meaning* labels are those that the gradient at the scores tells: with a cross-entropy it is probability minus truth,
    so that its one negative entry is the label; ``labels`` is None with any other loss. ``passes`` counts the forward
    passes of the step, of which the first is read.
    """

    passes: int
    inputs: tuple[float, float, float, float] | None
    """Lowest, highest, mean and standard deviation of what went in, where these are real numbers."""
    answers: NDArray[np.int64] | None
    sure: NDArray[np.float64] | None
    """The probability of each answer."""
    labels: NDArray[np.int64] | None
    between: float
    """How far the mean scores lie apart between classes …"""
    within: float
    """… and how far the scores of one class (or the one number) vary between examples."""
    confused: tuple[float, int, int] | None = None
    """The largest share of a class that was lately answered as another one, and the two."""
    place: tuple[float, int, int] | None = None
    """How well one place of the input alone tells a class, the place and the class."""
    balance: NDArray[np.float64] | None = None
    """The share of each class among the labels seen so far."""
    texts: BatchTexts | None = None
    """Of a language model: the first texts, with their labels and losses."""
    habits: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """What the loop does with the network, the loss with the answers and the data with the labels (see ``loop_habits``)."""
    seen: int = 0
    """How many labels were seen so far."""


class BatchReader:
    """A hook on the whole model at due steps, taken off when the step is over.

    *Cost* a few reductions of the inputs and scores of one batch.
    """

    def __init__(
        self, model: nn.Module, reading: Reading | None, report: Callable[[Exception], None], probe: Examples | None = None,
    ) -> None:
        self._model, self._reading, self._report = model, reading, report
        self._beside = ProbeOverlap(probe)
        self._names = [] if probe is None else list(named(probe.first(1).x))
        self._handle: Any = None
        self._clear()
        self._confusion: NDArray[np.float64] | None = None
        self._seen: NDArray[np.float64] | None = None
        self._again = False
        """Whether the loop was seen to make probabilities of the scores before a loss that does so."""
        self._places, self._order = Places(), PictureOrder()
        self._leftovers, self._idle = Leftovers(), False
        self._judging, self._pulls = JudgeFollower(), PullSums()
        self._columns, self._codes, self._carried, self._memory = Columns(), Codes(), StateCarrier(), BatchMemory()
        self.slopes: Slopes | None = None
        """What the last batch's gradient at the scores says of how they are read."""

    def follow(self, model: nn.Module) -> None:
        """Read this model from now on."""
        self.disarm()
        self._model = model

    def arm(self, stepped: Mapping[int, Sequence[Tensor]] | None = None, *, idle: bool = False) -> None:
        """Put the hook on; ``stepped`` are the parameters of each optimizer, where they step at every step, or where none has stepped yet
        (``idle``); else None."""
        self._take_off()
        self._clear()
        self._idle = idle
        if compiled(self._model):
            return  # meanwhile, by its user: what is compiled sees no hook, or takes it along for good
        self._leftovers.arm(stepped)
        self._judging.clear()
        self._pulls.clear()
        self._codes.clear()
        self._carried.arm(self._model)
        reader = self

        def seen(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            grads = None
            try:
                began, grads = time.perf_counter(), torch.is_grad_enabled()
                if grads:
                    reader._see(args, kwargs, output)
                reader.seconds += time.perf_counter() - began
            except Exception as error:
                if grads is not None:
                    torch.set_grad_enabled(grads)
                reader._report(error)

        self._handle = self._model.register_forward_hook(OwnHook(seen), with_kwargs=True)

    def disarm(self) -> None:
        """Take all hooks off, also those that wait for a pass after the step."""
        self._take_off()
        self._judging.disarm()
        self._carried.disarm()
        self._memory.disarm()

    def _take_off(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        self._leftovers.take_off()

    def stepping(self, optimizer: int) -> None:
        """An optimizer is about to step."""
        self._leftovers.step(optimizer)

    def _clear(self) -> None:
        self._passes, self.seconds = 0, 0.0
        self._rows: Tensor | None = None
        self._gradient: Tensor | None = None
        self._inputs: tuple[float, float, float, float] | None = None
        self._x: Tensor | None = None
        self._asked: Tensor | None = None
        self._texts: TextReader | None = None
        self._tokens: list[tuple[Tensor, Tensor | None]] = []
        """Of each input that has a token an answer: the tokens, and those behind them."""
        self._whole = True
        self._habits: dict[str, float] = {}
        self._shape: tuple[int, ...] = ()
        """Of a segmentation, how many examples, rows and columns its pixels are of."""
        self._beside_scores = False
        """Whether there are other outputs beside the scores, for which the loss may ask as well."""

    def _first(self, args: Any, kwargs: Any) -> Tensor | None:
        """The first input of a call; inputs may come by name alone."""
        tensor = first_tensor(args)
        return first_tensor(in_order(kwargs, self._names)) if tensor is None else tensor

    def _see(self, args: Any, kwargs: Any, output: Any) -> None:
        self._passes += 1
        kwargs = read_alone(self._model, kwargs, output)
        tensor = self._first(args, kwargs)
        scores = self._reading.given(output) if self._reading is not None else first_tensor(output)
        there = scores is not None and scores.is_floating_point() and scores.ndim > 0 and scores.numel() > 0
        if scores is not None and there:
            self._judging.see(tensor, scores)
            if self._reading is not None and self._reading.task == "regression" and self._reading.criterion is None:
                self._pulls.see(scores)
        if self._passes > 1:
            return
        self._habits = in_evaluation(self._model)
        if scores is None or not there:
            return
        outputs = {id(each) for each in tensors_in(output) if each.is_floating_point() and each.requires_grad}
        self._beside_scores = len(outputs) > 1
        self._codes.see(output, scores, itertools.chain(tensors_in((args, kwargs)), self._model.parameters(), self._model.buffers()))
        with torch.no_grad():
            self._asked = None if tensor is None else tensor.detach()
            if inputs := given(args, kwargs, self._names):
                self._inputs = range_of(inputs[0][1])
                self._habits |= furthest(inputs, self._names)
            if tensor is not None and tensor.is_floating_point() and tensor.numel():
                self._x = tensor.detach()
            self._texts = TextReader.of(args, kwargs, scores) if scores.requires_grad else None
            turned = self._by_rows(scores.detach())
            self._shape = (len(scores), *scores.shape[2:]) if self._reading is not None and self._reading.task == "segmentation" else ()
            stride = max(1, turned.numel() // _MOST)
            self._whole = stride == 1
            for each in unlike((tensor, *tensors_in((args, kwargs)))):
                if each.dtype in (torch.int64, torch.int32) and each.numel() == len(turned):
                    after = following(each.detach()).reshape(-1)[::stride].clone() if each.ndim == 2 else None
                    self._tokens.append((each.detach().reshape(-1)[::stride].clone(), after))
            if turned.shape[1] <= _CLASSES:
                self._rows = turned[::stride].clone()
        if scores.requires_grad and not scores.is_leaf and (self._rows is not None or self._texts is not None):
            scores.register_hook(self._kept(stride))  # type: ignore[no-untyped-call]

    def _kept(self, stride: int) -> Callable[[Tensor], None]:
        """A hook that returns nothing: the gradient goes on as it is."""

        def keep(gradient: Tensor) -> None:
            try:
                began = time.perf_counter()
                self._leftovers.look()
                if self._texts is not None:
                    self._texts.backward(gradient)
                if self._gradient is None and self._rows is not None:
                    self._gradient = self._by_rows(gradient.detach())[::stride].clone()
                self.seconds += time.perf_counter() - began
            except Exception as error:
                self._report(error)

        return keep

    def _by_rows(self, scores: Tensor) -> Tensor:
        """One row of scores an answer."""
        if scores.ndim == 1:
            return scores.reshape(-1, 1)
        if scores.ndim > 2 and self._reading is not None and self._reading.task == "segmentation":
            scores = scores.movedim(1, -1)
        return scores.reshape(-1, scores.shape[-1])

    def finish(self) -> BatchReading | None:
        """Take the hook off and sum up; None where no pass with gradients was seen."""
        self._take_off()
        rows, gradient, x, asked = self._rows, self._gradient, self._x, self._asked
        shape, passes, inputs, texts = self._shape, self._passes, self._inputs, self._texts.finish() if self._texts is not None else None
        tokens, whole, habits, beside = self._tokens, self._whole, self._habits, self._beside_scores
        if (left := self._leftovers.found(1 if self._idle else passes)) is not None:
            habits["kept" if self._idle else "left"] = float(left)
        habits |= self._judging.finish(self._model) | self._codes.finish() | self._beside.told(asked)
        habits |= self._memory.told(asked, self._model, self._first)
        self._leftovers.arm(None)
        self._clear()
        if rows is None:
            nothing = inputs is None and texts is None
            return None if nothing else BatchReading(passes, inputs, None, None, None, np.nan, np.nan, texts=texts, habits=habits)
        values = rows.double().cpu().numpy()
        slopes = None if gradient is None or gradient.shape != rows.shape else gradient.double().cpu().numpy()
        with np.errstate(all="ignore"):
            self.slopes = Slopes(self._reading, values, slopes, x, self._pulls.level()) if slopes is not None else None
            if self.slopes is not None:
                self.slopes.beside = beside and whole
            again = twice(values, slopes)
            each = again is None and twice_each(values, slopes)
            labels, chances = (None, None) if each else told_labels(values, slopes) if again is None else (again, shares_of(values))
            between, within = _spreads(values)
        habits |= {} if x is None else self._order.told(x)
        habits |= self._carried.finish(self._model, asked, labels if whole else None)
        if labels is None or chances is None:
            habits |= {"form": 4.0} if each else cut(values) | pulled_alike(values, slopes) | (across(values, slopes) if whole else {})
            return BatchReading(passes, inputs, None, None, None, between, within, texts=texts, habits=habits)
        self._again |= again is not None
        if again is not None:
            habits["form"] = 4.0
        elif not self._again or (self.slopes is not None and self.slopes.plain):  # of sure answers one loss pulls like the other
            habits |= form_of(values, slopes, labels, whole)
        habits |= copied(tokens, labels) | (weight_of(chances, slopes, labels) if whole and again is None else {})
        habits |= {"unasked": unasked(slopes, chances)} | (mirrored(labels, chances, shape) if whole else {})
        classes = chances.shape[1]
        answers, sure = chances.argmax(1), chances.max(1)
        known = labels >= 0
        truth, said = labels[known], answers[known]
        counts = np.bincount(truth, minlength=classes).astype(np.float64)
        self._seen = counts if self._seen is None or len(self._seen) != classes else self._seen + counts
        place = None
        if x is not None and len(x) == len(labels):
            place = self._places.told(x, labels, classes)
            habits |= self._columns.told(x, labels, classes) or self._places.levels()
        balance = self._seen / max(1.0, float(self._seen.sum()))
        return BatchReading(
            passes, inputs, answers, sure, labels, between, within, self._confused(truth, said, classes), place, balance, texts,
            habits, int(self._seen.sum()),
        )

    def _confused(self, truth: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> tuple[float, int, int] | None:
        """Which class is taken for which, with older readings counting ever less."""
        if not 2 < classes <= _CONFUSION:
            return None
        if self._confusion is None or len(self._confusion) != classes:
            self._confusion = np.zeros((classes, classes))
        self._confusion *= _KEPT
        np.add.at(self._confusion, (truth, said), 1.0)
        totals = self._confusion.sum(1)
        share = self._confusion / np.maximum(totals, 1.0)[:, None]
        np.fill_diagonal(share, 0.0)
        share[totals < 10.0] = 0.0
        one, other = divmod(int(share.argmax()), classes)
        return float(share[one, other]), one, other


def shares_of(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probabilities of the classes, (n, 2) of one score an example."""
    if scores.shape[1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], 1)
    chances = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(chances / chances.sum(1, keepdims=True))


def told_labels(
    scores: NDArray[np.float64], slopes: NDArray[np.float64] | None
) -> tuple[NDArray[np.int64] | None, NDArray[np.float64] | None]:
    """Labels and probabilities, where the gradient at the scores is that of a cross-entropy; −1 where a row tells nothing.

    *Meaning* of a softmax the gradient is c·(p − y): its entries sum to nothing and only the label's is negative. Of
    log-probabilities it is −c·y. Of margins, smoothed labels and squares it is told from what is theirs alone. Of one number
    with a sigmoid it is c·(σ − y) with the same c for every example.
    """
    if slopes is None or not np.isfinite(slopes).all() or not np.isfinite(scores).all() or not slopes.any():
        return None, None
    if scores.shape[1] == 1:
        return of_one_number(scores[:, 0], slopes[:, 0])
    chances = shares_of(scores)
    size = np.abs(slopes).sum(1)
    told = size > _TOLD * size.max()
    labels = np.where(told, slopes.argmin(1), -1)
    rows = slopes[told]
    if (squared := _of_squares(scores, slopes)) is not None:
        return squared, chances
    zero_sum = np.abs(rows.sum(1)) <= 1e-3 * size[told] + _ROUNDING * size.max()
    single = (rows != 0).sum(1) == 1
    if not (zero_sum | single).all() or not (rows.min(1) < 0).all():
        return None, None
    if not single.all():
        # All other entries go with the probabilities: what is no cross-entropy shows here.
        place = labels[told]
        rest = chances[told].copy()
        np.put_along_axis(rest, place[:, None], 0.0, 1)
        others = rows.copy()
        np.put_along_axis(others, place[:, None], 0.0, 1)
        lost = np.abs(rest - others * (rest.sum(1) / np.where(others.sum(1) == 0, 1, others.sum(1)))[:, None]).sum(1)
        apart = np.median(lost / np.maximum(rest.sum(1), 1e-12)) > 0.1
        if apart and not ((rows < 0).sum(1) == 1).all() and not _smoothed(rest, others, place):
            return None, None
    # A gradient of nothing is that of an example that is learnt, or of one that does not count.
    learnt = ~told & (chances.max(1) > 1 - 1e-5)
    labels[learnt] = chances.argmax(1)[learnt]
    return labels, chances


def _smoothed(chances: NDArray[np.float64], slopes: NDArray[np.float64], place: NDArray[np.int64]) -> bool:
    """Whether, beside the label, the gradient is a multiple of the probabilities less one small number: that of smoothed labels."""
    beside = np.ones(chances.shape, bool)
    beside[np.arange(len(place)), place] = False
    p, g = chances[beside], slopes[beside]
    if len(p) < 8 or np.ptp(p) < 1e-6:
        return False
    factor, less = np.polyfit(p, g, 1)
    apart = np.abs(factor * p + less - g).max()
    return bool(factor > 0 and -0.5 * factor < less * chances.shape[1] < 0 and apart < 1e-3 * np.ptp(g))


def _of_squares(scores: NDArray[np.float64], slopes: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Labels of squared distances to one at the label and to nothing elsewhere: the scores less a multiple of the gradient are just these."""
    sums = slopes.sum(1)
    if not (sums != 0).all():
        return None
    factor = float(np.median((scores.sum(1) - 1) / sums))
    truth = scores - factor * slopes
    labels: NDArray[np.int64] = truth.argmax(1)
    wanted = np.zeros_like(truth)
    wanted[np.arange(len(truth)), labels] = 1.0
    return labels if factor > 0 and np.abs(truth - wanted).max() < 1e-2 else None


def _spreads(scores: NDArray[np.float64]) -> tuple[float, float]:
    if len(scores) < 2:
        return np.nan, np.nan
    centred = scores - scores.mean(1, keepdims=True) if scores.shape[1] > 1 else scores
    between = float(centred.mean(0).std()) if scores.shape[1] > 1 else np.nan
    return between, float(centred.std(0).mean())
