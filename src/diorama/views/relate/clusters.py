"""The whole network in one picture: its units as clusters, what each cluster serves, and how clusters feed one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from ...core.colour import symmetric
from ...core.errors import NotApplicable, NotFound
from ...core.knobs import knob
from ...core.marks import Group, Handle, Heatmap, Network, Node
from ...core.numerals import counted, joined
from ...core.picture import Check, Draft, Picture, Progress
from ...core.selection import Key, Selection, spoken, together
from ...data.kinds import Image, Tokens
from ...derive.columns import columns
from ...derive.heads import attention_layers, without
from ...derive.strengths import apart, unfollowed
from ...scene import Scene, wiring
from ...scene.sets import members
from ...scene.sets import words as words_of
from .. import sections
from ..samples import layers_said, looked_at, looked_up_said, noted, part, single, standing, unfollowed_said
from ..view import View
from ._bundles import Bundle, bundled, correlated, past_said
from ._columns import LIT, WIDEST, MapColumn, Shown, columned, drawn, grouped, key_of, standard, telling
from ._patches import looked_at_words, patches, words
from ._silent_units import closed


@dataclasses.dataclass(frozen=True)
class _Groups:
    """What is drawn: clusters, strengths between neighbours as far as they are known, and those of the step that is held."""

    found: dict[str, Any]
    pairs: list[dict[str, Any]]
    recurrent: dict[str, np.ndarray]
    held: dict[str, Any] | None = None
    strengths: list[dict[str, Any]] | None = None


class ClustersView(View):
    """Every layer's units as clusters that serve the same classes, and the connections between them in bundles.

    *Meaning* a box is a cluster: a row a unit, a column a class, blue where the unit answers to the class more than to the
    others, orange where less; it is named by the classes that it serves. Between columns connections run through bundles, found
    by bi-clustering; the bar of a bundle is blue for its positive and orange for its negative part. Where a layer does not read
    the one before directly, lines tell how units go together over the examples; where there are no blocks, lines run from cluster
    to cluster. Open a cluster for its units, a bundle for its weights. Choose classes or examples, here or in any other view:
    clusters that answer to them stay, the others step back.
    A unit that differs within a class as much as between the classes is pale, and names no cluster.
    *Units* standard deviations over the examples (σ), each unit's own; lines are relative to the strongest into a column.
    *Cost* one pass an example; of a large network the first examples alone are shown first.
    """

    title = "Clusters"
    question = "Which units serve which classes, and how do they feed one another?"
    family = "relationships"
    papers = ("Liu et al. 2017, CNNVis, arXiv:1604.07043",)
    rows = ("B6", "B7", "B8", "B9", "B10", "C3")
    by_labels = True
    follows = ("class", "example")

    of: str = knob(
        "units", "What is put together: units, or the heads of attentions by the tokens at which they look.", choices=("units", "heads"),
    )
    inside: str | None = knob(None, "A module: only the layers inside it.", kind="layer", main=True)
    show: str = knob(
        "matrix", "In a box: units × classes, or what drives its units most, parts of pictures or words.", choices=("matrix", "patches"), main=True,
    )
    by: str = knob("class", "What units are compared by: their mean answer to each class, or the answer to each example.",
                   choices=("class", "example"))
    count: int = knob(0, "Clusters of a layer; 0: as many as are clearest, up to eight.", low=0, high=24)
    edges: str = knob("weights", "What connects units: the weights between them where there are some, or how they go together.",
                      choices=("weights", "together"))
    threshold: float = knob(0.25, "Connections weaker than this part of the strongest are left out.", low=0.0, high=1.0)
    most: int = knob(6, "The most columns: of deeper networks modules are shown as one.", low=2, high=24)
    examples: int = knob(1500, "How many examples of the probe set are looked at.", low=1, high=100_000)
    held: int | None = knob(
        None, "Clusters as they are at this step, whatever the step in sight: boxes hold still over time. By itself each step has its own.",
        kind="step", main=True,
    )
    open: str = knob("", "Clusters, bundles and recurrent layers that are open, with commas between.")

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """Units, and examples to compare them by."""
        return single(scene) if scene.kinds else f"it groups units by what they answer, and {scene.network.without}"

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Draft | Progress]:
        """Clusters by the first examples, then by all; then the blocks of connections, pair by pair of layers."""
        if self.of == "heads" and not attention_layers(scene):
            raise NotApplicable(f"{without(scene)}; choose of=units")
        heads = [name for layer in attention_layers(scene) for name in layer.points] if self.of == "heads" else []
        layers = heads[: self.most] if heads else [layer.name for layer in columns(scene.layers, self.inside or "", self.most)]
        told: dict[str, Any] = {"layers": together(layers), "count": self.count, "by": self.by, "examples": self.examples}
        recurrent = {name: own for name in layers if (own := wiring.own(scene, scene.layers[name])) is not None}

        def make(found: dict[str, Any], pairs: list[dict[str, Any]]) -> Picture:
            return self._picture(scene, selection, _Groups(found, pairs, recurrent))

        found, pairs = yield from grouped(scene, self.edges, told, make if self.held is None else None)
        held, strengths = yield from self._held(scene, told, found)
        if self.show == "patches" and isinstance(scene.kind, Image | Tokens):
            yield Progress(done=0, total=1, note=f"what drives units most, among {counted(len(scene.live), 'examples')}")
        yield self._picture(scene, selection, _Groups(found, pairs, recurrent, held, strengths), final=True)

    def _picture(self, scene: Scene, selection: Selection, groups: _Groups, *, final: bool = False) -> Picture:
        found, pairs, held = groups.found, groups.pairs, groups.held
        opened = [text for text in self.open.split(",") if text]
        shown: list[MapColumn] = columned(found, opened, set(groups.recurrent), held, [closed(scene, one) for one in found["layers"]])
        apart = self._apart(scene, pairs)
        bundles = [bundle for bundle in bundled(shown, pairs, self.threshold, opened, groups.strengths) if bundle.pair not in apart]
        pictured = final and self.show == "patches" and isinstance(scene.kind, Image | Tokens)
        lit, said = _lit(scene, selection, found, shown)
        network = drawn(shown, bundles, _driving(scene, shown, found) if pictured else None, lit)
        network = _handled(network, ",".join(opened))
        marks: list[Node] = [network]
        marks += [_weights(bundle, pairs) for bundle in bundles if bundle.open]
        marks += [_own(column, groups.recurrent[column.layer]) for column in shown if column.open]
        return self.picture(
            scene, selection, "Clusters of units", Group(children=tuple(marks)),
            self._caption(scene, found, shown, pictured, held is not None)
            + correlated([pair for number, pair in enumerate(pairs) if number not in apart], "lines") + said,
            checks=_checks(held or found), note=self._note(scene, found, pairs, held is None, final, "" if pictured else _narrowed(found)),
            final=final,
        )

    def filmed(self, scene: Scene) -> ClustersView:
        """Of the newest snapshot's clusters, so that boxes hold still."""
        return self if self.held is not None else dataclasses.replace(self, held=scene.steps[-1])

    def _held(
        self, scene: Scene, told: dict[str, Any], found: dict[str, Any]
    ) -> Generator[Progress | Draft, None, tuple[dict[str, Any] | None, list[dict[str, Any]] | None]]:
        """The clusters and strengths of the step that is held; nothing where there is none, or other units then."""
        if self.held is None:
            return None, None
        there = scene.at(self.held)
        try:
            kept, pairs = yield from grouped(there, self.edges, told)
        except (NotApplicable, NotFound):
            return None, None  # a network that grew: these layers are not there at that step
        same = kept["columns"] == found["columns"] and all(
            np.array_equal(one["units"], other["units"]) for one, other in zip(kept["layers"], found["layers"], strict=True)
        )
        return (kept, pairs) if same else (None, None)

    def _caption(self, scene: Scene, found: dict[str, Any], shown: list[MapColumn], pictured: bool, held: bool) -> str:
        what = _COLUMNS[found["by"]]
        count = sum(len(one["units"]) for one in found["layers"])
        total = sum(scene.layers[one["layer"]].units for one in found["layers"])
        clusters = sum(not cluster.still for column in shown for cluster in column.clusters)
        if not clusters:
            why = "answer with no numbers" if np.isnan(found["layers"][-1]["profile"]).all() else f"answer the same to all of {what}"
            return f"The {part(count, total, self.of)} of {counted(len(found['layers']), 'layers')} {why}, so there is nothing to group."
        box = (
            (_LOOKED_AT if found["by"] == "token" else _PICTURED[type(scene.kind)]) if pictured
            else f"a row a {self.of.removesuffix('s')}, over {what}: blue where it answers more than its own mean, orange where less"
            + (", in standard deviations of its answers to the examples" if found["by"] in ("class", "range") else "")
        )
        beside = f" beside the strongest of step {self.held}, whose clusters these are" if held else ""
        return (
            f"{part(count, total, self.of)} of {layers_said([one['layer'] for one in found['layers']])} in {counted(clusters, 'clusters')}, by "
            f"{'where they look in' if self.of == 'heads' else 'their answers to'} {counted(found['examples'], 'examples')}; {box}. "
            f"Lines are as thick as connections are strong{beside}, blue where positive, orange where negative."
        )

    def _note(self, scene: Scene, found: dict[str, Any], pairs: list[dict[str, Any]], own: bool, final: bool, narrowed: str) -> str:
        notes = [_left_out(scene, found, self.examples if final else 0), narrowed]
        notes += [standing(scene, [one["layer"] for one in found["layers"]]) if self.of == "units" else ""]
        apart, named = self._apart(scene, pairs), [one["layer"] for one in found["layers"]]
        beside = [f"nothing that {pairs[number]['source']} makes comes to {pairs[number]['target']}" for number in apart]
        if beside:
            notes.append(f"{joined([spoken(one) for one in beside])}: they stand in branches of their own, and no line runs between them")
        notes += past_said(scene, named, pairs, apart, "lines")
        # Who reads whom is found for the lines: the first pictures, which have none, do not wait for it.
        if self.edges == "weights" and self.of == "units" and (final or pairs):
            notes += [unfollowed_said(unfollowed(scene, named)), looked_up_said(scene, named)]
        less = [one["layer"] for one in found["layers"] if len(one["units"]) < scene.layers[one["layer"]].units]
        if less:
            notes.append(f"of {joined([spoken(one) for one in less])} the units that vary most are shown")
        if own and self.held is not None:
            notes.append(f"at step {self.held} other units are told, so the clusters are this step's own")
        if self.by == "class" and found["by"] == "example":
            why = sections.classless(scene) if sections.truths(scene) is None else "all examples that are looked at are of one class"
            notes.append(f"{why}, so units are compared by each example")
        return noted(*notes)

    def _apart(self, scene: Scene, pairs: list[dict[str, Any]]) -> list[int]:
        """The pairs of columns that only stand side by side: nothing runs from the one to the other."""
        if self.edges != "weights" or self.of != "units":
            return []
        return [number for number, pair in enumerate(pairs) if apart(scene, pair)]


def _lit(scene: Scene, selection: Selection, found: dict[str, Any], shown: list[MapColumn]) -> tuple[set[str], str]:
    """The clusters that answer to what is chosen, and in words: their mean over the units, as in the boxes, which a class is a column of."""
    chosen = selection.all("example") or (selection.all("class") if found["by"] == "class" else ())
    if not chosen or found["by"] in ("range", "token"):
        return set(), ""
    seen = scene.responses(sorted({scene.layers.handed(scene.layers[one["layer"]]).name for one in found["layers"]})) if (
        found["by"] == "class" and chosen[0].kind == "example") else {}
    which = members(scene, chosen) if chosen[0].kind == "example" else np.zeros(0, np.int64)
    columns_ = [found["keys"].index(name) for name in _names(chosen, which) if name in found["keys"]]
    if not (columns_ or (seen and len(which))):
        return set(), ""
    lit, every, units = set(), 0, 0
    for column, one in zip(shown, found["layers"], strict=True):
        above = standard(one["profile"])[:, columns_].mean(1) if columns_ else _above(scene, one, seen, which)
        above = np.where(telling(one), above, 0.0) if found["by"] == "class" else above
        units += int((above >= LIT).sum())
        for cluster in column.clusters:
            every += not cluster.still
            if not cluster.still and np.nan_to_num(above[cluster.members].mean(), nan=-np.inf) >= LIT:
                lit.add(cluster.id)
    said = (
        f" {units:,} unit{'s' * (units != 1)} answer{'s' * (units == 1)} to {words_of(scene, chosen)} by {LIT:.0f} standard deviation of "
        f"{'the means of the classes' if found['by'] == 'class' else 'their answers'} or more above their mean, "
        f"and so {'does' if len(lit) == 1 else 'do'} {len(lit) or 'none'} of the {every} clusters on average"
    )
    return lit, said + ("; the others are pale." if lit else ".")


def _names(chosen: tuple[Key, ...], which: np.ndarray) -> list[str]:
    """The columns that are chosen, by their keys."""
    return [f"class:{number}" for key in chosen for number in key.numbers] if chosen[0].kind == "class" else [f"example:{k}" for k in which]


def _above(scene: Scene, one: dict[str, Any], seen: Mapping[str, Any], which: np.ndarray) -> np.ndarray:
    """How much more units answer to some examples than to the classes on average, in standard deviations over the classes."""
    source = scene.layers.handed(scene.layers[one["layer"]])
    answers = (seen[source.name].positive if source.rectified else seen[source.name].mean).double().numpy()
    mean = answers[which][:, one["units"]].mean(0)
    # As one more class: a unit that is still over the classes stays so.
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = one["profile"].std(1)
        return np.where(standard(one["profile"]).any(1), (mean - one["profile"].mean(1)) / spread, 0.0)


_COLUMNS = {"class": "the classes", "range": "tenths of the true value", "example": "the examples", "token": "the tokens at which they look"}


_PICTURED: dict[type, str] = {
    Image: "in each, for up to nine of its units, the part of an example that drives it most",
    Tokens: "in each the text that drives some of its units most, to where they answer most: the last token is the one that they read",
}
_LOOKED_AT = "in each the tokens at which its heads look most beyond chance"


def _driving(scene: Scene, shown: list[MapColumn], found: dict[str, Any]) -> Shown:
    """What drives each cluster: parts of pictures, or words."""
    if found["by"] == "token":
        return looked_at_words(shown)
    return words(scene, shown) if isinstance(scene.kind, Tokens) else patches(scene, shown)


def _handled(network: Network, value: str) -> Network:
    made: Network = msgspec.structs.replace(network, handle=Handle(knob="open", kind="type", value=value))
    return made


def _narrowed(found: dict[str, Any]) -> str:
    """How many columns the boxes show, where these are not all."""
    count = len(found["columns"])
    if count <= WIDEST:
        return ""
    what = {"class": "classes", "token": "tokens"}.get(found["by"], "examples")
    return f"boxes show {part(WIDEST, count, what)}{'' if what == 'examples' else ', those that units differ about most'}"


def _left_out(scene: Scene, found: dict[str, Any], most: int) -> str:
    """How many examples are counted, where these are not all, and why; while they are looked at (``most`` is 0) how many so far."""
    seen, counted_ = min(most, len(scene.examples)), found["examples"]
    if counted_ >= seen:
        return looked_at(scene, counted_)
    bad = seen - counted_
    why = f"{part(bad, seen, 'examples')} {'are' if bad > 1 else 'is'} answered with no finite numbers and left out"
    return noted(looked_at(scene, seen), why)


def _checks(found: dict[str, Any]) -> tuple[Check, ...]:
    clear = [part["silhouette"] for part in found["layers"] if np.isfinite(part["silhouette"])]
    # Beside two classes alone, a unit answers more to the one or to the other: clusters are always clear.
    if not clear or len(found["columns"]) < 3:
        return ()
    worst = min((part for part in found["layers"] if np.isfinite(part["silhouette"])), key=lambda part: part["silhouette"])
    return (Check(
        name="silhouette", value=float(np.mean(clear)),
        sentence=f"how clear the clusters are, −1 to 1, mean over the layers; least clear in {spoken(worst['layer'])} ({worst['silhouette']:.2f}).",
    ),)


def _weights(bundle: Bundle, pairs: list[dict[str, Any]]) -> Heatmap:
    """The connections of one bundle, each unit with its key."""
    pair = pairs[bundle.pair]
    values = pair["strengths"][np.ix_(bundle.targets, bundle.sources)]
    what = "weights" if pair["how"] == "weights" else "correlations"
    return Heatmap(
        title=f"{what} from {pair['source']} to {pair['target']}: bundle {bundle.number + 1}",
        values=values, limits=symmetric(values, float(np.abs(pair["strengths"]).max())),
        row_keys=tuple(key_of(pair["target"], int(unit)) for unit in pair["targets"][bundle.targets]),
        column_keys=tuple(key_of(pair["source"], int(unit)) for unit in pair["sources"][bundle.sources]),
        row_title=pair["target"], column_title=pair["source"], size=8,
    )


def _own(column: MapColumn, own: np.ndarray) -> Heatmap:
    """How the cells of a recurrent layer feed one another a place later, cluster by cluster."""
    order = column.units[np.concatenate([cluster.members for cluster in column.clusters])]
    values = own[np.ix_(order, order)]
    keys = tuple(key_of(column.layer, int(unit)) for unit in order)
    return Heatmap(
        title=f"{spoken(column.layer)}: from each cell to each, one place later", values=values, limits=symmetric(values),
        row_keys=keys, column_keys=keys, row_title="to", column_title="from", size=6, square=True,
    )
