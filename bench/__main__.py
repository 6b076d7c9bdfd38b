"""Run every benchmark and print its ratios: ``python -m bench``, or ``python -m bench capture reading`` for some.

Each file here compares diorama with a limit or a peer side by side in one run, interleaved, and prints ratios with their spread;
``--quick`` repeats less. Each runs in a process of its own, so that none leaves threads or memory to the next.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NOT_BENCHMARKS = {"__init__", "__main__", "nets", "beside"}


def main() -> int:
    """Run the named benchmarks, or all."""
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    every = [p.stem for p in sorted(HERE.glob("*.py")) if p.stem not in NOT_BENCHMARKS and not p.stem.startswith("_")]
    wanted = [word for word in sys.argv[1:] if not word.startswith("-")] or every
    unknown = set(wanted) - set(every)
    if unknown:
        print(f"no benchmark named {', '.join(sorted(unknown))}; there are: {', '.join(every)}", file=sys.stderr)
        return 2
    failed = 0
    for name in wanted:
        print(f"\n== {name}", flush=True)
        failed |= subprocess.run([sys.executable, "-m", f"bench.{name}", *options], cwd=HERE.parent).returncode
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
