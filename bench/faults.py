"""How sure the record is: 200 SIGKILLs of a training at random moments, a fifth of them in start-up, with a live reader."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))

from kills import kill_many  # noqa: E402 - found through the path above


def main() -> int:
    """Kill, and print what was left; 1 when anything was lost."""
    kills = 20 if "--quick" in sys.argv else 200
    with tempfile.TemporaryDirectory() as folder:
        found = kill_many(Path(folder), kills)
    print(
        f"{found['kills']} SIGKILLs: {found['runs']} had begun a run, {found['opened']} of them open; "
        f"{found['lost']} lost acknowledged steps, {found['partial']} held partial steps, {found['damaged']} were damaged, "
        f"{found['reader_errors']} errors of the live reader"
    )
    return int(found["opened"] != found["runs"] or any(found[k] for k in ("lost", "partial", "damaged", "reader_errors")))


if __name__ == "__main__":
    raise SystemExit(main())
