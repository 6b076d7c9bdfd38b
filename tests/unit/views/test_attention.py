"""The view attention and what it is derived from: weights of every head, and what kind of head each is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.errors import NotApplicable, NotFound, UsageError
from diorama.core.marks import Heatmap, Image, Lines, Text, Tiles
from diorama.core.picture import Picture
from diorama.derive.derivations import heads as heads_of
from diorama.derive.derivations.attention import AttentionDerivation
from diorama.derive.heads import MEASURES, attention_layers, gathered, held_weights, looked_back, measured, weights
from diorama.model.attention import dot_product
from diorama.scene import Scene
from diorama.views.view import rooms
from diorama.views.why.attention import most_telling

LETTERS = tuple("abcdefgh. \n,")


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        return x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class _Writes(nn.Module):
    """Two blocks of causal attention over letters."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(12, 8), nn.Embedding(2048, 8)
        self.blocks, self.head = nn.ModuleList([_Block(8), _Block(8)]), nn.Linear(8, 12)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.place(torch.arange(x.shape[1]))
        for block in self.blocks:
            h = block(h)
        return self.head(h)


class _Sees(nn.Module):
    """A vision transformer of four by four patches and a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.first, self.out = nn.Conv2d(1, 8, 2, 2), nn.Parameter(torch.randn(1, 1, 8)), nn.Linear(8, 3)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        t = self.patch(x).flatten(2).transpose(1, 2)
        t = torch.cat([self.first.expand(len(t), -1, -1), t], 1)
        return self.out(self.attn(t, t, t)[0][:, 0])


class _Translates(nn.Module):
    """An encoder and a decoder, with two texts of the same length."""

    def __init__(self) -> None:
        super().__init__()
        self.here, self.there, self.out = nn.Embedding(5, 8), nn.Embedding(5, 8), nn.Linear(8, 5)
        self.body = nn.Transformer(8, 2, 1, 2, 8, 0.0, batch_first=True)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        return self.out(self.body(self.here(src), self.there(tgt)))


def _scene(model: type[nn.Module] = _Writes, length: int = 16) -> Scene:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if model is _Sees:
            return Scene(_Sees().eval(), torch.rand(4, 1, 8, 8), torch.arange(4) % 3)
        if model is _Translates:
            x = {"src": torch.randint(0, 5, (4, 6)), "tgt": torch.randint(0, 5, (4, 6))}
            kinds = {"src": diorama.Tokens(vocabulary=tuple("abcde")), "tgt": diorama.Tokens(vocabulary=tuple("ABCDE"))}
            return Scene(_Translates().eval(), x, inputs=kinds)
        x = torch.randint(0, 12, (4, length))
        return Scene(_Writes().eval(), x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=LETTERS))


def _marks(picture: Picture, kind: type) -> list[object]:
    return [mark for mark in picture.marks() if isinstance(mark, kind)]


def test_weights_are_those_of_the_formula() -> None:
    """The derived weights of a layer are the softmax of scaled products under the mask, and every row sums to one."""
    scene = _scene()
    found = scene.derive("attention", layer="blocks.1", example=2).value
    with torch.no_grad():
        model = scene.model
        x = scene.examples.x[2:3]
        h = model.blocks[0](model.embed(x) + model.place(torch.arange(16)))
        q, k, _ = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in model.blocks[1].qkv(h).chunk(3, -1))
        scores = (q @ k.mT / 2).masked_fill(~torch.ones(16, 16, dtype=torch.bool).tril(), -torch.inf)
    np.testing.assert_allclose(found, scores.softmax(-1)[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(found.sum(2), 1, atol=1e-6)


def test_stretches_sum_to_one_too() -> None:
    """Put together into stretches, rows still sum to one, and columns add what their tokens were given."""
    pattern = torch.rand(2, 50, 70, generator=torch.Generator().manual_seed(0)).softmax(-1)
    found = gathered(pattern, 8)
    assert found.shape == (2, 8, 8)
    assert torch.allclose(found.sum(2), torch.ones(2, 8))
    assert torch.allclose(found[1, 0, 0], pattern[1, :7, :9].sum(1).mean(), atol=1e-6)
    assert torch.allclose(found[1, 7, 7], pattern[1, 49:, 63:].sum(1).mean(), atol=1e-6)


def test_a_long_text_is_put_together() -> None:
    """Of a text of 1,500 tokens a picture holds no map of more than 192 a side, and says so; rows sum to one, and stretches hold what they are
    called after: those of one length, so that none is brighter for being longer."""
    scene = _scene(length=1500)
    picture = scene.view("attention", layer="blocks.1", head=0)
    heat, small = _marks(picture, Heatmap)[0], _marks(picture, Tiles)[0]
    assert heat.values.shape == (188, 188)
    assert heat.row_labels[:2] == ("0–7", "8–15")
    assert heat.row_labels[-1] == "1496–1499"
    assert small.images.shape == (2, 47, 47)
    assert not small.notes
    np.testing.assert_allclose(heat.values.sum(1), 1, atol=1e-4)
    whole = scene.derive("attention", layer="blocks.1", most=4096).value[0]
    np.testing.assert_allclose(heat.values[3, 2], whole[24:32, 16:24].sum(1).mean(), rtol=1e-4)
    assert "1500 positions are put together into 750 stretches" in picture.note
    assert "in 188 stretches" in picture.note


def test_a_token_of_a_long_text_is_called_by_its_stretch_and_seen_where_it_stands() -> None:
    """The chosen token of 1,500 lies in the stretch that the title and the caption name, and among the tokens that are shown."""
    picture = _scene(length=1500).view("attention", layer="blocks.1", select="token:1401")
    (text,) = _marks(picture, Text)
    assert text.title == "what “1400–1401” takes, tokens 802 to 1401 of 1500"
    assert "token:1401" in text.keys
    assert "“1400–1401” takes most" in picture.caption


def test_measures_are_what_they_say() -> None:
    """Entropy, distance and shares of a head are those counted cell by cell; induction is read off a planted pattern."""
    scene = _scene()
    found = scene.derive("heads", examples=2).value
    weights = [scene.derive("attention", layer="blocks.0", example=k).value.astype(float) for k in range(2)]
    for head in range(2):
        wanted = {"entropy": [], "distance": [], "previous": [], "first": [], "itself": [], "marks": []}
        for example, all_heads in enumerate(weights):
            p = all_heads[head]
            text = [LETTERS[int(token)] for token in scene.examples.x[example]]
            wanted["entropy"].append(np.mean([-sum(v * np.log(v) for v in row if v > 0) for row in p]))
            wanted["distance"].append(np.mean([sum(v * abs(i - j) for j, v in enumerate(row)) for i, row in enumerate(p)]))
            wanted["previous"].append(np.mean([p[i, i - 1] for i in range(1, 16)]))
            wanted["first"].append(np.mean([p[i, 0] for i in range(1, 16)]))
            wanted["itself"].append(np.mean([p[i, i] for i in range(16)]))
            wanted["marks"].append(np.mean([sum(v for v, token in zip(row, text, strict=True) if not token.isalnum()) for row in p]))
        for name, values in wanted.items():
            assert found["values"][MEASURES.index(name), 0, head] == pytest.approx(np.mean(values), abs=1e-5), name
    planted = torch.zeros(1, 12, 12)
    for place in range(6, 12):
        planted[0, place, place - 6 + 1] = 0.75
    assert float(looked_back(planted, 6)) == pytest.approx(0.75)


def test_a_token_is_followed() -> None:
    """The chosen token's row colours the text, and the caption names what it takes most from."""
    scene = _scene()
    picture = scene.view("attention", layer="blocks.1", head=1, token=9)
    row = scene.derive("attention", layer="blocks.1").value[1, 9]
    text = _marks(picture, Text)[0]
    np.testing.assert_allclose(text.values, row, atol=1e-6)
    assert text.keys[9] == "token:9"
    assert f"({100 * row.max():.0f} %)" in picture.caption


def test_every_head_lies_on_the_picture() -> None:
    """Of a vision transformer each head's shares for the chosen patch lie on the picture, and its patches can be chosen."""
    scene = _scene(_Sees)
    picture = scene.view("attention", token=6)
    large, *heads = _marks(picture, Image)
    weights = scene.derive("attention").value
    assert weights.shape == (2, 17, 17)
    assert large.patches == (4, 4)
    assert large.patch_keys[6] == "token:6"
    assert len(heads) == 2
    np.testing.assert_allclose(heads[1].heat[::2, ::2].reshape(-1), weights[1, 7, 1:], atol=1e-6)
    assert (large.boxes[0].x, large.boxes[0].y) == (4, 2)
    assert "0 is one patch only" in picture.caption
    assert _marks(scene.view("attention"), Image)[0].label.endswith("what the class token takes")
    largest = weights[:, 7, 1:].max(1)
    assert large.heat_limits.high == pytest.approx(min(largest.max(), 2 * np.median(largest)))


def test_an_encoder_decoder_names_both_texts() -> None:
    """Rows of a cross-attention are the text that is written, columns the one that is read, also where both are as long."""
    scene = _scene(_Translates)
    sides = {}
    for layer in attention_layers(scene):
        heat = _marks(scene.view("attention", layer=layer.name), Heatmap)[0]
        sides[layer.name.split(".", 1)[1]] = ("".join(heat.row_labels).isupper(), "".join(heat.column_labels).isupper())
    assert sides == {
        "encoder.layers.0.self_attn": (False, False), "decoder.layers.0.self_attn": (True, True),
        "decoder.layers.0.multihead_attn": (True, False), "decoder.layers.1.self_attn": (True, True),
        "decoder.layers.1.multihead_attn": (True, False),
    }


class _Asks(nn.Module):
    """One learnt query over an embedded text."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.query, self.attn, self.out = nn.Embedding(9, 8), nn.Parameter(torch.randn(1, 1, 8)), nn.MultiheadAttention(
            8, 2, batch_first=True
        ), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        held = self.embed(x)
        return self.out(self.attn(self.query.expand(len(x), 1, 8), held, held)[0][:, 0])


def test_one_that_asks_is_no_token_of_the_text() -> None:
    """Where a single query asks, a chosen token of the text changes nothing of what is said to ask."""
    torch.manual_seed(0)
    scene = Scene(_Asks().eval(), torch.randint(0, 9, (6, 7)), torch.arange(6) % 3, inputs=diorama.Tokens(vocabulary=tuple("abcdefghi")))
    captions = {scene.view("attention", select=select).caption for select in ([], ["token:0"], ["token:2"])}
    assert len(captions) == 1
    assert "It takes most" in captions.pop()
    assert _marks(scene.view("attention", select=["token:0"]), Text)[0].title == "what the one that asks takes"


class _Channels(nn.Module):
    """As in XCiT: features look at features."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = (x.mT @ x).softmax(-1)
        return (weights * 0.5 @ x.mT).mean(2)[:, :3]


def test_rows_that_are_no_tokens_or_shares_are_not_called_so() -> None:
    """Attention between features says nothing of tokens, and one whose shares are halved nothing of rows that sum to 1."""
    torch.manual_seed(0)
    scene = Scene(_Channels().eval(), torch.randn(6, 9, 5), torch.arange(6) % 3, inputs=diorama.Series())
    picture = scene.view("attention")
    assert "token" not in picture.caption.partition("The last map")[0]
    assert "need not sum to 1" in picture.caption
    assert "they may be windows of it, or features" in picture.caption
    square = Scene(_Channels().eval(), torch.randn(6, 5, 5), torch.arange(6) % 3, inputs=diorama.Series()).view("attention")
    assert "each row of a map is a feature that asks" in square.caption
    assert "is a token that asks" in _scene(length=4).view("attention").caption


def test_a_first_look_at_a_long_text_reads_it_once_and_no_further_than_the_layer() -> None:
    """All that comes before the first picture is one pass over one text and another up to the layer; a rollout takes one pass."""
    scene, read = _scene(length=260), list[int]()
    scene.model.blocks[1].register_forward_pre_hook(lambda module, args: read.append(len(args[0])) if args[0].shape[1] == 260 else None)
    made = scene.stream("attention", layer="blocks.0")
    first = next(made)
    assert not first.final
    assert read == [1]
    last = list(made)[-1]
    assert last.provenance.guessed
    assert not first.provenance.guessed
    assert [one.values.tolist() for one in _marks(first, Heatmap)[:1]] == [one.values.tolist() for one in _marks(last, Heatmap)[:1]]
    read.clear()
    scene.view("attention", layer="blocks.1", show="rollout")
    assert read == [1]


def test_layers_and_how_answers_are_read_are_told_by_one_pass_over_a_long_text() -> None:
    """Of a long text the whole is read once to find the layers and how answers are read; what is found is what separate passes find."""
    scene, apart, read = _scene(length=1100), _scene(length=1100), list[int]()
    scene.model.register_forward_hook(lambda module, args, output: read.append(len(args[0])) if args[0].shape[1] == 1100 else None)
    assert apart.network.reading.task == "next_token"
    assert [layer.name for layer in scene.layers] == [layer.name for layer in apart.layers]
    assert scene.network.reading == apart.network.reading
    assert read == [2]


def test_a_text_that_is_alone_is_read_once_for_all_that_is_guessed_of_its_network() -> None:
    """Where the probe set is one long text, or one example, layers and how answers are read take one pass, whichever is asked first."""
    for length in (300, 12):
        scene, other, read = _scene(length=length), _scene(length=length), list[int]()
        alone, again = (Scene(one.model, one.live.x[:1], one.live.y[:1], inputs=one.kind) for one in (scene, other))
        alone.model.register_forward_hook(lambda module, args, output, read=read, length=length: read.append(args[0].shape[1] == length))
        assert alone.guessed == again.guessed
        assert sum(read) == 1
        assert [layer.name for layer in again.layers] == [layer.name for layer in alone.layers]
        assert alone.network.reading == again.network.reading


def test_a_long_text_that_looks_back_is_opened_and_measured_as_its_formula_says() -> None:
    """Some rows at a time the weights are those of the whole softmax, and each measure is the one counted cell by cell; also with fewer keys
    than queries have heads, and where a gradient is wanted."""
    seed = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 300, 8, generator=seed) for heads in (4, 2, 2))
    kept: list[Tensor] = []
    out = dot_product(q, k, v, is_causal=True, enable_gqa=True, seen=kept.append)
    torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True))
    scores = (q @ k.repeat_interleave(2, 1).mT / 8**0.5).masked_fill(~torch.ones(300, 300, dtype=torch.bool).tril(), -torch.inf)
    torch.testing.assert_close(kept[0], scores.softmax(-1))
    torch.testing.assert_close(dot_product(q.requires_grad_(), k, v, is_causal=True, enable_gqa=True).detach(), out)
    rows, marks = kept[0][0].detach(), torch.arange(300) % 3 == 0
    both = torch.cat([rows, torch.rand(1, 300, 300, generator=seed).softmax(-1)])
    found, exact = measured(both, marks), both.double().numpy()
    away = np.abs(np.arange(300)[:, None] - np.arange(300))
    wanted = {
        "entropy": -(exact * np.log(np.maximum(exact, 1e-30))).sum(2).mean(1), "distance": (exact * away).sum(2).mean(1),
        "marks": exact[:, :, marks.numpy()].sum(2).mean(1), "itself": np.trace(exact, axis1=1, axis2=2) / 300,
    }
    for name, values in wanted.items():
        np.testing.assert_allclose(found[:, MEASURES.index(name)], values, rtol=1e-5, err_msg=name)


def test_rollout_follows_all_layers() -> None:
    """Rollout up to the second layer is the product of both layers' mean weights, each with half of itself going round."""
    scene = _scene()
    found = _marks(scene.view("attention", layer="blocks.1", show="rollout"), Heatmap)[0].values
    steps = [(scene.derive("attention", layer=f"blocks.{k}").value.mean(0) + np.eye(16)) / 2 for k in range(2)]
    np.testing.assert_allclose(found, steps[1] @ steps[0], atol=1e-5)


def test_heads_are_chosen_in_the_map() -> None:
    """A cell of the map of all heads names its head, and choosing it shows it, whatever layer it is of."""
    scene = _scene()
    picture = scene.view("attention", measure="previous")
    kinds = _marks(picture, Heatmap)[-1]
    assert kinds.cell_keys[3] == "head:blocks.1/1"
    chosen = scene.view("attention", select=["head:blocks.1/1"])
    assert chosen.title == "Where the heads of blocks.1 look"
    np.testing.assert_allclose(_marks(chosen, Heatmap)[0].values, scene.derive("attention", layer="blocks.1").value[1], atol=1e-6)


def test_what_is_not_there_is_named() -> None:
    """A layer or head that does not exist is refused by name; a network without attention says so; a typed text is looked at."""
    scene = _scene()
    with pytest.raises(NotFound, match="no attention named 'block' among 2; nearest"):
        scene.view("attention", layer="block")
    with pytest.raises(UsageError, match="heads 0 to 1, got 7"):
        scene.view("attention", head=7)
    with pytest.raises(diorama.NotApplicable, match="runs no attention"):
        Scene(nn.Linear(2, 2), torch.rand(3, 2)).view("attention")
    typed = scene.view("attention", input="abc.d")
    assert _marks(typed, Text)[0].tokens == tuple("abc.d")
    assert AttentionDerivation().most == 1024


def test_padding_asks_for_nothing() -> None:
    """The rows of padding are left out of the maps, of means and of entropies, which are then those of the tokens; a note says so."""
    tokens = diorama.Tokens(vocabulary=(*LETTERS[:11], "<pad>"))
    x = torch.tensor([[1, 2, 3, 4, 11, 11, 11], [1, 2, 3, 4, 5, 6, 7]])
    scene = Scene(_Writes().eval(), x, inputs=tokens)
    picture = scene.view("attention", layer="blocks.0", head=0)
    tiles, large, text = (_marks(picture, kind)[0] for kind in (Tiles, Heatmap, Text))
    full = np.asarray(scene.derive("attention", layer=attention_layers(scene)[0].name, example=0, most=1024).value)
    assert np.isnan(tiles.images[:, 4:]).all()
    assert np.isnan(large.values[4:]).all()
    np.testing.assert_allclose(large.values[:4], full[0, :4], atol=1e-6)
    entropy = -(full[0, :4] * np.log(np.maximum(full[0, :4], 1e-30))).sum(1).mean()
    assert tiles.notes[0] == f"{entropy:.2f} nats"
    assert "3 padding tokens are left out" in picture.note
    np.testing.assert_allclose(text.values, full[0, :4].mean(0), atol=1e-6)


def test_heads_over_a_training(tmp_path: Path) -> None:
    """A line a head: at every snapshot what is measured there, and what rose most is told."""
    torch.manual_seed(0)
    model, x = _Writes(), torch.randint(0, 12, (8, 12))
    optimizer = torch.optim.SGD(model.parameters(), 2.0)
    with diorama.watch(model, tmp_path / "run", probe=(x, x.roll(-1, 1)), optimizer=optimizer, every=1, snapshots=1,
                       inputs=diorama.Tokens(vocabulary=LETTERS)) as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            wrong = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), x.roll(-1, 1).flatten())
            wrong.backward()
            optimizer.step()
            recorder.step(loss=wrong.detach())
    run = diorama.open(tmp_path / "run")
    drawn = run.scene().view("attention", show="training", measure="previous")
    lines = next(mark for mark in drawn.marks() if isinstance(mark, Lines))
    assert {series.name for series in lines.series} == {f"blocks.{layer}/{head}" for layer in (0, 1) for head in (0, 1)}
    for step in run.snapshots:
        there = run.scene(step=step).derive("heads").value["values"][MEASURES.index("previous")]
        for series in lines.series:
            layer, head = int(series.name[7]), int(series.name[9])
            assert series.y[series.x.tolist().index(step)] == pytest.approx(there[layer, head], abs=1e-6)
    most = max(lines.series, key=lambda series: series.y[-1] - series.y[0])
    rises = most.y[-1] > most.y[0] and f"{most.y[0]:.2f}" != f"{most.y[-1]:.2f}"
    assert (f"Most rises {most.name}" if rises else "No head has more") in drawn.caption
    # One click in the room of the training: the lines are of induction, which no knob needs to be turned for.
    (place,) = (place for room in rooms() if room.name == "training" for place in room.training if place.view == "attention")
    (lines,) = _marks(run.scene().view("attention", **place.knobs), Lines)
    assert lines.title.startswith("induction of every head")
    now = run.scene().derive("heads").value["values"][MEASURES.index("induction")]
    assert {series.name: series.y[-1] for series in lines.series} == pytest.approx({f"blocks.{k}/{h}": now[k, h] for k in (0, 1) for h in (0, 1)})
    with pytest.raises(NotApplicable, match="only one moment"):
        Scene(model, x, inputs=diorama.Tokens(vocabulary=LETTERS)).view("attention", show="training")


def _looks_at(block: nn.Module, ahead: int) -> None:
    """Make both heads of a block look, sharply, at the place so many before the one that asks, wherever that is."""
    size = 4
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        for head in range(2):
            block.qkv.weight[head * size : head * size + 2, :2] = 600.0 * torch.eye(2)
            turn = torch.tensor(0.3 * ahead)
            block.qkv.weight[8 + head * size : 8 + head * size + 2, :2] = torch.tensor([[turn.cos(), -turn.sin()], [turn.sin(), turn.cos()]])


@pytest.mark.parametrize("sharp", [0, 1])
def test_it_opens_on_the_layer_that_tells_most(sharp: int) -> None:
    """Of a layer that looks at itself or everywhere and one that looks at the token before, the latter is shown, and why; a chosen one stays."""
    scene = _scene()
    model = scene.model
    with torch.no_grad():
        model.embed.weight.zero_()
        model.place.weight.zero_()
        angles = 0.3 * torch.arange(2048.0)
        model.place.weight[:, 0], model.place.weight[:, 1] = angles.cos(), angles.sin()
    _looks_at(model.blocks[sharp], 1)
    _looks_at(model.blocks[1 - sharp], 0)
    scene = Scene(model, scene.live.x[:, :16], scene.live.x[:, :16].roll(-1, 1), inputs=scene.kind)
    for picture in scene.stream("attention"):
        assert picture.title == f"Where the heads of blocks.{sharp} look"
        assert picture.note.startswith("No layer is chosen: this one has the head that looks most sharply")
    kept = scene.view("attention", layer=f"blocks.{1 - sharp}")
    assert kept.title == f"Where the heads of blocks.{1 - sharp} look"
    assert "No layer is chosen" not in kept.note


def test_induction_is_measured_where_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random tokens are read for the measure of induction alone, and what is known of it is used for the others."""
    asked = list[int]()
    own = heads_of._induction  # type: ignore[attr-defined]
    monkeypatch.setattr(heads_of, "_induction", lambda *given: asked.append(1) or own(*given))
    scene = _scene()
    heads = [_marks(scene.view("attention"), Heatmap)[-1].values]
    assert not asked
    shown = _marks(scene.view("attention", measure="induction"), Heatmap)[-1].values
    assert asked == [1]
    assert np.isfinite(shown).all()
    heads.append(_marks(scene.view("attention"), Heatmap)[-1].values)
    assert asked == [1]
    np.testing.assert_allclose(*heads, atol=1e-6)


def test_the_most_telling_layer_is_caught_while_heads_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of long texts the layer that the view opens on is seen in the pass that measures all heads: no pass more, and the weights are its own."""
    monkeypatch.setattr("diorama.derive.heads.CELLS", 1)
    plain, scene = _scene(), _scene()
    calls = []
    scene.model.register_forward_hook(lambda *_: calls.append(1))
    attention_layers(scene)
    scene.layers  # noqa: B018 - found before
    calls.clear()
    picture = scene.view("attention", select=("example:0",))
    assert len(calls) == 1
    (opened,) = {layer.name for layer in attention_layers(scene) if layer.name in picture.title}
    layer = next(layer for layer in attention_layers(plain) if layer.name == opened)
    found = scene.derive("attention", layer=opened, example=0).value
    np.testing.assert_allclose(found, weights(plain, plain.current(example=0).x, layer, 1024), atol=1e-6)
    assert held_weights(scene, opened, 1, 1024) is None


def test_who_goes_back_in_time_keeps_the_layer_that_was_opened(tmp_path: Path) -> None:
    """The layer that is opened by itself is that of the newest step at all steps, though another one told most before; and it is said."""
    model, x = _Writes(), torch.randint(0, 12, (4, 16), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    with torch.no_grad():
        for table in (model.embed, model.place):
            table.weight.zero_()
        angles = 0.3 * torch.arange(2048.0)
        model.place.weight[:, 0], model.place.weight[:, 1] = angles.cos(), angles.sin()
    with diorama.watch(model, tmp_path / "run", probe=(x, x.roll(-1, 1)), optimizer=optimizer, every=1, snapshots=1,
                       inputs=diorama.Tokens(vocabulary=LETTERS)) as recorder:
        for sharp in (0, 0, 1):
            _looks_at(model.blocks[sharp], 1)
            _looks_at(model.blocks[1 - sharp], 0)
            recorder.step(loss=torch.tensor(1.0))
    run = diorama.open(tmp_path / "run")
    early = run.scene(step=run.snapshots[1])
    found = early.derive("heads", induction=False).value
    assert most_telling(found, attention_layers(early)) == 0
    for step in run.snapshots[1:]:
        picture = run.scene(step=step).view("attention")
        assert picture.title == "Where the heads of blocks.1 look"
        assert ("at the newest step" in picture.note) == (step != run.snapshots[-1])
