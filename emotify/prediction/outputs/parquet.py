"""Write results as a Parquet file with pyarrow, which is an optional dependency."""

from __future__ import annotations

from typing import IO, Any, Final

from emotify.errors import UnavailableError
from emotify.prediction.results import PictureResult, columns

_ROWS_HELD: Final = 10_000  # rows in memory before they are written as one row group


def require_pyarrow() -> None:
    """Raise UnavailableError if pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        msg = "Parquet files need the package pyarrow: pip install pyarrow; --csv FILE works without it"
        raise UnavailableError(msg) from None


class ParquetWriter:
    """Writes one row per face, or a single row for a picture without faces, to a binary file.

    `top` adds columns for the second to the `top`-th most probable expression.
    """

    def __init__(self, file: IO[bytes], *, top: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = dict.fromkeys(columns(top), pa.float32())
        kinds |= dict.fromkeys(("path", "path_b64", "status", "message"), pa.string())
        kinds |= dict.fromkeys(("width", "height", "frames", "face", "track"), pa.int32())
        kinds |= {name: pa.string() for name in kinds if name.startswith("label")} | {"time": pa.float64()}
        self._top = top
        self._schema = pa.schema(kinds)
        self._writer = pq.ParquetWriter(file, self._schema)
        self._rows: list[dict[str, Any]] = []

    def write(self, result: PictureResult) -> None:
        """Add the rows of one picture. Rows are written in groups of about 10,000."""
        rows = result.rows(self._top)
        for row in rows:
            row["path"] = row["path"].encode(errors="backslashreplace").decode()
        self._rows += rows
        if len(self._rows) >= _ROWS_HELD:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        """Write the remaining rows and the footer; the file stays open."""
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Leave the file as it is. Otherwise pyarrow would write the footer, or fail, when the writer is deleted."""
        self._writer.is_open = False
