"""The options of `emotify predict`. Each is declared only here."""

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
    """The options that only predict has."""

    model: str | None = declare(
        None,
        "An .onnx file, or a built-in model: default or fast. Default: $EMOTIFY_MODEL, else the newest export in "
        "runs/, else default.",
        metavar="MODEL",
    )
    csv: Path | None = declare(
        None, "Write one row per face, for a spreadsheet.", metavar="FILE", writer=f"{_WRITERS}.table:CsvWriter"
    )
    report: Path | None = declare(None, "Write an .html page that shows and filters the faces.", metavar="FILE")
    annotate: Path | None = declare(None, "Save copies of the pictures with boxes and labels.", metavar="DIR")
    explain: Path | None = declare(None, "Save a heat map of each face: which part decided the answer.", metavar="DIR")
    min_confidence: float = declare(
        0.0, "Label a face 'uncertain' if its best probability is below P.", metavar="P", at_least=0, at_most=1
    )
    top: int = declare(0, "Print the K most probable expressions of each face.", metavar="K", at_least=0, at_most=7)
    head: Head | None = declare(
        None,
        "Which head answers: crowd predicts what most people would say, labels what FER-2013's label would be. "
        "Default: crowd, if the model has that head.",
    )
    files_from: str | None = declare(
        None,
        "Read more paths from a list, one per line; - reads the list from standard input.",
        _PICTURES,
        metavar="FILE",
    )
    null: bool = declare(
        False, "The paths in the list end with NUL bytes, as find -print0 writes them.", _PICTURES, also="-0"
    )
    follow_links: bool = declare(False, "Follow symbolic links inside folders.", _PICTURES)
    shard: str | None = declare(
        None,
        "Process only shard I of N, counted from 0. Pictures are assigned by a hash of their path.",
        _PICTURES,
        metavar="I/N",
    )
    truth: Truth = declare(
        "auto",
        "Compare predictions with folder names. auto: if all names are words such as happy and sad; folders: also if "
        "they are codes or numbers; none: never.",
        _PICTURES,
    )
    class_order: str = declare(
        "",
        "Meaning of numbered folders, for --truth folders: affectnet, rafdb and so on, as for train.",
        _PICTURES,
        metavar="NAME",
    )
    every: float = declare(
        0.5,
        "Time between the frames of a video clip that are predicted; 0 predicts every frame.",
        _PICTURES,
        metavar="SECONDS",
        at_least=0,
    )
    faces: Faces = declare(
        "auto",
        "detect finds faces; whole reads each picture as one face; auto does so only for pictures that are face crops.",
        _FACES,
    )
    face_model: Path | None = declare(
        None, "Another face detector, an .onnx file: YuNet, CenterFace or Ultra-Light.", _FACES, metavar="FILE"
    )
    min_face: int = declare(
        16, "Side of the smallest face that is found; a larger value is faster.", _FACES, metavar="PIXELS", at_least=16
    )
    max_side: int = declare(
        1280,
        "Detect faces in a copy of the picture with at most this longer side.",
        _FACES,
        metavar="PIXELS",
        at_least=64,
        at_most=2560,
    )
    jsonl: bool = declare(False, "Print one line of JSON per picture.", _ROWS)
    jsonl_file: Path | None = declare(
        None, "Write these lines to a file, each as soon as its picture is done.", _ROWS, metavar="FILE"
    )
    append: bool = declare(
        False,
        "Resume the file of --jsonl-file, or the folder of --engine ray: skip pictures that are in it already.",
        _ROWS,
    )
    parquet: str | None = declare(
        None,
        "Write a Parquet file with one row per face, for data frames. With --engine ray, a folder of such files.",
        _ROWS,
        metavar="FILE",
        writer=f"{_WRITERS}.parquet:ParquetWriter",
    )
    csv_raw: bool = declare(
        False,
        "Write all names unchanged into the --csv, even if a spreadsheet would run them as formulas.",
        _ROWS,
    )
    thumbnails: bool = declare(False, "Show small copies of the pictures in the --report, not only boxes.", _ROWS)
    engine: Engine = declare(
        "local",
        "ray distributes the pictures over Ray Data workers, here or on the cluster of $RAY_ADDRESS. PATH and "
        "--parquet may then be addresses such as s3://bucket/photos.",
        _ENGINE,
    )
    actors: int = declare(0, "Number of workers of --engine ray; 0: one per CPU.", _ENGINE, metavar="N", at_least=0)
    timeout: float = declare(
        60.0,
        "Skip a picture that takes longer to read, with the status timeout; 0 waits forever.",
        MACHINE,
        metavar="SECONDS",
        at_least=0,
    )

    @property
    def on_ray(self) -> bool:
        """Whether Ray Data runs the prediction."""
        return self.engine == "ray"


# The options that name a file of rows, and the class that writes it, as module:class.
TABLES: Final = {
    field.name: writer for field in dataclasses.fields(PredictSettings) if (writer := setting(field).writer) is not None
}
