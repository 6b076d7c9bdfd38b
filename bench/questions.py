"""What the demo vqa knows of pairs of colour and shape that it never saw, and whether the words and pixels that decided are of the thing
that is asked about.

``python -m bench.questions [seeds …] [--save FILE]``: trains it once a seed (about a minute each), and keeps the weights of the last.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

import diorama
from diorama.gallery.vqa import CLASSES, VOCABULARY, PictureQuestions, VqaDemo, asked

QUESTIONS, EXPLAINED = 2000, 200
METHODS: dict[str, dict[str, Any]] = {
    "occlusion": {"size": 1, "limit": 1_000_000}, "input_x_gradient": {}, "integrated_gradients": {},
}


def share_right(model: nn.Module, made: PictureQuestions) -> float:
    """The share of questions that are answered right."""
    with torch.no_grad():
        return float((model(**made.examples.x).argmax(1) == made.examples.y).float().mean())  # type: ignore[arg-type]


def pointed(model: nn.Module, made: PictureQuestions, method: str) -> tuple[float, float]:
    """How often the strongest pixel lies on the thing that is asked about, and the word that names it is the first of all words."""
    found = diorama.attribute(
        model, made.examples.x, target=made.examples.y, method=method, inputs=made.examples.kind, classes=CLASSES, **METHODS[method]
    ).values
    rows = np.arange(len(made.names))
    pixel = found["image"].sum(1).flatten(1).argmax(1).numpy()  # type: ignore[call-overload, index]
    question = made.examples.x["question"]  # type: ignore[call-overload, index]
    word = found["question"].masked_fill(question == 0, -torch.inf).argmax(1).numpy()  # type: ignore[call-overload, index]
    return float(made.where.reshape(len(rows), -1)[rows, pixel].mean()), float((word == made.names).mean())


def main() -> None:
    """Train, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--save", type=Path)
    parser.add_argument("--untrained", action="store_true", help="train none of them")
    parser.add_argument("--quick", action="store_true", help="explain a quarter of the answers")
    given = parser.parse_args()
    torch.set_num_threads(1)
    probe = asked(np.random.default_rng(1), QUESTIONS, held_out=True)
    known = asked(np.random.default_rng(2), QUESTIONS)
    few = asked(np.random.default_rng(3), EXPLAINED // 4 if given.quick else EXPLAINED, held_out=True)
    things = (few.examples.x["image"] > 0).any(1).float().mean()  # type: ignore[call-overload, index]
    words = (few.examples.x["question"] != 0).sum(1)  # type: ignore[call-overload, index]
    print(
        f"{len(VOCABULARY)} words; a pixel at random lies on the thing {few.where.mean():.3f}, one of those of things "
        f"{few.where.mean() / things:.3f}; a word at random names it {(1 / words).mean():.3f}"
    )
    model: nn.Module | None = None
    for seed in given.seeds:
        demo = VqaDemo(seed=seed)
        examples = demo.prepare()
        model = demo.build(examples)
        for state in ("untrained",) if given.untrained else ("untrained", "trained"):
            begun = time.perf_counter()
            if state == "trained":
                for _ in demo.trainer(model, examples).run(demo.steps):
                    pass
            seconds = time.perf_counter() - begun
            shares = ", ".join("{} {:.3f} {:.3f}".format(method, *pointed(model.eval(), few, method)) for method in METHODS)
            print(
                f"seed {seed} {state} ({seconds:.0f} s): right {share_right(model, probe):.3f} of held-out pairs, "
                f"{share_right(model, known):.3f} of others; pixel and word by {shares}", flush=True,
            )
    if given.save is not None and model is not None:
        save_file({name: value.half() for name, value in model.state_dict().items()}, given.save)


if __name__ == "__main__":
    main()
