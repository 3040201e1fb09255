"""The inputs of predict: lists of paths, standard input, glob patterns and shards."""

from __future__ import annotations

import io
import json
import os
import pty
import random
import shutil
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emotify.cli import app
from emotify.errors import InputError, UsageError
from emotify.opening import packaged_models
from emotify.pictures.file_list import read_names
from emotify.prediction.sharding import Shard

MODEL = ["--model", str(packaged_models()["default"]), "--faces", "whole", "--jsonl", "--threads", "1"]


def predict(*words: object, stdin: bytes | None = None, code: int = 0):
    result = CliRunner().invoke(app, ["predict", *map(str, words), *MODEL], input=stdin)
    assert result.exit_code == code, result.output
    return result


def paths(result) -> list[str]:
    return [json.loads(line)["path"] for line in result.stdout.splitlines()]


def test_names_in_a_list_are_read_unchanged():
    """Any line ending, a UTF-8 byte order mark, empty lines, names with newlines (-0), and bytes that are not UTF-8."""
    lines = b"\xef\xbb\xbfa.png\r\n\n b .png\ncaf\xe9.png"
    assert list(read_names(io.BytesIO(lines))) == [Path("a.png"), Path(" b .png"), Path(os.fsdecode(b"caf\xe9.png"))]
    names = [b"new\nline.png", b"\r", b"-rf"]
    assert list(read_names(io.BytesIO(b"\0".join(names) + b"\0"), null=True)) == [Path(os.fsdecode(n)) for n in names]
    many = [f"{number:05}.png" for number in range(20_000)]  # more than one read block
    assert [str(path) for path in read_names(io.BytesIO("\n".join(many).encode()))] == many


@pytest.mark.parametrize(
    ("content", "expected"),
    [("a\nb".encode("utf-16"), "UTF-16"), (b"a\0b\0", "-0"), (b"a\n" + b"x" * 10_000_000, "name 2 is longer")],
)
def test_a_file_that_is_not_a_list_is_refused(content, expected):
    """The error comes before the end of the file is read."""
    with pytest.raises(InputError, match=expected):
        list(read_names(io.BytesIO(content)))


def test_the_first_five_invalid_lines_are_shown_and_all_are_counted():
    lines = ["a.png", "b\0c.png", "d.png", *(f"{number}\0" for number in range(6))]
    names = read_names(io.BytesIO("\n".join(lines).encode()))
    assert next(names) == Path("a.png")
    with pytest.raises(InputError) as caught:
        next(names)
    message = str(caught.value).splitlines()
    assert message[0] == "--files-from: 7 mistakes, the first 5:"
    assert message[1] == "  line 2 has a NUL byte; use -0 if names end in NUL"
    assert len(message) == 6


def test_invalid_lines_are_counted_in_little_memory():
    """Only five messages are kept in memory, however many lines are wrong."""
    content = io.BytesIO(b"\0\n" * 300_000)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="300,000 mistakes"):
            list(read_names(content))
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


def test_files_from_reads_pictures_and_folders_from_a_list(class_folder, tmp_path):
    """A listed path works like an argument: a missing file gets a row, a folder is walked, and the order is kept."""
    folder, picture = class_folder / "sad", class_folder / "happy" / "1.png"
    (tmp_path / "list").write_text(f"{picture}\nnone.png\n{folder}\n")
    expected = [str(picture), "none.png", str(folder / "0.png"), str(folder / "1.png")]
    assert paths(predict("--files-from", tmp_path / "list", code=3)) == expected
    null = "\0".join([str(picture), "none.png", str(folder)]).encode()
    assert paths(predict("--files-from", "-", "-0", stdin=null, code=3)) == expected
    assert "cannot read the list" in predict("--files-from", tmp_path / "none", code=4).stderr


def test_a_picture_is_read_from_standard_input(class_folder):
    """`-` gets the same faces as the file, under the name `-`. It may be any of the arguments."""
    picture = class_folder / "happy" / "0.png"
    first, second = predict(picture, "-", stdin=picture.read_bytes()).stdout.splitlines()
    assert json.loads(second)["path"] == "-"
    assert json.loads(first)["faces"] == json.loads(second)["faces"]


def test_standard_input_is_a_new_picture_each_time(class_folder, tmp_path, monkeypatch):
    """--append never skips standard input. Its copies and explanations may go into any folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("0.png", "1.png"):
        content = (class_folder / "happy" / name).read_bytes()
        predict("-", "--jsonl-file", "out.jsonl", "--append", "--annotate", ".", "--explain", ".", stdin=content)
    assert len(Path("out.jsonl").read_text().splitlines()) == 2


def test_a_file_named_minus_is_not_standard_input(class_folder, tmp_path, monkeypatch):
    """`./-` names the file."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(class_folder / "happy" / "0.png", "-")
    assert json.loads(predict("./-", stdin=b"").stdout)["status"] == "ok"


def test_standard_input_that_is_not_a_picture_has_a_status():
    """Empty input is `empty`. An endless stream is `too_large` at the size limit."""
    assert json.loads(predict("-", stdin=b"", code=4).stdout)["status"] == "empty"
    command = [sys.executable, "-m", "emotify", "predict", "-", *MODEL]
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless:
        result = subprocess.run(command, stdin=endless.stdout, capture_output=True, text=True, timeout=60)
        assert endless.stdout is not None
        endless.stdout.close()
    assert json.loads(result.stdout)["status"] == "too_large"
    assert result.returncode == 4


@pytest.mark.parametrize("words", [["-"], ["--files-from", "-"]])
def test_a_terminal_on_standard_input_is_a_usage_error(words):
    """The error comes at once: the command does not wait for input."""
    parent, terminal = pty.openpty()
    start = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "emotify", "predict", *words], stdin=terminal, capture_output=True, text=True, timeout=60
    )
    os.close(terminal)
    os.close(parent)
    assert result.returncode == 2
    assert "terminal" in result.stderr
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-", "-"],
        ["-", "--files-from", "-"],
        ["-0", "x"],
        ["x", "--append"],
        ["x", "--csv-raw"],
        ["x", "--thumbnails"],
        ["x", "--top", "8"],
        ["x", "--min-confidence", "1.1"],
        ["x", "--min-confidence", "nan"],
        ["x", "--shard", "4/4"],
        ["x", "--shard", "1"],
        ["x", "--shard", "-1/4"],
        ["x", "--csv", "out", "--parquet", "./out"],
    ],
)
def test_contradictory_or_invalid_options_are_refused(words):
    """Exit 2, before any work."""
    predict(*words, stdin=b"", code=2)


def test_shards_are_disjoint_complete_stable_and_even():
    """Each of 8 shards holds an eighth of the paths within 10 %. The shard of a path never changes."""
    names = [Path(f"photos/{number}/IMG_{number * 7}.jpg") for number in range(8000)]
    shards = [Shard(index, 8) for index in range(8)]
    counts = [sum(map(shard.holds, names)) for shard in shards]
    assert sum(counts) == len(names)
    assert all(sum(shard.holds(name) for shard in shards) == 1 for name in random.Random(0).sample(names, 200))
    assert min(counts) >= 900
    assert max(counts) <= 1100
    assert [next(shard.index for shard in shards if shard.holds(Path(name))) for name in "abcdef"] == [7, 5, 3, 3, 7, 3]
    with pytest.raises(UsageError, match="0/4"):
        Shard.parse("x")


def test_the_shards_of_a_folder_together_hold_its_pictures(class_folder):
    """Together the shards hold every picture once. An empty shard is not an error."""
    folder, picture = class_folder / "sad", class_folder / "happy" / "0.png"
    parts = [paths(predict(folder, picture, "--shard", f"{index}/5")) for index in range(5)]
    assert [] in parts
    assert sorted(name for part in parts for name in part) == sorted(map(str, [*folder.iterdir(), picture]))


def test_a_quoted_glob_pattern_is_expanded(class_folder, small_model, tmp_path):
    """emotify expands a pattern that no shell expanded, and sorts the paths. An existing file is never a pattern."""
    happy, sad = (sorted((class_folder / name).glob("*.png")) for name in ("happy", "sad"))
    options = ("--model", str(small_model), "--jsonl")

    def paths(*words: object) -> list[Path]:
        shown = CliRunner().invoke(app, ["predict", *map(str, words), *options])
        return [Path(json.loads(line)["path"]) for line in shown.stdout.splitlines()]

    assert paths(class_folder / "happy/*.png") == happy
    assert paths(class_folder / "**/[01].png") == sorted(class_folder.glob("*/*.png"))
    assert paths(class_folder / "sad/?.png", class_folder / "happy") == sad + happy
    odd = tmp_path / "[01].png"
    odd.write_bytes(happy[0].read_bytes())
    assert paths(odd) == [odd]
    (tmp_path / "0.png").write_bytes(odd.read_bytes())
    odd.unlink()
    odd.symlink_to(tmp_path / "nowhere")
    assert paths(odd) == [odd]  # a broken link is an existing name, too
    assert paths(tmp_path / "*.gif") == [tmp_path / "*.gif"]  # reported with a status


def test_a_picture_piped_without_a_dash_gets_a_hint(small_model):
    """The error of `cat face.jpg | emotify predict` names the missing argument: a dash."""
    command = [sys.executable, "-m", "emotify", "predict"]
    shown = subprocess.run(command, input=b"picture", capture_output=True)
    assert shown.returncode == 2
    assert b"emotify predict - < face.jpg" in shown.stderr
    shown = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    assert b"name pictures or folders" in shown.stderr
