"""Names of class folders: numbers in the order of a data set, and classes outside of the seven."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from emotify.cli import app
from emotify.data import ClassRules, Split, read_dataset
from emotify.emotions import CLASS_ORDERS, EMOTIONS
from emotify.errors import InputError, UsageError
from tests.data import outcomes

AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")


@pytest.fixture
def numbered(tmp_path, fill):
    """Make `test/` with numbered class folders: 1 picture in the first, 2 in the second, and so on."""

    def make(*numbers):
        for count, number in enumerate(numbers, 1):
            fill(tmp_path / "set" / "test", [str(number)], each=count)
        return tmp_path / "set"

    return make


def counts(folder, **rules):
    """Return the number of test images of each expression, and the warnings."""
    dataset = read_dataset(folder, scored=Split.TEST, rules=ClassRules(**rules))
    pairs = zip(EMOTIONS, dataset.splits[Split.TEST].counts().tolist(), strict=True)
    return {emotion: count for emotion, count in pairs if count}, dataset.warnings


def refusal(folder, **rules) -> str:
    return outcomes.refusal(folder, scored=Split.TEST, rules=ClassRules(**rules))


def evaluate(*words: object, code: int = 0):
    result = CliRunner().invoke(app, ["evaluate", "fast", "--split", "test", *map(str, words)])
    assert result.exit_code == code, result.output
    return result


def test_numbers_have_fer2013s_order_with_a_warning(numbered):
    told = "numbers are read in FER-2013's order: 0 angry, 1 disgust, 2 fear, 3 happy, 4 sad, 5 surprise, 6 neutral"
    result = evaluate("--data", numbered(*range(7)), "--quiet", "--json")
    assert told in result.stderr
    assert told in json.loads(result.stdout)["data"]["warnings"][0]
    assert json.loads(result.stdout)["results"][0]["per_class"]["neutral"]["support"] == 7


def test_class_words_give_no_warning(tmp_path, fill):
    assert counts(fill(tmp_path / "set" / "test", each=1).parent)[1] == ()


@pytest.mark.parametrize("numbers", [range(1, 8), range(1, 7), (1, 3, 4)])
def test_numbers_from_1_are_refused_and_the_error_suggests_an_order(numbered, numbers):
    message = refusal(numbered(*numbers))
    assert "RAF-DB counts from 1 (1 surprise, 2 fear, 3 disgust, 4 happy, 5 sad, 6 angry, 7 neutral)" in message
    assert "--class-order rafdb" in message


def test_the_suggested_order_for_numbers_from_1_gives_correct_labels(numbered):
    found, warnings = counts(numbered(*range(1, 8)), order="rafdb")
    assert found == {"surprise": 1, "fear": 2, "disgust": 3, "happy": 4, "sad": 5, "angry": 6, "neutral": 7}
    assert "in the order of --class-order rafdb: 1 surprise" in warnings[0]


@pytest.mark.parametrize("numbers", [range(8), range(9), (0, 7)])
def test_numbers_above_6_are_refused_even_when_classes_are_excluded(numbered, numbers):
    folder = numbered(*numbers)
    assert "--class-order affectnet, ferplus or ckplus" in refusal(folder)
    assert "--class-order affectnet" in refusal(folder, excluded="7,8,contempt")


@pytest.mark.parametrize("order", ["affectnet", "ferplus", "ckplus"])
def test_contempt_must_be_excluded(numbered, order):
    folder = numbered(*range(8))
    number = next(number for number, name in CLASS_ORDERS[order].items() if name == "contempt")
    assert f"{number} is contempt, which is not one of the classes" in refusal(folder, order=order)
    found, warnings = counts(folder, order=order, excluded="contempt")
    assert found == {name: number + 1 for number, name in CLASS_ORDERS[order].items() if name in EMOTIONS}
    assert f"test: excluded {number + 1} images of {number} (--exclude-classes)." in warnings


def test_a_number_outside_of_the_order_is_refused(numbered):
    assert "8 is a number that the class order does not have" in refusal(numbered(1, 2, 8), order="rafdb")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes.txt", "\n".join(AFFECTNET)),
        ("labels.txt", "\n".join(f"{number}: {word}" for number, word in enumerate(AFFECTNET))),
        ("Labels.txt", "\ufeff" + "\r\n".join(f"{word} {number}" for number, word in enumerate(AFFECTNET))),
        ("class_names.json", json.dumps(AFFECTNET)),
        ("class_to_idx.json", json.dumps({word: number for number, word in enumerate(AFFECTNET)})),
        ("label_map.json", json.dumps(dict(enumerate(AFFECTNET)))),
    ],
)
@pytest.mark.parametrize("place", [".", "test"])
def test_a_list_of_classes_gives_the_order_of_numbers(numbered, name, content, place):
    folder = numbered(*range(7))
    (folder / place / name).write_text(content, encoding="utf-8")
    found, warnings = counts(folder)
    assert found == {"neutral": 1, "happy": 2, "sad": 3, "surprise": 4, "fear": 5, "disgust": 6, "angry": 7}
    assert f"{name}: 0 neutral, 1 happy" in warnings[0]


def test_a_list_of_words_counts_from_1_when_the_folders_do(numbered):
    folder = numbered(*range(1, 8))
    (folder / "classes.txt").write_text("surprise\nfear\ndisgust\nhappy\nsad\nangry\nneutral\n")
    assert counts(folder)[0]["neutral"] == 7


def test_the_option_wins_over_a_list(numbered):
    folder = numbered(*range(7))
    (folder / "classes.txt").write_text("\n".join(AFFECTNET))
    assert counts(folder, order="fer2013")[0]["angry"] == 1


@pytest.mark.parametrize(
    "content",
    [
        "train_0001.jpg 5\ntest_0001.jpg 2\n",
        "happy\ntired\n",
        "{",
        "[1]",
        "3",
        '"happy"',
        "happy 1\nsad 1",
        "",
        "\n".join(AFFECTNET) + "\n" * 100_000,
    ],
    ids=lambda content: content[:20],
)
def test_an_unreadable_list_of_classes_gives_a_warning(numbered, content):
    folder = numbered(*range(7))
    (folder / "labels.txt").write_text(content)
    found, warnings = counts(folder)
    assert found["angry"] == 1
    assert "labels.txt is not a readable list of classes" in warnings[0]


def test_lists_that_differ_are_refused(numbered):
    folder = numbered(*range(7))
    (folder / "classes.txt").write_text("\n".join(AFFECTNET))
    (folder / "labels.txt").write_text("\n".join(EMOTIONS))
    assert "give the classes different numbers" in refusal(folder)


def test_a_folder_named_after_another_data_set_gets_a_hint(numbered):
    folder = numbered(*range(7))
    renamed = folder.rename(folder.with_name("AffectNet-7"))
    assert "the name of the data suggests --class-order affectnet" in counts(renamed)[1][0]


def test_classes_outside_of_the_seven_can_be_excluded(tmp_path, fill):
    folder = fill(tmp_path / "set" / "test", [*EMOTIONS, "Contempt", "tired", "7_contempt"], each=2).parent
    assert "2 mistakes" not in refusal(folder)
    assert refusal(folder).splitlines()[0] == f"{folder}: 3 mistakes:"
    found, warnings = counts(folder, excluded="contempt, tired")
    assert found == dict.fromkeys(EMOTIONS, 2)
    assert set(warnings) == {
        "test: excluded 2 images of 7_contempt (--exclude-classes).",
        "test: excluded 2 images of Contempt (--exclude-classes).",
        "test: excluded 2 images of tired (--exclude-classes).",
    }


def test_one_of_the_seven_classes_can_be_excluded(tmp_path, fill, path):
    folder = fill(tmp_path / "set" / "test", each=2).parent
    found, warnings = counts(folder, excluded="neutral")
    assert found == dict.fromkeys(EMOTIONS[:6], 2)
    assert warnings == ("test: excluded 2 images of neutral (--exclude-classes).", "test has no image of neutral.")
    found, warnings = counts(path, excluded="sadness")
    assert "sad" not in found
    assert warnings[0] == "excluded 6 images of sad (--exclude-classes)."


def test_excluding_a_missing_class_gives_a_warning(tmp_path, fill, path):
    folder = fill(tmp_path / "set" / "test", each=2).parent
    for source in (folder, path):
        assert counts(source, excluded="contempt")[1] == (
            "--exclude-classes contempt has no effect: the data has no such class.",
        )


def test_a_split_with_missing_classes_is_scored_with_a_warning(tmp_path, fill):
    """Train may have only one class, because it is not scored."""
    fill(tmp_path / "set" / "test", ["happy", "sad"], each=2)
    fill(tmp_path / "set" / "train", ["happy"], each=2)
    found, warnings = counts(tmp_path / "set")
    assert found == {"happy": 2, "sad": 2}
    assert warnings == ("test has no image of angry, disgust, fear, surprise, neutral.",)
    result = evaluate("--data", tmp_path / "set", "--json")
    assert json.loads(result.stdout)["results"][0]["n"] == 4
    with pytest.raises(InputError, match="train has images of 1 of the 7 classes"):
        read_dataset(tmp_path / "set")


def test_the_codes_of_kdef_are_known(tmp_path, fill):
    folder = fill(tmp_path / "set" / "test", ["AF", "AN", "DI", "HA", "NE", "SA", "SU"], each=1).parent
    assert counts(folder)[0] == dict.fromkeys(EMOTIONS, 1)


def test_an_order_without_numbered_folders_gives_a_warning(tmp_path, fill):
    folder = fill(tmp_path / "set" / "test", each=1).parent
    assert counts(folder, order="rafdb")[1] == ("--class-order has no effect: no class folder is a number.",)


def test_an_order_for_a_csv_is_refused(path):
    with pytest.raises(UsageError, match="--class-order works only with class folders"):
        counts(path, order="affectnet")
    evaluate("--data", path, "--class-order", "nonsense", code=2)


def test_a_run_keeps_its_class_options(tmp_path, fill, monkeypatch):
    """Its config.json and the next command have the options."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "set", map(str, range(8)), each=3)
    words = ["train", "--data", "set", "--model", "fnn", "--epochs", "1", "--batch-size", "7"]
    options = ["--class-order", "affectnet", "--exclude-classes", "contempt"]
    result = CliRunner().invoke(app, [*words, *options, "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    config = json.loads((tmp_path / document["folder"] / "config.json").read_text())
    assert (config["class_order"], config["exclude_classes"]) == ("affectnet", "contempt")
    assert any("0 neutral, 1 happy" in warning for warning in document["data"]["warnings"])
    shutil.rmtree(tmp_path / "runs")
    result = CliRunner().invoke(app, [*words, *options])
    assert "--data set --class-order affectnet --exclude-classes contempt" in result.stderr
