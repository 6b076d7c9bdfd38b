"""The word hello is learnt by heart, and every number on the way is the one that the weights give."""

from __future__ import annotations

import torch

from diorama.core.marks import Text
from diorama.gallery.hello import LETTERS, WORD, HelloDemo, Speller
from diorama.scene import Scene


def test_the_word_is_spelled_after_a_short_training() -> None:
    """Untrained it does not write hello behind an h; a hundred steps later it does, and each cell is what the formula of Elman gives."""
    demo = HelloDemo()
    examples = demo.prepare()
    model = demo.build(examples)
    assert isinstance(model, Speller)
    trainer = demo.trainer(model, examples)

    def written() -> str:
        scene = Scene(model, examples.x, examples.y, classes=LETTERS, inputs=examples.kind)
        text = next(mark for mark in scene.view("writes", prime="h", length=11, temperature=0.0).marks() if isinstance(mark, Text))
        return "h" + "".join(text.tokens)

    assert written() != 2 * WORD
    for _ in trainer.run(100):
        pass
    assert written() == 2 * WORD
    scene = Scene(model, examples.x, examples.y, classes=LETTERS, inputs=examples.kind)
    found = torch.tensor(scene.derive("gates", layer="rnn").value["h"])
    assert isinstance(examples.x, torch.Tensor)
    state = torch.zeros(3)
    for place, letter in enumerate(LETTERS[number] for number in examples.x[0].tolist()):
        rnn = model.rnn
        state = torch.tanh(rnn.weight_ih_l0[:, LETTERS.index(letter)] + rnn.bias_ih_l0 + rnn.weight_hh_l0 @ state + rnn.bias_hh_l0)
        torch.testing.assert_close(found[place], state.detach(), atol=1e-5, rtol=1e-5)
