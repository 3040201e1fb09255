"""Converts and checks the values of the command line, with one wording for all errors.

Typer would use pydantic, which takes longer to load than one prediction takes, and whose errors are for programmers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args, get_origin

from emotify.choices import choose, names_of
from emotify.errors import UsageError
from emotify.files import printable

_NUMBERS = {int: "a whole number", float: "a number"}


def check_here(parameters: Iterable[Any]) -> None:
    """Let this module convert the values of a command's parameters, for all types that it knows."""
    for parameter in parameters:
        parameter.process_value = functools.partial(_process, parameter, parameter.process_value)


def _process(parameter: Any, check: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:  # noqa: ANN401
    """Return the converted value of a parameter. Raises UsageError, or an error of Typer's, if it is wrong."""
    _check_not_empty(parameter, value)
    wanted = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    item = get_args(wanted)[0] if get_origin(wanted) is list else wanted
    if parameter.required or not _is_known(item):
        return check(context, value)
    convert = functools.partial(_convert, item, option=max(parameter.opts, key=len), parameter=parameter)
    if item is not wanted:
        value = [convert(each) for each in value] if value else value
    elif value is not None:
        value = convert(value)
    return parameter.callback(context, parameter, value) if parameter.callback else value


def _check_not_empty(parameter: Any, value: object) -> None:  # noqa: ANN401 - as above
    """Raise UsageError for an empty text that is not the default; as a path it would mean the current folder."""
    if parameter.default != "" and (value == "" or (isinstance(value, list | tuple) and "" in value)):
        name = (
            max(parameter.opts, key=len) if parameter.opts[0].startswith("-") else parameter.metavar or parameter.name
        )
        msg = f'{name} is empty (""); is a variable in the command unset?'
        raise UsageError(msg)


def _is_known(kind: Any) -> bool:  # noqa: ANN401 - what some versions of Typer know of a parameter
    return kind in (str, int, float, bool, Path) or bool(names_of(kind))


def _convert(kind: Any, value: Any, *, option: str, parameter: Any) -> Any:  # noqa: ANN401
    """Return a value converted to a type, and within the parameter's range. Raises UsageError that names the option."""
    if names_of(kind):
        return choose(kind, value, option=option)
    try:
        converted = value if kind is bool else kind(value)
    except ValueError:
        msg = f"{option} takes {_NUMBERS[kind]}, not {printable(str(value)[:80])!r}"
        raise UsageError(msg) from None
    least, most = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if least is not None and not converted >= least:
        msg = f"{option} cannot be {value}; it must be at least {least}"
        raise UsageError(msg)
    if most is not None and not converted <= most:
        msg = f"{option} cannot be {value}; it must be at most {most}"
        raise UsageError(msg)
    return converted
