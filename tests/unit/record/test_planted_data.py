"""Faults of data that are planted in three networks each are found: padding, leaked labels, rows on both sides, another vocabulary, a turned mask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.record import probe_overlap, side_facts
from diorama.record.findings import ALARM, Diagnosis

Pair = tuple[Tensor, Tensor]
WORDS = 12
"""Tokens of the small language; 0 fills texts up."""


class SumOfTwo(nn.Module):
    """What goes in, and what a layer makes of it."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.inner = nn.Linear(wide, wide)

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        return x + torch.relu(self.inner(x))


def _of_rows(kind: str, columns: int) -> nn.Module:
    if kind == "dense":
        return nn.Sequential(nn.Linear(columns, 12), nn.Tanh(), nn.Linear(12, 4))
    if kind == "convolutional":
        return nn.Sequential(nn.Unflatten(1, (1, columns)), nn.Conv1d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * columns, 4))
    return nn.Sequential(nn.Linear(columns, 12), SumOfTwo(12), nn.Linear(12, 4))


class Teller(nn.Module):
    """A language model of a recurrence, a convolution or attention."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.tokens, self.leave = kind, nn.Embedding(WORDS, 8), nn.Linear(8, WORDS)
        self.look: nn.Module = nn.GRU(8, 8, batch_first=True)
        if kind == "convolutional":
            self.look = nn.Conv1d(8, 8, 3)
        elif kind == "attention":
            self.look = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the next token at each place."""
        rows = self.tokens(x)
        if self.kind == "recurrent":
            rows = self.look(rows)[0]
        elif self.kind == "convolutional":
            rows = self.look(F.pad(rows.mT, (2, 0))).relu().mT
        else:
            rows = self.look(rows, src_mask=torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1))
        found: Tensor = self.leave(rows)
        return found


def _trained(
    path: Path, model: nn.Module, data: Pair, held: Pair, loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
) -> dict[str, Diagnosis]:
    x, y = data
    optimizer, generator = torch.optim.Adam(model.parameters(), 1e-2), torch.Generator().manual_seed(1)
    with diorama.watch(model, path, probe=held, optimizer=optimizer, every=5) as recorder:
        for _ in range(40):
            rows = torch.randint(len(x), (48,), generator=generator)
            value = loss(model(x[rows]), y[rows])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            recorder.step(loss=value)
    return {one.finding: one for one in diorama.open(path).findings()}


def _table(leak: str = "", rows: int = 900) -> Pair:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(rows) % 4
    x = torch.randn(rows, 6, generator=generator) + 0.7 * F.one_hot(y, 6)
    if leak == "noisy":
        x[:, 5] = y + 0.05 * torch.randn(rows, generator=generator)
    if leak == "rule":  # what asks whether a number is above another is no leak
        y = (x[:, 5] > -0.7).long() + (x[:, 5] > 0) + (x[:, 5] > 0.7)
    return x, y


@pytest.mark.parametrize("kind", ["dense", "convolutional", "summed"])
def test_a_column_that_is_the_label_with_noise_is_found(tmp_path: Path, kind: str) -> None:
    """A column that alone tells all classes with room to spare is an alarm; one that decides by a rule is none, nor are those that only help."""
    for leak in ("noisy", "rule", ""):
        torch.manual_seed(0)
        x, y = _table(leak)
        found = _trained(tmp_path / f"run{leak}", _of_rows(kind, 6), (x[:600], y[:600]), (x[600:], y[600:]))
        assert ("shortcut" in found) == (leak == "noisy")
        if leak == "noisy":
            assert found["shortcut"].severity >= ALARM
            assert found["shortcut"].text.startswith("The column x6 alone tells 100% ")


@pytest.mark.parametrize("kind", ["dense", "convolutional", "summed"])
def test_rows_on_both_sides_of_a_split_are_found(tmp_path: Path, kind: str) -> None:
    """Rows that were multiplied before the split are an alarm, a probe set out of the training is a calm line; rows of few numbers, which are the
    same by chance, are nothing, nor are rows of their own."""
    for case, severity in (("multiplied", 0.6), ("taken", 0.2), ("discrete", 0.0), ("own", 0.0)):
        torch.manual_seed(0)
        x, y = _table()
        if case == "multiplied":
            x, y = x[:150].repeat(6, 1), y[:150].repeat(6)
            order = torch.randperm(900)
            x, y = x[order], y[order]
        if case == "discrete":
            x = x.round().clamp(-1, 1)
        probe = slice(400, 600) if case == "taken" else slice(600, 900)
        found = _trained(tmp_path / case, _of_rows(kind, 6), (x[:600], y[:600]), (x[probe], y[probe]))
        assert ("probe_in_training" in found) == bool(severity)
        if severity:
            assert found["probe_in_training"].severity == severity
            assert "met in the batches that were read" in found["probe_in_training"].text


@pytest.mark.parametrize("most", [None, 600])
def test_a_probe_set_is_compared_whole_or_it_is_said_of_how_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int | None) -> None:
    """Of batches that are drawn from a large probe set all rows are found in it; where it is compared in part, its share is called the least."""
    if most:
        monkeypatch.setattr(probe_overlap, "COMPARED", most)
        monkeypatch.setattr(side_facts, "COMPARED", most)
    torch.manual_seed(0)
    x, y = _table()
    found = _trained(tmp_path / "run", _of_rows("dense", 6), (x, y), (x, y))["probe_in_training"]
    assert ("were read 100% of the rows" in found.evidence) == (most is None)
    assert ("were read at least" in found.evidence) == bool(most)
    assert ("the first 600 of its 900 examples were compared" in found.text) == bool(most)


def _texts(rows: int, filled: bool) -> Tensor:
    """Texts in which token 1 is half of all, which go on by no rule."""
    generator = torch.Generator().manual_seed(0)
    shares = torch.tensor([0.0, 1.0, *(0.6 / k for k in range(2, WORDS))])
    found = torch.multinomial(shares, rows * 17, replacement=True, generator=generator).reshape(rows, 17)
    if filled:
        long = torch.randint(4, 15, (rows, 1), generator=generator)
        found[torch.arange(17)[None] >= long] = 0
    return found


@pytest.mark.parametrize("kind", ["recurrent", "convolutional", "attention"])
def test_padding_in_the_loss_and_another_vocabulary_are_found(tmp_path: Path, kind: str) -> None:
    """Labels at padding that count are an alarm, those that are masked and a frequent token are none; a probe set under other numbers is one."""
    def loss(ignored: int) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda scores, y: F.cross_entropy(scores.flatten(0, 1), y.flatten(), ignore_index=ignored)

    for case, wanted in (("learnt", "padding"), ("masked", ""), ("whole", ""), ("renumbered", "probe_unlike_training")):
        torch.manual_seed(0)
        texts = _texts(400, case in ("learnt", "masked"))
        x, y = texts[:, :-1], texts[:, 1:]
        held = (x[300:], torch.where(y[300:] == 0, -100, y[300:]) if case == "masked" else y[300:])
        if case == "renumbered":
            held = (WORDS - 1 - held[0], WORDS - 1 - held[1])
        found = _trained(tmp_path / case, Teller(kind), (x[:300], y[:300]), held, loss(0 if case == "masked" else -100))
        assert {name for name in ("padding", "probe_unlike_training") if name in found} == ({wanted} if wanted else set())
        if wanted:
            assert found[wanted].severity >= ALARM
        if case == "learnt":
            there = float((y[:300] == 0).float().mean())
            told = float(found["padding"].text.split("%")[0]) / 100
            assert abs(told - there) < 0.12  # of some forty texts
        if case == "renumbered":
            assert found[wanted].title == "The probe set numbers its tokens otherwise"


class LooksWhereMasked(nn.Module):
    """Says something of a text that is filled up with 0, by attention that is masked, perhaps the wrong way round."""

    def __init__(self, kind: str, turned: bool) -> None:
        super().__init__()
        self.kind, self.turned, self.tokens, self.leave = kind, turned, nn.Embedding(WORDS, 8), nn.Linear(8, 4)
        self.look = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of four classes."""
        rows, words = self.tokens(x), (x != 0) != self.turned
        if self.kind == "torch's layer":
            rows = self.look(rows, src_key_padding_mask=~words)
        elif self.kind == "torch's function":
            rows = F.scaled_dot_product_attention(*(rows[:, None],) * 3, attn_mask=words[:, None, None])[:, 0]
        else:
            rows = (rows @ rows.mT).masked_fill(~words[:, None], -torch.inf).softmax(-1) @ rows
        found: Tensor = self.leave(rows.mean(1))
        return found


@pytest.mark.parametrize("kind", ["torch's layer", "torch's function", "by hand"])
def test_a_mask_that_is_the_wrong_way_round_is_found(tmp_path: Path, kind: str) -> None:
    """Attention to padding alone is an alarm before the first step; to words alone, or to whole texts, it is nothing."""
    for turned, filled in ((True, True), (False, True), (False, False)):
        path, x = tmp_path / f"{turned}{filled}", _texts(20, filled)
        with diorama.watch(LooksWhereMasked(kind, turned), path, probe=(x, torch.arange(20) % 4)) as recorder:
            recorder.step()
        found = {one.finding: one for one in diorama.open(path).findings()}
        assert ("padding" in found) == turned
        if turned:
            assert found["padding"].severity >= ALARM
            assert found["padding"].title == "Attention looks at padding alone"
