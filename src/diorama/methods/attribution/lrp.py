"""Layer-wise relevance propagation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from ...core.knobs import knob
from ...data.kind import Kind
from ...data.nesting import Nested
from ...model.targets import Target
from ..method import Attribution, Group, Look, Method, completeness
from ..relevance.composites import COMPOSITES
from ..relevance.propagation import Propagation
from ..relevance.relevance_pass import relevance
from ..relevance.rules import RULES, RuleSettings


class LayerwiseRelevance(Method):
    """Carries the score back through the network layer by layer, each unit sharing what it got among its inputs.

    *Meaning* positive parts speak for the target, negative ones against it; the map sums to the score, but for what
    biases and epsilon absorb, and the check says how much that is. Any model goes: functional, in-place and reused
    activations, residual sums, gates, attention, recurrent kernels. A batch norm is folded into the layer before it,
    pooling and sums share out in proportion, and what only moves numbers moves their relevance.
    *Cost* one forward and one backward pass; rules of one sign take about half as much again.
    *Raises* NotApplicable, by name, for an op that has no rule.
    *Source* Bach et al. 2015; Montavon et al. 2019; through attention Achtibat et al. 2024 and Ali et al. 2022.
    """

    title = "Layer-wise relevance propagation"
    opens: ClassVar[bool] = True
    group: ClassVar[Group] = "relevance"
    rows: ClassVar[tuple[str, ...]] = ("A13",)
    source: ClassVar[str] = (
        "Bach et al. 2015, On pixel-wise explanations, equations 56–62; Montavon et al. 2019, section 10.2"
    )
    completeness: ClassVar[bool] = True
    wide: ClassVar[bool] = True

    rule: str = knob(
        "epsilon_plus_flat",
        "The rule of all weighted layers, or a composite: the rule of dense layers, of convolutions, of the first layer.",
        choices=tuple(COMPOSITES),
        main=True,
    )
    first: str = knob("as the rule", "The rule of the layer that reads the input.", choices=("as the rule", *RULES))
    epsilon: float = knob(1e-6, "What epsilon adds to a layer's result before dividing by it.", low=0.0, log=True)
    gamma: float = knob(0.25, "How much more contributions for the result count, in gamma.", low=0.0)
    alpha: float = knob(2.0, "Weight of contributions for the result, in alpha-beta; beta is one less.", low=1.0)
    bias: str = knob("absorbs", "Whether biases absorb their share or are left out.", choices=("absorbs", "left out"))
    batch_norm: str = knob(
        "folded", "Into the layer before it, or a layer of its own that follows epsilon.", choices=("folded", "alone")
    )
    attention: str = knob(
        "conservative",
        "Hold attention weights and deviations, which conserves; or share with the softmax (attn_lrp).",
        choices=("conservative", "attn_lrp"),
    )

    def attribute(self, look: Look, x: Nested, target: Target) -> Iterator[Attribution]:
        """One map, from one pass forward and one back."""
        composite = COMPOSITES[self.rule]
        if self.first != "as the rule":
            composite = composite.beginning(self.first)
        low, high = _range(look)
        settings = RuleSettings(self.epsilon, self.gamma, self.alpha, low, high, self.bias == "absorbs")
        hold = self.attention == "conservative"
        rule = Propagation(composite, settings, hold=hold, fold=self.batch_norm == "folded", layout=look.layout)
        with rule.released():
            parts, scores = relevance(look, x, target, rule)
        values = look.shaped(x, parts)
        yield self.found(look, x, target, values, scores, checks={"completeness": completeness(values, scores)})


def _range(look: Look) -> tuple[float | None, float | None]:
    """The bounds of the input for z-box, where its kind has any; each example's own otherwise."""
    found = look.kind.valid_range() if isinstance(look.kind, Kind) else None
    return found if found is not None else (None, None)
