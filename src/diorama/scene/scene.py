"""A scene: a model at one moment, its probe set, its input and output kinds, and the edits it is looked at with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..core import registry
from ..core.errors import Cancelled, NotApplicable, UsageError
from ..core.knobs import sentence
from ..core.picture import Picture, Progress
from ..core.provenance import Provenance, versions
from ..core.selection import Key, Selection
from ..data.examples import Examples
from ..model.edits import Edit
from ..model.function import of_function
from ..model.unwrap import fed
from .asking import pictures
from .input import encoded
from .looking import NOTHING, Looking
from .memory import Memory
from .source import Given, Recorded

if TYPE_CHECKING:
    from ..derive.derivation import Derived
    from ..model.directions import Direction
    from ..run import Run


class Scene(Looking):
    """A model at one moment with the examples it is looked at with.

    ``x`` is a tensor, an array, a tuple (``model(*x)``) or a dict (``model(**x)``) with the example as dimension 0;
    ``y`` is what is right: class indices, one-hot rows, numbers, or tokens. Whatever is not told is guessed, and the
    guesses are stated in ``guessed`` and in every picture. The model is only looked at: it is left exactly as it was.

    A plain function from inputs to scores is looked at from outside: by the black-box methods, and by views of its answers.

    *Raises* UsageError when x and y do not go together, and for what is neither a module nor a function.
    """

    def __init__(
        self,
        model: nn.Module | Callable[..., Any],
        x: Any = None,
        y: Any = None,
        *,
        classes: Sequence[str] | None = None,
        inputs: Any = None,
        outputs: str | int | Callable[[Any], Tensor] | None = None,
        task: str | None = None,
        criterion: Callable[[Tensor, Tensor], Tensor] | None = None,
        device: Any = None,
    ) -> None:
        examples = x if isinstance(x, Examples) else None if x is None else Examples.of(x, y, classes, inputs)
        self._set(Given(model if isinstance(model, nn.Module) else of_function(model), device), examples, outputs, task, criterion)

    @classmethod
    def of_run(
        cls, run: Run, step: int, state: dict[str, Tensor] | None = None, architecture: int | None = None
    ) -> Scene:
        """The scene of a run at a snapshot, or at the live end when the weights are handed in."""
        scene = cls.__new__(cls)
        told = run.reading
        scene._set(
            Recorded(run, step, state, architecture), run.examples, told.get("outputs"), run.task or None, told.get("criterion")
        )
        return scene

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
        """The same scene looked at with a change: ``edit("unit:features.3/17", lesion=True)``."""
        scene = self._like()
        scene.edits = (*self.edits, Edit(Key.parse(key), **change))
        scene._memory = Memory()
        return scene

    def with_weights(self, weights: Mapping[str, Tensor]) -> Scene:
        """The same scene with other numbers in a copy of its model, whose weights may be written to again and again."""
        scene = self._like()
        model = copy.deepcopy(self.model)
        model.load_state_dict({**model.state_dict(), **weights})
        given = Given(model)
        given.name, given.shared = self.name, self._source.shared
        scene._source, scene._memory = given, Memory()
        return scene

    def on(self, examples: Examples) -> Scene:
        """The same model at other examples, such as those of another run, without an input of one's own."""
        scene = self._like()
        scene._set(self._source, examples, **self._told)
        scene.edits, scene._cancel = self.edits, self._cancel
        return scene

    def at(self, step: int) -> Scene:
        """The same run at another step, looked at in the same way."""
        if self.run is None:
            raise NotApplicable("this model was not opened from a run, so it has no other steps")
        scene: Scene = self.run.scene(step)
        scene.edits, scene.others, scene._input, scene._cancel = self.edits, self.others, self._input, self._cancel
        return scene

    def direction(
        self, name: str, a: Any = None, b: Any = (), *, layer: str | None = None, how: str = "means"
    ) -> Direction:
        """A direction among a layer's units: ``direction("round", a="class:0", b="class:1")`` fits one and keeps it.

        *Meaning* it leads to the examples A from the examples B (left out: all others), each keys (``"class:0"``,
        ``"example:0-9"``) or numbers of examples; ``how`` is the difference of ``"means"`` or a linear ``"probe"``.
        It is kept under its name with the run, found again by ``direction("round")`` at any step, where it is fitted
        anew, and may be a target of attribution and synthesis. ``"pca/conv2/0"`` and ``"nmf/conv2/0"`` are there always.
        *Raises* NotFound for a name that was not kept; UsageError for one that is kept already, fitted otherwise.
        """
        from . import directions

        if a is None:
            return directions.direction(self, name)
        return directions.keep(self, name, a, b, layer=layer, how=how)  # type: ignore[arg-type]

    # Asking for derivations and views.

    def derive(
        self, name: str, *, after: int | Derived | None = None, other: Scene | Iterable[Scene] | None = None, **knobs: Any
    ) -> Derived:
        """Long work that is kept, gone on with after a stop, and shared: ``derive("projection", layer="fc").value``.

        *Meaning* the value is plain: arrays, or lists and dicts of them; it is made when it is first asked for, and kept
        with the run under its ``key``. ``stream()`` yields the stages on the way, and stops when it is closed.
        ``after`` is a step of the run, or the same derivation there, that this one starts from; ``other`` is the scene
        that two networks are compared with (``matching``).
        *Raises* NotFound for a derivation or knob that does not exist; NotApplicable when it does not fit.
        """
        scene = self.compared_with(other) if other is not None else self
        found: Derived = registry.derivations[name].of(scene, knobs, after)
        return found

    def view(self, name: str, **options: Any) -> Picture:
        """The last picture of a view; takes what :meth:`stream` takes."""
        last: Picture | None = None
        for picture in self.stream(name, **options):
            last = picture
        if last is None:
            raise NotApplicable(f"the view {name!r} has nothing to show here")
        return last

    def stream(
        self,
        name: str,
        *,
        select: Iterable[str | Key] | Selection = (),
        other: Scene | Iterable[Scene] | None = None,
        input: Any = None,  # noqa: A002 - the interface's word
        cancel: Callable[[], bool] | None = None,
        progress: Callable[[Progress], None] | None = None,
        **options: Any,
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

        told = {name: value for name, value in self._told.items() if value is not None}
        recorder = watch(self.model, path, probe=self._examples, every=10, name=Path(path).name, **told)
        recorder.close()
        return recorder.path

    def provenance(self, view: Any, selection: Selection = NOTHING, **more: Any) -> Provenance:
        """How a picture of this scene is made."""
        return Provenance(
            method=view.name,
            sentence=sentence(type(view)),
            knobs={name: value for name, value in view.knobs().items() if value is not None},
            selection=str(selection),
            step=self.step,
            run=self.run.name if self.run is not None else "",
            model=self.fingerprint,
            guessed=self.guessed if view.needs == "model" else (),
            versions=versions(),
            **more,
        )

    def __repr__(self) -> str:
        at = f" at step {self.step}" if self.step is not None else ""
        held = f"{len(self._examples)} examples" if self._examples is not None else "no examples"
        return f"<Scene of {self.name}{at}: {held}>"
