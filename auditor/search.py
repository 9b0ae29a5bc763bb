"""Where a workspace's tracks are looked up: by embedding, and by the second witness.

``similar_pairs`` and ``similar_tracks`` decide by the cosine of two embeddings alone, as extractors
do that cannot be aligned.  ``auditor.matching`` takes candidates from here and lets the second
witness decide.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from auditor.candidates import candidate_pairs
from auditor.catalogue import FileStamp
from auditor.errors import AudioError, CatalogueError, IndexFileError, show_path
from auditor.examine import Examiner
from auditor.index import TrackIndex, open_index, refresh_index
from auditor.pairs import (
    MAX_PAIRS,
    find_cross_pairs,
    find_pairs,
    histogram_edges,
    n_pairs,
    nearest,
    too_many_pairs,
)
from auditor.records import Track
from auditor.spectrum import file_spectrum
from auditor.witness import WitnessConfig
from auditor.workspace import Workspace

N_CANDIDATES = 50
"""Neighbours that the index is asked for, for each track."""

N_SPECTRA = 32
"""Spectra that are kept in memory, 250 kB for four minutes each."""

LISTED_FROM = 0.1
"""Score of a range that the witness lists; the audio says which of the weak ones are meant."""


@dataclass(frozen=True)
class Similar:
    """Pairs by the cosine of their embeddings, best first; arrays of one length, (n,).

    Attributes
    ----------
    rows_a, rows_b : numpy.ndarray
        int64; in a search for submissions ``rows_a`` are those of the queries.
    scores : numpy.ndarray
        float32.
    n_compared : int
        Pairs whose score was computed.
    recall : float or None
        Estimated share of the true pairs that an index proposed; None for the exact search.
    histogram : dict
        ``edges`` and ``counts`` of all scores; empty where not all were computed.
    """

    rows_a: np.ndarray
    rows_b: np.ndarray
    scores: np.ndarray
    n_compared: int
    recall: float | None = None
    histogram: dict[str, tuple[float, ...]] = field(default_factory=dict)


def similar_pairs(
    workspace: Workspace,
    ids: list[str],
    embeddings: np.ndarray,
    *,
    threshold: float,
    search: str,
) -> Similar:
    """Return every pair of the catalogue at or above a threshold.

    Raises
    ------
    AuditError
        If more than ``pairs.MAX_PAIRS`` reach it, or the index cannot be used.
    """
    if len(ids) < 2:
        none = np.zeros(0, np.int64)
        return Similar(none, none, np.zeros(0, np.float32), 0)
    index = track_index(workspace, ids, embeddings)
    if search == "exact":
        hits = find_pairs(embeddings, threshold, max_pairs=MAX_PAIRS)
        histogram = named_histogram(hits.histogram)
        return Similar(
            hits.rows_a, hits.rows_b, hits.scores, n_pairs(len(ids)), histogram=histogram
        )
    found = candidate_pairs(index, threshold=threshold, top=min(N_CANDIDATES, len(ids) - 1))
    kept = found.scores.astype(np.float64) >= threshold
    if np.count_nonzero(kept) > MAX_PAIRS:
        raise too_many_pairs(threshold, MAX_PAIRS)
    order = np.lexsort((found.rows_b[kept], found.rows_a[kept], -found.scores[kept]))
    rows_a, rows_b, scores = (
        values[kept][order] for values in (found.rows_a, found.rows_b, found.scores)
    )
    return Similar(rows_a, rows_b, scores, len(found.scores), found.recall)


def similar_tracks(
    workspace: Workspace,
    queries: np.ndarray,
    own_rows: list[int],
    ids: list[str],
    embeddings: np.ndarray,
    *,
    threshold: float,
    search: str,
) -> Similar:
    """Return for each query the tracks at or above a threshold, and the nearest one below it.

    Parameters
    ----------
    queries : numpy.ndarray
        (n_queries, n_dims) float32, unit norm.
    own_rows : list of int
        Row of the track that a query itself is, which is left out; -1 where it is none.
    """
    if search == "exact":
        hits = find_cross_pairs(queries, embeddings, threshold, max_pairs=MAX_PAIRS)
        top = int(np.bincount(hits.rows_a, minlength=1).max()) + 2  # itself, and the first below
        rows, scores = nearest(queries, embeddings, min(len(ids), top))
        ranked = [list(zip(*found, strict=True)) for found in zip(rows, scores, strict=True)]
        n_compared = len(queries) * len(ids) - sum(row >= 0 for row in own_rows)
        recall = None
    else:
        index = track_index(workspace, ids, embeddings)
        ranked = index.query(queries, min(N_CANDIDATES + 1, len(ids)))
        n_compared = sum(
            row != itself for hits, itself in zip(ranked, own_rows, strict=True) for row, _ in hits
        )
        recall = index.recall()
    kept: list[tuple[int, int, float]] = []
    for query, (itself, hits) in enumerate(zip(own_rows, ranked, strict=True)):
        for row, score in hits:
            if row == itself:
                continue
            kept.append((query, int(row), float(score)))
            if float(score) < threshold:
                break
    rows_a, rows_b, scores = zip(*kept, strict=True) if kept else ((), (), ())
    return Similar(
        np.asarray(rows_a, np.int64),
        np.asarray(rows_b, np.int64),
        np.asarray(scores, np.float32),
        n_compared,
        recall,
    )


def named_histogram(counts: np.ndarray) -> dict[str, tuple[float, ...]]:
    """Return the counts of ``pairs.histogram_edges`` as results hold them."""
    return {
        "edges": tuple(float(edge) for edge in histogram_edges()),
        "counts": tuple(float(count) for count in counts),
    }


def track_index(workspace: Workspace, ids: list[str], embeddings: np.ndarray) -> TrackIndex:
    """Open the index of embeddings, brought up to date if the workspace may be written to.

    Raises
    ------
    IndexFileError
        If there is none to read, or it cannot be written.
    """
    folder, weights_id = workspace.index_directory, workspace.weights_id
    try:
        if workspace.writable:
            return refresh_index(folder, weights_id, ids, embeddings).index
        return open_index(folder, weights_id, ids, embeddings)
    except FileNotFoundError:
        raise IndexFileError(f"{show_path(folder)} holds no index yet. Run: audit scan") from None
    except OSError as error:
        raise IndexFileError(
            f"{show_path(folder)}: the index cannot be written: {error.strerror or error}. The "
            "catalogue is safe. Free some space or mend the permissions, then run: audit scan"
        ) from None


def catalogue_examiner(workspace: Workspace, tracks: Mapping[str, Track]) -> Examiner:
    """Return the second witness of a workspace's tracks, which lists weak ranges too."""

    def read(track_id: str) -> tuple[np.ndarray, np.ndarray, float]:
        dvectors, levels = workspace.catalogue.dvectors(track_id, workspace.weights_id)
        return dvectors, levels, tracks[track_id].duration_s

    return Examiner(
        read,
        hop_s=workspace.hop_s,
        window_s=workspace.window_s,
        config=WitnessConfig(min_score=LISTED_FROM),
    )


def catalogue_spectra(
    workspace: Workspace, tracks: Mapping[str, Track]
) -> Callable[[str], np.ndarray | None]:
    """Return what gives the spectrum of a track by its id, (n_frames, n_bands) uint8.

    A catalogue of an older version has none: they are made of the files, and kept where the
    workspace may be written to.  None where the file is out of reach too.
    """
    known: dict[str, tuple[bytes, FileStamp]] = {}

    def read(track_id: str) -> np.ndarray | None:
        sha256 = tracks[track_id].sha256
        with contextlib.suppress(CatalogueError):  # a damaged one is made anew
            stored = workspace.catalogue.spectrum(sha256)
            if stored is not None:
                return stored
        if not known:
            stamps = workspace.catalogue.stamps()
            known.update((entry[0], (path, entry[1])) for path, entry in stamps.items())
        if track_id not in known:
            return None
        path, stamp = known[track_id]
        with contextlib.suppress(AudioError, OSError):
            made = file_spectrum(path)
            if FileStamp.of(os.stat(path)) == stamp:  # it still holds what was scanned
                if workspace.writable:
                    workspace.catalogue.store_spectrum(sha256, made)
                return made
        return None

    return functools.lru_cache(maxsize=N_SPECTRA)(read)
