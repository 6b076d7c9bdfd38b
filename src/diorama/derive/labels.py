"""What a language model is to answer at every place, how that is aligned with what it reads, and what is wrong with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data import nesting
from ..data.kinds import Tokens
from ..data.padding import ENDS
from ..model.capture import Capture
from ..model.outputs import IGNORED
from ..model.own_labels import own_loss, shifts
from ..model.plain_module import fed
from ..scene.layer_text import answered_text, misplaced, offset, tags, text_at

if TYPE_CHECKING:
    from ..scene import Scene

PADS = frozenset(("<pad>", "[PAD]", "<PAD>", "<|pad|>", "<|finetune_right_pad_id|>", "<|endofpad|>"))
_BRACKETS = (("<", ">"), ("[", "]"))


@dataclasses.dataclass(frozen=True)
class Labels:
    """Some examples of a language model: what it reads, what each place has to answer, and what that costs.

    *Shapes* ``tokens`` and ``targets`` (n, t), ``losses`` (n, t) in nats; a target of −100 says nothing.
    """

    kind: Tokens
    tokens: Tensor
    targets: Tensor
    losses: Tensor
    offset: int | None
    """The token that a place answers is so many places further on: 1 is right; None where it is no token of the text."""
    own: float | None = None
    """The loss that the model computes itself; None where it computes none."""

    def answered(self, row: int) -> dict[int, tuple[int, float]]:
        """By position of an example's token: the label that it is in the loss, and what that costs."""
        shift = self.offset or 0
        found = {}
        for place in (self.targets[row] != IGNORED).nonzero().reshape(-1).tolist():
            found[place + shift] = (int(self.targets[row, place]), float(self.losses[row, place]))
        return found

    def special(self, token: int) -> str:
        """What a token is that is no text: its role, else its own name; empty for text."""
        return role(self.kind, token)


def role(kind: Tokens, token: int) -> str:
    """"end", "padding", or the name of another token in brackets, such as [SEP]; empty for text."""
    if kind.vocabulary is None and kind.decode_with is None:
        return ""
    text = kind.token(token)
    if text in ENDS:
        return "end"
    if text in PADS:
        return "padding"
    bare = text.strip()
    bracketed = len(bare) > 2 and any(bare.startswith(first) and bare.endswith(last) for first, last in _BRACKETS)
    return bare if bracketed and " " not in bare else ""


def without_labels(scene: Scene) -> str | None:
    """Why it cannot be told what a scene's model learns from; None where it can."""
    if scene.missing is not None:
        return scene.missing
    if scene.task != "next_token":
        return "it shows what a language model learns from token by token, and this one answers otherwise"
    if answered_text(scene) is None:
        return "it shows tokens, and the inputs are none"
    if tags(scene):
        return f"it shows which tokens a language model learns to tell, and this one answers each token with one of {scene.network.width} classes"
    if scene.live.y is None:
        return "it shows the labels, and the examples have none; pass y (or probe=(x, y))"
    name, _ = answered_text(scene) or ("", None)
    part: Any = nesting.named(scene.live.x)[name]
    if not isinstance(part, Tensor) or part.ndim != 2 or scene.live.y.ndim != 2:
        return "it wants a row of labels for each row of tokens"
    if (other := text_at(scene)) not in ("", name):
        return f"it shows which tokens of {name} are learnt, and this one answers at those of {other}: it translates"
    if scene.live.y.shape[1] < part.shape[1] and (reason := misplaced(scene, "")):
        return f"it shows what is learnt at each token that is read, and this network {reason}"
    return None


def labels(scene: Scene, chosen: Sequence[int]) -> Labels:
    """What some live examples are learnt from.

    *Cost* one forward pass an example.
    """
    name, kind = answered_text(scene) or ("", Tokens())
    x = scene.live.batch(list(chosen), scene.device)
    y = scene.live.y
    assert y is not None
    given = y[torch.as_tensor(list(chosen), device=y.device)].long().cpu()
    with Capture(scene.model, edits=scene.edits, cancel=scene.cancel) as capture:
        output = capture(fed(scene.model, x))
    scores = scene.reading.scores(output).detach().float().cpu()
    tokens: Any = nesting.named(x)[name]
    own = own_loss(output) if "labels" in nesting.named(x) else None
    targets = _targets(scene, given)
    count = min(scores.shape[1], targets.shape[1])
    targets, chances = targets[:, :count], _logs(scene, scores[:, :count])
    losses = -chances.gather(-1, targets.clamp(0, chances.shape[-1] - 1)[..., None])[..., 0]
    return Labels(kind, tokens.cpu(), targets, torch.where(targets != IGNORED, losses, 0.0), _offset(scene, name), own)


def _logs(scene: Scene, scores: Tensor) -> Tensor:
    found: Tensor = scene.reading.probabilities(scores).clamp_min(1e-30).log() if scene.reading.form == "probabilities" else scores.log_softmax(-1)
    return found


def _targets(scene: Scene, y: Tensor) -> Tensor:
    """What each place has to answer, as the loss has it: −100 where nothing."""
    plain = torch.where(_known(y, scene.reading.ignored), y, IGNORED)
    return torch.cat([plain[:, 1:], torch.full_like(plain[:, :1], IGNORED)], 1) if _shifted(scene) else plain


def _known(y: Tensor, ignored: Sequence[int]) -> Tensor:
    found = torch.ones_like(y, dtype=torch.bool)
    for label in ignored:
        found &= y != label
    return found


def _offset(scene: Scene, name: str) -> int | None:
    """How many places further on the token stands that a place answers, over the first examples."""
    few = scene.live.first(32)
    tokens: Any = nesting.named(few.x)[name]
    assert few.y is not None
    return offset(tokens.cpu(), _targets(scene, few.y.long().cpu()))


def _shifted(scene: Scene) -> bool:
    """Whether the loss that the model computes, or the way in which its answers are read, moves labels by one."""

    def asked() -> bool:
        reading = scene.reading
        x = scene.live.batch(list(range(min(4, len(scene.live)))), scene.device)
        if "labels" not in nesting.named(x):
            return reading.ahead
        with Capture(scene.model, cancel=scene.cancel) as capture:
            output = capture(fed(scene.model, x))
        own, y = own_loss(output), scene.live.y
        if own is None or y is None:
            return reading.ahead
        given = y[: min(4, len(y))].long().cpu()
        plain = torch.where(_known(given, reading.ignored), given, IGNORED)
        told = shifts(reading.scores(output), plain, own)
        return reading.ahead if told is None else told

    return bool(scene.once("labels/shifted", asked))


def complaints(scene: Scene) -> list[str]:
    """What is wrong with what a model learns from, over all live examples, each in a sentence.

    *Cost* one forward pass of four examples, once.
    """
    name, kind = answered_text(scene) or ("", Tokens())
    tokens: Any = nesting.named(scene.live.x)[name]
    y = scene.live.y
    assert y is not None
    return faults(kind, tokens.cpu(), _targets(scene, y.long().cpu()), _offset(scene, name))


def faults(kind: Tokens, tokens: Tensor, targets: Tensor, moved: int | None, *, read: bool = False) -> list[str]:
    """What is wrong with texts and what their places have to answer; ``read``: these are texts of one batch, as its loss had them."""
    learnt = targets != IGNORED
    count, empty = len(targets), (~learnt.any(1)).nonzero().reshape(-1).tolist()
    if len(empty) == count:
        return ["No label is left: every token of all texts is masked, so nothing is learnt."]
    found = []
    if empty:
        few = ", ".join(map(str, empty[:6])) + ("…" if len(empty) > 6 else "")
        what = f"{'text' if read else 'example'}{'s' if len(empty) > 1 else ''}"
        found.append(f"No label is left in {len(empty)} of {count} texts ({what} {few}): all of it is masked.")
    if moved == 2:
        found.append(
            "Labels are shifted twice: each place is held against the token two further on. Give labels that are the tokens themselves "
            "where the model shifts them, or shift them once."
        )
    if moved == 0:
        found.append(
            "Labels are not shifted: each place is held against the very token that it reads, which it need only copy"
            f"{'' if read else ', unless the training shifts them by itself'}."
        )
    seen = {int(token): role(kind, int(token)) for token in torch.unique(torch.cat([tokens.reshape(-1), targets[learnt]]))}
    trained = set(torch.unique(targets[learnt]).tolist())
    if moved is not None:
        found += [word for word in _ends(kind, seen, trained) if not read or "always masked" in word]
    padding = [token for token in trained if seen.get(token) == "padding"]
    if padding:
        share = int(sum((targets == token).sum() for token in padding))
        found.append(f"Padding is learnt: {share} of {int(learnt.sum())} labels are padding; mask it with −100.")
    return found


def _ends(kind: Tokens, seen: Mapping[int, str], trained: set[int]) -> list[str]:
    """Whether the token that ends a text is ever learnt."""
    ends = [token for token, role_ in seen.items() if role_ == "end"]
    if any(token in trained for token in ends):
        return []
    if ends:
        return [
            f"The end token {kind.token(ends[0])} is never trained: it stands in the texts, but always masked, so the model will not learn "
            "to stop."
        ]
    known = [token for token in kind.vocabulary or () if token in ENDS]
    if known:
        return [f"The end token {known[0]} is never trained: none of the texts holds it, so the model will not learn to stop."]
    return []
