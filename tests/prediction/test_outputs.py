"""The files that predict writes: JSON lines, which --append can resume, CSV and Parquet."""

from __future__ import annotations

import base64
import csv
import fcntl
import functools
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from typer.testing import CliRunner

from emotify.cli import app
from emotify.cli.predict import explain
from emotify.emotions import EMOTIONS
from emotify.opening import packaged_models
from emotify.prediction.outputs.parquet import ParquetWriter
from emotify.prediction.results import PictureResult

MODEL = ["--model", str(packaged_models()["default"]), "--faces", "whole", "--threads", "1"]
SPLIT = [b"back\r=1+1.png", b"half;=1+1.png", b"tab\t=1+1.png"]
NAMES = [b"=1+1.png", b"caf\xe9.png", b"new\nline.png", b"[red]x.png", b"a\x1b[31mb.png", "r\u202etl.png".encode()]
NAMES += SPLIT


def predict(*words: object, code: int = 0):
    result = CliRunner().invoke(app, ["predict", *map(str, words), *MODEL])
    assert result.exit_code == code, result.output
    return result


def documents(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def odd_names(class_folder, tmp_path) -> Path:
    """Create a folder of pictures with dangerous names, and a file that is not a picture."""
    folder = Path(tmp_path) / "odd"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(class_folder / "happy" / "0.png", folder / os.fsdecode(name))
    (folder / "@bad.png").write_text("no picture")
    return folder


def test_append_resumes_after_a_crash(class_folder, tmp_path):
    """Paths in the file are skipped, and a partial last line is repaired. The file equals that of a complete run."""
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    predict(class_folder, "--jsonl-file", whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    for end in (lines[5][:1], lines[5][:-9], lines[5][:-1], b"\0" * 40, b""):
        cut.write_bytes(b"".join(lines[:5]) + end)
        result = predict(class_folder, "--jsonl-file", cut, "--append")
        assert cut.read_bytes() == whole.read_bytes()
        assert f"{5 + (end == lines[5][:-1])} pictures were done before" in result.stderr
    assert "14 pictures were done before" in predict(class_folder, "--jsonl-file", whole, "--append").stderr
    assert whole.read_bytes() == b"".join(lines)


def test_append_creates_a_missing_file(class_folder, tmp_path):
    """The same command works for the first run and for later runs."""
    predict(class_folder, "--jsonl-file", tmp_path / "new.jsonl", "--append")
    assert len(documents(tmp_path / "new.jsonl")) == 14


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"path,label\na.png,happy\n", 1),
        (b'{"a": 1}\n', 1),
        (b'{"path": "a.png"}\n[]\n', 2),
        (b'{"path": "a.png"}\n{"path": "b.png"}\n\n', 3),
        (b"\n", 1),
        (b"my notes", 1),
        (b'{"a": 1}', 1),
        (b'{"schema": 1, "path": "'.ljust(32 * 2**20, b"a"), 1),
    ],
    ids=["csv", "keys", "list", "third", "blank", "notes", "cut", "long"],
)
def test_append_does_not_change_other_files(content, line, class_folder, tmp_path):
    """The error names the wrong line, and the file does not change. No picture has a line of 32 MiB."""
    path = tmp_path / "other"
    path.write_bytes(content)
    stderr = predict(class_folder, "--jsonl-file", path, "--append", code=4).stderr
    assert f"line {line} was not written by emotify predict" in stderr
    assert path.read_bytes() == content


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_json_lines_are_written_as_soon_as_they_are_known(sent, code, class_folder, tmp_path):
    """An interrupted command keeps the finished lines and explains how to resume. It leaves no partial file."""
    pictures = [str(path) for path in class_folder.rglob("*.png")] * 300
    path = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "emotify", "predict", *pictures, *MODEL, "--jsonl-file", str(path)]
    command += ["--csv", str(tmp_path / "out.csv")]
    # A background job of a shell ignores Ctrl-C, and its child processes inherit this.
    default_handler = functools.partial(signal.signal, sent, signal.SIG_DFL)
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=default_handler
    ) as process:
        assert process.stderr is not None
        while not path.exists() or path.stat().st_size < 20_000:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(sent)
        stderr = process.stderr.read()
    assert process.returncode == code, stderr
    assert "resume with the same command and --append" in stderr
    assert 20 < len(documents(path)) < len(pictures)
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]


def test_append_resumes_copies_and_explanations_too(class_folder, tmp_path):
    """An existing copy without a line is kept and is not an error. Explanations keep their names."""
    path, copies, reasons = tmp_path / "out.jsonl", tmp_path / "copies", tmp_path / "why"
    options = ("--jsonl-file", path, "--append", "--annotate", copies, "--explain", reasons)
    predict(class_folder / "sad", *options)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    kept = {file.name: file.stat().st_mtime_ns for file in reasons.iterdir()}
    (copies / "1.png").write_text("mine")
    assert "exist already and were kept: 1;" in predict(class_folder / "sad", *options).stderr
    assert (copies / "1.png").read_text() == "mine"
    assert len(documents(path)) == 2
    assert sorted(file.name for file in copies.iterdir()) == ["0.png", "1.png"]
    now = {file.name: file.stat().st_mtime_ns for file in reasons.iterdir()}
    assert {name: now[name] for name in kept} == kept


def test_append_writes_explanations_that_an_interrupt_prevented(class_folder, tmp_path, monkeypatch):
    """A picture without an explanation has no line yet. An interrupt leaves no partial explanation."""
    path, reasons = tmp_path / "out.jsonl", tmp_path / "why"
    options = ("--jsonl-file", path, "--append", "--explain", reasons)

    def interrupt(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(explain, "_draw", interrupt)
        predict(class_folder / "sad", *options, code=130)
    assert list(reasons.iterdir()) == []
    predict(class_folder / "sad", *options)
    assert len(documents(path)) == len(list(reasons.iterdir())) == 2


def test_force_keeps_the_old_lines_until_new_lines_exist(class_folder, tmp_path):
    """A command that finds no pictures does not change the file."""
    path = tmp_path / "out.jsonl"
    path.write_text("mine")
    (tmp_path / "empty").mkdir()
    predict(tmp_path / "empty", "--jsonl-file", path, "--force", code=4)
    assert path.read_text() == "mine"
    predict(class_folder / "sad", "--jsonl-file", path, "--force")
    assert len(documents(path)) == 2


@pytest.mark.parametrize("option", ["--annotate", "--explain"])
def test_the_input_folder_cannot_be_the_output_folder(option, class_folder, monkeypatch):
    """Exit 2 names the output folder; the error is not that there are no pictures."""
    monkeypatch.chdir(class_folder / "sad")
    assert "error: . is an output folder" in predict(".", option, ".", "--force", code=2).stderr
    assert sorted(path.name for path in Path().iterdir()) == ["0.png", "1.png"]


def test_json_is_printed_even_if_all_pictures_were_done_before(class_folder, tmp_path):
    path = tmp_path / "out.jsonl"
    predict(class_folder, "--jsonl-file", path)
    result = predict(class_folder, "--jsonl-file", path, "--append", "--json")
    assert json.loads(result.stdout)["pictures"] == []


def test_two_processes_cannot_write_the_same_lines(class_folder, tmp_path):
    """The second process ends with exit 6 and does not change the file."""
    path = tmp_path / "out.jsonl"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another process" in predict(class_folder, "--jsonl-file", path, "--append", code=6).stderr


@pytest.mark.parametrize("option", ["--jsonl-file", "--csv", "--parquet", "--report"])
def test_nothing_is_overwritten_without_force(option, class_folder, tmp_path):
    """Exit 6 before any work. --force replaces a file, but never a folder or a device."""
    path = tmp_path / "out"
    path.write_text("mine")
    picture = class_folder / "happy" / "0.png"
    predict(picture, option, path, code=6)
    assert path.read_text() == "mine"
    predict(picture, option, path, "--force")
    assert b"mine" not in path.read_bytes()
    assert "folder or a device" in predict(picture, option, "/dev/full", "--force", code=6).stderr
    for nowhere in (path / "below a file", tmp_path / ("x" * 300)):
        assert "cannot write" in predict(picture, option, nowhere, code=6).stderr


def test_a_full_standard_output_is_not_blamed_on_a_file(class_folder, tmp_path):
    """Exit 6 names standard output and not the CSV file. No partial table is left."""
    command = [sys.executable, "-m", "emotify", "predict", str(class_folder), *MODEL, "--csv", str(tmp_path / "a.csv")]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 6, result.stderr
    assert "cannot write to standard output" in result.stderr
    assert list(tmp_path.iterdir()) == []


def in_a_shell(line: str, folder: Path, *words: object, code: int = 0) -> str:
    """Run a shell line in a folder, with the predict command as `$@`, and return its standard output."""
    command = ["sh", "-c", line, "sh", sys.executable, "-m", "emotify", "predict", *map(str, words), *MODEL]
    result = subprocess.run(command, cwd=folder, capture_output=True, timeout=60)
    assert result.returncode == code, result.stderr
    return result.stdout.decode(errors="replace")


BEGINNINGS = {"--csv": "path,status,", "--report": "<!doctype html>", "--parquet": "PAR1", "--jsonl-file": '{"schema"'}


@pytest.mark.parametrize(("option", "beginning"), BEGINNINGS.items())
@pytest.mark.parametrize("name", ["-", "/dev/stdout", "stdout"])
@pytest.mark.parametrize("line", ['"$@" | cat', '"$@" > rows; cat rows'], ids=["pipe", "file"])
def test_standard_output_can_be_the_output_file(option, beginning, name, line, class_folder, tmp_path):
    """Each name of standard output works. It gets the rows only, and a link to it stays a link."""
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    force = (
        ["--force"] if name == "stdout" else []
    )  # never for /dev/stdout: an older version replaced the system's own link
    shown = in_a_shell(line, tmp_path, class_folder / "happy" / "0.png", option, name, *force)
    assert shown.lower().startswith(beginning.lower())
    assert shown.count("0.png") == 1 or option != "--csv"
    assert (tmp_path / "stdout").is_symlink()
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize(
    "words",
    [("--csv", "-", "--report", "-"), ("--csv", "-", "--json"), ("--parquet", "-", "--jsonl"), ("--annotate", "-"),
     ("--explain", "-"), ("--jsonl-file", "-", "--append")],
    ids=" ".join,
)  # fmt: skip
def test_standard_output_cannot_be_two_outputs_or_a_folder(words, class_folder, tmp_path):
    assert in_a_shell('"$@"', tmp_path, class_folder / "happy" / "0.png", *words, code=2) == ""
    assert list(tmp_path.iterdir()) == []


def test_parquet_is_not_printed_on_a_terminal(class_folder, tmp_path):
    """Its bytes could change the state of the terminal."""
    ours, terminal = pty.openpty()
    command = [sys.executable, "-m", "emotify", "predict", str(class_folder), *MODEL, "--parquet", "-"]
    result = subprocess.run(command, cwd=tmp_path, stdout=terminal, stderr=subprocess.PIPE, text=True)
    os.close(terminal)
    os.close(ours)
    assert result.returncode == 2
    assert result.stderr.startswith("error: --parquet -: Parquet is binary and a terminal cannot show it; redirect it")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--annotate", "out"], "1 picture changed while predicting, and got no copy or thumbnail"),
        (["--report", "r.html", "--thumbnails"], "1 picture changed while predicting, and got no copy or thumbnail"),
        (["--explain", "out"], "a.png: not explained: no such file: check the path"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_picture_that_disappears_while_predicting_keeps_its_prediction(
    options, told, class_folder, tmp_path, monkeypatch
):
    """It is read again for a copy, a thumbnail or an explanation, which it then lacks, with a message."""
    monkeypatch.chdir(tmp_path)
    picture = Path(shutil.copyfile(class_folder / "happy" / "0.png", "a.png"))
    answer = onnxruntime.InferenceSession.run

    def answer_and_remove(*words: Any, **options: Any) -> Any:
        answers = answer(*words, **options)
        picture.unlink(missing_ok=True)
        return answers

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", answer_and_remove)
    result = predict(picture, *options)
    assert result.stdout.split("\t")[0] == "a.png"
    assert told in result.stderr
    assert not list(Path().glob("out/*"))


def test_export_does_not_write_a_file_named_dash(tmp_path):
    line = f'"{sys.executable}" -m emotify export fast --out -'
    assert in_a_shell(line, tmp_path, code=2) == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--csv", "--parquet", "--report"])
def test_force_keeps_links_and_permissions(option, class_folder, tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("mine")
    target.chmod(0o600)
    link.symlink_to(target.name)
    predict(class_folder / "happy" / "0.png", option, link, "--force")
    assert link.is_symlink()
    assert b"mine" not in target.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "target"]


def test_new_files_have_the_permissions_that_umask_leaves(class_folder, tmp_path):
    """Other users may read them if umask allows it, and nobody may execute them."""
    outputs = [tmp_path / name for name in ("a.jsonl", "a.csv", "a.html", "marked")]
    before = os.umask(0o002)
    try:
        words = zip(("--jsonl-file", "--csv", "--report", "--annotate"), outputs, strict=True)
        predict(class_folder / "happy", *(word for pair in words for word in pair))
    finally:
        os.umask(before)
    *files, folder = outputs
    for path in (*files, *folder.iterdir()):
        assert oct(path.stat().st_mode & 0o7777) == oct(0o664), path


@pytest.mark.parametrize("option", ["--jsonl-file", "--csv", "--parquet", "--report"])
def test_a_broken_link_is_not_overwritten_without_force(option, class_folder, tmp_path):
    path = tmp_path / "out"
    path.symlink_to("nowhere")
    predict(class_folder / "happy" / "0.png", option, path, code=6)
    assert path.is_symlink()
    assert not path.exists()


@pytest.mark.parametrize("option", ["--jsonl-file", "--csv", "--parquet", "--report"])
def test_a_full_disk_is_exit_6(option, class_folder, tmp_path):
    """Exit 6 in one line that names the file and the full disk."""
    script = (
        'mount -t tmpfs -o size=64k none "$1" && shift && '
        'dd if=/dev/zero of="$1/fill" bs=1k count=60 2>/dev/null; cd "$1" && shift && exec "$@"'
    )
    full = tmp_path / "full"
    full.mkdir()
    pictures = [str(path) for path in class_folder.rglob("*.png")] * 3
    command = [sys.executable, "-m", "emotify", "predict", *pictures, *MODEL, option, "out"]
    words = ["unshare", "-rm", "sh", "-c", script, "sh", str(full), str(full), *command]
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert result.returncode == 6, result.stderr
    assert "cannot write out: the disk is full" in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


def test_tables_keep_true_names_and_contain_no_formulas(odd_names, tmp_path, monkeypatch):
    """A CSV cell never starts a formula, except with --csv-raw. JSON lines and Parquet have the true names."""
    pq = pytest.importorskip("pyarrow.parquet")
    outputs = ("--csv", tmp_path / "a.csv", "--parquet", tmp_path / "a.parquet", "--jsonl-file", tmp_path / "a.jsonl")
    predict(odd_names, *outputs, code=3)
    monkeypatch.chdir(odd_names)
    predict("=1+1.png", "@bad.png", "--csv", tmp_path / "b.csv", code=3)
    predict("=1+1.png", "--csv", tmp_path / "c.csv", "--csv-raw")

    def column(name: str) -> list[str]:
        with (tmp_path / name).open(newline="", encoding="utf-8") as file:
            return [row["path"] for row in csv.DictReader(file)]

    assert column("b.csv") == ["'=1+1.png", "'@bad.png"]
    assert column("c.csv") == ["=1+1.png"]
    # A separator inside a name does not start a new cell, whichever separator a reader expects.
    assert {Path(path).name for path in column("a.csv")} >= {os.fsdecode(name) for name in SPLIT}
    table = (tmp_path / "a.csv").read_bytes()
    assert all(b'"' + os.fsencode(odd_names) + b"/" + name + b'","ok"' in table for name in SPLIT)
    expected = sorted([*NAMES, b"@bad.png"])
    assert sorted(os.fsencode(Path(line["path"]).name) for line in documents(tmp_path / "a.jsonl")) == expected
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    names = [base64.b64decode(row["path_b64"]) if row["path_b64"] else os.fsencode(row["path"]) for row in rows]
    assert sorted(Path(os.fsdecode(name)).name for name in names) == sorted(map(os.fsdecode, expected))


def test_parquet_has_the_values_of_the_json_lines(class_folder, tmp_path):
    """Parquet has one row per face and typed columns. A file that is not a picture has a row without a face."""
    pq = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "bad.png").touch()
    outputs = ("--parquet", tmp_path / "a.parquet", "--jsonl-file", tmp_path / "a.jsonl", "--top", 2)
    predict(class_folder / "happy", tmp_path / "bad.png", *outputs, code=3)
    *rows, bad = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert (bad["status"], bad["face"], bad["label"]) == ("empty", None, None)
    for row, line in zip(rows, documents(tmp_path / "a.jsonl"), strict=False):
        (face,) = line["faces"]
        assert (row["path"], row["label"], row["width"], row["face"]) == (line["path"], face["label"], 48, 1)
        assert {name: round(row[name], 4) for name in EMOTIONS} == pytest.approx(face["probabilities"], abs=1e-4)
        assert row["label_2"] == face["top"][1]["label"]


def test_a_missing_pyarrow_is_reported_with_the_install_command(class_folder, tmp_path, monkeypatch):
    """Exit 8 before any work."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = predict(class_folder, "--parquet", tmp_path / "a.parquet", code=8)
    assert "pip install pyarrow" in result.stderr


def test_files_are_complete_even_if_the_pipe_is_closed(class_folder, tmp_path):
    """A closed pipe is silent, and the files are still complete."""
    pictures = [str(path) for path in class_folder.rglob("*.png")] * 20  # more output than a pipe buffer holds
    options = ["--jsonl", "-q", "--csv", str(tmp_path / "a.csv")]
    command = [sys.executable, "-m", "emotify", "predict", *pictures, *MODEL, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert len((tmp_path / "a.csv").read_text().splitlines()) == len(pictures) + 1


def test_written_files_are_reported(class_folder, small_model, tmp_path, monkeypatch):
    """Each output option reports its path, as the user gave it, on standard error. --quiet is silent."""
    monkeypatch.chdir(tmp_path)
    words = ["predict", str(class_folder), "--model", str(small_model), "--csv", "a.csv", "--parquet", "a.parquet"]
    words += ["--jsonl-file", "a.jsonl", "--report", "a.html", "--annotate", "marked", "--explain", "why"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0
    assert "wrote" not in shown.stdout
    assert [line for line in shown.stderr.splitlines() if line.startswith("wrote ")] == [
        "wrote a.jsonl", "wrote a.csv", "wrote a.parquet",
        "wrote a.html; it shows boxes only, --thumbnails adds small pictures",
        "wrote 14 annotated pictures to marked", "wrote 14 explanations to why",
    ]  # fmt: skip
    assert "wrote" not in CliRunner().invoke(app, [*words, "--force", "--quiet"]).stderr
    shown = CliRunner().invoke(app, ["predict", str(class_folder), "--report", "b.html", "--thumbnails"])
    assert "wrote b.html\n" in shown.stderr


def test_the_columns_of_the_csv_have_their_names(class_folder, small_model, tmp_path):
    """Programs read columns by name. --top adds the label and probability of each further rank."""
    for top, more in ((1, ""), (3, ",label_2,probability_2,label_3,probability_3")):
        predict(class_folder, "--model", small_model, "--csv", tmp_path / f"{top}.csv", "--top", top)
        header = "path,status,message,face,x0,y0,x1,y1,detection,label,probability"
        header += ",angry,disgust,fear,happy,sad,surprise,neutral,time,track"
        assert (tmp_path / f"{top}.csv").read_text().splitlines()[0] == header + more


def test_the_columns_of_the_parquet_have_their_types(class_folder, small_model, tmp_path):
    """Sizes and counts are int32, texts are strings, times are double, and all other columns are float32."""
    parquet = pytest.importorskip("pyarrow.parquet")
    predict(class_folder, "--model", small_model, "--parquet", tmp_path / "a.parquet", "--top", 2)
    schema = parquet.read_schema(tmp_path / "a.parquet")
    kinds = {name: str(kind) for name, kind in zip(schema.names, schema.types, strict=True)}
    assert {name for name, kind in kinds.items() if kind == "int32"} == {"width", "height", "frames", "face", "track"}
    texts = {"path", "path_b64", "status", "message", "label", "label_2"}
    assert {name for name, kind in kinds.items() if kind == "string"} == texts
    assert {name for name, kind in kinds.items() if kind == "double"} == {"time"}
    assert set(kinds.values()) == {"int32", "string", "double", "float"}


def test_parquet_is_written_in_groups_of_ten_thousand_rows(tmp_path):
    """Neither the writer nor a reader needs the memory of all rows."""
    parquet = pytest.importorskip("pyarrow.parquet")
    with (tmp_path / "a.parquet").open("wb") as file:
        writer = ParquetWriter(file, top=0)
        for number in range(20_001):
            writer.write(PictureResult(Path(f"{number}.png"), "empty"))
        writer.close()
    written = parquet.ParquetFile(tmp_path / "a.parquet")
    groups = [written.metadata.row_group(group).num_rows for group in range(written.num_row_groups)]
    assert groups == [10_000, 10_000, 1]
    assert written.read()["path"].to_pylist() == [f"{number}.png" for number in range(20_001)]
