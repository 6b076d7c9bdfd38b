"""What is explained and by what: the target in the selection, the inputs, and the methods with their knobs."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ...core import registry
from ...core.blame import alone, answered
from ...core.errors import NotApplicable, UsageError, not_found
from ...core.knobs import build, title_of
from ...core.selection import Key, Selection, spoken
from ...data.kinds import Strokes
from ...data.nesting import Nested
from ...data.text_places import ends
from ...data.tokens import visible
from ...methods.attribute import EachClass, aim, attributions
from ...methods.cost import Cost
from ...methods.method import Attribution, Look, Method
from ...model.mixtures import curves
from ...model.plain_module import fed
from ...model.targets import Target, called
from ...scene import Scene
from ...scene.input import CurrentInput, ending
from .. import answers

KINDS = ("class", "unit", "layer", "direction")
"""The kinds of keys that can be explained."""
FEW = (
    "gradient", "input_x_gradient", "guided_backprop", "integrated_gradients", "smooth_grad", "lrp", "grad_cam",
    "occlusion",
)
"""One or two of each family, from the cheapest on; what does not fit the model is told apart."""
GROUPS = (
    "few", "quick", "gradient", "relevance", "class activation", "input modification", "black box", "transformers", "all",
)
QUICK = 4
"""A quick method takes so many passes at most."""
RULES = ("epsilon", "epsilon_plus", "epsilon_plus_flat", "epsilon_gamma_box", "alpha_beta", "deep_taylor")
"""The rules of relevance propagation that its group shows side by side."""
INSTEAD = ("occlusion", "kernel_shap")
"""Where the default method does not fit: they take any model, as they only ask it."""
MOST = 16
"""So many chosen examples are explained at most."""
COMPARED = 64
"""Methods that compare with other inputs get so many examples of the probe set."""


@dataclasses.dataclass(frozen=True)
class ChosenMethod:
    """A method with its knobs, and what to call it."""

    method: Method
    title: str

    @property
    def name(self) -> str:
        """The method's own name."""
        return self.method.name


class InputQuestion:
    """One input, and what is asked about it."""

    def __init__(self, scene: Scene, selection: Selection, current: CurrentInput) -> None:
        self.scene, self.current = scene, current
        self.look = looking(scene, current)
        self.seconds = float("inf")
        """What the quickest forward pass so far took."""
        self.scores = self.timed()
        self.end = ending(scene, current.x)
        aimed = _aimed(scene, wanted(selection))  # which may be class 0
        self.target = aim(self.look, current.x, one_of_many(scene, self.scores, current.x) if aimed is None else aimed)
        self.number = self._class(selection)
        self.words = words(scene, selection, self.target, self.number)

    def _class(self, selection: Selection) -> int | None:
        """The class that is explained, where it is one."""
        if self.scene.task != "classification" or isinstance(wanted(selection), tuple | str):
            return None
        chosen = wanted(selection)
        if isinstance(chosen, int):
            return chosen
        answered = int(self.scene.reading.predictions(self.scores).reshape(-1)[0])
        return answered if answered >= 0 else None  # scores that are not numbers answer nothing

    def timed(self) -> Tensor:
        """The scores, by one forward pass, which is timed: the first one of a process is slow."""
        begun = time.perf_counter()
        scores = self.look.scores(self.current.x).cpu()
        self.seconds = min(self.seconds, time.perf_counter() - begun)
        return scores

    def looking_for(self, method: Method) -> Look:
        """What a method looks with: other inputs beside this one where it cannot do without."""
        if method.fits(self.look, self.current.x) is None:
            return self.look
        compared = looking(self.scene, self.current, compared=True)
        return compared if method.fits(compared, self.current.x) is None else self.look

    def refused(self, method: Method) -> str | None:
        """Why a method does not apply; None when it does. What it would cost here is a question that may show it too."""
        try:
            look = self.looking_for(method)
            reason: str | None = answered(method, lambda: method.fits(look, self.current.x), str, type(None))
            if reason is None:
                self.cost(method)
        except Exception as error:  # noqa: BLE001 - one that cannot even be asked is left out, and the others go on
            return alone(error)
        return reason

    def cost(self, method: Method) -> Cost:
        """What a method takes here."""
        return Cost.of(method, lambda: method.cost(self.looking_for(method), self.current.x))

    @property
    def chance(self) -> Target | None:
        """The probability of the explained class, as a target."""
        if self.number is None:
            return None
        reading, number = self.scene.reading, self.number
        return Target(
            f"the probability of {self.words}", (),
            lambda output, kept: reading.probabilities(reading.scores(output))[:, number],
        )

    @property
    def answered(self) -> str:
        """The network's answer in words."""
        return answers.said(self.scene, self.scores if self.end is None else self.scores[:, : self.end + 1])


def looking(scene: Scene, current: CurrentInput, *, compared: bool = False) -> Look:
    """What methods look with; ``compared`` gives them examples of the probe set to compare with."""
    live = scene.live
    others = fed(scene.model, live.batch(list(range(min(COMPARED, len(live)))))) if compared else None
    look = Look(
        scene.model, x=current.x, kind=scene.kind, reading=scene.reading, classes=scene.classes, table=scene.layers,
        cancel=scene.cancel, edits=scene.edits, baseline=others,
    )
    look.end = ending(scene, current.x)
    return look


def explained(look: Look, x: Nested, target: Any, method: Method) -> tuple[Method, Attribution, str]:
    """What the default method of a view says; where it does not fit, the first that only asks the model, and why."""
    try:
        *_, found = attributions(look, x, target, method)
        return method, found, ""
    except NotApplicable as error:
        for name in INSTEAD:
            other = registry.methods[name]()
            with contextlib.suppress(NotApplicable):
                *_, found = attributions(look, x, target, other)
                return other, found, f"{title_of(type(other))} takes the place of {title_of(type(method))}: {error}."
        raise


def wanted(selection: Selection) -> Any:
    """What is explained: the class, unit, layer or direction that was chosen last, a class rather than one of set B, else the answer."""
    key = next((key for key in reversed(selection.a) if key.kind in KINDS), None)
    if key is None:
        return None
    if key.kind != "class":
        return str(key)
    against = next((other for other in reversed(selection.b) if other.kind == "class"), None)
    if against is not None and against.number != key.number:
        return (key.number, against.number)
    return key.number


def one_of_many(scene: Scene, scores: Tensor, x: Nested) -> Target | None:
    """What is explained by itself where a network answers with many numbers at each place: of a pen whether it is lifted, else the number
    that is largest at the last place; None where there is one answer."""
    if scene.task != "regression" or scores.ndim != 3 or not scores[0, -1].numel():
        return None
    width, at = scores.shape[-1], (*ends(scene.kind, x, scores.shape[1]), -1)[0]
    if isinstance(scene.kind, Strokes) and curves(width) is not None:
        number, text = (0 if curves(width) else width - 1), "lifting the pen behind the last point"
    else:
        number = int(scores[0, at].abs().nan_to_num(0).argmax())
        text = f"number {number} of the {width} that it answers with at the last place, the largest there"
    return Target(text, (), lambda output, kept: scene.reading.scores(output)[:, at, number])


def _aimed(scene: Scene, chosen: Any) -> Any:
    """What is explained, with a direction's name as the direction itself."""
    key = Key.parse(chosen) if isinstance(chosen, str) else None
    return scene.direction(key.name) if key is not None and key.kind == "direction" else chosen


def words(scene: Scene, selection: Selection, target: Target, number: int | None) -> str:
    """What is explained, as a person says it."""
    chosen = wanted(selection)
    if isinstance(chosen, tuple):
        a, b = (_named(scene, k) for k in chosen)
        return f"{a} rather than {b}"
    if isinstance(chosen, str):
        key = Key.parse(chosen)
        if key.kind == "direction":
            return f"the direction {key.name}"
        if key.kind == "layer":
            name = spoken(key.name)
            return f"{'layer ' * (name == key.name)}{name} (the mean of all its units)"
        if key.place:
            return f"unit {key.number} of {spoken(key.name)} at place {', '.join(map(str, key.place))}"
        return f"unit {key.number} of {spoken(key.name)}"
    if number is not None:
        return _named(scene, number)
    if isinstance(target, EachClass) and target.numbers:
        return _named(scene, target.numbers[0])
    said = str(target)
    token = said.removeprefix("token ")
    # A name such as "7" is no number of a token.
    numbered = token != said and token.isdecimal()
    return answers.token(scene, int(token)) if scene.task == "next_token" and numbered else visible(said)


def _named(scene: Scene, number: int) -> str:
    if number < 0:
        return "no class, as its scores are not numbers"
    return answers.token(scene, number) if scene.task == "next_token" else called(number, scene.classes, scene.task)


def currents(scene: Scene, selection: Selection, count: int) -> list[CurrentInput]:
    """The inputs: the drawn one or all chosen examples, and the next ones of the probe set up to ``count``."""
    chosen = list(dict.fromkeys(number for key in selection.all("example") for number in key.numbers))[:MOST]
    found = [scene.current(selection)] if scene.custom else []
    if scene.custom and count == 1:
        return found
    start = (chosen[-1] if chosen else -1) + 1
    after = (k % len(scene.examples) for k in range(start, start + len(scene.examples)))
    more = [k for k in after if k not in chosen][: max(0, count - len(chosen) - len(found))]
    return found + [scene.current(selection, k) for k in (*chosen, *more)]


_PART = re.compile(r"\s*([A-Za-z_][\w]*)\s*(?:\(([^()]*)\))?\s*(?:,|$)")


def named(text: str) -> list[ChosenMethod]:
    """The methods that a text names, with commas between them and knobs in brackets: ``lrp(rule=epsilon), cam``."""
    found, at = [], 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            raise UsageError(f"methods are named as in 'gradient, lrp(rule=epsilon)', got {text!r}")
        name, given = part.group(1), part.group(2)
        if name not in registry.methods:
            raise not_found("attribution method", name, registry.methods.names)
        values = dict(_pair(pair) for pair in (given or "").split(",") if pair.strip())
        found.append(ChosenMethod(build(registry.methods[name], values), _titled(name, values)))
        at = part.end()
    return found


def ruled(one: ChosenMethod, rule: str) -> ChosenMethod:
    """The method with another rule of relevance propagation, where it has one and none was given."""
    if one.name != "lrp" or "(" in one.title:
        return one
    return ChosenMethod(registry.methods["lrp"](rule=rule), _titled("lrp", {"rule": rule}))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"a method's knob is set as in 'lrp(rule=epsilon)', got {text.strip()!r}")
    return name.strip(), value.strip()


def _titled(name: str, values: Mapping[str, Any]) -> str:
    told = ", ".join(str(value).replace("_", " ") if key == "rule" else f"{key} {value}" for key, value in values.items())
    return f"{_short(name)} ({told})" if told else _short(name)


def _short(name: str) -> str:
    title = title_of(registry.methods[name])
    return "LRP" if name == "lrp" else title


def of_group(group: str, asked: InputQuestion) -> list[ChosenMethod]:
    """The methods of a group, in the order of their families and from the cheapest on."""
    if group == "few":
        return [ChosenMethod(registry.methods[name](), _short(name)) for name in FEW if name in registry.methods]
    if group == "relevance":
        rules = [ChosenMethod(registry.methods["lrp"](rule=rule), _titled("lrp", {"rule": rule})) for rule in RULES]
        return [*rules, *(one for one in _all() if one.method.group == group and one.name != "lrp")]
    if group == "quick":
        return [one for one in _all() if asked.refused(one.method) is not None or _quick(asked.cost(one.method))]
    return [one for one in _all() if group in ("all", one.method.group)]


def _all() -> list[ChosenMethod]:
    order = list(GROUPS)
    found = [ChosenMethod(method(), _short(name)) for name, method in registry.methods.items()]
    return sorted(found, key=lambda one: (order.index(one.method.group), one.name not in FEW))


def _quick(cost: Cost) -> bool:
    return cost.forward + cost.backward <= QUICK


def total(costs: Sequence[Cost]) -> Cost:
    """Several costs in one."""
    return Cost(sum(cost.forward for cost in costs), sum(cost.backward for cost in costs))
