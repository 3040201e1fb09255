"""Write the answers of the packaged models for samples/: run `python tests/make_golden.py` in the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from emotify import Predictor
from emotify.opening import packaged_models

REPO = Path(__file__).parent.parent
GOLDEN = REPO / "tests" / "golden" / "samples.json"
Answers = dict[str, dict[str, list[dict[str, Any]]]]  # model -> picture -> its faces from left to right


def answer_samples() -> Answers:
    """Return box, label and probability of every face in samples/, for each model and picture."""
    pictures = sorted((REPO / "samples").glob("*.jpg"))
    answers: Answers = {}
    for model in packaged_models():
        results = Predictor(model).predict(pictures)
        answers[model] = {
            result.path.name: sorted(map(_face, result.to_dict()["faces"]), key=_left) for result in results
        }
    return answers


def _face(document: dict[str, Any]) -> dict[str, Any]:
    return {key: document[key] for key in ("box", "label", "probability")}


def _left(face: dict[str, Any]) -> float:
    return float(face["box"][0])


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(answer_samples(), indent=1) + "\n")
