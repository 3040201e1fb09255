"""What a command loads decides how long it takes to start."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy", "PIL", "matplotlib", "sklearn", "scipy", "rich")


def loaded_by(code: str) -> set[str]:
    """Return which heavy packages a fresh interpreter has loaded after `code`."""
    program = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_the_command_line_loads_nothing_heavy():
    """L10: `emotify --help` starts with Typer alone."""
    assert loaded_by("import emotify.cli") == set()


def test_predict_loads_what_it_runs(onnx_file, class_folder):
    """Predicting loads NumPy, Pillow and onnxruntime: no torch, no onnx, nothing to draw with."""
    picture = next(class_folder.rglob("*.png"))
    code = (
        "from emotify.cli import app\n"
        f"try: app(['predict', {str(picture)!r}, '--model', {str(onnx_file)!r}, '--truth', 'none'])\n"
        "except SystemExit as end: assert not end.code"
    )
    assert loaded_by(code) == {"numpy", "PIL", "onnxruntime"}
