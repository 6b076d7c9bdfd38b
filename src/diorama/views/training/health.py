"""Every layer's health at a glance: what is wrong, where, and since when."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import NotApplicable
from ...core.knobs import knob
from ...core.marks import Column, Group, Handle, Lines, Node, Series, Table
from ...core.numerals import counted, leading, percent, plain
from ...core.picture import Picture, Progress
from ...core.selection import Selection, layer_key, spoken
from ...record import ranges
from ...record.findings import ALARM
from ...record.past import Past
from .. import layer_health, run_series
from ..layer_health import MEASURES, Cell, JudgedLayers, Measure
from ..run_series import Floats, Steps
from ..samples import layers_said, own_module
from ..view import View

if TYPE_CHECKING:
    from ...run import Run
    from ...scene import Scene

_MANY = 40
"""More rows than this do not stand in one place of the page: repeated blocks are folded."""
_SHARES = ("dead", "saturated", "moved")


class HealthView(View):
    """A row a layer: how fast it changes, what gradient reaches it, how it answers, how much of it takes part, and when it
    settled, each with its history and the range in which such numbers lie in a healthy training.

    *Meaning* a cell is coloured where its last three readings lie outside that range, or where it is not a number; red places of
    its line lay outside when they were read. The ranges are drawn behind the lines, and each column's header names its source.
    *Error* exact at every reading; between two places of a small line the mean is drawn, and its lowest and highest value are
    judged.
    """

    title = "Health"
    question = "Which layers learn well, and what is wrong with the others?"
    family = "process"
    papers = ("Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks",)
    rows = ("C11", "C13", "C20")
    needs = "record"
    follows = ("layer",)

    sort: str = knob("severity", "Order of the rows: what is worst first, or as the network runs.",
                     choices=("severity", "place"), main=True)
    fold: str = knob("auto", "One row for a place of repeated blocks, with its worst layer; auto does so beyond 40 layers.",
                     choices=("auto", "yes", "no"))
    open: str = knob("", "The folded rows that are open, with commas between them; 'all' opens every one.")
    limit: int = knob(200, "The most rows that are shown.", low=1, high=5000)

    def pictures(self, scene: Scene, selection: Selection) -> Iterator[Picture | Progress]:
        """First the table; then, where a layer is chosen, its curves below."""
        run = scene.run
        if run is None:
            return
        step = run.last_step if scene.step is None else scene.step
        layers = layer_health.layers_of(run, step)
        names = run.series_names
        if not layers:
            if any(name.startswith("weights/") for name in names):
                raise NotApplicable(
                    "no layer is known that these weights belong to: they stand in the model itself; the views curves and weight_series show them"
                )
            raise NotApplicable(
                "nothing was recorded of any layer's weights: " + run_series.lacking(run, "weights") + "; the view curves shows "
                "what the loop reported"
            )
        readings = layer_health.read(run, layers, names)
        if not readings:
            raise NotApplicable("nothing was recorded of any layer: " + run_series.lacking(run, "weights"))
        health = layer_health.judged(layers, readings, step)
        table = self._table(health, step)
        chosen = [key.layer for key in selection.all("layer")]
        detail = [[row for row, layer in enumerate(layers) if layer_health.key_of(layer) == name] for name in dict.fromkeys(chosen)]
        shown = [row for rows in list(filter(None, detail))[:2] for row in rows]
        caption = self._caption(health, step, sum(not str(name).startswith("\u2003") for name in table.columns[0].texts))
        yield self.picture(scene, selection, "Health", table, caption, hint=_HINT, final=False)
        marked = {layer_key(layer_health.key_of(layer)) for row, layer in enumerate(health.layers) if health.severity(row) > 0}
        record = Past(run, scene.step)
        caption = f"{_beside(run, record, marked)}{caption}"
        marks = (table, *(_curves(run, health, row, step) for row in shown))
        body = Group(children=marks) if shown else table
        yield self.picture(scene, selection, "Health", body, caption, note=_open(run, record), hint=_HINT)

    def _table(self, health: JudgedLayers, step: int) -> Table:
        shown = self._rows(health)
        axis = _axis(health)
        rows = [row for row, _, _ in shown]
        wrong = tuple(_wrong(health, row) for row in rows)
        columns = [Column(name="layer", kind="text", texts=tuple(name or spoken("") for _, name, _ in shown))]
        if any(wrong):
            columns.append(Column(name="what is wrong", kind="text", texts=wrong))
        columns += [
            _history(measure, health, rows, axis) for measure in MEASURES if measure.name in health.readings
        ]
        if "update" in health.readings:
            columns.append(Column(
                name="settled", kind="text", texts=tuple(_settled(health.settled[row], health.layers[row]) for row in rows),
                note="Since when its updates have stayed below a tenth of its largest ones; frozen where it does not learn on purpose.",
            ))
        folds = tuple(group for _, _, group in shown)
        keys = tuple(layer_key(layer_health.key_of(health.layers[row])) for row in rows)
        return Table(
            columns=tuple(columns), row_keys=keys, steps=axis.astype(np.float64), cursor=float(step),
            flagged=np.array([health.severity(row) > 0 for row in rows]),
            folds=folds if any(folds) else (), open=self._opened(health) if any(folds) else (),
            handle=Handle(knob="open", kind="type", value=self.open) if any(folds) else None,
        )

    def _opened(self, health: JudgedLayers) -> tuple[str, ...]:
        groups = layer_health.repeated(health.layers)
        if self.open.strip() == "all":
            return tuple(groups)
        return tuple(name for name in map(str.strip, self.open.split(",")) if name in groups)

    def _rows(self, health: JudgedLayers) -> list[tuple[int, str, str]]:
        """What is shown, in order: a layer's number, what its row is called, and the group that it opens."""
        count = len(health.layers)
        folding = self.fold == "yes" or (self.fold == "auto" and count > _MANY)
        groups = layer_health.repeated(health.layers) if folding else {}
        member = {row: name for name, rows in groups.items() for row in rows}
        order = [health.order(row) if self.sort == "severity" else (0.0, False, 0, row) for row in range(count)]
        heads: list[tuple[int, str]] = []
        for row in range(count):
            name = member.get(row)
            if name is None:
                heads.append((row, ""))
            elif row == groups[name][0]:
                heads.append((min(groups[name], key=health.order), name))
        if self.sort == "severity":
            heads.sort(key=lambda head: order[head[0]])
        opened = set(self._opened(health)) if groups else set()
        found: list[tuple[int, str, str]] = []
        for row, name in heads:
            if not name:
                found.append((row, health.layers[row]["name"], ""))
                continue
            worst = f", worst {health.layers[row]['name']}" if health.severity(row) else ""
            found.append((row, f"{name} × {len(groups[name])}{worst}", name))
            if name in opened:
                found += [(one, f"\u2003{health.layers[one]['name']}", "") for one in sorted(groups[name], key=order.__getitem__)]
        return found[: self.limit]

    def _caption(self, health: JudgedLayers, step: int, rows: int) -> str:
        names = [str(layer["name"]) for layer in health.layers]
        own = [str(layer["name"]) for layer in health.layers if "of" not in layer]
        # What is counted is what is seen: a layer may have a row a weight, or share one with others.
        many = layers_said(own)
        beside = f" ({counted(rows, 'rows')})" if str(rows) not in many.replace(",", "").split() else ""
        bad = [row for row in range(len(names)) if health.severity(row) > 0]
        read = max((int(found.until(step).steps[-1]) for found in health.readings.values() if len(found.until(step).steps)), default=step)
        # What is said is of the step that was read: until the one that is looked at, the weights may have learnt everything.
        when = f"At step {read}" + (f", the last one that was read up to step {step}," if read < step else "")
        if not bad and (passing := _passing(health, step)):
            told = (
                f"{when} none of the {many} here{beside} has a number that lay outside its healthy range at {ranges.READINGS} readings "
                f"in a row; at the last one {passing}. {_still(health, step)}"
            )
        elif not bad:
            told = f"{when} all numbers of the {many} here{beside} lie in their healthy ranges. "
            told += _still(health, step)
        else:
            worst, ill = min(bad, key=health.order), len({own_module(layer_health.key_of(health.layers[row])) for row in bad})
            equal = [row for row in bad if health.order(row)[:3] == health.order(worst)[:3] and _wrong(health, row) == _wrong(health, worst)]
            first = leading([0] * len(equal), [spoken(names[row]) for row in equal])
            has = "has a number outside its" if ill == 1 else "have numbers outside their"
            told = (
                f"{when} {ill} of {many}{beside} {has} healthy range; "
                f"worst {'is' if len(equal) == 1 else 'are'} {first}: {_wrong(health, worst)}. "
            )
        few = max((len(found.until(step).steps) for found in health.readings.values()), default=0)
        early = f"Only {few} reading{'' if few == 1 else 's'} yet: a fault is told from {ranges.READINGS} on. " if few < ranges.READINGS else ""
        return (
            told + early + "Each number has its history, with the healthy range behind it. The "
            "arrow beside a red one says to which side it lies."
        )


def _still(health: JudgedLayers, step: int) -> str:
    """That hardly anything is learnt, where no step changes a weight any more: beside each other all layers are well then."""
    found = health.readings.get("update")
    now = found.until(step).values[:, -ranges.READINGS :] if found is not None else np.zeros((0, 0))
    now = now[[not layer.get("still") and bool((row > 0).any()) for layer, row in zip(health.layers, now, strict=False)]] if len(now) else now
    if now.size == 0 or now.shape[1] < ranges.READINGS or not (most := float(np.nanmax(now))) < ranges.NOTHING:
        return ""
    return f"But each step changes even the layer that moves most by {most:.1g} of its length (0.001 is usual): nothing is learnt any more. "


def _passing(health: JudgedLayers, step: int) -> str:
    """The numbers that lie outside at their last reading alone: "c3 does (dead 0.44, read at step 30)"; empty where there is none."""
    found = []
    for name, cells in health.cells.items():
        for row, cell in enumerate(cells):
            if cell.passing:
                read = health.readings[name].until(step)
                value = percent(cell.value, 3) if name in _SHARES else f"{cell.value:.3g}"
                found.append(f"{spoken(str(health.layers[row]['name']))} ({name} {value}, read at step {int(read.steps[read.last(row)[-1]]):,})")
    return f"outside: {leading([0] * len(found), found)}" if found else ""


_HINT = "Click a number to choose its layer and its step."


def _beside(run: Run, record: Past, marked: Collection[str]) -> str:
    """What is wrong and shows in no number of the table: of no layer, or of layers of which none is marked."""
    alarms = [one for one in run.judged(record)[0] if one.severity >= ALARM]
    of = [(one, {key for key in one.keys if key.startswith("layer:")}) for one in alarms]
    told = ((
        "Not of single layers", [one.title for one, layers in of if not layers],
    ), (
        "Not to be seen in these numbers", [one.title for one, layers in of if layers and layers.isdisjoint(marked)],
    ))
    said = [f"{where}: {_titles(titles)}" for where, titles in told if titles]
    return f"{'. '.join(said)}; the findings say more. " if said else ""


def _open(run: Run, record: Past) -> str:
    """That there are faults of which the record says nothing yet."""
    count = sum(lack.about for lack in run.unjudged(record))
    return f"{counted(count, 'faults')} could not be looked for; the findings say which, and why." if count else ""


def _titles(titles: Sequence[str]) -> str:
    rest = f" and {len(titles) - 2} more" if len(titles) > 2 else ""
    return " and ".join(f"\u201c{title}\u201d" for title in titles[:2]) + rest


def _axis(health: JudgedLayers) -> Steps:
    """The steps of all small histories."""
    every = [found.steps for found in health.readings.values()]
    longest = max(every, key=len)
    steps = longest if all(np.isin(one[[0, -1]], longest).all() for one in every if len(one)) else np.unique(np.concatenate(every))
    return layer_health.columns(steps)[0]


def _history(measure: Measure, health: JudgedLayers, rows: Sequence[int], axis: Steps) -> Column:
    found, (low, high) = health.readings[measure.name], health.ends[measure.name]
    mean, least, most = layer_health.drawn(found.values[rows], found.steps, axis)
    ends = [layer_health.drawn(np.where(np.isfinite(end[rows]), end[rows], np.nan), found.steps, axis)[0] for end in (low, high)]
    open_ends = [np.where(np.isnan(end), sign * np.inf, end) for end, sign in zip(ends, (-1, 1), strict=True)]
    factor = 100.0 if measure.name in _SHARES else 1.0
    cells = [health.cells[measure.name][row] for row in rows]
    alone = all(np.array_equal(mean, other, equal_nan=True) for other in (least, most))
    with np.errstate(over="ignore"):  # beyond float32, an end is open
        healthy = (np.stack(open_ends, 2) * factor).astype(np.float32)
    return Column(
        name=measure.name, kind="history", numbers=np.array([factor * cell.value for cell in cells]),
        histories=(factor * mean).astype(np.float32),
        spreads=None if alone else (factor * np.stack([least, most], 2)).astype(np.float32),
        healthy=healthy, outside=np.array([cell.outside for cell in cells], np.int8),
        log=measure.log, range=_span(measure, factor * found.values), unit="%" if measure.name in _SHARES else "",
        note=f"{measure.meaning} Healthy: {_said(measure)}",
    )


def _span(measure: Measure, values: Floats) -> tuple[float, float]:
    """One scale for all rows and for all steps, so that it stays where it is while time is scrubbed."""
    if measure.name in _SHARES:
        return 0.0, 100.0
    good = values[np.isfinite(values) & ((values > 0) | (not measure.log))]
    if not good.size:
        return (0.1, 1.0) if measure.log else (0.0, 1.0)
    # A few readings far away would press all lines flat.
    low, high = (float(end) for end in np.quantile(good, [0.002, 0.998]))
    if low == high:
        return (low / 2, high * 2) if measure.log else (low - 0.5, high + 0.5)
    return low, high


def _said(measure: Measure) -> str:
    """A range in words, with its source."""
    told = []
    for one in (measure.range, measure.upper):
        if one is None:
            continue
        beside = f" × {one.beside}" if one.beside else ""
        ends = [f"{word} {end:g}{beside}" for word, end in (("at least", one.low), ("at most", one.high)) if np.isfinite(end)]
        told.append(f"{' and '.join(ends)} ({one.source})")
    return plain("; ".join(told)) + "."


def _settled(step: int | None, layer: Mapping[str, Any]) -> str:
    if layer["weight"] is None:
        return ""  # nothing in it moves
    return "frozen" if layer.get("still") else "not yet" if step is None else f"step {step}"


def _wrong(health: JudgedLayers, row: int) -> str:
    """What is wrong with a layer in words: its worst number first."""
    bad = health.wrong(row)
    if not bad:
        return ""
    return plain(_reason(*bad[0])) + (f", and {len(bad) - 1} more" if len(bad) > 1 else "")


def _reason(name: str, cell: Cell) -> str:
    measure = next(one for one in MEASURES if one.name == name)
    if cell.outside == 2:
        return f"{name} is not a number since step {cell.since}"
    if cell.outside < 0:
        words = measure.range.below
    elif measure.range is ranges.DEAD and cell.value < ranges.DEAD.high:
        words = "some of its units have died while it learnt"
    else:
        words = (measure.upper or measure.range).above
    return f"{words}, since step {cell.since}"


def _curves(run: Run, health: JudgedLayers, row: int, step: int) -> Node:
    """Every number of a layer as a curve over its healthy range."""
    name = health.layers[row]["name"]
    moments = run_series.as_marks(run_series.events(run))
    charts = []
    for measure in MEASURES:
        found = health.readings.get(measure.name)
        if found is None or not found.known[row].any():
            continue
        known = found.known[row]
        steps, values = found.steps[known], found.values[row, known]
        axis = layer_health.columns(steps, 400)[0]
        mean, least, most = (one[0] for one in layer_health.drawn(values[None], steps, axis))
        low, high = (end[row, known] for end in health.ends[measure.name])
        bottom, top = _room(measure, values)
        ends = [layer_health.drawn(np.clip(end, bottom, top)[None], steps, axis)[0][0] for end in (low, high)]
        x = axis.astype(np.float64)
        series = [
            Series(name="healthy range", x=x, y=ends[0], low=ends[0], high=ends[1], band=True, colour=3),
            Series(name=measure.name, x=x, y=mean, low=least, high=most, key=layer_key(layer_health.key_of(health.layers[row])), colour=0),
        ]
        charts.append(Lines(
            title=measure.name, caption=measure.meaning, series=tuple(series), y_log=measure.log, y_range=(bottom, top),
            events=moments, cursor=float(step), height=110,
        ))
    return Group(title=name, children=tuple(charts))


def _room(measure: Measure, values: Floats) -> tuple[float, float]:
    """The part of an axis that a curve takes, with some room."""
    if measure.name in _SHARES:
        return 0.0, 1.0
    good = values[np.isfinite(values) & ((values > 0) | (not measure.log))]
    if not good.size:
        return (0.1, 1.0) if measure.log else (0.0, 1.0)
    low, high = float(good.min()), float(good.max())
    if measure.log:
        return low / 1.5, high * 1.5
    pad = 0.1 * (high - low) or 0.5
    return low - pad, high + pad
