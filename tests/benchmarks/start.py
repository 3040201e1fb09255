"""How long emotify takes to start, as a ratio to scripts that import and run the same; each timed in turns.

python tests/benchmarks/start.py [--rounds 15]
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

from emotify.cpus import available_cpus
from emotify.data import Split
from emotify.data.synthetic import synthetic_splits
from emotify.prediction.session import find_model

IMPORTS = "import typer, rich"
RUN_ONCE = f"""
import sys
import numpy, onnxruntime
from PIL import Image
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {available_cpus()}
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
image = numpy.asarray(Image.open(sys.argv[2]).convert("L").resize((48, 48)))[None, None]
print(session.run(None, {{"images": image}})[0])
"""


def seconds(command: list[str]) -> float:
    """Return how long a command takes, as a whole process."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
    return time.perf_counter() - begun


def compare(name: str, command: list[str], baseline: list[str], rounds: int) -> None:
    """Time the two in turns and print the medians and the median ratio."""
    seconds(command), seconds(baseline)
    pairs = [(seconds(command), seconds(baseline)) for _ in range(rounds)]
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{name}: {1000 * ours:.0f} ms, baseline {1000 * theirs:.0f} ms, ratio {ratio:.2f}")


def main() -> None:
    """Print both ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    emotify = str(Path(sys.executable).with_name("emotify"))
    compare("emotify --help", [emotify, "--help"], [sys.executable, "-c", IMPORTS], rounds)
    with tempfile.TemporaryDirectory() as folder:
        from PIL import Image

        face = Path(folder) / "face.png"
        Image.fromarray(synthetic_splits(seed=0, counts=(7, 7, 7))[Split.TRAIN].images[3, 0]).save(face)
        model = str(find_model(None))
        command = [emotify, "predict", str(face), "--model", model]
        compare("emotify predict of one 48x48", command, [sys.executable, "-c", RUN_ONCE, model, str(face)], rounds)


if __name__ == "__main__":
    main()
