"""From what a model returns to scores, answers and losses: whatever it returns, and whatever its task is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..core.errors import NotApplicable, UsageError, not_found

Task = Literal["classification", "multi_label", "regression", "next_token", "reconstruction", ""]
"""What the model answers; empty when the outputs do not tell."""
TASKS = ("classification", "multi_label", "regression", "next_token", "reconstruction")
Form = Literal["scores", "probabilities", "log_probabilities", "values"]
Wanted = str | int | Callable[[Any], Tensor] | None

_NAMES = ("logits", "scores", "prediction", "predictions", "output", "out", "y", "probabilities", "last_hidden_state")


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a model's outputs are read: which piece holds the scores, what they mean, and one loss an example.

    *Shapes* scores are (n, classes), (n, values), (n, steps, vocabulary), or (n,) and (n, 1) for a single number.
    """

    task: Task = ""
    form: Form = "scores"
    outputs: Wanted = None
    criterion: Callable[[Tensor, Tensor], Tensor] | None = None
    guessed: tuple[str, ...] = ()
    """One sentence for each thing that was guessed rather than told."""

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
    ) -> Reading:
        """Find out how to read an output of a few examples, from it and from the truth (of these or of more examples).

        ``x`` is what the model was given: an output of its very shape, with no truth that says otherwise, is a
        reconstruction.

        *Raises* UsageError when ``outputs`` or ``task`` names what is not there.
        """
        if task is not None and task not in TASKS:
            raise not_found("task", task, TASKS)
        scores, said = pick(output, outputs)
        guessed = [said] if said else []
        if task is None:
            found, why = guess_task(scores, y)
            if _same(scores, x, y, found):
                found, why = "reconstruction", _SAME
            guessed.append(why)
        else:
            found = task  # type: ignore[assignment]
        form, why = _form(scores, found)
        if why:
            guessed.append(why)
        return cls(found, form, outputs, criterion, tuple(guessed))

    def scores(self, output: Any) -> Tensor:
        """The scores in an output, the example first and for texts the step second."""
        return pick(output, self.outputs)[0]

    def width(self, scores: Tensor) -> int:
        """How many classes or tokens an answer chooses from; a classifier with a single score has two."""
        single = scores.ndim == 1 or scores.shape[-1] == 1
        return 2 if single and self.task == "classification" else 1 if scores.ndim == 1 else scores.shape[-1]

    def probabilities(self, scores: Tensor) -> Tensor:
        """Probabilities of the classes or tokens, (n, …, classes).

        *Raises* NotApplicable for a regression, which has none.
        """
        if self.task not in ("classification", "multi_label", "next_token"):
            raise NotApplicable("probabilities need a classifier, and this model's outputs are plain numbers")
        single = self.task == "classification" and self._single(scores)
        if single:
            one = scores.reshape(len(scores)).float()
            one = one if self.form == "probabilities" else one.sigmoid()
            return torch.stack([1 - one, one], -1)
        values = scores.float()
        if self.form == "probabilities":
            return values
        if self.form == "log_probabilities":
            return values.exp()
        return values.sigmoid() if self.task == "multi_label" else values.softmax(-1)

    def predictions(self, scores: Tensor) -> Tensor:
        """The answers: class indices (n,), tokens (n, steps), labels (n, labels) as booleans, or plain numbers."""
        if self.task in ("classification", "next_token"):
            if self._single(scores):
                return (scores.reshape(len(scores)) > (0.5 if self.form == "probabilities" else 0)).long()
            return scores.argmax(-1)
        if self.task == "multi_label":
            return scores > (0.5 if self.form == "probabilities" else 0)
        return scores

    def wanted(self, x: Any, y: Tensor | None) -> Tensor | None:
        """What the outputs are held against: the truth, or for a reconstruction the input itself."""
        return x if self.task == "reconstruction" and isinstance(x, Tensor) else y

    def truth(self, y: Tensor) -> Tensor:
        """The truth in the form of the predictions: class indices also where it came as one-hot rows."""
        if self.task == "classification":
            if y.ndim > 1 and y.shape[-1] > 1:
                return y.argmax(-1)
            return y.reshape(len(y)).long()
        if self.task == "multi_label":
            return y > 0.5
        return y

    def losses(self, scores: Tensor, y: Tensor) -> Tensor:
        """One loss an example, (n,): cross-entropy in nats, or the mean squared error of plain numbers.

        ``y`` is what :meth:`wanted` says: of a reconstruction it is the input.

        A ``criterion`` that the user gave is used instead; one that averages is called for each example.
        """
        if self.criterion is not None:
            return _each(self.criterion, scores, y)
        if self.task == "classification":
            likely = self.probabilities(scores).log() if self._single(scores) else self._logs(scores)
            return -likely.gather(-1, self.truth(y).to(likely.device)[:, None])[:, 0]
        if self.task == "next_token":
            likely = self._logs(scores)
            return -likely.gather(-1, y.to(likely.device).long()[..., None])[..., 0].flatten(1).mean(1)
        if self.task == "multi_label":
            chance = self.probabilities(scores).clamp(1e-12, 1 - 1e-7)
            return F.binary_cross_entropy(chance, y.to(chance), reduction="none").flatten(1).mean(1)
        if self.task in ("regression", "reconstruction"):
            values = scores.float()
            return (values - y.to(values).reshape(values.shape)).square().reshape(len(values), -1).mean(1)
        raise NotApplicable("there is no loss to show: the task is unknown; say it with task=")

    def right(self, scores: Tensor, y: Tensor) -> Tensor:
        """For each example the share answered rightly: 0 or 1 for a class, in between for labels and texts, (n,)."""
        if self.task not in ("classification", "multi_label", "next_token"):
            raise NotApplicable(f"a {self.task or 'number'} is not right or wrong; look at its losses")
        same = self.predictions(scores) == self.truth(y).to(scores.device)
        return same.reshape(len(same), -1).float().mean(1)

    def _single(self, scores: Tensor) -> bool:
        return self.task == "classification" and (scores.ndim == 1 or (scores.ndim == 2 and scores.shape[1] == 1))

    def _logs(self, scores: Tensor) -> Tensor:
        values = scores.float()
        if self.form == "log_probabilities":
            return values
        return values.clamp_min(1e-30).log() if self.form == "probabilities" else values.log_softmax(-1)


def pick(output: Any, wanted: Wanted = None) -> tuple[Tensor, str]:
    """Take the scores out of an output, and say in a sentence what was guessed (nothing when there was no choice)."""
    if callable(wanted):
        found = wanted(output)
        if not isinstance(found, Tensor):
            raise UsageError(f"outputs= must return a tensor, got {type(found).__name__}")
        return found, ""
    if wanted is not None:
        return _piece(output, wanted), ""
    if isinstance(output, Tensor):
        return output, ""
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


def guess_task(scores: Tensor, y: Tensor | None) -> tuple[Task, str]:
    """Guess what the model answers from its scores and the truth, with the sentence that says why."""
    shape = tuple(scores.shape)
    if y is None:
        if scores.ndim == 2 and shape[1] > 1:
            return (
                "classification",
                f"task guessed: classification, as each example has {shape[1]} scores and there is no truth",
            )
        if scores.ndim == 3:
            return "next_token", f"task guessed: next token, as each step of an example has {shape[2]} scores"
        return "", "the task is unknown, as there is no truth; say it with task="
    whole = not y.is_floating_point() and not y.is_complex()
    rows = y.reshape(len(y), -1)
    if whole and y.ndim >= 2 and scores.ndim == y.ndim + 1 and shape[1:-1] == tuple(y.shape[1:]):
        return "next_token", "task guessed: next token, as the truth is one whole number a step"
    single = scores.ndim == 1 or shape[1:] == (1,)
    if whole and rows.shape[1] == 1 and scores.ndim <= 2:
        low, high = (int(y.min()), int(y.max())) if y.numel() else (0, 0)
        if low >= 0 and high < (2 if single else shape[-1]):
            return "classification", "task guessed: classification, as the truth is one whole number an example"
    if rows.shape[1] > 1 and scores.ndim == 2 and shape[1] == rows.shape[1] and bool(((rows == 0) | (rows == 1)).all()):
        if bool((rows.sum(1) == 1).all()):
            return "classification", "task guessed: classification, as each row of the truth has a single 1"
        return "multi_label", "task guessed: several labels, as the rows of the truth are zeros and ones"
    if single and y.is_floating_point() and rows.shape[1] == 1 and bool(((y == 0) | (y == 1)).all()):
        return "classification", "task guessed: two classes, as the truth is 0 or 1 and there is one score"
    if y.reshape(len(y), -1).shape[1] == scores.reshape(len(scores), -1).shape[1]:
        return "regression", "task guessed: regression, as the truth is numbers of the output's own shape"
    return (
        "",
        f"the task is unknown: outputs of shape {shape[1:]} do not go with a truth of shape "
        f"{tuple(y.shape[1:])}; say it with task=",
    )


_SAME = "task guessed: reconstruction, as the outputs have the shape of the inputs, and no truth says otherwise"


def _same(scores: Tensor, x: Any, y: Tensor | None, guess: Task) -> bool:
    """Whether outputs stand for the inputs: of their shape, which rows of a few numbers may have by chance."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or scores.shape[1:] != x.shape[1:]:
        return False
    if y is not None and y.shape[1:] == x.shape[1:] and len(y) >= len(x) and torch.equal(y[: len(x)].to(x), x):
        return True
    return guess == "" or (y is None and scores.ndim > 2)


def _form(scores: Tensor, task: str) -> tuple[Form, str]:
    """Tell raw scores from probabilities and their logarithms."""
    if task not in ("classification", "next_token", "multi_label") or not scores.numel():
        return "values", ""
    values = scores.detach().float()
    if not bool(torch.isfinite(values).all()):
        return "scores", ""
    single = values.ndim == 1 or values.shape[-1] == 1
    unit = bool((values >= 0).all()) and bool((values <= 1).all())
    if unit and (single or task == "multi_label"):
        return "probabilities", "the outputs lie between 0 and 1, so they are read as probabilities"
    if unit and torch.allclose(values.sum(-1), torch.ones(()).to(values), atol=1e-3):
        return "probabilities", "the outputs of an example add up to 1, so they are read as probabilities"
    sums = values.exp().sum(-1)
    if not single and task != "multi_label" and torch.allclose(sums, torch.ones(()).to(values), atol=1e-3):
        return "log_probabilities", "the exponentials of the outputs add up to 1, so they are read as log-probabilities"
    return "scores", ""


def _each(criterion: Callable[[Tensor, Tensor], Tensor], scores: Tensor, y: Tensor) -> Tensor:
    whole = criterion(scores, y)
    if whole.ndim and len(whole) == len(scores):
        return whole.detach().reshape(len(scores), -1).float().mean(1)
    single = [criterion(scores[k : k + 1], y[k : k + 1]).detach().float().mean() for k in range(len(scores))]
    return torch.stack(single) if single else scores.new_zeros(0)
