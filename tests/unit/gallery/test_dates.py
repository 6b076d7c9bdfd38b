"""The demo dates: what it looks at follows the order of what it reads."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
import torch

from diorama.core.errors import NotApplicable
from diorama.derive.heads import attention_layers, weights
from diorama.gallery.dates import VOCABULARY, DatesDemo, written
from diorama.scene import Scene

DIGITS = np.array([0, 1, 2, 3, 5, 6, 8, 9])
"""Places of the answer that depend on what is read: the others are hyphens."""


@pytest.fixture(scope="module")
def scene() -> Scene:
    """The demo's network after 110 steps, which are a few seconds."""
    demo = DatesDemo()
    examples = demo.prepare()
    model = demo.build(examples)
    for _ in demo.trainer(model, examples).run(110):
        pass
    assert examples.held_out is not None
    return Scene(model, examples.held_out.x, examples.held_out.y, classes=examples.classes, inputs=examples.kind, task="next_token")


def _along(scene: Scene, way: int) -> float:
    """How the place that is looked at goes along with the place that is written, in the mean of six dates: 1 is a diagonal."""
    generator, found = np.random.default_rng(7), []
    for _ in range(6):
        text = written(datetime.date(1000, 1, 1) + datetime.timedelta(int(generator.integers(730_000))), way)
        x = scene.examples.kind.encode(text)  # type: ignore[union-attr]
        looks = weights(scene, x, attention_layers(scene)[0])[0]
        found.append(np.corrcoef((looks @ np.arange(len(text)))[DIGITS], DIGITS)[0, 1])
    return float(np.mean(found))


def test_attention_is_diagonal_where_dates_are_in_order(scene: Scene) -> None:
    """In dates that name year, month and day it goes from left to right as it writes, in dates the other way round it goes back."""
    assert all(_along(scene, way) > 0.9 for way in range(4))
    assert all(_along(scene, way) < -0.4 for way in range(4, 8))


def test_a_date_of_ones_own_is_translated(scene: Scene) -> None:
    """Most held-out dates are right in every character; what fills up a text changes nothing; rows are named by the answer."""
    right = (scene.scores().argmax(-1) == scene.examples.y).all(1)
    assert float(right.float().mean()) > 0.4
    plain, filled = (scene.scores(scene.examples.kind.encode(text)) for text in ("2026/05/03", "2026/05/03      "))  # type: ignore[union-attr]
    torch.testing.assert_close(plain, filled, atol=1e-5, rtol=1e-4)
    heat = next(mark for mark in scene.view("attention", input="2026/05/03").marks() if getattr(mark, "row_title", "") == "asks")
    assert "".join(heat.row_labels) == "".join(VOCABULARY[int(k)] for k in plain[0].argmax(-1))  # type: ignore[attr-defined]


def test_a_network_that_translates_does_not_write_on(scene: Scene) -> None:
    """It answers at other places than those that it reads, so there is nothing to go on with."""
    with pytest.raises(NotApplicable, match="it translates"):
        scene.view("writes")
