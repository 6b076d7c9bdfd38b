"""Laws of groups: one member that no view can do anything with takes none of the others with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_rules import checked
from test_views import _quick
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.picture import Picture
from diorama.core.registry import views
from diorama.core.selection import Key
from diorama.run import Run


class _Odd(nn.Module):
    """A layer that is of no use to a view: for what it answers, or for what its weights are."""

    def __init__(self, answer: Callable[[Tensor, Tensor], object], weight: Tensor | None = None) -> None:
        super().__init__()
        self.answer = answer
        weight = torch.ones(2) if weight is None else weight
        self.weight = nn.Parameter(weight, requires_grad=weight.is_floating_point())

    def forward(self, x: Tensor) -> object:
        return self.answer(x, self.weight)


def _odd() -> list[nn.Module]:
    """One of each kind; their order is that of a network's layers."""
    return [
        _Odd(lambda x, w: (x * w).mean()),
        _Odd(lambda x, w: (x * w).to(torch.complex64)),
        _Odd(lambda x, w: (x * w)[:0]),
        _Odd(lambda x, w: (x * w)[:, :0]),
        _Odd(lambda x, w: x * w * float("nan")),
        _Odd(lambda x, w: (x * w).to_sparse()),
        _Odd(lambda x, w: "no numbers"),
        _Odd(lambda x, w: (x * w).reshape(-1, 1, 2, 1, 1, 1, 1)),
        _Odd(lambda x, w: x, torch.eye(2).to_sparse()),
        _Odd(lambda x, w: x, torch.ones(2, 2).to(torch.float8_e4m3fn)),
        _Odd(lambda x, w: x, torch.ones(2, 2, device="meta")),
        _Odd(lambda x, w: x, torch.ones(0, 2)),
        _Odd(lambda x, w: x, torch.full((2, 2), torch.nan)),
    ]


class _Beside(nn.Module):
    """A network that answers as ``sound`` does, whatever else runs within it."""

    def __init__(self, odd: list[nn.Module]) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.sound = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2))
        self.odd = nn.ModuleList(odd)
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        for one in self.odd:
            one(x)
        self.kept = self.sound(x)  # a result with its graph, which torch's own copy refuses
        return self.kept


def _trained(odd: list[nn.Module], x: Tensor, path: Path) -> Run:
    model, y = _Beside(odd), torch.arange(len(x)) % 2
    optimizer = torch.optim.SGD(model.sound.parameters(), 0.1)
    with diorama.watch(model, path, probe=(x, y), optimizer=optimizer, every=1, snapshots=1) as recorder:
        for _ in range(3):
            loss = nn.functional.cross_entropy(model(x.nan_to_num()), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.detach())
    return diorama.open(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A sound training, one with unfit layers beside, and one with an unfit row among its examples."""
    folder = tmp_path_factory.mktemp("unfit")
    x = torch.randn(16, 2, generator=torch.Generator().manual_seed(1))
    row = x.clone()
    row[5] = torch.tensor([np.nan, np.inf])
    return {
        "sound": _trained([], x, folder / "sound"),
        "layers": _trained(_odd(), x, folder / "layers"),
        "row": _trained([], row, folder / "row"),
    }


def _told(pictures: list[Picture]) -> set[str]:
    """The layers of the sound part that pictures show."""
    found = set()
    for picture in pictures:
        for mark in picture.marks():
            for field in ("keys", "row_keys", "column_keys", "point_keys"):
                for key in map(Key.parse, filter(None, getattr(mark, field, ()))):
                    if key.kind in ("layer", "unit"):
                        found.add(key.name)
    return {name for name in found if name.startswith("sound.")}


@pytest.mark.parametrize("name", list(views))
def test_an_unfit_layer_or_row_takes_no_other_with_it(name: str, runs: dict[str, Run]) -> None:
    """A view that fits a network fits it with unfit layers beside and with an unfit example, and shows what it showed."""
    known = {knob: value for knob, value in _quick(name).items() if knob not in ("layers", "count")}

    def drawn(run: Run) -> list[Picture]:
        try:
            return list(run.scene().stream(name, **known))
        except NotApplicable:
            return []

    sound = drawn(runs["sound"])
    if not sound:
        pytest.skip("it does not fit this network")
    for kind in ("layers", "row"):
        pictures = drawn(runs[kind])
        assert pictures, f"{kind}: nothing is drawn any more"
        for picture in pictures:
            checked(picture)
        if kind == "layers" and len(_told(sound)) > 1:  # a picture of one layer may show another
            assert _told(sound) <= _told(pictures)
