"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]
Verbose: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="Tell more on stderr.")]
Debug: TypeAlias = Annotated[bool, typer.Option("--debug", help="Show the traceback of any error.")]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Overwrite what exists.")]
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
HeadName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--head",
        metavar="NAME",
        help="labels: what FER-2013's label would be; crowd: what most people would say. Default: each its own truth.",
    ),
]
Device: TypeAlias = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:1.")]
Threads: TypeAlias = Annotated[
    int, typer.Option("--threads", metavar="N", min=0, help="CPU threads; 0: as many as this process may use.")
]
Tta: TypeAlias = Annotated[
    bool, typer.Option("--tta", help="Also look at the mirrored image: more accurate, twice the time.")
]
Views: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--views", metavar="NAME", help="one; mirror, which is --tta; ten: five places and their mirror images."
    ),
]


def chosen_views(views: str | None, *, tta: bool) -> str:
    """Return the views that --views and --tta ask for. Raises UsageError."""
    from emotify.evaluation.classifier import check_views

    chosen = views or ("mirror" if tta else "one")
    check_views(chosen)
    return chosen
