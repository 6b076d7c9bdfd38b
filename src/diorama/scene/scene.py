"""A scene: a model at one moment, its probe set, its input and output kinds, and the edits it is looked at with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core import registry
from ..core.errors import Cancelled, NotApplicable, UsageError
from ..core.paths import path_of
from ..core.picture import Picture, Progress
from ..core.progress_line import ProgressLine
from ..core.provenance import Provenance
from ..core.selection import Key, Selection
from ..data.examples import Examples
from ..data.kinds import Kind
from ..data.nesting import Nested
from ..model.duplicate import duplicate
from ..model.edits import Edit
from ..model.function import of_function
from ..model.graph import Graph
from ..model.input_hints import as_read, with_names
from ..model.layers import Layer, LayerTable, by_unit
from ..model.outputs import Reading
from ..model.plain_module import device_of, fed
from ..model.preservation import Mode
from . import directions, weight_planes
from .input import CurrentInput, current, encoded
from .memory import Memory
from .network import SceneNetwork
from .pictures import pictures
from .probe import Answers, Probe, Responses, looked
from .source import GivenSource, RecordedSource, Source

if TYPE_CHECKING:
    from ..derive.derivation import DerivedValue
    from ..model.directions import Direction
    from ..run import Run

LIVE = 512
"""Views look at so many examples of the probe set, which may be any size, where nobody asks for more."""
NOTHING = Selection()


class Scene:
    """A model at one moment with the examples it is looked at with.

    ``x`` is a tensor, an array, a tuple (``model(*x)``) or a dict (``model(**x)``) with the example as dimension 0;
    ``y`` is what is right: class indices, one-hot rows, numbers, or tokens. Whatever is not told is guessed, and the
    guesses are stated in ``guessed`` and in every picture. The model is only looked at: it is left exactly as it was.

    A plain function from inputs to scores is looked at from outside: by the black-box methods, and by views of its answers.

    *Raises* UsageError when x and y do not go together, and for what is neither a module nor a function.
    """

    def __init__(
        self, model: nn.Module | Callable[..., Any], x: Any = None, y: Any = None, *, classes: Sequence[str] | None = None,
        inputs: Any = None, outputs: str | int | Callable[[Any], Tensor] | None = None, task: str | None = None,
        criterion: Callable[[Tensor, Tensor], Tensor] | None = None, device: Any = None, metadata: Mapping[str, Any] | None = None,
    ) -> None:
        examples = None if x is None else as_read(model, Examples.taken(with_names(model, x), y, classes, inputs, metadata))
        self._set(GivenSource(model if isinstance(model, nn.Module) else of_function(model), device), examples, outputs, task, criterion)

    @classmethod
    def of_run(cls, run: Run, step: int, state: dict[str, Tensor] | None = None, architecture: int | None = None, asked: int | None = None) -> Scene:
        """The scene of a run at a snapshot, for the step that was ``asked``, or at the live end when the weights are handed in."""
        scene = cls.__new__(cls)
        told, source = run.reading, RecordedSource(run, step, state, architecture, asked)
        scene._set(source, source.examples(), told.get("outputs"), run.task or None, told.get("criterion"), run.meta)
        return scene

    _count: int | None = None
    """Views look at so many examples, where somebody said how many."""

    def _set(self, source: Source, examples: Examples | None, outputs: Any, task: str | None, criterion: Any, meta: Any = None) -> None:
        if task is not None and not isinstance(task, str):
            raise UsageError(f"task wants one word, got {task!r}; of a model with several tasks look at one: outputs= names its output")
        # Views read examples and truth as arrays; what the model sees goes to its device batch by batch.
        examples = examples.to("cpu") if examples is not None else None
        self._source, self._examples = source, examples
        self.instead = source.instead
        read = {name: (meta or {}).get(name) or None for name in ("form", "ahead")}
        self._told = {"outputs": outputs, "task": task, "criterion": criterion, **read}
        self.edits: tuple[Edit, ...] = ()
        self.moved: weight_planes.MovedWeights | None = None
        self.others: tuple[Scene, ...] = ()
        self._input: tuple[Nested, str] | None = None
        self._cancel: Callable[[], None] | None = None
        self._live = examples.first(self._count or LIVE) if examples is not None else None
        self._memory = Memory()

    @property
    def other(self) -> Scene | None:
        """The first scene that it is compared with."""
        return self.others[0] if self.others else None

    # What the scene is made of.

    @property
    def network(self) -> SceneNetwork:
        """The model with what is known of it before it is looked into."""
        return SceneNetwork(self._source, self._examples, self._told)

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
        return self.network.function

    @property
    def model(self) -> nn.Module:
        """The module.

        *Raises* Untrusted or NotApplicable, saying how to enable it, for a run whose model can't be loaded.
        """
        return self._source.module()

    @property
    def examples(self) -> Examples:
        """The whole probe set. *Raises* NotApplicable when the scene was made without examples."""
        return self.network.examples

    @property
    def live(self) -> Examples:
        """The first 512 examples of the probe set, which views look at; as many as :meth:`first` says."""
        self.examples  # noqa: B018 - raises, saying what is missing
        assert self._live is not None
        return self._live

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, their numbers where they have none."""
        return self.network.classes

    @property
    def kind(self) -> Kind | dict[str, Kind]:
        """What the inputs are."""
        return self.examples.kind

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kinds by the inputs' names, "" for a single input; empty without examples."""
        return self.network.kinds

    @property
    def task(self) -> str:
        """What the model answers: classification, multi_label, regression, next_token, or "" when it is unknown."""
        return self.network.task

    @property
    def guessed(self) -> tuple[str, ...]:
        """One sentence for each thing that was guessed rather than told."""
        return self.network.guessed

    @property
    def steps(self) -> tuple[int, ...]:
        """The run's snapshots, at each of which the same scene exists; empty for a model of the user's own."""
        return tuple(self.run.snapshots) if self.run is not None else ()

    @property
    def layers(self) -> LayerTable:
        """The layers in call order, with kinds, shapes and parameter counts."""
        return self.network.layers

    @property
    def table(self) -> LayerTable | None:
        """The layers where the model can be run; None without its module or without examples."""
        return self.network.table

    @property
    def graph(self) -> Graph:
        """The nested graph of modules and operations."""
        return self.network.graph

    @property
    def reading(self) -> Reading:
        """How the outputs are read: which piece, which task, which form."""
        return self.network.reading

    def parameters(self) -> dict[str, np.ndarray]:
        """Weights and buffers by name, also where the model itself can't be loaded; edits are not applied.

        Complex numbers are given by their magnitude.
        """
        return self.network.parameters()

    def layer(
        self, name: str | None, selection: Selection = NOTHING, fits: Callable[[Layer], bool] = lambda layer: True, *,
        wanted: str = "layer that fits",
    ) -> Layer:
        """The named layer, else the selected one, else the first that fits.

        *Raises* NotFound for a name that is not there; NotApplicable when no layer fits, or the named one does not.
        """
        return self.network.layer(name, selection, fits, wanted=wanted)

    @property
    def fingerprint(self) -> str:
        """A short name of the weights: equal weights have equal names."""
        return self._source.fingerprint()

    def keep(self, name: str, make: Callable[[], Any] | None = None) -> Any:
        """Something about the whole run or model, made once for all its moments; without ``make`` None where it was not."""
        return self._source.shared.memory.once(name, make) if make is not None else self._source.shared.memory.get(name)

    # Looking.

    def look(self, x: Nested, keep: Iterable[str] = (), **how: Any) -> tuple[Tensor, Mapping[str, Any]]:
        """One forward pass with the scene's edits: the scores, and what was kept of the named layers."""
        output, kept = self._looked(x, keep, **how)
        return self.reading.scores(output).detach(), kept

    def kept(self, x: Nested, keep: Iterable[str], **how: Any) -> Mapping[str, Any]:
        """What :meth:`look` keeps of the named layers, by a pass that ends when the last of them has answered."""
        return self._looked(x, keep, only=True, **how)[1]

    def _looked(self, x: Nested, keep: Iterable[str], **how: Any) -> tuple[Any, dict[str, Any]]:
        return looked(self.model, x, {name: self.network.point(name) for name in keep}, edits=self.edits, cancel=self._cancel, **how)

    def current(self, selection: Selection = NOTHING, example: int | None = None) -> CurrentInput:
        """The input that is looked at: the given example, else a drawn one, else the chosen example, else the first."""
        return current(self.model, self.examples, self._input, selection, example)

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

    def activations(self, names: str | Iterable[str], x: Nested | None = None, mode: Mode = "eval") -> dict[str, Tensor]:
        """Activations by layer, (n, units, …) on the CPU, of an input or (kept) of the live examples; places behind texts are among them."""
        wanted = [names] if isinstance(names, str) else list(names)
        found = {name: self.layers[name] for name in wanted}
        if x is None:
            return self._on_probe().activations(self.kept, self.batches(), found, mode)
        kept = self.kept(x, found, mode=mode)
        return {name: by_unit(layer, kept[name]).cpu() for name, layer in found.items()}

    def responses(self, names: Iterable[str]) -> dict[str, Responses]:
        """The highest, lowest and mean value of each unit for each live example, by layer; one pass, then kept."""
        return self._on_probe().responses(self.kept, self.batches(), {name: self.layers[name] for name in names})

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

    def knows(self, names: Iterable[str]) -> bool:
        """Whether :meth:`responses` of the layers would come at once."""
        return self._on_probe().knows(names)

    def answers(self, sure: bool = True) -> Answers:
        """Predictions, losses, whether they are right and, where asked, how ``sure`` they are, for the live examples; one pass, then kept."""
        return self._on_probe().read(lambda x: self.look(x)[0], self.batches(), self.reading, sure)

    def scores(self, x: Nested | None = None) -> Tensor:
        """The model's scores, (n, classes), for an input or for the live examples."""
        batches = ((range(0), x),) if x is not None else self.batches()
        return torch.cat([self.look(part)[0].cpu() for _, part in batches])

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
            raise NotApplicable("a loss needs the truth of each example and a known task; pass y (or probe=(x, y)) and task=")
        return found

    def batches(self) -> Iterator[tuple[range, Nested]]:
        """The live examples as the model takes them, batch by batch, with their numbers."""
        for chosen, x in self._on_probe().batches(self.device):
            yield chosen, fed(self.model, x)

    def _on_probe(self) -> Probe:
        return Probe(self.live, self.memory)

    # Other scenes.

    def _like(self) -> Scene:
        return copy.copy(self)

    def with_input(self, raw: Any) -> Scene:
        """The same scene with an input that is not in the probe set: drawn, uploaded, typed, or tensors of one example.

        *Raises* UsageError when the input is not of the model's kind.
        """
        if raw is None:
            return self
        scene = self._like()
        x, label = encoded(self.examples, raw)
        scene._input = (fed(self.model, x), label)
        return scene

    def compared_with(self, other: Scene | Iterable[Scene] | None) -> Scene:
        """The same scene with another one beside it, or any number of them, for views that compare."""
        scene = self._like()
        others = () if other is None else (other,) if isinstance(other, Scene) else tuple(other)
        for each in others:
            if not isinstance(each, Scene):
                raise UsageError(f"other wants a scene, or a list of scenes, got {type(each).__name__}")
        scene.others = others
        return scene

    def cancelled_by(self, cancel: Callable[[], bool] | None) -> Scene:
        """The same scene, whose forward passes stop at the next operation once ``cancel()`` is true."""
        scene = self._like()

        def stop() -> None:
            if cancel is not None and cancel():
                raise Cancelled("no longer wanted")

        scene._cancel = stop if cancel is not None else None
        return scene

    def alone(self, check: Callable[[], None] | None = None) -> Scene:
        """The same model, examples and edits, without an input of one's own or another scene; ``check`` raises to stop."""
        scene = self._like()
        scene.others, scene._input, scene._cancel = (), None, check
        return scene

    def edit(self, key: str, **change: Any) -> Scene:
        """The same scene with a change: ``edit("unit:features.3/17", lesion=True)``, ``edit("direction:NAME", move=2)``.

        One change a call: ``lesion=True``, ``value=``, ``scale=``, ``patch=`` a tensor or ``move=``; another raises UsageError.
        ``edit("plane:random", at="0.4,-0.2", seed=0)`` moves the weights, as the cross of the view ``loss_slice`` does.
        """
        if key.startswith(weight_planes.PLANE):
            return weight_planes.moved(self, key.removeprefix(weight_planes.PLANE), **change)
        scene = self._like()
        scene.edits = (*self.edits, directions.edit(self, Edit.asked(self.network.keyed(key), change)))
        scene._memory = Memory()
        return scene

    def with_weights(self, weights: Mapping[str, Tensor]) -> Scene:
        """The same scene with other numbers in a copy of its model, whose weights may be written to again and again."""
        model = duplicate(self.model)
        model.load_state_dict({**model.state_dict(), **weights})
        return self.with_model(model)

    def with_model(self, model: nn.Module) -> Scene:
        """The same scene of another model, such as a changed copy of its own."""
        scene = self._like()
        given = GivenSource(model)
        given.name, given.shared = self.name, self._source.shared
        scene._source, scene._memory = given, Memory()
        return scene

    def on(self, examples: Examples) -> Scene:
        """The same model at other examples, such as those of another run, without an input of one's own."""
        scene = self._like()
        told = self._told
        scene._set(self._source, examples, told["outputs"], told["task"], told["criterion"], told)
        scene.edits, scene.moved, scene._cancel = self.edits, self.moved, self._cancel
        return scene

    def first(self, count: int) -> Scene:
        """The same scene, whose views and derivations look at the first so many examples of the probe set instead of the first 512.

        *Cost* what they compute grows with it: a pass an example, and in maps of points what the algorithm takes.
        *Raises* UsageError for fewer than one.
        """
        if count < 1:
            raise UsageError(f"first wants a number of examples of at least 1, got {count}")
        if min(count, len(self.examples)) == len(self.live):
            return self
        scene = self._like()
        scene._count, scene._live, scene._memory = count, self.examples.first(count), self.memory.part(f"first {count}")
        return scene

    def at(self, step: int) -> Scene:
        """The same run at another step, looked at in the same way."""
        if self.run is None:
            raise NotApplicable("this model was not opened from a run, so it has no other steps")
        scene: Scene = self.run.scene(step) if self._count is None else self.run.scene(step).first(self._count)
        scene.others, scene._input, scene._cancel = self.others, self._input, self._cancel
        scene.edits = directions.edits(scene, self)
        return scene

    def direction(self, name: str, a: Any = None, b: Any = (), *, layer: str | None = None, how: str = "means") -> Direction:
        """A direction among a layer's units: ``direction("round", a="class:0", b="class:1")`` fits one and keeps it.

        *Meaning* it leads to the examples A from the examples B (left out: all others), each keys (``"class:0"``,
        ``"example:0-9"``) or numbers of examples; ``how`` is the difference of ``"means"`` or a linear ``"probe"``.
        It is kept under its name with the run, found again by ``direction("round")`` at any step, where it is fitted
        anew, and may be a target of attribution and synthesis. ``"pca/conv2/0"`` and ``"nmf/conv2/0"`` are there always.
        *Raises* NotFound for a name that was not kept; UsageError for one that is kept already, fitted otherwise.
        """
        if a is None:
            return directions.direction(self, name)
        return directions.keep(self, name, a, b, layer=layer, how=how)  # type: ignore[arg-type]

    # Asking for derivations and views.

    def derive(
        self, name: str, *, after: int | DerivedValue | None = None, other: Scene | Iterable[Scene] | None = None, **knobs: Any
    ) -> DerivedValue:
        """Long work that is kept, gone on with after a stop, and shared: ``derive("projection", layer="fc").value``.

        *Meaning* the value is plain: arrays, or lists and dicts of them; it is made when it is first asked for, and kept
        with the run under its ``key``. ``stream()`` yields the stages on the way, and stops when it is closed.
        ``after`` is a step of the run, or the same derivation there, that this one starts from; ``other`` is the scene
        that two networks are compared with (``matching``).
        *Raises* NotFound for a derivation or knob that does not exist; NotApplicable when it does not fit.
        """
        scene = self.compared_with(other) if other is not None else self
        found: DerivedValue = registry.derivations[name].of(scene, knobs, after)
        return found

    def view(self, name: str, **options: Any) -> Picture:
        """The last picture of a view; takes what :meth:`stream` takes. Without ``progress`` long work says on stderr how far it is."""
        *_, last = self.stream(name, **{"progress": ProgressLine(name), **options})
        return last

    def stream(
        self, name: str, *, select: Iterable[str | Key] | Selection = (), other: Scene | Iterable[Scene] | None = None,
        input: Any = None,  # noqa: A002 - the interface's word
        cancel: Callable[[], bool] | None = None, progress: Callable[[Progress], None] | None = None, **options: Any,
    ) -> Iterator[Picture]:
        """Every picture of a view as it refines; closing the iterator stops the work.

        Knobs go by their names, keys by their kinds (``unit="features.3/17"``, ``layer=``, ``example=4``, ``class_=7``)
        or in ``select``; ``input`` is looked at instead of an example of the probe set; ``other`` (one scene or
        several) is compared with.

        *Raises* NotFound for a view, knob or key that does not exist; NotApplicable when the view does not fit.
        """
        scene = self.compared_with(other) if other is not None else self
        scene = scene.with_input(input).cancelled_by(cancel) if input is not None or cancel else scene
        return pictures(scene, name, select, options, progress)

    def save(self, path: str | Path) -> Path:
        """Write a run of one snapshot, for the page and for others."""
        from ..record.recorder import watch

        told = {name: value for name, value in self._told.items() if value is not None and name not in ("form", "ahead")}
        name = path_of(path, "path wants the name of a folder").name
        recorder = watch(self.model, path, probe=self._examples, every=10, name=name, **told)
        recorder.close()
        return recorder.path

    def provenance(self, view: Any, selection: Selection = NOTHING, *, guessed: bool = True, **more: Any) -> Provenance:
        """How a picture of this scene is made, with what was ``guessed`` of the network unless that is left out."""
        said = self.guessed if view.needs == "model" and guessed else ()
        run = self.run.name if self.run is not None else ""
        edits = (*((self.moved.words,) if self.moved is not None else ()), *map(str, self.edits)) if view.needs != "record" else ()
        return Provenance.of(view, selection, step=self.step, run=run, model=self.fingerprint, guessed=said, edits=edits, **more)

    def __repr__(self) -> str:
        held = f"{len(self._examples)} examples" if self._examples is not None else "no examples"
        return f"<Scene of {self.name}{f' at step {self.step}' if self.step is not None else ''}: {held}>"
