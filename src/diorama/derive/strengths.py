"""How strongly units of neighbouring layers are connected: by the weights between them, else by how they go together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.selection import layer_key
from ..scene import Scene, wiring
from .attended_tokens import heads_of

JOINED = 1024
"""How units of two layers go together is told for so many of each at most."""


def strengths(scene: Scene, found: Mapping[str, Any], edges: str) -> Iterator[dict[str, Any]]:
    """The connections of each layer but the first with those before it, from a value of the derivation ``clusters``.

    *Meaning* the ``source`` and ``target`` layer with their units (``sources``, ``targets``), the ``strengths`` between, targets × sources,
    and ``how`` they are measured: "weights" where the one reads the other directly and ``edges`` asks for them, else "together". Neighbours
    are always told, others where the one reads the other directly.
    """
    layers = found["layers"]
    handed, weights = {one["layer"]: wiring.handed(scene, scene.layers[one["layer"]]) for one in layers}, scene.parameters()
    names = {*handed, *handed.values()}
    for number, after in enumerate(layers[1:], 1):
        by_weights = edges == "weights" and not heads_of([after["layer"]])
        wired = wiring.reads(scene, scene.layers[after["layer"]], names, weights) if by_weights else {}
        for earlier in layers[:number]:
            # Of the first examples alone it is not told yet what goes together.
            known = next((name for name in (earlier["layer"], handed[earlier["layer"]]) if name in wired), None)
            direct, beside = known is not None, earlier is layers[number - 1] and len(found["together"]) >= number
            if not (direct or beside):
                continue
            targets, sources = after["units"][:JOINED], earlier["units"][:JOINED]
            told = found["together"][number - 1] if known is None else wired[known][np.ix_(targets, sources)].astype(np.float32)
            yield {
                "source": earlier["layer"], "target": after["layer"], "sources": sources, "targets": targets,
                "how": "weights" if direct else "together", "strengths": np.ascontiguousarray(told),
            }


def apart(scene: Scene, pair: Mapping[str, Any]) -> bool:
    """Whether two neighbours that go together only stand side by side: nothing runs from the one to the other."""
    if pair["how"] != "together":
        return False
    return not _reaches(scene, pair["source"], pair["target"])


def beyond(scene: Scene, layers: Sequence[str], pairs: Sequence[Mapping[str, Any]], pair: Mapping[str, Any]) -> str | None:
    """Of two neighbours that stand apart, the next of the layers to which something of the earlier comes, where no pair tells how strongly.

    *Meaning* an encoder whose words a decoder asks for, with the decoder's own embedding between. None where nothing comes of it, or a pair tells.
    """
    source, later = pair["source"], layers[layers.index(pair["target"]) + 1 :]
    told = {one["target"] for one in pairs if one["source"] == source}
    reached = next((name for name in later if _reaches(scene, source, name)), None)
    return None if reached in told else reached


def _reaches(scene: Scene, source: str, target: str) -> bool:
    earlier, later = scene.layers[source], scene.layers[target]
    if earlier.part and later.part and earlier.path == later.path:
        # In one recurrent module the ways back and forth stand side by side: what is made comes to the next ones behind alone.
        return _level(earlier.part) < _level(later.part)
    return scene.graph.reaches(*(layer_key(own.path if own.part else own.name) for own in (earlier, later)))


def _level(part: str) -> int:
    """How deep in its recurrent module a part lies: 1 for ``l1`` and ``l1.reverse``."""
    return int(part.partition(".")[0].removeprefix("l"))


def unfollowed(scene: Scene, layers: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of some layers of which the later reads the earlier directly, in a way that could not be followed from unit to unit."""
    weights = scene.parameters()
    return [
        (source, target) for number, target in enumerate(layers)
        for source in wiring.lost(scene, scene.layers[target], weights) if source in layers[:number]
    ]
