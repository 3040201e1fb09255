"""An exported model in onnxruntime: images in, probabilities out, and what the file says of itself."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from emotify.emotions import EMOTIONS
from emotify.errors import ModelError
from emotify.files import parse_json, printable
from emotify.prediction.runtime import ASSETS, read_model, run_model, start_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SCHEMA: Final = "1"
_HINT: Final = "make one with: emotify export RUN"
_PACKAGED: Final = {"default": "model.onnx", "fast": "fast.onnx"}
_BATCH: Final = 64  # images at once: larger batches are no faster on a CPU


class Session:
    """A classifier exported by `emotify export`, from the bytes of its file.

    Raises ModelError when they are no such model, or one made for other classes.
    """

    def __init__(
        self, content: bytes, *, name: str, threads: int = 0, device: str = "cpu", optimise: bool = True
    ) -> None:
        self.name = name
        self._session = start_session(content, name=name, hint=_HINT, threads=threads, device=device, optimise=optimise)
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        _check(self._session, self.metadata, printable(name))

    @property
    def temperature(self) -> float:
        """What the logarithms of the probabilities were divided by; 1 in a file that does not say."""
        try:
            temperature = float(self.metadata["emotify.temperature"])
        except (KeyError, ValueError):
            return 1.0
        return temperature if 0 < temperature < math.inf else 1.0

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return float32 probabilities (N, 7) of uint8 images (N, 1, 48, 48); N may be 0."""
        batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
        answers = [self._run(batch) for batch in batches]
        return np.concatenate(answers) if answers else np.zeros((0, len(EMOTIONS)), np.float32)

    def _run(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        answers = np.asarray(run_model(self._session, ["probabilities"], {"images": batch}, name=self.name)[0])
        if not np.isfinite(answers).all():
            name = printable(self.name)
            msg = f"{name} answers with what is no number: its weights are damaged, or too large for its precision"
            raise ModelError(msg)
        return answers


def open_session(path: Path, *, threads: int = 0, device: str = "cpu") -> Session:
    """Open an exported .onnx file. Raises ModelError when it is missing or no such model."""
    return Session(
        read_model(path, hint=_HINT),
        name=_name(path.resolve()),
        threads=threads,
        device=device,
    )


def _name(path: Path) -> str:
    """Return the file's name and that of its folder, unless that is the user's: names go into what is shared."""
    folder = path.parent.name
    own = os.path.basename(os.path.expanduser("~"))  # noqa: PTH111, PTH119 - Path.home raises where there is none
    return path.name if folder in {"", own} else f"{folder}/{path.name}"


def packaged_models() -> dict[str, Path]:
    """Return the models inside the package: name -> file."""
    files = {name: ASSETS / file for name, file in _PACKAGED.items()}
    return {name: path for name, path in files.items() if path.exists()}


def names_file(text: str) -> bool:
    """Whether `text` names an .onnx file, or a model inside the package, rather than a folder."""
    return Path(text).suffix.casefold() == ".onnx" or (text in packaged_models() and not Path(text).exists())


def find_model(given: str | os.PathLike[str] | None) -> Path:
    """Return the file of a model that is given as a path, as the name of one inside the package, or not at all.

    Raises ModelError for a name that none has.
    """
    models = packaged_models()
    text = os.fspath(given or "default")
    if text in models:
        return models[text]
    path = Path(text)
    if path.suffix or len(path.parts) != 1 or path.exists():
        return path
    msg = f"no model {printable(text)} inside emotify; there are {', '.join(models)}, or name an .onnx file"
    raise ModelError(msg)


def _check(session: InferenceSession, metadata: Mapping[str, str], name: str) -> None:
    """Raise ModelError unless the model is of the form that CONTRACT promises."""
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
    if outputs != [("probabilities", "tensor(float)", [len(EMOTIONS)])]:
        msg = f"{name} gives {outputs}; expected one output: probabilities, float32 (N, 7)"
        raise ModelError(msg)
    try:
        classes = tuple(parse_json(metadata["emotify.classes"]))
    except (KeyError, ValueError, TypeError):
        classes = ()
    if classes != EMOTIONS:
        msg = f"{name} has the classes {printable(str(classes)[:100])}; expected {', '.join(EMOTIONS)}"
        raise ModelError(msg)
