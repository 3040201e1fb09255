"""Options declared once, as the fields of a dataclass: default, help, choices and bounds."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any, Final

LARGEST_FLOAT: Final = sys.float_info.max  # an integer in a JSON file can be larger
OUTPUT: Final = "Output"  # the last heading of each command's help
MACHINE: Final = "Machine"  # a heading of the help; the computer decides the options that the user does not set


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The declaration of an option: its help texts and its bounds."""

    help: str
    heading: str | None = None  # of the help; None: the heading of common options
    metavar: str | None = None  # placeholder of the value in the help
    also: str | None = None  # another name on the command line
    writer: str | None = None  # module:class that writes the option's file, one row per face
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    @property
    def bounds(self) -> str:
        """The bounds in words, such as `at least 0 and below 1`."""
        named = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        return " and ".join(
            f"{words} {bound:g}" for words, bound in named.items() if bound not in (None, LARGEST_FLOAT)
        )

    def allows(self, value: float) -> bool:
        """Return whether a number lies within the bounds. NaN is outside of any bound."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )


def declare(default: Any, help: str, heading: str | None = None, **more: Any) -> Any:  # noqa: ANN401, A002
    """Declare an option as the field of a dataclass: its default, its help, its heading, its bounds."""
    return dataclasses.field(default=default, metadata={"setting": Setting(help=help, heading=heading, **more)})


def setting(field: dataclasses.Field[Any]) -> Setting:
    """Return the Setting of a field."""
    declared: Setting = field.metadata["setting"]
    return declared


def option(name: str) -> str:
    """Return the command-line spelling of a field."""
    return "--" + name.replace("_", "-")
