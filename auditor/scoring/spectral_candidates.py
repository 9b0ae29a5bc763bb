"""Candidates that the spectra alone propose: copies to which the network is deaf.

D-vectors of a copy without its lows resemble those of other tracks more than those of its original,
so that nothing proposes a pair which the spectra would confirm at once.  Here blocks of 2.3 s of
the spectrum ask for blocks of other tracks, and what they hit votes for tracks and offsets, as
windows do in the excerpt index (``auditor.search.excerpts.votes``).  A block is described by means
of 0.3 s of levelled frames, less the mean of the block, projected on fewer numbers: no equaliser
changes it, and a shift of 0.15 s hardly does.  Pitch and tempo are those of the original.  Every
block is compared with all others, in matrix products.  No score comes from here.

References
----------
Achlioptas (2003), Database-friendly random projections, J. Comput. Syst. Sci. 66(4), 671-687.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from auditor.embedding.config import SPECTRUM
from auditor.errors import DamagedTrackError
from auditor.evidence.spectra.lines import TrackSpectrum
from auditor.evidence.spectra.moving import moving_sums
from auditor.parallel import Tiles
from auditor.scoring.candidates import ProposingTile, proposed_pairs
from auditor.scoring.track_reader import TrackReader
from auditor.search.across import TwoSides
from auditor.search.excerpts.votes import Hits, best_lines

N_SPECTRAL = 3
"""Candidates of a track: of 78 altered copies of ``val`` that keep pitch and tempo, the original
is among the first three of each, by 16 blocks that ask as by 128."""

SLICE, N_SLICES = 3, 8
"""Frames of a mean, 0.3 s, and means of a block, 2.3 s."""

STEP, ASK_STEP = 6, 3
"""Frames from one block to the next, of tracks that are asked for and of those that ask."""

N_DIMS = 64
"""Numbers of a block."""

N_ASKING = 32
"""Blocks of a track that ask, at most, spread over all of it."""

MIN_COSINE, PER_BLOCK = 0.3, 20
"""Cosine that a hit needs, and hits of a block, the best ones."""

_SILENT_DB = 1.0
"""Root mean square of the means of a block, below which it is silence or one steady sound."""

TILE_TRACKS = 256
"""Tracks of one tile that ask; the others are described anew for each tile."""

_TRACKS_AT_ONCE, _BLOCKS_AT_ONCE = 32, 512
"""Tracks whose blocks are asked for at once, and blocks that ask: their products are some 30 MB."""


@functools.cache
def _projection() -> np.ndarray:
    """Return the random signs that a block is projected by, (N_SLICES * n_bands, N_DIMS)."""
    shape = N_SLICES * SPECTRUM.n_bands, N_DIMS
    return np.random.default_rng(0).choice(np.array([-1.0, 1.0], np.float32), shape)


def block_vectors(levelled: np.ndarray, *, step: int = STEP) -> tuple[np.ndarray, np.ndarray]:
    """Return where blocks of a spectrum begin, and what describes them.

    Parameters
    ----------
    levelled : numpy.ndarray
        (n_frames, n_bands) float32 (``TrackSpectrum.levelled``).
    step : int
        Frames from one block to the next.

    Returns
    -------
    tuple of numpy.ndarray
        First frames (n,) int64, ascending, and unit vectors (n, N_DIMS) float32; blocks of silence
        are left out.
    """
    starts = np.arange(0, len(levelled) - SLICE * N_SLICES + 1, step)
    if not len(starts):
        return np.zeros(0, np.int64), np.zeros((0, N_DIMS), np.float32)
    means = moving_sums(levelled, SLICE) / np.float32(SLICE)
    blocks = means[starts[:, None] + SLICE * np.arange(N_SLICES)]  # (n, N_SLICES, n_bands)
    blocks -= blocks.mean(axis=1, keepdims=True)
    loud = np.sqrt((blocks**2).mean(axis=(1, 2))) >= _SILENT_DB
    starts, blocks = starts[loud], blocks[loud]
    vectors = blocks.reshape(len(blocks), N_SLICES * levelled.shape[1]) @ _projection()
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return starts, vectors


class Blocks(NamedTuple):
    """Blocks of some tracks; arrays of one length, (n,), and (n, N_DIMS).

    Attributes
    ----------
    tracks, windows : numpy.ndarray
        int64 rows of the catalogue, and places in steps of ``STEP`` frames.
    vectors : numpy.ndarray
        float32.
    """

    tracks: np.ndarray
    windows: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True)
class AskingTrack:
    """A track whose blocks ask.

    Attributes
    ----------
    row : int
        Its own row in the catalogue, which it does not find; -1 for none.
    starts, vectors : numpy.ndarray
        See ``block_vectors``.
    """

    row: int
    starts: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(cls, spectrum: TrackSpectrum, row: int = -1, *, n_asking: int = N_ASKING) -> AskingTrack:
        """Return a track by its spectrum, of which so many blocks ask at most."""
        skip = max(1, -(-len(spectrum.frames) // (ASK_STEP * n_asking)))
        return cls(row, *block_vectors(spectrum.levelled(), step=ASK_STEP * skip))


def spectral_hits(asking: Sequence[AskingTrack], others: Iterable[Blocks]) -> list[Hits]:
    """Return the blocks of other tracks nearest to the blocks of each track that asks.

    Parameters
    ----------
    asking : sequence of AskingTrack
    others : iterable of Blocks
        See ``describe_blocks``.

    Returns
    -------
    list of Hits
        One for each track that asks: queries count in steps of ``ASK_STEP`` frames, windows in
        those of ``STEP``, and tracks are rows.
    """
    vectors = np.concatenate([np.zeros((0, N_DIMS), np.float32), *(t.vectors for t in asking)])
    n_blocks = [len(track.starts) for track in asking]
    own = np.repeat([track.row for track in asking], n_blocks)
    floors = np.full((len(vectors), 1), MIN_COSINE, np.float32)
    best = Hits(*(np.zeros(0, np.int64),) * 3, np.zeros(0, np.float32))
    for part in others:
        found = [best]
        for first in range(0, len(vectors), _BLOCKS_AT_ONCE):
            of_part = slice(first, first + _BLOCKS_AT_ONCE)
            cosines = vectors[of_part] @ part.vectors.T
            at, column = np.nonzero(cosines > floors[of_part])
            hits = Hits(first + at, part.tracks[column], part.windows[column], cosines[at, column])
            found.append(hits.take(hits.tracks != own[hits.queries]))
        best = Hits(*(np.concatenate(column) for column in zip(*found, strict=True)))
        best = best.take(np.lexsort((best.windows, best.tracks, -best.cosines, best.queries)))
        rank = np.arange(len(best.queries)) - np.searchsorted(best.queries, best.queries)
        last = rank == PER_BLOCK - 1
        floors[best.queries[last], 0] = best.cosines[last]
        best = best.take(rank < PER_BLOCK)
    ends = np.cumsum(n_blocks)
    bounds = np.searchsorted(best.queries, [0, *ends]).tolist()
    of_tracks = []
    for track, end, (first, last) in zip(asking, ends.tolist(), pairwise(bounds), strict=True):
        hits = best.take(np.arange(first, last))
        places = track.starts[hits.queries - (end - len(track.starts))] // ASK_STEP
        of_tracks.append(hits._replace(queries=places))
    return of_tracks


def describe_blocks(reader: TrackReader, rows: np.ndarray) -> Iterator[Blocks]:
    """Yield the blocks of some rows of the catalogue, (n,) int64, of a few tracks at once."""
    for first in range(0, len(rows), _TRACKS_AT_ONCE):
        parts = [Blocks(*(np.zeros(0, np.int64),) * 2, np.zeros((0, N_DIMS), np.float32))]
        for row in rows[first : first + _TRACKS_AT_ONCE].tolist():
            spectrum = track_spectrum(reader, row)
            if spectrum is not None:
                starts, vectors = block_vectors(spectrum.levelled())
                parts.append(Blocks(np.full(len(starts), row), starts // STEP, vectors))
        yield Blocks(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def track_spectrum(reader: TrackReader, row: int) -> TrackSpectrum | None:
    """Return the spectrum of a row, None where there is none; damage is told of candidates only."""
    track_id = reader.excerpts()[0].tracks.id_of(row)
    try:
        frames = reader.spectrum(track_id)
    except DamagedTrackError:
        return None
    return None if frames is None else TrackSpectrum(frames, reader.content(track_id).duration_s)


def spectral_tracks(hits: Hits, *, top: int) -> list[int]:
    """Return the rows that the hits of a track, or of a part of it, vote for, best first."""
    lines = best_lines(hits, top=top, tempos=np.array([ASK_STEP / STEP]))
    return lines.tracks.tolist()


@dataclass(frozen=True)
class SpectralTile(ProposingTile):
    """Lets some tracks of the left side ask for tracks of the right one by their spectra.

    Attributes
    ----------
    sides : TwoSides
    """

    sides: TwoSides

    def __call__(self, part: tuple[int, int]) -> np.ndarray:
        """Return what a range of the left rows proposes, (n, 2) int64 rows, left and right."""
        asking = []
        for row in self.sides.rows(left=True)[slice(*part)].tolist():
            spectrum = track_spectrum(self.reader, row)
            if spectrum is not None:
                asking.append(AskingTrack.of(spectrum, row))
        others = self.sides.rows(left=False)
        hits = spectral_hits(asking, describe_blocks(self.reader, others)) if asking else []
        found = [
            (track.row, row)
            for track, of_track in zip(asking, hits, strict=True)
            for row in spectral_tracks(of_track, top=N_SPECTRAL)
        ]
        return np.array(found, np.int64).reshape(-1, 2)


def spectral_across(tiles: Tiles, reader: TrackReader, sides: TwoSides) -> np.ndarray:
    """Return the pairs that left tracks propose by their spectra, (n_pairs, 2) int64, left first.

    Parameters
    ----------
    tiles : Tiles
    reader : TrackReader
        The spectra of both sides are stored.
    sides : TwoSides
    """
    n_left = len(sides.rows(left=True))
    return proposed_pairs(tiles, SpectralTile(reader, sides), n_left, at_once=TILE_TRACKS)
