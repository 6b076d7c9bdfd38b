"""Called, ``diorama.data(dataset)`` wraps a data set, so that its examples can be dropped, relabelled and weighed while a training
draws them.

It goes into a ``DataLoader`` as the data set itself did, with any sampler, collate function and workers, and gives bit by bit what
that gave until somebody changes something. Numbers of examples are the data set's own; of a stream (an ``IterableDataset``) they are
the places in it, counted in turn over the workers, which wants the same order in each pass and a part for each worker. Where places turn out
to tell no example, none is steered by them. ``label`` is the name or the number of the label in an item (left out:
the second of two, or what a dict calls label or target), ``number`` tells the number of a stream's item, ``changes`` is a file that
``save`` or ``run.save_changes`` wrote, and ``seed`` decides which examples take the places of dropped ones.
``examples(count)`` of what comes back is a probe set that keeps its examples' numbers.

*Raises* UsageError for what is no data set, Unavailable where no file can be written that workers share.

As a package: where examples come from: arrays, files, kinds of input (raw to tensor and back), drawings prepared as the data was
made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """This package, which is a function too: the public name ``diorama.data`` is that of both."""

    def __call__(
        self, dataset: Any, *, label: str | int | None = None, number: Callable[[Any], int] | None = None,
        changes: str | Path | None = None, seed: int = 0,
    ) -> Any:
        """Wrap a data set."""
        from .steered_set import wrapped

        return wrapped(dataset, label, number, changes, seed)


sys.modules[__name__].__class__ = _Package
