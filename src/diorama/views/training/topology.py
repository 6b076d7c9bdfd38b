"""The network's structure as it trains: how much of each block takes part, and where what flows still changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import DioramaError, NotApplicable
from ...core.knobs import knob
from ...core.marks import Block, Blocks, Edge, Handle
from ...core.numerals import leading
from ...core.picture import Picture, Progress
from ...core.selection import Key, Selection, layer_key, spoken
from ...derive.derivations.similarity import batches
from ...model.graph import Graph
from ...model.layers import by_unit
from ...model.points import Point
from ...model.repeated_blocks import folded
from ...scene import Scene
from ..view import View

Floats = NDArray[np.float64]
_MEASURES = {
    "rank of answers": "how many directions its answers to the examples fill, as a share of those that they could",
    "rank of weights": "how many directions its weights fill, as a share of those that they could",
    "moved": "how far its weights, biases left out, lie from the first snapshot, as a share of their own length",
}
Flows = tuple[dict[str, float] | None, dict[str, float]]
_EXAMPLES = 128
"""At most so many examples are looked at."""
_ROOM = 32 * 2**20
"""Numbers of a batch that are held at once."""
_WIDEST = "100 %"
_CALLS = 16
"""So many of the calls of one layer are looked at, evenly apart: a loop over a long text has hundreds."""


class TopologyView(View):
    """The network's blocks, each filled as far as it takes part, and between them arrows as thick as what flows there changed
    since the snapshot before.

    *Meaning* the effective rank is the number of directions that are filled, the weak ones counted for less: a layer whose
    answers have rank 2 of 64 tells two things of the examples, whatever its size. A layer that moved by 0 % has not learnt. An
    arrow grows thin where the training has settled. Places stay while time is scrubbed.
    *Error* exact on the first 128 examples of the probe set; a closed block has the mean of the layers in it, and an arrow the
    largest change of the tensors that it stands for. Ranks of maps are those of their means over places.
    *Cost* two passes an example. *Source* the rank is the exponential of the entropy of the singular values' shares (Roy &
    Vetterli 2007, equation 4). Of a layer that is called several times it is the mean of its calls (of 16 at most, evenly apart).
    """

    title = "Topology"
    question = "How does the network's structure take shape while it trains?"
    family = "process"
    papers = ("Roy & Vetterli 2007, The effective rank",)
    rows = ("C21",)

    measure: str = knob("rank of answers", "What fills a block.", choices=tuple(_MEASURES), main=True)
    open: str = knob("", "The blocks that are open, separated by commas; 'all' opens every one.")

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs the snapshots of a training."""
        if scene.run is None or scene.step is None:
            return "it follows the snapshots of a training, and this model was not opened from a run"
        if len(scene.steps) < 2:
            return "it compares snapshots, and this run has only one; let it train on, or record with snapshots="
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """The blocks at once, then what fills them and what flows."""
        whole: Graph = scene.keep("folded", lambda: folded(scene.graph))
        opened = whole.named(self.open)
        graph = whole.view(opened)
        step = scene.step or 0
        before = max((one for one in scene.steps if one < step), default=None)
        yield Progress(done=0, total=2, note="what each layer answers, at this snapshot and the one before")
        name = f"topology/{step}/{before}/{scene.fingerprint}/{[edit.named() for edit in scene.edits]}"
        found: Flows = scene.keep(name, lambda: flows(scene, before))
        changes, ranks = found
        shares = ranks if self.measure == "rank of answers" else self._of_weights(scene)
        mark = self._drawn(graph, whole, opened, _inside(whole, shares), changes or {})
        caption = f"A block is filled by {_MEASURES[self.measure]}. "
        if before is None:
            caption += "This is the first snapshot, so nothing is known of what changed since the one before. "
        elif changes is None:
            caption += f"The network had another shape at step {before}, so that no flow can be compared. "
        elif changes:
            caption += f"An arrow is as thick as what flows there changed since step {before}, as a share of its size. "
        else:
            caption += f"What flows is not finite, so that it cannot be compared with step {before}. "
        if not shares:
            no = "these numbers are not finite" if _leaves(scene) else "no layer answers once for each example"
            caption += f"No block is filled, since {no}."
        if shares:
            if self.measure == "rank of answers" and (told := _repeated(scene, shares)):
                caption += f"{told} "
            shown = {spoken(Key.parse(name).name): round(100 * share) for name, share in shares.items()}
            least, each = min(shown.values()), list(shown.values())
            verb = "is" if each.count(least) == 1 else "are"
            names = leading([-one for one in each], list(shown))
            caption += f"All are filled by {least} %." if len(each) > 1 and max(each) == least else f"Least filled {verb} {names}, with {least} %."
        yield self.picture(scene, selection, "Topology", mark, caption.strip())

    def _of_weights(self, scene: Scene) -> dict[str, float]:
        """By layer: the share of directions that its weight fills, or how far it moved."""
        found: dict[str, float] = {}
        weights = scene.parameters()
        first: Mapping[str, NDArray[Any]] = {}
        if self.measure == "moved" and scene.run is not None:
            first = scene.at(scene.steps[0]).parameters()
        for layer in scene.layers.with_weights:
            weight = weights.get(layer.weight or "")
            if weight is None:
                continue
            values = np.asarray(weight)
            if self.measure == "moved":
                begun = first.get(layer.weight or "")
                if begun is None or begun.shape != values.shape:
                    continue
                share = apart(begun, values)
            else:
                share = filled(np.abs(values).reshape(len(values), -1) if np.iscomplexobj(values) else values.reshape(len(values), -1))
            if np.isfinite(share):
                found[layer_key(layer.path)] = share
        if not found:
            raise NotApplicable("no layer has a weight that can be read and is finite; choose the rank of answers")
        return found

    def _drawn(
        self, graph: Graph, whole: Graph, opened: set[str], shares: Mapping[str, float], changes: Mapping[str, float]
    ) -> Blocks:
        holders = {node.parent for node in whole.nodes if node.parent}
        here = {node.id for node in graph.nodes}
        flowing = _between(graph, whole, changes)
        # The places are found with the widest words, so that nothing moves while time is scrubbed.
        blocks = tuple(
            Block(
                id=node.id, label=node.label, parent=node.parent if node.parent in here else "", kind=node.kind,
                detail=" × ".join(map(str, node.shape)), key=node.key, expandable=node.id in holders, open=node.id in opened,
                notes=(_WIDEST,) if not node.is_op else (),
            )
            for node in graph.nodes
        )
        edges = tuple(
            Edge(source=s, target=t, label=label, share=flowing.get((s, t))) for s, t, label in graph.edges if s in here and t in here
        )
        handle = Handle(knob="open", kind="type", value=",".join(sorted(opened & here)))
        mark = Blocks(blocks=blocks, edges=edges, handle=handle)
        told = tuple(
            msgspec.structs.replace(block, share=shares.get(block.id), notes=_note(shares.get(block.id)) if block.notes else ())
            for block in blocks
        )
        return msgspec.structs.replace(mark, blocks=told)


def flows(scene: Scene, before: int | None) -> Flows:
    """By op: how much its answers changed since another snapshot, as a share of their size (0 to 1), None where none can be
    compared; by layer: the share of directions that its answers fill.

    *Cost* a pass an example at each of the two snapshots.
    """
    alone = scene.alone(scene.cancel)
    leaves = {name: key for key, calls in _leaves(scene).items() for name in calls}
    sources = dict.fromkeys(source for source, _, _ in scene.graph.edges)
    ops = [name for name in sources if name.startswith("op:") and _by_example(scene, Key.parse(name).name)]
    names = [Key.parse(name).name for name in ops]
    other = None
    if before is not None:
        other = alone.at(before)
        if any(not other.layers.has(name) for name in names):
            other = None
    changed, sizes = np.zeros(len(ops)), np.zeros(len(ops))
    rows: dict[str, list[Floats]] = {name: [] for name in leaves}
    count = min(_EXAMPLES, len(scene.live))
    largest = sum(int(np.prod(scene.layers[name].shape)) for name in {*names, *leaves}) or 1
    for chosen, x in batches(alone, [*names, *leaves], max(4, min(count, _ROOM // largest))):
        if chosen.start >= count:
            break
        now = alone.kept(x, [*names, *leaves])
        for name in leaves:
            rows[name].append(_means(by_unit(scene.layers[name], now[name])))
        if other is None:
            continue
        try:
            then = other.kept(x, names)
        except (DioramaError, RuntimeError, KeyError) as error:
            if scene.cancel is not None and not isinstance(error, DioramaError):
                scene.cancel()
            other = None
            continue
        for k, name in enumerate(names):
            if now[name].shape == then[name].shape:
                exact = torch.complex128 if now[name].is_complex() else torch.float64  # a mask is counted as numbers
                a, b = now[name].to(exact), then[name].to(exact)
                changed[k] += float((a - b).abs().square().sum())
                sizes[k] += float(a.abs().square().sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.minimum(1.0, np.sqrt(changed / np.where(sizes > 0, sizes, np.nan)))
    changes = {op: float(value) for op, value in zip(ops, share, strict=True) if np.isfinite(value)} if other is not None else None
    ranks: dict[str, list[float]] = {}
    for name, parts in rows.items():
        if parts:
            ranks.setdefault(leaves[name], []).append(filled(np.concatenate(parts), centred=True))
    return changes, {key: value for key, each in ranks.items() if np.isfinite(value := float(np.mean(each)))}


def _leaves(scene: Scene) -> dict[str, list[str]]:
    """By the key of a block: the calls of its layer that answer once for each example, of many some evenly apart."""
    found: dict[str, list[str]] = {}
    for layer in scene.layers.leaves:
        if layer.each:
            found.setdefault(layer_key(layer.path), []).append(layer.name)
    return {
        key: [calls[k] for k in np.unique(np.linspace(0, len(calls) - 1, min(_CALLS, len(calls))).round().astype(int))]
        for key, calls in found.items()
    }


def _repeated(scene: Scene, shares: Mapping[str, float]) -> str:
    """Which blocks stand for several calls of a layer, in a sentence; nothing where none does."""
    counts = {key: sum(layer.each and layer_key(layer.path) == key for layer in scene.layers.leaves) for key in shares}
    several = {key: count for key, count in counts.items() if count > 1}
    if not several:
        return ""
    names = [spoken(Key.parse(key).name) for key in several]
    told = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    some = f", {_CALLS} of them at most" if max(several.values()) > _CALLS else ""
    return f"{told} {'is' if len(names) == 1 else 'are'} called several times: of such a layer the block has the mean of its calls{some}."


def _by_example(scene: Scene, name: str) -> bool:
    """Whether a point can be read, an example at a time."""
    if not scene.layers.has(name):
        return False
    layer = scene.layers[name]
    return not (isinstance(layer, Point) and layer.whole)


def filled(matrix: Floats, centred: bool = False) -> float:
    """The effective rank as a share of the largest that is possible; NaN where numbers are none, 0 where all are the same."""
    values = np.asarray(matrix, np.float64)
    if not values.size or not np.isfinite(values).all():
        return float("nan")
    if centred:
        values = values - values.mean(0)
    most = min(len(values) - centred, values.shape[1])
    sizes = np.linalg.svd(values, compute_uv=False)
    sizes = sizes[sizes > 1e-12 * max(1e-300, float(np.abs(matrix).max()) * np.sqrt(values.size))]
    if most < 1 or not len(sizes):
        return 0.0
    shares = sizes / sizes.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()) / most)


def apart(first: NDArray[Any], now: NDArray[Any]) -> float:
    """The distance from the first weights as a share of the length of those now, at most 1."""
    length = float(np.linalg.norm(now.ravel()))
    way = float(np.linalg.norm((now - first).ravel()))
    return min(1.0, way / length) if length > 0 else float(way > 0)


def _means(tensor: Tensor) -> Floats:
    """A row of units an example."""
    dense = tensor if tensor.layout is torch.strided else tensor.to_dense()
    flat = (dense.abs() if dense.is_complex() else dense).double()
    return np.asarray((flat.flatten(2).mean(2) if flat.ndim > 2 else flat).cpu().numpy(), np.float64)


def _inside(whole: Graph, own: Mapping[str, float]) -> dict[str, float]:
    """The numbers of layers, and of what holds some their mean."""
    parents = {node.id: node.parent for node in whole.nodes}
    several: dict[str, list[float]] = {}
    for name, value in own.items():
        while name:
            several.setdefault(name, []).append(value)
            name = parents.get(name, "")
    return {name: float(np.mean(values)) for name, values in several.items()}


def _between(graph: Graph, whole: Graph, changes: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """The largest change of the tensors that an arrow stands for."""
    seen, parents = {node.id for node in graph.nodes}, {node.id: node.parent for node in whole.nodes}
    found: dict[tuple[str, str], float] = {}
    for source, target, _ in whole.edges:
        if source not in changes:
            continue
        ends = _shown(source, seen, parents), _shown(target, seen, parents)
        found[ends] = max(found.get(ends, 0.0), changes[source])
    return found


def _shown(node: str, seen: set[str], parents: Mapping[str, str]) -> str:
    while node and node not in seen:
        node = parents.get(node, "")
    return node


def _note(share: float | None) -> Sequence[str]:
    return () if share is None else (f"{100 * share:.0f} %",)
