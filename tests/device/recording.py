"""A training on an accelerator is recorded, looked at, taken up again and scanned as one on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerator import NAME
from torch import Tensor, nn

import diorama

STEPS = 12


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3)
    )


def _data() -> tuple[Tensor, Tensor]:
    return torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(40) % 3


def _train(where: str, path: Path, probe: str, steps: int = STEPS, **told: Any) -> diorama.Run:
    model, (x, y) = _net().to(where), _data()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    shown = (x.to(probe), y.to(probe))
    with diorama.watch(model, path, probe=shown, optimizer=optimizer, every=2, snapshots=4, **told) as recorder:
        for _ in range(steps):
            loss = nn.functional.cross_entropy(model(x.to(where)), y.to(where))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    return diorama.open(path)


@pytest.mark.parametrize("told", [{}, {"device": NAME}, {"device": "cpu"}], ids=["as given", "there", "cpu"])
@pytest.mark.parametrize("probe", ["cpu", NAME])
def test_a_training_there_is_recorded_as_one_here(probe: str, told: dict[str, Any], tmp_path: Path) -> None:
    """All series, events and snapshots are those of the same training on the CPU."""
    here, there = _train("cpu", tmp_path / "here", "cpu"), _train(NAME, tmp_path / "there", probe, **told)
    assert there.series_names == here.series_names
    assert there.snapshots == here.snapshots == [0, 4, 8, 12]
    assert [event.text for event in there.events] == [event.text for event in here.events]
    for name in here.series_names:
        # The probe set is looked at as often as time allows, so only steps that both have are compared.
        values = [dict(zip(*(part.tolist() for part in run.series(name)), strict=True)) for run in (here, there)]
        common = sorted(set(values[0]) & set(values[1]))
        assert common
        np.testing.assert_allclose(*([one[step] for step in common] for one in values), rtol=1e-3, atol=1e-5, err_msg=name)


def test_a_run_of_there_is_looked_at_and_taken_up(tmp_path: Path) -> None:
    """Its moments are looked at on the CPU, and the training goes on where it was."""
    run = _train(NAME, tmp_path / "run", NAME)
    assert run.scene(step=4).view("examples").step == 4
    assert run.scene().device.type == "cpu"
    again = _train(NAME, tmp_path / "run", NAME, steps=3, resume=True)
    assert again.series("loss")[0][-1] == STEPS + 3


@pytest.mark.parametrize("where", ["cpu", NAME])
def test_a_scene_there_scans_saves_and_fits_directions(where: str, tmp_path: Path) -> None:
    """Inputs may lie on either device."""
    x, y = _data()
    model = _net().eval()
    here = diorama.Scene(model, x, y)
    there = diorama.Scene(_net().eval().to(NAME), x.to(where), y.to(where))
    assert there.device.type == NAME
    assert diorama.Scene(model, x, y, device=NAME).device.type == NAME
    torch.testing.assert_close(there.scores(), here.scores(), rtol=1e-4, atol=1e-5)
    assert diorama.open(there.save(tmp_path / "saved")).snapshots == [0]
    assert there.direction("r", a="class:0", b="class:1").layer == here.direction("r", a="class:0", b="class:1").layer
    made = [diorama.scan(scene, data, truth) for scene, data, truth in ((here, x, y), (there, x.to(where), y.to(where)))]
    assert str(made[0]) == str(made[1])
    own = there.view("activations", input=x[3].to(where))
    assert own.title == here.view("activations", input=x[3]).title


@pytest.mark.parametrize("target", [1, "unit:0/2", "unit:0/2@1,1", "layer:0", (1, 2), lambda output: output[:, 0] * 2])
def test_every_target_is_found_there(target: Any) -> None:
    """Maps for each kind of target are those of the CPU, and lie where the model is."""
    x, _ = _data()
    model = _net().eval()
    here = diorama.attribute(model, x[:2], target=target, method="gradient").values
    there = diorama.attribute(model.to(NAME), x[:2], target=target, method="gradient").values
    assert there.device.type == NAME
    torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-6)
