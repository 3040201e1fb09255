"""Time `emotify predict --jsonl` on many small pictures against a bare loop, as whole processes in turns.

    python tests/benchmarks/predict.py [--model fast.onnx] [--pictures 10000] [--rounds 5] [--many 100000]

The bare loop decodes with Pillow and runs the same file in onnxruntime, in batches and with the same number of threads.
It prints a path and a label, and checks nothing. The printed ratio is emotify's speed over its speed. At the end come
the time to the first line, and the memory for --many pictures compared with 1,000 pictures.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from emotify.data import Split
from emotify.data.synthetic import synthetic_splits
from emotify.machine import available_cpus
from emotify.opening import packaged_models

BARE_LOOP = """
import sys
from pathlib import Path
import numpy, onnxruntime
from PIL import Image
model, folder, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
paths = sorted(Path(folder).iterdir())
for start in range(0, len(paths), 64):
    batch = paths[start : start + 64]
    images = numpy.stack([numpy.asarray(Image.open(path).convert("L")) for path in batch])[:, None]
    for path, label in zip(batch, session.run(None, {"images": images})[0].argmax(1)):
        print(path, label)
"""
WITH_PEAK = """
import sys
from emotify.cli import app
try:
    app()
finally:
    print(*(line for line in open("/proc/self/status") if "VmHWM" in line), file=sys.stderr)
"""
DRAWN = 700  # different pictures; the others are links to them


def make_pictures(folder: Path, count: int) -> None:
    """Fill `folder` with `count` drawn faces of 48x48 pixels as PNG files, most of them hard links."""
    from PIL import Image

    images = synthetic_splits(seed=0, counts=(DRAWN, 7, 7))[Split.TRAIN].images
    for number in range(count):
        path = folder / f"{number:06}.png"
        if number < len(images):
            Image.fromarray(images[number, 0]).save(path)
        else:
            path.hardlink_to(folder / f"{number % len(images):06}.png")


def seconds(command: list[str], lines: int) -> float:
    """Return the duration of a command as a whole process, and check its number of output lines."""
    begun = time.perf_counter()
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    taken = time.perf_counter() - begun
    assert printed.count(b"\n") == lines
    return taken


def first_line(command: list[str]) -> float:
    """Return the time until a command has printed a line."""
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        taken = time.perf_counter() - begun
        process.kill()
    return taken


def peak(words: list[str]) -> float:
    """Return the peak memory of an emotify command in MB, as the process itself reports it on Linux."""
    shown = subprocess.run([sys.executable, "-c", WITH_PEAK, *words, "-q"], check=True, capture_output=True).stderr
    return int(shown.split()[1]) / 1024


def compare_memory(count: int, options: list[str]) -> None:
    """Print the memory for `count` pictures, and the difference from 1,000 pictures."""
    with tempfile.TemporaryDirectory() as few, tempfile.TemporaryDirectory() as many:
        make_pictures(Path(few), 1000)
        make_pictures(Path(many), count)
        baseline, most = (peak(["predict", folder, *options]) for folder in (few, many))
    print(f"{count:,} pictures: {most:.0f} MB, {most - baseline:.0f} over 1,000 pictures")


def main() -> None:
    """Print the speeds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=packaged_models()["default"])
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="pictures of your own, 48x48, instead of drawn ones")
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--many", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as drawn:
        folder = options.folder or Path(drawn)
        if not options.folder:
            make_pictures(folder, options.pictures)
        count, model, threads = len(os.listdir(folder)), str(options.model), str(options.threads)  # noqa: PTH208
        words = ["--model", model, "--faces", "whole", "--jsonl", "--threads", threads]
        emotify = [sys.executable, "-m", "emotify", "predict", str(folder), *words]
        bare = [sys.executable, "-c", BARE_LOOP, model, str(folder), threads]
        pairs = []
        for number in range(options.rounds):
            pairs.append((seconds(emotify, count), seconds(bare, count)))
            ours, theirs = (count / taken for taken in pairs[-1])
            print(f"turn {number + 1}: emotify {ours:,.0f} pictures/s, bare loop {theirs:,.0f}, {ours / theirs:.2f} x")
        ratio = statistics.median(theirs / ours for ours, theirs in pairs)
        print(f"{count:,} pictures, {threads} threads, {options.model.name}: {ratio:.2f} x the bare loop (median)")
        print(f"first line after {first_line(emotify):.2f} s")
        compare_memory(options.many, words)


if __name__ == "__main__":
    main()
