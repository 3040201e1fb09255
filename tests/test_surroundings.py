"""emotify without an optional package, a home folder, a temporary folder or a user name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]

# Runs emotify as if one package were not installed.
WITHOUT = """
import sys

class Hidden:
    hidden = sys.argv.pop(1)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
from emotify.cli import main
main()
"""


@pytest.fixture
def face(tmp_path) -> Path:
    path: Path = tmp_path / "face.png"
    Image.fromarray(np.add.outer(np.arange(48), np.arange(48)).astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("module", "package", "words"),
    [
        ("numpy", "numpy", ["predict", "face.png"]),
        ("PIL", "pillow", ["predict", "face.png"]),
        ("onnxruntime", "onnxruntime", ["predict", "face.png"]),
        ("pyarrow", "pyarrow", ["predict", "face.png", "--parquet", "a.parquet"]),
        ("jinja2", "jinja2", ["predict", "face.png", "--report", "a.html"]),
        ("matplotlib", "matplotlib", ["predict", "face.png", "--explain", "why"]),
        ("torch", "torch", ["train", "--data", "synthetic"]),
        ("safetensors", "safetensors", ["train", "--data", "synthetic"]),
        ("scipy", "scipy", ["evaluate", "fast", "default", "--data", "synthetic"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_error_names_a_missing_package(module, package, words, face, tmp_path):
    """Exit 8 with the command that installs it, and no crash log."""
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT, module, *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment(os.environ),
    )  # fmt: skip
    assert result.returncode == 8, result.stderr
    assert f"pip install {package}" in result.stderr.splitlines()[-1]
    assert "bug" not in result.stderr
    assert not (tmp_path / "emotify.crash.log").exists()


def in_a_container(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run emotify in its own Linux namespaces, after a shell script that removes things."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no namespaces here")
    command = ["unshare", "-rm", "sh", "-c", f'{script}\nexec "$@"', "sh", sys.executable, "-m", "emotify", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(os.environ))


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with emotify on the path, and without the cache folder that torch sets."""
    kept = {name: value for name, value in variables.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    return {**kept, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--data", "synthetic", "--model", "fnn", "--epochs", "1", "--out", "/mnt/runs"],
        ["evaluate", "fast", "--data", "synthetic", "--report", "/mnt/report"],
        ["predict", "/mnt/face.png", "--explain", "/mnt/why"],
        ["predict", "/mnt/face.png", "--report", "-"],
        ["export", "fast", "--out", "/mnt/a.onnx"],
    ],
    ids=["train", "evaluate", "predict", "predict to a pipe", "export"],
)
def test_without_a_temporary_folder_the_error_names_tmpdir(words, face):
    """Exit 6 before any work, and no files are left. With TMPDIR, the same command works."""
    if any(Path(place).is_relative_to(hidden) for place in (sys.executable, ROOT) for hidden in ("/tmp", "/var/tmp")):
        pytest.skip("emotify is installed in the folder that this test hides")
    folder = face.parent
    script = f"""
        mount --bind {folder} /mnt || exit 77
        for place in /tmp /var/tmp /usr/tmp /dev/shm; do [ -d $place ] && mount -t tmpfs -o ro none $place; done
        cd /tmp; unset TMPDIR; export HOME=/nowhere
    """
    result = in_a_container(script, *words)
    if result.returncode == 77:
        pytest.skip("nothing can be mounted here")
    assert result.returncode == 6, result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: no folder for temporary files")
    assert "TMPDIR" in result.stderr
    assert [path.name for path in folder.iterdir()] == ["face.png"]
    result = in_a_container(f"{script}\nmkdir /mnt/tmp; export TMPDIR=/mnt/tmp", *words)
    assert result.returncode == 0, result.stderr


def test_a_full_temporary_folder_is_reported_when_compiling(tmp_path):
    """Exit 8, with one line about the missing space that torch.compile needs."""
    script = f"""
        mount -t tmpfs -o size=4k none /mnt; head -c 4096 /dev/zero > /mnt/full; export TMPDIR=/mnt
        export TORCHINDUCTOR_CACHE_DIR={tmp_path} CXX=g++; cd {tmp_path}
    """
    if not shutil.which("g++"):
        pytest.skip("no compiler")
    words = ["train", "--data", "synthetic", "--model", "fnn", "--epochs", "1", "--compile", "on"]
    result = in_a_container(script, *words)
    assert result.returncode == 8, result.stderr
    assert "TMPDIR" in result.stderr.splitlines()[-1]
    assert "bug" not in result.stderr


def without_waits(stderr: str) -> str:
    """Return the messages without those of waits, which a busy computer causes."""
    return "".join(line for line in stderr.splitlines(keepends=True) if not line.startswith("still "))


@pytest.mark.parametrize("words", [["predict", "{face}"], ["evaluate", "fast", "--data", "synthetic", "--json"]])
def test_predict_needs_no_home_no_shared_memory_and_no_user_name(words, face):
    """Also with a read-only /dev/shm, a full TMPDIR and a user without a name, -q prints only the results."""
    words = [word.format(face=face) for word in words] + ["-q"]
    script = """
        mount -t tmpfs -o ro none /dev/shm; mount -t tmpfs -o size=4k none /mnt; head -c 4096 /dev/zero > /mnt/full
        export TMPDIR=/mnt; unset HOME USER LOGNAME; cd /
    """
    result = in_a_container(script, *words)
    assert (result.returncode, without_waits(result.stderr)) == (0, "")
    nobody = ["unshare", "-U", "--map-user=12345", "--map-group=12345"]
    if subprocess.run([*nobody, "true"], capture_output=True).returncode:
        pytest.skip("users cannot be mapped here")
    command = [*nobody, sys.executable, "-m", "emotify", *words]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment({"PATH": os.environ["PATH"]})
    )
    assert (result.returncode, without_waits(result.stderr)) == (0, "")
