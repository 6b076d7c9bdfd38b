"""What a model answers, guessed from its scores and the truth: the task, the form of the scores, the labels that count for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.errors import NotApplicable
from ..data.text_places import IGNORED as IGNORED
from .last_op import Made

Task = Literal["classification", "multi_label", "regression", "next_token", "segmentation", "reconstruction", ""]
"""What the model answers; empty when the outputs do not tell."""
TASKS = ("classification", "multi_label", "regression", "next_token", "segmentation", "reconstruction")
CLASSES = ("classification", "next_token", "segmentation")
"""Tasks whose answers are one class each: for an example, a step or a place."""
ONE_NUMBER = ("the model answers a whole batch with one number, such as a loss, and each example wants an answer of its own; give the network that "
              "makes the scores, or say which output holds them: outputs=")
UNORDERED = ("the task is unknown: the answers are complex numbers, of which none is the largest, and what is shown of them is their magnitude; "
             "outputs=lambda found: found.abs() reads them so")
Form = Literal["scores", "probabilities", "log_probabilities", "values"]


def _each(scores: Tensor, y: Tensor | None) -> Tensor:
    """The scores, with an axis of examples. *Raises* NotApplicable as ``guess_task`` does."""
    scores = scores[None] if scores.ndim == 0 and (y is None or len(y) == 1) else scores
    if scores.ndim == 0:
        raise NotApplicable(ONE_NUMBER)
    if len(scores) and not scores.numel():
        raise NotApplicable(f"the model's answers, of shape {tuple(scores.shape)}, hold no numbers")
    return scores


def guess_task(scores: Tensor, y: Tensor | None, names: int = 0, made: Made = "") -> tuple[Task, str]:
    """Guess what the model answers from its scores, the truth, how many classes have names and by what the scores were made, and say why.

    *Raises* NotApplicable where examples have no answers of their own, or there are no numbers in them.
    """
    scores = _each(scores, y)
    if scores.is_complex():
        return ("regression", "task guessed: regression, as the truth is complex") if y is not None and y.is_complex() else ("", UNORDERED)
    shape = tuple(scores.shape)
    single = scores.ndim == 1 or shape[1:] == (1,)
    if y is None:
        if names and scores.ndim <= 2 and names == (2 if single else shape[1]):
            return "classification", f"task guessed: classification, as {names} classes have names"
        if scores.ndim == 2 and shape[1] > 1:
            form, _ = form_of(scores, "classification", made)
            if form != "scores":
                return "classification", f"task guessed: classification, as each example has {shape[1]} probabilities"
            return "", f"the task is unknown: nothing says whether an example's {shape[1]} numbers are scores of classes; pass task= or classes="
        if scores.ndim == 3:
            return "next_token", f"task guessed: next token, as each step of an example has {shape[2]} scores"
        return "", "the task is unknown, as there is no truth; say it with task="
    if single and names == 1 and y.numel() == len(y) and not y.is_complex() and bool((y == 0).all()):
        return "", "the task is unknown: one score, one class name and one label leave nothing to choose from; name two classes, or say it with task="
    unlike = ""
    whole = not y.is_floating_point() and not y.is_complex() and y.dtype != torch.bool
    rows = y.reshape(len(y), -1)
    if whole and _places(scores, y):
        return "segmentation", "task guessed: segmentation, as the truth is one whole number a place"
    if not whole and scores.ndim > 1 and shape[1] == 1 and _places(scores, y) and y.numel() and bool(((y == 0) | (y == 1)).all()):
        return "segmentation", "task guessed: segmentation in two classes, as the truth is 0 or 1 at each place and there is one score"
    if whole and y.ndim >= 2 and scores.ndim == y.ndim + 1 and shape[1:-1] == tuple(y.shape[1:]):
        return "next_token", "task guessed: next token, as the truth is one whole number a step"
    if (whole or y.dtype == torch.bool) and rows.shape[1] == 1 and scores.ndim <= 2:
        told = y[~among(y, _labels(y, 2 if single else shape[-1]))]
        low, high = (int(told.min()), int(told.max())) if told.numel() else (0, 0)
        count = 2 if single else shape[-1]
        if low >= 0 and high < count:
            few = high + 1 < count and names != count and told.numel() >= 10 * count
            rest = f", though none of the {told.numel()} is above {high} where there are {count} scores" if few else ""
            if single:
                return "classification", "task guessed: two classes, as the truth is 0 or 1 and there is one score"
            return "classification", f"task guessed: classification, as the truth is one whole number an example{rest}"
        if not single:
            start = "; pass labels that start at 0: y − 1" if low == 1 and high == count else "; say it with task="
            unlike = f"the task is unknown: labels from {low} to {high} do not go with {count} scores, whose classes are 0 to {count - 1}{start}"
    if rows.shape[1] > 1 and scores.ndim == 2 and shape[1] == rows.shape[1] and bool(((rows == 0) | (rows == 1)).all()):
        if bool((rows.sum(1) == 1).all()):
            return "classification", "task guessed: classification, as each row of the truth has a single 1"
        return "multi_label", "task guessed: several labels, as the rows of the truth are zeros and ones"
    if single and y.is_floating_point() and rows.shape[1] == 1 and bool(((y == 0) | (y == 1)).all()):
        return "classification", "task guessed: two classes, as the truth is 0 or 1 and there is one score"
    if y.reshape(len(y), -1).shape[1] == scores.reshape(len(scores), -1).shape[1]:
        return "regression", "task guessed: regression, as the truth is numbers of the output's own shape"
    return "", unlike or (
        f"the task is unknown: outputs of shape {shape[1:]} do not go with a truth of shape "
        f"{tuple(y.shape[1:])}; say it with task="
    )


_FEW = 16
"""Rows of so few numbers may have the length of the answers by chance."""


def same_as_input(scores: Tensor, x: Any, y: Tensor | None, guess: Task) -> str:
    """The sentence that says that outputs stand for the inputs, being of their shape; empty where they do not.

    Rows of a few numbers may have the inputs' shape by chance, and a truth of other numbers says that they are held against that.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        return ""
    if scores.shape[1:] != x.shape[1:]:
        # A row of as many numbers as a picture has is that picture, flattened; a table's columns may be as many by chance.
        flat = scores.ndim == 2 and x.ndim > 2 and scores.shape[1] == x[0].numel() > _FEW and guess == ""
        told = y is None or not (y.is_floating_point() or y.is_complex())
        return "task guessed: reconstruction, as each answer has as many numbers as its input, flattened" if flat and told else ""
    if y is not None and y.shape[1:] == x.shape[1:] and len(y) >= len(x) and torch.equal(y[: len(x)].to(x), x):
        return "task guessed: reconstruction, as the outputs have the shape of the inputs, which are the truth too"
    if guess != "" and not (y is None and scores.ndim > 2):
        return ""
    if scores.ndim <= 2 and scores[0].numel() <= _FEW:
        return ""
    if y is None:
        return "task guessed: reconstruction, as the outputs have the shape of the inputs, and there is no truth"
    if y.is_floating_point() or y.is_complex():
        return ""
    return "task guessed: reconstruction, as the outputs have the shape of the inputs, and the labels are none of them"


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


def ignored_labels(scores: Tensor, y: Tensor | None, task: str) -> tuple[tuple[int, ...], str]:
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


def among(y: Tensor, labels: Sequence[int]) -> Tensor:
    found = torch.zeros_like(y, dtype=torch.bool)
    for label in labels:
        # A label that the type of the truth cannot hold is not in it.
        if y.is_floating_point() or torch.iinfo(y.dtype if y.dtype != torch.bool else torch.uint8).min <= label:
            found |= y == label
    return found


def own_tokens(x: Any, y: Tensor | None, ignored: Sequence[int]) -> bool:
    """Whether labels are the tokens that the model reads, and it is given them too: it shifts them by itself."""
    if y is None or not isinstance(x, Mapping) or not isinstance(x.get("labels"), Tensor):
        return False
    known = ~among(y, ignored)
    for name, part in x.items():
        if name != "labels" and isinstance(part, Tensor) and part.shape[1:] == y.shape[1:] and not part.is_floating_point():
            count = min(len(part), len(y))
            seen, told, there = part[:count].to(y.device), y[:count], known[:count]
            # A mask is ones wherever a label is known; tokens are several.
            if bool((seen == told)[there].all()) and bool(there.any()) and int(told[there].min()) < int(told[there].max()):
                return True
    return False


def form_of(scores: Tensor, task: str, made: Made = "") -> tuple[Form, str]:
    """Tell raw scores from probabilities and their logarithms, by what made them, else by their numbers: then a sentence says so."""
    if task not in (*CLASSES, "multi_label") or not scores.numel() or scores.is_complex():
        return "values", ""
    values = scores.detach().float()
    values = values.movedim(1, -1) if task == "segmentation" else values
    if made == "scores" or not bool(torch.isfinite(values).all()):
        return "scores", ""
    single = values.ndim == 1 or values.shape[-1] == 1
    unit = bool((values >= 0).all()) and bool((values <= 1).all())
    if unit and (single or task == "multi_label"):
        return "probabilities", "" if made else "the outputs lie between 0 and 1, so they are read as probabilities"
    if unit and torch.allclose(values.sum(-1), torch.ones(()).to(values), atol=1e-3):
        return "probabilities", "" if made else "the outputs of an example add up to 1, so they are read as probabilities"
    sums = values.exp().sum(-1)
    if not single and task != "multi_label" and torch.allclose(sums, torch.ones(()).to(values), atol=1e-3):
        why = "the exponentials of the outputs add up to 1, so they are read as log-probabilities"
        return "log_probabilities", "" if made else why
    return "scores", ""


def contradicted(form: Form, values: Tensor, apart: bool) -> bool:
    """Whether values, with the classes last, cannot have a form; ``apart``: each is a probability by itself."""
    values = values.detach().float()
    if form not in ("probabilities", "log_probabilities") or not values.numel() or not bool(torch.isfinite(values).all()):
        return False
    values = values.exp() if form == "log_probabilities" else values
    outside = float(values.min()) < -_NEAR or float(values.max()) > 1 + _NEAR
    return outside or (not apart and float((values.sum(-1) - 1).abs().max()) > _NEAR)


_NEAR = 0.02
"""Probabilities in numbers of few digits may add up to so much more or less than 1."""
