"""The catalogue: tracks, embeddings, d-vectors and skipped files in one SQLite file.

The file is in WAL mode, so readers never wait for the one writer, and every track is stored in one
transaction, so a killed run loses at most the track it was at.  Vectors are little-endian blobs;
what is read back is never trusted: types, sizes and norms are checked, and a file that is not a
catalogue is refused and left as it is.
"""

from __future__ import annotations

import difflib
import os
import sqlite3
import time
from base64 import b32encode
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from auditor.audio.files import FoundFile
from auditor.catalogue.checksums import (
    SET_ASIDE,
    SUMMED,
    check_track,
    checksum,
    damaged_rows,
    drop_lost_rows,
    has_checksums,
    is_intact,
    lost_rows,
    seal_tracks,
    track_columns,
)
from auditor.catalogue.checksums import damaged as damaged_track
from auditor.catalogue.database import connect, has_inodes, transaction
from auditor.catalogue.decisions import (
    add_decision,
    decision_problems,
    insert_decisions,
    read_decisions,
)
from auditor.catalogue.embedding_table import (
    MIN_TRACKS,
    TrackTable,
    map_table,
    read_table,
    revision_of,
    save_table,
    table_problems,
)
from auditor.catalogue.identifiers import ids_of_holders, index_identifiers
from auditor.catalogue.rows import (
    FIELDS,
    pack,
    track_from_row,
    track_row,
    unpack,
    unpack_dvectors,
    valid_unicode,
)
from auditor.catalogue.skipped import (
    damaged_skipped,
    drop_damaged,
    put_skipped,
    read_skipped,
)
from auditor.catalogue.sources import naming_tag
from auditor.catalogue.spectrograms import (
    drop_unused,
    put_spectrum,
    read_spectrum,
    spectrum_problems,
    stored_spectra,
)
from auditor.catalogue.verify import disk_problem, file_problems, row_problems
from auditor.embedding.config import SPECTRUM, SPECTRUM_LAYOUT
from auditor.errors import CatalogueError, DamagedTrackError, show_path
from auditor.records import Decision, Skipped, Track, TrackEmbedding

_COLUMNS = (*SUMMED, "added_at", "ctime_ns", "inode")
_TAG_FIELDS = (
    *("title", "artist", "album", "genre", "genres", "date", "licence", "source"),
    *("identifiers", "record_label", "c2pa"),
)
_PRESENT = "path_bytes IS NOT NULL AND NOT missing"

PUT_TRACK = f"""INSERT INTO tracks ({", ".join(_COLUMNS)})
    VALUES ({", ".join("?" * len(_COLUMNS))}) ON CONFLICT (id) DO UPDATE
    SET {", ".join(f"{c} = excluded.{c}" for c in _COLUMNS if c not in ("id", "added_at"))},
    crc = NULL"""
DISPLACE = (
    "UPDATE tracks SET path_bytes = NULL, missing = 1, crc = NULL WHERE path_bytes = ? AND id <> ?"
)
DVECTORS = """SELECT n_windows, n_dims, embedding, dvectors, levels, track_id, weights_id
    FROM embeddings LEFT JOIN dvectors USING (track_id, weights_id)"""
# A longer id with the same letters is no neighbour: '-' to '.' spans "prefix-2", "prefix-3" ...
SAME_PREFIX = """SELECT count(*), max(sha256 <> :sha256), max(CAST(substr(id, :n) AS INTEGER))
    FROM tracks WHERE id = :prefix OR (id >= :prefix || '-' AND id < :prefix || '.')"""


@dataclass(frozen=True, eq=False)
class FileStamp:
    """Size in bytes, and what the file system says of the last change.

    A file that has changed has another one.
    Taggers may set the time of change back to what it was, but nobody the time at which that was
    done (``ctime_ns``), nor the number of a file that was put in its place (``inode``).  Either is
    None where it is not known, as of objects and in catalogues of older versions, and then equals
    any.
    """

    size: int
    mtime_ns: int
    ctime_ns: int | None = None
    inode: int | None = None

    @classmethod
    def of(cls, file: FoundFile) -> FileStamp:
        """Return the stamp of a file as it was found."""
        return cls(file.size, file.mtime_ns, file.ctime_ns, file.inode)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileStamp):
            return NotImplemented
        known = ((self.ctime_ns, other.ctime_ns), (self.inode, other.inode))
        return (self.size, self.mtime_ns) == (other.size, other.mtime_ns) and all(
            a == b or a is None or b is None for a, b in known
        )

    @property
    def columns(self) -> tuple[int, int, int | None, int | None]:
        """The values of ``STAMP``."""
        return self.size, self.mtime_ns, self.ctime_ns, self.inode


STAMP = ("size", "mtime_ns", "ctime_ns", "inode")
"""Columns of a stamp, of a track or of a skipped file."""


def _stamp_columns(connection: sqlite3.Connection) -> str:
    """Return the columns of a stamp as a SELECT names them; an older catalogue lacks two."""
    return ", ".join(STAMP if has_inodes(connection) else (*STAMP[:2], "NULL", "NULL"))


def _usable(connection: sqlite3.Connection) -> str:
    """Return the condition on rows of embeddings that are not set aside as damaged."""
    return f"embeddings.crc <> {SET_ASIDE}" if has_checksums(connection) else "1"


Stamped = tuple[str, FileStamp, set[str]]
"""Id, stamp and the weights ids a track has embeddings of."""


def _checked(row: tuple[Any, ...]) -> Track:
    """Return the track of a row of ``FIELDS``, whose checksum is right if it has one."""
    track = track_from_row(row[: len(FIELDS)])
    if len(row) > len(FIELDS):
        check_track(row)
    return track


def _readable(rows: Iterable[tuple[Any, ...]], damaged: dict[str, str] | None) -> list[Track]:
    """Return the tracks of rows; damaged ones are put aside where that is wanted, else raised."""
    found = []
    for row in rows:
        try:
            found.append(_checked(row))
        except DamagedTrackError as error:
            if damaged is None:
                raise
            damaged[str(row[0])] = str(error)
    return found


class Catalogue:
    """One open catalogue; made by ``Catalogue.open`` and closed by ``with`` or ``close``.

    Any method raises CatalogueError when the file turns out to be damaged or the disk full, and a
    writing one WorkspaceLockedError while another process writes.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, *, writable: bool = True
    ) -> None:
        self.path = path
        self._connection, self.writable = connection, writable

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, read_only: bool = False, busy_timeout_s: float = 5.0
    ) -> Catalogue:
        """Open a catalogue, making it (and its folder) where there is none.

        Parameters
        ----------
        path : path
            The SQLite file.
        read_only : bool
            Write nothing, and refuse a file that does not exist.
        busy_timeout_s : float
            How long to wait for another writer, in seconds.

        Raises
        ------
        CatalogueError
            If there is no catalogue to read, or the file is not one, is damaged, or has the schema
            of a newer version.  The file is left as it is.
        WorkspaceLockedError
            If another process is writing.
        """
        path = Path(path).absolute()
        connection = connect(path, read_only=read_only, busy_timeout_s=busy_timeout_s)
        return cls(path, connection, writable=not read_only)

    def close(self) -> None:
        """Close the file; the last one to do so folds the WAL back into it."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with transaction(self._connection, self.path, begin):
            yield self._connection

    def _read(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._transaction("BEGIN")

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection
            index_identifiers(connection)
            seal_tracks(connection)

    # Files, as the walk meets them.

    def stamp(self, path_bytes: bytes) -> Stamped | None:
        """Return id, stamp and weights ids of the track at a path, None if there is none."""
        return self._stamps("WHERE path_bytes = ?", path_bytes).get(path_bytes)

    def stamps(self) -> dict[bytes, Stamped]:
        """Return ``stamp`` of every track that has a path, those marked missing included."""
        return self._stamps("WHERE path_bytes IS NOT NULL")

    def revision(self) -> str:
        """Return a text that changes with the embeddings and whose they are; "" for none."""
        with self._read() as connection:
            return revision_of(connection)

    def paths(self) -> dict[str, bytes]:
        """Return the path of each track that has one, for opening it, by id."""
        with self._read() as connection:
            return dict(
                connection.execute(
                    "SELECT id, path_bytes FROM tracks WHERE path_bytes IS NOT NULL"
                ).fetchall()
            )

    def files(self) -> dict[str, tuple[bytes, FileStamp]]:
        """Return the path of each track that has one, and what the file looked like, by id."""
        return {entry[0]: (path, entry[1]) for path, entry in self.stamps().items()}

    def _stamps(self, where: str, *values: object) -> dict[bytes, Stamped]:
        with self._read() as connection:
            rows = connection.execute(
                f"SELECT path_bytes, id, {_stamp_columns(connection)}, weights_id"
                " FROM tracks LEFT JOIN"
                f" (SELECT track_id, weights_id FROM embeddings WHERE {_usable(connection)})"
                f" ON track_id = id {where}",
                values,
            )
            found: dict[bytes, Stamped] = {}
            for path_bytes, track_id, *stamp, weights_id in rows:
                entry = found.setdefault(path_bytes, (track_id, FileStamp(*stamp), set()))
                if weights_id is not None:
                    entry[2].add(weights_id)
        return found

    def skipped_stamps(self) -> dict[bytes, FileStamp | None]:
        """Return the stamp of every skipped path, None where the file could not be examined."""
        with self._read() as connection:
            rows = list(read_skipped(connection))
        return {path: None if stamp[0] is None else FileStamp(*stamp) for path, _, stamp in rows}

    def ids_by_sha256(self, sha256: str) -> list[tuple[str, bytes]]:
        """Return (id, path) of the tracks with this content; the path of a displaced one is b""."""
        with self._read() as connection:
            rows = connection.execute(
                "SELECT id, path_bytes FROM tracks WHERE sha256 = ? ORDER BY id", (sha256,)
            ).fetchall()
        return [(track_id, path_bytes or b"") for track_id, path_bytes in rows]

    def hashes(self, weights_id: str, sizes: Collection[int]) -> set[str]:
        """Return the hashes of the tracks of some sizes, in bytes, that have such embeddings."""
        with self._read() as connection:
            rows = connection.execute(
                "SELECT DISTINCT size, sha256 FROM tracks JOIN embeddings ON track_id = id"
                f" WHERE weights_id = ? AND {_usable(connection)}",
                (weights_id,),
            )
            return {sha256 for size, sha256 in rows if size in sizes}

    def content(self, sha256: str, weights_id: str) -> tuple[Track, TrackEmbedding] | None:
        """Return a track of a content, the first by id, with its embedding; None if there is none.

        A damaged one counts as none.
        """
        with self._read() as connection:
            row = connection.execute(
                "SELECT id FROM tracks JOIN embeddings ON track_id = id"
                f" WHERE sha256 = ? AND weights_id = ? AND {_usable(connection)}"
                " ORDER BY id LIMIT 1",
                (sha256, weights_id),
            ).fetchone()
        if row is None:
            return None
        try:
            track = self.track(row[0])
            dvectors, levels = self.dvectors(track.id, weights_id)
            with self._read() as connection:
                n_dims, blob = connection.execute(
                    "SELECT n_dims, embedding FROM embeddings"
                    " WHERE track_id = ? AND weights_id = ?",
                    (track.id, weights_id),
                ).fetchone()
            embedding = unpack(blob, "<f4", (n_dims,), track.id, "embedding")
            made = TrackEmbedding(embedding, dvectors, levels)
            pack(track, made)
        except (CatalogueError, ValueError):
            return None
        return track, made

    def sha256_of(self, track_id: str) -> str:
        """Return the hash of a track's file, 64 hex digits; empty if no track has this id."""
        with self._read() as connection:
            row = connection.execute(
                "SELECT sha256 FROM tracks WHERE id = ?", (valid_unicode(track_id),)
            ).fetchone()
        return row[0] if row and type(row[0]) is str else ""

    def new_id(self, sha256: str) -> str:
        """Return an id that no track has, made of the content's hash.

        The first 8 lower-case base-32 letters (RFC 4648) of the digest; ``-2``, ``-3`` ... for
        further files of the same content; more letters where another content has the same 8.
        """
        letters = b32encode(bytes.fromhex(sha256)).decode().lower().rstrip("=")
        with self._read() as connection:
            for n_letters in range(8, len(letters) + 1):
                prefix = letters[:n_letters]
                n_taken, foreign, last = connection.execute(
                    SAME_PREFIX, {"sha256": sha256, "prefix": prefix, "n": n_letters + 2}
                ).fetchone()
                if not n_taken:
                    return prefix
                if not foreign:
                    return f"{prefix}-{max(last, 1) + 1}"
        raise CatalogueError(f"{sha256}: every prefix of this hash belongs to other content.")

    # Writing; each method is one transaction.

    def put(
        self,
        track: Track,
        *,
        path_bytes: bytes,
        stamp: FileStamp,
        embeddings: Mapping[str, TrackEmbedding],
        spectrum: np.ndarray | None = None,
    ) -> None:
        """Store a track with its embeddings, or replace what is stored under its id.

        The path leaves the skipped files.  Embeddings of other weights are kept while the content
        is the same.  Another track at this path is removed when it has the same content, and else
        kept as missing, without a path.

        Parameters
        ----------
        track : Track
        path_bytes : bytes
            ``os.fsencode`` of the absolute path, or of the URL of an object.
        stamp : FileStamp
            Of the file as it was embedded.
        embeddings : mapping of weights id to TrackEmbedding
        spectrum : numpy.ndarray, optional
            (n_frames, n_bands) uint8, see ``auditor.embedding.spectrogram``.

        Raises
        ------
        ValueError
            If arrays do not fit together, hold NaN, or are not of unit norm.
        CatalogueError
            If the id belongs to another file that is still there.
        """
        packed = {w: pack(track, e) for w, e in sorted(embeddings.items())}
        row = (*track_row(track), path_bytes, stamp.mtime_ns, int(time.time()), *stamp.columns[2:])
        with self._write() as connection:
            holder = connection.execute(
                f"SELECT path, sha256, path_bytes <> ? AND {_PRESENT} FROM tracks WHERE id = ?",
                (path_bytes, track.id),
            ).fetchone()
            if holder and holder[2]:
                raise CatalogueError(
                    f"{show_path(path_bytes)}: its id {track.id} belongs to {holder[0]}. "
                    f"Keep one of them, or run: audit catalogue remove {track.id}"
                )
            if holder and holder[1] != track.sha256:
                connection.execute("DELETE FROM embeddings WHERE track_id = ?", (track.id,))
            connection.execute(
                "DELETE FROM tracks WHERE path_bytes = ? AND id <> ? AND sha256 = ?",
                (path_bytes, track.id, track.sha256),
            )
            connection.execute(DISPLACE, (path_bytes, track.id))
            connection.execute("DELETE FROM skipped WHERE path_bytes = ?", (path_bytes,))
            connection.execute(PUT_TRACK, row)
            if spectrum is not None:
                put_spectrum(connection, track.sha256, SPECTRUM_LAYOUT, spectrum)
            for weights_id, (n_windows, n_dims, embedding, dvectors, levels) in packed.items():
                key = (track.id, weights_id)
                connection.execute(
                    "DELETE FROM embeddings WHERE track_id = ? AND weights_id = ?", key
                )
                connection.execute(
                    "INSERT INTO embeddings VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        *(*key, n_windows, n_dims, embedding),
                        *(checksum(n_windows, n_dims, embedding), checksum(dvectors, levels)),
                    ),
                )
                connection.execute(  # those of an embedding whose id the disk changed are there yet
                    "INSERT OR REPLACE INTO dvectors VALUES (?, ?, ?, ?)", (*key, dvectors, levels)
                )

    def put_skipped(self, path_bytes: bytes, why: Skipped, stamp: FileStamp | None) -> None:
        """Store why a file took no part; a track stored at that path stays as it is."""
        with self._write() as connection:
            put_skipped(connection, path_bytes, why, stamp.columns if stamp else ())

    def drop_damaged_skipped(self) -> None:
        """Delete the damaged rows of skipped files, once these were looked at again."""
        with self._write() as connection:
            drop_damaged(connection)

    def forget_skipped(self, paths: Iterable[bytes]) -> None:
        """Drop skipped files, because they are gone; unknown paths are passed over."""
        if rows := [(p,) for p in paths]:
            with self._write() as connection:
                connection.executemany("DELETE FROM skipped WHERE path_bytes = ?", rows)

    def relocate(self, track_id: str, path_bytes: bytes, stamp: FileStamp) -> None:
        """Give a track the path its file was found at; one that held that path becomes missing.

        Raises
        ------
        CatalogueError
            If no track has this id.
        """
        with self._write() as connection:
            connection.execute(DISPLACE, (path_bytes, track_id))
            changed = connection.execute(
                "UPDATE tracks SET path = ?, path_bytes = ?, missing = 0, crc = NULL,"
                f" {', '.join(f'{column} = ?' for column in STAMP)} WHERE id = ?",
                (show_path(path_bytes), path_bytes, *stamp.columns, track_id),
            )
            self._expect_one(changed, track_id)
            connection.execute("DELETE FROM skipped WHERE path_bytes = ?", (path_bytes,))

    def rename(self, track_id: str, new_id: str) -> bool:
        """Give a track another id, with all that is stored of it.

        Returns
        -------
        bool
            False, and nothing is changed, if another track has that id.

        Raises
        ------
        CatalogueError
            If no track has the old id.
        """
        with self._write() as connection:
            if connection.execute("SELECT 1 FROM tracks WHERE id = ?", (new_id,)).fetchone():
                return False
            connection.execute("PRAGMA defer_foreign_keys = ON")  # in this transaction
            ids = (new_id, track_id)
            changed = connection.execute("UPDATE tracks SET id = ?, crc = NULL WHERE id = ?", ids)
            self._expect_one(changed, track_id)
            for table in ("embeddings", "dvectors"):
                connection.execute(f"UPDATE {table} SET track_id = ? WHERE track_id = ?", ids)
        return True

    def store_spectrum(self, sha256: str, spectrum: np.ndarray) -> None:
        """Store the spectrum of a content, (n_frames, n_bands) uint8."""
        with self._write() as connection:
            put_spectrum(connection, sha256, SPECTRUM_LAYOUT, spectrum)

    def mark_missing(self, ids: Iterable[str]) -> None:
        """Mark tracks whose files are no longer on disk; unknown ids are passed over.

        So are tracks whose row is damaged: perhaps it is their path that has changed.
        """
        self._mark(ids, 1)

    def mark_present(self, ids: Iterable[str]) -> None:
        """Take the mark back, except from a track whose path another one has taken."""
        self._mark(ids, 0)

    def _mark(self, ids: Iterable[str], missing: int) -> None:
        if not (wanted := list(ids)):
            return
        names = ", ".join(SUMMED)
        with self._write() as connection:
            for track_id in wanted:
                row = connection.execute(
                    f"SELECT {names}, crc FROM tracks WHERE id = ? AND missing <> ?"
                    " AND path_bytes IS NOT NULL",
                    (track_id, missing),
                ).fetchone()
                if row is not None and is_intact(row):
                    connection.execute(
                        "UPDATE tracks SET missing = ?, crc = NULL WHERE id = ?",
                        (missing, track_id),
                    )

    def update_tags(self, track: Track) -> None:
        """Store what the tags of a track say, and their source; nothing else.

        Raises
        ------
        CatalogueError
            If no track has this id.
        """
        row = dict(zip(FIELDS, track_row(track), strict=True))
        with self._write() as connection:
            changed = connection.execute(
                f"UPDATE tracks SET {', '.join(f'{c} = ?' for c in _TAG_FIELDS)}, crc = NULL"
                " WHERE id = ?",
                (*(row[c] for c in _TAG_FIELDS), track.id),
            )
            self._expect_one(changed, track.id)

    def remove(self, ids: Collection[str]) -> None:
        """Remove tracks with all that is stored of them; all of them or, on an error, none.

        Raises
        ------
        CatalogueError
            If one of the ids is unknown.
        """
        with self._write() as connection:
            for track_id in sorted(set(ids)):
                changed = connection.execute("DELETE FROM tracks WHERE id = ?", (track_id,))
                self._expect_one(changed, track_id)
            drop_unused(connection)

    def decide(
        self, sha256_a: str, sha256_b: str, kind: str, *, note: str = "", by: str = ""
    ) -> Decision:
        """Store what was decided of two recordings, later than all that is stored of them.

        Parameters
        ----------
        sha256_a, sha256_b : str
            Of both files, in any order; neither need be in the catalogue.
        kind : str
            A ``records.DecisionKind``, or ``records.UNDO``.
        note, by : str
            Why, and who.

        Raises
        ------
        ValueError
            If a hash, the kind or a text cannot be stored.
        """
        with self._write() as connection:
            return add_decision(connection, (sha256_a, sha256_b), kind, note=note, by=by)

    def import_decisions(self, decisions: Iterable[Decision]) -> int:
        """Store decisions with the times they bear, all of them or, on an error, none.

        Returns
        -------
        int
            How many were new; the others were stored already.

        Raises
        ------
        ValueError
            If one of them cannot be stored.
        """
        with self._write() as connection:
            return insert_decisions(connection, decisions)

    def _expect_one(self, changed: sqlite3.Cursor, track_id: str) -> None:
        if changed.rowcount != 1:
            raise self._unknown(track_id)

    # Reading.

    def tracks(
        self, *, present_only: bool = False, damaged: dict[str, str] | None = None
    ) -> list[Track]:
        """Return the tracks sorted by id, without missing ones if ``present_only``.

        Parameters
        ----------
        present_only : bool
        damaged : dict, optional
            Where given, damaged tracks are left out and what is wrong put here by their id.

        Raises
        ------
        DamagedTrackError
            If a row is damaged.
        """
        where = f"WHERE {_PRESENT}" if present_only else ""
        with self._read() as connection:
            columns = track_columns(connection)
            rows = connection.execute(f"SELECT {columns} FROM tracks {where} ORDER BY id")
            return _readable(rows, damaged)

    def set_damaged_aside(self, weights_id: str) -> dict[str, str]:
        """Make sure that no embedding of a damaged track is used; return what is wrong by id.

        Every row is read.  The embedding of such a track counts as none from then on, until its
        file is scanned again.
        """
        with self._read() as connection:
            found = dict(damaged_rows(connection, weights_id))
        if found:
            with self._write() as connection:
                connection.executemany(
                    "UPDATE embeddings SET crc = ? WHERE track_id = ? AND weights_id = ?",
                    [(SET_ASIDE, track_id, weights_id) for track_id in found],
                )
        return found

    def drop_lost_rows(self, weights_id: str) -> None:
        """Delete rows that lost their track or counterpart, once no track lacks an embedding."""
        with self._write() as connection:
            drop_lost_rows(connection, weights_id)

    def n_of_source(self, track: Track) -> int:
        """Return how many tracks have the artist of a track, or if it names none the album.

        The track need not be in the catalogue.  Capitals beyond ASCII count as other letters.
        """
        tag = naming_tag(track)
        if not tag:
            return 0
        with self._read() as connection:
            counted = connection.execute(
                f"SELECT COUNT(*) FROM tracks WHERE {tag} = ? COLLATE NOCASE",
                (getattr(track, tag).strip(),),
            )
            return counted.fetchone()[0]

    def holders(
        self, identifiers: Iterable[str], *, damaged: dict[str, str] | None = None
    ) -> list[Track]:
        """Return the tracks whose tags hold one of some identifiers, sorted by id.

        In a catalogue of an older version, open for reading, none is found.

        Parameters
        ----------
        identifiers : iterable of str
            As in ``Track.identifiers``.
        damaged : dict, optional
            As for ``tracks``.

        Raises
        ------
        DamagedTrackError
            If a row is damaged.
        """
        found = []
        with self._read() as connection:
            columns = track_columns(connection)
            for track_id in sorted(ids_of_holders(connection, identifiers)):
                rows = connection.execute(f"SELECT {columns} FROM tracks WHERE id = ?", (track_id,))
                found += _readable(rows, damaged)
        return found

    def track(self, track_id: str) -> Track:
        """Return one track.

        Raises
        ------
        CatalogueError
            If no track has this id; the message names ids that look alike.
        DamagedTrackError
            If its row is damaged.
        """
        with self._read() as connection:
            row = connection.execute(
                f"SELECT {track_columns(connection)} FROM tracks WHERE id = ?", (track_id,)
            ).fetchone()
            if row is None:
                raise self._unknown(track_id)
        return _checked(row)

    def shown_path(self, track_id: str) -> str:
        """Return the path of a track as text, its id where even that is damaged."""
        with self._read() as connection:
            row = connection.execute("SELECT path FROM tracks WHERE id = ?", (track_id,)).fetchone()
        return row[0] if row and type(row[0]) is str else track_id

    def path_of(self, track_id: str) -> bytes:
        """Return the path of a track's file, for opening it.

        Raises
        ------
        CatalogueError
            If no track has this id, or its path now holds another track.
        """
        with self._read() as connection:
            row = connection.execute(
                "SELECT path_bytes, path FROM tracks WHERE id = ?", (track_id,)
            ).fetchone()
            if row is None:
                raise self._unknown(track_id)
        if row[0] is None:
            raise CatalogueError(
                f"track {track_id}: its file {row[1]} was replaced by another one. "
                f"Scan the folder it is in now, or run: audit catalogue remove {track_id}"
            )
        return row[0]

    def embeddings(
        self, weights_id: str, *, present_only: bool = True
    ) -> tuple[list[str], np.ndarray]:
        """Return the track embeddings of one extractor, silent tracks left out.

        Returns
        -------
        ids : list of str
            Sorted.
        embeddings : numpy.ndarray
            (n_tracks, n_dims) float32, one unit vector per id; (0, 0) when there is none.

        Raises
        ------
        CatalogueError
            If a stored embedding has another size than the others, is not finite or not a unit
            vector; names the track.
        """
        table = self.table(weights_id, present_only=present_only)
        for track_id, problem in table.damaged:
            raise DamagedTrackError(problem, track_id)
        return table.tracks.names(), table.embeddings

    def table(self, weights_id: str, *, present_only: bool = True) -> TrackTable:
        """Return the embeddings with versions and hashes, as arrays.

        That of a large catalogue is mapped if it was left beside the catalogue as it is now; who
        opened the catalogue for writing leaves it there.

        Raises
        ------
        CatalogueError
            As ``embeddings``.
        """
        folder = self.path.parent / "tables"
        with self._read() as connection:
            revision = revision_of(connection) if present_only else ""
            if revision and (mapped := map_table(folder, weights_id, revision)):
                return mapped
            table = read_table(connection, weights_id, present_only=present_only)
        if revision and self.writable and not table.damaged and len(table.hashes) >= MIN_TRACKS:
            save_table(folder, weights_id, revision, table)
        return table

    def dvectors(self, track_id: str, weights_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the d-vectors of one track.

        Returns
        -------
        dvectors : numpy.ndarray
            (n_windows, n_dims) float16, in order of time.
        levels : numpy.ndarray
            (n_windows,) float16, in dB below full scale.

        Raises
        ------
        CatalogueError
            If the track is unknown, has no d-vectors of these weights, or blobs of a wrong size.
        """
        with self._read() as connection:
            row = connection.execute(
                f"{DVECTORS} WHERE track_id = ? AND weights_id = ?", (track_id, weights_id)
            ).fetchone()
            if row is None:
                known = connection.execute("SELECT 1 FROM tracks WHERE id = ?", (track_id,))
                if not known.fetchone():
                    raise self._unknown(track_id)
                for lost, problem in lost_rows(connection, weights_id):
                    if lost == track_id:
                        raise DamagedTrackError(problem, track_id)
                raise CatalogueError(
                    f"track {track_id} has no d-vectors of weights {weights_id}. "
                    "Run audit scan DIR with that extractor."
                )
            if has_checksums(connection):
                (crc,) = connection.execute(
                    "SELECT dvectors_crc FROM embeddings WHERE track_id = ? AND weights_id = ?",
                    (track_id, weights_id),
                ).fetchone()
                unpack_dvectors(row)  # says more than a checksum where a blob has another size
                if checksum(*row[3:5]) != crc:
                    raise damaged_track(track_id, "d-vectors")
        dvectors, levels = unpack_dvectors(row)
        return dvectors.astype(np.float16), levels.astype(np.float16)

    def skipped(self) -> list[Skipped]:
        """Return the skipped files with their reasons, sorted by path.

        A damaged row is one more, with the code ``damaged-row``.
        """
        with self._read() as connection:
            skipped = [why for _, why, _ in read_skipped(connection)]
            skipped += damaged_skipped(connection)
        return sorted(skipped, key=lambda one: one.path)

    def spectra(self) -> set[str]:
        """Return the hashes of the contents whose spectrum is stored."""
        with self._read() as connection:
            return stored_spectra(connection, SPECTRUM_LAYOUT)

    def spectrum(self, sha256: str) -> np.ndarray | None:
        """Return the spectrum of a content, (n_frames, n_bands) uint8; None where none is stored.

        Raises
        ------
        CatalogueError
            If it is damaged.
        """
        with self._read() as connection:
            return read_spectrum(connection, sha256, SPECTRUM_LAYOUT, SPECTRUM.n_bands)

    def decisions(
        self, hashes: tuple[str, str] | None = None, *, damaged: list[str] | None = None
    ) -> list[Decision]:
        """Return the decisions, or those of one pair of sorted hashes, oldest first.

        Those that were taken back are among them.

        Parameters
        ----------
        hashes : (str, str), optional
        damaged : list, optional
            Where given, damaged decisions are left out and what is wrong is put here.

        Raises
        ------
        CatalogueError
            If a decision is damaged; names it.
        """
        with self._read() as connection:
            return read_decisions(connection, hashes, damaged=damaged)

    def stats(self, weights_id: str | None = None) -> dict[str, Any]:
        """Return counts for people: JSON types only.

        Parameters
        ----------
        weights_id : str or None
            Whose windows to count; None counts those of all weights.

        Returns
        -------
        dict
            ``n_tracks`` (all), ``hours``, ``n_missing``, ``n_truncated``, ``n_silent``,
            ``n_skipped``, ``n_bytes`` (of the file and its WAL), ``n_embedded``, ``n_windows``,
            ``by_codec`` (codec to tracks) and ``by_weights`` (weights id to tracks).
        """
        names = ("n_tracks", "hours", "n_missing", "n_truncated", "n_silent")
        with self._read() as connection:
            totals = connection.execute(
                "SELECT count(*), total(duration_s) / 3600, ifnull(sum(missing), 0),"
                " ifnull(sum(truncated), 0), ifnull(sum(silent), 0) FROM tracks"
            ).fetchone()
            stats: dict[str, Any] = dict(zip(names, totals, strict=True))
            stats["n_skipped"] = connection.execute("SELECT count(*) FROM skipped").fetchone()[0]
            stats["n_embedded"], stats["n_windows"] = connection.execute(
                "SELECT count(DISTINCT track_id), ifnull(sum(n_windows), 0) FROM embeddings"
                " WHERE ?1 IS NULL OR weights_id = ?1",
                (weights_id,),
            ).fetchone()
            for name, table, column in (
                ("by_codec", "tracks", "codec"),
                ("by_weights", "embeddings", "weights_id"),
            ):
                stats[name] = dict(
                    connection.execute(
                        f"SELECT {column}, count(*) FROM {table} GROUP BY 1"
                    ).fetchall()
                )
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        stats["n_bytes"] = sum(file.stat().st_size for file in files if file.exists())
        return stats

    def verify(self, *, hashes: bool = False) -> list[str]:
        """Return the problems of the catalogue and its files; empty if there are none.

        Parameters
        ----------
        hashes : bool
            Also read every present file and compare its SHA-256 (slow).
        """
        problems: list[str] = []
        try:
            with self._read() as connection:
                problems += file_problems(connection)
                problems += row_problems(connection)
                named = {problem.partition(":")[0].partition(",")[0] for problem in problems}
                rotten = damaged_rows(connection)
                problems += (why for track_id, why in rotten if f"track {track_id}" not in named)
                problems += decision_problems(connection)
                problems += (f"{s.path!r}: {s.reason}" for s in damaged_skipped(connection))
                problems += spectrum_problems(connection, SPECTRUM_LAYOUT, SPECTRUM.n_bands)
                files = connection.execute(
                    f"SELECT id, path_bytes, sha256, {_stamp_columns(connection)} FROM tracks"
                    f" WHERE {_PRESENT} ORDER BY id"
                ).fetchall()
        except CatalogueError as error:
            return [*problems, str(error)]
        found = (
            disk_problem(track_id, path, sha256, tuple(stamp), read=hashes)
            for track_id, path, sha256, *stamp in files
        )
        problems += [problem for problem in found if problem]
        try:
            with self._read() as connection:
                problems += table_problems(connection, self.path.parent / "tables")
        except CatalogueError as error:
            if str(error) not in problems:
                problems.append(str(error))
        return problems

    def _unknown(self, track_id: str) -> CatalogueError:
        ids = [row[0] for row in self._connection.execute("SELECT id FROM tracks ORDER BY id")]
        close = difflib.get_close_matches(track_id, ids, n=3)
        hint = f"Did you mean {', '.join(close)}?" if close else "Run: audit catalogue list"
        return CatalogueError(f"no track has the id {valid_unicode(track_id)!r}. {hint}")
