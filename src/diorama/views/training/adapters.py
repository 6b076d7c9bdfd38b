"""Adapters at work: what each changes beside its frozen weight, and what becomes of the answers without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...core.colour import magnitude
from ...core.errors import NotApplicable, not_found
from ...core.knobs import knob
from ...core.marks import Bars, Column, Group, Node, Table
from ...core.numerals import counted, percent, plain
from ...core.picture import Picture, Progress
from ...core.selection import Selection, layer_key
from ...derive.derivations.adapters import without_adapters
from ...model.adapters import Adapter, adapters, switch_off
from ...scene import Scene
from ...scene.input import asked
from ...scene.turned_answers import turned
from .. import answers
from ..view import View

Record = Mapping[str, Any]


class AdaptersView(View):
    """A row a layer with an adapter (LoRA and its kin, by peft or by hand): how much it changes, in how many directions, and
    whether it learns; and the answers with and without it.

    *Meaning* the update's share says how large what the adapter adds is beside the frozen weight; its effective rank how many of
    the directions that it may use it does. Adapters that do nothing are named, with the reason. Below, the answers of the
    network as it is and with adapters switched off: all of them, as before the tuning, or the chosen one.
    *Units* shares; losses in nats where the network tells classes or tokens apart.
    *Cost* a pass of each adapted layer over its unit vectors, one forward and backward pass of some examples, and one of the live
    examples without the adapters, in a copy of the model.
    *Source* Hu et al. 2021; Roy & Vetterli 2007.
    """

    title = "Adapters"
    question = "Do the adapters change anything?"
    family = "process"
    papers = ("Hu et al. 2021, arXiv:2106.09685",)
    rows = ("E14",)
    follows = ("layer", "example")
    demo = "tuned"

    off: str | None = knob(
        None, "The adapter that is switched off, by its layer; the chosen one, or all of them (as before the tuning).", kind="layer", main=True,
    )

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs adapters."""
        return without_adapters(scene)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The rows, then the answers without what is switched off."""
        value: Sequence[Record] = []
        for stage in scene.derive("adapters").stream():
            value = stage.value
            if not stage.final:
                yield stage.progress
        known = adapters(scene.model)
        chosen = self._chosen(known, selection)
        yield self._picture(scene, selection, value, chosen, len(known), None)
        yield self._picture(scene, selection, value, chosen, len(known), _compared(scene, selection, chosen))

    def _chosen(self, known: tuple[Adapter, ...], selection: Selection) -> tuple[Adapter, ...]:
        """What is switched off: the adapters of a named layer or block, of the chosen one, else all."""
        names = [adapter.name for adapter in known]
        if self.off is not None:
            found = [one for one in known if one.name == self.off or one.name.startswith(f"{self.off}.") or one.name.endswith(f".{self.off}")]
            if not found:
                raise not_found("adapter", self.off, names)
            return tuple(found)
        for key in selection.all("layer"):
            found = [one for one in known if one.name == key.name or one.name.startswith(f"{key.name}.")]
            if found:
                return tuple(found)
        return known

    def _picture(
        self, scene: Scene, selection: Selection, value: Sequence[Record], chosen: tuple[Adapter, ...], count: int, compared: Any,
    ) -> Picture:
        idle = [one for one in value if one["nothing"]]
        marks: list[Node] = [_table(value)]
        told = [one for one in value if np.isfinite(one["share"]) and one["size"] != 0]
        words = f"{counted(count, 'layers')} {'has' if count == 1 else 'have'} an adapter"
        if told:
            most = max(told, key=lambda one: one["share"])
            words += f"; the largest update, {percent(most['share'], 3)} of its frozen weight, is at {most['layer']}"
        words += "."
        if idle:
            same = "; ".join(f"{one['layer']} ({one['nothing']})" for one in idle[:4]) + ("; …" if len(idle) > 4 else "")
            words += f" {len(idle)} of them {'does' if len(idle) == 1 else 'do'} nothing: {same}."
        off = "all adapters" if len(chosen) == count else chosen[0].name if len(chosen) == 1 else f"{len(chosen)} adapters"
        if compared is not None:
            words += f" {_said(compared, off)}"
            marks.append(compared["marks"])
        return self.picture(
            scene, selection, "What the adapters change", Group(children=tuple(marks)), words, note=_ungraded(scene, value),
            final=compared is not None,
        )


_NAMES = {"share": "update / weight", "effective_rank": "effective rank"}


def _ungraded(scene: Scene, value: Sequence[Record]) -> str:
    """Why no gradient of any adapter is told; empty where one is."""
    if not value or any(np.isfinite(one["gradient"]) for one in value):
        return ""
    if not any(one["trained"] for one in value):
        why = "no adapter is trained"
    elif scene.live.y is None:
        why = "the truth of no example is known: pass probe=(x, y)"
    elif not scene.task:
        why = "the task is not known: say it with task="
    elif scene.reading.criterion is not None:
        why = "the loss is one of your own, which is not differentiated here"
    else:
        why = "no example has a loss that is a number"
    return f"Gradients are not told, as {why}."


def _table(value: Sequence[Record]) -> Table:
    def numbers(name: str, note: str = "") -> Column:
        """A column of numbers; of words where some are not known, with a dash for them."""
        found = np.array([float(one[name]) for one in value])
        if np.isfinite(found).all():
            return Column(name=_NAMES.get(name, name), numbers=found, note=note)
        texts = tuple(plain(f"{number:.3g}") if np.isfinite(number) else "–" for number in found)
        return Column(name=_NAMES.get(name, name), kind="text", texts=texts, note=note)

    begins, names = _parted([one["layer"] for one in value])
    nothing = tuple(str(one["nothing"]) for one in value)
    idle = (Column(name="does nothing", kind="text", texts=nothing),) if any(nothing) else ()
    return Table(
        columns=(
            Column(name="layer", kind="text", texts=names, note=f"All names begin with {begins}" if begins else ""),
            numbers("share", "Norm of the update over that of the frozen weight."),
            numbers("effective_rank", "How many directions the update really has."),
            numbers("rank", "How many it may have; 0 where it is not of low rank."),
            numbers("gradient", "Norm of the gradient of the mean loss by its parameters."),
            numbers("parameters"),
            *idle,
        ),
        row_keys=tuple(layer_key(one["layer"]) for one in value), flagged=np.array([bool(one["nothing"]) for one in value]),
        title="Adapters",
    )


def _parted(names: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """What all names of layers begin with, and the rest of each, so that a narrow column tells them apart."""
    parts = [name.split(".") for name in names]
    same = 0
    while len(names) > 1 and all(len(part) > same + 1 and part[same] == parts[0][same] for part in parts):
        same += 1
    return "".join(f"{part}." for part in parts[0][:same]), tuple(".".join(part[same:]) for part in parts)


def _compared(scene: Scene, selection: Selection, chosen: tuple[Adapter, ...]) -> dict[str, Any]:
    """The answers of the network as it is and with some adapters switched off."""
    other = scene.with_weights({})
    try:
        switch_off(other.model, chosen)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise NotApplicable(f"these adapters cannot be switched off ({type(error).__name__}); choose one with off=") from error
    current = scene.current(selection)
    pair = [asked(scene, current.x), asked(other, current.x)]
    found: dict[str, Any] = {}
    mine, theirs = scene.answers(), other.answers()
    differ = turned(scene, theirs)
    if differ is not None:
        found["changed"], found["of"] = differ.share, differ.of
    found["losses"] = [one.loss for one in (mine, theirs)]
    marks: list[Node] = []
    for scores, title in zip(pair, ("with the adapters", "switched off"), strict=True):
        drawn = answers.drawn(scene, scores, horizontal=True)
        marks.append(Group(children=(drawn,), direction="column", title=f"{current.label.capitalize()}, {title}"))
    losses = np.array(found["losses"])
    if np.isfinite(losses).all():
        marks.append(Bars(
            values=losses, labels=("with", "without"), limits=magnitude(losses, 0.0), title="Mean loss of the live examples",
        ))
    found["marks"] = Group(children=tuple(marks), direction="row")
    return found


def _said(compared: Mapping[str, Any], off: str) -> str:
    """What becomes of the answers, in words."""
    parts = []
    if "changed" in compared and not np.isnan(compared["changed"]):
        of = "" if compared["of"].endswith("examples") and " of " not in compared["of"] else f" ({compared['of']})"
        parts.append(f"{percent(compared['changed'])} of the answers change{of}")
    here, there = compared["losses"]
    if np.isfinite([here, there]).all():
        parts.append(f"the mean loss goes from {here:.4g} to {there:.4g}")
    return f"With {off} switched off, {' and '.join(parts)}." if parts else f"Below, the answers with {off} switched off."
