"""Serves the page from a thread of this process: a folder of runs, one run, or a scene."""

from __future__ import annotations

import atexit
import contextlib
import ipaddress
import socket
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ..core.errors import Unavailable, UsageError
from ..core.patience import PATIENCE
from ..core.protocol import LONGEST_MESSAGE
from ..core.selection import Key, Selection
from ..live.jobs import Pool
from ..model.duplicate import duplicate

if TYPE_CHECKING:
    from ..run import Run
    from ..scene import Scene


class Page:
    """A served page: its address is ``url``; ``close`` ends it. Also a context manager."""

    def __init__(
        self,
        roots: Sequence[Path],
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        trust: bool = False,
        model: str | None = None,
        local: Mapping[str, Any] | None = None,
        folder: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        self._listener = _listen(host, port)
        self.port = int(self._listener.getsockname()[1])
        self._folder = folder
        pool = Pool()
        pool.start()
        # The first worker starts while the server's own modules are imported.
        import uvicorn

        from ..live.hub import Hub
        from .app import make_app
        from .protocols import GuardedHttp, GuardedSocket

        self.hub = Hub(roots, trust=trust, model=model, local=local, pool=pool)
        self.hub.start()
        host = _spelt(host, str(self._listener.getsockname()[0]))
        shown = f"[{host}]" if ":" in host else host
        app = make_app(self.hub, port=self.port, host=host)
        self.url = f"http://{shown}:{self.port}/?token={app.token}"
        config = uvicorn.Config(
            app, http=GuardedHttp, ws=GuardedSocket, ws_max_size=LONGEST_MESSAGE, ws_per_message_deflate=False,
            lifespan="off", loop="asyncio", proxy_headers=False, timeout_graceful_shutdown=1, server_header=False,
            log_config=None, log_level="critical", access_log=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="diorama-server", daemon=True)
        self._thread.start()
        started = time.monotonic()
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() - started > PATIENCE.serving:
                self.close()
                raise Unavailable(f"the server did not start on {host}:{self.port}; try another port")
            time.sleep(0.005)
        atexit.register(self.close)

    def _serve(self) -> None:
        # The server runs in a thread, where uvicorn leaves the process's signal handlers as they are.
        self._server.run(sockets=[self._listener])

    def open(self) -> Page:
        """Open the page in the person's browser."""
        webbrowser.open(self.url)
        return self

    def close(self) -> None:
        """End the server and its workers; may be called twice."""
        atexit.unregister(self.close)
        self._server.should_exit = True
        self.hub.close()
        self._thread.join(PATIENCE.serving)
        with contextlib.suppress(OSError):
            self._listener.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Page {self.url}>"


def serve(
    what: str | Path | Scene | Run | Sequence[str | Path] = "runs/",
    port: int = 0,
    host: str = "127.0.0.1",
    open_browser: bool = False,
    trust: bool = False,
    model: str | Callable[[], Any] | None = None,
) -> Page:
    """Serve the page for a folder of runs, one run, or a scene, and go on; ``page.url`` is its address.

    A scene that is compared with others (``scene.compared_with(other)``) opens beside them.
    New runs in a served folder appear by themselves. ``trust`` loads models that another user stored; ``model`` names a
    factory (``"package.module:function"``, or the function itself) that makes the model instead.

    *Raises* UsageError when there is no such folder; Unavailable when the port is taken.
    """
    page = _page(what, port, host, trust, model)
    return page.open() if open_browser else page


def _page(what: Any, port: int, host: str, trust: bool, model: Any) -> Page:
    path = getattr(what, "path", None)
    run = getattr(what, "run", None)
    if isinstance(what, str | Path):
        roots = [Path(what)]
    elif getattr(what, "others", ()):
        return _page_of(what, port, host, trust, model)
    elif path is not None:
        roots = [Path(path)]
    elif run is not None:
        roots = [Path(run.path)]
    elif hasattr(what, "save"):
        return _page_of(what, port, host)
    elif isinstance(what, Sequence):
        roots = [Path(each) for each in what]
    else:
        raise UsageError(f"serve wants a folder of runs, a run or a scene, got {type(what).__name__}")
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"there is no folder {str(root)!r} to serve; record a run into it first, or make it")
    name, local = model, None
    if callable(model):
        name, local = importable_name(model), None
        if name is None:
            local = {str(root): model for root in roots}
    return Page(roots, port=port, host=host, trust=trust, model=name, local=local)


def importable_name(made: Callable[[], Any]) -> str | None:
    """The name by which a worker can import a function; None for one that only lives in this process."""
    module, name = getattr(made, "__module__", None), getattr(made, "__qualname__", "<")
    return f"{module}:{name}" if module and module != "__main__" and "<" not in name else None


def _page_of(scene: Scene, port: int, host: str, trust: bool = False, model: Any = None) -> Page:
    """Serve a scene and those beside it, each through a run, a new one of one snapshot where it comes from none.

    A model that cannot be pickled is looked at in this process.
    """
    folder = tempfile.TemporaryDirectory(prefix="diorama-", ignore_cleanup_errors=True)
    roots, local = [], {}
    for each in (scene, *scene.others):
        if each.run is not None:
            roots.append(Path(each.run.path).resolve())
            continue
        name = each.name or "model"
        taken = sum(root.parent == Path(folder.name) for root in roots)
        path = Path(folder.name) / (f"{name}-{taken + 1}" if taken else name)
        each.save(path)
        if _opened_without_model(path):
            local[str(path)] = _kept(each)
        roots.append(path)
    factory = importable_name(model) if callable(model) else model
    if callable(model) and factory is None:
        local |= {str(root): model for root in roots if str(root) not in local}
    page = Page(list(dict.fromkeys(roots)), port=port, host=host, trust=trust, model=factory, local=local or None, folder=folder)
    if scene.others:
        page.url += f"#{_compared(scene, roots)}"
    return page


def _compared(scene: Scene, roots: Sequence[Path]) -> str:
    """The address at which the page looks at a scene beside the others."""
    from ..live.shelf import find_runs

    names = {path: name for name, path in find_runs(roots).items()}
    against = []
    for each, root in zip(scene.others, roots[1:], strict=True):
        against.append(Key("run", names[root]))
        against += [Key("step", "", (each.step,))] if each.step is not None else []
    own = {"run": names[roots[0]]} | ({"step": str(scene.step)} if scene.step is not None else {})
    return urlencode(own | {"select": str(Selection.of(against=against))}, quote_via=quote)


def _opened_without_model(path: Path) -> bool:
    from ..run import open_run

    return open_run(path).scene().missing is not None


def _kept(scene: Scene) -> Any:
    """A copy of its model, so that a training that goes on here is not looked at within a step; else itself."""
    try:
        model = duplicate(scene.model)
    except Exception:  # noqa: BLE001 - what can be neither pickled nor copied is looked at as it is
        return scene
    return lambda: model


def _refuse_all_addresses(host: str, address: str) -> None:
    """However it is spelt (0, 0x0, ::, ::ffff:0.0.0.0), an address that stands for all of them is none to serve at."""
    found = ipaddress.ip_address(address.partition("%")[0] or "0.0.0.0")
    mapped = getattr(found, "ipv4_mapped", None)
    if found.is_unspecified or (mapped is not None and mapped.is_unspecified):
        raise UsageError(f"host wants the address that browsers will use, such as 127.0.0.1; {host!r} names none")


def _spelt(host: str, address: str) -> str:
    """The host as a browser will spell it: a name as it is, a number (127.1, 0x7f000001) as the address that it is."""
    try:
        socket.inet_aton(host)
    except OSError:
        return address if ":" in host else host
    return address


def _listen(host: str, port: int) -> socket.socket:
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
        _refuse_all_addresses(host, str(address[0]) if host else "")
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except (OSError, OverflowError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise Unavailable(f"port {port} on {host} can't be used: {reason}; port 0 takes a free one") from error
    return listener


