"""The shards of an excerpt index: files that are written once, and how they are searched.

A shard holds some windows of some tracks: what the backend (Annoy) built (``.ann``), the tracks and
the window of each row as arrays (``.rows``), and a sidecar (``index_file``) named by its own hash.
What a forged sidecar could hide, ``annoy_nodes`` finds.

``.rows`` holds, little-endian: axes (n_dims, n_axes) float32; windows (n_items,) int32; of each
track its version, uint32, and rows, uint32; and the ids, ``id_bytes`` each, in ascending order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from auditor.catalogue.embedding_table import TrackVersions, encode_ids
from auditor.errors import IndexFileError, show_path
from auditor.search.excerpts.backends.annoy import BACKENDS, Backend, ExcerptConfig
from auditor.search.index_file import (
    UNREADABLE,
    Sidecar,
    check_data_file,
    file_sha256,
    is_weights_id,
    pack_sidecar,
    program_version,
    put_files,
    read_data_file,
    reason_of,
    unpack_sidecar,
)
from auditor.serialisation import parse_json, partial_file, read_bytes

FORMAT_VERSION = 2
"""Version of the layout; shards of another one are written again."""

VERIFY_BYTES = 1 << 25
"""Files of the backend above this size are hashed on reading only when asked."""

MAX_SIDECAR_BYTES = 1 << 16
"""Of a sidecar; one has less than a thousand."""

MAX_WINDOWS = 1 << 24
"""Windows of a track, five months of music; votes hold an array over them."""


@dataclass(frozen=True)
class ShardSidecar(Sidecar):
    """What the JSON file of a shard says.

    Attributes
    ----------
    format_version, audit_version, weights_id
        See ``Sidecar``.
    n_dims : int
        Dimensions of the d-vectors.
    config : ExcerptConfig
        How the shard was made.
    n_items, n_tracks : int
        Rows, and tracks.
    id_bytes : int
        Length of the longest id.
    data_size, data_sha256, rows_sha256
        Of the backend's file, and of ``.rows``.
    """

    layout: ClassVar[int] = FORMAT_VERSION

    n_dims: int
    config: ExcerptConfig
    n_items: int
    n_tracks: int
    id_bytes: int
    data_size: int
    data_sha256: str
    rows_sha256: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (1 <= self.n_dims < 2**16 and 0 <= self.n_items < 2**31):
            raise ValueError(f"n_dims is {self.n_dims} and n_items {self.n_items}")
        if not (0 <= self.n_tracks < 2**31 and 1 <= self.id_bytes < 2**16):
            raise ValueError(f"n_tracks is {self.n_tracks} and id_bytes {self.id_bytes}")
        if not is_weights_id(self.weights_id):
            raise ValueError(f"weights_id is {self.weights_id!r:.20}")

    @property
    def n_axes(self) -> int:
        """Dimensions of a row."""
        return min(self.config.n_axes, self.n_dims)

    @property
    def row_bytes(self) -> int:
        """Size of ``.rows``."""
        n_words = self.n_dims * self.n_axes + self.n_items + 2 * self.n_tracks
        return 4 * n_words + self.n_tracks * self.id_bytes


class _Rows(NamedTuple):
    """What ``.rows`` holds."""

    axes: np.ndarray
    windows: np.ndarray
    tracks: TrackVersions
    n_rows: np.ndarray


class Shard:
    """One shard, memory-mapped; made by ``read_shard``.

    Attributes
    ----------
    path : pathlib.Path
        Of the sidecar.
    sidecar : ShardSidecar
    windows : numpy.ndarray
        (n_items,) int32, window of each row in its track.
    tracks : TrackVersions
        The tracks, in the order of their rows.
    n_rows : numpy.ndarray
        (n_tracks,) int64, rows of each.
    """

    def __init__(self, path: Path, sidecar: ShardSidecar, rows: _Rows, found: Searcher) -> None:
        self.path, self.sidecar, self._backend = path, sidecar, found
        self._axes, self.windows, self.tracks, self.n_rows = rows
        self._ends = np.cumsum(self.n_rows)

    def tracks_of(self, rows: np.ndarray) -> np.ndarray:
        """Return which of the tracks each row is of, (n,) int64."""
        return np.searchsorted(self._ends, rows, side="right")

    def search(
        self, vectors: np.ndarray, top: int, *, search_k: int = -1
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rows near each vector.

        Parameters
        ----------
        vectors : numpy.ndarray
            (n, n_dims) float32, unit norm.
        top, search_k : int
            Rows wanted for each; nodes looked at, -1 for ``top * n_trees`` or ``MIN_SEARCH_K``.

        Returns
        -------
        vectors, rows : numpy.ndarray
            (n_hits,) int64.
        cosines : numpy.ndarray
            (n_hits,) float32, within what lies outside the axes.
        """
        along = vectors @ self._axes
        which, rows, cosines = self._backend.search(along, top, search_k)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.sidecar.n_items:
            raise _damaged(self.path, f"it names the row {rows.max()} of {self.sidecar.n_items}")
        return which, rows, cosines * np.linalg.norm(along, axis=1)[which]


class Searcher(Protocol):
    """What finds rows near a vector: a ``Backend``, or rows in memory."""

    def search(
        self, vectors: np.ndarray, top: int, search_k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return vector numbers and rows, int64, and cosines, float32, of up to ``top`` each."""


def memory_shard(
    path: Path,
    backend: Searcher,
    *,
    weights_id: str,
    config: ExcerptConfig,
    axes: np.ndarray,
    windows: Sequence[np.ndarray],
    tracks: TrackVersions,
) -> Shard:
    """Return a shard that has no files.

    Parameters
    ----------
    path : pathlib.Path
        Its name in messages.
    backend : Searcher
        Has the rows of all tracks.
    weights_id : str
    config : ExcerptConfig
    axes : numpy.ndarray
        (n_dims, n_axes) float32.
    windows : sequence of numpy.ndarray
        Of each track, (n,) integers: the window of each of its rows.
    tracks : TrackVersions
        In the order of their rows.
    """
    n_rows = np.array([len(part) for part in windows], np.int64)
    n_items = int(n_rows.sum())
    sidecar = ShardSidecar(
        format_version=FORMAT_VERSION,
        audit_version=program_version(),
        weights_id=weights_id,
        n_dims=axes.shape[0],
        config=config,
        n_items=n_items,
        n_tracks=len(tracks),
        id_bytes=tracks.ids.itemsize,
        data_size=0,
        data_sha256="0" * 64,
        rows_sha256="0" * 64,
    )
    at = np.concatenate([np.zeros(0, np.int32), *windows]).astype(np.int32)
    return Shard(path, sidecar, _Rows(axes, at, tracks, n_rows), backend)


class ShardWriter:
    """A shard in the making: ``add`` tracks, then ``close``.

    Parameters
    ----------
    directory : pathlib.Path
        Made when it is missing.
    weights_id : str
    config : ExcerptConfig
    axes : numpy.ndarray
        (n_dims, n_axes) float32, orthonormal columns, from ``main_axes``.
    """

    def __init__(
        self, directory: Path, weights_id: str, config: ExcerptConfig, axes: np.ndarray
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._folder, self._weights_id, self._config = directory, weights_id, config
        self._axes = np.ascontiguousarray(axes, "<f4")
        self._backend: Backend = BACKENDS[config.backend](axes.shape[1], config)
        self._ids: list[str] = []
        self._versions: list[int] = []
        self._windows: list[np.ndarray] = []
        self.n_items = 0

    def add(self, track_id: str, version: int, windows: np.ndarray, dvectors: np.ndarray) -> None:
        """Add the indexed windows of a track, (n,) integers, and their d-vectors, (n, n_dims).

        Tracks come in the order of their ids.
        """
        self._backend.add(dvectors.astype(np.float32) @ self._axes)
        self._ids.append(track_id)
        self._versions.append(version)
        self._windows.append(windows.astype("<i4"))
        self.n_items += len(windows)

    def close(self) -> Path:
        """Build the files and put them in place; return the path of the sidecar."""
        with (
            partial_file(self._folder, replaced=True) as data,  # Annoy's is a new file
            partial_file(self._folder) as rows,
        ):
            self._backend.save(data)
            ids = encode_ids(self._ids)
            columns = (
                self._axes,
                np.concatenate([np.zeros(0, "<i4"), *self._windows]),
                np.array(self._versions, "<u4"),
                np.array([len(windows) for windows in self._windows], "<u4"),
                ids,
            )
            rows.write_bytes(b"".join(column.tobytes() for column in columns))
            sidecar = ShardSidecar(
                format_version=FORMAT_VERSION,
                audit_version=program_version(),
                weights_id=self._weights_id,
                n_dims=self._axes.shape[0],
                config=self._config,
                n_items=self.n_items,
                n_tracks=len(ids),
                id_bytes=ids.itemsize,
                data_size=data.stat().st_size,
                data_sha256=file_sha256(data),
                rows_sha256=file_sha256(rows),
            )
            text = pack_sidecar(sidecar)
            path = self._folder / f"{_stem(self._weights_id, text)}.json"
            files = [(data, path.with_suffix(".ann")), (rows, path.with_suffix(".rows"))]
            put_files(files, path, text)
        return path


def read_shard(path: Path, weights_id: str, n_dims: int, *, verify: bool = False) -> Shard:
    """Map a shard, checked.

    Parameters
    ----------
    path : pathlib.Path
        Of the sidecar.
    weights_id : str
    n_dims : int
        What the d-vectors of the catalogue have.
    verify : bool
        Hash the backend's file even when it is larger than ``VERIFY_BYTES``.

    Raises
    ------
    IndexFileError
        If a file is missing or damaged, or the shard is of other weights or dimensions.
    """
    try:
        text = read_bytes(path, MAX_SIDECAR_BYTES)
        if path.stem != _stem(weights_id, text):
            raise ValueError("its SHA-256 is not the one in its name")
        sidecar = unpack_sidecar(ShardSidecar, text)
        if (sidecar.weights_id, sidecar.n_dims) != (weights_id, n_dims):
            raise ValueError(
                f"it has {sidecar.n_dims} dimensions of weights {sidecar.weights_id}; {n_dims} of "
                f"{weights_id} were expected"
            )
        data = path.with_suffix(".ann")
        check_data_file(
            data,
            sidecar.data_size,
            sidecar.data_sha256,
            hash_up_to=None if verify else VERIFY_BYTES,
            name=data.name,
        )
        rows = _read_rows(path.with_suffix(".rows"), sidecar)
        backend: Backend = BACKENDS[sidecar.config.backend](sidecar.n_axes, sidecar.config)
        if (n_found := backend.load(data)) != sidecar.n_items:
            raise ValueError(f"{data.name} has {n_found:,} rows of {sidecar.n_items:,}")
    except UNREADABLE as error:
        raise _damaged(path, reason_of(error)) from None
    return Shard(path, sidecar, rows, backend)


def _stem(weights_id: str, text: bytes) -> str:
    """Return the name of a shard without suffix, by the bytes of its sidecar."""
    return f"{weights_id}-{hashlib.sha256(text).hexdigest()[:16]}"


def _read_rows(path: Path, sidecar: ShardSidecar) -> _Rows:
    data = read_data_file(path, sidecar.row_bytes, sidecar.rows_sha256, name=path.name)
    n_tracks, n_axes = sidecar.n_tracks, sidecar.n_dims * sidecar.n_axes
    ends = np.cumsum([n_axes, sidecar.n_items, n_tracks, n_tracks]) * 4
    axes = np.frombuffer(data, "<f4", n_axes).reshape(sidecar.n_dims, sidecar.n_axes)
    windows = np.frombuffer(data, "<i4", sidecar.n_items, offset=ends[0])
    versions = np.frombuffer(data, "<u4", n_tracks, offset=ends[1])
    n_rows = np.frombuffer(data, "<u4", n_tracks, offset=ends[2]).astype(np.int64)
    ids = np.frombuffer(data, f"S{sidecar.id_bytes}", n_tracks, offset=ends[3])
    if len(windows) and not 0 <= windows.min() <= windows.max() < MAX_WINDOWS:
        raise ValueError(f"{path.name} names the windows {windows.min()} to {windows.max()}")
    if not np.isfinite(axes).all():
        raise ValueError(f"{path.name} holds numbers that are not finite")
    if n_rows.sum() != sidecar.n_items:
        raise ValueError(f"{path.name} has {n_rows.sum():,} rows of {sidecar.n_items:,}")
    return _Rows(axes, windows, TrackVersions(ids, versions), n_rows)


def sidecar_paths(directory: Path, weights_id: str) -> list[Path]:
    """Return the sidecars of an extractor's shards, sorted; those unfinished are none."""
    return [p for p in sorted(directory.glob(f"{weights_id}-*.json")) if "partial" not in p.name]


def remove_strays(directory: Path, weights_id: str) -> None:
    """Remove what a killed build left; nothing that belongs to a shard or another extractor."""
    for suffix in (".ann", ".rows", ".json"):
        for path in directory.glob(f"{weights_id}-*{suffix}"):
            if path.stem.endswith("-partial") or not path.with_suffix(".json").exists():
                path.unlink(missing_ok=True)


def remove_shard(path: Path) -> None:
    """Remove the files of a shard, its sidecar first; who has it open keeps it."""
    for suffix in (".json", ".rows", ".ann"):
        path.with_suffix(suffix).unlink(missing_ok=True)


def remove_old_shards(directory: Path) -> None:
    """Remove shards of an older layout, of any extractor: no version to come can read them."""
    for path in directory.glob("*.json"):
        if _is_old(path):
            remove_shard(path)


def _is_old(path: Path) -> bool:
    """Say whether a sidecar is of an older layout; one that cannot be read is not."""
    try:
        told = parse_json(read_bytes(path, MAX_SIDECAR_BYTES))
        return int(told["format_version"]) < FORMAT_VERSION
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return False


def _damaged(path: Path, reason: str) -> IndexFileError:
    remedy = "Remove it with: audit scan"
    if not _is_old(path):
        remedy = (
            f"Run audit scan with the extractor of weights {path.stem.partition('-')[0]}: it is "
            f"built again from the catalogue. If that extractor is gone, delete {path.stem}.*"
        )
    return IndexFileError(f"{show_path(path)} cannot be used: {reason}. {remedy}")
