"""Which finding follows from which: what is wrong is told before what comes of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .findings import Diagnosis

_LOOP = (
    "large_first_weights", "leftover_gradients", "turned_loss", "unshuffled_batches", "momentum_too_high", "weight_decay_too_strong",
    "evaluation_mode", "unscaled_inputs", "unscaled_targets", "dropout_too_strong",
)
_LOSS = ("misplaced_softmax", "mismatched_shapes", "cut_answers", "mixed_examples", "collapsed_code")
_RATE = ("learning_rate_too_high", "exploding_updates", "loss_spikes")
_LOST = ("dead_units", "saturated_units", "vanishing_gradients")
_CAUSES = {
    "stalled_learning": (
        *_LOOP, *_LOSS, "far_answers", "not_in_optimizer", *_RATE, *_LOST, "not_finite", "learning_rate_too_low", "stopped_layer", "output_bias",
        "duplicated_units",
    ),
    "constant_answer": (*_LOOP, *_LOSS, "dead_units", *_RATE, *_LOST, "not_finite", "output_bias", "learning_rate_too_low"),
    "learning_rate_too_low": (*_LOOP, *_LOSS, *_LOST, "output_bias", "duplicated_units"),
    "vanishing_gradients": (
        "unscaled_inputs", "unscaled_targets", "weight_decay_too_strong", "dropout_too_strong", "dead_units", *_RATE, "saturated_units",
        "stopped_layer", "not_finite",
    ),
    "small_updates": ("dead_units", *_RATE, "vanishing_gradients", "stopped_layer", "not_finite"),
    "stopped_layer": ("dropout_too_strong", "dead_units", "not_finite", *_RATE),
    "dead_units": (*_LOOP, *_RATE),
    "learning_rate_too_high": (*_LOOP, "mismatched_shapes"),
    "saturated_units": (*_LOOP, "mismatched_shapes", *_RATE),
    "loss_spikes": _LOOP,
    "not_finite": ("leftover_gradients", "turned_loss", "momentum_too_high", "unscaled_inputs", "unscaled_targets"),
    "far_answers": ("large_first_weights", "unscaled_inputs", "unscaled_targets", "momentum_too_high", "leftover_gradients",
                    "learning_rate_too_high"),
    "unlearnt_class": ("repeated_batch", "missing_class", "unshuffled_batches", "probe_unlike_training"),
    "confused_classes": ("repeated_batch", "unshuffled_batches", "missing_class", "probe_unlike_training"),
    "missing_class": ("repeated_batch", "unshuffled_batches",),
    "overfitting": (
        "repeated_batch", "missing_class", "shuffled_pictures", "probe_unlike_training", "batch_norm_mismatch", "leftover_gradients", "turned_loss",
        *_RATE,
    ),
    "exploding_updates": (*_LOOP, "learning_rate_too_high"),
    "output_bias": (*_LOOP, "exploding_updates", "learning_rate_too_high"),
}
"""By finding: what it comes of, the likeliest first."""
_WHOLE = 0.9
"""Dead units explain what lies before and behind a layer where almost nothing passes it: such a finding is as bad as this."""
_ALARM = 0.5
_LATER = 20
"""Steps by which a cause may be seen after what comes of it: they are read at different steps."""


def ranked(found: Sequence[Diagnosis]) -> list[Diagnosis]:
    """Findings, worst first; one that likely follows from another says so, and stands behind it."""
    told = sorted((_told(one, found) for one in found), key=lambda pair: (-pair[0].severity, pair[1]))
    return [one for one, _ in told]


def _told(one: Diagnosis, found: Sequence[Diagnosis]) -> tuple[Diagnosis, int]:
    """A finding with what it follows from, and how many findings lie before it on the way from the first cause."""
    chain: list[Diagnosis] = []
    now: Diagnosis | None = one
    while (now := _cause(now, found) if now is not None else None) is not None and now not in chain and len(chain) < len(_CAUSES):
        chain.append(now)
    if not chain:
        return one, 0
    # An alarm stays one.
    limit = max(_ALARM, min(each.severity for each in chain))
    text = f"{one.text} It likely follows from what is told as \u201c{chain[0].title}\u201d."
    return dataclasses.replace(one, text=text, severity=min(one.severity, limit)), len(chain)


def _cause(one: Diagnosis, found: Sequence[Diagnosis]) -> Diagnosis | None:
    """What a finding follows from: an alarm of a kind that brings it about, seen no later."""
    for name in _CAUSES.get(one.finding, ()):
        for other in found:
            if other.finding == name and other.severity >= _ALARM and _explains(other, one):
                return other
    return None


def _explains(cause: Diagnosis, one: Diagnosis) -> bool:
    if cause.finding == "dead_units" and cause.severity < _WHOLE:
        return False
    if one.finding == "dead_units" and one.severity >= _WHOLE and cause.finding == "loss_spikes":
        return False  # where nothing passes a layer any more the loss jumps by that, as likely as the other way round
    if cause.finding == "stopped_layer" and not _layers(one) <= _layers(cause):
        return False
    # That a loss never fell is told since the first step, whatever held it up later.
    return one.finding == "stalled_learning" or cause.step <= one.step + _LATER


def _layers(one: Diagnosis) -> set[str]:
    return {key for key in one.keys if key.startswith("layer:")}
