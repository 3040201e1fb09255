"""Measure accuracy and confidence on small faces: valid, shrunk to several sizes and enlarged again as in predict.

    python tests/benchmarks/small_faces.py --data fer2013.csv [--ferplus fer2013new.csv] [default fast model.onnx ...]

Prints one line per model and size: accuracy; mean confidence; the temperature with the lowest NLL (above 1 if the model
is too confident); the NLL of the model, and the NLL with this temperature. With --ferplus, a file with two heads is
compared with the shares of the votes, and "accuracy" is the share of images where it names the majority.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from emotify.arrays import Float32Array, UInt8Array
from emotify.data import LabelledImages, Split, read_dataset
from emotify.emotions import EMOTIONS
from emotify.evaluation.crowd import crowd_shares
from emotify.evaluation.metrics import cross_entropy
from emotify.evaluation.temperature import fit_share_temperature, with_temperature
from emotify.onnx_runtime.classifier import Session, open_session
from emotify.opening import resolve
from emotify.pictures.pixels import IMAGE_SIZE, cut_square, whole_square

SIZES = (12, 16, 20, 24, 28, 32, 40, 48)


def shrink(images: UInt8Array, size: int) -> UInt8Array:
    """Return images (N, 1, 48, 48) as predict sees faces of `size` pixels."""
    smaller = [Image.fromarray(image[0]).resize((size, size), Image.Resampling.LANCZOS) for image in images]
    return np.stack([cut_square(image, whole_square(size, size)) for image in smaller])[:, None]


def targets(session: Session, valid: LabelledImages) -> Float32Array:
    """Return the ideal probabilities (N, 7) for a model."""
    if session.two_headed and valid.votes is not None:
        return crowd_shares(valid.votes)
    return np.eye(len(EMOTIONS), dtype=np.float32)[valid.labels]


def describe(session: Session, valid: LabelledImages, size: int) -> str:
    """Return the line for one model and size."""
    shares = targets(session, valid)
    named = shares.any(1)
    images, shares = valid.images[named], shares[named]
    answers = session.probabilities(shrink(images, size) if size < IMAGE_SIZE else images)
    temperature = fit_share_temperature(answers, shares)
    losses = [cross_entropy(p, shares) for p in (answers, with_temperature(answers, temperature))]
    accuracy = (answers.argmax(1) == shares.argmax(1)).mean()
    numbers = f"{accuracy:8.1%} {answers.max(1).mean():10.3f} {temperature:11.2f}"
    return f"{size:4} {numbers} {losses[0]:8.3f} {losses[1]:8.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["default", "fast"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--ferplus", type=Path)
    given = parser.parse_args()
    valid = read_dataset(given.data, ferplus=given.ferplus, look_for_duplicates=False).splits[Split.VALID]
    for name in given.models:
        session = open_session(resolve(name).path)
        print(f"{name}\nsize accuracy confidence temperature      NLL   fitted")
        for size in SIZES:
            print(describe(session, valid, size), flush=True)


if __name__ == "__main__":
    main()
