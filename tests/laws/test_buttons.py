"""Laws of the buttons in pictures: each does what stands beside it, under the knobs that its view has, to what was chosen there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import diorama
from diorama.core import registry
from diorama.core.knobs import build, knobs_of, numbers_in
from diorama.core.marks import Number
from diorama.core.picture import Picture
from diorama.core.selection import Selection, number_key
from diorama.data import changes
from diorama.run import Run

KNOBS: dict[str, tuple[dict[str, Any], ...]] = {
    "acts": ({}, {"limit": 1}),
    "examples": tuple({"show": "mislabelled", "among": "all", **more} for more in ({}, {"limit": 3}, {"only": "wrong"})),
    "influence": ({}, {"limit": 2}, {"layers": "all", "dimensions": 64}),
    "schedule": ({}, {"line": "40,0.001;60,0.0005"}),
}
"""By view with buttons: the knobs that it is tried under."""
COUNT, STEPS = 40, 24
CHOSEN = range(0, COUNT, 5)
MADE = {"offers", "findings", "influence", "schedule", "typed_weights", "_doubtful_examples"}
"""The files in which buttons are made: what they make is tried here, by the views above."""


@pytest.fixture(scope="module")
def alive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A training of rows, a fifth of them mislabelled, that holds its probe set and still goes on."""
    for each in list(changes.known):
        changes.known.discard(each)
    torch.manual_seed(0)
    y = torch.arange(COUNT) % 3
    x = 0.3 * torch.randn(COUNT, 4) + 2 * nn.functional.one_hot(y, 4)
    y[::5] = (y[::5] + 1) % 3
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    optimizer, data = torch.optim.Adam(model.parameters(), 0.02), diorama.data(TensorDataset(x, y))
    recorder = diorama.watch(
        model, tmp_path_factory.mktemp("buttons") / "run", probe=data.examples(COUNT), optimizer=optimizer, every=1, snapshots=2, data=data,
    )
    try:
        for _ in range(STEPS):
            inputs, truth = data[list(range(COUNT))]
            loss = nn.functional.cross_entropy(model(inputs), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.detach())
        run = diorama.open(recorder.path)
        while not (run.last_step == STEPS and run.snapshots[-1] == STEPS):
            time.sleep(0.002)  # until its writer has written that
        yield run
    finally:
        recorder.close()


def _buttons(picture: Picture) -> list[Any]:
    return [action for mark in picture.marks() if isinstance(mark, Number) for action in mark.actions]


def _rows(picture: Picture) -> set[int]:
    keys = {key for mark in picture.marks() for name in ("row_keys", "keys") for key in getattr(mark, name, None) or ()}
    return {int(key.removeprefix("example:")) for key in keys if key.removeprefix("example:").isdigit()}


def test_buttons_are_made_where_the_law_knows() -> None:
    """A file that makes buttons is one whose view the law tries."""
    files = Path(diorama.__file__).parent.joinpath("views").rglob("*.py")
    assert {file.stem for file in files if "Action(command" in file.read_text() or "= Action(" in file.read_text()} == MADE


@pytest.mark.parametrize("view", sorted(KNOBS))
def test_a_button_does_what_its_picture_shows(view: str, alive: Run) -> None:
    """Its command takes its knobs; what the view has too has the view's value; its examples are those that were chosen, or stand there."""
    chosen = Selection.of(*(number_key("example", k) for k in CHOSEN), "unit:0/2")
    seen = 0
    for knobs in KNOBS[view]:
        picture = alive.scene().view(view, select=chosen, **knobs)
        own = knobs_of(registry.views[view])
        values = {name: knob.default for name, knob in own.items()} | knobs
        for action in _buttons(picture):
            command = registry.commands[action.command]
            build(command, action.knobs)
            for name in action.knobs.keys() & own.keys() - {"examples"}:
                assert action.knobs[name] == values[name]
            if action.knobs.get("of") == "probe":
                numbers = {k for part in numbers_in(str(action.knobs["examples"])) for k in part}
                assert numbers <= (set(CHOSEN) if view == "examples" else _rows(picture))
                assert f"({len(numbers)})" in action.label
            seen += 1
    assert seen
