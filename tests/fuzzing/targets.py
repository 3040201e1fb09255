"""The targets of the fuzzer. Each target calls the function that reads such bytes in a command, and returns a result.

A target may raise EmotifyError, which a command prints in one line. Any other exception is a fault.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from emotify.data import read_dataset
from emotify.data.class_folders import ClassRules
from emotify.engines.output import Output
from emotify.ensembling.ensemble import open_ensemble
from emotify.exporting.read_back import read_network
from emotify.files import file_sha256, printable
from emotify.onnx_runtime.classifier import Session, open_session
from emotify.onnx_runtime.reference import replay
from emotify.opening import packaged_models
from emotify.pictures.file_list import read_names
from emotify.pictures.reading import Failure, read_picture
from emotify.prediction.outputs.lines import lines_file
from emotify.prediction.results import PictureResult
from emotify.prediction.video import all_frames, clip_frames, frame_count, frame_rate, frames_at
from emotify.runs import read_whole_run
from emotify.training.checkpoint import load_tensors, save_tensors
from emotify.training.classifier import open_run
from emotify.training.config import TrainConfig, read_config
from emotify.training.recipes import distinguish
from emotify.training.run_folder import changes_since, resumed_run
from tests.fuzzing.mutations import (
    Mutate,
    change_archive,
    change_bytes,
    change_json,
    change_lines,
    change_model,
    change_picture,
)
from tests.training.short_runs import train

CORPUS = Path(__file__).with_name("corpus")


@dataclass(frozen=True)
class Target:
    """A function that reads bytes in its own folder, and its limits of time and memory."""

    read: Callable[[bytes, Path], object]  # returns the result as text
    change: Mutate
    seconds: float  # CPU seconds for one input
    megabytes: int  # memory above that of the process before the first input


def read_csv(content: bytes, folder: Path) -> str:
    """Read the CSV of FER-2013."""
    (folder / "fer2013.csv").write_bytes(content)
    return _summary(read_dataset(folder / "fer2013.csv"))


def read_votes(content: bytes, folder: Path) -> str:
    """Read the votes CSV of FER+ with a CSV of 14 faces."""
    (folder / "votes.csv").write_bytes(content)
    return _summary(read_dataset(_toys() / "fer2013.csv", ferplus=folder / "votes.csv"))


def read_archive(content: bytes, folder: Path) -> str:
    """Read an archive of a CSV, and check that no file is written."""
    (folder / "fer").write_bytes(content)
    summary = _summary(read_dataset(folder / "fer"))
    assert [path.name for path in folder.iterdir()] == ["fer"]
    return summary


def read_class_folders(content: bytes, folder: Path) -> str:
    """Read class folders. Each line of the input is a file and its content, such as `train/happy/1.png=face`."""
    for line in content.split(b"\n")[:200]:
        name, _, kind = line.partition(b"=")
        parts = [part[:100] for part in name.replace(b"\0", b"").split(b"/") if part not in {b"", b".", b".."}][:8]
        path = folder / "data" / os.fsdecode(b"/".join(parts))
        if parts and not path.exists():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_face() if kind == b"face" else kind.replace(b"\1", b"\n"))
            except (FileExistsError, NotADirectoryError):
                continue  # a file is at the path of a needed folder
    (folder / "data").mkdir(exist_ok=True)
    order = ("", "", "ferplus", "fer2013")[len(content) % 4]
    return _summary(
        read_dataset(folder / "data", rules=ClassRules(order=order, excluded="contempt" if len(content) % 3 else ""))
    )


def _summary(dataset: Any) -> str:
    return " ".join([*sorted(dataset.splits), *dataset.notes, *dataset.warnings])


def read_configuration(content: bytes, folder: Path) -> str:
    """Read a configuration: the file of --config, or the config.json of a run."""
    (folder / "config.json").write_bytes(content)
    config = read_config(folder / "config.json")
    return str(distinguish([config, TrainConfig()], [{"sha256": {}}] * 2))


def read_record(content: bytes, folder: Path) -> str:
    """Read the run.json of a run."""
    shutil.copyfile(_stopped() / "config.json", folder / "config.json")
    (folder / "run.json").write_bytes(content)
    record = read_whole_run(folder).record
    read_config_of = read_config(folder / "config.json")
    return str([changes_since(folder), distinguish([read_config_of] * 2, [record["data"]] * 2)])


def resume_run(content: bytes, folder: Path) -> str:
    """Resume a run whose state has a correct digest but any metadata; `content` is the JSON of the state."""
    run = folder / "run"
    run.mkdir()
    for name in ("run.json", "config.json", "metrics.jsonl"):
        if (_stopped() / name).exists():
            shutil.copyfile(_stopped() / name, run / name)
    tensors, _ = _state()
    try:
        document = json.loads(content)
        save_tensors(run / "state.safetensors", tensors, document)
    except (ValueError, AttributeError, RecursionError, TypeError):
        (run / "state.safetensors").write_bytes(content)
    with resumed_run(run, _toy_data(), device="cpu") as training:
        return f"at step {training.step}"


def open_checkpoint(content: bytes, folder: Path) -> str:
    """Open a finished run whose checkpoint has a correct digest but any metadata."""
    shutil.copyfile(_finished() / "run.json", folder / "run.json")
    tensors, _ = load_tensors(_finished() / "checkpoint.safetensors")
    try:
        save_tensors(folder / "checkpoint.safetensors", tensors, json.loads(content))
    except (ValueError, AttributeError, RecursionError, TypeError):
        (folder / "checkpoint.safetensors").write_bytes(content)
    answers = open_run(folder, device="cpu").answers(np.zeros((1, 1, 48, 48), np.uint8))
    return f"crowd {answers.crowd is not None}"


def read_ensemble(content: bytes, folder: Path) -> str:
    """Open an ensemble.json; `DIGEST` in it stands for the digest of its member."""
    digest = file_sha256(_finished() / "checkpoint.safetensors").encode()
    (folder / "ensemble.json").write_bytes(content.replace(b"DIGEST", digest))
    (folder / "run").symlink_to(_finished())
    ensemble = open_ensemble(folder, functools.partial(open_run, device="cpu"))
    return str(np.isfinite(ensemble.answers(np.zeros((1, 1, 48, 48), np.uint8)).labels).all())


def open_model(content: bytes, folder: Path) -> str:
    """Open an .onnx file: run its checks, one classification, and its reference vectors."""
    session = Session(content, name="model.onnx", threads=1)
    session.answers(np.zeros((1, 1, 48, 48), np.uint8))
    return f"two heads {session.two_headed}, temperature {session.temperature}, reference {replay(session)}"


def read_model_back(content: bytes, folder: Path) -> str:
    """Read the network of an .onnx file, as --start-from does; `content` is the metadata of the file."""
    model = onnx.load(packaged_models()["fast"])
    del model.metadata_props[:]
    try:
        helper.set_model_props(model, {str(name): _text(value) for name, value in json.loads(content).items()})
    except (ValueError, AttributeError, RecursionError):
        return "no metadata"
    onnx.save(model, folder / "model.onnx")
    session = open_session(folder / "model.onnx", threads=1)
    return f"{session.temperature} {replay(session)} {len(read_network(folder / 'model.onnx').network.state_dict())}"


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()


def read_one_picture(content: bytes, folder: Path) -> str:
    """Read a picture of any format, in full size and at the reduced size for training."""
    picture = read_picture(content)
    small = read_picture(content, enough_side=32)
    assert type(picture) is type(small)
    if isinstance(picture, Failure):
        assert picture.status != "memory", picture.message
        assert picture.message.isprintable(), picture.message
        return f"{picture.status}: {picture.message}"
    assert picture.image.size == (picture.width, picture.height)
    return f"{picture.image.mode}, {picture.note}"


def read_clip(content: bytes, folder: Path) -> str:
    """Read a video clip as predict does, and its frames as --annotate and --report do."""
    path = folder / "clip"
    path.write_bytes(content[: 1 << 16])  # thousands of frames take long on a busy computer
    *before, last = clip_frames(path, every=0.1)
    assert not [each for each in before if isinstance(each.content, Failure)]
    frames = sum(1 for _ in all_frames(path)) + sum(1 for _ in frames_at(path, [0.0, 0.3, 9.0]))
    assert frame_rate(path) > 0
    assert (frame_count(path, every=0.5) or 1) > 0
    if isinstance(last.content, Failure):
        assert last.content.message.isprintable(), last.content.message
        return f"{last.content.status}: {last.content.message}"
    return f"{len(before)} {frames}"


def append_lines(content: bytes, folder: Path) -> str:
    """Resume a JSON lines file with --append: complete lines stay, and one line is added."""
    path = folder / "faces.jsonl"
    path.write_bytes(content)
    try:
        with lines_file(path, append=True) as writer:
            writer.write(PictureResult(Path("new.png"), "empty", "the file holds nothing"))
            return f"{len(writer.done)} done, {len(writer.failed)} failed"
    finally:
        if path.exists():
            whole = content[: content.rfind(b"\n") + 1]
            assert path.read_bytes().startswith(whole) or writer.tried_again


def append_parts(content: bytes, folder: Path) -> str:
    """Resume a folder of Parquet files with --engine ray --append; `content` is a part or `_job.json`."""
    name = "part-0.parquet" if content.startswith(b"PAR1") else "_job.json"
    (folder / name).write_bytes(content)
    output = Output(str(folder), "run")
    with output.begin({"model": "default", "top": 0}, append=True, overwrite=False):
        return str(output.done().holds("a.png"))


def read_list(content: bytes, folder: Path) -> str:
    """Read the list of --files-from with newlines and with NUL as separator."""
    names = [list(read_names(io.BytesIO(content), null=null)) for null in (True, False)]
    return " ".join(str(min(len(each), 3)) + printable(str(each[:1]))[:5] for each in names)


@functools.cache
def _toys() -> Path:
    """Create a folder with a CSV of 14 faces."""
    folder = Path(tempfile.mkdtemp(prefix="toys"))
    (folder / "fer2013.csv").write_bytes(seeds("fer-csv")[0])
    return folder


@functools.cache
def _toy_data() -> Any:
    return read_dataset(_toys() / "fer2013.csv")


@functools.cache
def _stopped() -> Path:
    """Create a run that was stopped at its second step."""
    config = TrainConfig(model="fnn", epochs=2, batch_size=7, device="cpu", precision="fp32", threads=1)
    folder: Path = train(config, _toy_data(), Path(tempfile.mkdtemp(prefix="stopped")), stop_at=1)
    return folder


@functools.cache
def _finished() -> Path:
    config = TrainConfig(model="fnn", epochs=1, batch_size=7, device="cpu", precision="fp32", threads=1)
    folder: Path = train(config, _toy_data(), Path(tempfile.mkdtemp(prefix="finished")))
    return folder


@functools.cache
def _state() -> tuple[dict[str, Any], dict[str, Any]]:
    return load_tensors(_stopped() / "state.safetensors")


@functools.cache
def _face() -> bytes:
    return (CORPUS / "pictures" / "face.png").read_bytes()


def seeds(name: str) -> list[bytes]:
    """Return the stored inputs of a target. For targets of a run, add the documents that training writes now."""
    kept = sorted((CORPUS / name).glob("*"))
    contents = [gzip.decompress(path.read_bytes()) if path.suffix == ".packed" else path.read_bytes() for path in kept]
    return contents + (_DOCUMENTS[name]() if name in _DOCUMENTS else [])


def _checkpoint_documents() -> list[bytes]:
    _, document = load_tensors(_finished() / "checkpoint.safetensors")
    return [json.dumps(document).encode(), json.dumps({**document, "crowd_prior": [1 / 7] * 7}).encode()]


def _metadata() -> list[bytes]:
    model = onnx.load(packaged_models()["fast"])
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    parsed = {name: json.loads(value) if value[0] in "[{" else value for name, value in metadata.items()}
    return [json.dumps(metadata).encode(), json.dumps(parsed).encode()]


_DOCUMENTS: dict[str, Callable[[], list[bytes]]] = {
    "configurations": lambda: [(_stopped() / "config.json").read_bytes()],
    "run-records": lambda: [(_stopped() / "run.json").read_bytes()],
    "run-folders": lambda: [json.dumps(_state()[1]).encode()],
    "checkpoints": _checkpoint_documents,
    "model-metadata": _metadata,
}

TARGETS = {
    "fer-csv": Target(read_csv, change_bytes, 1, 100),
    "votes-csv": Target(read_votes, change_bytes, 1, 100),
    "archives": Target(read_archive, change_archive, 10, 300),
    "class-folders": Target(read_class_folders, change_bytes, 2, 100),
    "configurations": Target(read_configuration, change_json, 1, 100),
    "run-records": Target(read_record, change_json, 1, 100),
    "run-folders": Target(resume_run, change_json, 5, 500),
    "checkpoints": Target(open_checkpoint, change_json, 5, 500),
    "ensembles": Target(read_ensemble, change_json, 2, 300),
    "models": Target(open_model, change_model, 10, 2500),
    "model-metadata": Target(read_model_back, change_json, 10, 500),
    "pictures": Target(read_one_picture, change_picture, 3, 700),
    "clips": Target(read_clip, change_bytes, 10, 1500),
    "append-lines": Target(append_lines, change_lines, 1, 100),
    "append-parts": Target(append_parts, change_bytes, 2, 300),
    "file-lists": Target(read_list, change_bytes, 3, 200),
}
