"""What a network makes of every phrase of a sentence, drawn as the sentence's tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ...core.colour import Limits, magnitude, symmetric
from ...core.errors import NotApplicable, UsageError
from ...core.knobs import knob
from ...core.marks import Block, Blocks, Edge
from ...core.marks.blocks import size
from ...core.numerals import counted, joined
from ...core.picture import Check, Picture
from ...core.selection import Selection, number_key
from ...data import nesting, trees
from ...data.kinds import Tokens
from ...data.padding import pads
from ...data.tokens import UNKNOWN
from ...scene import Scene
from ...scene.input import lengths, reading, text_input
from ...scene.sets import classless
from ..view import View
from ._word import grouped

DOWN, ACROSS = 22.0, 8.0
"""Between a phrase and its parts, and between two words, in the page's pixels."""


class TreeView(View):
    """The tree of a sentence, every phrase coloured by what the network answers to it alone.

    *Meaning* each phrase is given to the network as a text of its own, so that a word such as “not” shows where it turns an answer round.
    Classes in an order, from the worst to the best, are coloured by their mean place: blue towards the last, orange towards the first; other
    classes by the probability of the chosen one. Type brackets, ``((not good) .)``, or let a plain rule parse: the final mark apart,
    a cut before “and”, “but” and commas, else each word with all that follow it. Labels in brackets, as tree banks have them, are
    compared with the answers.
    *Units* the mean place from −1 (all probability on the first class) to 1; else a probability.
    *Error* a network that has only learnt whole sentences may know little of a phrase. The rule is no grammar.
    *Cost* one forward pass of as many texts as the tree has phrases.
    *Source* Socher et al. 2013.
    """

    title = "Tree"
    question = "What does each phrase of a sentence say?"
    family = "process"
    papers = ("Socher et al. 2013, “Recursive deep models for semantic compositionality over a sentiment treebank”",)
    rows = ("A19",)
    follows = ("example", "class")
    input = True
    demo = "sentiment"

    brackets: str = knob("", "A sentence, with brackets or without; the chosen example, or what you typed, when left empty.", main=True)
    colour: str = knob(
        "auto", "By the place among classes that are in an order, or by one class; auto takes the order of two, three or five classes.",
        choices=("auto", "order", "class"), main=True,
    )
    limit: int = knob(40, "The most words of a sentence that is drawn.", low=2, high=200)

    @classmethod
    def wants(cls, scene: Scene) -> str | None:
        """It needs tokens, and one class for a text."""
        if text_input(scene.kind) is None:
            return "it asks about the phrases of a text, and the input is not one text"
        if scene.task != "classification":
            return f"it shows how a text is classified phrase by phrase, and {classless(scene)}; use words"
        return None

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture]:
        """All phrases in one pass."""
        read = text_input(scene.kind)
        assert read is not None
        name, kind = read
        current = scene.current(selection)
        parts, told = nesting.named(current.x), lengths(scene.examples, name)
        own = parts[name][:, : min([int(parts[key]) for key in told], default=None)]
        spoken = _spoken(kind, trees.read(self.brackets)) if self.brackets.strip() else _parsed(kind, own)
        if len(spoken.ids) > self.limit:
            raise UsageError(f"a tree wants at most {self.limit} words, got {len(spoken.ids)}; give a shorter sentence, or more by limit=")
        chances = _chances(scene, name, kind, spoken)
        label = "your sentence" if self.brackets.strip() else current.label
        note = _unread(kind, spoken) if self.brackets.strip() or current.index is not None else _read_as(kind, spoken)
        yield self._picture(scene, selection, spoken, chances, label, note)

    def _picture(self, scene: Scene, selection: Selection, spoken: SpokenTree, chances: Tensor, label: str, note: str) -> Picture:
        count = chances.shape[1]
        ordered = self.colour == "order" or (self.colour == "auto" and count in (2, 3, 5))
        best = [int(k) for k in chances.nan_to_num(-1).argmax(1)]
        if ordered:
            values = (chances.double() @ torch.linspace(-1, 1, count, dtype=torch.float64)).numpy()
            limits, title = symmetric(values, 1.0), f"from {_name(scene, 0)} to {_name(scene, count - 1)}"
        else:
            chosen = selection.one("class")
            asked = chosen.number if chosen is not None else best[0]
            if asked >= count:
                raise UsageError(f"the model has classes 0 to {count - 1}, got {asked}")
            values = chances[:, asked].double().numpy()
            limits, title = magnitude(values, 0.0, 1.0, "probability"), f"probability of {_name(scene, asked)}"
        body = _drawn(scene, spoken, best, chances, values, limits, title)
        phrases = list(spoken.tree.phrases())
        told = [(k, phrase) for k, phrase in enumerate(phrases) if phrase.label]
        checks: tuple[Check, ...] = ()
        if told:
            right = sum(int(phrase.label) == best[k] for k, phrase in told)
            sentence = f"The share of the {len(told)} labelled phrases to which the network answers with their label."
            checks = (Check(name="phrases as labelled", value=right / len(told), sentence=sentence, good=right / len(told) > 0.5),)
        caption = (
            f"{label.capitalize()}: {counted(len(phrases), 'phrases')}, each answered as a text of its own. The whole: {_name(scene, best[0])} "
            f"({100 * float(chances[0].max().nan_to_num(0)):.0f} %). As brackets: {spoken.tree.brackets()}."
        )
        hint = "Type over the text, or a sentence in brackets above, and each phrase is answered anew."
        return self.picture(scene, selection, "What each phrase says", body, caption, checks=checks, note=note, hint=hint)


@dataclasses.dataclass(frozen=True)
class SpokenTree:
    """A tree with the numbers of each of its words' tokens, from left to right; ``first`` are their places in the input, where it is one."""

    tree: trees.Tree
    ids: tuple[tuple[int, ...], ...]
    first: tuple[int, ...] = ()


def _spoken(kind: Tokens, tree: trees.Tree) -> SpokenTree:
    """A typed tree: every word encoded by itself."""
    words = tree.words()
    apart = "" if kind.apart else " "
    return SpokenTree(tree, tuple(tuple(kind.encode(apart * bool(k) + word)[0].tolist()) for k, word in enumerate(words)))


def _unread(kind: Tokens, spoken: SpokenTree) -> str:
    """Which words of a tree the network does not read, as its vocabulary lacks them."""
    found: dict[str, str] = {}
    for word, ids in zip(spoken.tree.words(), spoken.ids, strict=True):
        stands = next((token for token in map(kind.token, ids) if token in UNKNOWN), None)
        if stands is not None and word not in UNKNOWN:
            found[f"“{word}”"] = stands
    return f"The vocabulary lacks {joined(list(found))}: the network reads {next(iter(found.values()))} there." if found else ""


def _read_as(kind: Tokens, spoken: SpokenTree) -> str:
    """That what was typed holds words which the network does not read: how they were written is no longer known."""
    stands = [token for ids in spoken.ids for token in map(kind.token, ids) if token in UNKNOWN]
    count = "a word" if len(stands) == 1 else f"{len(stands)} words"
    return f"The vocabulary lacks {count} of it: the network reads {stands[0]} there." if stands else ""


def _parsed(kind: Tokens, given: Tensor) -> SpokenTree:
    """The words of the input that is looked at, without what fills it up."""
    numbers = [int(number) for number in given[0].reshape(-1)]
    tokens = [kind.token(number) for number in numbers]
    while tokens and (pads(tokens[-1]) or not tokens[-1].strip()):
        tokens.pop()
    words = [word for word in grouped(tokens, np.zeros(len(tokens)), kind) if word.text.strip()]
    if not words:
        raise NotApplicable("this text holds no word; choose another example")
    tree = trees.parsed([word.text.strip() for word in words])
    return SpokenTree(tree, tuple(tuple(numbers[word.first : word.last + 1]) for word in words), tuple(word.first for word in words))


def _spans(tree: trees.Tree, start: int = 0) -> Iterator[tuple[int, int]]:
    """The first word of each phrase and the one behind its last, phrases before their parts."""
    yield start, start + len(tree.words())
    for part in tree.parts:
        yield from _spans(part, start)
        start += len(part.words())


def _chances(scene: Scene, name: str, kind: Tokens, spoken: SpokenTree) -> Tensor:
    """The probabilities of the classes for every phrase, (phrases, classes): filled up as the examples are, else alone.

    Where a mask or the like goes along with a text, a phrase stands alone, and all of it is seen.
    """
    rows = [[number for word in spoken.ids[first:stop] for number in word] for first, stop in _spans(spoken.tree)]
    live, one = nesting.named(scene.live.x)[name], scene.live.batch([0])
    last = live[:64, -1].reshape(-1).tolist() if live.ndim == 2 and isinstance(one, Tensor) else []
    fill = next((int(number) for number in last if pads(kind.token(int(number)))), None)
    found: list[Tensor | None] = [None] * len(rows)
    width = int(live.shape[1]) if fill is not None else 0
    told = lengths(scene.examples, name)
    for length in sorted({max(width, len(row)) for row in rows}):
        chosen = [k for k, row in enumerate(rows) if max(width, len(row)) == length]
        batch = torch.tensor([[*rows[k], *[fill or 0] * (length - len(rows[k]))] for k in chosen], dtype=live.dtype)
        try:
            x = reading(one, name, batch, told, [len(rows[k]) for k in chosen])
            chances = scene.probabilities(nesting.each(x, lambda part: part.to(scene.device)))
        except (RuntimeError, ValueError, IndexError) as error:
            raise NotApplicable(f"the model does not read a phrase of {length} tokens: {' '.join(str(error).split())[:160]}") from error
        for k, row in zip(chosen, chances, strict=True):
            found[k] = row
    return torch.stack([row for row in found if row is not None]).reshape(len(rows), -1)


def _name(scene: Scene, number: int) -> str:
    return scene.classes[number] if number < len(scene.classes) else str(number)


def _drawn(
    scene: Scene, spoken: SpokenTree, best: Sequence[int], chances: Tensor, values: np.ndarray, limits: Limits, title: str,
) -> Blocks:
    """The phrases as blocks: words from left to right, each phrase above the middle of its parts."""
    phrases = list(spoken.tree.phrases())
    number = {id(phrase): k for k, phrase in enumerate(phrases)}
    spans = list(_spans(spoken.tree))
    blocks = []
    for k, phrase in enumerate(phrases):
        said = f"{_name(scene, best[k])} {100 * float(chances[k].max().nan_to_num(0)):.0f} %"
        whole = " ".join(phrase.words())
        key = number_key("token", spoken.first[spans[k][0]]) if spoken.first and not phrase.parts else ""
        label = phrase.word if not phrase.parts else _name(scene, best[k])
        detail = said if not phrase.parts else whole if len(whole) <= 24 else f"{whole[:11]} … {whole[-11:]}"
        blocks.append(Block(id=str(k), label=label, kind=whole, detail=detail, key=key, value=float(values[k])))
    places = np.zeros((len(blocks), 4), np.float32)
    edges: list[tuple[int, int]] = []
    _place(spoken.tree, number, blocks, places, edges, [0.0], 0.0)
    middles, feet = places[:, 0] + places[:, 2] / 2, places[:, 1] + places[:, 3]
    routes = [(2 * edge, 2, edge, 0) for edge in range(len(edges))]
    points = [end for above, below in edges for end in ((middles[above], feet[above]), (middles[below], places[below, 1]))]
    right, foot = (places[:, :2] + places[:, 2:]).max(0)
    return Blocks(
        blocks=tuple(blocks), edges=tuple(Edge(source=str(above), target=str(below)) for above, below in edges), limits=limits, value_title=title,
        extent=(float(right), float(foot)), places=places, routes=np.array(routes, np.int32).reshape(-1, 4),
        points=np.array(points, np.float32).reshape(-1, 2),
    )


def _place(
    tree: trees.Tree, number: dict[int, int], blocks: list[Block], places: np.ndarray, edges: list[tuple[int, int]], free: list[float], top: float,
) -> float:
    """Put a phrase and all below it into their places; the middle of it. ``free`` is where the next word may stand."""
    own = number[id(tree)]
    wide, high = size(blocks[own])
    if not tree.parts:
        places[own] = free[0], top, wide, high
        free[0] += wide + ACROSS
        return float(places[own, 0] + wide / 2)
    middles = []
    for part in tree.parts:
        edges.append((own, number[id(part)]))
        middles.append(_place(part, number, blocks, places, edges, free, top + high + DOWN))
    middle = (middles[0] + middles[-1]) / 2
    left = max(0.0, middle - wide / 2)
    places[own] = left, top, wide, high
    return left + wide / 2
