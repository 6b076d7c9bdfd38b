"""The model's own pass beside a method's: where a pass is changed on the way, both must come to the same score."""

from __future__ import annotations

import hashlib
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import NotApplicable
from ..core.rounding import rounding
from ..data import nesting
from ..data.nesting import Nested
from ..model.axes import tensors_in
from ..model.incremental_inference import IncrementalInference
from ..model.targets import Target
from .method import Attribution, Look, Method

_REMEMBERED = 64
_BARE: weakref.WeakKeyDictionary[nn.Module, OrderedDict[tuple[Any, ...], Any]] = weakref.WeakKeyDictionary()
"""By model, what it says by itself: of weights, an input, edits and a target."""
_AGAIN = 3
"""Passes that tell how far a model's answers to one input lie apart."""
LOOSE = 16.0
"""A rule's pass may fold and split what the model does in one go: so many times an answer's rounding are no other answer."""


def _remembered(look: Look, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    known = _BARE.setdefault(look.model, OrderedDict())
    key = (look.fingerprint, *map(repr, look.edits), *key)
    if key not in known:
        known[key] = make()
        while len(known) > _REMEMBERED:
            known.popitem(last=False)
    return known[key]


def _named(x: Nested) -> tuple[Any, ...]:
    """An input by its content."""
    parts = (part.detach().cpu().contiguous() for part in nesting.tensors(x))
    return tuple((tuple(p.shape), hashlib.blake2b(p.flatten().view(torch.uint8).numpy().data, digest_size=16).digest()) for p in parts)


def compare(look: Look, x: Nested, target: Target, method: Method, found: Attribution) -> None:
    """Refuse what a method found in a pass that came to another score than the model does by itself.

    *Cost* one forward pass for an input that was not compared before.
    *Raises* NotApplicable, by the method's name.
    """
    if target.call is None:
        asked = (str(target), getattr(target, "numbers", ()), look.task, repr(look.reading.outputs), look.classes)
        bare = _remembered(look, (*_named(x), *asked), lambda: look.target(x, target).cpu())
    else:
        bare = look.target(x, target).cpu()
    own = found.scores.cpu()
    if same(own, bare):
        return
    worst = int((own - bare).abs().nan_to_num(torch.inf).argmax())
    raise NotApplicable(
        f"{method.name} takes the model apart, and what it put together scores {float(own[worst]):.6g} where the model itself "
        f"scores {float(bare[worst]):.6g}, so that its map would be of another model; use occlusion or integrated_gradients"
    )


def same(a: Tensor, b: Tensor, spread: float = 0.0) -> bool:
    """Whether two answers differ by no more than the rounding of the largest, and what the model differs by itself."""
    a, b = a.detach(), b.detach()
    if a.shape != b.shape or not a.is_floating_point():
        return a.shape == b.shape and torch.equal(a, b)
    eps = torch.finfo(a.dtype).eps
    one, two = a.double(), b.double()
    both = one.isfinite() & two.isfinite()
    if not torch.equal(one.isfinite(), two.isfinite()):
        return False
    size = torch.cat([one[both].abs().reshape(-1), two[both].abs().reshape(-1), one.new_zeros(1)]).max()
    return bool(((one - two)[both].abs() <= LOOSE * rounding(size, eps) + spread + 1e-12).all())


def _apart(a: Tensor, b: Tensor) -> float:
    """How far two answers of one input lie apart where both are numbers."""
    apart = (a.detach().double() - b.detach().double()).abs().nan_to_num(0, 0, 0)
    return float(apart.max()) if apart.numel() else 0.0


def windowed(look: Look, x: Nested, engine: IncrementalInference, run: Callable[[Tensor], Any], image: Tensor) -> bool:
    """Whether an engine that computes windows alone sees all that the model does, tried on one changed patch.

    *Cost* one pass with the patch's window and one of the whole input, once for the weights, and for each form of input; three
    more where the two differ.
    """

    def tried() -> bool:
        height, width = max(1, image.shape[2] // 2), max(1, image.shape[3] // 2)
        top, left = (image.shape[2] - height) // 2, (image.shape[3] - width) // 2
        dice = torch.Generator().manual_seed(0)
        noise = torch.randn((1, image.shape[1], height, width), generator=dice).to(image)
        size = float(image.abs().nan_to_num(0, 0, 0).max()) or 1.0
        changed = image.clone()
        changed[:, :, top : top + height, left : left + width] = noise * size
        part = engine(noise * size, [top], [left])
        with torch.no_grad():
            whole = run(changed)
            pairs = list(zip(tensors_in(part), tensors_in(whole), strict=True))
            if all(same(a, b) for a, b in pairs):
                return True
            # Kernels that add in any order say something else each time: by so much the engine may differ too.
            again = [list(tensors_in(run(changed))) for _ in range(_AGAIN)]
        return all(same(a, b, 2 * max(_apart(b, other[k]) for other in again)) for k, (a, b) in enumerate(pairs))

    forms = tuple((tuple(part.shape), part.dtype) for part in nesting.tensors(x))
    return bool(_remembered(look, ("windows", forms), tried))
