"""Draws healthy trainings by number: small ones in which nothing is wrong, of many kinds, with what differs drawn by chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama

Draw = Callable[[Path, torch.Generator], None]


def _digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8)[order] / 8 - 1, torch.tensor(y)[order]
    return x[:1500], y[:1500], x[1500:], y[1500:]


def _one(generator: torch.Generator, *choices: Any) -> Any:
    return choices[int(torch.randint(len(choices), (), generator=generator))]


def _optimizer(parameters: Any, generator: torch.Generator, rate: float = 1.0) -> torch.optim.Optimizer:
    name, lowest, highest = _one(
        generator, ("SGD", 0.03, 0.15), ("Momentum", 0.01, 0.05), ("Adam", 1e-3, 5e-3), ("AdamW", 1e-3, 5e-3), ("RMSprop", 5e-4, 2e-3),
    )
    lr = rate * lowest * (highest / lowest) ** float(torch.rand((), generator=generator))
    if name == "Momentum":
        return torch.optim.SGD(parameters, lr, momentum=0.9, weight_decay=_one(generator, 0, 5e-4))
    made: torch.optim.Optimizer = getattr(torch.optim, name)(parameters, lr)
    return made


def _batches(count: int, size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    while steps > 0:
        for rows in torch.randperm(count, generator=generator).split(size):
            if steps > 0 and len(rows) == size:
                steps -= 1
                yield rows


def _train(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, data: tuple[Tensor, Tensor, Tensor, Tensor],
    generator: torch.Generator, steps: int = 200, size: int = 32, loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    scheduler: Any = None, parts: int = 1, probe: int = 200,
) -> None:
    x, y, held, truth = data
    with diorama.watch(model, path, probe=(held[:probe], truth[:probe]), optimizer=optimizer, every=10) as recorder:
        for rows in _batches(len(x), size, steps, generator):
            optimizer.zero_grad()
            total = 0.0
            for part in rows.chunk(parts):
                value = loss(model(x[part]), y[part]) / parts
                value.backward()
                total += float(value.detach())
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            recorder.step(loss=total)


def _plain(generator: torch.Generator, dropout: float = 0.0) -> nn.Sequential:
    width, act = _one(generator, 32, 64, 128), _one(generator, nn.ReLU, nn.Tanh, nn.GELU)
    parts: list[nn.Module] = [nn.Flatten()]
    before = 64
    for _ in range(_one(generator, 1, 2, 3)):
        parts += [nn.Linear(before, width), act(), *([nn.Dropout(dropout)] if dropout else [])]
        before = width
    return nn.Sequential(*parts, nn.Linear(before, 10))


def plain(path: Path, generator: torch.Generator) -> None:
    """A network of dense layers, any optimizer."""
    model = _plain(generator)
    _train(path, model, _optimizer(model.parameters(), generator), _digits(), generator, size=_one(generator, 16, 32, 64))


def convolutional(path: Path, generator: torch.Generator) -> None:
    """A small convolutional network with or without batch norm, whose rate warms up and falls to zero along a cosine."""
    width, normed = _one(generator, 8, 16), _one(generator, True, False)
    parts: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1)]
    parts += [nn.BatchNorm2d(width)] if normed else []
    parts += [nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(16 * width, 10)]
    model, steps = nn.Sequential(*parts), 200
    optimizer = _optimizer(model.parameters(), generator)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 40) * 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))
    )
    _train(path, model, optimizer, _digits(), generator, steps, scheduler=scheduler)


def dropped(path: Path, generator: torch.Generator) -> None:
    """Dropout, and gradients of several parts of a batch added up."""
    model = _plain(generator, _one(generator, 0.2, 0.5))
    _train(path, model, _optimizer(model.parameters(), generator), _digits(), generator, parts=_one(generator, 1, 2, 4))


def tuned(path: Path, generator: torch.Generator) -> None:
    """A trained trunk, frozen, and a new last layer."""
    x, y, held, truth = _digits()
    model = _plain(generator)
    first = torch.optim.Adam(model.parameters(), 3e-3)
    for rows in _batches(len(x), 64, 100, generator):
        first.zero_grad()
        F.cross_entropy(model(x[rows])[:, :5], y[rows] % 5).backward()
        first.step()
    model[-1] = nn.Linear(model[-1].in_features, 10)
    for parameter in model[:-1].parameters():
        parameter.requires_grad_(False)
    head = [p for p in model.parameters() if p.requires_grad]
    _train(path, model, _optimizer(_one(generator, list(model.parameters()), head), generator), (x, y, held, truth), generator)


def converged(path: Path, generator: torch.Generator) -> None:
    """A training that goes on after it has learnt everything, at a small rate."""
    torch.manual_seed(int(torch.randint(1000, (), generator=generator)))
    x = torch.randn(600, 6, generator=generator)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    clear = (x[:, :2].abs() > 0.3).all(1)
    x, y = x[clear], y[clear]
    data = (x[:-60], y[:-60], x[-60:], y[-60:])
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 4))
    first = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        first.zero_grad()
        F.cross_entropy(model(data[0]), data[1]).backward()
        first.step()
    _train(path, model, torch.optim.SGD(model.parameters(), _one(generator, 1e-3, 1e-2)), data, generator, 300)


def regression(path: Path, generator: torch.Generator) -> None:
    """A smooth function of four numbers with noise."""
    x = torch.randn(1200, 4, generator=generator)
    y = torch.sin(x[:, :1]) + 0.5 * x[:, 1:2] * x[:, 2:3] + 0.1 * torch.randn(1200, 1, generator=generator)
    model = nn.Sequential(nn.Linear(4, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 1))
    optimizer = _optimizer(model.parameters(), generator, 0.5)
    _train(path, model, optimizer, (x[:1000], y[:1000], x[1000:], y[1000:]), generator, 250, loss=F.mse_loss)


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.short = nn.Sequential() if before == after else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self.short(x))


def residual(path: Path, generator: torch.Generator) -> None:
    """A residual network of 20 layers, narrow."""
    widths = (6, 6, 6, 6, 12, 12, 12, 24, 24, 24)
    blocks = [_Block(a, b, 1 if a == b else 2) for a, b in zip(widths, widths[1:], strict=False)]
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, 1, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10),
    )
    _train(path, model, _optimizer(model.parameters(), generator), _digits(), generator, 70, 16, probe=64)


class _Transformer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(12, width), nn.Parameter(0.1 * torch.randn(12, width))
        self.blocks = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True, norm_first=True), 2, enable_nested_tensor=False
        )
        self.head = nn.Linear(width, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(x) + self.place).mean(1))


def transformer(path: Path, generator: torch.Generator) -> None:
    """A small transformer that says which token of a sequence comes most often."""
    x = torch.randint(12, (1200, 12), generator=generator)
    y = torch.randint(12, (1200,), generator=generator)
    x = torch.where(torch.rand(1200, 12, generator=generator) < 0.4, y[:, None], x)
    model = _Transformer(_one(generator, 16, 32))
    optimizer = _one(generator, torch.optim.Adam, torch.optim.AdamW)(model.parameters(), _one(generator, 1e-3, 2e-3))
    _train(path, model, optimizer, (x[:1000], y[:1000], x[1000:], y[1000:]), generator, 150)


def adversarial(path: Path, generator: torch.Generator) -> None:
    """A generator and a discriminator of digits, each with a recorder of its own; every second to fourth time of four a critic instead."""
    if kind := ("", "clipped", "penalized", "hinge")[generator.initial_seed() // 9 % 4]:
        critic(path, generator, kind)
        return
    x = _digits()[0].flatten(1)
    make = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh())
    judge = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    first = torch.optim.Adam(make.parameters(), 1e-3, (0.5, 0.99))
    second = torch.optim.Adam(judge.parameters(), 1e-3, (0.5, 0.99))
    z = torch.randn(64, 16, generator=generator)
    one, none = torch.ones(32, 1), torch.zeros(32, 1)
    with (
        diorama.watch(make, path / "generator", probe=z, optimizer=first, every=10) as mine,
        diorama.watch(judge, path / "discriminator", probe=x[:64], optimizer=second, every=10) as other,
    ):
        for rows in _batches(len(x), 32, 200, generator):
            second.zero_grad()
            fake = make(torch.randn(32, 16, generator=generator))
            loss = F.binary_cross_entropy_with_logits(judge(x[rows]), one) + F.binary_cross_entropy_with_logits(judge(fake.detach()), none)
            loss.backward()
            second.step()
            other.step(loss=loss)
            first.zero_grad()
            lost = F.binary_cross_entropy_with_logits(judge(fake), one)
            lost.backward()
            first.step()
            mine.step(loss=lost)


def critic(path: Path, generator: torch.Generator, kind: str) -> None:
    """A generator of digits and a critic: of a Wasserstein loss with clipped weights or a gradient penalty, or of a hinge loss."""
    x = _digits()[0].flatten(1)
    make = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh())
    judge = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    first, second = (
        torch.optim.RMSprop(each.parameters(), 5e-4) if kind == "clipped" else torch.optim.Adam(each.parameters(), 1e-3, (0.5, 0.9))
        for each in (make, judge)
    )
    with (
        diorama.watch(make, path / "generator", probe=torch.randn(64, 16, generator=generator), optimizer=first, every=10) as mine,
        diorama.watch(judge, path / "discriminator", probe=x[:64], optimizer=second, every=10) as other,
    ):
        for number, rows in enumerate(_batches(len(x), 32, 200, generator)):
            second.zero_grad()
            fake, real = make(torch.randn(32, 16, generator=generator)).detach(), x[rows]
            loss = judge(fake).mean() - judge(real).mean()
            if kind == "hinge":
                loss = F.relu(1 + judge(fake)).mean() + F.relu(1 - judge(real)).mean()
            if kind == "penalized":
                part = torch.rand(32, 1, generator=generator)
                between = (part * real + (1 - part) * fake).requires_grad_()
                (slope,) = torch.autograd.grad(judge(between).sum(), between, create_graph=True)
                loss = loss + 10 * (slope.norm(dim=1) - 1).square().mean()
            loss.backward()
            second.step()
            if kind == "clipped":
                with torch.no_grad():
                    for parameter in judge.parameters():
                        parameter.clamp_(-0.05, 0.05)
            other.step(loss=loss)
            if number % 5 == 4:
                first.zero_grad()
                lost = -judge(make(torch.randn(32, 16, generator=generator))).mean()
                lost.backward()
                first.step()
                mine.step(loss=lost)


KINDS: tuple[Draw, ...] = (
    plain, convolutional, dropped, tuned, converged, regression, residual, transformer, adversarial,
)


class _Segmenting(nn.Module):
    """Maps of two scales, joined before each place is answered."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.join, self.leave = nn.Conv2d(3 * width, width, 3, padding=1), nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = F.relu(self.fine(x))
        coarse = F.interpolate(F.relu(self.coarse(fine)), scale_factor=2)
        return self.leave(F.relu(self.join(torch.cat([fine, coarse], 1))))


def segmented(path: Path, generator: torch.Generator) -> None:
    """A square in noise, found place by place; pictures and masks turned over together, or not."""
    x, y = 0.3 * torch.randn(400, 1, 12, 12, generator=generator), torch.zeros(400, 12, 12, dtype=torch.long)
    for k, (a, b) in enumerate(torch.randint(0, 9, (400, 2), generator=generator).tolist()):
        y[k, a : a + 4, b : b + 4] = 1
        x[k, 0, a : a + 4, b : b + 4] += 1.5
    if _one(generator, True, False):
        over = torch.rand(400, generator=generator) < 0.5
        x, y = torch.where(over[:, None, None, None], x.flip(-1), x), torch.where(over[:, None, None], y.flip(-1), y)
    model = _Segmenting(_one(generator, 8, 12))
    _train(path, model, _optimizer(model.parameters(), generator), (x[:320], y[:320], x[320:], y[320:]), generator, 150, 16)


class _Translating(nn.Module):
    """Reads a text, and writes another from what it has written."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(10, width), nn.Linear(width, 10)
        self.reader, self.writer = nn.GRU(width, width, batch_first=True), nn.GRU(width, width, batch_first=True)

    def forward(self, source: Tensor, written: Tensor) -> Tensor:
        out: Tensor = self.head(self.writer(self.embed(written), self.reader(self.embed(source))[1])[0])
        return out


def translated(path: Path, generator: torch.Generator) -> None:
    """A text is written in its order or turned round, from what was written before each place."""
    source = torch.randint(1, 10, (800, 6), generator=generator)
    wanted = _one(generator, source, source.flip(1))
    written = torch.cat([torch.zeros(800, 1, dtype=torch.long), wanted[:, :-1]], 1)
    model = _Translating(_one(generator, 24, 32))
    optimizer = _one(generator, torch.optim.Adam, torch.optim.AdamW)(model.parameters(), _one(generator, 3e-3, 5e-3))
    probe = (source[700:], written[700:]), wanted[700:]
    with diorama.watch(model, path, probe=probe, optimizer=optimizer, every=10) as recorder:
        for rows in _batches(700, 32, 200, generator):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(source[rows], written[rows]).flatten(0, 1), wanted[rows].flatten())
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)


MORE: tuple[Draw, ...] = (segmented, translated)
"""Kinds of the numbers from a hundred on, which leave the first hundred what they were."""


def kind_of(number: int) -> Draw:
    """The kind of a number's training."""
    return KINDS[number % len(KINDS)] if number < 100 else MORE[number % len(MORE)]


def drawn(number: int, path: Path) -> list[Path]:
    """Train the healthy training of a number, and return its run folders."""
    torch.manual_seed(number)
    kind_of(number)(path, torch.Generator().manual_seed(number))
    return [path / "generator", path / "discriminator"] if kind_of(number) is adversarial else [path]
