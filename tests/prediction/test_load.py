"""Memory and speed with very many pictures and very large pictures.

EMOTIFY_LOAD sets the number of files in the longest test. `pytest -s` prints its measurements.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emotify.onnx_runtime.classifier import open_session

FILES = int(os.environ.get("EMOTIFY_LOAD", "10000"))
PREDICT = [sys.executable, "-m", "emotify", "predict"]


def links(folder: Path, count: int, *sources: Path) -> Path:
    """Fill a folder with hard links to the sources in turn, because file systems limit the links to one file."""
    folder.mkdir()
    for number, source in zip(range(count), itertools.cycle(sources), strict=False):
        os.link(source, folder / f"{number:06}{source.suffix}")
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> list[Path]:
    """Create four different pictures of 48x48 pixels."""
    folder = Path(tmp_path_factory.mktemp("sources"))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 48, 48)).astype(np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def measured(*words: object) -> tuple[list[str], int, float]:
    """Run predict in its own process; return the printed lines, the peak memory in kB, and the seconds."""
    # The process reads its own peak. The peak that the system reports to the parent includes the parent's memory.
    code = (
        "import sys\nfrom emotify.cli import app\n"
        "try: app()\n"
        "finally: print(*(line for line in open('/proc/self/status') if 'VmHWM' in line), file=sys.stderr)"
    )
    begun = time.perf_counter()
    command = [sys.executable, "-c", code, "predict", *map(str, words), "--jsonl", "-q"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    return shown.stdout.splitlines(), int(shown.stderr.partition("VmHWM:")[2].split()[0]), time.perf_counter() - begun


def test_memory_does_not_grow_with_the_number_of_files(sources, small_model, tmp_path):
    """Every file is read, in sorted order, with at most 64 MB more memory than for 100 files."""
    few, many = links(tmp_path / "few", 100, *sources), links(tmp_path / "many", FILES, *sources)
    options = ("--model", small_model, "--faces", "whole")
    _, baseline, _ = measured(few, *options)
    lines, peak, seconds = measured(many, *options)
    assert [json.loads(line)["path"] for line in lines] == [str(many / name) for name in sorted(os.listdir(many))]  # noqa: PTH208
    print(  # noqa: T201 - the test reports its measurements
        f"{FILES:,} files: {peak / 1024:.0f} MB, {(peak - baseline) / 1024:.0f} over 100 files, {seconds:.0f} s"
    )
    assert peak - baseline < 64 * 1024


def test_each_thread_holds_only_one_large_picture(small_model, tmp_path):
    """8 threads read JPEG files of 12 megapixels in less than 1 GB."""
    rows, columns = np.mgrid[0:3000, 0:4000]
    Image.fromarray((rows + columns).astype(np.uint8)).convert("RGB").save(tmp_path / "large.jpg")
    folder = links(tmp_path / "many", 12, tmp_path / "large.jpg")
    lines, peak, _ = measured(folder, "--model", small_model, "--faces", "whole", "--threads", 8)
    assert len(lines) == 12
    assert peak < 1_000_000


@pytest.mark.parametrize("lines", [0, 1])
def test_a_reader_that_closes_the_pipe_ends_the_command(lines, sources, small_model, tmp_path):
    """If a slow reader closes the pipe, the command soon ends with exit code 0 and without a traceback."""
    folder = links(tmp_path / "many", 3000, *sources)
    command = [*PREDICT, str(folder), "--model", str(small_model), "--jsonl", "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()  # the command is running; its pipe now fills up
        time.sleep(0.3)
        for _ in range(lines):
            process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_the_first_line_does_not_wait_for_the_second_picture(sources, small_model):
    """Python buffers output to a pipe, but the first line is flushed. Here the second picture never arrives."""
    code = (
        "import os, sys\nfrom emotify import Predictor\nfrom emotify.cli.console import print_json_line\n"
        f"pictures = [{str(sources[0])!r}, os.fdopen(os.pipe()[0], 'rb')]\n"
        f"for result in Predictor({str(small_model)!r}, threads=2).predict(pictures, waiting=sys.stdout.flush):\n"
        "    print_json_line(result.to_dict())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["path"] == str(sources[0])
        process.kill()


def test_a_thousand_calls_do_not_grow_memory_or_open_files(small_model):
    """Memory grows by less than 5 MB, and the number of open files does not change."""
    session = open_session(small_model, threads=1)
    images = np.zeros((64, 1, 48, 48), np.uint8)

    def state() -> tuple[int, int]:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE"), len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(50):
        session.probabilities(images)
    before = state()
    for _ in range(1000):
        session.probabilities(images)
    after = state()
    assert after[0] - before[0] < 5 * 2**20
    assert after[1] == before[1]


def test_two_commands_on_one_cpu_print_no_warning(sources, small_model, tmp_path):
    """Without --threads, onnxruntime prints no warning about CPUs that the process may not use. Both answers agree."""
    folder = links(tmp_path / "some", 50, *sources)
    cpu = min(os.sched_getaffinity(0))
    code = f"import os, sys; os.sched_setaffinity(0, [{cpu}]); from emotify.cli import main; main()"
    command = [sys.executable, "-c", code, "predict", str(folder), "--model", str(small_model), "--jsonl", "-q"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers[0] == answers[1]
    assert answers[0][1] == ""


def test_threads_sets_the_size_of_every_thread_pool(sources, small_model, tmp_path):
    """--threads 4 gives three more reading threads and three more onnxruntime threads than --threads 1."""
    folder = links(tmp_path / "some", 300, *sources)
    code = (
        "import os, sys\nfrom emotify import Predictor, find_pictures\n"
        f"predictor = Predictor({str(small_model)!r}, threads=int(sys.argv[1]))\n"
        "idle = len(os.listdir('/proc/self/task'))\n"
        f"most = max(len(os.listdir('/proc/self/task')) for _ in predictor.predict(find_pictures({str(folder)!r})))\n"
        "print(idle, most - idle)"
    )
    idle, reading = zip(*(map(int, _output(code, threads).split()) for threads in (1, 4)), strict=True)
    assert idle[1] - idle[0] == 3
    assert reading == (1, 4)


def _output(code: str, *words: object) -> str:
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


SIDE = 7000  # pixels; just below the size limit
LARGE: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "int32.tif": ("I", 70_000, {"compression": "tiff_deflate"}),
    "float.tif": ("F", 0.5, {"compression": "tiff_deflate"}),
    "rgba.webp": ("RGBA", (9, 8, 7, 100), {"lossless": True, "method": 0, "quality": 0}),
    "rgba.png": ("RGBA", (9, 8, 7, 100), {}),
    "la.png": ("LA", (9, 100), {}),
    "cmyk.jpg": ("CMYK", (9, 8, 7, 100), {}),
    "grey16.png": ("I;16", 3000, {}),
    "rgb.avif": ("RGB", (9, 8, 7), {"speed": 10}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_memory_of_all_threads_is_bounded(name, small_model, tmp_path):
    """Eight threads read four pictures of 49 megapixels in less than 1 GB."""
    mode, colour, options = LARGE[name]
    Image.new(mode, (SIDE, SIDE), colour).save(tmp_path / name, **options)
    words = [*[tmp_path / name] * 4, "--model", small_model, "--faces", "detect", "--threads", "8"]
    lines, kilobytes, _ = measured(*words)
    print(f"\n{name}: {kilobytes / 1000:.0f} MB")  # noqa: T201 - the test reports its measurement
    assert [json.loads(line)["status"] for line in lines] == ["ok"] * 4
    assert kilobytes < 1_000_000
