"""Pack the results of a plan into a few files of limited size, and restore them on another computer.

small.tar.gz has steps.json, the logs, the records and metrics of the runs, and the ensembles. weights.tar.0,
weights.tar.1 and so on are the parts of one archive with the exported files and the weights of the finished runs,
without the state of their optimizers. Filters and matrices are rounded to float16, which emotify reads like float32.
parts.json in small.tar.gz has the SHA-256 of each part, so that a missing or damaged part is noticed.

Exported files come first, then networks that learned from a teacher, then the other networks in the order of the plan.
What was packed once is not packed again.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from emotify.errors import InputError
from emotify.files import file_sha256, read_json, write_bytes, write_json
from emotify.runs import CHECKPOINT, ENSEMBLE

STEPS, PARTS = "steps.json", "parts.json"
SMALL_FILE, WEIGHTS_FILE = "small.tar.gz", "weights.tar"
MIB = 2**20
PART = 16 * MIB  # largest size of a file
TOTAL = 64 * MIB  # of all files
SMALL = 4 * MIB  # largest size of SMALL_FILE
_LARGE = {".safetensors", ".onnx", ".png", ".svg", ".lock", ".tmp"}  # not in SMALL_FILE

Record: TypeAlias = dict[str, Any]
"""What steps.json says of a step. A finished one has `printed`, and `result` if it made a folder or a file."""


def is_there(record: Record, out: Path) -> bool:
    """Return whether the result of a finished step is complete: with its weights, and those of all its members."""
    if "result" not in record:  # it only printed
        return True
    path = out / str(record["result"])
    if (path / ENSEMBLE).exists():
        members: list[dict[str, str]] = read_json(path / ENSEMBLE)["members"]
        return all((path / member["run"] / CHECKPOINT).exists() for member in members)
    return path.is_file() or (path / CHECKPOINT).exists()


def pack(folder: Path, out: Path, kept: dict[str, Record]) -> None:
    """Write the finished steps of `kept`, whose results are in `out`, into files in `folder`, which must be empty.

    Marks the packed results in `kept`, and saves it as steps.json when all files are written. Prints the names of the
    results that do not fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_small(folder / SMALL_FILE, out, kept, {})  # first, whatever happens to the weights
    results = {name: out / record["result"] for name, record in kept.items() if _is_new(record, out)}
    names = sorted(results, key=lambda name: _rank(kept[name]["command"]))  # stable: else in the order of the plan
    content, packed = io.BytesIO(), []
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in names:
            path = results[name] if results[name].is_file() else results[name] / CHECKPOINT
            held = path.read_bytes() if path == results[name] else _rounded(path)
            if content.tell() + len(held) + tarfile.RECORDSIZE > TOTAL - SMALL:
                continue
            _add(archive, path.relative_to(out).as_posix(), held)
            kept[name]["packed"] = True
            packed.append(name)
    parts: dict[str, str] = {}
    weights = content.getvalue() if packed else b""
    for number, start in enumerate(range(0, len(weights), PART)):
        part = weights[start : start + PART]
        name = f"{WEIGHTS_FILE}.{number}"
        write_bytes(folder / name, part)
        parts[name] = hashlib.sha256(part).hexdigest()
    _write_small(folder / SMALL_FILE, out, kept, parts)  # again, with what was packed
    write_json(out / STEPS, kept)
    sizes = [path.stat().st_size for path in folder.iterdir()]
    rest = [name for name in names if name not in packed]
    print(
        f"packed {', '.join(packed) or 'no weights'} in {len(sizes)} file{'s' * (len(sizes) > 1)}, "
        f"{sum(sizes) / MIB:.1f} MiB" + (f"; too large for these files: {', '.join(rest)}" if rest else "")
    )


def unpack(packed: Sequence[tuple[bytes, bytes]], out: Path) -> None:
    """Restore what `read_packed` returned of some folders, the oldest first.

    steps.json is written last, so what an interrupted call leaves is not used.
    """
    for content in (content for pair in packed for content in pair if content):
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            members = [member for member in archive if member.name not in (STEPS, PARTS)]
            archive.extractall(out, members, filter="data")
    for path in out.glob(f"*/{ENSEMBLE}"):
        _accept_rounded(path)
    write_bytes(out / STEPS, _read_member(packed[-1][0], STEPS))


def read_packed(folder: Path) -> tuple[bytes, bytes]:
    """Return the two archives that `pack` wrote into a folder: the small files, and the weights (empty if it has none).

    Raises InputError if a file is missing or damaged.
    """
    if not (folder / SMALL_FILE).is_file():
        raise InputError(f"{folder} has no {SMALL_FILE}; name the folders that --pack wrote")
    try:
        small = gzip.decompress((folder / SMALL_FILE).read_bytes())
        parts: dict[str, str] = json.loads(_read_member(small, PARTS))
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError, ValueError) as error:
        raise InputError(f"{folder} has a damaged {SMALL_FILE}; copy it again") from error
    weights = b""
    for name, digest in parts.items():
        if not (folder / name).is_file():
            raise InputError(f"{folder} has no {name}; copy it again")
        part = (folder / name).read_bytes()
        if hashlib.sha256(part).hexdigest() != digest:
            raise InputError(f"{folder} has a damaged {name}; copy it again")
        weights += part
    return small, weights


def _is_new(record: Record, out: Path) -> bool:
    """Return whether a record is that of a run or an exported file that was not packed yet."""
    if "printed" not in record or "result" not in record or record.get("packed") or not is_there(record, out):
        return False
    return not (out / record["result"] / ENSEMBLE).exists()  # SMALL_FILE has all ensembles


def _rank(command: str) -> int:
    if command.startswith("export"):
        return 0
    return 1 if "--distill" in command else 2


def _rounded(checkpoint: Path) -> bytes:
    """Return a checkpoint with tensors of two dimensions or more in float16. Statistics and biases stay exact."""
    import torch

    from emotify.training.checkpoint import load_tensors, save_tensors

    tensors, document = load_tensors(checkpoint)
    halves = {
        name: tensor.half() if tensor.ndim > 1 and tensor.dtype == torch.float32 else tensor
        for name, tensor in tensors.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CHECKPOINT
        save_tensors(path, halves, document)
        return path.read_bytes()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _read_member(archive: bytes, name: str) -> bytes:
    """Return a file of an archive. Raises KeyError if it has no such file."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        file = opened.extractfile(name)
        if file is None:
            raise KeyError(name)
        return file.read()


def _write_small(path: Path, out: Path, kept: dict[str, Record], parts: dict[str, str]) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for each in sorted(out.rglob("*")):
            if each.is_file() and each.suffix not in _LARGE and each != out / STEPS:
                archive.add(each, each.relative_to(out).as_posix())
        _add(archive, STEPS, json.dumps(kept, indent=2).encode())
        _add(archive, PARTS, json.dumps(parts, indent=2).encode())
    write_bytes(path, content.getvalue())
    if (size := path.stat().st_size) > SMALL:
        print(f"{path} has {size / MIB:.1f} MiB, more than the {SMALL / MIB:.0f} MiB that it should have")


def _accept_rounded(path: Path) -> None:
    """Give the members of an ensemble.json the digests of their rounded weights, as the ensemble checks them."""
    document = read_json(path)
    for member in [*document["members"], *document["dropped"]]:
        checkpoint = path.parent / member["run"] / CHECKPOINT
        if checkpoint.exists():
            member["sha256"] = file_sha256(checkpoint)
    write_json(path, document)
