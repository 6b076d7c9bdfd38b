"""What a scene knows about its model and sees in it: layers, activations, answers, each computed once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.blame import blamed
from ..core.errors import NotApplicable, UsageError, not_found
from ..core.selection import Selection
from ..data.examples import Examples
from ..data.kinds import Kind
from ..data.nesting import Nested
from ..model.capture import Capture
from ..model.edits import Edit
from ..model.function import FunctionModule
from ..model.graph import Graph, graph
from ..model.kernels import recurrent
from ..model.layers import Layer, LayerTable, by_unit, layers
from ..model.outputs import Reading
from ..model.patterns import Sites
from ..model.points import points
from ..model.untouched import Mode
from ..model.unwrap import device_of, fed
from .input import Current, decoded, kinds_of
from .memory import Memory
from .probe import Answers, Probe, Responses
from .source import Source

if TYPE_CHECKING:
    from ..run import Run
    from .scene import Scene

LIVE = 512
"""Views look at so many examples of the probe set, which may be any size."""
NOTHING = Selection()


class Looking:
    """The looking half of a scene."""

    def _set(self, source: Source, examples: Examples | None, outputs: Any, task: str | None, criterion: Any) -> None:
        if task is not None and not isinstance(task, str):
            raise UsageError(
                f"task wants one word, got {task!r}; of a model with several tasks look at one: outputs= names its output"
            )
        # Views read examples and truth as arrays; what the model sees goes to its device batch by batch.
        examples = examples.to("cpu") if examples is not None else None
        self._source, self._examples = source, examples
        self._told = {"outputs": outputs, "task": task, "criterion": criterion}
        self.edits: tuple[Edit, ...] = ()
        self.others: tuple[Scene, ...] = ()
        self._input: tuple[Nested, str] | None = None
        self._cancel: Callable[[], None] | None = None
        self._live = examples.first(LIVE) if examples is not None else None
        self._memory = Memory()

    @property
    def other(self) -> Scene | None:
        """The first scene that it is compared with."""
        return self.others[0] if self.others else None

    # What the scene is made of.

    @property
    def run(self) -> Run | None:
        """The run that the scene is a moment of, or None for a model of the user's own."""
        return self._source.run

    @property
    def step(self) -> int | None:
        """The optimizer step, for a scene of a run."""
        return self._source.step

    @property
    def name(self) -> str:
        """The run's name, or the model's class."""
        return self._source.name

    @property
    def missing(self) -> str | None:
        """Why the model can't be looked into, with the way out; None when it can."""
        return self._source.missing()

    @property
    def function(self) -> bool:
        """Whether the model is a plain function, which can only be asked for answers."""
        return self.missing is None and isinstance(self.model, FunctionModule)

    @property
    def model(self) -> nn.Module:
        """The module.

        *Raises* Untrusted or NotApplicable, saying how to enable it, for a run whose model can't be loaded.
        """
        return self._source.module()

    @property
    def examples(self) -> Examples:
        """The whole probe set. *Raises* NotApplicable when the scene was made without examples."""
        if self._examples is None:
            raise NotApplicable(
                "this needs examples, and the scene has none; pass x (and y) to Scene or probe= to watch"
            )
        return self._examples

    @property
    def live(self) -> Examples:
        """The first 512 examples of the probe set, which views look at."""
        self.examples  # noqa: B018 - raises, saying what is missing
        assert self._live is not None
        return self._live

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, their numbers where they have none."""
        named = self._examples.classes if self._examples is not None else ()
        if self._examples is None or self.missing or self.task not in ("classification", "multi_label", "segmentation"):
            return named
        count = self._source.shared.width or len(named)
        return (*named[:count], *(str(k) for k in range(len(named), count)))

    @property
    def kind(self) -> Kind | dict[str, Kind]:
        """What the inputs are."""
        return self.examples.kind

    @property
    def task(self) -> str:
        """What the model answers: classification, multi_label, regression, next_token, or "" when it is unknown."""
        return str(self._told["task"] or self.reading.task)

    @property
    def guessed(self) -> tuple[str, ...]:
        """One sentence for each thing that was guessed rather than told."""
        told = self._examples.guessed if self._examples is not None else ()
        read = self.reading.guessed if self._examples is not None and self.missing is None else ()
        seen = self.layers.notes if self._examples is not None and self.missing is None and not self.function else ()
        return (*told, *read, *self._complex(), *seen)

    def _complex(self) -> tuple[str, ...]:
        """What is shown of complex numbers, said where there are some."""
        if self._examples is None or self.missing is not None or self.function:
            return ()
        names = [layer.name for layer in self.layers if layer.complex]
        names += [name for name, tensor in self._source.state().items() if isinstance(tensor, Tensor) and tensor.is_complex()]
        if not names:
            return ()
        some = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        return (f"The numbers of {some} are complex; what is shown of them is their magnitude.",)

    @property
    def steps(self) -> tuple[int, ...]:
        """The run's snapshots, at each of which the same scene exists; empty for a model of the user's own."""
        return tuple(self.run.snapshots) if self.run is not None else ()

    @property
    def layers(self) -> LayerTable:
        """The layers in call order, with kinds, shapes and parameter counts."""
        shared = self._source.shared
        if shared.layers is None:
            with blamed():
                shared.layers = layers(self.model, self._few())
        return shared.layers

    @property
    def table(self) -> LayerTable | None:
        """The layers where the model can be run; None without its module or without examples."""
        return self.layers if self._examples is not None and self.missing is None else None

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kinds by the inputs' names, "" for a single input; empty without examples."""
        return kinds_of(self._examples.kind) if self._examples is not None else {}

    @property
    def graph(self) -> Graph:
        """The nested graph of modules and operations."""
        shared = self._source.shared
        if shared.graph is None:
            with blamed():
                shared.graph = graph(self.model, self._few())
        return shared.graph

    @property
    def attention(self) -> Sites:
        """The attentions of the model in order, however they are written."""
        return points(self.model, self._few()).attention

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """Something about the whole run or model, made once for all its moments."""
        return self._source.shared.memory.once(name, make)

    @property
    def named(self) -> dict[str, Any]:
        """How the directions that a person named are fitted, by name, as long as the model is kept."""
        return self._source.shared.directions

    def parameters(self) -> dict[str, np.ndarray]:
        """Weights and buffers by name, also where the model itself can't be loaded; edits are not applied.

        Complex numbers are given by their magnitude.
        """
        return {name: _array(tensor) for name, tensor in self._source.state().items() if isinstance(tensor, Tensor)}

    @property
    def fingerprint(self) -> str:
        """A short name of the weights: equal weights have equal names."""
        return self._source.fingerprint()

    @property
    def reading(self) -> Reading:
        """How the outputs are read: which piece, which task, which form."""
        shared = self._source.shared
        if shared.reading is None:
            x = self._few()
            with blamed(), Capture(self.model) as look:
                output = look(x)
            shared.reading = Reading.of(output, self.examples.y, x=x, classes=self.examples.classes, **self._told)
            shared.width = shared.reading.width(shared.reading.scores(output))
        return shared.reading

    # Looking.

    def look(
        self,
        x: Nested,
        keep: Iterable[str] = (),
        *,
        reduce: Callable[[str, Tensor], Any] | None = None,
        mode: Mode = "eval",
    ) -> tuple[Tensor, Mapping[str, Any]]:
        """One forward pass with the scene's edits: the scores, and what was kept of the named layers."""
        names = tuple(keep)
        with Capture(
            self.model, keep=names, mode=mode, edits=self.edits, reduce=reduce, cancel=self._cancel
        ) as capture:
            output = capture(x)
        return self.reading.scores(output).detach(), {name: capture[name] for name in names}

    def current(self, selection: Selection = NOTHING, example: int | None = None) -> Current:
        """The input that is looked at: the given example, else a drawn one, else the chosen example, else the first."""
        if self._input is not None and example is None:
            x, label = self._input
            return Current(x, label, shown=decoded(self.kind, x))
        chosen = selection.one("example")
        index = example if example is not None else chosen.number if chosen is not None else 0
        if not 0 <= index < len(self.examples):
            raise UsageError(f"the probe set has examples 0 to {len(self.examples) - 1}, got {index}")
        x = fed(self.model, self.examples.batch([index]))
        return Current(x, f"example {index}", f"example:{index}", index, decoded(self.kind, x))

    @property
    def cancel(self) -> Callable[[], None] | None:
        """What long work calls at every op: it raises once nobody wants the result any more."""
        return self._cancel

    @property
    def custom(self) -> bool:
        """Whether a drawn, uploaded or typed input is looked at."""
        return self._input is not None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return device_of(self.model)

    def activations(
        self, names: str | Iterable[str], x: Nested | None = None, mode: Mode = "eval"
    ) -> dict[str, Tensor]:
        """Activations by layer, (n, units, …) on the CPU, of an input or (kept for next time) of the live examples."""
        wanted = [names] if isinstance(names, str) else list(names)
        found = {name: self.layers[name] for name in wanted}
        if x is None:
            return self._on_probe().activations(self.look, self._batches(), found, mode)
        kept = self.look(fed(self.model, x), found, mode=mode)[1]
        return {name: by_unit(layer, kept[name]).cpu() for name, layer in found.items()}

    def responses(self, names: Iterable[str]) -> dict[str, Responses]:
        """The highest, lowest and mean value of each unit for each live example, by layer; one pass, then kept."""
        found = {name: self.layers[name] for name in names}
        for name, layer in found.items():
            if not layer.each:
                raise NotApplicable(f"{name} does not answer once for each example, so nothing can be said of its units")
        return self._on_probe().responses(self.look, self._batches(), found)

    @property
    def memory(self) -> Memory:
        """What was computed at these weights, under one bound."""
        # A model that was trained on since the last look: nothing computed before holds any more.
        version = self._source.version()
        if self._memory.version != version:
            self._memory.forget(version)
        return self._memory

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Something computed at these weights, made when it is first asked for, or when it had to go meanwhile."""
        return self.memory.once(name, make)

    @property
    def told(self) -> dict[str, Any]:
        """What was told of the outputs, as plain data; a function by its name and code."""
        return {name: _named(value) for name, value in self._told.items() if value is not None}

    def knows(self, names: Iterable[str]) -> bool:
        """Whether :meth:`responses` of the layers would come at once."""
        return self._on_probe().knows(names)

    def answers(self) -> Answers:
        """Predictions, confidence, losses and whether they are right, for the live examples; one pass, then kept."""
        return self._on_probe().read(self.look, self._batches(), self.reading)

    def scores(self, x: Nested | None = None) -> Tensor:
        """The model's scores, (n, classes), for an input or for the live examples."""
        batches = ((range(0), x),) if x is not None else self._batches()
        return torch.cat([self.look(fed(self.model, part))[0].cpu() for _, part in batches])

    def probabilities(self, x: Nested | None = None) -> Tensor:
        """The probabilities of the classes or tokens. *Raises* NotApplicable for a regression."""
        return self.reading.probabilities(self.scores(x))

    def predictions(self) -> Tensor:
        """The answers to the live examples."""
        return self.answers().predictions

    def losses(self) -> Tensor:
        """One loss for each live example. *Raises* NotApplicable without a truth or a task."""
        found = self.answers().losses
        if found is None:
            raise NotApplicable(
                "a loss needs the truth of each example and a known task; pass y (or probe=(x, y)) and task="
            )
        return found

    def states(self, layer: str, x: Nested) -> dict[str, Tensor]:
        """Gates and states of a recurrent layer by letter (i, f, g, o, c, h of an LSTM), each (n, steps, cells)."""
        found = recurrent(self.model, fed(self.model, x))
        if layer not in found:
            raise not_found("recurrent layer", layer, found)
        return dict(found[layer])

    def layer(
        self,
        name: str | None,
        selection: Selection = NOTHING,
        fits: Callable[[Layer], bool] = lambda layer: True,
        *,
        wanted: str = "layer that fits",
    ) -> Layer:
        """The named layer, else the selected one, else the first that fits.

        *Raises* NotFound for a name that is not there; NotApplicable when no layer fits, or the named one does not.
        """
        if name is not None:
            found = self.layers[name]
            if not fits(found):
                raise NotApplicable(f"{name!r} is not a {wanted}: it is a {found.kind} of shape {tuple(found.shape)}")
            return found
        for key in reversed(selection.a):
            if key.kind in ("layer", "unit") and self.layers.has(key.name) and fits(self.layers[key.name]):
                return self.layers[key.name]
        for layer in self.layers:
            if fits(layer):
                return layer
        raise NotApplicable(f"the model has no {wanted} among its {len(self.layers)} layers")

    def batches(self) -> Iterator[tuple[range, Nested]]:
        """The live examples as the model takes them, batch by batch, with their numbers."""
        return self._batches()

    # What the rest stands on.

    def _few(self) -> Nested:
        return fed(self.model, self.examples.batch(list(range(min(8, len(self.examples))))))

    def _on_probe(self) -> Probe:
        return Probe(self.live, self.memory)

    def _batches(self) -> Iterator[tuple[range, Nested]]:
        for chosen, x in self._on_probe().batches(self.device):
            yield chosen, fed(self.model, x)


def _named(value: Any) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    code = getattr(value, "__code__", None)
    inside = hashlib.blake2b(code.co_code + repr(code.co_consts).encode(), digest_size=8).hexdigest() if code else ""
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return re.sub(r"0x[0-9a-f]+", "", f"{getattr(value, '__module__', '')}.{name} {inside}")


def _array(tensor: Tensor) -> np.ndarray:
    plain = tensor.detach().cpu()
    plain = plain.dequantize() if plain.is_quantized else plain
    if plain.layout is not torch.strided:
        plain = plain.to_dense()
    plain = plain.abs() if plain.is_complex() else plain
    array = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    # It may share memory with the model, which must stay as it is.
    array.flags.writeable = False
    return array
