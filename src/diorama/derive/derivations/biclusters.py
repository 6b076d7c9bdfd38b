"""Connections between neighbouring layers as blocks: which units feed which alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core.knobs import knob
from ...methods.cost import Cost
from ...methods.grouping import biclusters
from ...scene import Scene
from ..derivation import Plain, Stage
from ..strengths import strengths
from .clusters import ClustersDerivation


class BiclustersDerivation(ClustersDerivation):
    """Groups of units of one layer that feed groups of the next alike, by the signed strengths between them.

    *Meaning* ``pairs`` is a list, one for each two neighbours and for each two others of which one reads the other directly, such as branches
    that are read side by side: the ``source`` and ``target`` layer and their units; the
    ``strengths`` between, targets × sources; ``how`` they are measured: "weights" where the one reads the other directly (the
    weight, else the length of the kernel with the sign of its sum), else "together", the correlation over the examples;
    the group of each unit, ``rows`` of targets and ``columns`` of sources; the ``means`` of the blocks; and the share of
    the variance that they explain.
    *Cost* one pass an example.
    *Source* Liu et al. 2017, CNNVis, section 5.3; Govaert & Nadif 2003; Keribin et al. 2015.
    """

    version = 7

    edges: str = knob("weights", "What connects units: the weights between them where there are some, or how they go together.",
                      choices=("weights", "together"))
    groups: int = knob(0, "Groups of each side; 0: as many as are likeliest, up to six.", low=0, high=12)
    seed: int = knob(0, "What the first groups are drawn from.", low=0)

    def cost(self, scene: Scene) -> Cost:
        """That of the clusters."""
        return super().cost(scene)

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """The clusters first: they say which units are told."""
        own = {name: value for name, value in self.knobs().items() if name not in ("edges", "groups", "seed")}
        found: Plain = None
        for stage in scene.derive("clusters", **own).stream():
            if stage.final:
                found = stage.value
            else:
                yield Stage(None, stage.done, stage.total, stage.note)
        pairs: list[dict[str, Any]] = []
        joined = list(strengths(scene, found, self.edges))
        for pair in joined:
            made = biclusters(np.asarray(pair["strengths"], np.float64), self.groups, self.groups, seed=self.seed)
            pairs.append({**pair, "rows": made.rows, "columns": made.columns, "means": made.means, "explained": float(made.explained)})
            note = f"blocks between {len(pairs)} of {len(joined)} pairs of layers"
            yield Stage({"pairs": list(pairs)}, float(len(pairs)), float(len(joined)), note)
        yield Stage({"pairs": pairs}, 1.0, 1.0)

    def check(self, scene: Scene, value: Plain) -> None:
        """A pair for each two neighbours, whose arrays fit one another."""
        if not isinstance(value, dict) or set(value) != {"pairs"} or not isinstance(value["pairs"], list):
            raise ValueError("pairs are wanted")
        names = self.names
        told = [(pair["source"], pair["target"]) for pair in value["pairs"]]
        allowed = [(source, target) for number, target in enumerate(names) for source in names[:number]]
        if told != [pair for pair in allowed if pair in set(told)] or not set(zip(names, names[1:], strict=False)) <= set(told):
            raise ValueError("a pair for each two neighbours is wanted, in their order")
        for pair in value["pairs"]:
            shape = []
            for units, groups, layer in (("targets", "rows", "target"), ("sources", "columns", "source")):
                one, other, most = pair[units], pair[groups], scene.layers[pair[layer]].units
                for array in (one, other):
                    if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.ndim != 1 or len(array) != len(one):
                        raise ValueError("a whole number is wanted for each unit")
                if not len(one) or one.min() < 0 or one.max() >= most or other.min() < 0:
                    raise ValueError("units and groups are wanted")
                shape.append((len(one), int(other.max()) + 1))
            between, means = pair["strengths"], pair["means"]
            if not isinstance(between, np.ndarray) or between.shape != (shape[0][0], shape[1][0]) or between.dtype != np.float32:
                raise ValueError("a strength is wanted for each two units")
            if not isinstance(means, np.ndarray) or means.shape != (shape[0][1], shape[1][1]) or means.dtype != np.float64:
                raise ValueError("a mean is wanted for each block")
            if pair["how"] not in ("weights", "together") or not isinstance(pair["explained"], float):
                raise ValueError("how strengths are measured, and what blocks explain, are wanted")
