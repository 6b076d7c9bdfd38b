"""A model that writes into what it is given: nobody's own numbers change, and the answers are those of one that does not write."""

import pathlib

import pytest
import torch
from torch import Tensor, nn

import diorama
from diorama.core.registry import methods
from diorama.data import nesting


class Written(nn.Module):
    """Normalizes its input where it lies."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (n, 2) of rows (n, 6)."""
        return self.own(x.sub_(5).div_(2))


class Apart(Written):
    """The same beside its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Scores (n, 2) of rows (n, 6)."""
        return self.own((x - 5) / 2)


def _twins() -> tuple[Written, Apart, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        one, other = Written(), Apart()
        other.load_state_dict(one.state_dict())
        return one.eval(), other.eval(), 5 + 2 * torch.randn(12, 6)


@pytest.mark.parametrize("method", sorted(methods.names))
def test_no_method_writes_over_an_input(method: str) -> None:
    """Each gives what it gives of the twin, and the input stays."""
    model, twin, x = _twins()
    before = x.clone()
    torch.manual_seed(0)
    try:
        wanted = diorama.attribute(twin, x[:2], target=1, method=method)
    except diorama.NotApplicable:
        pytest.skip("it is not for rows of numbers")
    torch.manual_seed(0)
    found = diorama.attribute(model, x[:2], target=1, method=method)
    assert torch.equal(x, before)
    torch.testing.assert_close(torch.as_tensor(found.values), torch.as_tensor(wanted.values))


def test_looks_of_a_recorder_leave_the_probe_set(tmp_path: pathlib.Path) -> None:
    """The probe set stays, and each look reads it as it is."""
    model, twin, x = _twins()
    before, y = x.clone(), (x[:, 0] > 5).long()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with diorama.watch(model, tmp_path / "run", probe=(x, y), optimizer=optimizer, every=1) as recorder:
        for _ in range(6):
            loss = nn.functional.cross_entropy(model(before.clone()), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    assert torch.equal(x, before)
    twin.load_state_dict(model.state_dict())
    looked = diorama.open(tmp_path / "run").series("probe/loss")[1][-1]
    assert looked == pytest.approx(float(nn.functional.cross_entropy(twin(x).detach(), y)), rel=1e-4)


def test_a_scene_and_a_scan_leave_what_they_are_given() -> None:
    """A second look at the same input answers as the first."""
    model, twin, x = _twins()
    before, y = x.clone(), (x[:, 0] > 5).long()
    scene = diorama.Scene(model, x, y)
    for _ in range(2):
        torch.testing.assert_close(scene.look(x)[0].cpu(), twin(x).detach())
        assert torch.equal(x, before)
    dict(diorama.scan(model, [(x, y)]) or {})
    assert torch.equal(x, before)


def test_what_writes_only_at_times_is_undone() -> None:
    """Also where a first pass showed nothing of it."""
    class Sometimes(Written):
        def forward(self, x: Tensor) -> Tensor:
            return self.own(x.div_(255) if float(x.max()) > 50 else x)

    model = Sometimes()
    small, large = torch.rand(4, 6), 255 * torch.rand(4, 6) + 60
    before = large.clone()
    for x in (small, large, large):
        nesting.call(model, x).sum().backward()
    assert torch.equal(large, before)
