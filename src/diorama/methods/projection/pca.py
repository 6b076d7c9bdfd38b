"""Principal components: the directions in which examples differ most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core.errors import NotApplicable
from ...core.saying import counted
from ..projecting import Floats, Placed, Projection, own_dice, sized


class PCA(Projection):
    """Principal components: as much of the variance as so many directions at right angles can hold.

    *Meaning* distances in the picture are never larger than the true ones; what lies far apart is far apart.
    *Error* the variance that is left out.
    *Cost* one singular value decomposition.
    *Source* Pearson 1901, as scikit-learn makes it.
    """

    title = "PCA"
    free = True

    def placed(self, rows: Floats, dimensions: int, start: Floats | None, begun: Any) -> Iterator[Placed]:
        """The rows' places, in one stage."""
        if min(rows.shape) < dimensions:
            out = "ask for fewer dimensions" if min(rows.shape) > 1 else "look at more" if len(rows) == 1 else "choose a layer of more units"
            raise NotApplicable(
                f"{dimensions} principal components want at least so many examples and units, got {counted(len(rows), 'examples')} "
                f"of {counted(rows.shape[1], 'units')}; {out}"
            )
        with own_dice():
            from sklearn.decomposition import PCA as Components  # noqa: N811 - this class has its name
        with np.errstate(invalid="ignore"):  # examples that are all alike have no variance to share out
            rows, by = sized(rows)
            points = Components(dimensions, svd_solver="full").fit_transform(rows) * by
        yield Placed(points)  # not in there: whoever asks for the next stage may be another thread, with settings of its own
