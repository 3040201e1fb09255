"""Ctrl-C and SIGTERM, once or twice, at any time of a command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests.conftest import build_model
from tests.faults import Ended, command, ending, started, stuck_file, stuck_folder, wait_for_message

STOPS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
# Counts imports after the handlers are installed, and sends a signal at the import of a given number.
AT_IMPORT = """
import os, sys
from emotify import stopping
number, sent, count = int(sys.argv.pop(1)), int(sys.argv.pop(1)), 0
def watch(event, arguments):
    global count
    if event == "import" and "emotify.cli" in sys.modules:
        count += 1
        if count == number:
            os.kill(os.getpid(), sent)
sys.addaudithook(watch)
import atexit
atexit.register(lambda: print("IMPORTS", count, file=sys.stderr))
from emotify.__main__ import main
main()
"""


def check_stopped(ended: Ended, code: int) -> None:
    assert ended.code == code, ended
    assert "Traceback" not in ended.stderr
    assert "bug" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"error: {'interrupted' if code == 130 else 'terminated'}")


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Create three noise pictures."""
    folder = Path(tmp_path) / "pictures"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 48)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "times"),
    [
        (["predict", "PICTURES", "--csv", "faces.csv"], 24),
        (["evaluate", "default", "--data", "synthetic"], 8),
        (["train", "--data", "synthetic", "--epochs", "0"], 4),
    ],
    ids=["predict", "evaluate", "train"],
)
def test_a_signal_at_any_import_ends_the_command(words, times, pictures, tmp_path):
    """It prints one line without a traceback, even if a library raises another error. No crash log is written."""
    words = [str(pictures) if word == "PICTURES" else word for word in words]
    program = [sys.executable, "-c", AT_IMPORT]
    whole = command(0, 0, *words, program=program, cwd=tmp_path)
    imports = int(whole.stderr.split()[-1])
    assert imports > 200, whole.stderr
    for number in np.linspace(1, imports, times).astype(int).tolist():
        sent, code = STOPS[number % 2]
        ended = command(number, int(sent), *words, program=program, cwd=tmp_path)
        if ended.code != 0 or number < imports * 0.9:  # the last imports may happen while the command ends
            check_stopped(ended, code)
        for name in ("faces.csv", "runs"):
            shutil.rmtree(tmp_path / name, ignore_errors=True) if name == "runs" else (tmp_path / name).unlink(True)
        assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


WHILE_TRAINING = """
import os, sys
process, sent, first = os.getpid(), int(sys.argv[1]), sys.argv[2] == "first process"
if first:
    os.getpid = lambda: 1
from emotify.cli.console import Messages
from emotify.cli.progress import catching_signals
with catching_signals(Messages(), patient=not first) as stop:
    for _ in range(2):
        os.kill(process, sent)
    print("saved the state", int(stop.exit_code))
"""


@pytest.mark.parametrize("under", ["torchrun", "first process"])
@pytest.mark.parametrize(("sent", "code"), STOPS)
def test_a_second_signal_ends_a_training_except_under_torchrun(sent, code, under):
    """torchrun repeats the signal. The first process of a container handles signals itself, as the system does not."""
    ended = command(int(sent), under, program=[sys.executable, "-c", WHILE_TRAINING])
    assert ended.stderr == "stopping after this step and saving the state; press Ctrl-C again to end at once\n"
    expected = (0, f"saved the state {code}\n") if under == "torchrun" else (code, "")
    assert (ended.code, ended.stdout) == expected


IN_A_LIBRARY = """
import os, sys
import onnxruntime
sent, other = int(sys.argv.pop(1)), sys.argv.pop(1)
def run(*_, **__):
    try:
        if sent:
            os.kill(os.getpid(), sent)
        for _ in range(100): pass
    except KeyboardInterrupt:
        raise {"RuntimeError": RuntimeError, "KeyboardInterrupt": KeyboardInterrupt}[other]("replaced") from None
    raise KeyboardInterrupt
onnxruntime.InferenceSession.run = run
from emotify.cli import main
main()
"""


@pytest.mark.parametrize("other", ["RuntimeError", "KeyboardInterrupt"])
@pytest.mark.parametrize(("sent", "code"), STOPS)
def test_a_signal_is_not_lost_when_a_library_raises_another_error(sent, code, other, pictures, tmp_path):
    """Exit 130 or 143 with the hint how to resume, and no crash log."""
    program = [sys.executable, "-c", IN_A_LIBRARY]
    words = ("predict", pictures, "--jsonl-file", "faces.jsonl")
    ended = command(int(sent), other, *words, program=program, cwd=tmp_path)
    check_stopped(ended, code)
    assert ended.stderr.endswith("; resume with the same command and --append\n")
    assert not list(tmp_path.glob("*.log"))


def test_an_interrupt_that_a_library_raises_by_itself_is_reported(pictures):
    """It may have a handler of its own for Ctrl-C."""
    ended = command(0, "none", "predict", pictures, program=[sys.executable, "-c", IN_A_LIBRARY])
    assert (ended.code, ended.stderr.splitlines()[-1]) == (130, "error: interrupted")


IN_DESTRUCTOR = """
import os, sys, time
from emotify import stopping
stopping.handle_signals()
class Last:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
        for _ in range(100): pass
try:
    with stopping.raising_interrupts():
        Last()
        for _ in range(100): time.sleep(0.01)
        print("went on")
except stopping.Interrupted as stopped:
    print(stopped)
"""


@pytest.mark.parametrize(("sent", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_in_a_destructor_is_not_lost(sent, word):
    """Python prints an exception in a destructor, and continues."""
    ended = command(int(sent), program=[sys.executable, "-c", IN_DESTRUCTOR])
    assert (ended.stdout, ended.stderr) == (f"{word}\n", "")


def test_other_errors_in_a_destructor_are_printed_as_python_prints_them():
    program = (
        "from emotify import stopping\nstopping.handle_signals()\n"
        "class Last:\n    def __del__(self): raise ValueError('of a destructor')\n"
        "Last()\nprint('went on')"
    )
    ended = command(program=[sys.executable, "-c", program])
    assert (ended.code, ended.stdout) == (0, "went on\n")
    assert ended.stderr.splitlines()[-1] == "ValueError: of a destructor"


@pytest.mark.parametrize(("sent", "code"), STOPS)
def test_a_signal_ends_a_python_without_ctypes(sent, code):
    """Python may be built without libffi. Only a second signal in native code then waits."""
    program = (
        "import os, sys\nsys.modules['ctypes'] = None\n"
        "from emotify import stopping\nstopping.handle_signals()\n"
        f"os.kill(os.getpid(), {int(sent)})\nprint('went on')"
    )
    check_stopped(command(program=[sys.executable, "-c", program]), code)


@pytest.mark.parametrize(("sent", "code"), STOPS)
def test_a_hanging_read_is_reported_and_ends_at_the_first_signal(sent, code, pictures, tmp_path):
    """The disk of the second picture hangs. The output keeps the first row, and the error names --append."""
    lines = tmp_path / "out.jsonl"
    words = ["predict", pictures, "--faces", "whole", "--jsonl-file", lines, "--threads", "1"]
    with stuck_file(pictures / "1.png"), started(*words) as process:
        printed = wait_for_message(process, "still reading")
        assert f"still reading {pictures / '1.png'} after 10 s" in printed
        ended = ending(process, sent)
    check_stopped(ended, code)
    assert ended.seconds < 2
    assert "--append" in ended.stderr
    assert [json.loads(line)["path"] for line in lines.read_text().splitlines()] == [str(pictures / "0.png")]


def test_a_picture_that_takes_too_long_is_a_row_with_status_timeout(pictures):
    """Other pictures are predicted, and the process ends although the reading thread never ends."""
    words = ["predict", pictures, "--faces", "whole", "--jsonl", "--timeout", "1", "--threads", "2"]
    with stuck_file(pictures / "1.png"):
        ended = command(*words)
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [row["status"] for row in rows] == ["ok", "timeout", "ok"]
    assert "not read within 1 s" in rows[1]["message"]
    assert ended.code == 3


def test_a_hanging_folder_listing_ends_at_the_first_signal(tmp_path):
    """An unreachable server blocks the listing in the main thread."""
    with stuck_folder(tmp_path / "far"), started("predict", tmp_path / "far") as process:
        wait_for_message(process, f"still listing {tmp_path / 'far'} after 10 s")
        ended = ending(process, signal.SIGINT)
    check_stopped(ended, 130)
    assert ended.seconds < 3


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def slow_model(path: Path) -> Path:
    """Write a model that computes for seconds per face, in one call."""
    model = build_model()
    graph = model.graph
    rng = np.random.default_rng(0)
    graph.initializer.append(numpy_helper.from_array(rng.normal(0, 0.01, (512, 1, 9, 9)).astype(np.float32), "first"))
    graph.initializer.append(numpy_helper.from_array(rng.normal(0, 1e-4, (512, 512, 9, 9)).astype(np.float32), "w"))
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["floats", "first"], ["a0"], pads=[4] * 4),
        *(helper.make_node("Conv", [f"a{step}", "w"], [f"a{step + 1}"], pads=[4] * 4) for step in range(2)),
        helper.make_node("ReduceMean", ["a2"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        *graph.node[2:],
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    model.opset_import[0].version = 17
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(("sent", "code"), STOPS)
def test_a_second_signal_ends_the_process_inside_native_code(sent, code, pictures, tmp_path):
    """onnxruntime computes for seconds in one call. Python handles no signal during the call."""
    model = slow_model(tmp_path / "slow.onnx")
    for number in range(40):
        shutil.copy(pictures / "0.png", pictures / f"more{number}.png")
    words = ["predict", pictures, "--faces", "whole", "--model", model, "--threads", "1", "--csv", tmp_path / "a.csv"]
    with started(*words) as process:
        while (
            not list(tmp_path.glob(".emotify.*.tmp")) or cpu_seconds(process.pid) < 3
        ):  # the model is computing by then
            assert process.poll() is None, process.stderr
            time.sleep(0.05)
        process.send_signal(sent)
        time.sleep(0.5)
        assert process.poll() is None  # otherwise the test shows nothing
        ended = ending(process, sent)
    assert ended.code == -sent  # a shell reports 130 or 143
    assert code == 128 + sent
    assert ended.seconds < 1
    assert "Traceback" not in ended.stderr
