"""Recurrent layers against their formulas, number by number in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from diorama.model.kernels import recurrent

Rows = list[list[float]]


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def _weights(rnn: nn.RNNBase) -> tuple[Rows, Rows, list[float], list[float]]:
    parts = (rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0)
    return tuple(part.tolist() for part in parts)  # type: ignore[return-value]


def _sum(row: list[float], values: list[float], bias: float) -> float:
    return sum(a * b for a, b in zip(row, values, strict=True)) + bias


def _lstm(rnn: nn.RNNBase, xs: Rows) -> dict[str, Rows]:
    """Hochreiter and Schmidhuber 1997 with the forget gates of Gers 1999; gates in torch's order: i, f, g, o."""
    w, u, b, d = _weights(rnn)
    n = rnn.hidden_size
    h, c = [0.0] * n, [0.0] * n
    found: dict[str, Rows] = {name: [] for name in "ifgoch"}
    for x in xs:
        z = [_sum(w[k], x, b[k]) + _sum(u[k], h, d[k]) for k in range(4 * n)]
        i, f = [_sigmoid(v) for v in z[:n]], [_sigmoid(v) for v in z[n : 2 * n]]
        g, o = [math.tanh(v) for v in z[2 * n : 3 * n]], [_sigmoid(v) for v in z[3 * n :]]
        c = [f[k] * c[k] + i[k] * g[k] for k in range(n)]
        h = [o[k] * math.tanh(c[k]) for k in range(n)]
        for name, value in zip("ifgoch", (i, f, g, o, c, h), strict=True):
            found[name].append(value)
    return found


def _gru(rnn: nn.RNNBase, xs: Rows) -> dict[str, Rows]:
    """Cho 2014, with the reset gate after the product, as torch has it."""
    w, u, b, d = _weights(rnn)
    n = rnn.hidden_size
    h = [0.0] * n
    found: dict[str, Rows] = {name: [] for name in ("r", "z", "n", "h")}
    for x in xs:
        fed = [_sum(w[k], x, b[k]) for k in range(3 * n)]
        back = [_sum(u[k], h, d[k]) for k in range(3 * n)]
        r = [_sigmoid(fed[k] + back[k]) for k in range(n)]
        z = [_sigmoid(fed[n + k] + back[n + k]) for k in range(n)]
        new = [math.tanh(fed[2 * n + k] + r[k] * back[2 * n + k]) for k in range(n)]
        h = [(1 - z[k]) * new[k] + z[k] * h[k] for k in range(n)]
        for name, value in zip(("r", "z", "n", "h"), (r, z, new, h), strict=True):
            found[name].append(value)
    return found


@pytest.mark.parametrize(("kind", "formula"), [(nn.LSTM, _lstm), (nn.GRU, _gru)])
def test_states_follow_the_papers(
    kind: type[nn.RNNBase], formula: Callable[[nn.RNNBase, Rows], dict[str, Rows]]
) -> None:
    """Every gate, cell and output at every step is what the paper's formula gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        rnn, x = kind(3, 4, batch_first=True).double(), torch.randn(1, 5, 3).double()
    states = recurrent(nn.Sequential(rnn), x)["0.l0"]
    wanted = formula(rnn, x[0].tolist())
    assert list(states) == list(wanted)
    for name, value in wanted.items():
        assert torch.allclose(states[name][0], torch.tensor(value).double(), atol=1e-12), name
