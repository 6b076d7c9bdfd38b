"""What a third party may rely on: the base class of every kind of plug-in, how a knob is declared, what pictures are made of.

A package offers its plug-ins by entry points in its ``pyproject.toml``; the entry's name is the plug-in's name:

    [project.entry-points."diorama.views"]
    norms = "mypackage.norms:Norms"

The groups are ``diorama.views``, ``diorama.methods``, ``diorama.derivations``, ``diorama.projections``, ``diorama.signals``,
``diorama.findings``, ``diorama.commands``, ``diorama.demos`` and ``diorama.savers``. In a notebook or script the same is
``diorama.views.register("norms", Norms)``, and alike for the other kinds (savers: by entry point). One that cannot be used is named and left out.
"""

from __future__ import annotations

from .core import marks
from .core.errors import DioramaError, NotApplicable, Unavailable, UsageError
from .core.knobs import Knob, Plugin, knob
from .core.picture import Check, Draft, Picture, Progress
from .core.selection import Key, Selection
from .derive.derivation import Derivation, Stage
from .export.formats import Saver
from .gallery._demo import Demo
from .methods.cost import Cost
from .methods.method import Attribution, Looking, Method
from .methods.projecting import Placed, Projection
from .record.acts import Reversal
from .record.commands import Applied, Command
from .record.findings import Finding, Found
from .record.signals import Signal
from .record.step import Step
from .scene import Scene
from .views.view import View

__all__ = [
    "Applied", "Attribution", "Check", "Command", "Cost", "Demo", "Derivation", "DioramaError", "Draft", "Finding", "Found",
    "Key", "Knob", "Looking", "Method", "NotApplicable", "Picture", "Placed", "Plugin", "Progress", "Projection", "Reversal",
    "Saver", "Scene", "Selection", "Signal", "Stage", "Step", "Unavailable", "UsageError", "View", "knob", "marks",
]
