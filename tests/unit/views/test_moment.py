"""Views of the record, drawn as the page draws them: from a moment, without a model."""

from __future__ import annotations

import pytest
from recorded_runs import recorded

from diorama.core.errors import Cancelled, NotApplicable
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
    """Each comes to its last picture from a moment, alone and beside another step, or says why not."""
    for moment in (Moment(run, None), Moment(run, 0), Moment(run, None, (Moment(run, 0),))):
        try:
            drawn = list(moment.stream(name, select=Selection()))
        except NotApplicable:
            continue
        assert drawn[-1].final


@pytest.mark.parametrize("name", RECORD)
def test_a_view_of_the_record_stops_when_nobody_waits(run: Run, name: str) -> None:
    """Once it is not wanted any more, the next picture does not come."""
    with pytest.raises(Cancelled):
        list(Moment(run, None).stream(name, select=Selection(), cancel=lambda: True))
