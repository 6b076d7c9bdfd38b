"""Whose fault an unforeseen error is: the user's own code's, the looked-at model's, a plug-in's, or ours."""

from __future__ import annotations

import contextlib
import functools
import sysconfig
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from . import registry
from .deadline import overdue
from .errors import Cancelled, DioramaError, Faulty, NotApplicable, UsageError
from .frames import raised_at

LONG = 10.0
"""Seconds after which it is said that a third party's plug-in is still at work where all else waits for it."""
_OURS = Path(__file__).parents[1]
_GIVEN = str(_OURS / "data" / "nesting.py")
"""Whose function ``call`` gives an input to a model."""
_DRAWN = tuple(str(_OURS / "core" / each) for each in ("marks", "picture.py", "colour.py", "fields.py"))
"""Where marks and pictures check what they are made of."""
_MODE = str(_OURS / "model" / "mode.py")
"""What a model's ops pass on their way to torch, as they do any ``__torch_function__``: what fails there is the op."""


def own_place(error: BaseException) -> tuple[str, int] | None:
    """File and line of the user's own code in which an error arose last; None where none of it ran."""
    known, found = _known(), None
    for frame in _frames(error.__traceback__):
        if not frame.tb_frame.f_code.co_filename.startswith(known):
            found = frame.tb_frame.f_code.co_filename, frame.tb_lineno
    return found


def model_failed(error: Exception) -> NotApplicable | None:
    """What to say of an error that a model's own forward pass raised; None for any other."""
    frames = list(_frames(error.__traceback__))
    given = [k for k, frame in enumerate(frames) if _named(frame) == (_GIVEN, "call")]
    if not given or isinstance(error, DioramaError | MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return None
    inside = [_named(frame) for frame in frames[given[-1] + 1 :]]
    # What a mode asks round an op stands between a mode and the mode's running it, and the op fails below them.
    entered = [file == _MODE or name == "__torch_function__" for file, name in inside]
    round_ops = {k for k in range(1, len(inside) - 1) if entered[k - 1] and inside[k + 1][0] == _MODE}
    if any(file.startswith(str(_OURS)) and file not in (_GIVEN, _MODE) and name != "__torch_function__" and k not in round_ops
           for k, (file, name) in enumerate(inside)):
        return None
    modes = [k for k, (file, _) in enumerate(inside) if file == _MODE]
    if modes and any(not file.startswith(_known()) for file, _ in inside[modes[-1] :]):
        return None  # what somebody asked the mode to call, such as what stops a pass
    count = _count(frames[given[-1]].tb_frame.f_locals.get("x"))
    place = own_place(error)
    text = " ".join(str(error).split())[:300]
    where = f" (in {place[0]}, line {place[1]})" if place is not None else ""
    batch = "" if count is None else " with 1 example" if count == 1 else f" with {count} examples"
    hint = ""
    if isinstance(error, RuntimeError | AssertionError):
        hint = "; views look at one example or a few at once, so that a model has to take any number of them"
    elif isinstance(error, TypeError) and "missing" in text:
        hint = "; a model of several inputs takes them as a tuple, (x, t), or as a dict by name"
    return NotApplicable(f"the model's own forward pass failed{batch}: {type(error).__name__}: {text}{where}{hint}")


def alone(error: Exception) -> str:
    """What is said of one of several whose work failed, whatever the reason, so that it takes none of the others with it.

    *Raises* the error where nobody wants any of them any more.
    """
    if isinstance(error, Cancelled):
        raise error
    if isinstance(error, DioramaError):
        return said(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "it takes more memory than there is"
    told = model_failed(error)
    if told is not None:
        return str(told)
    return f"{culprit(error) or 'it'} failed ({type(error).__name__}: {' '.join(str(error).split())[:200]}{_place(error)})"


@contextmanager
def blamed() -> Iterator[None]:
    """Within, what a model's own forward pass raises is told in one sentence."""
    try:
        yield
    except Exception as error:
        told = model_failed(error)
        if told is None:
            raise
        told.__dict__["plugin_"] = _NOBODY  # whoever asks the model is not to blame
        raise told from error


def charge(error: BaseException, plugin: Any) -> None:
    """Note on an error which plug-in raised it, and where in its file; the one nearest to the fault stays.

    What diorama raised on purpose is a third party's where diorama was called by it; what that one refuses itself is said as it says it.
    """
    if "plugin_" in error.__dict__:
        return
    own = registry.is_own(plugin)
    if isinstance(error, DioramaError) and (own or isinstance(error, Cancelled | Faulty) or not _raised_by_us(error)):
        return
    error.__dict__["plugin_"] = (registry.told(plugin), own, "" if own else raised_at(error, plugin))
    if not own:
        error.add_note(f"raised by {registry.told(plugin)}{error.__dict__['plugin_'][2]}")


def _raised_by_us(error: BaseException) -> bool:
    files = [frame.tb_frame.f_code.co_filename for frame in _frames(error.__traceback__)]
    return bool(files) and files[-1].startswith(str(_OURS))


def said(error: BaseException) -> str:
    """What an error that was raised on purpose says, with the third party's plug-in that had it raised, where one did."""
    words, own, place = error.__dict__.get("plugin_", _NOBODY)
    return str(error) if own else f"{error} (raised by {words}{place})"


_NOBODY = ("", True, "")


@contextmanager
def charged(plugin: Any) -> Iterator[None]:
    """Within, an unforeseen error is noted to be a plug-in's. *Raises* Faulty where a third party's made a mark or a picture of what makes none."""
    try:
        yield
    except (Exception, SystemExit) as error:
        charge(error, plugin)
        if isinstance(error, UsageError) and culprit(error) and _drawing(error):
            raise Faulty(f"{registry.told(plugin)} wants mending: {error}{_place(error)}") from error
        raise


@contextmanager
def announced(plugin: Any) -> Iterator[None]:
    """Within, a warning says it once where a third party's plug-in takes so long that whoever runs it may wonder why nothing goes on."""

    def say() -> None:
        registry.warn(f"{registry.told(plugin)} has been at work for {LONG:g} s, and all else waits for it here", registry.place_of(plugin))

    with contextlib.nullcontext() if registry.is_own(plugin) else overdue(LONG, say):
        yield


def _drawing(error: BaseException) -> bool:
    """Whether a mark or a picture refused what it was made of: whoever asked for the picture has no part in that."""
    files = [frame.tb_frame.f_code.co_filename for frame in _frames(error.__traceback__)]
    return bool(files) and files[-1].startswith(_DRAWN)


def _place(error: BaseException) -> str:
    return str(error.__dict__.get("plugin_", _NOBODY)[2])


def culprit(error: BaseException) -> str | None:
    """Which plug-in of a third party raised an error, in words; None where none did."""
    words, own, _ = error.__dict__.get("plugin_", _NOBODY)
    return None if own else words


def failure(error: BaseException) -> str:
    """An unforeseen error in one sentence, with the plug-in that raised it, where one did."""
    words, _, place = error.__dict__.get("plugin_", _NOBODY)
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
    return str(error) if isinstance(error, Faulty) else f"{words} failed ({text}{place})" if words else text


def yielded(plugin: Any, make: Callable[[], Any], *kinds: type, some: bool = True) -> Generator[Any]:
    """What a plug-in's generator yields, of these kinds and nothing else; closing this closes it.

    *Raises* Faulty for anything else, also for what is no generator and, where there must be some, for one that ends without.
    """
    wanted = " or ".join(kind.__name__ for kind in kinds)
    with charged(plugin):
        made = make()
    if not isinstance(made, Iterator):
        raise Faulty(f"{registry.told(plugin)} wants mending: it must yield each {wanted}, and it returned {_short(made)}")
    try:
        while True:
            with charged(plugin):
                item = next(made, _END)
            if item is _END:
                break
            yield given(plugin, item, *kinds)
            some = False
    finally:
        close = getattr(made, "close", None)
        if close is not None:
            close()
    if some:
        raise Faulty(f"{registry.told(plugin)} wants mending: it ended without a {wanted}")


def given(plugin: Any, item: Any, *kinds: type) -> Any:
    """What a plug-in gave. *Raises* Faulty, which names it, where that is of none of these kinds."""
    if not isinstance(item, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        article = "an" if wanted[0] in "AEIOU" else "a"
        raise Faulty(f"{registry.told(plugin)} wants mending: it must give {article} {wanted}, and gave {_short(item)}")
    return item


def sound(plugin: Any, item: Any) -> Any:
    """What a plug-in gave. *Raises* Faulty, which names it, where a field of that, or of what it holds, has a value of another type."""
    from .fields import flaw  # of who draws: a command line that only tells of runs waits for no NumPy

    wrong = flaw(item)
    if wrong is not None:
        raise Faulty(f"{registry.told(plugin)} wants mending: {wrong}")
    return item


def reckoned(plugin: Any, item: Any, *fields: str) -> Any:
    """What a plug-in gave. *Raises* Faulty, which names it, where one of these fields, of a third party's, is below zero or no finite number: nobody
    could be told by it how far the work is, or what it costs."""
    for field in fields if not registry.is_own(plugin) else ():
        value = getattr(item, field)
        if value is not None and not 0 <= value < float("inf"):
            what = f"{type(item).__name__}.{field} must be a finite number, not below 0, and is {value!r}"
            raise Faulty(f"{registry.told(plugin)} wants mending: {what}")
    return item


def answered(plugin: Any, ask: Callable[[], Any], *kinds: type) -> Any:
    """What a plug-in answers when it is asked, of one of these kinds.

    What it raises is noted to be its own. *Raises* Faulty for an answer of another kind.
    """
    with charged(plugin):
        answer = ask()
    return given(plugin, answer, *kinds)


_END = object()


def _short(item: Any) -> str:
    """A value as an error shows it."""
    text = " ".join(repr(item).split())
    return text if len(text) <= 60 else f"{text[:59]}…"


@functools.cache
def _known() -> tuple[str, ...]:
    """How the names of files begin that are not the user's own."""
    paths = map(sysconfig.get_path, ("stdlib", "purelib", "platlib"))
    return (str(_OURS), "<", *(path for path in paths if path))


def _frames(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _named(frame: TracebackType) -> tuple[str, str]:
    return frame.tb_frame.f_code.co_filename, frame.tb_frame.f_code.co_name


def _count(x: Any) -> int | None:
    """How many examples were given: the length of the first tensor."""
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, tuple | list):
        return next((count for count in map(_count, x) if count is not None), None)
    shape: Any = getattr(x, "shape", None)
    return int(shape[0]) if shape else None
