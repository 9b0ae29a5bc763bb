"""Passages of seconds, which neither d-vectors nor long lines tell: a search of wide checks.

A window of the network is longer than such a passage, and ``auditor.evidence.spectra.lines`` adds
up over blocks that it does not have.  Here blocks of 2.5 s of the submission are compared with all
of the track, at its own tempo and pitch, and the best one counts: by its correlation, and by how
much that exceeds the best one elsewhere in the track, as far as the music does not repeat.
Strangers agree the more the more blocks there are to choose from: of tenfold as many the best one
correlates by 0.1 more, which is taken off.

What is left becomes a match score by a line that was set so that strangers reach a score no more
often than by d-vectors (benchmarks/RESULTS.md).
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from auditor.embedding.config import SPECTRUM
from auditor.evidence.alignment.ranges import gather_evidence
from auditor.evidence.match_score import MIN_SCORE_TO_SHOW, range_score
from auditor.evidence.spectra.lines import TrackSpectrum, along_lines, can_follow
from auditor.evidence.spectra.range_ends import trim_range
from auditor.records import Evidence, MatchedRange

BLOCK, HOP = 26, 6
"""Frames of a block, 2.5 s, and from one block to the next, 0.6 s."""

BASE, SLOPE, LEAD, PER_TENFOLD = -0.16, 0.9, 0.5, 0.1
"""Match score of a correlation of 0, and per unit of it; what counts of the lead over the best
other place, and what tenfold as many blocks take off."""

_ONE_WAY = 0.75
"""Share of what a block changes by that goes up and down in one way, from which it is a fade or a
single note: those of strangers agree.  Nineteen in twenty blocks of music have 0.66 or less."""

_TREND_DB = 18.0
"""A block that falls or rises by so much, by a straight line, is the end or the beginning of
something: one decay is like another."""

_SAME = 0.6
"""Share of the best correlation with which a passage goes on along its line."""


class BriefLine(NamedTuple):
    """The block of a that agrees best with any place of b, with what goes on beside it.

    Attributes
    ----------
    first, last : int
        Frames of a between which it lies.
    offset : int
        What to add for the frames of b.
    correlation : float
        Of the best block.
    repetition : float
        Correlation of that block with the best other place of b, as a share, 0 to 1.
    n_blocks : int
        Blocks of a.
    """

    first: int
    last: int
    offset: int
    correlation: float
    repetition: float
    n_blocks: int


def brief_score(line: BriefLine) -> float:
    """Return the match score of a passage of seconds, at most 1.

    Examples
    --------
    >>> once = BriefLine(0, 26, 0, correlation=0.9, repetition=0.4, n_blocks=1)
    >>> round(brief_score(once), 3), round(brief_score(once._replace(n_blocks=100)), 3)
    (0.893, 0.713)
    """
    lead = LEAD * line.correlation * (1.0 - line.repetition)
    sure = line.correlation + lead - PER_TENFOLD * math.log10(line.n_blocks)
    return min(1.0, BASE + SLOPE * sure)


def brief_line(a: np.ndarray, b: np.ndarray, levels: np.ndarray | None = None) -> BriefLine | None:
    """Return the passage of seconds that agrees best.

    Parameters
    ----------
    a, b : numpy.ndarray
        (n, n_bands) and (m, n_bands), levelled.
    levels : numpy.ndarray, optional
        (n,) dB, of the loudest band of each frame of a; without, no block decays.

    Returns
    -------
    BriefLine or None
        None where a track has less than a block, all blocks are fades, decays or single notes, or
        both are too long (``lines.MAX_CELLS``).
    """
    starts = np.arange(0, len(a) - BLOCK + 1, HOP)
    if not can_follow(a, b, starts, BLOCK):
        return None
    values = along_lines(a, b, starts, BLOCK)
    best_first = np.argsort(-values.max(axis=1), kind="stable").tolist()
    at = next(
        (
            n
            for n in best_first
            if (levels is None or not _decays(levels[starts[n] : starts[n] + BLOCK]))
            and _one_way(a[starts[n] : starts[n] + BLOCK]) < _ONE_WAY
        ),
        -1,
    )
    if at < 0:
        return None
    line = int(values[at].argmax())
    correlation = float(values[at, line])
    elsewhere = values[at].copy()
    elsewhere[max(0, line - BLOCK // 2) : line + BLOCK // 2 + 1] = 0.0
    goes_on = values[:, line] >= _SAME * correlation
    first, last = at, at
    while first > 0 and goes_on[first - 1]:
        first -= 1
    while last + 1 < len(starts) and goes_on[last + 1]:
        last += 1
    return BriefLine(
        int(starts[first]),
        int(starts[last]) + BLOCK,
        line - int(starts[-1]),
        correlation,
        min(1.0, max(0.0, float(elsewhere.max())) / max(correlation, 1e-9)),
        len(starts),
    )


def _decays(levels: np.ndarray) -> bool:
    """Say whether a block falls or rises as a whole."""
    at = np.arange(len(levels)) - 0.5 * (len(levels) - 1)
    return abs(float(at @ levels) / float(at @ at)) * len(levels) >= _TREND_DB


def _one_way(block: np.ndarray) -> float:
    """Return the share of what a block changes by that all frames have in common."""
    values = np.linalg.svd(block - block.mean(axis=0), compute_uv=False) ** 2
    return float(values[0] / max(values.sum(), 1e-9))


def with_brief(
    evidence: Evidence, a: TrackSpectrum, b: TrackSpectrum, *, cost: float = 0.0
) -> Evidence:
    """Return evidence with the passage of seconds that agrees best, where it tells more.

    Parameters
    ----------
    evidence : Evidence
        As the spectra have confirmed it.
    a, b : TrackSpectrum
        The submission, and a track.
    cost : float
        What is taken off its match score.
    """
    line = brief_line(a.levelled(), b.levelled(), a.frames.max(axis=1).astype(np.float32))
    if line is None:
        return evidence
    score = brief_score(line) - cost
    if score < MIN_SCORE_TO_SHOW or score <= max(map(range_score, evidence.ranges), default=-1.0):
        return evidence
    found = _measured(line, score, a, b)
    others = [
        other
        for other in evidence.ranges
        if other.a_end_s <= found.a_start_s or other.a_start_s >= found.a_end_s
    ]
    told = gather_evidence(
        evidence.score,
        [found, *others],
        a_s=a.duration_s,
        b_s=b.duration_s,
        background=evidence.background,
    )
    return dataclasses.replace(told, played_apart=evidence.played_apart)


def _measured(line: BriefLine, score: float, a: TrackSpectrum, b: TrackSpectrum) -> MatchedRange:
    """Return a line as a range, cut where the spectra agree no more."""
    start_s, end_s, offset_s = (
        n * SPECTRUM.frame_hop_s for n in (line.first, line.last, line.offset)
    )
    found = MatchedRange(
        a_start_s=start_s,
        a_end_s=min(end_s, a.duration_s),
        b_start_s=start_s + offset_s,
        b_end_s=min(min(end_s, a.duration_s) + offset_s, b.duration_s),
        tempo=1.0,
        score=0.0,
        pitch_semitones=0.0,
        repetition=line.repetition,
        correlation=line.correlation,
        match_score=score,
    )
    return trim_range(found, a.frames, b.frames)
