"""The command line of scripts that score runs on the images of `valid` with a majority of FER+'s votes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from emotify.arrays import Int64Array, UInt8Array
from emotify.choices import Split
from emotify.data import read_dataset
from emotify.evaluation.crowd import crowd_labels


class Valid(NamedTuple):
    """Images, uint8 (N, 1, 48, 48), with FER-2013's labels (N,) and the majorities (N,)."""

    images: UInt8Array
    labels: Int64Array
    majority: Int64Array


def read_command_line(description: str | None) -> tuple[list[Path], Valid]:
    """Return the runs and the images that the command line names."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--ferplus", required=True, type=Path)
    given = parser.parse_args()
    valid = read_dataset(given.data, ferplus=given.ferplus).splits[Split.VALID]
    assert valid.votes is not None
    majority = crowd_labels(valid.votes)
    agreed = majority >= 0
    return given.runs, Valid(valid.images[agreed], valid.labels[agreed], majority[agreed])
