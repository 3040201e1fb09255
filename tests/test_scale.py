"""The recipes of docs/scale.md work unchanged."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emotify import Predictor, find_pictures

PAGE = Path(__file__).parent.parent / "docs" / "scale.md"


def recipe(name: str) -> str:
    """Return the code block after the mark `name`."""
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, name
    return found[1]


@pytest.fixture
def photos(class_folder, tmp_path) -> Path:
    """Create a folder with the command `bin/emotify` and the pictures in `photos`."""
    shutil.copytree(class_folder, tmp_path / "photos")
    command = tmp_path / "bin" / "emotify"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m emotify "$@"\n')
    command.chmod(0o755)
    folder: Path = tmp_path
    return folder


def expected(folder: Path) -> dict[str, str]:
    """Return relative path -> label of each picture in `folder`."""
    results = Predictor(threads=1).predict(find_pictures(folder / "photos"))
    return {str(result.path.relative_to(folder)): result.faces[0].label for result in results}


def shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env={**os.environ, **environment, "PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def labels(lines: Path) -> dict[str, str]:
    documents = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len({document["path"] for document in documents}) == len(documents)
    return {document["path"]: document["faces"][0]["label"] for document in documents}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("parallel") is None, reason="needs GNU parallel")
def test_shards_under_gnu_parallel_hold_every_picture_once(photos):
    for _ in range(2):  # the second time all pictures are done, and no row is repeated
        done = shell(recipe("parallel"), photos)
        assert done.returncode == 0, done.stderr
        assert labels(photos / "rows.jsonl") == expected(photos)


@pytest.mark.slow
def test_the_tasks_of_a_slurm_array_are_shards(photos):
    """Two tasks of the script run with the variable that Slurm sets."""
    script = recipe("slurm").replace("/64", "/2")
    assert script != recipe("slurm")
    for index in ("0", "1"):
        done = shell(script, photos, SLURM_ARRAY_TASK_ID=index)
        assert done.returncode == 0, done.stderr
    assert labels(photos / "rows-0.jsonl") | labels(photos / "rows-1.jsonl") == expected(photos)


@pytest.mark.slow
def test_the_pods_of_a_kubernetes_job_are_shards(photos):
    """The job has as many indexes as shards. The script of a pod works with the variable that Kubernetes sets."""
    yaml = pytest.importorskip("yaml")
    spec = yaml.safe_load(recipe("kubernetes"))["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    (script,) = container["args"]
    assert f"/{spec['completions']}" in script
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == {"photos": "/photos", "rows": "/rows"}
    local = script.replace(" /photos ", " photos ").replace("/rows/", "").replace("/64", "/1")
    done = shell(local, photos, JOB_COMPLETION_INDEX="0")
    assert done.returncode == 0, done.stderr
    assert labels(photos / "0.jsonl") == expected(photos)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None or shutil.which("java") is None, reason="needs pyspark and Java"
)
def test_spark_gives_the_same_rows_as_the_command(photos):
    """Every picture has the same label. A file that is not a picture has a row with its status."""
    import pyarrow.parquet as pq

    wanted = expected(photos)
    (photos / "photos" / "cut.png").write_bytes(b"no picture")
    (photos / "recipe.py").write_text(recipe("spark"))
    done = subprocess.run(
        [sys.executable, "recipe.py"],
        cwd=photos,
        env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(photos / "rows").to_pylist()
    found = {row["path"].removeprefix(f"file:{photos}/"): row["label"] or row["status"] for row in rows}
    assert found == wanted | {"photos/cut.png": "not_an_image"}
    assert len(rows) == len(found)
