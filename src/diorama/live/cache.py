"""Pictures that were already made, by what they show: a bounded store of the last frames."""

from __future__ import annotations

import threading
from collections import OrderedDict


class Frames:
    """The last frame of finished looks, under a cap in bytes; what was used longest ago goes first."""

    def __init__(self, cap: int = 128_000_000) -> None:
        self._cap, self._size = cap, 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> bytes | None:
        """The frame of that name, or None."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def put(self, name: str, frame: bytes) -> None:
        """Keep a frame, unless it alone takes more than an eighth of the room."""
        if len(frame) > self._cap // 8:
            return
        with self._lock:
            self._size += len(frame) - len(self._kept.pop(name, b""))
            self._kept[name] = frame
            while self._size > self._cap:
                self._size -= len(self._kept.popitem(last=False)[1])
