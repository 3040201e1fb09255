"""`emotify predict` among files, names and texts that mean harm."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from emotify.cli import app
from emotify.cli.console import Messages, print_error, print_json_line, print_wait
from emotify.cli.predict.screen import LinesScreen
from emotify.pictures.reading import Failure, read_picture
from emotify.prediction.results import PictureResult

ROOT = Path(__file__).parents[2]
# Colours, a new title, the clipboard, a link, C1 controls as characters and as a byte, overwriting, turning around,
# a new line, and what Rich reads as markup, closed where nothing was opened.
NAMES = [
    b"\x1b[31mred.png", b"\x1b]0;title\x07.png", b"\x1b]52;c;aGk=\x07.png", b"\x1b]8;;http:e\x1b\\.png",
    "\x9b31m.png".encode(), b"\x9b31m.png", b"over\rwritten.png", "\u202egnp.exe.png".encode(),
    "line\u2028line.png".encode(), b"new\nline.png", b"tab\t.png", b"[red]x.png", b"a[", b"[link=http:e]c.png",
    b"%s%n.png", b"'\".png", b"-rf.png", b"caf\xe9.png", b"\x7f.png",
]  # fmt: skip


def predict(*words: object, code: int = 0):
    result = CliRunner().invoke(app, ["predict", *map(str, words)])
    assert result.exit_code == code, result.output
    return result


def rows(*words: object, code: int = 0) -> list[dict[str, object]]:
    return [json.loads(line) for line in predict(*words, "--jsonl", code=code).stdout.splitlines()]


@pytest.fixture(scope="module")
def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.add.outer(np.arange(48), np.arange(48)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def named(png, tmp_path_factory) -> Path:
    """A folder of pictures with all the names, one of them in a folder that begins what its name ends."""
    folder = Path(tmp_path_factory.mktemp("names"))
    for name in NAMES:
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        if path.suffix:
            path.write_bytes(png)
        else:
            path.mkdir()
            (path / "b].png").write_bytes(png)
    return folder


def unwanted(shown: str | bytes) -> list[str]:
    """Return what a terminal would obey, besides ends of lines and the tabs between columns."""
    text = shown if isinstance(shown, str) else shown.decode("utf-8", "surrogateescape")
    return re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\udc80-\udcff]", text)


def test_names_do_not_paint_the_terminal_and_come_back_whole(named, small_model):
    """Lines, messages and errors show them escaped; JSON has each as it is, and in bytes where it is no text."""
    everything = predict(named, "--model", small_model)
    assert unwanted(everything.stdout) == unwanted(everything.stderr) == []
    assert everything.stdout.count("\n") == len(NAMES)
    documents = rows(named, "--model", small_model)
    assert {os.fsencode(str(document["path"])) for document in documents} == {
        os.fsencode(named) + b"/" + (name if name != b"a[" else b"a[/b].png") for name in NAMES
    }
    for document in documents:
        if "path_b64" in document:
            assert base64.b64decode(str(document["path_b64"])) == os.fsencode(str(document["path"]))
        assert ("path_b64" in document) == any("\udc80" <= letter <= "\udcff" for letter in str(document["path"]))


def test_names_in_failures_and_errors_are_escaped(named, small_model, tmp_path):
    """Also where nothing could be read: in what is said of each, of none found, and of a model that is not there."""
    for path in named.rglob("*.png"):
        target = tmp_path / "bad" / path.relative_to(named)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"\x1b[31mno picture")
    empty = tmp_path / os.fsdecode(NAMES[0])
    empty.mkdir()
    for words, code in (
        ([tmp_path / "bad", "--model", small_model], 4),
        ([empty, "--model", small_model], 4),
        ([named, "--model", empty], 5),
        ([named, "--model", tmp_path / os.fsdecode(b"\x9b[31m\xe9.onnx")], 5),
        ([named, "--model", small_model, "--face-model", empty, "--faces", "detect"], 5),
        ([named, "--model", small_model, "--faces", "\x1b[31mwhole"], 2),
        ([named, "--model", small_model, "--truth", "\x9b31m"], 2),
        ([named, "--model", small_model, "--csv", tmp_path / "\x1b[31mnone" / "x.csv"], 6),
    ):
        shown = predict(*words, code=code)
        assert shown.stderr
        assert unwanted(shown.stdout) == unwanted(shown.stderr) == []


def test_names_on_a_terminal_are_escaped(named, small_model, monkeypatch):
    """Rich draws a table of them, and none comes through."""
    monkeypatch.chdir(named)
    run = runpy.run_path(str(ROOT / "docs" / "capture.py"))["run_in_terminal"]
    shown = run([sys.executable, "-m", "emotify", "predict", ".", "--model", str(small_model)])
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", shown)  # Rich's own colours
    assert unwanted(plain) == []
    for payload in ("\x1b[31mred", "\x1b]", "\x9b"):
        assert payload not in shown
    assert "[red]x.png" in plain
    assert "error" not in plain


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["train", "--data", "synthetic", "--config", "CONFIG"], 2),
        (["train", "--data", "\x1b[31mx", "--epochs", "1"], 4),
        (["train", "--model", "\x1b[31mx", "--data", "synthetic"], 2),
        (["evaluate", "\x1b[31mx"], 5),
        (["export", "\x1b[31mx"], 5),
    ],
)
def test_option_values_and_texts_in_files_do_not_paint_the_terminal(words, code, tmp_path):
    """Configuration keys, option values, and the texts of exceptions that hold them."""
    config = tmp_path / "c\x1b[31m.json"
    config.write_text(json.dumps({"\x1b]52;c;aGk=\x07\u202e": 1}))
    shown = CliRunner().invoke(app, [str(config) if word == "CONFIG" else word for word in words])
    assert shown.exit_code == code, shown.output
    assert unwanted(shown.stdout) == unwanted(shown.stderr) == []


def test_texts_inside_a_picture_are_escaped(small_model, tmp_path):
    """EXIF data, comments and the words of Pillow's own errors are not shown, or escaped; they are told with -v."""
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = "\x1b]52;c;aGk=\x07"
    Image.new("L", (48, 48)).save(tmp_path / "a.jpg", exif=exif, comment=b"\x1b[31mred")
    Image.new("L", (48, 48)).save(tmp_path / "b.jpg", exif=b"Exif\0\0garbage \x1b[31m")
    (tmp_path / "c.ppm").write_bytes(b"P5 \x1b[31m 48 255\n")
    shown = predict(tmp_path, "--model", small_model, "-v", code=3)
    assert unwanted(shown.stdout) == unwanted(shown.stderr) == []
    assert "b.jpg: damaged EXIF data were skipped" in shown.stderr
    quiet = predict(tmp_path / "b.jpg", "--model", small_model)
    assert "EXIF" not in quiet.stderr


def test_a_name_with_a_newline_is_one_line_of_json(capsys):
    """One document a line, in ASCII; what is no number is a bug that is seen, not a NaN that breaks the reader."""
    print_json_line({"path": "new\nline\udce9\u2028\x1b"})
    assert capsys.readouterr().out == '{"path": "new\\nline\\udce9\\u2028\\u001b"}\n'
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            print_json_line({"probability": number})


def test_what_a_terminal_obeys_is_escaped_whoever_prints_it(capsys):
    """In the cells of lines, and in all that is told on stderr: what a library says may come from a file."""
    messages = Messages(quiet=False, verbose=True)
    LinesScreen(messages, top=0).show(PictureResult(Path("a\x1b[31m.png"), "corrupt", "read\x1b[2J\rto \u202e here"))
    for tell in (messages.error, messages.notice, messages.detail, print_error):
        tell("two\x1b[2J\x9b\nlines\x07")
    print_wait("reading", "a\x1b[31m", 10)
    shown = capsys.readouterr()
    assert unwanted(shown.out) == unwanted(shown.err) == []
    assert shown.out == "a\\x1b[31m.png\tcorrupt\t\tread\\x1b[2J\\x0dto \\u202e here\n"
    assert shown.err.count("two\\x1b[2J\\x9b\nlines\\x07\n") == 4


def test_files_exchanged_while_they_are_opened_never_hang(png, tmp_path):
    """A picture that turns into a pipe, a link and back is a picture or a status, and never waited for."""
    path, spare, same = tmp_path / "x.png", tmp_path / "spare", tmp_path / "same.png"
    for file in (path, same):
        file.write_bytes(png)
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            os.mkfifo(spare)
            spare.replace(path)
            os.link(same, spare)
            spare.replace(path)
            spare.symlink_to("/dev/zero")
            spare.replace(path)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        end = time.monotonic() + 10
        seen: set[str] = set()
        while time.monotonic() < end and len(seen) < 2:
            result = read_picture(path)
            seen.add(result.status if isinstance(result, Failure) else "ok")
    finally:
        stop.set()
        thread.join()
    assert seen == {"ok", "not_regular"}


def test_very_many_bad_files_do_not_flood_stderr(small_model, tmp_path):
    """At most 20 lines on stderr, all of them in --jsonl."""
    for number in range(3000):
        (tmp_path / f"{number:04}.png").write_bytes(b"no picture")
    assert len(predict(tmp_path, "--model", small_model, code=4).stderr.splitlines()) <= 20
    documents = rows(tmp_path, "--model", small_model, code=4)
    assert [document["status"] for document in documents] == ["not_an_image"] * 3000


def test_everything_works_without_a_network(small_model, png, tmp_path):
    """With no network at all, not even a loopback, everything works."""
    (tmp_path / "x.png").write_bytes(png)
    command = [sys.executable, "-m", "emotify", "predict", str(tmp_path), "--faces", "detect", "--jsonl", "-q"]
    shown = subprocess.run(["unshare", "-rn", *command], capture_output=True, text=True, check=False)
    if "unshare" in shown.stderr:
        pytest.skip(f"no private network here: {shown.stderr.strip()}")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert json.loads(shown.stdout)["status"] == "ok"


def test_frames_are_counted_and_pictures_without_a_face_answered(small_model, tmp_path):
    """The first of several frames is read, and their number told; nothing is made up where no face is."""
    first, second = Image.new("L", (300, 200)), Image.new("L", (300, 200), 255)
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    second.save(tmp_path / "b.png")
    Image.effect_noise((300, 200), 90).save(tmp_path / "c.png")
    documents = rows(tmp_path, "--model", small_model)
    assert [document.get("frames") for document in documents] == [2, None, None]
    assert [(document["status"], document["faces"]) for document in documents] == [("ok", [])] * 3


def test_standard_input_by_its_name_is_no_file():
    """A pipe that is named /dev/stdin is refused at once, like every pipe."""
    command = [sys.executable, "-m", "emotify", "predict", "/dev/stdin", "--jsonl", "-q"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["status"] == "not_regular"
    assert process.returncode == 4


def test_links_that_lead_back_are_told_once(small_model, png, tmp_path):
    (tmp_path / "x.png").write_bytes(png)
    (tmp_path / "sub").mkdir()
    for name in ("back", "again"):
        (tmp_path / "sub" / name).symlink_to("..")
    shown = predict(tmp_path, "--model", small_model, "--jsonl")
    assert len(shown.stdout.splitlines()) == 1
    assert shown.stderr.count("2 links inside folders were not followed; --follow-links follows links") == 1
    (tmp_path / "sub" / "y.png").symlink_to(tmp_path / "x.png")
    followed = predict(tmp_path, "--model", small_model, "--jsonl", "--follow-links")
    assert len(followed.stdout.splitlines()) == 2
    assert "links" not in followed.stderr
    assert followed.stderr.count("2 folders were found more than once") == 1


def test_what_is_named_twice_is_answered_twice(small_model, png, tmp_path):
    """Also through a link that was named; in a folder that is named twice it is answered once."""
    (tmp_path / "x.png").write_bytes(png)
    (tmp_path / "link.png").symlink_to("x.png")
    paths = [tmp_path / name for name in ("x.png", "x.png", "link.png")]
    documents = rows(*paths, tmp_path, tmp_path, "--model", small_model)
    assert [document["path"] for document in documents] == [str(path) for path in [*paths, tmp_path / "x.png"]]


def test_a_folder_without_pictures_is_exit_4(small_model, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no images found" in predict(tmp_path / "empty", "--model", small_model, code=4).stderr
    for number in range(12):
        (tmp_path / f"{number}.txt").touch()
    assert "(12 other files ignored)" in predict(tmp_path, "--model", small_model, code=4).stderr


def test_a_folder_of_links_alone_says_so(small_model, png, tmp_path):
    (tmp_path / "x.png").write_bytes(png)
    (tmp_path / "links").mkdir()
    for number in range(3):
        (tmp_path / "links" / f"{number}.png").symlink_to(tmp_path / "x.png")
    told = predict(tmp_path / "links", "--model", small_model, code=4).stderr
    assert "3 links inside folders were not followed; --follow-links follows links" in told
    assert len(rows(tmp_path / "links", "--model", small_model, "--follow-links")) == 3


def test_what_a_walk_passes_over_is_told_and_counted(small_model, png, tmp_path):
    """On stderr, and in the document."""
    for name in ("x.png", "clip.mov", "notes.txt", "@eaDir/x.png", "album/@eaDir/y.png", "lost+found/z.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png)
    (tmp_path / "link.png").symlink_to("x.png")
    shown = predict(tmp_path, "--model", small_model, "--json")
    document = json.loads(shown.stdout)
    assert [picture["path"] for picture in document["pictures"]] == [str(tmp_path / "x.png")]
    assert document["summary"]["passed_over"] == {"files": 2, "links": 1, "folders": 3}
    told = predict(tmp_path, "--model", small_model, "--jsonl").stderr.splitlines()
    assert "1 other file ignored" in told
    assert any(line.startswith("1 video clip inside folders was skipped") for line in told)
    assert "1 link inside folders was not followed; --follow-links follows links" in told
    assert "folders of other programs were skipped: 2 @eaDir, 1 lost+found" in told
    assert "1 picture, 1 face: " in told[-1]


def test_addresses_and_patterns_are_told_as_what_they_are(small_model):
    told = rows("https://example.com/a.jpg", "x/*.jpg", "--model", small_model, code=4)
    assert [row["path"] for row in told] == ["https://example.com/a.jpg", "x/*.jpg"]
    assert "download" in str(told[0]["message"])
    assert "pattern" in str(told[1]["message"])


@pytest.mark.parametrize("words", [("--faces", "hole"), ("--truth", "folder"), ("--threads", "-1"), ("--classes", "x")])
def test_options_of_predict_that_cannot_be_meant_are_refused(words, small_model):
    """Exit 2, naming the option. There is no --classes: an expression is what the model was trained on."""
    assert words[0] in predict(".", "--model", small_model, *words, code=2).stderr
