"""The named choices that options, functions and files share: each is declared here and nowhere else."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, TypeAlias, get_args

from emotify.errors import UsageError
from emotify.files import printable

Views: TypeAlias = Literal["one", "mirror", "ten"]  # variants of an image whose answers are averaged
Faces: TypeAlias = Literal["auto", "detect", "whole"]  # where the faces of a picture are
Engine: TypeAlias = Literal["local", "ray"]  # what spreads the pictures over processes
Truth: TypeAlias = Literal["auto", "folders", "none"]  # whether folders name the expressions of their pictures
FilePrecision: TypeAlias = Literal["fp32", "fp16", "int8"]  # of the weights in an .onnx file
Recipe: TypeAlias = Literal["fast", "standard", "best"]  # training options that go together
Optimizer: TypeAlias = Literal["sgd", "muon"]
Schedule: TypeAlias = Literal["cosine", "linear"]  # how the learning rate falls
Precision: TypeAlias = Literal["auto", "fp32", "bf16"]  # the arithmetic of a training
Layout: TypeAlias = Literal["auto", "channels_last", "contiguous"]  # of tensors in memory
Compile: TypeAlias = Literal["auto", "on", "off"]  # whether torch.compile is used


class Split(StrEnum):
    """`train` fits weights, `valid` chooses everything, `test` is reported and never chosen on."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


class Head(StrEnum):
    """Which question an answer is to: FER-2013's label, or what most people would say."""

    LABELS = "labels"
    CROWD = "crowd"

    @property
    def meaning(self) -> str:
        """What a probability says, in a sentence for the user."""
        if self is Head.CROWD:
            return "70 % means: of ten people, about seven would name this expression."
        return "70 % means: of ten such faces, FER-2013 would label about seven so."


class Method(StrEnum):
    """Ways to weigh the members of an ensemble."""

    MEAN = "mean"  # equal weights, of log-probabilities
    PROBABILITIES = "probabilities"  # equal weights, of probabilities
    WEIGHTED = "weighted"
    GREEDY = "greedy"


def names_of(kind: Any) -> tuple[str, ...]:  # noqa: ANN401 - a Literal has no type of its own
    """Return the names of a StrEnum or a Literal; none for any other type."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return tuple(kind)
    return tuple(name for name in get_args(kind) if isinstance(name, str))


def choose(kind: Any, name: object, *, option: str) -> Any:  # noqa: ANN401
    """Return the choice of that name, a StrEnum's member or a Literal's text.

    Raises UsageError that names the option and what it takes, in the one wording for all options.
    """
    names = names_of(kind)
    if not isinstance(name, str) or name not in names:
        msg = f"{option} {printable(str(name)[:80])!r}: there are {', '.join(names)}"
        raise UsageError(msg)
    return kind(name) if isinstance(kind, type) else name
