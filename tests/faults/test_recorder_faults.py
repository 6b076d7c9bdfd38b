"""Whatever goes wrong inside the recorder, the training goes on as if it were not recorded."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
import torch
from training import advance, batch, network

import diorama.record
from diorama.record.recorder import Recorder, watch

ROOT = os.path.dirname(diorama.record.__file__)
Site = tuple[CodeType, int, str]
STEPS = 8


class _Broken(RuntimeError):
    """What the test throws into the recorder."""


class _Sites:
    """Sees every call that the recorder makes, of Python and of C, on every thread; breaks one of them."""

    def __init__(self, broken: Site | None = None) -> None:
        self.broken, self.found, self.thrown = broken, dict[Site, None](), False
        self.main = threading.get_ident()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            caller, name = frame.f_back, frame.f_code.co_name
        elif event == "c_call":
            caller, name = frame, getattr(argument, "__name__", "")
        else:
            return
        if caller is None or not caller.f_code.co_filename.startswith(ROOT) or self._spared(frame, caller):
            return
        site = (caller.f_code, caller.f_lasti, name)
        self.found.setdefault(site)
        if site == self.broken and not self.thrown:
            self.thrown = True
            raise _Broken(f"in {caller.f_code.co_name} at the call of {name}")

    @staticmethod
    def _spared(frame: FrameType, caller: FrameType) -> bool:
        # A call from outside into the recorder is not one of its call sites; closing and warning are the program's end. The model's own
        # call, which goes on from where the batch is noted, is none of the recorder's either.
        # Nor is the whole step, which the loop calls by way of the short one.
        if frame.f_code.co_name == "_call_impl" or (frame.f_code is Recorder.step.__code__ and caller.f_code.co_name == "step"):
            return True
        return frame.f_code.co_name in ("<module>", "<genexpr>") or caller.f_code.co_name == "<module>"


@contextmanager
def _seen(sites: _Sites) -> Iterator[None]:
    threading.setprofile(sites)
    sys.setprofile(sites)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def _train(path: Path | None, sites: _Sites | None = None) -> tuple[list[torch.Tensor], list[str]]:
    """Train a little, recorded or not; the final weights and buffers, and the warnings."""
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if path is None:
            for step in range(1, STEPS + 1):
                advance(model, optimizer, step)
        else:
            recorder = watch(model, path, probe=batch(0), optimizer=optimizer, every=2)
            with _seen(sites or _Sites()):
                # A profile function is lost with what it raises, so each step gets it anew.
                for step in range(1, STEPS + 1):
                    sys.setprofile(sites)
                    loss = advance(model, optimizer, step)
                    recorder.step(loss=loss)
            recorder.close()
    state = [tensor.clone() for tensor in model.state_dict().values()]
    modes = {module.training for module in model.modules()}
    assert modes == {True}
    return state, [str(each.message) for each in said if issubclass(each.category, RuntimeWarning)]


def test_an_exception_at_any_call_site_changes_nothing_in_the_training(tmp_path: Path) -> None:
    """With an exception thrown at each call site of the recorder in turn, the weights stay bitwise and one warning comes."""
    plain, _ = _train(None)
    every = _Sites()
    recorded, said = _train(tmp_path / "whole", every)
    assert not said
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))
    sites = list(every.found)
    assert len(sites) > 200
    chosen = sites if os.environ.get("DIORAMA_EVERY_SITE") else sites[:: max(1, len(sites) // 40)]
    threw = 0
    for number, site in enumerate(chosen):
        broken = _Sites(site)
        where = f"{site[0].co_filename.removeprefix(ROOT)}:{site[0].co_name} calling {site[2]}"
        weights, said = _train(tmp_path / f"run{number}", broken)
        threw += broken.thrown
        assert all(torch.equal(a, b) for a, b in zip(plain, weights, strict=True)), where
        assert len(said) <= 1, (where, said)
    assert threw > 0.8 * len(chosen)


def test_a_warning_that_is_an_error_does_not_reach_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """step() does not raise where warnings are errors either."""
    model = network()
    recorder = watch(model, tmp_path / "run", probe=batch(0))
    monkeypatch.setattr(recorder._copies.plan, "due", lambda *_: 1 / 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorder.step(loss=1.0)
        recorder.step(loss=2.0)
    recorder.close()
    assert recorder.committed == 2
