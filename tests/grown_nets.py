"""Networks whose layers are given other numbers of units, as their users would have written them."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name


class Unet(nn.Module):
    """Down and up again, with a concatenation on each level."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.up, self.last = nn.ConvTranspose2d(6, 4, 2, 2), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.down(x))
        deep = F.relu(self.deep(F.max_pool2d(first, 2)))
        return self.last(torch.cat([first, self.up(deep)], 1))


class Mobile(nn.Module):
    """Depthwise and pointwise convolutions with batch norm, squeeze and excitation, flattened by a view."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.depth, self.point = nn.Conv2d(4, 8, 3, padding=1, groups=4), nn.Conv2d(8, 5, 1)
        self.squeeze, self.excite = nn.Linear(5, 2), nn.Linear(2, 5)
        self.slope, self.fc = nn.PReLU(5), nn.Linear(5 * 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.slope(self.point(self.depth(F.relu6(self.norm(self.stem(x))))))
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))[:, :, None, None]
        x = F.adaptive_avg_pool2d(x, 3)
        return self.fc(x.view(x.size(0), -1))


class Grouped(nn.Module):
    """A grouped convolution, group norm, and a flattening with the channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.grouped = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 4, 3, groups=2)
        self.second, self.norm, self.fc = nn.Conv2d(4, 6, 1), nn.GroupNorm(3, 6), nn.Linear(6 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.second(F.relu(self.grouped(F.relu(self.first(x))))))
        return self.fc(F.adaptive_avg_pool2d(x, 2).permute(0, 2, 3, 1).flatten(1))


class Heads(nn.Module):
    """Attention whose heads may be many or few, a block's MLP, and its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.q, self.k, self.v, self.o = nn.LayerNorm(6), *(nn.Linear(6, 8) for _ in range(3)), nn.Linear(8, 6)
        self.up, self.down, self.head = nn.Linear(6, 12), nn.Linear(12, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = (part(y).unflatten(-1, (-1, 4)).transpose(1, 2) for part in (self.q, self.k, self.v))
        y = F.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v
        x = x + self.o(y.transpose(1, 2).flatten(2))
        x = x + self.down(F.gelu(self.up(x)))
        return self.head(x.mean(1))


class Block(nn.Module):
    """A block whose attention is a module of its own, with queries, keys and values from one layer."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.o = nn.Linear(6, 24), nn.Linear(8, 6)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (part.unflatten(-1, (-1, 4)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
            return self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attn, self.head = nn.LayerNorm(6), self.Attention(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm(x))
        return self.head(x.mean(1))


class Tied(nn.Module):
    """A language model whose embedding is also its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.back = nn.Embedding(11, 5), nn.GRU(5, 6, batch_first=True), nn.Linear(6, 5)
        self.out = nn.Linear(5, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.back(self.rnn(self.embed(tokens))[0]))


class Stepped(nn.Module):
    """An LSTM cell in a loop of the user's own, from a state of its own size."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.LSTMCell(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = (x.new_zeros(len(x), self.cell.hidden_size), x.new_zeros(len(x), self.cell.hidden_size))
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.out(state[0])


class Padded(nn.Module):
    """A residual net as for CIFAR: where the width doubles, the way round is subsampled and padded on both sides."""

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, outputs // inputs, 1, bias=False), nn.BatchNorm2d(outputs)
            self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
            self.more = (outputs - inputs) // 2

        def forward(self, x: Tensor) -> Tensor:
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            if self.more:
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more, self.more))
            return F.relu(y + x)

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(self.Block(4, 4), self.Block(4, 4))
        self.layer2, self.layer3 = self.Block(4, 8), self.Block(8, 16)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))).mean((2, 3)))


class Messages(nn.Module):
    """Nodes of a graph, whose messages are added up in an empty tensor of their own form; or a gather, which is not followed."""

    def __init__(self, gathers: bool = False) -> None:
        super().__init__()
        self.node, self.message, self.last, self.gathers = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3), gathers

    def forward(self, x: Tensor) -> Tensor:
        h = self.node(x).relu()
        if self.gathers:
            h = h.gather(2, torch.arange(h.shape[2]).expand(*h.shape))
        sent = self.message(h[:, [0, 1, 2, 0]])
        met = torch.where(h > 0, h, torch.zeros_like(h))
        return self.last((met + torch.zeros_like(h).index_add(1, torch.tensor([1, 2, 0, 2]), sent)).relu().mean(1))


class Fixed(nn.Module):
    """Numbers of units written into the code of forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).view(-1, 144))


class Branches(nn.Module):
    """A net of maps drawn at random: each step makes a map out of those before it, by a convolution (plain, depthwise, grouped),
    a norm, a sum, a concatenation, a gate, a pooling or a rectifier; a head over all that nothing reads."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        self.layers, self.plan = nn.ModuleDict(), [("conv", 0)]
        self.layers["0"] = nn.Conv2d(1, draw.choice((4, 6)), 3, padding=1)
        widths, unread = [1, self.layers["0"].out_channels], {1}
        for number in range(1, draw.randint(7, 12)):
            source = draw.randrange(1, len(widths)) if draw.random() < 0.4 else len(widths) - 1
            width, kind = widths[source], draw.choice(KINDS)
            others = [k for k in range(1, len(widths)) if widths[k] == width and k != source]
            read = {source}
            if kind == "sum" and not others or kind == "cat" and (len(widths) < 3 or width > 12):
                kind = "conv"
            if kind == "sum":
                read.add(draw.choice(others))
            elif kind == "cat":
                read.add(draw.randrange(1, len(widths)))
                width = sum(widths[k] for k in sorted(read)) if len(read) == 2 else width
                kind = "cat" if len(read) == 2 else "relu"
            elif kind in ("conv", "pointwise", "grouped"):
                width = draw.choice((4, 6, 8))
            kind = "conv" if kind == "grouped" and widths[source] % 2 else kind
            made = self._made(kind, widths[source], width)
            if made is not None:
                self.layers[str(number)] = made
            self.plan.append((kind, *sorted(read)))
            unread = (unread - read) | {len(widths)}
            widths.append(width)
        self.ends = sorted(unread)
        self.flat = draw.random() < 0.5
        self.fc = nn.Linear(sum(widths[k] for k in self.ends) * (4 if self.flat else 1), 3)

    @staticmethod
    def _made(kind: str, width: int, out: int) -> nn.Module | None:
        return {
            "conv": lambda: nn.Conv2d(width, out, 3, padding=1), "pointwise": lambda: nn.Conv2d(width, out, 1, bias=False),
            "depthwise": lambda: nn.Conv2d(width, width, 3, padding=1, groups=width), "grouped": lambda: nn.Conv2d(width, out, 1, groups=2),
            "batch_norm": lambda: nn.BatchNorm2d(width), "group_norm": lambda: nn.GroupNorm(2 if width % 2 == 0 else 1, width),
            "instance_norm": lambda: nn.InstanceNorm2d(width, affine=True), "layer_norm": lambda: nn.GroupNorm(1, width),
            "prelu": lambda: nn.PReLU(width), "gate": lambda: nn.Linear(width, width),
        }.get(kind, lambda: None)()

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for number, (kind, *read) in enumerate(self.plan):
            first = maps[read[0]]
            if kind == "sum":
                maps.append(first + maps[read[1]])
            elif kind == "cat":
                maps.append(torch.cat([first, maps[read[1]]], 1))
            elif kind == "gate":
                maps.append(first * torch.sigmoid(self.layers[str(number)](first.mean((2, 3))))[:, :, None, None])
            elif kind in ("relu", "tanh"):
                maps.append(getattr(torch, kind)(first))
            elif kind == "pool":
                maps.append(F.avg_pool2d(first, 3, 1, 1))
            else:
                maps.append(self.layers[str(number)](first))
        found = torch.cat([maps[k] for k in self.ends], 1)
        return self.fc(F.adaptive_avg_pool2d(found, 2 if self.flat else 1).flatten(1))


KINDS = ("conv", "conv", "pointwise", "depthwise", "grouped", "batch_norm", "batch_norm", "group_norm", "instance_norm", "layer_norm", "prelu",
         "gate", "sum", "sum", "sum", "cat", "cat", "relu", "tanh", "pool")


def dense() -> nn.Module:
    """A plain MLP with dropout."""
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


def normed_groups() -> nn.Module:
    """Channels that are normalized in as many groups as a convolution reads, and makes, them."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 1, groups=2), nn.GroupNorm(2, 8), nn.Flatten(), nn.Linear(8 * 36, 3)
    )


def images() -> Tensor:
    """Six small images."""
    return torch.randn(6, 1, 8, 8)


def made(build: Callable[[], nn.Module], inputs: Callable[[], Any]) -> tuple[nn.Module, Any]:
    """A network and inputs, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model, x = build(), inputs()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return model, x


def saved(model: nn.Module) -> nn.Module:
    """The same model, written by torch.save and read again."""
    data = io.BytesIO()
    torch.save(model, data)
    data.seek(0)
    found: nn.Module = torch.load(data, weights_only=False)
    return found


class Begun(nn.Module):
    """A GRU that begins from a state of the model's own size."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.GRU(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x, x.new_zeros(1, len(x), 5))[0][:, -1])


class Shared(nn.Module):
    """Attention with so many heads that share whatever width there is, as small language models have it."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj, self.n_head = nn.Linear(6, 18), nn.Linear(6, 6), 2

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            part.view(batch, length, self.n_head, width // self.n_head).transpose(1, 2) for part in self.qkv(x).split(width, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj(y.transpose(1, 2).contiguous().view(batch, length, width))
