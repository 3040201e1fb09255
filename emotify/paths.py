"""Whether a path exists, and why not."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Final

# One slash is enough, since Path removes the second. A Windows drive has one letter.
_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]+:/|www\.", re.IGNORECASE)
_PATTERN: Final = re.compile(r"[*?]|\[[^\]]+\]|\{[^}]*,[^}]*\}")

_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def exists(path: Path) -> bool:
    """Return whether a path exists. Raises OSError if that is unknown; from Python 3.14, Path.exists is then False."""
    try:
        path.stat()
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise
    except ValueError:  # a character that no path has
        return False
    return True


def explain_missing(path: str) -> str | None:
    """Return why `path` does not exist and what to do, or None if it may just be misspelt."""
    if os.path.islink(path):  # noqa: PTH114 - Path.is_symlink raises for names too long
        return "it is a link that leads nowhere; fix the link, or name the file itself"
    if path.startswith("file:"):
        return "it is a URL; write the path without file://"
    if path.startswith("data:"):
        return "it is a picture as text (a data URL); save the picture as a file"
    if _ADDRESS.match(path):
        return "it is a URL; download the file and name it"
    if path.startswith("~"):
        return "the shell did not replace ~; write out the full path"
    if "$" in path or path.count("%") > 1:
        return "the shell did not replace the variable; write out the path"
    if _PATTERN.search(path):
        return "nothing matches this pattern; name files or folders"
    if "\\" in path and os.sep == "/":
        return "it looks like a Windows path; write / for each \\"
    if path != path.strip():
        return "its name begins or ends with a space; check the path"
    return None
