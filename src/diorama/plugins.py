"""What a third party may rely on: the base class of every kind of plug-in, how a knob is declared, what pictures are made of.

A package offers its plug-ins by entry points in its ``pyproject.toml``; the entry's name is the plug-in's name:

    [project.entry-points."diorama.views"]
    norms = "mypackage.norms:Norms"

The groups are ``diorama.views``, ``diorama.methods``, ``diorama.derivations``, ``diorama.projections``, ``diorama.signals``,
``diorama.findings``, ``diorama.commands``, ``diorama.demos`` and ``diorama.savers``. In a notebook or script the same is
``diorama.views.register("norms", Norms)``, and alike for the other kinds (``diorama.plugins.savers`` for file formats); a name that is
taken stays with whoever has it, unless ``register`` is told ``replace=True``. One that cannot be used is named and left out:
``diorama.views.broken`` says why, and alike for the other kinds.

A knob is a field with its default, ``rounds: int = knob(50, "How often.", low=1)``; a name that is looked up in the
scene has a kind, ``layer: str | None = knob(None, "Which layer; the first when left out.", kind="layer")``, and the
page offers what there is: a "layer", "unit" (``conv1/3``), "class", "column" of a table, "example" of the probe set,
recorded "signal" or "series", "step", "run" or "cell" of a recurrent layer. Other kinds follow from the default:
"number", "integer", "flag", "text", and "choice" where ``choices`` are given; "numbers" are several, "units" a
layer's units by number, "examples" numbers of a data set, "labels" one for each of these, and "span" a stretch such
as ``4:12``. With the default None its menu begins with "auto", and the plug-in takes one itself where ``self.layer``
is None. A default of "" is for a name that must be given, as of a command: its menu begins with a blank line.

Pictures and their parts take keywords only: ``Progress(done=3, total=10, note="rounds")``, ``Check(name="error", value=0.01)``, and each
mark, as in ``marks.Number(label="loss", value=0.3)``. So do their parts: a button that sends a command is
``marks.Action(command="freeze", label="freeze conv1", knobs={"layer": "conv1"})`` among a number's ``actions``. Below it says of each
whether it is so.

A view says in which room of the page it stands: ``room = "training"``, "why", "unit" or "relate". A room's first views are its own, so a
third party's is not among them: it is added to any room by the + at the right of the room's question ("Add a view"), where a view that does
not fit the run is grey with the reason. The catalogue lists it too, and opens it alone in its ``room``.

A mark that colours numbers wants their ``limits``: ``magnitude(values)`` from zero on, ``symmetric(values)`` where
the sign counts, or ``Limits`` of your own. A layer of ``scene.layers`` is a ``Layer``: its ``name``, ``kind``,
``units`` and shapes, and ``scene.layers["conv1"]`` finds one by its name.

What is broken is named and left out. A finding of a third party's that has not judged a run after 20 seconds is ended and left out too, since
all others wait for it.

Two kinds of things are no plug-ins. A mark has a half that draws in the browser, in TypeScript, and is built into the page: it is added in
the project itself; ``docs/marks.md`` says how, and what its halves may rely on. A kind of input is told to ``watch`` and ``Scene`` as
``inputs=``, out of those that there are: the page has a control for each.
"""

from __future__ import annotations

from .core import marks
from .core.colour import Limits, magnitude, symmetric
from .core.errors import DioramaError, Faulty, NotApplicable, Unavailable, UsageError
from .core.knobs import Knob, Plugin, knob
from .core.picture import Check, Draft, Picture, Progress
from .core.registry import savers
from .core.selection import Key, Selection
from .data.examples import Examples
from .derive.derivation import Derivation, Derived, Stage
from .derive.following import Following
from .export.formats import Saver
from .gallery._demo import Demo
from .methods.cost import Cost
from .methods.method import Attribution, Looking, Method, Pass
from .methods.projecting import Placed, Projection
from .model.layers import Layer, LayerTable
from .record.acts import Act, Reversal, Setting, SettingsReversal
from .record.commands import Applied, Command
from .record.controls import Controls
from .record.findings import Finding, Found
from .record.histogram import HistogramValue
from .record.reader import RunReader
from .record.signals import Signal
from .record.step import LayerReading, ProbeReading, Step
from .scene import Scene
from .training.subject import Subject
from .views.view import View

__all__ = [
    "Act", "Applied", "Attribution", "Check", "Command", "Controls", "Cost", "Demo", "Derivation", "Derived", "DioramaError", "Draft", "Examples",
    "Faulty", "Finding", "Following", "Found", "HistogramValue", "Key", "Knob", "Layer", "LayerReading", "LayerTable", "Limits", "Looking",
    "Method", "NotApplicable", "Pass", "Picture", "Placed", "Plugin", "ProbeReading", "Progress", "Projection", "Reversal", "RunReader", "Saver",
    "Scene", "Selection", "Setting", "SettingsReversal", "Signal", "Stage", "Step", "Subject", "Unavailable", "UsageError", "View", "knob",
    "magnitude", "marks", "savers", "symmetric",
]
