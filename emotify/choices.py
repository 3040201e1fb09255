"""The named choices that options, functions and files share. Each choice is declared only here."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, TypeAlias, get_args

from emotify.errors import UsageError
from emotify.files import printable

Views: TypeAlias = Literal["one", "mirror", "ten"]  # test-time variants of an image, averaged
Faces: TypeAlias = Literal["auto", "detect", "whole"]  # how to find the faces in a picture
Engine: TypeAlias = Literal["local", "ray"]  # how to spread the pictures over processes
Truth: TypeAlias = Literal["auto", "folders", "none"]  # whether folder names are the true expressions
FilePrecision: TypeAlias = Literal["fp32", "fp16", "int8"]  # of the weights in an .onnx file
Recipe: TypeAlias = Literal["fast", "standard", "best"]  # a set of training options
Optimizer: TypeAlias = Literal["sgd", "muon"]
Schedule: TypeAlias = Literal["cosine", "linear"]  # how the learning rate falls
Precision: TypeAlias = Literal["auto", "fp32", "bf16"]  # arithmetic of training
Layout: TypeAlias = Literal["auto", "channels_last", "contiguous"]  # memory layout of tensors
Compile: TypeAlias = Literal["auto", "on", "off"]  # whether torch.compile is used


class Split(StrEnum):
    """A part of a data set: `train` fits weights, `valid` selects, `test` is only reported, never selected on."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


class Head(StrEnum):
    """The output of a model: `labels` predicts FER-2013's label, `crowd` what annotators would say."""

    LABELS = "labels"
    CROWD = "crowd"

    @property
    def meaning(self) -> str:
        """What a probability means, in a sentence for the user."""
        if self is Head.CROWD:
            return "70 % means: about seven of ten people would name this expression."
        return "70 % means: FER-2013 would give this label to about seven of ten such faces."


class Method(StrEnum):
    """Ways to weight the members of an ensemble."""

    MEAN = "mean"  # equal weights, of log-probabilities
    PROBABILITIES = "probabilities"  # equal weights, of probabilities
    WEIGHTED = "weighted"
    GREEDY = "greedy"


def names_of(kind: Any) -> tuple[str, ...]:  # noqa: ANN401 - a Literal has no type of its own
    """Return the names of a StrEnum or a Literal; an empty tuple for any other type."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return tuple(kind)
    return tuple(name for name in get_args(kind) if isinstance(name, str))


def choose(kind: Any, name: object, *, option: str) -> Any:  # noqa: ANN401
    """Return the choice called `name`: a member of a StrEnum, or the text of a Literal.

    Raises UsageError that names the option and its choices. All options share this wording.
    """
    names = names_of(kind)
    if not isinstance(name, str) or name not in names:
        msg = f"{option} {printable(str(name)[:80])!r}: choose from {', '.join(names)}"
        raise UsageError(msg)
    return kind(name) if isinstance(kind, type) else name
