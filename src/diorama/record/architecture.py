"""What a network is made of, as a run keeps it: facts that the page may know without torch, and the signed pickle.

A training that changes its shape has several, by number; each snapshot says which one it belongs to.
"""

from __future__ import annotations

import os
import sys
import zlib
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy

from ..core.provenance import versions
from ..data import kinds
from ..model.plain_module import named_modules
from . import models, snapshots
from .reader import OWN
from .writer import Writer

if TYPE_CHECKING:
    from ..data.examples import Examples
    from ..model.outputs import Reading
    from .run_folder import Content

def facts_of(content: Content) -> dict[str, Any]:
    """What the page and the command line may know without loading anything."""
    examples, reading = content.examples, content.reading
    return {
        **structure_of(content),
        "classes": list(examples.classes) if examples is not None else [],
        "task": reading.task if reading is not None else "",
        "examples": len(examples) if examples is not None else 0,
        "inputs": kinds.describe(examples.kind) if examples is not None else None,
        **read_as(examples, reading),
        "command": [sys.executable, *sys.argv],
        "versions": versions(),
        "process": os.getpid(),
    }


def read_as(examples: Examples | None, reading: Reading | None) -> dict[str, Any]:
    """How the answers to the probe set are read: in what form, and what of it was guessed."""
    guessed = [*(examples.guessed if examples else ()), *(reading.guessed if reading else ())]
    return {"guessed": guessed, "form": reading.form if reading else "", "ahead": bool(reading and reading.ahead)}


def structure_of(content: Content) -> dict[str, Any]:
    """The facts of the architecture as it is now."""
    known = named_modules(content.model)
    return {
        "model": type(content.model).__name__,
        "parameters": [
            [name, list(tensor.shape), str(tensor.dtype)] for name, tensor in snapshots.state_of(content.model).items()
        ],
        "buffers": sorted({name for name, _ in content.model.named_buffers()}),
        "weights": sum(weight.numel() for weight in content.model.parameters() if not is_lazy(weight)),
        "layers": [
            {
                "name": layer.name, "kind": layer.kind, "shape": list(layer.shape), "units": layer.units,
                "parameters": layer.parameters, "weight": layer.weight, "order": layer.order, "leaf": layer.leaf, "rectified": layer.rectified,
                "complex": layer.complex, "squashed": layer.squashed, "groups": _groups(known.get(layer.path)),
                **_running(known.get(layer.path)),
            }
            for layer in content.table or ()
        ],
        "dropouts": _dropouts(content),
        "mixing": content.table.mixing if content.table is not None else "",
    }


def _dropouts(content: Content) -> list[tuple[str, float]]:
    """What drops in training, and which share: modules of their own, parts of an attention or a recurrent layer, functions in a forward pass."""
    found = []
    for name, module in content.model.named_modules():
        share = module.p if isinstance(module, _DropoutNd) else module.dropout if _drops_within(module) else None
        if isinstance(share, int | float):
            found.append((name, float(share)))
    table = content.table
    return [*found, *((name or type(content.model).__name__, share) for name, share in (table.dropped if table is not None else ()))]


def _drops_within(module: Any) -> bool:
    """Whether a module drops by its own ``dropout``; a recurrent one does so between its layers."""
    between = isinstance(module, nn.RNNBase) and module.num_layers > 1
    return between and module.dropout > 0 or isinstance(module, nn.MultiheadAttention) and module.dropout > 0


def _groups(module: Any) -> int:
    """In how many groups of channels a convolution works, each by itself."""
    found = getattr(module, "groups", 1)
    return found if isinstance(found, int) and found > 0 else 1


def _running(module: Any) -> dict[str, float]:
    """The momentum of a batch norm's running statistics; nothing of what has none, or whose are a mean of all batches."""
    momentum = getattr(module, "momentum", None) if isinstance(module, _BatchNorm) else None
    return {"momentum": float(momentum)} if isinstance(momentum, int | float) else {}


def write(writer: Writer, number: int, data: bytes) -> None:
    """Write the pickle of an architecture and enter it into the index; empty bytes stand for none."""
    if data:
        models.write(writer.folder, number, data)
        writer.index_file(models.file_of(writer.folder, number).name, len(data), zlib.crc32(data))


def kept(number: int, meta: dict[str, Any]) -> dict[str, Any]:
    """What must be written down of an architecture before the next one takes its place among the facts."""
    return {f"architecture-{number}": {name: meta.get(name) for name in OWN}}
