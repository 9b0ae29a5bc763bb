"""Lists of paths: CSV, TSV, Parquet, M3U and plain text, as untrusted as any file.

A table has a column of paths, and may have further ones (a split, tags), which are kept by name.
Paths are relative to the folder of the list.
"""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from auditor.audio.object_store import is_object
from auditor.errors import UsageError, clean_text, show_path

LIST_SUFFIXES = frozenset({".csv", ".tsv", ".parquet", ".m3u", ".m3u8", ".txt"})
"""Of files that are lists."""

PATH_COLUMNS = (
    *("path", "file", "filename", "filepath", "file_path", "file_name", "audio_path"),
    *("audio_file", "audio", "location"),
)
"""Names of a column of paths, the first that a table has; case does not matter."""

SPLIT_COLUMNS = ("split", "subset", "fold", "set", "partition")
"""Names of a column that says which split a file belongs to."""

MAX_LIST_BYTES = 256 << 20
"""Size of a list."""

MAX_ENTRIES = 5_000_000
"""Entries of a list."""

MAX_COLUMNS = 1000
_LONGEST_PATH = 8192


@dataclass(frozen=True)
class ListEntry:
    """A row of a list.

    Attributes
    ----------
    path : bytes
        Absolute, or a URL.
    values : dict of str to str
        The other columns by name, each on one line and at most 500 characters.
    """

    path: bytes
    values: dict[str, str]


def read_path_list(path: str | os.PathLike[str]) -> list[ListEntry]:
    """Read a list of paths.

    Raises
    ------
    UsageError
        If it cannot be read, is too large, or has no column of paths; names file and line.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        entries = _parquet_entries(path)
    elif suffix in (".csv", ".tsv"):
        entries = _table_entries(path, _read_text(path))
    else:
        entries = _plain_entries(path, _read_bytes(path))
    found: list[ListEntry] = []
    for entry in entries:
        if len(found) == MAX_ENTRIES:
            raise UsageError(f"{show_path(path)} has more than {MAX_ENTRIES:,} entries. Split it.")
        found.append(entry)
    return found


def resolve(folder: str | os.PathLike[str], name: str | bytes) -> bytes:
    """Return a path of a list in full; a URL of an object stays as it is.

    Examples
    --------
    >>> resolve("/music", "../a.mp3"), resolve("/music", "s3://bucket/a.mp3")
    (b'/a.mp3', b's3://bucket/a.mp3')
    """
    encoded = os.fsencode(name)
    if is_object(encoded):
        return encoded
    joined = os.path.join(os.path.abspath(os.fsencode(folder)), encoded)
    return os.path.normpath(joined)


def _read_bytes(path: Path) -> bytes:
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # a pipe is refused, not waited for
    shown = show_path(path)
    try:
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"{shown} is not a regular file. Give a list of paths.")
            data = file.read(MAX_LIST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {error.strerror}. Give a list.") from None
    if len(data) > MAX_LIST_BYTES:
        raise UsageError(
            f"{shown} is larger than {MAX_LIST_BYTES >> 20} MiB, the limit for a list. Split it."
        )
    return data


def _read_text(path: Path) -> str:
    data = _read_bytes(path)
    try:
        return data.decode("utf-8-sig", "surrogateescape")  # paths need not be valid Unicode
    except UnicodeDecodeError as error:
        raise UsageError(f"{show_path(path)} is not UTF-8: {error.reason}.") from None


def _plain_entries(path: Path, data: bytes) -> Iterator[ListEntry]:
    for line in data.removeprefix(b"\xef\xbb\xbf").splitlines():
        name = line.strip()
        if not name or name.startswith(b"#"):
            continue
        if name.startswith(b"file://"):
            name = unquote_to_bytes(b"/" + name.removeprefix(b"file://").partition(b"/")[2])
        yield _entry(path, name, {})


def _entry(path: Path, name: bytes, values: dict[str, str]) -> ListEntry:
    if b"\0" in name or len(name) > _LONGEST_PATH:
        raise UsageError(
            f"{show_path(path)} names {show_path(name[:60])}…, which is no path. Fix the list."
        )
    return ListEntry(resolve(path.parent, name), values)


def _table_entries(path: Path, text: str) -> Iterator[ListEntry]:
    shown = show_path(path)
    first_line = text.partition("\n")[0]
    separator = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] | None = None
    at = -1
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [clean_text(cell).lower() for cell in cells[:MAX_COLUMNS]]
                at = path_column(header)
                if at >= 0:
                    continue
                if len(cells) > 1:
                    raise UsageError(
                        f"{shown}, line 1: no column holds paths; one of "
                        f"{', '.join(PATH_COLUMNS[:5])}, ... is needed in the first line."
                    )
                header, at = [""], 0  # a column of paths without a header
            if at >= len(cells) or not cells[at].strip():
                raise UsageError(f"{shown}, line {reader.line_num}: the path is empty.")
            yield _entry(path, os.fsencode(cells[at].strip()), _values(header, cells, at))
    except csv.Error as error:
        raise UsageError(f"{shown}, line {reader.line_num}: {error}. Give a CSV file.") from None


def path_column(header: Sequence[str]) -> int:
    """Return the place of the column of paths, -1 where there is none.

    Examples
    --------
    >>> path_column(["split", "filename"]), path_column(["a", "b"])
    (1, -1)
    """
    return next((header.index(name) for name in PATH_COLUMNS if name in header), -1)


def _values(header: Sequence[str], cells: Sequence[Any], at: int) -> dict[str, str]:
    return {
        name: clean_text(str(cell))
        for i, (name, cell) in enumerate(zip(header, cells, strict=False))
        if i != at and name and cell is not None
    }


def _parquet_entries(path: Path) -> Iterator[ListEntry]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(
            f"{show_path(path)}: reading Parquet requires pyarrow. "
            "Run: pip install 'auditor[parquet]'"
        ) from None
    shown = show_path(path)
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names[:MAX_COLUMNS]
            at = path_column([name.lower() for name in names])
            if at < 0:
                raise UsageError(
                    f"{shown}: no column holds paths; one of {', '.join(PATH_COLUMNS[:5])}, ... "
                    "is needed."
                )
            plain = [
                name
                for name in names
                if _is_plain(file.schema_arrow.field(name).type) or name == names[at]
            ]
            header = [name.lower() for name in plain]
            at = plain.index(names[at])
            for batch in file.iter_batches(batch_size=4096, columns=plain):
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    name = row[at]
                    if isinstance(name, dict):  # the audio column of Hugging Face's datasets
                        name = name.get("path")
                    if not isinstance(name, str) or not name.strip():
                        raise UsageError(f"{shown}: a row has no path.")
                    yield _entry(path, os.fsencode(name.strip()), _values(header, row, at))
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{shown} is not Parquet that can be read: {reason}.") from None


def _is_plain(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or (types.is_dictionary(kind) and types.is_string(kind.value_type))
    )
