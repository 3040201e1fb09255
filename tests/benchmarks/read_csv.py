"""Time emotify's csv reader against pandas', in turns, on the challenge's own file.

    python tests/benchmarks/read_csv.py --csv fer2013.csv

Each reading runs in a new process, so that its peak memory is its own. Only this script needs pandas.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read_with_emotify(path: Path) -> list[NDArray[np.uint8]]:
    from emotify.data.archives import open_csv
    from emotify.data.fer2013 import COLUMNS, read_fer2013

    with open_csv(path, COLUMNS) as stream:
        return [images.images for images in read_fer2013(stream, str(path)).values()]


def read_dataset_with_emotify(path: Path) -> list[NDArray[np.uint8]]:
    """Read as a command does, including the search for duplicates and blank images."""
    from emotify.data import read_dataset

    return [images.images for images in read_dataset(path).splits.values()]


def read_with_pandas(path: Path) -> list[NDArray[np.uint8]]:
    pandas = importlib.import_module("pandas")  # so mypy wants no types of what need not be there
    rows = pandas.read_csv(path)["pixels"]
    return [np.stack([np.fromstring(row, dtype=np.uint8, sep=" ") for row in rows])]


READERS: dict[str, Callable[[Path], list[NDArray[np.uint8]]]] = {
    "pandas": read_with_pandas,
    "emotify": read_with_emotify,
    "read_dataset": read_dataset_with_emotify,
}


def measure(reader: str, path: Path) -> None:
    start = time.perf_counter()
    images = READERS[reader](path)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pixels = int(sum(part.sum(dtype=np.int64) for part in images))
    print(json.dumps({"seconds": seconds, "peak": peak, "rows": sum(map(len, images)), "sum": pixels}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader:
        measure(options.reader, options.csv)
        return
    seconds: dict[str, list[float]] = {reader: [] for reader in READERS}
    for turn in range(options.turns):
        for reader in READERS:
            command = [sys.executable, __file__, "--csv", str(options.csv), "--reader", reader]
            result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            seconds[reader].append(result["seconds"])
            facts = f"{result['rows']:,} rows, peak {result['peak']:.0f} MB, sum of pixels {result['sum']:,}"
            print(f"turn {turn + 1}  {reader:<12}  {result['seconds']:6.2f} s  {facts}")
    pandas = statistics.median(seconds.pop("pandas"))
    for reader, times in seconds.items():
        print(f"{reader} takes {statistics.median(times) / pandas:.2f} of pandas' time (medians)")


if __name__ == "__main__":
    main()
