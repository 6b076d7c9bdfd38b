"""The finding `not_finite`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.selection import number_key
from . import Finding, Found, layer_of, named, series_between

if TYPE_CHECKING:
    from ..reader import Reader


class NotFinite(Finding):
    """Numbers that are NaN or infinite: in what the loop reports, in weights or in gradients.

    *Meaning* whatever touches NaN becomes NaN, so the training cannot recover by itself; it has to go on from an
    earlier snapshot, with a lower learning rate or with gradients clipped.
    """

    def __call__(self, run: Reader) -> list[Found]:
        """One finding for all of them, at the step where the first appeared."""
        seen: list[tuple[int, str, str]] = []
        for name in run.series_names:
            if "/" in name or name == "learning_rate":
                continue
            steps, values = run.series(name)
            bad = np.flatnonzero(~np.isfinite(values))
            if len(bad):
                seen.append((int(steps[bad[0]]), name, ""))
        for front in ("weights/", "gradients/"):
            for name, steps, values in series_between(run, front, "/norm"):
                bad = np.flatnonzero(~np.isfinite(values))
                if len(bad):
                    seen.append((int(steps[bad[0]]), front + name, layer_of(name)))
        if not seen:
            return []
        seen.sort()
        first = seen[0][0]
        before = [step for step in run.snapshots if step < first]
        back = f" The last snapshot before that is at step {before[-1]}." if before else ""
        return [Found(
            self.name, 1.0, "NaN or infinite numbers",
            f"At step {first} {seen[0][1]} was NaN or infinite for the first time; "
            f"{named([name for _, name, _ in seen])} "
            f"{'is' if len(seen) == 1 else 'are'} concerned.{back}",
            ", ".join(f"{name} from step {step}" for step, name, _ in seen[:6]),
            (number_key("step", first), *dict.fromkeys(key for _, _, key in seen if key)), ("stop", {}), first,
        )]
