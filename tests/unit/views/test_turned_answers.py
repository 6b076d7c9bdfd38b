"""Answers of texts and maps that differ, counted by hand: each token and each place is one, and padding and ignored labels are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.marks import Lines, Number, Table
from diorama.core.picture import Picture
from diorama.scene import Scene
from diorama.scene.preview import preview

WORDS = ("<pad>", "a", "b", "c", "d", "e")


class _Recurrent(nn.Module):
    """A GRU that says at each token what comes next."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed, self.rnn, self.head = nn.Embedding(6, 8), nn.GRU(8, 5, batch_first=True), nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(x))[0])


class _Attending(nn.Module):
    """Attention in both directions, which answers at each token."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed, self.attn, self.head = nn.Embedding(6, 8), nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = 3 * self.embed(x)
        return self.head(h + self.attn(h, h, h)[0])


class _Stacked(nn.Module):
    """A layer that may be left out, as what goes in is as wide as what comes out."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(6)
            self.embed, self.middle, self.head = nn.Embedding(6, 8), nn.Linear(8, 8), nn.Linear(8, 6)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(self.embed(x)))


class _Pixels(nn.Module):
    """One of three classes at each place of a picture."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


TEXTS = [(net, side, labels) for net in (_Recurrent, _Attending) for side in ("left", "right") for labels in (False, True)]


def _made(net: Any, seed: int) -> Any:
    """The first network, or one that answers a part of all places otherwise: its last layer's weights are moved."""
    model = net(1).eval().requires_grad_(False)
    last = model.body[2] if net is _Pixels else model.head
    last.bias.zero_()  # else it alone may answer
    if seed > 1:
        last.weight += 1.5 * last.weight.std() * torch.randn(last.weight.shape, generator=torch.Generator().manual_seed(seed))
    return model


def _texts(side: str, labels: bool) -> tuple[Tensor, Tensor | None, list[list[bool]]]:
    """Texts of 3 to 8 words filled up on one side to 8, their labels, of which every seventh is ignored, and where an answer is asked for."""
    dice = torch.Generator().manual_seed(3)
    x, asked = torch.zeros(10, 8, dtype=torch.long), []
    y = torch.randint(1, 6, (10, 8), generator=dice)
    for k in range(10):
        length = 3 + k % 6
        begin = 0 if side == "right" else 8 - length
        x[k, begin : begin + length] = torch.randint(1, 6, (length,), generator=dice)
        asked.append([begin <= place < begin + length and not (labels and (8 * k + place) % 7 == 0) for place in range(8)])
    y.view(-1)[::7] = -100
    return x, y if labels else None, asked


def _pixels() -> tuple[Tensor, Tensor, list[list[bool]]]:
    dice = torch.Generator().manual_seed(4)
    x, y = torch.randn(6, 1, 5, 4, generator=dice), torch.randint(0, 3, (6, 5, 4), generator=dice)
    y[:, 0, :2] = -100
    return x, y, [[label != -100 for row in one for label in row] for one in y.tolist()]


def _cases() -> list[Any]:
    return [*TEXTS, (_Pixels, "", True)]


def _case(net: Any, side: str, labels: bool) -> tuple[Scene, Scene, int, int, Tensor]:
    """Two networks at the same examples, and by hand how many answers differ, of how many, and of which examples."""
    x, y, asked = _pixels() if net is _Pixels else _texts(side, labels)
    options: dict[str, Any] = {"task": "segmentation"} if net is _Pixels else {"task": "next_token", "inputs": diorama.Tokens(vocabulary=WORDS)}
    one, other = (Scene(_made(net, seed), x, y, **options) for seed in (1, 2))
    axis = 1 if net is _Pixels else -1
    mine, theirs = (scene.model(x).argmax(axis).flatten(1).tolist() for scene in (one, other))
    differ = [[told and a != b for told, a, b in zip(*rows, strict=True)] for rows in zip(asked, mine, theirs, strict=True)]
    count, total = sum(map(sum, differ)), sum(map(sum, asked))
    assert 0 < count < total
    return one, other, count, total, torch.tensor([any(row) for row in differ])


def _numbers(picture: Picture) -> dict[str, Number]:
    return {mark.label: mark for mark in picture.marks() if isinstance(mark, Number)}


@pytest.mark.parametrize(("net", "side", "labels"), _cases())
def test_answers_that_differ_are_those_that_are_asked_for(net: Any, side: str, labels: bool) -> None:
    """Compare, examples, the place on a plane, lesions and adapters' helper count the tokens or places that a slow loop counts."""
    one, other, count, total, changed = _case(net, side, labels)
    what = f"{total} places of 6 examples" if net is _Pixels else f"{total} tokens of 10 texts"
    picture = one.view("compare", other=other, places=3)
    assert f"Of {what} this network and the other network answer {count} differently" in picture.caption
    table = next(mark for mark in picture.marks() if isinstance(mark, Table))
    column = next(column for column in table.columns if column.name.endswith("answered differently"))
    assert column.numbers[1] == count
    picture = one.view("examples", other=other, only="changed")
    assert f"the answers at {count} of {what} differ" in picture.caption
    table = next(mark for mark in picture.marks() if isinstance(mark, Table))
    assert sorted(int(key.partition(":")[2]) for key in table.row_keys) == changed.nonzero().flatten().tolist()
    if labels:
        told = _numbers(one.view("loss_slice", directions="between", other=other, at="1,0", places=3))["answers that change"]
        assert (told.value, told.note) == (count, f"of {what}")


def test_a_share_of_frozen_answers_is_one_of_tokens(tmp_path: Path) -> None:
    """Of a training upon padded texts the share that the end keeps is that of its tokens, and the check says of how many."""
    x, y, asked = _texts("right", True)
    model, end = _made(_Recurrent, 1).requires_grad_(), _made(_Recurrent, 2).state_dict()
    options: dict[str, Any] = {"inputs": diorama.Tokens(vocabulary=WORDS), "task": "next_token"}
    with diorama.watch(model, tmp_path / "run", probe=(x, y), every=1, snapshots=1, **options) as recorder:
        model.load_state_dict(end)
        recorder.step(loss=torch.tensor(1.0))
    told = [_made(_Recurrent, seed)(x).argmax(-1).tolist() for seed in (1, 2)]
    same = [a == b for place, a, b in zip(*(sum(rows, []) for rows in (asked, *told)), strict=True) if place]
    run = diorama.open(tmp_path / "run")
    picture = run.scene(1).view("convergence")
    frozen = next(mark for mark in picture.marks() if isinstance(mark, Lines) and mark.title.startswith("Frozen"))
    assert frozen.series[0].y.tolist() == pytest.approx([sum(same) / len(same), 1.0])
    assert 0 < sum(same) < len(same)
    check = next(check for check in picture.checks if check.name == "frozen answers")
    assert f"({len(same)} tokens of 10 texts)" in check.sentence
    found = preview(run.scene(0), "scale_layer", {"layer": "head", "factor": -1.0})
    scaled = _made(_Recurrent, 1)
    scaled.head.weight *= -1
    flips = [a != b for place, a, b in zip(*(sum(rows, []) for rows in (asked, told[0], scaled(x).argmax(-1).tolist())), strict=True) if place]
    assert (found.turned, found.examples) == (sum(flips), len(flips))


def test_a_lesion_changes_answers_at_tokens_alone() -> None:
    """The share of answers that a silenced unit changes is one of the tokens, and without labels so is how far answers move."""
    x, _, asked = _texts("right", False)
    scene = Scene(_made(_Attending, 1), x, task="next_token", inputs=diorama.Tokens(vocabulary=WORDS))
    table = next(mark for mark in scene.view("lesions", layer="embed").marks() if isinstance(mark, Table))
    rows = dict(zip(table.row_keys, zip(*(column.numbers for column in table.columns[1:3]), strict=True), strict=True))
    whole, places = scene.model(x), torch.tensor(asked)
    for unit in range(8):
        h = scene.model.embed(x).clone()
        h[..., unit] = 0
        less = scene.model.head(3 * h + scene.model.attn(3 * h, 3 * h, 3 * h)[0])
        moved, changed = rows[f"unit:embed/{unit}"]
        assert changed == pytest.approx(float((less.argmax(-1) != whole.argmax(-1))[places].float().mean()))
        assert moved == pytest.approx(float((less - whole).abs()[places].mean()), rel=1e-4)


def test_a_layer_that_is_left_out_changes_answers_at_tokens_alone() -> None:
    """Which share of answers changes without a layer is one of the tokens."""
    x, y, asked = _texts("right", True)
    model = _Stacked()
    value = Scene(model, x, y, task="next_token", inputs=diorama.Tokens(vocabulary=WORDS)).derive("needed").value
    k = value["layers"].index("middle")
    differ = (model(x).argmax(-1) != model.head(model.embed(x)).argmax(-1))[torch.tensor(asked)]
    assert 0 < float(differ.float().mean()) < 1
    assert value["passed_changed"][k] == pytest.approx(float(differ.float().mean()))


@pytest.mark.parametrize("side", ["left", "right"])
def test_how_sure_a_text_is_answered_leaves_padding_out(side: str) -> None:
    """The probability of the answer and its lead are means over the tokens, by hand."""
    x, _, asked = _texts(side, False)
    scene = Scene(_made(_Attending, 1), x, task="next_token", inputs=diorama.Tokens(vocabulary=WORDS))
    chances, found = scene.model(x).softmax(-1).sort(-1, descending=True).values, scene.answers()
    for k, row in enumerate(asked):
        own = [chances[k, place] for place in range(8) if row[place]]
        assert float(found.confidence[k]) == pytest.approx(sum(float(one[0]) for one in own) / len(own), rel=1e-4)
        assert float(found.margin[k]) == pytest.approx(sum(float(one[0] - one[1]) for one in own) / len(own), rel=1e-4)


def test_networks_without_numbers_answer_nothing() -> None:
    """Where weights of both are NaN, neither answers; how alike they are is not told, and no answers are said to agree."""
    x, y, _ = _texts("right", True)
    model = _made(_Recurrent, 1)
    nn.init.constant_(model.head.weight, float("nan"))
    one, other = (Scene(model, x, y, task="next_token", inputs=diorama.Tokens(vocabulary=WORDS)) for _ in range(2))
    picture = one.view("compare", other=other, places=3)
    assert "Neither this network nor" in picture.caption
    assert "differently" not in picture.caption
    assert not [check for check in picture.checks if check.name.startswith("weights alike")]
    assert "how alike those of the two are cannot be told" in picture.note
