"""Scans of data sets: stored with the run, taken up again, and used by views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import diorama
from diorama.cli.program import diorama as program
from diorama.core.errors import Cancelled, UsageError
from diorama.run import Run
from diorama.scene import Scene
from diorama.scene.scanning import known, seen, stored


def _model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2))


X = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(200) % 2


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of two snapshots with 200 pictures."""
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with diorama.watch(model, tmp_path / "run", probe=(X, Y), optimizer=optimizer, snapshots=1) as recorder:
        loss = nn.functional.cross_entropy(model(X), Y)
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss.detach())
    return diorama.open(tmp_path / "run")


def _files(run: Run) -> list[str]:
    folder = run.path / "derived"
    return sorted(path.suffix for path in folder.iterdir()) if folder.is_dir() else []


def test_a_scan_is_stored_for_its_snapshot_and_found_there(run: Run) -> None:
    """Views of the scanned step find it, those of another step do not."""
    made = diorama.scan(run, step=1)
    assert made.examples == 200
    assert _files(run) == [".safetensors"]
    again = diorama.open(run.path)
    scene = again.scene(1)
    found = seen(scene, scene.layers["0"])
    assert found.stored
    assert found.words == "200 examples of the probe set"
    np.testing.assert_array_equal(found.statistics.top.examples, made["0"].top.examples)
    assert stored(again.scene(0)) is None
    assert not seen(again.scene(0), scene.layers["0"]).stored


def test_a_scan_that_was_stopped_goes_on_where_it_was(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done is kept, only the rest is run, and the result is that of a scan in one go, to the bit."""
    monkeypatch.setattr("diorama.scene.scanning.SAVED_EVERY", 0.0)
    whole = diorama.scan(Scene(run.scene().model, X, Y), k=5)
    batches = []

    def stop(done: int, total: int | None) -> None:
        batches.append(done)
        assert total == 200
        if done == 128:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        diorama.scan(run, k=5, progress=stop)
    assert _files(run) == [".part"]
    assert stored(run.scene()) is None
    batches.clear()
    again = diorama.scan(run, k=5, progress=lambda done, total: batches.append(done))
    assert batches == [192, 200]
    assert _files(run) == [".safetensors"]
    for name, part in whole.items():
        np.testing.assert_array_equal(again[name].top.values, part.top.values)
        np.testing.assert_array_equal(again[name].top.examples, part.top.examples)
        np.testing.assert_array_equal(again[name].histogram.counts, part.histogram.counts)
        np.testing.assert_array_equal(again[name].classes.mean, part.classes.mean)
        np.testing.assert_array_equal(again[name].moments.mean, part.moments.mean)


def test_any_data_can_be_scanned(tmp_path: Path) -> None:
    """Arrays, a file and a loader of the same examples give the same statistics."""
    model = _model()
    np.savez(tmp_path / "data.npz", x=X.numpy(), y=Y.numpy())

    def loader() -> list[tuple[Tensor, Tensor]]:
        return [(X[k : k + 64], Y[k : k + 64]) for k in range(0, 200, 64)]

    scene = Scene(model, X[:20], Y[:20])
    found = [
        diorama.scan(model, X, Y), diorama.scan(scene, X, Y), diorama.scan(scene, tmp_path / "data.npz"),
        diorama.scan(scene, iter(loader())), diorama.scan(model, X.numpy(), Y.numpy()),
    ]  # fmt: skip
    for other in found[1:]:
        assert other.examples == 200
        for name in other:
            np.testing.assert_array_equal(other[name].top.examples, found[0][name].top.examples)
            np.testing.assert_allclose(other[name].classes.mean, found[0][name].classes.mean)


def test_pixels_of_a_file_are_read_as_the_probe_set_is(tmp_path: Path) -> None:
    """Whole numbers from 0 to 255 in a file are scaled as the model's own pictures are."""
    np.savez(tmp_path / "data.npz", x=(X * 255).round().byte().numpy()[:, 0], y=Y.numpy())
    scene = Scene(_model(), X, Y, inputs=diorama.Image(range=(0, 1)))
    found = diorama.scan(scene, tmp_path / "data.npz")
    whole = diorama.scan(Scene(_model(), X, Y))
    np.testing.assert_allclose(found["0"].moments.mean, whole["0"].moments.mean, atol=2e-3)


def test_the_examples_of_a_scanned_file_are_shown_by_the_card(run: Run, tmp_path: Path) -> None:
    """After a scan of a file the card's strongest examples come from the file."""
    bright = X.clone() * 0.5
    bright[150] = 1
    np.savez(tmp_path / "data.npz", x=bright.numpy(), y=Y.numpy())
    diorama.scan(run, tmp_path / "data.npz")
    scene = diorama.open(run.path).scene()
    found = seen(scene, scene.layers["0"])
    assert found.words == "200 examples of data.npz"
    assert not found.probe
    tiles = next(mark for mark in scene.view("card", unit="0/0").marks() if mark.title.startswith("Fires most"))
    first = int(found.statistics.top.examples[0, 0])
    np.testing.assert_array_equal(tiles.images[0], found.pictures([first])[0])


def test_an_edited_model_is_not_mistaken_for_the_scanned_one(run: Run) -> None:
    """With a unit silenced the stored scan is left aside."""
    diorama.scan(run)
    scene = run.scene()
    layer = scene.layers["0"]
    assert known(scene, layer)
    silent = scene.edit("unit:0/1", lesion=True)
    assert not known(silent, layer)
    assert seen(silent, layer).statistics.moments.high[1] == 0


def test_a_damaged_scan_is_passed_over(run: Run) -> None:
    """A file that is no scan does not keep a view from looking."""
    diorama.scan(run)
    (path,) = (run.path / "derived").iterdir()
    path.write_bytes(b"damaged")
    scene = diorama.open(run.path).scene()
    assert not seen(scene, scene.layers["0"]).stored


def test_wrong_scans_are_refused(run: Run) -> None:
    """A module without data, examples of another size and what is no model are refused in one sentence."""
    with pytest.raises(UsageError, match="wants data"):
        diorama.scan(_model())
    with pytest.raises(UsageError, match="shape"):
        diorama.scan(run, torch.rand(4, 1, 9, 9), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(UsageError, match="a scene, a run or a module"):
        diorama.scan(3)


def test_the_command_line_scans_a_run(run: Run, tmp_path: Path) -> None:
    """``diorama scan RUN`` stores the scan, says what it saw, and writes a file when asked."""
    file = tmp_path / "one.safetensors"
    result = CliRunner().invoke(program, ["scan", str(run.path), "--k", "3", "--layer", "0", "-o", str(file)])
    assert result.exit_code == 0, result.output
    assert "200 examples, 3 units in 1 layers" in result.output
    assert _files(run) == [".safetensors"]
    from diorama.model.scan import Scan

    assert Scan.load(file)["0"].top.k == 3
