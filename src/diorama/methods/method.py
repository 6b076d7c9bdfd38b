"""What an attribution method is, what it is given to look with, and what it hands back."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..core.errors import DioramaError, NotApplicable, UsageError
from ..core.knobs import Plugin, sentence
from ..core.picture import Picture
from ..core.provenance import Provenance, versions
from ..data import nesting
from ..data.fingerprint import fingerprint
from ..data.kinds import Image, Kind
from ..data.nesting import Nested
from ..model.capture import Capture
from ..model.changes import state_now
from ..model.edits import Edit
from ..model.function import FunctionModule
from ..model.hidden_ops import HiddenOps, checkpointed, hidden
from ..model.last_op import AnswerTrace, made_by
from ..model.layers import LayerTable, layers
from ..model.layout import ChannelsLastRule
from ..model.mode import OpMode, Rule
from ..model.outputs import Reading, Wanted
from ..model.plain_module import dtype_of, quantized
from ..model.preservation import weights_held
from ..model.slopes import slopes, underivable
from ..model.targets import Target
from .baseline import Baseline
from .batches import pieces
from .cost import Cost
from .entrance import Entrance
from .notes import cancelled, flatness, left_out, numbers_note

Group = Literal["gradient", "relevance", "class activation", "input modification", "black box", "transformers"]

_TABLES: weakref.WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], LayerTable]] = weakref.WeakKeyDictionary()
_KNOWN: weakref.WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], str]] = weakref.WeakKeyDictionary()


@dataclasses.dataclass
class Pass:
    """One forward pass: the model's output, the scores in it, the target's values, and the layers that were kept."""

    output: Any
    scores: Tensor
    values: Tensor | None
    kept: Capture

    @property
    def value(self) -> Tensor:
        """The target for each example, (n,)."""
        assert self.values is not None, "the pass was made without a target"
        return self.values

    def __getitem__(self, layer: str) -> Tensor:
        found: Tensor = self.kept[layer]
        return found


class Look:
    """All that a method looks with: the model, and what is known about it; the model is left as it was found.

    *Meaning* ``points`` are what gradients are taken at: the floating-point parts of an input and, for tokens, their
    embeddings (as the first embedding op that reads them returns them). ``run`` makes a pass in which the given points
    take their place; ``gradients`` differentiates it; ``shaped`` puts numbers at the points back into the input's
    shape, summed over the embedding for tokens.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        x: Nested,
        kind: Kind | dict[str, Kind] | None = None,
        reading: Reading | None = None,
        outputs: Wanted = None,
        task: str | None = None,
        table: LayerTable | None = None,
        classes: Sequence[str] = (),
        generator: torch.Generator | None = None,
        cancel: Callable[[], object] | None = None,
        progress: Callable[[int, int, str], object] | None = None,
        baseline: Nested | None = None,
        edits: Sequence[Edit] = (),
        seed: int = 0,
    ) -> None:
        self.model, self.kind, self.classes, self.baseline, self.seed = model, kind, tuple(classes), baseline, seed
        self.generator = generator if generator is not None else torch.Generator().manual_seed(seed)
        self.cancel, self.edits = cancel, tuple(edits)
        self._outputs, self._task = outputs, task
        self._again: list[bool] = []
        """Whether the model computes parts of itself again on the way back, from checkpoints, once a pass has told: all parts of a look know."""
        self._embedded: set[int] = set()
        """Which parts of the input are read by an embedding, by their places, once a pass has told: all parts of a look know."""
        self._derivable = False
        self.left = 1.0  # of numbers along embeddings: the share of their size that was left when they were last summed by token
        """Whether it was seen that autograd knows all ops on the way to a target."""
        self.end: int | None = None
        """The place at which the one input is asked, where labels or padding tell that it is not the last."""
        self.passing: Capture | None = None
        """The capture of the pass that is running, for rules that need what was kept so far."""
        self._progress, self._reading, self._table, self._x = progress, reading, table, x
        self._float: bool | None = None
        self.layout = ChannelsLastRule()
        """How large maps lie in memory while the model runs."""

    # What is known about the model.

    @property
    def function(self) -> bool:
        """Whether the model is a plain function, which can only be asked for answers."""
        return isinstance(self.model, FunctionModule)

    @property
    def fingerprint(self) -> str:
        """The short name of the weights, worked out anew only when they have changed."""
        now = state_now(self.model)
        if self.model not in _KNOWN or _KNOWN[self.model][0] != now:
            _KNOWN[self.model] = (now, fingerprint(self.model.state_dict()))
        return _KNOWN[self.model][1]

    @property
    def layers(self) -> LayerTable:
        """The layers in call order, found when first asked for."""
        if self._table is None:
            shapes = tuple((part.shape[1:], part.dtype) for part in nesting.tensors(self._x))
            now = (shapes, tuple((name, id(module)) for name, module in self.model.named_modules()))
            if self.model not in _TABLES or _TABLES[self.model][0] != now:
                _TABLES[self.model] = (now, layers(self.model, self._x))
            self._table = _TABLES[self.model][1]
        return self._table

    @property
    def reading(self) -> Reading:
        """How the outputs are read."""
        if self._reading is None:
            with self.opened() as look:
                return self._read(*made_by(self.model, nesting.select(self._x, slice(0, 2)), look))
        return self._reading

    def _read(self, output: Any, ending: AnswerTrace | None = None) -> Reading:
        if self._reading is None:
            self._reading = Reading.of(output, outputs=self._outputs, task=self._task, classes=self.classes, ending=ending)
        return self._reading

    @property
    def hidden(self) -> HiddenOps:
        """What the model runs that no rule for ops reaches."""
        return hidden(self.model, self._x, self.reading.outputs)

    @property
    def task(self) -> str:
        """What the model answers: classification, multi_label, regression, next_token, or nothing known."""
        return self.reading.task

    # Passes.

    def opened(
        self, keep: Sequence[str] = (), *, grad: bool = False, until: str | None = None, **options: Any
    ) -> Capture:
        """A capture with the edits and the way to cancel of this look."""
        return Capture(self.model, keep, grad=grad, until=until, edits=self.edits, cancel=self.cancel, **options)

    def run(
        self,
        x: Nested,
        target: Target | None = None,
        points: Sequence[Tensor] | None = None,
        *,
        keep: Sequence[str] = (),
        rules: Sequence[Rule] = (),
        grad: bool = False,
        plain: bool = False,
    ) -> Pass:
        """One forward pass: ``points`` stand in for the input's own, ``rules`` replace ops, ``keep`` keeps layers.

        With ``grad`` the target can be differentiated by the points and by the kept layers; weights are constants, so
        that nothing is remembered of what does not depend on those. With ``plain`` the model's maps lie in memory as
        the model has them, for a mode outside that replaces its convolutions.
        """
        names = tuple(dict.fromkeys((*keep, *(target.keep if target is not None else ()))))
        entrance = Entrance(x, points, self._embedded)
        entrance.following = tuple(rules)
        mode = OpMode()
        answering = (*entrance.rules, *rules, *(() if plain else (self.layout,)))
        again: list[bool] = []
        if grad and answering and not self._again:
            answering = (_noticing(again), *answering)
        for rule in answering:
            mode.replace(rule)
        constant = weights_held(self.model) if grad else contextlib.nullcontext()
        cudnn = torch.backends.cudnn.flags(enabled=not grad)
        with constant, self.opened(names, grad=grad) as look, self._during(look), cudnn:
            if answering:
                with mode:
                    output = look(entrance.x)
            else:
                output = look(entrance.x)
            if grad and answering and not self._again:
                self._again.append(bool(again))
            scores = self._read(output).scores(output)
            with torch.set_grad_enabled(grad):
                values = target(output, look) if target is not None else None
                if values is not None and len(values) != nesting.size(x):
                    raise UsageError(
                        f"{target} answers with {len(values)} number(s) for {nesting.size(x)} examples; a target is one number "
                        "an example, shape (n,)"
                    )
                return Pass(output, scores, values, look)

    def slopes(self, value: Tensor, points: Sequence[Tensor], *, keep_graph: bool = False) -> tuple[Tensor | None, ...]:
        """The gradient of a number by each point of a pass of this look; None where it does not depend on it."""
        if True not in self._again:
            return slopes(value, points, keep_graph=keep_graph)
        # What is computed again must find the model as the pass found it: its mode, its weights (edited ones too) as constants,
        # its buffers lent. What lies inside a checkpoint itself is edited by no one.
        with weights_held(self.model), self.opened():
            return slopes(value, points, keep_graph=keep_graph)

    @contextlib.contextmanager
    def _during(self, look: Capture) -> Iterator[None]:
        self.passing = look
        try:
            yield
        finally:
            self.passing = None

    def scores(self, x: Nested) -> Tensor:
        """The model's scores, (n, classes)."""
        parts = [self.run(nesting.select(x, part)).scores.detach() for part in pieces(self, x)]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def target(self, x: Nested, target: Target) -> Tensor:
        """The target's value for each example, (n,), without gradients."""
        return self.run(x, target).value.detach()

    def timed(self, x: Nested) -> float:
        """Seconds that one forward pass of one example takes here."""
        begun = time.perf_counter()
        self.run(nesting.select(x, slice(0, 1)))
        return time.perf_counter() - begun

    def on(self, x: Nested, part: slice, *, pooled: bool = False) -> Look:
        """The same look at some examples of an input; each takes its own baseline along, unless that is a pool for all."""
        other = copy.copy(self)
        other._x, other._progress = nesting.select(x, part), None
        if self.baseline is not None and not pooled and nesting.size(self.baseline) == nesting.size(x) > 1:
            other.baseline = nesting.select(self.baseline, part)
        return other

    def points(self, x: Nested) -> tuple[Tensor, ...]:
        """What gradients are taken at, as new leaves: floating-point inputs and the embeddings of tokens.

        *Raises* NotApplicable for a plain function, and for whole numbers that go into no embedding.
        """
        if self.function:
            raise NotApplicable("a plain function has no gradients; use occlusion, lime or kernel_shap")
        entrance = Entrance(x)
        if entrance.waits:
            with self.opened() as look, OpMode().replace(entrance.find):
                entrance.search(look)
            self._embedded.update(entrance.embedded)
        return entrance.points()

    def floats(self, x: Nested) -> Nested:
        """The input with pictures of whole numbers (0 to 255) as floating-point numbers of the same values, which have
        gradients; as it is, where the model does not answer the same to them.
        """
        parts = list(nesting.tensors(x))
        kinds = list(self.kind.values()) if isinstance(self.kind, dict) else [self.kind]
        whole = [
            len(kinds) == len(parts) and isinstance(kind, Image) and not part.is_floating_point() and not part.is_complex()
            for part, kind in zip(parts, [*kinds, *[None] * len(parts)], strict=False)
        ]
        if self.function or not any(whole):
            return x
        kind = dtype_of(self.model) or torch.float32
        told = iter(whole)
        found = nesting.each(x, lambda part: part.to(kind) if next(told) else part)
        if self._float is None:
            one = slice(0, 1)
            try:
                close = torch.allclose(
                    self.scores(nesting.select(x, one)), self.scores(nesting.select(found, one)), 1e-3, 1e-5, equal_nan=True
                )
            except (DioramaError, KeyboardInterrupt):
                raise
            except Exception:  # noqa: BLE001 - whatever the model says of an input that it does not take
                close = False
            self._float = close
        return found if self._float else x

    def gradients(self, value: Tensor, points: Sequence[Tensor], *, keep_graph: bool = False) -> tuple[Tensor, ...]:
        """The gradient of each example's value at its points; zero where the value does not depend on them.

        *Raises* NotApplicable when nothing differentiable leads from the points to the value.
        """
        if not value.requires_grad:
            raise NotApplicable(
                "the target does not depend on the input in a differentiable way; use occlusion or lime"
            )
        if not self._derivable and underivable(value):
            whole = quantized(self.model)
            what = f"{' and '.join(whole[:3])} {'is' if len(whole) == 1 else 'are'} quantized, which" if whole else (
                "an op on the way to the target")
            raise NotApplicable(f"{what} has no derivative; use occlusion or kernel_shap")
        self._derivable = True
        found = self.slopes(value.sum(), points, keep_graph=keep_graph)
        return tuple(torch.zeros_like(at) if part is None else part for at, part in zip(points, found, strict=True))

    def shaped(self, x: Nested, parts: Sequence[Tensor]) -> Nested:
        """Numbers at the points in the input's structure: (n, t) for tokens, zeros for parts without points."""
        entrance = Entrance(x, embedded=self._embedded)
        found, self.left = entrance.shaped(parts), entrance.left
        return found

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Say how far the work is."""
        if self._progress is not None:
            self._progress(done, total, note)


def _noticing(again: list[bool]) -> Rule:
    """A rule that answers nothing: it notes whether an op runs in a checkpoint."""

    def rule(*_: Any) -> Any:
        if not again and checkpointed():
            again.append(True)
        return NotImplemented

    return rule


@dataclasses.dataclass(frozen=True)
class Attribution:
    """How much each part of an input speaks for the target, with how it was found and how far to believe it.

    *Meaning* positive parts speak for the target, negative ones against it, where the method is signed.
    *Shapes* ``values`` as the input (n, …); (n, tokens) for tokens; ``scores`` (n,): the target's value.
    """

    values: Nested
    scores: Tensor
    checks: dict[str, float] = dataclasses.field(default_factory=dict)
    """Measured numbers: ``completeness`` is the largest gap of any example between the sum of its values and what they should sum to, as a share of
    that: of the score, less the baseline's score where the method has a baseline. ``diorama.plugins.completeness`` measures it."""
    method: str = ""
    knobs: dict[str, Any] = dataclasses.field(default_factory=dict)
    target: str = ""
    note: str = ""
    provenance: Provenance = dataclasses.field(default_factory=lambda: Provenance(method=""))
    maps: dict[str, Any] = dataclasses.field(default_factory=dict)
    """More maps that the method makes by the way, by name."""
    summed: Tensor | None = None
    """What completeness speaks of, (n,), where one number stands for many places: each part, or each place of a layer's
    map, is counted once. Else it is the sum of all values."""
    signed: bool = True
    baseline: Baseline | None = None
    """What the map is measured from, and the target there, of methods whose values sum to the difference."""
    x: Nested | None = dataclasses.field(default=None, repr=False)
    kind: Kind | dict[str, Kind] | None = dataclasses.field(default=None, repr=False)

    def picture(self, example: int = 0) -> Picture:
        """The map of one example as a picture: a heat map of an image, bars of a table's row, coloured words of a text."""
        from .attribution_picture import picture

        return picture(self, example)

    def __repr__(self) -> str:
        shape = tuple(nesting.first(self.values).shape)
        checks = ", ".join(f"{name} {value:.3g}" for name, value in self.checks.items())
        return f"<Attribution of {self.target} by {self.method}: {shape}{'; ' + checks if checks else ''}>"


class Method(Plugin):
    """Base of every attribution method: one file in ``methods/attribution``, whose name is the method's name.

    Its knobs are given in brackets where a view takes methods as a text, as *Attribution* does: ``method="gradient, mine(knob=3)"``.
    """

    group: ClassVar[Group] = "gradient"
    source: ClassVar[str] = ""
    """The paper and its equation."""
    signed: ClassVar[bool] = True
    """False: its values are magnitudes."""
    completeness: ClassVar[bool] = False
    """Its values should sum to the target (minus a baseline's), and ``checks["completeness"]`` says how nearly: as ``Attribution.checks`` has it."""
    function: ClassVar[bool] = False
    """It also explains a plain function."""
    wide: ClassVar[bool] = False
    """Its numbers need float32: of a model in float16 it explains a copy, and says so."""
    compares: ClassVar[bool] = False
    """It takes differences of answers: of a model in float16 or bfloat16 it asks a copy in float32, and says so."""
    singly: ClassVar[bool] = False
    """It explains one example after the other; else all go through the model together, as many as the memory holds."""
    sloping: ClassVar[bool] = False
    """It reads the target's slopes; methods of the groups gradient and relevance all do."""
    opens: ClassVar[bool] = False
    """It answers the model's ops by rules of its own: it must see all of them, and come to the model's own score."""
    pooled: ClassVar[bool] = False
    """Its baseline is a pool of inputs for all examples, not one for each."""
    rows: ClassVar[tuple[str, ...]] = ()
    """The numbered features that it serves."""
    view: ClassVar[str] = "attribution"
    """The catalogue opens it in this view, by the view's knob ``method``."""
    demo: ClassVar[str] = "digits"
    """The demo that the catalogue opens it on; empty where no demo's network is of the kind that it explains."""
    _asked_with = ("model", "x", "target", "method", "device", "inputs", "outputs", "task", "classes", "seed", "cancel", "progress")

    @classmethod
    def flaw(cls) -> str | None:
        """Whatever is wrong with its knobs, or that it attributes nothing."""
        lacking = "it must be given what Method leaves open: def attribute(self, look, x, target)"
        return super().flaw() or (lacking if cls.attribute is Method.attribute else None)

    def cost(self, look: Look, x: Nested) -> Cost:
        """How many passes it will take."""
        return Cost(1, 1)

    @classmethod
    def fits(cls, look: Look, x: Nested) -> str | None:
        """None where the method can be used; else one sentence that says why not and what to use instead."""
        if look.function and not cls.function:
            return f"{cls.name} looks inside a model, and this is a plain function; use occlusion, lime or kernel_shap"
        if cls.opens and (unseen := look.hidden):
            return f"{cls.name} follows the model's ops, and cannot see into {unseen}; use integrated_gradients or occlusion"
        whole = next((one.name for one in look.layers if one.complex), None) if cls.opens else None
        if whole is None and cls.opens and not look.function and any(p.is_complex() for p in look.model.parameters()):
            whole = "the model itself"
        if whole is not None:
            return f"the rules of {cls.name} are for real numbers, and {whole} computes with complex ones; use integrated_gradients or occlusion"
        return None

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """Attribute each example's target to its input; each attribution refines the one before, the last is final."""
        raise NotApplicable(f"{type(self).__name__} attributes nothing by itself")

    def found(
        self,
        look: Look,
        x: Nested,
        target: Target,
        values: Nested,
        scores: Tensor,
        *,
        checks: dict[str, float] | None = None,
        note: str = "",
        maps: dict[str, Any] | None = None,
        summed: Tensor | None = None,
        baseline: Baseline | None = None,
    ) -> Attribution:
        """Hand a result back, with a note where its numbers need one, and how it was made."""
        flat = functools.partial(flatness, look, x, target, self.group) if self.signed else str
        lost = left_out(look, target) if self.sloping or self.group in ("gradient", "relevance") else ""
        mixing = "" if look.function else look.layers.mixing
        mixing = mixing and f"{mixing[0].upper()}{mixing[1:]}. This map may depend on what was asked in one batch with it."
        notes = [part for part in (note, lost, mixing, cancelled(look.left), numbers_note(x, values, self.signed, flat)) if part]
        knobs = {name: value for name, value in self.knobs().items() if value is not None}
        provenance = Provenance(
            method=self.name, sentence=sentence(type(self)), knobs=knobs, selection=str(target), seed=look.seed,
            model=look.fingerprint, source=self.source, guessed=look.reading.guessed,
            versions=versions(),
        )
        values = nesting.each(values, lambda part: part.detach().contiguous())
        return Attribution(
            values, scores.detach(), checks or {}, self.name, knobs, str(target), " ".join(notes), provenance,
            maps or {}, summed, self.signed, baseline, x, look.kind,
        )


def completeness(values: Nested, wanted: Tensor) -> float:
    """The largest gap of any example between the sum of its values and what they should sum to, as a share of it.

    *Shapes* ``values`` (n, …), or several such in tuples and dicts; ``wanted`` (n,): the score, less the baseline's where there is one.
    *Meaning* where they should sum to no more than the rounding of what is summed, they cancel out, and the gap is a
    share of all values, whatever their signs; it is none where those are zero too.
    """
    parts = [part.detach() for part in nesting.tensors(values)]
    sums = sum(part.double().reshape(len(part), -1).sum(1) for part in parts)
    sizes = sum(part.double().abs().reshape(len(part), -1).sum(1) for part in parts)
    wanted = wanted.detach().double()
    eps = max(torch.finfo(part.dtype).eps for part in parts)
    none = wanted.abs() <= eps * torch.as_tensor(sizes)
    whole = torch.where(none, torch.as_tensor(sizes), wanted.abs())
    gap = (torch.as_tensor(sums) - wanted).abs()
    return float(torch.where(gap > 0, gap / whole.clamp_min(torch.finfo(torch.float64).tiny), gap).max())
