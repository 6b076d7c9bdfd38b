"""The network that a scene looks into: its layers, its graph, what it takes and how its answers are read."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import re
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.blame import blamed
from ..core.errors import NotApplicable
from ..core.selection import Key, Selection, is_point, plainly
from ..data import nesting
from ..data.examples import Examples
from ..data.kinds import Kind, Tokens
from ..data.nesting import Nested
from ..model.batch_size import called
from ..model.filler_labels import without_filling
from ..model.graph import Graph, GraphLook, graph
from ..model.last_op import AnswerTrace, made_by
from ..model.layers import SURVEYED, Layer, LayerTable, layers
from ..model.outputs import Reading
from ..model.own_labels import beside_labels
from ..model.patterns import Sites
from ..model.plain_module import dtype_of, fed
from ..model.points import points
from ..model.preservation import Preservation
from ..model.short_texts import shorter
from ..model.surroundings import NeutralSurroundings, as_built
from ..model.survey import FirstLook
from .input import kinds_of
from .source import Source

LONG = 2048
"""Tokens that are read, in all, to find out how a network is built."""
TOLD = 2
"""So many examples tell which layers there are."""


@dataclasses.dataclass(frozen=True)
class SceneNetwork:
    """A model with the examples it is given and what was told of its outputs; what is found out is kept at its source."""

    source: Source
    given: Examples | None
    """The examples, if there are any."""
    told: dict[str, Any]
    """What was told of the outputs: which, of which task, with which criterion."""

    @property
    def missing(self) -> str | None:
        """Why the model can't be looked into, with the way out; None when it can."""
        return self.source.missing()

    @property
    def function(self) -> bool:
        """Whether the model is a plain function, which can only be asked for answers."""
        return self.missing is None and self.source.function

    @property
    def model(self) -> nn.Module:
        """The module.

        *Raises* Untrusted or NotApplicable, saying how to enable it, for a run whose model can't be loaded.
        """
        return self.source.module()

    @property
    def examples(self) -> Examples:
        """The examples. *Raises* NotApplicable when there are none."""
        if self.given is None:
            raise NotApplicable(f"this needs examples, and {self.without}")
        return self.given

    @property
    def without(self) -> str:
        """Why there are no examples, where there are none, as the end of a sentence."""
        return self.source.unread or "the scene has no examples; pass x (and y) to Scene or probe= to watch"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, their numbers where they have none."""
        named = self.given.classes if self.given is not None else ()
        if self.given is None or self.missing or self.task not in ("classification", "multi_label", "segmentation"):
            return named
        count = self.source.shared.width or len(named)
        if count == len(named):
            return named  # asked for at each example, of which each would get a copy of a thousand names
        return (*named[:count], *(str(k) for k in range(len(named), count)))

    @property
    def width(self) -> int:
        """How many answers it gives to an example, or at each of its places: classes, tokens or numbers."""
        _ = self.reading
        return self.source.shared.width or 0

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kinds by the inputs' names, "" for a single input; empty without examples."""
        return kinds_of(self.given.kind) if self.given is not None else {}

    @property
    def task(self) -> str:
        """What the model answers: classification, multi_label, regression, next_token, or "" when it is unknown."""
        return str(self.told["task"] or self.reading.task)

    @property
    def guessed(self) -> tuple[str, ...]:
        """One sentence for each thing that was guessed rather than told."""
        told = self.given.guessed if self.given is not None else ()
        read = self.reading.guessed if self.given is not None and self.missing is None else ()
        seen = self.layers.notes if self.given is not None and self.missing is None and not self.function else ()
        run = self.source.run
        if run is not None and not any(one.startswith("task guessed") for one in read):
            # A run keeps the task that its recorder found: that it was a guess stays true.
            read = (*(one for one in run.meta.get("guessed") or () if one.startswith("task guessed")), *read)
        doubt = () if run is None else tuple(str(run.meta[about]) for about in ("doubt", "measure") if run.meta.get(about))
        return (*told, *read, *doubt, *self._complex(), *seen)

    def _complex(self) -> tuple[str, ...]:
        """What is shown of complex numbers, said where there are some."""
        if self.given is None or self.missing is not None or self.function:
            return ()
        names = [layer.name for layer in self.layers if layer.complex]
        shared = self.source.shared
        if shared.complex is None:
            shared.complex = tuple(self.source.complex())
        names += shared.complex
        if not names:
            return ()
        some = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        return (f"The numbers of {some} are complex; what is shown of them is their magnitude.",)

    @property
    def layers(self) -> LayerTable:
        """The layers in call order, with kinds, shapes and parameter counts."""
        shared = self.source.shared
        if shared.layers is None:
            x = self.few(SURVEYED)
            if shared.reading is None and nesting.size(x) <= TOLD:
                self._looked(x, whole=True)
            if shared.layers is None:
                with blamed():
                    shared.layers = layers(self.model, x)
        if shared.asked is None or shared.asked() is not self.source:
            known = shared.asked = weakref.ref(self.source)
            shared.layers.look_in(lambda: source.module() if (source := known()) is not None else None)
        return shared.layers

    def point(self, name: str) -> Layer:
        """A layer, or what lies between layers, by its name. The latter is found without a look at all layers, which costs passes more."""
        if self.source.shared.layers is None and is_point(name) and name not in dict(self.model.named_modules()):
            with blamed():
                return points(self.model, self.few())[name]
        return self.layers[name]

    @property
    def surveyed(self) -> bool:
        """Whether the layers, and how answers are read, are known already; else they cost some passes."""
        return self.source.shared.layers is not None and self.source.shared.reading is not None

    @property
    def table(self) -> LayerTable | None:
        """The layers where the model can be run; None without its module or without examples."""
        return self.layers if self.given is not None and self.missing is None else None

    def keyed(self, text: str) -> Key:
        """A key from its text, with a layer's own name where it means one."""
        key = plainly(text)
        return self.table.keyed(key) if key.kind in ("layer", "unit") and self.table is not None else key

    @property
    def graph(self) -> Graph:
        """The nested graph of modules and operations."""
        shared = self.source.shared
        if shared.graph is None and shared.reading is None and shared.layers is None and not self.function:
            x = self.few()
            if not self._costly(x):  # a picture asks for them as well, and one pass mostly tells all
                with contextlib.suppress(Exception):  # what is wrong with them is told when they are asked for
                    self._looked(x, drawn=True)
        if shared.graph is None:
            with blamed():
                shared.graph = graph(self.model, self.few())
        return shared.graph

    @property
    def attention(self) -> Sites:
        """The attentions of the model in order, however they are written."""
        return points(self.model, self.few()).attention

    @property
    def reading(self) -> Reading:
        """How the outputs are read: which piece, which task, which form."""
        shared = self.source.shared
        if shared.reading is None and shared.layers is None and not self.function and self._costly(x := self.few()):
            with contextlib.suppress(Exception):  # layers that cannot be told say so when they are asked for
                self._looked(x, whole=True)
        if shared.reading is None:
            self._looked(self.few())
        assert shared.reading is not None
        return shared.reading

    @staticmethod
    def _costly(x: Nested) -> bool:
        """Whether layers and how answers are read want the same pass: of one example, or of two texts so long that a second pass would be felt."""
        return nesting.size(x) == 1 or (nesting.size(x) <= TOLD and shorter(x) is not None)

    def _looked(self, x: Nested, *, whole: bool = False, drawn: bool = False) -> None:
        """The one pass that tells how answers are read, and mostly the layers too: of a long text one costs seconds.

        ``whole``: it is the layers that are asked for, and the pass takes no more examples than tell them. ``drawn``: it is the graph.
        """
        shared = self.source.shared
        model = self.model
        with blamed(), NeutralSurroundings():
            first = FirstLook(model, x, whole) if shared.layers is None else None
            graph = GraphLook(model, x, first.apart) if drawn and first is not None else None
            around, on_op = first.around if first is not None else None, graph.ran if graph is not None else None
            looks = first or contextlib.nullcontext(), graph or contextlib.nullcontext()
            with Preservation(model), torch.no_grad(), as_built(dtype_of(model)), looks[0], looks[1]:
                output, ending = made_by(model, x, functools.partial(called, model), around, on_op)
            if first is not None:
                shared.layers = first.table()
            if graph is not None and shared.layers is not None and graph.told:
                shared.graph = graph.graph(output)
            with contextlib.suppress(Exception) if whole else contextlib.nullcontext():  # what is wrong is told when it is asked for
                self._read(x, output, ending)

    def _read(self, x: Nested, output: Any, ending: AnswerTrace) -> None:
        shared, given, y = self.source.shared, self.examples, self.examples.y
        reading = Reading.of(output, y, x=beside_labels(self.model, x, y), classes=given.classes, ending=ending, **self.told)
        shared.width = reading.width(reading.scores(output))
        shared.reading = without_filling(reading, shared.width, given, self.model)

    def parameters(self) -> dict[str, np.ndarray]:
        """Weights and buffers by name, also where the model itself can't be loaded; edits are not applied.

        Complex numbers are given by their magnitude. What holds no numbers here (a meta tensor) is left out.
        """
        return {
            name: _array(tensor)
            for name, tensor in self.source.state().items()
            if isinstance(tensor, Tensor) and not tensor.is_meta
        }

    def layer(
        self,
        name: str | None,
        selection: Selection,
        fits: Callable[[Layer], bool] = lambda layer: True,
        *,
        wanted: str = "layer that fits",
    ) -> Layer:
        """The named layer, else the selected one, else the first that fits.

        *Raises* NotFound for a name that is not there; NotApplicable when no layer fits, or the named one does not.
        """
        if name is not None:
            found = self.layers[name]
            if not fits(found) and found.unlike:
                raise NotApplicable(f"{name or 'the model'} {found.unlike}, so it is not a {wanted}")
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

    @property
    def directions(self) -> dict[str, Any]:
        """How the directions that a person named are fitted, by name, as long as the model is kept."""
        return self.source.shared.directions

    def described(self) -> dict[str, Any]:
        """What was told, as plain data; a function by its name and code."""
        return {name: _named(value) for name, value in self.told.items() if value is not None}

    def few(self, count: int = 8) -> Nested:
        """A few examples as the model takes them, to find out how it is built: of long texts no more than two, each costs seconds."""
        if any(isinstance(kind, Tokens) for kind in self.kinds.values()):
            longest = max((part.shape[1] for part in nesting.tensors(self.examples.x) if part.ndim > 1), default=0)
            count = min(count, max(2, LONG // max(1, longest)))
        return fed(self.model, self.examples.batch(list(range(min(count, len(self.examples))))))


def _named(value: Any) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    code = getattr(value, "__code__", None)
    inside = hashlib.blake2b(code.co_code + repr(code.co_consts).encode(), digest_size=8).hexdigest() if code else ""
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return re.sub(r"0x[0-9a-f]+", "", f"{getattr(value, '__module__', '')}.{name} {inside}")


_NUMPY = (torch.float16, torch.float32, torch.float64)
"""Real types that NumPy knows; others, such as bfloat16 and those of 8 bits, are read as float32."""


def _array(tensor: Tensor) -> np.ndarray:
    plain = tensor.detach().cpu()
    plain = plain.dequantize() if plain.is_quantized else plain
    if plain.layout is not torch.strided:
        plain = plain.to_dense()
    plain = plain.abs() if plain.is_complex() else plain
    plain = plain.float() if plain.is_floating_point() and plain.dtype not in _NUMPY else plain
    array = plain.numpy()
    # It may share memory with the model, which must stay as it is.
    array.flags.writeable = False
    return array
