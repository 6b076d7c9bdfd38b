"""What a layer keeps of a picture: pictures made from its code, from several starts, and by a trained decoder."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ...core.knobs import knob
from ...core.marks import Column, Group, Lines, Node, Series, Table, Tiles
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, layer_key, spoken
from ...data import nesting
from ...data.kinds import Image as ImageKind
from ...data.nesting import Nested
from ...derive.derivations.decoder import taught
from ...methods.synthesis.code_inversion import Inversions, Yardstick, climb, codes, distances, invert, unit_first
from ...methods.synthesis.decoder import Decoder, DecoderMoment
from ...methods.synthesis.priors import Priors
from ...methods.synthesis.stage import MadeInput
from ...scene import Scene
from .. import inputs
from ..units import main_layers
from ..view import View
from . import _made_inputs

_LISTS = ("ModuleList", "Sequential")
_YARD = 64


@dataclasses.dataclass(frozen=True)
class _DecodedPicture:
    """What a decoder made of the example's code."""

    planes: Tensor
    pixel_error: float
    code_error: float
    words: str


class InversionView(View):
    """What each layer keeps of the picture: pictures that have the same code, from several starts, layer by layer.

    *Meaning* each column is a layer; every picture in it was made from noise until the layer answers to it as to the
    original. Where they all look like the original, the layer keeps everything; what differs between them is what the
    layer does not care about. At first they are held to be as smooth and as coloured as the examples; that hold is let go
    until nearly only the code counts. The decoder is a network trained to draw the picture from the code at once: it shows what
    the code tells on average.
    *Units* errors are distances as a share of the mean distance between two examples: 0 % is the same, 100 % as unlike
    as any two.
    *Cost* a forward and a backward pass for each step and layer; a decoder takes the seconds it is given, for each layer.
    """

    title = "What layers keep"
    question = "How much of the picture is still there in each layer?"
    family = "features"
    papers = ("Mahendran & Vedaldi 2015, arXiv:1412.0035", "Dosovitskiy & Brox 2016, arXiv:1506.02753")
    rows = ("A28", "A29")
    follows = ("example", "layer", "unit")
    input = True

    starts: int = knob(5, "So many pictures for each layer, each from a noise of its own.", low=1, high=12, main=True)
    decoder: bool = knob(False, "Also train a decoder for each layer, or load one that was trained before.", main=True)
    layers: int = knob(5, "So many layers, spread from the first to the last.", low=1, high=24)
    steps: int = knob(120, "Steps for each layer.", low=1, high=4000)
    rate: float = knob(1.0, "The size of a step, relative to what suits pictures.", low=0.01, high=20.0, log=True)
    likeness: float = knob(
        1.0, "How much pictures are held to be as smooth and as coloured as the examples, at first.", low=0.0, high=20.0
    )
    natural: float = knob(0.0, "Also Mahendran & Vedaldi's two priors of natural pictures.", low=0.0, high=1.0)
    decoder_seconds: float = knob(20.0, "How long a decoder is trained for a layer.", low=1.0, high=3600.0, unit="s", log=True)
    decoder_steps: int = knob(2000, "After so many steps it ends even earlier.", low=10, high=1_000_000, log=True)
    seed: int = knob(0, "What the starts and the decoder's first weights are drawn from.", low=0)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs pictures."""
        if not any(isinstance(kind, ImageKind) for kind in scene.kinds.values()):
            return "it makes pictures from codes, and the inputs are no pictures"
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """Layer by layer, each as it forms; then the decoders."""
        stage = _made_inputs.staged(scene, selection, self.seed)
        current = scene.current(selection)
        chosen = self._layers(scene, selection)
        few = nesting.to(scene.live.batch(list(range(min(_YARD, len(scene.live))))), scene.device)
        yard = Yardstick.of(stage, chosen, few)
        ascent = climb(stage, self.steps, rate=self.rate, held=self.likeness, priors=Priors(natural=self.natural))
        done: dict[str, Inversions] = {}
        drawn: dict[str, _DecodedPicture] = {}
        total = len(chosen) * (1 + self.decoder)
        for number, layer in enumerate(chosen):
            last = number == len(chosen) - 1 and not self.decoder
            for made in invert(stage, layer, current.x, yard, ascent, starts=self.starts, seed=self.seed):
                yield Progress(done=number + made.step / self.steps, total=total, note=layer)
                done[layer] = made
                yield self._pictured(scene, selection, stage, current.x, chosen, done, drawn, last and made.final)
        if not self.decoder:
            return
        for number, layer in enumerate(chosen):
            for lesson in self._taught(scene, layer, current.index):
                share = min(1.0, lesson.step / lesson.steps)
                yield Progress(done=len(chosen) + number + share, total=total, note=f"decoder of {spoken(layer)}")
                drawn[layer] = self._decode(stage, layer, current.x, yard, lesson)
                final = lesson.final and number == len(chosen) - 1
                yield self._pictured(scene, selection, stage, current.x, chosen, done, drawn, final)

    def _layers(self, scene: Scene, selection: Selection) -> list[str]:
        """Layers spread over the depth, the chosen one among them."""
        names = _stations(scene)
        at = np.unique(np.linspace(0, len(names) - 1, min(self.layers, len(names))).round().astype(int))
        found = [names[k] for k in at]
        for key in selection.a:
            if key.kind in ("layer", "unit") and scene.layers.has(key.name) and key.name not in found:
                found.append(key.name)
        return sorted(found, key=lambda name: scene.layers[name].order)

    # Decoders.

    def _taught(self, scene: Scene, layer: str, index: int | None) -> Iterator[DecoderMoment]:
        """A decoder as it learns, or at once one that was kept for these weights."""
        derived = scene.derive(
            "decoder", layer=layer, seconds=self.decoder_seconds, steps=self.decoder_steps, seed=self.seed, example=index
        )
        for stage in derived.stream():
            if stage.value is not None:
                yield dataclasses.replace(taught(stage.value), final=stage.final)

    def _decode(self, stage: MadeInput, layer: str, x: Nested, yard: Yardstick, lesson: DecoderMoment) -> _DecodedPicture:
        code = codes(stage.look, [layer], x)[layer].nan_to_num(0, 0, 0)
        with torch.no_grad():
            planes = _answer(lesson.decoder, unit_first(stage.look, layer, code))
        wanted = stage.frame.planes(list(nesting.tensors(x))[stage.frame.part])
        again = stage.frame.around(stage.frame.as_input(planes.to(stage.frame.own.device)))
        far = distances(codes(stage.look, [layer], again)[layer], code, yard.codes[layer])
        words = "" if lesson.final else f"{lesson.step} of {lesson.steps}"
        return _DecodedPicture(planes, float(distances(planes, wanted, yard.pixels)[0]), float(far[0]), words)

    # The picture.

    def _pictured(
        self, scene: Scene, selection: Selection, stage: MadeInput, x: Nested, chosen: list[str],
        done: dict[str, Inversions], drawn: dict[str, _DecodedPicture], final: bool,
    ) -> Picture:
        current = scene.current(selection)
        original = stage.frame.planes(_made_inputs.own_part(stage, x))[0].cpu()
        body: list[Node] = [self._columns(stage, original, current.label, current.key, done, drawn)]
        body.append(_table(chosen, done, drawn))
        if len(done) > 1:
            body.append(_depth(done, drawn))
        caption = f"What each layer keeps of {current.label}: pictures to which it answers nearly as to the original, each "
        caption += "from a noise of its own. Errors are shares of the distance between two examples."
        notes = [made.note for made in done.values() if made.note] + [stage.note]
        if drawn:
            caption += " Each decoder (top row) learned from the probe set without this example."
        return self.picture(
            scene, selection, "What layers keep", Group(children=tuple(body)), caption, checks=_checks(done),
            note=" ".join(dict.fromkeys(filter(None, notes))), final=final,
        )

    def _columns(
        self, stage: MadeInput, original: Tensor, label: str, key: str, done: dict[str, Inversions], drawn: dict[str, _DecodedPicture]
    ) -> Tiles:
        """The original, then a column a layer: the decoder's picture, where there is one, and below it the starts."""
        rows: list[list[tuple[Tensor, str, str]]] = []
        if drawn:
            middle = torch.full(stage.size, 0.5)
            rows.append([
                (drawn[name].planes[0].cpu(), "decoder " + drawn[name].words, f"{100 * drawn[name].pixel_error:.0f} %")
                if name in drawn else (middle, "", "") for name in done
            ])
        rows += [
            [(made.planes[k], "", f"{100 * float(made.pixel_error[k]):.0f} %") for made in done.values()]
            for k in range(min(len(made.planes) for made in done.values()))
        ]
        rows[0] = [(planes, f"{spoken(name)} {label}".strip(), note) for (planes, label, note), name in zip(rows[0], done, strict=True)]
        rows = [[(original, "" if number else label, ""), *row] for number, row in enumerate(rows)]
        cells = [cell for row in rows for cell in row]
        pixels = _pixels(torch.stack([planes for planes, _, _ in cells]))
        # The original stands at the head of each row, to compare with, and only once in full.
        faded = np.array([number > 0 and place == 0 for number, row in enumerate(rows) for place in range(len(row))])
        return Tiles(
            images=pixels, limits=inputs.grey(pixels) if pixels.ndim == 3 else None,
            labels=tuple(label for _, label, _ in cells), notes=tuple(note for _, _, note in cells),
            keys=tuple(name for _ in rows for name in (key, *map(layer_key, done))), columns=len(done) + 1, size=88,
            faded=faded, title="The picture, then a column for each layer and a row for each start",
        )


def _stations(scene: Scene) -> list[str]:
    """The layers in their order, with blocks that come again and again taken whole: only what leaves a block with a way
    round is all that the network goes on with.
    """
    wholes = [one for one in scene.layers if not one.leaf and one.kind not in _LISTS and one.path and one.shape]
    often = Counter(one.kind for one in wholes)
    blocks = sorted((one for one in wholes if often[one.kind] > 1), key=lambda one: len(one.path))
    found: dict[str, None] = {}
    for one in main_layers(scene):
        block = next((block for block in blocks if one.layer.path.startswith(f"{block.path}.")), one.layer)
        if math.prod(block.shape) > 0:
            found[block.name] = None
    return list(found)


def _answer(decoder: Decoder, code: Tensor) -> Tensor:
    found: Tensor = decoder(code)
    return found


def _mean(values: Tensor) -> float:
    return float(values.mean())


def _table(chosen: list[str], done: dict[str, Inversions], drawn: dict[str, _DecodedPicture]) -> Table:
    names = [name for name in chosen if name in done]
    columns = [
        Column(name="layer", kind="text", texts=tuple(name or spoken("") for name in names)),
        Column(name="pixel error", unit="%", numbers=np.array([100 * _mean(done[n].pixel_error) for n in names])),
        Column(name="code error", unit="%", numbers=np.array([100 * _mean(done[n].code_error) for n in names])),
        Column(name="between starts", unit="%", numbers=np.array([100 * done[n].spread for n in names])),
    ]
    if drawn:
        for title, field in (("decoder: pixel error", "pixel_error"), ("decoder: code error", "code_error")):
            numbers = [100 * getattr(drawn[n], field) if n in drawn else math.nan for n in names]
            columns.append(Column(name=title, unit="%", numbers=np.array(numbers)))
    return Table(columns=tuple(columns), row_keys=tuple(layer_key(name) for name in names))


def _depth(done: dict[str, Inversions], drawn: dict[str, _DecodedPicture]) -> Lines:
    at = np.arange(1, len(done) + 1, dtype=np.float64)
    rows = [("pixel error", [_mean(one.pixel_error) for one in done.values()], 0, False),
            ("code error", [_mean(one.code_error) for one in done.values()], 1, False)]
    if drawn:
        rows.append(("decoder: pixel error", [drawn[n].pixel_error if n in drawn else math.nan for n in done], 0, True))
        rows.append(("decoder: code error", [drawn[n].code_error if n in drawn else math.nan for n in done], 1, True))
    lines = tuple(
        Series(name=name, x=at, y=100 * np.array(values), colour=colour, dash=dash) for name, values, colour, dash in rows
    )
    layers = ", ".join(f"{number} {spoken(name)}" for number, name in enumerate(done, 1))
    return Lines(series=lines, x_title=f"layer: {layers}", x_kind="number", y_title="error, %", height=120)


def _checks(done: dict[str, Inversions]) -> tuple[Check, ...]:
    worst = max((_mean(made.code_error) for made in done.values() if made.final), default=math.nan)
    if not math.isfinite(worst):
        return ()
    sentence = "How far the pictures' codes still are from the original's, at worst: 0 % means that nothing more could be read."
    return (Check(name="largest code error", value=100 * worst, unit="%", sentence=sentence, good=worst < 0.2),)


def _pixels(planes: Tensor) -> np.ndarray:
    array = np.rint(planes.clamp(0, 1).nan_to_num(0.5).numpy() * 255).astype(np.uint8)
    if array.shape[1] == 3:
        return np.ascontiguousarray(np.moveaxis(array, 1, 3))
    pixels: np.ndarray = array[:, 0] if array.shape[1] == 1 else np.rint(array.mean(1)).astype(np.uint8)
    return pixels
