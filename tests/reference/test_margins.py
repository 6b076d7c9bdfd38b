"""Examples over a training equal the papers' definitions, written slowly: from the record, and from the snapshots."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import diorama
from diorama.derive.derivations import margins
from diorama.model.outputs import Reading
from diorama.run import Run
from diorama.scene import Scene

STEPS = 24


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training of 24 steps with a snapshot and a look at each; four labels are wrong, two say nothing."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 5, generator=generator)
    y = (x @ torch.randn(5, 3, generator=generator)).argmax(1)
    y[:4], y[4:6] = (y[:4] + 1) % 3, -100
    model = nn.Linear(5, 3)
    with torch.no_grad():
        model.weight.copy_(torch.randn(3, 5, generator=generator))
        model.bias.zero_()
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    path = tmp_path_factory.mktemp("margins") / "run"
    with diorama.watch(model, path, probe=(x, y), optimizer=optimizer, every=1, snapshots=1) as recorder:
        recorder._prober.affordable = lambda number: True
        for _step in range(1, STEPS + 1):
            part = torch.randint(6, 40, (4,), generator=generator)
            loss = nn.functional.cross_entropy(model(x[part]), y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.detach())
    return diorama.open(path)


def _slow(run: Run, steps: list[int]) -> dict[str, Any]:
    """Example by example and step by step, as the papers say it."""
    x, y = run.examples.x, run.examples.y
    found: dict[str, list[Any]] = {name: [] for name in ("margin", "aum", "doubt", "confidence", "spread", "correctness", "forgettings", "group")}
    logits = [run.scene(step).model(x).detach().double() for step in steps]
    for k in range(len(x)):
        label = int(y[k])
        if label < 0:
            for name in found:
                found[name].append(0 if name in ("group", "forgettings") else np.nan if name != "margin" else [np.nan] * len(steps))
            continue
        margin, chance, right, doubt = [], [], [], []
        found["margin"].append([float(z[k, label]) - max(float(z[k, c]) for c in range(3) if c != label) for z in logits])
        for z in logits[1:]:
            others = [float(z[k, c]) for c in range(3) if c != label]
            margin.append(float(z[k, label]) - max(others))
            chance.append(float(torch.exp(z[k, label]) / sum(torch.exp(z[k, c]) for c in range(3))))
            right.append(int(z[k].argmax()) == label)
            p = z[k].softmax(0)
            doubt.append(max(float(p[c]) for c in range(3) if c != label) - float(p[label]))
        mean = sum(chance) / len(chance)
        found["doubt"].append(sum(doubt) / len(doubt))
        found["aum"].append(sum(margin) / len(margin))
        found["confidence"].append(mean)
        found["spread"].append((sum((p - mean) ** 2 for p in chance) / len(chance)) ** 0.5)
        found["correctness"].append(sum(right) / len(right))
        found["forgettings"].append(sum(a and not b for a, b in zip(right, right[1:], strict=False)))
        found["group"].append(3 if right[-1] else 2 if any(right) else 1)
    return found


@pytest.mark.parametrize("source", ["record", "snapshots", "both", "then", "late"])
def test_examples_over_training_equal_the_papers(run: Run, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Area under the margin, data maps and forgetting events are those of the papers: recorded, from snapshots, from both; of an early
    step as they were while the training stood there, with fewer looks than it has now; and where nearly all looks came late."""
    last = 15 if source == "then" else STEPS
    if source == "snapshots":
        monkeypatch.setattr(margins, "_recorded", lambda scene: None)
    if source in ("both", "then"):
        whole = margins._recorded(run.scene())
        assert whole is not None
        apart = 4 if source == "both" else 2
        few = whole[0][::apart], {name: rows[:, ::apart] for name, rows in whole[1].items()}
        monkeypatch.setattr(margins, "_recorded", lambda scene: few)
        assert (len(few[0]) < margins.FEW) == (source == "both")
    if source == "late":
        whole = margins._recorded(run.scene())
        assert whole is not None
        late = whole[0][[1, -3, -2, -1]], {name: rows[:, [1, -3, -2, -1]] for name, rows in whole[1].items()}
        monkeypatch.setattr(margins, "_recorded", lambda scene: late)
        monkeypatch.setattr(margins, "FEW", 4)
    derived = run.scene(last).derive("margins", then=source == "then")
    passes = {"record": 0, "snapshots": 40 * (STEPS + 1), "both": 40 * (2 * margins.FEW - 7), "then": 40 * 8, "late": 40 * 8}
    assert derived.derivation.cost(derived.scene).forward == passes[source]
    value = derived.value
    if source == "both":  # of 18 snapshots without a look as many as make twice enough, evenly
        assert len(value["steps"]) == 2 * margins.FEW
        assert (value["steps"][0], value["steps"][-1], np.diff(value["steps"]).max()) == (0, last, 2)
    elif source == "late":  # eight evenly among those before the fourth look, and the four looks
        assert len(value["steps"]) == 12
        assert np.diff(value["steps"]).max() <= 4
    else:
        assert value["steps"].tolist() == list(range(last + 1))
    for name, wanted in _slow(run, value["steps"].tolist()).items():
        np.testing.assert_allclose(value[name], wanted, atol=1e-5, err_msg=name)
    assert set(value["group"].tolist()) == {0, 1, 2, 3}  # or this would say nothing of one of them
    assert value["forgettings"].max() >= (1 if source == "late" else 2)  # twelve looks see fewer
    assert not value["known"][4:6].any()
    if source == "snapshots":  # another step, as of a training that goes on, is told from what was seen
        monkeypatch.setattr(Scene, "scores", lambda *_: pytest.fail("a snapshot was looked at twice"))
        again = run.scene(last - 1).derive("margins", then=True).value
        np.testing.assert_array_equal(again["margin"], value["margin"][:, :-1])


def test_what_is_recorded_is_what_the_probe_set_said(run: Run) -> None:
    """The mean of the recorded losses and answers is the recorded loss and accuracy of the probe set."""
    value = run.scene().derive("margins").value
    known = value["known"]
    np.testing.assert_allclose(value["loss"][known].mean(0), run.series("probe/loss")[1], rtol=1e-5)
    np.testing.assert_allclose(value["right"][known].mean(0), run.series("probe/accuracy")[1], rtol=1e-6)


@pytest.mark.parametrize("task", ["classification", "next_token", "segmentation", "multi_label"])
@pytest.mark.parametrize("form", ["scores", "probabilities"])
def test_margins_of_every_task(task: str, form: str) -> None:
    """A margin is the truth's score above the best other, the mean over steps, places or labels that are known."""
    g = torch.Generator().manual_seed(1)
    shape = {"classification": (6, 4), "next_token": (6, 5, 4), "segmentation": (6, 4, 3, 2), "multi_label": (6, 4)}[task]
    z = torch.randn(shape, generator=g)
    axis = 1 if task == "segmentation" else -1
    scores = z if form == "scores" else z.sigmoid() if task == "multi_label" else z.softmax(axis)
    places = {"classification": (6,), "next_token": (6, 5), "segmentation": (6, 3, 2), "multi_label": (6, 4)}[task]
    y = torch.randint(0, 2 if task == "multi_label" else 4, places, generator=g)
    y.view(6, -1)[0, 0] = -100
    reading = Reading(task, form)  # type: ignore[arg-type]
    margin, likely = reading.margins(scores, y), reading.likelihoods(scores, y)
    rows = z.movedim(1, -1) if task == "segmentation" else z
    for k in range(6):
        values, chances = [], []
        for place in np.ndindex(*places[1:]):
            label, own = int(y[(k, *place)]), rows[(k, *place)]
            if label == -100:
                continue
            if task == "multi_label":
                values.append(float(own) if label else -float(own))
                chances.append(float(own.sigmoid() if label else 1 - own.sigmoid()))
            else:
                values.append(float(own[label] - max(own[c] for c in range(4) if c != label)))
                chances.append(float(own.softmax(0)[label]))
        wanted = (np.mean(values), np.mean(chances)) if values else (np.nan, np.nan)
        np.testing.assert_allclose((margin[k], likely[k]), wanted, atol=1e-4)


def test_what_is_no_number_has_no_margin() -> None:
    """Scores with NaN have a margin of NaN, and ties have none at all."""
    scores = torch.tensor([[1.0, float("nan"), 0.0], [2.0, 2.0, 0.0]])
    found = Reading("classification").margins(scores, torch.tensor([0, 1]))
    assert bool(found[0].isnan())
    assert float(found[1]) == 0.0


def test_planted_wrong_labels_come_first() -> None:
    """With labels wrong from class to class, doubt ranks them as well as loss and confident learning or better (bench/label_noise.py)."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    try:
        label_noise = importlib.import_module("bench.label_noise")
    finally:
        sys.path.pop(0)
    each = [label_noise.precisions(0.2, "class to class", True, seed, 10) for seed in range(2)]
    mean = {name: np.mean([one[name] for one in each]) for name in each[0]}
    assert mean["doubt"] > 0.8
    assert mean["doubt"] >= max(mean["loss"], mean["confident learning"]) - label_noise.WITHIN
