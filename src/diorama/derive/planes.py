"""Planes through the inputs of a network, and how far its answers survive the way onto one and back."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..core.errors import NotApplicable
from ..scene import Scene

MOST, NUMBERS = 64, 2**24
"""Principal components of inputs at most, and their numbers in all."""
PART = 256
"""So many inputs are asked about at once."""


def flat_inputs(scene: Scene) -> Tensor:
    """The live examples as rows of numbers, (n, numbers). *Raises* NotApplicable where they are none."""
    x = scene.live.x
    if not isinstance(x, Tensor):
        raise NotApplicable("a plane of inputs wants one tensor, and these inputs have several parts")
    if not x.is_floating_point() or x.ndim < 2:
        raise NotApplicable("a plane of inputs wants numbers that lie between others, and these inputs are none")
    return x.detach().float().flatten(1).nan_to_num(0.0, 0.0, 0.0)


def shaped(scene: Scene, flat: Tensor) -> Tensor:
    """Rows of numbers as the network takes them."""
    x = scene.live.x
    assert isinstance(x, Tensor)
    return flat.reshape(len(flat), *x.shape[1:]).to(scene.device, x.dtype)


@dataclasses.dataclass(frozen=True)
class Components:
    """Principal components of inputs: ``axes`` (components, numbers) about ``mean``, coordinates in units of ``scale``."""

    mean: Tensor
    axes: Tensor
    scale: float

    @classmethod
    def of(cls, rows: Tensor, count: int = MOST) -> Components:
        """The directions in which rows differ most, two at least; of rows that are all alike, the first two numbers."""
        mean = rows.double().mean(0)
        wide = rows.double() - mean
        # Of the products of rows, whose size does not grow with the inputs.
        values, vectors = torch.linalg.eigh(wide @ wide.T)
        most = min(count, max(2, NUMBERS // rows.shape[1]))
        fit = values > 1e-9 * values[-1].clamp_min(1e-30)
        chosen = torch.arange(len(values) - 1, -1, -1)[fit.flip(0)][:most]
        axes = (vectors[:, chosen] / values[chosen].sqrt()).T @ wide
        spare = list(torch.eye(2, rows.shape[1], dtype=torch.double))
        while len(axes) < min(2, rows.shape[1]) and spare:
            more = spare.pop(0)
            more = more - axes.T @ (axes @ more)
            if float(more.norm()) > 1e-6:
                axes = torch.cat([axes, (more / more.norm())[None]])
        # A direction has no sign of its own: its largest number is positive.
        axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
        spread = float((values[-1].clamp_min(0) / max(1, len(rows) - 1)).sqrt())
        return cls(mean.float(), axes.float(), spread if spread > 0 else 1.0)

    def coordinates(self, rows: Tensor) -> Tensor:
        """Where rows lie along the axes, (n, components)."""
        return (rows - self.mean) @ self.axes.T / self.scale

    def inputs(self, coordinates: Tensor) -> Tensor:
        """The rows at coordinates, (n, numbers); those of the first axes may be given alone."""
        return coordinates * self.scale @ self.axes[: coordinates.shape[1]] + self.mean


def said_of(scene: Scene) -> Tensor:
    """What the network says of each live example: logarithms of its classes' shares, or its numbers; (n, answers). One pass, then kept."""
    found: Tensor = scene.once("planes/said", lambda: _said(scene, scene.scores()))
    return found


def _said(scene: Scene, scores: Tensor) -> Tensor:
    if scene.task == "classification":
        return scene.reading.probabilities(scores).float().clamp_min(1e-6).log().flatten(1)
    return scores.float().flatten(1)


def again(scene: Scene, flat: Tensor) -> Tensor:
    """What the network says of rows of numbers."""
    return torch.cat([_said(scene, scene.scores(shaped(scene, part))) for part in torch.split(flat, PART)])


def kept(scene: Scene, flat: Tensor, chosen: Tensor, output: int | None = None) -> float:
    """The share of the chosen examples whose answer stays when ``flat`` (all of them, after the way back) is asked instead; of numbers, the
    share of their variance that does, of one output or of all together.

    *Source* the prediction preserving rate of Yang et al. 2022, DVI (AAAI).
    """
    said, other = said_of(scene)[chosen].double(), again(scene, flat[chosen]).double()
    if scene.task == "classification":
        return float((said.argmax(1) == other.argmax(1)).double().mean()) if said.shape[1] > 1 else float("nan")
    if output is not None:
        said, other = said[:, output], other[:, output]
    whole = float((said - said.mean(0)).square().sum())
    return 1 - float((said - other).square().sum()) / whole if whole > 0 else float("nan")


def apart(flat: Tensor, examples: Tensor) -> float:
    """How far rows lie from their nearest examples, in the median, as a multiple of what examples lie from each other: 1 is as near."""
    own = torch.cdist(examples, examples).fill_diagonal_(torch.inf).amin(1).median()
    far = torch.cdist(flat, examples).amin(1).median()
    return float(far / own) if float(own) > 0 else float("nan")
