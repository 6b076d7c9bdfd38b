"""A pickle is code: it is loaded only where its signature was made with this user's own key, or where the user says
so."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sys
from pathlib import Path

from ..core.errors import Damaged
from . import files

_KEY_BYTES = 32
_LONGEST = 1000


def key_file() -> Path:
    """Where this user's key is kept: in the configuration folder, readable by the user alone."""
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "diorama" / "key"


def key(make: bool = False) -> bytes | None:
    """This user's key; made on demand. None when there is none or when others could have written or read it."""
    path = key_file()
    try:
        state = path.stat()
        private = sys.platform == "win32" or (state.st_mode & 0o077 == 0 and state.st_uid == os.getuid())
        found = path.read_bytes()
        if private and len(found) == _KEY_BYTES:
            return found
        return None
    except FileNotFoundError:
        return _made(path) if make else None
    except OSError:
        return None


def _made(path: Path) -> bytes | None:
    fresh = secrets.token_bytes(_KEY_BYTES)
    temporary = path.with_name(f".key.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(fresh)
        try:
            os.link(temporary, path)  # never replaces a key that another process made meanwhile
        except FileExistsError:
            return key()
        except OSError:
            os.replace(temporary, path)
        return fresh
    except OSError:
        return None
    finally:
        temporary.unlink(missing_ok=True)


def sign(data: bytes) -> str:
    """The signature of some bytes by this user's key; empty when the user has no place to keep one."""
    secret = key(make=True)
    return hmac.new(secret, data, hashlib.sha256).hexdigest() if secret else ""


def signature(folder: Path, name: str) -> str:
    """What is written beside a run's file as its signature; empty where there is none."""
    try:
        return files.content(folder, os.path.splitext(name)[0] + ".sig", _LONGEST).decode("ascii", "replace")
    except (OSError, Damaged):
        return ""


def verify(data: bytes, signature: str) -> bool:
    """Whether a signature of these bytes was made with this user's key."""
    secret = key()
    if not secret or not signature:
        return False
    return hmac.compare_digest(
        hmac.new(secret, data, hashlib.sha256).hexdigest().encode(), signature.strip().encode("ascii", "replace")
    )
