"""What a language model learns from, token by token, and adapters at work: by hand, and those of peft."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attentions import Adapted
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.errors import NotApplicable, NotFound
from diorama.core.marks import Table, Text
from diorama.model.adapters import adapters, change, effective_rank
from diorama.record.batch_reader import BatchReader
from diorama.record.batch_texts import BatchTexts
from diorama.scene import Scene

VOCABULARY = ("<pad>", "</s>", *"abcdefghij")
HIDDEN = -100


class _Model(nn.Module):
    """A language model as its libraries have them: it is given labels, moves them by one, and answers with its loss."""

    def __init__(self, adapted: bool = False) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(12, 8), nn.GRU(8, 8, batch_first=True), nn.Linear(8, 12)
        self.first, self.second = (Adapted(8, 8), Adapted(8, 8)) if adapted else (nn.Identity(), nn.Identity())

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.head(self.second(self.first(self.rnn(self.embed(input_ids))[0])))
        if labels is None:
            return {"logits": logits}
        return {"logits": logits, "loss": F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])}


def _texts() -> tuple[Tensor, Tensor]:
    """Texts that end and are padded, and labels that hide a prompt and the padding."""
    x = torch.randint(2, 12, (6, 9), generator=torch.Generator().manual_seed(0))
    x[:, -2], x[:, -1] = 1, 0
    labels = x.clone()
    labels[:, :3], labels[:, -1] = HIDDEN, HIDDEN
    return x, labels


def _scene(x: Tensor, labels: Tensor, model: nn.Module | None = None) -> Scene:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = model or _Model()
    kind = diorama.Tokens(vocabulary=VOCABULARY)
    return Scene(model.eval(), {"input_ids": x, "labels": labels}, labels, inputs={"input_ids": kind, "labels": kind})


def test_records_are_what_the_loss_sees() -> None:
    """Of every token it is told whether it is learnt, and its cross-entropy; their mean is the loss that the model computes."""
    x, labels = _texts()
    scene = _scene(x, labels)
    found = scene.derive("learns_from", examples=6).value
    with torch.no_grad():
        output = scene.model(x, labels)
        losses = F.cross_entropy(output["logits"][:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
    assert len(found) == x.numel()
    for one in found:
        row, place = one["example"], one["position"]
        assert one["learnt"] == (place >= 3 and place < 8)
        assert one["text"] == VOCABULARY[int(x[row, place])]
        if one["learnt"]:
            assert one["label"] == int(x[row, place])
            assert one["loss"] == pytest.approx(float(losses[row, place - 1]), abs=1e-5)
    assert np.mean([one["loss"] for one in found if one["learnt"]]) == pytest.approx(float(output["loss"]), abs=1e-5)
    assert {one["special"] for one in found} == {"", "end", "padding"}


def _spoilt(how: str) -> tuple[Tensor, Tensor]:
    x, labels = _texts()
    if how == "none":
        labels[:] = HIDDEN
    if how == "some":
        labels[2:4] = HIDDEN
    if how == "twice":
        labels = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], HIDDEN)], 1)
    if how == "end":
        labels[labels == 1] = HIDDEN
    if how == "padding":
        labels[:, -1] = 0
    return x, labels


@pytest.mark.parametrize(("how", "said"), [
    ("none", "No label is left: every token"), ("some", r"No label is left in 2 of 6 texts \(examples 2, 3\)"),
    ("twice", "Labels are shifted twice"), ("end", "The end token </s> is never trained"), ("padding", "Padding is learnt: 6 of 36"),
])
def test_what_is_wrong_is_told(how: str, said: str) -> None:
    """A mask that hides all, labels shifted twice, an end that is masked, padding that is not: each in a sentence, and alone."""

    picture = _scene(*_spoilt(how)).view("learns_from")
    assert re.search(said, picture.caption)
    words = ("No label", "shifted", "never trained", "Padding")
    assert not [word for word in words if word in picture.caption and word not in said]


def test_a_sound_text_raises_no_complaint() -> None:
    """Masked tokens are struck out, learnt ones coloured, special ones listed; the model's own loss is met."""
    x, labels = _texts()
    picture = _scene(x, labels).view("learns_from", example=2)
    assert picture.caption.startswith("The loss is taken on")
    assert "Struck out is what is masked, padding and the first token of each text" in picture.caption
    filled = x.clone()
    filled[:, -1] = HIDDEN
    assert "Struck out is padding and the first token of each text" in _scene(x, filled).view("learns_from").caption
    text = next(mark for mark in picture.marks() if isinstance(mark, Text))
    assert text.title == "example 2"
    assert text.struck.tolist() == [True] * 3 + [False] * 5 + [True]
    table = next(mark for mark in picture.marks() if isinstance(mark, Table))
    assert set(table.columns[0].texts) == {"</s>", "<pad>"}
    assert picture.checks[0].value < 1e-4


@pytest.mark.parametrize(("by", "said"), [(1, ""), (2, "shifted twice"), (0, "not shifted")])
def test_labels_beside_the_inputs_are_aligned_by_themselves(by: int, said: str) -> None:
    """Where labels stand beside rows of tokens, by how many places they are moved is found, and what is wrong is told."""
    x = torch.randint(2, 12, (6, 9), generator=torch.Generator().manual_seed(0))
    y = torch.cat([x[:, by:], torch.full_like(x[:, :by], HIDDEN)], 1)
    model = nn.Sequential(nn.Embedding(12, 6), nn.Linear(6, 12))
    scene = Scene(model, x, y, inputs=diorama.Tokens(vocabulary=VOCABULARY[2:] + VOCABULARY[:2]))
    assert (said or "The loss is taken") in scene.view("learns_from").caption
    with pytest.raises(NotApplicable, match="no"):
        Scene(nn.Linear(2, 2), torch.rand(4, 2), torch.arange(4) % 2).view("learns_from")


HOW = {
    "sound": lambda scores, x, y: F.cross_entropy(scores[:, :-1].flatten(0, 1), y[:, 1:].flatten()),
    "twice": lambda scores, x, y: F.cross_entropy(scores[:, :-2].flatten(0, 1), y[:, 2:].flatten()),
    "not": lambda scores, x, y: 7 * F.nll_loss(scores.log_softmax(-1).flatten(0, 1), y.flatten()),
    "none": lambda scores, x, y: F.cross_entropy(scores.flatten(0, 1), torch.full_like(y, HIDDEN).flatten()),
    "other": lambda scores, x, y: scores.square().mean(),
}


@pytest.mark.parametrize("how", HOW)
def test_texts_of_a_batch_are_read_as_its_loss_has_them(how: str) -> None:
    """From the gradient follow the very labels and losses of the training's loss, in its precision; of another loss nothing is told."""
    x, labels = _texts()
    model = _Model()
    reader = BatchReader(model, None, pytest.fail)
    reader.arm()
    scores = model(x, labels)["logits"] if how == "none" else model(input_ids=x, labels=labels)["logits"]
    HOW[how](scores, x, labels).backward()
    told = reader.finish()
    found = told.texts if told is not None else None
    assert (found is None) == (how == "other")
    if found is None:
        return
    by = {"sound": 1, "twice": 2, "not": 0}.get(how)
    wanted = torch.full_like(labels, HIDDEN)
    if by is not None:
        wanted[:, : labels.shape[1] - by] = labels[:, by:]
    np.testing.assert_array_equal(found.labels, wanted)
    np.testing.assert_array_equal(found.tokens, x)
    losses = F.cross_entropy(scores.detach().flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted)
    np.testing.assert_allclose(found.losses, losses, atol=1e-5)
    same = BatchTexts.of_rows({name: np.append(row, np.nan).astype(np.float32) for name, row in found.rows().items()})
    assert same is not None
    np.testing.assert_array_equal(same.labels, found.labels)


def test_a_recorded_batch_is_seen_at_its_step(tmp_path: Path) -> None:
    """What a training's own loss was taken on is told of the last batch that was read by the step in sight, also where the probe set has no
    labels, and what is wrong with it comes first; before the first reading that is said."""
    x, labels = _texts()
    labels[labels == 1] = HIDDEN
    model = _Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    kind = diorama.Tokens(vocabulary=VOCABULARY)
    with diorama.watch(
        model, tmp_path / "run", probe={"input_ids": x}, optimizer=optimizer, inputs={"input_ids": kind}, outputs="logits", task="next_token",
        every=1, snapshots=6,
    ) as recorder:
        for _ in range(13):
            loss = model(x, labels)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.detach())
    run = diorama.open(tmp_path / "run")
    picture = run.scene().view("learns_from", of="batch", examples=2)
    (step,) = run.rows("texts/tokens")[0]
    assert f"at step {step}" in picture.caption
    assert picture.caption.startswith("The end token </s> is never trained: it stands in the texts, but always masked")
    first, second = [mark for mark in picture.marks() if isinstance(mark, Text)]
    assert first.struck.tolist() == [True] * 3 + [False] * 4 + [True] * 2
    steps, losses = run.series("loss")
    assert np.mean(run.rows("texts/losses")[1][0][run.rows("texts/labels")[1][0] != HIDDEN]) == pytest.approx(losses[steps == step][0], rel=1e-5)
    with pytest.raises(NotApplicable, match="first batch was read at step"):
        run.scene(step=0).view("learns_from", of="batch")


def _tuned() -> Scene:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = _Model(adapted=True)
        nn.init.normal_(model.first.up)
    x, labels = _texts()
    return _scene(x, labels, model)


def test_an_adapter_by_hand_is_measured() -> None:
    """Size, share, rank and gradient are those of the product of its matrices, its scale included, and of torch's own gradients."""
    scene = _tuned()
    first, second = scene.derive("adapters").value
    layer = scene.model.first
    update = (layer.scale * layer.up @ layer.down).detach()
    assert first["layer"] == "first"
    assert first["rank"] == 2
    assert first["size"] == pytest.approx(float(update.norm()), rel=1e-4)
    assert first["share"] == pytest.approx(float(update.norm() / layer.linear.weight.norm()), rel=1e-4)
    sizes = torch.linalg.svdvals(update.double())
    shares = (sizes / sizes.sum())[:2]
    assert first["effective_rank"] == pytest.approx(math.exp(float(-(shares * shares.log()).sum())), rel=1e-3)
    assert first["nothing"] == ""
    assert second["nothing"] == "up is all zeros, as it begins"
    assert second["share"] == 0
    x, labels = _texts()
    with torch.enable_grad():
        logits = scene.model(x)["logits"][:, :-1].transpose(1, 2)
        losses = F.cross_entropy(logits, labels[:, 1:], reduction="none").sum(1) / (labels[:, 1:] != HIDDEN).sum(1)
        slopes = torch.autograd.grad(losses.mean(), [layer.down, layer.up])
    assert first["gradient"] == pytest.approx(float(sum(slope.square().sum() for slope in slopes).sqrt()), rel=1e-4)


def test_an_adapter_is_switched_off() -> None:
    """The loss without it is that of the frozen weights; one that does nothing changes nothing; the model keeps its own."""
    scene = _tuned()
    before = {name: part.clone() for name, part in scene.model.state_dict().items()}
    caption = scene.view("adapters").caption
    assert "2 layers have an adapter" in caption
    assert "1 of them does nothing: second (up is all zeros, as it begins)" in caption
    bare = _tuned()
    with torch.no_grad():
        bare.model.first.up.zero_()
    there = float(bare.losses().mean())
    assert f"to {there:.4g}" in caption
    same = scene.view("adapters", off="second").caption
    assert "0 % of the answers change" in same
    assert all(torch.equal(part, before[name]) for name, part in scene.model.state_dict().items())
    with pytest.raises(NotFound, match="no adapter named 'third'"):
        scene.view("adapters", off="third")
    with pytest.raises(NotApplicable, match="no layer has an adapter"):
        _scene(*_texts()).view("adapters")


def test_a_head_on_frozen_layers_is_no_adapter() -> None:
    """Frozen layers below trained ones, and trained layers of a low rank without a frozen weight, are none."""
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3), nn.Linear(3, 8))
    assert not adapters(model)
    model[0].requires_grad_(False)
    model[2].requires_grad_(False)
    assert not adapters(model)
    assert effective_rank(torch.zeros(4, 3)) == (0.0, 0)
    assert effective_rank(torch.eye(5))[0] == pytest.approx(5)


class _Beside(nn.Module):
    """A frozen matrix and two that are trained beside it, in a row, or with a bend between them."""

    def __init__(self, width: int, rank: int, how: str) -> None:
        super().__init__()
        self.frozen, self.down, self.up = nn.Linear(width, 3).requires_grad_(False), nn.Linear(width, rank, bias=False), nn.Linear(rank, 3)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        bend = torch.tanh if self.how == "bend" else nn.Identity()
        made = self.up(bend(self.down(x)))
        return self.frozen(made) if self.how == "row" else self.frozen(x) + 2 * made


@pytest.mark.parametrize(("rank", "first"), [(2, "down"), (3, "down"), (8, "down"), (8, "up")])
def test_an_adapter_counts_whatever_its_rank(rank: int, first: str) -> None:
    """The usual rank of 8 is none lower than a head of three answers has: it is an adapter all the same, and switched off with the
    others, whichever factor comes first."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(Adapted(6, 6), nn.Tanh(), _Beside(6, rank, "beside"))
        x, beside = torch.randn(40, 6), model[2]
        if first == "up":
            beside.down = beside._modules.pop("down")
        with torch.no_grad():
            beside.up.bias.zero_()
            beside.up.weight.mul_(3)
    scene = Scene(model, x, torch.arange(40) % 3)
    record = scene.derive("adapters").value[1]
    assert (record["layer"], record["rank"]) == ("2", min(rank, 3))
    with torch.no_grad():
        assert record["size"] == pytest.approx(float((2 * beside.up.weight @ beside.down.weight).norm()), rel=1e-4)
        wanted = F.cross_entropy(beside.frozen(torch.tanh(model[0].linear(x))), torch.arange(40) % 3)
    assert f"to {float(wanted):.4g}" in scene.view("adapters").caption


def test_an_adapter_with_one_frozen_factor_is_one() -> None:
    """LoRA-FA (Zhang et al. 2023) draws one factor and trains the other: measured, and switched off, as the product of both. What is frozen
    behind a bend is no factor."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, bent = nn.Sequential(_Beside(6, 2, "beside")), _Beside(6, 2, "bend")
        x = torch.randn(40, 6)
    for layer in (model[0], bent):
        layer.down.requires_grad_(False)
        layer.up.bias = None
    assert not adapters(nn.Sequential(bent))
    scene = Scene(model, x, torch.arange(40) % 3)
    (record,) = scene.derive("adapters").value
    assert (record["layer"], record["rank"], record["nothing"]) == ("0", 2, "")
    with torch.no_grad():
        assert record["size"] == pytest.approx(float((2 * model[0].up.weight @ model[0].down.weight).norm()), rel=1e-4)
        wanted = F.cross_entropy(model[0].frozen(x), torch.arange(40) % 3)
    assert f"to {float(wanted):.4g}" in scene.view("adapters").caption


@pytest.mark.parametrize(("width", "how"), [(6, "bend"), (3, "row")])
def test_trained_matrices_that_are_not_added_to_a_frozen_one_are_no_adapter(width: int, how: str) -> None:
    """Shapes alone would take a branch with a bend, and matrices that follow one another, for an adapter of a high rank."""
    assert not adapters(nn.Sequential(_Beside(width, 8 if how == "bend" else 3, how)))


@pytest.mark.parametrize("how", ["lora", "turned", "dora", "conv"])
def test_updates_of_peft_are_its_own(how: str) -> None:
    """What a layer of peft is found to add is what peft says that it adds, also on turned weights, with norms and on maps."""
    peft = pytest.importorskip("peft", reason="peft is not installed")
    if how == "turned":
        body: Any = pytest.importorskip("transformers.pytorch_utils").Conv1D(8, 6)
    else:
        body = nn.Conv2d(3, 8, 3) if how == "conv" else nn.Linear(6, 8)
    model = nn.Sequential(body)
    settings = {"r": 2, "target_modules": ["0"], "init_lora_weights": False, "use_dora": how == "dora", "fan_in_fan_out": how == "turned"}
    tuned = peft.inject_adapter_in_model(peft.LoraConfig(**settings), model).eval()
    (adapter,) = adapters(tuned)
    found = change(tuned, adapter)
    assert found is not None
    wanted = tuned[0].get_delta_weight("default").detach()
    if how == "dora":
        x = torch.randn(5, 6)
        with torch.no_grad():
            assert torch.allclose(x @ found.update.T, tuned(x) - tuned[0].base_layer(x), atol=1e-4)
    else:
        assert torch.allclose(found.update, wanted.flatten(1), atol=1e-5)
