"""Which layers the network can do without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core.colour import symmetric
from ...core.knobs import knob
from ...core.marks import Bars, Column, Group, Node, Table
from ...core.numerals import joined
from ...core.picture import Check, Draft, Picture, Progress
from ...core.selection import Selection, layer_key, spoken
from ...derive.derivations.needed import tried, untriable
from ...derive.losses import unmeasured
from ...scene import Scene
from ...scene.sets import several
from ..samples import first_examples, looked_at, noted, unanswered
from ..view import View

CHEAP = 0.01
"""Answers of which no more than this share change, or a loss that rises by no more than this share, cost nothing."""

ALIKE = 0.1
"""A layer that costs no more than this share above the cheapest is not said to be needed most."""


class NeededView(View):
    """What it costs to leave out each layer and each block, and to let it say the same to all: the cheapest is not needed.

    *Meaning* left out, a layer hands on what it was given, which works where both are of one shape; held, it answers its mean over the
    examples to each of them, a recurrent layer with its states, an expert its mean over the rows that come to it. A layer that can be left
    out changes nothing that matters; one that can be held tells nothing that matters. Layers that can be lost one by one may be needed
    together.
    *Units* the rise of the loss; shares of answers.
    *Error* a mean that never occurs may mislead what comes after it: a large cost of holding says less than a small one.
    *Cost* two passes an example for each layer, and a copy of the network.
    *Source* Veit, Wilber & Belongie 2016; Morcos et al. 2018.
    """

    title = "What is not needed"
    question = "Which layer is not needed?"
    family = "relationships"
    papers = ("Veit, Wilber & Belongie 2016, arXiv:1605.06431", "Morcos et al. 2018, arXiv:1803.06959")
    rows = ("D4",)
    by_labels = True

    examples: int = first_examples(2, usual=128)
    layers: int = knob(40, "So many layers at most, spread over the network.", low=1, high=400)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """A loss, layers that learn, and two examples."""
        return unmeasured(scene) or untriable(scene)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """The layers that were left out so far."""
        scene = scene.first(max(self.examples, len(scene.live)))
        for stage in scene.derive("needed", examples=self.examples, layers=self.layers).stream():
            if stage.final:
                yield self._picture(scene, selection, stage.value, final=True)
            else:
                yield stage.progress
                if stage.value is None:  # another process works on it
                    continue
                if np.isfinite(stage.value["passed"]).any() or np.isfinite(stage.value["held"]).any():
                    yield Draft(lambda value=stage.value: self._picture(scene, selection, value, final=False))  # type: ignore[misc]

    def _picture(self, scene: Scene, selection: Selection, value: dict[str, Any], *, final: bool) -> Picture:
        names = value["layers"]
        passed, held = value["passed"], value["held"]
        known = np.r_[passed, held]
        limits = symmetric(known, unit="loss")
        marks: list[Node] = [
            Bars(
                values=part[there], labels=tuple(spoken(names[k]) for k in there), keys=tuple(layer_key(names[k]) for k in there), limits=limits,
                notes=tuple(_note(value, kind, int(k)) for k in there), unit="loss", title=title,
            )
            for kind, title, part in (("passed", "Left out", passed), ("held", "Held at its mean", held))
            if len(there := np.flatnonzero(np.isfinite(part)))
        ]
        marks.append(Table(title="All layers", row_keys=tuple(map(layer_key, names)), columns=(
            Column(name="layer", kind="text", texts=tuple(name or spoken("") for name in names)),
            *(Column(name=title, kind="text", texts=tuple("cannot be" if np.isnan(x) else f"{x:+.2g}" for x in value[kind])) for kind, title in
              (("passed", "left out"), ("held", "held"))),
        )))
        caption, share = self._said(value, _answers(scene))
        checks = (Check(
            name="answers that change", value=share, good=share <= CHEAP,
            sentence=f"The share of {_answers(scene)} that change without the layer that is needed least.",
        ),) if np.isfinite(share) else ()
        return self.picture(
            scene, selection, "Which layer is not needed?", Group(children=tuple(marks), direction="row"), caption, checks=checks, final=final,
            note=self._noted(scene, value),
        )

    def _said(self, value: dict[str, Any], answers: str) -> tuple[str, float]:
        """What is needed least, in words, and the share of answers that change without it."""
        names, base = value["layers"], value["loss"]
        if not np.isfinite(base):
            return "The loss is not a number, so what a layer costs cannot be told.", float("nan")
        ways = [(rise, kind, k) for kind in ("passed", "held") for k, rise in enumerate(value[kind]) if np.isfinite(rise)]
        if not ways:
            return "No layer could be left out, and none could be held.", float("nan")
        # What can go without a change is not needed, rather than what does harm: without that the loss falls, and answers are others.
        cheap = [one for one in ways if _cheap(one[0], float(value[f"{one[1]}_changed"][one[2]]), base)]
        # Of what costs the same, leaving out says more than holding still, and a block more than what lies in it.
        said_as = min(cheap or ways, key=lambda one: one[0])[0]
        same = [one for one in cheap or ways if f"{one[0]:+.2g}" == f"{said_as:+.2g}"]
        _, kind, k = min(same, key=lambda one: (one[1] == "held", names[one[2]].count("."), one[2]))
        share = float(value[f"{kind}_changed"][k])
        does, rise = "left out" if kind == "passed" else "held at its mean", float(value[kind][k])
        free = {names[k] for _, _, k in cheap}
        # A block that can be left out may cost all when it is held, as the sum past it is held with it: it is not needed for that.
        dear = max([one for one in ways if names[one[2]] not in free] or ways, key=lambda one: one[0])
        least = _outermost([name for name in _alike(names, value[kind], rise) if not free or name in free])
        verb = "is needed least:" if len(least) == 1 else "are needed least: each"
        said = f"{joined([*map(spoken, least[:4])])} {verb} {does}, the loss of {base:.3g} changes by {rise:+.2g}"
        shares = value[f"{kind}_changed"][[names.index(name) for name in least]]
        spread = f"{shares.min():.0%} to {shares.max():.0%}" if np.ptp(shares) >= 0.005 else f"{share:.0%}"
        said += f" and {spread} of the {answers} change" if np.isfinite(share) else ""
        if len(free) > 1:
            outer = _outermost([name for name in names if name in free])
            more = f" and {len(outer) - 4} more" if len(outer) > 4 else ""
            each = "each " if len(outer) > 1 else ""
            within = f", and what lies in {'it' if len(outer) == 1 else 'them'}," if len(outer) < len(free) else ""
            some = [spoken(name) for name in outer[:4]]
            said += f"; {', '.join(some) if more else joined(some)}{more}{within} can {each}be lost"
            said += f" without changing more than {CHEAP:.0%} of them" if np.isfinite(share) else ""
        if not free:
            every = [names[k] for k in sorted({k for _, _, k in ways})]
            # Held still, a layer may even lower the loss: what it cannot do without is the answers as they are.
            cost = f" without changing more than {CHEAP:.0%} of the {answers}" if np.isfinite(share) else ""
            outer = _outermost(every)
            if len(outer) == 1:
                said += ", so neither it nor what lies in it can be lost" + cost if len(every) > 1 else ", so it is needed"
            else:
                within = ", nor what lies in them" + "," * bool(cost) if len(outer) < len(every) else ""
                said += f", so none of the {len(outer)} that were tried can be lost{within}{cost}"
        if dear[0] > 0 and names[dear[2]] not in {*least, *free} and dear[0] > rise + ALIKE * abs(dear[0]):
            most = _outermost([name for name in _alike(names, value[dear[1]], dear[0]) if name not in free])
            way = "left out" if dear[1] == "passed" else "held at its mean"
            said += f". {joined([*map(spoken, most[:4])])} {'is' if len(most) == 1 else 'are'} needed most ({dear[0]:+.2g} {way})"
        harm = min(ways, key=lambda one: (one[0], one[1] == "held"))
        if harm not in cheap and free and harm[0] < -CHEAP * abs(base):
            way = "Left out" if harm[1] == "passed" else "Held at its mean"
            said += f". {way}, {spoken(names[harm[2]])} even lowers the loss ({harm[0]:+.2g}), but {float(value[f'{harm[1]}_changed'][harm[2]]):.0%} "
            said += "of the answers change"
        return f"{said}.", share

    def _noted(self, scene: Scene, value: dict[str, Any]) -> str:
        count = len(tried(scene))
        shown = len(value["layers"])
        said = [f"{shown} of {count} layers and blocks were looked at."] if shown < count else []
        for reason in dict.fromkeys(value["untried"].values()):
            some = [name for name, own in value["untried"].items() if own == reason]
            more = f" and {len(some) - 4} more" if len(some) > 4 else ""
            said.append(f"Not tried: {', '.join(map(spoken, some[:4]))}{more}, as {'it' if len(some) == 1 else 'each of them'} {reason}.")
        stuck = {name: reason for name, reason in value["unpassed"].items() if name not in value["untried"]}
        for reason in dict.fromkeys(stuck.values()):
            some = [name for name, own in stuck.items() if own == reason]
            who = spoken(some[0]) if len(some) == 1 else "No layer that was tried" if len(some) == shown else f"{len(some)} of {shown}"
            be = "can be" if len(some) == shown > 1 else "cannot be"
            said.append(f"{who} {be} left out, as {'its answer' if len(some) == 1 else 'the answer of each'} {reason}.")
        return noted(*said, _counting(scene), unanswered(scene), looked_at(scene, min(self.examples, len(scene.live))))


def _answers(scene: Scene) -> str:
    """What shares of answers are counted in: an example has one answer, or several."""
    return several(scene) or "answers"


def _counting(scene: Scene) -> str:
    """Of a network with several outputs the one whose loss and answers count: a layer that makes another changes nothing here."""
    outputs = scene.reading.outputs
    if isinstance(outputs, str | int):
        return f"Losses and answers are those of output {outputs!r} alone."
    taken = next((said for said in scene.reading.guessed if said.startswith("the scores are taken from output")), "")
    return f"{taken[0].upper()}{taken[1:]}, and no other output counts." if taken else ""


def _cheap(rise: float, changed: float, base: float) -> bool:
    return changed <= CHEAP if np.isfinite(changed) else rise <= CHEAP * abs(base)


def _alike(names: list[str], rises: np.ndarray, rise: float) -> list[str]:
    """The layers that cost as much, in the digits that are said."""
    return [name for name, one in zip(names, rises, strict=True) if f"{one:+.2g}" == f"{rise:+.2g}"]


def _outermost(names: list[str]) -> list[str]:
    """Of blocks and what lies in them the blocks alone."""
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]


def _note(value: dict[str, Any], kind: str, k: int) -> str:
    share = float(value[f"{kind}_changed"][k])
    return f"{share:.0%} change" if np.isfinite(share) else ""
