"""Attention however it is written: found in what a pass runs, as a softmax between scores and a weighted sum."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..core.errors import NotApplicable, not_found
from ..core.selection import without_call
from . import attention, ops
from .equations import arranged, followed, places, roles, summed
from .pooling import PoolingSearch, leading_to

if TYPE_CHECKING:
    from .op_survey import OpRecord

PARTS = ("query", "key", "value", "pattern")
WOULD_BE = "a softmax over scores of places, and the sum of these weighed by it"
_DEEP = 16
"""So many ops may lie between a softmax and its products."""


@dataclasses.dataclass(frozen=True)
class Site:
    """One attention of a pass: where it runs, and which ops make it.

    A kernel of torch has no products of its own: ``kernel`` names it, and it is opened.
    """

    label: str
    """The layer that runs it, ``#2`` for a second one there; ``attention`` in the model itself."""
    kernel: str = ""
    softmax: str = ""
    scores: str = ""
    """The product of queries and keys."""
    out: str = ""
    """The product of the pattern and the values."""
    query: int = 0
    key: int = 1
    """Which tensors the product of scores takes them as."""
    value: int = 1
    group: int = 0
    """Attentions with the same number are heads of one layer, or its steps, which run one after the other."""
    steps: bool = False
    """Those of its group are one attention, of which each run asks once: a loop over the places of an answer."""
    pooled: bool = False
    """No product makes its scores, or none its sum: it has a pattern, and no queries, keys and values to be read."""
    values: str = ""
    """Of one that is pooled: the op that made what is summed up."""
    order: tuple[int, ...] = ()
    """What brings those that ask and the places that are weighed to the last axes of the pattern."""
    asked: str = ""
    """The letters of these in the equation of the scores, where they are not its last."""
    asks: bool = False
    """Of one that is pooled: the only one that asks has no axis in its pattern."""

    @property
    def ran(self) -> str:
        """The op that runs it, or answers its pattern."""
        return self.kernel or self.softmax


@dataclasses.dataclass(frozen=True)
class Sites:
    """The attentions of a pass in order, and those that could not be recognised, in words."""

    sites: tuple[Site, ...]
    unknown: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites)

    def runs(self, site: Site) -> tuple[str, ...]:
        """The labels that the name of an attention stands for: of one that runs once a step, without a number, all its steps."""
        whole = site.steps and "#" not in site.label
        return tuple(one.label for one in self.sites if one.group == site.group) if whole else (site.label,)

    @property
    def by_label(self) -> dict[str, Site]:
        """The attentions by where they run."""
        return {site.label: site for site in self.sites}


def find(records: Mapping[str, OpRecord]) -> Sites:
    """Every attention among the ops of a pass."""
    return _PatternSearch(records).sites()


class _PatternSearch:
    def __init__(self, records: Mapping[str, OpRecord]) -> None:
        self.records = records
        self.users: dict[str, list[tuple[OpRecord, int]]] = {}
        for record in records.values():
            for k, source in enumerate(record.given):
                if source:
                    self.users.setdefault(source, []).append((record, k))

    def sites(self) -> Sites:
        times: dict[str, int] = {}
        found: list[Site] = []
        unknown: list[str] = []
        for record in self.records.values():
            site = Site("", kernel=record.name) if record.op in attention.KERNELS else None
            if record.op in ops.SOFTMAX:
                site = self.written(record) or self.pooled(record)
                if site is None and (reason := self.unlike(record)):
                    unknown.append(f"{record.here or 'the model'} ({reason})")
            elif record.op in ("div", "div_", "mul", "mul_") and self.by_hand(record):
                unknown.append(f"{record.here or 'the model'} (a softmax of exp and sum by hand)")
            if site is None:
                continue
            here = record.here or "attention"
            times[here] = time = times.get(here, 0) + 1
            found.append(dataclasses.replace(site, label=here if time == 1 else f"{here}#{time}"))
        return Sites(tuple(self.grouped(found)), tuple(dict.fromkeys(unknown)))

    def written(self, softmax: OpRecord) -> Site | None:
        """The attention around a softmax, if a product leads to it and it leads to another."""
        ndim = len(softmax.shapes[0])
        if ndim < 3 or softmax.axis is None:
            return None
        axis, scores = softmax.axis % ndim, self.product_before(softmax)
        if scores is None:
            return None
        asked, given = "", roles(scores)
        order: tuple[int, ...] = ()
        if scores.op == "einsum" and scores.shapes[0] == softmax.shapes[0] and compares(scores):
            asked = places(scores, axis) or ""
            order = arranged(scores, asked) if asked else ()
            given = roles(scores, axis) if asked else None
        elif axis != ndim - 1:
            return None
        used = self.product_after(softmax, axis)
        if given is None or used is None or len(used[0].given) != 2:
            return None
        out, place, pattern = used
        if order and len(self.records[pattern].shapes[0]) != ndim:
            return None
        return Site("", "", pattern, scores.name, out.name, given[0], given[1], 1 - place, order=order, asked=asked)

    def pooled(self, softmax: OpRecord) -> Site | None:
        """The attention around a softmax of scores that no product of queries and keys made, or that weighs a sum."""
        found = PoolingSearch(self.records, self.users).around(softmax)
        if found is None:
            return None
        pattern = self.records[found.pattern]
        axes = len(pattern.shapes[0]) + pattern.layouts[0].merged
        return Site(
            "", "", found.pattern, found.scores, found.out, pooled=True, values=found.values, order=found.order,
            asks=axes == 2 or (found.hops and axes == 3),
        )

    def unlike(self, softmax: OpRecord) -> str:
        """Why a softmax over what compares queries with keys is no attention that is recognised; empty where it is none at all."""
        scores = self.product_before(softmax)
        if len(softmax.shapes[0]) < 3 or softmax.axis is None:
            return ""
        if scores is None:
            picked = (made for made in leading_to(softmax, self.records, ops.KEEPS_SCORES | ops.SIFTS) if made.op in ops.SCORES)
            return "a softmax over scores that were picked, or put elsewhere, before" if any(map(compares, picked)) else ""
        if not compares(scores):
            return ""
        shape = softmax.shapes[0]
        line: list[tuple[OpRecord, int | None, bool, int]] = [(softmax, softmax.axis % len(shape), False, 0)]
        seen = {softmax.name}
        while line:
            at, axis, mixed, depth = line.pop(0)
            for user, place in self.users.get(at.name, ()):
                name = user.op.removesuffix("_")
                if user.op in ops.PRODUCTS and len(user.taken) == 2 and compares(user):
                    if mixed:
                        return "a softmax whose shares are changed, or mixed with others, before they weigh anything"
                    if axis is not None and summed(user, place) != axis:
                        return "a softmax over those that ask, not over those that are asked"
                    return "a softmax of scores of which it cannot be told which axes ask and are asked"
                if user.name in seen or depth > _DEEP:
                    continue
                seen.add(user.name)
                if name in ops.KEEPS_PATTERN | ops.FORM:
                    line.append((user, None if axis is None else followed(user, at.shapes[0], axis), mixed, depth + 1))
                elif name in ops.MIXES or user.op in ops.PRODUCTS or user.shapes[:1] == softmax.shapes[:1] or name == "scatter":
                    line.append((user, None, True, depth + 1))
        return ""

    def product_before(self, record: OpRecord) -> OpRecord | None:
        """The nearest product whose result becomes what an op takes, unchanged but for scale, mask and form."""
        return next((made for made in leading_to(record, self.records, ops.KEEPS_SCORES) if made.op in ops.SCORES), None)

    def product_after(self, made: OpRecord, axis: int) -> tuple[OpRecord, int, str] | None:
        """The nearest product that sums over an axis of what an op makes, unchanged but for dropout, masks, scale and form.

        Also as which tensor it takes it, and the op that answers what it takes, form aside: a mask or scale may follow a softmax.
        """
        first = made.shapes[0]
        line, seen = [(made, axis, made.name, 0)], {made.name}
        while line:
            at, axis, pattern, depth = line.pop(0)
            for user, place in self.users.get(at.name, ()):
                if user.op in ops.PRODUCTS:
                    if summed(user, place) == axis:
                        return user, place, pattern
                    continue
                name = user.op.removesuffix("_")
                if name not in ops.KEEPS_PATTERN or user.name in seen or depth > _DEEP or name == "rdiv" or (place and name in ops.DIVIDES):
                    continue
                seen.add(user.name)
                to = followed(user, at.shapes[0], axis)
                changes = name in ops.RESCALES
                if to is not None and not (changes and user.shapes[0][-2:] != first[-2:]):
                    line.append((user, to, user.name if changes else pattern, depth + 1))
        return None

    def by_hand(self, division: OpRecord) -> bool:
        """Whether a division (or a product with a reciprocal) is the end of a softmax of exp and sum, between two products."""
        made = [self.records.get(ops.plain(source)) for source in division.given]
        exps = [one for one in made if one is not None and one.op in ("exp", "exp_", "masked_fill", "mul")]
        sums = [one for one in made if one is not None and one.op in ("sum", "clamp", "clamp_min", "add", "reciprocal")]
        if not exps or not sums or not any(self.leads(one, "exp") for one in exps):
            return False
        if not any(self.leads(one, "sum") for one in sums):
            return False
        return self.product_before(exps[0]) is not None and self.product_after(division, len(division.shapes[0]) - 1) is not None

    def leads(self, record: OpRecord, op: str, depth: int = 4) -> bool:
        """Whether an op is the named one, or made of it in a few steps."""
        if record.op.removesuffix("_") == op:
            return True
        made = [self.records.get(ops.plain(source)) for source in record.given] if depth else []
        return any(one is not None and self.leads(one, op, depth - 1) for one in made)

    def grouped(self, found: Sequence[Site]) -> Iterator[Site]:
        """Number the layers: what several attentions answer and is then put side by side comes from heads of one.

        One that asks once each time it runs, over the same number of places, is one attention whose steps are its rows.
        """
        numbers: dict[str, int] = {}
        ends = [self.joined(site.out or site.kernel) for site in found]
        for k, (site, joined) in enumerate(zip(found, ends, strict=True)):
            # Heads of one width behind the other; answers at several places stand on an axis of places.
            wide = ends.count(joined) > 1 and joined and self.records[joined].shapes[0][-1] > self.records[joined].taken[0][-1]
            steps = "" if wide else self.step(site)
            yield dataclasses.replace(site, group=numbers.setdefault(steps or joined or site.label, k), steps=bool(steps))

    def step(self, site: Site) -> str:
        """What the steps of one attention have in common; empty where more than one asks at a time."""
        record = self.records[site.ran]
        shape = record.taken[0] if site.kernel else record.shapes[0]
        to = shape[0] if record.heads else shape[site.order[-2] if site.order and not site.pooled else -2]
        if site.pooled:
            to = 1 if site.asks else math.prod(shape) // (2 * shape[site.order[-1] if site.order else -1])
        scores = without_call(self.records[site.scores].here) if site.scores else ""
        return f"{without_call(record.here)} {scores} {record.taken[-1] if site.kernel else shape}" if to == 1 else ""

    def joined(self, name: str) -> str:
        """The op that puts a head's answer beside others', where one does, with no weights in between."""
        line, seen = [name], {name}
        while line:
            for user, _ in self.users.get(line.pop(0), ()):
                if user.op in ("cat", "concat", "concatenate", "stack"):
                    return user.name
                if user.op in ops.FORM and user.name not in seen:
                    seen.add(user.name)
                    line.append(user.name)
        return ""


def compares(product: OpRecord) -> bool:
    """Whether both tensors of a product differ from example to example."""
    return len(product.taken) == 2 and all(layout.axis is not None for layout in product.arguments)


def residual(records: Mapping[str, OpRecord], layer: str) -> str:
    """The op of the residual sum that a layer's answer goes into, or that a block ends with (a norm or ReLU may follow).

    *Raises* NotFound for a layer in which no op runs; NotApplicable where no sum of two tensors of one shape follows.
    """
    inside = [one for one in records.values() if one.here == layer or one.here.startswith(layer + ".")]
    if not inside:
        heres = dict.fromkeys(".".join(parts[:k]) for one in records.values() if (parts := one.here.split("."))
                              for k in range(1, len(parts) + 1) if one.here)
        raise not_found("layer", layer, heres)
    own = {one.name for one in inside}
    at: OpRecord | None = inside[-1]
    while at is not None and at.name in own:
        if _sums(at):
            return at.name
        passes = at.op.removesuffix("_") in (*ops.FORWARDED, *ops.NORMALIZED, *ops.SCALED, "relu") and at.given
        at = records.get(ops.plain(at.given[0])) if passes else None
    search = _PatternSearch(records)
    line, seen = [inside[-1].name], set(own)
    while line:
        for user, _ in search.users.get(line.pop(0), ()):
            if _sums(user):
                return user.name
            if user.op.removesuffix("_") in ops.FORWARDED and user.name not in seen:
                seen.add(user.name)
                line.append(user.name)
    raise NotApplicable(f"what {layer} answers goes into no sum of a residual stream; look at op:{inside[-1].name} itself")


def _sums(record: OpRecord) -> bool:
    """Whether an op adds two tensors of one shape."""
    return record.op in ("add", "add_") and len(record.taken) == 2 and record.taken[0] == record.taken[1] == record.shapes[0]


def kernel_shapes(record: OpRecord) -> tuple[tuple[int, ...], ...]:
    """Of queries, keys, values and pattern inside torch's multi-head attention, with two examples."""
    query, key = record.taken[0], record.taken[1]
    width, keys = query[-1] // record.heads, key[0] + record.extra
    return (
        (2, record.heads, query[0], width), (2, record.heads, keys, width), (2, record.heads, keys, width),
        (2, record.heads, query[0], keys),
    )
