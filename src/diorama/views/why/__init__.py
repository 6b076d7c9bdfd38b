"""The room in which one asks why the network gave its answer."""

from ..view import Place, Room

ROOM = Room(
    name="why",
    title="Why this answer?",
    question="Which parts of the input speak for this answer, and which against it?",
    order=1,
    training=(
        Place("attribution", columns=12, rows=6),
        Place("contrast", columns=6, rows=4),
        Place("morph", columns=6, rows=4),
        Place("flip", columns=6, rows=4),
        Place("regions", columns=6, rows=4),
        Place("words", columns=12, rows=4),
        Place("examples", columns=12, rows=3),
    ),
    input=(
        Place("attribution", columns=12, rows=9),
        Place("words", columns=12, rows=4),
        Place("occluder", columns=12, rows=6),
        Place("flip", columns=12, rows=5),
        Place("morph", columns=6, rows=4),
        Place("contrast", columns=6, rows=4),
        Place("regions", columns=12, rows=5, knobs={"where": "this input"}),
    ),
)
