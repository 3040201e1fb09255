"""FER+'s votes are added to the images of FER-2013's csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emotify.data import VOTES, Split, read_dataset
from emotify.errors import InputError

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


@pytest.fixture
def votes(rows):
    """FER+'s rows for the 42 images: of ten votes, the number of the row's own in neutral, the rest in happiness."""
    return [
        f"{row.usage},fer{place:07d}.png,{place % 10},{10 - place % 10},0,0,0,0,0,0,0,0"
        for place, row in enumerate(rows)
    ]


@pytest.fixture
def ferplus(tmp_path, votes):
    path = tmp_path / "fer2013new.csv"
    path.write_text("\n".join([HEADER, *votes]) + "\n")
    return path


def rewrite(path, votes):
    path.write_text("\n".join([HEADER, *votes]) + "\n")


def test_votes_are_added_in_the_order_of_each_usage(path, ferplus):
    splits = read_dataset(path, ferplus=ferplus).splits
    assert tuple(HEADER.split(",")[2:]) == VOTES
    for start, split in zip((0, 14, 28), Split, strict=True):
        votes = splits[split].votes
        assert votes is not None
        assert votes.dtype == np.uint8
        assert votes[:, 0].tolist() == [place % 10 for place in range(start, start + 14)]
        assert (votes.sum(axis=1) == 10).all()


def test_votes_stay_with_their_images_when_duplicates_are_dropped(path, rows, to_csv, ferplus, votes):
    path.write_bytes(to_csv([*rows[:1], *rows]))
    rewrite(ferplus, [*votes[:1], *votes])
    train = read_dataset(path, ferplus=ferplus, dedupe=True).splits[Split.TRAIN]
    assert train.votes is not None
    assert train.votes[:, 0].tolist() == [place % 10 for place in range(14)]


@pytest.mark.parametrize("count", [0, 13, 15])
def test_a_wrong_number_of_rows_is_refused(path, ferplus, votes, count):
    rewrite(ferplus, [*(votes[:1] * count), *votes[14:]])
    with pytest.raises(InputError, match=r"rows for train, but the data has 14 images"):
        read_dataset(path, ferplus=ferplus)


def test_every_split_with_a_wrong_number_of_rows_is_reported(path, ferplus, votes):
    rewrite(ferplus, votes[1:-1])
    with pytest.raises(InputError, match=r"13 rows for train, .* 14 images; 13 rows for test, .* 14 images; use"):
        read_dataset(path, ferplus=ferplus)


def test_the_first_five_wrong_lines_of_votes_are_listed_and_all_are_counted(path, ferplus, votes):
    rewrite(
        ferplus, [vote.replace(",0,0,0,0", ",x,0,0,0", 1) if number < 8 else vote for number, vote in enumerate(votes)]
    )
    with pytest.raises(InputError) as caught:
        read_dataset(path, ferplus=ferplus)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{ferplus}: 8 bad lines, the first 5:"
    assert len(lines) == 6


def test_rows_for_a_missing_split_are_ignored(path, rows, to_csv, ferplus):
    path.write_bytes(to_csv(rows[:28]))
    assert list(read_dataset(path, ferplus=ferplus).splits) == [Split.TRAIN, Split.VALID]


def test_images_without_votes_or_without_a_face_are_kept_and_counted(path, ferplus, votes):
    votes[0] = "Training,,0,0,0,0,0,0,0,0,0,0"
    votes[1] = "Training,,0,0,0,0,0,0,0,0,0,10"
    votes[2] = "Training,fer0000002.png,1,0,2,0,0,0,0,0,7,0"
    rewrite(ferplus, votes)
    dataset = read_dataset(path, ferplus=ferplus)
    assert len(dataset.splits[Split.TRAIN]) == 14
    assert dataset.notes == (
        "train keeps 1 image without a vote in FER+.",
        "train keeps 2 images whose most frequent FER+ vote is unknown or no face.",
    )


@pytest.mark.parametrize("vote", ["-1", "256", "1.5", "x", ""])
def test_a_vote_that_is_not_a_number_is_refused_with_its_line(path, ferplus, votes, vote):
    votes[3] = f"Training,fer.png,{vote},0,0,0,0,0,0,0,0,0"
    rewrite(ferplus, votes)
    with pytest.raises(InputError, match=f"line 5: neutral is '{vote}', expected a number of votes"):
        read_dataset(path, ferplus=ferplus)


def test_a_file_that_is_not_ferplus_is_refused(path):
    with pytest.raises(InputError, match="no column neutral, happiness"):
        read_dataset(path, ferplus=path)


def test_votes_need_fer2013s_csv(ferplus):
    """Drawn faces and class folders do not have the order of the votes."""
    with pytest.raises(InputError, match="the order of FER-2013's csv"):
        read_dataset("synthetic", ferplus=ferplus)


def test_a_missing_file_of_votes_is_named(path):
    with pytest.raises(InputError, match=r"cannot read nowhere\.csv: No such file"):
        read_dataset(path, ferplus=Path("nowhere.csv"))
