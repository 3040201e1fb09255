"""Failures while predict writes its files: finished results are kept and never computed twice."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from emotify.errors import InputError, WriteError
from emotify.prediction.outputs.lines import lines_file
from emotify.prediction.outputs.table import CsvWriter
from emotify.prediction.results import PictureResult
from tests.faults import EMOTIFY, Ended, command, ending, small_disk, started, stuck_file, under_strace


@pytest.fixture
def pictures(class_folder, tmp_path) -> Path:
    """Create a folder with six small pictures and an empty file."""
    folder = Path(tmp_path) / "pictures"
    folder.mkdir()
    for number, path in enumerate(sorted(class_folder.rglob("*.png"))[:6]):
        shutil.copy(path, folder / f"{number}.png")
    (folder / "empty.png").touch()
    return folder


def predict(*words: object) -> Ended:
    return command("predict", "--faces", "whole", "--threads", "1", *words)


def statuses(path: Path) -> dict[str, list[str]]:
    """Return the statuses of each picture in a JSON lines file."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        document = json.loads(line)
        found.setdefault(Path(document["path"]).name, []).append(document["status"])
    return found


def test_append_retries_only_failed_pictures(pictures, tmp_path):
    """A missing file and an empty file are valid pictures in the second run. Their old lines are removed.

    A picture that fails again keeps one line.
    """
    path = tmp_path / "out.jsonl"
    later, gone = tmp_path / "later.png", tmp_path / "gone.png"
    words = [gone, pictures, later, "--jsonl-file", path]
    assert predict(*words).code == 3
    before = path.read_text().splitlines()
    shutil.copy(pictures / "0.png", later)
    shutil.copy(pictures / "1.png", pictures / "empty.png")
    again = predict(*words, "--append")
    assert "6 pictures were done before" in again.stderr
    found = statuses(path)
    assert found.pop("gone.png") == ["not_found"]
    assert all(status == ["ok"] for status in found.values()), found
    assert path.read_text().splitlines()[:7] == before[:7]
    content = path.read_text()
    predict(*words, "--append")
    assert path.read_text() == content


def test_predict_resumes_after_a_full_disk_without_loss(pictures, tmp_path):
    """Exit 6 advises --append. With free space, --append gives the same file as an uninterrupted run."""
    for number in range(400):
        os.link(pictures / "0.png", pictures / f"more{number:03}.png")
    whole = tmp_path / "whole.jsonl"
    predict(pictures, "--jsonl-file", whole)
    with small_disk(tmp_path / "disk", "64k") as disk:
        path = disk / "out.jsonl"
        full = predict(pictures, "--jsonl-file", path)
        assert full.code == 6
        assert "the disk is full" in full.stderr
        assert "resume with the same command and --append" in full.stderr
        (tmp_path / "moved.jsonl").write_bytes(path.read_bytes())
    done = (tmp_path / "moved.jsonl").read_bytes().count(b"\n")
    assert done > 10
    again = predict(pictures, "--jsonl-file", tmp_path / "moved.jsonl", "--append")
    assert f"{done - 1} pictures were done before" in again.stderr  # all except the empty file
    assert (tmp_path / "moved.jsonl").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("option", ["--csv", "--report", "--jsonl-file", "--parquet"])
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_an_input_is_never_an_output(option, force, pictures, small_model, tmp_path):
    """Exit 2 before any work: for a picture, a picture inside a folder or a list, the list itself, and the model."""
    listed = tmp_path / "list.txt"
    listed.write_text(f"{pictures / '0.png'}\n")
    model = tmp_path / "model.onnx"
    shutil.copy(small_model, model)
    os.link(pictures / "1.png", tmp_path / "link.png")
    for words, output in (
        ([pictures / "0.png"], pictures / "0.png"),
        ([pictures / "1.png"], tmp_path / "link.png"),
        ([pictures], pictures / "2.png"),
        (["--files-from", listed], listed),
        ([pictures, "--model", model], model),
        ([pictures, "--face-model", model], model),
    ):
        content = output.read_bytes()
        ended = predict(*words, option, output, *force)
        assert (ended.code, output.read_bytes()) == (2, content), ended.stderr
        assert "read and written" in ended.stderr
    content = (pictures / "0.png").read_bytes()
    ended = predict("--files-from", listed, option, pictures / "0.png", "--force")
    assert (ended.code, (pictures / "0.png").read_bytes()) == (2, content)


def test_export_does_not_overwrite_its_input(onnx_file, tmp_path):
    path = tmp_path / "model.onnx"
    shutil.copy(onnx_file, path)
    for force in ([], ["--force"]):
        ended = command("export", path, "--out", path, *force)
        assert ended.code == 2
        assert path.read_bytes() == onnx_file.read_bytes()


def test_the_next_command_removes_temporary_files_of_a_killed_command(pictures, tmp_path):
    """Temporary files of running processes, and files with other names, stay."""
    words = [pictures, "--csv", tmp_path / "a.csv", "--report", tmp_path / "a.html", "--timeout", "0"]
    mine = tmp_path / ".emotify.notes.tmp"
    mine.touch()

    def temporary_files() -> set[str]:
        return {path.name for path in tmp_path.glob(".emotify.*.tmp")} - {mine.name}

    with stuck_file(pictures / "3.png"), started("predict", "--faces", "whole", *words) as process:
        while len(temporary_files()) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        assert ending(process, signal.SIGKILL).code == -signal.SIGKILL
    assert len(temporary_files()) == 2
    assert predict(pictures / "0.png", "--csv", tmp_path / "b.csv").code == 0
    assert temporary_files() == set()
    with stuck_file(pictures / "3.png"), started("predict", "--faces", "whole", *words) as process:
        while len(temporary_files()) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        running = temporary_files()
        assert predict(pictures / "0.png", "--csv", tmp_path / "c.csv").code == 0
        assert temporary_files() == running
    assert mine.exists()


def renames(calls: Path, written: Path) -> list[tuple[bool, bool, Path]]:
    """Return (source synced before, folder synced after, target) for each rename below `written`.

    calls: the output file of strace.
    """
    # 123 rename("SOURCE", "TARGET") = 0, or 123 fsync(3</PATH>) = 0
    called = [
        [Path(name) for name in re.findall(r'["<](/[^">]+)[">]', line)]
        for line in calls.read_text().splitlines()
        if str(written) in line
    ]
    return [
        ([paths[0]] in called[:place], [paths[1].parent] in called[place:], paths[1])
        for place, paths in enumerate(called)
        if len(paths) == 2
    ]


def test_a_file_is_synced_before_it_is_renamed_and_its_folder_after(pictures, small_model, tmp_path):
    """Without this, a power cut may leave an empty file or lose the rename. Checked for a file and for a folder."""
    out, calls = tmp_path / "out", tmp_path / "calls"
    out.mkdir()
    program = under_strace("-y", "-o", calls, "-e", "trace=fsync,rename,renameat,renameat2")
    words = ["predict", "--faces", "whole", pictures / "0.png", "--model", small_model, "--csv", out / "faces.csv"]
    assert command(*words, program=program).code == 0
    assert renames(calls, out) == [(True, True, out / "faces.csv")]

    write = "import sys; from pathlib import Path; from emotify.files import write_folder\n"
    write += "write_folder(Path(sys.argv[1]), {'index.html': b'page', 'scores.json': b'{}'})"
    program = [*program[: -len(EMOTIFY)], EMOTIFY[0], "-c", write]
    assert command(out / "report", program=program).code == 0
    found = renames(calls, out)
    assert [target.name for _, _, target in found] == ["index.html", "scores.json", "report"]
    assert all(before and after for before, after, _ in found), found


def test_a_used_up_disk_quota_is_reported(pictures, tmp_path):
    """Exit 6 for a file, for JSON lines and for standard output, although the disk has free space."""
    faces, lines, stdout = (tmp_path / name for name in ("faces.csv", "lines.jsonl", "stdout"))
    words = ["predict", "--faces", "whole", pictures / "0.png"]
    fail = ["-o", os.devnull, "-e", "trace=fsync,write", "-e"]
    shell = ["sh", "-c", f'exec "$@" > {stdout}', "sh"]
    for more, program, expected in (
        (["--csv", faces], under_strace(*fail, "inject=fsync:error=EDQUOT"), "run the command again"),
        (["--jsonl-file", lines], under_strace(*fail, "inject=write:error=EDQUOT", "-P", lines), "and --append"),
        (
            [*[pictures / "1.png"] * 40, "--json"],
            [*shell, *under_strace(*fail, "inject=write:error=EDQUOT", "-P", stdout)],
            "standard output",
        ),
    ):
        ended = command(*words, *more, program=program, cwd=tmp_path)
        assert ended.code == 6, ended.stderr
        assert "quota" in ended.stderr
        assert expected in ended.stderr
        assert "MB free" not in ended.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "stdout"}  # no crash log


def test_json_lines_do_not_replace_a_file_created_meanwhile(tmp_path):
    """Another program creates the file after the command checked that none exists."""
    path = tmp_path / "out.jsonl"
    path.write_text("mine")
    with pytest.raises(WriteError, match="already exists"), lines_file(path):
        pass
    assert path.read_text() == "mine"


def test_a_device_is_not_a_json_lines_file(tmp_path):
    """The file may have been replaced after the command checked it, so the opened file is checked again."""
    path = tmp_path / "rows.jsonl"
    path.symlink_to("/dev/null")
    with pytest.raises(WriteError, match="it is a folder or a device"), lines_file(path, overwrite=True):
        pass


def test_a_json_lines_file_without_a_line_is_removed_after_an_error(tmp_path):
    """An empty file would block the same command. A file with lines stays, and is not rewritten."""
    path = tmp_path / "out.jsonl"

    def fail(*, lines: int) -> None:
        with lines_file(path, append=path.exists()) as writer:
            for number in range(lines):
                writer.write(PictureResult(Path(f"{number}.png"), "ok"))
            raise InputError("a wrong list")

    for lines, stays in ((0, False), (1, True), (0, True)):
        with pytest.raises(InputError, match="a wrong list"):
            fail(lines=lines)
        assert path.exists() == stays
    content, file = path.read_bytes(), path.stat().st_ino
    with lines_file(path, append=True):
        pass
    assert (path.read_bytes(), path.stat().st_ino) == (content, file)


def test_deleting_the_json_lines_file_during_writing_is_reported(pictures, tmp_path):
    """Exit 6 at the end, because the lines are lost."""
    path = tmp_path / "out.jsonl"
    words = ["predict", "--faces", "whole", pictures, "--jsonl-file", path, "--threads", "1", "--timeout", "3"]
    with stuck_file(pictures / "3.png"), started(*words) as process:
        while not path.exists() or not path.stat().st_size:
            assert process.poll() is None
            time.sleep(0.05)
        path.unlink()
        ended = ending(process)
    assert ended.code == 6
    assert "deleted or replaced during writing" in ended.stderr


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_a_cell_that_starts_a_formula_gets_an_apostrophe(first, tmp_path):
    """Each of these characters counts, in names and in messages. `--csv-raw` adds no apostrophe."""
    for raw in (False, True):
        path = tmp_path / "cells.csv"
        with path.open("wb") as file:
            writer = CsvWriter(file, raw=raw)
            writer.write(PictureResult(Path(f"{first}1+1"), "corrupt", f"{first}cmd|' /C calc'!A0"))
            writer.close()
        with path.open(encoding="utf-8", newline="") as text:
            row = list(csv.reader(text))[1]
        apostrophe = "" if raw else "'"
        assert row[0] == f"{apostrophe}{first}1+1"
        assert row[2] == f"{apostrophe}{first}cmd|' /C calc'!A0"
