"""The room in which one watches the network learn."""

from ..view import Opening, Place, Room

ROOM = Room(
    name="training",
    title="Training",
    question="What is the network learning, and is it learning well?",
    order=0,
    training=(
        Place("health", columns=12, rows=3),
        Place("curves", columns=8, rows=3),
        Place("findings", columns=4, rows=3),
        Place("activations", columns=12, rows=3),
        Place("first_bad", columns=6, rows=4),
        Place("weights", columns=4, rows=3),
        Place("distributions", columns=4, rows=3),
        Place("confusion", columns=4, rows=3),
        Place("boundary", columns=4, rows=3),
        Place("residuals", columns=6, rows=4),
        Place("structure", columns=8, rows=4),
        Place("examples", columns=12, rows=3),
        Place("influence", columns=12, rows=5),
        Place("compare", columns=12, rows=5),
        Place("surrogate", columns=12, rows=5),
        Place("guide", columns=12, rows=4),
        Place("learns_from", columns=12, rows=5),
        Place("adapters", columns=12, rows=5),
        Place("attention", columns=12, rows=5, knobs={"show": "training"}),
        Place("convergence", columns=12, rows=5),
        Place("weight_series", columns=6, rows=4),
        Place("topology", columns=8, rows=5),
        Place("loss_slice", columns=12, rows=4),
        Place("acts", columns=8, rows=4),
        Place("schedule", columns=8, rows=4),
    ),
    input=(
        Place("activations", columns=12, rows=5),
        Place("structure", columns=8, rows=4),
        Place("weights", columns=4, rows=4),
        Place("examples", columns=12, rows=3),
    ),
    openings=(
        # A text that is read with a memory is coloured by what the memory follows.
        Opening(
            when=("text", "recurrent"),
            training=(
                Place("cells", columns=8, rows=5),
                Place("findings", columns=4, rows=5),
                Place("health", columns=8, rows=4),
                Place("curves", columns=4, rows=4),
            ),
            input=(
                Place("cells", columns=12, rows=5),
                Place("activations", columns=12, rows=4),
            ),
        ),
        Opening(
            when=("text",),
            training=(
                Place("words", columns=8, rows=5),
                Place("findings", columns=4, rows=5),
                Place("health", columns=8, rows=4),
                Place("curves", columns=4, rows=4),
            ),
            input=(
                Place("words", columns=12, rows=5),
                Place("activations", columns=12, rows=4),
            ),
        ),
        # Points in a plane: where the answer changes says more than any curve.
        Opening(
            when=("plane",),
            training=(
                Place("boundary", columns=6, rows=6),
                Place("curves", columns=6, rows=3),
                Place("findings", columns=6, rows=3),
                Place("health", columns=12, rows=3),
            ),
            input=(
                Place("boundary", columns=6, rows=6),
                Place("structure", columns=6, rows=6),
                Place("activations", columns=12, rows=3),
            ),
        ),
        Opening(
            when=("table", "classification"),
            training=(
                Place("health", columns=12, rows=3),
                Place("curves", columns=4, rows=6),
                Place("confusion", columns=4, rows=6),
                Place("findings", columns=4, rows=2),
                Place("boundary", columns=4, rows=4),
            ),
            input=(
                Place("activations", columns=12, rows=4),
                Place("boundary", columns=6, rows=5),
                Place("structure", columns=6, rows=5),
            ),
        ),
        Opening(
            when=("table", "regression"),
            training=(
                Place("health", columns=12, rows=3),
                Place("curves", columns=4, rows=6),
                Place("residuals", columns=4, rows=6),
                Place("findings", columns=4, rows=2),
                Place("boundary", columns=4, rows=4),
            ),
            input=(
                Place("activations", columns=12, rows=4),
                Place("boundary", columns=6, rows=5),
                Place("structure", columns=6, rows=5),
            ),
        ),
        Opening(
            when=("table",),
            training=(
                Place("health", columns=12, rows=3),
                Place("curves", columns=6, rows=6),
                Place("findings", columns=6, rows=2),
                Place("boundary", columns=6, rows=4),
            ),
            input=(
                Place("activations", columns=12, rows=4),
                Place("boundary", columns=6, rows=5),
                Place("structure", columns=6, rows=5),
            ),
        ),
        Opening(
            training=(
                Place("health", columns=12, rows=3),
                Place("curves", columns=5, rows=3),
                Place("findings", columns=4, rows=3),
                Place("confusion", columns=3, rows=3),
                Place("activations", columns=12, rows=3),
            ),
            input=(
                Place("activations", columns=12, rows=5),
                Place("structure", columns=8, rows=4),
                Place("weights", columns=4, rows=4),
            ),
        ),
    ),
)
