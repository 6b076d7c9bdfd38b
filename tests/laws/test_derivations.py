"""What holds for every derivation: same key same value, resume equals one run, closing stops, the check refuses what is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attentions import Adapted
from torch import Tensor, nn

import diorama
from diorama.core.knobs import sentence
from diorama.derive import work
from diorama.derive.derivation import DerivedValue
from diorama.derive.plain_file import packed, plain, unpacked
from diorama.record.trust import sign, verify
from diorama.run import Run
from diorama.scene import Scene

CASES: dict[str, dict[str, Any]] = {
    "influence": {"data": "probe"}, "preferred": {"layer": "0", "units": "0+2+3"}, "properties": {"layer": "reads.l0"},
    "levels": {"layer": "reads.l0"}, "matches": {"layer": "reads.l0", "example": 2, "span": "3:5", "threshold": 0.05},
    "gates": {"layer": "reads.l0", "example": 3}, "restarts": {"example": 3},
    "parts": {"layer": "0", "example": 2, "groups": 2}, "patch_index": {"layer": "0"},
    "serving": {"count": 4, "examples": 16}, "needed": {"examples": 8}, "shared": {"a": "example:0-9"},
    "projection": {"layer": "0+3"}, "units": {"layer": "0+3"}, "scan": {"size": 16},
    "direction": {"layer": "3", "a": "class:0", "how": "probe"}, "base": {"layer": "1", "how": "nmf"},
    "attention": {"example": 3}, "lens": {"example": 2}, "translators": {"texts": 8, "batch": 2, "steps": 3, "seconds": 3600.0},
    "dictionary": {"layer": "0", "features": 9, "active": 2, "steps": 12, "seconds": 3600.0},
    "input_map": {"steps": 12},
    "decoder": {"layer": "3", "example": 2, "steps": 12, "seconds": 3600.0},
}
"""A derivation's knobs, where it needs some; quick ones."""
OF_TEXTS = (
    "adapters", "attention", "contributions", "gates", "heads", "learns_from", "lens", "levels", "matches",
    "patching", "properties", "restarts", "saturation", "translators",
)
"""Those that look at texts."""
OF_TWO = ("differences", "matching", "similarity")
"""Those that look at a second network: the run at its first step."""
OF_RUNS = ("influence", "margins", "projection", "units")
"""Those of a training, which a model alone does not have or which another value comes from."""


class _Letters(nn.Module):
    """Reads letters, attends to what it read, and says which comes next."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.reads, self.out = nn.Embedding(7, 4), nn.GRU(4, 6, batch_first=True), nn.Linear(6, 7)
        self.attn, self.mlp = nn.MultiheadAttention(6, 2, batch_first=True), Adapted(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reads(self.embed(x))[0]
        x = x + self.attn(x, x, x, need_weights=False)[0]
        found: Tensor = self.out(x + torch.tanh(self.mlp(x)))
        return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two snapshots with forty pictures."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 6), nn.ReLU(), nn.Linear(6, 3))
    x, y = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(40) % 3
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    path = tmp_path_factory.mktemp("derivations") / "run"
    with diorama.watch(model, path, probe=(x, y), optimizer=optimizer, snapshots=1) as recorder:
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss.detach())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        letters = _Letters()
    x = torch.randint(0, 7, (20, 12), generator=torch.Generator().manual_seed(1))
    kind = diorama.Tokens(vocabulary=tuple("ab (\n).")[:7])
    optimizer = torch.optim.SGD(letters.parameters(), 0.1)
    with diorama.watch(letters, path.with_name("texts"), probe=(x, x.roll(-1, 1)), inputs=kind, optimizer=optimizer, snapshots=1) as recorder:
        loss = nn.functional.cross_entropy(letters(x).flatten(0, 1), x.roll(-1, 1).flatten())
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss.detach())
    return path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The run without anything derived; every stage is written at once."""
    monkeypatch.setattr(work, "SHORT", 0.0)
    monkeypatch.setattr(work, "SHARE", 0.0)
    monkeypatch.setattr("diorama.derive.derivations.scan.PAUSE", 0.0)
    monkeypatch.setattr("diorama.methods.synthesis.decoder.EVERY", 0.0)
    monkeypatch.setattr("diorama.derive.derivations.patch_index.BATCH", 16)
    monkeypatch.setattr("diorama.derive.derivations.patch_index.PART", 0)
    monkeypatch.setattr("diorama.scene.restarts.APART", 4)
    yield diorama.open(folder)
    for path in folder.parent.glob("*/derived/*"):
        path.unlink()
    assert not work._works


def _opened(run: Run, name: str) -> Run:
    return diorama.open(run.path.with_name("texts") if name in OF_TEXTS else run.path)


def _asked(run: Run, name: str, step: int = 1) -> DerivedValue:
    return _derived(_opened(run, name).scene(step), run, name)


def _derived(scene: Scene, run: Run, name: str) -> DerivedValue:
    return scene.derive(name, other=_opened(run, name).scene(0) if name in OF_TWO else None, **CASES.get(name, {}))


def _unkept(run: Run, name: str) -> DerivedValue:
    scene = _opened(run, name).scene(1)
    if name in OF_RUNS:
        derived = scene.derive(name, **CASES.get(name, {}))
        derived.store = None
        return derived
    return _derived(Scene(scene.model, scene.examples), run, name)


def _same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            _same(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for each, beside in zip(one, other, strict=True):
            _same(each, beside)
    else:
        assert one == other or (one != one and other != other)


NAMES = sorted(diorama.derivations)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_key_is_the_same_value(run: Run, name: str) -> None:
    """Made twice, and read from its file, a value is the same to the bit; its cost and its sentence are told."""
    first = _asked(run, name)
    assert first.derivation.cost(first.scene).forward >= 0
    assert sentence(type(first.derivation))
    again = _asked(run, name)
    assert again.key == first.key
    _same(first.value, _unkept(run, name).value)
    assert again.known
    assert again.found() is not None
    _same(again.value, first.value)
    assert again.provenance.maker == "this user"
    assert _asked(run, name, 0).key != first.key


@pytest.mark.parametrize("name", NAMES)
def test_resume_equals_one_run(run: Run, name: str) -> None:
    """Stopped after each of the first stages, it goes on in a new scene, and ends in the value of one run, to the bit."""
    whole = _unkept(run, name).value
    stages = 0
    for _ in range(3):
        for stage in (stream := _asked(run, name).stream()):
            stages += 1
            if not stage.final:
                stream.close()
                break
    _same(_asked(run, name).value, whole)
    assert stages >= 1


@pytest.mark.parametrize("name", NAMES)
def test_closing_the_stream_leaves_the_model_as_it_was(run: Run, name: str) -> None:
    """After the first stage the stream is closed: no hook, mode or gradient is left, and the random state is the user's."""
    scene = _opened(run, name).scene()
    scene.model.train()
    before = torch.get_rng_state()
    stream = _derived(scene, run, name).stream()
    next(stream)
    stream.close()
    assert all(module.training for module in scene.model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in scene.model.modules())
    assert all(parameter.grad is None for parameter in scene.model.parameters())
    assert torch.equal(before, torch.get_rng_state())


def _spoilt(value: Any) -> Iterator[Any]:
    """The value with one thing in it of another shape, type or place."""
    yield from ([], {}, None, "text", 3, {"made": "up"}, [value])
    if isinstance(value, np.ndarray):
        yield from (value[None], value.reshape(-1)[:-1], value.astype(bool), np.zeros((0, *value.shape[1:])))
    if isinstance(value, dict):
        for name in value:
            yield {key: each for key, each in value.items() if key != name}
            for each in _spoilt(value[name]) if isinstance(value[name], np.ndarray) else ({"made": "up"},):
                yield {**value, name: each}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_value_is_made_anew(run: Run, name: str) -> None:
    """In the place of a file a hostile one is put, with a right checksum: each is passed over or is as good as the value."""
    first = _asked(run, name)
    value = first.value
    assert first.store is not None
    path = first.store.path(first.name)
    head, _ = unpacked(path.read_bytes(), verify)
    head = {key: head[key] for key in ("kind", "key", "provenance", "seconds")}
    refused, again = 0, _asked(run, name)
    for spoilt in _spoilt(value):
        path.write_bytes(packed(head, plain(spoilt), sign))
        again.scene.memory.drop(again.key)
        found = again.found()
        refused += found is None
        assert found is None or type(found) is type(value)
    assert refused >= 7
    path.write_bytes(packed(head, value, sign))
    _same(_asked(run, name).value, value)
    assert json.dumps(head["provenance"])


def test_a_graph_of_another_user_is_made_anew(run: Run) -> None:
    """A patch index with another's signature is not read, as its links cannot be checked; other values of theirs are."""
    for name, used in (("patch_index", False), ("scan", True)):
        first = _asked(run, name)
        assert first.value is not None
        assert first.store is not None
        path = first.store.path(first.name)
        head, value = unpacked(path.read_bytes(), verify)
        path.write_bytes(packed({key: head[key] for key in ("kind", "key", "provenance")}, value, lambda data: "0" * 64))
        again = _asked(run, name)
        again.scene.memory.drop(again.key)
        assert (again.found() is not None) is used


def test_a_projection_follows_the_step_before(run: Run) -> None:
    """Its points are those of scikit-learn's components, laid onto those of the step before: distances stay, and no turn or
    mirroring brings them nearer.
    """
    from scipy.spatial.distance import pdist
    from sklearn.decomposition import PCA

    before = run.scene(0).derive("projection", layer="3")
    free = run.scene(1).derive("projection", layer="3", follow=False).value
    laid = run.scene(1).derive("projection", layer="3").value
    np.testing.assert_array_equal(laid, run.scene(1).derive("projection", layer="3", after=0).value)
    rows = run.scene(1).activations("3")["3"].double().numpy()
    np.testing.assert_allclose(np.abs(free), np.abs(PCA(2).fit_transform(rows)), atol=1e-5)
    np.testing.assert_allclose(pdist(laid), pdist(free), atol=1e-9)
    away = np.square(laid - before.value).sum()
    assert away < np.square(free * [1, -1] - before.value).sum()
    middle = laid.mean(0)
    for angle in np.linspace(0.01, 6.27, 60):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        for mirror in ([1, 1], [1, -1]):
            assert away <= np.square((laid - middle) * mirror @ turn + middle - before.value).sum() + 1e-9


def test_layers_of_a_projection_count_alike(run: Run) -> None:
    """Two layers together are the components of both side by side, each with a total variance of one."""
    found = run.scene(1)
    parts = [found.activations(name)[name].double().flatten(2).mean(2).numpy() if name == "0"
             else found.activations(name)[name].double().numpy() for name in ("0", "3")]
    rows = np.concatenate([part / np.sqrt(part.var(0).sum()) for part in parts], 1)
    rows = rows - rows.mean(0)
    left, sizes, _ = np.linalg.svd(rows, full_matrices=False)
    np.testing.assert_allclose(
        np.abs(found.derive("projection", layer="0+3", follow=False).value), np.abs(left[:, :2] * sizes[:2]), atol=1e-5
    )
