"""What looking into a recurrent network over a million characters costs: hidden states, counted gates, and the search for phrases."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.capture import spread
from diorama.data.kinds import Tokens
from diorama.derive.derivations.saturation import Counts
from diorama.derive.phrases import PhraseSearch, chosen, levels_of, put
from diorama.model.capture import Capture
from diorama.model.kernels import gates
from diorama.scene import Scene
from diorama.scene.restarts import Restarts

CHARACTERS, WINDOW, TEXTS = 1_000_000, 100, 100
"""All characters, those of a text, and how many texts are read at a time."""
HIDDEN = 128


class Reader(nn.Module):
    """A two-layer LSTM over characters, of the size of Karpathy's small ones."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.out = nn.Embedding(65, HIDDEN), nn.LSTM(HIDDEN, HIDDEN, 2, batch_first=True), nn.Linear(HIDDEN, 65)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the next character."""
        found: Tensor = self.out(self.rnn(self.embed(x))[0])
        return found


def passes(model: nn.Module, batches: list[Tensor]) -> dict[str, Callable[[], object]]:
    """The bare passes, those that write both layers' hidden states as bytes, and those that count all gates."""
    parts = ["rnn.l0", "rnn.l1"]
    index = np.zeros((len(parts), HIDDEN, TEXTS, WINDOW), np.uint8)

    def write(name: str, values: Tensor) -> None:
        # A block of bytes at a time, as the index of phrases has them: so much is held, however long the text.
        put(index[parts.index(name)], levels_of(values.movedim(1, 2).numpy(), 1.0))

    def bare() -> None:
        with torch.no_grad():
            for x in batches:
                model(x)

    def hidden() -> None:
        with Capture(model, keep=parts, reduce=write) as look:
            for x in batches:
                look(x)

    def counted() -> None:
        counts = Counts(parts, 0.1, 0.9)
        for x in batches:
            gates(model, x, counts)

    return {"bare": bare, "hidden states of both layers": hidden, "saturation of all gates": counted}


GOALS = {"hidden states of both layers": 1.2, "saturation of all gates": 3.5}


def phrases() -> list[float]:
    """Seconds from a brushed phrase or a moved threshold to ranked matches, over a million characters and 128 cells."""
    random = np.random.default_rng(0)
    slow = np.repeat(random.normal(size=(HIDDEN, CHARACTERS // 10)).astype(np.float32), 10, 1)
    values = np.tanh(slow + 0.5 * random.normal(size=slow.shape).astype(np.float32))
    levels = np.concatenate([levels_of(part, 1.0) for part in np.array_split(values, 16)]).reshape(HIDDEN, -1, WINDOW)
    assert levels.nbytes == HIDDEN * CHARACTERS
    taken = []
    for example, start, stop, threshold in ((3, 8, 14, 0.3), (70, 20, 32, 0.3), (999, 40, 43, 0.1), (5, 0, 8, 0.6), (12, 60, 61, 0.3)):
        began = time.perf_counter()
        cells = chosen(levels[:, example], start, stop, threshold, False)
        PhraseSearch(levels, cells, threshold, stop - start, 50, (example, start, stop)).found()
        taken.append(time.perf_counter() - began)
        print(f"  {len(cells)} cells, {stop - start} characters, threshold {threshold}: {taken[-1]:.3f} s")
    return taken


def stretches(model: nn.Module, characters: int) -> list[tuple[float, float]]:
    """Seconds to the gates of 300 places of one long text, by the clock and of the processor, the best of three each; the states on the way
    there are kept. Where other programs run beside it the two differ, and only the second is its own."""
    text = torch.randint(0, 65, (1, characters))
    scene = Scene(model, text[:, :WINDOW], text[:, 1 : WINDOW + 1], inputs=Tokens(size=65))
    kept = Restarts.of(scene, text)
    assert kept is not None
    began, taken = time.perf_counter(), []
    for _ in kept.read(scene, characters - 1):
        pass
    print(f"  {characters:,} characters read once in {time.perf_counter() - began:.0f} s; {(kept.nbytes - text.nbytes) / 1e6:.1f} MB of states kept")
    for place in (characters - 300, characters // 2, characters // 3 + 255 - characters // 3 % 256, 0):
        tries = []
        for _ in range(3):
            began, spent = time.perf_counter(), time.process_time()
            kept.states(scene, "rnn.l1", place, place + 300)
            tries.append((time.perf_counter() - began, time.process_time() - spent))
        waited, worked = zip(*tries, strict=True)
        taken.append((min(waited), min(worked)))
    return taken


def main() -> int:
    """Print the ratios to the bare pass, and how long a search and a look at some gates take."""
    quick = "--quick" in sys.argv
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model: Any = Reader().eval()
    count = CHARACTERS // (WINDOW * TEXTS) // (10 if quick else 1)
    batches = list(torch.randint(0, 65, (count, TEXTS, WINDOW)))
    ways = passes(model, batches)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range((3 if quick else 2) + 1):
        for name, run in ways.items():
            began = time.process_time()
            run()
            if number:
                times[name].append(time.process_time() - began)
    passed = True
    for name, goal in GOALS.items():
        ratios = [own / bare for own, bare in zip(times[name], times["bare"], strict=True)]
        passed &= statistics.median(ratios) <= goal
        print(f"{name}: {spread(ratios)}; goal ≤ {goal} ×, CPU time of one thread, {count * WINDOW * TEXTS:,} characters, 2 × {HIDDEN} cells")
    taken = phrases()
    passed &= max(taken) < 0.3
    print(f"from a phrase to its matches: at most {max(taken):.3f} s; goal < 0.3 s, {CHARACTERS:,} characters, a byte a cell and character")
    waited, worked = zip(*stretches(model, CHARACTERS // (20 if quick else 1)), strict=True)
    passed &= max(waited) < 0.1
    print(f"the gates of 300 places of a long text: at most {max(waited):.3f} s, {max(worked):.3f} s of the processor; goal < 0.1 s")
    return int(not passed)


if __name__ == "__main__":
    raise SystemExit(main())
