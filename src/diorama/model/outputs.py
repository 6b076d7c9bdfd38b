"""From what a model returns to scores, answers and losses: whatever it returns, and whatever its task is."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..core.errors import NotApplicable, UsageError, not_found

Task = Literal["classification", "multi_label", "regression", "next_token", "segmentation", "reconstruction", ""]
"""What the model answers; empty when the outputs do not tell."""
TASKS = ("classification", "multi_label", "regression", "next_token", "segmentation", "reconstruction")
CLASSES = ("classification", "next_token", "segmentation")
"""Tasks whose answers are one class each: for an example, a step or a place."""
IGNORED = -100
"""The label that says nothing, as in torch's losses; :meth:`Reading.truth` gives it for every such label."""
NO_ANSWER = -1
"""The answer of scores that are not numbers."""
Form = Literal["scores", "probabilities", "log_probabilities", "values"]
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
    ) -> Reading:
        """Find out how to read an output of a few examples, from it and from the truth (of these or of more examples).

        ``x`` is what the model was given: an output of its very shape, with no truth that says otherwise, is a
        reconstruction. ``classes`` are the names of the classes, where there are some: without truth, scores as many as
        the names are those of a classification.

        *Raises* UsageError when ``outputs`` or ``task`` names what is not there.
        """
        if task is not None and task not in TASKS:
            raise not_found("task", task, TASKS)
        scores, said = pick(output, outputs)
        guessed = [said] if said else []
        if task is None:
            found, why = guess_task(scores, y, len(classes))
            if _same(scores, x, y, found):
                found, why = "reconstruction", _SAME
            guessed.append(why)
        else:
            found = task  # type: ignore[assignment]
        form, why = _form(scores, found)
        if why:
            guessed.append(why)
        ignored, why = _ignored(scores, y, found)
        if why:
            guessed.append(why)
        ahead = found == "next_token" and _own_tokens(x, y, ignored)
        if ahead:
            guessed.append("the labels are the text's own tokens, so each step's answer is held against the next token")
        return cls(found, form, outputs, criterion, tuple(guessed), ignored, ahead)

    def scores(self, output: Any) -> Tensor:
        """The scores in an output, the example first and for texts the step second."""
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
            return torch.where(rows.isnan().any(-1), NO_ANSWER, rows.argmax(-1))
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
            return known & ~_among(y, self.ignored) if self.task == "multi_label" else known
        return ~_among(y, self.ignored) if self.task == "multi_label" else torch.ones_like(y, dtype=torch.bool)

    def labelled(self, y: Tensor) -> Tensor:
        """The examples of which something is known, (n,)."""
        return self.known(y).reshape(len(y), -1).any(1)

    def losses(self, scores: Tensor, y: Tensor) -> Tensor:
        """One loss an example, (n,): cross-entropy in nats, or the mean squared error of plain numbers.

        ``y`` is what :meth:`wanted` says: of a reconstruction it is the input. An example of which nothing is known has
        no loss: NaN.

        A ``criterion`` that the user gave is used instead; one that averages is called for each example.
        """
        if self.criterion is not None:
            return _each(self.criterion, scores, y)
        if self.task in CLASSES:
            likely = self.probabilities(scores).log() if self._single(scores) else self._logs(self._last(scores))
            truth = self.truth(y).to(likely.device)
            return _mean(-likely.gather(-1, truth.clamp_min(0)[..., None])[..., 0], truth != IGNORED)
        if self.task == "multi_label":
            chance = self.probabilities(scores).clamp(1e-12, 1 - 1e-7)
            known = self.known(y).to(chance.device)
            told = torch.where(known, y.to(chance), 0)
            return _mean(F.binary_cross_entropy(chance, told, reduction="none"), known)
        if self.task in ("regression", "reconstruction"):
            values = scores.float()
            apart = values - y.to(values).reshape(values.shape)
            return _mean(apart.square(), self.known(y).to(values.device).reshape(values.shape))
        raise NotApplicable("there is no loss to show: the task is unknown; say it with task=")

    @property
    def loss_unit(self) -> str:
        """What :meth:`losses` are counted in; empty for squared errors, and for a criterion of the user's own."""
        return "" if self.criterion is not None else loss_unit(self.task)

    def right(self, scores: Tensor, y: Tensor) -> Tensor:
        """For each example the share answered rightly: 0 or 1 for a class, in between for labels, texts and places, (n,).

        NaN for an example of which nothing is known.
        """
        if self.task not in (*CLASSES, "multi_label"):
            raise NotApplicable(f"a {self.task or 'number'} is not right or wrong; look at its losses")
        same = self.predictions(scores) == self.truth(y).to(scores.device)
        return _mean(same.float(), self.known(y).to(scores.device))

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
            return _mean(torch.where(told.reshape(rows.shape) > 0, rows, -rows), known)
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
        return _mean(torch.where(rows.isnan().any(-1), torch.nan, own - other), truth != IGNORED)

    def likelihoods(self, scores: Tensor, y: Tensor) -> Tensor:
        """The probability of what is right, (n,): the mean over a text's steps, places or labels; NaN where nothing is known."""
        chance = self.probabilities(scores)
        told, known = self.truth(y).to(chance.device), self.known(y).to(chance.device)
        if self.task == "multi_label":
            return _mean(torch.where(told, chance, 1 - chance), known)
        return _mean(chance.gather(-1, told.clamp_min(0)[..., None])[..., 0], known)

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
        return torch.where(_among(y, self.ignored), IGNORED, y)

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


def guess_task(scores: Tensor, y: Tensor | None, names: int = 0) -> tuple[Task, str]:
    """Guess what the model answers from its scores, the truth and how many classes have names, and say why."""
    shape = tuple(scores.shape)
    single = scores.ndim == 1 or shape[1:] == (1,)
    if y is None:
        if names and scores.ndim <= 2 and names == (2 if single else shape[1]):
            return "classification", f"task guessed: classification, as {names} classes have names"
        if scores.ndim == 2 and shape[1] > 1:
            form, _ = _form(scores, "classification")
            if form != "scores":
                return "classification", f"task guessed: classification, as each example has {shape[1]} probabilities"
            return (
                "",
                f"the task is unknown: nothing says whether an example's {shape[1]} numbers are scores of classes; pass "
                "task= or classes=",
            )
        if scores.ndim == 3:
            return "next_token", f"task guessed: next token, as each step of an example has {shape[2]} scores"
        return "", "the task is unknown, as there is no truth; say it with task="
    whole = not y.is_floating_point() and not y.is_complex() and y.dtype != torch.bool
    rows = y.reshape(len(y), -1)
    if whole and _places(scores, y):
        return "segmentation", "task guessed: segmentation, as the truth is one whole number a place"
    if whole and y.ndim >= 2 and scores.ndim == y.ndim + 1 and shape[1:-1] == tuple(y.shape[1:]):
        return "next_token", "task guessed: next token, as the truth is one whole number a step"
    if (whole or y.dtype == torch.bool) and rows.shape[1] == 1 and scores.ndim <= 2:
        told = y[~_among(y, _labels(y, 2 if single else shape[-1]))]
        low, high = (int(told.min()), int(told.max())) if told.numel() else (0, 0)
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


_FEW = 16
"""Rows of so few numbers may have the length of the answers by chance."""
_SAME = "task guessed: reconstruction, as the outputs have the shape of the inputs, and no truth says otherwise"


def _same(scores: Tensor, x: Any, y: Tensor | None, guess: Task) -> bool:
    """Whether outputs stand for the inputs: of their shape, which rows of a few numbers may have by chance."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or scores.shape[1:] != x.shape[1:]:
        return False
    if y is not None and y.shape[1:] == x.shape[1:] and len(y) >= len(x) and torch.equal(y[: len(x)].to(x), x):
        return True
    if y is None:
        return scores.ndim > 2 or (guess == "" and scores[0].numel() > _FEW)
    return guess == ""


def _places(scores: Tensor, y: Tensor) -> bool:
    """Whether a truth tells one class for each place of a map of scores (n, classes, places)."""
    if scores.ndim < 4:
        return False
    places = tuple(y.shape[2:]) if y.ndim == scores.ndim and y.shape[1] == 1 else tuple(y.shape[1:])
    return tuple(scores.shape[2:]) == places


def _labels(y: Tensor, count: int) -> tuple[int, ...]:
    """The labels in a truth that mean "not known": −100; −1 and 255 where they cannot be one of so many classes."""
    found = [IGNORED]
    if y.is_floating_point() or y.is_complex() or not y.numel():
        return tuple(found)
    rest = y[y != IGNORED]
    low, high = (int(rest.min()), int(rest.max())) if rest.numel() else (0, 0)
    if low == -1:
        found.append(-1)
    if high == 255 >= count:
        found.append(255)
    return tuple(found)


def loss_unit(task: str) -> str:
    """What an example's loss in a task is counted in; empty for squared errors."""
    several = {"next_token": "nats a token", "multi_label": "nats a label", "segmentation": "nats a place"}
    return "" if task in ("regression", "reconstruction") else several.get(task, "nats")


def _ignored(scores: Tensor, y: Tensor | None, task: str) -> tuple[tuple[int, ...], str]:
    """The labels that are ignored, and the sentence that says so where they are not the usual ones."""
    if y is None or task not in (*CLASSES, "multi_label"):
        return (IGNORED,), ""
    if task == "multi_label":
        return ((IGNORED, -1) if bool((y == -1).any()) else (IGNORED,)), ""
    axis = 1 if task == "segmentation" else -1
    count = 2 if scores.ndim == 1 else max(scores.shape[axis], 2)
    found = _labels(y, count) if y.reshape(len(y), -1).shape[1] == 1 or task != "classification" else (IGNORED,)
    more = [str(label).replace("-", "−") for label in found if label != IGNORED]
    return found, f"labels of {' and '.join(more)} mean “not known”, as they are no class" if more else ""


def _among(y: Tensor, labels: Sequence[int]) -> Tensor:
    found = torch.zeros_like(y, dtype=torch.bool)
    for label in labels:
        # A label that the type of the truth cannot hold is not in it.
        if y.is_floating_point() or torch.iinfo(y.dtype if y.dtype != torch.bool else torch.uint8).min <= label:
            found |= y == label
    return found


def _own_tokens(x: Any, y: Tensor | None, ignored: Sequence[int]) -> bool:
    """Whether labels are the tokens that the model reads, and it is given them too: it shifts them by itself."""
    if y is None or not isinstance(x, Mapping) or not isinstance(x.get("labels"), Tensor):
        return False
    known = ~_among(y, ignored)
    for name, part in x.items():
        if name != "labels" and isinstance(part, Tensor) and part.shape[1:] == y.shape[1:] and not part.is_floating_point():
            count = min(len(part), len(y))
            seen, told, there = part[:count].to(y.device), y[:count], known[:count]
            # A mask is ones wherever a label is known; tokens are several.
            if bool((seen == told)[there].all()) and bool(there.any()) and int(told[there].min()) < int(told[there].max()):
                return True
    return False


def _mean(values: Tensor, known: Tensor) -> Tensor:
    """The mean of each example's known values, (n,); NaN where none is known."""
    values, known = values.reshape(len(values), -1), known.reshape(len(values), -1)
    return torch.where(known, values, 0).sum(1) / known.sum(1)


def _form(scores: Tensor, task: str) -> tuple[Form, str]:
    """Tell raw scores from probabilities and their logarithms."""
    if task not in (*CLASSES, "multi_label") or not scores.numel() or scores.is_complex():
        return "values", ""
    values = scores.detach().float()
    values = values.movedim(1, -1) if task == "segmentation" else values
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
