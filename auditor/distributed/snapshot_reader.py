"""A catalogue on shared storage, as it is when a scan compares it: Parquet, and the excerpt index.

::

    <storage>/<key>/snapshot.json          what it is of; written last
    <storage>/<key>/embeddings-00000.parquet   id, hash, length, embedding of 16,384 tracks
    <storage>/<key>/tracks-00000.parquet   d-vectors, levels and spectrum of 256 tracks
    <storage>/<key>/<shard>.json .ann .rows    the shards of the excerpt index
    <storage>/<key>/done-<hash>            results of tiles (``auditor.distributed.ray_tiles``)

Tracks are sorted by id, and the key is the hash of all that a result depends on.  A track is a row
group of its own, so that one is read without the others.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import hashlib
import json
import socket
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auditor.catalogue.spectrograms import unpack_spectrum
from auditor.distributed.node_folder import node_folder
from auditor.distributed.storage import Storage
from auditor.embedding.config import SPECTRUM
from auditor.errors import AuditError, CatalogueError, show_path
from auditor.scoring.track_reader import Content, TrackReader
from auditor.search.all_pairs import TILE_ROWS
from auditor.search.excerpts.index import ExcerptIndex, ExcerptSource, read_shards
from auditor.serialisation import from_json, parse_json

if TYPE_CHECKING:
    import pyarrow

FORMAT = "audit-snapshot/1"
MANIFEST = "snapshot.json"

N_TRACKS = 256
"""Tracks of a file of d-vectors: 70 MB where they last four minutes."""

N_OPEN = 256
"""Files of d-vectors that a process keeps open."""


@dataclass(frozen=True)
class Manifest:
    """What a snapshot is of.

    Attributes
    ----------
    format, version : str
        Of the layout, and of the program that wrote it.
    weights_id : str
    hop_s, window_s : float
        Step and length of the windows, in seconds.
    spectra : str
        Layout of the spectra.
    n_tracks, n_dims : int
    content : str
        SHA-256 over the id, file's hash, length and embedding of every track.
    index : tuple of str
        Names of the excerpt index's shards, which carry their hashes.
    first_ids : tuple of str
        The first track of each file of d-vectors.
    """

    format: str
    version: str
    weights_id: str
    hop_s: float
    window_s: float
    spectra: str
    n_tracks: int
    n_dims: int
    content: str
    index: tuple[str, ...]
    first_ids: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name of the snapshot, 32 hex digits."""
        text = json.dumps(dataclasses.asdict(self))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


class SnapshotReader(TrackReader):
    """Reads a snapshot; travels as its URL.

    Parameters
    ----------
    storage : Storage
        Of the snapshot itself.
    manifest : Manifest
    """

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        super().__init__(manifest.weights_id, hop_s=manifest.hop_s, window_s=manifest.window_s)
        self.storage, self.manifest = storage, manifest
        self._file = functools.lru_cache(maxsize=N_OPEN)(self._open_tracks)
        self._block = functools.lru_cache(maxsize=4)(self._read_block)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_snapshot, (self.storage,)

    def __repr__(self) -> str:
        return f"SnapshotReader({self.manifest.key})"

    def embeddings(self, start: int, end: int) -> np.ndarray:
        """See ``TrackReader``."""
        parts = [
            self._block(n)["embedding"][max(start - n * TILE_ROWS, 0) : end - n * TILE_ROWS]
            for n in range(start // TILE_ROWS, -(-end // TILE_ROWS))
        ]
        return np.concatenate(parts)

    def dvectors(self, track_id: str) -> tuple[np.ndarray, np.ndarray]:
        """See ``TrackReader``."""
        row = self._row(track_id, ["dvectors", "levels"])
        try:
            dvectors = np.frombuffer(row["dvectors"], "<f2").reshape(-1, self.manifest.n_dims)
        except (ValueError, TypeError):
            raise self._damaged(f"the d-vectors of {track_id}") from None
        return dvectors, np.frombuffer(row["levels"], "<f2")

    def excerpts(self) -> tuple[ExcerptIndex, ExcerptSource]:
        """See ``TrackReader``; read to its end once, 0.8 s a GB.

        From an object store it is first copied to this machine.

        Raises
        ------
        AuditError
            If a shard is missing or damaged: without it other pairs would be found.
        """
        return self._excerpts

    @functools.cached_property
    def _excerpts(self) -> tuple[ExcerptIndex, ExcerptSource]:
        versions: dict[str, int] = {}
        for n in range(-(-self.manifest.n_tracks // TILE_ROWS)):
            block = self._read_block(n)
            versions |= zip(block["id"], map(zlib.crc32, block["embedding"]), strict=True)
        source = ExcerptSource(
            self.manifest.weights_id, self.manifest.n_dims, versions, self.dvectors
        )
        folder = self.storage.folder or self._copied_index()
        shards, _ = read_shards(folder, source, verify=True)
        if lacking := set(self.manifest.index) - {shard.path.stem for shard in shards}:
            where = "" if self.storage.folder else f"{show_path(folder)} of {socket.gethostname()}"
            raise self._damaged(f"the shard {min(lacking)}", where)
        return ExcerptIndex(shards, source, hop_s=self.hop_s), source

    def _copied_index(self) -> Path:
        folder = node_folder() / f"index-{self.manifest.key}"
        local = Storage(str(folder))
        for stem in self.manifest.index:
            for suffix in (".ann", ".rows", ".json"):
                if not (folder / (stem + suffix)).exists():
                    data = self.storage.read(stem + suffix)
                    if data is None:
                        raise self._damaged(stem + suffix)
                    local.write(stem + suffix, data)
        return folder

    def _content(self, track_id: str) -> Content:
        n, position = self._position(track_id)
        row = n * N_TRACKS + position
        block = self._block(row // TILE_ROWS)
        return Content(block["sha256"][row % TILE_ROWS], block["duration_s"][row % TILE_ROWS])

    def _spectrum(self, track_id: str) -> np.ndarray | None:
        packed = self._row(track_id, ["spectrum"])["spectrum"]
        try:
            return None if packed is None else unpack_spectrum(packed, SPECTRUM.n_bands)
        except ValueError:
            raise self._damaged(f"the spectrum of {track_id}") from None

    def _row(self, track_id: str, columns: list[str]) -> dict[str, Any]:
        n, position = self._position(track_id)
        return self._file(n)[0].read_row_group(position, columns=columns).to_pylist()[0]

    def _position(self, track_id: str) -> tuple[int, int]:
        n = bisect.bisect_right(self.manifest.first_ids, track_id) - 1
        row_of = self._file(n)[1] if n >= 0 else {}
        if track_id not in row_of:
            raise CatalogueError(f"{self!r} has no track {track_id!r:.80}")
        return n, row_of[track_id]

    def _open_tracks(self, n: int) -> tuple[pyarrow.parquet.ParquetFile, dict[str, int]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        name = f"tracks-{n:05}.parquet"
        try:
            file = pq.ParquetFile(self.storage.open(name))
            ids = file.read(columns=["id"])["id"].to_pylist()
        except (OSError, pa.ArrowException):
            raise self._damaged(name) from None
        return file, {track_id: row for row, track_id in enumerate(ids)}

    def _read_block(self, n: int) -> dict[str, Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        name = f"embeddings-{n:05}.parquet"
        try:
            table = pq.read_table(pa.BufferReader(self.storage.read(name) or b""))
            columns = table.drop(["embedding"]).to_pydict()
            rows = b"".join(table["embedding"].to_pylist())
            columns["embedding"] = np.frombuffer(rows, "<f4").reshape(-1, self.manifest.n_dims)
        except (OSError, ValueError, KeyError, pa.ArrowException):
            raise self._damaged(name) from None
        return columns

    def _damaged(self, what: str, where: str = "") -> AuditError:
        return AuditError(
            f"{where or self.storage.url}: {what} is missing or damaged. Remove this folder, and "
            "run the command again."
        )


@functools.lru_cache(maxsize=1)
def open_snapshot(storage: Storage) -> SnapshotReader:
    """Return the reader of a snapshot, opened once in every process.

    Raises
    ------
    AuditError
        If there is none, or it is damaged.
    """
    data = storage.read(MANIFEST)
    try:
        return SnapshotReader(storage, from_json(Manifest, parse_json(data or b""), where=MANIFEST))
    except ValueError as error:
        raise AuditError(
            f"{storage.url}/{MANIFEST} cannot be used: {error}. Remove this folder, and run the "
            "command again; give a --cluster-storage that every node sees."
        ) from None
