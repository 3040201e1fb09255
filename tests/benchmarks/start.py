"""Time the start of emotify against scripts that import and run the same libraries, in turns.

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

from PIL import Image

from emotify.data import Split
from emotify.data.synthetic import synthetic_splits
from emotify.detection.detector import PACKAGED
from emotify.machine import available_cpus
from emotify.opening import packaged_models

IMPORTS = "import typer, rich"
RUN_ONCE = f"""
import sys
import numpy, onnxruntime
from PIL import Image
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {available_cpus()}
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
picture = Image.open(sys.argv[2])
for detector in sys.argv[3:]:
    finder = onnxruntime.InferenceSession(detector, providers=["CPUExecutionProvider"])
    view = numpy.asarray(picture.convert("RGB").resize((192, 192)), numpy.float32).transpose(2, 0, 1)[None] / 255
    for views in (2, 1):
        finder.run(None, {{"input": numpy.repeat(view, views, 0)}})
image = numpy.asarray(picture.convert("L").resize((48, 48)))[None, None]
print(session.run(None, {{"images": image}})[0])
"""
SAMPLE = Path(__file__).parents[2] / "samples" / "happy.jpg"  # a picture in which a face is to be found


def seconds(command: list[str]) -> float:
    """Return the duration of a command as a whole process."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
    return time.perf_counter() - begun


def compare(name: str, command: list[str], baseline: list[str], rounds: int) -> None:
    """Time both commands in turns, and print the medians and the median ratio."""
    seconds(command), seconds(baseline)
    pairs = [(seconds(command), seconds(baseline)) for _ in range(rounds)]
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{name}: {1000 * ours:.0f} ms, baseline {1000 * theirs:.0f} ms, ratio {ratio:.2f}")


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    emotify = [sys.executable, "-m", "emotify"]
    compare("emotify --help", [*emotify, "--help"], [sys.executable, "-c", IMPORTS], rounds)
    model = str(packaged_models()["default"])
    with tempfile.TemporaryDirectory() as folder:
        face, named = Path(folder) / "face.png", Path(folder) / "happy" / "face.png"
        named.parent.mkdir()
        for path in (face, named):
            Image.fromarray(synthetic_splits(seed=0, counts=(7, 7, 7))[Split.TRAIN].images[3, 0]).save(path)
        for what, path in (("one 48x48", face), ("one 48x48 in happy/", named)):
            bare = [sys.executable, "-c", RUN_ONCE, model, str(path)]
            compare(f"emotify predict of {what}", [*emotify, "predict", str(path), "--model", model], bare, rounds)
    bare = [sys.executable, "-c", RUN_ONCE, model, str(SAMPLE), str(PACKAGED)]
    compare("emotify predict of a sample", [*emotify, "predict", str(SAMPLE), "--model", model], bare, rounds)


if __name__ == "__main__":
    main()
