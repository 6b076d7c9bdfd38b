"""Work on one derivation that everybody in this process shares, and that other processes wait for."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..core.blame import reckoned, sound, yielded
from ..core.errors import Faulty
from ..core.frames import raised_at
from ..core.registry import is_own, told
from ..model.changes import steady
from ..model.surroundings import NeutralSurroundings
from .plain_file import plain
from .store import PART, Claim

if TYPE_CHECKING:
    from .derivation import DerivedValue, Stage

SHORT = 1.0
"""What took less than so many seconds is not written, and so much is lost at most when a process dies: of what follows snapshots, those on its way
that were not written count too."""
SHARE = 5.0
"""Writing what was done takes at most one part in so many of the time."""
LOOK = 0.05
"""Seconds between looks at another process that does the work."""

_guard = threading.Lock()
_works: dict[tuple[object, str], Work] = {}
_held: dict[int, list[Work]] = {}
"""By thread the works whose next stage it makes, the outermost first: a derivation may ask for another."""
_waits: dict[int, Work] = {}
"""By thread the work whose turn it waits for."""

Check = Callable[[], None]


class Work:
    """A derivation being made. Whoever wants the next stage makes it; whoever comes later sees the last one.

    It goes on while somebody wants it; when the last one leaves, what was done is kept, for whoever comes back.
    """

    def __init__(self, derived: DerivedValue) -> None:
        self.derived = derived
        self.count = 0
        self._turn = threading.Lock()
        self._stage: Stage | None = None
        self._number = 0
        self._check: Check | None = None
        self._parts: Iterator[Stage] | None = None
        self._claim: Claim | None = None
        self._seconds = self._saved = 0.0
        self._pause = SHORT
        self._held: Stage | None = None
        self._name: tuple[object, str] = ("", "")
        self._seen: object = None
        self._reached = (0.0, 1.0)

    @classmethod
    def joined(cls, derived: DerivedValue) -> Work:
        """The work on it in this process, begun by somebody or now."""
        place: object = str(derived.store.folder) if derived.store is not None else id(derived.scene.memory)
        with _guard:
            work = _works.setdefault((place, derived.key), cls(derived))
            work.count += 1
            work._name = place, derived.key
        return work

    def left(self) -> None:
        """One less wants it; with the last one the work stops."""
        with _guard:
            self.count -= 1
            last = self.count == 0
            if last and _works.get(self._name) is self:
                del _works[self._name]
        if last:
            with self._turn:
                self._stop(keep=True)

    def advanced(self, seen: int, check: Check | None) -> tuple[int, Stage]:
        """The first stage after the ``seen``th: there already, or made now. ``check`` raises when nobody wants it.

        *Raises* Faulty where it is asked for by what it waits for itself.
        """
        me = threading.get_ident()
        self._take_turn(me, check)
        try:
            if self._stage is None or self._number <= seen:
                if check is not None:
                    check()
                self._check = check
                self._stage = self._next()
                self._number += 1
            return self._number, self._stage
        finally:
            with _guard:
                _held[me].remove(self)
                if not _held[me]:
                    del _held[me]
            self._turn.release()

    def _take_turn(self, me: int, check: Check | None) -> None:
        """Wait until nobody else makes a stage of it."""
        with _guard:
            _waits[me] = self
        try:
            while not self._turn.acquire(timeout=LOOK):
                with _guard:
                    ring = self._ring(me)
                if ring:
                    raise Faulty(_asked_in_a_ring(ring))
                if check is not None:
                    check()
        except BaseException:
            with _guard:
                del _waits[me]
            raise
        with _guard:
            del _waits[me]
            _held.setdefault(me, []).append(self)

    def _ring(self, me: int) -> list[Work]:
        """Whatever waits for whatever until it comes back to this thread, which would wait for itself for ever; else nothing."""
        found: list[Work] = []
        work: Work | None = self
        while work is not None and work not in found:
            holder = next((thread for thread, held in _held.items() if work in held), None)
            if holder is None:
                break
            held = _held[holder]
            found += held[held.index(work) :]
            if holder == me:
                return found
            work = _waits.get(holder)
        return []

    def _asked(self) -> None:
        if self._check is not None:
            self._check()

    def _next(self) -> Stage:
        if self._parts is None:
            waiting = self._begin()
            if waiting is not None:
                return waiting
            assert self._parts is not None
        began = time.perf_counter()
        try:
            # Whoever asks may have gradients off, which work that needs slopes does not.
            with steady(), NeutralSurroundings():
                stage = next(self._parts, None)
        except BaseException:
            self._stop(keep=False)
            raise
        self._seconds += time.perf_counter() - began
        if stage is None:
            return self._finished()
        try:
            reckoned(self.derived.derivation, sound(self.derived.derivation, stage), "done", "total", "seconds")
            if stage.state is not None and not callable(stage.state):
                what = f"Stage.state must be a function that gives the state, and is {stage.state!r:.60}"
                raise Faulty(f"{told(self.derived.derivation)} wants mending: {what}")
        except BaseException:
            self._stop(keep=False)
            raise
        if self._claim is not None:
            self._claim.alive()
        if stage.state is not None and self._seconds - self._saved >= self._pause:
            stage = self._save(stage)
        self._held = stage
        return stage

    def _begin(self) -> Stage | None:
        """Start or go on; while another process works on it, what is seen of its work."""
        derived, store = self.derived, self.derived.store
        if store is not None and self._claim is None:
            try:
                self._claim = store.claim(derived.name)
                alone = self._claim is not None or store.silent(derived.name)
            except OSError:
                alone = True  # where nothing can be written, nobody can be told either
            found = derived.found()
            if found is not None:
                self._free()
                return self._last(found)
            if not alone:
                return self._watched()
        begun = self._begun()
        # Asking at every operation costs a part of each pass, so it is left out where nobody can cancel.
        scene = derived.scene.alone(self._asked if self._check is not None else None)
        before = None
        for one in derived.ahead:  # the first one first: from the last one each would wait within the next
            before = one.carried
        from .derivation import Stage

        derivation = derived.derivation
        if not is_own(derivation):
            derived.cost  # noqa: B018 - what is no cost is refused before the work, not by the first who asks for it
        self._parts = yielded(derivation, lambda: derivation.stages(scene, begun, before), Stage, some=False)
        return None

    def _begun(self) -> Any:
        """What was done of it before it was stopped; None where that cannot be used."""
        derived = self.derived
        kept = derived.scene.memory.get(f"{derived.key}/begun")
        if kept is None and derived.store is not None:
            found = derived.store.read(derived.name, PART)
            # Of what somebody else began nobody knows where it leads, and who ends it signs it as his own.
            kept = (found[1], found[0].get("seconds")) if found is not None and found[0]["own"] is True else None
        if kept is None:
            return None
        state, seconds = kept
        self._seconds = self._saved = float(seconds) if isinstance(seconds, int | float) else 0.0
        return state

    def _watched(self) -> Stage:
        """How far another process is."""
        from .derivation import Stage

        time.sleep(LOOK)
        derived = self.derived
        assert derived.store is not None
        with contextlib.suppress(OSError):
            told = derived.store.path(derived.name, PART).stat()
            if (told.st_mtime_ns, told.st_size) != self._seen:
                self._seen = told.st_mtime_ns, told.st_size
                found = derived.store.read(derived.name, PART, used=False)
                reached = found[0].get("reached") if found is not None else None
                if isinstance(reached, list) and len(reached) == 2:
                    self._reached = float(reached[0]), float(reached[1])
        return Stage(None, *self._reached, "another process works on it; what it makes is shared")

    def _finished(self) -> Stage:
        if self._held is None or self._held.value is None:
            self._stop(keep=False)
            raise Faulty(f"{told(self.derived.derivation)} wants mending: it ended without a value")
        derived = self.derived
        if not type(derived.derivation).__module__.startswith(f"{__package__}."):
            try:
                derived.derivation.check(derived.scene, self._held.value)
            except (ValueError, TypeError, KeyError, IndexError) as error:
                self._stop(keep=False)
                raise Faulty(f"{told(derived.derivation)} wants mending: its own check refuses what it made: {error}") from error
        unwritten = self._seconds + (derived.before.unwritten[0] if derived.before is not None else 0.0)
        written = derived.always or unwritten >= SHORT
        derived.unwritten[0] = 0.0 if written else unwritten
        try:
            value = derived.kept(self._held.value, written, seconds=round(self._seconds, 3))
        except TypeError as error:
            self._stop(keep=False)
            raise Faulty(f"{told(derived.derivation)} wants mending: {error}") from None
        self._free()
        return self._last(value)

    def _last(self, value: Any) -> Stage:
        from .derivation import Stage

        self._parts, self._held = None, None
        return Stage(value, 1.0, 1.0, final=True)

    def _stop(self, keep: bool) -> None:
        """End the work; what was done since it was last saved is kept where the work rests between two stages."""
        if self._parts is not None:
            if keep and self._held is not None and self._held.state is not None:
                self._save(self._held)
            close = getattr(self._parts, "close", None)
            if close is not None:
                close()
        self._parts, self._held = None, None
        self._free()

    def _save(self, stage: Stage) -> Stage:
        """Keep what is needed to go on. What cannot be kept is said once, and the work goes on."""
        assert stage.state is not None
        began = time.perf_counter()
        derived = self.derived
        try:
            state = plain(stage.state())
        except Exception as error:
            if is_own(derived.derivation):
                raise
            self._pause = float("inf")
            text = f"{told(derived.derivation)} is not kept on the way, and begins anew where it is stopped: its state failed "
            text += f"({type(error).__name__}: {' '.join(str(error).split())}{raised_at(error, derived.derivation)})"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            return dataclasses.replace(stage, note=" · ".join(filter(None, (stage.note, text))))
        derived.scene.memory.put(f"{derived.key}/begun", (state, self._seconds))
        if derived.store is not None and self._seconds >= SHORT:
            head = {**derived.head(), "seconds": round(self._seconds, 3), "reached": [stage.done, stage.total]}
            derived.store.write(derived.name, head, state, PART)
        self._saved = self._seconds
        self._pause = max(SHORT, SHARE * (time.perf_counter() - began))
        return stage

    def _free(self) -> None:
        if self._claim is not None:
            self._claim.free()
            self._claim = None


def _asked_in_a_ring(ring: list[Work]) -> str:
    """That works wait for one another, each made in the course of the one before, in a sentence."""
    first, *others = [told(work.derived.derivation) for work in ring]
    if not others:
        return f"{first} wants mending: to be made it asks for its own value, of the same step and with the same knobs, and would wait for ever"
    return f"{first} wants mending: to be made it asks for {', which asks for '.join(others)}, which asks for it, so that each would wait for ever"
