"""A black box as a scene: a plain function from inputs to scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import diorama
from diorama.core.errors import DioramaError, NotApplicable, UsageError
from diorama.core.marks import Bars
from diorama.core.registry import views
from diorama.scene import Scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Scores from two of three columns; the third has no say."""
    weights = np.array([[2.0, -2.0], [0.0, 1.0], [0.0, 0.0]])
    x = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
    y = torch.from_numpy((x.numpy() @ weights).argmax(1))
    inputs = diorama.Table(columns=("a", "b", "c"))
    return Scene(lambda rows: np.asarray(rows) @ weights, x, y, classes=("left", "right"), inputs=inputs)


def test_every_view_shows_a_function_or_says_why_not(scene: Scene) -> None:
    """A view either draws from answers alone, or says in its fits that the model is a function; nothing else happens."""
    drawn = []
    for name, view in views.items():
        reason = view.fits(scene)
        if reason is None:
            assert scene.view(name).title
            drawn.append(name)
        elif view.needs != "record" and not view.answers:
            assert "plain function" in reason
    assert {"attribution", "boundary", "confusion", "examples", "answer", "inspector", "map"} <= set(drawn)


def test_black_box_methods_explain_it(scene: Scene) -> None:
    """Occlusion of the column without a say is zero, and equals what covering each of the others changes."""
    picture = scene.view("attribution", method="occlusion", example=0, class_=0)
    values = next(mark for mark in picture.marks() if isinstance(mark, Bars)).values
    x = scene.examples.x[0].double().numpy()  # type: ignore[index]
    assert values == pytest.approx([2 * x[0], 0, 0], abs=1e-5)
    with pytest.raises(NotApplicable, match="plain function"):
        scene.view("attribution", method="gradient")


def test_what_cannot_be_called_is_refused() -> None:
    """An object that is no model and no function is refused, with the function that it has."""

    class Fitted:
        def predict_proba(self, rows: object) -> object:
            return rows

    with pytest.raises(UsageError, match=r"model\.predict_proba"):
        Scene(Fitted(), torch.zeros(2, 2))  # type: ignore[arg-type]
    with pytest.raises(DioramaError):
        Scene(3, torch.zeros(2, 2))  # type: ignore[arg-type]
