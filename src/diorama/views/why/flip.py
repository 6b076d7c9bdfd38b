"""The smallest change of the input that makes the network answer otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ...core.errors import UsageError
from ...core.knobs import knob
from ...core.picture import Draft, Picture, Progress
from ...core.selection import Selection
from ...data.kinds import Tokens
from ...methods.cost import lasting
from ...methods.perturbation.flip import FlipSearch, cost
from ...scene import Scene
from .. import pairs
from ..view import View
from ._flip_picture import FoundFlip, body, caption, checks
from ._question import looking


class FlipView(View):
    """The smallest change of this input that flips the answer: how little does it take, and what has to change?

    *Meaning* blue numbers of the change were raised, orange ones lowered. A change that nobody sees but that flips the
    answer says that the network listens to something else than a person would; a change that draws the other class
    says that it listens to the same. ``to`` or a chosen class says which answer is wanted, else the nearest other one.
    *Units* norms are in the model's own numbers: L2 is the square root of the change's summed squares, Linf the most that any
    number changes; beside it stands the share of the input's own norm.
    *Error* that the changed input flips is certain, as it is run again by itself; that no smaller one does is not.
    *Cost* a forward and a backward pass a step; what was found so far is shown meanwhile.
    *Raises* UsageError for a class that is not there, or that is the answer already.
    *Source* Rony et al. 2019, algorithm 1.
    """

    title = "The smallest change that flips it"
    question = "How little must change before the network answers otherwise?"
    family = "features"
    papers = ("Rony et al. 2019, arXiv:1811.09600", "Moosavi-Dezfooli et al. 2016, arXiv:1511.04599")
    rows = ("C23",)
    follows = ("example", "class")
    hovers = ("class",)
    input = True

    to: str | None = knob(None, "The class to flip to; the chosen one, or whichever is nearest.", kind="class", main=True)
    norm: str = knob("L2", "What is to be small: the change's length, or the most that any number changes.",
                     choices=("L2", "Linf"), main=True)
    steps: int = knob(100, "Steps of the search; more find smaller changes.", low=5, high=2000, log=True)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs a classifier of numbers."""
        if scene.task != "classification":
            return "only the answer of a classifier flips, and this network's outputs are other numbers; use the view attribution"
        if isinstance(scene.kind, dict) and len(scene.kind) > 1:
            return "it changes one input, and this model has several; use the view attribution"
        if isinstance(scene.kind, Tokens):
            return "a word has no slightly changed neighbour to go to; use the view words, which leaves words out"
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """What was found so far, then the nearest with its certificate."""
        current = scene.current(selection)
        look = looking(scene, current)
        begun = time.perf_counter()
        scores = look.scores(current.x).cpu()
        one = time.perf_counter() - begun
        wanted = self._wanted(scene, selection, scores)
        search = FlipSearch(look, current.x, wanted, _norm(self.norm), self.steps)

        def draft() -> Picture | None:
            turned = FoundFlip(scene, current, look, search.found(), self.norm, wanted)
            return self._picture(scene, selection, turned, final=False) if turned.found else None

        left = cost(self.steps).seconds(one)
        yield Progress(done=0, total=self.steps, seconds=left, note=f"{self.steps} steps, about {lasting(left)}")
        begun = time.monotonic()
        for done in search.advance():
            now = time.monotonic()
            left = (now - begun) / done * (self.steps - done)
            yield Progress(done=done, total=self.steps, seconds=left, note=f"step {done} of {self.steps}")
            if done < self.steps:
                yield Draft(draft)
        turned = FoundFlip(scene, current, look, search.found(), self.norm, wanted)
        if turned.found:
            turned.measure()
        yield self._picture(scene, selection, turned, final=True)

    def _picture(self, scene: Scene, selection: Selection, turned: FoundFlip, *, final: bool) -> Picture:
        return self.picture(
            scene, selection, "How little flips the answer?", body(turned), caption(turned), checks=checks(turned), final=final
        )

    def _wanted(self, scene: Scene, selection: Selection, scores: Tensor) -> int | None:
        """The class to flip to; a chosen class that is the answer already means any other."""
        answer = int(scene.reading.predictions(scores).reshape(-1)[0])
        if self.to is not None:
            found = pairs.named(scene, self.to)
            if found == answer:
                raise UsageError(f"the network answers {scene.classes[answer]} already; choose another class to flip to")
            return found
        chosen = selection.one("class")
        if chosen is None or chosen.number == answer:
            return None
        if chosen.number >= len(scene.classes):
            raise UsageError(f"the model has classes 0 to {len(scene.classes) - 1}, got {chosen.number}")
        return chosen.number


def _norm(name: str) -> Any:
    return "Linf" if name == "Linf" else "L2"
