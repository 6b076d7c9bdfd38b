"""Questions about pictures: what is asked about is what the picture shows, and no pair that is held out is ever trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import diorama
from diorama.core.errors import NotApplicable
from diorama.data import nesting
from diorama.data.examples import Examples
from diorama.data.kinds import Tokens
from diorama.gallery.vqa import (
    CELL,
    CLASSES,
    COLOURS,
    HELD_OUT,
    SHAPES,
    VOCABULARY,
    PictureQuestions,
    VqaDemo,
    asked,
    outlines,
)


def _things(made: PictureQuestions, number: int) -> dict[tuple[int, int], tuple[str, str]]:
    """Colour and shape of the thing in each cell, read from the pixels alone."""
    picture = nesting.named(made.examples.x)["image"][number].numpy()
    shapes = {ink.tobytes(): SHAPES[k] for k, ways in enumerate(outlines()) for ink in ways.reshape(-1, CELL, CELL)}
    found = {}
    for top in range(0, picture.shape[1], CELL):
        for left in range(0, picture.shape[2], CELL):
            cell = picture[:, top : top + CELL, left : left + CELL]
            if cell.any():
                colour = next(name for name, ink in COLOURS.items() if np.allclose(cell.max((1, 2)), ink))
                found[top, left] = colour, shapes[cell.any(0).tobytes()]
    return found


@pytest.mark.parametrize("held_out", [False, True])
def test_an_answer_is_what_the_picture_shows_of_the_thing_that_is_named(held_out: bool) -> None:
    """Read from pixels and words: one thing is meant, and its other side is the answer; pairs held out stand in held-out pictures alone."""
    made = asked(np.random.default_rng(5), 60, held_out=held_out)
    questions, y = nesting.named(made.examples.x)["question"], made.examples.y
    assert y is not None
    for number, words in enumerate(questions.tolist()):
        things, name = _things(made, number), VOCABULARY[words[made.names[number]]]
        (place, pair), = [(place, pair) for place, pair in things.items() if name in pair]
        assert CLASSES[int(y[number])] == pair[1 - pair.index(name)]
        down, across = (np.flatnonzero(made.where[number].any(axis)) for axis in (1, 0))
        assert (down[0] // CELL * CELL, across[0] // CELL * CELL) == place
        assert (pair in HELD_OUT) == held_out
        assert held_out or not set(things.values()) & set(HELD_OUT)
        assert len(things) == 3 or not held_out


def test_words_are_left_out_but_never_the_name() -> None:
    """A training leaves words out of its own questions, never the one that names a thing; questions of a user's own stay whole."""
    demo = VqaDemo()
    examples = asked(np.random.default_rng(5), 60).examples
    question = nesting.named(examples.x)["question"]
    fewer = nesting.named(demo.augment(examples.x, torch.Generator().manual_seed(0)))["question"]
    names = question >= len(VOCABULARY) - len(CLASSES)
    assert torch.equal(fewer[names], question[names])
    assert 0.3 < float((fewer[~names & (question > 0)] == 0).float().mean()) < 0.7
    words = Tokens(tuple(map(str, range(len(VOCABULARY)))), separator=" ")
    other = Examples.of(examples.x, examples.y, CLASSES, inputs={**examples.kind, "question": words})  # type: ignore[dict-item]
    assert demo.trainer(demo.build(other), other).augment is None
    with pytest.raises(NotApplicable, match="image and question"):
        demo.accept(Examples.of(question, examples.y, CLASSES))


def test_what_decided_is_what_was_asked_about() -> None:
    """With the weights of a whole training, pairs never seen are answered, and the first word and strongest pixel are of what is asked about."""
    demo, made = VqaDemo(), asked(np.random.default_rng(4), 200, held_out=True)
    examples, y = made.examples, made.examples.y
    assert y is not None
    model = demo.build(examples).eval()
    model.load_state_dict(load_file(Path(__file__).parents[2] / "golden" / "vqa.safetensors"))
    with torch.no_grad():
        assert float((model(**nesting.named(examples.x)).argmax(1) == y).float().mean()) > 0.95
    for method, count, knobs in (("integrated_gradients", 40, {}), ("occlusion", 8, {"size": 1})):
        rows = np.arange(count)
        few = examples.take(list(rows))
        values = nesting.named(diorama.attribute(model, few.x, target=y[:count], method=method, inputs=few.kind, **knobs).values)
        pixel = values["image"].sum(1).flatten(1).argmax(1).numpy()
        assert made.where.reshape(len(y), -1)[rows, pixel].mean() >= 0.8
        words = values["question"].masked_fill(nesting.named(few.x)["question"] == 0, -torch.inf)
        assert (words.argmax(1).numpy() == made.names[:count]).mean() >= 0.8
