"""Train, evaluate, ensemble, export and run classifiers of facial expressions on FER-2013-like faces."""

import os

TYPE_CHECKING = False  # that of typing, which takes a while to load
if TYPE_CHECKING:
    from emotify.pictures.finding import find_pictures
    from emotify.prediction.predictor import FaceResult, PictureResult, Predictor

# Before anything can import onnxruntime, also torch's exporter and worker processes; whatever it was set to before.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
__all__ = ["FaceResult", "PictureResult", "Predictor", "__version__", "find_pictures"]


def __getattr__(name: str) -> object:
    # Only what is used is loaded, and when it is: `emotify --help` must not wait for NumPy.
    if name == "find_pictures":
        from emotify.pictures import finding

        return finding.find_pictures
    if name in __all__:
        from emotify.prediction import predictor

        return vars(predictor)[name]
    msg = f"module 'emotify' has no attribute {name!r}"
    raise AttributeError(msg)
