"""What a release holds."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPO

MADE = ("PKG-INFO", "setup.cfg", "emotify.egg-info/")  # by setuptools
ONLY_IN_GIT = (".gitattributes", ".gitignore", ".github/")  # for git and GitHub


def source_files() -> list[str]:
    """All files of the repository, or of the source distribution that the tests run from."""
    if (REPO / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=True).stdout
        return [name for name in listed.split("\0") if name and (REPO / name).exists()]
    listed = (REPO / "emotify.egg-info" / "SOURCES.txt").read_text()
    return [name for name in listed.splitlines() if not name.startswith(MADE)]


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """A folder with the source distribution, and the wheel that is built from it."""
    source, unpacked, out = (tmp_path_factory.mktemp(name) for name in ("source", "unpacked", "out"))
    for name in source_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPO / name, source / name)
    build("sdist", source, out)
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        archive.extractall(unpacked, filter="data")
    build("wheel", next(unpacked.iterdir()), out)
    return out


def build(kind: str, source: Path, out: Path) -> None:
    """Without a network: what `python -m build --no-isolation` calls."""
    program = f"from setuptools import build_meta; build_meta.build_{kind}({str(out)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=source, check=True, capture_output=True, timeout=120)


@pytest.mark.slow
def test_the_source_distribution_has_all_that_the_tests_need(release):
    """Every file of the repository, but what only git and GitHub read."""
    with tarfile.open(next(release.glob("*.tar.gz"))) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    packed = {name for name in names if not name.startswith(MADE)}
    assert packed == {name for name in source_files() if not name.startswith(ONLY_IN_GIT)}
    assert {"tests/conftest.py", "CHANGELOG.md", "SECURITY.md", "constraints.txt", "samples/happy.jpg"} <= packed


@pytest.mark.slow
def test_the_wheel_has_the_package_and_its_licences_alone(release):
    """Models, templates and the marker of types are in it; tests, pages and samples are not."""
    with zipfile.ZipFile(next(release.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if not name.endswith("/")}
        metadata = {name.partition("/")[2] for name in packed if ".dist-info/" in name}
        notes = wheel.read(next(name for name in packed if name.endswith("METADATA"))).decode()
    assert {name for name in packed if ".dist-info/" not in name} == {
        name for name in source_files() if name.startswith("emotify/")
    }
    assert {"emotify/py.typed", "emotify/assets/model.onnx", "emotify/assets/MODEL_CARD.md"} <= packed
    assert {name for name in metadata if name.startswith("licenses/")} == {
        "licenses/LICENSE",
        "licenses/emotify/assets/faces/LICENSE",
        "licenses/emotify/assets/faces/NOTICE",
    }
    assert "License-Expression: MIT AND Apache-2.0" in notes
