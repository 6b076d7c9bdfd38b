"""What holds for all tests: one torch thread a process, no deadlines on generated examples, nothing written into the user's home."""

from __future__ import annotations

import gc
import os
import random
import shutil
import signal
import sys
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))
# How long an example takes depends on the machine: no test asserts a time.
settings.register_profile("diorama", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("diorama")
# A shell starts what runs in the background deaf to Ctrl-C, and its children with it; some tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""What can show the page, the quickest first."""
WAITING = ("web", "faults", "unit/server", "unit/cli", "unit/live", "house", "device", "notebook")
"""Where tests wait for a browser, a server or a process of their own, those who wait longest first."""
MANY = 200
"""So many modules that a test was the first to import are worth a pass of the collector."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that say they may take long go first, then those that wait for others, and what only computes comes last.

    Each worker begins with a third, and takes from the end of another's when it is done: the first one waits all the while, so the others
    compute, and what is left for all at the end are short tests that compute, which leave no processor idle.
    """
    here = Path(__file__).parent
    waits = [tuple(here.joinpath(folder).parts) for folder in WAITING]

    def rank(item: pytest.Item) -> int:
        if item.get_closest_marker("timeout") is not None:
            return -1
        return next((k for k, parts in enumerate(waits) if item.path.parts[: len(parts)] == parts), len(waits))

    items.sort(key=rank)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Whatever a test or its fixtures draw without a seed of their own is the same alone and among others, in whichever order."""
    random.seed(0)
    # torch.manual_seed would also note, with the whole stack, what every kind of device is to do once there is one.
    for name, seed in (("numpy", "random.seed"), ("torch", "default_generator.manual_seed")):
        if name in sys.modules:
            attrgetter(seed)(sys.modules[name])(0)


def pytest_collection_finish() -> None:
    """What was imported stays for good: the collector need not walk over it again, nor those who ask it what lives. It comes more rarely, too."""
    _kept()
    gc.set_threshold(20_000, 10, 10)


def pytest_runtest_logfinish() -> None:
    """So does what a test was the first to import: Transformers alone is more than all else that lives."""
    if len(sys.modules) > _known + MANY:
        _kept()


_known = 0


def _kept() -> None:
    """Put what lives aside for good, once what does not is gone."""
    global _known
    _known = len(sys.modules)
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _own_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keys for signing models live in the user's configuration folder: tests use one of their own."""
    before = os.environ.get("XDG_CONFIG_HOME")
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))
    yield
    if before is None:
        del os.environ["XDG_CONFIG_HOME"]
    else:
        os.environ["XDG_CONFIG_HOME"] = before


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The machine's own Chromium, for the tests of one file.

    No longer: while Playwright is open, its event loop counts as running, and other tests could not run their own.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.fail("the browser tests need Chromium: tests/install_browser.sh installs it on Debian")
    flags = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking")
    flags += ("disable-component-update", "disable-sync")
    flags += ("font-render-hinting=none",)  # else texts are wider without a window than with one
    flags += ("use-fake-device-for-media-stream", "use-fake-ui-for-media-stream")  # a camera that films a moving shape
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=[f"--{flag}" for flag in flags])
        yield started
        started.close()
