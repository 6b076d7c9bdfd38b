"""The melodies keep the rules of their genres, a short training learns them, and they are seen and heard."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diorama.core.marks import Roll, Scatter, Text
from diorama.data.melodies import is_mark, notes
from diorama.gallery.melody import GENRES, LENGTH, SCALES, VOCABULARY, MelodyDemo, melody
from diorama.scene import Scene

CLOSES = {"march": 0, "waltz": 5, "blues": 0, "reel": 2}


@pytest.mark.parametrize("genre", GENRES)
def test_a_melody_keeps_its_scale_and_ends_at_home(genre: str) -> None:
    """Each melody has its length, uses its genre's scale only, ends on the home note, and is not the next one."""
    generator = np.random.default_rng(3)
    made = [melody(genre, generator) for _ in range(20)]
    for tokens in made:
        assert len(tokens) == LENGTH
        assert set(tokens) <= set(VOCABULARY)
        heard = [note.pitch % 12 for note in notes(tokens)]
        assert set(heard) <= set(SCALES[genre])
        assert heard[-1] == CLOSES[genre]
    assert len(set(map(tuple, made))) > 15


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A little network after a short training."""
    demo = MelodyDemo(hidden=32, batch=8, learning_rate=0.02)
    examples = demo.prepare()
    model = demo.build(examples)
    for _ in demo.trainer(model, examples).run(120):
        pass
    held_out = examples.held_out
    assert held_out is not None
    return Scene(model, held_out.x, held_out.y, classes=examples.classes, inputs=examples.kind)


def test_the_network_names_what_it_hears(scene: Scene) -> None:
    """At the end of held-out melodies that do not tell their genre the network names it, far above a guess of one in four."""
    x, y = scene.live.x, scene.live.y
    assert isinstance(x, torch.Tensor)
    assert y is not None
    untold = x[:, 0] == 0
    answers = scene.scores(x)[:, -1].argmax(-1)
    assert 0.3 < float(untold.float().mean()) < 0.7
    assert float((answers == y[:, -1])[untold].float().mean()) > 0.45


def test_what_the_network_writes_is_heard(scene: Scene) -> None:
    """The notes that it writes stand in a roll, each with its place, its probability and its beats; a mark ends the melody."""
    picture = scene.view("writes", length=40, temperature=0.5)
    roll, text = (next(mark for mark in picture.marks() if isinstance(mark, kind)) for kind in (Roll, Text))
    found = notes(text.tokens)
    assert len(roll.starts) == len(found) > 5
    np.testing.assert_allclose(roll.starts, [note.place / 2 for note in found])
    np.testing.assert_allclose(roll.lengths, [note.length / 2 for note in found])
    assert roll.pitches.tolist() == [note.pitch for note in found]
    assert text.values is not None
    assert roll.values is not None
    np.testing.assert_allclose(roll.values, text.values[[note.place for note in found]])
    assert roll.keys == tuple(text.keys[note.place] for note in found)
    assert not any(is_mark(token) for token in text.tokens[:-1])


def test_a_map_tells_genres_and_plays_what_is_chosen(scene: Scene) -> None:
    """Points have the colours of the genres that end their melodies; the chosen one stands below, to be heard."""
    picture = scene.view("projection", layer="gru", example=5)
    scatter, roll = (next(mark for mark in picture.marks() if isinstance(mark, kind)) for kind in (Scatter, Roll))
    assert set(scatter.classes) == {f"<{genre}>" for genre in GENRES}
    assert scene.live.y is not None
    assert scatter.values is not None
    assert [scatter.classes[int(value)] for value in scatter.values] == [VOCABULARY[int(last)] for last in scene.live.y[:, -1]]
    assert roll.aloud
    heard = notes([token for token in scene.live.shown([5])[0] if not is_mark(token)])
    assert roll.pitches.tolist() == [note.pitch for note in heard]


def test_no_melody_is_both_learnt_and_held_out() -> None:
    """Each melody of the demo comes once, and there are many more of each genre than it draws."""
    generator = np.random.default_rng(5)
    for genre in GENRES:
        assert len({tuple(melody(genre, generator)) for _ in range(1000)}) > 500
    examples = MelodyDemo().examples()
    assert isinstance(examples.x, torch.Tensor)
    assert len(examples.x[:, 1:].unique(dim=0)) == len(examples.x)
