"""What ``diorama list`` says of broken plug-ins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import diorama
from diorama.live import catalogue


def test_the_command_line_names_what_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``diorama list`` lists what works, and says on the terminal what is broken, in full once, then in a line, from what it kept; what was kept is
    another once the plug-in's file is."""
    package = tmp_path / "site" / "mine-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[diorama.signals]\nmine = mine_module:Mine\n")
    (tmp_path / "site" / "mine_module.py").write_text("raise RuntimeError('no luck')\n")
    path = os.pathsep.join([str(tmp_path / "site"), str(Path(diorama.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    shortly = "diorama: 1 plug-in cannot be used (mine): diorama list --broken says why"
    for number, more in enumerate(([], [], ["--broken"])):
        done = subprocess.run(
            [sys.executable, "-m", "diorama", "list", "signals", *more], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "weights" in done.stdout
        assert "mine" not in done.stdout
        said = "the signal 'mine' of mine cannot be used and is left out (RuntimeError: no luck in mine_module.py, line 1)"
        assert done.stderr.splitlines() == [shortly if number == 1 else f"diorama: {said}; mend, update or uninstall mine"]
    monkeypatch.syspath_prepend(tmp_path / "site")
    before = catalogue.installation_stamp()
    assert catalogue.installation_stamp() == before
    (tmp_path / "site" / "mine_module.py").write_text("raise RuntimeError('no luck either')\n")
    assert catalogue.installation_stamp() != before
