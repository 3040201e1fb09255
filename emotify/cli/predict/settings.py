"""The options of `emotify predict`, each declared once."""

# ruff: noqa: RUF009 - each default is declared by a function that returns a field

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emotify.choices import Engine, Faces, Head, Truth
from emotify.settings import MACHINE, declare, setting

_PICTURES, _FACES, _ROWS, _ENGINE = "Pictures", "Face detection", "Rows and pages", "Many machines"
_WRITERS = "emotify.prediction.outputs"


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """What predict is asked for, but for its pictures and the options that all commands have."""

    model: str | None = declare(
        None,
        "An .onnx file, default or fast. Default: $EMOTIFY_MODEL, else the newest export in runs/, else default.",
        metavar="MODEL",
    )
    csv: Path | None = declare(
        None, "Write one row per face, for a spreadsheet.", metavar="FILE", writer=f"{_WRITERS}.table:CsvWriter"
    )
    report: Path | None = declare(None, "Write an .html page to look through and filter.", metavar="FILE")
    annotate: Path | None = declare(None, "Save copies of the pictures with boxes and labels.", metavar="DIR")
    explain: Path | None = declare(None, "Save a picture of each face that shows which part decided.", metavar="DIR")
    min_confidence: float = declare(
        0.0, "Label a face 'uncertain' below this probability.", metavar="P", at_least=0, at_most=1
    )
    top: int = declare(0, "Print the K most probable expressions of a face.", metavar="K", at_least=0, at_most=7)
    head: Head | None = declare(
        None,
        "Question to answer: crowd for what most people would say, labels for what FER-2013's label would be. Default: "
        "crowd, where the model has it.",
    )
    files_from: str | None = declare(
        None, "Read more paths from a list, one per line; - for standard input.", _PICTURES, metavar="FILE"
    )
    null: bool = declare(False, "The list separates paths by NUL bytes, as find -print0 does.", _PICTURES, also="-0")
    follow_links: bool = declare(False, "Follow symbolic links inside folders, wherever they lead.", _PICTURES)
    shard: str | None = declare(
        None,
        "Process only shard I of N, counted from 0. Pictures are assigned by a hash of their path.",
        _PICTURES,
        metavar="I/N",
    )
    truth: Truth = declare(
        "auto",
        "Whether folder names are the true expressions, to compare with. auto: only where all are words such as happy "
        "and sad; folders: also where they are codes or numbers.",
        _PICTURES,
    )
    class_order: str = declare(
        "",
        "Meaning of folders that are numbers, for --truth folders: affectnet, rafdb and so on, as for train.",
        _PICTURES,
        metavar="NAME",
    )
    every: float = declare(
        0.5,
        "Time from one frame of a video clip that is looked at to the next; 0 for every frame.",
        _PICTURES,
        metavar="SECONDS",
        at_least=0,
    )
    faces: Faces = declare(
        "auto",
        "detect looks for faces; whole takes each picture as one face; auto does that for pictures that are face crops "
        "already.",
        _FACES,
    )
    face_model: Path | None = declare(
        None, "Another face detector, as .onnx: YuNet, CenterFace or Ultra-Light.", _FACES, metavar="FILE"
    )
    min_face: int = declare(
        16, "Smallest face to look for; a larger value is faster.", _FACES, metavar="PIXELS", at_least=16
    )
    max_side: int = declare(
        1280,
        "Longest side of a picture at which faces are looked for; larger pictures are shrunk for that.",
        _FACES,
        metavar="PIXELS",
        at_least=64,
        at_most=2560,
    )
    jsonl: bool = declare(False, "Print one line of JSON per picture.", _ROWS)
    jsonl_file: Path | None = declare(
        None, "Write such lines to a file, each as soon as its picture is done.", _ROWS, metavar="FILE"
    )
    append: bool = declare(
        False,
        "Continue the file of --jsonl-file, or the folder of --engine ray: skip the pictures that are in it.",
        _ROWS,
    )
    parquet: str | None = declare(
        None,
        "Write one row per face, for data frames; with --engine ray, a folder of such files.",
        _ROWS,
        metavar="FILE",
        writer=f"{_WRITERS}.parquet:ParquetWriter",
    )
    csv_raw: bool = declare(
        False,
        "Write names unchanged into the --csv, also those that a spreadsheet would run as formulas.",
        _ROWS,
    )
    thumbnails: bool = declare(
        False, "Put small copies of the pictures into the --report; without it, only boxes.", _ROWS
    )
    engine: Engine = declare(
        "local",
        "ray spreads the pictures over the processes of Ray Data, here or on the cluster of $RAY_ADDRESS. PATH and "
        "--parquet may then be addresses such as s3://bucket/photos.",
        _ENGINE,
    )
    actors: int = declare(0, "Workers of --engine ray; 0: one per CPU.", _ENGINE, metavar="N", at_least=0)
    timeout: float = declare(
        60.0,
        "Continue without a picture that is not read within this time; 0 waits forever.",
        MACHINE,
        metavar="SECONDS",
        at_least=0,
    )

    @property
    def on_ray(self) -> bool:
        """Whether Ray Data does the work."""
        return self.engine == "ray"


# The options that name a file of rows, and what writes it, as module:class.
TABLES: Final = {
    field.name: writer for field in dataclasses.fields(PredictSettings) if (writer := setting(field).writer) is not None
}
