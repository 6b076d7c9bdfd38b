"""Which layer of a scene gives the means of a code that is drawn at random, and passes that take the means themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data import nesting
from ..model.layers import Layer
from ..model.mode import OpMode
from ..model.plain_module import fed
from ..model.random_code import code_layers

if TYPE_CHECKING:
    from .scene import Scene


def code_layer(scene: Scene) -> Layer | None:
    """The layer that gives the means of a variational autoencoder's code; None where none is seen.

    *Meaning* told by the network's form, in eval mode or, where codes are drawn in training alone, in that: see :func:`.model.variational.drawn`.
    *Cost* two passes of two examples with gradients, or four, once.
    """
    return _found(scene)[0]


def joint_layer(scene: Scene) -> Layer | None:
    """The layer that gives means and log-variances of a code in one, which the network parts; None where none is seen. *Cost* as above."""
    return _found(scene)[1]


@contextlib.contextmanager
def of_means(scene: Scene) -> Iterator[None]:
    """Passes in which a code is its mean: what a network draws from a normal distribution is the mean of that. Nothing changes where no code
    of a variational autoencoder is seen."""
    if _found(scene) == (None, None):
        yield
        return
    with OpMode(cancel=scene.cancel).replace(_mean):
        yield


def draws(scene: Scene) -> bool:
    """Whether a network draws its code at random when it answers, as in training. *Cost* two passes of an example, once."""

    def asked() -> bool:
        if _found(scene) == (None, None):
            return False
        x = fed(scene.model, nesting.to(scene.examples.batch([0]), scene.device))
        with of_means(scene):
            still = scene.look(x)[0]
        return not torch.allclose(still, scene.look(x)[0], equal_nan=True)

    return bool(scene.once("variational/draws", asked))


def _mean(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Of an op that draws normally distributed numbers their mean."""
    if name not in ("randn", "randn_like", "normal", "normal_"):
        return NotImplemented
    given = args[1:] if name == "normal_" else args if name == "normal" else ()
    mean = given[0] if given else kwargs.get("mean", 0.0) if name.startswith("normal") else 0.0
    drawn: Tensor = func(*args, **kwargs)
    return drawn.copy_(torch.as_tensor(mean, dtype=drawn.dtype, device=drawn.device).expand_as(drawn))


def _found(scene: Scene) -> tuple[Layer | None, Layer | None]:
    if scene.task != "reconstruction" or scene.missing is not None or scene.function:
        return None, None
    x = scene.examples.batch(range(min(2, len(scene.examples))))
    found: tuple[Layer | None, Layer | None] = scene.keep(
        "variational", lambda: code_layers(scene.model, fed(scene.model, nesting.to(x, scene.device)), scene.layers.leaves, scene.reading.scores)
    )
    return found
