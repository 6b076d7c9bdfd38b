"""A decision tree that says nearly the same as the network, and how nearly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.colour import Limits, magnitude
from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Bars, Block, Blocks, Column, Edge, Group, Node, Number, Table
from ...core.numerals import counted, plain
from ...core.picture import Check, Picture, Progress
from ...core.selection import Selection, number_key, spoken, unit_key
from ...data import nesting
from ...data.kinds import Table as Columns
from ...scene import Scene
from ...scene.sets import named
from .. import inputs
from ..view import View
from ._measures import last_hidden
from ._tree import Imitation, Question, imitated

FEW = 64
"""Rows of at most so many numbers are asked for themselves; of larger inputs a layer's units say more."""
MOST = 20_000
"""A tree asks among at most so many features."""
ASKED = 16


class SurrogateView(View):
    """A decision tree fitted to the network's answers, so that one can read along which questions it decides.

    *Meaning* fidelity is the share of examples, among those that the tree was not fitted to, that tree and network answer alike
    (of numbers: the share of their variance, R²). Only a tree with a fidelity far above that of the most frequent answer tells
    something about the network; none tells how the network computes. Each question is whether a number is at most a threshold.
    *Cost* one pass over the first 512 examples.
    """

    title = "Imitating tree"
    question = "Which simple rules come near to what the network answers?"
    answers = True
    family = "process"
    papers = ("Craven & Shavlik 1996, Extracting tree-structured representations of trained networks", "Breiman et al. 1984, CART")
    rows = ("C25",)
    by_labels = True
    follows = ("layer", "example")

    on: str = knob("auto", "What the tree asks for: the inputs, a layer's units, or what suits the inputs.",
                   choices=("auto", "inputs", "units"), main=True)
    layer: str | None = knob(None, "The layer whose units are asked; the selected one, else the last hidden one.", kind="layer")
    depth: int = knob(4, "Questions on the way to an answer, at most.", low=1, high=12, main=True)
    held: float = knob(0.3, "The share of the examples that the tree is measured on, not fitted to.", low=0.05, high=0.9)
    seed: int = knob(0, "Which examples these are.", low=0)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs one answer an example."""
        if scene.task not in ("classification", "regression"):
            return "a tree imitates one class or a few numbers an example, and this model answers otherwise; look at examples or confusion"
        if len(scene.live) < 10:
            return f"a tree wants ten examples at least, some to be fitted to and some to be measured on, and there are {len(scene.live)}"
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """One picture, after one pass over the examples."""
        features, questions, what = self._features(scene, selection)
        answers = scene.predictions().numpy()
        answers = answers.astype(np.int64) if scene.task == "classification" else answers.reshape(len(answers), -1).astype(np.float64)
        found = imitated(features, answers, self.depth, self.held, self.seed)
        if found is None:
            body: Node = Number(label="no tree", tone="warn", note="Fewer than ten examples have features and answers that are numbers.")
            yield self.picture(scene, selection, self.title, body, "There is nothing to imitate: the answers are not numbers.")
            return
        facts = _TreeFacts(scene, found, questions)
        key = selection.one("example")
        places = np.flatnonzero(found.kept == key.number) if key is not None else np.zeros(0, np.int64)
        path = found.path(int(places[0])) if len(places) else []
        marks: list[Node] = [facts.measured(), facts.blocks(path), facts.rules(path), *facts.asked()]
        yield self.picture(
            scene, selection, f"A tree on {what}", Group(children=tuple(marks)), facts.sentence(path, key.number if path and key else None),
            checks=facts.checks(), note=facts.note(features.shape[0]),
        )

    def _features(self, scene: Scene, selection: Selection) -> tuple[NDArray[np.float64], list[Question], str]:
        chosen = self.layer is not None or any(key.kind == "layer" for key in selection.a)
        if self.on == "units" or (self.on == "auto" and not scene.function and (chosen or not _short(scene))):
            if self.on == "auto" and not chosen and last_hidden(scene) is None and _asked_of_inputs(scene):
                return self._inputs(scene)
            if scene.function:
                raise NotApplicable("a plain function has no units to ask for; set on to inputs")
            return self._units(scene, selection, chosen)
        return self._inputs(scene)

    def _inputs(self, scene: Scene) -> tuple[NDArray[np.float64], list[Question], str]:
        kind = scene.kind
        if isinstance(kind, dict) or not nesting.first(scene.live.x).is_floating_point():
            raise NotApplicable("a tree asks for numbers of one input, and these are several inputs or tokens; set on to units")
        rows = nesting.first(scene.live.x).reshape(len(scene.live), -1).double().numpy()
        if rows.shape[1] > MOST:
            raise NotApplicable(f"the inputs have {rows.shape[1]:,} numbers each, and a tree asks among {MOST:,} at most; set on to units")
        columns = kind.columns if isinstance(kind, Columns) and len(kind.columns) == rows.shape[1] else ()
        shape = tuple(nesting.first(scene.live.x).shape[1:])
        labels = columns or [_place(shape, k) for k in range(rows.shape[1])]
        return rows, [Question(label) for label in labels], "the inputs"

    def _units(self, scene: Scene, selection: Selection, chosen: bool) -> tuple[NDArray[np.float64], list[Question], str]:
        if chosen:
            layer = scene.layer(self.layer, selection, lambda one: one.each and one.units > 1, wanted="layer with several units")
        elif (found := last_hidden(scene)) is not None:
            layer = found
        else:
            other = "set on to inputs" if _asked_of_inputs(scene) else f"the inputs are not the numbers of one input, {MOST:,} at most, either"
            raise NotApplicable(f"no layer of the model answers with several units for each example; {other}")
        rows = scene.responses([layer.name])[layer.name].mean.double().numpy()
        where = "the mean over its places of " if layer.spatial or layer.sequence else ""
        return rows, [Question(f"{spoken(layer.name)}/{k}", unit_key(layer.name, k)) for k in range(rows.shape[1])], f"{where}{spoken(layer.name)}"


def _asked_of_inputs(scene: Scene) -> bool:
    """Whether a tree may ask for the inputs' numbers: these are of one input, and not too many."""
    x = nesting.first(scene.live.x)
    return not isinstance(scene.kind, dict) and x.is_floating_point() and x[0].numel() <= MOST


def _short(scene: Scene) -> bool:
    """Inputs that are a few numbers."""
    if isinstance(scene.kind, dict) or not isinstance(scene.kind, Columns):
        return False
    return nesting.first(scene.live.x)[:1].numel() <= FEW


def _place(shape: tuple[int, ...], number: int) -> str:
    return "input " + ", ".join(str(int(k)) for k in np.unravel_index(number, shape or (1,)))


class _TreeFacts:
    """A tree as marks and sentences."""

    def __init__(self, scene: Scene, found: Imitation, questions: list[Question]) -> None:
        self.scene, self.found, self.questions = scene, found, questions
        self.inside: Any = found.tree.tree_
        held = found.held
        self.fidelity = found.agreement(found.says(held), found.answers[held])
        self.simplest = found.agreement(found.simplest(held), found.answers[held])
        self.right_tree = self.right_net = float("nan")
        truth = self._truth()
        if truth is not None:
            known = truth[held] >= 0 if found.classes else np.isfinite(truth[held]).all(1)
            chosen = held[known]
            self.right_tree = found.agreement(found.says(chosen), truth[chosen])
            self.right_net = found.agreement(found.answers[chosen], truth[chosen])

    def _truth(self) -> NDArray[Any] | None:
        y = self.scene.live.y
        if y is None:
            return None
        truth = self.scene.reading.truth(y).numpy()[self.found.kept]
        if self.found.classes:
            return truth.astype(np.int64) if truth.ndim == 1 else None
        truth = truth.reshape(len(truth), -1).astype(np.float64)
        return truth if truth.shape == self.found.answers.shape else None

    def measured(self) -> Node:
        """Fidelity beside what costs nothing, and the accuracy of both."""
        rows = [
            ("tree as the network", self.fidelity), ("most frequent answer" if self.found.classes else "always the mean", self.simplest),
            ("tree as the truth", self.right_tree), ("network as the truth", self.right_net),
        ]
        shown = [row for row in rows if np.isfinite(row[1])]
        low = min(0.0, *(value for _, value in shown)) if shown else 0.0
        word = "share of equal answers" if self.found.classes else "R², the share of the variance"
        return Bars(
            title=f"On {len(self.found.held)} examples that it was not fitted to", values=np.array([value for _, value in shown]),
            labels=tuple(label for label, _ in shown), limits=Limits(low=max(low, -1.0), high=1.0), strong=0, caption=f"The {word}.",
        )

    def answer(self, node: int) -> str:
        """What the tree says at a node."""
        value = self.inside.value[node]
        if self.found.classes:
            return named(self.scene, int(self.found.tree.classes_[value[0].argmax()]))
        told = ", ".join(f"{number:.3g}" for number in value[:3, 0])
        return plain(told + (", …" if len(value) > 3 else ""))

    def share(self, node: int) -> float:
        """Of the examples at a node, the share that the network answers so; of numbers the share of the variance that is gone."""
        if self.found.classes:
            value = self.inside.value[node][0]
            return float(value.max() / value.sum())
        whole = float(self.inside.impurity[0])
        return 1 - float(self.inside.impurity[node]) / whole if whole > 0 else 1.0

    def rule(self, node: int) -> str:
        """The question at a node."""
        return f"{self.questions[self.inside.feature[node]].label} ≤ {plain(f'{self.inside.threshold[node]:.3g}')}"

    def leaf(self, node: int) -> bool:
        """No question follows."""
        return bool(self.inside.children_left[node] < 0)

    def blocks(self, path: list[int]) -> Node:
        """The tree: questions, and answers at its leaves."""
        blocks, edges = [], []
        ways: dict[int, str] = {}
        for node in range(self.inside.node_count):
            count, leaf = int(self.inside.n_node_samples[node]), self.leaf(node)
            told = f"{100 * self.share(node):.0f} % {self.answer(node)}" if self.found.classes else f"mean {self.answer(node)}"
            key = "" if leaf else self.questions[self.inside.feature[node]].key
            if leaf and self.found.classes:
                value = self.inside.value[node][0]
                key = number_key("class", int(self.found.tree.classes_[value.argmax()]))
            notes = (told, "the chosen example") if node in path else (told,)
            blocks.append(Block(
                id=str(node), label=self.answer(node) if leaf else self.rule(node), kind="answer" if leaf else "question",
                detail=f"{ways.get(node, '')}{counted(count, 'examples')}", notes=notes, key=key, value=self.share(node),
            ))
            if not leaf:
                for child, word in ((self.inside.children_left[node], "yes"), (self.inside.children_right[node], "no")):
                    ways[int(child)] = f"{word} · "
                    edges.append(Edge(source=str(node), target=str(child)))
        word = "share of the answer" if self.found.classes else "share of the variance told"
        return Blocks(
            title="The tree", blocks=tuple(blocks), edges=tuple(edges), limits=magnitude(np.array([0.0, 1.0]), 0, 1, unit="share"), value_title=word,
            caption="Each question leads to the left where it is so (yes). Counted are the examples that the tree was fitted to.",
        )

    def rules(self, path: list[int]) -> Node:
        """Each leaf as one rule, with how it fares on the examples that were held back."""
        rules = self._rules()
        own = self.found.leaves()
        held = np.isin(np.arange(len(own)), self.found.held)
        said = self.found.says(np.arange(len(own)))
        counts = np.array([int((own == leaf).sum()) for leaf in rules])
        fresh = [int(((own == leaf) & held).sum()) for leaf in rules]
        agree = [self._fresh(said, (own == leaf) & held) for leaf in rules]
        first = [int(self.found.kept[np.flatnonzero(own == leaf)[0]]) if (own == leaf).any() else 0 for leaf in rules]
        columns = [
            Column(name="where", kind="text", texts=tuple(rules.values())),
            Column(name="answer", kind="text", texts=tuple(self.answer(leaf) for leaf in rules)),
            Column(name="examples", numbers=counts.astype(float)), Column(name="of them held back", numbers=np.array(fresh, float)),
            Column(name="answered alike" if self.found.classes else "mean distance", kind="text", texts=tuple(agree)),
            inputs.column(self.scene, first),
        ]
        return Table(
            title="Its rules", columns=tuple(columns), row_keys=tuple(number_key("example", one) for one in first), sort="examples", descending=True,
            flagged=np.array([leaf in path for leaf in rules]) if path else None,
            caption="One example of each leaf is shown." + (" Flagged is the chosen example's." if path else ""),
        )

    def _fresh(self, said: NDArray[Any], chosen: NDArray[np.bool_]) -> str:
        """How the held-back examples of a leaf fare; a dash where there are none."""
        if not chosen.any():
            return "–"
        wanted = self.found.answers[chosen]
        if self.found.classes:
            return f"{100 * (said[chosen] == wanted).mean():.0f} %"
        return plain(f"{np.abs(said[chosen] - wanted).mean():.3g}")

    def _rules(self) -> dict[int, str]:
        found: dict[int, str] = {}

        def walk(node: int, said: tuple[str, ...]) -> None:
            if self.leaf(node):
                found[node] = " and ".join(said) or "always"
                return
            rule = self.rule(node)
            walk(int(self.inside.children_left[node]), (*said, rule))
            walk(int(self.inside.children_right[node]), (*said, rule.replace("≤", ">")))

        walk(0, ())
        return found

    def asked(self) -> Iterator[Node]:
        """What it asks for most."""
        weights = self.found.tree.feature_importances_
        order = [int(k) for k in np.argsort(-weights, kind="stable")[:ASKED] if weights[k] > 0]
        if order:
            keys = tuple(self.questions[k].key for k in order)
            yield Bars(
                title="What it asks for", values=weights[order], labels=tuple(self.questions[k].label for k in order),
                keys=keys if all(keys) else (), caption="The share of the tree's gain that each feature brings (mean decrease in impurity).",
            )

    def checks(self) -> tuple[Check, ...]:
        """The fidelity, and that of the simplest answer."""
        what = "Share of examples, not fitted to, that tree and network answer alike" if self.found.classes else "R² of the tree's answers"
        rows = (("fidelity", self.fidelity, f"{what}; the simplest answer reaches {self.simplest:.2f}."),)
        return tuple(Check(name=name, value=value, sentence=text) for name, value, text in rows if np.isfinite(value))

    def sentence(self, path: list[int], example: int | None) -> str:
        """How far to believe it, and the way of the chosen example."""
        count, leaves = len(self.found.held), sum(self.leaf(node) for node in range(self.inside.node_count))
        if self.found.classes:
            alike = round(self.fidelity * count)
            said = f"A tree of {counted(leaves, 'answers')} agrees with the network on {alike} of {count} examples that it was not fitted to"
            said += f"; the most frequent answer would on {round(self.simplest * count)}. "
        else:
            tree = f"A tree of {counted(leaves, 'answers')}"
            said = f"{tree} tells {self.fidelity:.2f} of the variance of the network's answers on {count} new examples. "
        if path and example is not None:
            steps = [
                self.rule(a).replace("≤", "≤" if b == self.inside.children_left[a] else ">") for a, b in zip(path, path[1:], strict=False)
            ]
            said += f"Example {example} is answered {self.answer(path[-1])} by the tree: {', '.join(steps) or 'always'}."
        else:
            said += "Choose an example to see its way."
        return said

    def note(self, count: int) -> str:
        """What was left out."""
        left = count - len(self.found.kept)
        return f"{left} of {count} examples have features or answers that are not numbers, and are left out" if left else ""
