"""Models and inputs of uncommon forms: every view and method draws, or says in a sentence why not and what to do."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import diorama
from diorama.core.errors import DioramaError
from diorama.core.knobs import knobs_of
from diorama.core.marks import Group
from diorama.core.registry import views
from diorama.data import nesting
from diorama.record import models

Stranger = tuple[nn.Module, Any, Tensor]


class Scripted(nn.Module):
    """A scripted part in a plain model."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.ReLU())), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Three layers, the middle one closed."""
        out: Tensor = self.c(self.b(self.a(x).relu()))
        return out


class Packed(nn.Module):
    """An LSTM over packed sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm, self.head = nn.Embedding(20, 8), nn.LSTM(8, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The mean of what the LSTM says of the words."""
        lengths = (x != 0).sum(1).clamp_min(1).cpu()
        run, _ = self.lstm(pack_padded_sequence(self.words(x), lengths, batch_first=True, enforce_sorted=False))
        out: Tensor = self.head(pad_packed_sequence(run, batch_first=True)[0].sum(1))
        return out


class Constants(nn.Module):
    """Inputs that are the same for all examples stand beside one that is not, and a list of two."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(9, 3)

    def forward(
        self, x: Tensor, more: list[Tensor], mask: Tensor | None, flag: bool, scale: Tensor, mode: str = "a"
    ) -> Tensor:
        """All of them count."""
        assert type(more) is list
        assert mask is None
        out: Tensor = self.head(torch.cat([x, *more], 1)) * scale
        return out if flag and mode == "b" else out.relu()


class PlainList(nn.Module):
    """Modules in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.parts, self.head = [nn.Linear(6, 8), nn.ReLU()], nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """One after the other."""
        for part in self.parts:
            x = part(x)
        out: Tensor = self.head(x)
        return out


class Vmapped(nn.Module):
    """Its layers run inside vmap."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Example by example."""
        out: Tensor = torch.vmap(lambda row: self.c(self.a(row).relu()))(x)
        return out


class Clip(nn.Module):
    """Frames are merged with examples, (n·t, …), as video networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.frame, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The mean over frames and places."""
        seen = self.frame(x.flatten(0, 1)).relu().mean((2, 3))
        out: Tensor = self.head(seen.unflatten(0, x.shape[:2]).mean(1))
        return out


def _words() -> Tensor:
    x = torch.randint(1, 20, (12, 7))
    x[::2, 5:], x[::3, 4:] = 0, 0
    return x


def _dense() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def _exported() -> Stranger:
    model = _dense()
    size = torch.export.Dim("n")
    return torch.export.export(model, (torch.randn(4, 6),), dynamic_shapes=({0: size},)).module(), torch.randn(12, 6), _y()


def _y() -> Tensor:
    return torch.arange(12) % 3


def _constants() -> Any:
    more = [torch.randn(12, 2), torch.randn(12, 1)]
    return {"x": torch.randn(12, 6), "more": more, "mask": None, "flag": True, "scale": torch.tensor(2.0), "mode": "b"}


STRANGERS: dict[str, Callable[[], Stranger]] = {
    "scripted": lambda: (Scripted(), torch.randn(12, 6), _y()),
    "packed": lambda: (Packed(), _words(), _y()),
    "constants": lambda: (Constants(), _constants(), _y()),
    "plain list": lambda: (PlainList(), torch.randn(12, 6), _y()),
    "quantized": lambda: (
        torch.ao.quantization.quantize_dynamic(_dense(), {nn.Linear}, dtype=torch.qint8), torch.randn(12, 6), _y(),
    ),
    "exported": _exported,
    "vmap": lambda: (Vmapped(), torch.randn(12, 6), _y()),
    "volume": lambda: (
        nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)),
        torch.randn(12, 1, 5, 6, 7), _y(),
    ),
    "clip": lambda: (Clip(), torch.rand(12, 4, 3, 9, 9), _y()),
}


def _stranger(name: str) -> Stranger:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what torch will move elsewhere
        return STRANGERS[name]()


FEWER = {"steps": 4, "starts": 1, "layers": 2, "places": 5, "count": 2, "segments": 6, "decoder_steps": 5, "units": 4}
"""Knobs that make a law quick: what it says holds for any number."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(STRANGERS))
def test_every_view_and_method_draws_or_says_why_not(name: str) -> None:
    """No foreign error, and no map of zeros where the answer does depend on the input."""
    model, x, y = _stranger(name)
    scene = diorama.Scene(model, x, y)
    for view in diorama.views:
        known = knobs_of(views[view])
        told = {knob: few for knob, few in FEWER.items() if knob in known and isinstance(known[knob].default, int)}
        with contextlib.suppress(DioramaError):
            first = next(scene.stream(view, **told), None)
            marks = list(first.marks()) if isinstance(first, diorama.Picture) else []
            assert all(mark.children for mark in marks if isinstance(mark, Group)), f"{view} draws nothing"
    few, drawn = nesting.select(scene.examples.x, range(2)), 0
    for method in ("gradient", "lrp", "occlusion", "kernel_shap", "grad_cam"):
        found = None
        with contextlib.suppress(DioramaError):
            found = diorama.attribute(model, few, 1, method=method)
        if found is None:
            continue
        drawn += 1
        assert any(bool(part.any()) for part in nesting.tensors(found.values)), method
    assert drawn >= 2


def test_a_gradient_through_what_has_no_derivative_is_refused() -> None:
    """Not zero, which it would be without a word; beside a path that has one as well."""
    model, x, _ = _stranger("quantized")

    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.closed, self.open = model, nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.closed(x) + self.open(x)
            return out

    for each, named in ((model, "0 and 2 are quantized"), (Beside(), "closed.0 and closed.2 are quantized")):
        with pytest.raises(diorama.NotApplicable, match=f"{named}, which has no derivative"):
            diorama.attribute(each, x, 1, method="gradient")


class Stubbed(nn.Module):
    """A layer between the stubs of static quantization, and a way round it."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.inner, self.leave = torch.ao.quantization.QuantStub(), nn.Linear(6, 6), torch.ao.quantization.DeQuantStub()
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways, read out."""
        out: Tensor = self.last(x + self.leave(self.inner(self.enter(x))))
        return out


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantized_part_beside_a_way_round_it_is_not_left_out_of_a_gradient() -> None:
    """A static quantized layer takes what needs gradients and answers without: refused by name, and methods that ask go on."""
    torch.manual_seed(0)
    model, x = Stubbed().eval(), torch.randn(8, 6)
    for part in (model.enter, model.inner, model.leave):
        part.qconfig = torch.ao.quantization.get_default_qconfig(torch.backends.quantized.engine)
    torch.ao.quantization.prepare(model, inplace=True)(x)
    torch.ao.quantization.convert(model, inplace=True)
    for method in ("gradient", "integrated_gradients", "lrp", "deep_lift"):
        with pytest.raises(diorama.NotApplicable, match="enter is quantized, which has no derivative"):
            diorama.attribute(model, x[:1], 1, method=method)
    shown = diorama.attribute(model, x[:1], 1, method="feature_ablation").values[0]
    silent = torch.cat([x[:1] * (torch.arange(6) != k) for k in range(6)])
    assert torch.allclose(shown, (model(x[:1]) - model(silent))[:, 1].detach(), atol=1e-5)


def test_a_graph_of_one_batch_size_is_looked_at_with_any_number_and_stored() -> None:
    """A graph exported for four examples answers one and six, with the slopes of the model that it was made from; a run
    stores it without its check of the input's shape.
    """
    torch.manual_seed(0)
    model, x = _dense().eval(), torch.randn(6, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(model, (x[:4],)).module()
    for count in (1, 6):
        mine, own = (diorama.attribute(one, x[:count], 1).values for one in (exported, model))
        assert torch.allclose(mine, own, atol=1e-6)
    assert torch.allclose(diorama.Scene(exported, x).scores(), model(x), atol=1e-6)
    data, reason = models.pack(exported, {})
    assert not reason
    opened = models.opened(data)["model"]
    opened.load_state_dict(exported.state_dict())
    assert torch.allclose(opened(x), model(x), atol=1e-6)
