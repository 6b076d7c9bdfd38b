"""Groups of subcommands that stand for plug-ins, with flags made from their knobs, read from the kept catalogue."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import click
import msgspec

from ..core.errors import UsageError
from ..core.knobs import Knob, describe
from ..core.registry import REGISTRIES, Registry
from ..core.selection import KINDS as KEYS
from ..live.catalogue import installation_stamp, kept_catalogue


class KnobType(click.ParamType):  # type: ignore[type-arg] # generic in the newest click only
    """A flag's value, checked as the knob checks it everywhere else."""

    def __init__(self, knob: Knob) -> None:
        self.knob, self.name = knob, knob.kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value in the knob's own type."""
        try:
            return self.knob.check(value)
        except UsageError as error:
            return self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What stands for the value in the help."""
        return "|".join(self.knob.choices) if self.knob.kind == "choice" else self.knob.kind.upper()


def knob_options(described: dict[str, Any], taken: set[str]) -> list[click.Option]:
    """One flag a knob, but for those that the command itself has."""
    options = []
    for values in described["knobs"]:
        knob = Knob(**{**values, "choices": tuple(values["choices"])})
        if knob.name in taken:
            continue
        help_ = knob.help if knob.default is None else f"{knob.help} [{_shown(knob.default)}]"
        if knob.kind == "flag":
            names = [f"{knob.flag}/--no-{knob.flag[2:]}", f"knob_{knob.name}"]
            options.append(click.Option(names, default=None, help=help_))
        else:
            options.append(click.Option([knob.flag, f"knob_{knob.name}"], type=KnobType(knob), help=help_))
    return options


def _shown(value: Any) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def knobs_from(described: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Take the knobs that were given out of a command's values."""
    found = {}
    for name in [knob["name"] for knob in described["knobs"]]:
        value = values.pop(f"knob_{name}", None)
        if value is not None:
            found[name] = value
    return found


class LookingCommand(click.Command):
    """A command that looks at what ``--select`` chooses."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Who names a kind of key as a flag is told how a key is chosen."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            kind = error.option_name.lstrip("-")
            if kind not in KEYS:
                raise
            rest = next((each for each in given if each.partition("=")[0] == error.option_name), error.option_name)
            after = given[given.index(rest) + 1 :][:1] if rest in given else []
            value = rest.partition("=")[2] or (after[0] if after and not after[0].startswith("-") else "…")
            said = f"No such option '{error.option_name}'. Choose what to look at by its key: --select {kind}:{value}"
            raise click.UsageError(said, ctx) from error


def _kept(ctx: click.Context) -> dict[str, Any] | None:
    """The kept catalogue, looked for once a command line: help asks for each plug-in, and whether files have changed is told by all of them."""
    said = ctx.meta
    if "diorama.catalogue" not in said:
        said["diorama.catalogue"] = kept_catalogue(installation_stamp())
    found: dict[str, Any] | None = said["diorama.catalogue"]
    return found


class NamedGroup(click.Group):
    """A group whose subcommands are the plug-ins of a registry."""

    kind: ClassVar[str]
    noun: ClassVar[str]
    fallback: ClassVar[str | None] = None

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **{"subcommand_metavar": f"{self.noun.upper()} [OPTIONS]", **named})

    @property
    def _registry(self) -> Registry:
        return next(each for each in REGISTRIES if each.kind == self.kind)

    def described(self, ctx: click.Context, name: str) -> dict[str, Any] | None:
        """A plug-in as the kept catalogue knows it; None when nothing is kept."""
        kept = _kept(ctx)
        return kept and next((entry for entry in kept[self.kind] if entry["name"] == name), None)

    @abstractmethod
    def made(self, name: str, described: dict[str, Any]) -> click.Command:
        """The subcommand of one plug-in."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put in the name that is meant when none is given."""
        helps = {"-h", "--help"}
        if self.fallback is not None and (not args or (args[0].startswith("-") and args[0] not in helps)):
            args = [self.fallback, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The plug-ins' names, without those of third parties that cannot be used."""
        kept = _kept(ctx)
        return [entry["name"] for entry in kept[self.kind]] if kept else [name for name, _ in self._registry.items()]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """One plug-in's subcommand. *Raises* NotFound with the nearest names."""
        if name not in self._registry:
            self._registry[name]  # says what is nearest
        return self.made(name, self.described(ctx, name) or msgspec.to_builtins(describe(self._registry[name])))
