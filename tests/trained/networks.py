"""Networks that others trained, rebuilt as their users would write them, with data that they were made for.

The weights and pictures lie in ``shared/data`` beside the checkout, and are no part of the project: tests that need
them skip where they are missing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.scene import Scene

DATA = Path(__file__).parents[3] / "shared" / "data"
NETWORKS = ("resnet20", "lenet5", "tinyvgg", "darknet", "charrnn")
PICTURED = NETWORKS[:4]
"""Those that look at pictures."""
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TINY = {
    "boat": "lifeboat", "bug": "ladybug", "pizza": "pizza", "pepper": "bell pepper", "bus": "school bus",
    "koala": "koala", "espresso": "espresso", "panda": "red panda", "orange": "orange", "car": "sport car",
}
"""What the names of the photos begin with, and the class that they show, in the order of TinyVGG's outputs."""


def file(name: str) -> Path:
    """A file of the data folder; skips the test where it is missing."""
    if not (DATA / name).exists():
        pytest.skip(f"{name} of the data folder beside the checkout is missing")
    return DATA / name


def _module(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """The model with its weights; only the count of batches that a norm has seen may be missing."""
    kept = {name: part for name, part in model.state_dict().items() if name.endswith("num_batches_tracked")}
    model.load_state_dict({**kept, **{name: part.float() for name, part in weights.items()}})
    return model.eval()


class _Block(nn.Module):
    """Two convolutions and a way round them, which is subsampled and padded with zeros where the widths change."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.more = (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.more:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
        return F.relu(y + x)


class ResNet20(nn.Module):
    """ResNet-20 for CIFAR (He et al. 2015, section 4.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(_Block(16, 16) for _ in range(3)))
        self.layer2 = nn.Sequential(_Block(16, 32), _Block(32, 32), _Block(32, 32))
        self.layer3 = nn.Sequential(_Block(32, 64), _Block(64, 64), _Block(64, 64))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


class _SumPool(nn.Module):
    """The mean of each two by two places, doubled."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * F.avg_pool2d(x, 2)


class TinyVGG(nn.Module):
    """TinyVGG: four convolutions without padding, of which two and two are followed by pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_1_1, self.conv_1_2 = nn.Conv2d(3, 10, 3), nn.Conv2d(10, 10, 3)
        self.conv_2_1, self.conv_2_2 = nn.Conv2d(10, 10, 3), nn.Conv2d(10, 10, 3)
        self.output = nn.Linear(13 * 13 * 10, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv_1_2(F.relu(self.conv_1_1(x)))), 2)
        x = F.max_pool2d(F.relu(self.conv_2_2(F.relu(self.conv_2_1(x)))), 2)
        return self.output(x.permute(0, 2, 3, 1).flatten(1))


class DarknetTiny(nn.Module):
    """Darknet-tiny: convolutions, norms, leaky ReLUs and pooling in the order in which a list has them."""

    def __init__(self, layers: list[dict[str, Any]]) -> None:
        super().__init__()
        width = 0
        for layer in layers:
            made: nn.Module
            if layer["type"] == "conv":
                width = layer["out"]
                made = nn.Conv2d(layer["inp"], width, layer["kernel"], padding=layer["padding"], bias=layer["bias"])
            elif layer["type"] == "batch_norm":
                made = nn.BatchNorm2d(width, eps=layer["eps"])
            elif layer["type"] == "leaky_relu":
                made = nn.LeakyReLU(layer["alpha"])
            elif layer["type"] == "max_pool":
                made = nn.MaxPool2d(layer["kernel"], layer["stride"], ceil_mode=layer["ceil_mode"])
            else:
                made = nn.AdaptiveAvgPool2d(1)
            self.add_module(layer["name"], made)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x.flatten(1)


class CharRNN(nn.Module):
    """Characters, two layers of LSTM, scores for the next character."""

    def __init__(self, characters: int, width: int) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(characters, width), nn.Linear(width, characters)
        self.rnn = nn.LSTM(width, width, 2, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.out(self.rnn(self.embed(tokens))[0])
        return scores


def _square(picture: Picture.Image, side: int) -> Tensor:
    """The middle square of a picture, as numbers from 0 to 1."""
    short = min(picture.size)
    left, top = (picture.width - short) // 2, (picture.height - short) // 2
    cut = picture.convert("RGB").crop((left, top, left + short, top + short))
    small = np.array(cut.resize((side, side), Picture.Resampling.BILINEAR))
    return torch.from_numpy(small).permute(2, 0, 1).float() / 255


def resnet20(count: int = 300) -> Scene:
    """ResNet-20 and CIFAR pictures."""
    model = _module(ResNet20(), load_file(file("models/resnet20_cifar10.safetensors")))
    with np.load(file("images/cifar10.npz")) as data:
        x, y = torch.from_numpy(data["x"][:count]).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(data["y"][:count])
    x = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    return Scene(model, x, y.long(), classes=CIFAR, inputs=diorama.Image(mean=MEAN, std=STD))


def lenet5(count: int = 300) -> Scene:
    """LeNet-5 and digits."""
    made: list[nn.Module] = []
    for layer in json.loads(file("models/lenet5_mnist.json").read_text()):
        if layer["type"] == "conv":
            made.append(nn.Conv2d(layer["inp"], layer["out"], layer["kernel"]))
        else:
            made.append({"relu": nn.ReLU, "SumPool": _SumPool, "flatten": nn.Flatten}[layer["type"]]())
    model = _module(nn.Sequential(*made), load_file(file("models/lenet5_mnist.safetensors")))
    with np.load(file("images/mnist.npz")) as data:
        x, y = torch.from_numpy(data["x_test"][:count]).float(), torch.from_numpy(data["y_test"][:count])
    return Scene(model, F.pad(x / 127.5 - 1, (2, 2, 2, 2), value=-1)[:, None], y.long())


def tinyvgg() -> Scene:
    """TinyVGG and its photos."""
    model = _module(TinyVGG(), load_file(file("models/tinyvgg.safetensors")))
    photos = sorted(file("images/tinyvgg").glob("*.jpeg"))
    x = torch.stack([_square(Picture.open(photo), 64) for photo in photos])
    y = torch.tensor([list(TINY).index(photo.stem.partition("_")[0]) for photo in photos])
    return Scene(model, x, y, classes=tuple(TINY.values()))


def darknet(size: int = 224) -> Scene:
    """Darknet-tiny and three pictures of scikit-image: a cat, a cup of coffee, a rocket; any size does."""
    from skimage import data

    told = json.loads(file("models/darknet_tiny_imagenet.json").read_text())
    model = _module(DarknetTiny(told["layers"]), load_file(file("models/darknet_tiny_imagenet.fp16.safetensors")))
    pictures = (data.chelsea(), data.coffee(), data.rocket())
    x = torch.stack([_square(Picture.fromarray(picture), size) for picture in pictures])
    return Scene(model, x, classes=told["classes"])


def charrnn(count: int = 32, length: int = 128) -> Scene:
    """The character model and the end of the text that it was trained on."""
    weights = load_file(file("models/charrnn_shakespeare.safetensors"))
    numbers: dict[str, int] = json.loads(file("models/charrnn_shakespeare.vocab.json").read_text())
    state = {
        "embed.weight": weights["embedding"],
        "out.weight": weights["rnnlm.softmax_w"].T.contiguous(),
        "out.bias": weights["rnnlm.softmax_b"],
    }
    width = weights["embedding"].shape[1]
    for layer in (0, 1):
        cell = f"rnnlm.multi_rnn_cell.cell_{layer}.basic_lstm_cell."
        # Its gates stand in the order input, candidate, forget, output, and 1 is added to the forget gate.
        gates = weights[cell + "weights"].T.unflatten(0, (4, width))[[0, 2, 1, 3]].flatten(0, 1)
        bias = weights[cell + "biases"].unflatten(0, (4, width))[[0, 2, 1, 3]].clone()
        bias[1] += 1
        state[f"rnn.weight_ih_l{layer}"], state[f"rnn.weight_hh_l{layer}"] = gates.split(width, 1)
        state[f"rnn.bias_ih_l{layer}"], state[f"rnn.bias_hh_l{layer}"] = bias.flatten(), torch.zeros(4 * width)
    text = file("text/tinyshakespeare.txt").read_text()[-count * length - 1 :]
    read = torch.tensor([numbers[letter] for letter in text])
    words = diorama.Tokens(vocabulary=sorted(numbers, key=numbers.__getitem__))
    x, y = read[:-1].reshape(count, length), read[1:].reshape(count, length)
    return Scene(_module(CharRNN(len(numbers), width), state), x, y, inputs=words)


def scene(name: str, **told: int) -> Scene:
    """A network by its name, in a scene."""
    made = {"resnet20": resnet20, "lenet5": lenet5, "tinyvgg": tinyvgg, "darknet": darknet, "charrnn": charrnn}
    return made[name](**told)  # type: ignore[operator, no-any-return]
