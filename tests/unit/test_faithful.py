"""Deletion, insertion, randomization and the smallest flip, on models whose right answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo import Residual

import diorama
from diorama.core.errors import NotApplicable, UsageError
from diorama.data.kinds import Image
from diorama.methods.faithfulness.deletion import deletion
from diorama.methods.faithfulness.insertion import insertion
from diorama.methods.faithfulness.randomization import randomization
from diorama.methods.method import Look
from diorama.methods.perturbation.flip import flip
from diorama.model.targets import Target


def test_curves_of_a_sum() -> None:
    """For a linear model the right order deletes as plain loops do, and best of all orders."""
    torch.manual_seed(0)
    model = nn.Linear(10, 2)
    x = torch.rand(2, 10)
    heat = (x * model.weight[1]).detach()
    look = Look(model, x=x)
    found = deletion(look, x, Target.of(1), heat, steps=10)
    for k in range(2):
        row, wanted = x[k].clone(), []
        for place in [None, *heat[k].argsort(descending=True).tolist()]:
            if place is not None:
                row[place] = 0
            wanted.append(float(model(row[None])[0, 1].detach()))
        np.testing.assert_allclose(found.values[k], wanted, atol=1e-6)
    area = np.trapezoid if hasattr(np, "trapezoid") else np.trapz
    np.testing.assert_allclose(found.areas, area(found.values, found.shares), rtol=1e-6)
    worse = deletion(look, x, Target.of(1), torch.rand(2, 10), steps=10)
    assert (found.areas < worse.areas).all()
    rising = insertion(look, x, Target.of(1), heat, steps=10)
    np.testing.assert_allclose(rising.values[:, -1], found.values[:, 0], atol=1e-6)
    np.testing.assert_allclose(rising.values[:, 0], found.values[:, -1], atol=1e-6)
    assert (rising.areas > found.areas).all()


def test_curves_on_images() -> None:
    """A place of an image is covered in all its channels, and a map that is not finite still gives a curve."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.rand(1, 3, 8, 8)
    look = Look(model, x=x)
    found = insertion(look, x, Target.of(0), torch.full_like(x, torch.nan), steps=4, fill="blur")
    assert np.isfinite(found.values).all()
    assert found.values[0, -1] == pytest.approx(float(model(x)[0, 0].detach()), abs=1e-6)


def test_randomization_names_what_does_not_change() -> None:
    """A map of edges alone is named insensitive; the gradient of a trained network is not; the model stays."""
    torch.manual_seed(0)
    model, x = Residual().eval(), torch.randn(2, 1, 12, 12)
    state = {name: part.clone() for name, part in model.state_dict().items()}

    class Edges(diorama.methods.method.Method):  # type: ignore[name-defined]
        """The input's own edges."""

        name = "edges"

        def attribute(self, look, x, target):  # type: ignore[no-untyped-def]
            yield self.found(look, x, target, x.diff(dim=3, append=x[..., :1]), look.target(x, target))

    look = Look(model, x=x)
    edges = randomization(look, x, Target.of(1), Edges())
    assert edges.insensitive
    assert "insensitive" in edges.sentence
    assert edges.counts[-1] == len(edges.layers) == 6
    assert edges.layers[0] == "fc"
    found = randomization(look, x, Target.of(1), diorama.methods["gradient"]())
    assert not found.insensitive
    assert all(torch.equal(part, state[name]) for name, part in model.state_dict().items())


def test_a_linear_flip_is_the_distance_to_the_plane() -> None:
    """For a linear model the smallest change is the distance to the plane between the classes, and it flips."""
    torch.manual_seed(0)
    model, x = nn.Linear(6, 2), torch.randn(5, 6)
    found = flip(Look(model, x=x, task="classification"), x)
    weight = (model.weight[1] - model.weight[0]).detach()
    distances = ((x @ weight + (model.bias[1] - model.bias[0]).detach()).abs() / weight.norm()).detach()
    assert found.flipped.all()
    assert bool((model(found.x).argmax(1) == found.after).all())
    assert bool((found.after != model(x).argmax(1)).all())
    assert bool((found.norms >= distances * (1 - 1e-4)).all())
    torch.testing.assert_close(found.norms, distances, rtol=0.02, atol=1e-4)


def test_flips_of_a_network_stay_in_range_and_reach_a_class() -> None:
    """On a network of several classes a wanted class is reached inside the range of an image."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 4)).eval()
    x = torch.rand(6, 1, 8, 8)
    look = Look(model, x=x, kind=Image(range=(0.0, 1.0)), task="classification")
    free, wanted = flip(look, x), flip(look, x, to=2)
    for found in (free, wanted):
        assert bool((found.x >= 0).all())
        assert bool((found.x <= 1).all())
        assert bool((found.margins[found.flipped] > 0).all())
    assert free.flipped.all()
    assert bool((wanted.after[wanted.flipped] == 2).all())
    both = free.flipped & wanted.flipped
    assert bool((free.norms[both] <= wanted.norms[both] * 1.05).all())
    with pytest.raises(UsageError, match="classes 0 to 3"):
        flip(look, x, to=4)


def test_an_answer_that_cannot_flip_is_said() -> None:
    """A model that always gives one answer yields no flip, an infinite norm and a sentence."""

    class Stubborn(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.sum(1) * 0 + 1, x.sum(1) * 0], 1)

    x = torch.randn(2, 3)
    found = flip(Look(Stubborn(), x=x), x, steps=5)
    assert not found.flipped.any()
    assert all(math.isinf(norm) for norm in found.norms.tolist())
    assert "No change" in found.sentence
    assert torch.equal(found.x, x)
    with pytest.raises(NotApplicable, match="floating-point"):
        flip(Look(nn.Embedding(3, 2), x=torch.zeros(1, 2).long()), torch.zeros(1, 2).long())
