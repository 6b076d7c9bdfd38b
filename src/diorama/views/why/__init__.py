"""The room in which one asks why the network gave its answer."""

from ..view import Place, Room

ROOM = Room(
    name="why",
    title="Why this answer?",
    question="Which parts of the input speak for this answer, and which against it?",
    order=1,
    training=(
        Place("attribution", columns=12, rows=6),
        Place("contrast", columns=6, rows=5),
        Place("morph", columns=6, rows=5),
        Place("regions", columns=6, rows=5),
        Place("flip", columns=6, rows=5),
        Place("words", columns=12, rows=4),
        Place("examples", columns=12, rows=3),
    ),
    input=(
        Place("attribution", columns=12, rows=6),
        Place("words", columns=12, rows=4),
        Place("occluder", columns=12, rows=6),
        Place("flip", columns=12, rows=7),
        Place("regions", columns=12, rows=6, knobs={"where": "this input"}),
        Place("morph", columns=6, rows=5),
        Place("contrast", columns=6, rows=5),
    ),
)
