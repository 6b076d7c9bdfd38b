"""Wrong labels are found in a probe set that is part of the training's own examples; hard examples are no wrong labels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.utils.data import DataLoader, Dataset

import diorama


class _Rows(Dataset[tuple[dict[str, Tensor], Tensor]]):
    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, k: int) -> tuple[dict[str, Tensor], Tensor]:
        return {"rows": self.x[k]}, self.y[k]


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = self.layers(rows)
        return found


@pytest.mark.parametrize("what", ["wrong", "clean", "overlapping"])
def test_labels_that_the_model_contradicts_are_named(tmp_path: Path, what: str) -> None:
    """Of inputs by name, in a short training: 24 of 300 labels are moved, and named are just these."""
    draw = torch.Generator().manual_seed(1)
    true = torch.arange(300) % 3
    x = torch.randn(300, 6, generator=draw) + {"overlapping": 1.3}.get(what, 3.0) * F.one_hot(true, 6)
    bad = torch.randperm(300, generator=draw)[:24] if what == "wrong" else torch.zeros(0, dtype=torch.long)
    y = true.clone()
    y[bad] = (y[bad] + 1) % 3
    data = diorama.data(_Rows(x, y))
    torch.manual_seed(0)
    model = _Net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with diorama.watch(model, tmp_path / "run", probe=data.examples(300), optimizer=optimizer, data=data, every=5) as recorder:
        for _ in range(12):
            for inputs, labels in DataLoader(data, 32, shuffle=True):
                loss = F.cross_entropy(model(**inputs), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                recorder.step(loss=loss)
    found = [one for one in diorama.open(recorder.path).findings() if one.finding == "label_noise"]
    assert len(found) == (what == "wrong")
    if what == "wrong":
        named = {int(key.split(":")[1]) for key in found[0].keys}
        assert len(named & set(bad.tolist())) > 0.8 * len(named) > 12
