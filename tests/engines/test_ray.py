"""`emotify predict --engine ray` gives the same rows as the command on one machine, also after failures."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from emotify.cli import app
from emotify.cli.predict.inputs import Inputs
from emotify.cli.predict.ray import make_job
from emotify.engines.ray_job import share_of_gpu
from emotify.engines.ray_worker import Job
from emotify.prediction.summary import Summary

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='needs pip install "ray[data]"')
_EMOTIFY = [sys.executable, "-m", "emotify", "predict"]
_NO_RAY = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ray":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from emotify.cli import main
main()
"""


@pytest.fixture
def pictures(class_folder: Path, tmp_path: Path) -> Path:
    """Create faces in class folders, a truncated and an empty file, and a folder and a pipe named like pictures."""
    folder = tmp_path / "pictures"
    shutil.copytree(class_folder, folder)
    (folder / "happy" / "cut.png").write_bytes(next(folder.rglob("*.png")).read_bytes()[:60])
    (folder / "sad" / "empty.jpg").write_bytes(b"")
    (folder / "sad" / "folder.png").mkdir()
    (folder / "sad" / "notes.txt").write_text("no picture")
    os.mkfifo(folder / "angry" / "pipe.png")
    return folder


def read_rows(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(path).to_pylist()
    return sorted(rows, key=lambda row: (str(row["path"]), str(row["face"])))


def predict(*words: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*_EMOTIFY, *map(str, words)]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=240, check=False
    )


@needs_ray
@pytest.mark.slow
def test_ray_writes_the_same_rows_as_the_command_on_one_machine(pictures, small_model, tmp_path):
    """Rows, counts, scores and exit code are equal. No extra files remain in HOME, /tmp or the output folder."""
    home = tmp_path / "home"
    home.mkdir()
    before = set(Path("/tmp").glob("emotify-ray-*"))
    options = ("pictures", "--model", small_model, "--min-confidence", "0.5", "--top", "2")
    here = predict(*options, "--parquet", "rows.parquet", folder=tmp_path)
    ray = predict(*options, "--engine", "ray", "--parquet", "rows", folder=tmp_path, HOME=str(home))
    assert (here.returncode, ray.returncode) == (3, 3), ray.stderr
    assert read_rows(tmp_path / "rows") == read_rows(tmp_path / "rows.parquet")
    differing = (
        r"[\d.]+ s, .* a second|(?m:^predicting: .*\n)"  # times, and progress lines that are printed after some time
    )
    assert re.sub(differing, "", ray.stderr).splitlines() == [
        line.replace("rows.parquet", "rows")
        for line in re.sub(differing, "", here.stderr).splitlines()
        if not line.startswith("pictures/")  # with Ray, messages about single pictures are not printed
    ]
    assert "accuracy against the folders' names" in ray.stderr
    assert [path.name for path in home.rglob("*")] == []
    assert set(Path("/tmp").glob("emotify-ray-*")) == before
    assert {path.name for path in (tmp_path / "rows").iterdir() if not path.name.startswith("part-")} == {
        "_job.json",
        "_lock",
    }


@needs_ray
@pytest.mark.slow
def test_a_killed_job_resumes_without_lost_or_repeated_rows(class_folder, small_model, tmp_path):
    """The command is killed twice with kill -9. Then --append finishes the folder, and then finds it complete."""
    folder, out = tmp_path / "many", tmp_path / "rows"
    originals = sorted(class_folder.rglob("*.png"))
    folder.mkdir()
    for number in range(1500):
        (folder / f"{number:05d}.png").hardlink_to(originals[number % len(originals)])
    command = [*_EMOTIFY, str(folder), "--model", str(small_model), "--engine", "ray", "--parquet", str(out)]
    for parts in (3, 20):
        with subprocess.Popen([*command, "--append"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 120
            while len(list(out.glob("part-*"))) < parts and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert process.poll() is None, process.stderr and process.stderr.read()
            process.send_signal(signal.SIGKILL)
        assert 0 < len(read_rows(out)) < 1500
    for before in (r"[\d,]+", "1,500"):
        again = predict(*command[4:], "--append", folder=tmp_path)
        assert again.returncode == 0, again.stderr
        assert re.search(f"{before} pictures were done before", again.stderr)
    assert [row["path"] for row in read_rows(out)] == sorted(map(str, folder.iterdir()))


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("parts", [0, 1], ids=["while Ray starts", "after the first part"])
def test_an_interrupted_job_says_how_to_resume_and_leaves_no_files(parts, class_folder, small_model, tmp_path):
    """Exit 143 after SIGTERM, which Ray handles itself while it starts. Finished parts stay."""
    folder, out = tmp_path / "many", tmp_path / "rows"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number:05d}.png").hardlink_to(class_folder / "happy" / "0.png")
    before = set(Path("/tmp").glob("emotify-ray-*"))
    command = [*_EMOTIFY, str(folder), "--model", str(small_model), "--engine", "ray", "--parquet", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (out / "_job.json").exists() or len(list(out.glob("part-*"))) < parts:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(1 if parts == 0 else 0)
        process.terminate()
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 143, stderr
    assert stderr.endswith("error: terminated; resume with the same command and --append\n")
    assert {path.name for path in out.iterdir() if not path.name.startswith("part-")} == {"_job.json", "_lock"}
    assert set(Path("/tmp").glob("emotify-ray-*")) <= before


@needs_ray
@pytest.mark.slow
def test_an_error_in_a_worker_is_reported_in_one_line(class_folder, small_model, tmp_path):
    """With --truth folders, a picture outside a class folder ends the job, as on one machine."""
    words = (class_folder, class_folder.parent, "--model", small_model, "--truth", "folders")
    (tmp_path / "other").mkdir()
    shutil.copy(next(class_folder.rglob("*.png")), tmp_path / "other" / "face.png")
    ended = predict(*words[:1], "other", *words[2:], "--engine", "ray", "--parquet", "rows", folder=tmp_path)
    assert ended.returncode == 4
    assert "error: --truth folders: the folder of other/face.png is not named as an expression" in ended.stderr
    assert "Traceback" not in ended.stderr


@needs_ray
def test_a_cluster_that_cannot_be_reached_is_reported_in_one_line(class_folder, small_model, tmp_path):
    """It is exit 8, and names the variable with the address."""
    words = (class_folder, "--model", small_model, "--engine", "ray", "--parquet", "rows")
    ended = predict(*words, folder=tmp_path, RAY_ADDRESS="nonsense")
    assert ended.returncode == 8
    assert ended.stderr.startswith("error: cannot use Ray: Invalid address format")
    assert re.search(r"\w; check \$RAY_ADDRESS\n$", ended.stderr)
    assert len(ended.stderr.splitlines()) == 1


def test_a_missing_ray_is_reported_with_the_install_command(class_folder, tmp_path):
    """Exit 8 before any work, with the pip command."""
    words = ["predict", str(class_folder), "--engine", "ray", "--parquet", str(tmp_path / "rows")]
    done = subprocess.run([sys.executable, "-c", _NO_RAY, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (8, 'error: --engine ray needs Ray Data: pip install "ray[data]"\n')
    assert not (tmp_path / "rows").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a", "--engine", "ray"], "name the folder with --parquet OUT"),
        (["a", "--engine", "ray", "--parquet", "o", "--csv", "c", "--jsonl"], "leave out --jsonl, --csv"),
        (["-", "--engine", "ray", "--parquet", "o"], "cannot read standard input"),
        (["--files-from", "-", "--engine", "ray", "--parquet", "o"], "cannot read standard input"),
        (["a", "--actors", "2"], "--actors needs --engine ray"),
        pytest.param(["nosuch://a", "--engine", "ray", "--parquet", "o"], "nosuch", marks=needs_ray),
        pytest.param(["a", "--engine", "ray", "--parquet", "o", "--threads", "2"], "one thread", marks=needs_ray),
        pytest.param(
            ["a", "--engine", "ray", "--parquet", "o", "--device", "cuda:1"], "--device cuda", marks=needs_ray
        ),
    ],
)
def test_options_that_ray_does_not_support_are_refused(words, expected):
    result = CliRunner().invoke(app, ["predict", *words])
    assert result.exit_code == 2
    assert expected in result.stderr


def test_paths_in_a_job_are_absolute(small_model, tmp_path, monkeypatch):
    """Workers have another current folder. A built-in model keeps its name, as it may be installed elsewhere there."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(small_model, "model.onnx")
    options = {"faces": "auto", "face_model": "faces.onnx"}

    def job(model: str) -> Job:
        return make_job(Inputs(["photos"]), "rows", {"model": model, **options}, top=0, summary=Summary())

    assert job("model.onnx").output == str(tmp_path / "rows")
    faces = str(tmp_path / "faces.onnx")
    expected = {"model": str(tmp_path / "model.onnx"), "faces": "auto", "face_model": faces}
    assert job("model.onnx").predictor == expected
    assert job("fast").predictor == {**expected, "model": "fast"}


@pytest.mark.parametrize(("gpus", "workers"), [(1, 1), (1, 3), (2, 7), (8, 64), (4, 2), (3, 16)])
def test_every_worker_gets_its_share_of_a_gpu(gpus, workers):
    share = share_of_gpu(gpus, workers)
    assert 0 < share <= 1
    assert gpus * int(1 / share) >= workers
    assert share_of_gpu(0, workers) == 0
