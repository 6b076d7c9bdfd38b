"""How long a thread waited for a processor that ran other work: no time of the training's own."""

from __future__ import annotations

_FILE = "/proc/thread-self/schedstat"


def waited() -> float:
    """Seconds for which the calling thread was ready to run and others ran, since it began; 0 where the system does not say (it is Linux's).

    *Cost* some ten microseconds: it is asked where a reading may be due, or a look.
    """
    try:
        with open(_FILE, "rb", 0) as file:
            return int(file.read(100).split()[1]) * 1e-9
    except (OSError, IndexError, ValueError):
        return 0.0


class OwnClock:
    """A clock of the time that a training has to itself, beside the one on the wall, which goes on while other work has the processor.

    *Meaning* on a machine that is shared by five, one second in five is the training's, and a hundredth of the five would be a twentieth of it.
    Waits for data, devices and people are the training's own: they cost it nothing to be used.
    """

    def __init__(self) -> None:
        self._first = self._lost = waited()

    def behind(self) -> float:
        """Seconds by which this clock is behind the one on the wall; never fewer than before."""
        self._lost = max(self._lost, waited())  # another thread that goes on with the training has waited less, in its life
        return self._lost - self._first
