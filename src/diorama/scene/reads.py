"""Which of several texts a layer of a scene, or its answer, reads token by token."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..data.kinds import Tokens
from ..data.nesting import Nested, each, named
from ..data.padding import pads
from .scene import Scene
from .states import hidden


def text_at(scene: Scene, layer: str = "") -> str:
    """The name of the input at whose tokens a layer answers, by itself the network; of a single input, and without a text, "".

    *Meaning* a decoder reads what it has said so far, and the source beside it: the text at whose tokens it answers is the one whose last
    token changes no place before it. *Cost* a pass of one example, and one more for each text; then it is known. Nothing where there is one.
    """
    texts = [name for name, kind in scene.kinds.items() if isinstance(kind, Tokens)]
    if len(texts) < 2:
        return texts[0] if texts else ""
    found: str = scene.once(f"text at/{layer}", lambda: _found(scene, layer, texts))
    return found


def tags(scene: Scene) -> bool:
    """Whether the answers at the tokens of a text are classes with names of their own, as parts of speech are, and not tokens that come next.

    *Meaning* there are fewer names than tokens, and not all of them are tokens: a network that writes answers with what it reads.
    """
    texts = [(name, kind) for name, kind in scene.kinds.items() if isinstance(kind, Tokens)]
    if scene.task != "next_token" or len(texts) != 1 or not scene.classes:
        return False
    (name, kind), = texts
    known = set(kind.vocabulary or ())
    part = named(scene.live.x)[name]
    if not isinstance(part, Tensor) or (scene.live.y is not None and scene.live.y.shape != part.shape):
        return False
    size = kind.size or (int(torch.as_tensor(part).max()) + 1 if part.numel() else 0)
    return len(scene.classes) < size and not set(scene.classes) <= known


def _found(scene: Scene, layer: str, texts: list[str]) -> str:
    """The only text that is read; of several the one that is read in its order, else the one of as many tokens as there are places."""
    one = scene.live.batch([0], scene.device)
    texts = [name for name in texts if named(one)[name].ndim == 2]
    told: Callable[[Nested], Tensor] = (lambda x: hidden(scene, layer, x)) if layer else (lambda x: scene.scores(x).movedim(1, -1))
    before = told(one)
    changed = {}
    for name in texts:
        after = told(_other(scene, one, name))
        places = (after != before) & ~(after.isnan() & before.isnan()) if after.shape == before.shape else None
        changed[name] = None if places is None else places.reshape(-1, places.shape[-1]).any(0)
    read = [name for name in texts if (where := changed[name]) is None or bool(where.any())]
    ordered = [name for name in read if (where := changed[name]) is not None and not bool(where[0])]
    long = [name for name in read if named(one)[name].shape[1] == before.shape[-1]]
    return next((some[0] for some in (read, ordered, long) if len(some) == 1), (ordered or long or read or texts)[0])


def _other(scene: Scene, one: Nested, name: str) -> Nested:
    """An example with another word for the last one of a text."""
    own, kind = named(one)[name], scene.kinds[name]
    assert isinstance(kind, Tokens)
    row = own[0].tolist()
    last = next((k for k in reversed(range(len(row))) if not pads(kind.token(int(row[k])))), len(row) - 1)
    words = [int(word) for word in named(scene.live.x)[name].unique().tolist() if word != row[last] and not pads(kind.token(int(word)))]
    if not words:
        return one
    changed = own.clone()
    changed[0, last] = words[-1]
    return each(one, lambda part: changed if part is own else part)
