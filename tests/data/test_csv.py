"""FER-2013's csv: what is read, and which lines are refused."""

from __future__ import annotations

import csv
import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

from emotify.data import Split, read_dataset
from emotify.errors import InputError


def check_same(dataset, rows):
    """Check that the splits have the pixels and labels of `rows`, in their order."""
    splits = {"Training": Split.TRAIN, "PublicTest": Split.VALID, "PrivateTest": Split.TEST}
    assert list(dataset.splits) == list(Split)
    for usage, split in splits.items():
        expected = [row for row in rows if row.usage == usage]
        np.testing.assert_array_equal(dataset.splits[split].images, [row.image for row in expected])
        assert dataset.splits[split].labels.tolist() == [int(row.emotion) for row in expected]


def refusal(path, content) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_dataset(path)
    return str(caught.value)


def test_fer2013_csv_is_read(path, rows):
    dataset = read_dataset(path)
    check_same(dataset, rows)
    assert dataset.source == str(path)
    assert dataset.notes == ()


def test_columns_may_have_another_order_and_leading_spaces(path, rows):
    """`icml_face_data.csv` starts with `emotion, Usage, pixels`."""
    lines = ["emotion, Usage, pixels", *(f"{row.emotion},{row.usage},{row.pixels}" for row in rows)]
    path.write_text("\n".join(lines))
    check_same(read_dataset(path), rows)


def test_a_folder_with_the_csv_in_it_is_read(path, rows):
    check_same(read_dataset(path.parent), rows)


def test_every_pixel_value_is_read(path, rows, to_csv):
    """Each value 0..255 is decoded correctly beside each value 0..255."""
    values = np.arange(256)
    for row in range(14):
        pixels = np.resize(np.column_stack([np.roll(values, row * 19), values]).ravel(), 2304)
        rows[row] = dataclasses.replace(rows[row], pixels=" ".join(map(str, pixels)))
    path.write_bytes(to_csv(rows))
    check_same(read_dataset(path), rows)


@pytest.mark.parametrize(
    "rewrite",
    [
        pytest.param(lambda content: b"\xef\xbb\xbf" + content, id="BOM"),
        pytest.param(lambda content: content.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda content: content.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(lambda content: b"\xfe\xff" + content.decode().encode("utf-16-be"), id="UTF-16-BE"),
        pytest.param(lambda content: content + b"\n\r\n  \n", id="trailing blank lines"),
        pytest.param(lambda content: content.replace(b"\n", b"\n\n"), id="blank lines"),
        pytest.param(lambda content: content.rstrip(b"\n"), id="no last newline"),
        pytest.param(lambda content: content.replace(b" ", b"  "), id="two spaces"),
        pytest.param(lambda content: content.replace(b" ", b"\t"), id="tabs"),
        pytest.param(lambda content: content.replace(b" 7 ", b" 007 "), id="leading zeros"),
        pytest.param(lambda content: content.replace(b"Usage", b"usage "), id="case of the header"),
    ],
)
def test_variants_of_csv_syntax_are_read(path, rows, content, rewrite):
    path.write_bytes(rewrite(content))
    check_same(read_dataset(path), rows)


def test_quotes_are_removed(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("emotion", "pixels", "Usage"), *((row.emotion, row.pixels, row.usage) for row in rows)])
    check_same(read_dataset(path), rows)


def test_nul_bytes_are_refused_with_their_line(path, content):
    lines = content.split(b"\n")
    lines[3] = lines[3].replace(b" ", b"\0", 1)
    assert "line 4: 2303 pixels, expected 2304" in refusal(path, b"\n".join(lines))
    lines = content.split(b"\n")
    lines[3] = lines[3][:-1] + b"\0"
    assert r"line 4: Usage is 'Trainin\x00'" in refusal(path, b"\n".join(lines))


def test_utf16_that_ends_within_a_character_is_refused(path, content):
    assert "not valid UTF-16" in refusal(path, content.decode().encode("utf-16")[:-3])


def test_binary_data_is_refused(path):
    assert "line 1: no column emotion, pixels, Usage" in refusal(path, bytes(range(256)) * 9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": "1 " * 2302 + "1"}, "2303 pixels, expected 2304"),
        ({"pixels": "1 " * 2304 + "1"}, "2305 pixels, expected 2304"),
        ({"pixels": "1  " + "1 " * 2301 + "1"}, "2303 pixels, expected 2304"),
        ({"pixels": ""}, "0 pixels, expected 2304"),
        ({"pixels": "1 " * 2303 + "x"}, "pixel 2304 is 'x', expected 0 to 255"),
        ({"pixels": "-1" + " 1" * 2303}, "pixel 1 is '-1', expected 0 to 255"),
        ({"pixels": "256" + " 1" * 2303}, "pixel 1 is '256', expected 0 to 255"),
        ({"pixels": "999" + " 1" * 2303}, "pixel 1 is '999', expected 0 to 255"),
        ({"pixels": "1.0" + " 1" * 2303}, "pixel 1 is '1.0', expected 0 to 255"),
        ({"pixels": "1e1" + " 1" * 2303}, "pixel 1 is '1e1', expected 0 to 255"),
        ({"pixels": "²" + " 1" * 2303}, "pixel 1 is '²', expected 0 to 255"),
        ({"pixels": "nan" + " 1" * 2303}, "pixel 1 is 'nan', expected 0 to 255"),
        ({"emotion": "7"}, "emotion is '7', expected 0 to 6"),
        ({"emotion": "-1"}, "emotion is '-1', expected 0 to 6"),
        ({"emotion": ""}, "emotion is '', expected 0 to 6"),
        ({"emotion": "1.0"}, "emotion is '1.0', expected 0 to 6"),
        ({"usage": "Test"}, "Usage is 'Test', expected Training, PublicTest or PrivateTest"),
        ({"usage": "\x1b[2J"}, r"Usage is '\x1b[2J', expected"),
        ({"usage": "Training,1"}, "4 columns, expected 3"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(path, rows, to_csv, change, message):
    rows[5] = dataclasses.replace(rows[5], **change)
    assert refusal(path, to_csv(rows)).startswith(f"{path}: line 7: {message}")


def test_line_numbers_count_blank_lines(path, rows, to_csv):
    rows[0] = dataclasses.replace(rows[0], emotion="9")
    assert "line 5: emotion is '9'" in refusal(path, b"\n\n\n" + to_csv(rows))


def test_a_truncated_row_is_refused(path, content):
    assert "line 43: 2 columns, expected 3" in refusal(path, content[: content.rindex(b",")])


def test_the_first_five_wrong_lines_are_shown_and_all_are_counted(path, rows, to_csv):
    rows = [*rows[:2], *(dataclasses.replace(row, emotion="8") for row in rows[2:])]
    lines = refusal(path, to_csv(rows)).split("\n")
    assert lines[0] == f"{path}: 40 bad lines, the first 5:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [f"line {number}" for number in range(4, 9)]


def test_a_file_of_very_many_wrong_lines_is_not_read_to_its_end(path):
    """A packed file of a few kB can hold millions of them."""
    content = b"emotion,pixels,Usage\n" + b"0,0,Training\n" * 300_000
    assert refusal(path, content).split("\n")[0] == f"{path}: 100,000 bad lines or more, the first 5:"


@pytest.mark.parametrize("column", ["emotion", "pixels", "Usage"])
def test_a_missing_column_is_named_with_the_existing_columns(path, content, column):
    message = refusal(path, content.replace(column.encode(), b"other", 1))
    assert f"no column {column}; the columns are: " in message
    assert "other" in message


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(path, content):
    assert "no column emotion, pixels, Usage; the columns are: none" in refusal(path, content)


def test_a_header_alone_is_refused(path, to_csv):
    message = refusal(path, to_csv([]))
    assert "train has images of 0 of the 7 classes" in message
    assert "angry 0, disgust 0" in message


@pytest.mark.parametrize("place", [0, 14, 28])
def test_a_single_image_is_refused(path, rows, to_csv, place):
    """One image is not enough to train, select or score, for any Usage."""
    message = refusal(path, to_csv([rows[place]]))
    assert "has images of 1 of the 7 classes" in message
    assert "angry 1, disgust 0" in message


def test_a_single_class_is_refused(path, rows, to_csv):
    message = refusal(path, to_csv([row for row in rows if row.emotion == "3"]))
    assert "train: angry 0, disgust 0, fear 0, happy 2, sad 0, surprise 0, neutral 0" in message
    assert "test: angry 0, disgust 0, fear 0, happy 2, sad 0, surprise 0, neutral 0" in message


@pytest.mark.parametrize("usage", ["Training", "PublicTest"])
def test_train_and_valid_need_all_classes(path, rows, to_csv, usage):
    rows = [row for row in rows if (row.usage, row.emotion) != (usage, "1")]
    message = refusal(path, to_csv(rows))
    assert "has images of 6 of the 7 classes" in message
    assert "angry 2, disgust 0, fear 2" in message


def test_a_class_that_only_test_lacks_gives_a_note(path, rows, to_csv):
    """Six classes can be scored; a note names the missing class."""
    path.write_bytes(to_csv([row for row in rows if (row.usage, row.emotion) != ("PrivateTest", "1")]))
    assert read_dataset(path).notes == ("test has no image of disgust.",)


def test_a_usage_without_rows_gives_no_split(path, rows, to_csv):
    path.write_bytes(to_csv([row for row in rows if row.usage != "PrivateTest"]))
    assert list(read_dataset(path).splits) == [Split.TRAIN, Split.VALID]


def test_blank_images_give_a_note(path, rows, to_csv):
    rows[3] = dataclasses.replace(rows[3], pixels=" ".join(["0"] * 2304))
    path.write_bytes(to_csv(rows))
    assert read_dataset(path).notes == ("train has 1 blank image.",)


def test_a_line_of_100_mb_is_refused_in_little_memory(path, tmp_path):
    """Reading stops at the limit, so time and memory do not grow with the length of a line."""
    with path.open("wb") as file:
        file.write(b"emotion,pixels,Usage\n0,")
        file.truncate(100_000_000)
    code = (
        "import resource, sys\nfrom emotify.data import read_dataset\nfrom emotify.errors import InputError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    read_dataset(sys.argv[1])\nexcept InputError as error:\n    print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    message, kilobytes = run.stdout.splitlines()
    assert "line 2: longer than 65,536 bytes" in message
    assert int(kilobytes) < 20_000


@pytest.mark.parametrize(
    ("digits", "message"), [(1_000_000, "longer than 65,536 bytes"), (20_000, "'11111111111111111111...', expected")]
)
def test_a_number_of_very_many_digits_is_refused(path, rows, to_csv, digits, message):
    rows[0] = dataclasses.replace(rows[0], pixels="1" * digits + " 1" * 2303)
    assert message in refusal(path, to_csv(rows))


def test_a_missing_path_gives_the_download_address(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.csv does not exist.*kaggle.*--data synthetic"):
        read_dataset(tmp_path / "nowhere.csv")


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fer2013.csv")
    with pytest.raises(InputError, match="is neither a file nor a folder"):
        read_dataset(tmp_path / "fer2013.csv")
