"""What the network answers to one input, as bars."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.colour import class_colour, magnitude, rgb, symmetric
from ..core.marks import Bars, Group, Image, Node
from ..core.selection import number_key
from ..data import kinds
from ..data.kinds import Strokes, Tokens
from ..data.tokens import visible
from ..model.layers import Layer
from ..model.mixtures import NextStep, curves
from ..model.outputs import CLASSES
from ..model.targets import called
from ..scene import Scene
from ..scene.input import text_input
from ..scene.layer_text import answered_where, tags, text_at
from ..scene.sets import output_name

MOST = 12
"""Beyond so many classes only the likeliest are shown."""
PATCHES = 64
"""So many places of a side are chosen one by one."""
_ROWS = 4
"""So many rows of classes are as high as standing bars; a row says its share too."""


def drawn(scene: Scene, scores: Tensor, truth: Any = None, *, horizontal: bool = False, size: int = 96) -> Node:
    """The answer to one input as a mark: a picture where the network answers with pictures or with a class for each
    place, else bars."""
    pixels = pictures(scene, scores)
    if scene.task == "segmentation":
        return _segments(scene, scores, truth, size)
    if pixels is None:
        return bars(scene, scores, truth, horizontal=horizontal)
    limits = magnitude(pixels[0], 0, 255, "grey") if pixels.ndim == 3 else None
    return Image(pixels=pixels[0], limits=limits, title="answer", size=size)


def truth(scene: Scene, y: Tensor) -> Tensor | None:
    """What one example's answer is held against where it is drawn; None where nothing is known, or it is no few numbers."""
    if scene.task in ("next_token", "reconstruction") or not bool(scene.reading.labelled(y)):
        return None
    return scene.reading.truth(y)[0]


def _segments(scene: Scene, scores: Tensor, truth: Any, size: int) -> Node:
    """The class of each place as a picture, the true ones beside it, and the share of each class as their legend."""
    given = scene.reading.predictions(scores)[0]
    shares = _shares(scene, scores)
    if given.ndim != 2:
        return shares
    names = tuple(_class_name(scene, k) for k in range(scene.reading.width(scores)))
    found: list[Node] = [_chosen_by_place(given, "answer", size, names)]
    if truth is not None and truth.shape == given.shape:
        found.append(_chosen_by_place(truth, "truth", size, names))
    return Group(children=(*found, shares), direction="row")


def _chosen_by_place(classes: Tensor, title: str, size: int, names: tuple[str, ...]) -> Image:
    """A class for each place as a picture, which names the class that stands under the pointer, and of which a click chooses it."""
    rows, columns = (min(side, PATCHES) for side in classes.shape)
    # Of a larger picture the class in the middle of each patch.
    down, over = ((2 * torch.arange(many) + 1) * side // (2 * many) for many, side in zip((rows, columns), classes.shape, strict=True))
    keys = tuple(number_key("class", k) if k >= 0 else "" for k in classes[down][:, over].flatten().tolist())
    meant = classes.to(torch.int32).numpy()
    return Image(pixels=painted(classes), title=title, size=size, patches=(rows, columns), patch_keys=keys, meant=meant, names=names)


def painted(classes: Tensor) -> np.ndarray:
    """A class for each place, (height, width), as a picture in the classes' colours; a place that says nothing is empty."""
    told = classes.numpy()
    table = np.array([(*rgb(class_colour(k)), 1.0) for k in range(max(1, int(told.max()) + 1))])
    colours = table[np.maximum(told, 0)]
    colours[told < 0] = 0
    pixels: np.ndarray = np.round(255 * colours).astype(np.uint8)
    return pixels


def pictures(scene: Scene, scores: Tensor) -> np.ndarray | None:
    """Answers as pictures, (n, height, width[, 3]) uint8; None where the network does not answer with pictures."""
    kind = picturing(scene)
    return None if kind is None else kind.decode(scores)


def picturing(scene: Scene) -> kinds.Image | None:
    """How the answers are pictures: like the inputs for a reconstruction, else by their shape and range; or None."""
    own = scene.kind
    if scene.task == "reconstruction":
        return own if isinstance(own, kinds.Image) else None
    if scene.task in ("classification", "multi_label", "next_token", "segmentation"):
        return None
    found: kinds.Image | None = scene.keep("answers/kind", lambda: _kind(scene.scores(scene.live.batch([0]))))
    return found


def _kind(scores: Tensor) -> kinds.Image | None:
    if scores.ndim != 4 or scores.shape[1] not in (1, 3) or min(scores.shape[2:]) < 2:
        return None
    low, high = float(scores.nan_to_num(0).min()), float(scores.nan_to_num(0).max())
    return kinds.Image(range=(-1.0, 1.0) if low < -0.05 else (0.0, 255.0) if high > 2 else (0.0, 1.0))


def bars(scene: Scene, scores: Tensor, truth: Any = None, *, horizontal: bool = False) -> Bars:
    """The answer to one input (scores of a batch of one): probabilities of classes or tokens, or plain numbers."""
    task = scene.task
    if task in ("classification", "multi_label"):
        return _classes(scene, scene.reading.probabilities(scores)[0], truth, horizontal)
    if task == "next_token":
        return _tokens(scene, scene.reading.probabilities(scores)[0, -1])
    if task == "segmentation":
        return _shares(scene, scores)
    if (step := pen_step(scene, scores)) is not None:
        return _step(step, None if truth is None else np.asarray(truth, np.float64).reshape(-1, 3)[-1])
    values = (scores[0].abs() if scores.is_complex() else scores[0]).float().reshape(-1)[:64].numpy()
    reference = None if truth is None else np.asarray(truth, np.float64).reshape(-1)[:64]
    labels = tuple(number_title(scene, k) for k in range(len(values))) if len(values) > 1 else ("answer",)
    same = reference is not None and len(reference) == len(values)
    return Bars(values=values, labels=labels, reference=reference if same else None, limits=symmetric(values))


def number_title(scene: Scene, number: int) -> str:
    """What one of several numbers that are answered is headed with: the name that its user gave it, else "output 3"."""
    return output_name(scene, number) if scene.task == "regression" else f"output {number}"


def number_name(scene: Scene, number: int, count: int) -> str:
    """What one of the ``count`` numbers that a network answers an example with is called, counted over all places: "output 3", "the answer".

    *Meaning* of a pen what it tells, and behind which point: "lifting the pen behind point 12".
    *Cost* of a pen one forward pass of one example, kept.
    """
    width = scene.once("numbers a place", lambda: _width(scene)) if isinstance(scene.kind, Strokes) else 0
    curved = curves(width)
    if curved is None or count % width:
        return number_title(scene, number) if count > 1 else "the answer"
    point, part = divmod(number, width)
    steps = ("how far to the right", "how far upwards", "lifting the pen")
    what = steps[part] if curved == 0 else f"number {part} of {width}" if part else "lifting the pen"
    return f"{what} behind point {point}"


def _width(scene: Scene) -> int:
    """How many numbers the network answers with at a place."""
    return int(scene.look(scene.live.batch([0], scene.device))[0].shape[-1])


def pen_step(scene: Scene, scores: Tensor) -> tuple[float, float, float] | None:
    """What a network that writes with a pen says of the step behind the last point: how far to the right and upwards, in the mean of its
    curves, and how likely the pen is lifted then; None for all other answers."""
    x = scene.examples.x
    if not isinstance(scene.kind, Strokes) or not isinstance(x, Tensor) or scores.ndim != 3 or curves(scores.shape[-1]) is None:
        return None
    said = NextStep.of(scores[0, -1].double())
    right, up = (said.weights.exp()[:, None] * said.means).sum(0).tolist()
    return right, up, float(said.lift.sigmoid())


def _step(step: tuple[float, float, float], truth: np.ndarray | None) -> Bars:
    return Bars(
        values=np.array(step), labels=("to the right", "upwards", "pen lifted"), reference=truth,
        limits=symmetric(np.array([*step, *([] if truth is None else truth)])), title="next step",
        notes=("", "", f"{100 * step[2]:.0f} %"),
    )


def _classes(scene: Scene, chance: Tensor, truth: Any, horizontal: bool) -> Bars:
    count = len(chance)
    ranked = chance.nan_to_num(0).argsort(descending=True, stable=True)
    order = torch.arange(count) if count <= MOST else ranked[:MOST]
    reference = None
    if truth is not None:
        marked = torch.zeros(count)
        told = torch.as_tensor(truth)
        marked[told.long() if told.ndim == 0 else told.bool()] = 1
        reference = marked[order].numpy()
    strong = int((order == ranked[0]).nonzero()[0]) if scene.task == "classification" else None
    return Bars(
        values=chance[order].numpy(), labels=tuple(scene.classes[int(k)] for k in order),
        keys=tuple(number_key("class", int(k)) for k in order), colours=tuple(int(k) for k in order),
        reference=reference, limits=magnitude(chance.numpy(), 0, 1, "probability"),
        unit="probability", strong=strong, horizontal=horizontal or count > MOST or count <= _ROWS,
    )


def _shares(scene: Scene, scores: Tensor) -> Bars:
    """How much of a picture each class takes: the share of its places that are answered with it."""
    given = scene.reading.predictions(scores)[0].reshape(-1)
    count = scene.reading.width(scores)
    share = np.bincount(given[given >= 0].numpy(), minlength=count) / max(1, len(given))
    order = np.arange(count) if count <= MOST else np.argsort(-share, kind="stable")[:MOST]
    return Bars(
        values=share[order], labels=tuple(_class_name(scene, int(k)) for k in order),
        keys=tuple(number_key("class", int(k)) for k in order), colours=tuple(int(k) for k in order),
        limits=magnitude(share, 0, 1, unit="share"), unit="share of the places", horizontal=True,
    )


def _class_name(scene: Scene, number: int) -> str:
    return scene.classes[number] if number < len(scene.classes) else str(number)


def _tokens(scene: Scene, chance: Tensor) -> Bars:
    top = chance.nan_to_num(0).topk(min(5, len(chance)))
    return Bars(
        values=top.values.numpy(), labels=tuple(token(scene, int(k)) for k in top.indices),
        limits=magnitude(chance.numpy(), 0, 1, "probability"), unit="probability", strong=0,
    )


def token(scene: Scene, number: int) -> str:
    """A token's text as it can be seen: blanks and line ends have signs; of a network that tags tokens, the class's name."""
    if tags(scene):
        return called(number, scene.classes, "classification")
    read = text_input(scene.kind)
    kind = read[1] if read is not None else _answered(scene)
    text = kind.token(number) if kind is not None else str(number)
    return visible(text)


def _answered(scene: Scene) -> Tokens | None:
    """Of several texts the words of that at whose tokens a network answers, of a translator what it says; else those of the first."""
    words = [kind for kind in scene.kinds.values() if isinstance(kind, Tokens)]
    own = scene.kinds.get(text_at(scene)) if len(words) > 1 else None
    return own if isinstance(own, Tokens) else words[0] if words else None


def foretold(scene: Scene, layer: Layer, number: int) -> str:
    """The token that a unit of a layer stands for, where these are a network's answers about the token that comes next; else empty."""
    last = max(one.order for one in scene.layers.leaves)
    if scene.task != "next_token" or layer.order != last or not layer.sequence or tags(scene):
        return ""
    fits = any(isinstance(kind, Tokens) and kind.reads and layer.units == kind.size for kind in scene.kinds.values())
    return token(scene, number) if fits else ""


def stands_for(scene: Scene, layer: Layer, number: int) -> str:
    """The same as it stands behind a unit's name: " (“e”)"; empty where it stands for none."""
    told = foretold(scene, layer, number)
    return f" (“{told}”)" if told else ""


NOTHING = "nothing: its scores are not numbers"


def answerless(scene: Scene, scores: Tensor) -> bool:
    """Whether the scores of one input are no numbers, so that it is answered with nothing that could stay, turn or be explained."""
    if scene.task in (*CLASSES, "multi_label"):
        scores = scene.reading.probabilities(scores)
        scores = scores[0, -1] if scene.task == "next_token" else scores[0]
        return not bool(scores.isfinite().all())
    return not bool(scores[0].isfinite().any())


def said(scene: Scene, scores: Tensor) -> str:
    """The answer in words: "3 (97 %)"."""
    if answerless(scene, scores):
        return NOTHING
    if scene.task == "classification":
        chance = scene.reading.probabilities(scores)[0]
        best = int(chance.argmax())
        return f"{scene.classes[best]} ({100 * float(chance[best]):.0f} %)"
    if scene.task == "multi_label":
        chosen = scene.reading.predictions(scores)[0].nonzero().reshape(-1)
        return ", ".join(scene.classes[int(k)] for k in chosen) or "none of the labels"
    if scene.task == "next_token":
        chance = scene.reading.probabilities(scores)[0, -1]
        best = int(chance.argmax())
        return f"{token(scene, best)} {answered_where(scene)} ({100 * float(chance[best]):.0f} %)"
    if scene.task == "segmentation":
        found = _shares(scene, scores)
        return ", ".join(f"{found.labels[k]} on {found.values[k]:.0%}" for k in np.argsort(-found.values, kind="stable")[:3])
    if picturing(scene) is not None:
        return "a picture"
    if (step := pen_step(scene, scores)) is not None:
        return f"a step of {step[0]:.2g} to the right and {step[1]:.2g} upwards, with the pen lifted behind it by {100 * step[2]:.0f} %"
    numbers = (scores[0].abs() if scores.is_complex() else scores[0]).reshape(-1)
    more = f" and {len(numbers) - 4:,} more numbers" if len(numbers) > 4 else ""
    return ", ".join(f"{float(value):.4g}" for value in numbers[:4]) + more
