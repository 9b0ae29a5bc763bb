"""Rows of a catalogue: the files that took no part, and why.

A row whose checksum is wrong counts as none, and is named: its file is looked at again by a scan of
its folder, and gets another row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from auditor.catalogue.checksums import NO_CHECKSUM, SINCE, SINCE_ALL, checksum, version_of
from auditor.catalogue.rows import valid_unicode
from auditor.errors import show_path
from auditor.records import Skipped

_STAMP = ("size", "mtime_ns", "ctime_ns", "inode")
_COLUMNS = ("path_bytes", "path", "reason", "code", "sha256", *_STAMP)
_LATE = {"code": ("'unreadable'", SINCE), "sha256": ("''", SINCE)} | {
    "ctime_ns": ("NULL", 7),
    "inode": ("NULL", 7),
}
"""What SELECT says in place of a column, and the schema version from which on it is there."""

SkippedRow = tuple[bytes, Skipped, tuple[Any, ...]]
"""The path of a file, why it took no part, and its stamp: NULLs where it may change unseen."""


def put_skipped(
    connection: sqlite3.Connection, path_bytes: bytes, why: Skipped, stamp: tuple[int | None, ...]
) -> None:
    """Store why a file took no part, in place of what was stored of its path."""
    row = (
        *(path_bytes, show_path(path_bytes), valid_unicode(why.reason), str(why.code), why.sha256),
        *(stamp or (None,) * len(_STAMP)),
    )
    connection.execute(
        f"INSERT OR REPLACE INTO skipped ({', '.join(_COLUMNS)}, crc)"
        f" VALUES ({', '.join('?' * len(_COLUMNS))}, ?)",
        (*row, checksum(*row)),
    )


def read_skipped(connection: sqlite3.Connection) -> Iterator[SkippedRow]:
    """Yield the skipped files in order of their paths, without damaged rows."""
    for row in _rows(connection):
        if _is_sound(row):
            path_bytes, path, reason, code, sha256, *stamp, _, _ = row
            yield path_bytes, Skipped.of(path, reason, code, sha256), tuple(stamp)


def damaged_skipped(connection: sqlite3.Connection) -> Iterator[Skipped]:
    """Yield what the damaged rows hold as path, and that they are damaged."""
    for row in _rows(connection):
        if not _is_sound(row):
            path = row[1] if type(row[1]) is str else show_path(row[0])
            yield Skipped.of(
                path,
                "what the catalogue holds of this skipped file changed on the disk: the checksum "
                "is another. Run audit scan DIR with its folder, which looks at it again.",
                "damaged-row",
            )


def drop_damaged(connection: sqlite3.Connection) -> None:
    """Delete the damaged rows."""
    numbers = [(row[-1],) for row in _rows(connection) if not _is_sound(row)]
    connection.executemany("DELETE FROM skipped WHERE rowid = ?", numbers)


def seal(connection: sqlite3.Connection) -> None:
    """Give their checksums to rows that have none, from before there were any."""
    columns = ", ".join(_COLUMNS)
    rows = connection.execute(f"SELECT {columns}, rowid FROM skipped WHERE crc IS NULL").fetchall()
    connection.executemany(
        "UPDATE skipped SET crc = ? WHERE rowid = ?",
        [(checksum(*row[:-1]), row[-1]) for row in rows],
    )


def _rows(connection: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """Yield the values of ``_COLUMNS``, checksum and ``rowid``, in order of the paths."""
    version = version_of(connection)
    names = [_LATE[c][0] if c in _LATE and version < _LATE[c][1] else c for c in _COLUMNS]
    names += [str(NO_CHECKSUM) if version < SINCE_ALL else "crc", "rowid"]
    yield from connection.execute(f"SELECT {', '.join(names)} FROM skipped ORDER BY path_bytes")


def _is_sound(row: tuple[Any, ...]) -> bool:
    return row[-2] in (NO_CHECKSUM, checksum(*row[:-2]))
