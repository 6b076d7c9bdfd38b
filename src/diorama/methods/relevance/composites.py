"""Which rule each weighted layer follows."""

from __future__ import annotations

import dataclasses

from .rules import RULES


@dataclasses.dataclass(frozen=True)
class Composite:
    """One rule for dense layers, one for convolutions, and perhaps another for the first layer.

    *Meaning* ``first`` holds for convolutions that read the input, and with ``dense_first`` for dense layers too; equal
    shares, say, tell nothing about the columns of a table.
    """

    dense: str
    convolution: str
    first: str = ""
    dense_first: bool = False

    def rule(self, kind: str, first: bool) -> str:
        """The rule of a layer."""
        own = self.convolution if kind == "convolution" else self.dense
        return self.first if first and self.first and (kind == "convolution" or self.dense_first) else own

    def beginning(self, first: str) -> Composite:
        """The same with a chosen rule for the first layer, of whatever kind that is."""
        return dataclasses.replace(self, first=first, dense_first=True)


COMPOSITES = {
    **{name: Composite(name, name) for name in RULES if name != "z_box"},
    "epsilon_plus": Composite("epsilon", "z_plus"),
    "epsilon_plus_flat": Composite("epsilon", "z_plus", "flat"),
    "epsilon_plus_box": Composite("epsilon", "z_plus", "z_box"),
    "epsilon_gamma": Composite("epsilon", "gamma"),
    "epsilon_gamma_flat": Composite("epsilon", "gamma", "flat"),
    "epsilon_gamma_box": Composite("epsilon", "gamma", "z_box"),
    "epsilon_alpha_beta": Composite("epsilon", "alpha_beta"),
    "epsilon_alpha_beta_flat": Composite("epsilon", "alpha_beta", "flat"),
    "deep_taylor": Composite("z_plus", "z_plus", "w_square", True),
    "deep_taylor_box": Composite("z_plus", "z_plus", "z_box", True),
}
