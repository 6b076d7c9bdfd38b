"""Two matrices whose product changes a weight: how an adapter is known by shapes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def pair(shapes: Mapping[str, Sequence[int]], weight: str, parts: Sequence[str], *, lower: bool = True) -> tuple[str, str] | None:
    """Two of the ``parts``, (rank, in) and (out, rank), or turned about, whose product has the shape of the weight and a lower rank.

    ``lower``: without it the rank may be any, as the usual 8 is beside a layer of 3 answers; shapes alone tell little then.
    """
    if len(shapes[weight]) != 2:
        return None
    shape = tuple(shapes[weight])
    matrices = [name for name in parts if len(shapes[name]) == 2]
    for first in matrices:
        for second in matrices:
            one, two = shapes[first], shapes[second]
            if first == second or (lower and min(one) >= min(shape)):
                continue
            for a, b in (((one[0], one[1]), (two[0], two[1])), ((one[1], one[0]), (two[1], two[0]))):
                # a: (rank, in), b: (out, rank); of a weight that stands the other way round, turned.
                if a[0] == b[1] and ((b[0], a[1]) == shape or (a[1], b[0]) == shape) and (a[0] < min(shape) or not lower):
                    return first, second
    return None
