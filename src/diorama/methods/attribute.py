"""Asking a method for an attribution: ``diorama.attribute``."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from types import NoneType
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from ..core.blame import answered, blamed, yielded
from ..core.errors import Faulty, NotApplicable, UsageError
from ..core.knobs import build
from ..core.registry import is_own, methods
from ..core.registry import told as named
from ..core.selection import unit_key
from ..data import nesting
from ..data.examples import Examples
from ..data.kinds import Kind
from ..data.nesting import Nested
from ..data.text_places import ends as ends_of
from ..data.text_places import fills_up
from ..model.batch_size import batch_size, said
from ..model.capture import Capture
from ..model.duplicate import duplicate
from ..model.function import of_function
from ..model.input_hints import as_read, with_names
from ..model.outputs import Wanted
from ..model.plain_module import device_of, fed, unwrap
from ..model.preservation import KeptWeights
from ..model.random_code import mean_layer
from ..model.surroundings import NeutralSurroundings
from ..model.targets import OwnTarget, Target
from ..model.tasks import ONE_NUMBER, UNORDERED
from .baseline import Baseline, slight_note
from .batches import pieces
from .cost import Cost
from .entrance import Entrance
from .method import Attribution, Look, Method
from .notes import FLAT, numbers_note
from .own_pass import compare
from .precision import in_float32, widened


def attribute(
    model: nn.Module | Callable[..., Any],
    x: Any,
    target: Any = None,
    *,
    method: str | Method = "gradient",
    device: Any = None,
    inputs: Kind | dict[str, Kind] | None = None,
    outputs: Wanted = None,
    task: str | None = None,
    classes: Sequence[str] = (),
    baseline: Any = None,
    seed: int = 0,
    cancel: Callable[[], object] | None = None,
    progress: Callable[[int, int, str], object] | None = None,
    **knobs: Any,
) -> Attribution:
    """Why this answer? How much each part of an input speaks for or against a target, by any method of ``methods``.

    *Meaning* ``target`` is a class (its index or name), a key (``"unit:features.3/17@5,8"``, ``"layer:fc"``), a pair
    (the first minus the second; a place of all a layer's units is ``"layer:features.3@5,8"``), a callable from the
    model's output to (n,) numbers, or a tensor or array of one class an example; by default each example's predicted
    class. ``method`` is a name or a method with its knobs set. ``baseline``
    is what methods that compare use instead of their own: one input, one for each example, or many (expected_gradients);
    a word is the knob of that name, where the method has one.
    Other keywords are the method's knobs. Black-box methods also take a plain function for the model. The model is
    left exactly as it was.
    *Shapes* ``x`` a tensor, an array, a tuple (``model(*x)``) or a dict (``model(**x)``) with the example as dimension
    0; where ``inputs`` says what it is, also one text, or one picture's pixels (height, width[, 3]) of 0 to 255.
    ``values`` of the result have the shape of ``x``, (n, tokens) for tokens.
    *Cost* ``method.cost``: one forward and one backward pass for ``gradient``; one more forward pass where the target
    is left out. ``progress(done, total, note)`` first hears of the passes and the seconds, then how far it is; ``cancel``
    is called at every op and may raise.
    *Raises* NotFound for a method, knob, class or layer that does not exist; NotApplicable where the method does not
    fit the model or input, naming one that does.
    """
    if isinstance(baseline, str):
        knobs, baseline = {**knobs, "baseline": baseline}, None
    with NeutralSurroundings(), blamed():
        return _attributed(
            model, x, target, method, device, inputs, baseline, knobs, progress,
            {"outputs": outputs, "task": task, "classes": classes, "seed": seed, "cancel": cancel},
        )


def _attributed(
    model: Any, x: Any, target: Any, method: str | Method, device: Any, inputs: Any, baseline: Any, knobs: dict[str, Any],
    progress: Callable[[int, int, str], object] | None, told: dict[str, Any],
) -> Attribution:
    module = unwrap(model) if isinstance(model, nn.Module) else of_function(model)
    if isinstance(inputs, Kind) and _raw(x):
        x = inputs.encode(x)
    if device is not None and device_of(module) != torch.device(device):
        # A copy is moved, so that the user's model stays where it is.
        module = duplicate(module).to(device)
    ready = fed(module, nesting.to(nesting.as_tensors(with_names(module, x)), device))
    if nesting.size(ready) == 0:
        raise UsageError("an attribution wants at least one example, got none")
    look = Look(
        module, x=ready, kind=as_read(module, Examples.of(ready, inputs=inputs)).kind, progress=progress, **told,
        baseline=None if baseline is None else fed(module, nesting.as_tensors(baseline)),
    )
    chosen = method if isinstance(method, Method) else None
    if chosen is None:
        chosen = build(methods[str(method)], knobs)
    elif knobs:
        chosen = dataclasses.replace(chosen, **knobs)
    if (progress is not None or not is_own(chosen)) and answered(chosen, lambda: chosen.fits(look, ready), str, NoneType) is None:
        cost = Cost.of(chosen, lambda: chosen.cost(look, ready))  # of a third party's also where nobody hears it: what is none is refused
        if progress is not None:
            one = look.timed(ready) * (1 if chosen.singly else nesting.size(ready))
            progress(0, cost.forward + cost.backward, cost.said(one))
    *_, last = attributions(look, ready, target, chosen)
    return last


def attributions(look: Look, x: Nested, target: Any, method: Method) -> Iterator[Attribution]:
    """Every attribution of a method as it refines; for views, which have a :class:`Look` at hand.

    *Meaning* more examples than a gigabyte holds a pass of are explained in parts, one after the other.
    *Raises* NotApplicable where the method does not fit.
    """
    x = x if method.compares else look.floats(x)
    reason = answered(method, lambda: method.fits(look, x), str, NoneType)
    if reason is not None:
        raise NotApplicable(reason)
    aimed = aim(look, x, target)
    if why := widened(look, type(method)):
        look, x = in_float32(look, x)
    for found in _kept(look, method, _explained_again(look, x, target, aimed, method)):
        size = None if look.function else batch_size(look.model)
        bound = f"{said(size)[0].upper()}{said(size)[1:]}." if size is not None else ""
        slight = slight_note(found)
        notes = " ".join(filter(None, (found.note, slight, why, bound)))
        yield dataclasses.replace(found, note=notes) if slight or why or bound else found


def _kept(look: Look, method: Method, made: Iterator[Attribution]) -> Iterator[Attribution]:
    """What a method finds; where a third party's writes into the model's weights, they are put back, and it is named.

    *Raises* Faulty: of what a model with other weights answers, no map is one of this model.
    """
    if is_own(method):
        yield from made
        return
    weights = KeptWeights(look.model)
    try:
        for found in made:
            if changed := weights.restored():
                some = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
                raise Faulty(f"{named(method)} wants mending: it changed weights of the model ({some}), which were put back")
            yield found
    finally:
        weights.restored()


def _explained_again(look: Look, x: Nested, target: Any, aimed: Target, method: Method) -> Iterator[Attribution]:
    """Begun again where it is only found on the way that the model takes one number of examples alone."""
    known = batch_size(look.model)
    try:
        yield from _explained(look, x, target, aimed, method)
        return
    except Exception:
        if known is not None or batch_size(look.model) is None:
            raise
    yield from _explained(look, x, target, aimed, method)


def _explained(look: Look, x: Nested, target: Any, aimed: Target, method: Method) -> Iterator[Attribution]:
    found: Attribution
    parts = list(pieces(look, x, grad=True))
    if len(parts) == 1 or method.singly or (callable(target) and not isinstance(target, Target)):
        for found in _given(x, method, lambda: method.attribute(look, x, aimed)):
            if method.opens or Entrance(x).waits:
                compare(look, x, aimed, method, found)
            yield found
    else:
        found = _in_parts(look, x, aimed, method, parts)
        if method.opens or Entrance(x).waits:
            compare(look, x, aimed, method, found)
        yield found


def _given(x: Nested, method: Method, attribute: Callable[[], Any]) -> Iterator[Attribution]:
    """What a method yields. *Raises* Faulty, which names it, where that is no map of this input, or holds no score for each example."""
    wanted = [tuple(part.shape) for part in nesting.tensors(x)]
    for found in yielded(method, attribute, Attribution):
        try:
            came = [tuple(part.shape) for part in nesting.tensors(found.values)]
        except Exception:  # noqa: BLE001 - whatever it gave
            came = []
        scores = tuple(getattr(found.scores, "shape", ()))
        if came != wanted:
            raise Faulty(f"{named(method)} wants mending: values of the input's shape {_listed(wanted)} are wanted, not {_listed(came)}")
        if not isinstance(found.scores, Tensor) or scores != (nesting.size(x),):
            raise Faulty(f"{named(method)} wants mending: scores of the shape {(nesting.size(x),)} are wanted, the target's value of each example, "
                         f"not {scores if isinstance(found.scores, Tensor) else type(found.scores).__name__}")
        wrong = None if is_own(method) else _beside(found, nesting.size(x))
        if wrong is not None:
            raise Faulty(f"{named(method)} wants mending: {wrong}")
        yield found


def _beside(found: Attribution, count: int) -> str | None:
    """What is wrong with what stands beside the values of an attribution of so many examples, in words; None where nothing is."""
    summed, checks, maps = found.summed, found.checks, found.maps
    if summed is not None and tuple(getattr(summed, "shape", ())) != (count,):
        came = tuple(summed.shape) if isinstance(summed, Tensor) else type(summed).__name__
        return f"summed, the sum of each example, is wanted in the shape {(count,)}, not {came}"
    for name, held, wanted in (("checks", checks, "numbers"), ("maps", maps, "tensors")):
        if not isinstance(held, dict) or not all(isinstance(key, str) for key in held):
            return f"{name} are wanted as a dict of {wanted} by name, not {held!r:.60}"
    for name, check in checks.items():
        if isinstance(check, bool) or not isinstance(check, Real):
            return f"the check {name!r} must be a number, and is {check!r:.60}"
    for name, each in maps.items():
        if not isinstance(each, Tensor | np.ndarray) or tuple(each.shape[:1]) != (count,):
            shown = f"one of the shape {tuple(each.shape)}" if isinstance(each, Tensor | np.ndarray) else f"{each!r:.60}"
            return f"the map {name!r} must be a tensor whose first dimension is the {count} example(s), and is {shown}"
    if not isinstance(found.note, str):
        return f"its note must be text, and is {found.note!r:.60}"
    return None


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes)) or "something else"


def _in_parts(look: Look, x: Nested, target: Target, method: Method, parts: list[slice]) -> Attribution:
    """The examples explained part by part, as if they had gone through the model together."""
    dice, said, flat = look.generator.get_state(), [], ""
    found: list[Attribution] = []
    for part in parts:
        own, own_look = nesting.select(x, part), look.on(x, part, pooled=method.pooled)
        look.generator.set_state(dice)
        *_, last = _given(own, method, functools.partial(method.attribute, own_look, own, only(target, part)))
        found.append(last)
        why = next((why for why in FLAT if why in last.note), "")
        flat = why or flat
        said.append(last.note.removesuffix(numbers_note(own, last.values, method.signed, lambda: why)).strip())  # noqa: B023
        look.progress(part.stop, nesting.size(x), "examples")
    values = nesting.join([one.values for one in found])
    maps = {name: torch.cat([one.maps[name] for one in found]) for name in found[0].maps}
    notes = dict.fromkeys(note for note in (*said, numbers_note(x, values, method.signed, lambda: flat)) if note)
    return dataclasses.replace(
        found[0], values=values, scores=torch.cat([one.scores for one in found]), x=x, maps=maps, note=" ".join(notes),
        summed=None if found[0].summed is None else torch.cat([one.summed for one in found if one.summed is not None]),
        baseline=_joined([one.baseline for one in found]), target=str(target),
        checks={name: max(one.checks[name] for one in found) for name in found[0].checks},
        provenance=msgspec.structs.replace(found[0].provenance, selection=str(target)),
    )


def _joined(parts: list[Baseline | None]) -> Baseline | None:
    there = [part for part in parts if part is not None]
    return dataclasses.replace(there[0], scores=torch.cat([part.scores for part in there])) if there else None


def aim(look: Look, x: Nested, target: Any = None) -> Target:
    """The target that a person means; None is each example's predicted class (of a regression, its first number)."""
    ends = _ends(look, x)  # behind padding a network was taught nothing
    if isinstance(target, Tensor | np.ndarray) and target.ndim == 1 and not torch.as_tensor(target).is_floating_point():
        if len(target) != nesting.size(x):
            raise UsageError(f"one class an example wants {nesting.size(x)} classes, got {len(target)}")
        return each_class(look, tuple(int(number) for number in target), "each example's class", ends)
    if target is None:
        if look.task == "reconstruction":
            raise NotApplicable(
                "the network answers with what it was given, and no single number is its answer; choose what is "
                f"explained, such as a unit of its code: {_unit(look, x)}"
            )
        scores = look.scores(x)
        if scores.ndim == 0 and nesting.size(x) > 1:
            raise NotApplicable(ONE_NUMBER)
        single = scores.ndim < 2 or tuple(scores.shape[1:]) == (1,)
        if single and look.task != "classification":
            return _first(look)
        last = scores
        if scores.ndim == 3:
            last = scores[torch.arange(len(ends)), torch.tensor(ends)] if ends else scores[:, -1]
        if last.ndim > 2:
            last = last.flatten(2).mean(2)
        if look.task == "regression":
            if scores.ndim > 2:
                raise NotApplicable(
                    f"the network answers with {scores[0].numel():,} numbers, and no single one is its answer; choose what is "
                    f"explained, such as a unit: {_unit(look, x)}"
                )
            return each_class(look, (0,) * len(last))
        if last.is_complex():
            raise NotApplicable(UNORDERED)
        # Scores that are not numbers have no largest; the map then says that it is none.
        answers = look.reading.predictions(last).clamp_min(0) if single else last.argmax(1)
        return each_class(look, tuple(int(number) for number in answers.reshape(-1)), ends=ends)
    if isinstance(target, int) and not isinstance(target, bool) and target == 0 and look.task == "regression":
        return _first(look)
    named = isinstance(target, OwnTarget) or (isinstance(target, str) and ("/" in target or ":" in target))
    table = look.layers if named else None
    return Target.of(target, look.classes, outputs=look.reading.outputs, layers=table, task=look.task, ends=ends)


def _ends(look: Look, x: Nested) -> tuple[int, ...]:
    """The place of each text's last token, where padding follows some of them and the network answers at each place; else nothing."""
    if look.end is not None and nesting.size(x) == 1:
        return (look.end,)
    if look.function or look.kind is None or not fills_up(look.kind, x):
        return ()  # most often so: it is told without a pass
    scores = look.scores(nesting.select(x, slice(0, 1)))
    return ends_of(look.kind, x, scores.shape[1]) if scores.ndim == 3 else ()


def _unit(look: Look, x: Nested) -> str:
    """A unit of this network, as one asks a function for it and as one asks a view; of a reconstruction one of its code."""
    leaves = [layer for layer in look.layers.leaves if layer.units]
    if look.task == "reconstruction":
        narrow = [layer for layer in leaves if layer.weight is not None and layer.shape]
        leaves = sorted(narrow or leaves, key=lambda layer: (-math.prod(layer.shape), -layer.order))
        few = nesting.select(x, range(min(2, nesting.size(x))))
        made = mean_layer(look.model, few, narrow, look.reading.scores)
        leaves = [*leaves, made] if made is not None else leaves
    key = unit_key(leaves[-1].name if leaves else "", 0)
    return f"target={key!r} in diorama.attribute, unit={key.partition(':')[2]!r} in a view"


def _first(look: Look) -> Target:
    """The first (mostly the only) number of a regression."""
    return Target(
        "the answer", (), lambda output, kept: look.reading.scores(output).reshape(_rows(look, output), -1)[:, 0]
    )


def _rows(look: Look, output: Any) -> int:
    return len(look.reading.scores(output))


def each_class(look: Look, numbers: Sequence[int], text: str = "the predicted class", ends: Sequence[int] = ()) -> Target:
    """One class for each example, of texts at their ``ends``. A batch may hold the examples several times over, all of them in each turn."""
    own = [Target.of(number, look.classes, outputs=look.reading.outputs, task=look.task, ends=ends) for number in numbers]
    distinct = list(dict.fromkeys(numbers))
    if len(distinct) == 1:
        return own[0]

    def take(output: Any, kept: Capture) -> Tensor:
        rows = len(look.reading.scores(output))
        if rows % len(numbers):
            raise UsageError(f"targets are for {len(numbers)} examples, and the batch holds {rows}")
        places = torch.tensor([distinct.index(number) for number in numbers]).repeat(rows // len(numbers))
        columns = [own[numbers.index(number)](output, kept) for number in distinct]
        return torch.stack(columns, 1).gather(1, places.to(columns[0].device)[:, None])[:, 0]

    def some(part: slice) -> Target:
        return each_class(look, numbers[part], ends=ends[part])

    return EachClass(text, (), take, some=some, numbers=tuple(numbers))


@dataclasses.dataclass(frozen=True)
class EachClass(Target):
    """A class of its own for each example."""

    numbers: tuple[int, ...] = ()


def only(target: Target, which: int | slice) -> Target:
    """The target of one example alone, or of some in a row."""
    return target if target.some is None else target.some(slice(which, which + 1) if isinstance(which, int) else which)


def _raw(x: Any) -> bool:
    """Whether an input is a text, or a picture's pixels, which its kind makes a batch of one from."""
    return isinstance(x, str) or (isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim in (2, 3))
