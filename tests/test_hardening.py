"""Unusual environments, malicious weights, and a check that the source code executes no input."""

from __future__ import annotations

import ast
import json
import os
import struct
import subprocess
import sys
import time
from datetime import datetime, tzinfo
from pathlib import Path

import pytest
from safetensors import SafetensorError

import emotify
from emotify import files, runs
from emotify.errors import ModelError, WriteError
from emotify.training.checkpoint import load_tensors

SURROUNDINGS = {
    "no environment": 'exec env -i "$@"',
    "a dumb terminal without a home": 'exec env TERM=dumb HOME=/nowhere "$@"',
    "no standard input": 'exec "$@" <&-',
    "ASCII only": 'exec env PYTHONIOENCODING=ascii LC_ALL=C "$@"',
    "no permissions for others": 'umask 077; exec "$@"',
    "no folder for temporary files": 'exec env TMPDIR=/nowhere "$@"',
    "a deleted working folder": 'mkdir gone && cd gone && rmdir ../gone && exec "$@"',
}


@pytest.mark.parametrize("script", SURROUNDINGS.values(), ids=SURROUNDINGS.keys())
def test_predict_works_in_unusual_environments(script, class_folder, onnx_file, tmp_path):
    """Predictions are written, and no message about the environment is printed."""
    program = "from emotify.cli import main; main()"
    words = [class_folder / "happy" / "0.png", "--model", onnx_file, "--jsonl", "--csv", tmp_path / "a.csv", "-q"]
    command = [sys.executable, "-P", "-c", program, "predict", *map(str, words)]
    result = subprocess.run(["sh", "-c", script, "sh", *command], capture_output=True, text=True, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["status"] == "ok"
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 2


def test_two_runs_in_the_same_second_have_different_folders(tmp_path, monkeypatch):
    """A random suffix makes the names different. For equal suffixes, the error says that the folder exists."""

    class Noon:
        @staticmethod
        def now(zone: tzinfo) -> datetime:
            return datetime(2026, 1, 31, 12, tzinfo=zone)

    draws = iter([b"\0\0", b"\0\1", b"\0\1"])
    monkeypatch.setattr(runs, "datetime", Noon)
    monkeypatch.setattr(os, "urandom", lambda _: next(draws))
    assert [runs.new_folder(tmp_path, "cnn").name[-4:] for _ in range(2)] == ["0000", "0001"]
    with pytest.raises(WriteError, match="already exists"):
        runs.new_folder(tmp_path, "cnn")


def header(tensors: str, *, length: int | None = None, rest: bytes = bytes(16)) -> bytes:
    return struct.pack("<Q", len(tensors) if length is None else length) + tensors.encode() + rest


def described(shape: list[int], start: int, end: int) -> str:
    return json.dumps({"dtype": "F32", "shape": shape, "data_offsets": [start, end]})


HOSTILE = {
    "a header of 2**60 bytes": header("{}", length=2**60),
    "data after the end of the file": header(f'{{"a": {described([4], 0, 10**9)}}}'),
    "data before the start": header('{"a": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}}'),
    "two tensors with the same data": header(f'{{"a": {described([4], 0, 16)}, "b": {described([4], 0, 16)}}}'),
    "two tensors of the same name": header(f'{{"a": {described([2], 0, 8)}, "a": {described([2], 8, 16)}}}'),
    "a tensor of 10**12 values": header(f'{{"a": {described([10**12], 0, 4 * 10**12)}}}'),
    "a tensor of 10**12 values in 16 bytes": header(f'{{"a": {described([10**6, 10**6], 0, 16)}}}'),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_checkpoints_with_an_invalid_header_are_refused_at_once(content, tmp_path):
    """The header is checked before any tensor is read. The error takes less than 0.1 s of CPU time."""
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(content)
    begun = time.process_time()
    with pytest.raises(ModelError, match="damaged") as caught:
        load_tensors(path)
    assert isinstance(caught.value.__cause__, SafetensorError)  # not because the file lacks the metadata of emotify
    assert time.process_time() - begun < 0.1


def test_a_link_in_place_of_a_temporary_file_is_not_followed(tmp_path, monkeypatch):
    """This holds even if an attacker guesses the random name of the temporary file."""
    victim, link = tmp_path / "victim", tmp_path / "link.tmp"
    victim.write_text("mine")
    link.symlink_to(victim)
    monkeypatch.setattr(files, "_temporary", lambda _: link)
    with pytest.raises(WriteError, match=r"model\.onnx"):
        files.write_bytes(tmp_path / "model.onnx", b"new")
    assert victim.read_text() == "mine"


def test_an_existing_file_with_the_name_of_a_temporary_file_is_kept(tmp_path, monkeypatch):
    """This holds even if the random name already exists."""
    files.write_bytes(tmp_path / "first", b"")  # removes leftover temporary files now; this happens once per folder
    monkeypatch.setattr(os, "urandom", bytes)
    other = tmp_path / f".emotify.{'00' * 4}.tmp"
    other.write_text("mine")
    with pytest.raises(WriteError, match=r"model\.onnx"):
        files.write_bytes(tmp_path / "model.onnx", b"new")
    assert other.read_text() == "mine"
    assert not (tmp_path / "model.onnx").exists()


FUNCTIONS = {"eval", "exec"}
METHODS = {"extract", "extractall", "system", "popen", "register_custom_ops_library"}
# The processes of one Ray job exchange pickles in memory, as Ray does. They read no pickle from a file.
BETWEEN_OWN_PROCESSES = {"engines/ray_job.py", "engines/ray_worker.py"}
MODULES = {"pickle", "dill", "marshal", "shelve", "joblib", "yaml"}
OPTIONS = {"shell": True, "allow_pickle": True, "weights_only": False}


def test_the_source_code_does_not_execute_its_inputs():
    """It has no pickle, shell, `eval`, unpacking to disk, or custom operators of onnxruntime."""
    sources = sorted(Path(emotify.__file__).parent.rglob("*.py"))
    assert len(sources) > 90
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
                found = {name.partition(".")[0] for name in names} & MODULES
                inside = path.relative_to(Path(emotify.__file__).parent).as_posix()
                assert found <= ({"pickle"} if inside in BETWEEN_OWN_PROCESSES else set()), path
            if isinstance(node, ast.Call):
                assert getattr(node.func, "id", "") not in FUNCTIONS, (path, node.lineno)
                assert getattr(node.func, "attr", "") not in METHODS, (path, node.lineno)
                if ast.unparse(node.func) == "torch.load":
                    options = {option.arg: ast.unparse(option.value) for option in node.keywords}
                    assert options.get("weights_only") == "True", (path, node.lineno)
                for option in node.keywords:
                    if isinstance(option.value, ast.Constant) and option.arg in OPTIONS:
                        assert option.value.value is not OPTIONS[option.arg], (path, node.lineno)
