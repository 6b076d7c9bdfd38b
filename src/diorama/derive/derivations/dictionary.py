"""A sparse dictionary of a layer: many features of which each activation is the sum of a few."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ...core.knobs import knob
from ...core.selection import Key
from ...methods.cost import Cost
from ...methods.grouping.dictionary import SparseDictionary, learn
from ...model.capture import Capture
from ...model.edits import Edit
from ...model.layers import Layer, units_first
from ...model.own_places import Owners, alike_long
from ...model.plain_module import fed
from ...model.statistics import sampled
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage

ROWS = 65_536
"""It learns from at most so many places."""
EACH, USUAL, MOST = 4, 512, 4096
"""Where nothing is said, features for each unit, and at most in all (a layer of more units has one for each); and ever."""
TOP = 8
"""So many examples of each feature are kept."""
PASSES = 40
"""Each place is learnt from about so often at most."""
JUDGED = 64
"""The loss is compared on so many held-out examples."""
MEASURES = ("explained", "l0", "dead", "recovered", "components", "components_recovered", "loss", "loss_rebuilt", "loss_zero")


class DictionaryDerivation(Derivation):
    """Many features of a layer, of which each of its activations is nearly the sum of a few: a TopK sparse autoencoder.

    *Meaning* at each place ``activation @ encoder + encoder_bias`` is a value for each feature, of which only the ``active`` largest
    that are over zero count; times ``decoder``, and with ``bias``, they rebuild the activation. ``frequency`` is how often each is on,
    ``strength`` its mean while it is; ``top`` the examples in which it is strongest somewhere, at ``place``, by ``value``.
    ``measures``, of examples that it never learnt from: the share of their variance that is ``explained``, features on at a place
    (``l0``), and the loss ``recovered``: 1 where the network does as well on what was rebuilt, 0 as badly as on zeros; beside them
    what as many principal components explain and recover. ``dead`` is the share of features that are on at no place at all.
    *Shapes* encoder and decoder (features, units); top, place and value (features, 8), −1 where there are fewer.
    *Error* measured on a quarter of the examples, held out.
    *Cost* two passes over the live examples, and its own steps: seconds for a small layer, on one core.
    *Source* Gao et al. 2024, arXiv:2406.04093; Bricken et al. 2023.
    """

    version = 2

    layer: str = knob("", "The layer.", kind="layer")
    features: int = knob(0, "How many features; 0: four for each unit, up to 512, or as many as there are units.", low=0, high=MOST)
    active: int = knob(16, "Features that are on at a place, at most.", low=1, high=256)
    steps: int = knob(1000, "Steps of learning, fewer where the examples hold few places.", low=1, high=100_000, log=True)
    seconds: float = knob(60.0, "After so long it ends even earlier.", low=1.0, high=3600.0, unit="s", log=True)
    seed: int = knob(0, "What its first weights and batches are drawn from.", low=0)

    def fits(self, scene: Scene) -> str | None:
        """The layer has units at each example, and there are examples to hold out."""
        if scene.missing is not None:
            return scene.missing
        if scene.function:
            return "it looks inside a model, and this one is a plain function"
        if (reason := unfit(scene.layers[self.layer])) is not None:
            return reason
        if len(scene.live) < 4:
            return f"it learns from examples and holds a quarter out, which wants four of them, and there are {len(scene.live)}"
        return None

    def cost(self, scene: Scene) -> Cost:
        """Two passes an example, and a few to compare the loss."""
        return Cost(2 * len(scene.live) + 4 * min(JUDGED, len(scene.live)))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The dictionary as it learns, then what it is worth."""
        layer = scene.layers[self.layer]
        yield Stage(None, 0.0, 1.0, f"one pass over {len(scene.live)} examples")
        rows = _rows(scene, layer)
        batches = -(-len(rows) // min(512, len(rows)))
        steps = min(self.steps, PASSES * batches)
        found: SparseDictionary | None = None
        end = time.monotonic() + self.seconds
        if begun is not None and begun["step"] >= steps:
            begun = None
        for learning in learn(rows, self._count(layer), self.active, steps, self.seed, begun):
            if scene.cancel is not None:
                scene.cancel()
            last = learning.step == steps or time.monotonic() > end
            if last:
                found = learning.dictionary
                break
            yield Stage(None, learning.step, steps + steps / 10, f"step {learning.step} of {steps}", state=learning.state)
        assert found is not None
        yield Stage(None, steps, steps + steps / 10, "what it is worth on examples that were held out")
        yield Stage(_judged(scene, layer, found, _components(rows, self.active)))

    def check(self, scene: Scene, value: Plain) -> None:
        """Features of this layer, their examples, and measures."""
        units, count = scene.layers[self.layer].units, self._count(scene.layers[self.layer])
        shapes: dict[str, tuple[tuple[int, ...], str]] = {
            "encoder": ((count, units), "f"), "encoder_bias": ((count,), "f"), "decoder": ((count, units), "f"), "bias": ((units,), "f"),
            "frequency": ((count,), "f"), "strength": ((count,), "f"), "top": ((count, TOP), "i"), "place": ((count, TOP), "i"),
            "value": ((count, TOP), "f"),
        }
        if set(value) != {*shapes, "measures", "active"} or value["active"] != min(self.active, count):
            raise ValueError("a dictionary with its measures is wanted")
        for name, (shape, kind) in shapes.items():
            if not isinstance(value[name], np.ndarray) or value[name].shape != shape or value[name].dtype.kind != kind:
                raise ValueError(f"{name} of shape {shape} is wanted")
        if value["top"].size and int(value["top"].max()) >= len(scene.live):
            raise ValueError("examples of the probe set are wanted")
        if list(value["measures"]) != list(MEASURES) or any(type(one) is not float for one in value["measures"].values()):
            raise ValueError("measures are wanted")

    def _count(self, layer: Layer) -> int:
        return self.features or min(EACH * layer.units, max(USUAL, layer.units), MOST)


def unfit(layer: Layer) -> str | None:
    """Why a layer has no dictionary; None where it has."""
    if not layer.shape or not layer.each or layer.units < 2:
        return f"{layer.name or 'the model'} does not answer with several units for each example; choose a layer that does"
    if layer.complex:
        return f"{layer.name} answers with complex numbers, of which no dictionary is made"
    return None


def of_plain(value: Plain) -> SparseDictionary:
    """The dictionary of a derived value."""
    encoder, encoder_bias, decoder, bias = (torch.tensor(np.array(value[name])) for name in ("encoder", "encoder_bias", "decoder", "bias"))
    return SparseDictionary(encoder, encoder_bias, decoder, bias, int(value["active"]))


def features(layer: Layer, found: SparseDictionary, raw: Tensor) -> Tensor:
    """The values of the features at each place of a layer's activations (n, …), (n, places, features)."""
    rows = _flat(layer, raw)
    return torch.stack([torch.cat([found.encode(part) for part in torch.split(one.T, found.chunk)]) for one in rows])


def _flat(layer: Layer, raw: Tensor) -> Tensor:
    """A layer's activations as numbers, (n, units, places)."""
    units = units_first(layer, raw).float().nan_to_num(0, 0, 0).cpu()
    return units.flatten(2) if units.ndim > 2 else units[:, :, None]


def held_out(number: int) -> bool:
    """Every fourth example is never learnt from."""
    return number % 4 == 3


def _rows(scene: Scene, layer: Layer) -> Tensor:
    """The places that it learns from, (rows, units)."""
    seen = sum(not held_out(k) for k in range(len(scene.live)))
    passed = (one for one in _passed(scene, layer) if not held_out(one[0]))
    return torch.cat([sampled(own[None], number, max(1, ROWS // seen))[0].T for number, _, own in passed])


def _passed(scene: Scene, layer: Layer) -> Iterator[tuple[int, int, Tensor]]:
    """Of each example its number, its first place, and the layer's activations (units, places) from there on, as far as they are its own."""
    owners = Owners(scene.kind)

    def take(name: str, tensor: Tensor) -> list[tuple[int, Tensor]]:
        parts = alike_long(_flat(layer, tensor), owners.own(units_first(layer, tensor)))
        return [(first, one) for _, first, part in parts for one in part]

    for chosen, x in scene.batches():
        for k, (first, own) in enumerate(scene.kept(owners.read(x), [layer.name], reduce=take)[layer.name]):
            yield chosen.start + k, first, own


def _components(rows: Tensor, count: int) -> Callable[[Tensor], Tensor]:
    """What as many principal components make of rows."""
    mean = rows.mean(0)
    wide = (rows - mean).double()
    # Of the covariance, whose size does not grow with the rows.
    ways = torch.linalg.eigh(wide.T @ wide)[1][:, -count:].float()
    return lambda other: mean + (other - mean) @ ways @ ways.T


def _judged(scene: Scene, layer: Layer, found: SparseDictionary, principal: Callable[[Tensor], Tensor]) -> Plain:
    """All that is told of a dictionary, from one pass over all examples and a few over those that were held out."""
    tally = _Tally(found, principal)
    for number, first, own in _passed(scene, layer):
        tally.add(number, own.T, first)
    measures = {**tally.measures(), **_losses(scene, layer, found, principal)}
    parts = {name: getattr(found, name).numpy() for name in ("encoder", "encoder_bias", "decoder", "bias")}
    return {**parts, **tally.told(), "active": found.active, "measures": {name: measures[name] for name in MEASURES}}


class _Tally:
    """What features do at each place, and how well held-out places are rebuilt."""

    def __init__(self, found: SparseDictionary, principal: Callable[[Tensor], Tensor]) -> None:
        self.found, self.principal = found, principal
        count, units = found.encoder.shape
        self.on, self.sum, self.places = torch.zeros(count, dtype=torch.long), torch.zeros(count, dtype=torch.double), 0
        self.value = torch.full((count, TOP), -torch.inf)
        self.top, self.place = (torch.full((count, TOP), -1) for _ in range(2))
        self.unseen, self.active = 0, 0
        self.total, self.squares, self.left, self.rest = torch.zeros(units, dtype=torch.double), 0.0, 0.0, 0.0

    def add(self, number: int, rows: Tensor, first: int = 0) -> None:
        """The places (places, units) of one example, from its ``first`` on."""
        high, at = torch.full((len(self.on),), -torch.inf), torch.zeros(len(self.on), dtype=torch.long)
        for start in range(0, len(rows), self.found.chunk):
            part = rows[start : start + self.found.chunk]
            values = self.found.encode(part)
            self.on += (values > 0).sum(0)
            self.sum += values.sum(0).double()
            best = values.max(0)
            at, high = torch.where(best.values > high, best.indices + start, at), torch.maximum(high, best.values)
            if held_out(number):
                self.active += int((values > 0).sum())
                self.left += float((part - self.found.decode(values)).double().square().sum())
                self.rest += float((part - self.principal(part)).double().square().sum())
                self.total += part.double().sum(0)
                self.squares += float(part.double().square().sum())
                self.unseen += len(part)
        self.places += len(rows)
        weakest = self.value.argmin(1, keepdim=True)
        better = (high > self.value.gather(1, weakest)[:, 0]) & (high > 0)
        for held, new in ((self.value, high), (self.top, torch.full_like(at, number)), (self.place, at + first)):
            held.scatter_(1, weakest, torch.where(better, new, held.gather(1, weakest)[:, 0])[:, None])

    def measures(self) -> dict[str, float]:
        """Explained variance of held-out places, features on there, and dead ones."""
        spread = self.squares - float(self.total.square().sum()) / self.unseen
        told = (lambda left: 1 - left / spread) if spread > 1e-12 * max(self.squares, 1e-30) else (lambda left: float("nan"))
        return {
            "explained": told(self.left), "components": told(self.rest), "l0": self.active / self.unseen,
            "dead": float((self.on == 0).double().mean()),
        }

    def told(self) -> dict[str, np.ndarray]:
        """Of each feature how often it is on, how strongly, and where most."""
        order = self.value.argsort(dim=1, descending=True, stable=True)
        value, top, place = (one.gather(1, order) for one in (self.value, self.top, self.place))
        return {
            "frequency": (self.on.double() / max(1, self.places)).numpy(), "strength": (self.sum / self.on.clamp_min(1)).numpy(),
            "top": top.numpy(), "place": place.numpy(), "value": torch.where(top < 0, torch.zeros_like(value), value).numpy(),
        }


def _losses(scene: Scene, layer: Layer, found: SparseDictionary, principal: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """The loss of held-out examples, and how much of it comes back with what was rebuilt against zeros; NaN without a truth."""
    none = dict.fromkeys(("loss", "loss_rebuilt", "loss_zero", "recovered", "components_recovered"), float("nan"))
    chosen = [k for k in range(len(scene.live)) if held_out(k)][:JUDGED]
    x = fed(scene.model, scene.live.batch(chosen, scene.device))
    y = scene.reading.wanted(x, None if scene.live.y is None else scene.live.y[chosen])
    if y is None or not scene.task:
        return none
    scores, kept = scene.look(x, [layer.name])
    raw = kept[layer.name]

    def loss(edit: Edit | None) -> float:
        edits = (*scene.edits, *(() if edit is None else (edit,)))
        with Capture(scene.model, edits=edits, cancel=scene.cancel) as look:
            made = scene.reading.scores(look(x)).detach() if edit is not None else scores
        return scene.reading.loss(made, y.to(made.device))

    def patched(rebuilt: Callable[[Tensor], Tensor]) -> float:
        return loss(Edit(Key("layer", layer.name), patch=in_place(layer, raw, rebuilt)))

    own, zero = loss(None), loss(Edit(Key("layer", layer.name), lesion=True))
    ours, theirs = patched(found.rebuilt), patched(principal)
    gap = zero - own
    # Where zeros do as well as the layer's own answer, there is nothing that could be recovered.
    share = (lambda made: (zero - made) / gap) if abs(gap) > 1e-6 * max(abs(own), 1e-6) else (lambda made: float("nan"))
    return {
        "loss": own, "loss_rebuilt": ours, "loss_zero": zero, "recovered": share(ours), "components_recovered": share(theirs),
    }


def in_place(layer: Layer, raw: Tensor, rebuilt: Callable[[Tensor], Tensor]) -> Tensor:
    """A layer's activations with the numbers at each place changed by ``rebuilt`` (rows, units), in the form that the layer gave."""
    units = units_first(layer, raw)
    last = units.movedim(1, -1)
    rows = last.reshape(-1, last.shape[-1])
    made = rebuilt(rows.float().nan_to_num(0, 0, 0).cpu()).to(raw).reshape(last.shape).movedim(-1, 1)
    axis = layer.unit_axis if layer.unit_axis < raw.ndim else raw.ndim - 1
    return made.reshape(raw.shape) if raw.ndim == 1 or axis == 1 else made.movedim(1, axis)


def listed(value: Plain) -> np.ndarray:
    """The features in the order of how much they carry: how often they are on times how strong they are then."""
    return np.argsort(-value["frequency"] * value["strength"], kind="stable")
