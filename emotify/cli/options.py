"""The options that several commands share, and those that a command takes from the fields of a configuration."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_type_hints

import typer

from emotify.choices import Head
from emotify.choices import Views as ViewsName
from emotify.cli.completion import NO_OFFERS, TRAIN_OFFERS, Offers
from emotify.settings import LARGEST_FLOAT, Setting, option, setting
from emotify.training.config import TrainConfig

TALK = "Output"  # a heading of the help


def declared(field: dataclasses.Field[Any], offers: Offers = NO_OFFERS) -> Any:  # noqa: ANN401 - Typer's OptionInfo
    """Return the option that the field of a configuration declares; offers: what a shell completes, by field."""
    about = setting(field)
    names = [option(field.name)]
    if about.also is not None and about.also.startswith("--no-"):
        names = [f"{names[0]}/{about.also}"]
    elif about.also is not None:
        names.append(about.also)
    least, most = _shown_range(about)
    return typer.Option(
        *names,
        help=about.help,
        metavar=about.metavar,
        rich_help_panel=about.heading,
        min=least,
        max=most,
        autocompletion=offers.get(field.name),
    )


def _shown_range(about: Setting) -> tuple[float | None, float | None]:
    """Return the bounds that the help shows; those of a configuration that are odd, it checks itself."""
    if about.at_least is None or about.at_most == LARGEST_FLOAT or about.below is not None:
        return None, None
    return about.at_least, about.at_most


_TRAIN = {field.name: field for field in dataclasses.fields(TrainConfig)}
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
ClassOrder: TypeAlias = Annotated[str, declared(_TRAIN["class_order"])]
ExcludeClasses: TypeAlias = Annotated[str, declared(_TRAIN["exclude_classes"])]
HeadName: TypeAlias = Annotated[
    Head | None,
    typer.Option(
        "--head",
        help="Question to answer: labels for FER-2013's label, crowd for what most people would say. Default: each "
        "head answers its own.",
    ),
]
Device: TypeAlias = Annotated[str, declared(_TRAIN["device"], TRAIN_OFFERS)]
Threads: TypeAlias = Annotated[int, declared(_TRAIN["threads"])]
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


Command: TypeAlias = Callable[..., None]


def with_settings(configuration: type[Any], offers: Offers = NO_OFFERS) -> Callable[[Command], Command]:
    """Give a command an option for each field of a configuration, in place of its `**settings`, after its first."""

    def add(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        first, *own = (each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD)
        kinds = get_type_hints(configuration)
        settings = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=Annotated[kinds[field.name], declared(field, offers)],
            )
            for field in dataclasses.fields(configuration)
        ]
        own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
        parameters = [first, *settings, *own]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return add
