"""Checksums of rows: a value that the disk has changed is noticed before it changes a result.

A row of a track, an embedding, the d-vectors with their levels, a decision and a skipped file each
have a CRC-32, which finds every error of up to 32 bits in a row.  It lies in the small rows: of
d-vectors in that of their embedding, since SQLite would write the blobs anew with it.  Spectra are
compressed, and zlib checks what it unpacks.  Nothing here guards against somebody who writes a
matching checksum.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator

from auditor.catalogue.rows import FIELDS, field_columns
from auditor.errors import DamagedTrackError

SINCE = 6
"""Schema version from which on tracks and embeddings have checksums."""

SINCE_ALL = 11
"""Schema version from which on decisions and skipped files have them, too."""

NO_CHECKSUM = -1
"""What SELECT says in place of the checksum of a row that an older catalogue has not."""

SET_ASIDE = -1
"""Checksum of an embedding that nothing may use, since a row of its track is damaged."""

_WHOSE = ("path_bytes", "mtime_ns")

SUMMED = (*FIELDS, *_WHOSE)
"""Columns of a track that its checksum covers."""

UNSEALED = "crc IS NULL"
"""Tracks that were written in this transaction, until ``seal_tracks``."""

_LATE = (("[]", ""), ("[]",))
"""The last of ``FIELDS`` where there are none, as they came: identifiers and label; manifest."""
_EMBEDDINGS = """SELECT track_id, weights_id, embeddings.crc, dvectors_crc,
    n_windows, n_dims, embedding, dvectors, levels
    FROM embeddings LEFT JOIN dvectors USING (track_id, weights_id)"""

# The d-vectors of a track lie in a table of their own, under the same key: they remember whose
# they were when the key of the track or of its embedding has changed.
_LOST = """SELECT dvectors.track_id, tracks.id IS NULL
    FROM dvectors LEFT JOIN embeddings USING (track_id, weights_id)
    LEFT JOIN tracks ON tracks.id = dvectors.track_id
    WHERE (?1 IS NULL OR dvectors.weights_id = ?1)
    AND (tracks.id IS NULL) <> (embeddings.track_id IS NULL) ORDER BY 1"""


def checksum(*values: object) -> int:
    """Return the CRC-32 of values of SQLite.

    Examples
    --------
    >>> checksum(1, b"ab") == checksum(1, b"ac"), checksum("1") == checksum(1)
    (False, False)
    """
    crc = 0
    for value in values:
        data = value if type(value) is bytes else repr(value).encode("utf-8", "surrogatepass")
        crc = zlib.crc32(data, crc)
    return crc


def _checksum_of_track(row: tuple[object, ...]) -> int:
    """Return the CRC-32 of a row of ``SUMMED``.

    Columns that are younger than checksums count where they hold something, so that rows without
    have the checksum that they had before.
    """
    fields, others = row[: len(FIELDS)], row[len(FIELDS) :]
    for nothing in reversed(_LATE):
        if fields[-len(nothing) :] != nothing:
            break
        fields = fields[: -len(nothing)]
    return checksum(fields + others)


def has_checksums(connection: sqlite3.Connection) -> bool:
    """Say whether tracks have checksums; in an older catalogue, read as it is, they have none."""
    return version_of(connection) >= SINCE


def track_columns(connection: sqlite3.Connection) -> str:
    """Return what a SELECT names to get ``FIELDS``, and with checksums ``SUMMED`` and the crc."""
    fields = field_columns(version_of(connection))
    return ", ".join((*fields, *_WHOSE, "crc") if has_checksums(connection) else fields)


def version_of(connection: sqlite3.Connection) -> int:
    """Return the schema version of a catalogue."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def seal_tracks(connection: sqlite3.Connection) -> None:
    """Give their checksums to the tracks that were written in this transaction."""
    names = ", ".join(SUMMED)
    rows = connection.execute(f"SELECT {names} FROM tracks WHERE {UNSEALED}").fetchall()
    connection.executemany(
        "UPDATE tracks SET crc = ? WHERE id = ?",
        [(_checksum_of_track(row), row[0]) for row in rows],
    )


def fill(connection: sqlite3.Connection) -> None:
    """Give their checksums to all rows of a catalogue that had none."""
    seal_tracks(connection)
    keys = connection.execute("SELECT track_id, weights_id FROM embeddings WHERE crc IS NULL")
    for key in keys.fetchall():
        row = connection.execute(f"{_EMBEDDINGS} WHERE track_id = ? AND weights_id = ?", key)
        values = row.fetchone()[4:]
        connection.execute(
            "UPDATE embeddings SET crc = ?, dvectors_crc = ? WHERE track_id = ? AND weights_id = ?",
            (checksum(*values[:3]), checksum(*values[3:]), *key),
        )


def is_intact(row: tuple[object, ...]) -> bool:
    """Say whether a row of ``SUMMED`` and the checksum behind it fit together.

    A row that was written in this transaction has no checksum yet.
    """
    return row[-1] is None or _checksum_of_track(row[:-1]) == row[-1]


def check_track(row: tuple[object, ...]) -> None:
    """Raise DamagedTrackError unless a row of ``SUMMED`` and its checksum fit together."""
    if _checksum_of_track(row[:-1]) != row[-1]:
        raise damaged(row[0], "row of tags and facts")


def damaged(track_id: object, what: str) -> DamagedTrackError:
    """Return the error that names a damaged track, and says what to do."""
    return DamagedTrackError(
        f"track {track_id}: its {what} changed on the disk: the checksum is another. "
        "Run audit scan DIR with the folder of its file, which embeds it anew",
        str(track_id),
    )


def lost_rows(
    connection: sqlite3.Connection, weights_id: str | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the id of each track that has lost its embedding, and what is wrong; reads keys only.

    Such an embedding has no row that a checksum could cover: its key, or that of its track, is
    another on the disk, and no search for the track finds it.

    Parameters
    ----------
    connection : sqlite3.Connection
    weights_id : str, optional
        Whose embeddings to look for; those of all weights by default.
    """
    for track_id, is_of_none in connection.execute(_LOST, (weights_id,)):
        what = f"track {track_id}: its embedding is lost"
        if is_of_none:
            what = f"an embedding belongs to no track ({track_id})"
        yield (
            str(track_id),
            f"{what}: an id changed on the disk. Run audit scan DIR with the folder of its file, "
            "which embeds it anew",
        )


def damaged_tracks(connection: sqlite3.Connection, where: str = "1") -> Iterator[tuple[str, str]]:
    """Yield the id of each track whose own row is damaged, and what is wrong.

    Parameters
    ----------
    connection : sqlite3.Connection
    where : str
        A condition of SQL on the tracks to read.
    """
    columns = track_columns(connection)
    for row in connection.execute(f"SELECT {columns} FROM tracks WHERE {where} ORDER BY id"):
        if _checksum_of_track(row[:-1]) != row[-1]:
            yield str(row[0]), str(damaged(row[0], "row of tags and facts"))


def damaged_rows(
    connection: sqlite3.Connection, weights_id: str | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the id of each damaged track and what is wrong with it; reads every row.

    Parameters
    ----------
    connection : sqlite3.Connection
    weights_id : str, optional
        Whose embeddings to read; of all weights by default.
    """
    if not has_checksums(connection):
        return
    yield from damaged_tracks(connection)
    yield from lost_rows(connection, weights_id)
    rows = connection.execute(
        f"{_EMBEDDINGS} WHERE (?1 IS NULL OR weights_id = ?1)"
        " AND track_id IN (SELECT id FROM tracks) ORDER BY track_id, weights_id",
        (weights_id,),
    )
    for track_id, _, crc, dvectors_crc, *values in rows:
        if crc == SET_ASIDE or checksum(*values[:3]) != crc:
            what = "embedding" if crc != SET_ASIDE else "stored data"
            yield str(track_id), str(damaged(track_id, what))
        elif checksum(*values[3:]) != dvectors_crc:
            yield str(track_id), str(damaged(track_id, "d-vectors"))


_ALONE = """DELETE FROM {table} WHERE (track_id NOT IN (SELECT id FROM tracks) OR NOT EXISTS (
        SELECT 1 FROM {other} WHERE {other}.track_id = {table}.track_id
        AND {other}.weights_id = {table}.weights_id))
    AND (weights_id = ? OR weights_id NOT IN (SELECT weights_id FROM {other}))"""


def drop_lost_rows(connection: sqlite3.Connection, weights_id: str) -> None:
    """Delete what belongs to no track or has no counterpart, once no track lacks an embedding.

    Until then such rows say that something is lost.  Those of other weights stay.
    """
    lacking = connection.execute(
        "SELECT 1 FROM tracks WHERE NOT EXISTS (SELECT 1 FROM embeddings JOIN dvectors"
        " USING (track_id, weights_id) WHERE track_id = tracks.id AND weights_id = ?)",
        (weights_id,),
    )
    if lacking.fetchone() is None:
        for table, other in (("embeddings", "dvectors"), ("dvectors", "embeddings")):
            connection.execute(_ALONE.format(table=table, other=other), (weights_id,))
