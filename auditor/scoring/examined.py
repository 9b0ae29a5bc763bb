"""What earlier scans found of pairs, so that the next one examines only what is new.

What an examination finds follows from both tracks' d-vectors and spectra and from the code, so it
is kept by a hash of all of these (``PairKeys``) and holds for any later scan.  So is the score of a
pair as a composition, which follows from the pitches of both.  The candidates of a catalogue that
has not changed are kept, too.  Everything here can be made again: a file that cannot be used, or a
row that the disk has changed, is dropped and its pairs are examined anew.

::

    .audit/examined/<weights_id>.sqlite3    16 bytes and a few numbers for each pair
    .audit/examined/<model_id>.sqlite3      16 bytes and a score for each pair of compositions
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import sqlite3
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np

import auditor
from auditor.catalogue.embedding_table import TrackTable
from auditor.records import Evidence, MatchedRange

FOLDER = "examined"
"""Where the files lie in a workspace."""

MAX_FACTOR, MAX_SPARE = 4, 10_000
"""More rows than so many times the candidates of a scan, and so many more, are cut to those."""

MAX_RANGES = 10_000
"""Of one pair; more are not kept."""

MAX_CANDIDATE_BYTES = 256 << 20
"""Candidates of a catalogue, 8 bytes each; more are not kept."""

_N_LOOKED_UP = 500
_EVIDENCE = struct.Struct("<6d")
_RANGE = struct.Struct("<10d")
_SUM = struct.Struct("<I")
_ROW = np.dtype("<u4")
_SCORE = struct.Struct("<d")
_CODE = ("evidence", "scoring", "search/excerpts", "search/compositions.py")
"""Parts of the package that decide which pairs are examined and what is found of them."""

Found = TypeVar("Found")
"""What is remembered of a pair."""


@functools.cache
def code_id(parts: tuple[str, ...] = _CODE) -> str:
    """Return the version of the package with a hash of some code, by default what examines pairs.

    Parameters
    ----------
    parts : tuple of str
        Modules and packages of the package.
    """
    root = Path(auditor.__file__).parent
    digest = hashlib.sha256()
    for part in parts:
        whole = root / part
        for file in sorted(whole.rglob("*.py")) if whole.is_dir() else (whole,):
            digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return f"{auditor.__version__}-{digest.hexdigest()[:16]}"


class PairKeys:
    """Keys of pairs of a catalogue: 16 bytes for everything that an examination follows from.

    Parameters
    ----------
    settings : str
        The scorer, the weights and whatever else decides.
    sides : mapping of str to bytes
        Of each track, by its name, whatever of it is compared.
    """

    def __init__(self, settings: str, sides: Mapping[str, bytes]) -> None:
        self._settings = hashlib.sha256(
            f"{settings}|{code_id()}|{np.__version__}".encode()
        ).digest()
        self._sides = {name: _digest(side) for name, side in sides.items()}

    def __call__(self, a: str, b: str) -> bytes:
        """Return the key of a pair of ids, in this order."""
        return _digest(self._settings + self._sides[a] + self._sides[b])

    def catalogue(self, *settings: object) -> bytes:
        """Return the key of the catalogue as a whole: its tracks, by their ids and contents."""
        digest = hashlib.blake2b(self._settings + repr(settings).encode(), digest_size=16)
        for name, side in self._sides.items():
            digest.update(name.encode() + b"\0" + side)
        return digest.digest()

    def track(self, catalogue: bytes, name: str) -> bytes:
        """Return the key of a track that asks a whole catalogue, given the key of that."""
        return _digest(catalogue + name.encode())


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def sides_of(table: TrackTable, has_spectrum: set[str]) -> dict[str, bytes]:
    """Return what of tracks is compared as recordings, by their ids, for ``PairKeys``.

    Parameters
    ----------
    table : TrackTable
        Of the tracks that are compared.
    has_spectrum : set of str
        Hashes of the contents whose spectrum is stored.
    """
    hashes = [sha256.decode() for sha256 in table.hashes.tolist()]
    rows = zip(table.tracks.names(), hashes, table.tracks.numbers.tolist(), strict=True)
    return {i: f"{sha256}|{n}|{sha256 in has_spectrum}".encode() for i, sha256, n in rows}


class PairMemory(Generic[Found]):
    """What was found of pairs by their keys, in a file; one that cannot be used is as an empty one.

    Parameters
    ----------
    path : pathlib.Path or None
        None remembers nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._connection: sqlite3.Connection | None = None
        self._path = path
        if path is None:
            return
        try:
            self._connection = self._open(path)
        except (OSError, sqlite3.Error):
            self._drop()
            with contextlib.suppress(OSError, sqlite3.Error):
                self._connection = self._open(path)

    @classmethod
    @contextlib.contextmanager
    def opened(cls, workspace: Path, model_id: str, *, writable: bool) -> Iterator[Self]:
        """Open what is remembered of a workspace, whose lock is held if it is writable."""
        path = workspace / FOLDER / f"{model_id}.sqlite3" if writable else None
        examined = cls(path)
        try:
            yield examined
        finally:
            examined.close()

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    @staticmethod
    def pack(key: bytes, found: Found) -> bytes | None:
        """Return what was found as bytes, None where there is too much to keep."""
        raise NotImplementedError

    @staticmethod
    def unpack(key: bytes, value: bytes) -> Found | None:
        """Return what was found, None where ``pack`` did not make these bytes for this key."""
        raise NotImplementedError

    def look_up(self, keys: Sequence[bytes]) -> list[Found | None]:
        """Return what was found by each key, None where it is not known."""
        found: dict[bytes, Found] = {}
        for start in range(0, len(keys), _N_LOOKED_UP):
            part = keys[start : start + _N_LOOKED_UP]
            marks = ",".join("?" * len(part))
            rows = self._rows(f"SELECT key, value FROM pairs WHERE key IN ({marks})", part)
            for key, value in rows:
                one = self.unpack(key, value)
                if one is not None:
                    found[key] = one
        return [found.get(key) for key in keys]

    def add(self, keys: Sequence[bytes], found: Sequence[Found]) -> None:
        """Remember what was found of some pairs."""
        packed = [(key, self.pack(key, one)) for key, one in zip(keys, found, strict=True)]
        rows = [(key, value) for key, value in packed if value is not None]
        self._write([("INSERT OR REPLACE INTO pairs VALUES (?, ?)", rows)])

    def candidates(self, key: bytes, n: int) -> np.ndarray | None:
        """Return the candidates of a catalogue of n tracks, (n_pairs, 2) int64; None if unknown."""
        for (value,) in self._rows("SELECT value FROM candidates WHERE key = ?", (key,)):
            if type(value) is not bytes or len(value) % (2 * _ROW.itemsize) != _SUM.size:
                continue
            if _SUM.pack(zlib.crc32(key + value[_SUM.size :])) == value[: _SUM.size]:
                rows = np.frombuffer(value, _ROW, offset=_SUM.size).reshape(-1, 2)
                return rows.astype(np.int64) if rows.max(initial=0) < n else None
        return None

    def keep_candidates(self, key: bytes, rows: np.ndarray) -> None:
        """Remember the candidates of a catalogue, in place of those of its earlier states."""
        data = rows.astype(_ROW).tobytes()
        if len(data) <= MAX_CANDIDATE_BYTES:
            value = _SUM.pack(zlib.crc32(key + data)) + data
            insert = ("INSERT INTO candidates VALUES (?, ?)", [(key, value)])
            self._write([("DELETE FROM candidates", [()]), insert])

    def trim(self, keys: Sequence[bytes]) -> None:
        """Forget all but some pairs, if there are many others."""
        for (n_rows,) in self._rows("SELECT COUNT(*) FROM pairs", ()):
            if n_rows > MAX_FACTOR * len(keys) + MAX_SPARE:
                self._write(
                    [
                        ("CREATE TEMP TABLE wanted (key BLOB PRIMARY KEY) WITHOUT ROWID", [()]),
                        ("INSERT OR IGNORE INTO wanted VALUES (?)", [(key,) for key in keys]),
                        ("DELETE FROM pairs WHERE key NOT IN (SELECT key FROM wanted)", [()]),
                        ("DROP TABLE wanted", [()]),
                    ]
                )

    def _open(self, path: Path) -> sqlite3.Connection:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = OFF")  # it can be made again
            connection.execute(
                "CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY NOT NULL, "
                "value BLOB NOT NULL) WITHOUT ROWID"
            )
            connection.execute(
                "CREATE TABLE IF NOT EXISTS candidates (key BLOB NOT NULL, value BLOB NOT NULL)"
            )
        except BaseException:
            connection.close()
            raise
        return connection

    def _rows(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            return []
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error:
            self._drop()
            if self._path is not None:
                with contextlib.suppress(OSError, sqlite3.Error):
                    self._connection = self._open(self._path)
            return []

    def _write(self, statements: Sequence[tuple[str, Sequence[Sequence[object]]]]) -> None:
        if self._connection is None:
            return
        try:
            self._connection.execute("BEGIN")
            for statement, rows in statements:
                self._connection.executemany(statement, rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            self._drop()

    def _drop(self) -> None:
        """Remove a file that cannot be used, such as one on a full disk, and go on without it."""
        self.close()
        if self._path is not None:
            for suffix in ("", "-journal"):
                with contextlib.suppress(OSError):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


class ExaminedPairs(PairMemory[Evidence]):
    """Evidence of pairs, compared as recordings."""

    @staticmethod
    def pack(key: bytes, found: Evidence) -> bytes | None:
        """See ``PairMemory``."""
        return pack_evidence(key, found) if len(found.ranges) <= MAX_RANGES else None

    @staticmethod
    def unpack(key: bytes, value: bytes) -> Evidence | None:
        """See ``PairMemory``."""
        return unpack_evidence(key, value)


class AlignedPairs(PairMemory[float]):
    """Scores of pairs, compared as compositions."""

    @staticmethod
    def pack(key: bytes, found: float) -> bytes:
        """See ``PairMemory``.

        Examples
        --------
        >>> AlignedPairs.unpack(b"key", AlignedPairs.pack(b"key", 0.25))
        0.25
        >>> AlignedPairs.unpack(b"other", AlignedPairs.pack(b"key", 0.25)) is None
        True
        """
        data = _SCORE.pack(found)
        return data + _SUM.pack(zlib.crc32(key + data))

    @staticmethod
    def unpack(key: bytes, value: bytes) -> float | None:
        """See ``PairMemory``."""
        if type(value) is not bytes or len(value) != _SCORE.size + _SUM.size:
            return None
        data = value[: _SCORE.size]
        if _SUM.pack(zlib.crc32(key + data)) != value[_SCORE.size :]:
            return None
        (score,) = _SCORE.unpack(data)
        return float(score)


def pack_evidence(key: bytes, evidence: Evidence) -> bytes:
    """Return evidence as bytes: its numbers, those of its ranges, and a CRC-32 with the key."""
    nan = math.nan
    parts = [
        _EVIDENCE.pack(
            *(evidence.score, evidence.share_a, evidence.share_b),
            *(evidence.tempo, evidence.background),
            nan if evidence.played_apart is None else evidence.played_apart,
        )
    ]
    parts += [
        _RANGE.pack(
            *(found.a_start_s, found.a_end_s, found.b_start_s, found.b_end_s),
            *(found.tempo, found.score, found.repetition),
            nan if found.pitch_semitones is None else found.pitch_semitones,
            nan if found.correlation is None else found.correlation,
            nan if found.match_score is None else found.match_score,
        )
        for found in evidence.ranges
    ]
    data = b"".join(parts)
    return data + _SUM.pack(zlib.crc32(key + data))


def unpack_evidence(key: bytes, value: bytes) -> Evidence | None:
    """Return the evidence of which ``pack_evidence`` made these bytes; None if it did not.

    Examples
    --------
    >>> found = Evidence(0.3, (MatchedRange(0.0, 9.0, 1.0, 10.0, 1.0, 0.3, None, 0.0),), 1, 1, 1, 0)
    >>> unpack_evidence(b"key", pack_evidence(b"key", found)) == found
    True
    >>> unpack_evidence(b"other", pack_evidence(b"key", found)) is None
    True
    """
    if type(value) is not bytes:
        return None
    data, end = value[: -_SUM.size], value[-_SUM.size :]
    n_ranges, rest = divmod(len(data) - _EVIDENCE.size, _RANGE.size)
    if rest or not 0 <= n_ranges <= MAX_RANGES or _SUM.pack(zlib.crc32(key + data)) != end:
        return None
    score, share_a, share_b, tempo, background, apart = _EVIDENCE.unpack_from(data)
    ranges = []
    for *numbers, pitch, correlation, match_score in _RANGE.iter_unpack(data[_EVIDENCE.size :]):
        a_start, a_end, b_start, b_end, of_b, of_range, repetition = numbers
        pitch, correlation, match_score = (
            None if math.isnan(number) else number for number in (pitch, correlation, match_score)
        )
        ranges.append(
            MatchedRange(
                *(a_start, a_end, b_start, b_end, of_b, of_range, pitch),
                *(repetition, correlation, match_score),
            )
        )
    played_apart = None if math.isnan(apart) else apart
    return Evidence(score, tuple(ranges), share_a, share_b, tempo, background, played_apart)
