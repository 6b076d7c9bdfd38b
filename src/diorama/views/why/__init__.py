"""The room in which one asks why the network gave its answer."""

from ..view import Opening, Place, Room

ROOM = Room(
    name="why",
    title="Why",
    question="Which parts of the input speak for this answer, and which against it?",
    order=1,
    training=(
        Place("attribution", columns=12, rows=6),
        Place("contrast", columns=6, rows=5),
        Place("morph", columns=6, rows=5),
        Place("regions", columns=6, rows=5),
        Place("flip", columns=6, rows=5),
        Place("words", columns=12, rows=4),
        Place("tree", columns=12, rows=7),
        Place("attention", columns=12, rows=7),
        Place("lens", columns=12, rows=7),
        Place("patching", columns=12, rows=7),
        Place("contributions", columns=12, rows=5),
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
        Place("tree", columns=12, rows=7),
        Place("attention", columns=12, rows=7),
        Place("lens", columns=12, rows=7),
        Place("patching", columns=12, rows=7),
        Place("contributions", columns=12, rows=5),
    ),
    openings=(
        # A network that draws its input again has no single answer to explain, and none that flips: what it draws follows from its code.
        Opening(
            when=("reconstruction",),
            training=(
                Place("latent", columns=7, rows=9),
                Place("regions", columns=5, rows=9),
            ),
            input=(
                Place("latent", columns=7, rows=9),
                Place("regions", columns=5, rows=9, knobs={"where": "this input"}),
            ),
        ),
        Opening(
            when=("text", "attention", "next_token"),
            training=(
                Place("words", columns=5, rows=4),
                Place("attention", columns=7, rows=9),
                Place("attribution", columns=5, rows=5),
            ),
            input=(
                Place("words", columns=5, rows=5),
                Place("attention", columns=7, rows=9),
                Place("attribution", columns=5, rows=4),
            ),
        ),
        Opening(
            when=("text", "next_token"),
            training=(
                Place("words", columns=12, rows=4),
                Place("attribution", columns=7, rows=5),
                Place("morph", columns=5, rows=5),
            ),
            input=(
                Place("words", columns=12, rows=5),
                Place("attribution", columns=12, rows=4),
            ),
        ),
        Opening(
            when=("text",),
            training=(
                Place("words", columns=12, rows=4),
                Place("attribution", columns=7, rows=5),
                Place("contrast", columns=5, rows=5),
            ),
            input=(
                Place("words", columns=12, rows=4),
                Place("attribution", columns=7, rows=5),
                Place("flip", columns=5, rows=5),
            ),
        ),
        Opening(
            when=("plane",),
            training=(
                Place("boundary", columns=6, rows=5),
                Place("attribution", columns=6, rows=5),
                Place("flip", columns=6, rows=4),
                Place("contrast", columns=6, rows=4),
            ),
            input=(
                Place("boundary", columns=6, rows=5),
                Place("attribution", columns=6, rows=5),
                Place("flip", columns=12, rows=4),
            ),
        ),
        Opening(
            when=("table",),
            training=(
                Place("attribution", columns=8, rows=9),
                Place("flip", columns=4, rows=5),
                Place("contrast", columns=4, rows=4),
            ),
            input=(
                Place("attribution", columns=8, rows=9),
                Place("flip", columns=4, rows=5),
                Place("morph", columns=4, rows=4),
            ),
        ),
        Opening(
            training=(
                Place("attribution", columns=12, rows=5),
                Place("contrast", columns=6, rows=4),
                Place("morph", columns=6, rows=4),
            ),
            input=(
                Place("attribution", columns=12, rows=5),
                Place("occluder", columns=7, rows=4),
                Place("flip", columns=5, rows=4),
            ),
        ),
    ),
)
