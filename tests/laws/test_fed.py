"""Whatever feeds a layer has lines to it, or is named, in every network of the zoo."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo import ZOO, Specimen

from diorama.core.selection import without_call
from diorama.data import nesting
from diorama.model.axes import tensors_in
from diorama.model.connections import Connections
from diorama.model.plain_module import fed, named_modules, unwrap
from diorama.scene import Scene, wiring

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def _changed(value: Any, by: float) -> Any:
    """What a module answered, all its tensors larger by so much; copies, as what follows may write into it."""
    if isinstance(value, Tensor):
        return value + by if value.is_floating_point() else value.clone()
    if isinstance(value, dict):
        return {key: _changed(one, by) for key, one in value.items()}
    if isinstance(value, nn.utils.rnn.PackedSequence):
        return value._replace(data=value.data + by)
    return type(value)(_changed(one, by) for one in value) if isinstance(value, tuple | list) else value


def _feeding(model: nn.Module, x: Any, names: set[str]) -> set[tuple[str, str]]:
    """By hand: pairs of modules of which the first is given something else where the second alone answers something else."""
    plain = unwrap(model)
    modules = {name: module for name, module in named_modules(plain).items() if name in names}
    kept: dict[str, list[Any]] = defaultdict(list)
    given: dict[str, list[list[Tensor]]] = defaultdict(list)
    turned = ""

    def before(name: str) -> Any:
        return lambda module, args, kwargs: given[name].append([one.detach().clone() for one in tensors_in((args, kwargs))])

    def behind(name: str) -> Any:
        def told(module: Any, args: Any, output: Any) -> Any:
            place = len(given[name]) - 1
            if place == len(kept[name]):
                kept[name].append(_changed(output, 0.0))
            return _changed(kept[name][place], 0.7 if name == turned else 0.0)
        return told

    for name, module in modules.items():
        module.register_forward_pre_hook(before(name), with_kwargs=True)
        module.register_forward_hook(behind(name))
    plain.eval()
    found = set[tuple[str, str]]()
    nesting.call(plain, x)
    for turned in ("", *modules):
        given.clear()
        nesting.call(plain, x)
        if not turned:
            usual = {name: list(rows) for name, rows in given.items()}
        for name, rows in given.items():
            pairs = [(a, b) for own, other in zip(rows, usual[name], strict=True) for a, b in zip(own, other, strict=True)]
            if turned and any(not torch.equal(a, b) for a, b in pairs):
                found.add((name, turned))
    return found


def _unfollowed(wired: Connections) -> np.ndarray:
    """By hand, pair by pair: whom a layer reads along no unit, or mixed with others so that its own weights, or their sign, are not known."""
    found = wired.feeds.copy()
    for layer, other in zip(*np.nonzero(wired.feeds), strict=True):
        read, own = wired.reads[layer], set(wired.writes[other].tolist())
        if read is None:
            continue
        signs = wired.signs.get((layer, other))
        if not own & set(read.streams.tolist()):
            lost = True
        elif signs is not None:
            held = [sign for sign, stream in zip(signs.tolist(), read.streams.tolist(), strict=True) if stream in own]
            lost = any(np.isnan(held)) or not any(held)
        else:
            lost = any(own & set(wired.writes[one].tolist()) for one in np.flatnonzero(wired.feeds[layer]) if one != other)
        found[layer, other] = lost
    return found


@pytest.mark.parametrize("specimen", ZOO, ids=lambda one: one.name)
def test_whatever_feeds_a_layer_has_lines_or_is_named(specimen: Specimen) -> None:
    """A layer that is given something else where another answers something else reads that one, or it is named as one that could not be followed.

    Asked for few layers alone, who reads whom is told as of all.
    """
    scene = Scene(*specimen())
    told = defaultdict(set)
    wired = wiring.connected(scene)
    assert np.array_equal(wired.unfollowed, _unfollowed(wired))
    weights = scene.parameters()
    for layer in wiring.weighted(scene):
        whole = wiring.reads(scene, layer)
        for name in (*list(whole)[::3], "nowhere"):
            few = wiring.reads(scene, layer, [name], weights)
            assert set(few) == {name} & set(whole)
            assert all(np.array_equal(rows, whole[other]) for other, rows in few.items())
        told[without_call(layer.path if layer.part else layer.name)] |= {
            without_call(scene.layers[name].path if scene.layers[name].part else name)
            for name in (*wiring.reads(scene, layer), *wiring.lost(scene, layer))
        }
    model, x = specimen()
    feeding = _feeding(model, fed(unwrap(model), x), set(told))
    assert feeding or len(told) < 2
    for target, source in feeding:
        assert source in told[target], f"{target} reads {source}, and no line or word says so"
