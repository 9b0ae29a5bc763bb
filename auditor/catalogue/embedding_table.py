"""The embeddings of a catalogue as one table, and as files that are mapped rather than read.

A hundred thousand rows of SQLite take a fifth of a second to read; a check should not.  Whoever may
write to a large catalogue leaves its table beside it, in two files of NumPy's format::

    tables/<weights_id>-<revision>.embeddings.npy    (n, n_dims) float32
    tables/<weights_id>-<revision>.tracks.npy        ids, versions, hashes of the files, sums of
                                                     the rows; after it the CRC-32 of all that

The revision is a random number that the catalogue draws anew with every change to its tracks or
embeddings (triggers), so a table of another state is never taken for this one.  Whether it is what
the catalogue holds, ``table_problems`` says.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from auditor.catalogue.checksums import (
    checksum,
    damaged,
    damaged_tracks,
    has_checksums,
    lost_rows,
)
from auditor.catalogue.rows import NORM_TOLERANCE, remedy, unpack
from auditor.errors import CatalogueError, show_path
from auditor.serialisation import partial_file, put_in_place


class TrackVersions(Mapping[str, int]):
    """Track ids to numbers that change when the track's embedding does, sorted by id.

    Parameters
    ----------
    ids : numpy.ndarray
        (n,) bytes of fixed width, UTF-8, strictly ascending: ``np.array([...], "S")``.
    numbers : numpy.ndarray
        (n,) uint32, the CRC-32 of each embedding.

    Raises
    ------
    ValueError
        If the ids are not ascending, or not as many as the numbers.

    Examples
    --------
    >>> tracks = TrackVersions.of({"b": 7, "a": 9})
    >>> dict(tracks), tracks.row_of("b"), tracks.row_of("x"), tracks.id_of(0)
    ({'a': 9, 'b': 7}, 1, -1, 'a')
    """

    def __init__(self, ids: np.ndarray, numbers: np.ndarray) -> None:
        if len(ids) != len(numbers) or not (ids[1:] > ids[:-1]).all():
            raise ValueError(
                f"{len(ids)} ids and {len(numbers)} versions; as many, and ids in order are needed"
            )
        self.ids, self.numbers = ids, numbers

    @classmethod
    def of(cls, versions: Mapping[str, int]) -> TrackVersions:
        """Return the tracks of any mapping, which may be in any order."""
        if isinstance(versions, cls):
            return versions
        names = sorted(versions)  # as their UTF-8 bytes are sorted
        numbers = np.fromiter((versions[name] for name in names), np.uint32, len(names))
        return cls(encode_ids(names), numbers)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __getitem__(self, track_id: str) -> int:
        row = self.row_of(track_id)
        if row < 0:
            raise KeyError(track_id)
        return int(self.numbers[row])

    def names(self, rows: np.ndarray | slice = slice(None)) -> list[str]:
        """Return the ids of some rows, of all by default."""
        return [name.decode() for name in self.ids[rows].tolist()]

    def id_of(self, row: int) -> str:
        """Return the id of a row."""
        return bytes(self.ids[row]).decode()

    def row_of(self, track_id: str) -> int:
        """Return the row of an id, -1 where it is none."""
        name = track_id.encode()
        row = int(np.searchsorted(self.ids, np.bytes_(name))) if len(self.ids) else 0
        return row if row < len(self.ids) and self.ids[row] == name else -1

    def rows_in(self, others: TrackVersions) -> np.ndarray:
        """Return where each track lies among others that hold the same version of it, (n,) int64.

        -1 stands for those that do not.
        """
        if len(others) == 0:
            return np.full(len(self), -1)
        rows = np.minimum(np.searchsorted(others.ids, self.ids), len(others) - 1)
        same = (others.ids[rows] == self.ids) & (others.numbers[rows] == self.numbers)
        return np.where(same, rows, -1)


def encode_ids(names: list[str]) -> np.ndarray:
    """Return ids as (n,) bytes of one width, at least 1."""
    encoded = [name.encode() for name in names]
    return np.array(encoded, f"S{max(map(len, encoded), default=1) or 1}")


MIN_TRACKS = 5000
"""Smaller catalogues are read from SQLite: it takes hundredths of a second."""

_ROWS = """SELECT track_id, n_dims, embedding, sha256, {sums} FROM embeddings
    JOIN tracks ON tracks.id = track_id
    WHERE weights_id = ? AND NOT silent AND NOT (? AND missing) ORDER BY track_id"""


class TrackTable(NamedTuple):
    """The tracks of a catalogue that are not silent, sorted by id.

    Attributes
    ----------
    tracks : TrackVersions
    hashes : numpy.ndarray
        (n,) S64, SHA-256 of each file in hex.
    embeddings : numpy.ndarray
        (n, n_dims) float32, unit norm; (0, 0) when there is none.
    damaged : tuple of (str, str)
        Tracks that are left out because their rows are damaged: id, and what is wrong, by id.
    """

    tracks: TrackVersions
    hashes: np.ndarray
    embeddings: np.ndarray
    damaged: tuple[tuple[str, str], ...] = ()

    def distinct(self) -> TrackTable:
        """Return one track of each content, the first by id; this table where that is all."""
        rows = first_rows(self.hashes)
        if len(rows) == len(self.hashes):
            return self
        tracks = TrackVersions(self.tracks.ids[rows], self.tracks.numbers[rows])
        return TrackTable(tracks, self.hashes[rows], self.embeddings[rows])

    def fingerprint(self, ids: Iterable[str] | None = None) -> str:
        """Return what names the contents of a catalogue, whatever their paths and ids.

        The SHA-256 of the sorted SHA-256 of all contents, or of those of some tracks, each as a
        line: 64 hex digits.
        """
        hashes = self.hashes
        if ids is not None:
            hashes = hashes[[self.tracks.row_of(track_id) for track_id in ids]]
        digest = hashlib.sha256()
        for sha256 in np.unique(hashes).tolist():
            digest.update(sha256 + b"\n")
        return digest.hexdigest()

    def same_files(self) -> dict[str, tuple[str, ...]]:
        """Return the sorted ids of each content that several files hold, by the first of them."""
        if len(first_rows(self.hashes)) == len(self.hashes):
            return {}
        order = np.argsort(self.hashes, kind="stable")
        starts = np.flatnonzero(self.hashes[order][1:] != self.hashes[order][:-1]) + 1
        groups = (self.tracks.names(rows) for rows in np.split(order, starts) if len(rows) > 1)
        return {ids[0]: tuple(ids) for ids in sorted(groups)}

    def rows_of_content(self, sha256: str) -> np.ndarray:
        """Return the rows of the files of some bytes, (n,) int64."""
        return np.flatnonzero(self.hashes == sha256.encode())

    @property
    def by_id(self) -> Embeddings:
        """The embeddings by the ids of their tracks."""
        return Embeddings(self)


def first_rows(hashes: np.ndarray) -> np.ndarray:
    """Return the first row of each hash, (n_distinct,) int64, ascending.

    Parameters
    ----------
    hashes : numpy.ndarray
        (n,) S64.

    Examples
    --------
    >>> first_rows(np.array([b"aa", b"bb", b"aa", b"cc"], "S64")).tolist()
    [0, 1, 3]
    """
    # 64 of the 256 bits are sorted far sooner than all, and nearly always tell that none is equal.
    words = np.ascontiguousarray(hashes).view("<u8").reshape(-1, 8)
    mixed = words[:, 0] ^ (words[:, 1] * np.uint64(0x9E3779B97F4A7C15))
    if len(np.unique(mixed)) == len(hashes):
        return np.arange(len(hashes))
    return np.sort(np.unique(hashes, return_index=True)[1])


class Embeddings(Mapping[str, np.ndarray]):
    """Ids to embeddings, (n_dims,) float32, of a table, looked up one at a time."""

    def __init__(self, table: TrackTable) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table.tracks)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.tracks)

    def __getitem__(self, track_id: str) -> np.ndarray:
        row = self._table.tracks.row_of(track_id)
        if row < 0:
            raise KeyError(track_id)
        return self._table.embeddings[row]


def read_table(
    connection: sqlite3.Connection, weights_id: str, *, present_only: bool
) -> TrackTable:
    """Read the table from the catalogue.

    Raises
    ------
    CatalogueError
        If a stored embedding has another size than the others, is not finite or not a unit vector;
        names the track.
    """
    ids: list[str] = []
    hashes: list[str] = []
    vectors: list[bytes] = []
    n_dims = 0
    wrong: dict[str, str] = {}
    summed = has_checksums(connection)
    if summed:  # what the query below does not find, or leaves out
        wrong.update(lost_rows(connection, weights_id))
        wrong.update(damaged_tracks(connection, "silent OR missing" if present_only else "silent"))
    columns = "n_windows, embeddings.crc" if summed else "NULL, NULL"
    found = connection.execute(_ROWS.format(sums=columns), (weights_id, present_only))
    for track_id, size, blob, sha256, n_windows, crc in found:
        if summed and crc != checksum(n_windows, size, blob):
            wrong[track_id] = _what_is_wrong(track_id, size, blob, weights_id)
            continue
        unpack(blob, "<f4", (size,), track_id, "embedding")
        if ids and size != n_dims:
            raise CatalogueError(
                f"track {track_id} has {size} dimensions but track {ids[0]} has {n_dims} for "
                f"weights {weights_id}. {remedy(track_id)}"
            )
        n_dims = size
        ids.append(track_id)
        hashes.append(sha256)
        vectors.append(blob)
    embeddings = np.frombuffer(bytearray().join(vectors), "<f4").reshape(len(ids), n_dims)
    versions = np.fromiter(map(zlib.crc32, vectors), np.uint32, len(ids))
    _check_norms(embeddings, ids, weights_id)
    tracks = TrackVersions(encode_ids(ids), versions)
    return TrackTable(tracks, np.array(hashes, "S64"), embeddings, tuple(sorted(wrong.items())))


def _check_norms(embeddings: np.ndarray, ids: list[str], weights_id: str) -> None:
    for start in range(0, len(ids), 8192):
        norms = np.linalg.norm(embeddings[start : start + 8192].astype(np.float64), axis=1)
        bad = np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE))
        if bad.size:
            track_id = ids[start + int(bad[0])]
            raise CatalogueError(
                f"track {track_id}: its embedding for weights {weights_id} has the norm "
                f"{norms[bad[0]]:.4g}; 1 was expected. {remedy(track_id)}"
            )


def revision_of(connection: sqlite3.Connection) -> str:
    """Return 32 hex digits that change with the tracks and embeddings, "" of an old catalogue."""
    with contextlib.suppress(sqlite3.OperationalError):  # no such table
        row = connection.execute("SELECT hex(token) FROM revision").fetchone()
        return row[0].lower() if row else ""
    return ""


def map_table(
    folder: Path, weights_id: str, revision: str, *, summed: bool = True
) -> TrackTable | None:
    """Map the table of a revision; None where there is none, or it is damaged.

    Without ``summed`` its sums are not asked, to find out where it differs.
    """
    embeddings, tracks = _paths(folder, weights_id, revision)
    try:
        matrix = np.load(embeddings, mmap_mode="r", allow_pickle=False)
        with tracks.open("rb") as file:
            named = np.load(file, allow_pickle=False)
            crc = int.from_bytes(file.read(), "little")
        norms = np.einsum("ij,ij->i", matrix, matrix)
        if (
            matrix.dtype != np.float32
            or len(matrix) != len(named)
            or not (np.abs(norms - 1.0) <= 3 * NORM_TOLERANCE).all()
        ):
            return None
        if summed and (
            zlib.crc32(named.tobytes()) != crc
            or not np.array_equal(named["sum"], _row_sums(matrix))
        ):
            return None
        ids, versions = (np.ascontiguousarray(named[name]) for name in ("id", "version"))
        return TrackTable(TrackVersions(ids, versions), named["sha256"], matrix)
    except Exception:  # NumPy raises this and that of a damaged header; the table is made anew
        return None


def save_table(folder: Path, weights_id: str, revision: str, table: TrackTable) -> None:
    """Write the table of a revision and remove those of others; without room for it, nothing."""
    columns = [("id", table.tracks.ids), ("version", table.tracks.numbers)]
    columns += [("sha256", table.hashes), ("sum", _row_sums(table.embeddings))]
    named = np.empty(len(table.hashes), [(name, values.dtype) for name, values in columns])
    for name, values in columns:
        named[name] = values
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
        paths = _paths(folder, weights_id, revision)
        for path, values in zip(paths, (table.embeddings, named), strict=True):
            with partial_file(folder) as partial:
                with partial.open("wb") as file:
                    np.save(file, values, allow_pickle=False)
                    if values is named:
                        file.write(zlib.crc32(values.tobytes()).to_bytes(4, "little"))
                put_in_place(partial, path)
        for path in folder.glob(f"{weights_id}-*"):
            if path not in paths:
                path.unlink(missing_ok=True)


def _what_is_wrong(track_id: str, size: int, blob: bytes, weights_id: str) -> str:
    """Return what is wrong with an embedding whose checksum is another."""
    try:
        row = unpack(blob, "<f4", (size,), track_id, "embedding")
        _check_norms(row[None], [track_id], weights_id)
    except CatalogueError as error:
        return str(error)
    return str(damaged(track_id, "embedding"))


def _row_sums(matrix: np.ndarray) -> np.ndarray:
    """Return a number for each row of (n, n_dims) float32 that changes with any one value."""
    return matrix.view(np.uint32).sum(axis=1, dtype=np.uint64)


def table_problems(connection: sqlite3.Connection, folder: Path) -> Iterator[str]:
    """Yield how the tables that would be mapped differ from the catalogue, one line for each.

    Raises
    ------
    CatalogueError
        As ``read_table``.
    """
    revision = revision_of(connection)
    weights = connection.execute("SELECT DISTINCT weights_id FROM embeddings ORDER BY 1").fetchall()
    for (weights_id,) in weights if revision else ():
        if not all(path.exists() for path in _paths(folder, weights_id, revision)):
            continue
        mapped = map_table(folder, weights_id, revision, summed=False)
        stored = read_table(connection, weights_id, present_only=True)
        wrong = "it cannot be read" if mapped is None else _difference(mapped, stored)
        if not wrong and map_table(folder, weights_id, revision) is None:
            wrong = "its checksums are others"
        if wrong:
            yield (
                f"the table of weights {weights_id} in {show_path(folder)} is damaged: {wrong}. "
                "Remove this folder and run: audit scan"
            )


def _difference(mapped: TrackTable, stored: TrackTable) -> str:
    """Return how two tables differ first, "" if they do not."""
    ids = stored.tracks.ids
    if mapped.embeddings.shape != stored.embeddings.shape:
        shapes = (" x ".join(map(str, t.embeddings.shape)) for t in (mapped, stored))
        return "it holds {} numbers, and the catalogue {}".format(*shapes)
    for name, a, b in (
        ("id", mapped.tracks.ids, ids),
        ("version", mapped.tracks.numbers, stored.tracks.numbers),
        ("hash", mapped.hashes, stored.hashes),
    ):
        if (rows := np.flatnonzero(a != b)).size:
            return f"the {name} of track {stored.tracks.id_of(rows[0])} is another"
    for start in range(0, len(ids), 8192):
        part = slice(start, start + 8192)
        differ = (mapped.embeddings[part] != stored.embeddings[part]).any(axis=1)
        if (rows := np.flatnonzero(differ)).size:
            track_id = stored.tracks.id_of(start + int(rows[0]))
            return f"the embedding of track {track_id} is another"
    return ""


def _paths(folder: Path, weights_id: str, revision: str) -> tuple[Path, Path]:
    stem = f"{weights_id}-{revision}"
    return folder / f"{stem}.embeddings.npy", folder / f"{stem}.tracks.npy"
