"""Reference vectors: a few faces in a model's metadata, with the probabilities that the model gave at export."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final

import numpy as np
import numpy.typing as npt

from emotify.choices import Head
from emotify.emotions import EMOTIONS
from emotify.errors import ModelError
from emotify.evaluation.classifier import Answers
from emotify.files import parse_json, printable
from emotify.onnx_runtime.classifier import Session
from emotify.pictures.pixels import IMAGE_SIZE

KEY: Final = "emotify.reference"
TOLERANCE: Final = 0.03  # largest allowed difference of a probability between CPUs, clients and versions


def encode(images: npt.NDArray[np.uint8], answers: Answers) -> str:
    """Encode images, uint8 (N, 1, 48, 48), and the probabilities of each head as JSON for the metadata."""
    pixels = base64.b64encode(images.tobytes()).decode("ascii")
    heads = {head.value: np.asarray(answers.of(head), np.float64).round(6).tolist() for head in answers.heads}
    return json.dumps({"pixels": pixels, "answers": heads})


def decode(text: str) -> tuple[npt.NDArray[np.uint8], Answers]:
    """Decode images, uint8 (N, 1, 48, 48), and the probabilities of each head. Raises ValueError for invalid text."""
    try:
        document = parse_json(text)
        pixels = np.frombuffer(base64.b64decode(document["pixels"], validate=True), np.uint8)
        images = pixels.reshape(-1, 1, IMAGE_SIZE, IMAGE_SIZE)
        with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and differs then
            heads = {
                Head(name): np.asarray(rows, np.float32).reshape(len(images), len(EMOTIONS))
                for name, rows in document["answers"].items()
            }
        return images, Answers(heads[Head.LABELS], heads.get(Head.CROWD))
    except (KeyError, TypeError, AttributeError, OverflowError, binascii.Error) as error:
        raise ValueError(str(error)) from error


def replay(session: Session) -> float | None:
    """Return the largest difference of a probability from the reference vectors, or None if the file has none.

    Raises ModelError if the reference vectors cannot be read.
    """
    text = session.metadata.get(KEY)
    if text is None:
        return None
    try:
        images, expected = decode(text)
    except ValueError as error:
        msg = f"the reference vectors of {printable(session.name)} are damaged; export it again"
        raise ModelError(msg) from error
    answers = session.answers(images)
    pairs = [(answers.of(head), expected.of(head)) for head in expected.heads]
    if any(answer is None for answer, _ in pairs):
        msg = f"the reference vectors of {printable(session.name)} are of a head that it does not have; export it again"
        raise ModelError(msg)
    return max(float(np.abs(np.subtract(answer, wanted)).max(initial=0.0)) for answer, wanted in pairs)  # type: ignore[arg-type]
