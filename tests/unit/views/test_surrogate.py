"""What the imitating tree says of itself is so: its rules lead to its answers, its fidelity is that of examples held back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Bars, Blocks, Table
from diorama.core.picture import Picture
from diorama.scene import Scene


def _marks(picture: Picture, kind: type) -> list:
    return [mark for mark in picture.marks() if isinstance(mark, kind)]


class _Corner(nn.Module):
    """Answers 2 where both numbers are above one half, 1 where the first alone is, else 0."""

    def forward(self, x: Tensor) -> Tensor:
        answer = torch.where(x[:, 0] > 0.5, 1 + (x[:, 1] > 0.5).long(), 0)
        return nn.functional.one_hot(answer, 3).float()


@pytest.fixture(scope="module")
def corner() -> Scene:
    """Two hundred points of a plane, of which one in five has another label than the network gives."""
    x = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    y = _Corner()(x).argmax(1)
    y[::5] = (y[::5] + 1) % 3
    return Scene(_Corner(), x, y, inputs=diorama.Table(columns=("width", "height")))


def _followed(blocks: Blocks, names: tuple[str, ...], row: np.ndarray) -> str:
    """The answer of a drawn tree to a row, found by reading its questions and edges alone."""
    known = {block.id: block for block in blocks.blocks}
    node = blocks.blocks[0]
    while node.kind == "question":
        name, threshold = node.label.split(" ≤ ")
        word = "yes" if row[names.index(name)] <= float(threshold.replace("−", "-")) else "no"
        ends = [known[edge.target] for edge in blocks.edges if edge.source == node.id]
        node = next(end for end in ends if end.detail.startswith(f"{word} · "))
    return node.label


def test_a_net_of_two_questions_is_found_whole(corner: Scene) -> None:
    """The drawn tree asks for both columns near one half, and whoever follows it gets the network's answers."""
    picture = corner.view("surrogate", depth=2)
    blocks = _marks(picture, Blocks)[0]
    assert sorted(block.label.split()[0] for block in blocks.blocks if block.kind == "question") == ["height", "width"]
    rows, answers = corner.live.x.numpy(), corner.predictions().tolist()
    said = [int(_followed(blocks, ("width", "height"), row)) for row in rows]
    assert np.mean(np.array(said) == answers) > 0.98
    assert picture.checks[0].value > 0.95


def test_fidelity_is_measured_on_examples_that_were_held_back(corner: Scene) -> None:
    """Fidelity, the most frequent answer and both accuracies equal those of scikit-learn on the same split."""
    picture = corner.view("surrogate", depth=1, held=0.25, seed=3)
    order = np.random.default_rng(3).permutation(200)
    held, fitted = np.sort(order[:50]), np.sort(order[50:])
    x, answers, truth = corner.live.x.numpy(), corner.predictions().numpy(), corner.live.y.numpy()
    tree = DecisionTreeClassifier(max_depth=1, random_state=3).fit(x[fitted], answers[fitted])
    said = tree.predict(x[held])
    most = np.bincount(answers[fitted]).argmax()
    bars = _marks(picture, Bars)[0]
    wanted = [
        accuracy_score(answers[held], said), np.mean(answers[held] == most),
        accuracy_score(truth[held], said), accuracy_score(truth[held], answers[held]),
    ]
    np.testing.assert_allclose(bars.values, wanted)
    assert "50 examples" in bars.title
    assert f"agrees with the network on {round(wanted[0] * 50)} of 50 examples" in picture.caption


def test_every_rule_holds_for_its_examples(corner: Scene) -> None:
    """Of each row the numbers of examples and of those answered alike are counted again by evaluating the rule's text."""
    picture = corner.view("surrogate", depth=3)
    table = _marks(picture, Table)[0]
    where, answer, count, held, alike = (column.texts or column.numbers for column in table.columns[:5])
    x, answers = corner.live.x.numpy(), corner.predictions().numpy()
    back = np.sort(np.random.default_rng(0).permutation(200)[:60])
    total = 0
    for k, rule in enumerate(where):
        fits = np.ones(200, bool)
        for part in rule.split(" and "):
            name, sign, threshold = part.split()
            column = x[:, ("width", "height").index(name)]
            # The text rounds thresholds: points within that rounding may lie on either side.
            fits &= column <= float(threshold.replace("−", "-")) if sign == "≤" else column > float(threshold.replace("−", "-"))
        total += fits.sum()
        assert abs(int(count[k]) - fits.sum()) <= 1
        own = fits & np.isin(np.arange(200), back)
        assert abs(int(held[k]) - own.sum()) <= 1
        if own.sum() == held[k] and own.any():
            assert alike[k] == f"{100 * np.mean(answers[own] == int(answer[k])):.0f} %"
    assert total == 200


def test_a_chosen_example_shows_its_way(corner: Scene) -> None:
    """The blocks on the way of the chosen example are marked, and the caption says the tree's answer to it."""
    picture = corner.view("surrogate", depth=2, example=7)
    blocks = _marks(picture, Blocks)[0]
    marked = [block for block in blocks.blocks if "the chosen example" in block.notes]
    answer = _followed(blocks, ("width", "height"), corner.live.x.numpy()[7])
    assert marked[0].id == "0"
    assert marked[-1].label == answer
    assert f"Example 7 is answered {answer} by the tree" in picture.caption
    assert sum(_marks(picture, Table)[0].flagged) == 1


def test_units_are_asked_of_pictures() -> None:
    """Of pictures the tree asks for units of the last hidden layer, or of the chosen one; keys lead to them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 3))
        scene = Scene(model, torch.rand(60, 1, 6, 6), torch.arange(60) % 3)
    picture = scene.view("surrogate")
    assert picture.title == "A tree on layer 3"
    chosen = scene.view("surrogate", layer="0")
    assert chosen.title == "A tree on the mean over its places of layer 0"
    for each, layer in ((picture, "3"), (chosen, "0")):
        keys = [block.key for block in _marks(each, Blocks)[0].blocks if block.kind == "question"]
        assert all(key.startswith(f"unit:{layer}/") for key in keys)
    pixels = scene.view("surrogate", on="inputs")
    assert all(block.label.startswith("input 0, ") for block in _marks(pixels, Blocks)[0].blocks if block.kind == "question")


def test_numbers_are_imitated_too() -> None:
    """A regression's fidelity is scikit-learn's R² on the examples held back, its simplest answer the mean."""
    x = torch.rand(120, 2, generator=torch.Generator().manual_seed(0))
    model = nn.Linear(2, 1)
    scene = Scene(model, x, model(x).detach()[:, 0] + 0.1)
    picture = scene.view("surrogate", on="inputs")
    held = np.sort(np.random.default_rng(0).permutation(120)[:36])
    blocks = _marks(picture, Blocks)[0]
    said = [float(_followed(blocks, tuple(scene.kind.columns), row).replace("−", "-")) for row in x.numpy()[held]]
    wanted = r2_score(model(x).detach().numpy()[held, 0], said)
    assert picture.checks[0].value == pytest.approx(wanted, abs=0.02)
    assert "of the variance of the network's answers" in picture.caption


def test_what_cannot_be_imitated_is_said() -> None:
    """Too few examples, tokens asked for as numbers, units of a function, and another task each have a sentence."""
    x = torch.rand(40, 2)
    with pytest.raises(NotApplicable, match="ten examples"):
        Scene(_Corner(), x[:5]).view("surrogate")
    with pytest.raises(NotApplicable, match="no units"):
        Scene(lambda rows: torch.stack([rows[:, 0], rows[:, 1]], 1), x, torch.arange(40) % 2).view("surrogate", on="units")
    assert Scene(lambda rows: torch.stack([rows[:, 0], rows[:, 1]], 1), x, torch.arange(40) % 2).view("surrogate")
    text = Scene(nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2)), torch.randint(0, 9, (30, 5)), torch.arange(30) % 2)
    with pytest.raises(NotApplicable, match="tokens"):
        text.view("surrogate", on="inputs")
    codes = Scene(nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 4)), torch.rand(30, 4), torch.rand(30, 4), task="reconstruction")
    with pytest.raises(NotApplicable, match="answers otherwise"):
        codes.view("surrogate")
