"""The finding `padding`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.knobs import knob
from ..batch_texts import MASKED, BatchTexts
from ..padding import padding
from . import Diagnosis, Finding

if TYPE_CHECKING:
    from ..reader import RunReader

_READINGS = 40
"""Batches, the last ones, whose texts are looked at."""
_LEARNING = 1e-6
"""A place that costs no more, in nats, may be masked as well."""
_FEW = 20
"""Labels at padding from which on something is said."""
_ALIKE = 0.8
"""The share of labels at padding that are one and the same, where nothing is asked there."""
_LARGE = 0.2


class Padding(Finding):
    """Texts are filled up to one length, and what fills them counts: in the loss, or in the attention, which looks at nothing else.

    *Meaning* padding that is learnt is soon foreseen, so the mean loss looks lower than it is on the texts, and most of a batch may teach
    nothing. A mask the wrong way round hides the text from each token and shows it the padding.
    A token is padding where it stands in a run at one end of texts, longer in one than in another, and nowhere else.
    """

    rests = ("texts/tokens|probe.turned",)
    about = "texts"

    share: float = knob(0.05, "The share of labels at padding from which on it is told.", low=0.0, high=1.0)

    def __call__(self, run: RunReader) -> list[Diagnosis]:
        """One finding for the attention and one for the loss."""
        return [*self._attended(run), *self._learnt(run)]

    def _attended(self, run: RunReader) -> list[Diagnosis]:
        if not (run.meta.get("probe") or {}).get("turned"):
            return []
        return [Diagnosis(
            self.name, 0.85, "Attention looks at padding alone",
            "An attention of the network gives all of its weight to the padding of a text and none to its tokens, so no token hears of another: "
            "its mask is the wrong way round.",
            "texts of the probe set were read before the training: tokens get 0, padding gets all", (), None, 0, "Certain for those texts.",
            "Turn the mask round. key_padding_mask of nn.MultiheadAttention is true where a token is left out, attn_mask of "
            "scaled_dot_product_attention where one takes part.", "attention",
        )]

    def _learnt(self, run: RunReader) -> list[Diagnosis]:
        names = ("texts/tokens", "texts/labels", "texts/losses")
        if not set(names) <= set(run.row_names):
            return []
        rows = {name: dict(zip(*((part[-_READINGS:]) for part in run.rows(name)), strict=True)) for name in names}
        read = [
            (int(step), told) for step in rows[names[0]] if all(step in rows[name] for name in names)
            and (told := BatchTexts.of_rows({name: rows[name][step] for name in names})) is not None
        ]
        read = [(step, told) for step, told in read if told.tokens.shape[1] == read[-1][1].tokens.shape[1]]
        if not read:
            return []
        tokens, labels, losses = (np.concatenate([getattr(told, part) for _, told in read]) for part in ("tokens", "labels", "losses"))
        padded = padding(tokens)
        if padded is None:
            return []
        known = labels != MASKED
        there = known & padded.places
        share = float(there.sum() / max(1, known.sum()))
        if (there & (losses > _LEARNING)).sum() < _FEW or share < self.share or not (known & ~there).any():
            return []
        if np.unique(labels[there], return_counts=True)[1].max() < _ALIKE * there.sum():
            return []  # blanks in whose place something is to be said
        names_ = run.meta.get("classes") or []
        token = padded.token
        said = f" ({names_[token]})" if run.meta.get("task") == "next_token" and 0 <= token < len(names_) else f" (token {token})"
        few = slice(-len(read[-1][1].tokens), None)
        mine, rest = there[few], (known & ~there)[few]
        costs = ""
        if mine.any() and rest.any():
            costs = (
                f" At step {read[-1][0]:,} the mean loss is {losses[few][mine | rest].mean():.3g}, and {losses[few][rest].mean():.3g} "
                "without them."
            )
        return [Diagnosis(
            self.name, 0.6 if share >= _LARGE else 0.4, "Padding is learnt",
            f"{share:.0%} of the labels stand at padding{said}, which only fills texts up, and count in the loss like all others.{costs}",
            f"{int(there.sum()):,} of {int(known.sum()):,} labels of the texts that were read", (), None, read[0][0],
            "Sure for the texts that were read.", "Mask labels at padding with −100, or give cross_entropy an ignore_index.", "learns_from",
        )]
