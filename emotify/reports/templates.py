"""Load the HTML templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emotify.files import printable
from emotify.reports.names import short_name

if TYPE_CHECKING:
    from jinja2 import Template


def template(name: str) -> Template:
    """Return the template called `name`. It escapes HTML in names and messages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("emotify.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": short_name, "printable": printable}
    return environment.get_template(name)
