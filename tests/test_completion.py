"""Completions that a shell offers for Tab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from emotify.cli.completion import network_names
from emotify.networks import NETWORKS


def offered(words: str, *, folder: Path) -> list[str]:
    """Return bash's completions of the last word, which may be empty. Completion must not need torch."""
    code = "import sys; sys.modules['torch'] = None; sys.argv = ['emotify']; from emotify.cli import main; main()"
    environment = os.environ | {
        "_EMOTIFY_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    shown = subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True)
    assert not shown.stderr, shown.stderr
    return shown.stdout.split()


def test_completed_network_names_equal_the_networks():
    assert network_names() == list(NETWORKS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("emotify ", ["train", "evaluate", "ensemble", "export", "predict"]),
        ("emotify train --model ", list(NETWORKS)),
        ("emotify train --model cnn", ["cnn", "cnn-eq"]),
        ("emotify train --recipe ", ["fast", "standard", "best"]),
        ("emotify train --distill f", ["fast"]),
        ("emotify predict --model ", ["default", "fast", "runs/a.onnx"]),
        ("emotify predict --faces w", ["whole"]),
        ("emotify evaluate runs/", ["runs/both", "runs/done", "runs/a.onnx"]),
        ("emotify ensemble ", ["runs/done"]),
        ("emotify export ", ["runs/both", "runs/done"]),
        ("emotify train --resume ", ["runs/begun"]),
        ("emotify predict photos/", []),  # the shell's own files
    ],
)
def test_values_are_completed(words, expected, tmp_path):
    """Choices, models, networks and runs are offered; without a match, the shell offers files."""
    for file in ("both/ensemble.json", "begun/state.safetensors", "a.onnx"):
        (tmp_path / "runs" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / file).write_text("{}")
    (tmp_path / "runs" / "begun" / "run.json").write_text('{"schema": 1, "status": "interrupted"}')
    (tmp_path / "runs" / "done").mkdir()
    (tmp_path / "runs" / "done" / "run.json").write_text('{"schema": 1, "status": "finished"}')
    assert offered(words, folder=tmp_path) == expected
