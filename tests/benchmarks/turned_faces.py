"""Count turned faces that are found, false faces in pictures without faces, and the time of the search.

    python tests/benchmarks/turned_faces.py PICTURES [--without OTHERS]

PICTURES: a folder of pictures with upright faces, which this script turns. OTHERS: a folder of pictures without faces.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

from PIL import Image

from emotify import find_pictures
from emotify.arrays import UInt8Array
from emotify.detection.boxes import Box
from emotify.detection.detector import load_detector
from emotify.pictures.reading import Picture, read_picture
from emotify.prediction.crops import find_faces

_ANGLES = (0, 45, 60, 75, 90, 180)


def main() -> None:
    """Print one line for each angle, and one for the pictures without faces."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--without", type=Path)
    options = parser.parse_args()
    detector = load_detector(threads=1)
    for angle in _ANGLES:
        found: Counter[str] = Counter()
        for picture in _read(options.pictures):
            turned = picture.image.rotate(-angle, Image.Resampling.BICUBIC, expand=True)
            faces = find_faces(Picture(turned, *turned.size), "auto", lambda: detector)
            found["missed" if not faces else "turned" if faces[0].turned else "as it is"] += 1
        print(f"{angle} degrees:", dict(found))
    if options.without:
        _measure_cost(list(_read(options.without)))


def _measure_cost(pictures: list[Picture]) -> None:
    detector = load_detector(threads=1)
    looks: list[float] = []  # seconds

    def timed(pixels: UInt8Array) -> list[Box]:
        begun = time.perf_counter()
        boxes = detector(pixels)
        looks.append(time.perf_counter() - begun)
        return boxes

    first = further = 0.0
    mistaken = 0
    for picture in pictures:
        looks.clear()
        faces = find_faces(picture, "auto", lambda: timed)
        mistaken += any(face.turned for face in faces)
        first += sum(looks[:1])
        further += sum(looks[1:])
    each = [f"{1000 * seconds / len(pictures):.1f} ms" for seconds in (first, further)]
    print(f"{len(pictures)} without a face: {each[0]} upright, {each[1]} turned; {mistaken} mistaken for one that lies")


def _read(folder: Path) -> list[Picture]:
    read = (read_picture(path, enough_side=1280) for path in find_pictures(folder))
    return [picture for picture in read if isinstance(picture, Picture)]


if __name__ == "__main__":
    main()
