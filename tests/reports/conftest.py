"""Fixtures: a report written by the command, and a browser that opens its pages."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from emotify.cli import app

BROWSER = Path(__file__).parents[1] / "browser.py"


@pytest.fixture(scope="session")
def report(runs, onnx_file, tiny_csv, tmp_path_factory) -> SimpleNamespace:
    """Write `evaluate --report --with-images` for three models; return its folder, page and JSON document."""
    folder = tmp_path_factory.mktemp("reports") / "report"
    words = ["evaluate", *map(str, runs), str(onnx_file), "--data", str(tiny_csv), "--json"]
    result = CliRunner().invoke(app, [*words, "--report", str(folder), "--with-images"])
    assert result.exit_code == 0, result.output
    return SimpleNamespace(folder=folder, page=folder / "index.html", document=json.loads(result.stdout))


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Start one browser for all tests in this folder: a `Page` of tests/browser.py."""
    with runpy.run_path(str(BROWSER))["browser"](tmp_path_factory.mktemp("profile")) as shown:
        yield shown
