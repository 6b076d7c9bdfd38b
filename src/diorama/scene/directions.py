"""The directions of a scene: fitted from two sets of examples, named, kept with the run, and fitted anew at each step."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import DioramaError, NotApplicable, UsageError, not_found
from ..core.selection import Key, number_key
from ..model.adapters import adapters
from ..model.directions import BASES, DICTIONARY, FITTED, Direction, How, finite
from ..model.edits import Edit, Stride
from ..model.layers import Layer
from .code_means import code_layer
from .memory import Memory
from .rows import rowed

if TYPE_CHECKING:
    from .scene import Scene

FOLDER = "derived"
LONGEST = 80


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a named direction is fitted, so that it can be fitted at other weights too: keys of both sets, as texts."""

    name: str
    layer: str
    how: How
    a: tuple[str, ...]
    b: tuple[str, ...]

    def fit(self, scene: Scene) -> Direction:
        """The direction at the scene's weights."""
        a, b = "+".join(self.a), "+".join(self.b)
        return _direction(scene.derive("direction", layer=self.layer, how=self.how, a=a, b=b).value, self.name)


def _direction(value: dict[str, Any], name: str) -> Direction:
    """A derived direction under a name."""
    return Direction(**{**value, "name": name, "vector": np.array(value["vector"]), "sets": tuple(value["sets"])})


def checked_direction(scene: Scene, layer: str, value: Any) -> None:
    """Raise ValueError for what is no direction among a layer's units."""
    if set(value) != {field.name for field in dataclasses.fields(Direction)} or value["layer"] != layer:
        raise ValueError("not what is told of a direction")
    vector = value["vector"]
    if not isinstance(vector, np.ndarray) or vector.shape != (scene.layers[layer].units,) or vector.dtype != np.float64:
        raise ValueError("a number for each unit is wanted")
    if value["how"] not in (*FITTED, *BASES) or [type(each) for each in value["sets"]] != [str, str]:
        raise ValueError("how it was made is wanted")
    if not isinstance(value["name"], str) or not all(type(value[name]) is float for name in ("offset", "step")):
        raise ValueError("numbers are wanted")
    if any(value[name] is not None and type(value[name]) is not float for name in ("accuracy", "share")):
        raise ValueError("numbers are wanted")


def codes(scene: Scene, layer: str) -> np.ndarray:
    """What a layer's units say of each live example, (n, units): their means over all places."""
    return finite(scene.responses([layer])[layer].mean.double().numpy())


def direction(scene: Scene, name: str) -> Direction:
    """A direction by its name: one that was kept, a base's, such as ``pca/conv2/0``, or what a feature of a layer's dictionary
    adds, such as ``dictionary/block.2.mlp/17``; at the scene's own weights.

    *Raises* NotFound for a name that is not there.
    """
    how, _, rest = name.partition("/")
    layer, _, number = rest.rpartition("/")
    if how in BASES and scene.layers.has(layer) and number.isdecimal():
        found, _ = base(scene, layer, how)  # type: ignore[arg-type]
        if int(number) >= len(found):
            raise UsageError(f"the base {how}/{layer} has directions 0 to {len(found) - 1}, got {number}")
        return found[int(number)]
    if how == DICTIONARY and scene.layers.has(layer) and number.isdecimal():
        return feature(scene, layer, int(number), scene.derive("dictionary", layer=layer).value)
    known = recipes(scene)
    if name not in known:
        raise not_found("direction", name, known)
    fit: Direction = scene.once(f"direction/{name}", lambda: known[name].fit(scene))
    return fit


def keep(
    scene: Scene, name: str, a: Any, b: Any = (), *, layer: str | None = None, how: How = "means"
) -> Direction:
    """Fit a direction that leads to the examples A from the examples B, and keep it under its name with the run.

    *Raises* UsageError for a name that stands for something else already.
    """
    if not name.strip() or len(name) > LONGEST or name.partition("/")[0] in (*BASES, DICTIONARY):
        raise UsageError(f"a direction wants a name of 1 to {LONGEST} characters that is no base's, got {name!r}")
    if how not in FITTED:
        raise UsageError(f"a direction between two sets is fitted by {' or '.join(FITTED)}, got {how!r}")
    where = scene.layers[layer].name if layer is not None else default_layer(scene).name
    made = Recipe(name, where, how, _texts(a), _texts(b))
    old = recipes(scene).get(name)
    if old is not None and old != made:
        raise UsageError(f"a direction named {name!r} is kept already, fitted otherwise; choose another name")
    found = scene.once(f"direction/{name}", lambda: made.fit(scene))
    if old is None:
        _write(scene, made)
    return found  # type: ignore[no-any-return]


def base(scene: Scene, layer: str, how: How) -> tuple[list[Direction], str]:
    """A layer's base, and a note on it: PCA or NMF of its activations at some places of all live examples."""

    value = scene.derive("base", layer=layer, how=how).value
    return [_direction(one, one["name"]) for one in value["directions"]], value["note"]


def edits(scene: Scene, of: Scene) -> tuple[Edit, ...]:
    """The edits of another moment of a run, as this one applies them. *Raises* NotApplicable for one of what is not there."""
    there = scene.run.elsewhere([one.key for one in of.edits], scene.step, of.step) if scene.run is not None else []
    if None in there:
        raise NotApplicable(
            f"{of.edits[there.index(None)].key} was changed, which the network does not have at step {scene.step}; take that edit back"
        )
    moved = (dataclasses.replace(one, key=key) for one, key in zip(of.edits, there, strict=True) if key is not None)
    return tuple(edit(scene, one) for one in moved)


def edit(scene: Scene, made: Edit) -> Edit:
    """An edit as a scene applies it: one along a direction with the stride that the scene finds under its name, without other edits."""
    if made.key.kind != "direction":
        return made
    plain = scene.alone(scene.cancel)
    plain.edits = ()
    if scene.edits:
        plain._memory = Memory()
    found = plain.direction(made.key.name)
    return dataclasses.replace(made, along=Stride(found.layer, torch.from_numpy(found.vector * found.step)))


def feature(scene: Scene, layer: str, number: int, value: dict[str, Any]) -> Direction:
    """What a feature of a layer's dictionary adds, from the derived value; a length is its mean strength while it is on."""
    found = value["decoder"]
    if number >= len(found):
        raise UsageError(f"the dictionary of {layer} has features 0 to {len(found) - 1}, got {number}")
    vector = np.array(found[number], np.float64)
    return Direction(
        f"{DICTIONARY}/{layer}/{number}", layer, vector, float(vector @ np.array(value["bias"], np.float64)),
        float(value["strength"][number]) or 1.0, DICTIONARY,
    )


def recipes(scene: Scene) -> dict[str, Recipe]:
    """The directions that were kept, by name, in order of their names."""
    found: dict[str, Recipe] = dict(scene.network.directions)
    folder = scene.run.path / FOLDER if scene.run is not None else None
    if folder is not None and folder.is_dir():
        for path in folder.glob("direction-*.json"):
            recipe = _read(path)
            if recipe is not None and scene.layers.has(recipe.layer):
                found[recipe.name] = recipe
    return dict(sorted(found.items()))


def default_layer(scene: Scene) -> Layer:
    """The layer whose units say most of an example: a variational code's means, else the last with weights before the answer, beside no shorter way
    to it, and no embedding where there is another."""
    if (made := code_layer(scene)) is not None:
        return made
    leaves = [one for one in telling(scene, scene.layers.leaves) if one.weight is not None and "Norm" not in one.kind and one.shape]
    leaves = [one for one in leaves or scene.layers.leaves if one.shape and one.each]
    leaves = rowed(scene, leaves) or leaves
    # Of an adapter's matrices the layer that holds them: its own are the rank's few numbers.
    owners = {f"{one.name}.": one.name for one in adapters(scene.model)} if not scene.function else {}
    whole = [next((owner for start, owner in owners.items() if one.name.startswith(start) and scene.layers.has(owner)), one.name) for one in leaves]
    leaves = [scene.layers[name] for name in dict.fromkeys(whole)]
    # One number, such as a score of each place by which an attention weighs them, says little.
    leaves = [*(one for one in leaves[:-1] if one.units > 1), *leaves[-1:]]
    # A table that is looked up beside the others only says in other numbers what an example gave; where it stands alone, it is the layer.
    found = [*(one for one in leaves[:-1] if not one.kind.startswith("Embedding")), *leaves[-1:]]
    leaves = found if len(found) > 1 else leaves
    if not leaves:
        raise NotApplicable("the model has no layer with units, so there are no directions among them")
    return leaves[-2] if len(leaves) > 1 else leaves[-1]


def telling(scene: Scene, layers: Iterable[Layer]) -> list[Layer]:
    """Some layers without those of shortcuts, which only bring what came before into another form; all where no others are left."""
    found = list(layers)
    if scene.missing is not None or scene.function:
        return found
    try:
        aside = scene.graph.shortcuts()
    except DioramaError:
        return found
    return [one for one in found if one.path not in aside] or found


def lacking(scene: Scene) -> str | None:
    """Why no layer's units say anything of an example; None where one's do."""
    try:
        default_layer(scene)
    except NotApplicable as error:
        return str(error)
    return None


def _texts(keys: Any) -> tuple[str, ...]:
    """Keys as texts, from keys, their texts (``"class:0+class:1"``), or the numbers of examples."""
    if isinstance(keys, str | Key):
        keys = str(keys).split("+") if keys else ()
    if isinstance(keys, Tensor | np.ndarray):
        keys = keys.tolist()
    found = []
    for key in _listed(keys):
        parsed = Key.parse(number_key("example", key)) if isinstance(key, int) else Key.parse(str(key))
        if parsed.kind not in ("class", "example"):
            raise UsageError(f"a set of examples is made of classes and examples, got {str(parsed)!r}")
        found.append(str(parsed))
    return tuple(found)


def _listed(keys: Any) -> Sequence[Any]:
    if isinstance(keys, Iterable):
        return list(keys)
    raise UsageError(f"a set of examples is given as keys or numbers, got {type(keys).__name__}")


def _write(scene: Scene, recipe: Recipe) -> None:
    """Keep a recipe with the run, beside and then renamed; without a run, with the scene's model."""
    scene.network.directions[recipe.name] = recipe
    if scene.run is None:
        return
    folder = scene.run.path / FOLDER
    name = hashlib.blake2b(recipe.name.encode(), digest_size=8).hexdigest()
    beside = folder / f".direction-{name}.{id(recipe):x}"
    try:
        folder.mkdir(exist_ok=True)
        beside.write_text(json.dumps(dataclasses.asdict(recipe)))
        beside.replace(folder / f"direction-{name}.json")
    except PermissionError:
        return  # in a folder that only allows reading it lasts as long as the scene
    finally:
        beside.unlink(missing_ok=True)


def _read(path: Path) -> Recipe | None:
    """A kept recipe; None for a file that holds none, as it can always be made again."""
    try:
        told = json.loads(path.read_text())
        recipe = Recipe(str(told["name"]), str(told["layer"]), told["how"], tuple(told["a"]), tuple(told["b"]))
        [Key.parse(text) for text in (*recipe.a, *recipe.b)]
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        return None
    return recipe if recipe.how in FITTED else None
