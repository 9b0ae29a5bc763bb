"""An index over the excerpt d-vectors of a catalogue: ten seconds copied into another track.

The windows of a query ask every shard for windows near them; what comes back votes for tracks,
offsets and tempos.  Shards are immutable: the rows of tracks that left or changed since are passed
over.  ``excerpt_build`` writes shards, and readers go on with those they have open.
"""

from __future__ import annotations

import functools
import os
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from auditor.catalogue.embedding_table import TrackVersions, encode_ids
from auditor.embedding.pooling import audible_windows
from auditor.errors import IndexFileError
from auditor.parallel import OnProgress
from auditor.search.excerpts.shards import Shard, read_shard, sidecar_paths
from auditor.search.excerpts.votes import Hits, best_lines


class ExcerptPairs(NamedTuple):
    """Pairs of tracks that may share an excerpt, unique and sorted; arrays of one length, (n,).

    Attributes
    ----------
    ids : tuple of str
        Track ids, to which the rows count.
    rows_a, rows_b : numpy.ndarray
        int64, a < b.
    scores : numpy.ndarray
        float64, the higher one where each track proposed the other.
    votes : numpy.ndarray
        int64, of the proposal with that score.
    offsets_s, tempos : numpy.ndarray
        float64: a moment t of a is ``offset_s + tempo * t`` of b.
    """

    ids: tuple[str, ...]
    rows_a: np.ndarray
    rows_b: np.ndarray
    scores: np.ndarray
    votes: np.ndarray
    offsets_s: np.ndarray
    tempos: np.ndarray


def excerpt_pairs(
    index: ExcerptIndex,
    source: ExcerptSource,
    *,
    ids: Sequence[str] | None = None,
    search: ExcerptSearch | None = None,
    on_progress: OnProgress | None = None,
) -> ExcerptPairs:
    """Return the pairs of each track with its candidates, for exact alignment.

    Tracks are read one at a time; what is kept is one line of numbers for each candidate.

    Parameters
    ----------
    index : ExcerptIndex
    source : ExcerptSource
        What the index was opened with.
    ids : sequence of str, optional
        Tracks that ask; all of them when left out, the new ones when the others have been asked.
    search : ExcerptSearch, optional
    on_progress : callable, optional
        Called with the tracks done and the tracks in all.

    Raises
    ------
    ValueError
        If an id is not in the index.
    CatalogueError
        If d-vectors cannot be read.
    """
    row_of = index.tracks.row_of
    asking = index.ids if ids is None else tuple(ids)
    if unknown := [i for i in asking if row_of(i) < 0]:
        raise ValueError(f"the track {unknown[0]!r:.80} is not in the index; refresh it first")
    columns: list[np.ndarray] = [np.zeros((0, 6))]
    for n_done, track_id in enumerate(asking, 1):
        dvectors, levels = source.read(track_id)
        found = index.candidates(dvectors, levels=levels, exclude=track_id, search=search)
        own = row_of(track_id)
        columns.append(
            np.array(
                [(own, row_of(c.track_id), c.score, c.votes, c.offset_s, c.tempo) for c in found],
                np.float64,
            ).reshape(-1, 6)
        )
        if on_progress is not None:
            on_progress(n_done, len(asking))
    table = np.concatenate(columns)
    turned = table[:, 0] > table[:, 1]
    table[turned, :2] = table[turned, 1::-1]
    table[turned, 4] /= -table[turned, 5]
    table[turned, 5] = 1.0 / table[turned, 5]
    table = table[np.lexsort((-table[:, 2], table[:, 1], table[:, 0]))]
    first = np.ones(len(table), bool)
    first[1:] = (table[1:, :2] != table[:-1, :2]).any(axis=1)
    a, b, scores, votes, offsets_s, tempos = table[first].T
    return ExcerptPairs(
        index.ids,
        a.astype(np.int64),
        b.astype(np.int64),
        scores,
        votes.astype(np.int64),
        offsets_s,
        tempos,
    )


if TYPE_CHECKING:
    from auditor.catalogue.catalogue import Catalogue
    from auditor.catalogue.embedding_table import TrackTable

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
        """Return the tracks of a catalogue that are present and not silent, one of each content.

        Parameters
        ----------
        catalogue : Catalogue
        weights_id : str
        known : tuple of ids and (n, n_dims) float32 embeddings, optional
            Tracks that were read before, to go by the same ones.

        Raises
        ------
        CatalogueError
            If a stored embedding is damaged.
        """

        def read(track_id: str) -> tuple[np.ndarray, np.ndarray]:
            return catalogue.dvectors(track_id, weights_id)

        if known is None:
            return cls.of_table(weights_id, catalogue.table(weights_id).distinct(), read)
        ids, embeddings = known
        numbers = np.fromiter(map(zlib.crc32, embeddings), np.uint32, len(ids))
        versions = TrackVersions(encode_ids(list(ids)), numbers)
        return cls(weights_id, embeddings.shape[1], versions, read)

    @classmethod
    def of_table(cls, weights_id: str, table: TrackTable, read: Read) -> ExcerptSource:
        """Return the tracks of a table; ``read`` gives their d-vectors."""
        return cls(weights_id, table.embeddings.shape[1], table.tracks, read)


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
    tracks : TrackVersions
        All tracks of the source.
    shards : tuple of Shard
        The largest first.
    current : list of numpy.ndarray
        (n,) int64 for each shard: which of the tracks each of its own is, -1 where it is of a track
        that left or changed, or lies in a shard before.
    n_current_rows : list of int
        Rows of the shards' tracks that count.
    """

    def __init__(self, shards: Sequence[Shard], source: ExcerptSource, *, hop_s: float) -> None:
        # Where a merge was killed before the merged shards went, the larger one answers.
        shards = sorted(shards, key=lambda shard: (-shard.sidecar.n_items, shard.path.name))
        self.shards, self._source, self._hop_s = tuple(shards), source, hop_s
        self.tracks = TrackVersions.of(source.versions)
        self._covered = np.zeros(len(self.tracks), bool)
        self.current: list[np.ndarray] = []
        for shard in self.shards:
            rows = shard.tracks.rows_in(self.tracks)
            rows[(rows >= 0) & self._covered[rows]] = -1
            self._covered[rows[rows >= 0]] = True
            self.current.append(rows)
        self.n_current_rows = [
            int(shard.n_rows[rows >= 0].sum())
            for shard, rows in zip(self.shards, self.current, strict=True)
        ]

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        """All tracks of the source, sorted."""
        return tuple(self.tracks.names())

    @functools.cached_property
    def uncovered(self) -> tuple[str, ...]:
        """Those that no shard holds as they are now: they are not searched."""
        return tuple(self.tracks.names(~self._covered))

    def current_ids(self, shard: int) -> list[str]:
        """Return the tracks that a shard answers for, sorted."""
        rows = self.current[shard]
        return self.tracks.names(rows[rows >= 0])

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
            asking &= audible_windows(np.asarray(levels))
        windows = np.flatnonzero(asking)
        found = [Hits(*(np.zeros(0, np.int64),) * 3, np.zeros(0, np.float32))]
        own = self.tracks.row_of(exclude) if exclude is not None else -1
        for shard, current, n_current in zip(
            self.shards, self.current, self.n_current_rows, strict=True
        ):
            if n_current == 0:
                continue
            n_items = shard.sidecar.n_items
            asked = -(-search.per_window * n_items // n_current)
            if own >= 0:  # a track is nearest to itself: its repeats and neighbours come first
                asked *= 2
            which, rows, cosines = shard.search(
                query[windows], min(n_items, asked), search_k=search.search_k
            )
            hits = Hits(
                windows[which],
                current[shard.tracks_of(rows)],
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
        return self.voted(hits, top=search.top)

    def voted(self, hits: Hits, *, top: int) -> list[Candidate]:
        """Return the tracks that the hits of a query, or of a part of it, vote for, best first."""
        width = max({2} | {shard.sidecar.config.step for shard in self.shards})
        columns = (c.tolist() for c in best_lines(hits, top=top, width=width))
        return [
            Candidate(self.tracks.id_of(track), votes, offset * self._hop_s, tempo, score)
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
