"""Commands that cost nothing until they are used: one is imported, and its options looked at, when it is named."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable
from typing import Any

import typer
from typer.core import TyperCommand


class Command(TyperCommand):
    """A command whose options Typer checks only where there is something to check."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - what TyperCommand says
        spare_checks(self.get_params(ctx))
        return super().parse_args(ctx, args)


class LateCommand(TyperCommand):
    """The name and the first line of a command that is not loaded; the command is in the module of its name."""

    @functools.cached_property
    def loaded(self) -> Any:  # noqa: ANN401 - a command of the Click that Typer carries
        """The command itself."""
        function = getattr(importlib.import_module(f"emotify.cli.{self.name}"), str(self.name))
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(self.name, cls=Command)(function)
        return typer.main.get_command(alone)

    def make_context(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - what TyperCommand says
        return self.loaded.make_context(*args, **options)


def spare_checks(parameters: Iterable[Any]) -> None:
    """Let Typer check only those values of a command's parameters that are not of the right type already.

    It asks pydantic about all of them, which takes longer to load than a picture takes to predict.
    """
    for parameter in parameters:
        if "process_value" not in vars(parameter):
            parameter.process_value = functools.partial(_process, parameter, parameter.process_value)


def _process(parameter: Any, check: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:  # noqa: ANN401
    """Return a parameter's value as the command gets it. Raises what Typer does when it cannot be that."""
    if parameter.required or not _is_plain(getattr(parameter, "type_descriptor", None), value):
        return check(context, value)
    return parameter.callback(context, parameter, value) if parameter.callback else value


def _is_plain(described: Any, value: object) -> bool:  # noqa: ANN401 - what some versions of Typer know of a parameter
    """Whether a value is of the right type, as texts and defaults are, or was not given."""
    wanted = getattr(described, "annotation", None)
    if wanted == list[str] and isinstance(value, list | tuple):
        return all(type(item) is str for item in value)
    return wanted is not None and (value is None or (wanted in {str, int, float} and type(value) is wanted))
