"""A text that a network goes on with: every token drawn from what it says comes next, and read before the one after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import DioramaError, NotApplicable
from ..data.nesting import Nested, each, named
from ..model.layers import by_unit
from ..model.plain_module import fed
from .input import lengths
from .layer_text import source_texts
from .scene import Scene

LIKELIEST = 12
"""So many of the likeliest tokens are kept of every place."""


@dataclasses.dataclass(frozen=True)
class WrittenToken:
    """One token that was written, and what else could have stood there."""

    token: int
    chance: float
    """How likely the network itself held it, whatever the temperature."""
    tokens: tuple[int, ...]
    """The likeliest, likeliest first."""
    chances: tuple[float, ...]
    drawn: tuple[float, ...]
    """How likely each of them was to be drawn, at the temperature."""
    units: NDArray[np.float32] | None
    """What every unit of the followed layer said where it was decided."""


@dataclasses.dataclass(frozen=True)
class WrittenText:
    """A text as far as it is written: the tokens that it began with, and those that were added."""

    begin: tuple[int, ...]
    places: tuple[WrittenToken, ...] = ()
    broken: bool = False
    """Its scores were no numbers, so that nothing could be drawn."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """All of it."""
        return (*self.begin, *(place.token for place in self.places))


def writing(
    scene: Scene, like: Nested, name: str, begin: tuple[int, ...], *, length: int, window: int, temperature: float = 1.0,
    seed: int = 0, layer: str = "", ends: frozenset[int] = frozenset(),
) -> Iterator[WrittenText]:
    """The text after every token that a scene's model adds to it, up to ``length`` of them or a token of ``ends``.

    *Meaning* each token is drawn with the probabilities that the model gives, sharpened by a temperature below 1 and evened out
    by one above it; 0 takes the likeliest. The same seed gives the same luck to any model, so that what differs is the model.
    ``like`` is an input whose part ``name`` holds the tokens; what else has a number for each token goes on with its last one.
    The model reads the last ``window`` tokens anew each time: any model can be asked so, whatever it keeps in mind otherwise.
    *Raises* NotApplicable where the model does not read a text of this length.
    """
    luck = np.random.default_rng(seed).random(length)
    text, told = WrittenText(tuple(begin)), lengths(scene.examples, name)
    for number in range(length):
        x = _grown(like, name, text.tokens[-window:], told, frozenset(source_texts(scene, name)))
        chances, units = _asked(scene, x, layer, len(text.tokens))
        if not np.isfinite(chances).all() or chances.sum() <= 0:
            yield dataclasses.replace(text, broken=True)
            return
        drawn = tempered(chances, temperature)
        token = min(int(np.searchsorted(drawn.cumsum(), luck[number] * drawn.sum(), side="right")), len(drawn) - 1)
        best = np.argsort(-chances, kind="stable")[:LIKELIEST]
        place = WrittenToken(
            token, float(chances[token]), tuple(best.tolist()), tuple(chances[best].tolist()), tuple(drawn[best].tolist()), units,
        )
        text = dataclasses.replace(text, places=(*text.places, place))
        yield text
        if token in ends:
            return


def tempered(chances: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probabilities sharpened or evened out: each to the power of 1 / temperature, and all together 1 again."""
    if temperature == 0:
        found = np.zeros_like(chances)
        found[int(chances.argmax())] = 1.0
        return found
    with np.errstate(divide="ignore", under="ignore"):
        logs = np.log(chances) / temperature
        found = np.exp(logs - logs.max())
    return np.asarray(found / found.sum())


def _asked(scene: Scene, x: Nested, layer: str, length: int) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """The probability of each token to come next, and what a layer said at the last place."""
    try:
        scores, kept = scene.look(fed(scene.model, x), (layer,) if layer else ())
    except DioramaError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        raise NotApplicable(
            f"the model does not read a text of {length} tokens: {' '.join(str(error).split())[:160]}; begin with as many as its examples have"
        ) from error
    chances = scene.reading.probabilities(scores.cpu())[0, -1].double().numpy()
    units = by_unit(scene.layers[layer], kept[layer])[0, :, -1].float().cpu().numpy() if layer else None
    return chances, units


def _grown(like: Nested, name: str, tokens: tuple[int, ...], told: frozenset[str], sources: frozenset[str]) -> Nested:
    """An input with another text: what has a number for each of its tokens is cut, or goes on with the last one; what told its length does so."""
    old, counts = named(like)[name], [part for key, part in named(like).items() if key in told]
    stay = [part for key, part in named(like).items() if key in sources]
    new = torch.tensor([tokens], dtype=old.dtype, device=old.device)

    def change(part: Any) -> Any:
        if part is old:
            return new
        if any(part is count for count in counts):
            return torch.full_like(part, len(tokens))
        if isinstance(part, Tensor) and part.shape == old.shape and not any(part is one for one in stay):
            return part[:, [min(k, part.shape[1] - 1) for k in range(len(tokens))]]
        return part

    return each(like, change)
