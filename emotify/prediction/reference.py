"""Reference vectors: a few faces in a file's metadata, and what the file answered to them when it was made."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final

import numpy as np
import numpy.typing as npt

from emotify.emotions import EMOTIONS
from emotify.errors import ModelError
from emotify.files import parse_json, printable
from emotify.pixels import IMAGE_SIZE
from emotify.prediction.session import Session

KEY: Final = "emotify.reference"
TOLERANCE: Final = 0.03  # of a probability: a CPU, a client or a version that differs by more computes something else


def encode(images: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32]) -> str:
    """Return images (N, 1, 48, 48) and their probabilities (N, 7) as the metadata hold them."""
    pixels = base64.b64encode(images.tobytes()).decode("ascii")
    return json.dumps({"pixels": pixels, "probabilities": [[round(float(p), 6) for p in row] for row in probabilities]})


def decode(text: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Return images and probabilities. Raises ValueError for what `encode` does not write."""
    try:
        document = parse_json(text)
        pixels = np.frombuffer(base64.b64decode(document["pixels"], validate=True), np.uint8)
        images = pixels.reshape(-1, 1, IMAGE_SIZE, IMAGE_SIZE)
        probabilities = np.asarray(document["probabilities"], np.float32).reshape(-1, len(EMOTIONS))
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError(str(error)) from error
    if len(images) != len(probabilities):
        raise ValueError("not as many answers as images")
    return images, probabilities


def replay(session: Session) -> float | None:
    """Return by how much the file's answers differ from its reference vectors; None for a file that has none.

    Raises ModelError when they cannot be read.
    """
    text = session.metadata.get(KEY)
    if text is None:
        return None
    try:
        images, expected = decode(text)
    except ValueError as error:
        msg = f"the reference vectors of {printable(session.name)} are damaged; export it again"
        raise ModelError(msg) from error
    return float(np.abs(session.probabilities(images) - expected).max(initial=0.0))
