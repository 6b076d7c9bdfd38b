"""Models that are given their labels and compute their own loss, as libraries have them: what they read is not what they are asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.errors import NotApplicable
from diorama.record.batch_texts import BatchTexts

SIZE, MASK, PLACES = 12, 1, 6
KIND = diorama.Tokens(vocabulary=("<pad>", "<mask>", *"abcdefghij"))


class _Given(nn.Module):
    """Takes labels, and holds its answers against them at their own places."""

    answers = SIZE

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.out = nn.Embedding(SIZE, 8), nn.GRU(8, 8, batch_first=True, bidirectional=True), nn.Linear(16, self.answers)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        return self.held(self.out(self.rnn(self.embed(input_ids))[0]), labels)

    def held(self, logits: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        found = {"logits": logits}
        if labels is not None:
            found["loss"] = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100)
        return found


class _Tagger(_Given):
    answers = 3


class _Translator(_Given):
    """Makes what its decoder reads of the labels, as encoder–decoders of libraries do."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder, self.says = nn.GRU(8, 16, batch_first=True), nn.Linear(16, SIZE)

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        moved = torch.cat([torch.full_like(labels[:, :1], MASK), labels[:, :-1]], 1)
        return moved.masked_fill(moved == -100, 0)

    def forward(
        self, input_ids: Tensor, labels: Tensor | None = None, decoder_input_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:
        if decoder_input_ids is None:
            assert labels is not None
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        state = self.rnn(self.embed(input_ids))[1].transpose(0, 1).flatten(1)
        return self.held(self.says(self.decoder(self.embed(decoder_input_ids), state[None])[0]), labels)


def _texts(how: str) -> tuple[Tensor, Tensor]:
    x = torch.randint(2, SIZE, (64, PLACES), generator=torch.Generator().manual_seed(0))
    if how == "masked":
        hidden = torch.arange(x.numel()).reshape(x.shape) % 4 == 0
        return x.masked_fill(hidden, MASK), x.masked_fill(~hidden, -100)
    return x, x % 3 if how == "tagged" else x.flip(1)[:, :4] if how == "shorter" else x.flip(1)


def _run(how: str, folder: Path) -> tuple[nn.Module, dict[str, Tensor]]:
    x, y = _texts(how)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = {"masked": _Given, "tagged": _Tagger}.get(how, _Translator)()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    probe = {"input_ids": x[48:], "labels": y[48:]}
    with diorama.watch(model, folder, probe=probe, optimizer=optimizer, inputs={"input_ids": KIND}, every=1, snapshots=4) as recorder:
        for step in range(10):
            rows = torch.arange(16) + 16 * (step % 3)
            loss = model(input_ids=x[rows], labels=y[rows])["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.detach())
    return model, probe


@pytest.mark.parametrize("how", ["masked", "tagged", "translated", "shorter"])
def test_labels_that_a_model_is_given_are_not_what_it_reads(how: str, tmp_path: Path) -> None:
    """No finding takes them for tokens that are read, the recorded loss is the model's own, and what is said of texts names the right ones."""
    model, probe = _run(how, tmp_path / "run")
    run = diorama.open(tmp_path / "run")
    assert "visible_labels" not in [one.finding for one in run.findings()]
    scene = run.scene()
    with torch.no_grad():
        logits = model.eval()(**probe)["logits"]
    each = F.cross_entropy(logits.transpose(1, 2), probe["labels"], ignore_index=-100, reduction="none")
    assert scene.losses().numpy() == pytest.approx((each.sum(1) / (probe["labels"] != -100).sum(1)).numpy(), rel=1e-3)
    if how == "masked":
        assert "shifted" not in scene.view("learns_from").caption
    elif how == "tagged":
        with pytest.raises(NotApplicable, match="answers each token with one of 3 classes"):
            scene.view("learns_from")
        assert "class " in scene.view("answer").caption
    else:
        read = model.prepare_decoder_input_ids_from_labels(probe["labels"])
        assert torch.equal(scene.live.x["decoder_input_ids"], read)
        assert "labels" not in scene.live.x
        assert "shifted" not in scene.view("learns_from", of="examples").caption
        assert scene.derive("learns_from").value[0]["token"] == MASK
        assert " next (" in scene.view("answer").caption
        assert scene.view("writes", length=3).caption.startswith("Of “")
        told = BatchTexts.of_rows({name: run.rows(name)[1][-1] for name in ("texts/tokens", "texts/labels", "texts/losses")})
        assert told is not None
        assert np.array_equal(told.tokens[:, 1:], told.labels[:, :-1])
        caption = scene.view("learns_from", of="batch").caption
        assert caption.startswith("The first 16 texts of the batch at step ")
        assert "shifted" not in caption
