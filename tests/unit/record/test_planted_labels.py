"""Faults of labels, of the order in pictures and of what weights and statistics keep, each in one of three networks (in a sweep in each)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pairings import turn
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.record.findings import ALARM, Diagnosis
from diorama.record.look_pace import LookPace
from diorama.record.picture_order import PictureOrder

Data = tuple[Tensor, Tensor, Tensor, Tensor]


class _Sum(nn.Sequential):
    """What goes in, and what the layers make of it."""

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        found: Tensor = x + super().forward(x)
        return found


def _network(kind: str, momentum: float = 0.1) -> nn.Sequential:
    torch.manual_seed(0)
    if kind == "convolutional":
        return nn.Sequential(
            nn.Conv2d(1, 12, 3, 1, 1), nn.BatchNorm2d(12, momentum=momentum), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 10),
        )
    middle: list[nn.Module] = [nn.Linear(32, 32), nn.BatchNorm1d(32, momentum=momentum), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), *([_Sum(*middle)] if kind == "summed" else middle), nn.Linear(32, 10))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each fault has its network; a sweep plants it in all three."""
    if "kind" in metafunc.fixturenames:
        turn(metafunc, "kind", ["dense", "convolutional", "summed"])


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """The name of a kind of network."""
    found: str = request.param
    return found


@pytest.fixture(autouse=True)
def _looked_at_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks happen every 20 steps, however busy the machine is."""
    monkeypatch.setattr(LookPace, "affordable", lambda pace, number: number % 20 == 0)
    monkeypatch.setattr(LookPace, "rests", lambda pace, number: (True, number, np.inf))


def _digits() -> Data:
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8)[order] / 8 - 1, torch.tensor(y)[order]
    return x[:1400], y[:1400].clone(), x[1400:1700], y[1400:1700].clone()


def _trained(
    path: Path, model: nn.Module, data: Data, steps: int = 160, optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    rate: float = 3e-3, size: int = 64, **settings: float,
) -> dict[str, Diagnosis]:
    x, y, held, truth = data
    learning, generator = optimizer(model.parameters(), rate, **settings), torch.Generator().manual_seed(0)
    with diorama.watch(model, path, probe=(held, truth), optimizer=learning, every=10) as recorder:
        for _ in range(steps):
            rows = torch.randint(len(x), (size,), generator=generator)
            loss = F.cross_entropy(model(x[rows]), y[rows])
            learning.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            learning.step()
            recorder.step(loss=loss)
    return {one.finding: one for one in reversed(diorama.open(path).findings())}


def _alarms(found: dict[str, Diagnosis]) -> set[str]:
    return {name for name, one in found.items() if one.severity >= ALARM}


def test_a_class_whose_labels_were_shuffled_among_the_others_is_found(tmp_path: Path, kind: str) -> None:
    """Its examples get all sorts of answers, and it is named; in the whole data no class is."""
    x, y, held, truth = _digits()
    for name in ("shuffled", "whole"):
        if name == "shuffled":
            mine = torch.nonzero(y == 3).flatten()
            labels = y.clone()
            labels[mine] = torch.randint(10, mine.shape, generator=torch.Generator().manual_seed(1))
        found = _trained(tmp_path / name, _network(kind), (x, labels if name == "shuffled" else y, held, truth))
        assert ("unlearnt_class" in _alarms(found)) == (name == "shuffled")
        if name == "shuffled":
            assert found["unlearnt_class"].keys == ("class:3",)
            assert found["unlearnt_class"].title == "3 is not learnt"
            assert f"{(truth == 3).sum()} examples" in found["unlearnt_class"].evidence
        else:
            assert not _alarms(found)


def test_pictures_whose_rows_were_shuffled_are_found(tmp_path: Path, kind: str) -> None:
    """In the training alone or in the probe set alone; what both are like (channels have no order, and wood has grain) is worth knowing, no alarm."""
    generator = torch.Generator().manual_seed(0)

    def shuffled(x: Tensor) -> Tensor:
        return torch.stack([each[:, torch.randperm(8, generator=generator)] for each in x])

    x, y, held, truth = _digits()
    order = torch.randperm(8, generator=generator)
    cases = {
        "training": (shuffled(x), held, 0.75), "probe": (x, shuffled(held), 0.75), "both": (shuffled(x), shuffled(held), 0.4),
        "columns": (shuffled(x.mT).mT, held, 0.75), "alike": (x[:, :, order], held[:, :, order], 0.4), "whole": (x, held, 0.0),
    }
    for name, (learnt, probe, severity) in cases.items():
        found = _trained(tmp_path / name, _network(kind), (learnt, y, probe, truth), 40)
        assert (found["shuffled_pictures"].severity if severity else float("shuffled_pictures" in found)) == severity, name
        if severity:
            assert ("columns out of order" in found["shuffled_pictures"].title) == (name == "columns")
            assert found["shuffled_pictures"].title.startswith("The probe set's" if name == "probe" else "The training's")


def test_how_much_neighbours_differ_is_what_pairs_of_rows_say() -> None:
    """The two numbers are the mean squared difference of neighbours beside that of all pairs."""
    x = _digits()[0][:64]
    order = PictureOrder()
    for part in x.split(32):
        found = order.told(part)
    for name, axis in (("rows", 2), ("columns", 3)):
        lines = x.double().transpose(2, axis)
        near = torch.stack([(lines[:, :, k] - lines[:, :, k + 1]).square().mean() for k in range(7)]).mean()
        pairs = [(lines[:, :, i] - lines[:, :, k]).square().mean() for i in range(8) for k in range(8) if i != k]
        assert found[name] == pytest.approx(float(near / torch.stack(pairs).mean()))
    assert PictureOrder().told(torch.randn(64, 10)) == {}


def test_statistics_that_are_those_of_the_last_batch_are_found(tmp_path: Path, kind: str) -> None:
    """A momentum of 1, or of 0.99 as elsewhere, is told; the usual one is not, nor is one of 1 where each batch is all of the data."""
    x, y, held, truth = _digits()
    for momentum, size, told in ((1.0, 48, True), (0.99, 48, True), (0.1, 48, False)):
        found = _trained(tmp_path / f"{momentum}", _network(kind, momentum), (x, y, held, truth), 110, size=size)
        assert ("batch_norm_mismatch" in _alarms(found)) == told
        if told:
            assert f"a momentum of {momentum:g}" in found["batch_norm_mismatch"].text
    model = _network(kind, 1.0)
    learning = torch.optim.SGD(model.parameters(), 0.05)
    with diorama.watch(model, tmp_path / "whole", probe=(held, truth), optimizer=learning, every=5) as recorder:
        for _ in range(80):
            learning.zero_grad()
            loss = F.cross_entropy(model(x[:300]), y[:300])
            loss.backward()  # type: ignore[no-untyped-call]
            learning.step()
            recorder.step(loss=loss)
    assert "batch_norm_mismatch" not in {one.finding for one in diorama.open(tmp_path / "whole").findings()}


def test_decay_that_shrinks_what_is_learnt_is_found(tmp_path: Path, kind: str) -> None:
    """A decay of 10 is told, and with its harm where the loss has come down all the same; one of 0.1 is not."""
    for decay in (10.0, 0.1):
        found = _trained(
            tmp_path / f"{decay}", _network(kind), _digits(), 240, torch.optim.AdamW, 2e-3, weight_decay=decay,
        )
        assert ("weight_decay_too_strong" in _alarms(found)) == (decay == 10)
        if decay == 10:
            assert "takes 2 % off the weights at each step" in found["weight_decay_too_strong"].text


def test_decay_that_holds_back_the_probe_set_alone_is_no_alarm(tmp_path: Path) -> None:
    """Few rows with noisy labels: the training's own are answered right and surely, and the probe loss would be higher without the decay."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(700, 20, generator=generator)
    y = (torch.rand(700, generator=generator) < torch.sigmoid(1.2 * x[:, 0] - 0.8 * x[:, 1])).long()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 2))
    data = (x[:400], y[:400], x[400:], y[400:])
    found = _trained(tmp_path / "run", model, data, 240, torch.optim.SGD, 0.1, momentum=0.9, weight_decay=5e-3)
    run = diorama.open(tmp_path / "run")
    assert run.series("probe/loss")[1][-1] > 0.5 * run.meta["probe"]["floor"]  # the share of it that was an alarm by itself
    assert "weight_decay_too_strong" not in found


def test_decay_and_rate_are_those_of_one_group(tmp_path: Path) -> None:
    """A body that decays slowly beside a fast head that does not is silent; one that decays strongly is told by its own rate and its own weights."""
    x, y, held, truth = _digits()
    for decay, told in ((0.05, False), (30.0, True)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

        def grouped(_: object, rate: float, model: nn.Sequential = model, decay: float = decay) -> torch.optim.Optimizer:
            return torch.optim.SGD([{"params": model[3].parameters()}, {"params": model[1].parameters(), "lr": 1e-3, "weight_decay": decay}], rate)

        found = _trained(tmp_path / f"{decay}", model, (x, y, held, truth), 140, grouped, 0.1)
        assert ("weight_decay_too_strong" in found) == told
        if told:
            text = found["weight_decay_too_strong"].text
            assert "A weight decay of 30 at a rate of 0.001 takes 3 % off the weights at each step" in text
            norms = diorama.open(tmp_path / f"{decay}").series("weights/1.weight/norm")[1]
            assert f"They have shrunk to {norms[-1] / norms[0]:.0%} of what they began with" in text


@pytest.mark.parametrize("where", ["training", "both", "too small"])
def test_wrong_labels_are_an_alarm_where_something_else_speaks_of_them(tmp_path: Path, where: str) -> None:
    """The probe set that is answered better, or inputs like those that are contradicted; what a model is too small to tell is none."""
    generator = torch.Generator().manual_seed(1)
    if where == "too small":  # a line cannot part what lies in rings, and is sure all the same
        x = 4 * torch.rand(2600, 2, generator=generator) - 2
        y = ((x[:, 0] > 0) ^ (x[:, 1].abs() > 1.4)).long()
        model: nn.Module = nn.Linear(2, 2)
        data = (x[:2000], y[:2000], x[2000:], y[2000:])
    else:
        x, y, held, truth = _digits()
        moved = [torch.where(torch.rand(len(one), generator=generator) < 0.2, (one + torch.randint(1, 10, one.shape, generator=generator)) % 10, one)
                 for one in (y, truth)]
        model, data = _network("dense"), (x, moved[0], held, moved[1] if where == "both" else truth)
    found = _trained(tmp_path / "run", model, data, 300, rate=4e-3 if where != "too small" else 5e-2)
    assert ("label_noise" in _alarms(found)) == (where != "too small")
    if where == "both":
        assert "the most similar input has the label that was answered" in found["label_noise"].text
    elif where == "training":
        assert "labels of the training are wrong more often" in found["label_noise"].text


def test_signs_that_a_first_step_leaves_of_zeros_are_no_copies(tmp_path: Path) -> None:
    """An adapter that begins at zero has rows of few signs after a step of Adam: by chance some are the same, and they come apart at the next."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 4, bias=False), nn.Linear(4, 24, bias=False), nn.Linear(24, 10))
    nn.init.zeros_(model[1].weight)  # type: ignore[arg-type]
    model[2].weight.requires_grad_(False)  # type: ignore[union-attr]
    x, y, held, truth = _digits()
    held = held.flatten(1)
    learning = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], 1e-3)
    with diorama.watch(model, tmp_path / "run", probe=(held, truth), optimizer=learning, every=1) as recorder:
        loss = F.cross_entropy(model(x.flatten(1)), y)
        loss.backward()  # type: ignore[no-untyped-call]
        learning.step()
        recorder.step(loss=loss)
    rows = np.sign(model[1].weight.detach().numpy())  # type: ignore[union-attr]
    assert len(np.unique(rows, axis=0)) < len(rows)
    assert "duplicated_units" not in {one.finding for one in diorama.open(tmp_path / "run").findings()}
