"""One attention, written in the ways in which people write it, each in a small network of two blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name


class Attention(nn.Module):
    """Two heads over eight features, through ``scaled_dot_product_attention``."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj, self.drop = nn.Linear(8, 24), nn.Linear(8, 8), nn.Dropout(0.1)

    def heads(self, x: Tensor) -> list[Tensor]:
        """Queries, keys and values, each (n, heads, t, 4)."""
        return [part.view(*x.shape[:2], 2, 4).transpose(1, 2) for part in self.qkv(x).split(8, dim=2)]

    def forward(self, x: Tensor) -> Tensor:
        y = F.scaled_dot_product_attention(*self.heads(x))
        return self.drop(self.proj(y.transpose(1, 2).reshape(x.shape)))


class Written(Attention):
    """As in GPT-2: matrix products, and a mask that lets everything through."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        scores = torch.matmul(q, k.transpose(-1, -2)) / k.size(-1) ** 0.5
        scores = torch.where(torch.ones(x.shape[1], x.shape[1]).bool(), scores, torch.full((), -1e9))
        y = self.drop(F.softmax(scores, dim=-1)) @ v
        return self.proj(y.transpose(1, 2).contiguous().view(x.shape))


class Einsum(Attention):
    """Two equations, with the heads behind the steps."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.reshape(*x.shape[:2], 2, 4) for part in self.qkv(x).chunk(3, -1))
        weights = (torch.einsum("bqhd,bkhd->bhqk", q, k) * 4**-0.5).softmax(-1)
        return self.proj(torch.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape))


class Merged(Attention):
    """``bmm`` with examples and heads on one axis."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.reshape(-1, x.shape[1], 4) for part in self.heads(x))
        weights = F.dropout(F.softmax(torch.bmm(q * 4**-0.5, k.transpose(1, 2)), -1), 0.1, self.training)
        return self.proj(torch.bmm(weights, v).view(-1, 2, x.shape[1], 4).transpose(1, 2).reshape(x.shape))


class Added(Attention):
    """``baddbmm`` adds a bias to the scores, as in BLOOM."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.reshape(-1, x.shape[1], 4) for part in self.heads(x))
        scores = torch.baddbmm(x.new_zeros(1, x.shape[1], x.shape[1]), q, k.transpose(1, 2), beta=1, alpha=4**-0.5)
        weights = scores.view(-1, 2, *scores.shape[1:]).softmax(-1)
        y = torch.bmm(weights.view(scores.shape), v)
        return self.proj(y.view(-1, 2, x.shape[1], 4).transpose(1, 2).reshape(x.shape))


class Shared(Attention):
    """Heads that share keys and values: all of them (with an axis for it or by an equation), or four heads in two groups."""

    way = "axis"

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each as they are multiplied."""
        q, k, v = self.heads(x)
        if self.way == "groups":
            q = q.unflatten(1, (2, 1)).unflatten(-1, (2, 2)).transpose(2, -2)[..., 0, :]
            return q, k[:, :, None, :, :2], v[:, :, None, :, :2]
        return (q, k[:, :1], v[:, :1]) if self.way == "axis" else (q, k[:, 0], v[:, 0])

    def forward(self, x: Tensor, silent: int | None = None) -> Tensor:
        q, k, v = self.parts(x)
        if self.way == "equation":
            y = torch.einsum("bhqk,bkd->bhqd", torch.einsum("bhqd,bkd->bhqk", q, k).softmax(-1), v)
        else:
            y = (q @ k.mT).softmax(-1) @ v
        y = y.flatten(1, 2) if self.way == "groups" else y
        if silent is not None:
            y = y * (torch.arange(y.shape[1]) != silent)[:, None, None]
        return self.proj(y.transpose(1, 2).reshape(x.shape))


class Axes(Attention):
    """The softmax is not over the last axis, or another op changes its shares; ``kept`` is what weighs the values, as it should be read."""

    way = "heads last"

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.score = nn.Linear(2, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        scores = torch.einsum("bhqd,bhkd->bqkh", q, k)
        if self.way == "heads last":
            weights = scores.softmax(2)
        elif self.way == "a layer of heads":
            weights = self.score(torch.tanh(x[:, :, None] + x[:, None])).softmax(2)
        elif self.way == "renormalized":
            weights = (q @ k.mT).softmax(-1)
            weights = weights * (weights > 0.1)
            self.kept = weights = weights / weights.sum(-1, keepdim=True)
            return self.proj((weights @ v).transpose(1, 2).reshape(x.shape))
        elif self.way == "over queries":
            weights = scores.softmax(1)
        elif self.way == "slots":
            weights = scores.softmax(1)
            weights = weights / weights.sum(2, keepdim=True)
        elif self.way == "talking":
            weights = self.mix((q @ k.mT).softmax(-1).permute(0, 2, 3, 1))
        elif self.way in ("best", "best before"):
            scores = q @ k.mT
            best, where = scores.topk(3, -1)
            if self.way == "best":
                weights = torch.zeros_like(scores).scatter(-1, where, best.softmax(-1)).permute(0, 2, 3, 1)
            else:
                weights = torch.full_like(scores, -1e9).scatter(-1, where, best).softmax(-1).permute(0, 2, 3, 1)
        elif self.way == "clamped":
            weights = (q @ k.mT).softmax(-1).clamp_min(0.1).permute(0, 2, 3, 1)
        else:
            weights = (q @ k.mT).softmax(-1)
            weights = (weights - 0.5 * weights.flip(1)).permute(0, 2, 3, 1)
        self.kept = weights.permute(0, 3, 1, 2)
        return self.proj(torch.einsum("bqkh,bhkd->bqhd", weights, v).reshape(x.shape))


class Looped(Attention):
    """One head after the other."""

    def forward(self, x: Tensor) -> Tensor:
        made = []
        for q, k, v in zip(*(part.unbind(1) for part in self.heads(x)), strict=True):
            made.append(torch.softmax(q @ k.mT * 4**-0.5, 2) @ v)
        return self.proj(torch.cat(made, 2))


class Windows(Attention):
    """As in Swin: in windows of three steps, which share an axis with the examples, with a bias and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(2, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        parts = x.view(-1, 3, 8)
        q, k, v = self.qkv(parts).reshape(-1, 3, 3, 2, 4).permute(2, 0, 3, 1, 4)
        scores = (q * 4**-0.5) @ k.transpose(-2, -1) + self.bias.unsqueeze(0)
        scores = scores.view(len(x), -1, 2, 3, 3) + torch.zeros(2, 1, 3, 3).unsqueeze(0)
        weights = self.drop(torch.softmax(scores.view(-1, 2, 3, 3), -1))
        return self.proj((weights @ v).transpose(1, 2).reshape(parts.shape)).view(x.shape)


class ByHand(Attention):
    """A softmax of one's own: no op says that it is one."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        weights = torch.exp(q @ k.transpose(-2, -1) * 4**-0.5)
        y = (weights / weights.sum(-1, keepdim=True)) @ v
        return self.proj(y.transpose(1, 2).reshape(x.shape))


class Pooled(Attention):
    """One query for all keys, without an axis of its own, as in readers of documents."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        weights = torch.softmax((k @ q.mean(1)[:, :, None]).squeeze(2), 1)
        return self.proj((weights[:, None] @ v).expand(x.shape))


class Scored(nn.Module):
    """Each place is scored by a small network, and the sum of all is weighed by it, in ``way``: the same function in all of them."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.way, self.near, self.score, self.out = way, nn.Linear(5, 6), nn.Linear(6, 1, bias=False), nn.Linear(5, 3)

    def forward(self, h: Tensor) -> Tensor:
        scores = self.score(torch.tanh(self.near(h)))
        if self.way == "sum":
            return self.out((scores.squeeze(-1).masked_fill(h[..., 0] > 9, -torch.inf).softmax(1)[..., None].expand_as(h) * h).sum(1))
        if self.way == "product":
            return self.out(torch.bmm(F.softmax(scores, 1).transpose(1, 2), h).squeeze(1))
        if self.way == "steps first":
            return self.out(torch.sum(F.softmax(scores.transpose(0, 1), 0) * h.transpose(0, 1), dim=0))
        shares = torch.softmax(torch.einsum("ntd,d->nt", torch.tanh(self.near(h)), self.score.weight[0]), -1)
        if self.way == "equation":
            return self.out(torch.einsum("nt,ntd->nd", shares, h))
        there = (h[..., 0] < 9).float()
        shares = shares * there
        return self.out(((shares / shares.sum(1, keepdim=True))[..., None] * h).sum(1))


SCORED = ("sum", "product", "steps first", "equation", "masked behind")


class Answers(nn.Module):
    """A decoder that asks once at each place of its answer, by a sum of keys and queries (Bahdanau)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.near, self.far, self.score = nn.Linear(6, 6), nn.Linear(5, 6), nn.Linear(6, 1)
        self.cell, self.out = nn.GRUCell(5, 6), nn.Linear(11, 3)

    def forward(self, h: Tensor) -> Tensor:
        state, taken, found = h.new_zeros(len(h), 6), h[:, 0], []
        for _ in range(4):
            state = self.cell(taken, state)
            taken = (F.softmax(self.score(torch.tanh(self.near(state)[:, None] + self.far(h))), 1) * h).sum(1)
            found.append(self.out(torch.cat([state, taken], 1)))
        return torch.stack(found, 1)


class Mixture(nn.Module):
    """Three experts, of whose answers a softmax weighs the sum: its shares are of units, not of places."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(5, 3), nn.ModuleList([nn.Linear(5, 3) for _ in "abc"])

    def forward(self, h: Tensor) -> Tensor:
        mean = h.mean(1)
        return torch.einsum("ne,ned->nd", self.gate(mean).softmax(-1), torch.stack([one(mean) for one in self.experts], 1))


class Attentive(nn.Module):
    """Two blocks of attention and a network, with residual sums."""

    def __init__(self, attention: Callable[[], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.norm, self.out = nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 3)
        self.attn = nn.ModuleList([attention(), attention()])
        self.mlp = nn.ModuleList([nn.Sequential(nn.Linear(8, 16), nn.ReLU(inplace=True), nn.Linear(16, 8)) for _ in "ab"])

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for attention, mlp in zip(self.attn, self.mlp, strict=True):
            x = x + attention(self.norm(x))
            x = x + mlp(x)
        return self.out(x.mean(1))


WRITTEN: dict[str, Callable[[], nn.Module]] = {
    "kernel": Attention, "written": Written, "einsum": Einsum, "merged": Merged, "added": Added, "looped": Looped,
}
"""The same function of the same weights."""


def attentive(attention: Callable[[], nn.Module]) -> tuple[nn.Module, Tensor]:
    """The network around an attention, and examples (n, steps, 5) for it."""
    with torch.random.fork_rng(devices=[]):
        model = Attentive(attention).eval()
        torch.manual_seed(1)
        return model, torch.randn(4, 6, 5)


LETTERS = tuple("abcdefghij")
"""The vocabulary of the writer."""


class Block(nn.Module):
    """Causal attention and a network, each behind a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.qkv(self.first(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.mlp(self.second(x))


class Writes(nn.Module):
    """A language model of two blocks; of rows it tells one of three classes."""

    def __init__(self, classes: int = 0, width: int = 12) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(10, width), nn.Embedding(12, width)
        self.blocks, self.norm = nn.ModuleList([Block(width), Block(width)]), nn.LayerNorm(width)
        self.head, self.classes = nn.Linear(width, classes or 10), classes

    def stream(self, x: Tensor) -> list[Tensor]:
        """What the stream holds after each block."""
        h = [self.embed(x) + self.place(torch.arange(x.shape[1]))]
        for block in self.blocks:
            h.append(block(h[-1]))
        return h

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.stream(x)[-1])
        return self.head(h.mean(1) if self.classes else h)


class Adapted(nn.Module):
    """A linear layer of frozen weights with a low-rank update beside it, by hand."""

    def __init__(self, ins: int, outs: int, rank: int = 2, scale: float = 0.5) -> None:
        super().__init__()
        self.linear, self.scale = nn.Linear(ins, outs), scale
        self.linear.requires_grad_(False)
        self.down, self.up = nn.Parameter(torch.randn(rank, ins)), nn.Parameter(torch.zeros(outs, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.scale * (x @ self.down.T @ self.up.T)


class LooksBack(nn.Module):
    """A block of attention that sees neither what comes later nor padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attn = nn.Embedding(6, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp, self.head = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        h = self.embed(x)
        h = h + self.attn(h, h, h, attn_mask=later, key_padding_mask=x == 0)[0]
        return self.head(h + self.mlp(h))
