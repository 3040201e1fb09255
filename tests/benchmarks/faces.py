"""Count found faces and false boxes in photographs, and time the detector on one thread.

    python tests/benchmarks/faces.py --photos ../shared/photos --boxes boxes.csv

`--boxes` has rows `file,x0,y0,x1,y1,clear`, drawn by hand. clear is 1 for a face that must be found, and 0 for a face
that counts neither as missed nor as false (hidden, blurred, turned away). Without --boxes, only the counts in truth.csv
are compared. Each picture is used as it is, mirrored, and smaller; faces below 24 pixels then do not count. To measure
the time, all pictures are resized to 1000 pixels, and the network alone runs on the same views in turn.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from emotify.detection.blazeface import BlazeFace
from emotify.detection.boxes import Boxes, overlaps, sides
from emotify.detection.detector import PACKAGED, Detector
from emotify.onnx_runtime.session import start_session
from emotify.pictures.reading import Failure, read_picture

SMALLEST = 24  # pixels a side of a face that has to be found
SAME = 0.3  # intersection over union


class Listening:
    """A session that keeps its inputs and adds up its CPU time."""

    def __init__(self, session: Any) -> None:
        self.session, self.seconds = session, 0.0
        self.shown: list[NDArray[np.float32]] = []

    def run(self, outputs: list[str], feed: dict[str, NDArray[np.float32]]) -> Any:
        begun = time.thread_time()
        answer = self.session.run(outputs, feed)
        self.seconds += time.thread_time() - begun
        self.shown += feed.values()
        return answer


def read_photos(folder: Path) -> dict[str, Image.Image]:
    """Return the upright pictures named in truth.csv that can be read here."""
    with (folder / "truth.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    pictures = {name: read_picture(folder / name) for name in names}
    return {name: picture.image for name, picture in pictures.items() if not isinstance(picture, Failure)}


def read_boxes(path: Path) -> dict[str, Boxes]:
    """Return the boxes (N, 5) of each picture; the last column is 1 for a face that must be found."""
    boxes: dict[str, list[list[float]]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            boxes[row["file"]].append([float(row[key]) for key in ("x0", "y0", "x1", "y1", "clear")])
    return {name: np.array(rows) for name, rows in boxes.items()}


def detect(detector: Detector, image: Image.Image) -> Boxes:
    return np.array([box[:5] for box in detector(np.asarray(image))], dtype=float).reshape(-1, 5)


def compare(found: Boxes, truth: Boxes) -> NDArray[np.int64]:
    """Return the number of faces that must be found, of faces that were found, and of false boxes."""
    needed = truth[(truth[:, 4] == 1) & (sides(truth) >= SMALLEST)]
    hits = sum(bool(len(found)) and overlaps(face, found).max() > SAME for face in needed)
    false = sum(not len(truth) or overlaps(box, truth).max() <= SAME for box in found)
    return np.array([len(needed), hits, false])


def score(detector: Detector, photos: dict[str, Image.Image], truth: dict[str, Boxes], shrink: float) -> None:
    """Compare the boxes found in all pictures and mirror images with the boxes drawn by hand, and print the result."""
    counts = np.zeros(3, int)
    for name, photo in photos.items():
        image = ImageOps.scale(photo, shrink) if shrink < 1 else photo
        factors = (image.width / photo.width, image.height / photo.height) * 2
        boxes = truth.get(name, np.empty((0, 5))) * (*factors, 1)
        mirrored = np.column_stack([image.width - boxes[:, 2], boxes[:, 1], image.width - boxes[:, 0], boxes[:, 3:]])
        for view, expected in ((image, boxes), (ImageOps.mirror(image), mirrored)):
            result = compare(detect(detector, view), expected)
            if result[0] != result[1] or result[2]:
                print(f"    {name}: {result[1]} of {result[0]} found, {result[2]} false")
            counts += result
    needed, hits, false = counts
    pictures = 2 * len(photos)
    print(f"at {shrink:g}: {hits} of {needed} faces ({hits / needed:.1%}), {false} false boxes in {pictures} pictures")


def count(detector: Detector, photos: dict[str, Image.Image], folder: Path) -> None:
    """Compare the number of boxes with the number of faces, and print the result."""
    found = expected = false = 0
    with (folder / "truth.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["file"] in photos:
                boxes, faces = len(detect(detector, photos[row["file"]])), int(row["faces"])
                found, expected, false = found + min(boxes, faces), expected + faces, false + max(0, boxes - faces)
    print(f"by counts: {found} of {expected} faces, {false} false boxes in {len(photos)} pictures")


def measure(session: Any, photos: dict[str, Image.Image], *, side: int, turns: int) -> None:
    """Print the time per picture and its ratio to the time of the network alone on the same views, timed in turns."""
    times, alone, shares, views = [], [], [], []
    for photo in photos.values():
        pixels = np.asarray(ImageOps.contain(photo, (side, side)))
        rounds = []
        for _ in range(turns):
            listening = Listening(session)
            detector = BlazeFace(listening)
            begun = time.thread_time()
            detector(pixels)
            whole = time.thread_time() - begun
            begun = time.thread_time()
            for batch in listening.shown:
                session.run(["boxes", "scores"], {"input": batch})
            rounds.append((whole, time.thread_time() - begun, listening.seconds / whole))
        whole, bare, share = (statistics.median(values) for values in zip(*rounds, strict=True))
        times.append(1000 * whole)
        alone.append(1000 * bare)
        shares.append(share)
        views.append(sum(map(len, listening.shown)))
    mean, median = statistics.mean(times), statistics.median(times)
    print(f"{mean:.0f} ms a picture of {side} pixels (median {median:.0f}, most {max(times):.0f}), of processor time;")
    print(f"{mean / statistics.mean(alone):.2f} of the network alone on the same {statistics.mean(views):.1f} views;")
    print(f"{statistics.mean(shares):.0%} of the time is the network's")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--boxes", type=Path)
    parser.add_argument("--shrink", type=float, nargs="*", default=[1, 0.75, 0.5])
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    session = start_session(PACKAGED.read_bytes(), name="the detector", hint="", threads=1)
    photos = read_photos(options.photos)
    detector = BlazeFace(session)
    count(detector, photos, options.photos)
    for shrink in options.shrink if options.boxes else ():
        score(detector, photos, read_boxes(options.boxes), shrink)
    measure(session, photos, side=options.side, turns=options.turns)


if __name__ == "__main__":
    main()
