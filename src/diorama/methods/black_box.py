"""Methods that only ask a model for answers, on inputs of which parts are present or covered; computed by Captum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..core.errors import NotApplicable
from ..core.knobs import knob
from ..core.numerals import percent
from ..core.rounding import SINGLE, rounding
from ..data import nesting
from ..data.kinds import Tokens
from ..data.nesting import Nested
from ..model.mode import OpMode
from ..model.ops import GENERATED
from ..model.own_places import Owners
from ..model.randomness import RandomnessKeeper
from ..model.targets import Target
from .attribute import only
from .baseline import Baseline
from .batches import together
from .cost import Cost
from .method import Attribution, Group, Look, Method
from .patches import BATCH, Covers, ImageLayout, draws_of, laid_out, largest


class BlackBox(Method):
    """Base of the black-box methods: which parts of an input matter, from answers alone.

    *Meaning* the parts are segments of similar pixels of an image (SLIC), spans of a series, columns of a row, or words;
    every pixel of a segment has its segment's value.
    """

    compares: ClassVar[bool] = True
    group: ClassVar[Group] = "black box"
    function: ClassVar[bool] = True
    singly: ClassVar[bool] = True
    sums: ClassVar[bool] = False
    """The parts' values should sum to the target's change from nothing to everything present."""

    segments: int = knob(50, "Into about how many parts an image or a series is cut.", low=2, high=2000, main=True)
    fill: str = knob("constant", "What stands in the place of a part that is left out: one number, or an image's mean "
                     "colour or blur.", choices=("constant", "mean", "blur"))
    value: float = knob(0.0, "The number (or token) of the constant fill.")

    def passes(self, parts: int) -> int:
        """How many forward passes one example with so many parts takes."""
        return parts + 1

    def explain(self, run: PartsScore, present: Tensor) -> Tensor:
        """One value a part, (1, parts): ``run`` answers for rows of zeros and ones, ``present`` is a row of ones."""
        raise AssertionError("each method explains in its own way")

    def cost(self, look: Look, x: Nested) -> Cost:
        """From the parts that the first example has."""
        parts = Parts(self, look, x, 0).count
        return Cost(nesting.size(x) * (self.passes(parts) + 2))

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """Explain one example after the other."""
        look.reading  # noqa: B018 - found out on the input as it is
        scores = look.run(x, target).value.detach()
        values: list[Nested] = []
        gaps, sums, empty, errors, left_out, broken = [], [], [], [], 0, 0
        exact = self.sums
        for k in range(nesting.size(x)):
            parts = Parts(self, look, x, k)
            asked = PartsScore(look, parts, only(target, k), self.passes(parts.fine), k, nesting.size(x))
            present = torch.ones(1, parts.fine, device=scores.device)
            with RandomnessKeeper(), torch.no_grad(), OpMode(cancel=look.cancel).replace(_drawing(draws_of(look))):
                numbers = self._numbers(asked, present)
            values.append(parts.spread(numbers))
            broken += not asked.finite and bool(torch.isfinite(scores[k]))
            left_out += parts.count - parts.fine
            if self.sums:
                sums.append(numbers.sum())
                empty.append(asked(torch.zeros_like(present))[0])
                change = float(asked(present)[0] - empty[-1])
                # A change that is no more than rounding is none: the gap is no share of it.
                gaps.append(abs(float(numbers.sum()) - change) / max(abs(change), asked.rounding, 1e-12))
            exact &= asked.exact
            # Of a map that is zero everywhere there is no largest value: what was drawn lay below rounding.
            errors += [] if asked.error is None or not bool(numbers.any()) else [asked.error]
        checks = {"completeness": max(gaps)} if gaps else {}
        if broken == len(values):
            raise NotApplicable(
                f"where parts are left out the model answers numbers that are not finite, so {self.name} has nothing to compare with; "
                "choose another fill, value or baseline"
            )
        note = "Parts that hold numbers that are not finite are left out, and have no value." if left_out else ""
        note = f"{note} {self._sampled(exact, errors, checks)}".strip()
        if broken:
            left = f"For {broken} of {len(values)} examples the model answers numbers that are not finite where parts are left out"
            note = f"{note} {left}: they have no map.".strip()
        summed = torch.stack(sums) if sums else None
        start = Baseline(self._filled(look), torch.stack(empty), look.task == "regression") if empty else None
        yield self.found(look, x, target, nesting.join(values), scores, checks=checks, note=note, summed=summed, baseline=start)

    @staticmethod
    def _sampled(exact: bool, errors: list[float], checks: dict[str, float]) -> str:
        """How sure values are that were estimated from random draws, which is put among the checks too."""
        if exact:
            return "All sets of the parts were asked: these are Shapley's values themselves, not draws."
        if not errors:
            return ""
        checks["sampling error"] = max(errors)
        return (f"The values are estimated from random draws: their standard error is up to {percent(max(errors))} of the largest value; more "
                "samples come nearer.")

    def _filled(self, look: Look) -> str:
        """What stands in the place of all parts at once, in words."""
        if look.baseline is not None:
            return "the given baseline in the place of all parts"
        if self.fill != "constant":
            return f"the {'mean' if self.fill == 'mean' else 'blurred input'} in the place of all parts"
        what = f"{look.kind.token(int(self.value))!r}" if isinstance(look.kind, Tokens) else f"{self.value:g}"
        return f"{what} in the place of all parts"

    def _numbers(self, asked: PartsScore, present: Tensor) -> Tensor:
        """One value a part; not a number where the model's own answers are none, which no method can explain."""
        if not present.numel() or not bool(torch.isfinite(asked(present)).all()):
            return torch.full_like(present[0], torch.nan)
        numbers = self.explain(asked, present).detach().reshape(-1)
        numbers = torch.where(numbers.abs() <= asked.rounding, 0, numbers)
        return numbers if asked.finite else torch.full_like(numbers, torch.nan)


def _drawing(generator: torch.Generator) -> Callable[..., Any]:
    """A rule by which random numbers come from a generator of our own, not from the user's."""

    def rule(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name not in GENERATED or kwargs.get("generator") is not None:
            return NotImplemented
        if any(isinstance(part, Tensor) and part.device != generator.device for part in args):
            return NotImplemented
        return func(*args, **{**kwargs, "generator": generator})

    return rule


class PartsScore:
    """The target's value for rows that say which parts are present; says how far it is."""

    def __init__(self, look: Look, parts: Parts, target: Target, passes: int, turn: int, turns: int) -> None:
        self._look, self._parts, self._target = look, parts, target
        self._done, self._total = turn * passes, turns * passes
        self.rounding = 0.0
        """Of the largest answer so far: a part that is worth no more is worth nothing."""
        self.finite = True
        """Every answer so far was a finite number; zeros stand for those that were not."""
        self.exact = False
        """All sets of the parts were asked for."""
        self.error: float | None = None
        """The largest standard error of a value that is estimated from draws, as a share of the largest value."""

    def __call__(self, present: Tensor) -> Tensor:
        found = []
        for start in range(0, len(present), self._parts.together):
            rows = present[start : start + self._parts.together]
            found.append(self._look.run(self._parts.covered(rows), self._target).value.detach())
            self._done = min(self._done + len(rows), self._total)
            self._look.progress(self._done, self._total, "forward passes")
        answers = torch.cat(found)
        fine = torch.isfinite(answers)
        self.finite &= bool(fine.all())
        answers = torch.where(fine, answers, 0)
        # Captum's sums are single precision's at best.
        eps = max(SINGLE, torch.finfo(answers.dtype).eps) if answers.is_floating_point() else SINGLE
        self.rounding = max(self.rounding, rounding(float(largest(answers[None])[0]), eps))
        return answers


class Parts:
    """The parts into which one example is cut, and the example with some of them covered.

    *Meaning* parts that hold numbers that are not finite are always covered: nothing could be asked with them there.
    """

    def __init__(self, method: BlackBox, look: Look, x: Nested, example: int) -> None:
        self._x = nesting.select(x, [example])
        self._laid = laid_out(self._x, look.kind)
        self.together = together(look, self._x, BATCH)
        """How many times it goes through the model in one pass."""
        given = laid_out(nesting.select(look.baseline, [0]), look.kind) if look.baseline is not None else []
        owners = Owners(look.kind)
        owners.read(self._x)
        self._ids: list[Tensor] = []
        self._covers: list[Tensor] = []
        self.count = 0
        broken: list[Tensor] = []
        for k, laid in enumerate(self._laid):
            ids = _segments(laid, method.segments, owners)
            self._ids.append(torch.where(ids < 0, _STAYS, ids + self.count).to(laid.image.device))
            self.count += int(ids.max()) + 1
            broken.append(self._ids[-1][~laid.image.isfinite().all(1)[0]])
            cover = Covers(
                method.fill, laid.image, value=method.value, sigma=max(1.0, min(laid.image.shape[2:]) / 8),
                baseline=given[k].image if given else None, pixels=laid.pixels, depth=laid.depth,
            )
            self._covers.append(cover.whole(0))
        kept = torch.ones(self.count, dtype=torch.bool)
        kept[torch.cat([ids[ids >= 0].cpu() for ids in broken])] = False
        self._kept = kept.nonzero()[:, 0]
        self.fine = len(self._kept)
        """How many parts hold finite numbers only."""

    def covered(self, fine: Tensor) -> Nested:
        """The example once a row (n, fine parts), with the parts covered whose number is zero."""
        present = fine.new_zeros(len(fine), self.count + 1)
        present[:, self._kept] = fine
        present[:, _STAYS] = 1
        parts = [part.expand(len(present), *part.shape[1:]) for part in nesting.tensors(self._x)]
        for laid, ids, cover in zip(self._laid, self._ids, self._covers, strict=True):
            there = present.to(ids.device)[:, ids][:, None] > 0.5
            parts[laid.number] = laid.back(torch.where(there, laid.image, cover))
        fresh = iter(parts)
        return nesting.each(self._x, lambda part: next(fresh))

    def spread(self, fine: Tensor) -> Nested:
        """One number a fine part as one a place, in the input's structure; none for the places of the others."""
        numbers = fine.new_full((self.count + 1,), torch.nan)
        numbers[self._kept] = fine
        numbers[_STAYS] = 0
        made = [torch.zeros(part.shape, device=part.device) for part in nesting.tensors(self._x)]
        for laid, ids in zip(self._laid, self._ids, strict=True):
            image = numbers.to(ids.device).float()[ids].expand(1, laid.image.shape[1], *ids.shape)
            made[laid.number] = laid.back(image).contiguous()
        fresh = iter(made)
        return nesting.each(self._x, lambda part: next(fresh))


_STAYS = -1
"""The number of the places that are no part: what only fills a text up is never covered."""


def _segments(laid: ImageLayout, count: int, owners: Owners) -> Tensor:
    """The number of the part in which each place (rows, columns) lies."""
    rows, columns = laid.image.shape[2:]
    if not laid.pixels:
        if rows == 1 and (own := owners.own(laid.image[:, :, 0])) is not None:
            ids = torch.full((1, columns), _STAYS)
            inside = own[0].nonzero()[:, 0].cpu()
            parts = len(inside) if laid.image.shape[1] == 1 else min(len(inside), count)
            ids[0, inside] = torch.arange(len(inside)) * parts // len(inside)
            return ids
        parts = columns if laid.image.shape[1] == 1 else min(columns, count)
        spans: Tensor = torch.arange(columns) * parts // columns
        return spans[None].expand(rows, -1)
    from skimage.segmentation import slic

    pixels = np.nan_to_num(nesting.real(laid.image[0], torch.float32).numpy().transpose(1, 2, 0))
    if laid.depth > 1:
        # Segments of a volume reach through its slices.
        pixels = pixels.reshape(laid.depth, rows // laid.depth, columns, -1)
    low, high = float(pixels.min()), float(pixels.max())
    if high == low or rows * columns <= count:
        across = max(1, min(columns, round((count * columns / rows) ** 0.5)))
        down = max(1, min(rows, round(count / across)))
        blocks: Tensor = (torch.arange(rows) * down // rows)[:, None] * across + torch.arange(
            columns
        ) * across // columns
        return blocks
    labels = slic((pixels - low) / (high - low), n_segments=count, start_label=0, channel_axis=-1)
    numbers: Tensor = torch.from_numpy(np.unique(labels, return_inverse=True)[1].reshape(rows, columns))
    return numbers
