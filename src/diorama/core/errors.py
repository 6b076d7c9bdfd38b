"""Every error that diorama raises on purpose.

    DioramaError
    ├── UsageError (also a ValueError)   an argument is wrong: what was wanted, what came, the nearest way out
    │   └── NotFound (also a LookupError)   a name that does not exist; names the nearest ones
    ├── NotApplicable    the request makes sense, but not for this model or input; says why and what to use
    │   └── NotRun    the network does not run the layer for this input; it may for another
    ├── Untrusted        a model's pickle was not made by this user; says how to allow it
    ├── Unavailable      something outside is missing or busy (a locked run, a model that could not be stored)
    ├── Faulty           a plug-in gave what is none of its kind; names it, and what was wanted
    ├── Damaged          stored bytes do not match their checksum
    └── Cancelled        the person no longer wants the result

Command line and page show the message as it is: one sentence, with the way out. The one warning with a name of its own is
LeftOut: a plug-in cannot be used, and all else goes on.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DioramaError(Exception):
    """The root of the tree: catching it catches every error raised on purpose."""


class UsageError(DioramaError, ValueError):
    """An argument is wrong."""


class NotFound(UsageError, LookupError):
    """A name that does not exist."""


class NotApplicable(DioramaError):
    """A view, method or command does not fit this model or input."""


class NotRun(NotApplicable):
    """A layer takes no part in the answer to this input."""


class Untrusted(DioramaError):
    """Loading would run code that this user did not make."""


class Unavailable(DioramaError):
    """Something outside the program is missing or busy."""


class Faulty(DioramaError):
    """A plug-in gave what it must not."""


class Damaged(DioramaError):
    """Stored bytes do not match their checksum."""


class Cancelled(DioramaError):
    """The person no longer wants the result."""


class LeftOut(UserWarning):
    """A plug-in cannot be used; the program goes on without it."""


def kind_of(error: DioramaError) -> str:
    """The name, in this tree, of an error's kind, for another process: see :func:`of_kind`."""
    return next(each.__name__ for each in type(error).__mro__ if each.__module__ == __name__)


def of_kind(name: str, text: str) -> DioramaError:
    """The error whose kind was written down by another process; UsageError where none of this tree is called so."""
    known: list[type[DioramaError]] = [DioramaError]
    for each in known:
        known += (one for one in each.__subclasses__() if one.__module__ == __name__)
    return next((each for each in known if each.__name__ == name), UsageError)(text)


def not_found(what: str, wanted: object, existing: Iterable[str], meant: str = "") -> NotFound:
    """Build the error for a name that does not exist, with the nearest names that do, and first the one that the page calls so (``meant``)."""
    names = list(dict.fromkeys(str(name) for name in existing))
    near = difflib.get_close_matches(str(wanted), names, n=3, cutoff=0.4)
    if not names:
        hint = f"there is no {what} at all"
    elif near:
        hint = "nearest: " + ", ".join(repr(name) for name in near)
    else:
        shown = ", ".join(repr(name) for name in names[:8])
        hint = f"there are: {shown}" + (" …" if len(names) > 8 else "")
    if meant:
        hint = f"the page calls {meant!r} so; {hint}"
    return NotFound(f"no {what} named {str(wanted)!r} among {len(names)}; {hint}")
