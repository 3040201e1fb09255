"""Commands import only the modules that they need, to start quickly."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.versions

WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "onnxscript", "safetensors", "sklearn", "scipy", "matplotlib"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""
HEAVY = (
    "torch", "onnx", "onnxruntime", "onnxscript", "numpy", "PIL", "matplotlib", "sklearn", "scipy", "rich", "pydantic",
)  # fmt: skip


def loaded_by(code: str) -> set[str]:
    """Return the heavy packages that a fresh interpreter has imported after `code`."""
    program = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_the_command_line_loads_nothing_heavy():
    """`emotify --help` imports no heavy package."""
    assert loaded_by("import emotify.cli") == set()


def test_help_loads_no_command():
    """`emotify --help` imports no command, and `predict` imports no other command."""
    code = "import sys\nfrom emotify.cli import app\ntry: app([{}])\nexcept SystemExit: pass\nprint(*sys.modules)"
    for word, loaded in (("'--help'", set()), ("'predict', '--help'", {"predict"})):
        shown = subprocess.run([sys.executable, "-c", code.format(word)], capture_output=True, text=True, check=True)
        modules = set(shown.stdout.splitlines()[-1].split())
        assert {name for name in ("train", "evaluate", "predict") if f"emotify.cli.{name}" in modules} == loaded


@pytest.mark.parametrize("options", [["--json"], ["--jsonl"], ["--truth", "none"]])
def test_predict_imports_only_what_it_needs(options, onnx_file, class_folder):
    """`predict` imports NumPy, Pillow and onnxruntime, also for scores, but no torch, SciPy or Matplotlib."""
    picture = next(class_folder.rglob("*.png"))
    words = ["predict", str(picture), "--model", str(onnx_file), *options]
    code = f"from emotify.cli import app\ntry: app({words!r})\nexcept SystemExit as end: assert not end.code"
    assert loaded_by(code) == {"numpy", "PIL", "onnxruntime"}


def test_the_library_imports_modules_at_first_use():
    """`import emotify` imports nothing heavy; Predictor imports what it needs, but no torch."""
    assert loaded_by("import emotify; emotify.__version__") == set()
    assert loaded_by("from emotify import find_pictures") == set()
    assert loaded_by("from emotify import Predictor; Predictor()") == {"numpy", "PIL", "onnxruntime"}


def test_predicting_needs_no_torch(class_folder):
    """The command and the library work without torch and other packages for training and export."""
    command = f"['predict', {str(class_folder)!r}, '--jsonl', '--faces', 'detect']"
    code = (
        f"{WITHOUT}\nimport contextlib, io\nfrom emotify import Predictor, find_pictures\nfrom emotify.cli import app\n"
        f"results = list(Predictor().predict(find_pictures([{str(class_folder)!r}])))\n"
        f"assert len(results) == 14 and all(result.faces for result in results)\n"
        f"with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        f"    try: app({command})\n"
        "    except SystemExit as end: assert not end.code\n"
        "assert out.getvalue().count('\\n') == 14"
    )
    assert loaded_by(code) == {"numpy", "PIL", "onnxruntime"}
