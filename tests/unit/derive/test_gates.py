"""The gates of recurrent layers of every make, and how often they are shut and open, against the layers themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo import Ragged, Recurrent

import diorama
from diorama.core.errors import NotApplicable, UsageError
from diorama.derive.derivations import saturation
from diorama.scene import Scene, restarts
from diorama.scene.states import states

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


class Loop(nn.Module):
    """Calls a recurrent cell, or a whole recurrent module, once a step, from a loop of its own."""

    def __init__(self, kind: type[nn.Module], whole: bool = False) -> None:
        super().__init__()
        self.embed, self.out, self.whole = nn.Embedding(11, 5), nn.Linear(6, 11), whole
        self.cell = kind(5, 6, 2, batch_first=True) if whole else kind(5, 6)

    def outputs(self, x: Tensor) -> Tensor:
        """What the cell says at each step."""
        h, found = None, []
        for t in range(x.shape[1]):
            if self.whole:
                y, h = self.cell(self.embed(x[:, t : t + 1]), h)
                found.append(y[:, 0])
            else:
                h = self.cell(self.embed(x[:, t]), h)
                found.append(h[0] if isinstance(h, tuple) else h)
        return torch.stack(found, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.outputs(x))


class Around(Recurrent):
    """Reads each token with its neighbours on both sides."""

    def forward(self, tokens: Tensor) -> Tensor:
        x = nn.functional.avg_pool1d(self.embed(tokens).transpose(1, 2), 3, 1, 1).transpose(1, 2)
        return self.out(self.rnn(x)[0])


MAKES: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: Recurrent(nn.LSTM, num_layers=2, start=True),
    "both ways": lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True, late=True, start=True),
    "projected": lambda: Recurrent(nn.LSTM, proj_size=3, num_layers=2, bidirectional=True),
    "gru": lambda: Recurrent(nn.GRU, num_layers=2, bidirectional=True, start=True),
    "rnn": lambda: Recurrent(nn.RNN, nonlinearity="relu", late=True, bias=False),
    "lstm cell": lambda: Loop(nn.LSTMCell), "gru cell": lambda: Loop(nn.GRUCell), "rnn cell": lambda: Loop(nn.RNNCell),
    "lstm in a loop": lambda: Loop(nn.LSTM, whole=True),
    "one way": lambda: Recurrent(nn.LSTM, proj_size=3, num_layers=2), "around": lambda: Around(nn.GRU),
    "packed": lambda: Ragged(nn.LSTM), "packed gru": lambda: Ragged(nn.GRU),
}


def _scene(make: str) -> Scene:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = MAKES[make]().eval()
        for parameter in model.parameters():
            parameter.data *= 3  # gates that shut and open
        if "packed" in make:
            return Scene(model, (torch.randn(5, 6, 5), torch.tensor([3, 6, 1, 5, 2])))
        x = torch.randint(0, 11, (5, 7))
    return Scene(model, x, x.roll(-1, 1))


def _own(scene: Scene, layer: str, example: int) -> np.ndarray:
    """The outputs of a layer as torch's module itself returns them, (steps, units), of its last layer in both directions."""
    model = scene.model
    with torch.no_grad():
        if isinstance(model, Loop):
            return model.outputs(scene.live.x)[example].numpy()
        if isinstance(model, Ragged):
            x, lengths = scene.live.x
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return nn.utils.rnn.pad_packed_sequence(model.rnn(packed)[0], batch_first=True)[0][example, : lengths[example]].numpy()
        kept: list[Tensor] = []
        handle = model.rnn.register_forward_hook(lambda module, args, output: kept.append(output[0]))
        model(scene.live.x)
        handle.remove()
    return (kept[0][:, example] if model.late else kept[0][example]).numpy()


@pytest.mark.parametrize("make", MAKES)
def test_gates_give_what_the_layer_returns(make: str) -> None:
    """The output that follows from the gates is the module's own to 1e-5, and each state follows from its formula."""
    scene = _scene(make)
    name = "cell" if isinstance(scene.model, Loop) else "rnn"
    for example in (0, 3):
        found = scene.derive("gates", layer=name, example=example).value
        own = _own(scene, name, example)
        assert found["h"].shape == own.shape
        np.testing.assert_allclose(found["h"], own, atol=1e-5)
    if "both" in make:  # left open, both directions
        np.testing.assert_array_equal(scene.derive("gates", example=3).value["h"], found["h"])
    for layer in scene.layers.stepwise:
        found = {key: value.astype(float) for key, value in scene.derive("gates", layer=layer.name, example=1).value.items()}
        order = slice(None, None, -1 if "reverse" in layer.name else 1)
        found = {key: value[order] for key, value in found.items()}
        start = scene.model.start is not None if isinstance(scene.model, Recurrent) else False
        rest = slice(1, None)
        if "c" in found:
            np.testing.assert_allclose(found["c"][rest], (found["f"][rest] * found["c"][:-1] + found["i"][rest] * found["g"][rest]), atol=1e-5)
            said = found["o"] * np.tanh(found["c"])
            if found["h"].shape[1] == said.shape[1]:
                np.testing.assert_allclose(found["h"], said, atol=1e-5)
            if not start:
                np.testing.assert_allclose(found["c"][:1], (found["i"] * found["g"])[:1], atol=1e-5)
        elif "z" in found:
            np.testing.assert_allclose(
                found["h"][rest], (1 - found["z"][rest]) * found["n"][rest] + found["z"][rest] * found["h"][:-1], atol=1e-5
            )


@pytest.mark.parametrize("make", [make for make in MAKES if "rnn" not in make])
def test_saturations_are_the_shares_of_the_gates_themselves(make: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted some steps at a time, the shares are those of every gate at every step, whatever the blocks and batches."""
    scene = _scene(make)
    monkeypatch.setattr(saturation, "AT_ONCE", 2)
    monkeypatch.setattr("diorama.model.recurrent_kernels.AT_ONCE", 100)
    for layer in scene.layers.stepwise:
        found = scene.derive("saturation", layer=layer.name).value
        all_of_them = [scene.derive("gates", layer=layer.name, example=k).value for k in range(5)]
        assert found["steps"] == sum(len(one["h"]) for one in all_of_them)
        for row, letter in enumerate(found["gates"]):
            gate = np.concatenate([one[letter] for one in all_of_them])
            assert ((gate > 0) & (gate <= 1)).all()
            near = (np.abs(gate - 0.1) < 1e-6) | (np.abs(gate - 0.9) < 1e-6)
            assert not near.any()
            np.testing.assert_allclose(found["left"][row], (gate < 0.1).mean(0), atol=1e-6)
            np.testing.assert_allclose(found["right"][row], (gate > 0.9).mean(0), atol=1e-6)
        assert found["left"].any()
        assert found["right"].any()
    assert saturation._true(torch.ones(600, 2) > 0).tolist() == [600, 600]


READ_ON = {
    "lstm": True, "projected": False, "gru": False, "around": False, "one way": True, "rnn": True, "gru cell": True, "lstm cell": True,
    "lstm in a loop": True,
}


@pytest.mark.parametrize("make", READ_ON)
def test_a_stretch_of_a_long_text_is_read_on_from_a_kept_state(make: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates, states and terms of any stretch are those of one pass over the whole text, and the outputs those of the layer itself,
    also from states that were kept elsewhere; a model that reads both ways, or looks at places to both sides, is read whole."""
    scene = _scene(make)
    with pytest.raises(NotApplicable, match="is read whole"):
        scene.derive("restarts", example=0)
    monkeypatch.setattr(restarts, "APART", 4)
    monkeypatch.setattr(restarts, "LONG", 16)
    x = torch.randint(0, 11, (1, 23), generator=torch.Generator().manual_seed(3))
    kept = restarts.Restarts.of(scene, x)
    assert kept is not None
    assert kept.holds(scene) == READ_ON[make]
    assert restarts.Restarts.of(scene, x[:, :16]) is None
    if not READ_ON[make]:
        return
    for layer in scene.layers.stepwise:
        whole = states(scene, layer.name, x)
        for start, stop in ((18, 23), (3, 9), (8, 8 + 4), (22, 23)):
            found = kept.states(scene, layer.name, start, stop)
            for name in whole:
                torch.testing.assert_close(found[name], whole[name][:, start:stop], atol=1e-5, rtol=1e-5)
            for name, term in found.terms.items():
                torch.testing.assert_close(term, whole.terms[name][:, start:stop], atol=1e-5, rtol=1e-5)
            if not layer.loop and make != "lstm in a loop":
                torch.testing.assert_close(kept.outputs(scene, layer, start, stop), whole["h"][:, start:stop], atol=1e-5, rtol=1e-5)
    assert list(kept.read(scene, 22)) == []
    again = restarts.Restarts(x)
    again.take(kept.plain())
    assert list(again.read(scene, 22)) == []
    assert torch.equal(again.states(scene, layer.name, 18, 23)["h"], kept.states(scene, layer.name, 18, 23)["h"])


def test_an_edit_is_seen_in_the_gates() -> None:
    """With a cell switched off its output is 0 at every step, and the gates of the others are those of that network."""
    scene = _scene("lstm")
    plain = scene.derive("gates", layer="rnn.l0", example=2).value
    edited = scene.edit("unit:rnn.l0/4", lesion=True).derive("gates", layer="rnn.l0", example=2).value
    assert not edited["h"][:, 4].any()
    assert np.abs(edited["i"][1:] - plain["i"][1:]).max() > 1e-4


def test_a_unit_means_its_layer_and_wrong_names_are_told() -> None:
    """A unit stands for its layer; a layer without states, an example that is not there, a network without any say so."""
    scene = _scene("lstm")
    assert scene.derive("gates", unit="rnn.l0/3", example=1).value["h"].shape == (7, 6)
    with pytest.raises(NotApplicable, match="keeps no states"):
        scene.derive("gates", layer="embed")
    with pytest.raises(UsageError, match="examples 0 to 4"):
        scene.derive("gates", example=9)
    with pytest.raises(NotApplicable, match="no gates"):
        _scene("rnn").derive("saturation")
    plain = Scene(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(4, 3))
    with pytest.raises(NotApplicable, match="LSTM, GRU or RNN"):
        plain.derive("gates")
    assert diorama.views["gates"].fits(plain) is not None
