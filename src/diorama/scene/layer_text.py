"""Which of several texts a layer of a scene, or its answer, reads token by token, and whether it does."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.kinds import Tokens
from ..data.nesting import Nested, each, named
from ..data.text_places import IGNORED, beside, text_input
from .scene import Scene
from .states import hidden, readable, told

TRIED, COMPARED = 6, 32
"""So many examples tell where a layer's places are, and the labels of so many of which token a place answers."""


def text_at(scene: Scene, layer: str = "") -> str:
    """The name of the input at whose tokens a layer answers, by itself the network; of a single input, and without a text, "".

    *Meaning* a decoder reads what it has said so far, and the source beside it: the text at whose tokens it answers is the one whose last
    token changes no place before it. *Cost* a pass of one example, and one more for each text; then it is known. Nothing where there is one.
    """
    texts = _texts(scene)
    if len(texts) < 2:
        return texts[0] if texts else ""
    found: str = scene.once(f"text at/{layer}", lambda: _found(scene, layer, texts))
    return found


def answered_text(scene: Scene) -> tuple[str, Tokens] | None:
    """The name and kind of the text at whose tokens a network answers: the one that is read, of several that which it goes on with."""
    if (found := text_input(scene.kind)) is not None:
        return found
    name = text_at(scene)
    kind = scene.kinds.get(name)
    return (name, kind) if isinstance(kind, Tokens) and named(scene.live.x)[name].ndim == 2 else None


def tags(scene: Scene) -> bool:
    """Whether the answers at the tokens of a text are classes with names of their own, as parts of speech are, and not tokens that come next.

    *Meaning* there are fewer names than tokens, and not all of them are tokens: a network that writes answers with what it reads. Without names,
    fewer answers than tokens, of which the labels are neither those that are read nor those that come next.
    """
    if scene.task != "next_token" or len(_texts(scene)) != 1:
        return False
    name = _texts(scene)[0]
    kind = scene.kinds[name]
    assert isinstance(kind, Tokens)
    known = set(kind.vocabulary or ())
    part = named(scene.live.x)[name]
    if not isinstance(part, Tensor) or (scene.live.y is not None and scene.live.y.shape != part.shape):
        return False
    size = kind.size or (int(torch.as_tensor(part).max()) + 1 if part.numel() else 0)
    if scene.classes:
        return len(scene.classes) < size and not set(scene.classes) <= known
    return scene.live.y is not None and scene.network.width < size and not answers_on(scene)


def offset(tokens: Tensor, targets: Tensor) -> int | None:
    """How many places further on the token stands that a place answers; None where it is no token of the text."""
    return next((by for by in (1, 2, 0) if _same(tokens, targets, by) > 0.95), None)


def _same(tokens: Tensor, targets: Tensor, by: int) -> float:
    """The share of the targets that are the token so many places further on; 0 where there is none."""
    width = min(tokens.shape[1], targets.shape[1])
    here = targets[:, : width - by]
    same = (here == tokens[:, by:width])[here != IGNORED]
    return float(same.float().mean()) if len(same) else 0.0


def answers_on(scene: Scene) -> int:
    """How many tokens further on that lies which a place answers: 1 where it is what comes next, 0 where it is what stands, or was masked, there.

    *Error* without labels to tell it, 1. *Cost* none but to compare the labels of some texts with what they read, once.
    """

    def asked() -> int:
        y, tokens = scene.live.y, named(scene.live.x).get(text_at(scene))
        if scene.task != "next_token" or not isinstance(tokens, Tensor) or y is None or y.shape != tokens.shape:
            return 1
        targets, read = scene.reading.truth(y[:COMPARED]).cpu(), tokens[:COMPARED].cpu()
        if not bool((targets != IGNORED).any()):
            return 1
        by = offset(read, targets)
        # Where tokens of what is read were dropped or drawn anew, most of what is to come still stands there.
        return by if by is not None else int(_same(read, targets, 1) > 0.5)

    known: int = scene.once("answers on", asked)
    return known


def in_place(scene: Scene) -> bool:
    """Whether the answer at a token is of that token itself, a class of its own or what was masked there, and not what comes next."""
    return tags(scene) or not answers_on(scene)


def looks_ahead(scene: Scene) -> bool:
    """Whether the answers at a text's tokens depend on tokens behind them, as those of a network do that reads both ways.

    *Meaning* another word at the last place changes an answer before it, at a token that is no padding: what attends for nothing may see all.
    *Cost* two passes of one example, once.
    """

    def asked() -> bool:
        one = scene.live.batch([0], scene.device)
        own = named(one).get(text_at(scene))
        before = _told(scene, "", one)
        if own is None or own.ndim != 2 or before.shape[-1] != own.shape[1]:
            return False
        other = _other(scene, one, text_at(scene))
        place = int((named(other)[text_at(scene)] != own)[0].int().argmax())
        after = _told(scene, "", other)
        kind = scene.kinds[text_at(scene)]
        said = [k for k in range(place) if not (isinstance(kind, Tokens) and kind.pads(int(own[0, k])))]
        return after.shape == before.shape and not torch.allclose(after[..., said], before[..., said], rtol=1e-3, atol=1e-5, equal_nan=True)

    found: bool = scene.keep("looks ahead", asked)
    return found


def answered_where(scene: Scene) -> str:
    """Where the answer of a network that answers with tokens stands, as its last place is told: behind the text, at its last token (of one
    that tags tokens, or tells what was masked), or at the last place of an answer of its own (of one that translates)."""
    if in_place(scene):
        return "at the last token"
    y, parts = scene.live.y, named(scene.live.x)
    read = {parts[name].shape[1] for name in _texts(scene) if name in parts and parts[name].ndim == 2}
    return "at the last place" if read and y is not None and y.ndim == 2 and y.shape[1] not in read else "next"


def misplaced(scene: Scene, layer: str) -> str:
    """Why it is not known which token each place of a layer, by itself of the answer, tells of, to stand behind its name; empty where it is.

    *Meaning* as many places as tokens are the tokens. Fewer are the first tokens where the text cut behind them is answered alike, as where
    padding is left out, or where another word changes no place before its own. Behind a convolution that moves on by two tokens, or of
    places put together, they are not: place 5 then tells of tokens 10 and 11. *Cost* none where the layer's shape tells it, else some passes
    of six examples.
    """
    found: str = scene.keep(f"misplaced/{layer}", lambda: _misplaced(scene, layer))
    return found


def mirrored(scene: Scene, layer: str) -> bool:
    """Whether a recurrent layer is given a text from its end, by a loop that runs backward or a text that is turned over before it.

    *Meaning* another first word changes the layer's answers from the last places on, and another last word from the first ones on. The backward
    cells of torch's own layers are not meant: what they say stands at the tokens' places. *Cost* three passes of an example, once a layer.
    """
    if not any(one.name == layer for one in scene.layers.stepwise):
        return False
    found: bool = scene.keep(f"mirrored/{layer}", lambda: _mirrored(scene, layer))
    return found


def _mirrored(scene: Scene, layer: str) -> bool:
    name, one = text_at(scene, layer), scene.live.batch([0], scene.device)
    own, kind = named(one).get(name), scene.kinds.get(name)
    if not isinstance(kind, Tokens) or own is None or own.ndim != 2:
        return False
    before, words = _told(scene, layer, one), [k for k, word in enumerate(own[0].tolist()) if not kind.pads(int(word))]
    if before.shape[-1] != own.shape[1] or len(words) < 2:
        return False
    for place in (words[0], words[-1]):
        after, other = _told(scene, layer, _other(scene, one, name, place)), own.shape[1] - 1 - place
        if after.shape != before.shape or other == place:
            return False
        changed = ((after != before) & ~(after.isnan() & before.isnan())).reshape(-1, own.shape[1]).any(0)
        if not bool(changed.any()) or int(changed.int().argmax()) != other:
            return False
    return True


def legible(scene: Scene) -> str:
    """The layer whose states say most of a text, among those whose places are its tokens; where there is none, of all."""
    best = readable(scene)
    if not best or not misplaced(scene, best):
        return best
    return next((name for name in reversed(told(scene)) if not misplaced(scene, name)), best)


def _misplaced(scene: Scene, layer: str) -> str:
    name, known = text_at(scene, layer), scene.layers[layer] if layer else None
    own = named(scene.live.x).get(name)
    if not isinstance(scene.kinds.get(name), Tokens) or own is None or own.ndim != 2:
        return ""
    tokens = own.shape[1]
    if known is not None and mirrored(scene, layer):
        return "reads the text from its end, so its places are the tokens in the other order"
    if known is not None and not known.loop and len(known.shape) == 2 and known.shape[2 - known.unit_axis] == tokens:
        return ""
    # A short text may be answered at as many places as it has tokens by chance: several are looked at.
    for example in dict.fromkeys(k * len(own) // TRIED for k in range(TRIED)):
        one = scene.live.batch([example], scene.device)
        before = _told(scene, layer, one)
        places = before.shape[-1]
        if places == tokens:
            return ""
        if not (places < tokens and (_ended(scene, layer, one, name, before) or _in_turn(scene, layer, one, name, before))):
            return f"answers at {places} places, and the text has {tokens} tokens: which of them a place tells of is not known"
    return ""


def _told(scene: Scene, layer: str, x: Nested) -> Tensor:
    """What a layer, or the network where none is named, answers at its places, which are the last axis."""
    return hidden(scene, layer, x) if layer else scene.scores(x).cpu().movedim(1, -1)


def _ended(scene: Scene, layer: str, one: Nested, name: str, before: Tensor) -> bool:
    """Whether a layer answers a text as it does where that is cut behind as many tokens, and not so whatever the text says."""
    own, places = named(one)[name], before.shape[-1]
    cut = each(one, lambda part: part[:, :places] if part.ndim > 1 and part.shape[:2] == own.shape else part)
    return _alike(scene, layer, cut, before) and not _alike(scene, layer, _other(scene, one, name), before)


def _alike(scene: Scene, layer: str, x: Nested, before: Tensor) -> bool:
    """Whether a layer answers a text as it answered another."""
    try:
        after = _told(scene, layer, x)
    except Exception:  # a network may read texts of one length alone
        return False
    return after.shape == before.shape and torch.allclose(after, before, rtol=1e-3, atol=1e-5, equal_nan=True)


def _in_turn(scene: Scene, layer: str, one: Nested, name: str, before: Tensor) -> bool:
    """Whether another word in the middle, and one at the last place, change a layer's answers from their own places on."""
    places = before.shape[-1]
    for place in dict.fromkeys((places // 2, places - 1)):
        after = _told(scene, layer, _other(scene, one, name, place))
        changed = (after != before).reshape(-1, places).any(0) if after.shape == before.shape else torch.zeros(0, dtype=torch.bool)
        if not changed.any() or int(changed.int().argmax()) != place:
            return False
    return True


def source_texts(scene: Scene, name: str) -> list[str]:
    """The texts that a network reads beside the one of a name that it writes."""
    return [one for one in _texts(scene) if one != name]


def _texts(scene: Scene) -> list[str]:
    """The inputs that are texts, by name: no masks of them, nor their places or parts, which are whole numbers for each token too, nor labels."""
    along = {*beside(scene.kinds), "labels"}
    return [name for name, kind in scene.kinds.items() if isinstance(kind, Tokens) and name not in along]


def _found(scene: Scene, layer: str, texts: list[str]) -> str:
    """The only text that is read; of several the one that is read in its order, else the one of as many tokens as there are places."""
    one = scene.live.batch([0], scene.device)
    texts = [name for name in texts if named(one)[name].ndim == 2]
    before = _told(scene, layer, one)
    changed = {}
    for name in texts:
        after = _told(scene, layer, _other(scene, one, name))
        places = (after != before) & ~(after.isnan() & before.isnan()) if after.shape == before.shape else None
        changed[name] = None if places is None else places.reshape(-1, places.shape[-1]).any(0)
    read = [name for name in texts if (where := changed[name]) is None or bool(where.any())]
    ordered = [name for name in read if (where := changed[name]) is not None and not bool(where[0])]
    long = [name for name in read if named(one)[name].shape[1] == before.shape[-1]]
    return next((some[0] for some in (read, ordered, long) if len(some) == 1), (ordered or long or read or texts)[0])


def _other(scene: Scene, one: Nested, name: str, place: int | None = None) -> Nested:
    """An example with another word at a place of a text, by itself for its last one."""
    own, kind = named(one)[name], scene.kinds[name]
    assert isinstance(kind, Tokens)
    row = own[0].tolist()
    last = next((k for k in reversed(range(len(row))) if not kind.pads(int(row[k]))), len(row) - 1) if place is None else place
    words = [int(word) for word in named(scene.live.x)[name].unique().tolist() if word != row[last] and not kind.pads(int(word))]
    if not words:
        return one
    changed = own.clone()
    changed[0, last] = words[-1]
    return each(one, lambda part: changed if part is own else part)
