"""What the loss of a language model is taken on, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...core.knobs import knob
from ...data.kinds import Tokens
from ...methods.cost import Cost
from ...scene import Scene
from ..derivation import Derivation, Plain, Stage
from ..labels import Labels, labels, without_labels

FIELDS = {"example": int, "position": int, "token": int, "text": str, "label": int, "loss": float, "learnt": bool, "special": str}
"""What a record holds."""


class LearnsFromDerivation(Derivation):
    """Every token of some examples with what the loss makes of it: whether it is learnt from, and what it costs.

    *Meaning* a record a token: its ``example`` and ``position``, the ``token`` and its ``text``; ``learnt`` where some place
    before it has to answer it, with the ``label`` there and its ``loss`` (the cross-entropy); else it is masked, or the first of a
    text, before which nothing stands, with the label −100 and a loss of 0.
    ``special`` names tokens that are no text: end, padding, and the like. A label that is not the token
    itself (a masked word, labels shifted wrongly) is told by its number.
    *Units* nats.
    *Error* the mean of the losses of what is learnt is the loss of the examples; where the model computes its own, that is
    compared.
    *Cost* one forward pass an example.
    """

    examples: int = knob(8, "So many examples.", low=1, high=512)
    limit: int = knob(512, "The most tokens of each.", low=1, high=8192)

    def fits(self, scene: Scene) -> str | None:
        """The model learns what comes next, or which word was masked."""
        return without_labels(scene)

    def cost(self, scene: Scene) -> Cost:
        """One pass an example."""
        return Cost(min(self.examples, len(scene.live)))

    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """Records example by example."""
        count = min(self.examples, len(scene.live))
        found: list[dict[str, Plain]] = []
        for example in range(count):
            found += records(labels(scene, [example]), [example], self.limit)
            yield Stage(list(found), example + 1.0, float(count), f"{example + 1} of {count} examples")

    def check(self, scene: Scene, value: Plain) -> None:
        """Records of tokens."""
        if not isinstance(value, list) or not value:
            raise ValueError("records are wanted")
        for one in value:
            if not isinstance(one, dict) or {name: type(part) for name, part in one.items()} != FIELDS:
                raise ValueError("a record of each token is wanted")


def records(found: Labels, numbers: Sequence[int], limit: int) -> list[dict[str, Plain]]:
    """The records of some examples by their numbers."""
    told: list[dict[str, Plain]] = []
    kind: Tokens = found.kind
    for row, example in enumerate(numbers):
        tokens = found.tokens[row].tolist()
        answered = found.answered(row)
        for position, token in enumerate(tokens[:limit]):
            label, loss = answered.get(position, (-100, 0.0))
            told.append({
                "example": example, "position": position, "token": int(token), "text": kind.token(int(token)), "label": label,
                "loss": loss, "learnt": position in answered, "special": found.special(int(token)),
            })
        for position, (label, loss) in sorted(answered.items()):
            # What comes after the last token that the model reads.
            if position >= len(tokens) and len(tokens) <= limit:
                told.append({
                    "example": example, "position": position, "token": label, "text": kind.token(label), "label": label, "loss": loss,
                    "learnt": True, "special": found.special(label),
                })
    return told
