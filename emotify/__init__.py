"""Train, evaluate, ensemble, export and run classifiers of facial expressions on FER-2013-like faces."""

import os

TYPE_CHECKING = False  # not imported from typing, which is slow to load
if TYPE_CHECKING:
    from emotify.pictures.finding import find_pictures
    from emotify.prediction.faces import FaceResult
    from emotify.prediction.predictor import Predictor
    from emotify.prediction.results import PictureResult

# Set before anything imports onnxruntime, torch's exporter and worker processes included. It replaces the user's value.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
__all__ = ["FaceResult", "PictureResult", "Predictor", "__version__", "find_pictures"]

_PLACES = {
    "find_pictures": "emotify.pictures.finding",
    "Predictor": "emotify.prediction.predictor",
    "FaceResult": "emotify.prediction.faces",
    "PictureResult": "emotify.prediction.results",
}


def __getattr__(name: str) -> object:
    # Import a name at its first use, because `emotify --help` must not wait for NumPy.
    if name in _PLACES:
        from importlib import import_module

        return vars(import_module(_PLACES[name]))[name]
    msg = f"module 'emotify' has no attribute {name!r}"
    raise AttributeError(msg)
