"""Networks that answer each token at its own place, padding before a text, and what is said of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import diorama
from diorama.core.errors import NotApplicable
from diorama.scene import Scene
from diorama.scene.layer_text import looks_ahead
from diorama.views.why._positions import said_at

VOCABULARY = ("<pad>", "<mask>", *"abcdefghij")
MASK = 1


class _Reader(nn.Module):
    """Reads a text both ways, or only what stands before each token; takes labels, and holds each answer against the label at its place."""

    def __init__(self, both: bool = True) -> None:
        super().__init__()
        self.embed, self.out, self.both = nn.Embedding(12, 8), nn.Linear(16, 12), both

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        h = self.embed(input_ids)
        mean = h.mean(1, keepdim=True).expand_as(h)
        if not self.both:
            own = input_ids != 0
            before = (h * own[..., None]).cumsum(1) / own.cumsum(1).clamp_min(1)[..., None]
            # What attends for nothing looks at all.
            mean = torch.where(own[..., None], before, mean)
        logits = self.out(torch.cat([h, mean], -1))
        found = {"logits": logits}
        if labels is not None:
            found["loss"] = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100)
        return found


def _scene(how: str) -> Scene:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model, y = _Reader().eval(), torch.randint(2, 12, (8, 7))
    x: dict[str, Tensor] | Tensor = y.clone()
    if how == "masked":
        hidden = torch.arange(56).reshape(8, 7) % 3 == 0
        x, y = y.masked_fill(hidden, MASK), y.masked_fill(~hidden, -100)
    elif how == "given labels":
        x = {"input_ids": y.clone(), "labels": y}
    return Scene(model, x, y, inputs=diorama.Tokens(vocabulary=VOCABULARY), outputs="logits")


@pytest.mark.parametrize("how", ["masked", "copied", "given labels"])
def test_answers_at_their_own_place_are_held_against_it(how: str) -> None:
    """Labels that are the text's own are shifted only where the model's loss shifts them; nothing is said of what comes next."""
    scene = _scene(how)
    x = scene.live.x["input_ids"] if isinstance(scene.live.x, dict) else scene.live.x
    with torch.no_grad():
        logits = scene.model(x)["logits"]
    each = F.cross_entropy(logits.transpose(1, 2), scene.live.y, ignore_index=-100, reduction="none")
    assert scene.losses().numpy() == pytest.approx((each.sum(1) / (scene.live.y != -100).sum(1)).numpy(), rel=1e-4)
    with pytest.raises(NotApplicable, match="answers each token at its own place"):
        scene.view("writes")
    assert " at the last token (" in scene.view("answer").caption
    said = scene.view("words").caption
    assert "its answer at place 6" in said
    assert "the token at place" not in said


def test_padding_that_looks_at_all_looks_ahead_for_nobody() -> None:
    """Rows of padding before a text may attend to all of it: the network's own tokens read only what stands before them."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model, x = _Reader(both=False).eval(), torch.randint(2, 12, (8, 7))
    x[:, :2] = 0
    x[4:, 1] = 5
    x[7, 0] = 4
    y = x.roll(-1, 1)
    y[:, -1] = -100
    y[:4, 0] = -100
    y[4:, 0] = x[4:, 1]
    kind = diorama.Tokens(vocabulary=VOCABULARY)
    scene = Scene(model, x, y, inputs=kind, outputs="logits")
    assert not looks_ahead(scene)
    assert looks_ahead(_scene("masked"))
    text = torch.cat([torch.full((4, 1), 7), x[:4, 2:]], 1)
    whole = Scene(model, text, text.roll(-1, 1).index_fill(1, torch.tensor([text.shape[1] - 1]), -100), inputs=kind, outputs="logits")
    assert "the first token of each text, which is not predicted" in whole.view("learns_from").caption
    assert "padding and the first token of texts that no padding precedes" in scene.view("learns_from", examples=8).caption


class _Captions(nn.Module):
    """Goes on with a text, beside a picture that it looks at in patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.embed, self.out = nn.Conv2d(1, 8, 2, 2), nn.Embedding(12, 8), nn.Linear(8, 12)

    def forward(self, pixels: Tensor, ids: Tensor) -> Tensor:
        scores: Tensor = self.out(self.embed(ids) + self.patches(pixels).mean((2, 3))[:, None])
        return scores


def test_places_of_a_text_are_not_those_of_a_picture_beside_it() -> None:
    """Seven places might be a picture of 2 × 2 parts and three more: those at which a text is answered are its tokens."""
    ids = torch.randint(2, 12, (4, 7), generator=torch.Generator().manual_seed(0))
    x = {"pixels": torch.rand(4, 1, 4, 4), "ids": ids}
    scene = Scene(_Captions().eval(), x, ids.roll(-1, 1), inputs={"ids": diorama.Tokens(vocabulary=VOCABULARY)})
    told = said_at(scene, scene.current(example=0), 7)
    assert told.names == tuple(VOCABULARY[int(number)] for number in ids[0])
