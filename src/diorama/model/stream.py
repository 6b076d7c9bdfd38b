"""The residual stream of a model: the sums that each block adds to, found in what a pass runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence

from . import ops
from .op_survey import OpRecord
from .points import Points

_SCALED = ops.DROPOUT | ops.named("cast", "factor", "sum")
_PASSING = ops.FORM | _SCALED | ops.NORMALIZED | {"relu"}
"""What may lie on the stream itself: form, dropout, a factor or shift, and the norm or ReLU behind a block."""
_CARRIED = ops.named("sum", "factor", "mix", "choice", "cast", "dropout", "rearranged", "shares") | ops.FORM | {"neg"}
"""What hands a tensor on as it is, or mixed with others, with no layer in between."""
_JOINS = ops.named("sum", "mix") | {"where", "stack", "cat", "concat", "concatenate", "addmm", "baddbmm", "addbmm"}
"""What may add to a stream, in whatever way."""


@dataclasses.dataclass(frozen=True)
class Sum:
    """One residual sum: the op that adds, what adds to it, and the op of that answer."""

    op: str
    name: str
    """The layer whose answer is added (``blocks.0.attn``)."""
    branch: str
    """The op that made what is added; empty where it was not seen."""
    attention: tuple[str, ...] = ()
    """The attentions that lie in what is added, by where they run."""
    bare: bool = True
    """Nothing but form and dropout lies between this sum and the one before, so that the difference is what was added."""

    parts: tuple[tuple[str, str], ...] = ()
    """Of layers in parallel, which were summed before they were added: each by its name, and the op of its answer."""

    @property
    def point(self) -> str:
        """The stream after this sum, as a point."""
        return f"op:{self.op}"


@dataclasses.dataclass(frozen=True)
class Stream:
    """The sums of a residual stream in order, all of one shape, and the op that it begins with (empty where it was not seen)."""

    sums: tuple[Sum, ...]
    start: str = ""
    shape: tuple[int, ...] = ()
    """Of the stream, for one example."""
    late: bool = False
    """Other layers have added to it before it begins, in a way that was not followed."""
    further: str = ""
    """The layer that adds to it behind its last sum in a way that was not followed; empty where there is none."""
    read_on: str = ""
    """The recurrent layer behind its end, which reads it place by place; empty where there is none."""
    first: str = "embedding"
    """What to call its beginning: the layer that made it; "embedding" where tokens were looked up, or the model made it by itself."""

    @property
    def points(self) -> tuple[str, ...]:
        """What the stream holds before the first sum, and after each."""
        first = (f"op:{self.start}",) if self.start else ()
        return (*first, *(one.point for one in self.sums))

    @property
    def names(self) -> tuple[str, ...]:
        """What to call each of the points: the layer that was added last."""
        first = (f"all before {self.sums[0].name}" if self.late else self.first,) if self.start else ()
        return (*first, *(one.name for one in self.sums))

    @property
    def layers(self) -> tuple[str, ...]:
        """The same, with layers told apart that were summed before they were added."""
        sums = self.sums if self.start else self.sums[1:]
        return (self.names[0], *(name for one in sums for name in ([part for part, _ in one.parts] or [one.name])))


def stream(points: Points) -> Stream | None:
    """The longest residual stream among the ops of a pass, of several as long the last; None where there is none.

    *Meaning* a sum of two tensors of one shape is residual where one of them was made of the other, or of what the other was
    before it was scaled or something else was added (blocks in parallel).
    """
    return _StreamSearch(points).stream()


class _StreamSearch:
    def __init__(self, points: Points) -> None:
        self.points = points
        self.records: Mapping[str, OpRecord] = points.records
        self.order = {name: k for k, name in enumerate(self.records)}
        self.residual: dict[str, tuple[str, str]] = {}
        """By the op of a sum: what it was added to, and what was added."""
        for record in self.records.values():
            sides = self.sides(record)
            if sides is not None:
                self.residual[record.name] = sides

    def sides(self, record: OpRecord) -> tuple[str, str] | None:
        joined = self.joined(record)
        if joined is None or len(record.shapes[0]) < 2 or record.layouts[0].axis is None:
            return None
        first, second = joined
        ways = ((first, second),) if record.op.startswith("sub") else ((first, second), (second, first))
        for old, new in ways:
            # A parameter that is added to a stream is no stream that a layer adds to.
            if new and new != old and (old or not self.before(new)) and self.made_of(new, old):
                return old, new
        for old, new in ways:
            line = self.line(old)
            if new and not set(line) & set(self.line(new)) and any(self.made_of(new, earlier) for earlier in line[1:]):
                return old, new
        return None

    def joined(self, record: OpRecord) -> tuple[str, str] | None:
        """The two tensors of one shape that an op adds, or takes one from the other, however it is written."""
        if record.op == "sum" and len(record.given) == 1:
            stacked = self.records.get(ops.plain(record.given[0]))
            if stacked is None or stacked.op != "stack" or stacked.taken != record.shapes * 2:
                return None
            return ops.plain(stacked.given[0]), ops.plain(stacked.given[1])
        known = record.op.removesuffix("_") in ("add", "sub", "subtract")
        if not known or len(record.shapes) != 1 or record.taken != record.shapes * 2:
            return None
        return ops.plain(record.given[0]), ops.plain(record.given[1])

    def line(self, name: str) -> list[str]:
        """A tensor, and what it was before it was scaled or was added to."""
        line = [name]
        while name:
            record = self.records.get(name)
            if name in self.residual:
                name = self.residual[name][0]
            elif record is not None and record.op.removesuffix("_") in _SCALED and (kept := _kept(record)):
                name = kept
            else:
                break
            line.append(name)
        return line

    def made_of(self, new: str, old: str) -> bool:
        """Whether one op's result went into another's; what no op made (the model's input) is taken to have gone into it."""
        if not old:
            return True
        least = self.order.get(old, -1)
        line, seen = [new], {new}
        while line:
            record = self.records.get(line.pop())
            for source in record.given if record is not None else ():
                name = ops.plain(source)
                if name == old:
                    return True
                if name and name not in seen and self.order.get(name, -1) > least:
                    seen.add(name)
                    line.append(name)
        return False

    def before(self, name: str) -> str:
        """The residual sum that a tensor on the stream comes from, with nothing but form, dropout or a norm in between."""
        while name and name not in self.residual:
            record = self.records.get(name)
            if record is None or record.op.removesuffix("_") not in _PASSING:
                return ""
            name = _kept(record)
        return name

    def alike(self, one: str, other: str) -> bool:
        """Whether two ops answer in one form for an example: OPT folds positions into examples for half of each block."""
        return tuple(self.points[f"op:{one}"].shape) == tuple(self.points[f"op:{other}"].shape)

    def stream(self) -> Stream | None:
        """The longest chain of sums."""
        chains: dict[str, list[str]] = {}
        best: list[str] = []
        for name, (old, _) in self.residual.items():
            before = self.before(old)
            chains[name] = [*chains[before], name] if before in chains and self.alike(before, name) else [name]
            if len(chains[name]) >= len(best):
                best = chains[name]
        if not best:
            return None
        sums = self.named(best, {site.softmax or site.kernel: site.label for site in self.points.attention})
        start = self.residual[best[0]][0]
        known = self.records.get(start)
        if known is None or known.layouts[0].axis is None or not self.alike(start, best[0]):
            start = ""
        late = bool(start) and any(self.joins(name) for name in self.between(start, ""))
        shape = tuple(self.points[f"op:{best[-1]}"].shape)
        return Stream(sums, start, shape, late, self.further(best[-1]), self.read_on(best[-1]), self.first(start))

    def first(self, start: str) -> str:
        """What to call the beginning of a stream."""
        made = self.source(start)
        found = {self.records[name].op.removesuffix("_") for name in {start, *self.between(start, "")} if name in self.records}
        if made is not None and found <= ops.FORWARDED:
            return "the input"
        if made is None or not made.here or found & {"embedding", "embedding_bag"}:
            return "embedding"
        return made.here

    def further(self, end: str) -> str:
        """The layer that adds to a stream behind its end; empty where none does."""
        for record, behind in self.behind(end):
            if self.joins(record.name, behind, end):
                return record.here or "the model"
        return ""

    def read_on(self, end: str) -> str:
        """The recurrent layer that reads a stream behind its end; empty where none does."""
        return next((record.here or record.name for record, _ in self.behind(end) if record.op in ops.RECURRENT), "")

    def behind(self, end: str) -> Iterator[tuple[OpRecord, set[str]]]:
        """What is made of the end of a stream, op by op, and all of it so far."""
        behind = {end}
        for name, record in self.records.items():
            if name not in behind and not behind.isdisjoint(map(ops.plain, record.given)):
                behind.add(name)
                yield record, behind

    def joins(self, name: str, among: Collection[str] | None = None, end: str = "") -> bool:
        """Whether an op joins a tensor, handed on with no layer in between, with what a layer made of it.

        ``among``: a tensor of these; ``end``: one that counts with whatever it is joined.
        """
        record = self.records.get(name)
        if record is None or record.op.removesuffix("_") not in _JOINS:
            return False
        made = [(ops.plain(source), shape) for source, shape in zip(record.given, record.taken, strict=True) if source]
        if record.op == "where" and record.given[0]:
            made = made[1:]
        if record.op.startswith("c") and not all(1 in shape and shape != record.shapes[0] for _, shape in made):
            return False  # Channels side by side are no sum.
        for kept, there in made:
            for new, here in made:
                if kept != new and there == here:
                    alone = self.carried(kept) - self.carried(new)
                    common = alone & self.between(new, "")
                    if end in alone or (common if among is None else not common.isdisjoint(among)):
                        return True
        return False

    def carried(self, name: str) -> set[str]:
        """The tensors of which one was made with no layer in between, itself too."""
        line, seen = [name], {name}
        while line:
            record = self.records.get(line.pop())
            if record is not None and record.op.removesuffix("_") in _CARRIED:
                fresh = {ops.plain(source) for source in record.given if source} - seen
                seen |= fresh
                line.extend(fresh)
        return seen

    def named(self, chain: Sequence[str], attentions: Mapping[str, str]) -> tuple[Sum, ...]:
        """The sums with the layers that add to them, told apart where one adds twice."""
        found: list[Sum] = []
        times: dict[str, int] = {}
        for name in chain:
            old, branch = self.residual[name]
            here = self.records[name].here
            label = self.label(here, branch, old)
            times[label] = time = times.get(label, 0) + 1
            apart = self.addends(branch, here)
            parts: list[tuple[str, str]] = []
            for part in apart if len(apart) > 1 else ():
                own = self.label(here, part, old)
                times[own] = count = times.get(own, 0) + 1
                parts.append((own if count == 1 else f"{own} ({count})", part))
            attends = tuple(label for op, label in attentions.items() if op in self.between(branch, old))
            found.append(Sum(name, label if time == 1 else f"{label} ({time})", branch, attends, self.bare(old), tuple(parts)))
        return tuple(found)

    def label(self, here: str, branch: str, old: str) -> str:
        """What adds to the stream: the layer that made what is added; where it was made in the same code, the one or two layers that it was
        made of there, else the op that made it."""
        made = self.source(branch)
        if made is None or made.here != here:
            return _label(here, made.here if made is not None else "")
        while made.op.removesuffix("_") in _SCALED | ops.FORM and (kept := self.records.get(_kept(made))) is not None and kept.here == here:
            made = kept
        found = list(dict.fromkeys(_label(here, layer) for layer in self.layers(made.name, old, here)))
        return " and ".join(found) if 1 <= len(found) <= 2 else made.name

    def layers(self, branch: str, old: str, here: str) -> list[str]:
        """The layers whose answers the code of a block took to make what is added, in the order in which they ran."""
        least = self.order.get(old, -1)
        line, seen, found = [branch], {branch}, set[str]()
        while line:
            record = self.records.get(line.pop())
            for name in map(ops.plain, record.given) if record is not None else ():
                if name in seen or self.order.get(name, -1) <= least:
                    continue
                seen.add(name)
                (line.append if self.records[name].here == here else found.add)(name)
        return [self.records[name].here for name in sorted(found, key=self.order.__getitem__)]

    def addends(self, branch: str, here: str) -> list[str]:
        """What was summed, in the same code, before it was added to the stream: the answers of layers in parallel."""
        record = self.source(branch)
        joined = self.joined(record) if record is not None and record.here == here and not record.op.startswith("sub") else None
        if joined is None or not all(name in self.records for name in joined):
            return [branch]
        return [own for name in joined for own in self.addends(name, here)]

    def source(self, branch: str) -> OpRecord | None:
        """The op that made what is added, behind dropout and changes of form."""
        record = self.records.get(branch)
        while record is not None and record.op.removesuffix("_") in ops.FORWARDED and record.given:
            # A product of two answers is none of them; of an answer and a scale, the answer counts, whichever stands first.
            taken = _kept(record) if record.op.removesuffix("_") == "mul" else ops.plain(record.given[0])
            before = self.records.get(taken)
            if before is None:
                break
            record = before
        return record

    def between(self, branch: str, old: str) -> set[str]:
        """The ops between the stream and what is added to it."""
        least = self.order.get(old, -1)
        line, seen = [branch], {branch}
        while line:
            record = self.records.get(line.pop())
            for source in map(ops.plain, record.given) if record is not None else ():
                if source and source not in seen and self.order.get(source, -1) > least:
                    seen.add(source)
                    line.append(source)
        return seen

    def bare(self, name: str) -> bool:
        """Whether a tensor on the stream is a sum of it, or its beginning, but for form and dropout."""
        while name and name not in self.residual:
            record = self.records.get(name)
            if record is None or not self.before(name):
                return True
            if record.op.removesuffix("_") not in ops.FORM | ops.DROPOUT | ops.named("cast"):
                return False
            name = _kept(record)
        return True


def _kept(record: OpRecord) -> str:
    """The one tensor that an op hands on, scaled or shifted by smaller ones; empty where there are several."""
    made = [(ops.plain(source), shape) for source, shape in zip(record.given, record.taken, strict=True) if source]
    if len(made) > 1:
        made = [(source, shape) for source, shape in made if shape in record.shapes]
    return made[0][0] if len(made) == 1 else ""


def _label(here: str, made: str) -> str:
    """The layer that adds: the part of the block that made what is added, by the shortest path that tells it."""
    if not made or made == here:
        return here or "the model"
    prefix = f"{here}." if here else ""
    if not made.startswith(prefix):
        return made
    parts = made[len(prefix) :].split(".")
    count = 1
    while count < len(parts) and parts[count].isdecimal():
        count += 1
    return prefix + ".".join(parts[:count])
