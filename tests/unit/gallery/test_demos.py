"""Every demo trains on its own data and on a user's, records what it does, and learns."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import handwritten_digits
import numpy as np
import pytest
import torch

from diorama.core import registry
from diorama.core.errors import DioramaError, NotApplicable, UsageError
from diorama.data import nesting
from diorama.data.examples import Examples
from diorama.data.kinds import Image, Tokens
from diorama.gallery import Demo
from diorama.record.store import RunReader

SMALL: dict[str, dict[str, Any]] = {
    "text": {"hidden": 16, "batch": 4}, "gpt": {"width": 32, "layers": 1, "batch": 4, "learning_rate": 0.01}, "vit": {"layers": 1, "width": 32},
}


def _demo(name: str, **knobs: Any) -> Demo:
    made: Demo = registry.demos[name](**{"pace": 0.0, **SMALL.get(name, {}), **knobs})
    return made


@pytest.mark.parametrize("name", registry.demos)
def test_a_demo_records_a_training_in_one_or_in_two_parts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps give a run with its scalars, held-out examples and task, and tell each step. Taken up where it ended, with its optimizer's
    memory, a training ends with bitwise the same weights."""
    told: list[tuple[int, dict[str, float]]] = []
    demo = _demo(name)
    read = demo.prepare()
    assert read.held_out is not None
    examples = dataclasses.replace(read, held_out=read.held_out.first(24))  # how many are looked at changes nothing of what is asserted
    monkeypatch.setattr(type(demo), "prepare", lambda *_: examples)  # three trainings, one reading
    threads = torch.get_num_threads()
    whole = demo.run(tmp_path / "whole", steps=9, on_step=lambda step, scalars: told.append((step, dict(scalars))))
    assert [step for step, _ in told] == list(range(1, 10))
    assert torch.get_num_threads() == threads
    with RunReader(tmp_path / "whole") as run:
        steps, loss = run.series("loss")
        np.testing.assert_allclose(loss, [scalars["loss"] for _, scalars in told])
        assert list(steps) == list(range(1, 10))
        assert run.meta["task"] == type(demo).task
        assert run.meta["name"] == name
        assert run.meta["examples"] == len(examples.held_out)  # type: ignore[arg-type]
        assert run.snapshots[0] == 0
        assert run.snapshots[-1] == 9
    _demo(name).run(tmp_path / "parts", steps=4)
    parts = _demo(name).run(tmp_path / "parts", steps=9)
    for one, other in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", [name for name in registry.demos if name != "hello"])  # which learns one word by heart
def test_held_out_examples_are_never_trained_on(name: str) -> None:
    """The training and the held-out examples have none in common, and both follow from the seed."""
    first, again, other = (_demo(name, seed=seed).prepare() for seed in (1, 1, 2))
    assert first.held_out is not None
    assert other.held_out is not None
    assert all(map(torch.equal, nesting.tensors(first.x), nesting.tensors(again.x)))
    assert not all(map(torch.equal, nesting.tensors(first.held_out.x), nesting.tensors(other.held_out.x)))
    if name in ("digits", "moons", "regression"):
        mine, others = ({tuple(row.flatten().tolist()) for row in nesting.first(one.x)} for one in (first, first.held_out))
        assert not mine & others


@pytest.mark.parametrize(("name", "steps", "least"), [
    ("digits", 300, 0.9), ("moons", 400, 0.88), ("text", 60, 0.15), ("topics", 250, 0.4), ("tuned", 400, 0.6),
    ("gpt", 60, 0.15), ("vit", 120, 0.25),
])
def test_a_demo_learns(name: str, steps: int, least: float) -> None:
    """After a short training the held-out examples are answered far better than by chance."""
    demo = _demo(name)
    examples = demo.prepare()
    model = demo.build(examples)
    for _ in demo.trainer(model, examples).run(steps):
        pass
    held_out = examples.held_out
    assert held_out is not None
    with torch.no_grad():
        output = model.eval()(held_out.x)
    assert demo.metrics()["accuracy"](output, held_out.y) > least  # type: ignore[arg-type]


def test_regression_predicts_in_its_own_units() -> None:
    """The network that predicts numbers does so in the table's units, better than the mean does."""
    for table in ("diabetes", "waves"):
        demo = _demo("regression", table=table)
        examples = demo.prepare()
        model = demo.build(examples)
        for _ in demo.trainer(model, examples).run(150):
            pass
        held_out = examples.held_out
        assert held_out is not None
        assert held_out.y is not None
        assert examples.y is not None
        with torch.no_grad():
            error = demo.metrics()["error"](model(held_out.x), held_out.y)
        assert error < 0.85 * float((held_out.y - examples.y.mean()).abs().mean())


def test_first_weights_follow_from_the_seed() -> None:
    """The same seed gives the same network, another one another, and the process's random state stays as it was."""
    before = torch.get_rng_state()
    weights = []
    for seed in (1, 1, 2):
        demo = _demo("moons", seed=seed)
        weights.append(next(demo.build(demo.prepare()).parameters()).detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_plain_digits_network_shows_digits() -> None:
    """Early in the training the first weights look like differences of digits; nearly all are spread smoothly."""
    demo = _demo("digits", model="mlp")
    examples = demo.prepare()
    model = demo.build(examples)
    for _ in demo.trainer(model, examples).run(120):
        pass
    weights = model.get_submodule("hidden").weight.detach().reshape(-1, 24, 24)  # type: ignore[operator, union-attr]
    across = torch.stack(
        [torch.corrcoef(torch.stack([w[:, :-1].flatten(), w[:, 1:].flatten()]))[0, 1] for w in weights]
    )
    assert float((across > 0.7).float().mean()) > 0.9


def test_a_folder_is_taken_up_again(tmp_path: Path) -> None:
    """Running again into a folder goes on where its training ended; a finished one stays as it is; another network
    is refused."""
    _demo("moons").run(tmp_path / "run", steps=5)
    _demo("moons").run(tmp_path / "run", steps=5)
    _demo("moons").run(tmp_path / "run", steps=8)
    with RunReader(tmp_path / "run") as run:
        assert list(run.series("loss")[0]) == list(range(1, 9))
    with pytest.raises(UsageError, match="another network"):
        _demo("moons", hidden=5).run(tmp_path / "run", steps=9)


def test_users_data_takes_the_place_of_the_demos(tmp_path: Path) -> None:
    """Images, tables and texts of a user's own are trained on, whatever their sizes and classes."""
    generator = np.random.default_rng(0)
    colour = generator.integers(0, 255, (30, 70, 90, 3)).astype(np.uint8)
    np.savez(tmp_path / "photos.npz", x=colour, y=np.arange(30) % 3, classes=np.array(["a", "b", "c"]))
    np.savez(tmp_path / "tiny.npz", x=generator.uniform(-1, 1, (20, 1, 6, 6)), y=np.arange(20) % 2)
    rows = "".join(f"{a:.3f},{b:.3f},{a + b:.3f}\n" for a, b in generator.uniform(0, 1, (60, 2)))
    (tmp_path / "table.csv").write_text("a,b,target\n" + rows)
    (tmp_path / "classes.csv").write_text("a,b,c,kind\n" + "1,2,3,x\n3,2,1,y\n" * 20)
    (tmp_path / "text.txt").write_text("to be or not to be. " * 100)
    for name, file in (
        ("digits", "photos.npz"), ("digits", "tiny.npz"), ("regression", "table.csv"), ("moons", "classes.csv"),
        ("text", "text.txt"),
    ):
        for model in ("cnn", "mlp") if name == "digits" else (None,):
            demo = _demo(name, **({"model": model} if model else {}))
            path = tmp_path / f"{name}-{file}-{model}"
            demo.run(path, steps=2, data=tmp_path / file)
            with RunReader(path) as run:
                assert run.last_step == 2


def test_a_typed_sentence_is_read_as_the_topics_were() -> None:
    """Capitals and marks that stand at a word do not make it unknown; the words are those of the examples."""
    kind = _demo("topics").prepare().kind
    assert isinstance(kind, Tokens)
    typed = kind.encode({"kind": "text", "text": "Return the SOCKET, please!"})
    assert kind.decode(typed)[0][:4] == ["return", "the", "socket", ","]


@pytest.mark.parametrize(("name", "length"), [("text", 200), ("gpt", 200), ("text", 110)])
def test_a_text_that_is_too_short_is_told_how_long_it_has_to_be(name: str, length: int, tmp_path: Path) -> None:
    """A text is no example: what is missing is told in characters, and a text of so many is taken."""
    short, long = tmp_path / "short.txt", tmp_path / "long.txt"
    short.write_text(("to be or not to be. " * 20)[:length])
    with pytest.raises(UsageError, match=r"text of at least \d+ characters") as refused:
        _demo(name).prepare(short)
    wanted = int(re.search(r"at least (\d+)", str(refused.value)).group(1))  # type: ignore[union-attr]
    long.write_text(("to be or not to be. " * 100)[:wanted])
    assert _demo(name).prepare(long).held_out is not None


def test_data_of_another_kind_is_refused() -> None:
    """A demo that cannot learn from the data says which one can; data without labels is refused."""
    table = Examples.of(torch.randn(20, 3), torch.arange(20) % 2)
    text = Examples.of(torch.randint(0, 5, (20, 9)), torch.randint(0, 5, (20, 9)), inputs=Tokens("abcde"))
    images = Examples.of(torch.rand(20, 1, 8, 8), torch.arange(20) % 2, inputs=Image())
    for name, wrong in (("digits", table), ("moons", images), ("regression", text), ("text", table), ("topics", images)):
        with pytest.raises(NotApplicable, match="demo"):
            _demo(name).prepare(wrong)
    with pytest.raises(UsageError, match="labels"):
        _demo("moons").prepare(Examples.of(torch.randn(20, 3)))
    with pytest.raises(NotApplicable, match="named classes"):
        _demo("regression").prepare(Examples.of(torch.randn(20, 3), torch.arange(20) % 2, ["cat", "dog"]))
    with pytest.raises(DioramaError):
        _demo("moons").prepare("no such file.csv")


@pytest.mark.parametrize("which", ["own", "real"])
def test_mnist_takes_the_place_of_the_digits(tmp_path: Path, which: str) -> None:
    """MNIST's training and test sets are used as they come, its pixels as numbers from 0 to 1."""
    path, count, _ = handwritten_digits.file(which, tmp_path)
    examples = _demo("digits").prepare(path)
    assert isinstance(examples.x, torch.Tensor)
    assert examples.x.shape == (count, 1, 28, 28)
    assert float(examples.x.max()) == 1.0
    assert examples.held_out is not None
    assert examples.held_out.kind == examples.kind
    assert isinstance(examples.kind, Image)
    assert examples.kind.drawing is not None


@pytest.mark.parametrize(("model", "most"), [("variational", 0.8), ("plain", 0.8)])
def test_digits_are_drawn_again_from_a_few_numbers(model: str, most: float) -> None:
    """After a short training digits that were never seen are drawn better from four numbers than by the mean digit."""
    demo = _demo("autoencoder", model=model, latent=4)
    examples = demo.prepare()
    coder = demo.build(examples)
    told = list(demo.trainer(coder, examples).run(200))
    assert ("divergence" in told[-1]) == (model == "variational")
    assert told[-1]["loss"] < 0.2 * told[0]["loss"]
    held_out = examples.held_out
    assert held_out is not None
    x = held_out.x
    assert isinstance(x, torch.Tensor)
    with torch.no_grad():
        answer, again = coder.eval()(x), coder(x)
    assert torch.equal(answer["picture"], again["picture"]), "what is looked at is not drawn at random"
    assert answer["mean"].shape == (len(x), 4)
    assert float((answer["picture"] - x).square().mean()) < most * float((x - x.mean(0)).square().mean())


def test_the_autoencoder_wants_sides_it_can_halve_twice() -> None:
    """Pictures whose sides cannot be halved twice are refused in words."""
    demo = _demo("autoencoder")
    examples = demo.prepare(Examples.of(torch.rand(20, 1, 10, 10), torch.arange(20) % 2))
    with pytest.raises(UsageError, match="multiples of 4"):
        demo.build(examples)


def test_both_curves_of_a_regression_have_one_scale() -> None:
    """The loss of the probe set is counted as the training's: on the same rows they are equal."""
    demo = _demo("regression")
    examples = demo.prepare(None)
    model = demo.build(examples)
    trainer = demo.trainer(model, examples)
    output = model(examples.x)
    counted = demo.criterion(model)(output, examples.y)
    assert counted.shape == examples.y.shape
    torch.testing.assert_close(counted.mean(), trainer.loss(output, examples.y))
