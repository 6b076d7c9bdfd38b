"""Scans of data sets: stored with the run, taken up again, and used by views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import diorama
from diorama.cli.bar import Bar
from diorama.cli.program import diorama as program
from diorama.core.errors import Cancelled, UsageError
from diorama.derive.scans import known, seen, stored
from diorama.run import Run
from diorama.scene import Scene


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
    monkeypatch.setattr("diorama.derive.work.SHORT", 0.0)
    monkeypatch.setattr("diorama.derive.work.SHARE", 0.0)
    monkeypatch.setattr("diorama.derive.derivations.scan.PAUSE", 0.0)
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
    ]
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


def _loaded() -> Iterator[tuple[Tensor, Tensor]]:
    for k in range(0, 200, 64):
        yield X[k : k + 64], Y[k : k + 64]


@pytest.mark.parametrize("how", ["arrays", "loader"])
def test_a_scan_of_what_is_in_no_file_is_stored_and_used_by_views(run: Run, how: str) -> None:
    """Arrays' and a loader's scan is found again by another process, with the examples that drive units most."""
    made = diorama.scan(run, X + 1, Y) if how == "arrays" else diorama.scan(run, ((x + 1, y) for x, y in _loaded()))
    scene = diorama.open(run.path).scene()
    found = seen(scene, scene.layers["0"])
    assert found.stored
    assert not found.probe
    assert found.words == "200 examples of the scanned data"
    np.testing.assert_array_equal(found.statistics.top.examples, made["0"].top.examples)
    first = [int(k) for k in made["0"].top.examples[0]]
    np.testing.assert_array_equal(found.inputs(scene, first).numpy(), X[first] + 1)  # type: ignore[union-attr]
    assert found.names(scene, first) == tuple(str(int(Y[k])) for k in first)
    known_classes = found.truth(scene)
    assert known_classes is not None
    np.testing.assert_array_equal(known_classes[first], Y[first])
    for view in ("card", "surprises", "scan", "lesions", "replacement"):
        assert scene.view(view, unit="0/0").final
    # The same batches are the same scan; others are another.
    size = len(_files(run))
    again = (X + 1, Y) if how == "arrays" else (((x + 1, y) for x, y in _loaded()),)
    diorama.scan(run, *again)
    assert len(_files(run)) == size
    diorama.scan(run, *((X + 2, Y) if how == "arrays" else (((x + 2, y) for x, y in _loaded()),)))
    assert len(_files(run)) == size + 1


def test_of_examples_that_find_no_room_the_first_of_each_unit_stay(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for a few, each list is cut, and what stands in it can be shown."""
    monkeypatch.setattr("diorama.derive.kept_examples.ROOM", 40 * 64 * 4)
    made = diorama.scan(run, _loaded())
    scene = diorama.open(run.path).scene()
    found = seen(scene, scene.layers["0"])
    assert found.numbers is not None
    assert len(found.numbers) == 40
    top = found.statistics.top
    assert set(top.examples[top.examples >= 0]) <= set(found.numbers)
    assert set(made["0"].top.examples[:, 0]) <= set(found.numbers)
    assert np.isnan(top.values[top.examples < 0]).all()
    assert scene.view("card", unit="3/1").final


def test_loaders_hand_batches_over_in_many_forms() -> None:
    """Pairs, triples, tuples of one, bare inputs, dicts and generators are understood, and no batch is dropped."""
    whole = diorama.scan(_model(), X, Y)
    forms: list[Callable[[], Any]] = [
        lambda: _loaded(), lambda: ((x, y, torch.zeros(len(x))) for x, y in _loaded()),
        lambda: ({"image": x, "label": y} for x, y in _loaded()), lambda: ({"anything": x, "y": y} for x, y in _loaded()),
        lambda: ([x, y] for x, y in _loaded()), lambda: (x for x, _ in _loaded()), lambda: ((x,) for x, _ in _loaded()),
        lambda: DataLoader(TensorDataset(X, Y), 64), lambda: [(x, y) for x, y in _loaded()],
    ]
    for number, form in enumerate(forms):
        for what in (_model(), Scene(_model(), X[:20], Y[:20])):
            totals: list[int | None] = []
            found = diorama.scan(what, form(), progress=lambda done, total, totals=totals: totals.append(total))  # type: ignore[misc]
            assert found.examples == 200
            np.testing.assert_array_equal(found["0"].top.examples, whole["0"].top.examples)
            assert (found["0"].classes is not None) == (number not in (5, 6) or isinstance(what, Scene))
            assert set(totals) <= {200 if number in (7, 8) else None}
    for wrong, said in (([], "no batch"), ([()], "empty batch"), ([{"a": X, "b": X}], "not clear")):
        with pytest.raises(UsageError, match=said):
            diorama.scan(_model(), iter(wrong))


def test_a_model_of_several_inputs_takes_its_loaders_dicts_and_tuples() -> None:
    """Where the scene's inputs have names, or are several, a batch's own are taken by them, and what is missing is named."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.fc(a + b)  # type: ignore[no-any-return]

    a, b, y = torch.rand(12, 3), torch.rand(12, 3), torch.arange(12) % 2
    by_name, by_place = Scene(Two(), {"a": a, "b": b}, y), Scene(Two(), (a, b), y)
    assert diorama.scan(by_name, iter([{"a": a, "b": b, "label": y, "id": y}])).examples == 12
    assert diorama.scan(by_place, iter([(a, b, y)]))["fc"].classes is not None
    assert diorama.scan(by_place, iter([((a, b), y)])).examples == 12
    rows = [((a[k], b[k]), y[k]) for k in range(12)]
    for what in (by_place, Two()):
        collated = diorama.scan(what, DataLoader(rows, 5))  # type: ignore[arg-type]
        assert (collated.examples, collated["fc"].classes is not None) == (12, True)
    with pytest.raises(UsageError, match="'b'"):
        diorama.scan(by_name, iter([{"a": a}]))


def test_parts_of_a_data_set_are_scanned_apart_and_merged() -> None:
    """With ``start`` the second part's examples have their own numbers, and both together are the whole."""
    whole = diorama.scan(_model(), X, Y)
    both = diorama.scan(_model(), X[:96], Y[:96]).merge(diorama.scan(_model(), X[96:], Y[96:], start=96))
    assert both.examples == 200
    np.testing.assert_array_equal(both["0"].top.examples, whole["0"].top.examples)
    np.testing.assert_array_equal(both["0"].histogram.counts, whole["0"].histogram.counts)


def test_a_scan_that_was_recorded_before_there_were_derivations_opens(run: Run, tmp_path: Path) -> None:
    """A scan in the form that it was stored in then is found by views; one that tells false shapes is passed over."""
    np.savez(tmp_path / "data.npz", x=X.numpy(), y=Y.numpy())
    scene = run.scene()
    for source, words in (("probe", "the probe set"), (str(tmp_path / "data.npz"), "data.npz")):
        made = diorama.scan(scene.model, X, Y)
        made.about = {"model": scene.fingerprint, "source": source, "k": 9}
        path = run.path / "derived" / f"scan-{scene.fingerprint}-0123456789ab.safetensors"
        made.save(path)
        found = seen(diorama.open(run.path).scene(), scene.layers["0"])
        assert found.stored
        assert found.words == f"200 examples of {words}"
        made["0"].top.examples[0, 0] = 10_000
        made.save(path)
        assert not seen(diorama.open(run.path).scene(), scene.layers["0"]).stored


def test_a_scan_stopped_on_the_command_line_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle says that what was done is kept; the same command then scans only the rest."""
    monkeypatch.setattr("diorama.derive.work.SHORT", 0.0)
    monkeypatch.setattr("diorama.derive.work.SHARE", 0.0)
    monkeypatch.setattr("diorama.derive.derivations.scan.PAUSE", 0.0)
    done: list[float] = []

    def shown(self: Bar, number: float, total: float | None = None, text: str = "") -> None:
        done.append(number)
        if number == 128 and len(done) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Bar, "show", shown)
    result = CliRunner().invoke(program, ["scan", str(run.path)])
    assert result.exit_code != 0
    assert "the same command goes on there" in result.output
    assert done == [64, 128]
    assert CliRunner().invoke(program, ["scan", str(run.path)]).exit_code == 0
    assert done[2:] == [192, 200]


def test_the_command_line_scans_a_run(run: Run, tmp_path: Path) -> None:
    """``diorama scan RUN`` stores the scan, says what it saw, and writes a file when asked."""
    file = tmp_path / "one.safetensors"
    result = CliRunner().invoke(program, ["scan", str(run.path), "--k", "3", "--layer", "0", "-o", str(file)])
    assert result.exit_code == 0, result.output
    assert "200 examples, 3 units in 1 layer," in result.output
    assert _files(run) == [".safetensors"]
    from diorama.model.scan import Scan

    assert Scan.load(file)["0"].top.k == 3
