"""What the network does on its probe set: answers, activations, summaries of units; in batches, kept in its memory."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..core.errors import NotApplicable
from ..core.rounding import alike
from ..data import nesting
from ..data.examples import Examples
from ..data.nesting import Nested
from ..model import company
from ..model.capture import Capture
from ..model.layers import Layer, by_unit
from ..model.outputs import CLASSES, Reading
from ..model.own_places import Owners
from ..model.preservation import Mode
from .input import worded
from .memory import Memory

BATCH = 64
T = TypeVar("T")


class KeptLayers(Protocol):
    """What is kept of the named layers, by a pass that ends with the last of them."""

    def __call__(
        self,
        x: Nested,
        keep: Iterable[str],
        *,
        reduce: Callable[[str, Tensor], Any] | None = None,
        mode: Mode = "eval",
    ) -> Mapping[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class Answers:
    """What the model answers to each example of the probe set.

    ``predictions`` as :meth:`Reading.predictions` gives them; ``confidence`` (n,) is the probability of the answer (the
    mean over the places of a text or a map), ``margin`` (n,) how far the best answer is ahead of the next one. ``losses`` and
    ``right`` (n,) are None without a truth, and ``known`` (n,) says of which examples there is one. Values that do not
    exist for a task are None.
    """

    predictions: Tensor
    confidence: Tensor | None = None
    margin: Tensor | None = None
    losses: Tensor | None = None
    right: Tensor | None = None
    known: Tensor | None = None
    places: Tensor | None = None
    """Of texts and maps, in the shape of the predictions: where an answer is asked for. None where padding stands, nor where an example has
    labels and this one says nothing; None as a whole where each example has one answer."""
    loss: float = math.nan
    """Of all of them together, and the share that is answered rightly: of all labels, where an example has several. NaN where unknown."""
    accuracy: float = math.nan


@dataclasses.dataclass(frozen=True)
class Responses:
    """A layer's units on the probe set, each (n, units): the highest, lowest and mean value over places or steps, padding left out.

    ``positive`` is the mean of what a ReLU lets through.
    """

    high: Tensor
    low: Tensor
    mean: Tensor
    positive: Tensor

    def dead(self, rectified: bool) -> Tensor:
        """Units that never respond, (units,) bool: never above zero behind a ReLU, else the same value everywhere."""
        if rectified:
            return ~((self.high > 0) | self.high.isnan()).any(0)
        still: Tensor = alike(self.low.amin(0), self.high.amax(0), torch.finfo(self.high.dtype).eps)
        return still & (len(self.high) > 1)


class Probe:
    """Everything computed on a scene's live examples; the forward pass is handed in, so that it can be cancelled."""

    def __init__(self, examples: Examples, memory: Memory) -> None:
        self.examples, self.memory = examples, memory

    def batches(self, device: Any) -> Iterator[tuple[range, Nested]]:
        """The examples in batches on the model's device, with their indices."""
        for start in range(0, len(self.examples), BATCH):
            chosen = range(start, min(start + BATCH, len(self.examples)))
            yield chosen, self.examples.batch(list(chosen), device)

    def read(
        self, scores: Callable[[Nested], Tensor], batches: Iterable[tuple[range, Nested]], reading: Reading, sure: bool = True
    ) -> Answers:
        """The model's answers to all examples, one pass; ``confidence`` and ``margin`` may be None where ``sure`` is not asked.

        *Cost* of a text's tokens how sure an answer is costs as much as its loss: every word of the vocabulary is weighed and ranked.
        """
        return _last(self.reading(scores, batches, reading, sure))

    def reading(
        self, scores: Callable[[Nested], Tensor], batches: Iterable[tuple[range, Nested]], reading: Reading, sure: bool = True
    ) -> Generator[int, None, Answers]:
        """The same, told as it goes: after each batch, up to which example it is."""
        name = "answers" if sure else "answers/bare"
        known: Answers | None = (self.memory.get("answers") if not sure else None) or self.memory.get(name)
        if known is not None:
            return known
        parts, told, truths = [], [], []
        for chosen, x in batches:
            answer, wanted = scores(x).detach(), reading.wanted(x, self._truth(chosen))
            parts.append(_answer(reading, answer, wanted, sure, worded(self.examples.kind, x) if reading.task == "next_token" else None))
            if wanted is not None and reading.task:
                truths.append(wanted.cpu())
                if reading.criterion is not None:
                    told.append(answer.cpu())
            yield chosen.stop
        joined: dict[str, Any] = {
            field.name: _joined([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(Answers) if field.name not in ("loss", "accuracy")
        }
        if len(truths) == len(parts) and joined["losses"] is not None and same_shapes(truths) and same_shapes(told):
            truth = torch.cat(truths)
            joined["loss"] = reading.loss(torch.cat(told), truth) if told else reading.mean(joined["losses"], truth)
            if joined["right"] is not None:
                joined["accuracy"] = reading.mean(joined["right"], truth, loss=False)
        found = Answers(**joined)
        self.memory.put(name, found)
        return found

    def _truth(self, chosen: range) -> Tensor | None:
        y = self.examples.y
        return None if y is None else y[chosen.start : chosen.stop]

    def responses(
        self, kept: KeptLayers, batches: Iterable[tuple[range, Nested]], layers: Mapping[str, Layer]
    ) -> dict[str, Responses]:
        """Summaries of the layers' units, one pass for all that are not there yet."""
        return _last(self.responding(kept, batches, layers))

    def responding(
        self, kept: KeptLayers, batches: Iterable[tuple[range, Nested]], layers: Mapping[str, Layer]
    ) -> Generator[int, None, dict[str, Responses]]:
        """The same, told as it goes: after each batch, up to which example it is."""
        for name, layer in layers.items():
            if layer.reason:
                raise NotApplicable(f"{name} {layer.reason}, so nothing can be said of its units")
        found = {name: known for name in layers if (known := self.memory.get(f"responses/{name}")) is not None}
        missing = {name: layer for name, layer in layers.items() if name not in found}
        if missing:
            owners = Owners(self.examples.kind)

            def summary(name: str, tensor: Tensor) -> Tensor:
                values = by_unit(missing[name], tensor).float()
                if (own := owners.own(values)) is not None:
                    return _of_places(values, own).cpu()
                values = values.flatten(2) if values.ndim > 2 else values[:, :, None]
                return torch.stack(
                    [values.amax(2), values.amin(2), values.mean(2), values.clamp_min(0).mean(2)], 1
                ).cpu()

            parts: dict[str, list[Tensor]] = {name: [] for name in missing}
            for chosen, x in batches:
                for name, value in kept(owners.read(x), missing, reduce=summary).items():
                    parts[name].append(value)
                yield chosen.stop
            for name, values in parts.items():
                found[name] = Responses(*torch.cat(values).unbind(1))
                self.memory.put(f"responses/{name}", found[name])
        return {name: found[name] for name in layers}

    def knows(self, names: Iterable[str]) -> bool:
        """Whether the layers' summaries are there already."""
        return all(self.memory.has(f"responses/{name}") for name in names)

    def activations(
        self, kept: KeptLayers, batches: Iterable[tuple[range, Nested]], layers: Mapping[str, Layer], mode: Mode
    ) -> dict[str, Tensor]:
        """The layers' activations for all examples, (n, units, …), on the CPU; one pass for all that are not kept."""
        found = {name: known for name in layers if (known := self.memory.get(f"activations/{mode}/{name}")) is not None}
        missing = {name: layer for name, layer in layers.items() if name not in found}
        if missing:
            parts: dict[str, list[Tensor]] = {name: [] for name in missing}
            for _, x in batches:
                for name, value in kept(x, missing, mode=mode).items():
                    parts[name].append(by_unit(missing[name], value).cpu())
            for name, values in parts.items():
                found[name] = _of_all(values)
                self.memory.put(f"activations/{mode}/{name}", found[name])
        return {name: found[name] for name in layers}


def _last(work: Generator[Any, None, T]) -> T:
    """What work comes to, when nobody asks how far it is."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: T = end.value
            return found


def looked(
    model: nn.Module, x: Nested, layers: Mapping[str, Layer], reduce: Callable[[str, Tensor], Any] | None = None, **options: Any
) -> tuple[Any, dict[str, Any]]:
    """One forward pass: the model's answer, and what was kept (or made of it) of layers that have a row for each example.

    *Raises* NotApplicable where one has not.
    """
    seen, count = dict[str, int](), nesting.size(x)

    def counted(name: str, tensor: Tensor) -> Any:
        seen[name] = len(tensor) if tensor.ndim else 0
        return reduce(name, tensor) if reduce is not None and seen[name] == count else tensor

    with Capture(model, keep=layers, reduce=None if reduce is None else counted, **options) as capture:
        output = capture(x)
    kept = {name: capture[name] for name in layers}
    for name, value in kept.items():
        by_example(layers[name], seen[name] if name in seen else len(value) if value.ndim else 0, count)
    return output, kept


def by_example(layer: Layer, rows: int, count: int) -> None:
    """Check that of so many rows that a layer answered each is of one of so many examples, at its place.

    *Raises* NotApplicable where it has not: rows of other examples would be shown in silence.
    """
    if rows != count or (layer.reason and count > 1):
        raise NotApplicable(f"{layer.name} {layer.reason or company.PICKED}, so nothing can be said of its units for each example")


def _of_all(batches: list[Tensor]) -> Tensor:
    """Activations of several batches as one; where a batch has fewer steps than another, zeros follow."""
    sizes = [max(part.shape[k] for part in batches) for k in range(1, batches[0].ndim)]
    padded = []
    for part in batches:
        missing = [end for k in reversed(range(1, part.ndim)) for end in (0, sizes[k - 1] - part.shape[k])]
        padded.append(F.pad(part, missing) if any(missing) else part)
    return torch.cat(padded)


def _answer(reading: Reading, scores: Tensor, y: Tensor | None, sure: bool, words: Tensor | None) -> Answers:
    scores = scores.cpu()
    if scores.dtype in (torch.bfloat16, torch.float16):
        scores = scores.float()  # NumPy knows no bfloat16, and sums of halves are coarse
    predictions = reading.predictions(scores)
    places = asked_places(reading, predictions, y, words)
    confidence = margin = losses = right = known = None
    if sure and reading.task in CLASSES:
        top = reading.probabilities(scores).topk(min(2, reading.width(scores)), -1).values
        confidence = _mean(top[..., 0], places)
        gap = top[..., 0] - top[..., 1] if top.shape[-1] > 1 else top[..., 0]
        margin = _mean(gap, places)
    if y is not None and reading.task:
        losses, known = reading.losses(scores, y.cpu()).float(), reading.labelled(y.cpu())
        if reading.task not in ("regression", "reconstruction"):
            right = reading.right(scores, y.cpu(), predictions)
    return Answers(predictions, confidence, margin, losses, right, known, places)


def asked_places(reading: Reading, predictions: Tensor, y: Tensor | None, words: Tensor | None) -> Tensor | None:
    """Where texts and maps are asked for an answer, in the shape of their ``predictions``; None where each example has one answer.

    ``y`` is the truth, and ``words`` says which places of a text are none of the padding at its ends, as :func:`worded` tells. Of an example
    without any label all places are asked for, as an example without a class is.
    """
    if reading.task not in ("next_token", "segmentation"):
        return None
    asked = torch.ones_like(predictions, dtype=torch.bool)
    if y is not None:
        known = reading.known(y.cpu())
        if known.shape == asked.shape:
            asked &= known | ~known.flatten(1).any(1).reshape(-1, *[1] * (known.ndim - 1))
    if words is not None and words.shape == asked.shape:
        asked &= words.cpu()
    return asked


def _mean(values: Tensor, places: Tensor | None) -> Tensor:
    """The mean of each example, (n,), over the places that count; NaN where there is none."""
    if places is None or places.shape != values.shape:
        return values.reshape(len(values), -1).mean(1)
    counted = torch.where(places, values, 0).reshape(len(values), -1).sum(1)
    return counted / places.reshape(len(values), -1).sum(1)


def same_shapes(parts: list[Tensor]) -> bool:
    """Whether batches go into one."""
    return len({part.shape[1:] for part in parts}) < 2


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    whole = [part for part in parts if part is not None]
    return torch.cat(whole) if whole and len(whole) == len(parts) else None


def _of_places(values: Tensor, own: Tensor) -> Tensor:
    """The same of the places that each example has (n, places): the steps of packed sequences, the words of a text that padding fills up."""
    beyond, counts = ~own[:, None], own.sum(1).clamp_min(1)[:, None]
    high, low = values.masked_fill(beyond, -torch.inf).amax(2), values.masked_fill(beyond, torch.inf).amin(2)
    sums = (part.masked_fill(beyond, 0).sum(2) / counts for part in (values, values.clamp_min(0)))
    return torch.stack([high, low, *sums], 1)
