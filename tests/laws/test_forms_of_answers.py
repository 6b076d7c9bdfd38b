"""Whatever a model answers with: each view and method shows it, or says in a sentence what would be wanted."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diorama

_Named = namedtuple("_Named", "logits extra")  # noqa: PYI024 - as many people do


@dataclasses.dataclass
class _Fields:
    logits: Tensor
    hidden: Tensor


class _Holder:
    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


_FORMS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "fields": _Fields, "a named tuple": _Named, "none beside": lambda s, h: (None, s), "lists in lists": lambda s, h: [s, [h, {"a": s}]],
    "dicts in dicts": lambda s, h: {"out": {"logits": s}, "aux": [h]}, "an object": lambda s, h: _Holder(s), "a batch's number": lambda s, h: s.sum(),
    "whole numbers": lambda s, h: s.argmax(1), "yes and no": lambda s, h: s > 0, "complex": torch.complex, "words beside": lambda s, h: (s, "ok", 3),
    "no numbers": lambda s, h: s[:, :0], "none is a number": lambda s, h: s * float("nan"), "boundless": lambda s, h: s / 0,
    "a generator": lambda s, h: (each for each in (s, h)),
}


_VIEWS = ("answer", "activations", "examples", "confusion", "attribution", "lesions")


class _Net(nn.Module):
    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.form = nn.Conv2d(1, 4, 3), nn.Linear(144, 3), form

    def forward(self, x: Tensor) -> Any:
        scores = self.last(torch.relu(self.first(x)).flatten(1))
        return self.form(scores, scores.cos())


@pytest.mark.parametrize("form", _FORMS)
def test_any_form_of_answer_is_shown_or_refused(form: str) -> None:
    """No foreign error comes out of a scene, of a view or of a method."""
    torch.manual_seed(1)
    model, x, y = _Net(_FORMS[form]).eval(), torch.rand(6, 1, 8, 8), torch.arange(6) % 3
    asked: list[Callable[[], object]] = [
        *(lambda method=method: diorama.attribute(model, x, method=method, target=1) for method in ("gradient", "occlusion", "lrp")),
        lambda: diorama.attribute(model, x, method="gradient"),
        *(lambda name=name: diorama.Scene(model, x, y).view(name) for name in _VIEWS),
    ]
    for ask in asked:
        try:
            ask()
        except diorama.DioramaError as error:
            assert 10 < len(str(error)) < 600  # noqa: PT017


@pytest.mark.parametrize("form", ["a batch's number", "complex", "yes and no", "no numbers", "a generator"])
def test_a_training_of_any_form_is_recorded(tmp_path: Path, form: str) -> None:
    """Where its answers cannot be read, all else is recorded, or the call is refused before the first step."""
    model, x, y = _Net(_FORMS[form]), torch.rand(6, 1, 8, 8), torch.arange(6) % 3
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    try:
        recorder = diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer, every=2)
    except diorama.DioramaError:
        return
    with recorder:
        for _ in range(5):
            optimizer.zero_grad()
            model(x)
            loss = model.last.weight.square().sum()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    steps, _ = diorama.open(recorder.path).series("loss")
    assert len(steps) == 5


def test_no_examples_are_refused() -> None:
    """A scene of nothing says what it wants."""
    with pytest.raises(diorama.UsageError, match="at least one example"):
        diorama.Scene(_Net(_Fields), torch.rand(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64))


def test_inputs_that_a_network_refuses_are_told_as_its_own_refusal() -> None:
    """Whatever of a scene is asked first, what the network's own pass raises is told as that."""
    net, x = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 3)), (torch.rand(6, 1, 8, 8) * 255).byte()
    for asked in ("guessed", "task", "layers", "reading"):
        with pytest.raises(diorama.DioramaError, match="the model's own forward pass failed"):
            getattr(diorama.Scene(net, x, torch.arange(6) % 3), asked)
