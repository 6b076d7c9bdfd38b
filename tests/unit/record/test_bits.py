"""What is recorded comes back bit for bit."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from diorama.record import database
from diorama.record.reader import RunReader
from diorama.record.recorder import watch
from diorama.record.writer import Writer

EVERY_TYPE = {
    f"of_{str(kind)[6:]}": kind for kind in vars(torch).values() if isinstance(kind, torch.dtype) and not re.search("qu?int", str(kind))
}
"""Quantized tensors are kept with the model."""
ODD = [float("nan"), float("inf"), float("-inf"), -0.0, 0.0, 5e-324, 1.7976931348623157e308]


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_all_patterns_of_small_floats_survive_in_a_snapshot(tmp_path: Path, dtype: torch.dtype) -> None:
    """All 65,536 patterns of float16 and bfloat16, NaN payloads and −0.0 included, return bit-exact; so do numbers of every other type."""
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    model = nn.Module()
    model.register_parameter("all", nn.Parameter(patterns.view(dtype), requires_grad=False))
    for name, kind in EVERY_TYPE.items():
        model.register_buffer(name, torch.arange(2 * kind.itemsize, dtype=torch.uint8).view(kind).reshape(1, 2))
        model.register_buffer(f"{name}_none", torch.empty(0, dtype=torch.uint8).view(kind).reshape(0, 3))
    with watch(model, tmp_path / "run"):
        pass
    with RunReader(tmp_path / "run") as reader:
        state = reader.state(0)
        assert all((state[name].dtype, state[name].shape) == (each.dtype, each.shape) for name, each in model.named_buffers())
        assert all(torch.equal(state[name].view(torch.uint8), model.get_buffer(name).view(torch.uint8)) for name in EVERY_TYPE)
        found = state["all"]
        assert found.dtype == dtype
        assert torch.equal(found.view(torch.int16), patterns)
        histogram = reader.histograms("weights/all")
    bits = patterns.view(dtype).float()
    assert histogram.nan[0] == torch.isnan(bits).sum()
    assert histogram.infinite[0] == 2
    assert histogram.counts.sum() == torch.isfinite(bits).sum()


def test_odd_numbers_survive_in_the_tail_and_in_blocks(tmp_path: Path) -> None:
    """NaN payloads, infinities, −0.0 and subnormals return bit-exact before and after the merge."""
    database.create(tmp_path)
    payload = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]
    values = [*ODD, payload]
    writer = Writer(tmp_path)
    writer.write([(step, 0.0, {"odd": value}) for step, value in enumerate(values)])
    wanted = np.array(values).tobytes()
    with RunReader(tmp_path) as reader:
        assert reader.series("odd")[1].tobytes() == wanted
        writer.merge(all_of_it=True)
        assert reader.series("odd")[1].tobytes() == wanted
    writer.close()


def test_weights_that_turn_nan_train_on_and_are_told(tmp_path: Path) -> None:
    """A run whose weights are NaN goes on, opens, and is named among its findings."""
    from diorama.run import open_run

    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x = torch.randn(8, 3)
    with watch(model, tmp_path / "run", probe=(x, torch.zeros(8, dtype=torch.long)), optimizer=optimizer, every=1) as recorder:
        for step in range(1, 11):
            if step == 5:
                with torch.no_grad():
                    model[0].weight[0, 0] = float("nan")
            loss = nn.functional.cross_entropy(model(x), torch.zeros(8, dtype=torch.long))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    run = open_run(tmp_path / "run")
    worst = run.findings()[0]
    assert (worst.finding, worst.step, worst.severity) == ("not_finite", 5, 1.0)
    assert run.last_step == 10
    assert np.isnan(run.series("probe/loss")[1][-1])
