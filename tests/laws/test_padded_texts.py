"""Padding behind a text changes nothing that is said of it, in every view that takes an input and every method of attribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from attentions import LooksBack

import diorama
from diorama.core import registry
from diorama.core.errors import DioramaError, NotApplicable
from diorama.scene import Scene

WORDS = ("<pad>", "ant", "bee", "cat", "dog", "elk")
OVER_ALL = {
    "dictionary": "features are learnt from all places of a layer",
    "directions": "a direction is made of means over all places of a layer",
}
"""Views whose numbers are of a layer's places in all texts, where padding is a place, and not of what is answered to a text."""
DRAWN = ("discrepancy", "expected_gradients", "feature_ablation", "kernel_shap", "lime", "shapley_sampling", "smooth_grad")
"""Methods that draw at random, or cut a text into parts, over all its places: other ones where there are more."""


@pytest.fixture(scope="module")
def pair() -> tuple[Scene, Scene]:
    """Texts with three places of padding behind them, and the same texts without."""
    torch.manual_seed(2)
    model, x = LooksBack().eval(), torch.randint(1, 6, (6, 7))
    filled = torch.cat([x, torch.zeros(6, 3, dtype=torch.long)], 1)
    kind = diorama.Tokens(vocabulary=WORDS)
    return tuple(Scene(model, each, inputs=kind, task="next_token") for each in (filled, x))  # type: ignore[return-value]


def _said(scene: Scene, name: str, **knobs: Any) -> tuple[str, str, str]:
    try:
        found = scene.view(name, select=("example:2",), **knobs)
    except DioramaError as error:
        return type(error).__name__, "", ""
    return "", found.title, found.caption


@pytest.mark.parametrize("name", sorted(name for name, view in registry.views.items() if view.input and name not in OVER_ALL))
def test_views_say_the_same_of_a_text_with_padding_behind_it(name: str, pair: tuple[Scene, Scene]) -> None:
    """Title and caption of every view that takes an input; it fits both texts or neither."""
    filled, plain = (_said(scene, name) for scene in pair)
    assert filled == plain


@pytest.mark.parametrize("target", [None, 3, (3, 1), "class:4"])
def test_methods_explain_the_answer_behind_the_last_token(target: Any, pair: tuple[Scene, Scene]) -> None:
    """Maps and scores of all methods, whatever is explained: a class, or one rather than another."""
    told = set()
    for name in sorted(registry.methods):
        if name in DRAWN and target != (3, 1):
            continue  # these take long, and all targets go one way
        options = {"method": name, "inputs": pair[0].kind, "task": "next_token"}
        try:
            filled, plain = (diorama.attribute(scene.model, scene.live.x[:2], target, **options) for scene in pair)
        except DioramaError:
            continue
        told.add(name)
        np.testing.assert_allclose(filled.scores, plain.scores, rtol=1e-3, atol=1e-5, err_msg=name)
        if name not in DRAWN and registry.methods[name].group != "class activation":  # those go by means over all places
            np.testing.assert_allclose(filled.values[:, :7], plain.values, rtol=1e-2, atol=1e-4, err_msg=name)
    assert told >= {"gradient", "input_x_gradient", "integrated_gradients", "lrp", "occlusion", "attention_rollout"}


def test_a_way_between_texts_is_asked_where_they_end(pair: tuple[Scene, Scene]) -> None:
    """A morph answers at its start and end as the two texts are answered; texts that end at different tokens have nothing in between."""
    filled, plain = (scene.view("morph", start=0, end=1, way="straight", show="answer") for scene in pair)
    assert (filled.title, filled.caption) == (plain.title, plain.caption)
    x = pair[0].live.x.clone()
    x[1, 5:] = 0
    unlike = Scene(pair[0].model, x, inputs=pair[0].kind, task="next_token")
    with pytest.raises(NotApplicable, match="place 4 and place 6"):
        unlike.view("morph", start=0, end=1)


def test_a_made_text_is_asked_at_its_own_last_token(pair: tuple[Scene, Scene]) -> None:
    """What is told of a text that was made for a token is the network's answer behind that text, also where it ends in padding."""
    scene = pair[0]
    knobs = {"x": scene.live.x, "inputs": scene.kind, "task": "next_token", "steps": 1, "noise": 0.0, "start": scene.live.x[:1]}
    made = diorama.synthesize(scene.model, "class:0", **knobs)
    (row,) = (torch.as_tensor(part) for part in np.asarray(made.x))
    inside = (row != 0).nonzero()
    end = int(inside[-1]) if len(inside) else len(row) - 1
    with torch.no_grad():
        answer = scene.model(row[None])[0, end].softmax(0)
    assert end < len(row) - 1
    assert float(made.probabilities[0]) == pytest.approx(float(answer[0]), abs=1e-4)
