"""The lens and patching: what a network would answer after each layer, and where two inputs are told apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attentions import LETTERS, Writes
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Heatmap, Lines, Text
from diorama.core.picture import Picture
from diorama.scene import Scene


def _scene(classes: int = 0) -> Scene:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = Writes(classes).eval(), torch.randint(0, 10, (24, 12))
    x[1] = x[0]
    x[1, 3] = (x[0, 3] + 1) % 10
    y = torch.arange(24) % 3 if classes else x.roll(-1, 1)
    return Scene(model, x, y, inputs=diorama.Tokens(vocabulary=LETTERS))


@pytest.fixture(scope="module")
def learnt() -> Scene:
    """A network that has learnt to say each letter again two places later."""
    scene = _scene()
    model = scene.model
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(1)
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for _ in range(60):
            x = torch.randint(0, 10, (16, 12))
            loss = F.cross_entropy(model(x)[:, 2:].flatten(0, 1), x[:, :-2].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return scene


def _marks(picture: Picture, kind: type) -> list[object]:
    return [mark for mark in picture.marks() if isinstance(mark, kind)]


def test_the_lens_is_the_way_out_of_each_layer() -> None:
    """After each block the scores are norm and unembedding of what it answers, and the last layer equals the output."""
    scene = _scene()
    found = scene.derive("lens", example=4).value
    model, x = scene.model, scene.examples.x[4:5]
    with torch.no_grad():
        wanted = [model.head(model.norm(h))[0].numpy() for h in model.stream(x)]
        np.testing.assert_allclose(found[[0, 2, 4]], np.stack(wanted), atol=1e-5)
        np.testing.assert_allclose(found[-1], model(x)[0].numpy(), atol=1e-6)


def test_a_classifier_has_one_position() -> None:
    """Of a classifier each layer has one row of scores, read as the model reads the end: here the mean over positions."""
    scene = _scene(3)
    found = scene.derive("lens", example=2).value
    model, x = scene.model, scene.examples.x[2:3]
    with torch.no_grad():
        wanted = [model.head(model.norm(h).mean(1)).numpy() for h in model.stream(x)]
    np.testing.assert_allclose(found[[0, 2, 4]], np.stack(wanted), atol=1e-5)
    assert "The final answer" in scene.view("lens").caption


def test_the_tuned_lens_is_never_worse(learnt: Scene) -> None:
    """Held-out divergence is at most the logit lens' at every layer and 0 at the last; the maps are used as they are told."""
    found = learnt.derive("translators", steps=40).value
    assert (found["tuned"] <= found["logit"] + 1e-9).all()
    assert (found["tuned"][:-1] < found["logit"][:-1]).any()
    assert found["logit"][-1] == pytest.approx(0, abs=1e-6)
    assert found["kept"][-1]
    none = learnt.derive("translators", steps=1, learning_rate=1.0).value
    assert none["kept"].any()
    for number in np.flatnonzero(none["kept"]):
        np.testing.assert_array_equal(none["matrix"][number], np.eye(12))
        assert none["tuned"][number] == none["logit"][number]


def test_divergences_are_those_of_torch(learnt: Scene) -> None:
    """The logit lens' held-out divergence is torch's own over the texts that were held out."""
    found = learnt.derive("translators", texts=16, batch=4, steps=1).value
    model, x = learnt.model, learnt.examples.x[12:16]
    with torch.no_grad():
        final = model(x).log_softmax(-1)
        wanted = [
            F.kl_div(model.head(model.norm(h)).log_softmax(-1), final, log_target=True, reduction="none").sum(-1).mean()
            for h in model.stream(x)
        ]
    np.testing.assert_allclose(found["logit"][[0, 2, 4]], wanted, atol=1e-5)


def test_the_view_names_where_the_mind_is_made_up(learnt: Scene) -> None:
    """The caption names the first layer from which the answer stays, the cells name the likeliest, the check is small."""
    picture = learnt.view("lens", example=3, token=8)
    scores = learnt.derive("lens", example=3).value
    best = scores[:, 8].argmax(-1)
    settled = next(k for k in range(5) if (best[k:] == best[-1]).all())
    heat = _marks(picture, Heatmap)[0]
    assert f"“{LETTERS[best[-1]]}” comes first from {heat.row_labels[settled]} on" in picture.caption
    assert heat.cell_texts[-12 + 8] == LETTERS[best[-1]]
    assert picture.checks[0].value < 1e-5
    tuned = learnt.view("lens", kind="tuned", input="abcabc")
    assert [series.name for series in _marks(tuned, Lines)[1].series] == ["logit lens", "tuned lens"]
    assert _marks(tuned, Heatmap)[0].values.shape == (5, 6)


def test_patching_equals_hooks_written_by_hand() -> None:
    """Each share is that of a pass whose block's answer was overwritten at one position by a hook."""
    scene = _scene()
    found = scene.derive("patching", example=0, corrupted=1).value
    model, x = scene.model, scene.examples.x
    with torch.no_grad():
        clean, other = model(x[:1])[0, -1], model(x[1:2])[0, -1]
        a, b = int(clean.argmax()), int(other.argmax())

        def told(row: Tensor) -> float:
            return float(row[a] - row[b]) if a != b else float(row.log_softmax(-1)[a])

        held = model.stream(x[:1])[1]
        for place in (0, 3, 11):
            def put(module: nn.Module, args: tuple[Tensor], output: Tensor, place: int = place) -> Tensor:
                output = output.clone()
                output[0, place] = held[0, place]
                return output

            handle = model.blocks[0].register_forward_hook(put)
            share = (told(model(x[1:2])[0, -1]) - told(other)) / (told(clean) - told(other))
            handle.remove()
            assert found[2, place] == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize("classes", [0, 3])
def test_patching_everything_equals_the_other_run(classes: int) -> None:
    """With all positions of the stream patched, the answer is the clean input's at every layer; before the place where both
    differ nothing comes back.
    """
    scene = _scene(classes)
    np.testing.assert_allclose(scene.derive("patching", positions="all").value, 1, atol=1e-4)
    found = scene.derive("patching").value
    np.testing.assert_allclose(found[:, :3], 0, atol=1e-4)
    assert found[0, 3] == pytest.approx(1, abs=1e-4)
    added = scene.derive("patching", where="layers").value
    assert added.shape == (4, 12)


def test_the_view_of_patching_tells_the_pair() -> None:
    """The map says which two examples it compares and where most comes back; a pair that is answered alike is refused."""
    scene = _scene()
    picture = scene.view("patching", example=0, corrupted=1)
    assert picture.caption.startswith("Example 0 against example 1")
    assert picture.checks[0].value < 1e-3
    assert "example 2" in scene.view("patching", select=["example:2", "example:5"]).caption.lower()
    with pytest.raises(NotApplicable, match="answered alike"):
        scene.view("patching", example=2, corrupted=2)
    with pytest.raises(NotApplicable, match="residual stream"):
        Scene(nn.LSTM(3, 4, batch_first=True), torch.rand(4, 5, 3)).view("patching")


class _Retells(nn.Module):
    """A decoder of two blocks that reads a source by attention, and what it has said so far."""

    def __init__(self, together: bool) -> None:
        super().__init__()
        self.words, self.read, self.writes = nn.Embedding(10, 12), nn.GRU(12, 12, batch_first=True), Writes()
        self.cross, self.together = nn.MultiheadAttention(12, 2, batch_first=True), together

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        read, h = self.read(self.words(source))[0], self.writes.embed(target)
        if self.together:
            h = h + self.words(source)[:, : h.shape[1]]
        for block in self.writes.blocks:
            h = block(h)
            h = h + self.cross(h, read, read)[0]
        return self.writes.head(self.writes.norm(h))


@pytest.mark.parametrize("together", [False, True])
def test_patching_tells_of_a_text_that_its_stream_does_not_hold(together: bool) -> None:
    """The source stands beside the map with the tokens in which it differs, and is said to be left out where it does not begin the stream."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = _Retells(together).eval(), {"source": torch.randint(0, 10, (6, 7)), "target": torch.randint(0, 10, (6, 4))}
    x["source"][1], x["target"][1] = x["source"][0], x["target"][0]
    x["source"][1, 2] = (x["source"][0, 2] + 1) % 10
    kinds = {name: diorama.Tokens(vocabulary=letters) for name, letters in (("source", tuple("abcdefghij")), ("target", tuple("ABCDEFGHIJ")))}
    picture = Scene(model, x, x["target"], inputs=kinds, task="next_token").view("patching", example=0, corrupted=1)
    texts = _marks(picture, Text)
    assert [len(text.tokens) for text in texts] == [7, 7, 4, 4]
    assert [np.flatnonzero(text.values).tolist() for text in texts] == [[2], [2], [], []]
    assert texts[0].title == "source, clean (example 0), blue where the two differ"
    assert ("source (in which 1 token differs) comes into it from layers that do not lie on it" in picture.note) == (not together)
