"""How long page and server wait for one another; :mod:`.protocol` tells it to the page."""

from __future__ import annotations

import msgspec


class Patience(msgspec.Struct, frozen=True):
    """How long page and server wait, in seconds."""

    first: float = 1.5
    """The page holds a newer place of the slider or pen back so long for the first picture under way; then it asks anew."""
    refining: float = 0.3
    """A look that has given a first picture may refine it so long, counted from the question, while a newer place waits."""
    progress: float = 0.1
    """At least so long between two words on the progress of one look."""
    live: float = 0.5
    """At least so long between two live pictures of a record."""
    quick: float = 0.1
    """A live picture that took longer rests before it is made again: what is slow must not crowd out the rest."""
    rest: float = 2.0
    """So many times what it took."""
    beat: float = 0.25
    """Between two looks of the server at the runs that are followed; twice that lies between two states of one run."""
    search: float = 1.0
    """Between two looks for new runs."""
    answer: float = 30.0
    """The page waits so long for pixels that it must have."""
    reconnect: float = 5.0
    """At most so long between two tries to come back to a server that is gone."""
    door: float = 10.0
    """A connection has so long for its first request."""
    taking: float = 30.0
    """In so long a page must take something of what waits for it."""
    serving: float = 10.0
    """The server has so long to begin, and to end."""
    list: float = 3.0
    """Between two times that the list says how far the living runs are."""


PATIENCE = Patience()
