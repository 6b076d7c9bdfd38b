"""The room in which one asks how examples, units and layers relate to one another."""

from ..view import Opening, Place, Room

ROOM = Room(
    name="relate",
    title="Relate",
    question="How do they relate: examples, units and layers?",
    order=3,
    training=(
        Place("projection", columns=5, rows=9),
        Place("clusters", columns=7, rows=9),
        Place("units", columns=5, rows=9),
        Place("subgroup", columns=7, rows=9),
        Place("communities", columns=12, rows=9),
        Place("neighbourhood", columns=12, rows=9),
        Place("springs", columns=6, rows=6),
        Place("matrix", columns=6, rows=6),
        Place("parts", columns=12, rows=9),
        Place("mixing", columns=6, rows=6),
        Place("serving", columns=6, rows=6),
        Place("needed", columns=12, rows=6),
        Place("shared", columns=12, rows=6),
        Place("differences", columns=12, rows=6),
    ),
    input=(
        Place("communities", columns=12, rows=9),
        Place("projection", columns=5, rows=9),
        Place("clusters", columns=7, rows=9),
        Place("units", columns=5, rows=9),
        Place("subgroup", columns=7, rows=9),
        Place("parts", columns=12, rows=9),
    ),
    openings=(
        Opening(
            training=(Place("projection", columns=5, rows=9), Place("clusters", columns=7, rows=9)),
            input=(Place("projection", columns=5, rows=9), Place("clusters", columns=7, rows=9)),
        ),
    ),
)
