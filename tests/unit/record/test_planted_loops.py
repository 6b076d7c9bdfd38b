"""Faults of loops that are planted in two networks each are found: one batch, masks that do not turn, true values of two scales, a decoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.record.findings import ALARM, Diagnosis

Pair = tuple[Any, Tensor]


def _train(
    path: Path, model: nn.Module, data: Pair, held: Pair, draw: Callable[[int], Pair] | None = None,
    loss: Callable[[Any, Tensor], Tensor] = F.cross_entropy, steps: int = 120, rate: float = 1e-2,
) -> tuple[dict[str, Diagnosis], Any]:
    x, y = data
    optimizer, generator = torch.optim.Adam(model.parameters(), rate), torch.Generator().manual_seed(1)
    with diorama.watch(model, path, probe=held, optimizer=optimizer, every=5) as recorder:
        for number in range(steps):
            rows = torch.randint(len(y), (16,), generator=generator)
            asked, wanted = draw(number) if draw is not None else (tuple(each[rows] for each in x) if isinstance(x, tuple) else x[rows], y[rows])
            value = loss(model(*asked) if isinstance(asked, tuple) else model(asked), wanted)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            recorder.step(loss=value)
    run = diorama.open(path)
    return {one.finding: one for one in run.findings()}, run


def _numbers(rows: int = 400) -> tuple[Tensor, Tensor]:
    x = torch.randn(rows, 4, generator=torch.Generator().manual_seed(0))
    return x, torch.sin(x[:, :1]) + 0.5 * x[:, 1:2]


def _dense(act: type[nn.Module], answers: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 24), act(), nn.Linear(24, answers))


@pytest.mark.parametrize("answers", [1, 3])
@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
def test_one_batch_for_ever_is_found(tmp_path: Path, act: type[nn.Module], answers: int) -> None:
    """The same few examples again and again are an alarm; all examples of a small set in one batch are none, nor are batches that are drawn, nor
    those of a fixed order that come again at each reading."""
    x, y = _numbers()
    y = y if answers == 1 else (y[:, 0] > -0.7).long() + (y[:, 0] > 0.7)
    loss = F.mse_loss if answers == 1 else F.cross_entropy
    held = slice(300, 400)
    cases: dict[str, Any] = {
        "stuck": lambda number: (x[:16], y[:16]), "whole": lambda number: (x[:300], y[:300]), "drawn": None,
        "in order": lambda number: (x[60 * (number % 5) :][:60], y[60 * (number % 5) :][:60]),
    }
    for case, draw in cases.items():
        found, _ = _train(tmp_path / case, _dense(act, answers), (x[:300], y[:300]), (x[held], y[held]), draw, loss)
        assert ("repeated_batch" in found) == (case == "stuck")
        if case == "stuck":
            assert found["repeated_batch"].severity >= ALARM
            assert "the very same 16 examples" in found["repeated_batch"].text


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
def test_true_values_of_another_scale_are_no_overfitting(tmp_path: Path, act: type[nn.Module]) -> None:
    """A probe set whose true values are not scaled as the training's is told as that, and as nothing else; alike ones are not told."""
    x, y = _numbers()
    for case, held in (("unscaled", y[300:] * 12 + 40), ("alike", y[300:])):
        found, _ = _train(tmp_path / case, _dense(act, 1), (x[:300], y[:300]), (x[300:], held), loss=F.mse_loss)
        told = found.get("probe_unlike_training")
        assert (told is not None) == (case == "unscaled")
        assert not {"overfitting", "unscaled_targets", "stalled_learning"} & set(found)
        if told is not None:
            assert told.severity >= ALARM
            assert "true values have another scale" in told.title


class Wide(nn.Module):
    """A segmentation that also sees the picture from further off."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.near, self.far = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1, stride=2)
        self.leave = nn.Conv2d(20, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of each pixel."""
        near = self.near(x).relu()
        found: Tensor = self.leave(torch.cat([near, F.interpolate(self.far(near).relu(), scale_factor=2)], 1))
        return found


def _segmenter(kind: str, classes: int) -> nn.Module:
    torch.manual_seed(0)
    if kind == "wide":
        return Wide(classes)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, classes, 1))


def _pictures(rows: int = 160) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x, y = 0.3 * torch.randn(rows, 1, 12, 12, generator=generator), torch.zeros(rows, 12, 12, dtype=torch.long)
    for number, (row, column) in enumerate(torch.randint(0, 9, (rows, 2), generator=generator).tolist()):
        y[number, row : row + 3, column : column + 3] = 1
        x[number, 0, row : row + 3, column : column + 3] += 1.5
    return x, y


@pytest.mark.parametrize("kind", ["narrow", "wide"])
def test_pictures_turned_over_without_their_masks_are_found(tmp_path: Path, kind: str) -> None:
    """Half of the pictures turned over are an alarm that names the way; turned with their masks they are nothing."""
    x, y = _pictures()
    for case, axis in (("columns", -1), ("rows", -2), ("both", -1)):
        generator = torch.Generator().manual_seed(2)

        def draw(_: int, case: str = case, axis: int = axis, generator: torch.Generator = generator) -> Pair:
            rows = torch.randint(120, (16,), generator=generator)
            over = (torch.rand(16, generator=generator) < 0.5)[:, None, None]
            wanted = torch.where(over, y[rows].flip(axis), y[rows]) if case == "both" else y[rows]
            return torch.where(over[:, None], x[rows].flip(axis), x[rows]), wanted

        found, _ = _train(tmp_path / case, _segmenter(kind, 2), (x, y), (x[120:], y[120:]), draw, steps=120)
        assert ("mirrored_masks" in found) == (case != "both")
        if case != "both":
            assert found["mirrored_masks"].severity >= ALARM
            assert {"columns": "left and right", "rows": "top and bottom"}[case] in found["mirrored_masks"].text


@pytest.mark.parametrize("kind", ["narrow", "wide"])
def test_a_label_that_the_loss_leaves_out_is_left_out_of_the_probe_set(tmp_path: Path, kind: str) -> None:
    """``ignore_index`` of the loop's loss is seen from the gradient: the probe set's loss goes with the training's, and nothing overfits."""
    x, y = _pictures()
    y = y.clone()
    y[torch.rand(y.shape, generator=torch.Generator().manual_seed(9)) < 0.3] = 2
    said: dict[str, float] = {}
    for case in ("ignored", "counted"):
        loss = (lambda scores, truth: F.cross_entropy(scores, truth, ignore_index=2)) if case == "ignored" else F.cross_entropy
        found, run = _train(tmp_path / case, _segmenter(kind, 3), (x[:120], y[:120]), (x[120:], y[120:]), loss=loss, steps=150)
        assert "overfitting" not in found
        assert ("unlearnt_class" in found and found["unlearnt_class"].title == "The loss leaves class 2 out") == (case == "ignored")
        said[case] = float(run.series("probe/loss")[1][-1])
        texts = [event.text for event in run.events]
        assert any("label 2 is left out of the probe set" in text for text in texts) == (case == "ignored")
    assert said["ignored"] < 0.4 < said["counted"]  # a third that is drawn by chance cannot be told


class Translator(nn.Module):
    """Reads one text and writes another."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.tokens, self.leave = kind, nn.Embedding(8, 12), nn.Linear(12, 8)
        self.read, self.write = nn.GRU(12, 12, batch_first=True), nn.GRU(12, 12, batch_first=True)
        self.look = nn.TransformerDecoderLayer(12, 2, 24, dropout=0.0, batch_first=True)

    def forward(self, text: Tensor, so_far: Tensor) -> Tensor:
        """Scores of the next token of the answer at each place."""
        seen, state = self.read(self.tokens(text))
        mask = torch.ones(so_far.shape[1], so_far.shape[1], dtype=torch.bool).triu(1)
        rows = self.write(self.tokens(so_far), state)[0] if self.kind == "recurrent" else self.look(self.tokens(so_far), seen, tgt_mask=mask)
        found: Tensor = self.leave(rows)
        return found


@pytest.mark.parametrize("kind", ["recurrent", "attention"])
def test_a_decoder_that_reads_its_answer_is_found(tmp_path: Path, kind: str) -> None:
    """Of several texts that go in, the one that is the answer itself is named; an answer that is read one place behind is nothing."""
    text = torch.randint(1, 8, (200, 6), generator=torch.Generator().manual_seed(0))
    answer = text.flip(1)
    behind = torch.cat([torch.zeros(200, 1, dtype=torch.long), answer[:, :-1]], 1)
    for case, second in (("leak", answer), ("right", behind)):
        torch.manual_seed(0)
        data, held = ((text[:150], second[:150]), answer[:150]), ((text[150:], second[150:]), answer[150:])
        found, _ = _train(tmp_path / case, Translator(kind), data, held, loss=lambda out, y: F.cross_entropy(out.mT, y), steps=40)
        assert ("visible_labels" in found) == (case == "leak")
        if case == "leak":
            assert "input 2 of those" in found["visible_labels"].text


class Speller(nn.Module):
    """Scores at each place of a text, read from both sides or, with a mask, up to there."""

    def __init__(self, kind: str, both: bool) -> None:
        super().__init__()
        self.tokens, self.both, self.kind = nn.Embedding(8, 12), both, kind
        self.leave, self.read = nn.Linear(24 if both and kind == "recurrent" else 12, 8), nn.GRU(12, 12, batch_first=True, bidirectional=both)
        self.look = nn.TransformerEncoderLayer(12, 2, 24, dropout=0.0, batch_first=True)

    def forward(self, text: Tensor) -> Tensor:
        """Scores of each place."""
        mask = None if self.both else torch.ones(text.shape[1], text.shape[1], dtype=torch.bool).triu(1)
        found: Tensor = self.leave(self.read(self.tokens(text))[0] if self.kind == "recurrent" else self.look(self.tokens(text), src_mask=mask))
        return found


@pytest.mark.parametrize("kind", ["recurrent", "attention"])
def test_labels_that_are_often_the_token_read_are_not_always_visible(tmp_path: Path, kind: str) -> None:
    """Next tokens of texts that keep their state, letters that are mended here and there, and a text that is written again from what an encoder
    made of it, by a decoder that is one place behind, are asked for rightly; labels of a text that are its own tokens are not."""
    generator = torch.Generator().manual_seed(0)
    state, other = torch.randint(1, 8, (2, 400, 1), generator=generator)
    still = torch.where(torch.arange(13) < torch.randint(1, 40, (400, 1), generator=generator), state, other)
    letters = torch.randint(1, 8, (400, 12), generator=generator)
    wrong = torch.where(torch.rand(letters.shape, generator=generator) < 0.03, torch.randint_like(letters, 1, 8, generator=generator), letters)
    behind = torch.cat([torch.zeros(400, 1, dtype=torch.long), letters[:, :-1]], 1)
    cases: dict[str, tuple[Any, Tensor, bool]] = {
        "shifted": (still[:, :-1], still[:, 1:], False), "own": (letters, letters, False), "own, still": (still, still, False),
        "mended": (wrong, letters, True), "written again": ((letters, behind), letters, True),
    }
    for name, (x, y, both) in cases.items():
        torch.manual_seed(0)
        data, held = [
            (tuple(each[part] for each in x) if isinstance(x, tuple) else x[part], y[part]) for part in (slice(300), slice(300, None))
        ]
        model = Translator(kind) if isinstance(x, tuple) else Speller(kind, both)
        found, run = _train(tmp_path / name, model, data, held, loss=lambda out, y: F.cross_entropy(out.mT, y), steps=40)
        assert run.series("batch/copied")[1][-1] > 0.9
        copies = [one for one in run.findings() if one.finding == "visible_labels" and one.title == "The labels are the tokens that are read"]
        assert bool(copies) == name.startswith("own"), (name, [one.severity for one in copies])
