"""What the data, the task and the network of a run are, in words by which the page's rooms arrange themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

INPUTS = ("image", "plane", "table", "text", "series", "sound", "strokes")
TASKS = ("classification", "multi_label", "regression", "next_token", "segmentation", "reconstruction")
NETWORKS = ("recurrent", "attention")
WORDS = frozenset((*INPUTS, *TASKS, *NETWORKS))

_RECURRENT = {"LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"}


def nature(inputs: Mapping[str, Any] | None, task: str | None, kinds: Iterable[str | None]) -> list[str]:
    """The words for a run: of its inputs as they are described, of its task, and of the kinds of its layers.

    Two columns of numbers are a plane as well as a table.
    """
    found = [word for one in _parts(inputs) for word in _words(one)]
    if task in TASKS:
        found.append(str(task))
    layers = {kind for kind in kinds if kind}
    if layers & _RECURRENT:
        found.append("recurrent")
    if any("Attention" in kind for kind in layers):
        found.append("attention")
    return sorted(set(found))


def _parts(inputs: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """One description an input: a model with several names them."""
    if not inputs:
        return []
    if isinstance(inputs.get("kind"), str):
        return [inputs]
    return [one for one in inputs.values() if isinstance(one, Mapping)]


def _words(one: Mapping[str, Any]) -> list[str]:
    kind = one.get("kind")
    if kind == "tokens":
        return ["text"]
    if kind == "table":
        columns = one.get("columns")
        return ["table", "plane"] if isinstance(columns, list | tuple) and len(columns) == 2 else ["table"]
    return [kind] if kind in INPUTS else []
