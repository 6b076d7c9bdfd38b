"""What a network writes: one pass a symbol, drawn with its own probabilities, the same in every cell and at every moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from attentions import LETTERS
from attentions import Writes as Network
from torch import Tensor, nn

import diorama
from diorama.core.errors import NotApplicable
from diorama.core.marks import Bars, Text
from diorama.core.picture import Picture
from diorama.core.selection import Selection
from diorama.run import Run
from diorama.scene import Scene
from diorama.scene.made_text import WrittenText, WrittenToken, tempered, writing
from diorama.views.unit.writes import WritesView


def _model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network().eval()


def _scene(model: nn.Module | None = None) -> Scene:
    x = torch.randint(0, 10, (24, 12), generator=torch.Generator().manual_seed(1))
    return Scene(model or _model(), x, x.roll(-1, 1), inputs=diorama.Tokens(vocabulary=LETTERS))


def _texts(picture: Picture) -> list[Text]:
    return [mark for mark in picture.marks() if isinstance(mark, Text)]


def test_it_writes_what_a_plain_loop_writes() -> None:
    """At temperature 0 each symbol is the likeliest after the last twelve; with luck it is the one on which the luck falls."""
    scene, model = _scene(), _model()
    for temperature in (0.0, 0.6):
        text = [int(number) for number in scene.examples.x[3, :5]]
        luck = np.random.default_rng(4).random(20)
        *_, found = writing(scene, scene.examples.x[3:4], "", tuple(text), length=20, window=12, temperature=temperature, seed=4)
        for number in luck:
            with torch.no_grad():
                scores = model(torch.tensor([text[-12:]]))[0, -1].double()
            chances = (scores / temperature).softmax(0) if temperature else nn.functional.one_hot(scores.argmax(), 10)
            text.append(int((chances.cumsum(0) < number).sum()))
        assert found.tokens == tuple(text)


def test_temperature_is_that_of_the_scores() -> None:
    """Probabilities at a temperature are the softmax of the scores divided by it; none becomes a number that is none."""
    scores = torch.tensor([3.0, -1.0, 0.5, -900.0], dtype=torch.float64)
    chances = scores.softmax(0).numpy()
    for temperature in (0.05, 0.7, 1.0, 4.0):
        np.testing.assert_allclose(tempered(chances, temperature), (scores / temperature).softmax(0).numpy(), atol=1e-12)
    assert tempered(chances, 0.0).tolist() == [1.0, 0.0, 0.0, 0.0]


class _Known(nn.Module):
    """After a letter comes the next one; 9 breaks it."""

    def __init__(self) -> None:
        super().__init__()
        self.next = nn.Embedding(10, 10)
        with torch.no_grad():
            self.next.weight.copy_(30.0 * torch.eye(10).roll(1, 1))
            self.next.weight[9] = float("nan")

    def forward(self, x: Tensor) -> Tensor:
        return self.next(x)


def test_a_text_that_cannot_go_on_stays_as_it_is() -> None:
    """Where scores are not numbers nothing more is drawn, and the picture says so; what was written before stays. So it is said where a text
    ends by itself, and where an example has no such long beginning."""
    picture = _scene(_Known()).view("writes", prime=LETTERS[2], length=30)
    assert "".join(_texts(picture)[0].tokens) == "".join(LETTERS[3:10])
    assert "not numbers" in picture.note
    kind = diorama.Tokens(vocabulary=[*LETTERS[:8], "</s>", LETTERS[9]])
    scene = Scene(_Known(), *torch.zeros(2, 3, 4, dtype=torch.long), inputs=kind)
    assert scene.view("writes", length=30, begin=4).note.endswith("A text ends where “</s>” is drawn, as it is before 30 symbols.")
    assert scene.view("writes", length=30, begin=9).note.startswith("It begins with all 4 symbols of the example")
    assert not scene.view("writes", length=3, begin=4).note


def test_the_chosen_unit_and_symbol_are_told() -> None:
    """A chosen unit colours each symbol by its value where that was decided; a chosen symbol shows its chances as bars."""
    scene = _scene()
    told = {"prime": "".join(LETTERS[:4]), "length": 6, "temperature": 0.5}
    picture = scene.view("writes", unit="norm/3", token=6, **told)
    text = _texts(picture)[0]
    whole = torch.tensor([[0, 1, 2, 3, *(LETTERS.index(token) for token in text.tokens)]])
    wanted = scene.activations("norm", whole)["norm"][0, 3, 3:9]
    assert text.values == pytest.approx(wanted.numpy(), abs=1e-5)
    bars = next(mark for mark in picture.marks() if isinstance(mark, Bars))
    chances = scene.probabilities(whole[:, :6])[0, -1].double()
    order = chances.argsort(descending=True, stable=True)
    assert bars.reference == pytest.approx(chances[order].numpy(), abs=1e-6)
    assert bars.values == pytest.approx(tempered(chances.numpy(), 0.5)[order.numpy()], abs=1e-6)
    assert bars.labels[bars.strong or 0] == text.tokens[2]
    assert text.keys[2] == "token:6"


def test_a_lesion_changes_what_is_written() -> None:
    """It is written with the scene's edits, and a typed text is gone on with."""
    scene = _scene()
    plain = scene.view("writes", input="".join(LETTERS[:3]), temperature=0.0, length=8)
    cut = scene.edit("layer:norm", lesion=True).view("writes", input="".join(LETTERS[:3]), temperature=0.0, length=8)
    bias = int(scene.model.head.bias.argmax())
    assert _texts(cut)[0].tokens == (LETTERS[bias],) * 8
    assert _texts(plain)[0].tokens != _texts(cut)[0].tokens
    assert "".join(LETTERS[:3]) in plain.caption


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A network whose head is told one letter after the other, with a snapshot at each step."""
    path: Path = tmp_path_factory.mktemp("writes") / "run"
    model, scene = _model(), _scene()
    with diorama.watch(model, path, probe=scene.examples, every=1, snapshots=1) as recorder:
        for step in range(5):
            with torch.no_grad():
                model.head.weight.zero_()
                model.head.bias.copy_(50.0 * nn.functional.one_hot(torch.tensor(step), 10))
            recorder.step(loss=1.0)
    return diorama.open(path)


def test_moments_stand_side_by_side(run: Run) -> None:
    """Every moment writes with its own weights, the first and the last are there, and the picture's own stands first."""
    picture = run.scene(3).view("writes", count=40, length=4)
    own, *others = _texts(picture)
    assert own.tokens == (LETTERS[2],) * 4
    assert [text.title for text in others] == ["step 0", "step 1", "step 2", "step 3 (shown above)", "step 4", "step 5"]
    assert ["".join(text.tokens) for text in others[1:]] == [4 * letter for letter in LETTERS[:5]]
    assert len(_texts(run.scene(3).view("writes", count=2, length=4))) == 1 + 3


def test_a_text_that_ended_says_at_which_steps_of_the_training() -> None:
    """Where a note names steps, it says of what: of the training, and not of the text."""
    scene, kind = _scene(), diorama.Tokens(vocabulary=[*LETTERS[:8], "</s>", LETTERS[9]])
    text = WrittenText((0,), (WrittenToken(8, 1.0, (8,), (1.0,), (1.0,), None),))
    for steps, told in (((0, 2, 1000), "steps 0, 2 and 1,000"), ((2,), "step 2")):
        found = dict.fromkeys(steps, text)
        *_, note = WritesView(length=4)._shorter(kind, scene.current(Selection()), text, found, final=True)
        assert note == f"A text ends where “</s>” is drawn, as it is before 4 symbols at {told} of the training."


def test_a_classifier_does_not_write() -> None:
    """A network that does not say what comes next is refused in words."""
    x = torch.randint(0, 10, (8, 12))
    scene = Scene(Network(3).eval(), x, torch.arange(8) % 3, inputs=diorama.Tokens(vocabulary=LETTERS))
    with pytest.raises(NotApplicable, match="what comes next"):
        scene.view("writes")


class _Echoes(nn.Module):
    """Says a source again in words of its own: what stands in the source where the next word belongs, then the end."""

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        ended = torch.cat([source, torch.zeros(len(source), max(1, target.shape[1]), dtype=torch.long)], 1)
        said = nn.functional.one_hot(ended[:, : target.shape[1]] + 1, 12).float() * 9
        return said + nn.functional.one_hot(target, 12) + source.sum(1)[:, None, None] / 99


def test_a_translator_writes_the_translation_of_the_source() -> None:
    """It begins with the first symbol of what is said, reads the source whole at each symbol, and ends with the end token."""
    source = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3], [5, 8, 9, 7, 9], [3, 2, 3, 8, 4]])
    target = torch.cat([torch.zeros(4, 1, dtype=torch.long), source + 1], 1)
    y = torch.cat([source + 1, torch.ones(4, 1, dtype=torch.long)], 1)
    kinds = {"source": diorama.Tokens(("·", *"abcdefghi")), "target": diorama.Tokens(("<s>", "</s>", *"ABCDEFGHIJ"))}
    scene = Scene(_Echoes(), {"source": source, "target": target}, y, inputs=kinds, task="next_token")
    for example in (0, 2):
        picture = scene.view("writes", select=(f"example:{example}",), temperature=0.0, length=9)
        (text,) = _texts(picture)
        assert text.tokens == (*(kinds["target"].token(int(number) + 1) for number in source[example]), "</s>")
        assert picture.caption.startswith(f"Of “{''.join(kinds['source'].token(int(number)) for number in source[example])}”: ")
        bars = next(mark for mark in picture.marks() if isinstance(mark, Bars))
        assert bars.labels[0] == "</s>"
    assert len(_texts(scene.view("writes", temperature=0.0, length=3))[0].tokens) == 3
    assert "stops" not in scene.view("writes", temperature=0.0, length=9).note
    brief = Scene(_Echoes(), {"source": source, "target": target[:, :4]}, y[:, :4], inputs=kinds, task="next_token")
    assert "It stops after 4 symbols" in brief.view("writes", temperature=0.0, length=9).note
