"""The demo repeats: heads that look up what came after the same letter before rise within a few steps, and carry the answer."""

from __future__ import annotations

import torch

from diorama.derive.heads import MEASURES
from diorama.gallery.repeats import LENGTH, LONGEST, RepeatsDemo
from diorama.scene import Scene


def test_induction_rises_and_carries_the_answer() -> None:
    """After 200 steps heads of the second layer look up and one of the first looks back; without these the answers are chance,
    without the others they stay.
    """
    demo = RepeatsDemo()
    examples = demo.prepare()
    assert examples.held_out is not None
    assert examples.x.shape[1] == LENGTH
    model = demo.build(examples)
    trainer = demo.trainer(model, examples)
    fresh = Scene(model, examples.held_out.x, examples.held_out.y, inputs=examples.kind)
    induction, previous = MEASURES.index("induction"), MEASURES.index("previous")
    assert fresh.derive("heads").value["values"][induction].max() < 0.1
    for _ in trainer.run(200):
        pass
    scene = Scene(model, examples.held_out.x, examples.held_out.y, inputs=examples.kind)
    heads = scene.derive("heads").value["values"]
    assert heads[induction, 1].max() > 0.25
    assert heads[previous, 0].max() > 0.2

    def right(*silenced: str) -> float:
        seen, told = scene, examples.held_out.y[:, LONGEST:]
        for head in silenced:
            seen = seen.edit(f"head:{head}", lesion=True)
        return float((seen.predictions()[:, LONGEST:] == told).float().mean())

    looks_back = int(heads[previous, 0].argmax())
    assert right() > 0.6
    assert right("blocks.1/0", "blocks.1/1") < 0.2
    assert right(f"blocks.0/{looks_back}") < 0.4
    assert right(f"blocks.0/{1 - looks_back}") > 0.8 * right()


def test_the_network_takes_other_texts() -> None:
    """Longer and shorter texts are read, and its settings reach the network."""
    model = RepeatsDemo(width=10, heads=3, layers=1).build(RepeatsDemo().examples())
    assert model(torch.zeros(2, 100, dtype=torch.long)).shape == (2, 100, 26)
    assert len(model.blocks) == 1
