"""Laws of looking inside: the output is the model's own, and the model is left exactly as it was found."""

from __future__ import annotations

import copy
import random
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo import ZOO, Functional, Outputs, Ragged, Reused, Specimen

from diorama.core.errors import Cancelled, NotApplicable, NotFound, UsageError
from diorama.core.selection import Key
from diorama.data import nesting
from diorama.model.axes import first_tensor
from diorama.model.capture import Capture
from diorama.model.edits import Edit
from diorama.model.layers import by_unit, layers
from diorama.model.mode import OpMode
from diorama.model.plain_module import named_modules, unwrap

EVERY = pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)
# Torch says this of such an LSTM wherever it runs, with or without a capture.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
INTERNAL = vars(nn.Module()).keys() - {"training"}
TOLERANCE = {torch.float64: 1e-12, torch.bfloat16: 2e-2}


def _close(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Tensor):
        error = TOLERANCE.get(wanted.dtype, 2e-6)
        return found.dtype == wanted.dtype and torch.allclose(found, wanted, rtol=error, atol=error)
    if isinstance(wanted, dict):
        return list(found) == list(wanted) and all(_close(found[name], wanted[name]) for name in wanted)
    if isinstance(wanted, tuple | list):
        return type(found) is type(wanted) and all(map(_close, found, wanted))
    return bool(found == wanted)


def _as_is(model: nn.Module) -> list[Any]:
    """Everything about a model and the process that a look could change."""
    found: list[Any] = [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]
    for name, module in model.named_modules():
        hooks = [len(value) for key, value in vars(module).items() if key.endswith("_hooks")]
        own = {key: value for key, value in vars(module).items() if key not in INTERNAL}
        plain = {key: value.tolist() if isinstance(value, Tensor) else repr(value) for key, value in own.items()}
        found.append((name, id(module), module.training, hooks, plain))
    for name, tensor in (*model.named_parameters(remove_duplicate=False), *model.named_buffers()):
        grad = None if tensor.grad is None else tensor.grad.tolist()
        found.append((name, id(tensor), tensor.detach().tolist(), tensor.requires_grad, grad, tensor._version))
    return found


def _bare(model: nn.Module, x: Any) -> Any:
    with torch.no_grad():
        return nesting.call(copy.deepcopy(model).eval(), x)


@EVERY
def test_output_is_the_models_own(specimen: Specimen) -> None:
    """The output under capture equals what the bare model returns, in value, type and structure."""
    model, x = specimen()
    with Capture(model, keep="all") as look:
        found = look(x)
    assert _close(found, _bare(model, x))


@EVERY
@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("grad", [False, True])
def test_model_is_left_as_found(specimen: Specimen, mode: Any, grad: bool) -> None:
    """Weights, buffers, modes, gradients, hooks, attributes and random numbers are as before, the objects the same."""
    model, x = specimen()
    next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
    before = _as_is(model)
    with Capture(model, keep="all", mode=mode, grad=grad) as look:
        look(x)
    layers(model, x)
    assert _as_is(model) == before


@EVERY
def test_model_is_left_as_found_after_an_exception(specimen: Specimen) -> None:
    """Also when the forward pass fails half-way, everything is as before."""
    model, x = specimen()
    before = _as_is(model)
    last = list(named_modules(unwrap(model)))[-1]

    def fail(name: str, tensor: Tensor) -> None:
        raise ZeroDivisionError(name)

    with pytest.raises(ZeroDivisionError), Capture(model, keep="all", mode="train", reduce=fail) as look:
        look(x)
    with pytest.raises(NotFound), Capture(model, keep=[last, "no such layer"]):
        pass
    assert _as_is(model) == before


@EVERY
def test_activation_is_what_a_hook_sees(specimen: Specimen) -> None:
    """A kept activation equals a clone taken in a plain hook at the same call, the example on the first axis."""
    model, x = specimen()
    naive: dict[str, Tensor] = {}
    twin = unwrap(copy.deepcopy(model)).eval()

    def hook(path: str) -> Any:
        def keep(module: nn.Module, args: Any, output: Any) -> None:
            name, call = path, 1
            while name in naive:
                call += 1
                name = f"{path}#{call}"
            if first_tensor(output) is not None:
                naive[name] = first_tensor(output).clone()  # type: ignore[union-attr]

        return keep

    for path, module in named_modules(twin).items():
        module.register_forward_hook(hook(path))
    with torch.no_grad(), OpMode():
        nesting.call(twin, x)
    with Capture(model, keep="all") as look:
        look(x)
    assert set(naive) <= set(look.names)
    size = nesting.size(x)
    for name, wanted in naive.items():
        found = look[name]
        late = found.shape != wanted.shape and wanted.ndim > 1 and wanted.shape[1] == size
        assert _close(found, wanted.transpose(0, 1) if late else wanted), name
        assert len(found) == size, f"{name} has its examples elsewhere"


@EVERY
@pytest.mark.parametrize("grad", [False, True])
def test_all_at_once_equals_one_by_one(specimen: Specimen, grad: bool) -> None:
    """Keeping all layers gives the same activations as keeping each of them alone."""
    model, x = specimen()
    with Capture(model, keep="all") as look:
        look(x)
    for name in look.names:
        with Capture(model, keep=[name], grad=grad) as single:
            single(x)
        assert single.names == (name,)
        assert _close(single[name].detach(), look[name]), name


@EVERY
def test_batch_equals_one_by_one(specimen: Specimen) -> None:
    """In eval mode an example's activations do not depend on the others in the batch."""
    model, x = specimen()
    with Capture(model, keep="all") as look:
        look(x)
        whole = {name: look[name] for name in look.names}
        for k in range(nesting.size(x)):
            look(nesting.select(x, k))
            for name, value in whole.items():
                own = value[k : k + 1]
                if own.ndim > 2 and specimen.name == "ragged":  # zeros follow where a longer example is beside it
                    steps = look[name].shape[1]
                    assert not own[:, steps:].any(), name
                    own = own[:, :steps]
                assert _close(look[name], own), name


@EVERY
def test_layers_describe_what_is_captured(specimen: Specimen) -> None:
    """The table of layers names what a capture keeps, in the same order, with its shape and its units."""
    model, x = specimen()
    table = layers(model, x)
    with Capture(model, keep="all") as look:
        look(x)
    assert set(table.names) >= set(look.names)
    for name in look.names:
        layer, value = table[name], look[name]
        assert tuple(value.shape[1:]) == layer.shape, name
        assert by_unit(layer, value).shape[1] == layer.units, name
        assert layer.weight is None or layer.weight in dict(unwrap(model).named_parameters(remove_duplicate=False))


@EVERY
def test_gradients_reach_kept_activations(specimen: Specimen) -> None:
    """With gradients on, kept activations lie on the path: their gradient equals the effect of a small change there."""
    model, x = specimen()
    with Capture(model, keep="all", grad=True) as look:
        output = first_tensor(look(x))
    assert output is not None
    names = [name for name in look.names if look[name].is_floating_point()]
    found = torch.autograd.grad(output.double().sum(), [look[name] for name in names], allow_unused=True)
    assert found[names.index(look.names[-1])] is not None
    if output.dtype != torch.float64:
        return
    name, grad = names[0], found[0]
    with Capture(model, keep=[name]) as plain:
        plain(x)
    step = torch.zeros_like(plain[name])
    step.view(-1)[5] = 1e-6
    values = []
    for sign in (1, -1):
        patch = {"key": f"layer:{name}", "patch": plain[name] + sign * step}
        with Capture(model, edits=[patch]) as patched:
            values.append(float(patched(x).sum()))
    assert grad is not None
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(float(grad.view(-1)[5]), rel=1e-4, abs=1e-7)


@EVERY
def test_edits_leave_the_model_untouched(specimen: Specimen) -> None:
    """A lesion of the first layer's unit changes what comes after it and nothing in the model."""
    model, x = specimen()
    before = _as_is(model)
    layer = next(layer for layer in layers(model, x) if layer.leaf)
    with Capture(model, keep=[layer.name], edits=[{"key": f"unit:{layer.name}/1", "lesion": True}]) as look:
        look(x)
    assert by_unit(layer, look[layer.name])[:, 1].abs().max() == 0
    assert by_unit(layer, look[layer.name])[:, 0].abs().max() > 0
    weight, p = next(item for item in unwrap(model).named_parameters() if item[1].ndim >= 2)
    with Capture(model, edits=[{"key": f"weight:{weight}/{','.join('0' * p.ndim)}", "value": 3.0}]) as look:
        look(x)
    assert _as_is(model) == before


def test_in_place_ops_do_not_reach_kept_activations() -> None:
    """What a convolution returned is kept as it was before the in-place ReLU after it."""
    model, x = ZOO[0]()
    with Capture(model, keep=["conv2"]) as look:
        look(x)
    assert look["conv2"].min() < 0


def test_second_call_of_a_module_has_its_own_name() -> None:
    """A reused module answers once for each call: ``act`` and ``act#2``."""
    model, x = ZOO[1]()
    with Capture(model, keep=["act", "act#2", "twice#2"]) as look:
        look(x)
    assert look.names == ("act", "act#2", "twice#2")
    assert not torch.equal(look["act"], look["act#2"])


def test_a_number_sign_in_a_modules_own_name_is_no_call() -> None:
    """A module that its user named with ``#`` is kept, edited and read like any other, also at its second call."""
    inner = nn.ModuleDict({"c#1": nn.Linear(4, 4), "d#x": nn.Linear(4, 3)})

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = inner

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.parts["d#x"](self.parts["c#1"](self.parts["c#1"](x)))
            return result

    model, x = Named(), torch.randn(5, 4)
    with Capture(model, keep=["parts.c#1", "parts.c#1#2", "parts.d#x"]) as look:
        output = look(x)
    assert torch.equal(look["parts.d#x"], output)
    assert torch.equal(look["parts.c#1#2"], inner["c#1"](look["parts.c#1"]))
    with Capture(model, keep=["parts.c#1"], edits=[Edit(Key.parse("unit:parts.c#1/2"), lesion=True)]) as look:
        look(x)
    assert not look["parts.c#1"][:, 2].any()


def test_until_stops_the_forward_pass() -> None:
    """Layers after the one named by ``until`` do not run, and there is no output."""
    model, x = ZOO[0]()
    with Capture(model, keep="all", until="conv1") as look:
        assert look(x) is None
    assert look.names == ("conv1",)


def test_cancel_stops_at_the_next_op() -> None:
    """A cancel callable that raises ends the forward pass between two ops."""
    model, x = ZOO[0]()
    before = _as_is(model)
    asked = []

    def cancel() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Cancelled("no longer wanted")

    with pytest.raises(Cancelled), Capture(model, keep="all", cancel=cancel) as look:
        look(x)
    assert len(asked) == 3
    assert _as_is(model) == before


def test_reduce_sees_every_layer_and_keeps_its_answer() -> None:
    """With ``reduce`` its answers are kept instead of tensors."""
    model, x = ZOO[0]()
    with Capture(model, keep="all", reduce=lambda name, tensor: float(tensor.mean())) as look:
        look(x)
    with Capture(model, keep="all") as whole:
        whole(x)
    assert {name: look[name] for name in look.names} == {name: float(whole[name].mean()) for name in whole.names}


def test_compiled_models_are_unwrapped() -> None:
    """A compiled model is looked into as the module it was made from, also when only a part of it is compiled."""
    model, x = ZOO[0]()
    wanted = _bare(model, x)
    whole = torch.compile(model, backend="eager")
    part = nn.Sequential(torch.compile(Functional().eval(), backend="eager"))
    part[0]._orig_mod.load_state_dict(model.state_dict())
    for compiled, name in ((whole, "conv2"), (part, "0.conv2")):
        with Capture(compiled, keep=[name]) as look:
            assert _close(look(x), wanted)
        assert look[name].shape == (4, 6, 2, 2)
    assert type(part[0]).__name__ == "OptimizedModule"


def test_parallel_models_are_unwrapped() -> None:
    """The layers of a parallel model have the names of the module that it runs, also when only a part is parallel."""
    model, x = next(specimen for specimen in ZOO if specimen.name == "parallel")()
    assert "conv1" in layers(model, x)
    part = nn.Sequential(model)
    assert "0.conv1" in layers(part, x)
    assert part[0] is model


def test_scripted_models_are_refused_by_name() -> None:
    """A scripted model is refused with its name and the way out."""
    with torch.jit.optimized_execution(False), pytest.warns(DeprecationWarning, match="script"):
        scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(NotApplicable, match="Sequential is a scripted model"):
        Capture(scripted, keep="all")


def test_lazy_models_are_refused_by_name() -> None:
    """A model whose weights have no shape yet is refused, and stays lazy."""
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(NotApplicable, match=r"0\.weight has no shape yet"):
        layers(model, torch.zeros(2, 2))
    assert isinstance(model[0], nn.LazyLinear)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_packed_sequences_are_read_as_each_example_alone(kind: type[nn.RNNBase]) -> None:
    """What a layer and its gates hold of an example in a packed batch is what they hold of it alone; then zeros."""
    torch.manual_seed(3)
    model, x, lengths = Ragged(kind).eval(), torch.randn(4, 6, 5), torch.tensor([3, 6, 1, 5])
    with Capture(model, "all", gates=True) as look:
        assert torch.allclose(look((x, lengths)), model(x, lengths), atol=1e-6)
    for k, length in enumerate(lengths):
        whole, _ = model.rnn(x[k, None, :length].transpose(0, 1))
        assert torch.allclose(look["rnn"][k, :length], whole[:, 0], atol=1e-6)
        assert torch.allclose(look["rnn.l1.reverse"][k, :length], whole[:, 0, 6:], atol=1e-6)
        assert torch.equal(look.gates["rnn.l1.reverse"].h[k], look["rnn.l1.reverse"][k])
        assert not look["rnn"][k, length:].any()


def test_an_edit_of_a_packed_step_changes_that_step_of_each_example() -> None:
    """A value put in at a step stands there in every example that has such a step, in the examples' own order."""
    torch.manual_seed(3)
    model, x, lengths = Ragged().eval(), torch.randn(4, 6, 5), torch.tensor([3, 6, 1, 5])
    patch = torch.arange(4.0)
    with Capture(model, ["rnn.l0", "rnn"], edits=[{"key": "unit:rnn.l0/2@2", "patch": patch}]) as look:
        look((x, lengths))
    assert look["rnn.l0"][:, 2, 2].tolist() == [0.0, 1.0, 0.0, 3.0]
    with Capture(model, ["rnn"], edits=[{"key": "unit:rnn/2", "lesion": True}]) as look:
        look((x, lengths))
    assert not look["rnn"][..., 2].any()
    assert look["rnn"][..., 3].any()


def test_an_edit_of_a_layer_at_a_place_changes_all_its_units_there_alone() -> None:
    """``layer:conv@1,2`` silences every unit at that place and nothing elsewhere."""
    model, x = nn.Sequential(nn.Conv2d(1, 3, 3)), torch.randn(2, 1, 6, 6)
    with Capture(model, ["0"], edits=[{"key": "layer:0@1,2", "lesion": True}]) as look:
        look(x)
    expected = model[0](x).detach().clone()
    expected[:, :, 1, 2] = 0
    assert torch.equal(look["0"], expected)
    with pytest.raises(UsageError, match="a place in 0 has 2 numbers"), Capture(
        model, edits=[{"key": "layer:0@1", "lesion": True}]
    ) as look:
        look(x)


def test_what_has_no_example_axis_reaches_the_model_as_it_is() -> None:
    """Nothing, flags, words, tensors without an axis, lists and packed sequences arrive; what may be split is split."""
    given: list[Any] = []

    class Spy(nn.Module):
        def forward(self, *args: Any) -> Tensor:
            given.append(args)
            return args[0]

    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 2), torch.ones(2, 2)])
    x = torch.randn(2, 3)
    whole = nesting.as_tensors((x, None, True, "word", torch.tensor(2.0), [x, x * 2], packed))
    with Capture(Spy()) as look:
        look(nesting.select(whole, [1]))
    first, none, flag, word, number, pair, sequence = given[-1]
    assert (none, flag, word, float(number)) == (None, True, "word", 2.0)
    assert torch.equal(first, x[1:])
    assert isinstance(pair, list)
    assert torch.equal(pair[1], x[1:] * 2)
    assert isinstance(sequence, nn.utils.rnn.PackedSequence)
    assert sequence.batch_sizes.tolist() == [1, 1]


def test_wrong_names_are_refused_with_the_nearest() -> None:
    """A layer that is not there, and one that was not kept, are refused with the nearest names."""
    model, x = Reused(), torch.randn(4, 5)
    with pytest.raises(NotFound, match="nearest: 'first'"):
        Capture(model, keep=["frist"])
    with Capture(model, keep=["act#3"]) as look:
        look(x)
        with pytest.raises(NotFound, match="captured layer"):
            look["first"]
        with pytest.raises(NotApplicable, match="does not run act#3 for this input"):
            look["act#3"]
    with pytest.raises(UsageError, match="with block"):
        Capture(model)(x)


def test_input_takes_the_models_own_type() -> None:
    """Single-precision examples are given to a model of another precision in its own."""
    model, x = Functional().double().eval(), torch.randn(2, 1, 8, 8)
    with Capture(model) as look:
        assert look(x).dtype == torch.float64


def test_output_keeps_its_class_when_a_part_is_replaced() -> None:
    """A module that returns a tuple still does when its first tensor is replaced by the edited one."""
    model, x = Outputs("tuple").eval(), torch.randn(4, 5)
    with Capture(model, keep=["split"], edits=[{"key": "unit:split/0", "value": 2.0}]) as look:
        scores, state = look(x)
    assert (state[:, 0] == 2).all()
    assert torch.equal(look["split"], state)


def test_training_in_another_thread_draws_what_it_would_alone() -> None:
    """Beside a thread that draws random numbers, a look neither takes numbers from it nor sets its generator back."""
    model, x = next(specimen for specimen in ZOO if specimen.name == "in_training")()
    torch.manual_seed(3)
    alone = [torch.rand(4) for _ in range(4)]
    turn, done = threading.Semaphore(0), threading.Semaphore(0)
    drawn: list[Tensor] = []

    def draw() -> None:
        for _ in range(4):
            turn.acquire()
            drawn.append(torch.rand(4))
            done.release()

    def step(name: str, tensor: Tensor) -> None:
        if name in ("body.0", "body.3"):
            turn.release()
            done.acquire()

    torch.manual_seed(3)
    thread = threading.Thread(target=draw)
    thread.start()
    for _ in range(2):
        with Capture(model, keep="all", mode="train", reduce=step) as look:
            look(x)
    thread.join()
    assert all(map(torch.equal, drawn, alone))
