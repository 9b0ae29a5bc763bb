"""The SQLite file of a catalogue: schema, migrations, opening, transactions, errors.

A file that is not a catalogue, is damaged or comes from a newer version is refused before anything
is written to it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from auditor.catalogue import checksums, decisions, identifiers, skipped
from auditor.errors import CatalogueError, WorkspaceLockedError, show_path
from auditor.serialisation import TemporaryFolder

APPLICATION_ID = 0x41554454
"""``AUDT``: tells a catalogue from the SQLite files of other programs."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # path_bytes is NULL once another track has taken the path; such a track is missing.
        """CREATE TABLE tracks (
            id TEXT PRIMARY KEY NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL,
            size INTEGER NOT NULL, duration_s REAL NOT NULL, declared_s REAL,
            truncated INTEGER NOT NULL, silent INTEGER NOT NULL,
            codec TEXT NOT NULL, container TEXT NOT NULL,
            sample_rate_hz INTEGER NOT NULL, n_channels INTEGER NOT NULL, bit_rate INTEGER,
            title TEXT NOT NULL, artist TEXT NOT NULL, album TEXT NOT NULL, genre TEXT NOT NULL,
            genres TEXT NOT NULL, date TEXT NOT NULL, licence TEXT NOT NULL,
            source TEXT NOT NULL, missing INTEGER NOT NULL,
            path_bytes BLOB UNIQUE, mtime_ns INTEGER NOT NULL, added_at INTEGER NOT NULL)""",
        "CREATE INDEX tracks_sha256 ON tracks (sha256)",
        """CREATE TABLE embeddings (
            track_id TEXT NOT NULL REFERENCES tracks (id) ON DELETE CASCADE,
            weights_id TEXT NOT NULL, n_windows INTEGER NOT NULL, n_dims INTEGER NOT NULL,
            embedding BLOB NOT NULL,
            PRIMARY KEY (track_id, weights_id))""",
        # A table of its own, so that reading embeddings does not page through it.
        """CREATE TABLE dvectors (
            track_id TEXT NOT NULL, weights_id TEXT NOT NULL,
            dvectors BLOB NOT NULL, levels BLOB NOT NULL,
            PRIMARY KEY (track_id, weights_id),
            FOREIGN KEY (track_id, weights_id)
                REFERENCES embeddings (track_id, weights_id) ON DELETE CASCADE)""",
        """CREATE TABLE skipped (
            path_bytes BLOB PRIMARY KEY NOT NULL, path TEXT NOT NULL, reason TEXT NOT NULL,
            size INTEGER, mtime_ns INTEGER)""",
    ),
    (
        # By content, so that a decision outlives ids, paths and the tracks themselves.
        """CREATE TABLE decisions (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            sha256_a TEXT NOT NULL, sha256_b TEXT NOT NULL, kind TEXT NOT NULL,
            note TEXT NOT NULL, decided_at TEXT NOT NULL, decided_by TEXT NOT NULL,
            UNIQUE (sha256_a, sha256_b, decided_at, kind, note, decided_by))""",
    ),
    (
        # By content: files of the same bytes have one spectrum.
        """CREATE TABLE spectra (
            sha256 TEXT PRIMARY KEY NOT NULL, layout TEXT NOT NULL, frames BLOB NOT NULL)""",
    ),
    (
        # A random number for each state of the embeddings and whose they are (catalogue_table).
        "CREATE TABLE revision (token BLOB NOT NULL)",
        "INSERT INTO revision VALUES (randomblob(16))",
        *(
            f"""CREATE TRIGGER revision_{n} AFTER {change}
                BEGIN UPDATE revision SET token = randomblob(16); END"""
            for n, change in enumerate(
                (
                    "INSERT ON embeddings",
                    "UPDATE ON embeddings",
                    "DELETE ON embeddings",
                    "UPDATE OF id, sha256, silent, missing ON tracks",
                )
            )
        ),
    ),
    (
        # How many tracks an artist or an album has (sources) is asked at every check.
        "CREATE INDEX tracks_artist ON tracks (artist COLLATE NOCASE)",
        "CREATE INDEX tracks_album ON tracks (album COLLATE NOCASE)",
    ),
    (
        # CRC-32 of the rows (checksums), which _prepare fills in.
        "ALTER TABLE tracks ADD COLUMN crc INTEGER",
        "ALTER TABLE embeddings ADD COLUMN crc INTEGER",
        "ALTER TABLE embeddings ADD COLUMN dvectors_crc INTEGER",
        "CREATE INDEX tracks_unsealed ON tracks (id) WHERE crc IS NULL",
        # What decoding said: several streams, channels that cancel, and why a file was skipped.
        "ALTER TABLE tracks ADD COLUMN parts_s TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE tracks ADD COLUMN downmix TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE skipped ADD COLUMN code TEXT NOT NULL DEFAULT 'unreadable'",
        "ALTER TABLE skipped ADD COLUMN sha256 TEXT NOT NULL DEFAULT ''",
    ),
    (
        # What the file system says of a file beside its time of change; NULL where unknown.
        *(
            f"ALTER TABLE {table} ADD COLUMN {column} INTEGER"
            for table in ("tracks", "skipped")
            for column in ("ctime_ns", "inode")
        ),
    ),
    (
        # Identifiers of the tags; the checksum of a row counts them where there are any.
        "ALTER TABLE tracks ADD COLUMN identifiers TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE tracks ADD COLUMN record_label TEXT NOT NULL DEFAULT ''",
    ),
    (
        # Which tracks have an identifier is asked at every check; _prepare fills it.
        """CREATE TABLE identifiers (
            identifier TEXT NOT NULL,
            track_id TEXT NOT NULL REFERENCES tracks (id) ON UPDATE CASCADE ON DELETE CASCADE,
            PRIMARY KEY (identifier, track_id)) WITHOUT ROWID""",
        "CREATE INDEX identifiers_track ON identifiers (track_id)",
    ),
    (
        # What a C2PA manifest says; the checksum of a row counts it where there is one.
        "ALTER TABLE tracks ADD COLUMN c2pa TEXT NOT NULL DEFAULT '[]'",
    ),
    (
        # CRC-32 of the other rows that people read, which _prepare fills in.
        "ALTER TABLE decisions ADD COLUMN crc INTEGER",
        "ALTER TABLE skipped ADD COLUMN crc INTEGER",
    ),
)
"""Statements that lead from schema version i to i + 1; a published entry is never edited."""

READABLE_AS_THEY_ARE = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
"""Older schema versions that lack only tables, which count as empty, indexes, checksums, inodes,
identifiers and manifests: read without a migration."""


def connect(
    path: str | os.PathLike[str], *, read_only: bool, busy_timeout_s: float
) -> sqlite3.Connection:
    """Open the file of a catalogue, making it (and its folder) where there is none.

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
        If there is no catalogue to read, or the file is not one, is damaged, or has the schema of a
        newer version.
    WorkspaceLockedError
        If another process is writing.
    """
    path = Path(path).absolute()
    absent = f"no catalogue at {show_path(path)}; run: audit scan DIR"
    try:
        if read_only:
            path.stat()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        if read_only:
            raise CatalogueError(absent) from None
        raise CatalogueError(f"{show_path(path.parent)}: {error.strerror}.") from None
    except OSError as error:
        if read_only:
            raise CatalogueError(
                f"{show_path(path)}: {error.strerror}. Check the permissions of its folder."
            ) from None
        raise CatalogueError(
            f"{show_path(path.parent)}: {error.strerror}. Give a folder that can be written with "
            "--workspace."
        ) from None
    address = f"{path.as_uri()}?mode={'ro' if read_only else 'rwc'}"
    open_file = functools.partial(
        sqlite3.connect, uri=True, timeout=busy_timeout_s, isolation_level=None
    )
    with _translated(path):
        try:
            return _prepared(open_file(address), path, read_only=read_only, absent=absent)
        except sqlite3.OperationalError as error:
            code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
            if not read_only or code not in _NO_ROOM_FOR_SHM:
                raise
        with _beside_no_shm(path) as there:
            connection = open_file(f"{there.as_uri()}?mode=ro&immutable=1")
            return _prepared(connection, path, read_only=True, absent=absent)


def _prepared(
    connection: sqlite3.Connection, path: Path, *, read_only: bool, absent: str
) -> sqlite3.Connection:
    try:
        _prepare(connection, path, read_only=read_only, absent=absent)
    except BaseException:
        connection.close()
        raise
    return connection


_NO_ROOM_FOR_SHM = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
"""How SQLite says that it may not make the files beside a catalogue that WAL mode reads with."""

MAX_COPY_BYTES = 4 << 30
"""Of a catalogue that is copied to be read."""


@contextmanager
def _beside_no_shm(path: Path) -> Iterator[Path]:
    """Yield a file that holds what a catalogue holds whose folder cannot be written to.

    SQLite may read that as immutable: the file itself where nothing lies in its WAL, else a copy
    with the WAL folded in, which is removed once it is open.  To read the file itself then would
    be to read what it was before the last changes, or a half of them.

    Raises
    ------
    CatalogueError
        If it would have to be copied and is too large, there is no room, or it is being written.
    """
    parts = [path, *(path.with_name(path.name + end) for end in ("-wal", "-journal"))]
    if not any(_stamp(part)[0] for part in parts[1:]):
        yield path
        return
    wanted = "Let its owner run any audit command on it, such as audit catalogue list"
    n_bytes = sum(_stamp(part)[0] for part in parts)
    if n_bytes > MAX_COPY_BYTES:
        raise CatalogueError(
            f"{show_path(path)}: changes lie in the -wal file beside it, and this folder cannot be "
            f"written to, so all {n_bytes:,} bytes would have to be copied. {wanted}."
        )
    try:
        with TemporaryFolder() as folder:
            copy = Path(folder) / path.name
            before = [_stamp(part) for part in parts]
            for part, (size, _) in zip(parts, before, strict=True):
                if size:
                    shutil.copyfile(part, copy.with_name(part.name))
            if [_stamp(part) for part in parts] != before:
                raise WorkspaceLockedError(
                    f"{show_path(path)}: another process is writing to this catalogue. Wait until "
                    "it has ended, then run the command again."
                )
            with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = DELETE")
            yield copy
    except OSError as error:
        raise CatalogueError(
            f"{show_path(path)}: changes lie in the -wal file beside it, and it could not be "
            f"copied to read them: {error.strerror}. {wanted}, or set TMPDIR."
        ) from None


def _stamp(path: Path) -> tuple[int, int]:
    """Return size and time of change of a file, zeros where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path, begin: str) -> Iterator[None]:
    """Run statements between ``begin`` and COMMIT; any exception rolls all of them back.

    Raises
    ------
    CatalogueError
        If the file at ``path`` is damaged, or the disk is full.
    WorkspaceLockedError
        If another process is writing.
    """
    with _translated(path), _transaction(connection, begin):
        yield


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn errors of SQLite into CatalogueError; a caller's mistakes pass."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
        raise
    except UnicodeDecodeError as error:  # of a text whose bytes the disk changed
        raise CatalogueError(
            f"{show_path(path)}: damaged ({error}). Restore it from a copy, or move it away and "
            "run: audit scan DIR"
        ) from error
    except sqlite3.Error as error:
        shown, code = show_path(path), (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise WorkspaceLockedError(
                f"{shown}: another process is writing to this catalogue. Wait until it has ended, "
                "then run the command again."
            ) from error
        if code == sqlite3.SQLITE_FULL:
            message = (
                "the disk is full; what was stored before is safe. Free some space, then run the "
                "command again."
            )
        elif code == sqlite3.SQLITE_NOTADB:
            message = (
                "not an SQLite file, so not a catalogue; it was left as it is. Move it away, or "
                "give another folder with --workspace."
            )
        elif code == sqlite3.SQLITE_READONLY:
            message = (
                "this command writes to the workspace, and it cannot be written to; nothing was "
                "changed. audit check, recommend, map and catalogue list read it all the same."
            )
        elif code in (
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PERM,
            sqlite3.SQLITE_IOERR,
        ):
            message = (
                f"cannot be read or written ({error}). Check the disk and the permissions, or give "
                "another folder with --workspace."
            )
        else:
            message = (
                f"damaged ({error}). Restore it from a copy, or move it away and run: "
                "audit scan DIR"
            )
        raise CatalogueError(f"{shown}: {message}") from error


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have rolled back already
            connection.execute("ROLLBACK")
        raise


def _prepare(connection: sqlite3.Connection, path: Path, *, read_only: bool, absent: str) -> None:
    """Refuse what is no catalogue before anything is written; then bring the schema up to date."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")
    with _transaction(connection, "BEGIN"):
        version = _pragma(connection, "user_version")
        application = _pragma(connection, "application_id")
        n_objects = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != APPLICATION_ID and (application or version or n_objects):
        raise CatalogueError(
            f"{show_path(path)}: an SQLite file of another program; it was left as it is. "
            "Give another folder with --workspace."
        )
    if version > len(MIGRATIONS):
        raise CatalogueError(
            f"{show_path(path)}: its schema has version {version}; this audit knows up to "
            f"{len(MIGRATIONS)}. Install the newer audit, or give another folder with --workspace."
        )
    if read_only:
        if version == 0:
            raise CatalogueError(absent)
        if version < len(MIGRATIONS) and version not in READABLE_AS_THEY_ARE:
            raise CatalogueError(
                f"{show_path(path)}: its schema has version {version}; {len(MIGRATIONS)} is "
                "needed. Run: audit scan DIR"
            )
        return
    connection.execute("PRAGMA journal_mode = WAL")
    if version < len(MIGRATIONS):
        with _transaction(connection, "BEGIN IMMEDIATE"):
            # Another process may have done it since.
            for migration in MIGRATIONS[_pragma(connection, "user_version") :]:
                for statement in migration:
                    connection.execute(statement)
            if version < checksums.SINCE:
                checksums.fill(connection)
            if version < checksums.SINCE_ALL:
                decisions.seal(connection)
                skipped.seal(connection)
            if version < identifiers.SINCE:
                identifiers.index_identifiers(connection, "identifiers <> '[]'")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def has_inodes(connection: sqlite3.Connection) -> bool:
    """Say whether files have a ctime and an inode; in an older catalogue they have none."""
    return _pragma(connection, "user_version") >= 7


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]
