"""An attention written by hand, without a module of its own: its softmax is read, scanned, edited and explained by its name."""

import functools
import os
import shlex
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import diorama
from diorama.cli.program import diorama as command_line

PLACES, TOKENS = 8, 10


class Pointed(nn.Module):
    """Seven tokens, and an eighth that names a place: says which token stands there."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(TOKENS, 32), nn.Embedding(PLACES, 32)
        self.q, self.k, self.v, self.out = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, TOKENS)

    def forward(self, x: Tensor) -> Tensor:
        h = self.token(x) + self.place.weight
        weights = torch.softmax(self.q(h) @ self.k(h).transpose(1, 2) / 32**0.5, dim=-1)
        return self.out((weights @ self.v(h))[:, -1])


def asked(count: int) -> tuple[Tensor, Tensor]:
    """Tokens, the last of which names a place, and the token that stands there."""
    x = torch.randint(TOKENS, (count, PLACES))
    x[:, -1] = torch.randint(PLACES - 1, (count,))
    return x, x.gather(1, x[:, -1:])[:, 0]


@functools.cache
def made() -> diorama.Scene:
    """The network, trained, with examples; ``--model handwritten_attention:made`` on the command line."""
    torch.manual_seed(0)
    model = Pointed()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        x, y = asked(128)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return diorama.Scene(model, *asked(256), inputs=diorama.Tokens([str(k) for k in range(TOKENS)]))


COMMANDS = """
diorama view attention --model handwritten_attention:made -o pattern.svg
diorama scan --model handwritten_attention:made --layer op:softmax -o softmax.safetensors
diorama view confusion --model handwritten_attention:made --edit "op:softmax/5@7 lesion" -o without-5.svg
diorama view attribution --model handwritten_attention:made --select unit:op:softmax/5@7 -o why.svg
"""

if __name__ == "__main__":
    scene = made()
    x, y = scene.examples.x, scene.examples.y
    print(scene.layers["op:softmax"])

    # Read: the pattern (examples, keys, queries). The last query looks at the place that its token names.
    pattern = scene.activations(["op:softmax"])["op:softmax"]
    found = pattern[:, :, -1].argmax(1) == x[:, -1]
    print(f"looks where it is told: {100 * found.float().mean():.0f} % of the examples")

    # Scan: how much the keys get on average, and which examples give each the most.
    scan = diorama.scan(scene, layers=["op:softmax"])
    print("mean of each key:", " ".join(f"{mean:.2f}" for mean in scan["op:softmax"].moments.mean))

    # Edit: without the key in place 5, for the last query alone.
    right = scene.edit("op:softmax/5@7", lesion=True).predictions() == y
    for place in range(PLACES - 1):
        print(f"asked for place {place}: {100 * right[x[:, -1] == place].float().mean():.0f} % right without key 5")

    # Explain: what makes the last query of the first example look at place 5.
    heat = diorama.attribute(scene.model, x[:1], target="op:softmax/5@7", method="integrated_gradients")
    print("what makes it look there:", " ".join(f"{value:.2f}" for value in heat.values[0]), heat.checks)

    # The same from a terminal.
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    for line in COMMANDS.strip().splitlines():
        command_line(shlex.split(line)[1:], standalone_mode=False)
