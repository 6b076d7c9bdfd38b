"""Directions among units: fitted from two sets, and found as bases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import NMF, PCA
from sklearn.linear_model import LogisticRegression
from torch import nn

from diorama.core.errors import NotApplicable, UsageError
from diorama.model.capture import Capture
from diorama.model.directions import Direction, based, fitted
from diorama.model.layers import layers


def _sets(count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Two clouds that differ along unit 2, and spread much more along units 0 and 1, which come along."""
    dice = np.random.default_rng(0)
    a, b = dice.normal(size=(count, 6)), dice.normal(size=(count, 6))
    a[:, 2] += 4
    for part in (a, b):
        part[:, 0] *= 5
        part[:, 1] = part[:, 0] + 0.5 * part[:, 2]
    return a, b


def test_the_difference_of_means_leads_from_one_mean_to_the_other() -> None:
    """Its vector is the difference brought to length one; the means lie half a step on either side of zero."""
    a, b = _sets()
    found = fitted("up", "fc", a, b)
    difference = a.mean(0) - b.mean(0)
    np.testing.assert_allclose(found.vector, difference / np.linalg.norm(difference))
    np.testing.assert_allclose(found.values(a).mean(), 0.5)
    np.testing.assert_allclose(found.values(b).mean(), -0.5)
    np.testing.assert_allclose(b.mean(0) + found.step * found.vector, a.mean(0))


def test_a_probe_is_the_logistic_regression_of_standardized_units() -> None:
    """The direction is that of scikit-learn's weights, and tells held-out examples better than the means do."""
    a, b = _sets()
    x, y = np.concatenate([a, b]), np.arange(400) < 200
    fit = LogisticRegression(class_weight="balanced", max_iter=500).fit((x - x.mean(0)) / x.std(0), y)
    wanted = fit.coef_[0] / x.std(0)
    found = fitted("up", "fc", a, b, "probe")
    np.testing.assert_allclose(found.vector, wanted / np.linalg.norm(wanted), atol=1e-6)
    means = fitted("up", "fc", a, b)
    assert found.accuracy is not None
    assert means.accuracy is not None
    assert found.accuracy > 0.95
    assert found.accuracy > means.accuracy + 0.03


def test_a_direction_of_noise_is_right_by_chance() -> None:
    """Sets that do not differ are told apart on the examples they came from, and not on those left out."""
    dice = np.random.default_rng(1)
    a, b = dice.normal(size=(60, 40)), dice.normal(size=(60, 40))
    found = fitted("nothing", "fc", a, b, "probe")
    assert (found.values(a) > 0).mean() > 0.75
    assert found.accuracy == pytest.approx(0.5, abs=0.12)
    assert fitted("few", "fc", a[:1], b).accuracy is None


def test_sets_with_one_mean_have_no_direction() -> None:
    """Where nothing differs, that is said."""
    same = np.ones((5, 3))
    with pytest.raises(NotApplicable, match="same mean"):
        fitted("none", "fc", same, same)
    with pytest.raises(UsageError, match="means or probe"):
        fitted("none", "fc", same, same, "pca")


@pytest.mark.parametrize("rectified", [False, True])
def test_a_moved_activation_gains_as_many_steps(rectified: bool) -> None:
    """Moved by so many steps, an activation's target is larger by exactly so many, at any unit axis."""
    for model, x in (
        (nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU()), torch.randn(1, 1, 6, 6)),
        (nn.Sequential(nn.Linear(4, 5), nn.ReLU()), torch.randn(1, 7, 4)),
    ):
        table, name = layers(model, x), "1" if rectified else "0"
        vector = np.random.default_rng(2).normal(size=5)
        way = Direction("w", name, vector / np.linalg.norm(vector), offset=0.3, step=2.5)
        with Capture(model, [name]) as look:
            output = look(x)
            raw = look[name]
            target = way.target(table)
            before = float(target(output, look))
        by = torch.tensor([-1.0, 0.0, 2.0])
        for k, moved in enumerate(way.moved(raw, by, table[name].unit_axis)):
            with Capture(model, [name], edits=[{"key": f"layer:{name}", "patch": moved[None]}]) as look:
                output = look(x)
                assert float(target(output, look)) == pytest.approx(before + float(by[k]), abs=1e-5)


def test_bases_are_those_of_scikit_learn() -> None:
    """PCA's directions and shares, and NMF's parts put in order of how much they are used."""
    dice = np.random.default_rng(3)
    rows = dice.normal(size=(300, 10)) @ dice.normal(size=(10, 10))
    found, note = based("fc", rows, "pca", 4)
    wanted = PCA(4, svd_solver="full").fit(rows)
    np.testing.assert_allclose([one.vector for one in found], wanted.components_)
    np.testing.assert_allclose([one.share for one in found], wanted.explained_variance_ratio_, rtol=0.01)
    assert f"{100 * wanted.explained_variance_ratio_.sum():.3g} %" in note
    assert [one.name for one in found] == ["pca/fc/0", "pca/fc/1", "pca/fc/2", "pca/fc/3"]
    assert found[1].values(rows).mean() == pytest.approx(0, abs=1e-9)
    assert found[1].values(rows).std() == pytest.approx(1)
    parts = np.abs(dice.normal(size=(300, 3))) * [1, 5, 2] * (dice.random((300, 3)) < 0.4)
    own = np.zeros((3, 6))
    own[0, :2] = own[1, 2:4] = own[2, 4:] = 1
    found, _ = based("fc", parts @ own, "nmf", 3)
    np.testing.assert_allclose([one.vector for one in found], own[[1, 2, 0]] / 2**0.5, atol=0.02)
    fit = NMF(3, init="nndsvda", random_state=0, max_iter=300).fit(parts @ own)
    wide = fit.components_ / np.linalg.norm(fit.components_, axis=1, keepdims=True)
    for one in found:
        assert np.abs(wide @ one.vector).max() == pytest.approx(1)


def test_bases_that_do_not_exist_are_refused() -> None:
    """Parts of what is negative, and directions of what never changes, are refused with a way out."""
    rows = np.random.default_rng(4).normal(size=(20, 3))
    with pytest.raises(NotApplicable, match="use pca"):
        based("fc", rows, "nmf")
    with pytest.raises(NotApplicable, match="the same to all"):
        based("fc", np.ones((20, 3)), "pca")
