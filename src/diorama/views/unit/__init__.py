"""The room in which one asks what a single unit has learned."""

from ..view import Place, Room

ROOM = Room(
    name="unit",
    title="What does this unit see?",
    question="What has one unit of the network learned to respond to?",
    order=2,
    training=(Place("cells", columns=12, rows=6),),
    input=(Place("cells", columns=12, rows=6),),
)
