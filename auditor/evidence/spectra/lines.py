"""Stretches that two tracks have in common, found in their spectra alone.

Blocks of one track are compared with all of the other, at one tempo and pitch.  What both share
lies on a line: block after block agrees at the same distance in time.  Along a line agreement adds
up, so that music at the level of a noise, or below a louder piece, is found although no single
block of it tells.

``leading_line`` asks whether there is a line that no other explains.  Music that repeats agrees
with itself, and beats with beats, at many distances; the **margin** of a line is how much more it
agrees than the best line elsewhere, over the same blocks.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from auditor.embedding.config import SPECTRUM
from auditor.evidence.match_score import CLEAR_CORRELATION
from auditor.evidence.spectra.moving import moving_max
from auditor.evidence.spectra.pitch_tempo import local_frames

MAX_FURTHER = 6
"""Lines at most that ``agreed_lines`` yields."""

MAX_CELLS = 1 << 22
"""Blocks times lines that are followed: ten minutes with ten by ``agreed_lines``, fourteen by
``leading_line``.  Longer tracks have the ranges of their d-vectors only."""

MAX_FRAMES = 1 << 15
"""Frames of a track, 52 minutes, above which not even levelled ones are made."""

BLOCK, HOP = 42, 21
"""Frames of a block of ``agreed_lines``, 4 s, and from one block to the next, 2 s."""

_CHANCE = 0.1
"""Correlation of a block that strangers reach; what exceeds it adds up along a line."""

_DOUBT = 4.0
"""Blocks that are left out of a line on which nothing agrees, fewer where it agrees well."""

_JOINED = 2
"""Frames that ``leading_line`` makes one of: finer ones cost more and tell less of what is drowned.
"""

_SHORT = 10
"""Frames so joined of a block of ``leading_line``, 2 s, one after the other."""

_AT_ONCE = 1 << 20
"""Products of frames that are made at once, some 4 MB, but those of one block at least."""

_SILENT = 1.0
"""Mean square of levelled frames, in dB, below which a block is silence."""


class LeadingLine(NamedTuple):
    """A stretch that two tracks share at one tempo and pitch.

    Attributes
    ----------
    first, last : int
        Frames of a between which it lies.
    offset : int
        What to add for the frames of b.
    correlation : float
        Mean of its blocks.
    margin : float
        By how much its blocks agree beyond the best line elsewhere, at least beyond what strangers
        do, times their number, less what may be chance.
    """

    first: int
    last: int
    offset: int
    correlation: float
    margin: float


class TrackSpectrum:
    """A track's spectrum, and its levelled frames, made when they are first asked for.

    Parameters
    ----------
    frames : numpy.ndarray
        (n_frames, n_bands) uint8 (``auditor.embedding.spectrogram``).
    duration_s : float
        Seconds of sound.
    """

    def __init__(self, frames: np.ndarray, duration_s: float) -> None:
        self.frames, self.duration_s = frames, duration_s

    @property
    def n_bytes(self) -> int:
        """Of the frames, and of the levelled ones once they are made."""
        return 5 * self.frames.nbytes

    @functools.cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        local = local_frames(self.frames.astype(np.float32), SPECTRUM)
        mean = local.mean(axis=0) if len(local) else np.zeros(SPECTRUM.n_bands, np.float32)
        return local - mean, mean

    @property
    def mean_spectrum(self) -> np.ndarray:
        """The mean over time, (n_bands,) dB: what levelling takes off."""
        return self._parts[1]

    def levelled(self, tempo: float = 1.0) -> np.ndarray:
        """Return levelled frames, ``tempo`` of them in each step, (n, n_bands) float32."""
        return at_tempo(self._parts[0], tempo)


def at_tempo(frames: np.ndarray, tempo: float) -> np.ndarray:
    """Return frames at another tempo, ``tempo`` of them in each step, (n, n_bands)."""
    if tempo == 1.0 or len(frames) < 2:
        return frames
    at = np.arange(0.0, len(frames) - 1.0, tempo)
    low = at.astype(np.int64)
    share = (at - low)[:, None].astype(np.float32)
    return (1.0 - share) * frames[low] + share * frames[low + 1]


def can_agree(n_a: int, n_b: int) -> bool:
    """Say whether ``agreed_lines`` follows tracks of so many frames."""
    return max(n_a, n_b) <= MAX_FRAMES and _cells(n_a, n_b, BLOCK, HOP) <= MAX_CELLS


def can_lead(n_a: int, n_b: int) -> bool:
    """Say whether ``leading_line`` follows tracks of so many frames."""
    shorter, longer = sorted((n_a // _JOINED, n_b // _JOINED))
    return max(n_a, n_b) <= MAX_FRAMES and _cells(shorter, longer, _SHORT, _SHORT) <= MAX_CELLS


def _cells(n_a: int, n_b: int, block: int, hop: int) -> int:
    return max(0, (n_a - block) // hop + 1) * (n_a + n_b)


def agreed_lines(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield the frames of a at which a stretch begins and ends, and what to add for those of b.

    The best stretch comes first: the one whose blocks exceed ``CLEAR_CORRELATION`` by most in all.

    Parameters
    ----------
    a, b : numpy.ndarray
        (n, n_bands) and (m, n_bands), levelled.
    """
    starts = np.arange(0, len(a) - BLOCK + 1, HOP)
    if not can_follow(a, b, starts, BLOCK):
        return
    gains = along_lines(a, b, starts, BLOCK) - CLEAR_CORRELATION
    gains = moving_max(gains)  # a tempo that is a little off drifts
    last = int(starts[-1])
    for _ in range(MAX_FURTHER):
        begin, end, line = _best_stretch(gains)
        if begin == end:
            return
        yield int(starts[begin]), int(starts[end - 1]) + BLOCK, line - last
        gains[begin:end] = -CLEAR_CORRELATION


def leading_line(a: np.ndarray, b: np.ndarray) -> LeadingLine | None:
    """Return the stretch that two tracks most agree on, and by how much it leads.

    Parameters
    ----------
    a, b : numpy.ndarray
        (n, n_bands) and (m, n_bands), levelled, finite.

    Returns
    -------
    LeadingLine or None
        None where nothing agrees, or the tracks are too short or too long (``MAX_CELLS``).

    Examples
    --------
    >>> frames = np.random.default_rng(0).normal(0.0, 9.0, (210, SPECTRUM.n_bands))
    >>> found = leading_line(frames[64:144], frames)
    >>> found.first, found.last, found.offset
    (0, 80, 64)
    """
    # The same result either way.
    if len(a) > len(b) or (len(a) == len(b) and float(a.sum()) > float(b.sum())):
        line = leading_line(b, a)
        return line and line._replace(
            first=line.first + line.offset, last=line.last + line.offset, offset=-line.offset
        )
    a, b = _joined(a), _joined(b)
    starts = np.arange(0, len(a) - _SHORT + 1, _SHORT)
    if not can_follow(a, b, starts, _SHORT):
        return None
    values = along_lines(a, b, starts, _SHORT)
    begin, end, at = _best_stretch(values - _CHANCE)
    if begin == end:
        return None
    # Lines that meet b on at least half of these blocks.
    n_met = _n_met(starts[begin:end], int(starts[-1]), values.shape[1], len(b) - _SHORT + 1)
    sums = values[begin:end].sum(axis=0)
    means = np.where(2 * n_met >= end - begin, sums / np.maximum(n_met, 1), 0.0)
    correlation = float(means[at])
    means[max(0, at - _SHORT) : at + _SHORT + 1] = 0.0
    n_counted = max(0.0, end - begin - _DOUBT * (1.0 - correlation))
    margin = n_counted * (correlation - max(_CHANCE, float(means.max())))
    first, last, offset = int(starts[begin]), int(starts[end - 1]) + _SHORT, at - int(starts[-1])
    return LeadingLine(first * _JOINED, last * _JOINED, offset * _JOINED, correlation, margin)


def _joined(frames: np.ndarray) -> np.ndarray:
    """Return means of ``_JOINED`` frames each, what is left over left out."""
    n = len(frames) // _JOINED * _JOINED
    sums = frames[:n:_JOINED].copy()
    for k in range(1, _JOINED):
        sums += frames[k:n:_JOINED]
    sums /= _JOINED
    return sums


def can_follow(a: np.ndarray, b: np.ndarray, starts: np.ndarray, n: int) -> bool:
    """Say whether ``along_lines`` has blocks to compare, and not too many."""
    return len(starts) > 0 and len(b) >= n and len(starts) * (len(a) + len(b)) <= MAX_CELLS


def along_lines(a: np.ndarray, b: np.ndarray, starts: np.ndarray, n: int) -> np.ndarray:
    """Return the correlation of each block along each line, 0 beyond b, (n_starts, n_lines).

    On line k, block i is compared with what begins at frame k - starts[-1] + starts[i] of b.
    """
    last, n_columns = int(starts[-1]), len(b) - n + 1
    values = np.zeros((len(starts), last + n_columns), np.float32)
    b_norms = _block_norms(b, n)
    n_part = max(1, _AT_ONCE // (n * len(b)))
    for first in range(0, len(starts), n_part):
        part = starts[first : first + n_part]
        blocks = a[part[:, None] + np.arange(n)]  # (n_part, n, n_bands)
        blocks -= blocks.mean(axis=1, keepdims=True)
        norms = np.sqrt((blocks**2).sum(axis=(1, 2)))
        blocks /= np.maximum(norms, 1e-9)[:, None, None]
        of_frames = (blocks.reshape(-1, a.shape[1]) @ b.T).reshape(len(part), n, -1)
        found = of_frames[:, 0, :n_columns].copy()
        for k in range(1, n):
            found += of_frames[:, k, k : k + n_columns]
        found /= np.maximum(b_norms, 1e-9)
        silent = _SILENT * n * a.shape[1]
        if float(norms.min()) * float(b_norms.min()) < silent:
            found[np.multiply.outer(norms, b_norms) < silent] = 0.0
        for row, start, of_block in zip(values[first:], part.tolist(), found, strict=False):
            row[last - start : last - start + n_columns] = of_block
    return values


def _n_met(starts: np.ndarray, last: int, n_lines: int, n_columns: int) -> np.ndarray:
    """Return how many of some blocks each line of ``along_lines`` compares with b, (n_lines,).

    ``last`` is the start of the last one of all blocks, ``n_columns`` the places in b of each.
    """
    changes = np.zeros(n_lines + 1, np.int64)
    np.add.at(changes, last - starts, 1)
    np.add.at(changes, last - starts + n_columns, -1)
    return changes[:-1].cumsum()


def _best_stretch(gains: np.ndarray) -> tuple[int, int, int]:
    """Return first row, last row + 1 and column of the largest sum along a column.

    It is (0, 0, 0) if no sum is above 0.
    """
    sums, lowest = np.zeros((2, gains.shape[1]), np.float32)
    highest, end, column = 0.0, 0, 0
    for n, row in enumerate(gains):  # row by row, which a core's cache holds
        sums += row
        np.minimum(lowest, sums, out=lowest)
        rises = sums - lowest
        at = int(rises.argmax())
        if rises[at] > highest:
            highest, end, column = float(rises[at]), n + 1, at
    along = np.concatenate([np.zeros(1, np.float32), gains[:end, column].cumsum()])
    return int(along.argmin()), end, column


def _block_norms(frames: np.ndarray, n: int) -> np.ndarray:
    """Return the root of the power of n frames around their means, from every frame on."""
    sums = _running(frames, n)
    powers = _running((frames**2).sum(axis=1, keepdims=True), n)[:, 0]
    return np.sqrt(np.maximum(powers - (sums**2).sum(axis=1) / n, 0.0))


def _running(values: np.ndarray, n: int) -> np.ndarray:
    """Return the sums of n rows, from every row on."""
    n_sums = len(values) - n + 1
    sums = values[:n_sums].copy()
    for k in range(1, n):
        sums += values[k : k + n_sums]
    return sums
