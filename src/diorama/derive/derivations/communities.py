"""Which units fire together, whatever their layers, and what the network loses without them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.selection import Key
from ...data.nesting import Nested
from ...methods.cost import Cost
from ...methods.grouping import regions
from ...model.capture import Capture
from ...model.edits import Edit
from ...model.layers import by_unit
from ...model.outputs import CLASSES
from ...model.own_places import Owners
from ...model.plain_module import fed
from ...scene import Scene
from ...scene.probe import by_example
from ..derivation import Plain, Stage
from .clusters import BATCH, ClustersDerivation, SeenAnswers

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


class CommunitiesDerivation(ClustersDerivation):
    """Regions of the network: units of any layer that fire together over the examples, and what is lost without each.

    *Meaning* ``units`` is a list, one array a layer of ``layers``; ``region`` says for each unit which it belongs to, −1 for one
    that is still; ``modularity`` how much more go together inside regions than by chance, up to 1; ``profile`` a region's mean
    answer to each of ``columns``, in each unit's own standard deviations. With all units of a region silenced (zero; but those
    of the last layer, which are the answer), on ``probed`` examples: ``loss`` is by how much the loss rises (of networks without a
    truth: how far the answers move), ``right`` the change of the share that is right, in all and ``by_class``; ``influence`` how
    far the units of each other region move, in their own standard deviations, where they lie in later layers.
    *Cost* one pass an example, and one a region for each of ``probed``.
    *Source* Newman & Girvan 2004 for modularity; lesions as in Morcos et al. 2018.
    """

    version = 6

    count: int = knob(0, "Regions, or as near to so many as comes; 0: as many as have the largest modularity, up to ten.", low=0, high=24)
    units: int = knob(256, "The most units of a layer that are told: those that vary most.", low=1, high=100_000)
    probed: int = knob(128, "On how many of the examples lesions are tried.", low=1, high=10_000)

    def cost(self, scene: Scene) -> Cost:
        """A pass an example, and one for each region."""
        return Cost(min(self.examples, len(scene.examples)) + (1 + (self.count or 6)) * min(self.probed, len(scene.examples)))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The regions as soon as they are known, then what the loss of each costs."""
        seen = SeenAnswers(scene, self.names, min(self.examples, len(scene.examples)), self.by)
        for done in seen.over():
            yield Stage(None, float(done), float(seen.count), f"{done} of {seen.count} examples")
        value = self._found(seen)
        count = len(value["profile"])
        labels = [Key.parse(key).number for _, key in seen.columns()] if seen.by == "class" else []
        lesions = Lesions(scene, self.names, value, min(self.probed, seen.count), labels)
        for number in range(count):
            yield Stage(copy.deepcopy(value), float(number), float(count), f"region {number + 1} of {count} silenced")
            lesions.silence(number)
        yield Stage(value, float(count), float(count))

    def _found(self, seen: SeenAnswers) -> dict[str, Any]:
        units, rows, profiles = [], [], []
        for name in self.names:
            answers = seen.answers(name)
            chosen = seen.varying(name, self.units)
            units.append(chosen)
            rows.append(answers[:, chosen].T)
            profiles.append(seen.profile(name)[chosen])
        together = np.concatenate(rows)
        labels, modularity = regions(together, self.count)
        cuts = np.cumsum([len(each) for each in units])[:-1]
        count = int(labels.max(initial=-1)) + 1
        scores = _standard(np.concatenate(profiles))
        profile = np.stack([scores[labels == k].mean(0) for k in range(count)]) if count else np.zeros((0, scores.shape[1]))
        told = seen.columns()
        classes = len(told) if seen.by == "class" and not seen.places else 0
        return {
            "layers": self.names, "units": units, "region": list(np.split(labels, cuts)), "modularity": modularity,
            "columns": [text for text, _ in told], "by": seen.by, "profile": profile, "loss": np.full(count, np.nan),
            "right": np.full(count, np.nan), "by_class": np.full((count, classes), np.nan),
            "influence": np.full((count, count), np.nan), "probed": min(self.probed, seen.count),
        }

    def check(self, scene: Scene, value: Plain) -> None:
        """Units and regions of each layer, and a number for each region."""
        names = {"layers", "units", "region", "modularity", "columns", "by", "profile", "loss", "right", "by_class", "influence", "probed"}
        if not isinstance(value, dict) or set(value) != names or value["layers"] != self.names:
            raise ValueError("regions, and what their loss costs, are wanted")
        if value["by"] not in ("class", "range", "example") or not isinstance(value["modularity"], float) or not isinstance(value["probed"], int):
            raise ValueError("numbers are wanted")
        if not isinstance(value["columns"], list) or not all(isinstance(text, str) for text in value["columns"]):
            raise ValueError("names are wanted for the columns")
        if not isinstance(value["profile"], np.ndarray) or value["profile"].ndim != 2:
            raise ValueError("a profile is wanted")
        count = len(value["profile"])
        for name, shape in (
            ("profile", (count, len(value["columns"]))), ("loss", (count,)), ("right", (count,)), ("influence", (count, count)),
        ):
            _wanted(value[name], np.float64, shape)
        _wanted(value["by_class"], np.float64, (count, value["by_class"].shape[-1]))
        if value["by_class"].shape[1] not in (0, len(value["columns"])):
            raise ValueError("a number for each class is wanted")
        if not len(value["units"]) == len(value["region"]) == len(self.names):
            raise ValueError("units and regions of each layer are wanted")
        for name, units, region in zip(self.names, value["units"], value["region"], strict=True):
            _wanted(units, np.int64, (len(units),))
            _wanted(region, np.int64, (len(units),))
            if not len(units) or units.min() < 0 or units.max() >= scene.layers[name].units or region.min() < -1 or region.max() >= count:
                raise ValueError(f"units of {name} and their regions are wanted")


def _wanted(array: Any, kind: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != kind or array.shape != shape:
        raise ValueError(f"an array of shape {shape} is wanted")


def _standard(profile: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        centred = profile - profile.mean(1, keepdims=True)
        spread = centred.std(1, keepdims=True)
        return np.where(spread > 1e-6 * np.abs(profile).max(1, keepdims=True, initial=0), centred / np.where(spread > 0, spread, 1.0), 0.0)


def silenced(scene: Scene, names: Sequence[str], value: Plain, number: int) -> tuple[Edit, ...]:
    """The edits that silence a region: each of its units is zero, behind the normalisation that follows its layer.

    Units of the last of several layers are the answer itself, and stay.
    """
    last = len(names) if len(names) == 1 else len(names) - 1
    return tuple(
        Edit(Key("unit", scene.layers.handed(scene.layers[name]).name, (int(unit),)), lesion=True)
        for name, units, region in zip(names[:last], value["units"], value["region"], strict=False) for unit in units[region == number]
    )


class Lesions:
    """What the network does with a region silenced, against what it does whole."""

    def __init__(self, scene: Scene, names: list[str], value: dict[str, Any], count: int, labels: Sequence[int]) -> None:
        self.scene, self.names, self.value, self.count, self.labels = scene, names, value, count, labels
        self.sources = {name: scene.layers.handed(scene.layers[name]) for name in names}
        self.asked = 0
        self.whole = self._run(())
        moving = [_finite(rows).std(0) for rows in self.whole[1]]
        self.spread = [np.where(each > 1e-9, each, np.inf) for each in moving]

    def _batches(self) -> Iterator[tuple[range, Nested]]:
        for start in range(0, self.count, BATCH):
            chosen = range(start, min(start + BATCH, self.count))
            yield chosen, fed(self.scene.model, self.scene.examples.batch(list(chosen), self.scene.device))

    def _run(self, edits: tuple[Edit, ...]) -> tuple[dict[str, NDArray[np.float64] | None], list[Floats]]:
        """Losses, rights, and scores of each example, and each told unit's mean answer."""
        scene, reading = self.scene, self.scene.reading
        losses, rights, weights, counts, scores, rows = [], [], [], [], [], [[] for _ in self.names]  # type: ignore[var-annotated]
        y, owners, asked = scene.examples.y, Owners(scene.kind), 0
        for chosen, x in self._batches():
            with Capture(
                scene.model, keep=tuple({source.name for source in self.sources.values()}), edits=(*scene.edits, *edits), cancel=scene.cancel,
                reduce=lambda name, tensor: tensor,
            ) as look:
                answer = reading.scores(look(owners.read(x))).detach().cpu()
                for number, name in enumerate(self.names):
                    source = self.sources[name]
                    # A network that picks rows may pick others where units are silenced.
                    by_example(source, len(look[source.name]), len(chosen))
                    values = by_unit(source, look[source.name]).float()
                    values = values.clamp_min(0) if source.rectified else values
                    rows[number].append(owners.mean(values).double().cpu().numpy()[:, self.value["units"][number]])
            wanted = reading.wanted(x, y[chosen.start : chosen.stop] if y is not None else None) if scene.task else None
            if wanted is not None:
                wanted = wanted.cpu()
                known = reading.labelled(wanted).numpy()
                weights.append(reading.weights(wanted).numpy())
                counts.append(reading.counts(wanted).numpy())
                losses.append(np.where(known, reading.losses(answer, wanted).double().numpy(), np.nan))
                if scene.task in CLASSES:
                    rights.append(np.where(known, reading.right(answer, wanted).double().numpy(), np.nan))
            told = answer.abs() if answer.is_complex() else answer
            # Behind a text nothing is asked for, so nothing is lost there.
            own = owners.own(told.movedim(-1, 1)) if told.ndim == 3 else None
            told = told if own is None else told.masked_fill(~own[:, :, None], 0)
            asked += told.numel() if own is None else int(own.sum()) * told.shape[-1]
            scores.append(told.reshape(len(told), -1))
        self.asked = asked
        return {
            "losses": np.concatenate(losses) if losses else None, "rights": np.concatenate(rights) if rights else None,
            "weights": np.concatenate(weights) if weights else None, "counts": np.concatenate(counts) if counts else None,
            "scores": torch.cat([each.double() for each in scores]).numpy() if len({each.shape[1] for each in scores}) == 1 else None,
        }, [np.concatenate(each) for each in rows]

    def silence(self, number: int) -> None:
        """Write what the loss of a region costs into the value."""
        value = self.value
        try:
            told, rows = self._run(silenced(self.scene, self.names, value, number))
        except NotApplicable:
            return  # an answer that cannot be silenced: its cost stays unknown
        base = self.whole[0]
        for name, key, share in (("losses", "loss", "weights"), ("rights", "right", "counts")):
            before, after, counted = base[name], told[name], base[share]
            if before is not None and after is not None and counted is not None:
                value[key][number] = _apart(after, before, counted)
        if base["losses"] is None and base["scores"] is not None and told["scores"] is not None:
            value["loss"][number] = float(np.abs(_finite(told["scores"]) - _finite(base["scores"])).sum() / self.asked)
        classes = value["by_class"].shape[1]
        counts = base["counts"]
        if classes and base["rights"] is not None and told["rights"] is not None and counts is not None and self.scene.examples.y is not None:
            truth = self.scene.reading.truth(self.scene.examples.y[: self.count]).cpu().numpy()
            for k, label in enumerate(self.labels):
                mine = truth == label
                if mine.any():
                    value["by_class"][number, k] = _apart(told["rights"][mine], base["rights"][mine], counts[mine])
        self._influence(number, rows)

    def _influence(self, number: int, rows: list[Floats]) -> None:
        """How far the units of other regions move, in layers behind the first one that was silenced."""
        value = self.value
        first = next((k for k, region in enumerate(value["region"]) if (region == number).any()), len(rows))
        moved = [
            np.abs(_finite(after) - _finite(before)).mean(0) / spread for after, before, spread in zip(rows, self.whole[1], self.spread, strict=True)
        ]
        for other in range(len(value["loss"])):
            later = [part[region == other] for k, (part, region) in enumerate(zip(moved, value["region"], strict=True)) if k > first]
            units = np.concatenate(later) if later else np.zeros(0)
            if other != number and len(units):
                value["influence"][number, other] = float(units.mean())


def _finite(values: Floats) -> Floats:
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def _apart(after: Floats, before: Floats, share: Floats) -> float:
    """By how much the mean of the numbers that both know has risen, where each counts for so much."""
    good = np.isfinite(after) & np.isfinite(before) & (share > 0)
    return float(np.average(after[good] - before[good], weights=share[good])) if good.any() else math.nan
