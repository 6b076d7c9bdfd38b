"""What recording costs: scalars and histograms beside TensorBoard's SummaryWriter, and the default settings on five networks."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from bench.nets import ResNet18
from diorama.record import checkpoints, copies, look_pace, pace, prober, snapshots, usual_step, waits
from diorama.record import recorder as recording
from diorama.record import rounds as looks
from diorama.record.recorder import Recorder, watch
from diorama.record.waits import waited

warnings.filterwarnings("ignore")
from torch.utils.tensorboard import SummaryWriter  # noqa: E402 - it warns when it is imported


def middle(values: list[float]) -> str:
    """Median with the middle half."""
    low, _, high = statistics.quantiles(values, n=4)
    return f"{statistics.median(values):.4f} (middle half {low:.4f}–{high:.4f})"


def cpu(work: Callable[[], None]) -> float:
    """CPU seconds of all threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


def scalars(folder: Path, rounds: int) -> float:
    """CPU time a step: recorder.step(loss=, accuracy=) against two add_scalar calls, files closed included."""
    ratios, ours, theirs = [], [], []
    steps = 5000
    for number in range(rounds):
        values = torch.rand(steps)

        recorder = watch(nn.Linear(1, 1), folder / f"d{number}", every=10**6, snapshots=10**6)
        writer = SummaryWriter(str(folder / f"t{number}"))

        def diorama_way(recorder: Recorder = recorder, values: torch.Tensor = values) -> None:
            for k in range(steps):
                recorder.step(loss=values[k], accuracy=0.5)
            recorder.close()

        def tensorboard_way(writer: SummaryWriter = writer, values: torch.Tensor = values) -> None:
            for k in range(steps):
                writer.add_scalar("loss", values[k], k)
                writer.add_scalar("accuracy", 0.5, k)
            writer.close()

        ours.append(cpu(diorama_way) / steps * 1e6)
        theirs.append(cpu(tensorboard_way) / steps * 1e6)
        ratios.append(ours[-1] / theirs[-1])
    print(f"two scalars a step: {statistics.median(ours):.0f} µs, SummaryWriter {statistics.median(theirs):.0f} µs;"
          f" ratio {middle(ratios)}, goal ≤ 0.33")
    return statistics.median(ratios)


def network(small: bool) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A network with a batch."""
    torch.manual_seed(0)
    if small:
        model: nn.Module = nn.Sequential(
            nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(),
            nn.Linear(64, 10),
        )
        return model, torch.randn(16, 1, 8, 8), torch.randint(0, 10, (16,))
    return ResNet18(), torch.randn(4, 3, 224, 224), torch.randint(0, 10, (4,))


def histograms(folder: Path, rounds: int, small: bool) -> float:
    """CPU time that histograms of all weights, gradients and updates add to a step."""
    model, x, y = network(small)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    name = "small CNN" if small else "ResNet-18"
    steps = 20 if small else 2

    def advance() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()

    only = {"activations": None, "probe": None}
    recorder = watch(model, folder / f"h{name}", optimizer=optimizer, every=1, snapshots=10**9, signals=only)
    writer = SummaryWriter(str(folder / f"th{name}"))
    ours, theirs = [], []
    for number in range(rounds + 1):
        taken = {"bare": 0.0, "ours": 0.0, "theirs": 0.0}
        for way in taken:
            for k in range(steps):
                advance()
                recorder._observer.needs, needs = frozenset(), recorder._observer.needs
                if way == "ours":
                    recorder._observer.needs = needs
                taken[way] += cpu(optimizer.step)
                recorder._observer.needs = needs
                if way == "ours":
                    taken[way] += cpu(lambda: recorder.step(loss=0.0))
                elif way == "theirs":
                    taken[way] += cpu(lambda k=number * steps + k: _tensorboard(writer, model, k))  # type: ignore[misc]
            # What either does on its own thread is waited for, and counted.
            taken[way] += cpu(lambda: _settled(recorder)) if way == "ours" else cpu(writer.flush)
        if number:
            ours.append(taken["ours"] - taken["bare"])
            theirs.append(taken["theirs"] - taken["bare"])
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    recorder.close()
    writer.close()
    each = f"{statistics.median(ours) / steps * 1e3:.1f} ms, add_histogram {statistics.median(theirs) / steps * 1e3:.0f} ms"
    print(f"histograms of weights, gradients, updates every step, {name}: {each}; ratio {middle(ratios)}, goal ≤ 0.1")
    return statistics.median(ratios)


def _settled(recorder: Recorder) -> None:
    while recorder.committed < recorder.number:
        time.sleep(0.005)


def _tensorboard(writer: SummaryWriter, model: nn.Module, step: int) -> None:
    for name, parameter in model.named_parameters():
        writer.add_histogram(f"weights/{name}", parameter, step)
        writer.add_histogram(f"gradients/{name}", parameter.grad, step)
        writer.add_histogram(f"updates/{name}", parameter.grad, step)


class Clock:
    """The time as the recorder sees it: it stands still while the other network trains, else that would count as its training's."""

    def __init__(self) -> None:
        self.away = self.used = self.waited = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        """Seconds of the watched training, and of what else the machine did in them."""
        return time.monotonic() - self.away

    def thread_time(self) -> float:
        """Seconds that it had of the processor."""
        return time.thread_time() - self.used


class Many(nn.Module):
    """A network of very many tiny tensors."""

    def __init__(self, count: int = 50_000) -> None:
        super().__init__()
        self.parts = nn.ParameterList([nn.Parameter(torch.randn(2)) for _ in range(count)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One product with the mean of all."""
        return x @ torch.stack(list(self.parts)).mean(0)[:, None]


def _tiny() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(32, 2), torch.randn(32, 1)


def _deep() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    layers = [part for _ in range(300) for part in (nn.Linear(16, 16), nn.Tanh())]
    return nn.Sequential(*layers[:-1]), torch.randn(64, 16), torch.randn(64, 16)


def _many() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    return Many(), torch.randn(8, 2), torch.randn(8, 1)


def _large() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    model = nn.Sequential(
        nn.Linear(1024, 8192), nn.ReLU(), nn.Linear(8192, 8192), nn.ReLU(), nn.Linear(8192, 2800), nn.Linear(2800, 10)
    )
    return model, torch.randn(32, 1024), torch.randn(32, 10)


FIVE: dict[str, tuple[Callable[[], tuple[nn.Module, torch.Tensor, torch.Tensor]], int, int]] = {
    "a net of 33 weights": (_tiny, 200, 20),
    "300 layers": (_deep, 20, 50),
    "50,000 tensors": (_many, 2, 20),
    "ResNet-18 (batch 4, 224 × 224)": (lambda: network(False), 10, 12),
    "99 M weights": (_large, 4, 10),
}
"""A network with a batch, steps of a stretch, and stretches."""


def defaults(folder: Path, name: str, quick: bool) -> tuple[float, float]:
    """CPU time of all threads that the default settings add to a network's steps, as a share and in µs a step; bare and watched
    stretches take turns. Beside it what a usual step takes more, in the loop's thread alone: by lower quartiles, so that
    neither readings nor what else the machine does count.
    """
    make, steps, rounds = FIVE[name]
    rounds = max(4, rounds // 4) if quick else rounds
    clock = Clock()
    waits.waited = lambda: waited() - clock.waited
    for module in (recording, copies, pace, look_pace, prober, snapshots, checkpoints, looks, usual_step):
        module.time = clock  # type: ignore[attr-defined]
    torch.manual_seed(0)
    plain, x, y = make()
    torch.manual_seed(0)
    watched, _, _ = make()
    optimizers = {id(m): torch.optim.SGD(m.parameters(), 1e-3, momentum=0.9) for m in (plain, watched)}
    measure = F.cross_entropy if y.dtype == torch.int64 else F.mse_loss
    began = time.process_time()
    recorder = watch(watched, folder / name.replace(" ", ""), probe=(x, y), optimizer=optimizers[id(watched)])
    start = time.process_time() - began

    each_step: tuple[list[float], list[float]] = ([], [])

    def stretch(model: nn.Module, record: bool) -> float:
        def work() -> None:
            taken, clock = each_step[record], time.thread_time
            for _ in range(steps):
                began = clock()
                optimizers[id(model)].zero_grad()
                loss = measure(model(x), y)
                loss.backward()
                optimizers[id(model)].step()
                if record:
                    recorder.step(loss=loss)
                taken.append(clock() - began)

        return cpu(work)

    plainly, watchedly = [], []
    for number in range(rounds + 1):
        began, used, lost = time.monotonic(), time.thread_time(), waited()
        bare = stretch(plain, False)
        clock.away += time.monotonic() - began
        clock.used += time.thread_time() - used
        clock.waited += waited() - lost
        if number:
            plainly.append(bare)
            watchedly.append(stretch(watched, True))
        else:
            stretch(watched, True)
    end = cpu(recorder.close)
    count = steps * rounds
    added = sum(watchedly) / sum(plainly) - 1
    each = (sum(watchedly) - sum(plainly)) / count * 1e6
    usual, usually = (statistics.quantiles(taken, n=4)[0] * 1e6 for taken in each_step)
    shares = [more / bare - 1 for more, bare in zip(watchedly, plainly, strict=True)]
    print(
        f"default settings, {name}: {count} steps of {sum(plainly) / count * 1e6:.0f} µs, adds {added:.4f} of a step, "
        f"{each:.0f} µs; a usual step {usually - usual:.1f} µs more where one takes {usual:.0f} µs ({usually / usual - 1:.4f}); "
        f"load {os.getloadavg()[0]:.0f}; stretches {middle(shares)}; start {start:.2f} s, end {end:.2f} s; goal ≤ 0.05 or ≤ 15 µs"
    )
    return added, each


def main() -> int:
    """Measure; 1 when a goal is missed."""
    torch.set_num_threads(1)
    quick = "--quick" in sys.argv
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good = scalars(folder, 3 if quick else 7) <= 1 / 3
        good &= histograms(folder, 3 if quick else 10, small=True) <= 0.1
        good &= histograms(folder, 3 if quick else 10, small=False) <= 0.1
        for net in FIVE:
            share, each = defaults(folder, net, quick)
            good &= share <= 0.05 or each <= 15
    return int(not good)


if __name__ == "__main__":
    raise SystemExit(main())
