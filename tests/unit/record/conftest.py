"""What several tests of the recorder stand on."""

from __future__ import annotations

import pytest

from diorama.record import rounds


@pytest.fixture
def looking_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are looked for at every step, however short it is."""
    monkeypatch.setattr(rounds, "LOOK", 0.0)
