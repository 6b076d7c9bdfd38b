"""A number or a finding."""

from __future__ import annotations

from typing import Literal

import msgspec

from .mark import Mark


class Action(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command that a click sends to the training."""

    command: str
    label: str
    knobs: dict[str, str | float | int | bool] = {}


class Number(Mark, frozen=True, kw_only=True, omit_defaults=True):
    """A number or a finding, with its unit, its warning and what can be done."""

    label: str
    value: float | None = None
    unit: str = ""
    tone: Literal["plain", "good", "warn", "bad"] = "plain"
    note: str = ""
    key: str = ""
    actions: tuple[Action, ...] = ()
