"""Finds where the first number that is NaN or infinite comes from, before the optimizer spreads it over the weights."""

from __future__ import annotations

import contextlib
import copy
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..model.axes import each_tensor, tensors_in, time_major
from ..model.mode import OpMode, OpNames, Trail
from ..model.plain_module import layer_modules
from ..model.preservation import Preservation
from ..model.randomness import RandomnessKeeper
from ..training.subject import Subject
from .bad_trace import BadTrace, Batch, bad_of, batch_of, fine
from .findings.not_finite import place_told
from .held_pass import BOXES, HeldPass, Rerun, alike, blamed, in_batch, overwritten, unboxed, versions_of
from .idle_optimizers import Taken
from .own_hooks import PREPARED, CallHook, OwnHook, ScriptGuard, take_off

_PASSES, _HELD = 64, 64_000_000
"""Forward passes of one step that are kept hold of, and the bytes that their inputs may take together; the last one always is."""
_IN_A_ROW = 20
"""Steps in a row that are looked at where a gradient scaler leaves them out."""
_SMALL = 256
"""A gradient of so few numbers is looked at as a list, which is faster than a sum."""
_EXPORTS = "_is_compiling_flag"
"""What torch keeps of whether a model is being exported."""
_LONG = 0.02
"""Seconds a step: where these are longer, a wait for an accelerator at each of them is less than 1 % of it."""
Note = Callable[[str, dict[str, Any]], None]


class _ModelHook(OwnHook):
    """The hook on the model; a model that is copied or stored takes along one that does nothing."""

    def __init__(self, finder: FirstBadFinder | None) -> None:
        self._finder = finder

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        finder = self._finder
        if finder is None:
            return
        try:
            if torch.compiler.is_compiling() or not torch.is_grad_enabled():
                return
            if module is finder.model:
                finder.called(args, kwargs)
        except Exception as error:
            finder.report(error)


def _noted(finder: FirstBadFinder, model: nn.Module) -> Callable[..., Any]:
    """The call of a model that notes what it is called with: a function of bound names, since it is in the way of each step."""
    call, graded, lowered = model._call_impl, torch.is_grad_enabled, torch._C._is_any_autocast_enabled
    passes, hold, flags = finder.passes, finder.passes.append, vars(torch.compiler)
    # What ``is_compiling`` asks, in fewer functions: that takes two microseconds of a loop of tiny steps.
    compiles = torch.compiler.is_dynamo_compiling if _EXPORTS in flags else torch.compiler.is_compiling

    def noted(*args: Any, **kwargs: Any) -> Any:
        try:
            if graded() and not compiles() and not flags.get(_EXPORTS):
                if finder.plain and not passes:
                    hold((args, kwargs, None, None, _lower() if lowered() else None, ()))
                else:
                    finder.called(args, kwargs)
        except Exception as error:
            finder.report(error)
        return call(*args, **kwargs)  # type: ignore[no-untyped-call]

    return noted


def _lower() -> torch.dtype | None:
    """The type of the autocast that is on, if it is one of the processor."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None


class _HookRemoval(ScriptGuard):
    """Takes the hook off a model, or off a copy of it, that is about to be scripted; the next step puts it on again."""

    def __init__(self, model: nn.Module, finder: FirstBadFinder | None) -> None:
        self._model, self._finder = model, finder

    def __call__(self) -> nn.Module:
        if self._finder is not None:
            self._finder.take_off()
        self._model.__dict__.pop(PREPARED, None)
        take_off(self._model)
        return self._model

    def __deepcopy__(self, memo: dict[int, Any]) -> _HookRemoval:
        return _HookRemoval(copy.deepcopy(self._model, memo), None)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (max, (self._model,))  # stored, it answers the model, without needing diorama


class FirstBadFinder:
    """Keeps hold of a step's batch and of the random numbers before it; where the gradient turns out bad, runs it again.

    *Meaning* in the optimizer's pre-hook the weights are still those of the forward pass, so that the same batch with the
    same random numbers gives the same numbers, op by op. It is run twice, as a network that counts, or draws by itself, answers otherwise
    then. A step that a gradient scaler leaves out is looked at when it is over. What is found is told
    once. An optimizer that runs the passes itself (LBFGS) is not followed.
    *Cost* while all is finite: a reference to the batch and the numbers of two small gradients a step, 2 to 3 µs in warm caches. Where the
    first step, or that at a reading, drew random numbers, the state of the generator is held too, 5 µs more; of a batch that is a
    dict or a list a shallow copy. On an accelerator, which would
    have to be waited for, steps of less than 20 ms are looked at only where readings are due.
    """

    __slots__ = (
        "_asked", "_busy", "_device", "_drawn", "_draws", "_dropped", "_due", "_handle",
        "_last", "_note", "_number", "_redrawn", "_sized", "_skipped",
        "_step_time", "_subject", "_watched", "boxed", "done", "model", "most", "pair", "passes", "plain", "report",
    )

    def __init__(self, subject: Subject, number: Callable[[], int], note: Note, report: Callable[[Exception], None]) -> None:
        self._subject, self._number, self._note, self.report = subject, number, note, report
        self.model = subject.model
        self.passes: list[tuple[Any, ...]] = []
        """The passes that were seen since an optimizer stepped, each what a :class:`HeldPass` is made of: in a loop of tiny steps
        each call of Python costs, and each piece of memory that was not used lately. It stays this one list …"""
        self.most = 1
        """… of at most so many."""
        self._sized = False
        self._handle: Any = None
        self._watched: tuple[tuple[nn.Parameter, bool], ...] = ()
        """Parameters whose gradient is looked at, and whether it is short and at hand."""
        self.pair: tuple[nn.Parameter, nn.Parameter] | None = None
        """The same, where all are short; one parameter stands there twice."""
        self._device = "cpu"
        self._draws = True
        """Whether a step draws random numbers, as far as is known: seen at the first step, and again at each reading."""
        self._busy = self.done = False
        self._skipped = 0
        self._last = self._step_time = 0.0
        self._due, self.plain = True, False
        """Whether a reading is due, and whether nothing but the batch is to be held."""
        self._drawn: bool | None = None
        """Whether the step at which that was to be seen drew random numbers between its first pass and the optimizer's step."""
        self._asked = True
        """Whether no step was seen yet: readings may lie very far apart."""
        self._redrawn = False
        """Whether a pass was run again with other random numbers than it had."""
        self.boxed = False
        """Whether the batch is, or holds, a dict or a list."""
        self._dropped = -1
        """The last step of which a pass was let go of before an optimizer stepped."""

    def follow(self) -> None:
        """Put the hook on the model that trains now."""
        self.take_off()
        if self.done:
            return
        model = self.model = self._subject.model
        learnt = [p for p in self._subject.parameters.values() if p.requires_grad and p.layout is torch.strided]
        # The first layers get their gradient last: what is bad in the loss or anywhere on the way back comes through to them.
        # A layer that the loss does not reach is no witness, so one is taken from each end.
        ends = [min(part, key=nn.Parameter.numel) for part in (learnt[:3], learnt[-3:]) if part]
        self._device, self._draws, self._drawn = learnt[0].device.type if learnt else "cpu", True, None
        self._asked = True
        self._watched = tuple(
            (p, p.numel() <= _SMALL and p.ndim == 1 and self._device == "cpu") for p in {id(p): p for p in ends}.values()
        )
        self.pair = (ends[0], ends[-1]) if ends and all(short for _, short in self._watched) else None
        if self._device == "cpu" and CallHook.fits(model):
            self._handle = CallHook(model, _noted(self, model))
        else:
            self._handle = nn.Module.register_forward_pre_hook(model, _ModelHook(self), with_kwargs=True)
        if PREPARED not in dir(type(model)):
            model.__dict__[PREPARED] = _HookRemoval(model, self)

    def prepare(self, due: bool) -> None:
        """A step is about to begin, at which a reading is due or not."""
        self._due = due
        if self._drawn is not None:
            self._draws, self._drawn, self._asked = self._drawn, None, False
        plain = self._sized and self._handle is not None and self._device == "cpu" and not (due or self._draws or self._skipped)
        self.plain = plain and self.pair is not None and not self.boxed

    def take_off(self) -> None:
        """Take the hook off, and let go of the batch."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        self.plain = False
        if isinstance(self.model.__dict__.get(PREPARED), _HookRemoval):
            del self.model.__dict__[PREPARED]
        self.passes.clear()

    def called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward pass of the model begins."""
        if self._busy:
            return
        kind, random, other = self._device, None, None
        if kind != "cpu":
            if not self._due and self._step_time < _LONG:
                return
            other = torch.get_device_module(kind).get_rng_state()
        if self._draws or self._due:
            random = torch.default_generator.get_state()
        lower = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        if len(self.passes) >= self.most:
            self.drop()
        versions = versions_of(args, kwargs) if self.passes else ()
        if self.boxed or not self._sized:
            # A network may take things out of a dict, or put some in.
            args, kwargs = unboxed(args), unboxed(kwargs)
        self.passes.append((args, kwargs, random, other, lower, versions))
        if not self._sized:
            self._sized, self.boxed = True, any(isinstance(part, BOXES) for part in (*args, *kwargs.values()))
            size = sum(t.numel() * t.element_size() for t in tensors_in((args, kwargs)))
            self.most = max(1, min(_PASSES, _HELD // max(size, 1)))

    def drop(self) -> None:
        """The first pass that is held is one too many."""
        del self.passes[0]
        self._dropped = self._number()

    def look(self) -> None:
        """Look at the gradient; called where an optimizer is about to step."""
        if self._device != "cpu":
            now = time.perf_counter()
            self._step_time, self._last = 0.9 * self._step_time + 0.1 * min(now - self._last, 1.0) if self._last else 0.0, now
        if self._handle is None:
            self.follow()
            return
        self._skipped, passes = 0, self.passes
        if not passes:
            return
        if self._bad():
            self._tell(skipped=False)
        elif (self._due or self._asked) and (random := passes[0][2]) is not None:
            self._drawn = bool(self._drawn) or not torch.equal(random, torch.default_generator.get_state())
        passes.clear()

    def forget(self) -> None:
        """An optimizer has stepped: passes that it ran itself saw other weights."""
        self.passes.clear()

    def over(self, scale: float | None) -> None:
        """The step is over; where no optimizer stepped, somebody may have left it out because of its gradient."""
        if not self.passes or not self._bad():
            return
        self._skipped, self.plain = self._skipped + 1, False
        if self._skipped <= _IN_A_ROW:
            self._tell(skipped=True, scale=scale)
        self.passes.clear()

    def fine(self) -> tuple[tuple[nn.Parameter, nn.Parameter], Taken] | None:
        """The two weights whose gradients are looked at, and what :func:`marks_of` tells of them, where these are short and finite, and
        nothing but the batch is held, which is let go of then: of most steps that is asked alone.
        """
        pair = self.pair
        if not self.plain or pair is None:
            return None
        one, other = pair
        first, last = one.grad, other.grad
        total, times, again = 0.0, 0, 0
        if first is not None:  # a list is made without torch's calling an op; the loss is read in the same way
            total, times = sum(first.tolist()), first._version
        if last is not None and last is not first:
            total += sum(last.tolist())
        if last is not None:
            again = last._version
        if total - total != 0:
            return None
        self.passes.clear()
        return pair, (one, other, id(first), times, id(last), again)

    def _bad(self) -> bool:
        for parameter, short in self._watched:
            grad = parameter.grad
            if grad is None or grad.layout is not torch.strided:
                continue
            total = sum(grad.tolist()) if short else grad.detach().sum().item()
            if total - total != 0 and not fine(grad):
                return True
        return False

    def _tell(self, skipped: bool, scale: float | None = None) -> None:
        passes, self._redrawn = tuple(map(HeldPass._make, self.passes)), False
        fact = self._found(passes, self._dropped == self._number() - skipped)
        if self._redrawn:
            fact["redrawn"] = True
        if skipped:
            fact |= {"skipped": True} | ({"scale": scale} if scale else {})
        if lower := passes[-1].lower:
            fact["autocast"] = str(lower).removeprefix("torch.")
        self.done = not skipped or fact["where"] in ("weights", "input", "forward")
        if self.done:
            self.take_off()
        step = self._number() + (not skipped)  # the optimizer steps before the recorder is told that the step is over
        self._note("meta", {"first_bad" if self.done else "gradient_overflow": {"step": step, **fact}})
        if self.done:
            event = {"step": step, "kind": "finding", "name": "first_bad", "text": place_told(fact), "old": "", "new": ""}
            self._note("events", {**event, "time": time.time()})

    def _found(self, passes: tuple[HeldPass, ...], dropped: bool) -> dict[str, Any]:
        """Where it began: in the weights, the batch, an op of the forward pass, the loss, or on the way back."""
        for name, parameter in self._subject.model.named_parameters():
            if not fine(parameter):
                told = bad_of(parameter).told(None)
                return {"where": "weights", "layer": name.rpartition(".")[0], "tensor": name, "count": told["count"], "text": told["text"]}
        changed, unlike, guess = overwritten(passes), "", dict[str, Any]()
        for k, each in enumerate(passes):
            if changed[k]:
                unlike = "refilled"
                continue
            which = {"pass": k + 1, "passes": len(passes)} if len(passes) > 1 else {}
            try:
                run = self._replayed(each)
            except Exception:
                if found := in_batch(each, Batch(0, False, frozenset())):
                    return {**found, **which}
                raise
            if run.altered:
                unlike = "altered"
                continue
            if found := run.found:
                differs = {"unlike": "state"} if run.differs and found["where"] != "input" else {}
                if not found.get("doubt"):
                    return {**found, **which, **differs}
                guess = guess or {**found, **which, **differs}
            unlike = unlike or ("state" if run.differs else "")
        if guess:
            return guess
        if unlike or dropped:
            return {"where": "unlike", "unlike": unlike or "dropped", "text": self._gradients()[2]}
        return self._backward(passes)

    @contextlib.contextmanager
    def _again(self, each: HeldPass) -> Iterator[tuple[Trail, RandomnessKeeper]]:
        """The surroundings of the pass, with the model left as it is found."""
        model = self._subject.model
        trail = Trail({path: module for path, module in layer_modules(model).items() if path})
        self._busy, self.plain = True, False
        with contextlib.ExitStack() as stack:
            stack.callback(setattr, self, "_busy", False)
            stack.callback(torch.set_rng_state, torch.get_rng_state())
            for part in (part for module in model.modules() for part in vars(module).values() if isinstance(part, torch.Generator)):
                stack.callback(part.set_state, part.get_state())
            if each.random is not None:
                torch.set_rng_state(each.random)  # before the model is set aside, since random numbers are too
            if each.device_random is not None:
                device = torch.get_device_module(self._device)
                stack.callback(device.set_rng_state, device.get_rng_state())
                device.set_rng_state(each.device_random)
            kept = stack.enter_context(Preservation(model, "train" if any(m.training for m in model.modules()) else "eval"))
            if each.lower is not None:
                stack.enter_context(torch.autocast(self._device, each.lower, cache_enabled=False))
            stack.enter_context(trail)
            try:
                yield trail, kept.random
            finally:
                self._redrawn |= each.random is None and kept.random.drew

    def _replayed(self, each: HeldPass) -> Rerun:
        """The op of the forward pass from which what is bad came to the answer, and whether the pass answers the same twice."""
        model = self._subject.model
        args, kwargs = each_tensor((each.args, each.kwargs), torch.Tensor.clone)
        given = list(tensors_in((args, kwargs)))
        before = [tensor._version for tensor in given]
        with torch.no_grad(), self._again(each) as (trail, random):
            trace = BadTrace(trail, given)
            with OpMode().on_op(trace.seen):
                output = model(*args, **kwargs)
            altered = before != [tensor._version for tensor in given]
            random.restart()
            trail.restart()
            # What a network counts in its buffers, or draws from generators of its own, has moved on: it answers otherwise now.
            args, kwargs = each_tensor((each.args, each.kwargs), torch.Tensor.clone)
            differs = not altered and not alike(output, model(*args, **kwargs))
        answers = list(tensors_in(output))
        late = time_major(dict(layer_modules(model)))
        batch = batch_of(given, answers, late)
        return Rerun(blamed(trace, answers, batch, len(given)), batch, altered, differs)

    def _gradients(self) -> tuple[set[int], list[str], str]:
        """Which gradients are bad: by their parameters' ids, by their names, and in words."""
        named = [(name, p) for name, p in self._subject.model.named_parameters() if p.grad is not None]
        bad = [(name, p) for name, p in named if not fine(p.grad)]  # type: ignore[arg-type]
        return {id(p) for _, p in bad}, [name for name, _ in bad], f"{len(bad)} of {len(named)} gradients are NaN or infinite"

    def _backward(self, passes: tuple[HeldPass, ...]) -> dict[str, Any]:
        """The forward pass is finite: the loss, where every gradient is bad; else the place on the way back."""
        bad, names, text = self._gradients()
        if not bad:
            return {"where": "unknown", "text": text}
        everything = not any(p.grad is not None and id(p) not in bad for p in self._subject.model.parameters())
        for each in reversed(passes):
            with contextlib.suppress(Exception):  # an answer that nothing can be led back from leaves what the gradients tell
                if op := self._slope(each, bad, everything):
                    return {"where": "backward", "layer": op["op"].rpartition(".")[0], "text": text, **op}
        if everything:
            return {"where": "loss", "text": text}
        return {"where": "backward", "layer": names[-1].rpartition(".")[0], "tensor": f"gradient of {names[-1]}", "text": text}

    def _slope(self, each: HeldPass, bad: set[int], everything: bool) -> dict[str, Any]:
        """The op, nearest to an output, whose own slope is not finite here, whatever gradient comes to it.

        It is no cause where a weight behind it has a finite gradient in the real pass. Of several outputs the loss may leave some out:
        the op is certain only where no other explains which gradients are bad.
        """
        takers, fell, kept = dict[int, str](), list[str](), list[Tensor]()

        def watch(key: int) -> Callable[[Tensor], None]:
            return lambda grad: None if fine(grad) else fell.append(takers.get(key, ""))

        args, kwargs = each_tensor((each.args, each.kwargs), torch.Tensor.clone)
        with torch.enable_grad(), self._again(each) as (trail, _):
            names = OpNames(trail)

            def seen(name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
                full = names.next(name)
                if not names.count(name, result):
                    return
                for tensor in tensors_in((args, kwargs)):
                    takers.setdefault(id(tensor), full)
                for tensor in tensors_in(result):
                    if tensor.requires_grad and not tensor.is_leaf:
                        kept.append(tensor)
                        tensor.register_hook(watch(id(tensor)))  # type: ignore[no-untyped-call]

            with OpMode().on_op(seen):
                output = self._subject.model(*args, **kwargs)
            answers = [t for t in tensors_in(output) if t.requires_grad and t.is_floating_point()]
            learnt = [p for p in self._subject.parameters.values() if p.requires_grad]
            falling = list[tuple[int, str, set[int]]]()
            for number, answer in enumerate(answers, start=1):
                fell.clear()
                slopes = torch.autograd.grad(answer.float().mean(), learnt, allow_unused=True, retain_graph=True)
                reached = {id(p) for p, slope in zip(learnt, slopes, strict=True) if slope is not None and not fine(slope)}
                if fell and reached and reached <= bad:
                    falling.append((number, fell[0], reached))
        if not falling:
            return {}
        number, op, reached = next((one for one in falling if one[2] == bad), falling[0])
        # Where all gradients are bad the loss may be so itself, and an exact match proves nothing.
        sure = len(falling) == len(answers) or (reached == bad and not everything)
        return {"op": op} if sure else {"op": op, "doubt": f"output {number} of {len(answers)}"}
