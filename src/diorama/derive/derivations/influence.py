"""Which examples taught the network an answer: how much each moved it there, over the snapshots."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ...core.errors import UsageError
from ...core.knobs import build, knob
from ...data import nesting
from ...data.examples import Examples
from ...data.fingerprint import fingerprint
from ...data.nesting import Nested
from ...methods.cost import Cost
from ...model.gradients import LastGradients, LastLayer, Sketcher, Sketches
from ...model.plain_module import fed
from ...model.preservation import Preservation
from ...scene import Scene
from ...scene.other_data import fitting, prepared, read
from ..derivation import Derivation, Plain, Stage

BATCH = 64
PROBE = "probe"
"""The probe set in the place of the training data."""
LARGE = 60_000_000
"""Weights of which a sketch keeps a place and a sign each."""


class InfluenceDerivation(Derivation):
    """How much each training example moved the network towards its answer to one example: TracIn over the snapshots.

    *Meaning* the sum over the snapshots of the learning rate times the product of two gradients: of the training example's
    loss, and of the loss of the answer. Positive: a step on this example makes the loss of the answer smaller (a proponent);
    negative: larger (an opponent). It tells what single plain steps at the snapshots would do, not what a training without
    the example would have come to.
    *Shapes* ``scores`` (examples,), ``error`` (examples,), ``rows`` (examples,) their numbers in the data, ``steps`` and
    ``rates`` (snapshots,), of all layers the mean over the optimizers' groups; ``own`` whether each weight's product has the rate of its own
    group, else that mean; ``total`` how many examples the data has. ``last`` names the last layer, and behind it those that also lead
    to the answer with no layer between, which are not looked at; it is empty of all layers.
    *Error* of the last layer none (its gradients are products of what it was given and the slope of the loss, bias included);
    of all layers the standard error of a random projection, which ``error`` says.
    *Cost* one forward pass an example and snapshot; of all layers one forward and one backward pass. Another answer on the
    same data is free as long as the data's gradients are in memory.
    *Source* Pruthi et al. 2020, arXiv:2002.08484, equation 4 and §3.4.
    """

    on = "examples"
    version = 3

    example: int = knob(0, "The example whose answer is asked for.", low=0)
    what: str = knob("answer", "What it was taught: the answer that it gives now, or the truth.", choices=("answer", "truth"))
    data: str = knob("", "A file of the training data; what the training named as its data, or probe: the probe set.")
    layers: str = knob("last", "The last layer, exactly, or all layers, by a random projection.", choices=("last", "all"))
    snapshots: int = knob(8, "The most snapshots, up to this step, evenly chosen.", low=1, high=1000)
    most: int = knob(5000, "The most training examples; of more an even choice is looked at.", low=1, high=10_000_000)
    dimensions: int = knob(2048, "Numbers that are kept of a gradient of all layers; the error falls with their root.", low=16, high=1_000_000)
    seed: int = knob(0, "What the projection is drawn from.", low=0)
    given: Examples | None = dataclasses.field(default=None, compare=False, repr=False)
    """Training data that is in no file."""
    input: Nested | None = dataclasses.field(default=None, compare=False, repr=False)
    """An input in the place of an example of the probe set."""

    @classmethod
    def asked(cls, scene: Scene, options: Mapping[str, Any]) -> InfluenceDerivation:
        """Training data may be handed over as examples or ``(x, y)``; what the training named is found."""
        own = dict(options)
        data, given, own_input = own.pop("data", ""), own.pop("given", None), own.pop("input", None)
        if isinstance(data, tuple):
            if len(data) != 2:
                raise UsageError(f"data wants a file, or (x, y), got a tuple of {len(data)}")
            x: Any = data[0]
            data, given = "", Examples.of(nesting.named_like(x, scene.examples.x), data[1], scene.examples.classes, scene.examples.kind)
        if isinstance(data, Examples):
            data, given = "", data
        if not data and given is None and scene.run is not None:
            data = str(scene.run.meta.get("data") or "")
        made: InfluenceDerivation = build(cls, {**own, "data": data or ("" if given is not None else PROBE)})
        return dataclasses.replace(made, given=given, input=own_input)

    def fits(self, scene: Scene) -> str | None:
        """It needs a model of modules, a task with a loss, labelled training data, and an answer that has a loss."""
        if scene.missing is not None:
            return scene.missing
        if scene.function:
            return "it reads gradients of a module's weights, and this model is a plain function"
        if scene.edits or scene.moved is not None:
            return "gradients are those of the training, in which there are neither edits nor moved weights; take them back"
        if not scene.task:
            return "what the network answers is not known; say it with task="
        if scene.reading.wanted(scene.examples.x, self.examples(scene).y) is None:
            return f"the examples of {self.words(scene)} have no labels, so they taught nothing; give a file with labels by data="
        if self.input is None and self.example >= len(scene.examples):
            return f"the probe set has examples 0 to {len(scene.examples) - 1}, got {self.example}"
        if self.label(scene) is None:
            return "the example has no label, and no class is its answer; choose one with a label"
        if self.layers == "all" and (count := sum(weight.numel() for weight in scene.model.parameters())) > LARGE:
            return f"a projection of {count:,} weights does not fit into memory; choose layers=last"
        return None

    def examples(self, scene: Scene) -> Examples:
        """The training data."""
        if self.given is not None:
            return fitting(scene, self.given)
        return scene.examples if self.data == PROBE else read(scene, self.data)

    def words(self, scene: Scene) -> str:
        """What the training data is, in words."""
        from pathlib import Path

        return "the given data" if self.given is not None else "the probe set" if self.data == PROBE else Path(self.data).name

    @property
    def probe(self) -> bool:
        """Whether the probe set stands in for the training data."""
        return self.given is None and self.data == PROBE

    def material(self, scene: Scene) -> dict[str, Any]:
        """The training data, the input of one's own, and the snapshots."""
        told: dict[str, Any] = {"examples": self.examples(scene).fingerprint, "steps": self._steps(scene)}
        if self.input is not None:
            told["input"] = fingerprint({str(k): part for k, part in enumerate(nesting.tensors(self.input))})
        return told

    def cost(self, scene: Scene) -> Cost:
        """One pass an example and snapshot, and the answer's own."""
        count = (len(self._rows(scene)) + 1) * len(self._steps(scene) or [0])
        return Cost(count, count if self.layers == "all" else 0)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The sum after each snapshot, the newest first, as it says most of the answer as it is now."""
        steps, rows = self._steps(scene), self._rows(scene)
        last, weights = self._last(scene)
        groups = [_rates(scene, step) for step in steps] or [_Rates({}, 1.0)]
        rates = [each.of(weights[0]) if last else each.mean for each in groups]
        own = all(each.known(weights) for each in groups)
        moments = list(reversed(list(enumerate(steps)))) or [(0, scene.step if scene.step is not None else 0)]
        total, done = float(len(moments) * len(rows)), 0
        scores, spread = np.zeros(len(rows)), np.zeros(len(rows))
        if begun is not None:
            done, scores, spread = int(begun["done"]), np.array(begun["scores"]), np.array(begun["spread"])
        label = self.label(scene)
        assert label is not None  # fits() has seen it
        for number, (place, step) in enumerate(moments):
            if number < done:
                continue
            moment = scene.alone(scene.cancel).at(step) if steps else scene
            made: LastGradients | Sketches | None = None
            for part, found in self._gradients(scene, moment, rows):
                made = found
                yield Stage(None, number * len(rows) + part, total + 1, f"step {step:,}" if steps else "")
            assert made is not None
            target = self._target(scene, moment, label, groups[place])
            scores = scores + made.dot(target).numpy()  # type: ignore[arg-type]
            if isinstance(made, Sketches):
                spread = spread + made.error(target).numpy() ** 2  # type: ignore[arg-type]
            value = self._value(scene, rows, steps, rates, scores, spread, last) | {"own": own}
            state = {"done": number + 1, "scores": scores, "spread": spread}
            yield Stage(value, (number + 1) * len(rows), total + 1, f"step {step:,}", state=lambda state=state: state)  # type: ignore[misc]
        yield Stage(self._value(scene, rows, steps, rates, scores, spread, last) | {"own": own}, total + 1, total + 1)

    def check(self, scene: Scene, value: Plain) -> None:
        """A score and an error for each example, and a rate for each snapshot."""
        count, steps = len(self._rows(scene)), len(self._steps(scene) or [0])
        kinds = {"scores": ("f", count), "error": ("f", count), "rows": ("i", count), "steps": ("i", steps), "rates": ("f", steps)}
        if set(value) != {*kinds, "total", "last", "own"} or not isinstance(value["own"], bool) or value["total"] != len(self.examples(scene)):
            raise ValueError("another set of values")
        if not isinstance(value["last"], list) or not all(isinstance(name, str) for name in value["last"]):
            raise ValueError("the last layers by name are wanted")
        for name, (kind, size) in kinds.items():
            array = value[name]
            if not isinstance(array, np.ndarray) or array.shape != (size,) or array.dtype.kind != kind:
                raise ValueError(f"{name} of shape {(size,)} is wanted")

    def _value(
        self, scene: Scene, rows: np.ndarray, steps: list[int], rates: list[float], scores: np.ndarray, spread: np.ndarray, last: list[str],
    ) -> Plain:
        return {
            "scores": scores.copy(), "error": np.sqrt(spread), "rows": rows, "rates": np.array(rates, np.float64),
            "steps": np.array(steps or [scene.step or 0], np.int64), "total": len(self.examples(scene)),
            "last": last,
        }

    def _last(self, scene: Scene) -> tuple[list[str], Sequence[str]]:
        """The last layer by name, and behind it those that lead to the answer beside it; and its weights by name."""
        if self.layers != "last":
            return [], ()
        x = fed(scene.model, nesting.to(self._asked(scene), scene.device))
        with Preservation(scene.model, "eval"):
            found = LastLayer(scene.model, scene.reading, x)
        return [found.name, *found.beside], found.weights

    def _steps(self, scene: Scene) -> list[int]:
        """The snapshots up to the scene's step; none where it is not of a run."""
        known = [step for step in scene.steps if scene.step is None or step <= scene.step]
        if not known or known[-1] != scene.step:
            return []  # the model as it is looked at now
        chosen = np.unique(np.linspace(len(known) - 1, 0, min(self.snapshots, len(known))).round().astype(int))
        return [known[k] for k in chosen]

    def _rows(self, scene: Scene) -> np.ndarray:
        total = len(self.examples(scene))
        return np.unique(np.linspace(0, total - 1, min(self.most, total)).round().astype(np.int64))

    def label(self, scene: Scene) -> Tensor | None:
        """The label whose loss is looked at, a batch of one; None where there is none."""
        if scene.task == "classification" and self.what == "answer":
            found = scene.reading.predictions(scene.scores(self._asked(scene)))
            if int(found[0]) >= 0:
                return found
        x = self._asked(scene)
        y = scene.examples.y
        own = None if y is None or self.input is not None else y[self.example : self.example + 1]
        wanted = scene.reading.wanted(x, own)
        return None if wanted is None or not bool(scene.reading.labelled(wanted.cpu()).any()) else wanted

    def _asked(self, scene: Scene) -> Nested:
        return self.input if self.input is not None else scene.examples.batch([self.example])

    def _target(self, scene: Scene, moment: Scene, label: Tensor, rates: _Rates) -> LastGradients | Sketches:
        """The gradient of the answer's loss, that of each weight times its learning rate: the data's are kept without."""
        x = fed(moment.model, nesting.to(self._asked(scene), moment.device))
        with Preservation(moment.model, "eval"):
            if self.layers == "last":
                look = LastLayer(moment.model, moment.reading, x)
                return look.gradients(x, label).scaled([rates.of(name) for name in look.weights])
            return self._sketching(moment).gradients(x, label, rates.of)

    def _gradients(self, scene: Scene, moment: Scene, rows: np.ndarray) -> Iterator[tuple[int, LastGradients | Sketches]]:
        """The training data's gradients at a moment, as far as they are; kept, as any answer asks for the same."""
        examples = self.examples(scene)
        about = (moment.fingerprint, examples.fingerprint, self.layers, self.most, self.dimensions, self.seed, repr(moment.edits))
        name = "gradients/" + hashlib.blake2b(repr(about).encode(), digest_size=16).hexdigest()
        memory = scene.memory
        kept = memory.get(name)
        if isinstance(kept, (LastGradients, Sketches)):
            yield len(rows), kept
            return
        parts: list[Any] = []
        size = BATCH if self.layers == "last" else 1
        look: LastLayer | Sketcher | None = None
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size].tolist()
            x = fed(moment.model, nesting.to(prepared(scene, examples.batch(chosen)), moment.device))
            y = moment.reading.wanted(x, None if examples.y is None else examples.y[chosen])
            assert y is not None  # fits() has seen it
            if scene.cancel is not None:
                scene.cancel()
            with Preservation(moment.model, "eval"):
                if look is None:
                    look = LastLayer(moment.model, moment.reading, x) if self.layers == "last" else self._sketching(moment)
                parts.append(look.gradients(x, y))
            if start % (16 * size) == 0 and parts:
                yield start, parts[0]
        whole = LastGradients.joined(parts) if self.layers == "last" else Sketches.joined(parts)
        memory.put(name, whole)
        yield len(rows), whole

    def _sketching(self, moment: Scene) -> Sketcher:
        # Another projection at each snapshot, so that their errors do not add up.
        return Sketcher(moment.model, moment.reading, self.dimensions, self.seed + 1_000_003 * ((moment.step or 0) + 1))


@dataclasses.dataclass(frozen=True)
class _Rates:
    """The learning rates at a step."""

    by_name: Mapping[str, float]
    """Of each weight, where the record says which group holds it."""
    mean: float
    """Over the optimizers' groups; 1 where none was recorded."""
    same: bool = True
    """Whether all groups have one rate."""

    def of(self, name: str) -> float:
        """That of a weight; the mean where its own is not known."""
        return self.by_name.get(name, self.mean)

    def known(self, names: Sequence[str]) -> bool:
        """Whether those of some weights are their own; without names, of any."""
        return self.same or bool(self.by_name) and all(name in self.by_name for name in names)


def _rates(scene: Scene, step: int) -> _Rates:
    """The learning rates at a step, by the optimizers' groups."""
    run = scene.run
    found: dict[int, float] = {}
    for name in run.series_names if run is not None else ():
        front, _, number = name.partition("/")
        at, values = run.series(name) if run is not None and front == "learning_rate" else (np.zeros(0), np.zeros(0))
        if len(at):
            found[int(number or 0)] = float(values[min(int(np.searchsorted(at, step)), len(at) - 1)])
    found = {number: rate for number, rate in found.items() if np.isfinite(rate)}
    groups = ((run.meta.get("held") or {}).get("groups") if run is not None else None) or []
    held = {str(name): found[number] for number, names in enumerate(groups) if number in found for name in names}
    return _Rates(held, float(np.mean(list(found.values()))) if found else 1.0, len(set(found.values())) < 2)
