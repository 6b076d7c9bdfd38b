"""Views of the record, drawn as the page draws them: from a moment, without a model."""

from __future__ import annotations

import pytest
from recorded_runs import recorded

from diorama.core.errors import Cancelled, NotApplicable, NotFound
from diorama.core.registry import views
from diorama.core.selection import Selection
from diorama.run import Run
from diorama.scene.moment import Moment

RECORD = sorted(name for name in views if views[name].needs == "record")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short training, read back."""
    return recorded(tmp_path_factory.mktemp("moment") / "run")


@pytest.mark.parametrize("name", RECORD)
def test_a_view_of_the_record_is_drawn_without_a_model(run: Run, name: str) -> None:
    """Each comes to its last picture from a moment, alone and beside another step, whatever is selected, or says why not."""
    layer = Moment(run, None).layers.names[0]
    chosen = [Selection.of(key) for key in (f"layer:{layer}", f"unit:{layer}/0", "unit:op:relu/1@2", "example:1")]
    for moment, select in (
        (Moment(run, None), Selection()), (Moment(run, 0), Selection()), (Moment(run, None, (Moment(run, 0),)), Selection()),
        *((Moment(run, None), one) for one in chosen),
    ):
        try:
            drawn = list(moment.stream(name, select=select))
        except NotApplicable:
            continue
        assert drawn[-1].final


def test_a_layer_that_is_not_recorded_is_not_found(run: Run) -> None:
    """With the nearest that is."""
    with pytest.raises(NotFound, match="no layer named"):
        list(Moment(run, None).stream("health", select=Selection.of("layer:nothing")))


@pytest.mark.parametrize("name", RECORD)
def test_a_view_of_the_record_stops_when_nobody_waits(run: Run, name: str) -> None:
    """Once it is not wanted any more, the next picture does not come."""
    with pytest.raises(Cancelled):
        list(Moment(run, None).stream(name, select=Selection(), cancel=lambda: True))
