"""The overview of all heads of a transformer of 12 layers × 12 heads over 1,024 tokens, beside the passes that it makes."""

from __future__ import annotations

import ctypes
import functools
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import diorama
from diorama.derive.heads import LENGTH, REPEATS, attention_layers
from diorama.gallery._blocks import CausalSelfAttention, TransformerBlock
from diorama.scene import Scene
from diorama.views.why._head_kinds import overview

LAYERS, HEADS, WIDTH, TOKENS, WORDS = 12, 12, 768, 1024, 512
GOAL = 1.5
"""Seconds that all that is not the bare passes may take: reading the weights, measuring and drawing."""


class Reader(nn.Module):
    """A transformer of the size of GPT-2's smallest, but for its short list of words."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(WORDS, WIDTH), nn.Embedding(TOKENS, WIDTH)
        self.blocks = nn.Sequential(*(TransformerBlock(CausalSelfAttention, WIDTH, HEADS) for _ in range(LAYERS)))
        self.out = nn.Linear(WIDTH, WORDS)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the next token."""
        found: Tensor = self.out(self.blocks(self.embed(x) + self.place.weight[: x.shape[1]]))
        return found


def taken(work: Callable[[], object]) -> float:
    """Seconds of the CPU, so that other work on the machine does not count."""
    began = time.process_time()
    work()
    return time.process_time() - began


def returned(block: int) -> None:
    """Let freed blocks of so many bytes and more go back to the system at once, where it is Linux's: else what was held once counts for ever."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-3, block)  # M_MMAP_THRESHOLD
        mallopt(-1, 2 * block)  # M_TRIM_THRESHOLD


def held(work: Callable[[], object]) -> float:
    """Megabytes of the process at most while something runs, looked at every few milliseconds."""
    done, seen = threading.Event(), [0.0]

    def look() -> None:
        while not done.wait(0.003):
            seen[0] = max(seen[0], int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20)

    watching = threading.Thread(target=look)
    watching.start()
    try:
        work()
    finally:
        done.set()
        watching.join()
    return seen[0]


def main() -> int:
    """Measure; 1 when the goal is missed."""
    returned(1 << 20)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model: Any = Reader().eval()
    x = torch.randint(0, WORDS, (1, TOKENS))
    words = tuple(f"w{k}" for k in range(WORDS))
    scene = Scene(model, x, x.roll(-1, 1), inputs=diorama.Tokens(words, separator=" "))
    # What a scene learns of its model once, for any view (and for the lengths of text that it sees), is not counted.
    layers = attention_layers(scene)
    assert (len(layers), layers[0].shape) == (LAYERS, (HEADS, TOKENS, TOKENS))

    def bare() -> None:
        with torch.no_grad():
            model(x)
            model(x[:, :LENGTH].repeat(REPEATS, 1))

    def drawn(seed: int) -> None:
        overview(scene.derive("heads", seed=seed).value, "induction")

    before = held(bare)
    # The look at the layers, once for any view, holds what each of them answers: told apart from what the overview holds.
    first = held(lambda: len(scene.layers)) - before
    more = held(functools.partial(drawn, 99)) - before
    # Time is taken with blocks kept, as the allocator comes to do by itself.
    returned(32 << 20)
    drawn(98)
    over = []
    for number in range(2 if "--quick" in sys.argv else 5):
        plain = taken(bare)
        over.append(taken(functools.partial(drawn, number)) - plain)
        print(f"  the passes bare {plain:.2f} s, the overview beside them {over[-1]:.2f} s", flush=True)
    weights = HEADS * TOKENS**2 * 4 / 2**20
    print(
        f"overview of {LAYERS} × {HEADS} heads over {TOKENS:,} tokens: {statistics.median(over):.2f} s beside its passes; goal < {GOAL} s, "
        f"CPU time of one thread; {more:.0f} MB above the bare passes at most, where one layer's weights are {weights:.0f} MB and all "
        f"layers' {weights * LAYERS:.0f} (limit {weights * LAYERS / 2:.0f}); the first look at the layers held {first:.0f} MB more"
    )
    return int(statistics.median(over) > GOAL or more > weights * LAYERS / 2)


if __name__ == "__main__":
    raise SystemExit(main())
