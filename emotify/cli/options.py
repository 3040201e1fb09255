"""The options that several commands share, and those that a command takes from the fields of a configuration."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_type_hints

import typer

from emotify.choices import Head
from emotify.choices import Views as ViewsName
from emotify.cli.completion import OFFERS
from emotify.training.config import Setting, TrainConfig, option, setting

MACHINE, TALK = "Machine", "Output"  # headings of the help
_SETTINGS = {field.name: field for field in dataclasses.fields(TrainConfig)}


def _declared(name: str) -> Any:  # noqa: ANN401 - Typer's OptionInfo, which is not public
    """Return the option that a field of TrainConfig declares."""
    about = setting(_SETTINGS[name])
    least, most = _shown_range(about)
    names = [option(name), *([about.also] if about.also and not about.also.startswith("--no-") else [])]
    if about.also and about.also.startswith("--no-"):
        names = [f"{option(name)}/{about.also}"]
    return typer.Option(
        *names,
        help=about.help,
        metavar=about.metavar,
        rich_help_panel=about.heading,
        min=least,
        max=most,
        autocompletion=OFFERS.get(name),
    )


def _shown_range(about: Setting) -> tuple[float, float] | tuple[None, None]:
    """Return the bounds that the help shows: both or none; TrainConfig checks all of them."""
    if about.at_least is None or about.at_most is None or about.at_most == sys.float_info.max:
        return None, None
    return about.at_least, about.at_most


Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print results and errors only.", rich_help_panel=TALK)
]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print more details on stderr.", rich_help_panel=TALK)
]
Debug: TypeAlias = Annotated[
    bool, typer.Option("--debug", help="Print the traceback of any error.", rich_help_panel=TALK)
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout.", rich_help_panel=TALK)
]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.", rich_help_panel=TALK)]
Data: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="fer2013.csv or icml_face_data.csv, also zipped; a folder of classes; or 'synthetic'. "
        "Default: $EMOTIFY_DATA, else the usual names below this folder.",
    ),
]
Ferplus: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--ferplus",
        metavar="FILE",
        help="fer2013new.csv, the votes of ten people for each image. Default: $EMOTIFY_FERPLUS, else that file beside "
        "fer2013.csv.",
    ),
]
ClassOrder: TypeAlias = Annotated[str, _declared("class_order")]
ExcludeClasses: TypeAlias = Annotated[str, _declared("exclude_classes")]
HeadName: TypeAlias = Annotated[
    Head | None,
    typer.Option(
        "--head",
        help="Question to answer: labels for FER-2013's label, crowd for what most people would say. Default: each "
        "head answers its own.",
    ),
]
Device: TypeAlias = Annotated[str, _declared("device")]
Threads: TypeAlias = Annotated[int, _declared("threads")]
Views: TypeAlias = Annotated[
    ViewsName | None,
    typer.Option(
        "--views",
        help="Variants of each image whose answers are averaged: the image alone; also its mirror image, in twice the "
        "time; or five positions and their mirror images, in ten times the time. Default: one.",
    ),
]
Tta: TypeAlias = Annotated[bool, typer.Option("--tta", hidden=True, help="The same as --views mirror.")]


def chosen_views(views: ViewsName | None, *, tta: bool) -> ViewsName | None:
    """Return the views that were asked for; None where none were. --tta is the older name of --views mirror."""
    return views or ("mirror" if tta else None)


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of TrainConfig, in place of its `**settings`."""
    signature = inspect.signature(command, eval_str=True)
    context, *own = (
        parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD
    )
    kinds = get_type_hints(TrainConfig)
    settings = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[kinds[name], _declared(name)],
        )
        for name, field in _SETTINGS.items()
    ]
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    parameters = [context, *settings, *own]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command
