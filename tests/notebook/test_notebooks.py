"""Real notebooks in a real browser: a click in one of two pictures of a network moves the other."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diorama.notebook import widget

NEEDED = "pip install -e '.[notebook-test]' brings it"
NETWORK = """import torch, diorama
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(800, 10))
scene = diorama.Scene(model, torch.rand(16, 1, 14, 14), torch.arange(16) % 10)"""
VIEWS = ('scene.view("activations")', 'scene.view("weights")')

pytestmark = pytest.mark.skipif(
    not (widget.STATIC / "widget.js").exists(), reason="the page is not built: run python hatch_build.py"
)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    """Starts notebook servers in a home of their own and ends them."""
    servers: list[subprocess.Popen[bytes]] = []

    def serve(port: int, *command: str) -> str:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        share = Path(importlib.util.find_spec("ipywidgets").origin).parents[4] / "share" / "jupyter"  # type: ignore[union-attr, arg-type]
        # The kernel finds diorama and what it needs where these tests found them.
        environment = {
            **os.environ,
            "HOME": str(home),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "JUPYTER_PATH": str(share),
            "OMP_NUM_THREADS": "1",
        }
        log = (tmp_path / "server.log").open("wb")
        servers.append(
            subprocess.Popen([sys.executable, "-m", *command], cwd=tmp_path, env=environment, stdout=log, stderr=log)
        )
        log.close()
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{address}/?token=look", timeout=5):
                    return address
            except OSError:
                time.sleep(0.2)
        raise AssertionError((tmp_path / "server.log").read_text()[-2000:])

    yield serve
    for server in servers:
        server.terminate()
        server.wait(20)


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _click_moves_the_sibling(page: Any, picture: Path) -> None:
    """Click the second layer's first map; the weights must turn to that layer and ring the unit."""
    keep = os.environ.get("DIORAMA_SCREENSHOTS")
    target = str(Path(keep) / picture.name if keep else picture)
    activations, weights = page.locator(".framed").nth(0), page.locator(".framed").nth(1)
    try:
        weights.wait_for(timeout=90_000)
    finally:
        page.screenshot(path=target)
    assert weights.locator(".frame-title").inner_text() == "Weights of layer 0"
    activations.locator("[role=listbox]").nth(1).locator("[role=option]").first.click()
    weights.locator(".frame-title", has_text="Weights of layer 2").wait_for(timeout=30_000)
    assert weights.locator("[role=option][aria-selected=true]").count() == 1
    assert activations.get_attribute("data-theme") == "light"
    page.screenshot(path=target)


@pytest.mark.skipif(importlib.util.find_spec("jupyterlab") is None, reason=f"jupyterlab is not installed; {NEEDED}")
def test_jupyterlab_links_two_views(browser: Any, served: Any, tmp_path: Path) -> None:
    """In JupyterLab a unit clicked in one picture is followed by the other, through a real kernel."""
    cells = [
        {"cell_type": "code", "id": f"c{k}", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
        for k, source in enumerate((NETWORK, *VIEWS))
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "linked.ipynb").write_text(json.dumps(notebook))
    port = _port()
    address = served(
        port, "jupyterlab", "--no-browser", f"--port={port}", "--ServerApp.port_retries=0", "--allow-root",
        "--IdentityProvider.token=look", f"--ServerApp.root_dir={tmp_path}", "--LabApp.news_url=",
    )
    page = browser.new_page(viewport={"width": 1300, "height": 1200})
    page.goto(f"{address}/lab/tree/linked.ipynb?token=look")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=90_000)
    # Cells that are run before the kernel answers make JupyterLab ask which kernel is meant.
    page.get_by_text("(ipykernel) | Idle").wait_for(timeout=90_000)
    page.wait_for_function("() => document.querySelectorAll('.jp-Dialog').length === 0")
    page.get_by_text("Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    _click_moves_the_sibling(page, tmp_path / "jupyterlab.png")
    page.close()


@pytest.mark.skipif(importlib.util.find_spec("marimo") is None, reason=f"marimo is not installed; {NEEDED}")
def test_marimo_links_two_views(browser: Any, served: Any, tmp_path: Path) -> None:
    """In marimo a unit clicked in one picture is followed by the other, through a real kernel."""
    cells = [f"@app.cell\ndef _():\n{_indented(NETWORK)}\n    return (scene,)\n"]
    cells += [f"@app.cell\ndef _(scene):\n    {view}\n    return\n" for view in VIEWS]
    (tmp_path / "linked.py").write_text("import marimo\napp = marimo.App()\n\n" + "\n\n".join(cells))
    port = _port()
    address = served(port, "marimo", "run", "linked.py", "--headless", "--no-token", f"--port={port}")
    page = browser.new_page(viewport={"width": 1300, "height": 1200})
    page.goto(address)
    _click_moves_the_sibling(page, tmp_path / "marimo.png")
    page.close()


def _indented(code: str) -> str:
    return "\n".join("    " + line for line in code.splitlines())
