"""All that is known of one unit, on one card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from ...core.colour import symmetric
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Bars, Box, Group, Image, Node, Number, Ridges, RidgeSet, Tiles
from ...core.numerals import joined
from ...core.picture import Draft, Picture, Progress
from ...core.rounding import alike
from ...core.selection import Selection, spoken, unit_key
from ...data.kinds import Tokens
from ...data.nesting import Nested, join
from ...derive.scans import SeenUnits, known, seen
from ...scene import Scene, wiring
from .. import answers, crops, sections
from ..crops import ChosenExamples, Place
from ..samples import looked_up_said, noted, unfollowed_said
from ..units import ShownLayer, running, unfilled, unit_of
from ..view import View
from . import _preferred_inputs
from ._facts import listed, off, profiled, selective
from ._preferred_inputs import PreferredInputs

SATURATING = {"Tanh": 2.65, "Sigmoid": 4.6, "Hardtanh": 1.0, "Softsign": 99.0}
"""Beyond these inputs the activation is within 1 % of its end."""
BINS = 40
WIRES = 8


class CardView(View):
    """What one unit responds to: its map here, the examples that drive it most and least, and what it is made of.

    *Meaning* a box marks what the unit can see (its receptive field) at the place where it responds; crops show just
    that. The deconvnet and guided pictures send the activation back to the pixels: they show which pattern in the crop
    excites the unit, each in its own range. Believe the strongest examples first: nine alike tell what the unit looks
    for, nine unlike tell that it has several facets. *Selectivity* is how far the class with the largest mean is ahead of
    the mean of the others: as a share of their sum where no mean is negative (1 is one class alone, 0 none in particular),
    else in standard deviations of the unit.
    *Units* activations in the layer's own, each at the place where the unit responds most, unless a mean is said; the
    examples that suppress it are ranked before the ReLU.
    *Cost* one forward pass of one example; one pass over the live examples up to the layer (none, when a scan is
    stored); two forward and backward passes of some twenty examples; 96 steps of synthesis, once for a snapshot.
    """

    title = "Unit card"
    question = "What does this unit respond to, and what is it made of?"
    family = "features"
    papers = (
        "Yosinski et al. 2015, arXiv:1506.06579", "Zeiler & Fergus 2014, arXiv:1311.2901",
        "Girshick et al. 2014, arXiv:1311.2524", "Morcos et al. 2018, arXiv:1803.06959 (selectivity)",
    )
    rows = ("A2", "A9", "A10", "B7")
    by_labels = True
    follows = ("unit", "layer", "example")
    input = True

    count: int = knob(9, "Examples shown that drive the unit most, and that suppress it most.", low=1, high=25)
    back: str = knob(
        "both", "Signals sent back to the pixels: by deconvnet, by guided backprop, by both, or none.",
        choices=("both", "deconvnet", "guided", "none"), main=True,
    )
    synthesize: bool = knob(True, "Also the picture that the unit asks for, formed from noise.")

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """What one forward pass tells, then the strongest examples, what excites the unit in them, what it asks for."""
        card = _Card(scene, selection, self)
        familiar = card.familiar
        if familiar:
            # Another input for a unit that is known, as a camera sends them: the whole card at once.
            card.probed()
            if self.back != "none" and card.pictured:
                card.sent_back()
        if self.synthesize:
            card.formed = _preferred_inputs.so_far(scene, card.one.source.name, card.unit)
        yield self._picture(scene, selection, card, final=False)
        if not known(scene, card.one.source):
            yield Progress(done=0, total=2, note="one pass over the examples, for the strongest")
        if not familiar:
            card.probed()
            if self.back != "none" and card.pictured:
                yield Draft(lambda: self._picture(scene, selection, card, final=False))
                yield Progress(done=1, total=2, note="activations sent back to the pixels")
                card.sent_back()
        card.hold()
        if not self.synthesize:
            yield self._picture(scene, selection, card, final=True)
            return
        yield Draft(lambda: self._picture(scene, selection, card, final=False))
        yield from self._asked(scene, selection, card)

    def _asked(self, scene: Scene, selection: Selection, card: _Card) -> Iterator[Picture | Progress]:
        """The picture that the unit asks for, as it forms."""
        try:
            for formed in _preferred_inputs.of_units(scene, card.one.source.name, [card.unit]):
                card.formed = formed
                if not formed.done:
                    yield Progress(done=formed.step, total=formed.steps, note="what the unit asks for forms")
                    yield self._picture(scene, selection, card, final=False)
        except NotApplicable as error:
            card.formed, card.note = None, f"{card.note} What it asks for is not shown: {error}.".strip()
        yield self._picture(scene, selection, card, final=True)

    def _picture(self, scene: Scene, selection: Selection, card: _Card, final: bool) -> Picture:
        title = f"{card.title}{answers.stands_for(scene, card.one.layer, card.unit)}"
        return self.picture(
            scene, selection, title, Group(children=tuple(card.marks())), card.caption(), final=final,
            note=noted(card.note, card.unwired()), hint=card.hint(), idle={} if card.pictured else {"back": "the input is no picture"},
        )

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways in which signals are sent back."""
        return {"both": ("deconvnet", "guided"), "none": ()}.get(self.back, (self.back,))


class _Card:
    """What is known so far of the unit."""

    def __init__(self, scene: Scene, selection: Selection, view: CardView) -> None:
        self.scene, self.view = scene, view
        self.key = unit_of(scene, selection)
        self.unit = self.key.number
        self.about = sections.UnitSection(scene, self.key, selection)
        self.one: ShownLayer = self.about.shown
        asked = self.about.current
        self.current, self.values = running(scene, self.one, asked)
        self.about.current = self.current
        self.title = f"{spoken(self.key.name)}/{self.unit}{self.one.normalised}"
        self.chosen = self.key in selection.a
        own = self.values[self.unit]
        self.field = crops.field_of(scene, self.one.source)
        self.place: Place = crops.strongest_place(unfilled(scene, self.current.x, self.values)[self.unit])
        if self.key.place and len(self.key.place) == own.ndim:
            self.place = tuple(min(k, n - 1) for k, n in zip(self.key.place, own.shape, strict=True))
        self.here = float(own[self.place])
        self.box = crops.box_of(self.field, self.place)
        self.pictured = bool(scene.kinds) and len(scene.kinds) == 1 and scene.kinds.get("") is not None
        self.pictured &= next(iter(scene.kinds.values())).word == "image"
        self.seen: SeenUnits | None = None
        self.top: ChosenExamples | None = None
        self.low: ChosenExamples | None = None
        self.back: dict[str, np.ndarray] = {}
        self.formed: PreferredInputs | None = None
        self.note = "" if self.current is asked else (
            f"The network does not run {self.one.source.name} for {asked.label}, so {self.current.label} stands in for it."
        )
        self._held: tuple[Node, ...] | None = None

    @property
    def foretells(self) -> bool:
        """Whether the unit is a network's answer about the token that comes next."""
        layer, last = self.one.layer, max(one.order for one in self.scene.layers.leaves)
        if self.scene.task != "next_token" or layer.order != last or not layer.sequence:
            return False
        return any(isinstance(kind, Tokens) and layer.units == kind.size for kind in self.scene.kinds.values())

    # Finding out.

    def probed(self) -> None:
        """The examples that drive and suppress the unit."""
        self.seen = seen(self.scene, self.one.source)
        self.top = crops.chosen(self.scene, self.seen, self.one.source, self.unit, count=self.view.count)
        self.low = crops.chosen(
            self.scene, self.seen, self.one.source, self.unit, largest=False, count=self.view.count
        )

    def sent_back(self) -> None:
        """The activations here and in the strongest examples, sent back to the pixels in one batch."""
        for way in self.view.ways:
            try:
                found, ruled = self._signals(way)
            except NotApplicable as error:
                self.back, self.note = {}, f"{self.note} Nothing is sent back to the pixels: {error}.".strip()
                return
            if not ruled:
                self.back = {"gradient": found}
                self.note = f"{self.note} No ReLU runs in this model, so the plain gradient is shown in place of deconvnet.".strip()
                return
            self.back[way] = found

    def _signals(self, way: str) -> tuple[np.ndarray, bool]:
        """What the input and the strongest examples send back; the examples only once at these weights."""
        assert self.seen is not None
        assert self.top is not None
        strong, seen = self.top.examples, self.seen
        name = self._kept(way)
        if not strong or not self.scene.memory.has(name):
            x = join([self.current.x, seen.inputs(self.scene, strong)]) if strong else self.current.x
            found, ruled = self._sent(x, [self.place, *self.top.places], way)
            self.scene.memory.put(name, (found[1:], ruled))
            return found, ruled
        places = self.top.places
        rest, ruled = self.scene.once(name, lambda: self._sent(seen.inputs(self.scene, strong), places, way))
        return np.concatenate([self._sent(self.current.x, [self.place], way)[0], rest]), ruled

    def _sent(self, x: Nested, places: Sequence[Place], way: str) -> tuple[np.ndarray, bool]:
        units = [self.unit] * len(places)
        return crops.sent_back(self.scene, self.one.source, x, units, places, way)  # type: ignore[arg-type]

    def _kept(self, way: str) -> str:
        return f"card/back/{self.one.source.name}/{self.unit}/{self.view.count}/{way}"

    @property
    def familiar(self) -> bool:
        """Whether all that does not depend on the input is there already."""
        back = self.view.ways if self.pictured else ()
        return known(self.scene, self.one.source) and all(self.scene.memory.has(self._kept(way)) for way in back)

    # Drawing.

    def marks(self) -> Iterator[Node]:
        """The card, as far as it is known."""
        yield Group(children=tuple(self._here()), direction="row", title=f"On {self.current.label}")
        asked = self._asked_for()
        if asked is not None and not self.pictured:
            yield asked
        yield from self._held if self._held is not None else self._rest()

    def hold(self) -> None:
        """Nothing but what the unit asks for will change any more."""
        self._held = tuple(self._rest())

    def _rest(self) -> Iterator[Node]:
        yield from self._examples()
        facts = tuple(self._facts())
        if facts:
            yield Group(children=facts, direction="row")
        wires = tuple(self._wires())
        if wires:
            yield Group(children=wires, direction="row")

    def _here(self) -> Iterator[Node]:
        if self.pictured:
            pixels = np.asarray(self.current.shown)
            box = (_labelled(self.box, f"{self.here:.3g}"),) if self.box is not None and not self._all() else ()
            yield Image(
                pixels=pixels, limits=crops.limits_of(pixels[None]), boxes=box, title="input", key=self.current.key, size=128
            )
        response = self.about.response(self.values)
        yield response
        if self.pictured and self.back and self.box is not None and not self._all():
            pixels = np.asarray(self.current.shown)
            cut = crops.crop(pixels, self.box, self.field.largest if self.field else (1, 1))
            yield Image(pixels=cut, limits=crops.limits_of(cut[None]), title="what it sees there", size=96)
        for way, signals in self.back.items():
            pixels, limits = crops.relief(signals[:1])
            if self.box is not None and not self._all():
                pixels = crops.crop(pixels[0], self.box, self.field.largest if self.field else (1, 1))[None]
            yield Image(pixels=pixels[0], limits=limits, title=_WAYS[way], size=96)
        asked = self._asked_for() if self.pictured else None
        if asked is not None:
            yield asked
        weights = self.about.weights()
        # A row of very many weights is no picture; the strongest of them stand below.
        if weights is not None and not (isinstance(weights, Image) and weights.pixels.shape[1] > 32 * weights.pixels.shape[0]):
            yield weights

    def _asked_for(self) -> Node | None:
        """What the unit asks for; a grey square while nothing has formed."""
        one = self.formed.inputs[0] if self.formed is not None else None
        if one is not None and self.formed is not None:
            return _preferred_inputs.mark(self.formed.stage, one.shown, "what it asks for", self._response(one.value))
        if not self.pictured or not self.view.synthesize:
            return None
        blank = np.full(np.asarray(self.current.shown).shape[:2], crops.GREY, np.uint8)
        return Image(pixels=blank, limits=crops.limits_of(blank[None]), title="what it asks for", caption="forming", size=96)

    def _response(self, value: float) -> str:
        """The activation at the made input, by the measure of the examples' numbers, and what it comes short of."""
        told = f"response {max(value, 0.0) if self.one.rectified else value:.3g}"
        strongest = self.top.values[0] if self.top is not None and len(self.top) else -np.inf
        done = self.formed is not None and self.formed.done
        return f"{told}; the strongest example comes to {strongest:.3g}" if done and value < strongest and not alike(value, strongest) else told

    def _all(self) -> bool:
        return self.field is not None and self.field.whole

    def _examples(self) -> Iterator[Node]:
        if self.seen is None or self.top is None or self.low is None:
            return
        title = f"Fires most for: top {len(self.top)} of {self.seen.words}"
        if self.top.pixels is None:
            if len(self.top) and self.seen.probe:
                yield listed(self.scene, self.top, title, self.one.source.name, foretells=self.foretells)
                yield self._suppressed()
            return
        yield crops.boxed(self.scene, self.seen, self.top, title)
        if self.top.local:
            pixels = self.top.crops()
            yield Tiles(
                images=pixels, limits=crops.limits_of(pixels), title="what it sees of them", size=62, columns=9,
                keys=self.seen.keys(self.top.examples),
            )
        for way, signals in self.back.items():
            cut = self.top.crops(signals[1:]) if self.top.local else signals[1:]
            if len(cut):
                pictures, limits = crops.relief(cut)
                yield Tiles(images=pictures, limits=limits, title=f"what excites it there: {_WAYS[way]}", size=62, columns=9)
        yield self._suppressed()

    def _suppressed(self) -> Node:
        assert self.seen is not None
        assert self.low is not None
        never = bool(self.seen.statistics.moments.low[self.unit] >= 0) and self.one.source.kind in ("ReLU", "ReLU6")
        if never or not len(self.low):
            return Number(label="suppressed by", note="nothing can push it below zero here; choose the layer before its ReLU")
        title = f"Suppressed most by: lowest {len(self.low)}"
        title += ", before the ReLU" if self.one.rectified else ""
        if self.low.pixels is not None:
            tiles = crops.boxed(self.scene, self.seen, self.low, title, side=56)
            if not self.low.local:
                return tiles
            pixels = self.low.crops()
            cut = Tiles(images=pixels, limits=crops.limits_of(pixels), title="what it sees of them", size=56, columns=9)
            return Group(children=(tiles, cut))
        return listed(self.scene, self.low, title, self.one.source.name, foretells=self.foretells)

    def _facts(self) -> Iterator[Node]:
        if self.seen is None:
            return
        part, unit = self.seen.statistics, self.unit
        behind = self.one.rectified and part.positive is not None
        profile = part.positive if behind else part.classes
        numbers: list[Node] = []
        if profile is not None and profile.count.any():
            yield profiled(self.scene, profile, unit, places=bool(self.place))
            numbers.append(selective(self.scene, profile, unit, part.moments, rectified=behind))
        if part.histogram is not None:
            yield self._distribution()
        if self.one.rectified or self.one.source.kind in ("ReLU", "ReLU6"):
            numbers.append(off(int(part.on[unit]), part.examples))
        elif part.moments.still[unit] and part.examples > 1:
            numbers.append(Number(label="dead", tone="bad", note="it says the same for every example"))
        saturated = self._saturated()
        if saturated is not None:
            numbers.append(
                Number(label="saturated", value=100 * saturated, unit="%", tone="warn" if saturated > 0.5 else "plain",
                       note="of its values lie within 1 % of an end of the activation")
            )
        if numbers:
            yield Group(children=tuple(numbers))

    def _saturated(self) -> float | None:
        """The share of the unit's values at which a bounded activation that follows is at its end."""
        assert self.seen is not None
        after = next((one for one in self.scene.layers.leaves if one.order > self.one.source.order), None)
        histogram = self.seen.statistics.histogram
        if after is None or after.kind not in SATURATING or histogram is None:
            return None
        return float(histogram.share_beyond(SATURATING[after.kind])[self.unit])

    def _distribution(self) -> Ridges:
        assert self.seen is not None
        part = self.seen.statistics
        assert part.histogram is not None
        low, high = float(part.moments.low[self.unit]), float(part.moments.high[self.unit])
        if not (np.isfinite(low) and np.isfinite(high) and high > low):
            low, high = (low - 0.5, low + 0.5) if np.isfinite(low) else (0.0, 1.0)
        width = (high - low) / BINS
        ridge = RidgeSet(
            name=f"{spoken(self.key.name)}/{self.unit}", steps=np.array([self.scene.step or 0]), edges=np.linspace(low, high, BINS + 1),
            density=part.histogram.density(self.unit, low, high, BINS)[None] / width,
        )
        norm = self.one.normalised
        words = f"Its values{norm.replace(',', '')}{',' * bool(norm)} before the ReLU" if self.one.rectified else f"Its values{norm.replace(',', '')}"
        return Ridges(sets=(ridge,), title=words, caption="at up to 32 places an example" * bool(self.place), height=110)

    def _wires(self) -> Iterator[Node]:
        layer = self.one.layer
        for words, wires in (
            ("Fed most by", wiring.before(self.scene, layer, self.unit)),
            ("Feeds most", wiring.after(self.scene, layer, self.unit)),
        ):
            if not wires:
                continue
            # Those of all layers that it reads, or that read it, beside one another.
            layers = [one.layer for one in wires for _ in one.strengths]
            units = np.concatenate([np.arange(len(one.strengths)) for one in wires])
            every = np.concatenate([one.strengths for one in wires])
            order = np.argsort(-np.abs(np.nan_to_num(every)), kind="stable")[:WIRES]
            ends = [(layers[int(k)], int(units[k])) for k in order]
            shown = dict.fromkeys(name for name, _ in ends)
            yield Bars(
                values=every[order], labels=tuple(self._end(*end) for end in ends), keys=tuple(unit_key(*end) for end in ends),
                limits=symmetric(every[order]), title=f"{words}: weights of {joined([spoken(name) for name in shown])}",
            )

    def unwired(self) -> str:
        """What the unit's layer also reads, of which no weights are told."""
        layer = self.one.layer
        return noted(unfollowed_said([(name, layer.name) for name in wiring.lost(self.scene, layer)]), looked_up_said(self.scene, [layer.name]))

    def _end(self, layer: str, unit: int) -> str:
        """What a unit at the other end of a wire is called."""
        own = self.scene.layers[layer]
        last = max(one.order for one in self.scene.layers.leaves if one.weight is not None)
        if own.order == last and own.units == len(self.scene.classes):
            return answers.foretold(self.scene, own, unit) or self.scene.classes[unit]
        return answers.foretold(self.scene, own, unit) or f"{spoken(layer)}/{unit}"

    def caption(self) -> str:
        """What is seen, for a newcomer."""
        said = f"Unit {self.unit}{answers.stands_for(self.scene, self.one.layer, self.unit)} of {self.one.layer.units} in {spoken(self.key.name)}"
        said += f", {self.one.words}" if self.one.words else ""
        fine = np.isfinite(self.here)
        said += f": {f'{self.here:.3g}' if fine else 'no number'} on {self.current.label}"
        if self.place and fine:
            said += ", at the chosen place" if self.key.place else ", at the place where it responds most (numbers of examples are taken at theirs)"
        most = "answers most strongly" if self.one.rectified else "answers furthest from zero"
        said += f". It is shown because of the units of its layer it {most} here." if fine and not self.chosen else "."
        if self._boxed():
            said += " The box is all that it can see."
        if self.formed is not None and self.formed.done and self.formed.said:
            said += f" What it asks for: {self.formed.said[0].lower()}{self.formed.said[1:]}"
        if self.back:
            said += " The pictures sent back show which pixels excite it, each in its own range; blue excites, orange inhibits."
            if self.scene.kinds[""].describe().get("channels") == 3:
                said = said.replace("; blue excites, orange inhibits", ", on grey")
        return said

    def hint(self) -> str:
        """What can be done with the unit in the page."""
        other = "" if self.chosen else "Choose any other unit."
        return f"{other} {'Click the map to move the box.' if self._boxed() else ''}".strip()

    def _boxed(self) -> bool:
        """Whether a box says what the unit sees."""
        return self.pictured and self.box is not None and not self._all()


_WAYS = {"deconvnet": "deconvnet", "guided": "guided backprop", "gradient": "gradient"}


def _labelled(box: Box, label: str) -> Box:
    return msgspec.structs.replace(box, label=label)
