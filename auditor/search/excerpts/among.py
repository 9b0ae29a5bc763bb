"""An excerpt index that answers with some of its tracks only: one side of a comparison.

The shards are those of the whole catalogue, and the rows of other tracks are passed over.  Where
the wanted tracks are few, most answers of a shard would be passed over; their windows are then
compared one by one, which is quicker and misses nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from auditor.catalogue.embedding_table import TrackVersions
from auditor.search.excerpts.backends.annoy import ExcerptConfig, distinct_windows, main_axes
from auditor.search.excerpts.build import N_FOR_AXES
from auditor.search.excerpts.index import ExcerptIndex, ExcerptSource
from auditor.search.excerpts.shards import Shard, memory_shard

MIN_SHARE = 0.125
"""Share of the indexed windows from which on the shards answer."""

MAX_WINDOWS_COMPARED = 300_000
"""Windows that are compared one by one: 40 MB."""

_PRODUCTS = 1 << 23
"""Products held at once, 32 MiB."""


class ExactBackend:
    """Rows of a shard in memory, all of which are compared; cannot be saved or loaded.

    Parameters
    ----------
    rows : numpy.ndarray
        (n, n_axes) float32.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = _unit(rows)

    def search(
        self, vectors: np.ndarray, top: int, search_k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return vector numbers and rows, int64, and cosines, float32, of up to ``top`` each."""
        n = len(self._rows)
        top = min(top, n)
        if not len(vectors) or not top:
            none = np.zeros(0, np.int64)
            return none, none, np.zeros(0, np.float32)
        step = max(1, _PRODUCTS // n)
        rows, cosines = [], []
        for start in range(0, len(vectors), step):
            products = _unit(vectors[start : start + step]) @ self._rows.T
            found = np.argpartition(products, n - top, axis=1)[:, n - top :]
            values = np.take_along_axis(products, found, axis=1)
            best = np.lexsort((found, -values), axis=1)
            rows.append(np.take_along_axis(found, best, axis=1).ravel())
            cosines.append(np.take_along_axis(values, best, axis=1).ravel())
        which = np.repeat(np.arange(len(vectors)), top)
        return which, np.concatenate(rows), np.clip(np.concatenate(cosines), -1.0, 1.0)


def _unit(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / np.maximum(norms, 1e-9), np.float32)


def excerpts_among(
    index: ExcerptIndex, source: ExcerptSource, wanted: np.ndarray, *, hop_s: float
) -> ExcerptIndex:
    """Return an index that answers with some of the tracks of another one.

    Parameters
    ----------
    index, source : ExcerptIndex, ExcerptSource
        Of the whole catalogue.
    wanted : numpy.ndarray
        (n_tracks,) bool, in the order of ``index.tracks``.
    hop_s : float
        Seconds from one d-vector to the next.

    Raises
    ------
    CatalogueError
        If d-vectors cannot be read.
    """
    tracks = TrackVersions(index.tracks.ids[wanted], index.tracks.numbers[wanted])
    part = ExcerptSource(source.weights_id, source.n_dims, tracks, source.read)
    if not wanted.any():
        return ExcerptIndex((), part, hop_s=hop_s)
    own = ExcerptIndex(index.shards, part, hop_s=hop_s)
    n_wanted, n_all = sum(own.n_current_rows), sum(index.n_current_rows)
    if n_wanted >= MIN_SHARE * n_all or n_wanted > MAX_WINDOWS_COMPARED:
        return own
    return ExcerptIndex([_exact_shard(part, own)], part, hop_s=hop_s)


def _exact_shard(source: ExcerptSource, own: ExcerptIndex) -> Shard:
    """Return a shard in memory of all tracks of a source."""
    configs = [shard.sidecar.config for shard in own.shards]
    config = configs[0] if configs else ExcerptConfig()
    ids = own.ids
    sample = ids[:: -(-len(ids) // N_FOR_AXES)]
    seen = np.concatenate([distinct_windows(*source.read(i), config)[1] for i in sample])
    axes = main_axes(seen, config.n_axes)
    windows, rows = [], []
    for track_id in ids:
        at, vectors = distinct_windows(*source.read(track_id), config)
        windows.append(at)
        rows.append(vectors @ axes)
    backend = ExactBackend(np.concatenate(rows))
    return memory_shard(
        Path("memory"),
        backend,
        weights_id=source.weights_id,
        config=config,
        axes=axes,
        windows=windows,
        tracks=own.tracks,
    )
