"""What a unit, a class or a whole layer would like to see: inputs that form from noise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ...core.errors import UsageError
from ...core.knobs import knob
from ...core.marks import Group, Node, Tiles
from ...core.picture import Check, Picture, Progress
from ...core.selection import Key, Selection, number_key, spoken, unit_key
from ...data import nesting
from ...methods.synthesis import objectives
from ...methods.synthesis.contest import StrongestExamples, contest
from ...methods.synthesis.engine import Ascent, SynthesisState
from ...methods.synthesis.facets import Facets, facets
from ...methods.synthesis.objectives import Objective
from ...methods.synthesis.priors import Priors
from ...methods.synthesis.stage import START, MadeInput
from ...methods.synthesis.verdict import Verdict, verdict
from ...scene import Scene
from .. import answers, inputs
from ..units import main_layers, telling_layers
from ..view import View
from . import _made_inputs


@dataclasses.dataclass(frozen=True)
class _Wish:
    """One input to be made: what for, from where."""

    title: str
    sign: float = 1.0
    facet: int | None = None
    key: str = ""


class SynthesisView(View):
    """The input that a unit, a class or a whole layer would like to see, forming from noise while you watch.

    *Meaning* starting from noise, the input is changed step by step so that the unit responds more and more: what
    appears is what the unit looks for, drawn by the network itself. “Negative” is what silences it most. Facets start
    from the means of groups among the examples that excite it most, so that a unit that responds to several things shows
    each. The number under a picture is what the network says of it, also after changes of place and size from a seed
    that played no part. Priors make pictures smoother or more like the examples, and the network less extreme.
    *Units* priors weigh against the slope of the objective: 0.1 is gentle, 1 strong.
    *Error* a strong response is no proof that a unit means what the picture shows: compare with the examples that excite
    it most. What is shown in the end is the best step; where noise leads no higher than the strongest example, it is made
    again from that one, and said so.
    *Cost* a forward and a backward pass a step, and one forward pass an example; the picture can be used before the last step.
    """

    title = "What it would like to see"
    question = "Which picture would excite this unit or class the most?"
    family = "features"
    papers = (
        "Erhan et al. 2009", "Simonyan et al. 2013, arXiv:1312.6034", "Yosinski et al. 2015, arXiv:1506.06579",
        "Mahendran & Vedaldi 2016, arXiv:1512.02017", "Nguyen et al. 2016, arXiv:1602.03616",
        "Olah, Mordvintsev & Schubert 2017, Feature Visualization", "Wen et al. 2023, arXiv:2302.03668",
    )
    rows = ("A24", "A25", "A26", "C19")
    follows = ("class", "layer", "unit", "direction")

    show: str = knob(
        "chosen", "The chosen unit or class alone, all units of its layer, or all classes.",
        choices=("chosen", "layer", "classes"), main=True,
    )
    facets: int = knob(0, "Also so many facets, each from the mean of a group of top examples.", low=0, high=8, main=True)
    negative: bool = knob(True, "Also what silences it most.")
    steps: int = knob(128, "Steps of the synthesis.", low=1, high=4000)
    rate: float = knob(1.5, "The size of a step, relative to what suits the input.", low=0.01, high=20.0, log=True)
    parametrization: str = knob(
        "fourier", "A picture as a spectrum of independent colours, or each pixel on its own.",
        choices=("fourier", "pixels"),
    )
    total_variation: float = knob(0.15, "How much neighbouring pixels or moments are pulled together.", low=0.0, high=10.0)
    norm: float = knob(0.0, "How much colours are pulled to the middle.", low=0.0, high=10.0)
    blur: float = knob(0.0, "Blur after every fourth step.", low=0.0, high=4.0, unit="px")
    gaussian: float = knob(0.1, "How much it is held to the examples' mean and spectrum.", low=0.0, high=4.0)
    natural: float = knob(0.0, "Mahendran & Vedaldi's two priors of natural pictures.", low=0.0, high=1.0)
    jitter: int | None = knob(
        None, "Moved by at most so many pixels before each look; left open: a twentieth of its side.", kind="integer",
        low=0, high=64, unit="px",
    )
    scale: float = knob(0.1, "Resized by at most this share before each look.", low=0.0, high=0.5)
    rotate: float = knob(8.0, "Turned by at most so many degrees before each look.", low=0.0, high=45.0, unit="°")
    crop: float = knob(0.1, "A window that leaves out at most this share of each side.", low=0.0, high=0.6)
    variants: int = knob(1, "Several inputs that are to differ from each other.", low=1, high=9)
    diversity: float = knob(1.0, "How much variants are pushed apart.", low=0.0, high=100.0)
    units: int = knob(36, "The most units or classes of a grid.", low=1, high=1024)
    seed: int = knob(0, "What the noise and all random changes are drawn from.", low=0)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """What forms, several times a second."""
        key = _made_inputs.chosen(scene, selection)
        stage = _made_inputs.staged(scene, selection, self.seed, _made_inputs.layer_of(scene, key))
        if self.show == "classes" and scene.task in ("classification", "multi_label"):
            yield from self._grid(scene, selection, stage, [Key("class", "", (k,)) for k in range(len(scene.classes))])
        elif key.kind == "layer" or self.show == "layer":
            name = _made_inputs.layer_of(scene, key) or main_layers(scene)[-1].name
            keys = [Key("unit", name, (k,)) for k in range(scene.layers[name].units)]
            yield from self._grid(scene, selection, stage, keys)
        else:
            yield from self._one(scene, selection, stage, key)

    def _ascent(self, stage: MadeInput) -> Ascent:
        priors = Priors(self.total_variation, self.norm, self.blur, self.gaussian, self.natural)
        ascent = Ascent(self.steps, self.rate, priors=priors)
        return stage.suited(ascent, jitter=self.jitter, scale=self.scale, rotate=self.rotate, crop=self.crop)

    # One unit or class.

    def _one(self, scene: Scene, selection: Selection, stage: MadeInput, key: Key) -> Iterator[Picture | Progress]:
        objective = _made_inputs.objective(scene, stage, key)
        name = str(objective) if key.kind in ("class", "direction") else f"{spoken(key.name)}/{key.number}"
        wishes = [_Wish(f"for {name}" + (f", variant {k + 1}" if k else ""), key=str(key)) for k in range(self.variants)]
        wishes += [_Wish(f"against {name}", -1.0)] if self.negative else []
        grouped = self._facets(scene, stage, key, objective)
        if grouped is not None:
            wishes += [_Wish(f"facet {k + 1}", facet=k) for k in range(len(grouped.members))]
        canvas = stage.canvas(
            len(wishes), stage.look.generator, parametrization=self.parametrization,  # type: ignore[arg-type]
            start=self._starts(stage, wishes, grouped), noise=START,
        )
        signs = torch.tensor([wish.sign for wish in wishes], device=canvas.z.device)
        plain = wanted = objective * signs
        if self.variants > 1 and self.diversity:
            wanted = wanted + self.diversity * objectives.diversity(_layer_of(scene, key))
        ascent = self._ascent(stage)
        best = self._strongest(scene, stage, f"{key}/{[wish.sign for wish in wishes]}", plain, len(wishes))
        # Variants and facets are to differ, so they have nothing to reach.
        alone = best.only([wish.facet is None and (k == 0 or wish.sign < 0) for k, wish in enumerate(wishes)])
        for formed in contest(
            stage, canvas, wanted, ascent, stage.look.generator, alone, self.parametrization,  # type: ignore[arg-type]
            None if wanted is plain else plain,
        ):
            yield Progress(done=formed.step, total=formed.steps, note="forming")
            if not formed.final:
                yield self._pictured(scene, selection, stage, key, wishes, formed, signs, objective, canvas.note)
        numbers = [key.number] * len(wishes) if key.kind == "class" else None
        said = verdict(stage, objective, formed.x, ascent.transforms, self.seed, numbers)
        yield self._pictured(
            scene, selection, stage, key, wishes, formed, signs, objective, canvas.note, said, grouped, float(best.values[0])
        )

    def _facets(self, scene: Scene, stage: MadeInput, key: Key, objective: Objective) -> Facets | None:
        if not self.facets:
            return None
        if stage.tokens:
            raise UsageError("facets start from means of examples, and texts have none; set facets to 0")
        x = nesting.to(scene.live.x, scene.device)
        return facets(stage.look, objective, x, stage.frame.part, self.facets, _made_inputs.before(scene, key))

    def _starts(self, stage: MadeInput, wishes: list[_Wish], grouped: Facets | None) -> Tensor | None:
        """The means of the groups for facets, plain middle for the others; None where all start from noise."""
        if grouped is None:
            return None
        means = stage.frame.planes(grouped.starts) if stage.image else grouped.starts
        if stage.image:
            middle = stage.colours.mean[:, None, None].expand(stage.size).to(means)
        else:
            middle = stage.examples.float().nan_to_num(0, 0, 0).mean(0).to(means)
        return torch.stack([middle if wish.facet is None else means[wish.facet] for wish in wishes])

    def _pictured(
        self, scene: Scene, selection: Selection, stage: MadeInput, key: Key, wishes: list[_Wish], formed: SynthesisState,
        signs: Tensor, objective: Objective, made: str, said: Verdict | None = None, grouped: Facets | None = None,
        best: float = math.nan,
    ) -> Picture:
        values = _made_inputs.shown(stage, formed.x)
        marks = [
            _made_inputs.mark(stage, values[k], wish.title, self._told(scene, key, objective, k, formed, signs, said), key=wish.key)
            for k, wish in enumerate(wishes)
        ]
        body: list[Node] = [Group(children=tuple(marks), direction="row" if stage.image else "column")]
        curve = formed.curve * signs.cpu()
        body.append(_made_inputs.curves(curve, [wish.title for wish in wishes], f"response of {objective}"))
        checks: tuple[Check, ...] = ()
        name = _with_kind(scene, key, str(objective))
        caption = self._caption(stage, key, name, made, said is None or bool(formed.values.isfinite().any()))
        if said is not None:
            measure = objectives.measured_as(stage.look.reading, key, scene.layers)
            checks = (*self._checks(said, objective, measure), *self._beside(best, said, measure))
            checks = tuple(check for check in checks if math.isfinite(check.value))
        if grouped is not None:
            sizes = ", ".join(str(len(group)) for group in grouped.members)
            caption += (
                f" The facets' groups hold {sizes} of the top examples, told apart by {grouped.code}; their middles lie "
                f"{grouped.apart:.2g} times as far from each other as the examples from them."
            )
        return self.picture(
            scene, selection, f"What {name} would like to see", Group(children=tuple(body)), caption,
            checks=checks, note=" ".join(filter(None, (formed.note, stage.note))), final=said is not None,
        )

    def _caption(self, stage: MadeInput, key: Key, name: str, made: str, fine: bool) -> str:
        what = "picture" if stage.image else "text of nearest tokens" if stage.tokens else "row of numbers"
        nouns = {"class": name if name.rpartition(" ")[2].isdecimal() else f"the {name}", "direction": f"the direction {name}"}
        noun = nouns.get(key.kind) or f"unit {key.number} of {spoken(key.name)}"
        if not fine:
            return f"What {noun} asks for cannot be told: to every start it answers with what is no number."
        told = f"The {what} that {noun} asks for, made from noise by following the network's own slope"
        told += ", and the one that silences it" if self.negative else ""
        return f"{told}; below, how its response grew. Made {made}."

    def _told(
        self, scene: Scene, key: Key, objective: Objective, k: int, formed: SynthesisState, signs: Tensor, said: Verdict | None
    ) -> str:
        if said is None:
            return f"{float(formed.values[k] * signs[k].cpu()):.3g}" if bool(formed.values[k].isfinite()) else ""
        if not bool(said.value[k].isfinite()):
            return ""
        if said.probability is not None and said.moved_probability is not None:
            told = f"{objective}: {_share(said.probability[k])}"
            return told if said.still else f"{told}; moved at random: {_share(said.moved_probability[k])}"
        mean = key.kind == "unit" and bool(objectives.places(scene.layers[key.name])) and not key.place
        word = "mean activation" if mean else "activation" if key.kind == "unit" else "response"
        told = f"{word} {float(said.value[k]):.3g}"
        return told if said.still else f"{told}; moved at random: {float(said.moved[k]):.3g}"

    def _checks(self, said: Verdict, objective: Objective, measure: str) -> tuple[Check, ...]:
        found = [Check(name="response", value=float(said.value[0]), sentence=f"The {measure}, of the first input as it is shown.")]
        moved = "" if said.still else ", moved and resized by a held-out seed"
        if said.moved_probability is not None:
            value = 100 * float(said.moved_probability[0])
            sentence = f"The network's probability for the first input{moved}."
            found.append(Check(name=f"probability of {objective}", value=value, unit="%", sentence=sentence, good=value > 50))
        elif not said.still:
            found.append(Check(name="response, moved", value=float(said.moved[0]), sentence=f"The {measure}, of the first input{moved}."))
        return tuple(found)

    def _beside(self, best: float, said: Verdict, measure: str) -> tuple[Check, ...]:
        sentence = f"The largest {measure} that any of the examples reaches."
        return (Check(name="strongest example", value=best, sentence=sentence, good=bool(float(said.value[0]) >= best - 1e-5 * abs(best))),)

    def _strongest(self, scene: Scene, stage: MadeInput, name: str, objective: Objective, count: int) -> StrongestExamples:
        def ask() -> StrongestExamples:
            return StrongestExamples.of(stage, objective, nesting.to(scene.live.x, scene.device), count)

        found: StrongestExamples = scene.once(f"synthesis/{name}", ask)
        return found

    # A whole layer, or all classes.

    def _grid(self, scene: Scene, selection: Selection, stage: MadeInput, keys: list[Key]) -> Iterator[Picture | Progress]:
        total = len(keys)
        keys = keys[: self.units]
        if not stage.image:
            keys = keys[: min(self.units, 12)]
        size, done = stage.together, list[tuple[SynthesisState, Verdict | None]]()
        waves = [keys[k : k + size] for k in range(0, len(keys), size)]
        ascent = self._ascent(stage)
        for number, wave in enumerate(waves):
            objective = _for_all(wave, scene)
            canvas = stage.canvas(
                len(wave), stage.look.generator, parametrization=self.parametrization,  # type: ignore[arg-type]
            )
            best = self._strongest(scene, stage, ",".join(map(str, wave)), objective, len(wave))
            for formed in contest(
                stage, canvas, objective, ascent, stage.look.generator, best, self.parametrization,  # type: ignore[arg-type]
            ):
                yield Progress(done=number + formed.step / formed.steps, total=len(waves), note="forming")
                if not formed.final:
                    yield self._gridded(scene, selection, stage, keys, [*done, (formed, None)], total, canvas.note)
            classes = [key.number for key in wave] if wave[0].kind == "class" else None
            said = verdict(stage, objective, formed.x, ascent.transforms, self.seed, classes)
            done.append((formed, said))
            if number < len(waves) - 1:
                yield self._gridded(scene, selection, stage, keys, done, total, canvas.note)
        yield self._gridded(scene, selection, stage, keys, done, total, canvas.note, final=True)

    def _gridded(
        self, scene: Scene, selection: Selection, stage: MadeInput, keys: list[Key],
        done: list[tuple[SynthesisState, Verdict | None]], total: int, made: str, *, final: bool = False,
    ) -> Picture:
        values = [value for formed, _ in done for value in _made_inputs.shown(stage, formed.x)]
        notes = [note for formed, said in done for note in _notes(formed, said)]
        ready = keys[: len(values)]
        labels = tuple(scene.classes[key.number] if key.kind == "class" else str(key.number) for key in ready)
        names = tuple(
            number_key("class", key.number) if key.kind == "class" else unit_key(key.name, key.number) for key in ready
        )
        layer = keys[0].name
        what = "the classes" if keys[0].kind == "class" else spoken(layer)
        body: Node
        if stage.image:
            pixels = np.stack(values)
            limits = inputs.grey(pixels) if pixels.ndim == 3 else None
            size = 96 if pixels.shape[1] > 48 else 72
            body = Tiles(images=pixels, limits=limits, labels=labels, notes=tuple(notes), keys=names, size=size)
        else:
            marks = [_made_inputs.mark(stage, value, label, note) for value, label, note in zip(values, labels, notes, strict=True)]
            body = Group(children=tuple(marks), direction="grid")
        noun = "each class" if keys[0].kind == "class" else f"each unit of {spoken(layer)}"
        caption = f"What {noun} asks for, all made in one go; the number is what the network answers to it."
        caption += f" Made {made}."
        said = [part.note for part, _ in done if part.note] + [f"{len(keys)} of {total} are shown."] * (len(keys) < total)
        return self.picture(
            scene, selection, f"What {what} would like to see", body, caption, note=" ".join(dict.fromkeys(said)),
            final=final,
        )


def _notes(formed: SynthesisState, said: Verdict | None) -> list[str]:
    if said is None:
        return [f"{float(value):.3g}" if bool(value.isfinite()) else "" for value in formed.values]
    if said.probability is not None:
        return [_share(value) for value in said.probability]
    return [f"{float(value):.3g}" for value in said.value]


def _share(value: Tensor) -> str:
    """A probability in per cent, with as many digits as it deserves."""
    share = 100 * float(value)
    return "under 0.01 %" if share < 0.01 else f"{share:.3g} %"


def _with_kind(scene: Scene, key: Key, name: str) -> str:
    """A class's own name with the word before it; one by its number has it: "class 7", "output 7"; a unit's with the token that it stands for."""
    if key.kind == "unit":
        return f"{name}{answers.stands_for(scene, scene.layers[key.name], key.number)}"
    return f"class {name}" if key.kind == "class" and key.number < len(scene.classes) else name


def _for_all(keys: list[Key], scene: Scene) -> Objective:
    """One objective for a batch, each input's own unit or class."""
    numbers = [key.number for key in keys]
    if keys[0].kind == "class":
        return objectives.answers(numbers, scene.classes, scene.task)
    name = keys[0].name
    return objectives.woken(objectives.units(name, numbers), name, numbers, scene.layers)


def _layer_of(scene: Scene, key: Key) -> str:
    """The layer in which variants are to differ: a unit's own, or the last with maps before the answer."""
    if key.name:
        return _made_inputs.layer_of(scene, key)
    spatial = [one.name for one in telling_layers(scene) if one.layer.spatial]
    return spatial[-1] if spatial else main_layers(scene)[0].name
