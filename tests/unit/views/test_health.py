"""The overview of all layers: every cell against a slow reference, what it says, and how it folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded_runs import recorded
from torch import nn

from diorama.core.errors import NotApplicable
from diorama.core.marks import Lines, Table
from diorama.core.numerals import percent
from diorama.core.picture import Picture
from diorama.record import ranges
from diorama.record.findings import Diagnosis
from diorama.record.recorder import watch
from diorama.run import Run, open_run
from diorama.views import layer_health
from diorama.views.layer_health import MEASURES


def _trained(path: Path, model: nn.Module, steps: int = 12, rate: float = 0.1, spoil: Any = None) -> Run:
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    y = (x[:, 0] > 0).long()
    optimizer = torch.optim.SGD(model.parameters(), rate)
    with watch(model, path, probe=(x, y), optimizer=optimizer, every=1, snapshots=4) as recorder:
        for step in range(1, steps + 1):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if spoil is not None:
                spoil(model, step)
            recorder.step(loss=loss.detach())
    return open_run(path)


def _deep(count: int, width: int = 8) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, width))
    for _ in range(count):
        model.append(nn.Sequential(nn.Linear(width, width), nn.Tanh()))
    return model.append(nn.Linear(width, 2))


def _table(picture: Picture) -> Table:
    return next(mark for mark in picture.marks() if isinstance(mark, Table))


def _wrong(table: Table) -> tuple[str, ...]:
    return next((column.texts for column in table.columns if column.name == "what is wrong"), ())


def _look(run: Run, step: int | None = None, **knobs: Any) -> Picture:
    return list(run.scene(step).stream("health", **knobs))[-1]


def _slowly(measure: str, values: dict[str, list[float]], sizes: dict[str, int], layer: str, at: int) -> tuple[float, float]:
    """The healthy ends of one reading, from the words of the ranges."""
    now = [series[at] for series in values.values()]
    if measure == "update":
        return (0.001 * float(np.median(now)) if len(now) > 2 else -np.inf), 0.1
    if measure == "gradient":
        most = max(series[at] / sizes[name] ** 0.5 for name, series in values.items())
        return 1e-4 * most * sizes[layer] ** 0.5, np.inf
    if measure == "weights":
        return 0.05 * values[layer][0], 20 * values[layer][0]
    if measure == "spread":
        return (1e-4 * float(np.median(now)), 1e4 * float(np.median(now))) if len(now) > 2 else (-np.inf, np.inf)
    raise AssertionError(measure)


def test_the_numbers_are_those_of_the_record(tmp_path: Path) -> None:
    """Values and healthy ends of every layer at every reading equal a slow reading of the series one by one."""
    run = _trained(tmp_path / "run", _deep(3))
    layers = layer_health.layers_of(run, run.last_step)
    health = layer_health.judged(layers, layer_health.read(run, layers, run.series_names), run.last_step)
    names = [layer["name"] for layer in layers if layer["weight"]]
    sizes = {name: run.scene().parameters()[f"{name}.weight"].size for name in names}
    form = {"update": "updates/{}.weight/ratio", "gradient": "gradients/{}.weight/norm", "weights": "weights/{}.weight/norm"}
    for measure, text in form.items():
        values = {name: run.series(text.format(name))[1].tolist() for name in names}
        found, (low, high) = health.readings[measure], health.ends[measure]
        for row, layer in enumerate(layers):
            if layer["weight"]:
                assert found.values[row].tolist() == values[layer["name"]]
                for at in range(len(found.steps)):
                    wanted = _slowly(measure, values, sizes, layer["name"], at)
                    assert (low[row, at], high[row, at]) == pytest.approx(wanted)
    every = {layer["name"]: run.histograms(f"activations/{layer['name']}") for layer in layers}
    spread = {name: histogram.std.tolist() for name, histogram in every.items()}
    for row, layer in enumerate(layers):
        name = layer["name"]
        assert health.readings["mean"].values[row] == pytest.approx(every[name].mean)
        assert health.readings["spread"].values[row] == pytest.approx(every[name].std)
        assert health.ends["mean"][1][row] == pytest.approx(30 * every[name].std)
        for at in range(len(health.readings["spread"].steps)):
            ends = health.ends["spread"][0][row if health.ends["spread"][0].shape[0] > 1 else 0, at]
            assert ends == pytest.approx(_slowly("spread", spread, sizes, name, at)[0])


def test_older_runs_tell_means_by_their_histograms(tmp_path: Path) -> None:
    """A run whose recorder kept no means shows the same means and spreads, read from its histograms."""
    run = _trained(tmp_path / "run", _deep(2))
    layers = layer_health.layers_of(run, run.last_step)
    names = run.series_names
    new = layer_health.read(run, layers, names)
    old = layer_health.read(run, layers, [name for name in names if not name.endswith(("/mean", "/std"))])
    assert list(new) == list(old)
    for measure in ("mean", "spread"):
        assert np.allclose(new[measure].values, old[measure].values)


def test_weights_that_do_not_move_are_counted(tmp_path: Path) -> None:
    """The share of a weight that a step changed is that of its elements that differ."""
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        model[0].bias[:2] = -100.0  # two units are dead: neither they nor what they lead to gets a gradient
    run = _trained(tmp_path / "run", model)
    assert run.series("updates/0.weight/moved")[1] == pytest.approx(np.full(12, 3 / 5))
    assert run.series("updates/2.weight/moved")[1] == pytest.approx(np.full(12, 3 / 5))


def test_a_layer_that_a_sound_training_leaves_alone_is_told(tmp_path: Path) -> None:
    """A healthy training has nothing coloured, a layer that is frozen on purpose neither; where a layer's gradient is taken away it comes
    first, and is told why."""
    kept = _deep(3)
    kept[1][0].requires_grad_(requires_grad=False)
    calm = _look(_trained(tmp_path / "calm", kept))
    assert dict(zip(*(_table(calm).columns[k].texts for k in (0, -1)), strict=True))["1.0"] == "frozen"
    assert all(not column.outside.any() for column in _table(calm).columns if column.kind == "history")
    assert "all numbers of the " in calm.caption
    model = _deep(3)
    model[2][0].weight.register_hook(lambda gradient: gradient * 1e-9)
    picture = _look(_trained(tmp_path / "ill", model))
    table = _table(picture)
    assert table.columns[0].texts[0] == "2.0"
    assert "2.0" in picture.caption
    assert _wrong(table)[0] == "it hardly moves while the other layers do, since step 1, and 2 more"
    by_name = {column.name: column for column in table.columns}
    assert by_name["gradient"].outside[0] == by_name["update"].outside[0] == -1
    place = _table(_look(open_run(tmp_path / "ill"), sort="place"))
    assert place.columns[0].texts == tuple(layer["name"] for layer in layer_health.layers_of(open_run(tmp_path / "ill"), 12))


def test_the_map_warns_of_what_the_overview_tells(tmp_path: Path) -> None:
    """A card of the network map warns where, and only where, the overview has a number outside its range."""
    model = _deep(3)
    model[2][0].weight.register_hook(lambda gradient: gradient * 1e-9)
    run = _trained(tmp_path / "run", model)
    (body,) = [picture.body for picture in list(run.scene().stream("map"))[-1:]]
    warned = {block.label: block.warning for block in body.blocks if block.warning}
    assert set(warned) == {"2.0"}
    assert "too low since step 1" in warned["2.0"]
    table = _table(_look(run))
    assert [name for name, flag in zip(table.columns[0].texts, table.flagged, strict=True) if flag] == ["2.0"]


def test_units_that_die_are_told_as_what_they_are(tmp_path: Path) -> None:
    """Where some units die during the training the overview says so, and speaks of the whole layer only where it is silent."""

    def killed(*counts: int) -> Any:
        def spoil(model: nn.Module, step: int) -> None:
            if step in range(4, 4 + len(counts)):
                with torch.no_grad():
                    model[0].bias[: counts[step - 4]] = -6.0

        return spoil

    some, all_of_it = "some of its units have died while it learnt, since step 5", "almost the whole layer is silent, since step"
    for counts, words in (((3,), some), ((8,), f"{all_of_it} 5"), ((3, 3, 8), f"{all_of_it} 7")):
        torch.manual_seed(2)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
        run = _trained(tmp_path / str(len(counts) + counts[0]), model, spoil=killed(*counts))
        table = _table(_look(run))
        assert words in " ".join(_wrong(table))
        assert next(column for column in table.columns if column.name == "dead").outside[0] == 1


def test_a_dead_layer_stands_before_those_that_learn_nothing_for_it(tmp_path: Path) -> None:
    """A layer that nothing passes comes first, and is told as that; the layers before it, whose gradient it stops, come after it."""
    torch.manual_seed(2)
    relu = nn.ReLU
    model = nn.Sequential(nn.Linear(6, 8), relu(), nn.Linear(8, 8), relu(), nn.Linear(8, 8), relu(), nn.Linear(8, 2))
    with torch.no_grad():
        model[4].bias.fill_(-9.0)
    table = _table(_look(_trained(tmp_path / "run", model)))
    assert table.columns[0].texts[:3] == ("4", "0", "2")
    assert _wrong(table)[0].startswith("almost the whole layer is silent")
    assert all(_wrong(table)[1:3])
    assert not any("silent" in words for words in _wrong(table)[1:3])
    for bias, shown in ((-12.0, ("3", "0", "2", "5")), (0.0, ("0", "2", "5"))):  # a norm has a row where a rectifier cuts what it answers
        model = nn.Sequential(nn.Linear(6, 8), relu(), nn.Linear(8, 8), nn.BatchNorm1d(8), relu(), nn.Linear(8, 2))
        with torch.no_grad():
            model[3].bias.fill_(bias)
        assert _table(_look(_trained(tmp_path / f"norm {bias}", model))).columns[0].texts == shown


def test_weights_of_modules_that_no_example_ran_have_rows() -> None:
    """Of an expert that nothing reached when the layers were found the recorded weight is told; what lies inside a layer is that layer's."""
    layers = [{"name": "attn", "leaf": True}, {"name": "experts.0", "leaf": True}, {"name": "experts.0#2", "leaf": True}]
    shapes = {"experts.0.weight": [3, 3], "experts.1.weight": [3, 3], "experts.1.bias": [3], "attn.out.weight": [3, 3], "table": [3, 3]}
    structure = {"layers": layers, "parameters": [[name, shape, "float32"] for name, shape in shapes.items()]}
    assert layer_health._uncalled(structure, {f"weights/{name}/norm" for name in shapes}) == {"experts.1": "experts.1.weight"}


def test_a_sure_answer_is_not_saturated(tmp_path: Path) -> None:
    """A sigmoid within the network that sits at its ends is told; one that is the answer may."""

    def scaled(model: nn.Module, step: int) -> None:
        with torch.no_grad():
            for layer in (model[0], model[2]):
                layer.weight.mul_(100 if step == 1 else 1)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 2), nn.Sigmoid())
    table = _table(_look(_trained(tmp_path / "run", model, rate=1e-6, spoil=scaled)))
    rows = dict(zip(table.columns[0].texts, range(4), strict=False))
    saturated = next(column for column in table.columns if column.name == "saturated")
    assert saturated.numbers[rows["3"]] > 50
    assert saturated.outside[rows["1"]] == 1
    assert saturated.outside[rows["3"]] == 0


def test_where_no_layer_moves_any_more_all_is_not_well(tmp_path: Path) -> None:
    """Beside each other all layers move as they should; that none moves at all is said."""
    for rate, told in ((2e-6, True), (0.1, False)):
        run = _trained(tmp_path / f"{rate}", _deep(4), steps=6, rate=rate)
        caption = _look(run).caption
        assert ("nothing is learnt any more" in caption) == told, caption


def test_numbers_that_are_none_are_told_since_their_first_step(tmp_path: Path) -> None:
    """Weights that become NaN are told with the step of the first reading that was; before it nothing is wrong."""
    run = _trained(
        tmp_path / "run", _deep(1), spoil=lambda model, step: step == 5 and model[0].weight.data.fill_(float("nan"))
    )
    table = _table(_look(run))
    assert "is not a number since step 5" in " ".join(_wrong(table))
    assert not any(_wrong(_table(_look(run, 4))))
    assert not any(column.outside.any() for column in _table(_look(run, 4)).columns if column.kind == "history")


def test_scales_stay_while_time_is_scrubbed(tmp_path: Path) -> None:
    """At an early step the lines, their scale and their axis are those of the last step; numbers are those read until then."""
    run = recorded(tmp_path / "run", snapshots=10)
    early, late = (_table(_look(run, step)) for step in (10, 40))
    assert early.cursor == 10
    assert np.array_equal(early.steps, late.steps)
    for one, other in zip(early.columns, late.columns, strict=True):
        if one.kind == "history":
            assert one.range == other.range
            if "norm" not in one.name:
                assert not np.array_equal(one.numbers, other.numbers, equal_nan=True) or one.name in ("moved", "dead")


def test_between_two_places_the_worst_is_kept() -> None:
    """A spike of one reading among thousands is in what a small line stands for, and means are those of its readings."""
    steps = np.arange(0, 50_000, 10)
    values = np.random.default_rng(0).random((2, len(steps)))
    values[1, 3333] = 1e6
    axis, starts = layer_health.columns(steps)
    assert len(axis) <= layer_health.PLACES
    assert set(axis) <= set(steps)
    mean, low, high = layer_health.drawn(values, steps, axis)
    for place, (start, stop) in enumerate(zip(starts, [*starts[1:], len(steps)], strict=True)):
        assert mean[:, place] == pytest.approx(values[:, start:stop].mean(1))
        assert low[:, place].tolist() == values[:, start:stop].min(1).tolist()
        assert high[:, place].tolist() == values[:, start:stop].max(1).tolist()
    assert high.max() == 1e6


def test_when_a_layer_has_settled() -> None:
    """It settled where its updates stay below a tenth of the largest; one that moves on, or was hardly read, has not."""
    steps = np.arange(10, 130, 10)
    falling = np.array([1.0, 1, 1, 0.9, 0.9, 0.05, 0.05, 0.05, 0.04, 0.05, 0.05, 0.05])
    assert layer_health.settled(steps, falling) == 60
    assert layer_health.settled(steps, np.ones(12)) is None
    assert layer_health.settled(steps, np.append(falling[:-3], [0.9, 0.9, 0.9])) is None
    assert layer_health.settled(steps[:4], falling[:4]) is None
    assert layer_health.settled(steps, np.zeros(12)) == 10


def test_repeated_blocks_fold_into_their_worst_layer(tmp_path: Path) -> None:
    """Many like layers are one row that names its worst one; opened, all of them stand below it, none is lost."""
    model = _deep(12)
    model[5][0].weight.register_hook(lambda gradient: gradient * 1e-9)
    run = _trained(tmp_path / "run", model)
    names = [layer["name"] for layer in layer_health.layers_of(run, run.last_step)]
    folded = _table(_look(run, fold="yes"))
    assert folded.columns[0].texts[0] == "*.0 × 12, worst 5.0"
    assert folded.row_keys[0] == "layer:5.0"
    opened = _table(_look(run, fold="yes", open=folded.folds[0]))
    assert opened.open == ("*.0",)
    assert {f"{number}.0" for number in range(1, 13)} <= {text.strip() for text in opened.columns[0].texts}
    everything = _table(_look(run, fold="yes", open="all"))
    assert set(names) <= {text.strip() for text in everything.columns[0].texts}


def test_what_lies_outside_at_one_reading_is_said_beside_the_step_it_was_read_at(tmp_path: Path) -> None:
    """Units that fall silent late are no fault yet, and no number that lies in its range either."""
    def silence(model: nn.Module, step: int) -> None:
        if step == 11:
            with torch.no_grad():
                model[0].bias[:12] = -1e4

    torch.manual_seed(0)
    run = _trained(tmp_path / "run", nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2)), spoil=silence)
    caption = _look(run).caption
    assert "lie in their healthy ranges" not in caption
    dead = run.series("activations/0/dead")
    assert f"(dead {percent(float(dead[1][-1]), 3)}, read at step {int(dead[0][-1])})" in caption
    assert "lie in their healthy ranges" in _look(run, 10).caption


def test_names_of_repeated_blocks() -> None:
    """Numbers that are parts of their own are shared, and those at the end of one of many like parts; a block's two
    convolutions stay apart."""
    blocks = [f"layer{a}.{b}.conv{c}" for a in (1, 2) for b in range(6) for c in (1, 2)]
    found = layer_health.repeated([{"name": name, "kind": "Conv2d"} for name in blocks])
    assert set(found) == {"layer1.*.conv1", "layer1.*.conv2", "layer2.*.conv1", "layer2.*.conv2"}
    dense = [f"dense.layer{a}.conv" for a in range(9)]
    assert set(layer_health.repeated([{"name": name, "kind": "Conv2d"} for name in dense])) == {"dense.layer*.conv"}


def test_a_chosen_layer_shows_its_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chosen layer's numbers follow below the table as curves, each over its healthy range, exact in every value."""
    run = _trained(tmp_path / "run", _deep(2))
    pictures = list(run.scene().stream("health", select="layer:1.0"))
    assert [picture.final for picture in pictures] == [False, True]
    charts = {mark.title: mark for mark in pictures[-1].marks() if isinstance(mark, Lines)}
    assert list(charts) == [measure.name for measure in MEASURES if measure.name in charts]
    assert charts["weights"].series[1].y.tolist() == run.series("weights/1.0.weight/norm")[1].tolist()
    # What findings tell of layers that no number marks, or of no layer, is said beside; a calm line is not.
    first = run.meta["layers"][0]["name"]
    alarms = [Diagnosis("a", 0.7, "Unseen", "", "", (f"layer:{first}",)), Diagnosis("b", 0.7, "Apart", "", ""), Diagnosis("c", 0.3, "Calm", "", "")]
    monkeypatch.setattr(Run, "judged", lambda self, step=None: (alarms, []))
    caption = _look(run).caption
    assert "Not of single layers: \u201cApart\u201d. Not to be seen in these numbers: \u201cUnseen\u201d; the findings" in caption
    assert "Calm" not in caption


def test_a_run_without_layers_says_what_to_look_at(tmp_path: Path) -> None:
    """Where nothing was read of any layer the view says so in one sentence, and what shows the rest."""
    model = nn.Linear(2, 2)
    with watch(model, tmp_path / "run", every=1000) as recorder:
        for _ in range(3):
            recorder.step(loss=1.0)
    run = open_run(tmp_path / "run")
    try:
        picture = _look(run)
    except NotApplicable as error:
        assert "curves" in str(error) or "readings" in str(error)  # noqa: PT017 - either is right
    else:
        assert "Only 1 reading yet" in picture.caption


def test_every_range_names_its_source() -> None:
    """Each healthy range says where it comes from, and what lies beyond each end that it has."""
    for one in vars(ranges).values():
        if isinstance(one, ranges.Range):
            assert one.source
            assert bool(one.below) == np.isfinite(one.low)
            assert bool(one.above) == np.isfinite(one.high)


def test_a_run_without_examples_has_an_overview(tmp_path: Path) -> None:
    """Where no example told the layers, the rows are the modules that hold the weights, each with what was read of them."""
    model = _deep(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, tmp_path / "run", optimizer=optimizer, every=1) as recorder:
        for _ in range(6):
            optimizer.zero_grad()
            loss = model(torch.ones(3, 6)).square().mean()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.detach())
    run = open_run(tmp_path / "run")
    table = _table(run.scene().view("health"))
    assert table.columns[0].texts == ("0", "1.0", "2")
    assert table.row_keys == ("layer:0", "layer:1.0", "layer:2")
    ratio = next(column for column in table.columns if column.name == "update").numbers
    assert ratio == pytest.approx([run.series(f"updates/{name}.weight/ratio")[1][-1] for name in ("0", "1.0", "2")])


class _Asking(nn.Module):
    """A recurrent layer and attention: both hold several weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read = nn.LSTM(1, 4, 2, batch_first=True)
        self.ask = nn.MultiheadAttention(4, 2, batch_first=True)
        self.end = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> Any:
        hidden = self.read(x[..., None])[0]
        return self.end(self.ask(hidden, hidden, hidden)[0].mean(1))


def test_every_weight_of_a_layer_has_a_row(tmp_path: Path) -> None:
    """What a recurrent layer reads its own state with, and what attention writes its answer with, have numbers of their own; a click on them
    chooses their layer, and all of its weights are drawn then."""
    run = _trained(tmp_path / "a", _Asking())
    picture = _look(run, sort="place")
    table = _table(picture)
    rows = dict(zip(table.columns[0].texts, zip(table.row_keys, _numbers(table, "weights"), strict=True), strict=True))
    for name, weight, layer in (
        ("read.weight_hh_l1", "read.weight_hh_l1", "read.l1"), ("ask.out_proj", "ask.out_proj.weight", "ask"),
        ("read.l0", "read.weight_ih_l0", "read.l0"), ("ask", "ask.in_proj_weight", "ask"),
    ):
        assert rows[name][0] == f"layer:{layer}"
        assert rows[name][1] == pytest.approx(run.series(f"weights/{weight}/norm")[1][-1])
    order = list(rows)
    assert order.index("ask.out_proj") == order.index("ask") + 1, "beside its layer"
    known = sum("weights/" + name + "/norm" in run.series_names and len(p.shape) > 1 for name, p in _Asking().named_parameters())
    assert int(np.isfinite(_numbers(table, "weights")).sum()) == known, "each weight once"
    layers = {layer["name"] for layer in run.structure(run.last_step)["layers"]}
    assert f"the {len(layers)} layers here" in picture.caption or f"of {len(layers)} layers" in picture.caption, "layers are counted, not weights"
    chosen = list(run.scene().stream("health", select=["layer:ask"]))[-1]
    assert {mark.title for mark in chosen.marks()} >= {"ask", "ask.out_proj"}


def _numbers(table: Table, name: str) -> Any:
    return next(column.numbers for column in table.columns if column.name == name)
