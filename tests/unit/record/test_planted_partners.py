"""Faults between a network and what it hands on, planted in three networks each, are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pairings import pairs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.record.findings import ALARM, Diagnosis
from diorama.record.findings.duplicated_units import twins


def _alarms(path: Path) -> dict[str, Diagnosis]:
    return {one.finding: one for one in diorama.open(path).findings() if one.severity >= ALARM}


def _often(steps: int) -> dict[str, Any]:
    """Readings of batches every so many steps, and hardly any others."""
    return {"every": 40, "signals": {"batch": {"every": steps}}}


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class _Recurrent(nn.Module):
    """Tokens or numbers, a recurrent layer that may be given a state, and an answer a text or a place."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.tokens = nn.Embedding(9, 8) if kind != "series" else nn.Linear(2, 8)
        self.rnn: nn.Module = {"texts": nn.LSTM, "series": nn.GRU}.get(kind, nn.LSTM)(8, 12, batch_first=kind != "series")
        if kind == "places":
            self.rnn = nn.LSTMCell(8, 12)
        self.leave = nn.Linear(12, 9 if kind == "places" else 2 if kind == "texts" else 1)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The answer, and the state in which it ends."""
        rows = self.tokens(x)
        if self.kind == "places":
            made = []
            for row in rows.unbind(1):
                state = self.rnn(row, state)
                made.append(state[0])
            return self.leave(torch.stack(made, 1)), state
        out, state = self.rnn(rows, state)
        return self.leave(out[:, -1] if self.kind == "texts" else out[-1]), state


def _sequences(kind: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    if kind == "series":
        x = _drawn(6, 120, 2)
        return x, x.sum((0, 2))[:, None].tanh()
    tokens = torch.randint(9, (120, 7), generator=generator)
    return (tokens[:, :-1], tokens[:, 1:]) if kind == "places" else (tokens, (tokens[:, 0] > 4).long())


def _read(path: Path, kind: str, how: str) -> dict[str, Diagnosis]:
    """Texts in an order drawn anew in each epoch, or always in the same; a state that is carried over, or none."""
    torch.manual_seed(0)
    model, (x, y) = _Recurrent(kind), _sequences(kind)
    axis = int(kind == "series")
    loss = F.mse_loss if kind == "series" else F.cross_entropy
    optimizer, generator = torch.optim.Adam(model.parameters(), 1e-3), torch.Generator().manual_seed(0)
    probe = (x.select(axis, 0)[None] if axis else x[:10], y[:1] if axis else y[:10])
    state: Any = None
    with diorama.watch(model, path, probe=None if axis else probe, outputs=0, optimizer=optimizer, **_often(3)) as recorder:
        for _ in range(8):
            order = torch.randperm(120, generator=generator) if how != "in order" else torch.arange(120).reshape(15, 8).T.reshape(-1)
            for rows in order.split(15):
                scores, state = model(x.index_select(axis, rows), state if how != "anew" else None)
                value = loss(scores.flatten(0, -2), y[rows].flatten(0, 1 if kind == "places" else 0))
                state = tuple(each.detach() for each in state) if isinstance(state, tuple) else state.detach()
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                recorder.step(loss=value.detach())
    return _alarms(path)


@pytest.mark.parametrize("kind", ["texts", "series", "places"])
def test_a_state_that_is_carried_over_between_texts_is_found(tmp_path: Path, kind: str) -> None:
    """Of texts drawn by chance the carried state is told; where rows go on in their order, or begin without a state, it is not."""
    assert "carried_state" in _read(tmp_path / "carried", kind, "carried")
    assert "carried_state" not in _read(tmp_path / "order", kind, "in order")
    assert "carried_state" not in _read(tmp_path / "anew", kind, "anew")
    assert "batch/carried" not in diorama.open(tmp_path / "anew").series_names


def test_a_stream_whose_parts_go_on_is_known_by_its_next_tokens(tmp_path: Path) -> None:
    """A text of a few pieces in any order, read on with its state, brings rows behind others; its last label is the next first token."""
    torch.manual_seed(0)
    model = _Recurrent("places")
    generator = torch.Generator().manual_seed(0)
    pieces = torch.randint(9, (6, 10), generator=generator)
    streams = pieces[torch.randint(6, (16, 60), generator=generator)].flatten(1)
    optimizer, state = torch.optim.Adam(model.parameters(), 1e-3), None
    with diorama.watch(model, tmp_path / "run", outputs=0, optimizer=optimizer, **_often(3)) as recorder:
        for at in range(0, 500, 10):
            scores, state = model(streams[:, at : at + 10], state)
            value = F.cross_entropy(scores.flatten(0, 1), streams[:, at + 1 : at + 11].flatten())
            state = tuple(each.detach() for each in state)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            recorder.step(loss=value.detach())
    assert "carried_state" not in _alarms(tmp_path / "run")
    run = diorama.open(tmp_path / "run")
    assert run.series("batch/carried")[1].all()
    assert len(run.series("batch/strange")[1]) > 5


class _Vae(nn.Module):
    def __init__(self, before: nn.Module, wide: int, after: nn.Module, how: str) -> None:
        super().__init__()
        self.before, self.mean, self.spread, self.after, self.how = before, nn.Linear(wide, 3), nn.Linear(wide, 3), after, how

    def forward(self, x: Tensor) -> Any:
        """What is made again, and the two halves of the code."""
        hidden = self.before(x)
        mean, log = self.mean(hidden), self.spread(hidden)
        made = self.after(mean + torch.randn_like(mean) * (0.5 * log).exp())
        return {"made": made, "mean": mean, "log": log} if self.how == "dict" else (made, mean, log)


def _coded(path: Path, name: str, weight: float, every: int = 10) -> dict[str, Diagnosis]:
    torch.manual_seed(0)
    two = _drawn(600, 2)
    x = torch.cat([two, two.sin(), two * two.flip(1), two.cos()], 1)
    if name == "pictures":
        x = x.reshape(-1, 1, 2, 4).repeat(1, 1, 2, 1)
        before = nn.Sequential(nn.Conv2d(1, 6, 3, 1, 1), nn.ReLU(), nn.Flatten())
        model = _Vae(before, 96, nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 16), nn.Unflatten(1, (1, 4, 4))), "tuple")
    else:
        act = nn.Tanh if name == "table" else nn.ReLU
        model = _Vae(nn.Sequential(nn.Linear(8, 32), act()), 32, nn.Sequential(nn.Linear(3, 32), act(), nn.Linear(32, 8)), "dict" * (name == "dict"))
    optimizer, generator = torch.optim.Adam(model.parameters(), 5e-3), torch.Generator().manual_seed(0)
    outputs = "made" if name == "dict" else 0
    with diorama.watch(model, path, probe=(x[:50], x[:50]), outputs=outputs, optimizer=optimizer, **_often(every)) as recorder:
        for _ in range(150):
            rows = x[torch.randint(600, (32,), generator=generator)]
            out = model(rows)
            made, mean, log = out.values() if isinstance(out, dict) else out
            value = (made - rows).square().flatten(1).sum(1).mean() + weight * 0.5 * (mean.square() + log.exp() - log - 1).sum(1).mean()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            recorder.step(loss=value.detach())
    return _alarms(path)


@pytest.mark.parametrize("name", ["table", "dict", "pictures"])
def test_a_code_that_the_kl_term_presses_flat_is_found(tmp_path: Path, name: str) -> None:
    """A KL term a thousand times too heavy is told by what it makes of the code; the usual one is not."""
    assert "collapsed_code" in _coded(tmp_path / "heavy", name, 1000.0)
    assert "collapsed_code" in _coded(tmp_path / "seldom", name, 1000.0, every=60)
    assert not _coded(tmp_path / "usual", name, 1.0)


class _Tokened(nn.Module):
    """Each column becomes a row of its own, the rows look at each other, and their mean answers."""

    def __init__(self, columns: int, answers: int) -> None:
        super().__init__()
        self.size, self.place = nn.Parameter(0.5 * torch.randn(columns, 8)), nn.Parameter(0.5 * torch.randn(columns, 8))
        self.look, self.leave = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), nn.Linear(8, answers)

    def forward(self, x: Tensor) -> Tensor:
        """A table's rows."""
        return self.leave(self.look(x[:, :, None] * self.size + self.place).mean(1))


class _Wide(nn.Module):
    """A straight way beside a deep one with norms."""

    def __init__(self, columns: int, answers: int) -> None:
        super().__init__()
        self.straight = nn.Linear(columns, answers)
        self.deep = nn.Sequential(nn.BatchNorm1d(columns), nn.Linear(columns, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, answers))

    def forward(self, x: Tensor) -> Tensor:
        """A table's rows."""
        return self.straight(x) + self.deep(x)


def _plain_table(columns: int, answers: int) -> nn.Module:
    return nn.Sequential(nn.Linear(columns, 24), nn.Tanh(), nn.Linear(24, answers))


TABLE_NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {"dense": _plain_table, "wide and deep": _Wide, "attention": _Tokened}


def _tabled(path: Path, name: str, plant: str, network: str) -> dict[str, Diagnosis]:
    torch.manual_seed(0)
    x = _drawn(400, 6)
    number = x[:, :1] - x[:, 1:2].square() + 0.1 * _drawn(400, 1, seed=1)
    ends = {"two classes": [0.0], "three classes": [-1.0, 0.5]}.get(name)
    y = torch.bucketize(number[:, 0], torch.tensor(ends)) if ends else number
    planted = {"copy": y.reshape(-1).float() * 1.7 - 0.4, "one": (y.reshape(-1) == 1).float()}.get(plant)
    if planted is not None:
        x[:, 4] = planted
    loss = F.mse_loss if name == "regression" else F.cross_entropy
    model = TABLE_NETWORKS[network](6, 1 if name == "regression" else int(y.max()) + 1)
    inputs = diorama.Table(columns=("age", "height", "weight", "rate", "code", "time"))
    optimizer, generator = torch.optim.Adam(model.parameters(), 3e-3), torch.Generator().manual_seed(0)
    with diorama.watch(model, path, probe=(x[:80], y[:80]), inputs=inputs, optimizer=optimizer, **_often(5)) as recorder:
        for _ in range(60):
            rows = torch.randint(80, 400, (32,), generator=generator)
            value = loss(model(x[rows]), y[rows])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            recorder.step(loss=value.detach())
    return _alarms(path)


LEAKS = [("two classes", "copy"), ("three classes", "copy"), ("three classes", "one"), ("regression", "copy")]


@pairs("network, leak", list(TABLE_NETWORKS), LEAKS, 3, lambda each: each if isinstance(each, str) else "-".join(each))
def test_a_label_in_a_column_of_a_small_table_is_found(tmp_path: Path, network: str, leak: tuple[str, str]) -> None:
    """A column that holds the label, or whether it is one class, is told by its name; the table without it raises no alarm."""
    name, plant = leak
    found = _tabled(tmp_path / "planted", name, plant, network)
    assert set(found) == {"shortcut"}
    assert "column code" in found["shortcut"].text
    assert found["shortcut"].keys == (("class:1",) if plant == "one" else ())
    assert not _tabled(tmp_path / "clean", name, "", network)


def _pair(path: Path, kind: str, turned: bool, each: int = 5) -> dict[str, Diagnosis]:
    """A network learns to make points beside a critic, which steps several times for each of its steps; the alarms are of the critic."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    shape = (1, 3, 3) if kind == "pictures" else (9,)
    make = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 9), nn.Unflatten(1, shape) if kind == "pictures" else nn.Identity())
    judge = nn.Sequential(nn.Flatten(), nn.Linear(9, 24), nn.LeakyReLU(0.2), nn.Linear(24, 1))
    if kind == "pictures":
        judge = nn.Sequential(nn.Conv2d(1, 8, 2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(32, 1))
    ours, theirs = (torch.optim.Adam(net.parameters(), 1e-3, (0.5, 0.9)) for net in (make, judge))
    sign = -1.0 if turned else 1.0
    with diorama.watch(judge, path, probe=None, optimizer=theirs, **_often(10)) as recorder:
        for step in range(100):
            real = 0.3 * torch.randn(32, *shape, generator=generator) + 1.5
            made = make(torch.randn(32, 4, generator=generator)).detach()
            one, other = sign * judge(made), sign * judge(real)
            loss = (F.relu(1 + one) + F.relu(1 - other)).mean() if kind == "hinge" else (
                (F.softplus(one) + F.softplus(-other)).mean() if kind == "pictures" else (one - other).mean())
            theirs.zero_grad()
            loss.backward()
            theirs.step()
            with torch.no_grad():
                for weight in judge.parameters():
                    weight.clamp_(-0.2, 0.2)
            recorder.step(loss=loss.detach())
            if step % each == each - 1:
                ours.zero_grad()
                (-judge(make(torch.randn(32, 4, generator=generator)))).mean().backward()
                ours.step()
    return _alarms(path)


@pytest.mark.parametrize("kind", ["wasserstein", "hinge", "pictures"])
def test_a_critic_with_a_turned_sign_is_found(tmp_path: Path, kind: str) -> None:
    """A critic that wants what its partner wants is told, however seldom that one steps; one that pulls against it is not."""
    assert "turned_loss" in _pair(tmp_path / "turned", kind, True, 1 if kind == "hinge" else 5)
    assert "turned_loss" not in _pair(tmp_path / "right", kind, False, 1 if kind == "hinge" else 5)
    assert not diorama.open(tmp_path / "right").series("batch/turned")[1].any()


class _Judging(nn.Module):
    """A judge of rows of numbers that looks from part to part."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.look, self.leave = nn.Linear(3, 12), nn.MultiheadAttention(12, 2, batch_first=True), nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        """A score a row."""
        x = F.leaky_relu(self.first(x.reshape(-1, 3, 3)))
        return self.leave(F.leaky_relu(x + self.look(x, x, x, need_weights=False)[0]).mean(1))


JUDGES: dict[str, Callable[[], nn.Module]] = {
    "dense": lambda: nn.Sequential(nn.Linear(9, 24), nn.LeakyReLU(0.2), nn.Linear(24, 1)),
    "convolutional": lambda: nn.Sequential(nn.Unflatten(1, (1, 3, 3)), nn.Conv2d(1, 8, 2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(32, 1)),
    "attention": _Judging,
}


def _judged(path: Path, kind: str, critic: bool, rate: float, held: bool = False) -> dict[str, Diagnosis]:
    """A judge that steps in turns with a maker that hardly learns, each seeing what the other did; the alarms are the judge's."""
    torch.manual_seed(0)
    generator, make, judge = torch.Generator().manual_seed(0), nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 9)), JUDGES[kind]()
    ours, theirs = torch.optim.Adam(make.parameters(), 1e-4), torch.optim.Adam(judge.parameters(), rate, (0.5, 0.9))
    with diorama.watch(judge, path, probe=None, optimizer=theirs, **_often(5)) as recorder:
        for _ in range(70):
            real, made = 0.3 * torch.randn(32, 9, generator=generator) + 1.5, make(torch.randn(32, 4, generator=generator))
            one, other = judge(made.detach()), judge(real)
            loss = (one - other).mean() if critic else (F.softplus(one) + F.softplus(-other)).mean()
            theirs.zero_grad()
            loss.backward()
            theirs.step()
            with torch.no_grad():
                for weight in judge.parameters() if held else ():
                    weight.clamp_(-0.2, 0.2)
            recorder.step(loss=loss.detach())
            ours.zero_grad()
            answer = judge(made)
            (-answer if critic else F.softplus(-answer)).mean().backward()
            ours.step()
    return _alarms(path)


@pytest.mark.parametrize("kind", list(JUDGES))
def test_a_critic_that_nothing_holds_and_a_judge_that_is_too_strong_are_found(tmp_path: Path, kind: str) -> None:
    """A critic whose slope grows for ever is told and one whose weights are clipped is not, where both networks step in turns too; so is a judge
    that its partner never fools. Scores of a critic are no chances."""
    assert set(_judged(tmp_path / "free", kind, critic=True, rate=0.03)) == {"critic_not_held"}
    assert "batch/fooled" not in diorama.open(tmp_path / "free").series_names
    assert not _judged(tmp_path / "held", kind, critic=True, rate=0.03, held=True)
    assert len(diorama.open(tmp_path / "held").series("batch/steep")[1]) > 5
    assert "judge_too_strong" in _judged(tmp_path / "strong", kind, critic=False, rate=0.03)
    assert "judge_too_strong" not in _judged(tmp_path / "usual", kind, critic=False, rate=1e-3)


def test_weights_that_the_loop_clips_are_neither_copies_nor_stopped(tmp_path: Path) -> None:
    """Of a network whose weights the loop cuts after each step, as a Wasserstein critic's, most come to lie at the ends, where units are alike and
    layers stand still: neither is told."""
    torch.manual_seed(0)
    x = torch.randn(64, 6)
    model = nn.Sequential(nn.Linear(6, 12), nn.LeakyReLU(), nn.Linear(12, 8), nn.LeakyReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.RMSprop(model.parameters(), 0.01)
    with diorama.watch(model, tmp_path / "run", probe=x, optimizer=optimizer, every=5, snapshots=20) as recorder:
        for _ in range(80):
            optimizer.zero_grad()
            loss = model(x[:32] + 1).mean() - model(x[32:] - 1).mean()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.clamp_(-0.05, 0.05)
            recorder.step(loss=loss.detach())
    run = diorama.open(recorder.path)
    assert not [found for found in run.findings() if found.severity >= ALARM]
    assert twins(model[2].weight.detach().numpy()) > 4
    assert not run.series("updates/4.weight/norm")[1][-4:].any()
