"""The room in which one asks what a single unit has learned."""

from ..view import Place, Room

ROOM = Room(
    name="unit",
    title="What does this unit see?",
    question="What has one unit of the network learned to respond to?",
    order=2,
    training=(
        # For autoencoders and generators alone: elsewhere it does not fit and is left out.
        Place("latent", columns=12, rows=5),
        Place("card", columns=7, rows=9),
        Place("synthesis", columns=5, rows=3),
        Place("scan", columns=5, rows=3, knobs={"show": "top"}),
        Place("weights", columns=5, rows=3),
        Place("selectivity", columns=6, rows=4),
        Place("features", columns=6, rows=4),
        Place("surprises", columns=6, rows=4),
        Place("lesions", columns=6, rows=4),
        Place("directions", columns=6, rows=5),
        Place("inversion", columns=6, rows=5),
        Place("cells", columns=12, rows=6),
    ),
    input=(
        Place("latent", columns=12, rows=5),
        Place("scan", columns=7, rows=6),
        Place("card", columns=5, rows=9),
        Place("active", columns=7, rows=3),
        Place("inversion", columns=7, rows=5),
        Place("dream", columns=5, rows=5),
        Place("replacement", columns=6, rows=4),
        Place("cells", columns=12, rows=6),
    ),
)
