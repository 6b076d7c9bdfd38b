"""Laws of opened kernels: recurrent layers and attention give the same answers step by step as in one piece."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from zoo import ZOO, Attending, Encoder, Recurrent, Specimen

from diorama.core.errors import NotApplicable, UsageError
from diorama.model.capture import Capture
from diorama.model.kernels import attention, recurrent
from diorama.model.layers import layers

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
RECURRENT = [s for s in ZOO if s.name.startswith(("lstm", "gru", "rnn"))]
ATTENDING = [s for s in ZOO if "attention" in s.name or "encoder" in s.name]


def _by_name(specimen: Specimen) -> str:
    return specimen.name


@pytest.mark.parametrize("specimen", RECURRENT, ids=_by_name)
def test_steps_equal_the_kernel(specimen: Specimen) -> None:
    """With gates recorded the output is the kernel's, and the states are those of each layer and direction."""
    model, x = specimen()
    with Capture(model, keep="all") as look:
        wanted = look(x)
    with Capture(model, gates=True) as steps:
        assert torch.allclose(steps(x), wanted, atol=1e-6)
    table = layers(model, x)
    assert list(steps.gates) == list(table.recurrent.names)
    for name, states in steps.gates.items():
        assert torch.allclose(states.h, look[name], atol=1e-6), name
        assert tuple(states["h"].shape[1:]) == table[name].shape
    assert recurrent(model, x).keys() == steps.gates.keys()


@pytest.mark.parametrize("specimen", RECURRENT, ids=_by_name)
@pytest.mark.parametrize("grad", [False, True])
def test_parts_are_pieces_of_the_whole(specimen: Specimen, grad: bool) -> None:
    """The parts of the last layer, side by side, are what the recurrent module returns."""
    model, x = specimen()
    parts = layers(model, x).recurrent
    last = [layer.name for layer in parts if layer.part.startswith(parts[-1].part[:2])]
    with Capture(model, keep=["rnn", *last], grad=grad) as look:
        look(x)
    assert torch.allclose(torch.cat([look[name] for name in last], -1), look["rnn"], atol=1e-6)


def test_gates_follow_the_formula() -> None:
    """An LSTM's states obey c = f·c₋₁ + i·g and h = o·tanh(c), with gates between 0 and 1."""
    model, x = Recurrent(nn.LSTM).eval(), torch.randint(0, 11, (3, 5))
    s = recurrent(model, x)["rnn.l0"]
    before = torch.cat([torch.zeros(3, 1, 6), s.c[:, :-1]], 1)
    assert torch.allclose(s.c, s.f * before + s.i * s.g, atol=1e-6)
    assert torch.allclose(s.h, s.o * s.c.tanh(), atol=1e-6)
    assert all(float(s[gate].min()) >= 0 and float(s[gate].max()) <= 1 for gate in "ifo")
    with pytest.raises(AttributeError, match="there are: i, f, g, o, c, h"):
        s.z  # noqa: B018 - the access is what is tried


def test_a_silenced_cell_feeds_back() -> None:
    """A lesion of a recurrent unit holds at every step, and changes what the other cells do from the second step on."""
    model, x = Recurrent(nn.LSTM, num_layers=2).eval(), torch.randint(0, 11, (3, 5))
    bare = recurrent(model, x)
    for key, silent in (("unit:rnn.l0/2", "rnn.l0"), ("unit:rnn/2", "rnn.l1")):
        cut = recurrent(model, x, edits=[{"key": key, "lesion": True}])
        assert cut[silent].h[:, :, 2].abs().max() == 0
        assert torch.equal(cut[silent].h[:, 0, 3], bare[silent].h[:, 0, 3])
        assert not torch.allclose(cut[silent].h[:, 1:, 3], bare[silent].h[:, 1:, 3])
    once = recurrent(model, x, edits=[{"key": "unit:rnn.l0/2@3", "value": 0.5}])
    assert (once["rnn.l0"].h[:, 3, 2] == 0.5).all()
    assert torch.allclose(once["rnn.l0"].h[:, :3], bare["rnn.l0"].h[:, :3])


def test_a_backward_cell_is_the_second_half_of_the_whole() -> None:
    """In a bidirectional module, units beyond the hidden size belong to the backward direction of the last layer."""
    model, x = Recurrent(nn.GRU, bidirectional=True).eval(), torch.randint(0, 11, (3, 5))
    cut = recurrent(model, x, edits=[{"key": "unit:rnn/8", "lesion": True}])
    assert cut["rnn.l0.reverse"].h[:, :, 2].abs().max() == 0
    assert cut["rnn.l0"].h[:, :, 2].abs().max() > 0
    with pytest.raises(UsageError, match="rnn has units 0 to 11, got 12"):
        recurrent(model, x, edits=[{"key": "unit:rnn/12", "lesion": True}])


def test_models_without_recurrence_or_attention_are_refused() -> None:
    """Gates and attention weights are refused, by the model's name, where there are none."""
    model, x = nn.Sequential(nn.Linear(5, 3)), torch.randn(2, 5)
    with pytest.raises(NotApplicable, match="Sequential runs no LSTM"):
        recurrent(model, x)
    with pytest.raises(NotApplicable, match="Sequential runs no attention"):
        attention(model, x)


@pytest.mark.parametrize("specimen", ATTENDING, ids=_by_name)
def test_opened_attention_equals_the_kernel(specimen: Specimen) -> None:
    """With attention recorded the output is the kernel's, and every row of every head sums to 1."""
    model, x = specimen()
    with Capture(model) as look:
        wanted = look(x)
    with Capture(model, attention=True) as opened:
        assert torch.allclose(opened(x), wanted, atol=1e-6)
    for name, weights in opened.attention.items():
        assert weights.ndim == 4, name
        assert weights.shape[:2] == (4, 2), name
        assert torch.allclose(weights.sum(-1), torch.ones_like(weights[..., 0]), atol=1e-5), name
    assert attention(model, x).keys() == opened.attention.keys()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_padding_is_the_one_difference_to_the_fast_path() -> None:
    """A padded transformer encoder gives under capture what its fused path gives, except at the padded positions."""
    model, x = Encoder(padded=True).eval(), torch.randn(4, 6, 8)
    with torch.no_grad():
        fast = model(x)
    with Capture(model, keep="all") as look:
        found = look(x)
    real = torch.ones(4, 6, dtype=torch.bool)
    real[0, -2:] = False
    assert torch.allclose(found[real], fast[real], atol=1e-6)
    assert "body.layers.1.linear1" in look


def _causal(t: int, kind: torch.dtype) -> Tensor:
    mask = torch.ones(t, t, dtype=torch.bool).triu(1)
    return mask if kind is torch.bool else torch.zeros(t, t).masked_fill(mask, -torch.inf)


@pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"kdim": 5, "vdim": 7}, {"add_zero_attn": True}, {"add_bias_kv": True}]
)
@pytest.mark.parametrize("masks", ["none", "causal", "additive", "padding", "both", "each", "everything"])
@pytest.mark.parametrize("shown", ["mean", "heads", "none"])
def test_multi_head_attention_equals_torchs(options: dict[str, Any], masks: str, shown: str) -> None:
    """The opened multi-head attention returns what torch's returns, for every kind of mask, width and extra key."""
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, batch_first=True, **options).eval()
    q, k, v = torch.randn(3, 5, 8), torch.randn(3, 5, layer.kdim), torch.randn(3, 5, layer.vdim)
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 3:] = True
    given: dict[str, Any] = {"need_weights": shown != "none", "average_attn_weights": shown == "mean"}
    if masks in ("causal", "both"):
        given["attn_mask"] = _causal(5, torch.bool)
    if masks == "additive":
        given["attn_mask"] = _causal(5, torch.float32)
    if masks == "each":
        given["attn_mask"] = _causal(5, torch.bool).expand(6, 5, 5)
    if masks in ("padding", "both", "everything"):
        padding[2] = masks == "everything"
        given["key_padding_mask"] = padding

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = layer

        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Any:
            return self.attn(q, k, v, **given)

    with torch.no_grad():
        wanted = layer(q, k, v, **given)
    with Capture(Model(), attention=True) as look:
        found = look((q, k, v))
    assert torch.allclose(found[0], wanted[0], atol=1e-6, equal_nan=True)
    assert (found[1] is None) == (wanted[1] is None)
    if wanted[1] is not None:
        assert torch.allclose(found[1], wanted[1], atol=1e-6, equal_nan=True)


@pytest.mark.parametrize(
    "options", [{}, {"is_causal": True}, {"scale": 0.3}, {"mask": torch.bool}, {"mask": torch.float32}, {"gqa": True}]
)
def test_dot_product_attention_equals_torchs(options: dict[str, Any]) -> None:
    """The opened dot-product attention returns what torch's returns, masked rows without any key included."""
    torch.manual_seed(0)
    groups = 2 if "gqa" in options else 4
    q, k, v = torch.randn(2, 4, 5, 3), torch.randn(2, groups, 5, 3), torch.randn(2, groups, 5, 3)
    given: dict[str, Any] = {key: value for key, value in options.items() if key in ("is_causal", "scale")}
    if "gqa" in options:
        given["enable_gqa"] = True
    if "mask" in options:
        allowed = torch.rand(5, 5) > 0.4
        allowed[2] = False
        additive = torch.zeros(5, 5).masked_fill(~allowed, -torch.inf)
        given["attn_mask"] = allowed if options["mask"] is torch.bool else additive

    class Model(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, k, v, **given)

    with Capture(Model(), attention=True) as look:
        found = look((q, k, v))
    assert torch.allclose(found, F.scaled_dot_product_attention(q, k, v, **given), atol=1e-6)
    assert list(look.attention) == ["attention"]
    assert look.attention["attention"].shape == (2, 4, 5, 5)


def test_silencing_all_heads_leaves_the_bias() -> None:
    """Heads are edited one by one; with all of them silenced only the output's bias is left."""
    model, x = Attending().eval(), torch.randn(4, 6, 8)
    nn.init.normal_(model.attn.out_proj.bias)
    one = {"key": "head:attn/0", "lesion": True}
    with Capture(model, keep=["attn"]) as bare, Capture(model, keep=["attn"], edits=[one]) as cut:
        bare(x)
        cut(x)
    assert not torch.allclose(bare["attn"], cut["attn"])
    with Capture(model, keep=["attn"], edits=[one, {"key": "head:attn/1", "scale": 0.0}]) as silent:
        silent(x)
    assert torch.allclose(silent["attn"], model.attn.out_proj.bias.expand(4, 6, 8), atol=1e-6)
    with (
        pytest.raises(UsageError, match="heads 0 to 1, got 2"),
        Capture(model, edits=[{"key": "head:attn/2", "lesion": True}]) as look,
    ):
        look(x)
