"""One forward pass that notes every layer, and others beside it that tell which of them answer each example for itself."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode

from ..core.errors import DioramaError
from ..core.selection import within
from ..data import nesting
from ..data.nesting import Nested
from . import company, ops
from .axes import example_axis, first_tensor, likely_unit_axis, time_major, unit_axis
from .batch_size import batch_size, said
from .layers import Finder, Layer, LayerTable, main_weight, recurrent_parts
from .mode import Run, WithoutModes, op_name, run_bare
from .outputs import pick
from .packed_sequences import holds_packed, unpacked
from .plain_module import layer_modules, weights_in
from .preservation import Preservation
from .row_independence import RowFollower, state
from .short_texts import shorter

_HELD = 1 << 24
"""So many numbers that a pass makes are held at most where it was made for something else."""
_ALONE = 4
"""So many examples go alone through a network that chooses its layers by the input."""


def surveyed(plain: nn.Module, more: Nested, few: Nested) -> LayerTable:
    """The layers that a few examples show; more of them are asked where a network does not treat all alike."""
    look = _looked(plain, few)
    return _table(plain, few if batch_size(plain) is not None else more, few, look)


def _table(plain: nn.Module, more: Nested, few: Nested, look: LayerSurvey) -> LayerTable:
    """What a pass showed, with what others beside it tell where its ops do not."""
    found, mixes = list(look.finished()), ""
    if not look.apart:
        with contextlib.suppress(Exception):  # a model that is bound to its number of examples, or fails on some of them
            found, mixes = _compared(plain, more, few, look)
    size = batch_size(plain)
    reasons: dict[str, list[str]] = {
        "rows are picked inside the network on the way to": [one.name for one in found if one.reason == company.PICKED],
        "rows are sorted inside the network on the way to": [one.name for one in found if one.reason == company.SORTED],
        "some inputs do not run": [one.name for one in found if one.sometimes],
    }
    notes = (*look.notes(), *([said(size)] if size is not None else []), *company.said(reasons), *([mixes] if mixes else []))
    return LayerTable(found, Finder(plain, few), notes, mixes, nesting.steps(few), look.dropped())


def _looked(plain: nn.Module, x: Nested, like: LayerSurvey | None = None) -> LayerSurvey:
    """One forward pass that notes every layer; ``like`` is an earlier one of the same network."""
    modules = layer_modules(plain) if like is None else like.modules
    look = LayerSurvey(modules, nesting.size(x), plain.parameters() if like is None else (), like)
    look.graph = isinstance(plain, torch.fx.GraphModule)
    look.followed.rows = RowFollower(plain, x, look.followed.own)
    try:
        with look.hooked(), Preservation(plain), torch.no_grad(), look.followed:
            output = nesting.call(plain, x)
        look.ended(output)
    finally:
        look.followed.rows = None
    return look


class FirstLook:
    """A context in which a model runs once to find out how it answers, and shows its layers too: :meth:`table`.

    *Meaning* :attr:`around` goes round every op of that pass (:meth:`.mode.OpMode.around`). Where its ops tell that each example is answered
    for itself, it shows the layers; where not, further passes beside it tell, if ``whole``: then nothing of it is left out.
    *Cost* some microseconds an op. What the pass makes is held, up to 64 MB of it if not ``whole``.
    """

    def __init__(self, model: nn.Module, x: Nested, whole: bool = False) -> None:
        """Of a plain module, and of what it is given: two examples if ``whole``, as layers are told by two."""
        self._plain, self._x, self._whole, self._runs = model, x, whole, 0
        self._look = LayerSurvey(layer_modules(model), nesting.size(x), model.parameters())
        self._look.graph = isinstance(model, torch.fx.GraphModule)
        self._look.brief, self._look.followed.on = not whole, False
        self.around = self._look.followed.around

    def __enter__(self) -> FirstLook:
        look, followed = self._look, self._look.followed
        self._rows = rows = RowFollower(self._plain, self._x, followed.own, math.inf if self._whole else _HELD)
        self._stack = contextlib.ExitStack()
        if not self._whole and (not rows.sure or look.examples < 2):
            return self

        def begun(module: nn.Module, args: Any) -> None:
            self._runs += 1
            followed.rows, followed.on = rows, True

        def answered(module: nn.Module, args: Any, output: Any) -> None:
            followed.on = False
            with WithoutModes():
                look.ended(output)
            followed.rows = None

        # What is asked of the model before and after its pass is none of its ops.
        self._stack.callback(nn.Module.register_forward_pre_hook(self._plain, begun, prepend=True).remove)
        self._stack.enter_context(look.hooked())
        self._stack.callback(nn.Module.register_forward_hook(self._plain, answered).remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._look.followed.rows = None

    def apart(self, tensor: Tensor | None) -> bool:
        """Whether a tensor of the pass surely has its examples first, one for each; for None whether that is known of any still."""
        return self._rows.sure and (tensor is None or self._rows.lies(tensor))

    def table(self) -> LayerTable | None:
        """The layers, where the pass told them; None else, and of a model that had to run otherwise than once."""
        if not (self._look.apart or self._whole) or self._runs != 1 or batch_size(self._plain) is not None:
            return None
        few = nesting.select(self._x, slice(0, 2))
        return _table(self._plain, few, few, self._look)


def _compared(plain: nn.Module, more: Nested, few: Nested, look: LayerSurvey) -> tuple[list[Layer], str]:
    """The layers, with those marked whose rows are none of the examples', and those that some inputs do not run; and a sentence
    where an answer depends on the examples beside it.
    """
    count = look.examples
    if count < 2:
        return list(look.finished()), ""
    if not look.followed.picks and not look.followed.chooses and _briefly(plain, few, look):
        return list(look.finished()), ""
    pairs, turned, alone = [(look, _looked(plain, _others(few), look))], None, list[LayerSurvey]()
    if look.followed.chooses and batch_size(plain) is None:
        alone = [_looked(plain, nesting.select(more, [k]), look) for k in range(min(_ALONE, nesting.size(more)))]
    if look.followed.picks or _doubtful(*pairs[0]) or any(one.calls != look.calls for one in alone):
        count = nesting.size(more)
        pairs.append((_looked(plain, more, look), _looked(plain, _others(more), look)))
        turned = _looked(plain, nesting.select(more, [*range(1, count), 0]), look)
    now, beside = pairs[-1]
    passes = [now, beside, *([turned] if turned is not None else []), *alone]
    found = [_placed(layer, [look, *passes], now, turned) for layer in _together([list(one.finished()) for one in passes])]
    return found, _mixing(found, pairs, [] if look.followed.draws else alone)


def _briefly(plain: nn.Module, few: Nested, look: LayerSurvey) -> bool:
    """Whether the beginnings of long texts tell already that each is answered for itself."""
    less = shorter(few, {size for layer in look.found for size in layer.shape})
    if less is None:
        return False
    with contextlib.suppress(Exception):  # a network that is bound to the length of its texts
        near, beside = _looked(plain, less, look), _looked(plain, _others(less), look)
        same = near.calls == look.calls == beside.calls and _told_apart(near) == _told_apart(look) == _told_apart(beside)
        plainly = not _doubtful(near, beside) and not near.followed.chooses and not near.followed.picks
        return same and plainly and not _mixing(near.found, [(near, beside)], [])
    return False


def _told_apart(look: LayerSurvey) -> dict[str, bool]:
    """Which layers answer with a row for each example."""
    return {name: rows == look.examples for name, rows in look.rows.items()}


def _doubtful(look: LayerSurvey, beside: LayerSurvey) -> bool:
    """Whether some layer answers an example otherwise where others stand beside it, or the same where it should not."""
    return any(
        company.mixed(look.prints.get(name), own) or company.unmoved(look.prints.get(name), own) for name, own in beside.prints.items()
    )


def _others(x: Nested) -> Nested:
    """The examples with others in all places but the last."""
    count = nesting.size(x)
    return nesting.select(x, [*range(1, count), count - 1])


def _placed(layer: Layer, passes: Sequence[LayerSurvey], now: LayerSurvey, turned: LayerSurvey | None) -> Layer:
    """A layer, marked where its rows are not the examples'; ``turned`` saw the examples turned by one place."""
    if turned is None:
        return layer
    name = layer.path if layer.part else layer.name
    if len({one.examples for one in passes}) > 1 and len({one.rows.get(name) for one in passes}) == 1:
        return dataclasses.replace(layer, reason=company.MERGED)  # as many rows whatever comes in
    if layer.reason and (now.rows.get(name, 0) % now.examples or turned.rows.get(name, 0) % now.examples):
        return dataclasses.replace(layer, reason=company.PICKED)
    # Rows that are mostly noise have that of their place, whichever example comes there: nothing is sorted.
    if not layer.reason and not now.followed.draws and company.sorted_rows(now.prints.get(name), turned.prints.get(name)):
        return dataclasses.replace(layer, reason=company.SORTED)
    return layer


def _together(passes: Sequence[list[Layer]]) -> list[Layer]:
    """The layers of several passes, in order; those that not all of them ran are marked."""
    found = {layer.name: layer for layer in passes[0]}
    for own in passes[1:]:
        before = ""
        for layer in own:
            if layer.name not in found:
                names = list(found)
                at = names.index(before) + 1 if before else 0
                found = {name: found.get(name, layer) for name in (*names[:at], layer.name, *names[at:])}
            before = layer.name
    always = set(found).intersection(*({layer.name for layer in own} for own in passes))
    return [dataclasses.replace(layer, order=k, sometimes=name not in always) for k, (name, layer) in enumerate(found.items())]


def _mixing(found: Sequence[Layer], pairs: Sequence[tuple[LayerSurvey, LayerSurvey]], alone: Sequence[LayerSurvey]) -> str:
    """The sentence for a network that answers an example otherwise where others, or none, are beside it."""
    for look, beside in pairs:
        if any(company.mixed(one, other) for one, other in zip(look.answer, beside.answer, strict=True)):
            names = (one.name for one in found if one.each and company.mixed(look.prints.get(one.name), beside.prints.get(one.name)))
            first = next(names, "")
            return (
                "the answer to an example depends on the other examples of its batch"
                + (f", from {first} on at the latest" if first else "")
                + " (an average over examples, say, or attention along the wrong axis), so one that goes alone is answered otherwise"
            )
    many = pairs[-1][0].answer
    if any(not company.same(one, k, other) for k, own in enumerate(alone) for one, other in zip(many, own.answer, strict=False)):
        return "the network chooses by its whole batch which layers run, so an example that goes alone may be answered otherwise"
    return ""


_SQUASHING = ("tanh", "sigmoid")


class _FollowedLayers(TorchFunctionMode):
    """Remembers which layers' outputs went into a ReLU, tanh or sigmoid, and which weights are used that the model does not know of."""

    def __init__(self, own: frozenset[int]) -> None:
        super().__init__()
        self.own = own
        self.strangers: dict[int, nn.Parameter] = {}
        self.made_by: dict[tuple[int, int], list[int]] = {}
        self.alive: dict[int, tuple[weakref.ref[Tensor], list[tuple[int, int]]]] = {}
        """Those whose id is known, and as what: it goes with the tensor, so that no other is taken for it, and all that a network answers
        is not held at once."""
        self.layers: set[int] = set()
        self.squashed: dict[int, str] = {}
        self.open: list[nn.Module] = []
        self.on = True
        """The network runs: what is asked before and after is none of its ops."""
        self.rows: RowFollower | None = None
        """While the network runs: whether its ops surely answer each example for itself."""
        self.dropped: list[tuple[nn.Module | None, float]] = []
        """What drops by a function and in training alone, and which share."""
        self.picks = self.chooses = self.draws = False
        """Rows were picked or sorted; Python was told computed numbers, and may have gone another way by them; random ones were drawn."""

    def answered(self, tensor: Tensor, number: int) -> None:
        """A layer of this number has answered a tensor."""
        known, own = state(tensor), id(tensor)
        self.made_by.setdefault(known, []).append(number)
        if own not in self.alive:
            self.alive[own] = weakref.ref(tensor, lambda _: self._gone(own)), []
        self.alive[own][1].append(known)

    def _gone(self, own: int) -> None:
        for known in self.alive.pop(own)[1]:
            self.made_by.pop(known, None)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        return self.around(op_name(func), func, args, kwargs or {}, run_bare)

    def around(self, name: str, func: Any, args: Any, kwargs: dict[str, Any], run: Run) -> Any:
        """Note an op, and run it."""
        if not self.on or name in ops.ASKS:
            return run(name, func, args, kwargs)
        for part in args:
            if isinstance(part, nn.Parameter) and id(part) not in self.own:
                self.strangers[id(part)] = part
        if args and isinstance(args[0], Tensor):
            if ops.rectifies(name, args, kwargs):
                self.layers.update(self.made_by.get(state(args[0]), ()))
            bare = name.removesuffix("_")
            # What a module of its own does is that module's.
            if bare in _SQUASHING and not (self.open and isinstance(self.open[-1], (nn.Tanh, nn.Sigmoid))):
                self.squashed.update(dict.fromkeys(self.made_by.get(state(args[0]), ()), bare))
            self.picks = self.picks or (bare in ops.PICKS and _picked(bare, args, kwargs))
            if bare in ops.DROPOUT and not (self.open and isinstance(self.open[-1], _DropoutNd)):
                self.dropped += [(self.open[-1] if self.open else None, share) for share in _share_dropped(args, kwargs)]
        self.draws = self.draws or (name in ops.DRAWS and ops.draws(name, args, kwargs))
        self.chooses = self.chooses or getattr(func, "__name__", "") in ops.TELLS
        if self.rows is None or not self.rows.sure:
            return run(name, func, args, kwargs)
        given = self.rows.given(args, kwargs)
        result = run(name, func, args, kwargs)
        self.rows.ran(name, args, kwargs, given, result)
        return result


def _share_dropped(args: Any, kwargs: Any) -> list[float]:
    """Which share a function is told to drop; nothing where it is not told that it is for training alone."""
    share = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
    told = len(args) > 2 or "training" in kwargs
    return [float(share)] if told and isinstance(share, int | float) and share > 0 else []


def _picked(name: str, args: Any, kwargs: Any) -> bool:
    """Whether an op may give other rows than it takes, or in another order."""
    if name != "getitem":
        return True
    which = args[1] if len(args) > 1 else kwargs.get("index")
    return any(isinstance(part, Tensor | list) for part in (which if isinstance(which, tuple) else (which,)))


class LayerSurvey:
    """Collects the layers of one forward pass."""

    def __init__(
        self, modules: dict[str, nn.Module], examples: int, own: Iterable[nn.Parameter] = (), like: LayerSurvey | None = None
    ) -> None:
        self.modules, self.examples = modules, examples
        self.late: frozenset[str] = time_major(modules) if like is None else like.late
        self.known: dict[str, tuple[int, str | None, tuple[str, ...]]] = {} if like is None else like.known
        """Of each module what no pass changes: how many weights it has, which is its main one, its parts."""
        self.graph = False
        """The model is a graph of ops, in which no module is called."""
        self.followed: _FollowedLayers = _FollowedLayers(frozenset(map(id, own)) if like is None else like.followed.own)
        self.found: list[Layer] = []
        self.calls: dict[str, int] = {}
        self.inside: list[bool] = []
        self.axes: dict[tuple[int, ...], int] = {}
        self.rows: dict[str, int] = {}
        self.prints: dict[str, company.Print | None] = {}
        self.answer: list[company.Print | None] = []
        """Of what the model itself answers."""
        self.apart = False
        """Each op of the pass surely answered each example for itself."""
        self.brief = False
        """Nothing more is noted once some op may let examples meet."""

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Within, the layers are noted as they answer."""
        handles = []
        try:
            for path, module in self.modules.items():
                handles.append(nn.Module.register_forward_pre_hook(module, self.before(path)))
                handles.append(nn.Module.register_forward_hook(module, self.after(path)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def before(self, path: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            self.inside = [True for _ in self.inside]
            self.inside.append(False)
            self.followed.open.append(module)

        return hook

    def after(self, path: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            leaf = not self.inside.pop()
            self.followed.open.pop()
            if self.brief and not (self.followed.rows is not None and self.followed.rows.sure):
                return
            self.calls[path] = call = self.calls.get(path, 0) + 1
            tensor, late = first_tensor(output), path in self.late
            if tensor is None and holds_packed(output):
                tensor, late = unpacked(output)[0], False
            if tensor is not None:
                with WithoutModes():  # what is asked of a layer's answer is none of the network's ops, and there are many layers
                    self._add(path, module, call, leaf, tensor, late)

        return hook

    def _add(self, path: str, module: nn.Module, call: int, leaf: bool, tensor: Tensor, late: bool) -> None:
        name = path if call == 1 else f"{path}#{call}"
        sizes = list(tensor.shape)
        if sizes:
            first = example_axis(tuple(sizes), self.examples, late, bool(self.late))
            sizes.insert(0, sizes.pop(first))
        self.rows[name] = sizes[0] if sizes else 0
        each = bool(sizes) and sizes[0] == self.examples
        rows = self.followed.rows
        if rows is not None and rows.sure and not rows.lies(tensor, first if sizes else 0):
            rows.sure = not each and not late and rows.fixed(tensor)  # a table of places, say, has no rows for anybody
        if each and (rows is None or not rows.sure):
            self.prints[name] = company.fingerprinted(tensor.transpose(0, first) if first else tensor)
        shape = tuple(sizes)
        known = unit_axis(module, len(shape))
        axis = likely_unit_axis(shape, self.axes) if known is None else known
        self.axes.pop(shape, None)
        self.axes[shape] = axis
        if path not in self.known:
            self.known[path] = (weights_in(module), main_weight(path, module), recurrent_parts(module))
        parameters, weight, parts = self.known[path]
        parts = parts if call == 1 else ()
        layer = Layer(
            name=name,
            kind=type(module).__name__,
            shape=shape[1:],
            units=shape[axis] if 0 < axis < len(shape) else 1,
            unit_axis=axis,
            parameters=parameters,
            spatial=len(shape) >= 4,
            sequence=len(shape) == 3,
            order=len(self.found),
            call=call,
            path=path,
            leaf=leaf and not parts,
            weight=weight,
            rectified=False,
            loop=isinstance(module, nn.RNNCellBase) and call == 1,
            complex=tensor.is_complex(),
            reason="" if each else company.MERGED,
        )
        self.followed.answered(tensor, layer.order)
        self.found.append(layer)
        self.found += [_part(layer, module, part, layer.order + 1 + k) for k, part in enumerate(parts)]

    def ended(self, output: Any) -> None:
        """The pass has answered this."""
        rows = self.followed.rows
        with contextlib.suppress(DioramaError):
            # Of several outputs the one that scores are read from: a table of all pairs, say, may well depend on the batch.
            scores = pick(output)[0]
            self.apart = rows is not None and rows.sure and rows.lies(scores)
            self.answer = [company.fingerprinted(scores)] if not self.apart and not self.brief and scores.shape[:1] == (self.examples,) else []

    def finished(self) -> Iterator[Layer]:
        """The layers, with those marked whose output went into a ReLU."""
        for order, layer in enumerate(self.found):
            rectified, squashed = order in self.followed.layers, self.followed.squashed.get(order, "")
            yield dataclasses.replace(layer, rectified=rectified, squashed=squashed) if rectified or squashed else layer

    def dropped(self) -> tuple[tuple[str, float], ...]:
        """Which modules drop by a function of their own and in training alone, and which share; the model itself without a name."""
        names = {id(module): path for path, module in self.modules.items()}
        return tuple(dict.fromkeys((names.get(id(module), ""), share) for module, share in self.followed.dropped))

    def notes(self) -> Iterator[str]:
        """What a person should know of how the model is built."""
        strange = len(self.followed.strangers)
        if strange:
            yield (
                f"{strange} of the weights that the model uses are not among its parameters (of modules in a plain list, say), so "
                "they are neither stored nor trained with it: hold such modules in an nn.ModuleList"
            )
        if self.modules and not any(layer.shape for layer in self.found):
            instead = "no activations are read; run its layers outside of vmap and functional_call"
            if self.graph:
                instead = ("activations are read of ops alone, such as op:linear; torch.export.unflatten(program) gives an exported model its "
                           "layers back")
            yield f"no layer answers once for each example, so {instead}"


def _part(whole: Layer, module: nn.Module, part: str, order: int) -> Layer:
    units = int(module.proj_size or module.hidden_size)  # type: ignore[arg-type]
    suffix = "_" + part.replace(".", "_")
    own = {name: p for name, p in module.named_parameters() if name.endswith(suffix)}
    return dataclasses.replace(
        whole,
        name=within(whole.name, part),
        shape=(*whole.shape[:-1], units),
        units=units,
        parameters=sum(parameter.numel() for parameter in own.values()),
        leaf=True,
        weight=within(whole.path, f"weight_ih{suffix}"),
        order=order,
        part=part,
    )
