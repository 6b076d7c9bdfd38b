"""Networks that nobody has thought of: each drawn one is captured, edited, explained, drawn and trained."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_nets import drawn, scores_of, traits
from torch import Tensor, nn

import diorama
from diorama.core.errors import DioramaError, NotApplicable
from diorama.core.knobs import knobs_of
from diorama.core.registry import views
from diorama.data import nesting
from diorama.model.capture import Capture
from diorama.run import open_run
from diorama.scene import Scene

COUNT = 50 if "DIORAMA_SWEEP" in os.environ else 8
"""Networks that are drawn: eight in `make test`, fifty in `make sweep`."""
BEGIN = int(os.environ.get("DIORAMA_SEED", "1"))
EVERY_DRAW = pytest.mark.parametrize("seed", range(BEGIN, BEGIN + COUNT), ids=lambda seed: f"{seed}: {traits(seed)}")
FEWER = {
    "steps": 6, "draws": 4, "samples": 24, "permutations": 2, "regions": 6, "starts": 2, "layers": 2, "places": 5, "count": 3,
    "segments": 6, "decoder_steps": 20, "units": 4,
}
"""Knobs that make a law quick: what it says holds for any number."""
pytestmark = pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
EXACT = (torch.float32, torch.float64)
"""Number types in which differences can be taken."""


def _refused(error: DioramaError) -> None:
    """What does not fit is told in one sentence; a wrong argument would be a mistake of the test."""
    assert isinstance(error, NotApplicable), error
    assert len(str(error)) > 20
    assert "\n" not in str(error)


def _fewer(known: Any) -> dict[str, Any]:
    return {knob: value for knob, value in FEWER.items() if knob in known and isinstance(known[knob].default, int)}


def _by_hooks(model: nn.Module, x: Any) -> dict[str, Tensor]:
    """What each layer answers, call by call, by hooks of PyTorch alone."""
    found: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def kept(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            found[name if calls[name] == 1 else f"{name}#{calls[name]}"] = output.detach().clone()

        return hook

    # What a parametrization computes is a weight, no activation.
    layers = {name: module for name, module in model.named_modules() if name and "parametrizations" not in name}
    handles = [module.register_forward_hook(kept(name)) for name, module in layers.items()]
    with torch.no_grad():
        nesting.call(model, x)
    for handle in handles:
        handle.remove()
    return found


@EVERY_DRAW
def test_every_layer_is_captured_as_hooks_see_it(seed: int) -> None:
    """A capture has the calls that plain hooks have, with their values; an edit is what a hook that writes makes."""
    model, x, _ = drawn(seed)
    wanted = _by_hooks(model, x)
    with Capture(model, "all") as look:
        look(x)
        assert set(look.names) == set(wanted)
        for name, value in wanted.items():
            torch.testing.assert_close(look[name].detach(), value, equal_nan=True)
    axis = 1 if isinstance(model.stem, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) else -1

    def written(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output.select(axis, 1).fill_(2.0)
        return output

    handle = model.stem.register_forward_hook(written)
    with torch.no_grad():
        by_hand = scores_of(nesting.call(model, x))
    handle.remove()
    with Capture(model, edits=[{"key": "unit:stem/1", "value": 2.0}]) as look, torch.no_grad():
        torch.testing.assert_close(scores_of(look(x)), by_hand)


def _score(model: nn.Module, x: Any) -> Tensor:
    with torch.no_grad():
        return scores_of(nesting.call(model, x))[:, 1]


def _changed(x: Tensor, place: int, value: Any) -> Tensor:
    """The input with one number of each example replaced."""
    y = x.clone()
    flat = y.reshape(len(y), -1)
    flat[:, place] = value(flat[:, place])
    return flat.reshape(x.shape)


def _explained(seed: int) -> Iterator[tuple[str, Any]]:
    model, x, _ = drawn(seed, 2)
    for name in diorama.methods:
        options = _fewer(knobs_of(diorama.methods[name]))
        if name == "expected_gradients":
            options["baseline"] = nesting.each(x, lambda part: part.flip(-1))
        try:
            yield name, diorama.attribute(model, x, 1, method=name, **options)
        except DioramaError as error:
            _refused(error)


@EVERY_DRAW
def test_every_method_explains_or_refuses(seed: int) -> None:
    """No foreign error; the score explained is the model's own; gradients are finite differences, one number left out is
    the difference that it makes, and exact methods sum to the score."""
    model, x, _ = drawn(seed, 2)
    near = traits(seed).dtype in EXACT
    found = dict(_explained(seed))
    assert "gradient" in found or not near
    score = _score(model, x)
    for name, heat in found.items():
        for part, given in zip(nesting.tensors(heat.values), nesting.tensors(x), strict=True):
            assert part.shape == given.shape, name
            assert torch.isfinite(part.abs()).all(), name
        rough = 0.05 if not near else 1e-4  # batches of another size are summed in another order
        assert heat.scores.to(score).tolist() == pytest.approx(score.tolist(), rel=rough, abs=rough), name
        if near and name in ("deep_lift", "shapley_sampling"):
            assert heat.checks["completeness"] < 0.01, name
    if not near or not isinstance(x, Tensor) or not x.is_floating_point():
        return
    wide, z = drawn(seed, 2)[0].double(), x.double()
    step = 1e-6
    for place in range(0, z[0].numel(), 7):
        slope = (_score(wide, _changed(z, place, lambda v: v + step)) - _score(wide, _changed(z, place, lambda v: v - step))) / (2 * step)
        torch.testing.assert_close(found["gradient"].values.double().flatten(1)[:, place], slope, rtol=1e-3, atol=1e-4)
        slope = slope * z.flatten(1)[:, place]
        torch.testing.assert_close(found["input_x_gradient"].values.double().flatten(1)[:, place], slope, rtol=1e-3, atol=1e-4)
    if traits(seed).kind == "table":
        for place in range(z.shape[1]):
            gone = _score(wide, z) - _score(wide, _changed(z, place, torch.zeros_like))
            for name in ("occlusion", "feature_ablation"):
                torch.testing.assert_close(found[name].values.double()[:, place], gone, rtol=1e-3, atol=1e-4)


def _drawn_by(scene: Scene) -> set[str]:
    """The views that draw a scene; what the others say of why not is looked at."""
    found = set()
    for name in views:
        try:
            pictures = list(itertools.islice(scene.stream(name, **_fewer(knobs_of(views[name]))), 2))
        except DioramaError as error:
            _refused(error)
        else:
            assert pictures, name
            found.add(name)
    return found


@EVERY_DRAW
def test_every_view_draws_or_refuses(seed: int) -> None:
    """No foreign error out of any view, and the model is as before."""
    model, x, _ = drawn(seed)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    assert _drawn_by(Scene(model, x)) > {"structure", "weights", "activations"}
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


@EVERY_DRAW
def test_a_training_is_read_back(seed: int, tmp_path: Path) -> None:
    """The last step of a watched training answers as the model does, and its record speaks of layers that it has."""
    model, x, y = drawn(seed)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    losses = []
    with diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer, every=2, snapshots=5) as recorder:
        for _ in range(10):
            loss = nn.functional.cross_entropy(scores_of(nesting.call(model, x)).float(), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            recorder.step(loss=loss)
    run = open_run(tmp_path / "run")
    steps, values = run.series("loss")
    assert steps.tolist() == list(range(1, 11))
    assert values.tolist() == pytest.approx(losses, rel=1e-5)
    again = run.scene(10).model
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(_score(again, x), _score(model, x))
    read = {name.split("/")[1] for name in run.series_names if name.startswith("activations/")}
    assert read <= set(_by_hooks(model, x))
    wanted = {"curves", "findings", "confusion", "weights", "distributions"}
    if isinstance(x, Tensor):  # what sums up inputs of one kind says that it cannot where there are several
        wanted.add("contrast")
    assert _drawn_by(run.scene(10)) > wanted
