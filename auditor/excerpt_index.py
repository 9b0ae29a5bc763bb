"""An index over the excerpt d-vectors of a catalogue: ten seconds copied into another track.

The windows of a query ask every shard for windows near them; what comes back votes for tracks,
offsets and tempos.  Shards are immutable: the rows of tracks that left or changed since are passed
over.  ``excerpt_build`` writes shards, and readers go on with those they have open.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from auditor.errors import IndexFileError
from auditor.excerpt_shards import Shard, read_shard, sidecar_paths
from auditor.excerpt_votes import Hits, best_lines

if TYPE_CHECKING:
    from auditor.catalogue import Catalogue

Read = Callable[[str], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class ExcerptSource:
    """The tracks as they are now, and how to read their d-vectors.

    Attributes
    ----------
    weights_id : str
    n_dims : int
        Of the d-vectors; 0 when there is no track.
    versions : mapping of str to int
        Track id to the CRC-32 of its embedding: another one means other d-vectors.
    read : callable
        Track id to d-vectors (n_windows, n_dims) and levels (n_windows,), as
        ``Catalogue.dvectors``.
    """

    weights_id: str
    n_dims: int
    versions: Mapping[str, int]
    read: Read

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9A-Za-z]{1,64}", self.weights_id):
            raise ValueError(
                f"weights_id is {self.weights_id!r:.80}; letters and digits are needed"
            )

    @classmethod
    def of(
        cls,
        catalogue: Catalogue,
        weights_id: str,
        known: tuple[Sequence[str], np.ndarray] | None = None,
    ) -> ExcerptSource:
        """Return the tracks of a catalogue that are present and not silent.

        Parameters
        ----------
        catalogue : Catalogue
        weights_id : str
        known : tuple of ids and (n, n_dims) float32 embeddings, optional
            What ``Catalogue.embeddings`` gave before, to go by the same tracks.

        Raises
        ------
        CatalogueError
            If a stored embedding is damaged.
        """
        ids, embeddings = known or catalogue.embeddings(weights_id)
        versions = {i: zlib.crc32(row) for i, row in zip(ids, embeddings, strict=True)}
        return cls(
            weights_id, embeddings.shape[1], versions, lambda i: catalogue.dvectors(i, weights_id)
        )


@dataclass(frozen=True)
class ExcerptSearch:
    """How a query is put.

    Attributes
    ----------
    per_window : int
        Hits wanted for each window of the query, over all shards.
    query_step : int
        Only every so many-th window asks.
    search_k : int
        Nodes that Annoy looks at in each shard for one window; -1 for its default.
    top : int
        The most candidates wanted.
    """

    per_window: int = 20
    query_step: int = 1
    search_k: int = -1
    top: int = 20

    def __post_init__(self) -> None:
        for name in ("per_window", "query_step", "search_k", "top"):
            value = getattr(self, name)
            if value < 1 and not (name == "search_k" and value == -1):
                raise ValueError(f"{name} is {value}; it must be at least 1")


@dataclass(frozen=True)
class Candidate:
    """A track that a query may share an excerpt with; only exact alignment decides.

    Attributes
    ----------
    track_id : str
    votes : int
        Query windows on the line.
    offset_s : float
        Where on the track the start of the query would lie: a moment ``t`` of the query is
        ``offset_s + tempo * t`` on the track.  Of a loop it may be another turn.
    tempo : float
        Seconds of the track passed in one second of the query; of a short excerpt only a guess.
    score : float
        Sum of the weights of the votes, comparable within one query.
    """

    track_id: str
    votes: int
    offset_s: float
    tempo: float
    score: float


class ExcerptIndex:
    """The shards of a catalogue, searched as one; made by ``open_excerpts``.

    Attributes
    ----------
    ids : tuple of str
        All tracks of the source, sorted.
    uncovered : tuple of str
        Those that no shard holds as they are now: they are not searched.
    shards : tuple of Shard
        The largest first.
    current_ids : list of list of str
        The tracks that each shard answers for.
    n_current_rows : list of int
        Their rows; the others are of tracks that left, changed, or lie in a shard before.
    """

    def __init__(self, shards: Sequence[Shard], source: ExcerptSource, *, hop_s: float) -> None:
        # Where a merge was killed before the merged shards went, the larger one answers.
        shards = sorted(shards, key=lambda shard: (-shard.sidecar.n_items, shard.path.name))
        self.shards, self._source, self._hop_s = tuple(shards), source, hop_s
        self.ids = tuple(sorted(source.versions))
        self._number = {track_id: i for i, track_id in enumerate(self.ids)}
        covered: set[str] = set()
        self.current_ids: list[list[str]] = []
        self._tracks: list[np.ndarray] = []
        for shard in self.shards:
            versions = shard.sidecar.track_versions()
            live = {
                i
                for i, version in versions.items()
                if source.versions.get(i) == version and i not in covered
            }
            covered |= live
            numbers = [self._number[i] if i in live else -1 for i in versions]
            self._tracks.append(np.repeat(np.array(numbers, np.int32), shard.sidecar.n_rows))
            self.current_ids.append(sorted(live))
        self.uncovered = tuple(i for i in self.ids if i not in covered)
        self.n_current_rows = [int(np.count_nonzero(tracks >= 0)) for tracks in self._tracks]

    def hits(
        self,
        query_dvectors: np.ndarray,
        *,
        levels: np.ndarray | None = None,
        exclude: str | None = None,
        search: ExcerptSearch | None = None,
    ) -> Hits:
        """Return the windows of tracks nearest to each window of a query.

        Parameters
        ----------
        query_dvectors : numpy.ndarray
            (n_query, n_dims) of any float type, unit norm or, where silent, zero.
        levels : numpy.ndarray, optional
            (n_query,) dB; silent windows do not ask.
        exclude : str, optional
            Track never returned: the query itself.
        search : ExcerptSearch, optional

        Raises
        ------
        ValueError
            If the query has another shape.
        IndexFileError
            If a shard turns out to be damaged.
        """
        search = search or ExcerptSearch()
        query = np.asarray(query_dvectors, np.float32)
        n_dims = self._source.n_dims
        if query.ndim != 2 or (self.shards and query.shape[1] != n_dims):
            raise ValueError(f"the query is {query.shape}; (n_query, {n_dims}) was expected")
        asking = np.linalg.norm(query, axis=1) > 0.5
        asking[np.arange(len(query)) % search.query_step != 0] = False
        if levels is not None:
            from auditor.features import audible_windows  # imports torch

            asking &= audible_windows(np.asarray(levels))
        windows = np.flatnonzero(asking)
        found = [Hits(*(np.zeros(0, np.int64),) * 3, np.zeros(0, np.float32))]
        own = self._number.get(exclude, -1) if exclude is not None else -1
        for shard, tracks, n_current in zip(
            self.shards, self._tracks, self.n_current_rows, strict=True
        ):
            if n_current == 0:
                continue
            asked = -(-search.per_window * len(tracks) // n_current)
            if own >= 0:  # a track is nearest to itself: its repeats and neighbours come first
                asked *= 2
            which, rows, cosines = shard.search(
                query[windows], min(len(tracks), asked), search_k=search.search_k
            )
            hits = Hits(
                windows[which],
                tracks[rows].astype(np.int64),
                shard.windows[rows].astype(np.int64),
                cosines,
            )
            found.append(hits.take((hits.tracks >= 0) & (hits.tracks != own)))
        hits = Hits(*(np.concatenate(column) for column in zip(*found, strict=True)))
        hits = hits.take(np.lexsort((hits.windows, hits.tracks, -hits.cosines, hits.queries)))
        rank = np.arange(len(hits.queries)) - np.searchsorted(hits.queries, hits.queries)
        return hits.take(rank < search.per_window)

    def candidates(
        self,
        query_dvectors: np.ndarray,
        *,
        levels: np.ndarray | None = None,
        exclude: str | None = None,
        search: ExcerptSearch | None = None,
    ) -> list[Candidate]:
        """Return the tracks that the windows of a query vote for, best first.

        Parameters and errors are those of ``hits``.
        """
        search = search or ExcerptSearch()
        hits = self.hits(query_dvectors, levels=levels, exclude=exclude, search=search)
        width = max({2} | {shard.sidecar.config.step for shard in self.shards})
        columns = (c.tolist() for c in best_lines(hits, top=search.top, width=width))
        return [
            Candidate(self.ids[track], votes, offset * self._hop_s, tempo, score)
            for track, score, votes, offset, tempo in zip(*columns, strict=True)
        ]


def open_excerpts(
    directory: str | os.PathLike[str],
    source: ExcerptSource,
    *,
    hop_s: float,
    verify: bool = False,
) -> ExcerptIndex:
    """Open the shards of an extractor as they are, those that are damaged left out.

    Nothing is written; the tracks that are not in it are its ``uncovered``.

    Parameters
    ----------
    directory : path
        That of the shards; it may be absent.
    source : ExcerptSource
    hop_s : float
        Seconds from one d-vector to the next.
    verify : bool
        Hash large files too.
    """
    return ExcerptIndex(read_shards(directory, source, verify=verify)[0], source, hop_s=hop_s)


def read_shards(
    directory: str | os.PathLike[str], source: ExcerptSource, *, verify: bool = False
) -> tuple[list[Shard], dict[Path, IndexFileError]]:
    """Return the sound shards, and what is wrong with the others."""
    for _ in range(5):  # a shard may be merged away while the others are read
        shards: list[Shard] = []
        damaged: dict[Path, IndexFileError] = {}
        vanished = False
        paths = sidecar_paths(Path(directory), source.weights_id) if source.versions else []
        for path in paths:
            try:
                shards.append(read_shard(path, source.weights_id, source.n_dims, verify=verify))
            except IndexFileError as error:
                damaged[path] = error
                vanished |= not path.exists()
        if not vanished:
            break
    return shards, damaged
