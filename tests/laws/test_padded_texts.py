"""Padding behind a text, or before it, changes nothing that is said of it: of an input, of the units over all texts, of what methods find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from attentions import LooksBack
from torch import Tensor

import diorama
from diorama.core import registry
from diorama.core.errors import DioramaError, NotApplicable
from diorama.core.marks import Lines, Table
from diorama.scene import Scene

WORDS = ("<pad>", "ant", "bee", "cat", "dog", "elk")
OF_UNITS = (
    "active", "clusters", "communities", "dictionary", "directions", "neighbourhood", "projection", "springs", "subgroup", "surprises", "units",
)
"""Views of what units do over all texts."""
LONG = ("expected_gradients", "kernel_shap", "lime", "shapley_sampling", "smooth_grad")
"""Methods that take long."""


class _LooksPast(LooksBack):
    """The same, of which also padding sees something: itself. So that it may stand before a text."""

    def forward(self, x: Tensor) -> Tensor:
        here = torch.eye(x.shape[1], dtype=torch.bool)
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        mask = ((later | (x == 0)[:, None]) & ~here).repeat_interleave(2, 0)
        h = self.embed(x)
        h = h + self.attn(h, h, h, attn_mask=mask)[0]
        answer: Tensor = self.head(h + self.mlp(h))
        return answer


class _Sorts(_LooksPast):
    """Scores for the classes of texts: the mean over their words."""

    def forward(self, x: Tensor) -> Tensor:
        scores, words = super().forward(x), (x != 0)[..., None]
        mean: Tensor = (scores * words).sum(1) / words.sum(1)
        return mean


@pytest.fixture(scope="module", params=["behind", "before"])
def sided(request: pytest.FixtureRequest) -> tuple[Scene, Scene]:
    """Labelled texts of unlike length with padding behind or before them, so that the shortest have most, and with three places more."""
    torch.manual_seed(2)
    model, kind = _LooksPast().eval(), diorama.Tokens(vocabulary=WORDS)
    texts = [torch.randint(1, 6, (count,)) for count in (7, 5, 7, 6, 7, 4, 7, 7)]
    scenes = []
    for wide in (10, 7):
        x, y = torch.zeros(8, wide, dtype=torch.long), torch.full((8, wide), -100)
        for k, text in enumerate(texts):
            start = wide - len(text) if request.param == "before" else 0
            x[k, start : start + len(text)], y[k, start : start + len(text) - 1] = text, text[1:]
        scenes.append(Scene(model, x, y, inputs=kind, task="next_token"))
    return scenes[0], scenes[1]


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


def _numbers(scene: Scene, name: str) -> list[np.ndarray]:
    marks = scene.view(name, select=("example:2",)).marks()
    columns = [column for mark in marks if isinstance(mark, Table) for column in mark.columns]
    return [np.asarray(column.numbers, np.float64) for column in columns if column.numbers is not None]


@pytest.mark.parametrize("name", OF_UNITS)
def test_units_do_over_texts_what_they_do_without_padding(name: str, sided: tuple[Scene, Scene]) -> None:
    """Title, caption and the numbers in the tables of views of units, with more padding and with less, behind and before."""
    filled, plain = (_said(scene, name) for scene in sided)
    assert filled == plain
    assert filled[0] == ""
    for one, other in zip(*(_numbers(scene, name) for scene in sided), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_what_stands_round_a_units_places_is_the_same_with_padding(sided: tuple[Scene, Scene]) -> None:
    """The strongest and weakest examples of a card are told by their words; behind the last one it is not known what comes."""
    told = []
    for scene in sided:
        tables = [mark for mark in scene.view("card", select=("unit:head/3",)).marks() if isinstance(mark, Table)]
        told.append([column.texts for table in tables for column in table.columns if column.name == "what it foretells"])
    assert told[0] == told[1]
    assert len(told[0]) == 2
    assert "<pad>" not in str(told)


def test_a_scan_counts_the_words_of_texts_alone(sided: tuple[Scene, Scene]) -> None:
    """Moments, histograms and strongest examples are those of the words, counted one by one; places are those where the words stand."""
    for scene in sided:
        part = diorama.scan(scene, store=False)["mlp.2"]
        values = scene.activations(["mlp.2"])["mlp.2"].double()
        own = scene.live.x != 0
        words = values.movedim(1, 2)[own]
        assert part.moments.count == len(words)
        np.testing.assert_allclose(part.moments.mean, words.mean(0), atol=1e-5)
        np.testing.assert_allclose(part.moments.std, words.std(0), rtol=1e-4)
        np.testing.assert_allclose(part.moments.high, words.amax(0), atol=1e-6)
        assert part.histogram is not None
        assert (part.histogram.counts.sum(1) == len(words)).all()
        best = values.masked_fill(~own[:, None], -torch.inf).flatten(0).reshape(values.shape).amax(2)
        for unit in range(values.shape[1]):
            example, place = int(part.top.examples[unit, 0]), int(part.top.places[unit, 0])
            assert float(values[example, unit, place]) == pytest.approx(float(best[:, unit].amax()), abs=1e-6)


@pytest.mark.parametrize("name", sorted(name for name, view in registry.views.items() if view.input))
def test_views_say_the_same_of_a_text_with_padding_behind_it(name: str, pair: tuple[Scene, Scene]) -> None:
    """Title and caption of every view that takes an input; it fits both texts or neither."""
    filled, plain = (_said(scene, name) for scene in pair)
    assert filled == plain


@pytest.mark.parametrize("target", [None, 3, (3, 1), "class:4"])
def test_methods_explain_the_answer_behind_the_last_token(target: Any, pair: tuple[Scene, Scene]) -> None:
    """Maps and scores of all methods, whatever is explained: a class, or one rather than another."""
    told = set()
    for name in sorted(registry.methods):
        if name in LONG and target != (3, 1):
            continue  # all targets go one way
        options = {"method": name, "inputs": pair[0].kind, "task": "next_token"}
        try:
            filled, plain = (diorama.attribute(scene.model, scene.live.x[:2], target, **options) for scene in pair)
        except DioramaError:
            continue
        told.add(name)
        np.testing.assert_allclose(filled.scores, plain.scores, rtol=1e-3, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(filled.values[:, :7], plain.values, rtol=1e-2, atol=1e-4, err_msg=name)
    assert told >= {"gradient", "input_x_gradient", "integrated_gradients", "lrp", "occlusion", "attention_rollout"}


def test_methods_explain_texts_of_unlike_length_wherever_their_padding_stands(sided: tuple[Scene, Scene]) -> None:
    """Scores, and the numbers at the words, of every method."""
    told = set()
    words = [scene.live.x[:2].numpy() != 0 for scene in sided]
    for name in sorted(registry.methods):
        options = {"method": name, "inputs": sided[0].kind, "task": "next_token"}
        try:
            filled, plain = (diorama.attribute(scene.model, scene.live.x[:2], (3, 1), **options) for scene in sided)
        except DioramaError:
            continue
        told.add(name)
        np.testing.assert_allclose(filled.scores, plain.scores, rtol=1e-3, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(filled.values[words[0]], plain.values[words[1]], rtol=1e-2, atol=1e-4, err_msg=name)
    assert told >= {"smooth_grad", "lime", "kernel_shap", "shapley_sampling", "grad_cam", "score_cam", "eigen_cam", "layer_cam", "attention_rollout"}


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


@pytest.mark.parametrize("before", [False, True])
def test_a_way_between_texts_with_classes_is_read_out_over_their_words(before: bool) -> None:
    """What layers know, how active they are and which units turn the answer: with more padding and with less."""
    torch.manual_seed(3)
    model, y = _Sorts().eval(), torch.arange(40) % 2
    texts = [torch.randint(1, 4, (3 + k % 5,)) + 2 * int(y[k]) for k in range(40)]
    told = []
    for wide in (12, 8):
        x = torch.zeros(40, wide, dtype=torch.long)
        for k, text in enumerate(texts):
            x[k, slice(wide - len(text), wide) if before else slice(0, len(text))] = text
        scene = Scene(model, x, y, inputs=diorama.Tokens(vocabulary=WORDS), classes=tuple("abcdef"), task="classification")
        told += [scene.view("morph", start=0, end=5, way="straight", show=show) for show in ("answer", "depth", "units")]
    lines = 0
    for one, other in zip(told[:3], told[3:], strict=True):
        assert (one.title, one.caption) == (other.title, other.caption)
        for mark, same in zip(one.marks(), other.marks(), strict=True):
            if isinstance(mark, Lines):
                lines += len(mark.series)
                for series, alike in zip(mark.series, same.series, strict=True):
                    np.testing.assert_allclose(series.y, alike.y, rtol=1e-3, atol=1e-4, err_msg=f"{mark.title}, {series.name}")
            for column, alike in zip(mark.columns, same.columns, strict=True) if isinstance(mark, Table) else ():
                if column.numbers is not None:
                    np.testing.assert_allclose(column.numbers, alike.numbers, rtol=1e-3, atol=1e-4, err_msg=f"{mark.title}, {column.name}")
    assert lines
