"""What a third party may rely on: the base class of every kind of plug-in, how a knob is declared, what pictures are made of.

A package offers its plug-ins by entry points in its ``pyproject.toml``; the entry's name is the plug-in's name:

    [project.entry-points."diorama.views"]
    norms = "mypackage.norms:Norms"

The groups are ``diorama.views``, ``diorama.methods``, ``diorama.derivations``, ``diorama.projections``, ``diorama.signals``,
``diorama.findings``, ``diorama.commands``, ``diorama.demos`` and ``diorama.savers``. In a notebook or script the same is
``diorama.views.register("norms", Norms)``, and alike for the other kinds (``diorama.plugins.savers`` for file formats); a name that is
taken stays with whoever has it, unless ``register`` is told ``replace=True``. There is no folder to put files into: what is offered comes by
entry points, what is registered stays in the process that registers it. One that cannot be used is named and left out:
``diorama.views.broken`` says why, and alike for the other kinds. It names the package, of what was registered the file and the line.

Names are known without an import. Where all of a kind are listed, those of third parties are imported, one package after the other, aside in
a thread: one that takes longer than 10 seconds is named ("still being imported (12 s)"), left out for now, and joins as soon as it has come;
the page shows it then by itself. Others of its package wait meanwhile. An import is ended after five minutes, where it runs Python. A training
waits up to a minute for the signals that it records; whoever asks for one by its name waits for that one, as long as it takes. An import that
only the main thread can make is made by whoever asks. Keep imports short all the same: what is heavy is best imported where it is used.

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

A file format's name is the suffix: ``picture.save("it.md")``, ``-o it.md`` and the Save menu of each view in the page use the one that is
offered as ``md``, and ``diorama list savers`` names all. It must write one file, to the path that it is given.

A mark that colours numbers wants their ``limits``: ``magnitude(values)`` from zero on, ``symmetric(values)`` where
the sign counts, or ``Limits`` of your own. A layer of ``scene.layers`` is a ``Layer``: its ``name``, ``kind``,
``units`` and shapes, and ``scene.layers["conv1"]`` finds one by its name.

What is broken is named and left out. A finding of a third party's that has not judged a run after 20 seconds is ended and left out too, since
all others wait for it. A view that never ends holds up itself alone: it has a button that cancels it, and its worker is replaced. A command
runs between two steps of the training, in its thread, and nothing can end it from outside: the training waits for it, and its terminal names
it after 10 seconds. A view that yields nothing says that it has nothing to show; ``wants`` is the place to say why.

A key is written ``kind:rest``, and what stands behind the colon depends on the kind. A name: ``layer:features.3``, ``run:a``,
``direction:smiling``. A name and numbers: ``unit:features.3/17``, with a place ``unit:features.3/17@5,8``, ``head:block.2.attn/4``,
``weight:fc/3,1``. A number, or the first and the last of several: ``example:4``, ``example:4-90``, ``class:7``, ``step:120``, ``token:12``.
What is no module, as a layer or with a unit: ``op:block.softmax/3``, ``query:block.attn/1``, ``key:``, ``value:``, ``pattern:`` and
``residual:``. ``str(Key("unit", "features.3", (17,)))`` writes one; names are percent-encoded there. A mark's ``keys`` are such texts, and a
view ``follows`` kinds of them.

Work of more than a moment belongs into a derivation, from which a view takes the stages: ``for stage in scene.derive("mine").stream()``, with
``yield stage.progress`` on the way; an example stands below the one of a view. A value that took less than a second to make is not written to
the run. A ``state`` is asked for once a second of work at most, seldomer where it takes long to write, and when the work is stopped; work of
less than a second in all leaves nothing in the run, and begins anew in another process.

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
from .derive.derivation import Derivation, DerivedValue, Stage
from .derive.snapshot_chain import SnapshotChain
from .export.formats import Saver
from .gallery._demo import Demo
from .methods.cost import Cost
from .methods.method import Attribution, Look, Method, Pass, completeness
from .methods.placement import Placement, Projection
from .model.layers import Layer, LayerTable
from .record.acts import Act, Reversal, Setting, SettingsReversal
from .record.commands import Command, Outcome
from .record.controls import Controls
from .record.findings import Diagnosis, Finding
from .record.histogram import HistogramValue
from .record.reader import RunReader
from .record.signals import Signal
from .record.step import LayerReading, ProbeReading, Step
from .scene import Scene
from .training.subject import Subject
from .views.view import View

__all__ = [
    "Act", "Attribution", "Check", "Command", "Controls", "Cost", "Demo", "Derivation", "DerivedValue", "Diagnosis", "DioramaError", "Draft",
    "Examples", "Faulty", "Finding", "HistogramValue", "Key", "Knob", "Layer", "LayerReading", "LayerTable", "Limits", "Look", "Method",
    "NotApplicable", "Outcome", "Pass", "Picture", "Placement", "Plugin", "ProbeReading", "Progress", "Projection", "Reversal", "RunReader",
    "Saver", "Scene", "Selection", "Setting", "SettingsReversal", "Signal", "SnapshotChain", "Stage", "Step", "Subject", "Unavailable",
    "UsageError", "View", "completeness", "knob", "magnitude", "marks", "savers", "symmetric",
]

FORMER = {
    "Applied": "Outcome", "Derived": "DerivedValue", "Following": "SnapshotChain", "Found": "Diagnosis", "Looking": "Look", "Placed": "Placement",
}
"""Names that plug-ins knew before classes were named by nouns: they stand for the same classes."""


def __getattr__(name: str) -> object:
    """A class under the name that it had before. *Raises* AttributeError for what was never here."""
    if name in FORMER:
        return globals()[FORMER[name]]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
