"""What is kept of tracks for the composition match: pitches, summaries, cohort statistics.

It is derived from the stored spectra, so it lies beside the catalogue and not in it:
``pitches/pitches-<model>.sqlite3``, one row a content.  A file that is damaged, or a row that is,
counts as absent and is made again by the next scan.
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditor.catalogue.checksums import checksum
from auditor.embedding.config import N_PITCH_COLUMNS
from auditor.errors import IndexFileError, show_path

MAX_ROWS = 1 << 20
_N_BEST = 3
_PART_ROWS, _KEPT_PARTS = 5_000, 40
_SCHEMA = """CREATE TABLE IF NOT EXISTS pitches (
    sha256 TEXT PRIMARY KEY NOT NULL, n_dims INTEGER NOT NULL,
    mean REAL NOT NULL, spread REAL NOT NULL, problem TEXT NOT NULL,
    summaries BLOB NOT NULL, pitches BLOB NOT NULL, crc INTEGER NOT NULL)"""


@dataclass(frozen=True)
class StoredPitches:
    """What is kept of one content.

    Attributes
    ----------
    pitches : numpy.ndarray
        (n, 37) uint8, see ``evidence.composition.pitches``.
    summaries : numpy.ndarray
        (n_windows, n_dims) float16, unit norm.
    mean, spread : float
        Of its scores with the cohort.
    problem : str
        Why it cannot be compared; empty if it can.
    """

    pitches: np.ndarray
    summaries: np.ndarray
    mean: float
    spread: float
    problem: str = ""


class PitchStore:
    """The file of one model in a folder of a workspace.

    Parameters
    ----------
    folder : pathlib.Path
        The index folder.
    model_id : str
    writable : bool
        False reads what is there, and nothing where there is no file.

    Raises
    ------
    IndexFileError
        If it is to be written and cannot be.
    """

    def __init__(self, folder: Path, model_id: str, *, writable: bool) -> None:
        self.path = folder / f"pitches-{model_id}.sqlite3"
        self._writable = writable
        self._connection: sqlite3.Connection | None = None
        if writable:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._connection = self._open()
            except (OSError, sqlite3.Error) as error:
                raise self._unwritable(error) from None
        elif self.path.exists():
            with contextlib.suppress(sqlite3.Error):
                uri = f"{self.path.absolute().as_uri()}?mode=ro"
                self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
                self._connection.execute("SELECT sha256 FROM pitches LIMIT 1").fetchone()

    def _open(self) -> sqlite3.Connection:
        for attempt in range(2):
            try:
                connection = sqlite3.connect(self.path, isolation_level=None, timeout=30.0)
                connection.execute("PRAGMA trusted_schema = OFF")
                connection.execute(_SCHEMA)
                connection.execute("SELECT sha256, crc FROM pitches LIMIT 1").fetchone()
                return connection
            except sqlite3.DatabaseError as error:
                code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
                if attempt or code not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                    raise
                connection.close()
                os.unlink(self.path)  # derived: it is made again
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def hashes(self) -> set[str]:
        """Return the contents that are kept, without those whose row is damaged."""
        return {sha256 for sha256, _, _ in self.rows()}

    def put(self, items: Iterable[tuple[str, StoredPitches]]) -> None:
        """Keep what was made of some contents, in one transaction.

        Raises
        ------
        IndexFileError
            If they cannot be written.
        """
        assert self._writable
        assert self._connection is not None
        rows = []
        for sha256, item in items:
            summaries = np.ascontiguousarray(item.summaries, np.float16).tobytes()
            packed = zlib.compress(np.ascontiguousarray(item.pitches, np.uint8).tobytes(), 6)
            facts = (item.summaries.shape[1], float(item.mean), float(item.spread), item.problem)
            rows.append((sha256, *facts, summaries, packed, checksum(sha256, *facts, summaries)))
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT OR REPLACE INTO pitches VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows
            )
            self._connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled back already
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._unwritable(error) from None
            raise

    def _unwritable(self, error: OSError | sqlite3.Error) -> IndexFileError:
        why = error.strerror if isinstance(error, OSError) else error
        return IndexFileError(
            f"{show_path(self.path)}: the pitches cannot be written: {why}. The catalogue is safe. "
            "Free some space or fix the permissions, then run: audit scan"
        )

    def get(self, sha256: str) -> StoredPitches | None:
        """Return what is kept of a content; None where nothing is, or it is damaged."""
        if self._connection is None:
            return None
        try:
            row = self._connection.execute(
                "SELECT n_dims, mean, spread, problem, summaries, crc, pitches FROM pitches"
                " WHERE sha256 = ?",
                (sha256,),
            ).fetchone()
            if row is None or checksum(sha256, *row[:5]) != row[5]:
                return None
            n_dims, mean, spread, problem, summaries, _, packed = row
            unpack = zlib.decompressobj()
            data = unpack.decompress(packed, MAX_ROWS * N_PITCH_COLUMNS)
            if not unpack.eof or len(data) % N_PITCH_COLUMNS:
                return None
            if not (math.isfinite(mean) and math.isfinite(spread) and spread > 0):
                return None
            pitches = np.frombuffer(data, np.uint8).reshape(-1, N_PITCH_COLUMNS)
            return StoredPitches(
                pitches, np.frombuffer(summaries, np.float16).reshape(-1, n_dims), mean, spread,
                problem,
            )  # fmt: skip
        except (sqlite3.DatabaseError, zlib.error, ValueError, TypeError):
            return None

    def all_summaries(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each comparable content with its summaries, by hash; damaged rows are left out."""
        for sha256, problem, summaries in self.rows():
            if not problem:
                yield sha256, summaries

    def rows(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yield hash, problem and summaries of each content, by hash; no damaged row."""
        if self._connection is None:
            return
        with contextlib.suppress(sqlite3.DatabaseError):
            for sha256, *facts, summaries, crc in self._connection.execute(
                "SELECT sha256, n_dims, mean, spread, problem, summaries, crc FROM pitches"
                " ORDER BY sha256"
            ):
                if checksum(sha256, *facts, summaries) == crc:
                    with contextlib.suppress(ValueError, TypeError):
                        rows = np.frombuffer(summaries, np.float16).reshape(-1, facts[0])
                        yield str(sha256), str(facts[3]), rows


class Summaries:
    """Summaries of contents, ready to be ranked by their likeness to those of others.

    Parameters
    ----------
    contents : sequence of (str, numpy.ndarray)
        Hashes and summaries of comparable contents, see ``PitchStore.rows``.  Summaries of another
        length than ``n_dims``, which this model did not make, are left out, and so are empty ones.
    n_dims : int
    """

    def __init__(self, contents: Sequence[tuple[str, np.ndarray]], n_dims: int) -> None:
        usable = [one for one in contents if len(one[1]) and one[1].shape[1] == n_dims]
        self._n_dims = n_dims
        self._hashes = [sha256 for sha256, _ in usable]
        self._n_windows = np.array([len(rows) for _, rows in usable], np.int64)
        self._parts: list[list[np.ndarray]] = [[]]
        for _, rows in usable:
            if sum(map(len, self._parts[-1])) >= _PART_ROWS:
                self._parts.append([])
            self._parts[-1].append(rows)
        # Those of a large library take too much memory as float32: they are converted each time.
        self._kept = list(self._floats()) if len(self._parts) <= _KEPT_PARTS and usable else None

    def nearest(self, query: np.ndarray, *, top: int) -> list[str]:
        """Return the contents whose summaries are most like those of a query, best first.

        Each is ranked by the mean of its three best windows' cosines.

        Parameters
        ----------
        query : numpy.ndarray
            (n_windows, n_dims) float16.
        top : int
        """
        if not self._hashes or not len(query) or query.shape[1] != self._n_dims:
            return []
        wanted = query.astype(np.float32).T
        near = np.concatenate([(block @ wanted).max(1) for block in self._kept or self._floats()])
        # By contents, and within each by rising cosine: the best windows of each come last.
        near = near[np.lexsort((near, np.repeat(np.arange(len(self._hashes)), self._n_windows)))]
        ends, n_best = np.cumsum(self._n_windows), np.minimum(_N_BEST, self._n_windows)
        total = np.zeros(len(ends), np.float32)
        for k in range(_N_BEST, 0, -1):
            total[n_best >= k] += near[ends[n_best >= k] - k]
        scores = total / n_best.astype(np.float32)
        order = np.argsort(-scores, kind="stable")[:top]
        return [self._hashes[k] for k in order.tolist()]

    def _floats(self) -> Iterator[np.ndarray]:
        return (np.concatenate(part).astype(np.float32) for part in self._parts)


def nearest_contents(
    query: np.ndarray, contents: Sequence[tuple[str, np.ndarray]], *, top: int
) -> list[str]:
    """Return the contents whose summaries are most like those of one query, best first.

    Parameters are those of ``Summaries``.
    """
    if not len(query):
        return []
    return Summaries(contents, query.shape[1]).nearest(query, top=top)
