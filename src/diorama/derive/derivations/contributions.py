"""What each layer and each head adds to the score of an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.selection import Key
from ...data.nesting import Nested
from ...methods.cost import Cost
from ...model.capture import Capture
from ...model.edits import Edit
from ...model.stream import Stream
from ...model.tail import Tail
from ...scene import Scene
from ...scene.input import ending
from ..derivation import Derivation, Plain, Stage
from ..heads import attention_layers
from ..streams import by_position, held, residual_stream, tail_of, without_stream


class ContributionsDerivation(Derivation):
    """What each layer, and each head of its attentions, adds to the score of an answer: direct logit attribution.

    *Meaning* the end of a residual stream is a sum of what its layers added; with the sizes that the last norm divides by held
    as they are, the score of an answer is a sum as well. ``values`` are its terms by layer, the first what the stream begins
    with, ``constant`` is what no layer added (biases behind the stream), ``score`` the sum of all. ``heads`` splits what an
    attention added. What a layer does to later layers is not in it: patching tells that.
    *Shapes* values (layers,), heads (attentions, heads), NaN where an attention has fewer.
    *Units* those of the score.
    *Error* values and constant sum to the score, where what follows the stream is linear but for norms; heads and the bias of their
    projection sum to their layer.
    *Cost* two forward passes, and one a head up to its layer.
    *Source* Elhage et al. 2021, "A mathematical framework for transformer circuits"; Wang et al. 2022, arXiv:2211.00593.
    """

    version = 3

    example: int = knob(0, "The example of the probe set.", low=0)
    answer: int | None = knob(None, "The class or token whose score is looked at; the likeliest when left open.", kind="integer", low=0)
    place: int | None = knob(None, "Of a network that writes on: the position whose answer is looked at; the last, before padding, when left open.",
                             kind="integer", low=0)

    def fits(self, scene: Scene) -> str | None:
        """The model has a residual stream without norms on it, and the example is there."""
        if (reason := without_stream(scene)) is not None:
            return reason
        line = residual_stream(scene)
        if line.read_on:
            return (
                f"behind the residual stream {line.read_on} reads it place by place, and what it makes of a sum is no sum of what it makes of the "
                "parts, so what each layer adds to the answer is not defined; use patching, or lesion a layer"
            )
        if line.further:
            return (
                f"behind {line.names[-1]}, the last sum of the residual stream that can be followed, {line.further} adds to it in another "
                "way, so what each layer adds cannot be told; use patching"
            )
        if not all(one.bare for one in line.sums[1:]):
            return (
                "norms, ReLUs, factors or shifts lie on the residual stream itself, behind its sums, so what layers add does not add up to the "
                "answer; use lens or patching"
            )
        if self.example >= len(scene.examples):
            return f"the probe set has examples 0 to {len(scene.examples) - 1}, got {self.example}"
        return None

    def cost(self, scene: Scene) -> Cost:
        """Two passes, and one a head."""
        return Cost(2 + sum(int(np.prod(layer.shape[:-2])) * len(layer.labels) for layer in attention_layers(scene)), 1)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The layers at once, then head by head."""
        yield from added(scene, scene.current(example=self.example).x, self.answer, self.place)

    def check(self, scene: Scene, value: Plain) -> None:
        """A number for each layer and each head."""
        line = residual_stream(scene)
        if set(value) != {"layers", "values", "attentions", "heads", "constant", "score", "answer", "place"}:
            raise ValueError("layers and heads with their values are wanted")
        if value["layers"] != list(line.layers) or value["attentions"] != [name for name, _ in _attentions(scene, line)]:
            raise ValueError("layers and attentions by name are wanted")
        shapes = {"values": (len(line.layers),), "heads": _grid(scene, line).shape}
        for name, shape in shapes.items():
            if not isinstance(value[name], np.ndarray) or value[name].shape != shape or value[name].dtype != np.float64:
                raise ValueError(f"{name} of shape {shape} are wanted")
        kinds = {"constant": float, "score": float, "answer": int, "place": int}
        if not all(type(value[name]) is kind for name, kind in kinds.items()):
            raise ValueError("the score and what is asked are wanted")


def added(scene: Scene, x: Nested, answer: int | None = None, place: int | None = None) -> Iterator[Stage]:
    """The stages for one input."""
    line = residual_stream(scene, x)
    place = ending(scene, x) if place is None else place
    tail, parts = tail_of(scene, x, line), held(scene, x, line)
    _seen(scene, x, line, parts)
    slope, value = _sloped(tail, parts[-1], answer, place)
    terms = [float((slope * part).sum()) for part in _apart(scene, x, line, parts)]
    known = {**value, "layers": list(line.layers), "values": np.array(terms)}
    attentions, grid = _attentions(scene, line), _grid(scene, line)
    known["attentions"] = [name for name, _ in attentions]
    total = float(np.isnan(grid).size or 1)
    done = 0.0
    yield Stage({**known, "heads": grid.copy()}, done, total + 1)
    for row, (_, sites) in enumerate(attentions):
        for column, (label, head, sum_) in enumerate(sites):
            without = _lesioned(scene, x, label, head, line.sums[sum_].point)
            full = parts[sum_ + 1 if line.start else sum_]
            grid[row, column] = float((slope * (full - without).double()).sum())
            done += 1
            yield Stage({**known, "heads": grid.copy()}, min(done, total), total + 1, f"{known['attentions'][row]}, head {column}")
    yield Stage({**known, "heads": grid.copy()}, total + 1, total + 1)


def _apart(scene: Scene, x: Nested, line: Stream, held: Sequence[Tensor]) -> list[Tensor]:
    """What the stream begins with, and by what each layer made it grow, in the order of its ``layers``.

    Of layers in parallel each answers for its own, in the measure in which their sum was added; the rest (rounding, an edit of the stream)
    is counted to the last of them.
    """
    sums = line.sums if line.start else line.sums[1:]
    points = [f"op:{op}" for one in sums for _, op in one.parts]
    kept = scene.look(x, points)[1] if points else {}
    found = [held[0].double()]
    for one, then, after in zip(sums, held, held[1:], strict=False):
        rest = after.double() - then.double()
        made = [kept[f"op:{op}"].double().reshape(rest.shape) for _, op in one.parts]
        whole: Tensor | None = sum(made[1:], made[0]) if made else None
        if whole is not None:
            measure = (rest * whole).sum() / (whole * whole).sum().clamp_min(1e-300)
            found += [part * measure for part in made[:-1]]
            rest = rest - (whole - made[-1]) * measure
        found.append(rest)
    return found


def _seen(scene: Scene, x: Nested, line: Stream, parts: Sequence[Tensor]) -> None:
    """What each layer answers is what the stream grows by, in some measure. *Raises* NotApplicable where more was written into it.

    An edit of the stream itself is counted to the layer before it.
    """
    if scene.edits:
        return
    sums = line.sums if line.start else line.sums[1:]
    points = [f"op:{one.branch}" for one in sums if one.branch]
    kept = scene.kept(x, points) if points else {}
    for one, then, after in zip(sums, parts, parts[1:], strict=False):
        branch = kept.get(f"op:{one.branch}")
        if branch is None or branch.shape != after.shape or not after.isfinite().all():
            continue
        grown, made = (after.double() - then.double()).flatten(), branch.double().flatten()
        rest = grown - made * (grown @ made / (made @ made).clamp_min(1e-300))
        if rest.norm() > torch.finfo(after.dtype).eps ** 0.5 * max(float(after.norm()), float(then.norm())):
            raise NotApplicable(
                f"before {one.name} adds to the residual stream, more is written into it in a way that is not seen, so what each layer "
                "adds cannot be told; use lens or patching"
            )


def _sloped(tail: Tail, h: Tensor, answer: int | None, place: int | None) -> tuple[Tensor, dict[str, Plain]]:
    """How the score of an answer follows the end of the stream, and which answer it is."""
    with torch.enable_grad():
        end = h.detach().clone().requires_grad_()
        scores = by_position(tail(end, linear=True))[0]
        place = len(scores) - 1 if place is None else place
        if place >= len(scores):
            raise NotApplicable(f"the text has positions 0 to {len(scores) - 1}, got {place}")
        row = scores[place]
        answer = int(row.detach().nan_to_num(-torch.inf).argmax()) if answer is None else answer
        if answer >= len(row):
            raise NotApplicable(f"the model has answers 0 to {len(row) - 1}, got {answer}")
        slope = torch.autograd.grad(row[answer], end)[0]
    with torch.no_grad():
        constant = by_position(tail(torch.zeros_like(h), linear=True))[0][place, answer]
    score = by_position(tail.scores)[0][place, answer]
    return slope.double(), {"score": float(score), "constant": float(constant), "answer": answer, "place": place}


def _attentions(scene: Scene, line: Stream) -> list[tuple[str, list[tuple[str, int, int]]]]:
    """The attentions that add to the stream, and of each head its site, its number there, and the sum that it adds to."""
    found = []
    for layer in attention_layers(scene):
        sums = [k for k, one in enumerate(line.sums) if set(layer.labels) & set(one.attention)]
        if sums and len(layer.shape) == 3 and not layer.rows:
            each = layer.shape[0]
            found.append((layer.name, [(label, head, sums[0]) for label in layer.labels for head in range(each)]))
    return found


def _grid(scene: Scene, line: Stream) -> np.ndarray:
    attentions = _attentions(scene, line)
    return np.full((len(attentions), max((len(sites) for _, sites in attentions), default=0)), np.nan)


def _lesioned(scene: Scene, x: Nested, label: str, head: int, point: str) -> Tensor:
    """What the stream holds after a sum, with a head silenced."""
    edits = (*scene.edits, Edit(Key("head", label, (head,)), lesion=True))
    with Capture(scene.model, keep=[point], until=point, edits=edits, cancel=scene.cancel) as capture:
        capture(x)
        found: Tensor = capture[point]
    return found.detach()
