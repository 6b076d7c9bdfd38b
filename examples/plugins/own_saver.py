"""A file format: what `picture.save("name.SUFFIX")` writes; its name is the suffix."""

import sys
from pathlib import Path

import torch

import diorama
from diorama.plugins import Saver, knob, savers


class Txt(Saver):
    """What a picture says, in words."""

    checks: bool = knob(True, "Also how far to believe it.")

    def save(self, picture, path):
        """Title, caption and checks, a line each."""
        lines = [picture.title, picture.caption, picture.note]
        if self.checks:
            lines += [f"{check.name}: {check.value:.3g}. {check.sentence}" for check in picture.checks]
        path.write_text("\n".join(filter(None, lines)) + "\n")


savers.register("txt", Txt)

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
picture = diorama.Scene(torch.nn.Linear(8, 3), torch.randn(20, 8)).view("weights")
print(picture.save(folder / "weights.txt").read_text())
