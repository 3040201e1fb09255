"""A report made by the command, and a browser to open it in."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from emotify.cli import app

_QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --allow-file-access-from-files "
    "--hide-scrollbars --enable-logging=stderr --virtual-time-budget=5000 --window-size=1200,900 --dump-dom"
)


@pytest.fixture(scope="session")
def report(runs, onnx_file, tiny_csv, tmp_path_factory) -> SimpleNamespace:
    """The folder of `evaluate --report --with-images` on three models, and the document of its --json."""
    folder = tmp_path_factory.mktemp("reports") / "report"
    words = ["evaluate", *map(str, runs), str(onnx_file), "--data", str(tiny_csv), "--json"]
    result = CliRunner().invoke(app, [*words, "--report", str(folder), "--with-images"])
    assert result.exit_code == 0, result.output
    return SimpleNamespace(folder=folder, page=folder / "index.html", document=json.loads(result.stdout))


@pytest.fixture(scope="session")
def in_browser(tmp_path_factory):
    """Open pages in frames of 360 and 1000 pixels and return what a script finds in each, and what the console says."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium to open the report in; install chromium")

    def look(script: str, *pages: Path, dark: bool = False) -> tuple[list[dict[str, Any]], list[str]]:
        folder = tmp_path_factory.mktemp("browser")
        frames = "".join(
            f'<iframe src="{page.as_uri()}" style="border:0;width:{width}px;height:800px"></iframe>'
            for page in pages
            for width in (360, 1000)
        )
        collect = (
            f"onload = () => {{ const look = (frame) => {{ const page = frame.contentDocument; {script} }};"
            "const found = [...document.querySelectorAll('iframe')].map(look);"
            "document.body.replaceChildren(JSON.stringify(found)); }"
        )
        harness = folder / "harness.html"
        harness.write_text(f"<!doctype html><meta charset=utf-8><script>{collect}</script><body>{frames}")
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
        command = [browser, *_QUIET.split(), *scheme, f"--user-data-dir={folder / 'profile'}", harness.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        match = re.search(r"<body>(.*)</body>", done.stdout, re.DOTALL)
        assert match, done.stderr
        text = match[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        return json.loads(text), [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return look
