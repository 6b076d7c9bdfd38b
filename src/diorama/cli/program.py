"""The command line. Flags are made from knobs; nothing that a command does not need is imported."""

from __future__ import annotations

import datetime
import json
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

import click

from ..core.blame import culprit, model_failed, own_place, said
from ..core.errors import DioramaError, LeftOut, UsageError
from ..core.version import VERSION
from .knobs import LookingCommand, NamedGroup, knob_options, knobs_from

PLACE, PORT, FACTORY = click.Path(path_type=Path), click.IntRange(0, 65535), "PACKAGE.MODULE:FACTORY"
PATIENCE = 15.0
"""Seconds that a server has to end in good order, when it is told to."""
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=CONTEXT)
@click.version_option(VERSION, message="diorama %(version)s")
def diorama() -> None:
    """See inside any PyTorch network, from every side, at every moment of its training."""


class DemoGroup(NamedGroup):
    """``diorama demo`` without a name shows the digits."""

    kind, noun, fallback = "demos", "demo", "digits"

    def made(self, name: str, described: dict[str, Any]) -> click.Command:
        """The command of one demo."""
        own = [
            click.Option(["--run"], type=PLACE, help="The folder to record into; default runs/NAME."),
            click.Option(["--steps"], type=click.IntRange(min=1), help=_help_of(described, "steps")),
            click.Option(["--port"], type=PORT, default=0, help="The page's port; 0 takes a free one."),
            click.Option(["--no-browser"], is_flag=True, help="Do not open a browser."),
            click.Option(["--headless"], is_flag=True, help="Train and record only, at full pace, then exit."),
            click.Option(["--page"], type=int, hidden=True),
            click.Option(["--data"], type=PLACE, help="Train on your own data instead."),
        ]
        options = knob_options(described, {"run", "steps", "port", "data", "page"})

        def run(**values: Any) -> None:
            from ..training.launch import flags_of
            from .demo import show, train

            knobs = knobs_from(described, values)
            if values["steps"] is not None:
                knobs["steps"] = values["steps"]
            if values["headless"]:
                train(name, values["run"], values["data"], knobs, values["page"])
            else:
                show(name, values["run"], values["data"], flags_of(knobs), values["port"], not values["no_browser"])

        return click.Command(name, params=[*own, *options], callback=run, help=described["sentence"])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """One demo's command; on the very first start the training checks its flags, so that the page comes at once."""
        wanted = set(sys.argv)
        if name not in self._registry or wanted & {"--headless", "-h", "--help"} or self.described(ctx, name):
            return super().get_command(ctx, name)
        own = [
            click.Option(["--run"], type=PLACE), click.Option(["--data"], type=PLACE),
            click.Option(["--port"], type=PORT, default=0), click.Option(["--no-browser"], is_flag=True),
            click.Argument(["flags"], nargs=-1, type=click.UNPROCESSED),
        ]

        def run(run: Path | None, data: Path | None, no_browser: bool, port: int, flags: tuple[str, ...]) -> None:
            from .demo import show

            show(name, run, data, list(flags), port, not no_browser)

        return click.Command(name, params=own, callback=run, context_settings={"ignore_unknown_options": True})


def _help_of(described: dict[str, Any], name: str) -> str:
    knob = next(knob for knob in described["knobs"] if knob["name"] == name)
    return f"{knob['help']} [{knob['default']}]"


@diorama.command(cls=DemoGroup, context_settings=CONTEXT)
def demo() -> None:
    """Train a small network live and open the page on it."""


@diorama.command()
@click.argument("paths", nargs=-1, type=PLACE, metavar="[PATH…]")
@click.option("--model", metavar=FACTORY, help="A function that returns a module or a Scene.")
@click.option("--weights", type=PLACE, help="Weights for the model: .safetensors or .pt.")
@click.option("--data", type=PLACE, help="The examples to look at the model with.")
@click.option("--port", type=PORT, default=0, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", help="The address that browsers will use.")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@click.option("--trust", is_flag=True, help="Load models that another user stored: that runs their code.")
def serve(
    paths: tuple[Path, ...], model: str | None, weights: Path | None, data: Path | None, port: int, host: str,
    no_browser: bool, trust: bool,
) -> None:
    """Serve the page for folders of runs (runs/ when none is named), or for a model."""
    from ..server.serve import serve as start

    what: Any
    if model is not None and not paths:
        from .scene import scene_of_model

        what = scene_of_model(model, weights, data)
        model = None
    else:
        if model is not None:
            from .scene import look_here

            look_here()
        if weights is not None or data is not None:
            raise UsageError("--weights and --data go with --model, without a PATH")
        if not paths and not Path("runs").is_dir():
            raise UsageError("there is no folder 'runs' here; name a folder of runs, or begin with: diorama demo")
        what = list(paths) or ["runs"]
    stay(start(what, port=port, host=host, trust=trust, model=model), not no_browser)


def stay(page: Any, browser: bool, ended: threading.Event | None = None) -> None:
    """Print the address first, open it, and serve until Ctrl-C, a termination, or what else sets ``ended``."""
    import signal

    print(page.url, flush=True)
    ended = ended or threading.Event()

    def end(*_: Any) -> None:
        """Ask for the end; whoever is stuck in what it does is not waited for."""
        if ended.is_set():
            page.hub.pool.kill()
            os._exit(143)
        ended.set()
        late = threading.Timer(PATIENCE, end)
        late.daemon = True
        late.start()

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)
    try:
        if browser:
            page.open()
        print("Ctrl-C ends it.", flush=True)
        while not ended.wait(0.5):
            _say_broken(page.hub.broken or ())
    except KeyboardInterrupt:
        pass
    finally:
        page.close()


class ViewGroup(NamedGroup):
    """``diorama view NAME``: one subcommand a view."""

    kind, noun = "views", "view"

    def made(self, name: str, described: dict[str, Any]) -> click.Command:
        """The command of one view."""
        own = [
            click.Option(["--run"], type=PLACE, help="The run to look at."),
            click.Option(["--model"], metavar=FACTORY, help="A function that returns a module or a Scene."),
            click.Option(["--weights"], type=PLACE, help="Weights for the model: .safetensors or .pt."),
            click.Option(["--data"], type=PLACE, help="The examples to look at the model with."),
            click.Option(["--step"], type=int, help="The snapshot at or before this step; default: the newest."),
            click.Option(["--select"], multiple=True, metavar="KEY", help="What is chosen: unit:features.3/17."),
            click.Option(["--against"], multiple=True, metavar="KEY", help="What it is compared with: example:10-19."),
            click.Option(["--edit"], multiple=True, metavar="'KEY CHANGE'", help="What is changed while looking: 'unit:conv1/3 lesion'."),
            click.Option(["--other"], multiple=True, metavar="DIR[@STEP]", help="A run, perhaps at a step, to compare with."),
            click.Option(["--trust"], is_flag=True, help="Load a model that another user stored."),
            click.Option(["-o", "--output"], required=True, type=PLACE, help="The file to write."),
        ]
        options = knob_options(described, {"run", "model", "weights", "data", "step", "select", "against", "edit", "other", "trust", "output"})

        def run(**values: Any) -> None:
            from .scene import save_view

            save_view(name, knobs_from(described, values), **values)

        return LookingCommand(name, params=[*own, *options], callback=run, help=described["sentence"])


@diorama.command(cls=ViewGroup, context_settings=CONTEXT)
def view() -> None:
    """Save one view of a run or a model as a file: .png .svg .pdf .html .json .npz .mp4 .gif, or as a third party's saver writes it"""


KINDS = ("methods", "derivations", "projections", "views", "signals", "findings", "commands", "demos", "savers", "marks")


@diorama.command("list")
@click.argument("kind", required=False, type=click.Choice(KINDS))
@click.option("--json", "as_json", is_flag=True, help="As JSON, with all knobs.")
@click.option("--broken", is_flag=True, help="Why plug-ins of third parties cannot be used.")
def list_(kind: str | None, as_json: bool, broken: bool) -> None:
    """List what there is: views, methods, signals, file formats (savers) and so on."""
    from ..live.catalogue import installation_stamp, installed, kept_catalogue

    kept = None if kind == "marks" else kept_catalogue(installation_stamp())
    found = {} if kind == "marks" else installed(kind)
    told = not broken and kept is not None and not _SAID  # else what is not there yet was asked for again, and told in full just now
    chosen = {name: _marks() if name == "marks" else found[name] for name in ([kind] if kind else KINDS)}
    if told and (names := [name for each in found.get("left_out", {}).values() for name in each]):
        # Each was told in full when the installation was first looked at.
        what = f"{len(names)} plug-ins" if len(names) > 1 else "1 plug-in"
        _say_broken([f"{what} cannot be used ({', '.join(names[:5])}{', …' if len(names) > 5 else ''}): diorama list --broken says why"])
    else:
        _say_broken(found.get("broken", ()))
    if as_json:
        print(json.dumps(chosen[kind] if kind else chosen, indent=2))
        return
    for name, entries in chosen.items():
        if kind is None:
            print(name)
        width = max((len(entry["name"]) for entry in entries), default=0)
        for entry in entries:
            print(f"  {entry['name']:<{width}}  {entry['sentence']}")
        if not entries:
            print("  none yet")


def _say_broken(sentences: Iterable[str]) -> None:
    """Name on the terminal what third parties offer that cannot be used, each once, however long one has waited for it."""
    for sentence in sentences:
        if (known := re.sub(r"\(\d+ s\)", "", sentence)) not in _SAID:
            _SAID.add(known)
            print(f"diorama: {sentence}", file=sys.stderr, flush=True)


_SAID: set[str] = set()
_SHOWN = warnings.showwarning


def _warned(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
) -> None:
    """Say a warning as this program says things, where it is one of its own."""
    if issubclass(category, LeftOut):
        _say_broken([str(message)])
    else:
        _SHOWN(message, category, filename, lineno, file, line)


def _marks() -> list[dict[str, Any]]:
    from ..core.knobs import sentence
    from ..core.marks import MARKS

    return [{"name": name, "title": name.capitalize(), "sentence": sentence(MARKS[name])} for name in sorted(MARKS)]


RUN = click.argument("run", type=PLACE, metavar="RUN")


@diorama.command()
@RUN
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def info(run: Path, as_json: bool) -> None:
    """Say what a run holds, or each run of a folder: steps, snapshots, series, commands, dropped records, size."""
    from ..live.shelf import find_runs, is_run
    from ..run import open_run

    runs = {} if is_run(run) else dict(sorted(find_runs([run]).items()))
    told: dict[str, Any] = {}
    for name, each in runs.items():
        try:
            told[name] = open_run(each).info()
        except DioramaError as error:  # one bad run hides none of the others
            told[name] = {"error": str(error)}
    if not runs:
        told = open_run(run).info()
    if as_json:
        print(json.dumps(told, indent=2, default=str))
    elif not runs:
        _print_info(told)
    for k, name in enumerate(() if as_json else runs):
        print(f"{'' if k == 0 else chr(10)}{name}:")
        _print_info(told[name])
    if any("error" in told[name] for name in runs):
        raise SystemExit(1)


def _print_info(found: dict[str, Any]) -> None:
    found = {name: value for name, value in found.items() if value != ""}
    width = max(len(_CALLED.get(name, name)) for name in found)
    sizes: dict[str, Callable[[Any], str]] = {"seconds": lambda value: f"{value:,.1f}", "bytes": lambda value: f"{value / 1e6:,.1f} MB"}
    sizes["guessed"] = lambda value: f"\n{'':<{width}}  ".join(one.removeprefix("guessed: ").rstrip(".") for one in value) or "none"
    for name, value in found.items():
        print(f"{_CALLED.get(name, name).replace('_', ' '):<{width}}  {sizes.get(name, _short)(value)}")


_CALLED = {"dropped": "lost records", "changed_examples": "changed examples of the data"}
"""What info calls what its names alone do not tell."""


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).isoformat(" ", "minutes")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        told = {name: _moment(each) if name == "time" and isinstance(each, float) else _short(each) for name, each in value.items() if each != ""}
        return ", ".join(f"{name} {each}" for name, each in told.items()) or "none"
    if isinstance(value, list | tuple):
        shown = ", ".join(_short(each) if isinstance(each, dict) else str(each) for each in value[:8])
        return f"{len(value)}: {shown}{', …' if len(value) > 8 else ''}" if value else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value).rstrip(": ")


@diorama.command()
@RUN
def check(run: Path) -> None:
    """Read everything that a run holds, or each run of a folder, and verify every checksum; exit 1 when something is damaged."""
    from ..live.shelf import find_runs, is_run
    from ..record.lock import told
    from ..record.reader import RunReader

    sound = True
    for each in [run] if is_run(run) else sorted(find_runs([run]).values()) or [run]:
        try:
            with RunReader(each) as reader:
                damages = reader.check()
        except DioramaError as error:
            if each == run:
                raise
            damages = [str(error)]
        for damage in damages:
            print(damage, file=sys.stderr)
        if damages:
            sound = False
        else:
            print(f"{each}: everything is as it was written")
        if missing := told(each):
            print(f"{each}: {missing}")
    if not sound:
        raise SystemExit(1)


@diorama.command()
@click.argument("run", type=PLACE, metavar="[RUN]", required=False)
@click.option("--data", type=PLACE, help="A data set to scan instead of the probe set: .npz, idx, a folder, .csv, .txt.")
@click.option("--step", type=int, help="The snapshot at or before this step; default: the newest.")
@click.option("--k", type=click.IntRange(min=1), default=9, help="Strongest and weakest examples kept of each unit. [9]")
@click.option("--layer", "layers", multiple=True, metavar="NAME", help="Only this layer; may be given several times.")
@click.option("--histogram/--no-histogram", default=True, help="Keep a histogram of each unit. [yes]")
@click.option("--model", metavar=FACTORY, help="A function that returns a module or a Scene, instead of a run.")
@click.option("--weights", type=PLACE, help="Weights for the model: .safetensors or .pt.")
@click.option("--trust", is_flag=True, help="Load a model that another user stored.")
@click.option("-o", "--output", type=PLACE, help="A file to write the statistics to, besides the run's folder.")
def scan(run: Path | None, **values: Any) -> None:
    """Run a data set through a model once, and keep for every unit what drives it; stopped, it goes on where it was."""
    from .scan import scan_run

    scan_run(run, **values)


class CommandGroup(NamedGroup):
    """``diorama command RUN NAME``: one subcommand a command."""

    kind, noun = "commands", "command"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let help be asked for also after the run."""
        return super().parse_args(ctx, ["--help"] if len(args) > 1 and args[1] in ("-h", "--help") else args)

    def made(self, name: str, described: dict[str, Any]) -> click.Command:
        """The command line of one command."""
        own = [click.Option(["--wait"], type=click.FloatRange(min=0), default=5.0, help="So many seconds the answer is waited for. [5]")]

        def send(wait: float, **values: Any) -> None:
            from ..run import open_run

            run = open_run(click.get_current_context().obj)
            print(run.command(name, wait=wait, sender="command line", **knobs_from(described, values)).text)

        return click.Command(name, params=[*own, *knob_options(described, {"wait"})], callback=send, help=described["sentence"])


@diorama.command(cls=CommandGroup, context_settings=CONTEXT)
@RUN
@click.pass_context
def command(context: click.Context, run: Path) -> None:
    """Send a command to a running training and wait for its answer."""
    context.obj = run


def main() -> None:
    """Run the command line: errors are one sentence on stderr; 2 for wrong usage, 1 for a failure."""
    warnings.showwarning = _warned
    try:
        diorama(standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as asked:
        raise SystemExit(asked.exit_code) from None
    except (KeyboardInterrupt, click.Abort):
        raise SystemExit(130) from None
    except click.ClickException as error:
        _fail(_sentence(error), 2)
    except DioramaError as error:
        _fail(said(error), 2 if isinstance(error, UsageError) else 1, error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # who reads us has gone; a flush at exit must not complain
        raise SystemExit(1) from None
    except Exception as error:  # noqa: BLE001 - a fault of ours is one sentence too
        from ..core.log import write_log

        path = write_log(error, f"diorama {' '.join(sys.argv[1:])}")
        _fail(f"{_whose(error)} (the details are in {path})", 1, error)


def _whose(error: Exception) -> str:
    """One sentence that says whose fault an unforeseen error is: the system's, a plug-in's, the user's own code's, or ours."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        return f"the memory was not enough: {str(error) or 'it ran out'}"
    if (words := culprit(error)) is not None:
        return f"{words} failed: {text}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f': {error.filename!r}' if error.filename else ''}"
    told = model_failed(error)
    if told is not None:
        return str(told)
    place = own_place(error)
    return f"your own code failed: {text} (in {place[0]})" if place is not None else f"this is a fault of diorama: {text}"


def _sentence(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{text}; see: {context.command_path} --help" if context is not None else text


def _fail(message: str, code: int, error: BaseException | None = None) -> None:
    if error is not None and os.environ.get("DIORAMA_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    print(f"diorama: {message}", file=sys.stderr)
    raise SystemExit(code)
