"""The sparse dictionary of a layer: planted features come back, measures are those of slow formulas, steering is an addition."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.core.errors import NotApplicable, UsageError
from diorama.core.marks import Table
from diorama.core.picture import Picture
from diorama.derive.derivations.dictionary import of_plain
from diorama.methods.grouping.dictionary import learn
from diorama.model.edits import Edit
from diorama.scene import Scene
from diorama.views.unit._direction import MovedExample
from diorama.views.unit.dictionary import _measures


def _scene() -> Scene:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        x = torch.randn(48, 6)
    return Scene(model, x, torch.arange(48) % 3, classes=("red", "green", "blue"))


def test_planted_features_come_back() -> None:
    """Of rows that are sums of three of twenty directions the directions are found, and none of the features is dead."""
    dice = torch.Generator().manual_seed(0)
    planted = nn.functional.normalize(torch.randn(20, 12, generator=dice), dim=1)
    on = torch.rand(3000, 20, generator=dice).argsort(1)[:, :3]
    strength = torch.zeros(3000, 20).scatter(1, on, 1 + torch.rand(3000, 3, generator=dice))
    rows = strength @ planted + 5
    *_, last = learn(rows[:2400], 24, 3, 400, 0)
    found, unseen = last.dictionary, rows[2400:]
    left = (unseen - found.rebuilt(unseen)).square().sum() / (unseen - unseen.mean(0)).square().sum()
    assert left < 0.1
    assert float((planted @ found.decoder.T).max(1).values.mean()) > 0.9
    values = found.encode(unseen)
    assert int((values > 0).sum(1).max()) <= 3
    # What is not over zero is off, also where nothing else is on.
    assert not dataclasses.replace(found, encoder_bias=found.encoder_bias - 1000).encode(unseen).any()
    # One row slowly, as the paper says.
    scores = [float(unseen[0] @ found.encoder[k] + found.encoder_bias[k]) for k in range(24)]
    kept = sorted(range(24), key=lambda k: -scores[k])[:3]
    slow = np.array([max(0.0, score) if k in kept else 0.0 for k, score in enumerate(scores)])
    np.testing.assert_allclose(values[0].numpy(), slow, atol=1e-4)


def test_measures_are_those_of_the_slow_formulas() -> None:
    """Explained variance, features on, dead ones, top examples and the recovered loss, from every held-out example alone."""
    scene = _scene()
    value = scene.derive("dictionary", layer="1", features=30, active=2).value
    found, rows = of_plain(value), scene.activations("1")["1"]
    unseen = rows[3::4]
    values = found.encode(unseen)
    left = float((unseen - found.decode(values)).square().sum() / (unseen - unseen.mean(0)).square().sum())
    measures = value["measures"]
    assert measures["explained"] == pytest.approx(1 - left, abs=1e-4)
    assert measures["l0"] == pytest.approx(float((values > 0).sum(1).float().mean()))
    every = found.encode(rows)
    assert measures["dead"] == pytest.approx(float((every == 0).all(0).float().mean()))
    for number in range(30):
        best = [int(k) for k in np.argsort(-every[:, number].numpy(), kind="stable") if every[k, number] > 0][:8]
        np.testing.assert_array_equal(value["top"][number][: len(best)], best)
        assert (value["top"][number][len(best) :] == -1).all()

    def loss(layer: torch.Tensor) -> float:
        return float(nn.functional.cross_entropy(scene.model[2](layer), torch.arange(48)[3::4] % 3))

    with torch.no_grad():
        own, zero, ours = loss(unseen), loss(torch.zeros_like(unseen)), loss(found.rebuilt(unseen))
    assert measures["recovered"] == pytest.approx((zero - ours) / (zero - own), rel=1e-3)
    centred = (rows[[k for k in range(48) if k % 4 != 3]] - (mean := rows[[k for k in range(48) if k % 4 != 3]].mean(0))).double()
    ways = torch.linalg.svd(centred, full_matrices=False)[2][:2]
    rest = (unseen - mean).double() - (unseen - mean).double() @ ways.T @ ways
    assert measures["components"] == pytest.approx(1 - float(rest.square().sum() / (unseen - unseen.mean(0)).square().sum()), abs=1e-4)


def test_steering_adds_what_the_feature_adds() -> None:
    """Turned by nothing all answers stay to the bit; turned by two steps the layer has twice its strength of the feature more."""
    scene = _scene()
    scene.derive("dictionary", layer="1").value  # noqa: B018 - made here
    one = scene.direction("dictionary/1/5")
    key = "direction:dictionary/1/5"
    assert torch.equal(scene.edit(key, move=0).scores(), scene.scores())
    moved = scene.edit(key, move=2.0)
    more = moved.activations("1")["1"] - scene.activations("1")["1"]
    np.testing.assert_allclose(more, np.tile(2 * one.step * one.vector, (48, 1)), atol=1e-6)
    assert not torch.allclose(moved.scores(), scene.scores())
    assert Edit.of(moved.edits[0].to_json()) == moved.edits[0]
    for wrong in ({"lesion": True}, {"move": float("nan")}, {"scale": 2.0}):
        with pytest.raises(UsageError, match=r"move"):
            scene.edit(key, **wrong)
    with pytest.raises(UsageError, match="move"):
        scene.edit("unit:1/5", move=1.0)
    with pytest.raises(UsageError, match="features 0 to"):
        scene.edit("direction:dictionary/1/99999", move=1.0)


def test_the_untrained_network_stands_beside(tmp_path: Path) -> None:
    """On a run the view ends with the dictionary of the first snapshot as a third row; a class is searched for, a feature chosen."""
    scene = _scene()
    model, optimizer = scene.model, torch.optim.SGD(scene.model.parameters(), 0.5)
    with diorama.watch(model, tmp_path / "run", probe=(scene.live.x, scene.live.y), classes=scene.classes, optimizer=optimizer, snapshots=1) as run:
        loss = nn.functional.cross_entropy(model(scene.live.x), scene.live.y)
        loss.backward()
        optimizer.step()
        run.step(loss=loss.detach())
    opened = diorama.open(tmp_path / "run").scene(1)
    pictures = list(opened.stream("dictionary", layer="1", search="green", select=["direction:dictionary/1/5"]))
    assert [picture.final for picture in pictures] == [False, True]
    worth, listed = _tables(pictures[-1])[:2]
    first = diorama.open(tmp_path / "run").scene(0).derive("dictionary", layer="1").value["measures"]["explained"]
    assert worth.columns[1].numbers is not None
    assert worth.columns[0].texts[2] == "dictionary of the untrained network"
    assert worth.columns[1].numbers[2] == pytest.approx(first)
    assert "Feature 5" in pictures[-1].caption
    assert not worth.caption
    assert "no labels" in _measures(opened.derive("dictionary", layer="1").value, None, None, labelled=False).caption
    top = opened.derive("dictionary", layer="1").value["top"]
    assert listed.columns[0].numbers is not None
    for number in listed.columns[0].numbers.astype(int):
        assert any(opened.live.y[k] == 1 for k in top[number] if k >= 0)  # type: ignore[index]
    with pytest.raises(NotApplicable, match="four"):
        Scene(model, scene.live.first(3).x).derive("dictionary", layer="1")


def _tables(picture: Picture) -> list[Table]:
    return [node for node in picture.body.children if isinstance(node, Table)]  # type: ignore[union-attr]


def test_a_token_is_quoted_where_a_sentence_names_it() -> None:
    """What an answer turns into may be a full stop: within a sentence a token stands in quotes."""
    moved = object.__new__(MovedExample)
    kind = diorama.Tokens(vocabulary=[".", "="])
    live = SimpleNamespace(x=torch.zeros(1, 3), y=None)
    moved.scene = SimpleNamespace(task="next_token", classes=(), kind=kind, kinds={"": kind}, live=live)
    moved.current = SimpleNamespace(label="example 0")
    moved.at, moved.steps = 0.5, np.array([-1.0, 0.0, 1.0])
    for answered, said in (
        ([0, 1, 1], "turns from “=” into “.”."), ([0, 0, 0], "its answer stays “.”."), ([0, -1, 0], "nothing that is a number into"),
    ):
        moved.answers = answered
        assert said in moved.told()
