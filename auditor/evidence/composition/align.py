"""Local alignment of the pitches of two tracks: where they play the same notes, and how alike.

The method is Qmax of Serrà, Serra and Andrzejak (2009, "Cross recurrence quantification for cover
song identification"): a path through the similarity matrix of two tracks that may take one or two
steps of either at a time, so tempo may differ from 1:2 to 2:1 and drift.  Three things differ.  The
matrix is not made binary: a cell counts by how far its similarity, averaged over some seconds along
the diagonal, stands above that of the whole matrix.  The matrix is centred by rows and columns
first, so a drone or a chord that fits everything counts for nothing.  And the transpositions that
are tried come from the pitch-class profiles of melody, bass and all pitches together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auditor.evidence.composition.pitches import (
    AVERAGED,
    MAX_STEPS,
    PitchTrack,
    transposed,
)

N_TRANSPOSITIONS = 2
"""Transpositions of a pair that are aligned, the likeliest by profile."""

MIN_Z = 0.8
"""Standard deviations above the mean from which a cell lengthens a path."""

_BATCH_COLUMNS = 12_000
_BLOCK_ROWS = 32
_GAP = AVERAGED
"""Empty columns before each track: as many as a step, or a mean along the diagonal, looks back."""


@dataclass(frozen=True)
class Alignment:
    """The best path of two tracks.

    Attributes
    ----------
    raw : float
        Sum of the cells of the path above ``MIN_Z``, in standard deviations of the matrix, divided
        by the root of the shorter track's rows.
    transposition : int
        Semitones by which the second track is moved to fit the first, -5 to 6.
    path : numpy.ndarray
        (n, 2) int64, rows of the first and of the second track.
    """

    raw: float
    transposition: int
    path: np.ndarray


def raw_scores(
    a: PitchTrack, others: Sequence[PitchTrack], *, n_transpositions: int = N_TRANSPOSITIONS
) -> tuple[np.ndarray, np.ndarray]:
    """Return the score of one track with each of many, and the transpositions.

    Parameters
    ----------
    a : PitchTrack
    others : sequence of PitchTrack
    n_transpositions : int

    Returns
    -------
    tuple of numpy.ndarray
        (n_others,) float32, see ``Alignment.raw``; (n_others,) int64, -5 to 6.
    """
    best = np.zeros(len(others), np.float32)
    shift = np.zeros(len(others), np.int64)
    jobs: list[tuple[int, int, PitchTrack]] = []
    for k, other in enumerate(others):
        for semitones in likely_transpositions(a, other, n_transpositions):
            for part in _parts(other):
                jobs.append((k, semitones, part))
    for batch in _batches(jobs):
        found = np.zeros(len(batch), np.float32)
        for part_a in _parts(a):
            sums = _best_paths(part_a, [(part, semitones) for _, semitones, part in batch])
            lengths = np.array([_length(part_a, part) for _, _, part in batch], np.float32)
            found = np.maximum(found, sums / lengths)
        for (k, semitones, _), value in zip(batch, found.tolist(), strict=True):
            if value > best[k]:
                best[k], shift[k] = value, semitones
    return best, shift


def likely_transpositions(a: PitchTrack, b: PitchTrack, n: int) -> list[int]:
    """Return the likeliest numbers of semitones to move b by, -5 to 6, best first."""
    fits = np.array([a.profile @ transposed(b.profile, k) for k in range(12)])
    return [(int(k) + 5) % 12 - 5 for k in np.argsort(-fits, kind="stable")[:n]]


def align(a: PitchTrack, b: PitchTrack) -> Alignment | None:
    """Return the best path of two tracks, None where they have none.

    Long tracks are aligned in parts of ``MAX_STEPS`` rows, as in ``raw_scores``.
    """
    found: Alignment | None = None
    for semitones in likely_transpositions(a, b, N_TRANSPOSITIONS):
        for at_a, part_a in zip(_starts(a), _parts(a), strict=True):
            for at_b, part_b in zip(_starts(b), _parts(b), strict=True):
                raw, path = _trace(part_a.features @ _scaled(part_a, part_b, semitones).T - MIN_Z)
                raw /= _length(part_a, part_b)
                if len(path) and (found is None or raw > found.raw):
                    found = Alignment(raw, semitones, path + np.array([at_a, at_b]))
    return found


def _length(a: PitchTrack, b: PitchTrack) -> float:
    """Return what a sum is divided by: the root of the shorter track's rows.

    Best paths of unrelated tracks grow about so with their lengths.
    """
    return max(1.0, float(np.sqrt(min(len(a), len(b)))))


def lead_in(path: np.ndarray) -> tuple[int, int]:
    """Return the first rows of a passage: those that the first cell of its path averages."""
    back = max(0, min(int(path[0, 0]), int(path[0, 1]), AVERAGED - 1))
    return int(path[0, 0]) - back, int(path[0, 1]) - back


def _starts(track: PitchTrack) -> list[int]:
    step = MAX_STEPS // 2
    return list(range(0, max(1, len(track) - step), step)) if len(track) > MAX_STEPS else [0]


def _parts(track: PitchTrack) -> list[PitchTrack]:
    if len(track) <= MAX_STEPS:
        return [track]
    return [track.part(start, start + MAX_STEPS) for start in _starts(track)]


def _batches(
    jobs: list[tuple[int, int, PitchTrack]],
) -> list[list[tuple[int, int, PitchTrack]]]:
    """Return jobs in groups of about ``_BATCH_COLUMNS`` columns."""
    batches: list[list[tuple[int, int, PitchTrack]]] = []
    n_columns = _BATCH_COLUMNS
    for job in jobs:
        if n_columns >= _BATCH_COLUMNS:
            batches.append([])
            n_columns = 0
        batches[-1].append(job)
        n_columns += len(job[2])
    return batches


def _layout(lengths: list[int]) -> tuple[np.ndarray, int]:
    """Return the first column of each track, ``_GAP`` empty ones before each, and their number."""
    ends = np.cumsum([length + _GAP for length in lengths])
    return ends - np.array(lengths), int(ends[-1])


def _scaled(a: PitchTrack, b: PitchTrack, semitones: int) -> np.ndarray:
    """Return the features of b, transposed, so that their product with those of a is a z-score."""
    return transposed(b.features, semitones) / np.float32(_spread(a, b, semitones))


def _spread(a: PitchTrack, b: PitchTrack, semitones: int) -> float:
    """Return the standard deviation of the similarities of two tracks, one of them transposed.

    Their mean is zero; their variance follows from the covariances of both.
    """
    gram = transposed(transposed(b.gram, semitones).T, semitones)
    return float(np.sqrt(max(float((a.gram * gram).sum()), 1e-12)))


def _best_paths(a: PitchTrack, others: Sequence[tuple[PitchTrack, int]]) -> np.ndarray:
    """Return the best path of one track through each of others, transposed, (n_others,) float32.

    The similarities are those of ``PitchTrack.features``, at a sixth of the products: those of
    single rows, added along the diagonal, less what the means make of them.  Each product is of one
    track with one other, so that a score does not depend on the company: how a matrix product
    rounds depends on its shape.
    """
    back = AVERAGED - 1
    starts, total = _layout([len(other) for other, _ in others])
    threshold = np.full(total, np.inf, np.float32)
    jobs = []
    for start, (other, semitones) in zip(starts.tolist(), others, strict=True):
        span = slice(start, start + len(other))
        scale = np.float32(1.0 / _spread(a, other, semitones))
        mean = transposed(other.mean, semitones) * scale
        of_columns = other.stacked @ (transposed(a.mean, -semitones) * scale)
        threshold[span] = of_columns + np.float32(MIN_Z - float(a.mean @ mean))
        jobs.append((span, transposed(other.now, semitones) * scale, (a.stacked @ mean)[:, None]))
    single = np.zeros((back + _BLOCK_ROWS, total), np.float32)  # rows of the last block come first
    before, two_before = np.zeros(total, np.float32), np.zeros(total, np.float32)
    best, here = np.zeros(total, np.float32), np.zeros(total, np.float32)
    block = np.zeros((_BLOCK_ROWS, total), np.float32)
    for first in range(0, len(a), _BLOCK_ROWS):
        now = a.now[first : first + _BLOCK_ROWS]
        n = len(now)
        for span, columns, _ in jobs:
            np.matmul(now, columns.T, out=single[back : back + n, span])
        pairs = single[1 : back + n, 1:] + single[: back + n - 1, :-1]
        np.add(pairs[4:, 4:], pairs[2:-2, 2:-2], out=block[:n, 5:])
        block[:n, 5:] += pairs[:-4, :-4]
        block[:n] -= threshold
        for span, _, of_rows in jobs:
            block[:n, span] -= of_rows[first : first + n]
        single[:back] = single[n : back + n]
        for row in block[:n]:
            here, before, two_before = two_before, here, before
            # now `before` is the last row and `two_before` the one before it; `here` is free
            reach = np.maximum(before[1:-1], two_before[1:-1])
            np.maximum(reach, before[:-2], out=reach)
            reach += row[2:]
            np.maximum(reach, 0.0, out=here[2:])
            np.maximum(best, here, out=best)
    return np.maximum.reduceat(best, starts)


def _trace(z: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the best path through the cells of two tracks, and its sum."""
    n, m = z.shape
    sums = np.zeros((n + 2, m + 2), np.float32)  # two rows and columns of zeros come first
    for i, row in enumerate(z):
        last, but_one = sums[i + 1], sums[i]
        reach = np.maximum(last[1:-1], but_one[1:-1])
        np.maximum(reach, last[:-2], out=reach)
        np.maximum(reach + row, 0.0, out=sums[i + 2, 2:])
    i, j = divmod(int(sums.argmax()), m + 2)
    raw, path = float(sums[i, j]), []
    while sums[i, j] > 0:
        path.append((i - 2, j - 2))
        steps = ((i - 1, j - 1), (i - 2, j - 1), (i - 1, j - 2))  # none leaves the zeros
        i, j = max(steps, key=lambda cell: float(sums[cell]))
    return raw, np.array(path[::-1], np.int64).reshape(-1, 2)
