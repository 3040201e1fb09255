"""Split pictures between processes that do not communicate."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from emotify.errors import UsageError

_MOST_SHARDS = 1_000_000


@dataclass(frozen=True)
class Shard:
    """Shard `index` of `count`, counted from 0. Pictures are assigned by a hash of their path, as it is written."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse a shard such as `3/8`. Raises UsageError if the text is not a valid shard."""
        match = re.fullmatch(r"(\d{1,7})/(\d{1,7})", text, re.ASCII)
        index, count = map(int, match.groups()) if match else (0, 0)
        if index >= count or count > _MOST_SHARDS:
            msg = f"--shard {text!r}: write i/n with i from 0 to n-1, such as 0/4 to 3/4 for four processes"
            raise UsageError(msg)
        return cls(index, count)

    def holds(self, path: Path) -> bool:
        """Return whether a path belongs to this shard; every path belongs to exactly one."""
        digest = hashlib.blake2b(os.fsencode(path.as_posix()), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
