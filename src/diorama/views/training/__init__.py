"""The room in which one watches the network learn."""

from ..view import Place, Room

ROOM = Room(
    name="training",
    title="Training",
    question="What is the network learning, and is it learning well?",
    order=0,
    training=(
        Place("curves", columns=8, rows=3),
        Place("findings", columns=4, rows=3),
        Place("activations", columns=12, rows=3),
        Place("weights", columns=4, rows=3),
        Place("distributions", columns=4, rows=3),
        Place("confusion", columns=4, rows=3),
        Place("boundary", columns=4, rows=3),
        Place("structure", columns=8, rows=4),
        Place("examples", columns=12, rows=3),
    ),
    input=(
        Place("activations", columns=12, rows=5),
        Place("structure", columns=8, rows=4),
        Place("weights", columns=4, rows=4),
        Place("examples", columns=12, rows=3),
    ),
)
