"""Time model files in onnxruntime alone, in turns, without reading or decoding pictures.

    python tests/benchmarks/classify.py fast.onnx model.onnx [--threads 2] [--images 2048] [--turns 5]

Prints faces per second of each file (median of the turns), and the ratio to the first file in each turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from emotify.data import Split
from emotify.data.synthetic import synthetic_splits
from emotify.machine import available_cpus
from emotify.onnx_runtime.classifier import open_session

DRAWN = 700  # different images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    drawn = synthetic_splits(seed=0, counts=(DRAWN, 7, 7))[Split.TRAIN].images
    images = np.resize(drawn, (given.images, *drawn.shape[1:]))
    sessions = [open_session(path, threads=given.threads) for path in given.models]
    for session in sessions:
        session.probabilities(images[:64])
    turns: list[list[float]] = []
    for _ in range(given.turns):
        turns.append([])
        for session in sessions:
            begun = time.perf_counter()
            session.probabilities(images)
            turns[-1].append(len(images) / (time.perf_counter() - begun))
    for place, path in enumerate(given.models):
        rates = [turn[place] for turn in turns]
        ratios = [turn[place] / turn[0] for turn in turns]
        print(
            f"{path.name}: {statistics.median(rates):.0f} faces/s ({min(rates):.0f} to {max(rates):.0f}), "
            f"{statistics.median(ratios):.2f} times {given.models[0].name} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
