"""Commands that are imported only when they are called."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import typer
from typer.core import TyperCommand

from emotify.cli.values import check_here
from emotify.settings import OUTPUT


class Command(TyperCommand):
    """A command with headings in its help, whose option values are checked by `emotify.cli.values`."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - what TyperCommand says
        check_here(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - what TyperCommand says
        """Write the arguments, then the options without a heading, then the others by heading."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                arguments = parameter.param_type_name == "argument"
                heading = getattr(parameter, "rich_help_panel", None) or ("Arguments" if arguments else "Options")
                heading = OUTPUT if parameter.name == "help" else heading
                groups.setdefault(heading, []).append(_without_types(record, is_argument=arguments))
        for heading in sorted(groups, key=lambda each: (each != "Arguments", each != "Options", each == OUTPUT)):
            with formatter.section(heading):
                formatter.write_dl(groups[heading])


class LateCommand(TyperCommand):
    """The name and help line of a command; the module of that name is imported when the command is called."""

    @functools.cached_property
    def loaded(self) -> Any:  # noqa: ANN401 - a command of the Click that Typer carries
        """The command itself."""
        function = getattr(importlib.import_module(f"emotify.cli.{self.name}"), str(self.name))
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(self.name, cls=Command)(function)
        return typer.main.get_command(alone)

    def make_context(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - what TyperCommand says
        return self.loaded.make_context(*args, **options)


def _without_types(record: tuple[str, str], *, is_argument: bool) -> tuple[str, str]:
    """Return a line of the help without the Python type that Typer adds to an argument's name."""
    name, text = record
    return (name.partition(" <")[0] if is_argument else name), text
