"""The places to search for data without --data."""

from __future__ import annotations

import pytest

from emotify.data import find_data
from emotify.errors import InputError

PLACES = ["fer2013.csv", "data/fer2013.csv", "data/fer2013", "fer2013"]


def test_a_given_path_wins(tmp_path):
    (tmp_path / "fer2013.csv").touch()
    assert find_data("x.csv", environment={"EMOTIFY_DATA": "y.csv"}, folder=tmp_path) == "x.csv"


def test_the_environment_variable_wins_over_the_usual_places(tmp_path):
    (tmp_path / "fer2013.csv").touch()
    assert find_data(None, environment={"EMOTIFY_DATA": "y.csv"}, folder=tmp_path) == "y.csv"


@pytest.mark.parametrize("first", range(len(PLACES)))
def test_the_usual_places_are_tried_in_their_order(tmp_path, first):
    for place in PLACES[first:]:
        (tmp_path / place).mkdir(parents=True)
    assert find_data(None, environment={"EMOTIFY_DATA": ""}, folder=tmp_path) == str(tmp_path / PLACES[first])


def test_without_data_the_error_gives_the_download_address_and_synthetic_data(tmp_path):
    """Synthetic faces are never used silently."""
    with pytest.raises(InputError, match=r"https://.*--data synthetic") as caught:
        find_data(None, environment={}, folder=tmp_path)
    assert caught.value.exit_code == 4
