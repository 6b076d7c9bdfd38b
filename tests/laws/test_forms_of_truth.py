"""A probe set whose true values are given in another form than the loop's loss has them raises no alarm, and is read as the loop reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.record.findings import ALARM

TOKENS, PLACES = 12, 10


class _Writer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.read, self.head = nn.Embedding(TOKENS, 16), nn.GRU(16, 24, batch_first=True), nn.Linear(24, TOKENS)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(self.embed(x))[0])


def _texts(count: int, generator: torch.Generator) -> Tensor:
    """Each token is followed by one of two, mostly by the first."""
    follows = torch.randint(TOKENS, (TOKENS, 2), generator=torch.Generator().manual_seed(3))
    tokens = [torch.randint(TOKENS, (count,), generator=generator)]
    for _ in range(PLACES):
        tokens.append(follows[tokens[-1], (torch.rand(count, generator=generator) < 0.2).long()])
    return torch.stack(tokens, 1)


def _train(path: Path, form: str, copied: bool = False) -> diorama.Run:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model, texts = _Writer(), _texts(64, generator)
    probes: dict[str, Any] = {
        "shifted": (texts[:, :-1], texts[:, 1:]), "own": (texts, texts), "without": texts[:, :-1],
        "masked": (texts[:, :-1], texts[:, :-1].masked_fill(torch.rand(64, PLACES, generator=generator) < 0.3, -100)),
    }
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with diorama.watch(model, path, probe=probes[form], optimizer=optimizer, every=10) as recorder:
        for _ in range(220):
            batch = _texts(32, generator)
            optimizer.zero_grad()
            scores, labels = model(batch), batch if copied else batch[:, 1:]
            loss = F.cross_entropy(scores[:, : labels.shape[1]].reshape(-1, TOKENS), labels.reshape(-1))
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    return diorama.open(path)


@pytest.mark.parametrize("form", ["shifted", "own", "masked", "without"])
def test_labels_that_only_the_loop_shifts_are_read_as_it_does(tmp_path: Path, form: str) -> None:
    """Whoever gives the texts as their own labels gets the loss of the next tokens, at the end, in the record and in scenes, and no alarm."""
    run = _train(tmp_path / "run", form)
    assert not [found for found in run.findings() if found.severity >= ALARM]
    if form == "without":
        return
    loss, right = run.series("probe/loss")[1][-1], run.series("probe/accuracy")[1][-1]
    assert loss < 0.8
    assert right > 0.7
    assert run.meta["ahead"] is (form != "shifted")
    assert any("held against the next token" in one for one in run.meta["guessed"]) is (form != "shifted")
    scene = run.scene()
    assert scene.reading.ahead is (form != "shifted")
    assert abs(float(scene.losses().mean()) - loss) < 0.05


def test_a_loop_that_copies_is_not_read_as_one_that_shifts(tmp_path: Path) -> None:
    """Where the loop itself holds each answer against the very token that is read, so does the probe set, and that is told."""
    run = _train(tmp_path / "run", "own", copied=True)
    assert run.meta["ahead"] is False
    assert run.series("probe/loss")[1][-1] < 0.1
    assert "visible_labels" in [found.finding for found in run.findings() if found.severity >= ALARM]
