"""Derivations that follow a training: each snapshot's value starts from that of an earlier one."""

from __future__ import annotations

import json
from typing import Any

from ..core.errors import DioramaError
from ..core.knobs import knob
from ..scene import Scene
from .derivation import Derivation, DerivedValue, line

FINE = 3
"""The way back is taken in paces of one part in two to this power."""


class SnapshotChain(Derivation):
    """Base of derivations that start from the snapshots before, from the first one on: each value comes to the next one's ``stages`` as
    ``before``. Without a run, or at its first snapshot, that is None. Where commands gave a layer other units since, ``before`` still has as
    many as there were then: begin anew where its shapes are not those of now.

    The first look at a late snapshot works out those on its way there as well, the oldest first (``DerivedValue.way``), so that it takes longer
    by as many as they are. Each is kept: a look at a snapshot after that starts from them."""

    follow: bool = knob(True, "Start from the snapshots before, from the first one on.")

    @property
    def algorithm(self) -> str:
        """A hash of the code of a third party's algorithm that it works by, the same at all snapshots; empty where there is none."""
        return ""

    def material(self, scene: Scene) -> dict[str, Any]:
        """The algorithm's code: one that is registered again under its name is another one."""
        return {"algorithm": self.algorithm} if self.algorithm else {}

    def preceding(self, scene: Scene) -> DerivedValue | None:
        """The same at the snapshot that this one starts from, after that at an earlier one, and so on to the first."""
        found: DerivedValue | None = None
        links = self._links(scene)
        for step in earlier(scene.steps, scene.step) if self.follow and scene.run is not None else ():
            try:
                there = scene.alone(scene.cancel).at(step)
                if there.live.fingerprint != scene.live.fingerprint:
                    there = there.on(scene.examples)
                mark = (step, found.key if found is not None else "")
                if mark not in links:
                    links[mark] = DerivedValue(there, self, found).named if self.fits(there) is None else None
                if (named := links[mark]) is not None:
                    found = DerivedValue(there, self, found, named)
            except DioramaError:
                continue  # a network that grew: the layer is not there at every step
        return found

    def _links(self, scene: Scene) -> dict[tuple[int, str], tuple[str, str] | None]:
        """The names of the values at the run's snapshots, by step and by what each starts from; None where it does not fit.

        *Meaning* a snapshot stays as it is: to look at the next step no model of those before is loaded again, only to be named.
        """
        if scene.run is None or type(self).material is not SnapshotChain.material:
            return {}
        told = json.dumps([scene.network.described(), self.algorithm], sort_keys=True)
        found: dict[tuple[int, str], tuple[str, str] | None] = scene.keep(f"{line(self, scene)}/links/{told}", dict)
        return found


def earlier(steps: tuple[int, ...], step: int | None) -> list[int]:
    """The steps through which a projection comes to a step, the first snapshot first.

    *Meaning* each of the first sixteen snapshots starts from the one just before it; later ones from one that lies at most
    an eighth of the way back, so that the way stays short where a training is long. A snapshot's way never changes when the
    training goes on.
    """
    if step is None or not steps:
        return []
    number = next((k for k, one in enumerate(steps) if one >= step), len(steps))
    found = []
    while number:
        pace = 1 << max(0, number.bit_length() - 1 - FINE)
        number = (number - 1) // pace * pace
        found.append(steps[number])
    return found[::-1]
