"""Run an exported classifier in onnxruntime: images in, probabilities out, and the metadata of the file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from emotify.choices import Head
from emotify.emotions import EMOTIONS
from emotify.errors import ModelError
from emotify.evaluation.classifier import Answers, no_crowd_head
from emotify.files import parse_json, printable
from emotify.onnx_runtime.session import read_model, run_model, start_session
from emotify.opening import packaged_models

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SCHEMA: Final = "1"
_HINT: Final = "make one with: emotify export RUN"
_BATCH: Final = 64  # images per batch; larger batches are not faster on a CPU


class Session:
    """A classifier from `emotify export`, loaded from the bytes of its file.

    Raises ModelError if the file is not such a model, is unsafe, has other classes, or lacks the requested head.
    Raises UnavailableError if the device is missing.
    """

    def __init__(
        self,
        content: bytes,
        *,
        name: str,
        threads: int = 0,
        device: str = "cpu",
        head: Head | None = None,
        optimise: bool = True,
    ) -> None:
        self.name = name
        self._session = start_session(content, name=name, hint=_HINT, threads=threads, device=device, optimise=optimise)
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        _check(self._session, self.metadata, printable(name))
        self.two_headed = len(self._session.get_outputs()) > 1
        self.head = head or (
            Head.CROWD if self.two_headed else Head.LABELS
        )  # the head whose probabilities are returned
        if self.head is Head.CROWD and not self.two_headed:
            raise no_crowd_head(name)

    @property
    def temperature(self) -> float:
        """The temperature by which the logits are divided; 1 if the file does not give it."""
        try:
            temperature = float(self.metadata["emotify.temperature"])
        except (KeyError, ValueError):
            return 1.0
        return temperature if 0 < temperature < math.inf else 1.0

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return probabilities, float32 (N, 7), for images, uint8 (N, 1, 48, 48); N may be 0.

        They are of the requested head. By default that is the crowd head, or the labels head if there is no crowd head.
        """
        output = "labels" if self.two_headed and self.head is Head.LABELS else "probabilities"
        return self._run((output,), images)[0]

    def answers(self, images: npt.NDArray[np.uint8]) -> Answers:
        """Return the probabilities of each head for images, uint8 (N, 1, 48, 48)."""
        outputs = ("labels", "probabilities") if self.two_headed else ("probabilities",)
        return Answers(*self._run(outputs, images))

    def _run(self, outputs: Sequence[str], images: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        """Return each output, float32 (N, 7), for images (N, 1, 48, 48); they are run in batches."""
        batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
        answers = [self._run_batch(outputs, batch) for batch in batches]
        nothing = np.zeros((0, len(EMOTIONS)), np.float32)
        return [np.concatenate([nothing, *(answer[place] for answer in answers)]) for place in range(len(outputs))]

    def _run_batch(self, outputs: Sequence[str], batch: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        answers = [np.asarray(one) for one in run_model(self._session, outputs, {"images": batch}, name=self.name)]
        if not all(np.isfinite(answer).all() for answer in answers):
            name = printable(self.name)
            msg = f"{name} gives NaN or infinite values: its weights are damaged or too large; export it again"
            raise ModelError(msg)
        return answers


def open_session(path: Path, *, threads: int = 0, device: str = "cpu", head: Head | None = None) -> Session:
    """Open an exported .onnx file. Raises ModelError if it is missing, cannot be used, or lacks the requested head."""
    return Session(
        read_model(path, hint=_HINT),
        name=_name(path.resolve()),
        threads=threads,
        device=device,
        head=head,
    )


def _name(path: Path) -> str:
    """Return the name of a model: its name in the package, or else its folder's and file's name.

    The folder is omitted if it has the user's name, since model names appear in files that are shared.
    """
    for name, packaged in packaged_models().items():
        if path == packaged.resolve():
            return name
    folder = path.parent.name
    own = os.path.basename(os.path.expanduser("~"))  # noqa: PTH111, PTH119 - Path.home raises where there is none
    return path.name if folder in {"", own} else f"{folder}/{path.name}"


def _check(session: InferenceSession, metadata: Mapping[str, str], name: str) -> None:
    """Raise ModelError unless the model has the format that docs/formats.md describes."""
    if "emotify.schema" not in metadata:
        msg = f"{name} was not made by emotify export: its metadata has no emotify.schema"
        raise ModelError(msg)
    if metadata["emotify.schema"] != SCHEMA:
        found = printable(metadata["emotify.schema"][:20])
        msg = f"{name} has schema {found}, this version reads {SCHEMA}; update emotify"
        raise ModelError(msg)
    inputs = [(value.name, value.type, value.shape[1:]) for value in session.get_inputs()]
    if inputs != [("images", "tensor(uint8)", [1, 48, 48])]:
        msg = f"{name} takes {inputs}; expected one input: images, uint8 (N, 1, 48, 48)"
        raise ModelError(msg)
    outputs = [(value.name, value.type, value.shape[1:]) for value in session.get_outputs()]
    expected = [(output, "tensor(float)", [len(EMOTIONS)]) for output in ("probabilities", "labels")]
    if outputs not in (expected[:1], expected):
        msg = f"{name} gives {outputs}; expected probabilities, float32 (N, 7), and optionally labels of that shape"
        raise ModelError(msg)
    try:
        classes = tuple(parse_json(metadata["emotify.classes"]))
    except (KeyError, ValueError, TypeError):
        classes = ()
    if classes != EMOTIONS:
        msg = f"{name} has the classes {printable(str(classes)[:100])}; expected {', '.join(EMOTIONS)}"
        raise ModelError(msg)
