"""The files of a run folder: only regular ones that lie inside it are opened and written, so that no run leads elsewhere or waits.

A run may come from anybody. A pipe blocks who opens it, a device never ends, and a link leads to what is not the run's.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from ..core.errors import Damaged, Unavailable


def regular(folder: Path, name: str) -> Path:
    """The path of a run's file, when it is a regular file inside the folder (links that stay inside are followed).

    *Raises* FileNotFoundError where there is none, Unavailable where this user may not read it, Damaged for anything else.
    """
    path = folder / name
    try:
        found = os.lstat(path).st_mode
        if stat.S_ISREG(found) and os.path.basename(name) == name:
            return _open_to_us(folder, name)  # beside the others and no link: it leads nowhere
        inside, real = os.path.realpath(folder), os.path.realpath(path)
        if not real.startswith(inside.rstrip(os.sep) + os.sep):
            raise Damaged(f"{name!r} leads out of the run {str(folder)!r}; only files inside it are opened")
        mode = os.stat(real).st_mode
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise _shut(folder, name) from error
    except NotADirectoryError:
        raise Unavailable(f"no run at {str(folder)!r}: a run is a folder") from None
    except (OSError, ValueError) as error:  # a loop of links; a name that no file can have
        raise Damaged(f"{name!r} in the run {str(folder)!r} cannot be opened: {error}") from error
    if not stat.S_ISREG(mode):
        raise Damaged(f"{name!r} in the run {str(folder)!r} is {_kind(mode)}, not a file")
    return _open_to_us(folder, name)


def _open_to_us(folder: Path, name: str) -> Path:
    if not os.access(folder / name, os.R_OK):
        raise _shut(folder, name)
    return folder / name


def _shut(folder: Path, name: str) -> Unavailable:
    return Unavailable(f"this user may not read {name!r} in the run {str(folder)!r}; ask whoever recorded it to let others read the folder")


def content(folder: Path, name: str, most: int) -> bytes:
    """The bytes of a run's file. *Raises* as :func:`regular`, and Damaged for a file larger than ``most`` bytes."""
    path = regular(folder, name)
    # Not blocking: what was a file a moment ago may be a pipe now.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with open(handle, "rb") as file:
        size = os.fstat(handle).st_size
        if size > most:
            raise Damaged(f"{name!r} in the run {str(folder)!r} has {size:,} bytes; at most {most:,} are read")
        return file.read(size)


def own(folder: Path, name: str) -> Path:
    """A folder of the run's own, into which is written. *Raises* Damaged where it is a link: what it leads to is another's."""
    path = folder / name
    if path.is_symlink():
        raise Damaged(f"{name!r} in the run {str(folder)!r} is a link, and what is written or given up there would be another's; put a folder there")
    return path


def cleared(path: Path) -> Path:
    """The same path with nothing there: what is written to it goes into a file of its own, and never through a link that lay there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return path


def put(path: Path, data: bytes) -> None:
    """Write a file beside and rename it, so that nobody sees half of it, and a link that lies there is replaced, not followed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(cleared(temporary), "xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"
