"""What fills texts up is left out of what is told of answers: see `diorama.model.filler_labels`."""

import pathlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama

WORDS = ["<pad>", "<bos>", *"abcdef"]


class _Tagger(nn.Module):
    """Two texts, of which the answers copy the first; what it answers at filling is no filling."""

    def __init__(self, padding: int | None = None) -> None:
        super().__init__()
        self.emb = nn.Embedding(len(WORDS), 16, padding_idx=padding)
        self.out = nn.Linear(32, len(WORDS))

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        found: Tensor = self.out(torch.cat([self.emb(src), self.emb(tgt)], -1))
        return found


def _texts(count: int = 48) -> Tensor:
    """Texts of 2 to 8 letters, filled up to 8 with 0."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(2, len(WORDS), (count, 8), generator=draw)
    return x.masked_fill(torch.arange(8) >= (torch.arange(count) % 7 + 2)[:, None], 0)


def _trained(
    folder: pathlib.Path, ignored: int, names: list[str] | None, padding: int | None = None, **more: Any,
) -> tuple[diorama.Run, float, float]:
    """A short training; and the loss and the share of right answers of its probe set, without filling."""
    torch.manual_seed(0)
    model, x = _Tagger(padding), _texts()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    kinds = {name: diorama.Tokens(vocabulary=names) for name in ("src", "tgt")} if names else None
    with diorama.watch(model, folder, probe=((x, x), x), inputs=kinds, every=1, **more) as recorder:
        for _ in range(24):
            loss = F.cross_entropy(model(x, x).flatten(0, 1), x.flatten(), ignore_index=ignored)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    with torch.no_grad():
        scores = model.eval()(x, x)
    known = x != 0
    return diorama.Run(folder), float(F.cross_entropy(scores[known], x[known])), float((scores.argmax(-1) == x)[known].float().mean())


@pytest.mark.parametrize(("names", "padding", "more"), [
    (WORDS, None, {}),
    (None, 0, {}),
    (WORDS, None, {"criterion": lambda scores, y: F.cross_entropy(scores.flatten(0, 1), y.flatten(), ignore_index=0)}),
], ids=["by its name", "padding_idx", "criterion"])
def test_filling_counts_in_no_loss_and_no_share_of_right_answers(
    tmp_path: pathlib.Path, names: list[str] | None, padding: int | None, more: dict[str, Any],
) -> None:
    """Known by its name or by the embedding, or told by a criterion, it is in none of the probe set's numbers."""
    run, loss, right = _trained(tmp_path / "run", 0, names, padding, **more)
    assert run.series("probe/loss")[1][-1] == pytest.approx(loss, rel=1e-3)
    assert run.series("probe/accuracy")[1][-1] == pytest.approx(right, abs=1e-6)
    assert any("fills texts up" in one for one in run.meta["guessed"])
    scene = run.scene()
    assert scene.examples.y is not None
    assert bool((scene.reading.known(scene.examples.y) == (scene.examples.y != 0)).all())
    assert not run.meta.get("measure")


def test_a_loss_that_counts_filling_is_another_measure(tmp_path: pathlib.Path) -> None:
    """Gradients at labels that are filling say that the training counts them."""
    run, *_ = _trained(tmp_path / "run", -100, WORDS)
    assert "counts what fills texts up" in run.meta["measure"]


def test_a_class_that_is_no_filling_counts() -> None:
    """Label 0 stands between others here, whatever the embedding leaves out."""
    torch.manual_seed(0)
    x = torch.randint(0, len(WORDS), (48, 8))
    scene = diorama.Scene(_Tagger(0), (x, x), x)
    assert bool(scene.reading.known(x).all())
