"""How strongly units of neighbouring layers are connected: by the weights between them, else by how they go together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..scene import Scene, wiring
from .attended import heads_of

JOINED = 1024
"""How units of two layers go together is told for so many of each at most."""


def strengths(scene: Scene, found: Mapping[str, Any], edges: str) -> Iterator[dict[str, Any]]:
    """The connections of each layer but the first with the one before it, from a value of the derivation ``clusters``.

    *Meaning* the ``source`` and ``target`` layer with their units (``sources``, ``targets``), the ``strengths`` between, targets × sources,
    and ``how`` they are measured: "weights" where the one reads the other directly and ``edges`` asks for them, else "together".
    """
    for earlier, after, joined in zip(found["layers"], found["layers"][1:], found["together"], strict=False):
        targets, sources = after["units"][:JOINED], earlier["units"][:JOINED]
        wired = wiring.between(scene, scene.layers[after["layer"]]) if edges == "weights" and not heads_of([after["layer"]]) else None
        direct = wired is not None and wired[0] == earlier["layer"]
        told = wired[1][np.ix_(targets, sources)].astype(np.float32) if wired is not None and direct else joined
        yield {
            "source": earlier["layer"], "target": after["layer"], "sources": sources, "targets": targets,
            "how": "weights" if direct else "together", "strengths": np.ascontiguousarray(told),
        }
