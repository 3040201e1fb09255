"""Everything that decides what a training does, in one place, checked when it is made and saved with the run."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from emotify.errors import UsageError
from emotify.files import parse_json, printable
from emotify.machine import check_device_name

PRECISIONS = ("auto", "fp32", "bf16")
LAYOUTS = ("auto", "channels_last", "contiguous")
COMPILE = ("auto", "on", "off")
SCHEDULES = ("cosine", "linear")
OPTIMIZERS = ("sgd", "muon")
MACHINE = (
    "device",
    "threads",
    "precision",
    "layout",
    "compile",
)  # fields that the machine decides when they are left to it
VOTES_WEIGHT = 0.7  # `crowd_weight` where votes are there and nothing else is asked for
_LARGEST_CONFIG = 1_000_000  # bytes
_LARGEST_FLOAT = sys.float_info.max  # a whole number of a JSON file can be larger


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The options of one training. `auto` and 0 threads are resolved before the run starts."""

    model: str = "cnn"
    augment: bool = False
    strength: float = 1.0  # of the augmentation: every amount times this
    rotation: float = 15.0  # degrees, either way, of the augmentation
    low_resolution: float = 0.0  # share of the images that are shown at 12 to 48 pixels, then enlarged again
    blur: float = 0.0  # share of the images that are blurred
    jpeg: float = 0.0  # share of the images that are compressed as JPEG files are
    mixup: float = 0.0  # at most this share of another image, in half of each batch, but for the last epochs
    drop_path: float = 0.0  # share of images for which the last residual block is left out
    dedupe: bool = False  # leave out of train what is there twice, or in valid or test
    epochs: int = 20
    batch_size: int = 128
    optimizer: str = "sgd"  # muon: of convolutions; all else has SGD
    learning_rate: float = 0.12  # peak
    warmup: float = 0.15  # share of all steps in which the rate rises to its peak
    momentum: float = 0.9
    weight_decay: float = 5e-4  # on weights, not on biases and normalisation
    label_smoothing: float = 0.1
    crowd_weight: float = 0.0  # share of FER+'s votes in the loss; above 0 the network has a crowd head
    ema_decay: float = 0.998  # at most, and (1 + step) / (10 + step) until then
    schedule: str = "cosine"  # how the learning rate falls
    start_from: str = ""  # what has the first weights: a finished run, an .onnx file, a model inside; or several
    pretrained: bool = False  # begin with the weights that others have published for this model
    distill: str = ""  # a run, an ensemble, an .onnx file or the name of a model inside the package, to learn from
    distill_weight: float = 0.7  # share of the teacher in the loss
    distill_temperature: float = 2.0  # of teacher and student in that share
    grow: bool = True  # train on smaller images first
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    layout: str = "auto"  # of tensors in memory
    compile: str = "auto"  # torch.compile; auto: for a long training on a GPU
    threads: int = 0  # of the CPU; 0: as many as this process may use

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_type(field.name, getattr(self, field.name), type(field.default))
        check_device_name(self.device)
        checks = {
            "epochs": (0 if self.start_from else 1) <= self.epochs <= 100_000,
            "strength": 0 <= self.strength <= 3,
            "rotation": 0 <= self.rotation <= 180,
            "low_resolution": 0 <= self.low_resolution <= 1,
            "blur": 0 <= self.blur <= 1,
            "jpeg": 0 <= self.jpeg <= 1,
            "mixup": 0 <= self.mixup <= 0.5,
            "drop_path": 0 <= self.drop_path < 1,
            "batch_size": 2 <= self.batch_size <= 65_536,
            "optimizer": self.optimizer in OPTIMIZERS,
            "learning_rate": 0 < self.learning_rate <= _LARGEST_FLOAT,
            "warmup": 0 <= self.warmup < 1,
            "momentum": 0 < self.momentum < 1,
            "weight_decay": 0 <= self.weight_decay <= _LARGEST_FLOAT,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "crowd_weight": 0 <= self.crowd_weight <= 1,
            "ema_decay": 0 <= self.ema_decay < 1,
            "schedule": self.schedule in SCHEDULES,
            "distill_weight": 0 <= self.distill_weight <= 1,
            "distill_temperature": 0.1 <= self.distill_temperature <= 100,
            "seed": 0 <= self.seed < 2**63,
            "precision": self.precision in PRECISIONS,
            "layout": self.layout in LAYOUTS,
            "compile": self.compile in COMPILE,
            "threads": 0 <= self.threads <= 1024,
        }
        for name, fine in checks.items():
            if not fine:
                msg = f"{option(name)} cannot be {getattr(self, name)!r:.80}; see emotify train --help"
                raise UsageError(msg)

    def document(self) -> dict[str, Any]:
        """Return the options as JSON has them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_document(cls, document: object, *, source: str = "the configuration") -> Self:
        """Make a configuration from what `document` returned. Raises UsageError naming the key that is wrong."""
        if not isinstance(document, dict):
            msg = f"{source}: expected a JSON object of options"
            raise UsageError(msg)
        names = [field.name for field in dataclasses.fields(cls)]
        for key in document:
            if key not in names:
                msg = f"{source}: unknown key {printable(str(key)[:80])!r}; known are {', '.join(names)}"
                raise UsageError(msg)
        return cls(**document)


def read_config(path: Path) -> TrainConfig:
    """Read a config.json. Raises UsageError saying what is wrong with it."""
    source = printable(path)
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_CONFIG + 1)
        if len(content) > _LARGEST_CONFIG:
            msg = f"{source}: larger than any configuration; expected the config.json of a run"
            raise UsageError(msg)
        document = parse_json(content, lambda pairs: _unique(pairs, source))
    except OSError as error:
        msg = f"cannot read {source}: {error.strerror}"
        raise UsageError(msg) from error
    except ValueError as error:
        msg = f"{source} is not JSON; expected the config.json of a run"
        raise UsageError(msg) from error
    return TrainConfig.from_document(document, source=source)


def option(name: str) -> str:
    """Return the command-line spelling of a field."""
    return "--" + name.replace("_", "-")


def _check_type(name: str, value: object, kind: type) -> None:
    fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        msg = f"{option(name)} takes {kind.__name__}, not {str(value)[:80]!r}"
        raise UsageError(msg)


def _unique(pairs: list[tuple[str, Any]], source: str) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        msg = f"{source}: the key {printable(twice[:80])!r} is there twice"
        raise UsageError(msg)
    return document
