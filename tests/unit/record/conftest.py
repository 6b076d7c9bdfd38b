"""What several tests of the recorder stand on."""

from __future__ import annotations

import pytest

from diorama.record import controls


@pytest.fixture
def looking_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are looked for at every step, however short it is."""
    monkeypatch.setattr(controls, "_LOOK", 0.0)
