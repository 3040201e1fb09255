"""Pack the results of a plan into a few files of limited size, and restore them on another computer.

small.tar.gz has steps.json, the logs, the records and metrics of the runs, and the ensembles. weights.tar.0,
weights.tar.1 and so on are the parts of one archive with the exported files and the weights of the finished runs,
without the state of their optimizers. Filters and matrices are rounded to float16, which emotify reads like float32.

Exported files come first, then networks that learned from a teacher, then the other networks in the order of the plan.
What was packed once is not packed again.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

from emotify.files import file_sha256, read_json, write_json
from emotify.runs import CHECKPOINT, ENSEMBLE

STEPS = "steps.json"
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

    Marks the packed results in `kept`, and saves it as steps.json. Prints the names of the results that do not fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_small(folder / SMALL_FILE, out)  # first, whatever happens to the weights
    results = {name: out / record["result"] for name, record in kept.items() if _is_new(record, out)}
    names = sorted(results, key=lambda name: _rank(kept[name]["command"]))  # stable: else in the order of the plan
    content, packed = io.BytesIO(), []
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in names:
            path = results[name] if results[name].is_file() else results[name] / CHECKPOINT
            held = path.read_bytes() if path == results[name] else _rounded(path)
            if content.tell() + len(held) + tarfile.RECORDSIZE > TOTAL - SMALL:
                continue
            entry = tarfile.TarInfo(path.relative_to(out).as_posix())
            entry.size = len(held)
            archive.addfile(entry, io.BytesIO(held))
            kept[name]["packed"] = True
            packed.append(name)
    write_json(out / STEPS, kept)
    _write_small(folder / SMALL_FILE, out)  # again, with what was packed
    parts = range(0, len(content.getvalue()) if packed else 0, PART)
    for number, start in enumerate(parts):
        (folder / f"{WEIGHTS_FILE}.{number}").write_bytes(content.getvalue()[start : start + PART])
    sizes = [path.stat().st_size for path in folder.iterdir()]
    rest = [name for name in names if name not in packed]
    print(
        f"packed {', '.join(packed) or 'no weights'} in {len(sizes)} file{'s' * (len(sizes) > 1)}, "
        f"{sum(sizes) / MIB:.1f} MiB" + (f"; too large for these files: {', '.join(rest)}" if rest else "")
    )


def unpack(folders: Iterable[Path], out: Path) -> None:
    """Restore what `pack` wrote into these folders, the oldest first. Raises OSError if a file is missing."""
    for folder in folders:
        with tarfile.open(folder / SMALL_FILE) as archive:
            archive.extractall(out, filter="data")
        parts = sorted(folder.glob(f"{WEIGHTS_FILE}.*"))
        if parts:
            content = b"".join(path.read_bytes() for path in parts)
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                archive.extractall(out, filter="data")
    for path in out.glob(f"*/{ENSEMBLE}"):
        _accept_rounded(path)


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


def _write_small(path: Path, out: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for each in sorted(out.rglob("*")):
            if each.is_file() and each.suffix not in _LARGE and path.parent not in each.parents:
                archive.add(each, each.relative_to(out).as_posix())
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
