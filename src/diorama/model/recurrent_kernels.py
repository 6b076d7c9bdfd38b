"""Recurrent kernels opened: LSTM, GRU and plain RNN step by step, with the same result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

KERNELS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
CELLS = tuple(f"{name}_cell" for name in KERNELS)
"""One step of each, as loops of one's own call it."""
Change = Callable[[str, int, Tensor], Tensor]


class States(Mapping[str, Tensor]):
    """What a recurrent layer held at each step, each (n, t, hidden), in the sequence's order also when it ran backward.

    *Meaning* of an LSTM: the gates ``i`` (input), ``f`` (forget), ``o`` (output) between 0 and 1, the candidate ``g``,
    the cell ``c`` and the output ``h``; of a GRU: ``r`` (reset), ``z`` (update), the candidate ``n`` and ``h``; of a
    plain RNN: ``h``. They can be read as items or as attributes. ``running`` (n, t) tells the steps of packed sequences
    from what lies behind their ends, None where all run.
    """

    def __init__(
        self, values: Mapping[str, Tensor], running: Tensor | None = None, terms: Callable[[], Mapping[str, Tensor]] | None = None
    ) -> None:
        self._values = dict(values)
        self.running = running
        self._terms = terms

    @classmethod
    def joined(cls, parts: Sequence[States]) -> States:
        """The states of calls that follow one another, as a loop makes them: the steps of all, in their order."""
        if len(parts) == 1:
            return parts[0]

        def through(pieces: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
            return {name: torch.cat([piece[name] for piece in pieces], 1) for name in pieces[0]}

        running: Tensor | None = None
        if any(part.running is not None for part in parts):
            running = torch.cat([part.mask for part in parts], 1)
        return cls(through(parts), running, lambda: through([part.terms for part in parts]))

    @property
    def mask(self) -> Tensor:
        """Which steps ran, (n, t)."""
        if self.running is not None:
            return self.running
        some = next(iter(self._values.values()))
        return some.new_ones(some.shape[:2], dtype=torch.bool)

    @property
    def terms(self) -> Mapping[str, Tensor]:
        """What the formulas were fed at each step: ``fed`` (n, t, gates × hidden) from the input and ``back`` from the
        last output, each with its bias, and the last output ``h`` and cell ``c`` themselves."""
        return self._terms() if self._terms is not None else {}

    def mapped(self, change: Callable[[Tensor], Tensor]) -> States:
        """The same with all values changed alike."""
        running = None if self.running is None else change(self.running)
        values = {name: change(value) for name, value in self._values.items()}
        return States(values, running, lambda: {name: change(value) for name, value in self.terms.items()})

    def __getitem__(self, name: str) -> Tensor:
        return self._values[name]

    def __getattr__(self, name: str) -> Tensor:
        values = self.__dict__.get("_values", {})
        if name in values:
            return values[name]  # type: ignore[no-any-return]
        raise AttributeError(f"no state named {name!r}; there are: {', '.join(values)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Carry:
    """A pass that reads on from the middle of a text: where each recurrent module begins, and where it ended.

    *Meaning* ``start`` holds by module (or cell that a loop calls) its states at the first place, as torch's kernel takes them; one
    that is not named begins as the model says. ``ends`` holds the same behind the last place. ``opened`` asks for the gates as well.
    *Raises* CannotCarry where a kernel reads both ways, or a packed sequence.
    """

    def __init__(self, start: Mapping[str, tuple[Tensor, ...]], opened: bool) -> None:
        self.start, self.opened = start, opened
        self.ends: dict[str, tuple[Tensor, ...]] = {}

    def kernel(self, here: str, call: Kernel) -> Kernel:
        """A module's call from the states where it begins."""
        if call.ways > 1 or call.sizes is not None:
            raise CannotCarry
        if here in self.ends or here not in self.start:
            return call
        h, *c = self.start[here]
        return dataclasses.replace(call, h=h, c=c[0] if c else None)

    def cell(self, here: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of a cell's call: in its first turn its states are those where it begins."""
        if here in self.ends or here not in self.start:
            return args
        start = self.start[here]
        return (args[0], start if len(start) > 1 else start[0], *args[2:])


class CannotCarry(Exception):  # noqa: N818 - no error: the text is then read whole
    """A text cannot be read on from its middle."""


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One call of a recurrent kernel, taken apart: ``x`` (t, n, features), ``h`` and ``c`` for each layer and way."""

    kind: str
    x: Tensor
    h: Tensor
    c: Tensor | None
    weights: tuple[tuple[Tensor, ...], ...]
    biased: bool
    dropout: float
    ways: int
    batch_first: bool
    sizes: Tensor | None = None
    """Of a packed sequence: how many of the examples still run at each step."""

    @classmethod
    def of(cls, kind: str, args: tuple[Any, ...]) -> Kernel:
        """Read the arguments that torch gives its kernel."""
        sizes = None
        if packed(args):
            data, sizes, *rest = args
            args = (_padded(data, sizes), *rest, False)
        x, start, flat, biased, layers, dropout, train, two, batch_first = args
        ways = 2 if two else 1
        size = len(flat) // (layers * ways)
        weights = tuple(tuple(flat[k : k + size]) for k in range(0, len(flat), size))
        h, c = start if kind == "lstm" else (start, None)
        x = x.transpose(0, 1) if batch_first else x
        return cls(kind, x, h, c, weights, bool(biased), float(dropout) if train else 0.0, ways, bool(batch_first), sizes)

    @property
    def parts(self) -> list[str]:
        """The name of each layer and way, in the order of the weights."""
        names = ("", ".reverse")[: self.ways]
        return [f"l{k}{name}" for k in range(len(self.weights) // self.ways) for name in names]

    def biases(self, k: int) -> tuple[Tensor | None, Tensor | None]:
        """The biases of a layer and way: of what comes in, and of its last output."""
        return (self.weights[k][2], self.weights[k][3]) if self.biased else (None, None)

    def projection(self, k: int) -> Tensor | None:
        """What makes fewer outputs of the cells of a layer and way, or None."""
        return self.weights[k][-1] if len(self.weights[k]) in (3, 5) else None

    def result(self, x: Tensor, h: list[Tensor], c: list[Tensor]) -> tuple[Tensor, ...]:
        """What the kernel returns, from its output (t, n, …) and its last states."""
        out = x.transpose(0, 1) if self.batch_first else x if self.sizes is None else x[_running(self.sizes, x.device)]
        return (out, torch.stack(h), torch.stack(c)) if self.kind == "lstm" else (out, torch.stack(h))


def _running(sizes: Tensor, device: torch.device) -> Tensor:
    """Which examples of a packed sequence run at which step, (t, n) in its own order, the longest first."""
    return (torch.arange(int(sizes[0])) < sizes[:, None]).to(device)


def _padded(data: Tensor, sizes: Tensor) -> Tensor:
    """The steps of a packed sequence (steps of all, features) as (t, n, features), zeros after an example's end."""
    rows = torch.cat([data, data.new_zeros(1, data.shape[1])])
    running = _running(sizes, data.device)
    where = torch.where(running, running.flatten().cumsum(0).view_as(running) - 1, len(data))
    return rows[where]


def packed(args: tuple[Any, ...]) -> bool:
    """Whether a kernel was called on a packed sequence, whose weights stand one place further."""
    return isinstance(args[3], list | tuple)


def by_layer(
    call: Kernel, func: Callable[..., Any], keep: Callable[[str, Tensor], Tensor], counted: Callable[[str, States], None] | None = None,
    seen: Callable[[str, States], None] | None = None,
) -> tuple[Tensor, ...]:
    """Run the kernel layer by layer; ``keep(part, h)`` sees each output (n, t, hidden) and returns what goes on.

    ``counted`` hears of a layer's gates some steps at a time: they follow from what the kernel returned, and none is kept. ``seen``
    hears of all its states at once, which follow from the same; only cells are found one after another.
    """
    x, last_h, last_c = call.x, [], []
    for number in range(0, len(call.weights), call.ways):
        if number and call.dropout:
            x = F.dropout(x, call.dropout, True)
        outputs = []
        for way in range(call.ways):
            k = number + way
            h0 = call.h[k : k + 1]
            start: Any = (h0, call.c[k : k + 1]) if call.c is not None else h0
            given = x.flip(0) if way else x
            flat = list(call.weights[k])
            out, h, *c = func(given, start, flat, call.biased, 1, 0.0, False, False, False)
            if counted is not None:
                for states in _gates(call, k, given, h0[0], out):
                    counted(call.parts[k], states)
            if seen is not None:
                seen(call.parts[k], _all_at_once(call, k, given, out))
            out = out.flip(0) if way else out
            turned = out.transpose(0, 1)
            kept = keep(call.parts[k], turned)
            outputs.append(kept.transpose(0, 1))
            last_h.append(h[0] if kept is turned else _end(call, outputs[-1], way))
            last_c += [part[0] for part in c]
        x = outputs[0] if call.ways == 1 else torch.cat(outputs, -1)
    return call.result(x, last_h, last_c)


def by_step(
    call: Kernel, seen: Callable[[str, States], Tensor] | None = None, change: Change | None = None
) -> tuple[Tensor, ...]:
    """Run the kernel one step at a time, as its formula says; ``seen`` hears a part's states and says what output goes on, ``change``
    may edit h."""
    x, last_h, last_c = call.x, [], []
    for number in range(0, len(call.weights), call.ways):
        if number and call.dropout:
            x = F.dropout(x, call.dropout, True)
        outputs = []
        for way in range(call.ways):
            k = number + way
            c0 = call.c[k] if call.c is not None else None
            states, h, c = _run(call, k, x, call.h[k], c0, bool(way), change)
            kept = states["h"] if seen is None else seen(call.parts[k], states)
            outputs.append(kept.transpose(0, 1))
            last_h.append(h if kept is states["h"] else _end(call, outputs[-1], way))
            last_c += [c] if c is not None else []
        x = torch.cat(outputs, -1)
    return call.result(x, last_h, last_c)


def _end(call: Kernel, out: Tensor, way: int) -> Tensor:
    """The state (n, hidden) in which a way ends, of what it says (t, n, hidden)."""
    return ends(out.transpose(0, 1), way, None if call.sizes is None else _running(call.sizes, out.device).sum(0))


def ends(steps: Tensor, way: int, lengths: Tensor | None) -> Tensor:
    """What is said at the last step (n, hidden) of each example (n, t, hidden) that is read forward (0) or backward (1)."""
    if way or lengths is None:
        return steps[:, 0 if way else -1]
    return steps[torch.arange(len(steps), device=steps.device), lengths.to(steps.device) - 1]


def with_ends(module: nn.Module, answer: Any, steps: Tensor, lengths: Tensor | None) -> Any:
    """A recurrent module's answer, of which ``steps`` (n, t, units) goes on in the place of its sequence: its last states say the same.

    *Meaning* many networks answer from the last state; a slope or a change at the sequence alone would not come there. A memory (c) is no
    part of the sequence and stays. Any other module's answer comes back as it is.
    """
    if not isinstance(module, nn.RNNBase) or steps.ndim != 3 or not isinstance(answer, tuple):
        return answer
    states, ways = answer[1], 2 if module.bidirectional else 1
    h = states[0] if isinstance(states, tuple) else states
    last = torch.stack([ends(part, way, lengths) for way, part in enumerate(steps.chunk(ways, -1))])
    h = torch.cat([h[:-ways], last])
    return (answer[0], (h, *states[1:]) if isinstance(states, tuple) else h)


def _run(
    call: Kernel, k: int, x: Tensor, h: Tensor, c: Tensor | None, backward: bool, change: Change | None
) -> tuple[States, Tensor, Tensor | None]:
    weights = call.weights[k]
    b_ih, b_hh = call.biases(k)
    project = call.projection(k)
    fed = F.linear(x, weights[0], b_ih)
    steps: list[dict[str, Tensor]] = []
    terms: list[dict[str, Tensor]] = []
    order = range(len(x) - 1, -1, -1) if backward else range(len(x))
    running = None if call.sizes is None else _running(call.sizes, x.device)[..., None]
    for t in order:
        back = F.linear(h, weights[1], b_hh)
        terms.append({"fed": fed[t], "back": back, "h": h, **({} if c is None else {"c": c})})
        step = _STEPS[call.kind](fed[t], back, h, c)
        if project is not None:
            step["h"] = F.linear(step["h"], project)
        if change is not None:
            step["h"] = change(call.parts[k], t, step["h"])
        if running is None:
            h, c = step["h"], step.get("c")
        else:
            # An example whose text has ended, or read backward has not begun, keeps its state; nothing is shown of it there.
            h = torch.where(running[t], step["h"], h)
            c = torch.where(running[t], step["c"], c) if c is not None else None
            step = {name: torch.where(running[t], value, value.new_zeros(())) for name, value in step.items()}
        steps.append(step)
    if backward:
        steps.reverse()
        terms.reverse()
    ran = None if running is None else running[..., 0].T
    return States(_through(steps), ran, lambda: _through(terms)), h, c


def _through(steps: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """What was held step by step (n, hidden), as (n, t, hidden)."""
    return {name: torch.stack([step[name] for step in steps], 1) for name in steps[0]}


def of_cell(name: str, args: tuple[Any, ...]) -> States:
    """What one call of a cell holds, as the states of a single step."""
    x, start, w_ih, w_hh, *biases = args
    b_ih, b_hh = biases or (None, None)
    h, c = start if name == "lstm_cell" else (start, None)
    fed, back = F.linear(x, w_ih, b_ih), F.linear(h, w_hh, b_hh)
    step = _STEPS[name.removesuffix("_cell")](fed, back, h, c)
    terms = {"fed": fed, "back": back, "h": h, **({} if c is None else {"c": c})}
    return States(_through([step]), None, lambda: _through([terms]))


GATES = {"lstm": "ifo", "gru": "rz", "rnn_tanh": "", "rnn_relu": ""}
"""The gates of each kind; the rest of what a layer holds are its candidate and its states."""
AT_ONCE = 4_000_000
"""So many numbers of gates are made at a time."""


def _gates(call: Kernel, k: int, x: Tensor, h0: Tensor, out: Tensor) -> Iterator[States]:
    """The gates of a layer that has run, in the order of its reading: each step's follow from its input and the last output."""
    letters = GATES[call.kind]
    weights, (b_ih, b_hh) = call.weights[k], call.biases(k)
    if not letters:
        return
    # The candidate's rows are left out: the third quarter of an LSTM's, the last third of a GRU's.
    order = "ifgo" if call.kind == "lstm" else "rzn"
    rows = [torch.cat([one.chunk(len(order))[order.index(letter)] for letter in letters]) for one in weights[:2]]
    bias = None if b_ih is None or b_hh is None else torch.cat([(b_ih + b_hh).chunk(len(order))[order.index(letter)] for letter in letters])
    before = torch.cat([h0[None], out[:-1]])
    block = max(1, AT_ONCE // max(1, x.shape[1] * rows[0].shape[0]))
    for given, last in zip(torch.split(x, block), torch.split(before, block), strict=True):
        # One matrix of all places, to which the second product is added where it lies: half the cost of two sums.
        sums = F.linear(given.flatten(0, 1), rows[0], bias).addmm_(last.flatten(0, 1), rows[1].T).sigmoid_()
        parts = sums.unflatten(0, given.shape[:2]).transpose(0, 1).chunk(len(letters), -1)
        yield States(dict(zip(letters, parts, strict=True)))


def _all_at_once(call: Kernel, k: int, x: Tensor, out: Tensor) -> States:
    """All states of a layer that has read forward: each step's follow from its input and the last output."""
    b_ih, b_hh = call.biases(k)
    before = torch.cat([call.h[k][None], out[:-1]])
    fed, back = F.linear(x, call.weights[k][0], b_ih), F.linear(before, call.weights[k][1], b_hh)
    terms = {"fed": fed, "back": back, "h": before}
    if call.c is None:
        found = _STEPS[call.kind](fed, back, before, None)
    else:
        found = _STEPS[call.kind](fed, back, before, torch.zeros_like(call.c[k]))
        keep, add, cells = found["f"], found["i"] * found["g"], [call.c[k]]
        for t in range(len(x)):
            cells.append(torch.addcmul(add[t], keep[t], cells[-1]))
        terms["c"], found["c"] = torch.stack(cells[:-1]), torch.stack(cells[1:])
        found["h"] = found["o"] * found["c"].tanh()
    project = call.projection(k)
    if project is not None:
        found["h"] = F.linear(found["h"], project)
    turned = {name: value.transpose(0, 1) for name, value in found.items()}
    return States(turned, None, lambda: {name: value.transpose(0, 1) for name, value in terms.items()})


def _lstm(fed: Tensor, back: Tensor, h: Tensor, c: Tensor | None) -> dict[str, Tensor]:
    i, f, g, o = (fed + back).chunk(4, -1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    cell = i * g if c is None else f * c + i * g
    return {"i": i, "f": f, "g": g, "o": o, "c": cell, "h": o * cell.tanh()}


def _gru(fed: Tensor, back: Tensor, h: Tensor, c: Tensor | None) -> dict[str, Tensor]:
    fed_r, fed_z, fed_n = fed.chunk(3, -1)
    back_r, back_z, back_n = back.chunk(3, -1)
    r, z = (fed_r + back_r).sigmoid(), (fed_z + back_z).sigmoid()
    n = (fed_n + r * back_n).tanh()
    return {"r": r, "z": z, "n": n, "h": n + z * (h - n)}


def _tanh(fed: Tensor, back: Tensor, h: Tensor, c: Tensor | None) -> dict[str, Tensor]:
    return {"h": (fed + back).tanh()}


def _relu(fed: Tensor, back: Tensor, h: Tensor, c: Tensor | None) -> dict[str, Tensor]:
    return {"h": (fed + back).relu()}


_STEPS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor | None], dict[str, Tensor]]] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn_tanh": _tanh,
    "rnn_relu": _relu,
}
