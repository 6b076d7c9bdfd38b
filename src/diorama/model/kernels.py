"""What recurrent kernels and attention hold while they run: gates, cells, weights of every head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..core.errors import NotApplicable
from ..data.nesting import Nested
from .capture import Capture
from .edits import Edit
from .patterns import WOULD_BE
from .plain_module import fed
from .points import points
from .preservation import Mode
from .recurrent_kernels import States


def recurrent(
    model: nn.Module,
    x: Nested,
    *,
    mode: Mode = "eval",
    edits: Sequence[Edit | Mapping[str, Any]] = (),
    cancel: Callable[[], object] | None = None,
) -> dict[str, States]:
    """Gates, cells and outputs of every recurrent layer at every step, by name (``rnn.l1.reverse``).

    *Shapes* (n, t, hidden) each.
    *Error* the step-by-step run equals torch's kernels to 1e-6 in single precision.
    *Cost* one forward pass, with one round of small ops a step.
    *Raises* NotApplicable for a model without recurrent layers.
    """
    with Capture(model, mode=mode, edits=edits, cancel=cancel, gates=True) as look:
        look(x)
    found = look.gates
    if not found:
        raise NotApplicable(f"{type(look.model).__name__} runs no LSTM, GRU or RNN; look at its activations instead")
    return found


def gates(
    model: nn.Module,
    x: Nested,
    seen: Callable[[str, States], None],
    *,
    mode: Mode = "eval",
    edits: Sequence[Edit | Mapping[str, Any]] = (),
    cancel: Callable[[], object] | None = None,
) -> None:
    """Hand the gates of every recurrent layer to ``seen(name, states)``, some steps at a time; nothing is kept.

    *Shapes* (n, some steps, hidden) each, in the order of reading.
    *Error* they equal those of :func:`recurrent` to 1e-5 in single precision.
    *Cost* one forward pass, and as much again for the gates, which follow from the outputs of torch's kernels without a
    loop over the steps.
    """
    with Capture(model, mode=mode, edits=edits, cancel=cancel, gates=seen) as look:
        look(x)


def attention(
    model: nn.Module,
    x: Nested,
    *,
    mode: Mode = "eval",
    edits: Sequence[Edit | Mapping[str, Any]] = (),
    cancel: Callable[[], object] | None = None,
) -> dict[str, Tensor]:
    """The attention weights of every head, by the layer that calls the attention (``block.2.attn``).

    *Meaning* a row sums to 1: how much each query takes from each key. A layer that attends twice has ``#2``. Attention is
    torch's kernels, any softmax between two products, and any softmax over scores of places that weighs a sum of them. One that
    asks once each time a loop runs it is one layer for each of its steps (``attn``, ``attn#2``).
    *Shapes* (n, heads, q, k) each.
    *Error* the opened attention equals torch's kernels to 1e-6 in single precision.
    *Cost* one forward pass, and memory for all weights.
    *Raises* NotApplicable for a model without attention, naming what could not be recognised.
    """
    with Capture(model, mode=mode, edits=edits, cancel=cancel, attention=True) as look:
        look(x)
    if not look.attention:
        unknown = points(look.model, fed(look.model, x)).attention.unknown
        more = f"; not recognised: {', '.join(unknown)}" if unknown else ""
        raise NotApplicable(f"{type(look.model).__name__} runs no attention that is recognised, which would be {WOULD_BE}{more}")
    return look.attention
