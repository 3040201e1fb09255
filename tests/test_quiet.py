"""Commands use no network, leave no files, and print only emotify's own output."""

from __future__ import annotations

import ast
import functools
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import emotify
from tests.faults import command

# Reports network calls of Python code. The address of a local socket is a path. strace logs those of native code.
WATCHED = """
import os, sys
def watch(event, arguments):
    if event.startswith("socket.get") or (event == "socket.connect" and isinstance(arguments[1], tuple)):
        os.write(2, f"NETWORK {event} {arguments}\\n".encode())
sys.addaudithook(watch)
"""
COMMAND = f"{WATCHED}\nfrom emotify.cli import main\nmain()"
WORKER = """
import multiprocessing
import emotify
label = "__import__('emotify').Predictor('fast').predict({path!r}).faces[0].label"
with multiprocessing.get_context("spawn").Pool(1) as pool:
    print(pool.apply(eval, ("__import__('onnxruntime').__name__",)), pool.apply(eval, (label,)))
"""
NOISE = re.compile(r"NETWORK|Traceback|Warning|matplotlib|joblib|nanobind|:onnxruntime:", re.IGNORECASE)


@functools.cache
def strace() -> list[str]:
    """Return the strace command that logs network calls to a file, or nothing when strace does not work."""
    words = ["strace", "-f", "-qq", "-e", "trace=network", "-o"]
    works = shutil.which("strace") and subprocess.run([*words, os.devnull, "true"], capture_output=True).returncode == 0
    return words if works else []


def check_quiet(folder: Path, code: str, *words: object, home: Path | None = None) -> str:
    """Run Python code in `folder` with an empty HOME and few environment variables; return its output."""
    folders = {name: folder / name for name in ("home", "temporary", "work")}
    for made in folders.values():
        made.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    calls = folder / "calls"
    result = subprocess.run(
        [*(strace() and [*strace(), str(calls)]), sys.executable, "-c", code, *map(str, words)],
        env={**kept, "HOME": str(home or folders["home"]), "TMPDIR": str(folders["temporary"])},
        cwd=folders["work"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert not NOISE.search(result.stderr + result.stdout), result.stderr
    assert not list(folders["home"].rglob("*"))
    # torch creates an empty folder for compiled code, even if it compiles nothing.
    assert {path.name.partition("_")[0] for path in folders["temporary"].iterdir()} <= {"torchinductor"}
    if strace():
        assert "AF_INET" not in calls.read_text()  # no connection to a host or a name server
    return result.stdout


@pytest.fixture
def picture(class_folder) -> Path:
    return Path(class_folder) / "happy" / "0.png"


@pytest.mark.parametrize("output", [["--json"], ["--csv", "faces.csv"], ["--report", "faces.html", "--thumbnails"]])
def test_predict_sends_nothing_and_leaves_no_files(output, picture, tmp_path):
    """This holds for `emotify predict` with each output format."""
    check_quiet(tmp_path, COMMAND, "predict", picture, *output)


def test_explain_leaves_no_font_cache(picture, tmp_path):
    """`emotify predict --explain` draws with Matplotlib, which would write a font cache."""
    check_quiet(tmp_path, COMMAND, "predict", picture, "--explain", "why")


def test_the_library_sends_nothing_and_leaves_no_files(picture, tmp_path):
    """This holds for `Predictor` in a worker process, and for a worker that imports onnxruntime itself."""
    label = check_quiet(tmp_path, WATCHED + WORKER.format(path=str(picture)))
    assert label.startswith("onnxruntime ")


@pytest.mark.slow
def test_training_sends_nothing_and_leaves_no_files(toy_csv, tmp_path):
    """`emotify train` runs with an exported file as teacher."""
    options = ["--model", "fnn", "--epochs", "1", "--batch-size", "7", "--distill", "fast"]
    check_quiet(tmp_path, COMMAND, "train", "--data", toy_csv, *options)


@pytest.mark.slow
def test_evaluation_sends_nothing_and_leaves_no_files(runs, tiny_csv, tmp_path):
    """`emotify evaluate --report` runs on a run and on an .onnx file."""
    check_quiet(tmp_path, COMMAND, "evaluate", runs[0], "fast", "--data", tiny_csv, "--report", "report")


@pytest.mark.slow
def test_ensemble_sends_nothing_and_leaves_no_files(runs, tiny_csv, tmp_path):
    """`emotify ensemble` combines two runs."""
    check_quiet(tmp_path, COMMAND, "ensemble", *runs, "--data", tiny_csv, "--out", "both")


@pytest.mark.slow
@pytest.mark.versions
def test_export_sends_nothing_and_leaves_no_files(runs, tiny_csv, tmp_path):
    """`emotify export --precision int8` uses onnxruntime's quantization."""
    check_quiet(tmp_path, COMMAND, "export", runs[0], "--data", tiny_csv, "--out", "m.onnx", "--precision", "int8")


def test_figures_are_drawn_without_a_writable_home(tmp_path):
    """Matplotlib would print a warning, so emotify gives it a temporary folder."""
    code = "from emotify.reports import figures\nfigures.figure_bytes(figures.new_figure(width=1, height=1), 'png')"
    check_quiet(tmp_path, code, home=Path(os.devnull) / "nowhere")


def test_the_environment_cannot_turn_telemetry_on(monkeypatch):
    """emotify overwrites the environment variable of onnxruntime."""
    code = "import os, emotify; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_stderr_lines_of_other_code_are_kept():
    """Only onnxruntime's own lines are removed from stderr."""
    code = (
        "import os\nfrom emotify.stderr import without_lines\n"
        "with without_lines(b':onnxruntime:'):\n"
        "    os.write(2, b'\\x1b[0;93m2026-01-01 [W:onnxruntime:Default, device_discovery.cc:322] no GPU\\x1b[m\\n')\n"
        "    os.write(2, b'of another thread\\n')\n"
        "os.write(2, b'after\\n')"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert shown == "of another thread\nafter\n" or sys.platform != "linux"


def test_a_closed_stderr_does_not_prevent_filtering_it():
    """Some services start a process without stdin and stderr."""
    code = "from emotify.stderr import without_lines\nwith without_lines(b'x'):\n    print('done')"
    shown = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" <&- 2>&-', sys.executable, code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "done\n"


@pytest.mark.parametrize(("loaded", "shown"), [(True, "before\n"), (False, "before\nleaks\n")])
def test_reports_of_triton_at_exit_are_dropped(loaded, shown):
    """Its library writes them to stderr after Python has ended. Without Triton, stderr stays open."""
    code = (
        "import os, sys, types\nfrom emotify.stderr import drop_leak_reports\n"
        f"if {loaded}: sys.modules['triton'] = types.ModuleType('triton')\n"
        "print('before', file=sys.stderr)\ndrop_leak_reports()\nos.write(2, b'leaks\\n')"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr == shown


def imports_of(path: Path) -> list[tuple[str, str]]:
    """Return the packages that a file imports, each with the statement before the import."""
    found = []
    for parent in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(parent, ast.If) and ast.unparse(parent.test) == "TYPE_CHECKING":
            continue
        body = getattr(parent, "body", [])
        for before, statement in zip([None, *body], body, strict=False) if isinstance(body, list) else []:
            names = [alias.name for alias in statement.names] if isinstance(statement, ast.Import) else []
            names += [statement.module or ""] if isinstance(statement, ast.ImportFrom) else []
            found += [(name.partition(".")[0], ast.unparse(before) if before else "") for name in names]
    return found


def test_noisy_libraries_are_imported_in_one_place():
    """onnxruntime and Matplotlib are imported only where their output is suppressed; scikit-learn is not imported."""
    package = Path(emotify.__file__).parent
    places = {
        "onnxruntime": "onnx_runtime/importing.py",
        "matplotlib": "reports/drawing.py",
        "sklearn": "",
        "joblib": "",
    }
    for path in sorted(package.rglob("*.py")):
        for name, before in imports_of(path):
            place = path.relative_to(package).as_posix()
            assert places.get(name, place) == place or before == "import_onnxruntime()", (place, name)


def test_picture_decoders_write_nothing_to_stderr(tmp_path):
    """Messages of libtiff go to the picture's row and not to standard error."""
    random.seed(0)
    drawn = Image.fromarray(np.add.outer(np.arange(96), np.arange(96)).astype(np.uint8)).convert("RGB")
    kinds: list[tuple[str, str, dict[str, str]]] = [
        ("RGB", "TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")
    ]
    kinds += [("1", "TIFF", {"compression": "group4"})]
    kinds += [("RGB", kind, {}) for kind in ("PNG", "WEBP", "JPEG", "GIF", "AVIF")]
    for number, (mode, kind, options) in enumerate(kinds):
        drawn.convert(mode).save(buffer := io.BytesIO(), kind, **options)
        for copy in range(40):
            damaged = bytearray(buffer.getvalue())
            for _ in range(random.randint(1, 8)):
                damaged[random.randrange(8, len(damaged))] = random.randrange(256)
            (tmp_path / f"{number}-{copy:02}.png").write_bytes(damaged)
    ended = command("predict", tmp_path, "-q", "--jsonl", "--faces", "whole", "--threads", "4")
    assert re.fullmatch(r"\d+ of 400 pictures could not be read: .*\n", ended.stderr)
    messages = [json.loads(line).get("message", "") for line in ended.stdout.splitlines()]
    assert len(messages) == 400
    assert sum("scanline" in message or "code not yet in table" in message for message in messages) > 20
