"""Handwritten digits, each squeezed into two numbers and drawn again from them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from ..core.knobs import knob
from ..data.examples import Examples
from ..data.nesting import first
from ..training.trainer import Trainer
from .digits import DigitsDemo

NOISE = 0.3
"""Pixels are taken to be off by so much, as neighbours are off together; it weighs the error against the pull."""


class AutoencoderDemo(DigitsDemo):
    """A network squeezes each handwritten digit into two numbers, and draws it again from these two alone."""

    title: ClassVar[str] = "Digits from two numbers"
    question: ClassVar[str] = "What can two numbers keep of a handwritten digit?"
    task: ClassVar[str] = "reconstruction"
    outputs: ClassVar[str | None] = "picture"

    model: str = knob("variational", "Codes drawn at random around their place, so that neighbours look alike, or plain "
                      "ones.", choices=("variational", "plain"), main=True)
    latent: int = knob(2, "How many numbers a digit is squeezed into.", low=1, high=64, main=True)
    pull: float = knob(1.0, "How strongly the codes are drawn into one round cloud; 0 leaves them free.", low=0.0,
                       high=100.0)
    steps: int = knob(2000, "After how many steps the training ends by itself.", low=1, main=True)
    pace: float = knob(40.0, "At most so many steps a second, to have something to watch; 0: no rest.", low=0.0,
                       unit="steps/s")
    batch: int = knob(32, "Examples a step learns from.", low=1)
    shift: int = knob(0, "Training digits are moved at random by up to so many pixels.", low=0, high=6, unit="px")

    def network(self, examples: Examples) -> nn.Module:
        """Two convolutions down to the code, and two back up to the picture."""
        channels, height, width = first(examples.x).shape[1:]
        if height % 4 or width % 4:
            raise UsageError(f"this demo halves pictures twice, so their sides are multiples of 4, got {height} × {width}")
        return Coder(channels, height, width, self.latent, self.model == "variational")

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Adam, by itself in steps of 0.004."""
        return torch.optim.Adam(model.parameters(), 0.004 if self.learning_rate is None else self.learning_rate)

    def trainer(self, model: nn.Module, examples: Examples) -> Trainer:
        """The plain loop, in which each picture is its own label."""
        picture = examples.x
        if not isinstance(picture, Tensor):
            raise UsageError("this demo squeezes pictures, one tensor of them")
        return Trainer(
            model, self.optimizer(model), picture, picture, self.loss, batch=self.batch, seed=self.seed,
            metrics=self.metrics(), augment=self.augment,
        )

    def loss(self, output: Any, y: Tensor) -> Tensor:
        """The mean squared error of the pixels, and the pull on the codes in the same measure (nats times 2 σ² a pixel)."""
        error = reconstruction(output, y)
        if "log_variance" not in output or not self.pull:
            return error
        return error + self.pull * 2 * NOISE**2 / y[0].numel() * divergence(output).mean()

    def metrics(self) -> dict[str, Callable[[Any, Tensor], float]]:
        """The error of the pictures alone, and how many nats the codes tell."""
        found: dict[str, Callable[[Any, Tensor], float]] = {"reconstruction": lambda out, y: float(reconstruction(out, y))}
        if self.model == "variational":
            found["divergence"] = lambda out, y: float(divergence(out).mean())
        return found


def reconstruction(output: Any, y: Tensor) -> Tensor:
    """The mean squared error of the pixels."""
    error: Tensor = (output["picture"] - y).square().mean()
    return error


def divergence(output: Any) -> Tensor:
    """How far each code's cloud is from the round one around zero, in nats, (n,) (Kingma & Welling 2013, appendix B)."""
    mean, spread = output["mean"], output["log_variance"]
    found: Tensor = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum(1)
    return found


class Code(nn.Module):
    """A code around its mean: at random while the network trains, the mean itself when it is looked at."""

    def forward(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Codes (n, latent)."""
        if not self.training:
            return mean + 0
        return mean + torch.randn_like(mean) * (0.5 * log_variance).exp()


class Coder(nn.Module):
    """Pictures to codes to pictures; answers with the picture, and with what its loss must know of the code."""

    def __init__(self, channels: int, height: int, width: int, latent: int, variational: bool) -> None:
        super().__init__()
        small = (32, height // 4, width // 4)
        flat = small[0] * small[1] * small[2]
        self.encoder = nn.Sequential(OrderedDict(
            conv1=nn.Conv2d(channels, 16, 4, 2, 1), act1=nn.SiLU(), conv2=nn.Conv2d(16, 32, 4, 2, 1), act2=nn.SiLU(),
            flatten=nn.Flatten(), hidden=nn.Linear(flat, 64), act3=nn.SiLU(),
        ))
        self.mean = nn.Linear(64, latent)
        self.log_variance = nn.Linear(64, latent) if variational else None
        self.code = Code() if variational else None
        self.decoder = nn.Sequential(OrderedDict(
            hidden=nn.Linear(latent, 64), act1=nn.SiLU(), widen=nn.Linear(64, flat), act2=nn.SiLU(),
            unflatten=nn.Unflatten(1, small), conv1=nn.ConvTranspose2d(32, 16, 4, 2, 1), act3=nn.SiLU(),
            conv2=nn.ConvTranspose2d(16, channels, 4, 2, 1), picture=nn.Sigmoid(),
        ))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The picture drawn again, the code's mean and, for a variational one, the logarithm of its variance."""
        hidden = self.encoder(x)
        mean = self.mean(hidden)
        if self.log_variance is None or self.code is None:
            return {"picture": self.decoder(mean), "mean": mean}
        spread = self.log_variance(hidden)
        return {"picture": self.decoder(self.code(mean, spread)), "mean": mean, "log_variance": spread}
