"""Networks that a test trains in seconds: faces, a small vision transformer, and a reader of short texts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.scene import Scene

WORDS = ("the", "film", "was", "and", "it", "a", "plot", "with", "actor", "very", "good", "great", "dull", "poor")
GOOD, BAD = (10, 11), (12, 13)
"""The words by which the texts are told apart."""


def _trained(model: nn.Module, x: Tensor, y: Tensor, steps: int, rate: float) -> nn.Module:
    """The model after some steps on random batches."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(steps):
        rows = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    model.zero_grad()
    return model.eval()


class VisionTransformer(nn.Module):
    """Patches of two by two pixels, a class token, two encoder layers."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, 2)
        self.token, self.places = nn.Parameter(torch.zeros(width)), nn.Parameter(0.1 * torch.randn(17, width))
        layer = nn.TransformerEncoderLayer(width, 2, 48, 0.0, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), 1, -1), tokens], 1) + self.places
        scores: Tensor = self.head(self.body(tokens)[:, 0])
        return scores


class Reader(nn.Module):
    """Words, an encoder layer (or a layer that reads each word by itself), the mean over the words."""

    def __init__(self, attends: bool, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(WORDS), width)
        self.body = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        if attends:
            self.body = nn.TransformerEncoderLayer(width, 2, 32, 0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, words: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(self.embed(words)).mean(1))
        return scores


def vit() -> Scene:
    """A vision transformer and digits of 8 × 8 pixels."""
    from sklearn.datasets import load_digits

    pixels, y = load_digits(return_X_y=True)
    x = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) / 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _trained(VisionTransformer(), x[200:], torch.from_numpy(y)[200:], 250, 3e-3)
    return Scene(model, x[:200], torch.from_numpy(y[:200]))


def faces() -> Scene:
    """A small network that tells faces from other pictures of 25 × 25 pixels."""
    from skimage.data import lfw_subset

    x = torch.from_numpy(np.asarray(lfw_subset())).float()[:, None]
    y = (torch.arange(200) >= 100).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
            nn.Flatten(), nn.Linear(64, 2),
        )
        model = _trained(model, x, y, 150, 3e-3)
    return Scene(model, x, y, classes=("face", "no face"))


def reader(attends: bool = True) -> Scene:
    """A reader of texts of eight words, of which one good or bad word decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x, y = torch.randint(0, 10, (600, 8)), torch.arange(600) % 2
        telling = torch.tensor([GOOD, BAD])[y].gather(1, torch.randint(0, 2, (600, 1)))
        x.scatter_(1, torch.randint(0, 8, (600, 1)), telling)
        model = _trained(Reader(attends), x[100:], y[100:], 150, 1e-2)
    words = diorama.Tokens(vocabulary=WORDS, separator=" ")
    return Scene(model, x[:100], y[:100], classes=("good", "bad"), inputs=words)


def row() -> Scene:
    """A perceptron and rows of five columns, of which the sign of the second decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = torch.randn(400, 5)
        y = (x[:, 1] > 0).long()
        model = _trained(nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2)), x, y, 150, 1e-2)
    columns = diorama.Table(columns=("a", "b", "c", "d", "e"))
    return Scene(model, x[:100], y[:100], classes=("no", "yes"), inputs=columns)
