"""How far each layer still is from where the training leaves it, from the snapshots of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import DioramaError, NotApplicable
from ...data.nesting import Nested
from ...derive.derivations.similarity import FEWEST, SeenLayers, batches, gram, looked
from ...record.facts import learnable
from ...scene import Scene
from ...scene.probe import Probe
from ...scene.turned_answers import ONE_EACH, turned
from ..kernels import layers_with_weights

Floats = NDArray[np.float64]
ROOM = 32 * 2**20
"""Bytes that the Gram matrices of a snapshot may take: those of three are held at once."""
SLOW = 0.5
"""What has settled has this part of the way left at most that a layer of one speed would have."""


@dataclasses.dataclass(frozen=True)
class Moves:
    """What the weights of some layers did, by snapshot; NaN where a layer had another shape, or numbers are none.

    ``distance`` (layers, snapshots) to the last weights, ``moved`` the same between a snapshot and the one before.
    """

    steps: tuple[int, ...]
    layers: tuple[str, ...]
    distance: Floats
    moved: Floats

    @property
    def share(self) -> Floats:
        """The distance as a share of that from the first weights to the last; 0 throughout for a layer that never moved."""
        begun = self.distance[:, :1]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(begun > 0, self.distance / begun, np.where(self.still[:, None], 0.0, np.nan))

    @property
    def still(self) -> NDArray[np.bool_]:
        """The layers whose weights were the same at all snapshots."""
        told = np.isfinite(self.moved[:, 1:]).all(1) & np.isfinite(self.distance).all(1)
        return np.asarray(told & (np.nan_to_num(self.moved[:, 1:]) == 0).all(1), np.bool_)

    @property
    def straight(self) -> Floats:
        """The distance from the first weights to the last as a share of the way that was travelled between them, 0 to 1."""
        way = self.moved[:, 1:].sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(way > 0, np.minimum(1.0, self.distance[:, 0] / way), np.nan)


@dataclasses.dataclass(frozen=True)
class SettledAnswers:
    """What the layers answered to the probe set, by snapshot; NaN where it was not looked at.

    ``to_end`` and ``to_next`` (layers, snapshots) are the CKA to the last snapshot and to the one before; ``frozen``
    (snapshots,) is the share of answers that do not change any more, ``of`` so many; None where answers are not classes.
    """

    layers: tuple[str, ...]
    to_end: Floats
    to_next: Floats
    frozen: Floats | None
    of: str = ""
    down_to: int = 0
    """The place of the earliest snapshot that was looked at."""
    same: Tensor | None = None
    """The examples, or their places, whose answers did not change from that one on."""


def settled(values: Floats, steps: Sequence[int], within: float, below: bool = True, paced: bool = False) -> list[int | None]:
    """For each row the first step from which on all values are at most (else: at least) ``within``; None where there is none
    before the last, whose value is what it is by definition, and where the value before is not known.

    ``paced`` wants more of a share of the way that is left: what moves at one speed to the end comes near it too, and has not settled, so that
    at most half of what would then be left may be.
    """
    found: list[int | None] = []
    for row in values:
        good = (row <= within) if below else (row >= within)
        count = len(good) - int(np.argmin(good[::-1])) if not good.all() else 0
        known = not count or not np.isnan(row[count - 1])
        left = 1 - (np.asarray(steps, np.float64) - steps[0]) / max(1, steps[-1] - steps[0])
        slow = [k for k in range(count, len(steps) - 1) if not paced or row[k] <= SLOW * left[k]]
        found.append(steps[slow[0]] if known and slow and good[count:].all() else None)
    return found


def moves(scene: Scene, steps: Sequence[int]) -> Moves:
    """The moves of all layers with weights, biases counted, read from the run's snapshots without its model.

    *Cost* one reading of each snapshot.
    """
    run = scene.run
    assert run is not None  # who asks has seen it
    last = _floating(run.state(steps[-1]))
    learnt = {name for name, *_ in learnable(run.structure(steps[-1]))} or set(last)
    shapes = {name: tuple(tensor.shape) for name, tensor in last.items() if name in learnt}
    owners = layers_with_weights(shapes)
    if not owners:
        held = "; weight_series follows those that the model itself holds" if shapes else ""
        raise NotApplicable(f"no layer has weights of its own, so none settles{held}")
    groups = {layer: [name for name in shapes if _belongs(name, owner)] for layer, owner in owners.items()}
    distance, moved = np.full((2, len(groups), len(steps)), np.nan)
    before: Mapping[str, Tensor] = {}
    for k, step in enumerate(steps):
        if scene.cancel is not None:
            scene.cancel()
        now = last if step == steps[-1] else _floating(run.state(step))
        for row, names in enumerate(groups.values()):
            distance[row, k] = _apart(now, last, names)
            moved[row, k] = _apart(now, before, names) if k else np.nan
        before = now
    return Moves(tuple(steps), tuple(groups), distance, moved)


def answered(scene: Scene, steps: Sequence[int], begun: SettledAnswers | None = None) -> Iterator[SettledAnswers]:
    """What layers answered, from the last snapshot backwards, as far as it is known; ``begun`` is what was found before work stopped.

    *Cost* one pass an example and snapshot; two more snapshots where it was begun.
    """
    alone = scene.alone(scene.cancel)
    final = alone.at(steps[-1])
    names = tuple(layer.name for layer in final.layers.leaves if layer.each)
    if not names:
        raise NotApplicable("no layer answers once for each example")
    count = len(final.live)
    size = max(16, min(count, ROOM // (8 * len(names) * max(1, count))))
    to_end, to_next = np.full((2, len(names), len(steps)), np.nan)
    frozen = np.full(len(steps), np.nan) if final.task in ONE_EACH else None
    alike, of, first = None, "", len(steps)
    if begun is not None and begun.layers == names:
        to_end, to_next, frozen = begun.to_end.copy(), begun.to_next.copy(), None if begun.frozen is None else begun.frozen.copy()
        alike, of, first = begun.same, begun.of, begun.down_to
    end: SeenLayers | None = None
    later: SeenLayers | None = None
    for k in reversed(range(len(steps))):
        if first < k < len(steps) - 1:
            continue
        one = final if k == len(steps) - 1 else alone.at(steps[k])
        try:
            seen = _passed(one, names, size) if count >= FEWEST else SeenLayers()
        except (DioramaError, KeyError, ValueError) as error:
            if isinstance(error, DioramaError) and scene.cancel is not None:
                scene.cancel()
            if k == len(steps) - 1:
                raise NotApplicable(f"what its layers answer cannot be read example by example ({error})") from error
            break  # another architecture: surgery changed its layers
        end = seen if end is None else end
        before, later = later, seen
        if k >= first:
            continue  # known already, and looked at again for what it is compared with
        if seen.grams:
            to_end[:, k] = seen.cka(end)
            if before is not None:
                to_next[:, k + 1] = seen.cka(before)
        if frozen is not None:
            # What the end does not answer, as its scores are no numbers, has no answer that it could keep.
            sure = final.answers(sure=False)
            itself, differ = turned(final, sure, sure), turned(final, one.answers(sure=False), sure)
            assert itself is not None  # its answers are classes
            same = ~differ.differ if differ is not None else torch.zeros_like(itself.asked)
            alike = same if alike is None else alike & same
            frozen[k] = float(alike[itself.asked].double().mean())
            of = itself.of
        yield SettledAnswers(names, to_end.copy(), to_next.copy(), frozen.copy() if frozen is not None else None, of, k, alike)


def _passed(scene: Scene, names: tuple[str, ...], size: int) -> SeenLayers:
    """What layers answered; the network's own answers are kept from the same passes, so that nobody asks for them again.

    *Cost* one pass an example.
    """
    table, found = scene.layers, SeenLayers()

    def scores(x: Nested) -> Tensor:
        told, kept = scene.look(x, names, reduce=lambda name, tensor: gram(table[name], tensor))
        found.add(np.stack([kept[name] for name in names]))
        return told

    if scene.task in ONE_EACH:
        Probe(scene.live, scene.memory).read(scores, batches(scene, names, size), scene.reading, sure=False)
    if not found.grams:  # there are no such answers, or somebody had asked for them before
        for _, x in batches(scene, names, size):
            found.add(looked(scene, x, names))
    return found


def _belongs(name: str, owner: str) -> bool:
    """Whether a tensor stands beside a layer's weight: its bias, its scale, the recurrent weights of the same part."""
    module, _, own = owner.rpartition(".")
    path, _, last = name.rpartition(".")
    if path != module or last.startswith(("running_", "num_batches")):  # of a run of an earlier version
        return False
    mark = own.partition("_l")[2] if own.startswith("weight_ih_l") else None
    return mark is None or last.partition("_l")[2] == mark


def _apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor], names: Sequence[str]) -> float:
    """The distance between the weights of a layer at two moments; NaN where they have other shapes."""
    total = 0.0
    for name in names:
        a, b = one.get(name), other.get(name)
        if a is None or b is None or a.shape != b.shape:
            return float("nan")
        total += float((a.double() - b.double()).square().sum()) if not a.is_complex() else float((a - b).abs().double().square().sum())
    return float(np.sqrt(total))


def _floating(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())}
