"""What reading a data set gives: the sizes of its splits, or an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emotify.data import Dataset, read_dataset
from emotify.errors import InputError


def refusal(source: str | Path, **options: Any) -> str:
    """Return the message of the error that reading the data set raises."""
    with pytest.raises(InputError) as caught:
        read_dataset(source, **options)
    return str(caught.value)


def sizes(dataset: Dataset) -> dict[str, list[int]]:
    """Return the number of images of each class, for each split."""
    return {str(split): images.counts().tolist() for split, images in dataset.splits.items()}
