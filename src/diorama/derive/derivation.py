"""What a derivation is, how it is asked for, and what its key names."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from ..core.blame import answered
from ..core.code import written
from ..core.errors import Damaged, Faulty, NotApplicable, NotFound, UsageError
from ..core.knobs import Plugin, build, sentence
from ..core.picture import Progress
from ..core.provenance import Provenance, versions
from ..core.registry import told
from ..methods.cost import Cost
from .plain_file import plain
from .store import FOLDER, Name, Store
from .work import Work

if TYPE_CHECKING:
    from ..scene import Scene

NOTED = 16
"""So many of the last values that were made of one line are found again by their steps."""
FEW = 4
"""So many steps on the way are made before anything of the wanted one is shown."""
Plain = Any
"""Arrays, numbers, texts and None, in lists and dicts."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """How far a derivation is.

    ``value`` is what it has so far, plain data; None while there is nothing to show. ``state`` gives all that is needed to
    go on from here, when it is asked before the work goes on: once a second of work at most, seldomer where it takes long to write, and when
    the work is stopped. A derivation without one starts anew after a stop; where it fails, that is said once, and the work goes on.
    """

    value: Plain = None
    done: float = 0.0
    total: float = 1.0
    note: str = ""
    seconds: float | None = None
    state: Callable[[], Plain] | None = None
    final: bool = False
    """Set by who runs it: this is the value."""

    @property
    def progress(self) -> Progress:
        """How far it is, as views tell it."""
        return Progress(done=self.done, total=self.total, note=self.note, seconds=self.seconds)


class Derivation(Plugin, abc.ABC):
    """Base of all derivations: long work on a scene whose knobs and key say what comes out; one file each.

    A derivation reads the scene alone: nothing else may change what it yields. What it yields is plain data.
    """

    version: ClassVar[int] = 1
    """Raised with every change of what comes out: what was kept before is then made anew."""
    on: ClassVar[Literal["weights", "live", "examples"]] = "live"
    """What it looks at besides the weights: nothing, the live examples, or the whole probe set."""
    believed: ClassVar[bool] = True
    """What another user wrote is used, as ``check`` tells whether it is good; else it is made anew."""
    _asked_with = ("after", "other")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # The registry says the same, and may not have been asked before one is made.
        cls.name = cls.name or cls.__module__.rpartition(".")[2]

    @classmethod
    def asked(cls, scene: Scene, options: Mapping[str, Any]) -> Derivation:
        """The derivation of some knobs at a scene: what they leave open may be decided here, as it belongs to the key.

        *Raises* NotFound for a knob that does not exist, UsageError for a value that is none.
        """
        made: Derivation = build(cls, options)
        return made

    def fits(self, scene: Scene) -> str | None:
        """Say in one sentence why it does not fit the scene, or None when it does."""
        return scene.missing

    def preceding(self, scene: Scene) -> DerivedValue | None:
        """What it starts from where nothing is said: nothing. One that follows a training derives from :class:`SnapshotChain`, which writes this;
        or return ``self.at(scene.at(step), after=…)`` of an earlier step. Its value comes to :meth:`stages` as ``before``."""
        return None

    @abc.abstractmethod
    def cost(self, scene: Scene) -> Cost:
        """About how many passes of one example it takes."""

    @abc.abstractmethod
    def stages(self, scene: Scene, begun: Plain = None, before: Plain = None) -> Iterator[Stage]:
        """Yield stages; the value of the last is the value. Closing the iterator stops the work.

        ``begun`` is the state that an earlier run was stopped in, which may be that of its last stage: that one is yielded again.
        ``before`` is the value of the same derivation at another step, from which it starts: what it follows by
        :meth:`preceding`, or what a caller names as ``after=``; None where there is none.
        """

    @abc.abstractmethod
    def check(self, scene: Scene, value: Plain) -> None:
        """Raise ValueError for a value that is none of this derivation's: other shapes, other types, other sizes.

        What is read from a file may come from anybody, so nothing of it is believed that was not looked at here.
        """

    def material(self, scene: Scene) -> dict[str, Any]:
        """What else the value depends on, as plain data, for the key: numbers and texts in lists and dicts."""
        return {}

    @classmethod
    def of(cls, scene: Scene, options: Mapping[str, Any], after: int | DerivedValue | None = None) -> DerivedValue:
        """The derivation of some knobs at a scene, which is only made when it is asked for its value.

        *Raises* what :meth:`asked` raises; NotApplicable when it does not fit.
        """
        return cls.asked(scene, options).at(scene, after)

    def at(self, scene: Scene, after: int | DerivedValue | None = None) -> DerivedValue:
        """The same for a derivation that is there already."""
        try:
            reason = answered(self, lambda: self.fits(scene), str, NoneType)
        except NotFound:
            if getattr(self, "layer", None) != "" or scene.layers.has(""):
                raise
            names = ", ".join(map(repr, scene.layers.names[:8])) + (" …" if len(scene.layers) > 8 else "")
            raise UsageError(f"{self.name} wants layer=…, one of {names}") from None
        if reason is not None:
            raise NotApplicable(f"{self.name} does not fit here: {reason}")
        before: DerivedValue | None = None
        if after is None:
            before = answered(self, lambda: self.preceding(scene), DerivedValue, NoneType)
        elif isinstance(after, DerivedValue):
            before = after
            if type(before.derivation) is not type(self) or before.derivation.knobs() != self.knobs():
                raise UsageError(f"{self.name} starts after the same derivation with the same knobs, got {before!r}")
        else:
            if isinstance(after, bool) or not isinstance(after, int):
                raise UsageError(f"after wants a step or a derivation, got {after!r}")
            before = self.at(scene.alone().at(after))
        return DerivedValue(scene, self, before)


class DerivedValue:
    """A derivation at a scene: its value is found where it is kept, else made when it is first asked for.

    ``key`` names all that the value depends on: the same key, the same value.
    """

    def __init__(self, scene: Scene, derivation: Derivation, before: DerivedValue | None = None, named: tuple[str, str] | None = None) -> None:
        self.scene, self.derivation, self.before = scene, derivation, before
        if named is None:
            weights = scene.fingerprint  # asked once: each asking looks whether somebody wrote into the model
            named = weights, _key(scene, derivation, before, weights)
        self.named = named
        """The names of the weights and of the value: ``key``."""
        weights, self.key = named
        folder = scene.run.path / FOLDER if scene.run is not None else None
        self.store = Store(folder) if folder is not None else None
        self.name = Name(derivation.name, weights, self.key)
        self.always = False
        """It is written however short the work was: somebody asked for it to be kept."""
        self.aside = False
        """It is shown until another value of its step is there: it is kept in memory alone, and nothing starts from it."""

    @property
    def value(self) -> Plain:
        """The value: arrays, numbers and texts, in lists and dicts. Arrays cannot be written to."""
        for stage in self.stream():
            if stage.final:
                return stage.value
        raise AssertionError("a stream ends with its final stage")

    @property
    def way(self) -> list[DerivedValue]:
        """All that it comes from, the first one first."""
        found: list[DerivedValue] = []
        one = self.before
        while one is not None:
            found.append(one)
            one = one.before
        return found[::-1]

    @property
    def ahead(self) -> list[DerivedValue]:
        """What of the way is to be made yet, the first one first, behind the last that is known, which stands before it."""
        way = self.way
        return way[next((number for number in reversed(range(len(way))) if way[number].known), 0) :]

    @property
    def straight(self) -> DerivedValue | None:
        """The same at this step, right from the first of :attr:`ahead`, where much is to be made in between; None where little is.

        *Meaning* what a view shows of this step, as not joined yet to the maps of the steps between, while those are made. It is no step of
        any way, nothing is written of it, and the value of this step is the other one.
        """
        ahead = self.ahead
        if len(ahead) <= FEW:
            return None
        found = DerivedValue(self.scene, self.derivation, ahead[0])
        found.aside = True
        return found

    @property
    def line(self) -> str:
        """A name of it that is the same at all steps: of the derivation, its knobs, the examples and the edits."""
        return line(self.derivation, self.scene)

    @property
    def newest(self) -> tuple[int, Plain] | None:
        """The newest value of its line that is known at this step or before, with its step; None where there is none.

        *Meaning* what a view shows until the value of this step is there, so that it never goes back behind what it has shown: made in this
        process for whichever moment of the run, or on the way to this step and kept.
        """
        step, found = self.scene.step, []
        if step is None:
            return None
        noted: dict[int, str] = self.scene.keep(f"{self.line}/noted") or {}
        found = [(at, value) for at, name in tuple(noted.items()) if at <= step and (value := self.scene.keep(name)) is not None]
        link = next((one for one in reversed(self.way) if one.known), None)
        if link is not None and link.scene.step is not None and all(at < link.scene.step for at, _ in found):
            found.append((link.scene.step, link.carried))
        for at, value in sorted(found, key=lambda one: -one[0]):
            try:
                self.derivation.check(self.scene, value)
            except (ValueError, TypeError, KeyError, IndexError):
                continue  # of other units: the layer has grown
            return at, value
        return None

    @property
    def carried(self) -> Plain:
        """The value, kept for all moments of the run: others start from it."""
        value = self.scene.keep(self._carried, lambda: self.value)
        if not self.scene.memory.has(self.key):
            self.remember(value)
        return value

    @property
    def cost(self) -> Cost:
        """About how many passes of one example making it takes, where it is not known."""
        return Cost.of(self.derivation, lambda: self.derivation.cost(self.scene))

    @property
    def known(self) -> bool:
        """Whether the value comes at once."""
        return self.scene.memory.has(self.key) or self.scene.keep(self._carried) is not None or (self.store is not None and self.store.has(self.name))

    @property
    def unwritten(self) -> list[float]:
        """Seconds of work on it and on its way that nobody wrote down, as the one number of a list."""
        found: list[float] = self.scene.keep(f"{self._carried}/unwritten", lambda: [0.0])
        return found

    @property
    def _carried(self) -> str:
        return f"{self.derivation.name}/{self.key}"

    @property
    def provenance(self) -> Provenance:
        """How the value is made and, where it was read from the run's folder, who made it."""
        kept = self.scene.memory.get(f"{self.key}/provenance")
        return kept if isinstance(kept, Provenance) else self._provenance()

    def stream(
        self, *, cancel: Callable[[], bool] | None = None, progress: Callable[[Progress], object] | None = None
    ) -> Iterator[Stage]:
        """Every stage as it is reached, the last with the final value; closing the iterator stops the work.

        Work that another view or process does already is not done twice: its stages are seen here. A view hands no ``cancel`` on: the scene that it
        was given ends by itself what nobody wants any more. Of what follows a training only the stages of this step come; ``way`` has the steps
        before, and a view that asks each for ``carried`` in turn can tell how far it is. *Raises* Cancelled.
        """
        asked = self.scene.cancelled_by(cancel) if cancel is not None else self.scene
        found = self.found()
        if found is not None:
            yield Stage(found, 1.0, 1.0, final=True)
            return
        work, seen = Work.joined(self), 0
        try:
            while True:
                seen, stage = work.advanced(seen, asked.cancel)
                if progress is not None:
                    progress(stage.progress)
                if stage.final and not self.scene.memory.has(self.key):
                    self.remember(stage.value)
                yield stage
                if stage.final:
                    return
        finally:
            work.left()

    def found(self) -> Plain:
        """The value where it is kept; else None."""
        memory = self.scene.memory
        value = memory.get(self.key)
        value = value if value is not None else self.scene.keep(self._carried)
        if value is None and self.store is not None and (kept := self.store.read(self.name)) is not None:
            head, value = kept
            if head["own"] is not True and not self.derivation.believed:
                return None
            try:
                self.derivation.check(self.scene, value)
                told = msgspec.convert(head["provenance"], Provenance)
            except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, Damaged):
                return None
            own = "this user" if head["own"] is True else "another user"
            self.remember(value, msgspec.structs.replace(told, maker=own))
        return value

    def remember(self, value: Plain, provenance: Provenance | None = None) -> None:
        """Keep the value as long as the scene."""
        told = provenance or msgspec.structs.replace(self._provenance(), maker="this user")
        self.scene.memory.put(f"{self.key}/provenance", told)
        self.scene.memory.put(self.key, value)

    def kept(self, value: Plain, written: bool, **head: Any) -> Plain:
        """Keep a value that is there, in the run's folder where it is to be written; as it will be read again."""
        value = plain(value)
        self.remember(value)
        if type(self.derivation).preceding is not Derivation.preceding and not self.aside:
            self.scene.keep(self._carried, lambda: value)  # later snapshots start from it
            self._note()
        self.scene.memory.drop(f"{self.key}/begun")
        if self.store is not None and written and not self.aside:
            self.store.write(self.name, {**self.head(), **head}, value)
        return value

    def _note(self) -> None:
        """Remember for all moments of the run at which steps its line has values."""
        if self.scene.step is None:
            return
        noted: dict[int, str] = self.scene.keep(f"{self.line}/noted", dict)
        noted.pop(self.scene.step, None)
        noted[self.scene.step] = self._carried
        while len(noted) > NOTED:
            noted.pop(next(iter(noted)))

    def head(self) -> dict[str, Any]:
        """What is told beside the value in a file."""
        return {"provenance": msgspec.to_builtins(self._provenance())}

    def _provenance(self) -> Provenance:
        scene, made = self.scene, self.derivation
        knobs = {name: value for name, value in made.knobs().items() if value is not None}
        return Provenance(
            method=made.name, sentence=sentence(type(made)), knobs=knobs, step=scene.step,
            run=scene.run.name if scene.run is not None else "", seed=knobs.get("seed"), mode=knobs.get("mode", "eval"),
            model=scene.fingerprint, versions=versions(),
        )

    def __iter__(self) -> Iterator[Stage]:
        return self.stream()

    def __repr__(self) -> str:
        at = f" at step {self.scene.step}" if self.scene.step is not None else ""
        return f"<{self.derivation.name} of {self.scene.name}{at}: {self.key}{', known' if self.known else ''}>"


def line(derivation: Derivation, scene: Scene) -> str:
    """A name of a derivation that is the same at all steps of a run: of its knobs, the examples and the edits."""
    about = [derivation.knobs(), derivation.version, scene.live.fingerprint, [edit.named() for edit in scene.edits]]
    return f"{derivation.name}/" + hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=8).hexdigest()


def _told(model: Any) -> str:
    """What a model says of itself, without places in memory; the classes of its modules where it fails to say it."""
    try:
        return re.sub(r"0x[0-9a-f]+", "", repr(model))
    except Exception:  # noqa: BLE001 - somebody's extra_repr
        return " ".join(f"{name}: {type(module).__qualname__}" for name, module in model.named_modules())


def _key(scene: Scene, derivation: Derivation, before: DerivedValue | None, weights: str) -> str:
    """A name for all that the value depends on."""
    model = _told(scene.model) if scene.missing is None else ""
    more = answered(derivation, lambda: derivation.material(scene), dict)
    about = {
        "derivation": derivation.name, "version": derivation.version, "knobs": derivation.knobs(),
        "weights": weights, "model": model, "edits": [edit.named() for edit in scene.edits],
        "told": scene.network.described(), "mode": derivation.knobs().get("mode", "eval"), "more": more,
        "after": before.key if before is not None else "",
    }
    if code := written(derivation):
        about["code"] = code  # whoever works on a derivation raises no version at each try
    if derivation.on != "weights":
        about["examples"] = (scene.live if derivation.on == "live" else scene.examples).fingerprint
    try:
        text = json.dumps(about, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise Faulty(f"{told(derivation)} wants mending: its material must be plain data, numbers and texts in lists and dicts: {error}") from None
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
