"""Checksums of rows: a value that the disk has changed is noticed before it changes a result.

A row of a track, an embedding, and the d-vectors with their levels each have a CRC-32, which finds
every error of up to 32 bits in a row.  It lies in the small rows: of d-vectors in that of their
embedding, since SQLite would write the blobs anew with it.  Spectra are compressed, and zlib checks
what it unpacks.  Nothing here guards against somebody who writes a matching checksum.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator

from auditor.catalogue.rows import FIELDS
from auditor.errors import DamagedTrackError

SINCE = 6
"""Schema version from which on rows have checksums."""

SET_ASIDE = -1
"""Checksum of an embedding that nothing may use, since a row of its track is damaged."""

SUMMED = (*FIELDS, "path_bytes", "mtime_ns")
"""Columns of a track that its checksum covers."""

_TRACKS = f"SELECT {', '.join(SUMMED)}, crc FROM tracks"
_EMBEDDINGS = """SELECT track_id, weights_id, embeddings.crc, dvectors_crc,
    track_id IN (SELECT id FROM tracks),
    n_windows, n_dims, embedding, dvectors, levels
    FROM embeddings LEFT JOIN dvectors USING (track_id, weights_id)"""


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


def has_checksums(connection: sqlite3.Connection) -> bool:
    """Say whether rows have checksums; those of an older catalogue, open for reading, have none."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version >= SINCE


def seal_tracks(connection: sqlite3.Connection) -> None:
    """Give their checksums to the tracks that were written in this transaction."""
    rows = connection.execute(f"{_TRACKS} WHERE crc IS NULL").fetchall()
    connection.executemany(
        "UPDATE tracks SET crc = ? WHERE id = ?", [(checksum(row[:-1]), row[0]) for row in rows]
    )


def fill(connection: sqlite3.Connection) -> None:
    """Give their checksums to all rows of a catalogue that had none."""
    seal_tracks(connection)
    keys = connection.execute("SELECT track_id, weights_id FROM embeddings WHERE crc IS NULL")
    for key in keys.fetchall():
        row = connection.execute(f"{_EMBEDDINGS} WHERE track_id = ? AND weights_id = ?", key)
        values = row.fetchone()[5:]
        connection.execute(
            "UPDATE embeddings SET crc = ?, dvectors_crc = ? WHERE track_id = ? AND weights_id = ?",
            (checksum(*values[:3]), checksum(*values[3:]), *key),
        )


def check_track(row: tuple[object, ...]) -> None:
    """Raise DamagedTrackError unless a row of ``SUMMED`` and its checksum fit together."""
    if checksum(row[:-1]) != row[-1]:
        raise damaged(row[0], "row of tags and facts")


def damaged(track_id: object, what: str) -> DamagedTrackError:
    """Return the error that names a damaged track, and says what to do."""
    return DamagedTrackError(
        f"track {track_id}: its {what} changed on the disk: the checksum is another. "
        "Run audit scan DIR with the folder of its file, which embeds it anew",
        str(track_id),
    )


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
    for row in connection.execute(f"{_TRACKS} ORDER BY id"):
        if checksum(row[:-1]) != row[-1]:
            yield str(row[0]), str(damaged(row[0], "row of tags and facts"))
    rows = connection.execute(
        f"{_EMBEDDINGS} WHERE ?1 IS NULL OR weights_id = ?1 ORDER BY track_id, weights_id",
        (weights_id,),
    )
    for track_id, _, crc, dvectors_crc, known, *values in rows:
        if not known:
            lost = f"an embedding belongs to no track ({track_id}): a track has lost it. Run audit"
            yield (
                str(track_id),
                f"{lost} scan DIR with the folder of its file, which embeds it anew",
            )
            continue
        if crc == SET_ASIDE or checksum(*values[:3]) != crc:
            what = "embedding" if crc != SET_ASIDE else "stored data"
            yield str(track_id), str(damaged(track_id, what))
        elif checksum(*values[3:]) != dvectors_crc:
            yield str(track_id), str(damaged(track_id, "d-vectors"))
