"""The options of a training: their declaration, their checks, and the reader of config.json."""

# ruff: noqa: RUF009 - each default is declared by a function that returns a field

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_type_hints

from emotify.choices import Compile, Layout, Optimizer, Precision, Schedule, choose, names_of
from emotify.emotions import parse_class_order
from emotify.errors import UsageError, list_mistakes
from emotify.files import parse_json, printable
from emotify.machine import check_device_name
from emotify.settings import LARGEST_FLOAT, declare, option, setting
from emotify.settings import MACHINE as _MACHINE

VOTES_WEIGHT = 0.7  # default of `crowd_weight` for data with votes
_LARGEST_CONFIG = 1_000_000  # bytes
_AUGMENTATION, _WEIGHTS, _OPTIMISATION = "Augmentation", "Initial weights", "Optimisation"
DATA = "Data and configuration"  # a heading of the help
_TEACHER = "Distillation"
_SHARE: dict[str, Any] = {"metavar": "X", "at_least": 0, "at_most": 1}
_PART: dict[str, Any] = {"metavar": "X", "at_least": 0, "below": 1}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The options of one training. `auto` and 0 threads are resolved before the run starts.

    Each field is an option of `emotify train` and a key of a run's config.json. A new option needs only a field here.
    """

    model: str = declare("cnn", "Network to train; --list-models lists them.", metavar="NAME")
    augment: bool = declare(
        False, "Augment training images at random: position, brightness, erased squares.", also="--no-augment"
    )
    epochs: int = declare(
        20,
        "Training epochs. With --start-from, 0 only re-estimates the batch-norm statistics.",
        metavar="N",
        at_most=100_000,
    )
    seed: int = declare(
        0, "Seed of all randomness: the same seed gives the same weights.", metavar="N", at_least=0, below=2**63
    )
    class_order: str = declare(
        "",
        "Classes of numbered class folders: fer2013, affectnet, rafdb, ferplus, ckplus, alphabetical, a list from 0 "
        "such as neutral,happy, or pairs such as 1=surprise,2=fear. Default: a list of classes beside the folders, "
        "else fer2013.",
        DATA,
        metavar="NAME",
    )
    exclude_classes: str = declare(
        "", "Classes to exclude, separated by commas, such as contempt,unknown.", DATA, metavar="NAMES"
    )
    dedupe: bool = declare(False, "Remove from train each image that occurs twice, or also in valid or test.", DATA)
    strength: float = declare(
        1.0,
        "Strength of the augmentation: a factor for all its amounts.",
        _AUGMENTATION,
        metavar="X",
        at_least=0,
        at_most=3,
    )
    rotation: float = declare(
        15.0, "Largest rotation in either direction.", _AUGMENTATION, metavar="DEGREES", at_least=0, at_most=180
    )
    low_resolution: float = declare(
        0.0, "Share of images that are shrunk to between 12 and 48 pixels and enlarged again.", _AUGMENTATION, **_SHARE
    )
    blur: float = declare(0.0, "Share of images that are blurred.", _AUGMENTATION, **_SHARE)
    jpeg: float = declare(0.0, "Share of images that get JPEG artefacts.", _AUGMENTATION, **_SHARE)
    mixup: float = declare(
        0.0,
        "Mixup: largest share of another image that is blended into an image. Half of each batch is blended.",
        _AUGMENTATION,
        metavar="X",
        at_least=0,
        at_most=0.5,
    )
    start_from: str = declare(
        "",
        "Start with the weights of a finished run, an .onnx file, default or fast. RUN,RUN starts with the average of "
        "their weights.",
        _WEIGHTS,
        metavar="MODEL",
    )
    pretrained: bool = declare(
        False, "Start with published weights; only for face-resnet and efficientnet-lite0.", _WEIGHTS
    )
    distill: str = declare(
        "",
        "Teacher for distillation, in addition to the labels: a run, an ensemble, an .onnx file, default or fast.",
        _TEACHER,
        metavar="MODEL",
    )
    distill_weight: float = declare(0.7, "Share of the distillation loss in the whole loss.", _TEACHER, **_SHARE)
    distill_temperature: float = declare(
        2.0,
        "Temperature of the teacher's and the network's logits in the distillation loss.",
        _TEACHER,
        metavar="X",
        at_least=0.1,
        at_most=100,
    )
    batch_size: int = declare(128, "Images per optimizer step.", _OPTIMISATION, metavar="N", at_least=2, at_most=65_536)
    optimizer: Optimizer = declare("sgd", "muon trains convolutions with Muon, other weights with SGD.", _OPTIMISATION)
    learning_rate: float = declare(
        0.12,
        "Peak learning rate.",
        _OPTIMISATION,
        metavar="X",
        also="--lr",
        above=0,
        at_most=LARGEST_FLOAT,
    )
    warmup: float = declare(
        0.15, "Warmup: share of all steps in which the learning rate rises to its peak.", _OPTIMISATION, **_PART
    )
    schedule: Schedule = declare("cosine", "How the learning rate falls after its peak.", _OPTIMISATION)
    momentum: float = declare(0.9, "Momentum of the optimizer.", _OPTIMISATION, metavar="X", above=0, below=1)
    weight_decay: float = declare(
        5e-4,
        "Weight decay; not applied to biases and normalisation.",
        _OPTIMISATION,
        metavar="X",
        at_least=0,
        at_most=LARGEST_FLOAT,
    )
    ema_decay: float = declare(
        0.998,
        "Decay of the exponential moving average of the weights (EMA), which is saved as the model. The decay "
        "ramps up from 0.1.",
        _OPTIMISATION,
        **_PART,
    )
    label_smoothing: float = declare(0.1, "Label smoothing of the cross-entropy.", _OPTIMISATION, **_PART)
    class_weights: float = declare(
        0.0,
        "Weight each class by its inverse frequency in train, raised to POWER, so that rare expressions count more. "
        "With 1, all classes count equally; with 0, all images do.",
        _OPTIMISATION,
        metavar="POWER",
        at_least=0,
        at_most=1,
    )
    crowd_weight: float = declare(
        0.0,
        "Share of the FER+ votes in the loss. Above 0 the network has a crowd head. Default for data with votes: "
        f"{VOTES_WEIGHT:g}.",
        _OPTIMISATION,
        **_SHARE,
    )
    drop_path: float = declare(
        0.0, "Stochastic depth: probability that an image skips the last residual block.", _OPTIMISATION, **_PART
    )
    grow: bool = declare(True, "Train on smaller images first, which is faster.", _OPTIMISATION, also="--no-grow")
    device: str = declare("auto", "auto, cpu, cuda or cuda:1.", _MACHINE, metavar="NAME")
    threads: int = declare(
        0, "CPU threads; 0 uses all that this process may use.", _MACHINE, metavar="N", at_least=0, at_most=1024
    )
    precision: Precision = declare("auto", "Floating-point precision of the training.", _MACHINE)
    layout: Layout = declare("auto", "Memory layout of tensors.", _MACHINE)
    compile: Compile = declare("auto", "Use torch.compile; auto uses it for long trainings on a GPU.", _MACHINE)

    def __post_init__(self) -> None:
        if mistakes := _mistakes(vars(self)):
            raise UsageError(list_mistakes("", mistakes, noun="invalid options"))

    def document(self) -> dict[str, Any]:
        """Return the options as a dict that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_document(
        cls, document: object, *, source: str = "the configuration", mistakes: Sequence[str] = ()
    ) -> Self:
        """Create a configuration from the dict that `document` returns.

        mistakes: messages of mistakes found earlier. Raises UsageError with the first five mistakes and their number.
        """
        if not isinstance(document, dict):
            msg = f"{source}: expected a JSON object of options"
            raise UsageError(msg)
        names = [field.name for field in dataclasses.fields(cls)]
        known = {name: value for name, value in document.items() if name in names}
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        unknown = [_explain_unknown(name, names) for name in document if name not in names]
        if found := [*mistakes, *unknown, *_mistakes({**defaults, **known})]:
            raise UsageError(list_mistakes(source, found))
        return cls(**known)


def read_config(path: Path) -> TrainConfig:
    """Read a config.json. Raises UsageError with all that is wrong in the file."""
    source = printable(path)
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_CONFIG + 1)
        if len(content) > _LARGEST_CONFIG:
            msg = f"{source}: larger than any configuration; expected the config.json of a run"
            raise UsageError(msg)
        twice: list[str] = []
        document = parse_json(content, lambda pairs: _unique(pairs, twice))
    except OSError as error:
        msg = f"cannot read {source}: {error.strerror}"
        raise UsageError(msg) from error
    except ValueError as error:
        msg = f"{source} is not JSON; expected the config.json of a run"
        raise UsageError(msg) from error
    return TrainConfig.from_document(document, source=source, mistakes=twice)


@functools.cache
def kinds() -> dict[str, Any]:
    """Return the type of each field of TrainConfig: bool, int, float, str, or a Literal of its choices."""
    return get_type_hints(TrainConfig)


MACHINE = tuple(field.name for field in dataclasses.fields(TrainConfig) if setting(field).heading == _MACHINE)
"""The names of the fields that are chosen for the machine when they are `auto` or 0."""


def _mistakes(values: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each mistake in the values of all fields of TrainConfig."""
    mistakes = []
    for field in dataclasses.fields(TrainConfig):
        try:
            _check(field, values[field.name])
        except UsageError as error:
            mistakes.append(str(error))
    if mistakes:
        return mistakes
    if values["epochs"] < (0 if values["start_from"] else 1):
        return [f"--epochs cannot be {values['epochs']}; 0 is only allowed with --start-from"]
    return []


def _check(field: dataclasses.Field[Any], value: Any) -> None:  # noqa: ANN401
    """Raise UsageError if a field of TrainConfig cannot have this value."""
    kind = kinds()[field.name]
    if names_of(kind):
        choose(kind, value, option=option(field.name))
        return
    _check_type(field.name, value, kind)
    if kind in (int, float) and not setting(field).allows(value):
        msg = f"{option(field.name)} cannot be {value!r:.80}; it must be {setting(field).bounds}"
        raise UsageError(msg)
    if field.name == "device":
        check_device_name(value)
    if field.name == "class_order" and value:
        try:
            parse_class_order(value)
        except ValueError as error:
            msg = f"--class-order: {error}"
            raise UsageError(msg) from error


def _explain_unknown(name: str, names: Sequence[str]) -> str:
    from difflib import get_close_matches

    nearest = get_close_matches(name, names, n=1)
    advice = f"did you mean {nearest[0]}?" if nearest else f"known keys: {', '.join(names)}"
    return f"unknown key {printable(name[:80])!r}; {advice}"


def _check_type(name: str, value: object, kind: type) -> None:
    fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        msg = f"{option(name)} takes {kind.__name__}, not {str(value)[:80]!r}"
        raise UsageError(msg)


def _unique(pairs: list[tuple[str, Any]], twice: list[str]) -> dict[str, Any]:
    """Return a JSON object as a dict. Append a message to `twice` for each key that occurs twice."""
    counts = Counter(key for key, _ in pairs)
    twice += [f"the key {printable(key[:80])!r} occurs twice" for key, count in counts.items() if count > 1]
    return dict(pairs)
