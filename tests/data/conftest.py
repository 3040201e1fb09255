"""Small data in FER-2013's format: two noise images for each class and Usage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emotify.emotions import EMOTIONS

USAGES = ("Training", "PublicTest", "PrivateTest")


@dataclasses.dataclass(frozen=True)
class Row:
    emotion: str
    pixels: str
    usage: str

    @property
    def image(self) -> np.ndarray:
        return np.array(self.pixels.split(), np.uint8).reshape(1, 48, 48)


@pytest.fixture
def rows() -> list[Row]:
    """42 rows: for each Usage, classes 0..6 twice. Row 0 is on line 2 of its file."""
    noise = np.random.default_rng(0).integers(0, 256, (42, 2304))
    return [Row(str(place % 7), " ".join(map(str, pixels)), USAGES[place // 14]) for place, pixels in enumerate(noise)]


@pytest.fixture(scope="session")
def to_csv() -> Callable[[Sequence[Row]], bytes]:
    def write(rows: Sequence[Row]) -> bytes:
        lines = ["emotion,pixels,Usage", *(f"{row.emotion},{row.pixels},{row.usage}" for row in rows)]
        return ("\n".join(lines) + "\n").encode()

    return write


@pytest.fixture
def content(rows: list[Row], to_csv: Callable[[Sequence[Row]], bytes]) -> bytes:
    return to_csv(rows)


@pytest.fixture
def path(tmp_path: Path, content: bytes) -> Path:
    """A correct fer2013.csv."""
    path = tmp_path / "fer2013.csv"
    path.write_bytes(content)
    return path


@pytest.fixture
def noise():
    """Different grey 48x48 pictures."""
    generator = np.random.default_rng(0)
    return lambda: Image.fromarray(generator.integers(0, 256, (48, 48), dtype=np.uint8))


@pytest.fixture
def fill(noise):
    """Make folders of classes with `each` pictures in them."""

    def make(folder, names=EMOTIONS, each=10):
        for name in names:
            (folder / name).mkdir(parents=True)
            for number in range(each):
                noise().save(folder / name / f"{number}.png")
        return folder

    return make


@pytest.fixture
def folder(tmp_path, fill):
    """A data folder with `train/` and `test/`."""
    fill(tmp_path / "fer" / "train")
    fill(tmp_path / "fer" / "test", each=2)
    return tmp_path / "fer"
