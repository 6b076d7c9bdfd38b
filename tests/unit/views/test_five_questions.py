"""The five questions on networks whose answer was planted: each view says it, without being told where to look."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Bars, Heatmap, Table
from diorama.derive.class_overlap import among
from diorama.derive.derivations.mixing import started
from diorama.derive.derivations.shared import effective, properties
from diorama.scene import Scene


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _spots(count: int = 60, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Rows of six numbers in as many heaps as classes, each along an axis of its own."""
    y = torch.arange(count) % classes
    return 0.2 * torch.randn(count, 6, generator=_seeded()) + 3 * torch.eye(6)[y], y


def test_mixed_classes_are_named_with_the_layer_where_it_starts() -> None:
    """A layer that throws away what tells classes 0 and 2 apart is named as where they start to mix, and no other pair is said to."""
    x, y = _spots()
    net = nn.Sequential(*(nn.Linear(6, 6, bias=False) for _ in range(3)), nn.Linear(6, 3))
    with torch.no_grad():
        for layer in net[:3]:
            layer.weight.copy_(torch.linalg.qr(torch.randn(6, 6, generator=_seeded(1)))[0])
        turned = net[1].weight @ net[0].weight
        lost = turned @ (torch.eye(6)[0] - torch.eye(6)[2]) / 2**0.5
        net[2].weight.copy_(torch.eye(6) - torch.outer(lost, lost))
        net[3].weight.copy_(turned.T[:3])
    kept = torch.arange(60)[(y != 0) | (torch.arange(60) > 29)]  # classes of unlike sizes
    x, y = x[kept], y[kept]
    scene = Scene(net, x, y, classes=("a", "b", "c"))
    picture = scene.view("mixing")
    assert picture.caption.startswith("a and c are mixed most")
    away = [(scene.predictions()[y == own] == other).double().mean().item() for own, other in ((0, 2), (2, 0))]
    assert f"{away[0]:.0%} of a are answered as c, {away[1]:.0%} of c as a".replace("%", " %") in picture.caption
    assert "start to mix at layer 2." in picture.caption
    (mark,) = [one for one in picture.marks() if isinstance(one, Heatmap)]
    assert mark.column_labels == ("input", "0", "1", "2", "3")
    assert mark.row_labels[0] == "a | c"
    assert mark.values[0, :3].max() < 0.05
    assert mark.values[0, 3] > 0.4
    assert mark.values[1:].max() < 0.05
    assert [text for text in mark.cell_texts if "●" in text] == [mark.cell_texts[3]]


class _Averaged(nn.Module):
    """Which half of a row is bright is told until the mean over places; the brightness itself to the end."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.out = nn.Conv1d(1, 2, 3, padding=1, padding_mode="circular"), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.seen(x)).mean(2))


def test_what_lies_between_two_layers_is_named_where_classes_start_to_mix_there() -> None:
    """A mean over places that throws away what tells two classes apart is named, not the layer behind it."""
    y = torch.arange(60) % 3
    x = 0.05 * torch.rand(60, 1, 8, generator=_seeded())
    x[y == 0, :, :4] += 1
    x[y == 1, :, 4:] += 1
    x[y == 2] += 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        scene = Scene(_Averaged(), x, y, classes=("left", "right", "both"))
    assert "They lie apart most in seen (0 %) and start to mix at mean, before out." in scene.view("mixing").caption
    assert scene.derive("mixing").value["began"] == ["op:mean", "", ""]
    assert [node.key for node in scene.graph.between("layer:seen", "layer:out")][:2] == ["op:relu", "op:mean"]
    assert scene.graph.between("layer:out", "layer:seen") == ()
    # Where a few of each are read as the other from the beginning to the end, they are not said to be told apart nowhere.
    few = x.clone()
    few[[0, 3]], few[[1, 4]] = x[[1, 4]], x[[0, 3]]
    little, none = "The layers part them little further: input mixes 19 %.", "No layer parts them further: input mixes them less (19 %)."
    for seed, said in ((0, little), (1, none)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            told = Scene(nn.Sequential(nn.Flatten(), nn.Linear(8, 3)), few, y).view("mixing").caption
        assert said in told


class _TwoHeads(nn.Module):
    """Says a class, and behind it a number that mixes all classes."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.kind, self.size = nn.Linear(6, 6), nn.Linear(6, 3), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = self.trunk(x)
        return {"kind": self.kind(found), "size": 0 * self.size(found)}


@pytest.mark.parametrize(("outputs", "layers"), [("kind", ["input", "trunk", "kind"]), ("size", ["input", "trunk", "size", "the scores"])])
def test_only_layers_on_the_way_to_the_answer_are_followed(outputs: str, layers: list[str]) -> None:
    """Of several heads the one that answers is the last layer, whichever is called last."""
    x, y = _spots(classes=2)
    assert Scene(_TwoHeads(), x, y, outputs=outputs).derive("mixing").value["layers"] == layers


def test_how_mixed_two_classes_are_is_counted_as_scikit_learn_finds_neighbours() -> None:
    """The share of the other class among the nearest is that of scikit-learn's neighbours, and half by chance also where one class is larger."""
    dice = np.random.default_rng(0)
    rows, classes = dice.normal(size=(200, 3)), np.r_[np.zeros(160, int), np.ones(40, int)]
    (found,) = among(rows, classes, [(0, 1)], 5)
    beside = NearestNeighbors(n_neighbors=5).fit(rows).kneighbors(return_distance=False)
    shares = []
    for own in (0, 1):
        other = (classes[beside] != own).sum(1)[classes == own]
        rest = (40, 160)[own], (159, 39)[own]
        shares.append(np.mean(other / rest[0] / (other / rest[0] + (5 - other) / rest[1])))
    assert found == pytest.approx(np.mean(shares))
    assert 0.4 < found < 0.6
    # What is answered with no number is left out, and no pair is told where too little is left.
    torn = rows.copy()
    torn[:40] = np.nan
    assert among(torn, classes, [(0, 1)], 5) == pytest.approx(among(rows[40:], classes[40:], [(0, 1)], 5))
    torn[:159] = np.inf
    assert np.isnan(among(torn, classes, [(0, 1)], 5)).all()
    assert started(np.array([0.4, 0.1, 0.1, 0.3, 0.45])) == 3
    assert started(np.array([0.45, 0.4, 0.45])) is None
    assert started(np.array([0.4, 0.2, 0.05])) is None
    # A layer that does not read the one where a pair lies apart most is not where it begins to mix.
    ways = np.triu(np.ones((4, 4), bool))
    ways[1, 2] = False
    assert started(np.array([0.4, 0.1, 0.4, 0.3]), ways) == 3
    # Classes that lie apart are not mixed, however few there are of one.
    few = np.r_[0.01 * dice.normal(size=(3, 2)), [[9, 9]] + 0.01 * dice.normal(size=(20, 2))]
    assert among(few, np.r_[np.zeros(3, int), np.ones(20, int)], [(0, 1)], 5) == 0


class _Served(nn.Module):
    """Unit 3 alone carries class 1, units 0 and 2 the others; unit 5 is on for class 1 and not read."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(6, 6), nn.Linear(6, 3)
        with torch.no_grad():
            self.hidden.weight.zero_()
            self.hidden.bias.zero_()
            self.out.weight.zero_()
            self.out.bias.zero_()
            for unit, axis in ((0, 0), (3, 1), (2, 2), (5, 1)):
                self.hidden.weight[unit, axis] = 1.0
            self.out.weight[0, 0] = self.out.weight[1, 3] = self.out.weight[2, 2] = 2.0

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.hidden(x)))


def test_the_unit_that_serves_a_class_is_named() -> None:
    """The planted unit comes first, by what silencing it costs; a unit that is only on for the class costs nothing."""
    x, y = _spots()
    scene = Scene(_Served(), x, y, classes=("a", "b", "c"))
    picture = scene.view("serving", class_=1)
    assert picture.caption.startswith("hidden/3 serves b rather than others")
    with pytest.raises(NotApplicable, match="at least two classes"):
        Scene(_Served(), x, torch.zeros_like(y)).view("serving")
    value = scene.derive("serving", of_class=1).value
    assert (row := {int(unit): k for k, unit in enumerate(value["unit"])})[3] == 0
    assert value["area"][row[5]] > 0.95
    assert value["cost"][row[5]] == pytest.approx(0, abs=1e-9)
    silenced = scene.edit("unit:hidden/3", lesion=True)
    own = y.numpy() == 1
    rise = (silenced.losses() - scene.losses()).double().numpy()
    assert value["cost"][0] == pytest.approx(rise[own].mean(), rel=1e-4)
    assert value["others"][0] == pytest.approx(rise[~own].mean(), rel=1e-4)
    assert value["lost"][0] > 0.5
    fewer = float((scene.predictions() == y)[own].double().mean() - (silenced.predictions() == y)[own].double().mean())
    assert f"; {100 * fewer:.0f} % of b fewer are answered rightly. " in picture.caption.replace("\u202f", " ").replace("\u00a0", " ")
    (table,) = [mark for mark in picture.marks() if isinstance(mark, Table)]
    assert table.row_keys[0] == "unit:hidden/3"


def test_the_layer_that_is_not_needed_is_named() -> None:
    """Of three turned layers and one that changes nothing, the last is named, and the network is left as it was."""
    x, y = _spots()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
        with torch.no_grad():
            net[3].weight.copy_(torch.eye(6))
            net[3].bias.zero_()
        optimizer = torch.optim.Adam([*net[0].parameters(), *net[2].parameters(), *net[5].parameters()], 0.02)
        for _ in range(60):
            loss = nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    scene = Scene(net, x, y)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    picture = scene.view("needed")
    assert picture.caption.startswith("Layer 3 is needed least: left out, the loss of")
    value = scene.derive("needed").value
    assert value["layers"] == ["0", "2", "3", "5"]
    assert value["passed"][2] == pytest.approx(0, abs=1e-6)
    assert np.isnan(value["passed"][3])
    without = nn.Sequential(*(one for k, one in enumerate(net) if k != 2))
    with torch.no_grad():
        base = nn.functional.cross_entropy(net(x), y).item()
        held = nn.functional.cross_entropy(net(x).mean(0).expand(60, 3), y).item()
        assert value["held"][3] == pytest.approx(held - base, rel=1e-3)
        assert value["passed"][1] == pytest.approx(nn.functional.cross_entropy(without(x), y).item() - base, rel=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert isinstance(net[3], nn.Linear)


def test_what_does_harm_is_not_what_is_not_needed() -> None:
    """Beside a layer that turns answers round, and without which the loss falls, the one that can go without a change is named first."""
    x, y = _spots()
    net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))
    with torch.no_grad():
        for layer, weight in zip(net, (torch.eye(6), torch.eye(6), torch.zeros(3, 6)), strict=True):
            layer.weight.copy_(weight)
            layer.bias.zero_()
        net[2].weight.copy_(torch.stack([x[y == k].mean(0) for k in range(3)]))
        net[1].weight.mul_(-1)
    picture = Scene(net, x, y).view("needed")
    assert picture.caption.startswith("Layer 0 is needed least: left out, the loss of")
    assert re.search(r"Left out, layer 1 even lowers the loss \(−[\d.]+\), but \d+ % of the answers change\.$", picture.caption)
    assert [check.good for check in picture.checks] == [True]


def test_classes_that_lie_apart_and_are_answered_as_one_are_told() -> None:
    """Where a layer parts two classes and the answer does not, the caption says so, with the share that is answered as the other."""
    y = torch.arange(90) % 3
    x = torch.eye(3)[y] + 0.05 * torch.randn(90, 3, generator=_seeded())
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    with torch.no_grad():
        for layer in net:
            layer.weight.copy_(torch.eye(3))
            layer.bias.zero_()
        assert "All the same" not in Scene(net, x, y, task="classification", classes=("a", "b", "c")).view("mixing").caption
        net[1].bias.copy_(torch.tensor([0.0, 9.0, 9.3]))
    scene = Scene(net, x, y, task="classification", classes=("a", "b", "c"))
    caption, told = scene.view("mixing").caption, scene.predictions()[y == 0]
    assert caption.startswith("No two classes lie among one another")
    most = max((told == 1).float().mean().item(), (told == 2).float().mean().item())
    assert f"All the same {100 * most:.0f} % of a are answered as c: layer 1 tells them apart, and the answer does not." in caption


class _Parted(nn.Module):
    """A looped layer, a recurrent one, experts of which the last is never chosen, and one whose weights another layer makes."""

    def __init__(self) -> None:
        super().__init__()
        self.loop, self.reads, self.gate, self.made = nn.Linear(6, 6), nn.GRU(2, 6, batch_first=True), nn.Linear(6, 3), nn.Linear(2, 36)
        self.experts = nn.ModuleList(nn.Linear(6, 3) for _ in range(3))
        self.register_buffer("code", torch.tensor([1.0, -1.0]))
        nn.init.orthogonal_(self.loop.weight, 1.5)
        nn.init.zeros_(self.loop.bias)
        with torch.no_grad():
            self.gate.weight.copy_(torch.tensor([[1.0], [-1.0], [0.0]]) * torch.tensor([1.0, -1, 1, -1, 1, -1]))
            self.gate.bias.copy_(torch.tensor([0.0, 0.0, -50.0]))

    def forward(self, x: Tensor) -> Tensor:
        x = x @ self.made(self.code).view(6, 6) + self.reads(x.view(-1, 3, 2))[0][:, -1]
        for _ in range(4):
            x = torch.tanh(self.loop(x))
        best, out = self.gate(x).argmax(1), x.new_zeros(len(x), 3)
        for k, expert in enumerate(self.experts):
            rows = (best == k).nonzero()[:, 0]
            if len(rows):
                out = out.index_add(0, rows, expert(x[rows]))
        return out


def test_every_module_that_learns_is_tried_or_named() -> None:
    """A layer called again and again is one, an expert is held at the mean of what it answers, and what cannot be tried is named with the reason."""
    x, y = _spots()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = _Parted()
    scene = Scene(net, x, y)
    value, picture = scene.derive("needed").value, scene.view("needed")
    assert value["layers"] == ["made", "reads", "loop", "gate", "experts.0", "experts.1", "experts.2"]
    assert set(value["untried"]) == {"made", "experts.2"}
    assert np.isfinite(value["held"][1:6]).all()
    assert "Not tried: made, as it does not answer once for each example. Not tried: experts.2, as it is not called" in picture.note
    with torch.no_grad():
        base = nn.functional.cross_entropy(net(x), y)
        for k, name in enumerate(value["layers"][2:6], 2):
            module, means = net.get_submodule(name), []
            handle = module.register_forward_hook(lambda _, given, answer, means=means: means.append(answer.mean(0)))
            net(x)
            handle.remove()
            each = iter(means)
            handle = module.register_forward_hook(lambda _, given, answer, each=each: next(each).expand_as(answer))
            assert value["held"][k] == pytest.approx((nn.functional.cross_entropy(net(x), y) - base).item(), abs=1e-5), name
            handle.remove()
    assert "2 columns stand for 2 of the 7 layers with weights; loop has no column; made, experts.0 and" in scene.view("clusters", most=2).note
    with pytest.raises(NotApplicable, match="give two examples"):
        Scene(net, x[:1], y[:1]).view("needed")
    with pytest.raises(NotApplicable, match="a single layer"):
        Scene(nn.Linear(6, 3), x, y).view("needed")


def test_what_misread_examples_share_is_named() -> None:
    """Of a net that is led astray by one bright corner, the misread examples are found by that corner, beyond chance; others by nothing."""
    x = 0.3 * torch.rand(80, 1, 6, 6, generator=_seeded())
    y = torch.arange(80) % 2
    x[y == 1, :, 4:] += 0.4
    x[:24:2, :, :2, :2] += 0.5
    x[24::2, :, :2, 4:] += 0.5
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        weight = torch.zeros(4, 1, 6, 6)
        weight[0, :, 4:], weight[1, :, :2, :2] = 1 / 12, 1 / 4
        net[1].weight.copy_(weight.flatten(1))
        net[1].bias.copy_(torch.tensor([0, -0.4, 0, 0]))
        net[3].weight.copy_(torch.tensor([[0.0, 0, 0, 0], [10.0, 100, 0, 0]]))
        net[3].bias.copy_(torch.tensor([4.0, 0]))
    scene = Scene(net, x, y, inputs=diorama.Image(range=(0, 1)))
    wrong = np.flatnonzero((scene.predictions() != y).numpy())
    assert wrong.tolist() == list(range(0, 24, 2))
    picture = scene.view("shared", layer="1")
    assert "more brightness top left (effect +1.00)" in picture.caption
    assert "more of unit 1 of layer 1" in picture.caption
    assert all(check.good for check in picture.checks)
    (bars,) = [mark for mark in picture.marks() if isinstance(mark, Bars)]
    assert (bars.labels[0], next(filter(None, bars.keys))) == ("brightness top left", "unit:1/1")
    other = scene.view("shared", layer="1", select="example:30-49")
    assert "share nothing of what was measured" in other.caption
    assert not any(check.good for check in other.checks)
    with pytest.raises(NotApplicable, match="all examples are chosen"):
        scene.view("shared", select="example:0-79")


def test_it_is_said_when_a_text_counts_as_misread() -> None:
    """Of texts with a third of all tokens wrong those are taken that have fewer than half right, and that is said; they have no classes."""
    x = torch.randint(0, 5, (30, 8), generator=_seeded())
    y = (x + 1) % 6
    y[:6, :7], y[6:, :2] = 0, 0
    net = nn.Embedding(6, 6)
    with torch.no_grad():
        net.weight.copy_(9 * torch.eye(6).roll(1, 1))
    scene = Scene(net, x, y, task="next_token", inputs=diorama.Tokens(tuple("abcdef")))
    picture = scene.view("shared", layer="")
    assert "(6, against 24 others; misread are those with fewer than half of their tokens right)" in picture.caption
    assert all("shuffled, of" in check.sentence for check in picture.checks)


def test_what_signals_share_is_told_of_each_quarter() -> None:
    """A quarter that lies lower is named, with numbers as plain means give them, and how loud it is of sounds."""
    x = torch.randn(20, 2, 10, generator=_seeded())
    parts = np.array_split(x.numpy().astype(np.float64), 4, axis=2)
    for kind, name, plain in (
        (diorama.Series(), "mean of channel 1 in the third quarter", parts[2][:, 1].mean(1)),
        (diorama.Sound(), "loudness of channel 0 in the last quarter", np.sqrt((parts[3][:, 0] ** 2).mean(1))),
    ):
        scene = Scene(nn.Sequential(nn.Flatten(), nn.Linear(20, 2)), x, torch.arange(20) % 2, inputs=kind)
        names, rows = properties(scene, np.arange(20))
        np.testing.assert_allclose(rows[:, names.index(name)], plain, rtol=1e-5)
        assert len(set(names)) == len(names) == rows.shape[1] == 14
    lower = x.clone()
    lower[:6, 1, 5:8] -= 9
    scene = Scene(nn.Sequential(nn.Flatten(), nn.Linear(20, 2)), lower, torch.arange(20) % 2, inputs=diorama.Series())
    picture = scene.view("shared", select="example:0-5")
    assert "share a lower lowest value (effect −1.00)" in picture.caption
    (bars,) = [mark for mark in picture.marks() if isinstance(mark, Bars)]
    assert bars.values[bars.labels.index("mean of channel 1 in the third quarter")] == pytest.approx(-1)


def test_effects_are_those_of_mann_and_whitney() -> None:
    """An effect is twice the area of the U statistic less one, over the pairs of each class; what tells classes apart is no effect, and what
    most of one class lack is one where others tell it."""
    dice = np.random.default_rng(1)
    groups, own = np.arange(90) % 3, dice.random(90) < 0.3
    rows = dice.normal(size=(90, 4)) + groups[:, None] * [0, 9, 0, 0] + own[:, None] * [0, 0, 1.5, 0]
    effects, chances, _ = effective(rows, own, groups)
    def plain(column: np.ndarray, own: np.ndarray, groups: np.ndarray) -> float:
        parts = [(column[own & (groups == k)], column[~own & (groups == k)]) for k in np.unique(groups)]
        u = sum(mannwhitneyu(inside, outside).statistic for inside, outside in parts if len(inside) and len(outside))
        return float(2 * u / sum(len(inside) * len(outside) for inside, outside in parts) - 1)

    for k in range(4):
        assert effects[k] == pytest.approx(plain(rows[:, k], own, groups))
    # All of class 0 but one are in, for another reason; of classes 1 and 2 those with a mark, which some of class 0 have as well.
    marked = dice.random(90) < 0.2
    own = np.where(groups == 0, np.arange(90) > 0, marked)
    rows = np.c_[marked + 0.1 * dice.normal(size=90), dice.normal(size=(90, 3))]
    effects, chances, _ = effective(rows, own, groups)
    assert effects[0] == pytest.approx(plain(rows[:, 0], own, groups))
    assert effects[0] > 0.8
    assert chances[0] < 0.02
    rows, own = np.random.default_rng(1).normal(size=(90, 4)), np.random.default_rng(2).random(90) < 0.3
    rows += groups[:, None] * [0, 9, 0, 0] + own[:, None] * [0, 0, 1.5, 0]
    effects, chances, _ = effective(rows, own, groups)
    assert chances[2] < 0.02
    assert min(chances[[0, 1, 3]]) > 0.05


def test_where_two_networks_differ_is_named() -> None:
    """Of two networks that differ in one layer, that layer is named, and the other's weights there make up the whole difference."""
    x, y = _spots()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[2].weight += 0.8 * torch.randn(8, 8, generator=_seeded(4))
    scene, beside = Scene(net, x, y), Scene(other, x, y)
    picture = scene.view("differences", other=beside)
    assert " Layer 2 holds it: with the other's weights there alone, they move by 100 %" in picture.caption
    value = scene.derive("differences", other=beside).value
    apart = (net(x).softmax(1) - other(x).softmax(1)).abs().sum(1).detach().numpy() / 2
    np.testing.assert_allclose(value["answers"], apart, atol=1e-6)
    assert value["swapped"][1] == pytest.approx(apart.mean(), abs=1e-6)
    assert value["swapped"][0] == value["swapped"][2] == 0
    assert value["alike"][0] == pytest.approx(1, abs=1e-6)
    assert value["alike"][1] < 0.95
    assert "Both answer the same" in scene.view("differences", other=Scene(copy.deepcopy(net), x, y)).caption
    with pytest.raises(NotApplicable, match="two networks"):
        scene.view("differences")
    with pytest.raises(NotApplicable, match=r"other classes, or in another order \(w, u, v\)"):
        Scene(net, x, y, classes=("u", "v", "w")).view("differences", other=Scene(other, x, y, classes=("w", "u", "v")))


class _Normed(nn.Module):
    """Layers, a norm between them, and numbers of its own that no layer holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.out = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.place = nn.Parameter(torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.norm(self.first(x) + self.place)))


@pytest.mark.parametrize("where", ["norm", "place", "more"])
def test_what_no_layer_with_weights_holds_is_found(where: str) -> None:
    """Two networks that differ in the running means of a norm alone, or in a number of their own, or by a layer that one has alone, are told so."""
    x, y = _spots()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = _Normed()
    other = copy.deepcopy(net)
    with torch.no_grad():
        if where == "norm":
            other.norm.running_mean += 2 * torch.randn(8, generator=_seeded(1))
        elif where == "place":
            other.place += 2 * torch.randn(8, generator=_seeded(1))
        else:
            other.out = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3))
    scene, beside = Scene(net, x, y), Scene(other, x, y)
    picture, value = scene.view("differences", other=beside), scene.derive("differences", other=beside).value
    if where == "more":
        assert "What both have and could be tried is the same." in picture.caption
        assert "Only one of the two has out, out.0, out.1, or has it in another shape" in picture.caption
        return
    assert f" {where} holds it: with the other's weights there alone, they move by 100 %" in picture.caption
    assert value["layers"] == ["first", "norm", "out", "place"]
    assert value["swapped"][value["layers"].index(where)] == pytest.approx(value["answers"].mean(), abs=1e-6)
    # Of more than fit those stay whose numbers differ.
    assert scene.derive("differences", other=beside, layers=1).value["layers"] == [where]


def test_examples_that_one_of_both_answers_with_no_number_are_left_out_of_a_difference() -> None:
    """They are counted in the note, stand in no mean and in no row, and networks that answer the rest alike do so to these alone."""
    x, y = _spots(classes=2)
    y[:3], x[:3] = 0, -5.0
    net = nn.Linear(6, 2)
    torn, other = nn.Sequential(net, _Root()), nn.Sequential(nn.Linear(6, 2), _Root())
    scene = Scene(torn, x, y)
    bad = int(torch.isnan(torn(x)).any(1).sum())
    assert 0 < bad < len(x)
    same = scene.view("differences", other=Scene(copy.deepcopy(torn), x, y))
    assert f"Both answer the same to {len(x) - bad} of {len(x)} examples." in same.caption
    assert f"{bad} of {len(x)} examples are answered by one of both with no finite number and left out" in same.note
    told = scene.view("differences", other=Scene(other, x, y))
    table = next(mark for mark in told.body.children if isinstance(mark, Table))
    assert all(np.isfinite(column.numbers).all() for column in table.columns if column.numbers is not None)
    both = torch.isfinite(torn(x).softmax(1) - other(x).softmax(1)).all(1)
    gap = (torn(x).softmax(1) - other(x).softmax(1)).abs().sum(1)[both].mean() / 2
    assert told.checks[0].value == pytest.approx(float(gap.detach()), abs=1e-6)
    assert "over these examples" in told.checks[0].sentence


class _Root(nn.Module):
    """The root, which below zero is no number."""

    def forward(self, x: Tensor) -> Tensor:
        return (x + 0.3).sqrt()
