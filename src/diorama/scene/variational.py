"""Which layer of a scene gives the means of a code that is drawn at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..data import nesting
from ..model.layers import Layer
from ..model.untouched import Untouched
from ..model.unwrap import fed
from ..model.variational import Place, drawn, place_of

if TYPE_CHECKING:
    from .scene import Scene


def code_layer(scene: Scene) -> Layer | None:
    """The layer that gives the means of a variational autoencoder's code; None where none is seen.

    *Meaning* told by the network's form, in eval mode or, where codes are drawn in training alone, in that: see :func:`..model.variational.drawn`.
    *Cost* one pass of two examples with gradients, or two, once.
    """
    if scene.task != "reconstruction" or scene.missing is not None or scene.function:
        return None
    found: Layer | None = scene.keep("variational", lambda: _found(scene))
    return found


def _found(scene: Scene) -> Layer | None:
    modules = dict(scene.model.named_modules())
    layers = {layer.path: layer for layer in scene.layers.leaves if layer.weight is not None and layer.path in modules and layer.call == 1}
    x = fed(scene.model, nesting.to(scene.examples.batch(range(min(2, len(scene.examples)))), scene.device))
    for mode in ("eval", "train"):
        made: dict[Place, Layer] = {}
        handles = [modules[path].register_forward_hook(_noting(made, layer)) for path, layer in layers.items()]
        try:
            with Untouched(scene.model, mode), torch.enable_grad():  # type: ignore[arg-type]
                scores = scene.reading.scores(nesting.call(scene.model, x))
                known = [made[mean] for mean, wide in drawn(scores) if mean in made and wide in made and made[mean].units == made[wide].units]
        except (RuntimeError, ValueError, TypeError):
            known = []
        finally:
            for handle in handles:
                handle.remove()
        if known:
            return known[0]
    return None


def _noting(made: dict[Place, Layer], layer: Layer) -> Any:
    def note(module: Any, args: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.grad_fn is not None:
            made[place_of(output)] = layer

    return note
