"""The build hook builds the page only when its sources changed, and says what is missing."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("hatchling", reason="the build hook needs hatchling")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    """hatch_build.py as a module."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the page's sources and a page that counts as built."""
    ignored = shutil.ignore_patterns("node_modules")
    shutil.copytree(ROOT / "web", tmp_path / "web", ignore=ignored)
    (tmp_path / "src/diorama/static").mkdir(parents=True)
    return tmp_path


def test_an_unchanged_page_is_not_built_again(
    hook: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the stamp of the same sources nothing runs; a change in one source runs the build."""
    stamp = checkout / "src/diorama/static/.built-from"
    stamp.write_text(hook._hash(checkout / "web"))

    def started(*_: object) -> None:
        raise RuntimeError("a build was started")

    monkeypatch.setattr(hook, "_run", started)
    assert hook.build_page(checkout, lambda _: None) is False
    source = checkout / "web/src/picture.ts"
    source.write_text(source.read_text(encoding="utf-8") + "\n// changed\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="a build was started"):
        hook.build_page(checkout, lambda _: None)


def test_missing_sources_are_named_with_the_way_out(hook: ModuleType, tmp_path: Path) -> None:
    """Without the page's sources the build ends with a sentence that names what is missing and how to go on."""
    with pytest.raises(SystemExit, match=r"package-lock\.json.*DIORAMA_SKIP_PAGE=1"):
        hook.build_page(tmp_path, lambda _: None)


def test_a_failed_command_is_told(hook: ModuleType, tmp_path: Path) -> None:
    """A command that fails ends the build with its name, its last lines and the way out."""
    with pytest.raises(SystemExit, match=r"(?s)ended with 3.*DIORAMA_SKIP_PAGE=1.*the reason"):
        hook._run(["sh", "-c", "echo the reason; exit 3"], tmp_path, {"PATH": "/usr/bin:/bin"})
