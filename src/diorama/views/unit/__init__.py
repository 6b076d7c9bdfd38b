"""The room in which one asks what a single unit has learned."""

from ..view import Place, Room

ROOM = Room(
    name="unit",
    title="What does this unit see?",
    question="What has one unit of the network learned to respond to?",
    order=2,
    training=(
        Place("inspector", columns=5, rows=6),
        Place("weights", columns=7, rows=3),
        Place("activations", columns=7, rows=3),
        Place("cells", columns=12, rows=6),
    ),
    input=(
        Place("inspector", columns=5, rows=6),
        Place("activations", columns=7, rows=6),
        Place("cells", columns=12, rows=6),
    ),
)
