"""Layers before a packed recurrent layer answer at each example's own steps; what is filled in behind its end is counted nowhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from diorama.model.layers import layers
from diorama.model.scan import scan
from diorama.record.layer_reader import LayerReader

X = torch.tensor([[3, 0, 0, 0, 0, 0], [5, 1, 2, 4, 6, 7], [2, 2, 0, 0, 0, 0]])
LENGTHS = (1, 6, 2)


class Texts(nn.Module):
    """Words, squashed, packed and read; what is filled in lies at the end of the squashing function."""

    def __init__(self, packs: bool = True) -> None:
        super().__init__()
        self.words, self.squash, self.packs = nn.Embedding(8, 4), nn.Tanh(), packs
        self.rnn, self.each = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 2)
        with torch.no_grad():
            self.words.weight[0] = 9.0

    def forward(self, x: Tensor) -> Tensor:
        """Two numbers a text."""
        read = self.squash(self.words(x))
        if not self.packs:
            return self.each(self.rnn(read)[0]).sum(1)
        lengths = (x != 0).sum(1)
        steps, _ = pad_packed_sequence(self.rnn(pack_padded_sequence(read, lengths, batch_first=True, enforce_sorted=False))[0], batch_first=True)
        return self.each(steps).sum(1)


def _own(model: Texts) -> dict[str, Tensor]:
    """What each layer answers at the steps that there are, one example at a time."""
    with torch.no_grad():
        words = [model.words(x[:n]) for x, n in zip(X, LENGTHS if model.packs else (6, 6, 6), strict=True)]
        return {"words": torch.cat(words), "squash": torch.cat(words).tanh()}


@pytest.mark.parametrize("packs", [True, False])
def test_a_reading_counts_what_was_read(packs: bool) -> None:
    """Numbers and saturation are those of the words themselves, in the order of the layers, also of two passes; without packing all are counted."""
    torch.manual_seed(0)
    model = Texts(packs)
    own = _own(model)
    reader = LayerReader(model, layers(model, X), lambda error: pytest.fail(str(error)))
    for _ in range(2):
        reader.arm(only_training=False)
        model(X)
        model(X[[1, 0]])
        found = reader.finish()
        assert list(found) == ["words", "squash", "rnn", "each"]
        for name, answers in own.items():
            twice = torch.cat([answers, answers[: 7 if packs else 12]])
            assert found[name].values.counts.sum() == twice.numel(), name
            assert found[name].values.norm == pytest.approx(float(twice.double().norm()), rel=1e-5), name
        twice = torch.cat([own["squash"], own["squash"][: 7 if packs else 12]])
        assert found["squash"].saturated == pytest.approx(float((twice.abs() >= 0.98).double().mean()))


@pytest.mark.parametrize("names", [("words",), ("words", "squash", "rnn"), "all"])
@pytest.mark.parametrize("packs", [True, False])
def test_a_scan_counts_what_was_read(names: tuple[str, ...], packs: bool) -> None:
    """Moments are those of the words themselves, whichever layers are asked for; without packing all are counted."""
    torch.manual_seed(0)
    model = Texts(packs)
    found = scan(model, [(X, None)], names)
    for name, answers in _own(model).items():
        if names == "all" or name in names:
            np.testing.assert_allclose(found[name].moments.mean, answers.double().mean(0).numpy(), rtol=1e-5, err_msg=name)
            np.testing.assert_allclose(found[name].moments.high, answers.amax(0).numpy(), rtol=1e-6, err_msg=name)
