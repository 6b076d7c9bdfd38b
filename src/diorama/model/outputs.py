"""From what a model returns to scores, answers and losses: whatever it returns, and whatever its task is."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..core.errors import NotApplicable, UsageError, not_found
from .criteria import class_weights, each_by, mean, told_by, weighted
from .last_op import AnswerTrace
from .tasks import CLASSES as CLASSES
from .tasks import IGNORED as IGNORED
from .tasks import TASKS as TASKS
from .tasks import Form, among, contradicted, form_of, guess_task, ignored_labels, own_tokens, same_as_input
from .tasks import Task as Task
from .tasks import loss_unit as loss_unit

NO_ANSWER = -1
"""The answer of scores that are not numbers."""
_AT_ONCE = 2**20
"""Scores of a large vocabulary that are made probabilities of at once."""
Wanted = str | int | Callable[[Any], Tensor] | None

_NAMES = ("logits", "scores", "prediction", "predictions", "output", "out", "y", "probabilities", "last_hidden_state")


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a model's outputs are read: which piece holds the scores, what they mean, and one loss an example.

    *Shapes* scores are (n, classes), (n, values), (n, steps, vocabulary), (n, classes, places) of a segmentation, or (n,)
    and (n, 1) for a single number.
    """

    task: Task = ""
    form: Form = "scores"
    outputs: Wanted = None
    criterion: Callable[[Tensor, Tensor], Tensor] | None = None
    guessed: tuple[str, ...] = ()
    """One sentence for each thing that was guessed rather than told."""
    ignored: tuple[int, ...] = (IGNORED,)
    """Labels that mean "not known": their examples, steps or places count for nothing."""
    ahead: bool = False
    """The truth of a text is its own tokens, each of which the step before it has to answer."""
    unsure: str = ""
    """The sentence that says by which numbers the form was guessed, where nothing but these told it: see :meth:`reread`."""
    shape: tuple[int, ...] = ()
    """Of answers that are the input flattened: the input's shape, without examples."""
    filling: tuple[int, ...] = ()
    """Labels of places that only fill a text up: left out like :attr:`ignored` ones."""

    @classmethod
    def of(
        cls,
        output: Any,
        y: Tensor | None = None,
        *,
        outputs: Wanted = None,
        task: str | None = None,
        criterion: Callable[[Tensor, Tensor], Tensor] | None = None,
        x: Any = None,
        classes: Sequence[str] = (),
        form: str | None = None,
        ahead: bool | None = None,
        ending: AnswerTrace | None = None,
    ) -> Reading:
        """Find out how to read an output of a few examples, from it and from the truth (of these or of more examples).

        ``x`` is what the model was given: an output of its very shape, with no truth that says otherwise, is a
        reconstruction. ``classes`` are the names of the classes, where there are some: without truth, scores as many as
        the names are those of a classification. ``ending`` is the context in which the model ran, and tells whether it ends in a
        sigmoid or softmax: without it, the form is guessed from the numbers. ``form`` says it. ``ahead`` says that the truth is the text's own
        tokens where nothing but a training's loop could tell.

        *Raises* UsageError when ``outputs`` or ``task`` names what is not there.
        """
        if task is not None and task not in TASKS:
            raise not_found("task", task, TASKS)
        with ending or contextlib.nullcontext():
            scores, said = pick(output, outputs)
        made = ending.of(scores) if ending is not None else ""
        guessed = [said] if said else []
        if task is None:
            found, why = guess_task(scores, y, len(classes), made)
            if same := same_as_input(scores, x, y, found):
                found, why = "reconstruction", same
            guessed.append(why)
        else:
            found = task  # type: ignore[assignment]
        read, unsure = form_of(scores, found, made)
        if form in ("scores", "probabilities", "log_probabilities", "values"):
            read, unsure = form, ""  # type: ignore[assignment]
        if unsure:
            guessed.append(unsure)
        ignored, why = ignored_labels(scores, y, found)
        if why:
            guessed.append(why)
        shifted = found == "next_token" and bool(ahead or own_tokens(x, y, ignored))
        if shifted:
            guessed.append("the labels are the text's own tokens, so each step's answer is held against the next token")
        return cls(found, read, outputs, criterion, tuple(guessed), ignored, shifted, unsure, _unlike(scores, x, found))

    def without(self, filling: Sequence[int], why: str) -> Reading:
        """The reading that leaves out these labels too, and says why."""
        new = tuple(label for label in filling if label not in (*self.ignored, *self.filling))
        return dataclasses.replace(self, filling=(*self.filling, *new), guessed=(*self.guessed, why)) if new else self

    def reread(self, scores: Tensor) -> Reading:
        """The reading that goes with more scores: where they contradict a form that was guessed from others', they are raw scores."""
        if not self.unsure or not contradicted(self.form, self._last(scores), self.task == "multi_label" or self._single(scores)):
            return self
        why = "other outputs than the first are no probabilities, so all are read as raw scores"
        said = tuple(why if one == self.unsure else one for one in self.guessed)
        return dataclasses.replace(self, form="scores", unsure="", guessed=said)

    def scores(self, output: Any) -> Tensor:
        """The scores in an output, the example first and for texts the step second; a flat answer that is the input again in its shape."""
        found = self.given(output)
        return found.reshape(len(found), *self.shape) if self.shape and found[0].numel() == math.prod(self.shape) else found

    def given(self, output: Any) -> Tensor:
        """The scores as the model hands them out, which its loss is made of."""
        return pick(output, self.outputs)[0]

    def width(self, scores: Tensor) -> int:
        """How many classes or tokens an answer chooses from; a classifier with a single score has two."""
        if self.task == "segmentation":
            return max(scores.shape[1], 2)
        single = scores.ndim == 1 or scores.shape[-1] == 1
        return 2 if single and self.task == "classification" else 1 if scores.ndim == 1 else scores.shape[-1]

    def probabilities(self, scores: Tensor) -> Tensor:
        """Probabilities of the classes or tokens, (n, …, classes); of a segmentation (n, places, classes).

        *Raises* NotApplicable for a regression, which has none.
        """
        if self.task not in (*CLASSES, "multi_label"):
            raise NotApplicable("probabilities need a classifier, and this model's outputs are plain numbers")
        if self._single(scores):
            one = self._one(scores).float()
            one = one if self.form == "probabilities" else one.sigmoid()
            return torch.stack([1 - one, one], -1)
        values = self._last(scores).float()
        if self.form == "probabilities":
            return values
        if self.form == "log_probabilities":
            return values.exp()
        return values.sigmoid() if self.task == "multi_label" else values.softmax(-1)

    def predictions(self, scores: Tensor) -> Tensor:
        """The answers: class indices (n,), tokens (n, steps), classes of places (n, places), labels (n, labels) as
        booleans, or plain numbers. Where scores are not numbers there is no class: −1.
        """
        if self.task in CLASSES:
            if self._single(scores):
                one = self._one(scores)
                return torch.where(one.isnan(), NO_ANSWER, (one > (0.5 if self.form == "probabilities" else 0)).long())
            rows = self._last(scores)
            # The highest of a row that holds what is no number is that.
            highest = rows.argmax(-1, keepdim=True)
            return torch.where(rows.gather(-1, highest).isnan(), NO_ANSWER, highest)[..., 0]
        if self.task == "multi_label":
            return scores > (0.5 if self.form == "probabilities" else 0)
        return scores

    def wanted(self, x: Any, y: Tensor | None) -> Tensor | None:
        """What the outputs are held against: the truth, or for a reconstruction the input itself."""
        return x if self.task == "reconstruction" and isinstance(x, Tensor) else y

    def truth(self, y: Tensor) -> Tensor:
        """The truth in the form of the predictions: class indices also where it came as one-hot rows.

        Labels that are to be ignored are −100; a text's own tokens stand one step earlier, where they are answered.
        """
        if self.task == "classification":
            if y.ndim > 1 and y.shape[-1] > 1:
                return y.argmax(-1)
            return self._told(y.reshape(len(y)).long())
        if self.task == "segmentation":
            return self._told((y[:, 0] if y.ndim > 3 and y.shape[1] == 1 else y).long())
        if self.task == "next_token":
            told = self._told(y.long())
            return torch.cat([told[:, 1:], torch.full_like(told[:, :1], IGNORED)], 1) if self.ahead else told
        if self.task == "multi_label":
            return y > 0.5
        return y

    def known(self, y: Tensor) -> Tensor:
        """Which parts of the truth say something, in the shape of :meth:`truth`."""
        if self.task in CLASSES:
            return self.truth(y) != IGNORED
        if y.is_floating_point():
            known = ~y.isnan()
            return known & ~among(y, self.ignored) if self.task == "multi_label" else known
        return ~among(y, self.ignored) if self.task == "multi_label" else torch.ones_like(y, dtype=torch.bool)

    def labelled(self, y: Tensor) -> Tensor:
        """The examples of which something is known, (n,)."""
        return self.known(y).reshape(len(y), -1).any(1)

    def counts(self, y: Tensor) -> Tensor:
        """How many labels (or numbers) of each example say something, (n,) in float64: so much it counts for in a share of them all."""
        return self.known(y).reshape(len(y), -1).sum(1).double()

    def weights(self, y: Tensor) -> Tensor:
        """How much the loss of each example counts for in that of all, (n,): its :meth:`counts`, and the weights of a criterion's classes."""
        shares = class_weights(self.criterion)
        if shares is None or self.task not in CLASSES:
            return self.counts(y)
        truth = self.truth(y)
        each = shares.to(truth.device, torch.float64)[truth.clamp(0, len(shares) - 1)]
        return torch.where(truth != IGNORED, each, 0).reshape(len(y), -1).sum(1)

    def mean(self, values: Tensor, y: Tensor, loss: bool = True) -> float:
        """The mean over all labels of what is known of each example, such as :meth:`losses` (else of :meth:`right`); NaN where there is none."""
        return weighted(values, self.weights(y) if loss else self.counts(y))

    def loss(self, scores: Tensor, y: Tensor) -> float:
        """The loss of all these answers together: of a user's criterion what it says of them, else the mean over all labels."""
        if self.criterion is None:
            return self.mean(self.losses(scores, y), y)
        known = self.labelled(y)
        return float(told_by(self.criterion, scores, y).detach().double().reshape(-1).mean()) if bool(known.any()) else float("nan")

    def losses(self, scores: Tensor, y: Tensor) -> Tensor:
        """One loss an example, (n,): cross-entropy in nats, or the mean squared error of plain numbers.

        ``y`` is what :meth:`wanted` says: of a reconstruction it is the input. An example of which nothing is known has
        no loss: NaN.

        A ``criterion`` that the user gave is used instead; one that averages is called for each example, which makes the loss of that one alone:
        see :meth:`loss` for that of all.
        """
        if self.criterion is not None:
            return each_by(self.criterion, scores, y, self.known(y))
        if self.task in CLASSES:
            truth = self.truth(y).to(scores.device)
            return mean(-self._likely(scores, truth.clamp_min(0)[..., None]), truth != IGNORED)
        if self.task == "multi_label":
            chance = self.probabilities(scores).clamp(1e-12, 1 - 1e-7)
            known = self.known(y).to(chance.device)
            told = torch.where(known, y.to(chance), 0)
            return mean(F.binary_cross_entropy(chance, told, reduction="none"), known)
        if self.task in ("regression", "reconstruction"):
            values = scores.float()
            apart = values - y.to(values).reshape(values.shape)
            return mean(apart.square(), self.known(y).to(values.device).reshape(values.shape))
        raise NotApplicable("there is no loss to show: the task is unknown; say it with task=")

    @property
    def loss_unit(self) -> str:
        """What :meth:`losses` are counted in; empty for squared errors, and for a criterion of the user's own."""
        return "" if self.criterion is not None else loss_unit(self.task)

    def right(self, scores: Tensor, y: Tensor, predictions: Tensor | None = None) -> Tensor:
        """For each example the share answered rightly: 0 or 1 for a class, in between for labels, texts and places, (n,).

        NaN for an example of which nothing is known. ``predictions`` are those of the scores, where they are known.
        """
        if self.task not in (*CLASSES, "multi_label"):
            raise NotApplicable(f"a {self.task or 'number'} is not right or wrong; look at its losses")
        same = (self.predictions(scores) if predictions is None else predictions) == self.truth(y).to(scores.device)
        return mean(same.float(), self.known(y).to(scores.device))

    def margins(self, scores: Tensor, y: Tensor) -> Tensor:
        """How far the score of what is right lies above the highest other score, (n,): negative where the answer is wrong.

        *Units* logits, of probabilities their logarithms; the mean over a text's steps, places or labels. A single score
        and each of several labels are held against their opposite. NaN where nothing is known.
        *Source* Pleiss et al. 2020, equation 1.
        """
        if self.task == "multi_label" or self._single(scores):
            rows = self._one(scores).float() if self._single(scores) else scores.float()
            rows = rows.clamp(1e-7, 1 - 1e-7).logit() if self.form == "probabilities" else rows
            told, known = self.truth(y).to(scores.device), self.known(y).to(scores.device)
            return mean(torch.where(told.reshape(rows.shape) > 0, rows, -rows), known)
        if self.task not in CLASSES:
            raise NotApplicable(f"a {self.task or 'number'} has no margin; look at its losses")
        rows = self._last(scores).float()
        rows = rows.clamp_min(1e-30).log() if self.form == "probabilities" else rows
        truth = self.truth(y).to(rows.device)
        at = truth.clamp_min(0)[..., None]
        own = rows.gather(-1, at)[..., 0]
        two, where = rows.topk(min(2, rows.shape[-1]), -1)
        other = torch.where(where[..., 0] == at[..., 0], two[..., -1], two[..., 0])
        # Where a score is no number, neither is the margin: the order of scores says nothing then.
        return mean(torch.where(rows.isnan().any(-1), torch.nan, own - other), truth != IGNORED)

    def likelihoods(self, scores: Tensor, y: Tensor) -> Tensor:
        """The probability of what is right, (n,): the mean over a text's steps, places or labels; NaN where nothing is known."""
        chance = self.probabilities(scores)
        told, known = self.truth(y).to(chance.device), self.known(y).to(chance.device)
        if self.task == "multi_label":
            return mean(torch.where(told, chance, 1 - chance), known)
        return mean(chance.gather(-1, told.clamp_min(0)[..., None])[..., 0], known)

    def standing(self, scores: Tensor, y: Tensor) -> dict[str, Tensor]:
        """How each example stands, each (n,): its ``loss``; of classes and labels its ``margin``, a class's ``answer``, else
        the share that is ``right``; and the ``likelihood`` of the truth where the loss does not tell it.

        *Raises* NotApplicable where the task is unknown.
        """
        found = {"loss": self.losses(scores, y)}
        if self.task in (*CLASSES, "multi_label"):
            found["margin"] = self.margins(scores, y)
            if self.task == "classification":
                found["answer"] = self.predictions(scores)
            else:
                found["right"] = self.right(scores, y)
            if self.task != "classification" or self.criterion is not None:
                found["likelihood"] = self.likelihoods(scores, y)
        return found

    def _told(self, y: Tensor) -> Tensor:
        return torch.where(among(y, (*self.ignored, *self.filling)), IGNORED, y)

    def _single(self, scores: Tensor) -> bool:
        """One score stands for two classes."""
        if self.task == "segmentation":
            return scores.ndim > 2 and scores.shape[1] == 1
        return self.task == "classification" and (scores.ndim == 1 or (scores.ndim == 2 and scores.shape[1] == 1))

    def _one(self, scores: Tensor) -> Tensor:
        return scores[:, 0] if self.task == "segmentation" else scores.reshape(len(scores))

    def _last(self, scores: Tensor) -> Tensor:
        """The scores with the classes on the last axis."""
        return scores.movedim(1, -1) if self.task == "segmentation" else scores

    def _likely(self, scores: Tensor, asked: Tensor) -> Tensor:
        """The logarithms of the probabilities of one class each: of a large vocabulary those of a few rows at a time, which stay in the
        processor's caches, since writing down all takes longer than to make them."""
        if self._single(scores):
            return self.probabilities(scores).log().gather(-1, asked)[..., 0]
        rows = self._last(scores)
        if self.form in ("probabilities", "log_probabilities"):
            return self._logs(rows.gather(-1, asked))[..., 0]
        whole = rows.numel() <= _AT_ONCE or rows.device.type != "cpu" or not rows.is_contiguous()
        if whole or asked.shape[:-1] != rows.shape[:-1]:
            return self._logs(rows).gather(-1, asked)[..., 0]
        few = max(1, _AT_ONCE // rows.shape[-1])
        pieces = zip(rows.flatten(0, -2).split(few), asked.flatten(0, -2).split(few), strict=True)
        return torch.cat([self._logs(some).gather(-1, each) for some, each in pieces]).reshape(asked.shape[:-1])

    def _logs(self, scores: Tensor) -> Tensor:
        values = scores.float()
        if self.form == "log_probabilities":
            return values
        return values.clamp_min(1e-30).log() if self.form == "probabilities" else values.log_softmax(-1)


def pick(output: Any, wanted: Wanted = None) -> tuple[Tensor, str]:
    """Take the scores out of an output, and say in a sentence what was guessed (nothing when there was no choice). Yes and no are 1 and 0."""
    found, said = _picked(output, wanted)
    return found.float() if found.dtype == torch.bool else found, said


def _picked(output: Any, wanted: Wanted) -> tuple[Tensor, str]:
    if callable(wanted):
        found = wanted(output)
        if not isinstance(found, Tensor):
            raise UsageError(f"outputs= must return a tensor, got {type(found).__name__}")
        return found, ""
    if wanted is not None:
        return _piece(output, wanted), ""
    if isinstance(output, Tensor):
        return output, ""
    if isinstance(output, list) and output and all(isinstance(one, Mapping) for one in output):
        names = list(output[0])
        example = repr("scores" if "scores" in names else names[-1] if names else "scores")
        raise NotApplicable(
            f"the model answers with one dict an example (of {', '.join(map(repr, names))}); say which numbers are meant, one row an "
            f"example: outputs=lambda found: torch.stack([one[{example}].max()[None] for one in found])"
        )
    pieces = dict(_pieces(output))
    if not pieces:
        raise NotApplicable(f"the model returns {type(output).__name__}, in which there is no tensor; pass outputs=")
    named = next((name for name in _NAMES if name in pieces), None)
    name = named or next((n for n, piece in pieces.items() if piece.is_floating_point() and piece.ndim >= 1), None)
    if name is None:
        raise NotApplicable("none of the model's outputs holds floating-point scores; pick one with outputs=")
    if len(pieces) == 1:
        return pieces[name], ""
    others = ", ".join(repr(other) for other in pieces if other != name)
    return pieces[name], f"the scores are taken from output {name!r} (there are also {others})"


def _pieces(output: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(output, Tensor):
        yield prefix or "0", output
    elif isinstance(output, torch.distributions.Distribution):
        for name in ("logits",) if hasattr(output, "logits") else ("mean", "stddev"):
            with contextlib.suppress(RuntimeError):  # not each kind has each
                yield f"{prefix}.{name}" if prefix else name, getattr(output, name)
    elif isinstance(output, Mapping):
        for name, value in output.items():
            yield from _pieces(value, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(output, Sequence) and not isinstance(output, str):
        for index, value in enumerate(output):
            yield from _pieces(value, f"{prefix}.{index}" if prefix else str(index))
    elif dataclasses.is_dataclass(output):
        for field in dataclasses.fields(output):
            yield from _pieces(getattr(output, field.name), f"{prefix}.{field.name}" if prefix else field.name)


def _piece(output: Any, wanted: str | int) -> Tensor:
    pieces = dict(_pieces(output))
    name = str(wanted)
    if name not in pieces:
        raise not_found("output", name, pieces)
    return pieces[name]


def _unlike(scores: Tensor, x: Any, task: str) -> tuple[int, ...]:
    """The shape of the inputs where a reconstruction has as many numbers in another."""
    if task != "reconstruction" or not isinstance(x, Tensor) or scores.shape[1:] == x.shape[1:] or not len(x):
        return ()
    return tuple(x.shape[1:]) if scores[0].numel() == x[0].numel() else ()
