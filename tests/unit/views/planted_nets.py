"""Networks wired by hand, of which one knows what every unit does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diorama.scene import Scene

CLASSES = ("vertical", "horizontal", "blank")
VERTICAL, DEAD, HORIZONTAL, DOT = range(4)
BOTH, NEITHER = range(2)


def edges() -> Scene:
    """Pictures of upright and lying edges, seen by units for each, by a dead one, and by one that takes both."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 100, 3),
    )
    step = torch.tensor([[-1.0, 0.0, 1.0]]).repeat(3, 1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model[0].weight[VERTICAL, 0], model[0].weight[HORIZONTAL, 0] = step, step.T
        model[0].weight[DEAD, 0], model[0].bias[DEAD] = 1, -100
        model[0].weight[DOT, 0], model[0].weight[DOT, 0, 1, 1] = -1, 8
        model[2].weight[BOTH, [VERTICAL, HORIZONTAL], 0, 0] = 1
        model[2].weight[NEITHER, VERTICAL, 0, 0] = 0.01
        model[5].weight[0, :100] = 0.01
    pictures, y = [], []
    for k in range(36):
        picture = 0.02 * torch.rand(1, 12, 12, generator=generator)
        at = 3 + int(torch.randint(0, 6, (1,), generator=generator))
        height = 0.8 + 0.2 * float(torch.rand(1, generator=generator))
        if k % 3 == 0:
            picture[:, :, at:] += height
        elif k % 3 == 1:
            picture[:, at:] += height
        pictures.append(picture)
        y.append(k % 3)
    return Scene(model.eval(), torch.stack(pictures), torch.tensor(y), classes=CLASSES)


class Split(nn.Module):
    """Two classes told by one number each, and a mark in the corner that no class tells."""

    def __init__(self) -> None:
        super().__init__()
        self.see, self.out = nn.Conv2d(1, 8, 4, stride=4), nn.Linear(8, 2)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(4)
            self.see.weight.copy_(0.05 * torch.randn(8, 1, 4, 4, generator=generator))
            self.see.bias.fill_(0.0)
            # Unit 0: the left half bright; unit 1: the right half; unit 2: the mark, which the others are hindered by.
            self.see.weight[3:, 0, 0, 0] = -0.2
            self.see.weight[:3] = 0
            self.see.weight[0, 0, 2:, :2], self.see.weight[0, 0, 2:, 2:] = 1.25, -1.25
            self.see.weight[1] = -self.see.weight[0]
            self.see.weight[2, 0, 0, 0], self.see.weight[2, 0, 0, 1] = 9, -9
            self.out.weight.zero_()
            self.out.bias.zero_()
            self.out.weight[0, 0], self.out.weight[1, 1] = 6, 6

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.see(x)).amax((2, 3)))


def marked() -> Scene:
    """Halves that are classes, and in a sixth of the pictures a mark that is none."""
    generator = torch.Generator().manual_seed(6)
    x = 0.1 * torch.rand(120, 1, 4, 4, generator=generator)
    y = torch.arange(120) % 2
    x[y == 0, :, 2:, :2] += 0.2
    x[y == 1, :, 2:, 2:] += 0.2
    with_mark = torch.arange(120) % 6 < 1
    with_mark |= torch.arange(120) % 12 == 7
    x[with_mark, :, 0, 0] += 1
    return Scene(Split().eval(), x, y, classes=("left", "right"))
