"""Groups of subcommands that stand for plug-ins, with flags made from their knobs, read from the kept catalogue."""

from __future__ import annotations

from typing import Any, ClassVar

import click

from ..core.errors import UsageError, not_found
from ..core.knobs import Knob


class KnobType(click.ParamType):
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


class NamedGroup(click.Group):
    """A group whose subcommands are the plug-ins of a registry."""

    kind: ClassVar[str]
    noun: ClassVar[str]
    fallback: ClassVar[str | None] = None

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **{"subcommand_metavar": f"{self.noun.upper()} [OPTIONS]", **named})

    def _plugins(self) -> dict[str, dict[str, Any]]:
        from ..live.catalogue import installed

        return {entry["name"]: entry for entry in installed()[self.kind]}

    def made(self, name: str, described: dict[str, Any]) -> click.Command:
        """The subcommand of one plug-in."""
        raise NotImplementedError

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put in the name that is meant when none is given."""
        helps = {"-h", "--help"}
        if self.fallback is not None and (not args or (args[0].startswith("-") and args[0] not in helps)):
            args = [self.fallback, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The plug-ins' names."""
        return list(self._plugins())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """One plug-in's subcommand. *Raises* NotFound with the nearest names."""
        plugins = self._plugins()
        if name not in plugins:
            raise not_found(self.noun, name, plugins)
        return self.made(name, plugins[name])
