"""Measure what a network loses on small, blurred, compressed and turned faces.

python research/degraded_faces.py RUN RUN ... --data fer2013.csv --ferplus fer2013new.csv

The runs need a crowd head. The script degrades copies of the images of `valid` with a majority of FER+'s votes. For
each run it prints the accuracy of the crowd head on each kind of copy, and for each later run the difference from the
first one in points, with a 95 % interval by a paired bootstrap over images.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from majority import read_command_line
from PIL import Image, ImageFilter

from emotify.arrays import UInt8Array
from emotify.training.classifier import open_run

SIDE = 48
RESAMPLES = 2000


def shrunk(image: Image.Image, side: int) -> Image.Image:
    """Return an image shrunk to `side` pixels and enlarged again."""
    small = image.resize((side, side), Image.Resampling.LANCZOS)
    return small.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def compressed(image: Image.Image, quality: int) -> Image.Image:
    """Return an image after JPEG compression."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def turned(image: Image.Image, degrees: float) -> Image.Image:
    """Return an image turned about its centre, with repeated edges."""
    margin = SIDE // 2
    wide = Image.fromarray(np.pad(np.asarray(image), margin, mode="edge"))
    return wide.rotate(degrees, Image.Resampling.BICUBIC).crop((margin, margin, margin + SIDE, margin + SIDE))


KINDS: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "as it is": lambda image, _: image,
    "24 pixels": lambda image, _: shrunk(image, 24),
    "16 pixels": lambda image, _: shrunk(image, 16),
    "blur of 1.5 pixels": lambda image, _: image.filter(ImageFilter.GaussianBlur(1.5)),
    "JPEG of quality 10": lambda image, _: compressed(image, 10),
    "turned by 25 degrees": lambda image, number: turned(image, -25 if number % 2 else 25),
}


def degraded(images: UInt8Array, change: Callable[[Image.Image, int], Image.Image]) -> UInt8Array:
    """Return changed copies of images, uint8 (N, 1, 48, 48)."""
    return np.stack([np.asarray(change(Image.fromarray(image[0]), n))[None] for n, image in enumerate(images)])


def main() -> None:
    """Print the accuracies and the differences."""
    runs, valid = read_command_line(__doc__)
    copies = {kind: degraded(valid.images, change) for kind, change in KINDS.items()}
    draws = np.random.default_rng(0).integers(0, len(valid.images), (RESAMPLES, len(valid.images)))
    first: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    for run in runs:
        classifier = open_run(run, device="cpu")
        for kind, images in copies.items():
            crowd = classifier.answers(images).crowd
            assert crowd is not None
            right = (crowd.argmax(1) == valid.majority).astype(np.float64)
            line = f"{run.name}, {kind}: {right.mean():.2%}"
            if kind in first:
                difference = 100 * (right - first[kind])
                low, high = np.percentile(difference[draws].mean(1), [2.5, 97.5])
                line += f", {difference.mean():+.2f} points ({low:+.2f} to {high:+.2f})"
            first.setdefault(kind, right)
            print(line)


if __name__ == "__main__":
    main()
