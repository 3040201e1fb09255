"""`emotify predict` with hostile files, file names and texts, and with unusual folders."""

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
# These names would change colours, the title or the clipboard, make a link, overwrite text, reverse its direction or
# start a line. Some have C1 controls, as characters or as a byte. Some have Rich's markup; a[/b].png is a closing tag.
NAMES = [
    b"\x1b[31mred.png", b"\x1b]0;title\x07.png", b"\x1b]52;c;aGk=\x07.png", b"\x1b]8;;http:e\x1b\\.png",
    "\x9b31m.png".encode(), b"\x9b31m.png", b"over\rwritten.png", "\u202egnp.exe.png".encode(),
    "line\u2028line.png".encode(), b"new\nline.png", b"tab\t.png", b"[red]x.png", b"a[", b"[link=http:e]c.png",
    b"%s%n.png", b"'\".png", b"-rf.png", b"caf\xe9.png", b"\x7f.png",
]  # fmt: skip


def predict(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def rows(*arguments: object, code: int = 0) -> list[dict[str, object]]:
    return [json.loads(line) for line in predict(*arguments, "--jsonl", code=code).stdout.splitlines()]


@pytest.fixture(scope="module")
def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.add.outer(np.arange(48), np.arange(48)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder_of_names(png, tmp_path_factory) -> Path:
    """Write a picture with each name into a folder. The name without an extension is a folder with `b].png` inside."""
    folder = Path(tmp_path_factory.mktemp("names"))
    for name in NAMES:
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        if path.suffix:
            path.write_bytes(png)
        else:
            path.mkdir()
            (path / "b].png").write_bytes(png)
    return folder


def control_characters(shown: str | bytes) -> list[str]:
    """Return the control, invisible and bidirectional characters, except newlines and tabs."""
    text = shown if isinstance(shown, str) else shown.decode("utf-8", "surrogateescape")
    return re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\udc80-\udcff]", text)


def test_file_names_are_escaped_in_text_and_unchanged_in_json(folder_of_names, small_model):
    """JSON has each name unchanged. `path_b64` has the bytes of a name that is not valid UTF-8."""
    result = predict(folder_of_names, "--model", small_model)
    assert control_characters(result.stdout) == control_characters(result.stderr) == []
    assert result.stdout.count("\n") == len(NAMES)
    documents = rows(folder_of_names, "--model", small_model)
    assert {os.fsencode(str(document["path"])) for document in documents} == {
        os.fsencode(folder_of_names) + b"/" + (name if name != b"a[" else b"a[/b].png") for name in NAMES
    }
    for document in documents:
        if "path_b64" in document:
            assert base64.b64decode(str(document["path_b64"])) == os.fsencode(str(document["path"]))
        assert ("path_b64" in document) == any("\udc80" <= letter <= "\udcff" for letter in str(document["path"]))


def test_file_names_in_failures_and_errors_are_escaped(folder_of_names, small_model, tmp_path):
    """The cases are unreadable pictures, an empty folder, missing models, invalid options and an unwritable output."""
    for path in folder_of_names.rglob("*.png"):
        target = tmp_path / "bad" / path.relative_to(folder_of_names)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"\x1b[31mno picture")
    empty = tmp_path / os.fsdecode(NAMES[0])
    empty.mkdir()
    for arguments, code in (
        ([tmp_path / "bad", "--model", small_model], 4),
        ([empty, "--model", small_model], 4),
        ([folder_of_names, "--model", empty], 5),
        ([folder_of_names, "--model", tmp_path / os.fsdecode(b"\x9b[31m\xe9.onnx")], 5),
        ([folder_of_names, "--model", small_model, "--face-model", empty, "--faces", "detect"], 5),
        ([folder_of_names, "--model", small_model, "--faces", "\x1b[31mwhole"], 2),
        ([folder_of_names, "--model", small_model, "--truth", "\x9b31m"], 2),
        ([folder_of_names, "--model", small_model, "--csv", tmp_path / "\x1b[31mnone" / "x.csv"], 6),
    ):
        shown = predict(*arguments, code=code)
        assert shown.stderr
        assert control_characters(shown.stdout) == control_characters(shown.stderr) == []


def test_file_names_on_a_terminal_are_escaped(folder_of_names, small_model, monkeypatch):
    """Rich draws a table of the names without their control sequences and without reading their markup."""
    monkeypatch.chdir(folder_of_names)
    run = runpy.run_path(str(ROOT / "docs" / "capture.py"))["run_in_terminal"]
    shown = run([sys.executable, "-m", "emotify", "predict", ".", "--model", str(small_model)])
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", shown)  # Rich's own colours
    assert control_characters(plain) == []
    for payload in ("\x1b[31mred", "\x1b]", "\x9b"):
        assert payload not in shown
    assert "[red]x.png" in plain
    assert "error" not in plain


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["train", "--data", "synthetic", "--config", "CONFIG"], 2),
        (["train", "--data", "\x1b[31mx", "--epochs", "1"], 4),
        (["train", "--model", "\x1b[31mx", "--data", "synthetic"], 2),
        (["evaluate", "\x1b[31mx"], 5),
        (["export", "\x1b[31mx"], 5),
    ],
)
def test_option_values_and_configuration_keys_are_escaped(arguments, code, tmp_path):
    """Errors contain option values and unknown keys of a configuration file."""
    config = tmp_path / "c\x1b[31m.json"
    config.write_text(json.dumps({"\x1b]52;c;aGk=\x07\u202e": 1}))
    shown = CliRunner().invoke(app, [str(config) if word == "CONFIG" else word for word in arguments])
    assert shown.exit_code == code, shown.output
    assert control_characters(shown.stdout) == control_characters(shown.stderr) == []


def test_texts_inside_a_picture_are_escaped(small_model, tmp_path):
    """EXIF data, comments and Pillow's errors print no control characters. -v reports damaged EXIF data."""
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = "\x1b]52;c;aGk=\x07"
    Image.new("L", (48, 48)).save(tmp_path / "a.jpg", exif=exif, comment=b"\x1b[31mred")
    Image.new("L", (48, 48)).save(tmp_path / "b.jpg", exif=b"Exif\0\0garbage \x1b[31m")
    (tmp_path / "c.ppm").write_bytes(b"P5 \x1b[31m 48 255\n")
    shown = predict(tmp_path, "--model", small_model, "-v", code=3)
    assert control_characters(shown.stdout) == control_characters(shown.stderr) == []
    assert "b.jpg: damaged EXIF data were skipped" in shown.stderr
    quiet = predict(tmp_path / "b.jpg", "--model", small_model)
    assert "EXIF" not in quiet.stderr


def test_a_file_name_with_a_newline_is_one_line_of_json(capsys):
    """A document is one line of ASCII. NaN and infinity raise ValueError, since JSON cannot contain them."""
    print_json_line({"path": "new\nline\udce9\u2028\x1b"})
    assert capsys.readouterr().out == '{"path": "new\\nline\\udce9\\u2028\\u001b"}\n'
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            print_json_line({"probability": number})


def test_every_printing_function_escapes_control_characters(capsys):
    """Cells on standard output and all messages on stderr are escaped. A library's message may quote a file."""
    messages = Messages(quiet=False, verbose=True)
    LinesScreen(messages, top=0).show(PictureResult(Path("a\x1b[31m.png"), "corrupt", "read\x1b[2J\rto \u202e here"))
    for print_message in (messages.error, messages.notice, messages.detail, print_error):
        print_message("two\x1b[2J\x9b\nlines\x07")
    print_wait("reading", "a\x1b[31m", 10)
    shown = capsys.readouterr()
    assert control_characters(shown.out) == control_characters(shown.err) == []
    assert shown.out == "a\\x1b[31m.png\tcorrupt\t\tread\\x1b[2J\\x0dto \\u202e here\n"
    assert shown.err.count("two\\x1b[2J\\x9b\nlines\\x07\n") == 4


def test_a_file_replaced_while_it_is_opened_never_hangs(png, tmp_path):
    """A picture, a pipe and a link to a device replace each other. Reading gives a picture or a status."""
    path, spare, copy = tmp_path / "x.png", tmp_path / "spare", tmp_path / "same.png"
    for file in (path, copy):
        file.write_bytes(png)
    stop = threading.Event()

    def replace_file_repeatedly() -> None:
        while not stop.is_set():
            os.mkfifo(spare)
            spare.replace(path)
            os.link(copy, spare)
            spare.replace(path)
            spare.symlink_to("/dev/zero")
            spare.replace(path)

    thread = threading.Thread(target=replace_file_repeatedly)
    thread.start()
    try:
        end = time.monotonic() + 10
        statuses: set[str] = set()
        while time.monotonic() < end and len(statuses) < 2:
            result = read_picture(path)
            statuses.add(result.status if isinstance(result, Failure) else "ok")
    finally:
        stop.set()
        thread.join()
    assert statuses == {"ok", "not_regular"}


def test_very_many_bad_files_do_not_flood_stderr(small_model, tmp_path):
    """stderr has at most 20 lines. --jsonl has all rows."""
    for number in range(3000):
        (tmp_path / f"{number:04}.png").write_bytes(b"no picture")
    assert len(predict(tmp_path, "--model", small_model, code=4).stderr.splitlines()) <= 20
    documents = rows(tmp_path, "--model", small_model, code=4)
    assert [document["status"] for document in documents] == ["not_an_image"] * 3000


def test_predict_works_without_a_network(small_model, png, tmp_path):
    """The process has no network interface, not even loopback."""
    (tmp_path / "x.png").write_bytes(png)
    command = [sys.executable, "-m", "emotify", "predict", str(tmp_path), "--faces", "detect", "--jsonl", "-q"]
    shown = subprocess.run(["unshare", "-rn", *command], capture_output=True, text=True, check=False)
    if "unshare" in shown.stderr:
        pytest.skip(f"unshare cannot make a private network: {shown.stderr.strip()}")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert json.loads(shown.stdout)["status"] == "ok"


def test_frames_are_counted_and_pictures_without_faces_have_the_status_ok(small_model, tmp_path):
    """The number of frames is reported if there are several. A picture without a face has an empty list of faces."""
    first, second = Image.new("L", (300, 200)), Image.new("L", (300, 200), 255)
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    second.save(tmp_path / "b.png")
    Image.effect_noise((300, 200), 90).save(tmp_path / "c.png")
    documents = rows(tmp_path, "--model", small_model)
    assert [document.get("frames") for document in documents] == [2, None, None]
    assert [(document["status"], document["faces"]) for document in documents] == [("ok", [])] * 3


def test_dev_stdin_has_the_status_not_regular():
    """The path /dev/stdin is a pipe here. It is refused at once, like every pipe."""
    command = [sys.executable, "-m", "emotify", "predict", "/dev/stdin", "--jsonl", "-q"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["status"] == "not_regular"
    assert process.returncode == 4


def test_links_to_a_parent_folder_are_reported_once(small_model, png, tmp_path):
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


def test_a_picture_named_twice_has_two_rows(small_model, png, tmp_path):
    """A link that is named gives one more row. A folder that is named twice gives one row per picture."""
    (tmp_path / "x.png").write_bytes(png)
    (tmp_path / "link.png").symlink_to("x.png")
    paths = [tmp_path / name for name in ("x.png", "x.png", "link.png")]
    documents = rows(*paths, tmp_path, tmp_path, "--model", small_model)
    assert [document["path"] for document in documents] == [str(path) for path in [*paths, tmp_path / "x.png"]]


def test_a_folder_without_pictures_ends_with_exit_4(small_model, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no images found" in predict(tmp_path / "empty", "--model", small_model, code=4).stderr
    for number in range(12):
        (tmp_path / f"{number}.txt").touch()
    assert "(12 other files ignored)" in predict(tmp_path, "--model", small_model, code=4).stderr


def test_a_folder_with_only_links_reports_that_they_were_not_followed(small_model, png, tmp_path):
    (tmp_path / "x.png").write_bytes(png)
    (tmp_path / "links").mkdir()
    for number in range(3):
        (tmp_path / "links" / f"{number}.png").symlink_to(tmp_path / "x.png")
    messages = predict(tmp_path / "links", "--model", small_model, code=4).stderr
    assert "3 links inside folders were not followed; --follow-links follows links" in messages
    assert len(rows(tmp_path / "links", "--model", small_model, "--follow-links")) == 3


def test_skipped_files_links_and_folders_are_reported_and_counted(small_model, png, tmp_path):
    """The numbers are on stderr and in the JSON document."""
    for name in ("x.png", "clip.mov", "notes.txt", "@eaDir/x.png", "album/@eaDir/y.png", "lost+found/z.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png)
    (tmp_path / "link.png").symlink_to("x.png")
    shown = predict(tmp_path, "--model", small_model, "--json")
    document = json.loads(shown.stdout)
    assert [picture["path"] for picture in document["pictures"]] == [str(tmp_path / "x.png")]
    assert document["summary"]["passed_over"] == {"files": 2, "links": 1, "folders": 3}
    messages = predict(tmp_path, "--model", small_model, "--jsonl").stderr.splitlines()
    assert "1 other file ignored" in messages
    assert any(line.startswith("1 video clip inside folders was skipped") for line in messages)
    assert "1 link inside folders was not followed; --follow-links follows links" in messages
    assert "folders of other programs were skipped: 2 @eaDir, 1 lost+found" in messages
    assert "1 picture, 1 face: " in messages[-1]


def test_errors_say_that_a_path_is_a_url_or_a_pattern(small_model):
    documents = rows("https://example.com/a.jpg", "x/*.jpg", "--model", small_model, code=4)
    assert [row["path"] for row in documents] == ["https://example.com/a.jpg", "x/*.jpg"]
    assert "download" in str(documents[0]["message"])
    assert "pattern" in str(documents[1]["message"])


@pytest.mark.parametrize(
    "arguments", [("--faces", "hole"), ("--truth", "folder"), ("--threads", "-1"), ("--classes", "x")]
)
def test_invalid_options_of_predict_are_refused(arguments, small_model):
    """predict ends with exit 2 and names the option. The option --classes does not exist."""
    assert arguments[0] in predict(".", "--model", small_model, *arguments, code=2).stderr
