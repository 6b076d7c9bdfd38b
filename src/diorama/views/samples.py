"""How much of a whole is shown or looked at, said one way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..core.knobs import knob
from ..core.numerals import counted, joined
from ..core.picture import Progress
from ..core.selection import Selection, spoken, without_call

if TYPE_CHECKING:
    from ..scene import Scene  # views of the record count layers too, and are drawn without torch


NAMED = 3
"""So many layers that no column stands for are named."""
LOOKED, MOST = 512, 100_000
"""So many examples are looked at where nobody says how many, and so many at most."""


def first_examples(least: int = 1, most: int = MOST, usual: int = LOOKED) -> Any:
    """The knob by which a view looks at more of the probe set than its first examples, or at fewer; ``usual`` where nobody says how many."""
    return knob(usual, "So many examples of the probe set are looked at, the first ones.", low=least, high=most, log=True)


def reached(selection: Selection, count: int, most: int = MOST) -> int:
    """So many examples that those chosen in another view, which may look at more, are among them; as many as asked where few are chosen."""
    chosen = [number for key in selection.all("example") for number in key.numbers]
    return max(count, min(max(chosen) + 1, most)) if len(chosen) > 1 else count


def looking(scene: Scene, layers: Iterable[str] = ()) -> Iterator[Progress]:
    """The passes over the examples that are looked at, told as they go: what the network answers, and the layers; then both are known at once."""
    from ..scene.probe import Probe

    probe, total = Probe(scene.live, scene.memory), len(scene.live)
    names = [name for name in dict.fromkeys(layers) if not scene.layers[name].reason]
    passes = [probe.reading(lambda x: scene.look(x)[0], scene.batches(), scene.reading)]
    if names:
        passes.append(probe.responding(scene.kept, scene.batches(), {name: scene.layers[name] for name in names}))  # type: ignore[arg-type]
    # What comes of them takes its time as well: the last pass is not the end.
    whole, looked = (len(passes) + 1) * total, False
    for number, one in enumerate(passes):
        for done in one:
            yield Progress(done=number * total + done, total=whole, note=f"looks at {part(done, total, 'examples')}")
            looked = done == total
    if looked:
        yield Progress(done=len(passes) * total, total=whole, note=f"draws what {counted(total, 'examples')} say")


def part(shown: int, total: int, what: str) -> str:
    """What is shown of a whole: "1,000 of 2,000 units", or "2,000 units" where it is all."""
    many = what if (total if shown < total else shown) != 1 else what.removesuffix("s")
    return f"{shown:,} of {total:,} {many}" if shown < total else f"{shown:,} {many}"


def looked_at(scene: Scene, count: int | None = None) -> str:
    """A sentence on how many examples are looked at where these are not all; by itself the live ones."""
    count, total = len(scene.live) if count is None else count, len(scene.examples)
    return f"{part(count, total, 'examples')} are looked at." if count < total else ""


def few(scene: Scene) -> list[str]:
    """The same as a clause, where it has to be said."""
    return [looked_at(scene).removesuffix(".")] if looked_at(scene) else []


def single(scene: Scene) -> str | None:
    """Why units cannot be compared by one example; None where there are more."""
    return "it compares what units answer to several examples, and there is one" if len(scene.examples) == 1 else None


def broken(scene: Scene, names: Sequence[str]) -> str:
    """A sentence on how many of the layers' answers to the live examples are no numbers, where some are."""
    means = [found.mean for found in scene.responses(list(names)).values()]
    bad, total = sum(int((~one.isfinite()).sum()) for one in means), sum(one.numel() for one in means)
    return f"{part(bad, total, 'answers')} {'are' if bad > 1 else 'is'} no finite number, and counted as nothing." if bad else ""


def unanswered(scene: Scene) -> str:
    """A sentence on how many live examples have no answer, as it is no number, and are left out where answers and losses are counted."""
    found = scene.answers()
    bad = ~found.losses.isfinite() if found.losses is not None else (found.predictions < 0).reshape(len(scene.live), -1).any(1)
    bad = bad if found.known is None else bad & found.known
    count = int(bad.sum())
    return f"{part(count, len(bad), 'examples')} {'have' if count > 1 else 'has'} a loss that is no finite number." if count else ""


def which_run(scene: Scene, layer: str) -> str:
    """A sentence on which run of a module a layer is, where a pass runs it several times: a cell that a loop calls for each token."""
    own = without_call(layer)
    runs = sum(without_call(one.name) == own for one in scene.layers)
    return f"a pass runs {spoken(own)} {runs} times, and this is run {scene.layers[layer].call} alone" if runs > 1 else ""


def noted(*sentences: str) -> str:
    """Several sentences as one note, those that are there."""
    return " ".join(one if one.endswith((".", "!", "?")) else f"{one[0].upper()}{one[1:]}." for one in sentences if one)


def unfollowed_said(pairs: Sequence[tuple[str, str]]) -> str:
    """A sentence on the layers that are read in a way that could not be followed from unit to unit, so that no weights are drawn."""
    if not pairs:
        return ""
    some = [f"{spoken(source)} is read by {spoken(target)}" for source, target in pairs[:NAMED]]
    some += [f"{counted(len(pairs) - NAMED, 'more pairs')}"] if len(pairs) > NAMED else []
    return f"{joined(some)}, through what could not be followed from unit to unit: no weights are drawn between them"


def looked_up_said(scene: Scene, names: Sequence[str]) -> str:
    """A sentence on the layers that also read rows of a table that is no layer, so that no line shows these."""
    from ..scene import wiring

    found = [name for name in names if scene.layers.has(name) and wiring.looks_up(scene, scene.layers[name])]
    if not found:
        return ""
    some = [spoken(name) for name in found[:NAMED]] + ([f"{len(found) - NAMED:,} more"] if len(found) > NAMED else [])
    return f"{joined(some)} also read{'s' * (len(found) == 1)} rows that each example looks up in weights that are no layer: no line shows them"


def standing(scene: Scene, names: Sequence[str]) -> str:
    """A sentence on how many of the network's layers with weights stand in a picture, where these are not all, and on the others.

    *Meaning* a column of a module stands for all layers in it, and one of a call for its layer.
    """
    from ..model.weight_modules import learning, uncalled

    silent = uncalled(scene.layers, scene.model)
    held, shown = [*learning(scene.layers), *silent], {own_module(name) for name in names}
    if set(held) <= shown:
        return ""
    rest = [name for name in held if not any(not own or name == own or name.startswith(f"{own}.") for own in shown)]
    said = f"{counted(len(names), 'columns')} {'stand' if len(names) != 1 else 'stands'} for "
    said += f"{len(held) - len(rest):,} of the {part(len(held), len(held), 'layers')} with weights" if rest else (
        f"the {part(len(held), len(held), 'layers')} with weights")
    unlike = [name for name in rest if name not in silent and scene.layers.has(name) and not scene.layers[name].each]
    plain = [name for name in rest if name not in silent and name not in unlike]
    for own, why in (
        (plain, ("has no column", "have no column")), (unlike, ("has not one row for each example", "have not one row for each example")),
        ([name for name in silent if name in rest], ("is run by none of the examples that told the layers",
                                                     "are run by none of the examples that told the layers")),
    ):
        if own:
            some = [spoken(name) for name in own[:NAMED]] + ([f"{len(own) - NAMED:,} more"] if len(own) > NAMED else [])
            said += f"; {joined(some)} {why[len(own) > 1]}"
    return f"{said}."


def own_module(name: str) -> str:
    """The module of a layer: of a call of a reused one that module; an op is one of its own."""
    return name if name.startswith("op:") else without_call(name)


def layers_said(names: Sequence[str]) -> str:
    """How many layers these are: "3 layers", or "3 layers in 23 calls" where some stand there once for each call."""
    own = len({own_module(name) for name in names})
    return part(own, own, "layers") + (f" in {len(names):,} calls" if own < len(names) else "")
