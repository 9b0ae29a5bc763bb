"""Approximate nearest tracks: an Annoy file with a JSON sidecar, and an exact overlay.

Annoy (Bernhardsson, 2013, https://github.com/spotify/annoy) cuts space by random hyperplanes into
trees.  Its file cannot be added to, so tracks that came or changed after it was built form an
overlay that is searched exactly, and tracks that left are filtered out; ``refresh_index`` builds
anew once these grow.  Annoy only proposes rows: every score returned is computed again from the
embeddings, by the same sum as ``vectors.exact_scores``.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from auditor.errors import IndexFileError
from auditor.search.annoy_file import (
    REMEDY,
    AnnoySidecar,
    MixedIndexError,
    check_tracks,
    checksums,
    read_index,
    write_index,
)
from auditor.search.vectors import check_unit_rows, row_scores, rows_within_reach

MIN_SEARCH_K = 5000
"""Nodes that Annoy looks at unless told otherwise; its own default, top * n_trees, misses more."""


class TrackIndex:
    """The tracks of a catalogue, searched through Annoy and the overlay; made by ``open_index``.

    Attributes
    ----------
    ids : tuple of str
        Track ids; every row this class takes or returns counts into them.
    embeddings : numpy.ndarray
        (n, n_dims) float32, unit norm.
    sidecar : AnnoySidecar
        Of the base.
    n_overlay : int
        Tracks that the base lacks or holds with another embedding.
    n_tombstones : int
        Rows of the base that are no longer current.
    """

    def __init__(
        self,
        sidecar: AnnoySidecar,
        base: Any,
        ids: Sequence[str],
        embeddings: np.ndarray,
    ) -> None:
        self.sidecar = sidecar
        self.ids = tuple(ids)
        self.embeddings = np.ascontiguousarray(embeddings)
        self._base = base
        position = {track_id: row for row, track_id in enumerate(self.ids)}
        base_rows = np.array([position.get(i, -1) for i in sidecar.ids], np.int64)
        then = np.frombuffer(bytes.fromhex(sidecar.checksums), ">u4")
        now = np.frombuffer(bytes.fromhex(checksums(self.embeddings)), ">u4")
        current = base_rows >= 0
        current[current] = then[current] == now[base_rows[current]]
        self._base_rows = np.where(current, base_rows, -1)
        self._overlay_rows = np.setdiff1d(np.arange(len(self.ids)), base_rows[current])
        self._overlay = self.embeddings[self._overlay_rows]
        self.n_overlay = len(self._overlay_rows)
        self.n_tombstones = int(np.count_nonzero(~current))

    def __len__(self) -> int:
        return len(self.ids)

    def query(
        self,
        vectors: np.ndarray,
        top: int,
        *,
        exclude: Collection[int] | None = None,
        search_k: int = -1,
    ) -> list[list[tuple[int, float]]]:
        """Return the nearest tracks of each vector that Annoy and the overlay propose.

        Parameters
        ----------
        vectors : numpy.ndarray
            (n_vectors, n_dims) float32, unit norm.
        top : int
            Tracks wanted for each vector.
        exclude : collection of int, optional
            Rows never to return.
        search_k : int
            Nodes that Annoy looks at; more are slower and miss less; -1 is ``top * n_trees`` or
            ``MIN_SEARCH_K``, whichever is more.

        Returns
        -------
        list of list of (int, float)
            For each vector up to ``top`` rows with their exact score, best first, equal scores by
            row.

        Raises
        ------
        ValueError
            If the vectors are not float32 unit rows of the index's dimension, or a row or number
            is out of range.
        """
        check_unit_rows("vectors", vectors)
        if vectors.shape[1] != self.sidecar.n_dims:
            raise ValueError(
                f"vectors have {vectors.shape[1]} dimensions; the index has {self.sidecar.n_dims}"
            )
        if top < 1 or not (search_k == -1 or search_k >= 1):
            raise ValueError(
                f"top is {top} and search_k {search_k}; top must be at least 1, search_k too, or -1"
            )
        excluded = np.array(sorted(set(exclude or ())), np.int64)
        if len(excluded) and not (excluded[0] >= 0 and excluded[-1] < len(self)):
            raise ValueError(
                f"exclude runs from {excluded[0]} to {excluded[-1]}; rows are 0 to {len(self) - 1}"
            )
        answers = (self.nearest_rows(vector, top, excluded, search_k) for vector in vectors)
        return [list(zip(r.tolist(), s.tolist(), strict=True)) for r, s in answers]

    def farthest(
        self, vectors: np.ndarray, top: int, *, exclude: Collection[int] | None = None
    ) -> list[list[tuple[int, float]]]:
        """Return the tracks of lowest score, lowest first: the nearest ones to each negated vector.

        Parameters, form of the answer and errors are those of ``query``.
        """
        answers = self.query(-vectors, top, exclude=exclude)
        return [[(row, 0.0 - score) for row, score in answer] for answer in answers]

    def recall(
        self, n_queries: int = 200, top: int = 10, *, seed: int = 0, search_k: int = -1
    ) -> float:
        """Return the index recall: the share of the exact ``top`` nearest tracks that are found.

        Tracks drawn at random from the catalogue are the queries; each leaves itself out.  Of
        tracks with equal scores any will do.  ``search_k`` is that of ``query``.

        Raises
        ------
        ValueError
            If a number is below 1.
        """
        if n_queries < 1 or top < 1:
            raise ValueError(f"n_queries is {n_queries} and top {top}; both must be at least 1")
        n_found = n_true = 0
        n_sample = min(n_queries, len(self))
        for row in np.random.default_rng(seed).choice(len(self), n_sample, replace=False):
            vector = self.embeddings[row]
            near = rows_within_reach(self.embeddings @ vector, top + 1, self.sidecar.n_dims)
            exact = np.sort(row_scores(self.embeddings[near[near != row]], vector))[::-1][:top]
            _, scores = self.nearest_rows(vector, top, np.array([row]), search_k)
            n_true += len(exact)
            n_found += int(np.count_nonzero(scores >= exact[-1])) if len(exact) else 0
        return n_found / n_true if n_true else 1.0

    def nearest_rows(
        self, vector: np.ndarray, top: int, excluded: np.ndarray, search_k: int = -1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what ``query`` does for one vector, as arrays and without checking anything.

        Parameters
        ----------
        vector : numpy.ndarray
            (n_dims,) float32, unit norm.
        top, search_k : int
            As in ``query``.
        excluded : numpy.ndarray
            (n_excluded,) int64 rows never to return, unique.

        Returns
        -------
        rows : numpy.ndarray
            (n_found,) int64, at most ``top``.
        scores : numpy.ndarray
            (n_found,) float32, exact, best first.
        """
        n_dims, n_reach = self.sidecar.n_dims, top + len(excluded)
        over = self._overlay_rows[rows_within_reach(self._overlay @ vector, n_reach, n_dims)]
        rows = np.concatenate([self._ask_base(vector, top, excluded, search_k), over])
        rows = rows[~np.isin(rows, excluded)]
        scores = row_scores(self.embeddings[rows], vector)
        order = np.lexsort((rows, -scores))[:top]
        return rows[order], scores[order]

    def _ask_base(
        self, vector: np.ndarray, top: int, excluded: np.ndarray, search_k: int
    ) -> np.ndarray:
        """Ask Annoy for more and more rows until ``top`` of them are current and not excluded."""
        n_items, asked = self.sidecar.n_items, top + len(excluded)
        while n_items:
            asked = min(asked, n_items)
            n_nodes = search_k if search_k > 0 else max(asked * self.sidecar.n_trees, MIN_SEARCH_K)
            found = self._base.get_nns_by_vector(vector.tolist(), asked, n_nodes)
            rows = self._base_rows[found]
            rows = rows[rows >= 0]
            exhausted = asked == n_items or (search_k > 0 and len(found) < asked)
            if exhausted or np.count_nonzero(~np.isin(rows, excluded)) >= top:
                return rows
            asked *= 2
        return np.empty(0, np.int64)


class RefreshedIndex(NamedTuple):
    """An index, whether it was built anew, and why, for the log."""

    index: TrackIndex  # type: ignore[assignment]  # tuple.index is never asked for
    rebuilt: bool
    reason: str


def build_index(
    directory: str | os.PathLike[str],
    weights_id: str,
    ids: Sequence[str],
    embeddings: np.ndarray,
    *,
    n_trees: int = 50,
    seed: int = 0,
) -> TrackIndex:
    """Build an index and put it in place of the one before.

    Parameters and errors are those of ``annoy_file.write_index``.
    """
    sidecar, base = write_index(directory, weights_id, ids, embeddings, n_trees=n_trees, seed=seed)
    return TrackIndex(sidecar, base, ids, embeddings)


def open_index(
    directory: str | os.PathLike[str],
    weights_id: str,
    ids: Sequence[str],
    embeddings: np.ndarray,
    *,
    verify: bool = False,
) -> TrackIndex:
    """Open the index of these weights, memory-mapped, for the tracks as they are now.

    Parameters are those of ``build_index``, and ``verify`` that of ``annoy_file.read_index``.

    Raises
    ------
    FileNotFoundError
        If there is no sidecar, hence no index.
    IndexFileError
        If the files are damaged, or of other weights or dimension.
    ValueError
        If the ids or embeddings are not as described.
    """
    check_tracks(weights_id, ids, embeddings)
    sidecar, base = read_index(directory, weights_id, embeddings.shape[1], verify=verify)
    return TrackIndex(sidecar, base, ids, embeddings)


def refresh_index(
    directory: str | os.PathLike[str],
    weights_id: str,
    ids: Sequence[str],
    embeddings: np.ndarray,
    *,
    n_trees: int = 50,
    seed: int = 0,
) -> RefreshedIndex:
    """Open the index, or build it where it is missing, damaged or too far behind.

    Too far behind are more than 1,000 tracks, or 10 % of the base where that is more, that came,
    changed or left.  Parameters are those of ``build_index``.

    Raises
    ------
    IndexFileError
        If the index is of other weights or another dimension; it is not overwritten.
    ValueError
        As ``build_index``.
    """
    try:
        index = open_index(directory, weights_id, ids, embeddings)
    except FileNotFoundError:
        reason = "there is no index yet"
    except MixedIndexError:
        raise
    except IndexFileError as error:
        reason = str(error).removesuffix(f" {REMEDY}")
    else:
        sidecar = index.sidecar
        n_behind = index.n_overlay + index.n_tombstones
        if (sidecar.n_trees, sidecar.seed) != (n_trees, seed):
            reason = f"it has {sidecar.n_trees} trees of seed {sidecar.seed}"
        elif n_behind > max(1000, sidecar.n_items // 10):
            reason = f"{n_behind:,} tracks came, changed or left since it was built"
        else:
            return RefreshedIndex(index, False, "")
    index = build_index(directory, weights_id, ids, embeddings, n_trees=n_trees, seed=seed)
    return RefreshedIndex(index, True, reason)
