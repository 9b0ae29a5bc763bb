"""What is wrong with a catalogue, or with the files that it names, in words for people."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import numpy as np

from auditor.audio.files import hash_file, look_at
from auditor.catalogue.checksums import track_columns
from auditor.catalogue.rows import (
    FIELDS,
    are_unit,
    remedy,
    track_from_row,
    unpack,
    unpack_dvectors,
)
from auditor.errors import AuditError, CatalogueError, show_path


def file_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield what SQLite itself finds wrong: damaged pages, rows that belong to nothing."""
    for (message,) in connection.execute("PRAGMA integrity_check"):
        if message != "ok":
            yield f"the file is damaged: {message}. Move it away and run: audit scan DIR"
    for table, row_id, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"row {row_id} of {table} belongs to nothing in {parent}. Run: audit scan DIR"


def row_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield tracks with values of a wrong type, and vectors of a wrong size or norm."""
    silent: set[str] = set()
    columns = track_columns(connection)
    for row in connection.execute(f"SELECT {columns} FROM tracks ORDER BY id"):
        try:
            track = track_from_row(row[: len(FIELDS)])
        except CatalogueError as error:
            yield str(error)
        else:
            silent.update([track.id] if track.silent else [])
    for row in connection.execute(
        "SELECT n_windows, n_dims, embedding, dvectors, levels, track_id, weights_id"
        " FROM embeddings LEFT JOIN dvectors USING (track_id, weights_id)"
        " ORDER BY track_id, weights_id"
    ):
        track_id, weights_id = row[-2:]
        try:
            embedding = unpack(row[2], "<f4", (row[1],), track_id, "embedding")
            dvectors, levels = unpack_dvectors(row)
        except CatalogueError as error:
            yield str(error)
            continue
        where = f"track {track_id}, weights {weights_id}"
        if not are_unit(embedding, zero_too=track_id in silent):
            yield f"{where}: the embedding is not a unit vector. {remedy(track_id)}"
        # A window without sound has no direction.
        if not are_unit(dvectors, zero_too=True) or np.isnan(levels).any():
            yield f"{where}: a d-vector is not a unit vector. {remedy(track_id)}"


def disk_problem(
    track_id: str,
    path_bytes: bytes,
    sha256: str,
    stamp: tuple[int | None, ...],
    *,
    read: bool,
) -> str | None:
    """Return how the file of a track differs from what was scanned, None if it does not.

    Parameters
    ----------
    track_id : str
    path_bytes : bytes
    sha256 : str
        As recorded.
    stamp : tuple of int
        As recorded: size in bytes, mtime and ctime in nanoseconds, inode; the last two may be None.
    read : bool
        Read the content even where all of them are as recorded.
    """
    where = f"track {track_id}: {show_path(path_bytes)}"
    try:
        now = look_at(path_bytes)
        if (now.size, now.mtime_ns) != stamp[:2]:
            return f"{where} has changed since it was scanned. Run: audit scan DIR"
        known = zip((now.ctime_ns, now.inode), stamp[2:], strict=True)
        touched = any(a != b for a, b in known if a is not None and b is not None)
        if (read or touched) and hash_file(path_bytes) != sha256:
            how = "Run: audit scan DIR" if touched else remedy(track_id)
            return f"{where} has other bytes under the same size and time. {how}"
    except FileNotFoundError:
        return f"{where} is gone. Run: audit scan DIR"
    except OSError as error:
        return f"{where} cannot be read: {error.strerror}. Check its permissions."
    except AuditError as error:
        return f"track {track_id}: {error}"
    return None
