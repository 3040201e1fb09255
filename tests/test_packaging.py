"""The contents of a release."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPO

MADE = ("PKG-INFO", "setup.cfg", "emotify.egg-info/")  # files that setuptools creates
ONLY_IN_GIT = (".gitattributes", ".gitignore", ".github/")  # for git and GitHub


def source_files() -> list[str]:
    """Return all files of the repository, or of the source distribution that the tests run from."""
    if (REPO / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=True).stdout
        return [name for name in listed.split("\0") if name and (REPO / name).exists()]
    listed = (REPO / "emotify.egg-info" / "SOURCES.txt").read_text()
    return [name for name in listed.splitlines() if not name.startswith(MADE)]


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """Build the source distribution, and the wheel from it; return their folder."""
    source, unpacked, out = (Path(tmp_path_factory.mktemp(name)) for name in ("source", "unpacked", "out"))
    for name in source_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPO / name, source / name)
    build("sdist", source, out)
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        archive.extractall(unpacked, filter="data")
    build("wheel", next(unpacked.iterdir()), out)
    return out


def build(kind: str, source: Path, out: Path) -> None:
    """Call the same backend as `python -m build --no-isolation`, without a network."""
    program = f"from setuptools import build_meta; build_meta.build_{kind}({str(out)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=source, check=True, capture_output=True, timeout=120)


@pytest.mark.slow
def test_the_source_distribution_has_every_file_that_the_tests_need(release):
    """It has every file of the repository, except those that only git and GitHub read."""
    with tarfile.open(next(release.glob("*.tar.gz"))) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    packed = {name for name in names if not name.startswith(MADE)}
    assert packed == {name for name in source_files() if not name.startswith(ONLY_IN_GIT)}
    assert {"tests/conftest.py", "CHANGELOG.md", "SECURITY.md", "constraints.txt", "samples/happy.jpg"} <= packed


@pytest.mark.slow
def test_the_wheel_has_only_the_package_and_its_licences(release):
    """It contains models, templates and py.typed, but no tests, docs or samples."""
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


def versions(text: str) -> dict[str, str]:
    """Return name -> version for lines like `name==version`."""
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-predict.lock"])
def test_a_lock_file_has_the_tested_versions_with_their_hashes(lock):
    """`just lock` was run after the last change of constraints.txt. Every package has a SHA-256."""
    text = (REPO / lock).read_text()
    tested, locked = versions((REPO / "constraints.txt").read_text()), versions(text)
    assert {name: locked[name] for name in locked.keys() & tested.keys()} == {
        name: tested[name] for name in locked.keys() & tested.keys()
    }
    packages = re.split(r"\n(?=\S)", text.strip())
    assert len(packages) == len(locked) > 15
    for package in packages:
        first, *hashes = package.replace(" \\", "").splitlines()
        assert hashes, first
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", line) for line in hashes), first


def test_the_lock_files_have_the_dependencies_of_emotify():
    """requirements.lock has all dependencies and extras except Ray and tools. The predict lock needs six packages."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["heic"], *extras["parquet"], *extras["video"]]
    locked = versions((REPO / "requirements.lock").read_text())
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement
    predicting = versions((REPO / "requirements-predict.lock").read_text())
    assert {"typer", "rich", "numpy", "pillow", "onnxruntime", "jinja2"} <= predicting.keys()
    assert "torch" not in predicting


def test_the_model_card_names_the_licence_of_every_packaged_model():
    """The card lists each packaged .onnx file. The NOTICE of the face detector has the SHA-256 of its file."""
    assets = REPO / "emotify" / "assets"
    card = (assets / "MODEL_CARD.md").read_text().partition("## Licences")[2]
    models = sorted(assets.rglob("*.onnx"))
    assert len(models) == 3
    for model in models:
        assert re.search(rf"^\|.*`{model.name}`.*\| (MIT|Apache-2.0),", card, re.MULTILINE), model
    detector = assets / "faces" / "blazeface_full_range.onnx"
    assert hashlib.sha256(detector.read_bytes()).hexdigest() in (assets / "faces" / "NOTICE").read_text()
