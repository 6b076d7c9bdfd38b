"""Small networks of every make that the laws run over, as their users would have written them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name


class Functional(nn.Module):
    """A CNN with functional and in-place ReLUs, batch norm and pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu_(self.norm(self.conv1(x))), 2)
        x = torch.relu_(self.conv2(x))
        return self.fc(F.relu(x).mean((2, 3)))


class Reused(nn.Module):
    """One activation module and one linear module, each called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.act = nn.Linear(5, 6), nn.Linear(6, 6), nn.ReLU(inplace=True)
        self.alias = self.twice

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        return self.alias(self.act(self.twice(x)))


class Residual(nn.Module):
    """Two residual blocks with in-place sums."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
            self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            y += x
            return self.relu(y)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.layer1 = nn.Sequential(self.Block(), self.Block())
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer1(self.stem(x)).mean((2, 3)))


class Outputs(nn.Module):
    """Returns a tuple, a dict or a dict in a tuple, from a part that returns a tuple."""

    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 8)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            first, second = self.fc(x).chunk(2, -1)
            return first, second

    def __init__(self, form: str) -> None:
        super().__init__()
        self.split, self.head, self.form = self.Split(), nn.Linear(4, 3), form

    def forward(self, x: Tensor) -> Any:
        a, b = self.split(x)
        scores, state = self.head(a * b), a
        if self.form == "tuple":
            return scores, state
        found = {"logits": scores, "state": state}
        return found if self.form == "dict" else (found, None)


class Train(nn.Module):
    """Dropout and batch norm, left in train mode; the norm is frozen in eval mode when asked."""

    def __init__(self, frozen: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
        self.frozen = frozen

    def train(self, mode: bool = True) -> Train:
        super().train(mode)
        if self.frozen:
            self.body[1].training = False
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Recurrent(nn.Module):
    """Tokens, an embedding, a recurrent module of any make, scores for each step."""

    def __init__(self, kind: type[nn.RNNBase], late: bool = False, start: bool = False, **options: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 5)
        self.rnn = kind(5, 6, batch_first=not late, **options)
        ways = 2 if self.rnn.bidirectional else 1
        self.out = nn.Linear((self.rnn.proj_size or 6) * ways, 11)
        self.late = late
        self.start = nn.Parameter(torch.randn(self.rnn.num_layers * ways, 1, 6)) if start else None

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        x = x.transpose(0, 1) if self.late else x
        hx = self.start.expand(-1, len(tokens), -1).contiguous() if self.start is not None else None
        if hx is not None and isinstance(self.rnn, nn.LSTM):
            hx = (hx, hx * 0.5)
        y = self.out(self.rnn(x, hx)[0])
        return y.transpose(0, 1) if self.late else y


class Packed(nn.Module):
    """An LSTM that runs on a packed sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(5, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.full((len(x),), x.shape[1])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return self.out(self.rnn(packed)[1][0][-1])


class Ragged(nn.Module):
    """A recurrent module, both ways and two layers deep, on sequences of unlike lengths, packed and padded again."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.rnn, self.out = kind(5, 6, num_layers=2, bidirectional=True), nn.Linear(12, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.out(y.sum(1))


class Told(nn.Module):
    """Takes what has no example axis beside its tensor: nothing, a flag, a word and a number without an axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor, mask: Tensor | None, double: bool, how: str, scale: Tensor) -> Tensor:
        y = getattr(torch, how)(self.first(x if mask is None else x * mask))
        return self.last(y * scale * (2 if double else 1))


class Listed(nn.Module):
    """Takes one list of two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 6), nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, both: list[Tensor]) -> Tensor:
        x, e = both
        return self.last(F.relu(self.first(x) + self.second(e)))


class Attending(nn.Module):
    """``nn.MultiheadAttention`` over a sequence."""

    def __init__(self, late: bool = False, **options: Any) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=not late, **options)
        self.out, self.late = nn.Linear(8, 3), late

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1) if self.late else x
        y = self.norm(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return self.out(x.mean(0 if self.late else 1))


class Encoder(nn.Module):
    """``nn.TransformerEncoder``, with the last positions of the first example masked as padding when asked."""

    def __init__(self, late: bool = False, padded: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=not late)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=padded)
        self.late, self.padded = late, padded

    def forward(self, x: Tensor) -> Tensor:
        mask = None
        if self.padded:
            mask = torch.zeros(x.shape[:2], dtype=torch.bool)
            mask[0, -2:] = True
        if self.late:
            return self.body(x.transpose(0, 1)).transpose(0, 1)
        return self.body(x, src_key_padding_mask=mask)


class Custom(nn.Module):
    """Causal attention written by hand over ``scaled_dot_product_attention``, twice, as in small language models."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.qkv, self.proj = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (p.unflatten(-1, (2, 4)).transpose(1, 2) for p in self.qkv(self.norm(x)).chunk(3, -1))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return x + self.proj(y.transpose(1, 2).flatten(2))

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.blocks = nn.Embedding(11, 8), nn.ModuleList([self.Block(), self.Block()])
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Several(nn.Module):
    """Two inputs of unlike kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.read, self.join = nn.Conv2d(1, 4, 3), nn.Linear(5, 4), nn.Linear(8, 3)

    def forward(self, image: Tensor, row: Tensor) -> Tensor:
        return self.join(torch.cat([F.relu(self.look(image)).mean((2, 3)), self.read(row)], 1))


class Restless(nn.Module):
    """Writes to buffers, attributes and a shortened embedding whenever it runs, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 5, max_norm=0.5)
        self.fc = nn.Linear(5, 3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.memory, self.log, self.last = torch.zeros(5), [], None

    def forward(self, tokens: Tensor) -> Tensor:
        self.calls += 1
        x = self.embed(tokens).mean(1)
        self.memory.add_(x.detach().mean(0))
        self.last = x
        self.log.append(len(x))
        torch.rand(3)
        return self.fc(x)


@dataclasses.dataclass(frozen=True)
class Specimen:
    """A network of the zoo, made anew with the same weights each time, and an input for it."""

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], Any]
    train: bool = False

    def __call__(self) -> tuple[nn.Module, Any]:
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which asks other devices too and takes longer than most of these networks.
            torch.default_generator.manual_seed(7)
            model, x = self.make(), self.inputs()
            model.train(self.train)
        return model, x


def _images() -> Tensor:
    return torch.randn(4, 1, 8, 8)


def _rows() -> Tensor:
    return torch.randn(4, 5)


def _tokens() -> Tensor:
    return torch.randint(0, 11, (4, 7))


def _steps() -> Tensor:
    return torch.randn(4, 6, 8)


ZOO = [
    Specimen("functional", Functional, _images),
    Specimen("reused", Reused, _rows),
    Specimen("residual", Residual, _images),
    Specimen("tuple_out", lambda: Outputs("tuple"), _rows),
    Specimen("dict_out", lambda: Outputs("dict"), _rows),
    Specimen("nested_out", lambda: Outputs("nested"), _rows),
    Specimen("in_training", Train, _rows, train=True),
    Specimen("half_frozen", lambda: Train(frozen=True), _rows, train=True),
    Specimen("lstm", lambda: Recurrent(nn.LSTM, num_layers=2), _tokens, train=True),
    Specimen("lstm_all", lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True, late=True, start=True), _tokens),
    Specimen("lstm_projected", lambda: Recurrent(nn.LSTM, proj_size=3, num_layers=2), _tokens),
    Specimen("gru", lambda: Recurrent(nn.GRU, num_layers=2, bidirectional=True, start=True), _tokens),
    Specimen("rnn", lambda: Recurrent(nn.RNN, nonlinearity="relu", late=True, bias=False), _tokens),
    Specimen("packed", Packed, lambda: torch.randn(4, 6, 5)),
    Specimen("ragged", Ragged, lambda: (torch.randn(4, 6, 5), torch.tensor([3, 6, 1, 5]))),
    Specimen("told", Told, lambda: (_rows(), None, True, "relu", torch.tensor(1.5))),
    Specimen("listed", Listed, lambda: ([_rows(), _rows()],)),
    Specimen(
        "volume", lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)),
        lambda: torch.randn(4, 1, 5, 6, 6),
    ),
    Specimen("attention", Attending, _steps),
    Specimen("attention_late", lambda: Attending(late=True, add_zero_attn=True, add_bias_kv=True), _steps),
    Specimen("encoder", Encoder, _steps),
    Specimen("encoder_late", lambda: Encoder(late=True), _steps, train=True),
    Specimen("custom_attention", Custom, _tokens),
    Specimen("several_tuple", Several, lambda: (_images(), _rows())),
    Specimen("several_dict", Several, lambda: {"row": _rows(), "image": _images()}),
    Specimen("restless", Restless, _tokens, train=True),
    Specimen("double", lambda: Functional().double(), lambda: _images().double()),
    Specimen("bfloat16", lambda: Functional().bfloat16(), lambda: _images().bfloat16()),
    Specimen("parallel", lambda: nn.DataParallel(Functional()), _images),
    Specimen(
        "conv1d", lambda: nn.Sequential(nn.Conv1d(8, 4, 3), nn.ReLU(), nn.Conv1d(4, 3, 2)), lambda: torch.randn(4, 8, 9)
    ),
]


@contextlib.contextmanager
def crooked() -> Iterator[None]:
    """Everything that a caller may have switched on for its own code, at once."""
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
