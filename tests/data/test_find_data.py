"""The places to search for data without --data."""

from __future__ import annotations

import re

import pytest

from emotify.data import find_data
from emotify.errors import InputError
from tests.faults import printed_by_nobody

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


@pytest.mark.versions
@pytest.mark.parametrize(
    ("given", "closed", "mode", "named"),
    [
        (None, "data", 0, "data/fer2013.csv"),
        ("mine", "mine", 0, r"mine(/fer2013\.csv)?"),  # the folder itself from Python 3.14
        ("mine/x.csv", "mine", 0, "mine/x.csv"),
        ("mine", "mine", 0o111, "mine"),
        ("mine", "mine/test/happy", 0, "mine/test/happy"),
        ("mine", "mine/test/happy/deep", 0, "mine/test/happy/deep"),
    ],
)
def test_data_without_read_permission_is_an_error(given, closed, mode, named, tmp_path):
    """The error names the file or folder, also without --data and with votes beside the data. No bug is reported."""
    folder = tmp_path / closed
    (folder if "test" in closed else folder / "test" / "happy").mkdir(parents=True)
    if given == closed:
        (folder / "fer2013new.csv").touch()
    tmp_path.chmod(0o755)
    folder.chmod(mode)
    imports = "from emotify.data import find_data, find_ferplus, read_dataset\nfrom emotify.errors import InputError"
    statements = f"""
source = find_data({given!r}, environment={{}})
try:
    print(read_dataset(source, ferplus=find_ferplus(source, environment={{}})))
except InputError as error:
    print(error)
"""
    try:
        printed = printed_by_nobody(imports, statements, tmp_path)
        assert re.fullmatch(f"cannot read {named}: Permission denied", printed), printed
    finally:
        folder.chmod(0o755)
