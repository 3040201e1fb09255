"""Measure speed, start-up and memory of the engines of docs/scale.md, on hard links of drawn faces.

python tests/benchmarks/scale.py engines --files 20000
python tests/benchmarks/scale.py growth --files 1000 10000 100000
python tests/benchmarks/scale.py stages --photos ../shared/photos
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from emotify.data import Split
from emotify.data.synthetic import synthetic_splits
from emotify.machine import describe_cpu

EMOTIFY = [sys.executable, "-m", "emotify", "predict", "-q", "--model", "fast"]
FEW = 100  # files, of which the time is that of starting


def link_faces(folder: Path, count: int) -> Path:
    """Return a folder of pictures, 1,000 per subfolder: 70 drawn faces with many hard links."""
    faces = synthetic_splits(seed=0, counts=(70, 70, 70))[Split.VALID].images
    originals = folder / "originals"
    originals.mkdir(exist_ok=True)
    for number, face in enumerate(faces):
        Image.fromarray(face[0]).save(originals / f"{number}.png")
    made = folder / str(count)
    for number in range(count):
        below = made / f"{number // 1000:04d}"
        below.mkdir(parents=True, exist_ok=True)
        os.link(originals / f"{number % len(faces)}.png", below / f"{number:07d}.png")
    return made


class Process(NamedTuple):
    """The name, memory and CPU time of a process."""

    name: str
    memory: int  # resident bytes
    cpu: float  # seconds


def processes(root: int) -> dict[int, Process]:
    """Return a process and all its descendants by process id."""
    parents: dict[int, int] = {}
    found: dict[int, Process] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            name = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:100]
        except OSError:
            continue
        parents[int(place.name)] = int(fields[1])
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        found[int(place.name)] = Process(name, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), cpu)
    below = {root}
    while more := {process for process, parent in parents.items() if parent in below} - below:
        below |= more
    return {process: found[process] for process in below if process in found}


def run(command: list[str], *names: str) -> list[float]:
    """Return the seconds and CPU seconds of a command, and for each name the peak MB of a process with this name."""
    peaks, cpu, ended = dict.fromkeys(names, 0), dict[int, float](), threading.Event()
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def watch() -> None:
        while not ended.wait(0.2):
            for number, seen in processes(process.pid).items():
                cpu[number] = seen.cpu
                for name in names:
                    peaks[name] = max(peaks[name], seen.memory if name in seen.name else 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, told = process.communicate()
    seconds = time.perf_counter() - start
    ended.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(told.decode())
    return [seconds, sum(cpu.values()), *(peak / 1e6 for peak in peaks.values())]


SPARK = """
import sys
import pandas as pd
from pyspark.sql import SparkSession
code = open(sys.argv[1]).read().split("<!-- spark -->")[1].split("```python")[1].split("```")[0]
code = code.replace("photos/", sys.argv[2]).replace("rows/", sys.argv[3])
code = code.replace("Predictor(threads=1)", "Predictor('fast', threads=1)")
exec(code)
"""


def commands(folder: Path, out: Path) -> dict[str, tuple[list[str], str]]:
    """Return the command of each engine, and a text in the names of its workers."""
    ray = [*EMOTIFY, str(folder), "--engine", "ray", "--parquet", str(out / "ray"), "--force", "--actors"]
    here = [*EMOTIFY, str(folder), "--parquet", str(out / "here.parquet"), "--force", "--threads"]
    page = Path(__file__).parents[2] / "docs" / "scale.md"
    spark = [sys.executable, "-c", SPARK, str(page), f"{folder}/", str(out / "spark")]
    return {
        "local, 1 thread": ([*here, "1"], "emotify"),
        "local, 2 threads": ([*here, "2"], "emotify"),
        "Ray, 1 worker": ([*ray, "1"], "ray::MapWorker"),
        "Ray, 2 workers": ([*ray, "2"], "ray::MapWorker"),
        "Spark, local[*]": (spark, "pyspark.daemon"),
    }


def engines(folder: Path, files: int) -> None:
    """Print speed, start and memory of each engine. Each is timed with few files and with all, in turns."""
    few, many = link_faces(folder, FEW), link_faces(folder, files)
    measured: dict[str, list[list[float]]] = {}
    for pictures in (few, many):
        for name, (command, worker) in commands(pictures, folder).items():
            shutil.rmtree(folder / "spark", ignore_errors=True)
            measured.setdefault(name, []).append(run(command, worker))
    print("| engine | pictures/s | CPU ms a picture | start, s | start, CPU s | MB of a worker |")
    print("|---|---|---|---|---|---|")
    for name, (short, long) in measured.items():
        seconds, cpu = ((long[index] - short[index]) / (files - FEW) for index in (0, 1))
        starts = f"{short[0] - FEW * seconds:.1f} | {short[1] - FEW * cpu:.1f}"
        print(f"| {name} | {1 / seconds:,.0f} | {1000 * cpu:.2f} | {starts} | {long[2]:,.0f} |")


def growth(folder: Path, counts: list[int]) -> None:
    """Print time and memory of the local engine and of Ray with one worker, for several numbers of files."""
    print("| files | engine | s | CPU ms a picture | MB of the command | of a worker | of the process that lists |")
    print("|---|---|---|---|---|---|---|")
    for count in counts:
        made = link_faces(folder, count)
        for name in ("local, 1 thread", "Ray, 1 worker"):
            command, worker = commands(made, folder)[name]
            seconds, cpu, *memory = run(command, "emotify", worker, "ray::MapBatches(list", "ray::IDLE")
            cells = " | ".join(f"{size:,.0f}" for size in (*memory[:2], max(memory[2:])))
            print(f"| {count:,} | {name} | {seconds:.1f} | {1000 * cpu / count:.2f} | {cells} |", flush=True)
        shutil.rmtree(made)


def stages(photos: Path) -> None:
    """Print the CPU time per photograph for decoding, finding faces and classifying, and the size of the files."""
    import numpy as np

    from emotify.detection.detector import DEFAULT_SEARCH, load_detector
    from emotify.onnx_runtime.classifier import open_session
    from emotify.opening import resolve
    from emotify.pictures.reading import Picture, read_picture
    from emotify.prediction.crops import classifier_input, find_faces

    detector, session = load_detector(None, threads=1), open_session(resolve("default").path, threads=1, device="cpu")
    paths = sorted(path for path in photos.rglob("*.jpg"))[:200]
    spent: dict[str, list[float]] = {"decoding": [], "finding faces": [], "classifying": []}
    faces = 0
    for path in paths:
        begun = time.process_time()
        picture = read_picture(path.read_bytes(), enough_side=DEFAULT_SEARCH.enough_side)
        decoded = time.process_time()
        if not isinstance(picture, Picture):
            continue
        found = find_faces(picture, "detect", lambda: detector)
        crops = [classifier_input(picture, face.square) for face in found]
        detected = time.process_time()
        if crops:
            session.probabilities(np.stack(crops)[:, None])
        faces += len(crops)
        for name, seconds in zip(
            spent, (decoded - begun, detected - decoded, time.process_time() - detected), strict=True
        ):
            spent[name].append(1000 * seconds)
    sizes = [path.stat().st_size / 1e6 for path in paths]
    print(f"{len(paths)} photographs of {statistics.mean(sizes):.2f} MB, {faces / len(paths):.1f} faces each")
    for name, times in spent.items():
        print(f"| {name} | {statistics.mean(times):.1f} ms |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("engines", "growth", "stages"))
    parser.add_argument("--files", type=int, nargs="+", default=[20_000])
    parser.add_argument("--photos", type=Path)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    print(f"{describe_cpu()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as place:
        if options.what == "engines":
            engines(Path(place), options.files[0])
        elif options.what == "growth":
            growth(Path(place), options.files)
        else:
            stages(options.photos)


if __name__ == "__main__":
    main()
