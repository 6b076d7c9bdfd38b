"""Surgery on networks drawn at random: it works to rounding, or is refused before anything changes."""

from __future__ import annotations

import os
import random
import re

import grown_nets
import pytest
import torch
from torch import nn

import diorama
from diorama.core.selection import Key
from diorama.model.axes import tensors_in
from diorama.training.surgery.births import after, followed, layer_place, numbers, weight_place
from diorama.training.surgery.journal import of_units
from diorama.training.surgery.trial import answers
from diorama.training.surgery.units import ChangedUnits, add_units, remove_units

DRAWS = 40 if os.environ.get("DIORAMA_SWEEP") else 8
REFUSALS = ("GroupNorm", "come in sets of", "the model's answer", "followed", "group")
"""What a refusal may say of these networks."""


def _drawn(seed: int) -> tuple[nn.Module, torch.Tensor, str, int]:
    """A network, inputs, one of its layers with weights, and how many units."""
    model, x = grown_nets.made(lambda: grown_nets.Branches(seed), grown_nets.images)
    draw = random.Random(1000 + seed)
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear) and name != "fc"]
    return model, x, draw.choice(layers), draw.randint(1, 4)


def _check_births(done: ChangedUnits, before: dict[str, torch.Tensor], now: dict[str, torch.Tensor], layer: str) -> None:
    """What bears a number that was there before is bit by bit what it was; all else is new."""
    revision = of_units(done.graft)
    born = max(change.before for change in revision.moved.values())
    found = after({}, revision.moved, born)
    own = numbers(found[layer_place(done.layer)])
    assert [int(own[unit]) - born for unit in done.units] == list(range(len(done.units))), layer
    for name, old in before.items():
        tensor = now[name]
        for axis, size in enumerate(old.shape):
            births = torch.from_numpy(numbers(found.get(weight_place(name, axis), [(0, size)])))
            assert len(births) == tensor.shape[axis], (name, axis)
            kept = births < max(born, size)
            assert births[kept].tolist() == list(range(size))  # nothing that was there changes its order
            tensor = tensor.index_select(axis, kept.nonzero().flatten())
        assert torch.equal(tensor, old), (name, layer)


def test_surgery_on_drawn_networks() -> None:
    """Four of five take new units without another answer and give them back to the bit; the others say why, and are as before."""
    worked, refused = 0, []
    for seed in range(DRAWS):
        model, x, layer, count = _drawn(seed)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        want = {mode: answers(model, x, mode) for mode in ("eval", "train")}
        try:
            try:
                done = add_units(model, x, layer, count)
            except diorama.UsageError as error:  # units that come in sets: the nearest that it names
                done = add_units(model, x, layer, int(re.findall(r"nearest: (\d+)", str(error))[0]))
        except diorama.NotApplicable as error:
            refused.append(f"{seed} {layer}: {error}")
            assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
            continue
        _check_births(done, before, model.state_dict(), layer)
        for mode, whole in want.items():
            for one, other in zip(whole, answers(model, x, mode), strict=True):
                assert (one - other).abs().max() < 1e-5 * one.abs().max(), (seed, layer, mode)
        loss = sum(part.square().sum() for part in tensors_in(model.train()(x)))
        loss.backward()
        model.zero_grad()
        remove_units(model, x, layer, done.units)
        now = model.state_dict()
        assert all(torch.equal(now[name], tensor) for name, tensor in before.items() if "running" not in name and "num_" not in name), seed
        worked += 1
    assert worked >= 0.8 * DRAWS, refused
    assert all(any(word in text for word in REFUSALS) for text in refused), refused
    assert not any(repr(text.split()[1][:-1]) in text.partition("nearest")[2] for text in refused), refused


def test_numbers_of_units_may_come_from_anybody() -> None:
    """A run that says of a layer that it has more units than any is answered at once, or refused."""
    said = {"units": {"layer:a": [[0, 2**52]]}, "layers": [{"name": "a", "units": 4}]}
    ours = {"units": {"layer:a": [[4, 6], [0, 4]]}, "layers": [{"name": "a", "units": 10}]}
    assert str(followed(Key.parse("unit:a/5"), said, ours)) == "unit:a/1"
    assert str(followed(Key.parse("unit:a/1"), ours, said)) == "unit:a/5"
    with pytest.raises(diorama.Damaged, match="numbered beyond"):
        numbers(said["units"]["layer:a"])
