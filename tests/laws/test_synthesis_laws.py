"""Laws of synthesis: objectives rise, classes are recognised, planted units are found, the model is left as it was."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.errors import Cancelled, NotApplicable, UsageError
from diorama.methods.method import Look
from diorama.methods.synthesis import objectives
from diorama.methods.synthesis.contest import StrongestExamples, contest
from diorama.methods.synthesis.engine import Ascent, form, values_of
from diorama.methods.synthesis.facets import facets
from diorama.methods.synthesis.objectives import Objective
from diorama.methods.synthesis.priors import Priors
from diorama.methods.synthesis.stage import MadeInput
from diorama.methods.synthesis.synthesize import synthesize

PICTURES = torch.rand(40, 1, 12, 12, generator=torch.Generator().manual_seed(0))


def _cnn() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(288, 10), nn.ReLU(), nn.Linear(10, 4),
        )


def _stage(model: nn.Module, x: Tensor, inputs: Any = None) -> MadeInput:
    examples = diorama.Scene(model, x, inputs=inputs).examples
    look = Look(model, x=x, kind=examples.kind, task="classification")
    return MadeInput.of(look, examples.kind, x, x)


CODE = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(5))
EVERY = {
    "unit": objectives.unit("3", 2),
    "unit at a place": objectives.unit("3", 2, (1, 4)),
    "channel": objectives.channel("0", 4),
    "neuron": objectives.neuron("3", 5),
    "dense unit": objectives.unit("6", 3),
    "rectified unit": objectives.unit("7", 3),
    "layer": objectives.norm("3"),
    "class": objectives.class_(2),
    "direction": objectives.direction("3", torch.arange(8.0) - 3.5),
    "direction by angle": objectives.direction("3", torch.arange(8.0) - 3.5, cosine=1.0),
    "difference": objectives.difference(objectives.unit("3", 1), objectives.unit("3", 2)),
    "sum": objectives.unit("3", 1) + 0.5 * objectives.class_(1),
    "negative": -objectives.unit("3", 2),
    "diversity": objectives.diversity("3"),
    "code": objectives.match("3", CODE),
    "own for each": objectives.each([objectives.unit("3", 1), objectives.class_(1), objectives.norm("0")]),
    "units": objectives.units("3", [0, 3, 5]),
    "classes": objectives.answers([0, 1, 3]),
}


@pytest.mark.parametrize("name", list(EVERY))
@pytest.mark.parametrize("parametrization", ["fourier", "pixels"])
def test_every_objective_rises(name: str, parametrization: Any) -> None:
    """From noise each objective of each input rises, as it is measured on the plain input."""
    stage = _stage(_cnn(), PICTURES)
    generator = torch.Generator().manual_seed(7)
    canvas = stage.canvas(3, generator, parametrization=parametrization)
    before = values_of(stage.look, EVERY[name], canvas.shown())
    *_, last = form(stage.look, canvas, EVERY[name], Ascent(50), generator)
    after = values_of(stage.look, EVERY[name], last.x)
    assert bool((after > before).all()), (before, after)
    assert last.curve.shape == (50, 3)


@pytest.mark.parametrize("value", [2, "two", "3/5", "unit:3/5@1,1", "layer:3", "3", (1, 2), "class:1"])
def test_objectives_are_read_from_what_people_write(value: Any) -> None:
    """Classes by index or name, keys, layers and pairs make an input whose objective is higher than any example's."""
    model = _cnn()
    made = synthesize(model, value, PICTURES, steps=60, classes=("zero", "one", "two", "three"))
    stage = _stage(model, PICTURES)
    wanted = Objective.of(value, stage.look.layers, stage.look.reading, ("zero", "one", "two", "three"))
    best = float(values_of(stage.look, wanted, PICTURES).max())
    assert float(made.values[0]) > best
    assert made.checks["value"] == pytest.approx(float(made.values[0]))


@pytest.mark.parametrize("kind", [
    diorama.Image(range=(0.0, 1.0)), diorama.Image(mean=0.5, std=0.25), diorama.Image(range=(-1.0, 1.0)),
])
def test_pictures_stay_in_their_range(kind: Any) -> None:
    """Even with long steps every number stays within the range of the kind."""
    low, high = kind.valid_range()
    for parametrization in ("fourier", "pixels"):
        made = synthesize(
            _cnn(), "3/2", PICTURES * (high - low) + low, steps=40, rate=20.0, inputs=kind,
            parametrization=parametrization,  # type: ignore[arg-type]
        )
        assert float(made.x.min()) >= low - 1e-5  # type: ignore[union-attr]
        assert float(made.x.max()) <= high + 1e-5  # type: ignore[union-attr]


@pytest.mark.parametrize("layout", ["NHWC", "NHW", "flat"])
def test_every_layout_is_made(layout: str) -> None:
    """Pictures whose channels lie last, that have none, or that are flat rows form as well."""

    class Laid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = _cnn()

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x.reshape(len(x), 1, 12, 12))

    shapes = {"NHWC": (40, 12, 12, 1), "NHW": (40, 12, 12), "flat": (40, 144)}
    kind = diorama.Image(layout=layout, height=12, width=12, channels=1, range=(0.0, 1.0))
    made = synthesize(Laid(), 1, PICTURES.reshape(shapes[layout]), steps=40, inputs=kind)
    assert made.x.shape == (1, *shapes[layout][1:])  # type: ignore[union-attr]
    assert float(made.curve[-1]) > float(made.curve[0])


@pytest.mark.parametrize("seed", [101, 202, 303])
def test_a_class_is_recognised_by_the_network(trained: tuple[nn.Module, Tensor], seed: int) -> None:
    """On seeds that nothing was tuned on, the network gives each class's picture to that class, also when it is moved."""
    model, x = trained
    for number in range(3):
        made = synthesize(
            model, number, x, task="classification", steps=80, seed=seed, total_variation=0.3, gaussian=0.3
        )
        with torch.no_grad():
            chance = model(made.x).softmax(1)[0]
        assert int(chance.argmax()) == number
        assert made.checks["probability"] == pytest.approx(float(chance[number]), abs=1e-4)
        assert made.checks["probability, moved"] > 0.8


def _edges() -> nn.Module:
    """Unit 0 of the first layer looks for a vertical edge, dark at the left; unit 1 for a horizontal one."""
    conv = nn.Conv2d(1, 2, 3, padding=1)
    with torch.no_grad():
        conv.weight[0, 0] = torch.tensor([[-1.0, 0.0, 1.0]] * 3)
        conv.weight[1, 0] = conv.weight[0, 0].T
        conv.bias.zero_()
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))


def test_a_planted_edge_is_drawn() -> None:
    """A unit wired to a vertical edge gets a picture with that edge at its place, and the negative the opposite one."""
    model = _edges()
    for sign, parametrization in ((1, "fourier"), (-1, "fourier"), (1, "pixels"), (-1, "pixels")):
        stage = _stage(model, PICTURES)
        canvas = stage.canvas(1, torch.Generator().manual_seed(0), parametrization=parametrization)  # type: ignore[arg-type]
        wanted = sign * objectives.neuron("0", 0, (6, 6))
        *_, last = form(stage.look, canvas, wanted, Ascent(120), torch.Generator().manual_seed(1))
        patch = last.x[0, 0, 5:8, 5:8]  # type: ignore[index]
        across = float(patch[:, 2].mean() - patch[:, 0].mean()) * sign
        along = float((patch[2] - patch[0]).abs().mean())
        assert across > 0.6
        assert along < 0.5 * across


class _TwoFacets(nn.Module):
    """A unit that responds to a bright top left or to a bright bottom right corner, whichever is brighter."""

    def __init__(self) -> None:
        super().__init__()
        self.corners = nn.Conv2d(1, 2, 12, bias=False)
        self.both = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            weight = torch.full((2, 1, 12, 12), -0.02)
            weight[0, 0, :5, :5] = 0.1
            weight[1, 0, 7:, 7:] = 0.1
            self.corners.weight.copy_(weight)
            self.both.weight.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.both(torch.relu(self.corners(x)[:, :, 0, 0]))


def test_two_facets_are_told_apart() -> None:
    """A unit with two planted facets gets one picture of each, which each excite their own half of it."""
    model, generator = _TwoFacets(), torch.Generator().manual_seed(0)
    x = torch.rand(120, 1, 12, 12, generator=generator) * 0.3
    x[:40, :, :5, :5] += 0.6
    x[40:80, :, 7:, 7:] += 0.6
    stage = _stage(model, x)
    wanted = objectives.unit("both", 0)
    found = facets(stage.look, wanted, x, 0, 2, "corners")
    assert len(found.members) == 2
    assert {int(group[0] >= 40) for group in found.members} == {0, 1}
    assert all(len({k // 40 for k in group}) == 1 for group in found.members)
    start = stage.frame.planes(found.starts)
    canvas = stage.canvas(2, generator, start=start, noise=0.05)
    *_, last = form(stage.look, canvas, wanted, Ascent(60, priors=Priors(total_variation=0.1)), generator)
    with torch.no_grad():
        halves = model.corners(last.x)[:, :, 0, 0]
    assert bool((halves[0] > halves[0].flip(0)).any())
    assert int(halves[0].argmax()) != int(halves[1].argmax())
    assert bool((halves.amax(1) > 2 * halves.amin(1).clamp_min(0)).all())


class _TwoInputs(nn.Module):
    """A picture and a row, each with a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.told, self.both = nn.Linear(16, 3), nn.Linear(5, 4), nn.Linear(7, 2)

    def forward(self, picture: Tensor, row: Tensor) -> Tensor:
        """Both, side by side."""
        out: Tensor = self.both(torch.cat([self.seen(picture.flatten(1)), self.told(row)], 1))
        return out


@pytest.mark.parametrize(("unit", "made"), [("seen/1", "picture"), ("told/2", "row"), ("both/0", "picture")])
def test_the_input_that_reaches_a_unit_is_made(unit: str, made: str) -> None:
    """Of several inputs one that the unit depends on is made, and the others are those of the example."""
    x = {"picture": torch.rand(12, 1, 4, 4), "row": torch.randn(12, 5)}
    found = synthesize(_TwoInputs(), unit, x, steps=4)
    changed = [name for name in x if not torch.equal(found.x[name][0], x[name][0])]  # type: ignore[index]
    assert changed == [made]
    assert "The other input is that of the example." in found.note


def _as_it_is(model: nn.Module) -> list[Any]:
    found: list[Any] = [torch.get_rng_state().tolist(), torch.is_grad_enabled(), torch.get_num_threads()]
    for name, module in model.named_modules():
        found.append((name, module.training, len(module._forward_hooks), len(module._forward_pre_hooks)))
    for name, part in (*model.named_parameters(), *model.named_buffers()):
        found.append((name, id(part), part.tolist(), part.requires_grad, part.grad, part._version))
    return found


def test_the_model_is_left_as_found_also_between_looks() -> None:
    """While a synthesis waits to be asked for more, and after it was left half-way, the model is as it was."""
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(300, 3)).train()
    before = _as_it_is(model)
    stage = _stage(model, PICTURES)
    canvas = stage.canvas(2, torch.Generator().manual_seed(0))
    stream = form(stage.look, canvas, objectives.class_(1), Ascent(200, first=0.0, every=0.0), torch.Generator())
    for _ in range(3):
        next(stream)
        assert _as_it_is(model) == before
    stream.close()
    assert _as_it_is(model) == before


def test_a_seed_makes_the_same_picture_again() -> None:
    """The same seed gives the same picture however often it is looked at; another seed another one."""
    model = _cnn()
    first = synthesize(model, 1, PICTURES, steps=30, seed=3)
    again = synthesize(model, 1, PICTURES, steps=30, seed=3)
    other = synthesize(model, 1, PICTURES, steps=30, seed=4)
    assert torch.equal(first.x, again.x)  # type: ignore[arg-type]
    assert not torch.equal(first.x, other.x)  # type: ignore[arg-type]


def test_a_batch_is_its_pictures_one_by_one() -> None:
    """All units of a layer made in one batch are what each makes alone from the same start."""
    stage = _stage(_cnn(), PICTURES)
    start = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    units, ascent = [1, 4, 6], Ascent(25, priors=Priors(total_variation=0.2, gaussian=0.2))
    canvas = stage.canvas(3, torch.Generator(), start=start, noise=0.0)
    *_, whole = form(stage.look, canvas, objectives.units("3", units), ascent, torch.Generator().manual_seed(1))
    for k, unit in enumerate(units):
        alone = stage.canvas(1, torch.Generator(), start=start[k : k + 1], noise=0.0)
        *_, one = form(stage.look, alone, objectives.unit("3", unit), ascent, torch.Generator().manual_seed(1))
        torch.testing.assert_close(one.x[0], whole.x[k], atol=2e-3, rtol=1e-3)  # type: ignore[index]


class _Steep(nn.Module):
    """Its answer overflows where the input is bright."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x.flatten(1).mean(1, keepdim=True)
        return torch.cat([bright + torch.exp((bright - 0.6) * 1e4), bright * 0], 1)


def test_divergence_is_taken_back_and_said() -> None:
    """Steps to infinite values are taken back with half the step, the picture stays finite, and the note says so."""
    made = synthesize(_Steep(), 0, PICTURES, steps=80, rate=4.0, task="regression", jitter=0)
    assert bool(torch.isfinite(made.x).all())  # type: ignore[arg-type]
    assert "taken back" in made.note
    assert 0.5 < float(made.x.mean()) <= 0.61  # type: ignore[union-attr]


def test_a_network_of_nothing_but_nan_says_so() -> None:
    """Where no start gives a finite number the synthesis ends soon and says that nothing could form."""
    model = _cnn()
    with torch.no_grad():
        model[0].weight.fill_(math.nan)  # type: ignore[union-attr]
    made = synthesize(model, "3/2", PICTURES, steps=200)
    assert "nothing could form" in made.note
    assert len(made.curve) < 30


def test_rows_stay_within_the_columns_ranges() -> None:
    """The row made for a table raises its class within what each column has among the examples; constants stay."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10.0, 0.1, 0.0])
    made = synthesize(model, 2, x, steps=80)
    row = made.x[0]  # type: ignore[index]
    assert bool((row >= x.amin(0) - 1e-5).all())
    assert bool((row <= x.amax(0) + 1e-5).all())
    assert float(made.values[0]) > float(values_of(_stage(model, x).look, objectives.class_(2), x).max()) - 1e-4
    assert "ranges" in made.note


class _Bag(nn.Module):
    """Reads a text as the mean of its tokens' embeddings."""

    def __init__(self, tokens: int = 12, width: int = 5) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.embed, self.out = nn.Embedding(tokens, width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.embed(x).mean(1))


TEXTS = torch.randint(0, 12, (20, 6), generator=torch.Generator().manual_seed(0))


def test_texts_are_tokens_that_the_network_answers_to() -> None:
    """The text made consists of tokens, and none of them could be better for a network that weighs each by itself."""
    model = _Bag()
    made = synthesize(model, 2, TEXTS, steps=120, task="classification")
    assert made.x.dtype == TEXTS.dtype  # type: ignore[union-attr]
    assert made.x.shape == (1, 6)  # type: ignore[union-attr]
    with torch.no_grad():
        scores, best = model(made.x), model.out(model.embed.weight)[:, 2].max()
    assert int(scores.argmax()) == 2
    torch.testing.assert_close(scores[0, 2], best)


def test_a_text_is_tokens_in_every_step() -> None:
    """What the network reads in each step of a synthesis are rows of its table, so that its values are those of texts."""
    model, read = _Bag(40, 6), []
    model.embed.register_forward_hook(lambda module, args, rows: read.append(rows.detach()))
    synthesize(model, 1, TEXTS, steps=20, task="classification")
    assert len(read) >= 20
    assert all(bool((rows[:, :, None] == model.embed.weight).all(-1).any(-1).all()) for rows in read)


def test_columns_and_tokens_have_no_neighbours() -> None:
    """Total variation pulls no columns of a table and no numbers of an embedding together."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        table = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    for model, x in ((table, rows), (_Bag(), TEXTS)):
        free, pulled = (
            synthesize(model, 2, x, steps=20, total_variation=weight, task="classification") for weight in (0.0, 9.0)
        )
        torch.testing.assert_close(free.x, pulled.x)
        torch.testing.assert_close(free.curve, pulled.curve)


def test_what_cannot_be_followed_is_refused() -> None:
    """Whole numbers without an embedding, units and layers that do not exist, and too few inputs are refused in words."""

    class Counts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.one_hot(x, 5).float().mean(1)

    with pytest.raises(NotApplicable, match="no embedding"):
        synthesize(Counts(), 1, torch.randint(0, 5, (4, 3)), task="classification")
    with pytest.raises(UsageError, match="units 0 to 7"):
        synthesize(_cnn(), "3/8", PICTURES)
    with pytest.raises(UsageError, match="no layer named"):
        synthesize(_cnn(), "conv/1", PICTURES)
    with pytest.raises(UsageError, match="classes 0 to 3"):
        synthesize(_cnn(), 4, PICTURES)
    with pytest.raises(UsageError, match="count=0"):
        synthesize(_cnn(), 1, PICTURES, count=0)


def test_a_synthesis_can_be_stopped() -> None:
    """Once nobody wants it any more it raises at the next step."""
    steps = iter(range(5))

    def cancel() -> None:
        if next(steps, None) is None:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        synthesize(_cnn(), 1, PICTURES, cancel=cancel)


def test_a_rectified_unit_that_starts_off_is_woken() -> None:
    """A unit behind a ReLU that is off in the noise is shaken until it responds."""
    conv = nn.Conv2d(1, 1, 12)
    with torch.no_grad():
        conv.weight.fill_(-0.2)
        conv.weight[0, 0, :, :6] = 0.2
        conv.bias.fill_(-1.0)
    model = nn.Sequential(conv, nn.ReLU())
    made = synthesize(model, "1/0", PICTURES, steps=120)
    assert float(made.values[0]) > 3


class _Needle(nn.Module):
    """Its unit is off unless the picture is nearly one of the examples: no slope leads there from noise."""

    def __init__(self, wanted: Tensor) -> None:
        super().__init__()
        self.match = nn.Linear(wanted.numel(), 1, bias=False)
        with torch.no_grad():
            self.match.weight.copy_((wanted / wanted.norm()).reshape(1, -1))

    def forward(self, x: Tensor) -> Tensor:
        flat = (x - 0.5).flatten(1)
        return self.match(flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-6)).sub(0.8).relu()


@pytest.mark.parametrize("parametrization", ["fourier", "pixels"])
def test_what_is_made_is_at_least_as_strong_as_the_strongest_example(parametrization: Any) -> None:
    """Where noise leads nowhere, it is made again from the strongest example and says so; each input on its own."""
    model = _Needle(PICTURES[7] - 0.5)
    made = synthesize(model, "match/0", PICTURES, steps=30, parametrization=parametrization, inputs=diorama.Image(range=(0.0, 1.0)))
    assert float(made.values[0]) >= made.checks["strongest example"] > 0.99
    assert "made again from that example" in made.note
    stage = _stage(_cnn(), PICTURES, diorama.Image(range=(0.0, 1.0)))
    wanted = objectives.units("3", [0, 3, 5]) * torch.tensor([1.0, -1.0, 1.0])
    best = StrongestExamples.of(stage, wanted, PICTURES)
    units = _cnn()[:4](PICTURES).detach()[:, [0, 3, 5]].mean((2, 3)) * torch.tensor([1.0, -1.0, 1.0])  # type: ignore[index]
    torch.testing.assert_close(best.values, units.amax(0))
    assert best.numbers.tolist() == units.argmax(0).tolist()
    # Three steps lead nowhere, so all three are made again.
    generator = torch.Generator().manual_seed(0)
    canvas = stage.canvas(3, generator, parametrization=parametrization)
    *_, last = contest(stage, canvas, wanted, Ascent(3), generator, best, parametrization)
    assert bool((last.values >= best.values - 1e-3).all())
    torch.testing.assert_close(last.values, values_of(stage.look, wanted, last.x))


def test_the_best_step_comes_out_as_it_is_shown() -> None:
    """With steps far too long, or looks at moved pictures, what comes out is the best that was seen, measured plainly."""
    stage, generator = _stage(_cnn(), PICTURES), torch.Generator().manual_seed(3)
    canvas = stage.canvas(2, generator, parametrization="pixels")
    wanted = objectives.units("3", [2, 4])
    *_, last = form(stage.look, canvas, wanted, Ascent(40, 30.0), generator)
    torch.testing.assert_close(last.values, values_of(stage.look, wanted, last.x))
    assert bool((last.values >= last.curve.amax(0) - 1e-5).all())
    moved = stage.suited(Ascent(40), jitter=6, scale=0.4, rotate=40.0, crop=0.4)
    canvas = stage.canvas(2, generator, parametrization="pixels")
    *_, last = form(stage.look, canvas, wanted, moved, generator)
    torch.testing.assert_close(last.values, values_of(stage.look, wanted, last.x))


def test_a_text_ends_at_its_best_step_and_not_below_the_data() -> None:
    """Tokens jump, so the last step is seldom the best: what comes out is, and is worth no less than any of the texts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 5))
    x = torch.randint(0, 9, (60, 6), generator=torch.Generator().manual_seed(1))
    for number in range(5):
        made = synthesize(model, f"4/{number}", x, steps=12, inputs=diorama.Tokens(vocabulary=tuple("abcdefghi")))
        own = model(x).detach()[:, number]
        assert made.checks["strongest example"] == pytest.approx(float(own.max()))
        assert float(made.values[0]) >= max(float(own.max()), float(made.curve.nan_to_num(-99).max())) - 1e-5
        assert float(model(made.x).detach()[0, number]) == pytest.approx(float(made.values[0]), abs=1e-5)


def test_a_measure_of_its_own_tells_all_that_forms() -> None:
    """Where inputs are measured by something else than what is climbed, each look and the best step are told by that.

    The best is no weaker than what it began with, than where the last step led, and than what eight steps of the second half
    looked at as it stood.
    """
    stage, generator = _stage(_cnn(), PICTURES), torch.Generator().manual_seed(3)
    climbed, measure = objectives.units("3", [2, 4]), objectives.peaks("3", [2, 4])
    ascent = stage.suited(Ascent(66, first=0.0, every=0.0), jitter=2, scale=0.1, rotate=5.0, crop=0.1)
    canvas = stage.canvas(2, generator)
    states, hold = [canvas.shown()], canvas.hold

    def held() -> None:
        hold()
        states.append(canvas.shown())

    canvas.hold = held  # type: ignore[method-assign]
    for formed in form(stage.look, canvas, climbed, ascent, generator, measure):
        torch.testing.assert_close(formed.values, values_of(stage.look, measure, formed.x))
    measured = torch.stack([values_of(stage.look, measure, states[k]) for k in (0, *range(34, 63, 4), 66)])
    assert len(states) == 67
    assert bool((formed.values >= measured.amax(0) - 1e-6).all())
    assert bool((measured[-1] < measured.amax(0) - 1e-6).any()), "the last step is the best here, so nothing is told"
