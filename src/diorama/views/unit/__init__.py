"""The room in which one asks what a single unit has learned."""

from ..view import Opening, Place, Room

ROOM = Room(
    name="unit",
    title="Unit",
    question="What has one unit of the network learned to respond to?",
    order=2,
    training=(
        # For autoencoders and generators alone: elsewhere it does not fit and is left out.
        Place("latent", columns=12, rows=5),
        Place("card", columns=7, rows=9),
        Place("synthesis", columns=5, rows=3),
        Place("scan", columns=5, rows=3),
        Place("weights", columns=5, rows=3),
        Place("selectivity", columns=6, rows=4),
        Place("features", columns=6, rows=4),
        Place("surprises", columns=6, rows=4),
        Place("lesions", columns=6, rows=4),
        Place("directions", columns=6, rows=5),
        Place("inversion", columns=6, rows=5),
        Place("cells", columns=12, rows=6),
        Place("gates", columns=12, rows=6),
        Place("matches", columns=12, rows=6),
        Place("writes", columns=12, rows=6),
        Place("strokes", columns=12, rows=9),
        Place("dictionary", columns=12, rows=8),
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
        Place("gates", columns=12, rows=6),
        Place("matches", columns=12, rows=6),
        Place("writes", columns=12, rows=6),
        Place("strokes", columns=12, rows=9),
        Place("dictionary", columns=12, rows=8),
    ),
    openings=(
        # What goes through a few numbers is seen on their plane.
        Opening(
            when=("reconstruction",),
            training=(
                Place("latent", columns=12, rows=5),
                Place("card", columns=7, rows=4),
                Place("synthesis", columns=5, rows=4),
            ),
            input=(
                Place("latent", columns=12, rows=5),
                Place("scan", columns=7, rows=4),
                Place("card", columns=5, rows=4),
            ),
        ),
        Opening(
            when=("strokes",),
            training=(Place("strokes", columns=12, rows=9),),
            input=(Place("strokes", columns=12, rows=9),),
        ),
        Opening(
            when=("text", "recurrent"),
            training=(
                Place("cells", columns=12, rows=4),
                Place("card", columns=7, rows=5),
                Place("selectivity", columns=5, rows=5),
            ),
            input=(
                Place("cells", columns=12, rows=5),
                Place("card", columns=7, rows=4),
                Place("active", columns=5, rows=4),
            ),
        ),
        Opening(
            when=("text",),
            training=(
                Place("card", columns=7, rows=9),
                Place("synthesis", columns=5, rows=4),
                Place("selectivity", columns=5, rows=5),
            ),
            input=(
                Place("card", columns=7, rows=9),
                Place("active", columns=5, rows=4),
                Place("inversion", columns=5, rows=5),
            ),
        ),
        Opening(
            when=("table",),
            training=(
                Place("card", columns=7, rows=9),
                Place("features", columns=5, rows=5),
                Place("lesions", columns=5, rows=4),
            ),
            input=(
                Place("card", columns=7, rows=9),
                Place("active", columns=5, rows=4),
                Place("inversion", columns=5, rows=5),
            ),
        ),
        Opening(
            training=(
                Place("card", columns=7, rows=9),
                Place("synthesis", columns=5, rows=3),
                Place("scan", columns=5, rows=3),
                Place("weights", columns=5, rows=3),
            ),
            input=(
                Place("scan", columns=7, rows=6),
                Place("card", columns=5, rows=9),
                Place("active", columns=7, rows=3),
            ),
        ),
    ),
)
