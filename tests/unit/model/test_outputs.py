"""Scores, tasks, answers and losses read from what models return."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from diorama.core.errors import NotApplicable, NotFound
from diorama.model.criteria import class_weights
from diorama.model.last_op import AnswerTrace
from diorama.model.outputs import TASKS, Reading, pick
from diorama.scene import Scene


@pytest.mark.parametrize(
    ("shape", "y", "task"),
    [
        ((8, 3), torch.arange(8) % 3, "classification"),
        ((8, 3), F.one_hot(torch.arange(8) % 3), "classification"),
        ((8, 3), F.one_hot(torch.arange(8) % 3).float(), "classification"),
        ((8, 3), torch.tensor([[1, 1, 0]] * 8), "multi_label"),
        ((8, 1), torch.arange(8) % 2, "classification"),
        ((8,), torch.arange(8) % 2, "classification"),
        ((8, 1), torch.randn(8), "regression"),
        ((8, 2), torch.randn(8, 2), "regression"),
        ((8, 5, 7), torch.randint(0, 7, (8, 5)), "next_token"),
        ((8, 3), None, ""),
        ((8,), None, ""),
        ((8, 3, 4, 5), torch.randint(0, 3, (8, 4, 5)), "segmentation"),
        ((8, 3, 4, 5), torch.randint(0, 3, (8, 1, 4, 5)), "segmentation"),
        ((8, 3), torch.tensor([0, 1, -100, 2] * 2), "classification"),
        ((8, 3), torch.tensor([0, 1, 255, 2] * 2), "classification"),
        ((8, 1), torch.tensor([0, 1, -1, 0] * 2), "classification"),
        ((8, 3), torch.tensor([0, 1, 254, 2] * 2), ""),
        ((8, 3), torch.randn(8, 4), ""),
        ((8, 1), torch.zeros(8, dtype=torch.int64), "classification"),
    ],
)
def test_the_task_is_guessed_and_said(shape: tuple[int, ...], y: Tensor | None, task: str) -> None:
    """The task follows from the shapes of scores and truth, and a sentence says why."""
    reading = Reading.of(torch.randn(shape), y)
    assert reading.task == task
    assert any("task" in sentence for sentence in reading.guessed)


def test_one_score_is_two_classes_where_there_is_a_choice() -> None:
    """That one score stands for two classes is said; where one class name and one label leave no choice, nothing is guessed."""
    for y in (torch.zeros(8, dtype=torch.int64), torch.zeros(8)):
        only = Reading.of(torch.randn(8, 1), y, classes=("only",))
        assert (only.task, only.guessed[0][:19]) == ("", "the task is unknown")
        assert Reading.of(torch.randn(8, 1), y, classes=("no", "yes")).guessed[0].startswith("task guessed: two classes")
    assert Reading.of(torch.randn(8, 1), torch.arange(8) % 2, classes=("yes",)).task == "classification"


def test_a_told_task_is_not_guessed() -> None:
    """What the user says is taken, and nothing is stated as a guess; an unknown word is refused."""
    assert Reading.of(torch.randn(4, 3), task="multi_label").guessed == ()
    with pytest.raises(NotFound, match="classification"):
        Reading.of(torch.randn(4, 3), task="clasification")


def test_scores_are_found_in_nested_outputs() -> None:
    """The scores are taken from logits, else the first floating-point tensor, and the choice is stated."""
    scores, other = torch.randn(2, 3), torch.randn(2, 9)
    found, said = pick({"hidden": other, "logits": scores})
    assert found is scores
    assert "logits" in said
    assert pick((torch.tensor([1, 2]), scores))[0] is scores
    assert pick({"a": (other, scores)}, "a.1") == (scores, "")
    with pytest.raises(NotFound, match="a.1"):
        pick({"a": (other, scores)}, "a.2")
    with pytest.raises(NotApplicable):
        pick({"a": 1})
    # Of a distribution the numbers that it was made from.
    assert torch.allclose(pick(torch.distributions.Categorical(logits=scores))[0], scores.log_softmax(-1))
    assert torch.equal(pick((torch.distributions.Normal(scores, 1.0), other))[0], scores)


def test_probabilities_are_read_in_every_form() -> None:
    """Raw scores, probabilities and log-probabilities give the same probabilities and the same losses."""
    scores, y = torch.randn(6, 4), torch.arange(6) % 4
    wanted = scores.softmax(1)
    for form in (scores, scores.softmax(1), scores.log_softmax(1)):
        reading = Reading.of(form, y)
        assert torch.allclose(reading.probabilities(form), wanted, atol=1e-6)
        assert torch.allclose(reading.losses(form, y), F.cross_entropy(scores, y, reduction="none"), atol=1e-5)


def test_a_label_is_given_from_one_half_on() -> None:
    """A label is answered where its probability is above one half, whatever form it comes in, and so is its truth."""
    chances, y = torch.tensor([[0.1, 0.49, 0.51], [0.9, 0.2, 0.6]]), torch.tensor([[0.0, 1, 1], [0.9, 0.2, 0]])
    for scores, form in ((chances, "probabilities"), (chances.logit(), "scores")):
        reading = Reading(task="multi_label", form=form)
        assert torch.allclose(reading.probabilities(scores), chances)
        assert reading.predictions(scores).tolist() == [[False, False, True], [True, False, True]]
        assert reading.truth(y).tolist() == [[False, True, True], [True, False, False]]


def test_a_single_score_means_two_classes() -> None:
    """A classifier with one score answers with two probabilities that add up to one."""
    scores, y = torch.tensor([[2.0], [-1.0]]), torch.tensor([1, 1])
    reading = Reading.of(scores, y)
    assert reading.width(scores) == 2
    assert torch.allclose(reading.probabilities(scores)[:, 1], scores[:, 0].sigmoid())
    assert reading.predictions(scores).tolist() == [1, 0]
    assert reading.right(scores, y).tolist() == [1, 0]
    wanted = F.binary_cross_entropy_with_logits(scores[:, 0], y.float(), reduction="none")
    assert torch.allclose(reading.losses(scores, y), wanted, atol=1e-6)


def test_only_cross_entropy_is_told_in_nats() -> None:
    """Losses that grow with the square of answer and truth have no unit, nor has a criterion of the user's own; all others are nats."""
    scores, y = torch.randn(4, 5), torch.randn(4, 5)
    for task in TASKS:
        reading = Reading(task=task)
        if task in ("regression", "reconstruction"):
            torch.testing.assert_close(reading.losses(3 * scores, 3 * y), 9 * reading.losses(scores, y))
            assert reading.loss_unit == ""
        else:
            assert reading.loss_unit.startswith("nats")
        assert Reading(task=task, criterion=F.mse_loss).loss_unit == ""


def test_losses_of_the_other_tasks() -> None:
    """Texts lose the mean cross-entropy of their tokens, regressions the squared error, labels binary cross-entropy."""
    text, y = torch.randn(3, 5, 7), torch.randint(0, 7, (3, 5))
    wanted = F.cross_entropy(text.transpose(1, 2), y, reduction="none").mean(1)
    assert torch.allclose(Reading.of(text, y).losses(text, y), wanted, atol=1e-6)
    values, truth = torch.randn(4, 1), torch.randn(4)
    assert torch.allclose(Reading.of(values, truth).losses(values, truth), (values[:, 0] - truth) ** 2)
    labels = torch.tensor([[1, 1, 0], [0, 1, 1]])
    scores = torch.randn(2, 3)
    wanted = F.binary_cross_entropy_with_logits(scores, labels.float(), reduction="none").mean(1)
    assert torch.allclose(Reading.of(scores, labels).losses(scores, labels), wanted, atol=1e-5)


def test_losses_over_a_large_vocabulary_are_made_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many tokens no more are made probabilities of at once than stay at hand; losses are the same, also where steps are not known."""
    made = list[int]()
    logs = Reading._logs
    monkeypatch.setattr(Reading, "_logs", lambda self, scores: made.append(scores.numel()) or logs(self, scores))
    text, y = torch.randn(3, 50, 9_000), torch.randint(0, 9_000, (3, 50))
    y[1, 7:] = -100
    found = Reading(task="next_token").losses(text, y)
    wanted = F.cross_entropy(text.transpose(1, 2), y, reduction="none").sum(1) / (y >= 0).sum(1)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert max(made) <= 2**20
    assert sum(made) == text.numel()


def test_a_criterion_that_averages_is_called_for_each_example() -> None:
    """A user's loss gives one number an example, also where it returns the mean of a batch."""
    scores, y = torch.randn(5, 3), torch.arange(5) % 3
    for how in ("none", "mean"):
        reading = Reading.of(scores, y, criterion=lambda a, b, how=how: F.cross_entropy(a, b, reduction=how))
        assert torch.allclose(reading.losses(scores, y), F.cross_entropy(scores, y, reduction="none"), atol=1e-6)
    shares = torch.arange(1.0, scores.shape[1] + 1)
    for criterion in (
        nn.CrossEntropyLoss(shares), nn.CrossEntropyLoss(shares, label_smoothing=0.1), nn.CrossEntropyLoss(reduction="sum"),
        nn.MultiMarginLoss(weight=shares), lambda a, b: a.logsumexp(0).sum() - b.float().mean(),
    ):
        reading = Reading.of(scores, y, criterion=criterion)
        assert reading.loss(scores, y) == pytest.approx(float(criterion(scores, y)), rel=1e-5)
        if class_weights(criterion) is not None:
            assert reading.mean(reading.losses(scores, y), y) == pytest.approx(float(criterion(scores, y)), rel=1e-5)


def test_a_regression_is_neither_probable_nor_right() -> None:
    """Asking a regression for probabilities or right answers says what to look at instead."""
    reading = Reading.of(torch.randn(4, 1), torch.randn(4))
    with pytest.raises(NotApplicable, match="classifier"):
        reading.probabilities(torch.randn(4, 1))
    with pytest.raises(NotApplicable, match="losses"):
        reading.right(torch.randn(4, 1), torch.randn(4))


def test_outputs_of_the_inputs_shape_are_a_reconstruction() -> None:
    """Pictures answered with pictures are read as a reconstruction, whose truth is the input itself, also with classes."""
    x, y = torch.rand(4, 1, 6, 6), torch.arange(4)
    for truth in (y, None):
        reading = Reading.of(x + 0.5, truth, x=x)
        assert reading.task == "reconstruction"
        wanted = reading.wanted(x, truth)
        assert wanted is x
        torch.testing.assert_close(reading.losses(x + 0.5, wanted), torch.full((4,), 0.25))
    with pytest.raises(NotApplicable, match="reconstruction is not right or wrong"):
        reading.right(x, x)
    assert Reading.of(torch.rand(4, 2), y % 2, x=torch.rand(4, 2)).task == "classification"
    assert Reading.of(torch.rand(4, 2), None, x=torch.rand(4, 2)).task == ""
    assert Reading.of(torch.rand(4, 64), None, x=torch.rand(4, 64)).task == "reconstruction"
    assert Reading.of(x, x + 1, x=x).task == "regression"
    # A quantile net of three inputs, an ordinal one of three thresholds, and labels that start at 1 for three scores.
    rows = torch.rand(4, 3)
    for truth, why in ((torch.rand(4, 1), "truth of shape"), (torch.tensor([0, 1, 2, 3]), "0 to 3"), (torch.tensor([1, 2, 3, 1]), "y − 1")):
        unknown = Reading.of(rows, truth, x=rows + 1)
        assert unknown.task == ""
        assert why in unknown.guessed[0]


class _Ends(nn.Module):
    """Weights whose answers look like probabilities, and an ending."""

    def __init__(self, ending: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.last, self.ending = nn.Linear(5, 2), ending
        nn.init.zeros_(self.last.weight)
        nn.init.constant_(self.last.bias, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.ending(self.last(x))


@pytest.mark.parametrize(
    ("ending", "form", "several"),
    [
        (lambda z: z, "scores", "scores"),
        (lambda z: z * 2 - z.detach(), "scores", "scores"),
        (lambda z: torch.cat([z[:, 1:], z[:, :1]], 1).clone(), "scores", "scores"),
        (lambda z: z.softmax(1), "probabilities", "probabilities"),
        (lambda z: torch.stack([z.softmax(1), z.neg().softmax(-1)]).mean(0), "probabilities", "probabilities"),
        (lambda z: z.softmax(1).log(), "log_probabilities", "scores"),
        (lambda z: nn.functional.log_softmax(z, 1), "log_probabilities", "scores"),
        (lambda z: z.sigmoid_(), "scores", "probabilities"),  # of two classes that do not add up to 1
        (lambda z: z.exp().log(), "probabilities", "probabilities"),  # nothing tells it but the numbers
    ],
)
def test_the_form_of_scores_is_told_by_what_made_them(ending: Callable[[Tensor], Tensor], form: str, several: str) -> None:
    """Raw scores of 0.5 each are no probabilities because they look so; where only the numbers tell it, later ones can take it back."""
    model, x, y = _Ends(ending), torch.randn(6, 5), torch.tensor([0, 1, 0, 1, 1, 0])
    rows = torch.tensor([[1.0, 1], [0, 1], [0, 0], [1, 1], [0, 1], [1, 0]])
    for truth, wanted in ((y, form), (rows, several)):
        reading = Scene(model, x, truth).reading
        assert reading.form == wanted
        with AnswerTrace() as seen:
            output = model(x)
        assert Reading.of(output, truth, ending=seen) == reading
        guessed = "the outputs " in " ".join(reading.guessed)
        later = reading.reread(torch.tensor([[0.2, 1.9]]))
        assert guessed == (later is not reading) == (later.form != wanted)
        assert reading.reread(output.detach()) is reading


def test_without_truth_scores_are_classes_only_where_something_says_so() -> None:
    """Names, probabilities and log-probabilities say that scores are those of classes; 64 plain numbers do not."""
    scores = torch.randn(4, 3)
    assert Reading.of(scores, classes=("a", "b", "c")).task == "classification"
    assert Reading.of(torch.randn(4, 1), classes=("a", "b")).task == "classification"
    assert Reading.of(scores.softmax(1)).task == "classification"
    assert Reading.of(scores.log_softmax(1)).task == "classification"
    unclear = Reading.of(torch.randn(4, 64), classes=("a", "b"))
    assert unclear.task == ""
    assert "task=" in " ".join(unclear.guessed)


@pytest.mark.parametrize("label", [-100, -1, 255])
@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 5, 3), (6, 5, 4)])
def test_labels_that_say_nothing_count_for_nothing(label: int, shape: tuple[int, ...]) -> None:
    """Losses are torch's own with ignore_index, right answers are counted among the known, an unlabelled example has none."""
    torch.manual_seed(0)
    places = (6,) if len(shape) == 2 else (6, 5) if len(shape) == 3 else (6, 5, 3)
    scores, y = torch.randn(shape), torch.randint(0, 4, places)
    y[0], y.reshape(6, -1)[1, -1] = label, label
    reading = Reading.of(scores, y)
    assert sum("not known" in sentence for sentence in reading.guessed) == (label != -100)
    last = scores.transpose(1, 2) if len(shape) == 3 else scores
    losses = F.cross_entropy(last, y, reduction="none", ignore_index=label).reshape(6, -1)
    known = (y != label).reshape(6, -1)
    assert reading.labelled(y).tolist() == known.any(1).tolist()
    wanted = losses.sum(1) / known.sum(1)
    torch.testing.assert_close(reading.losses(scores, y), wanted, equal_nan=True)
    hits = ((last.argmax(1) == y).reshape(6, -1) & known).sum(1) / known.sum(1)
    torch.testing.assert_close(reading.right(scores, y), hits, equal_nan=True)
    assert bool(reading.losses(scores, y)[0].isnan())
    # Of all of them together each label counts alike, not each example.
    assert reading.loss(scores, y) == pytest.approx(float(F.cross_entropy(last, y, ignore_index=label)), rel=1e-5)
    share = float((last.argmax(1) == y)[y != label].float().mean())
    assert reading.mean(reading.right(scores, y), y, loss=False) == pytest.approx(share, rel=1e-5)


def test_scores_that_are_not_numbers_answer_no_class() -> None:
    """NaN scores have no predicted class, and are wrong for every truth, also for class 0."""
    scores, y = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    scores[0, 2] = scores[3] = torch.nan
    reading = Reading.of(scores, y)
    assert reading.predictions(scores)[[0, 3]].tolist() == [-1, -1]
    assert reading.right(scores, y)[[0, 3]].tolist() == [0, 0]
    single = torch.tensor([torch.nan, 1.0, -1.0])
    two = Reading.of(single, torch.tensor([0, 1, 0]))
    assert two.predictions(single).tolist() == [-1, 1, 0]


def test_a_texts_own_tokens_are_answered_one_step_earlier() -> None:
    """Labels that are the tokens are shifted where the model takes labels, given them or not, as the model shifts them."""
    tokens, scores = torch.randint(0, 7, (3, 5)), torch.randn(3, 5, 7)
    labels = tokens.clone()
    labels[:, :2] = -100
    x = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}
    reading = Reading.of({"loss": scores.mean(), "logits": scores}, labels, x=x)
    wanted = F.cross_entropy(scores[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=-100, reduction="none")
    torch.testing.assert_close(reading.losses(scores, labels), wanted.sum(1) / 3)
    masked = {**x, "input_ids": torch.where(labels == -100, tokens, 0)}
    assert not Reading.of(scores, labels, x=masked).ahead
    model = _Shifts()
    del x["labels"]
    for given in (x, tokens):
        scene = Scene(model, given, labels)
        assert scene.reading.ahead
        torch.testing.assert_close(scene.losses().mean(), model(tokens, labels=labels)["loss"].detach())
    assert not Scene(nn.Sequential(model.embed, model.head), tokens, labels, task="next_token").reading.ahead


class _Shifts(nn.Module):
    """Takes labels as Hugging Face's language models do, and shifts them by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 7)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None) -> dict[str, Tensor]:
        scores = self.head(self.embed(input_ids))
        loss = {} if labels is None else {"loss": F.cross_entropy(scores[:, :-1].flatten(0, 1), labels[:, 1:].flatten())}
        return {**loss, "logits": scores}


def test_one_score_a_place_is_two_classes() -> None:
    """Masks of zeros and ones, of whatever type, with one score a place are a segmentation; pictures that are the truth are not."""
    torch.manual_seed(0)
    x = torch.rand(12, 1, 6, 6)
    masks, net = (x > 0.5).float(), nn.Conv2d(1, 1, 3, padding=1)
    for truth in (masks, masks.bool(), masks[:, 0]):
        scene = Scene(net, x, truth)
        assert scene.task == "segmentation"
        assert any("two classes, as the truth is 0 or 1 at each place" in sentence for sentence in scene.guessed)
        assert scene.answers().loss == pytest.approx(float(F.binary_cross_entropy_with_logits(net(x), masks).detach()), abs=1e-5)
        assert scene.answers().accuracy == pytest.approx(float(((net(x) > 0) == masks.bool()).float().mean()), abs=1e-6)
    assert Scene(net, masks, masks).task == "reconstruction"
    assert Scene(net, x, masks - 0.5).task == "regression"
