"""Options that several commands share, and options that are declared as fields of a dataclass."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeAlias, get_type_hints

import typer

from emotify.choices import Head
from emotify.choices import Views as ViewsName
from emotify.cli.completion import NO_OFFERS, TRAIN_OFFERS, Offers
from emotify.settings import LARGEST_FLOAT, OUTPUT, Setting, option, setting
from emotify.training.config import TrainConfig


def declared(field: dataclasses.Field[Any], offers: Offers = NO_OFFERS) -> Any:  # noqa: ANN401 - Typer's OptionInfo
    """Return the Typer option that a dataclass field declares. offers: completions of the shell, by field name."""
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
    """Return the bounds that the help shows. Typer has no open bounds; the dataclass checks those itself."""
    if about.at_least is None or about.at_most == LARGEST_FLOAT or about.below is not None:
        return None, None
    return about.at_least, about.at_most


TRAIN_FIELDS: Final = {field.name: field for field in dataclasses.fields(TrainConfig)}
Debug: TypeAlias = Annotated[
    bool, typer.Option("--debug", help="Print the traceback of any error.", rich_help_panel=OUTPUT)
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout.", rich_help_panel=OUTPUT)
]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Overwrite existing files.", rich_help_panel=OUTPUT)]
HeadName: TypeAlias = Annotated[
    Head | None,
    typer.Option(
        "--head",
        help="Which head answers: labels predicts FER-2013's label, crowd what most people would say. Default: each "
        "head is scored against its own truth.",
    ),
]
Device: TypeAlias = Annotated[str, declared(TRAIN_FIELDS["device"], TRAIN_OFFERS)]
Threads: TypeAlias = Annotated[int, declared(TRAIN_FIELDS["threads"])]
Views: TypeAlias = Annotated[
    ViewsName | None,
    typer.Option(
        "--views",
        help="Average over variants of each image (test-time augmentation). mirror adds the mirror image and takes "
        "twice the time; ten takes five crops and their mirror images. Default: one, the image alone.",
    ),
]
Tta: TypeAlias = Annotated[bool, typer.Option("--tta", hidden=True, help="The same as --views mirror.")]


def chosen_views(views: ViewsName | None, *, tta: bool) -> ViewsName | None:
    """Return the value of --views, or None if not given. --tta is the older name of --views mirror."""
    return views or ("mirror" if tta else None)


Command: TypeAlias = Callable[..., None]


def with_settings(command: Command, offers: Offers = NO_OFFERS) -> Command:
    """Replace each parameter of a command whose type is a dataclass by one option per field.

    The command is called with an instance of the dataclass. For a parameter of type Annotated[dict, DATACLASS] it is
    called with a dict of the unchecked values instead. offers: completions of the shell, by field name.
    """
    signature = inspect.signature(command, eval_str=True)
    groups = {name: group for name, each in signature.parameters.items() if (group := _group(each.annotation))}
    parameters = [
        option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, each in signature.parameters.items()
        for option in (_options(groups[name], offers) if name in groups else [each])
    ]

    @functools.wraps(command)
    def call(**values: Any) -> None:  # noqa: ANN401 - of many options
        for name, group in groups.items():
            given = {field.name: values.pop(field.name) for field in dataclasses.fields(group)}
            values[name] = group(**given) if signature.parameters[name].annotation is group else given
        command(**values)

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call


def _group(annotation: Any) -> type[Any] | None:  # noqa: ANN401 - any annotation
    """Return the dataclass of a parameter's annotation, or None for an ordinary option."""
    for each in (annotation, *getattr(annotation, "__metadata__", ())):
        if isinstance(each, type) and dataclasses.is_dataclass(each):
            return each
    return None


def _options(group: type[Any], offers: Offers) -> list[inspect.Parameter]:
    kinds = get_type_hints(group)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[kinds[field.name], declared(field, offers)],
        )
        for field in dataclasses.fields(group)
    ]
