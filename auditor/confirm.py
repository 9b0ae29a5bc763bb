"""Evidence looked at again in the spectra: pitch, exact tempo and times, and whether they agree.

Where the spectra agree on one range beyond doubt, its tempo and pitch are known, and they alone
tell what else both tracks share: short blocks of a are compared with all of b, and each is
explained once, by the line that agrees best.  That finds what the d-vectors missed, ran together or
took for another repetition.  It changes which ranges are shown, never the match score of the pair.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from auditor.config import SPECTRUM
from auditor.match_score import CHANCE, CONFIRM_FROM, SHOWN_FROM, range_score
from auditor.pitch import PitchMatch, level_frames, match_range
from auditor.records import Evidence, MatchedRange
from auditor.trim import trim_range
from auditor.witness import covered_s, gather_evidence

MAX_CONFIRMED = 6
"""Ranges of a pair whose spectra are compared; further ones stand by their d-vectors."""

PATIENCE = 2
"""When so many, the best ones, do not agree, no further range is looked at."""

AGREED = 0.5
"""Correlation of a range whose spectra agree beyond doubt."""

MAX_FURTHER = 6
"""Ranges at most that are looked for in the spectra alone."""

MAX_CELLS = 1 << 22
"""Blocks of a times lines that are followed: ten minutes with ten.  Longer tracks have the ranges
of their d-vectors only."""

_WHOLE = 0.95
"""Where a range that agrees is so much of a, there is nothing further to find."""

_COVERED = 0.5
"""What others explain so much of is no range of its own."""

_SURER = 0.2
"""What else agrees better by so much, on the same stretch of one track, is what was copied; the
other is music that repeats."""

_BLOCK, _BLOCK_HOP = 42, 21
"""Frames of a block, 4 s, and from one block to the next, 2 s."""

_SILENT = 1.0
"""Mean square of levelled frames, in dB, below which a block is silence."""

Spectrum = Callable[[], np.ndarray | None]
"""Returns (n_frames, n_bands) uint8 (``auditor.spectrum``), None where it is not to be had."""


def confirm(
    evidence: Evidence,
    a: Spectrum,
    b: Spectrum,
    *,
    a_duration_s: float,
    b_duration_s: float,
    shown_from: float = SHOWN_FROM,
) -> Evidence:
    """Return evidence whose ranges were compared in the spectra, the doubtful ones left out.

    Parameters
    ----------
    evidence : Evidence
        Searched with a low ``min_score``, so that the spectra can speak for weak ranges.
    a, b : callable
        Asked only where the evidence is worth it; without spectra, pitch and correlation stay
        unknown.
    a_duration_s, b_duration_s : float
        Lengths of the tracks, in seconds.
    shown_from : float
        Match score that a range needs to be kept; those found in the spectra do not.

    Returns
    -------
    Evidence
        Ranges by falling match score; shares and tempo are those of what is left.
    """
    heard = list(evidence.ranges)
    of_a = of_b = None
    if heard and evidence.score >= CONFIRM_FROM:
        of_a, of_b = a(), b()
    if of_a is None or of_b is None:
        kept = [found for found in heard if range_score(found) >= shown_from]
    else:
        n_agreed = 0
        for n in range(min(len(heard), MAX_CONFIRMED)):
            if n >= PATIENCE and not n_agreed:
                break
            heard[n] = _heard(heard[n], of_a, of_b, a_duration_s, b_duration_s)
            n_agreed += _correlation(heard[n]) > CHANCE
        agreed = max(map(_correlation, heard)) >= AGREED
        # Where they agree on one range, those that they contradict are of music that repeats.
        kept = [
            found
            for found in heard
            if range_score(found) >= shown_from
            and not (agreed and found.correlation is not None and found.correlation < CHANCE)
        ]
        best = max(kept, key=_correlation, default=None)
        if best is not None and _correlation(best) >= AGREED:
            whole = best.a_end_s - best.a_start_s >= _WHOLE * a_duration_s
            search = () if whole else _further(best, of_a, of_b, a_duration_s, b_duration_s)
            kept = _best_explained(kept, list(search))
    kept.sort(key=lambda found: (-range_score(found), found.a_start_s))
    return gather_evidence(
        evidence.score, kept, a_s=a_duration_s, b_s=b_duration_s, background=evidence.background
    )


def _correlation(found: MatchedRange) -> float:
    return found.correlation or 0.0


def _heard(
    found: MatchedRange, a: np.ndarray, b: np.ndarray, a_duration_s: float, b_duration_s: float
) -> MatchedRange:
    match = match_range(found, a, b)
    if match is None:  # nothing agrees
        return dataclasses.replace(found, correlation=0.0)
    # The exact tempo was measured around the middle, which stays where it is.
    half_s = 0.5 * (found.a_end_s - found.a_start_s)
    return trim_range(_measured(found, match, half_s, a_duration_s, b_duration_s), a, b)


def _measured(
    found: MatchedRange,
    match: PitchMatch,
    half_s: float,
    a_duration_s: float,
    b_duration_s: float,
) -> MatchedRange:
    """Return what was measured of a range, around its middle, ``half_s`` of a either way."""
    tempo = match.tempo
    old_half_s = 0.5 * (found.a_end_s - found.a_start_s)
    a_middle_s = found.a_start_s + old_half_s
    b_middle_s = found.b_start_s + found.tempo * old_half_s
    before_s = min(half_s, a_middle_s, b_middle_s / tempo)
    after_s = min(half_s, a_duration_s - a_middle_s, max(b_duration_s - b_middle_s, 0.0) / tempo)
    return dataclasses.replace(
        found,
        a_start_s=a_middle_s - before_s,
        a_end_s=a_middle_s + after_s,
        b_start_s=b_middle_s - tempo * before_s,
        b_end_s=b_middle_s + tempo * after_s,
        tempo=tempo,
        pitch_semitones=match.semitones,
        correlation=match.correlation,
    )


def _further(
    known: MatchedRange, a: np.ndarray, b: np.ndarray, a_duration_s: float, b_duration_s: float
) -> Iterator[MatchedRange]:
    """Yield the ranges that the spectra alone tell, at the tempo and pitch of a known one."""
    shift = round((known.pitch_semitones or 0.0) * SPECTRUM.bands_per_octave / 12.0)
    n_bands = SPECTRUM.n_bands
    upper = slice(max(shift, 0), n_bands + min(shift, 0))
    lower = slice(max(-shift, 0), n_bands + min(-shift, 0))
    hop_s = SPECTRUM.frame_hop_s
    of_a, of_b = _levelled(a, 1.0)[:, upper], _levelled(b, known.tempo)[:, lower]
    for first, last, offset in _lines(of_a, of_b):
        start_s, end_s = first * hop_s, last * hop_s
        found = MatchedRange(
            a_start_s=start_s,
            a_end_s=end_s,
            b_start_s=known.tempo * (start_s + offset * hop_s),
            b_end_s=known.tempo * (end_s + offset * hop_s),
            tempo=known.tempo,
            score=0.0,
            pitch_semitones=None,
            repetition=known.repetition,
        )
        match = match_range(found, a, b)
        if match is None or match.correlation < AGREED:
            continue
        half_s = 0.5 * (end_s - start_s) + _BLOCK_HOP * hop_s
        yield trim_range(_measured(found, match, half_s, a_duration_s, b_duration_s), a, b)


def _levelled(spectrum: np.ndarray, tempo: float) -> np.ndarray:
    """Return levelled frames, ``tempo`` of them in each step, (n, n_bands) float32."""
    frames = level_frames(spectrum.astype(np.float32), SPECTRUM)
    if len(frames) < 2:
        return frames
    at = np.arange(0.0, len(frames) - 1.0, tempo)
    low = at.astype(np.int64)
    share = (at - low)[:, None].astype(np.float32)
    return (1.0 - share) * frames[low] + share * frames[low + 1]


def _lines(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield the frames of a at which a stretch begins and ends, and what to add for those of b.

    The best stretch comes first: the one whose blocks exceed ``AGREED`` by most in all.
    """
    from scipy.ndimage import maximum_filter1d  # a tenth of a second, seldom needed

    starts = np.arange(0, len(a) - _BLOCK + 1, _BLOCK_HOP)
    n_columns = len(b) - _BLOCK + 1
    if len(starts) == 0 or n_columns < 1 or len(starts) * (len(a) + len(b)) > MAX_CELLS:
        return
    # On line k, block i is compared with what begins at frame k - last + start of b.
    last = int(starts[-1])
    gains = np.full((len(starts), last + n_columns), -AGREED, np.float32)
    correlations = _block_correlations(a, b, starts)
    for row, start, values in zip(gains, starts.tolist(), correlations, strict=True):
        row[last - start : last - start + n_columns] += values
    gains = maximum_filter1d(gains, 3, axis=1)  # a tempo that is a little off drifts
    for _ in range(MAX_FURTHER):
        sums = np.zeros((len(starts) + 1, gains.shape[1]), np.float32)
        np.cumsum(gains, axis=0, out=sums[1:])
        rises = sums - np.minimum.accumulate(sums, axis=0)
        end, line = divmod(int(rises.argmax()), gains.shape[1])
        if rises[end, line] <= 0.0:
            return
        begin = int(sums[: end + 1, line].argmin())
        yield int(starts[begin]), int(starts[end - 1]) + _BLOCK, line - last
        gains[begin:end] = -AGREED


def _block_correlations(a: np.ndarray, b: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the correlation of blocks of a with all of b, (n_starts, n_b - _BLOCK + 1) float32."""
    n_columns = len(b) - _BLOCK + 1
    products = np.zeros((len(starts), n_columns), np.float32)
    for k in range(_BLOCK):
        products += a[starts + k] @ b[k : k + n_columns].T
    a_sums, a_powers = _block_sums(a)
    b_sums, b_powers = _block_sums(b)
    products -= a_sums[starts] @ b_sums.T / _BLOCK
    norms = np.sqrt(a_powers[starts])[:, None] * np.sqrt(b_powers)[None, :]
    silent = norms < _SILENT * _BLOCK * a.shape[1]
    return np.where(silent, 0.0, products / np.maximum(norms, 1e-9))


def _block_sums(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of every block in each band, and its power around its means, float32."""
    blocks = sliding_window_view(frames, _BLOCK, axis=0)
    sums = blocks.sum(axis=-1)
    powers = sliding_window_view((frames**2).sum(axis=1), _BLOCK).sum(axis=-1)
    return sums, np.maximum(powers - (sums**2).sum(axis=1) / _BLOCK, 0.0)


def _best_explained(kept: list[MatchedRange], further: list[MatchedRange]) -> list[MatchedRange]:
    """Return ranges of which none is explained by others that agree better.

    What is explained in both tracks is no range of its own.  Where the spectra agree little, or
    clearly less than others do, it is enough that those explain that stretch of one track: this is
    music that repeats.

    A range of the spectra alone has the match score of the one it replaces.  Where it replaces
    none it has no score of d-vectors, and none above what the pair had before.
    """
    highest = max(map(range_score, kept))
    chosen: list[MatchedRange] = []
    for found in sorted([*kept, *further], key=_seconds_explained, reverse=True):
        if min(_shares(found, [r for r in chosen if _overlap(found, r)])) >= _COVERED:
            continue
        if range_score(found) < highest:
            surer = [r for r in chosen if _correlation(r) >= _needed(found)]
            if max(_shares(found, surer)) >= _COVERED:
                continue
        chosen.append(found)
    left_out = [found for found in kept if found not in chosen]
    for n, found in enumerate(chosen):
        if found in kept:
            continue
        replaced = [r for r in left_out if _stands_for(found, r)]
        best = max(replaced, key=range_score, default=None)
        own = range_score(found)
        score = min(own, highest) if best is None else range_score(best)
        repetition = found.repetition if best is None else best.repetition
        chosen[n] = dataclasses.replace(
            found, score=found.score + score - own, repetition=repetition
        )
    return chosen


def _needed(found: MatchedRange) -> float:
    """Return from which correlation on another range makes this one a mere likeness."""
    return AGREED if _correlation(found) < AGREED else _correlation(found) + _SURER


def _seconds_explained(found: MatchedRange) -> float:
    return (found.a_end_s - found.a_start_s) * (_correlation(found) - AGREED)


def _shares(found: MatchedRange, others: Sequence[MatchedRange]) -> tuple[float, float]:
    """Return the shares of a range, in a and in b, that lie in others."""
    in_a = [(max(found.a_start_s, r.a_start_s), min(found.a_end_s, r.a_end_s)) for r in others]
    in_b = [(max(found.b_start_s, r.b_start_s), min(found.b_end_s, r.b_end_s)) for r in others]
    return (
        covered_s(in_a) / max(found.a_end_s - found.a_start_s, 1e-3),
        covered_s(in_b) / max(found.b_end_s - found.b_start_s, 1e-3),
    )


def _overlap(one: MatchedRange, other: MatchedRange) -> bool:
    """Say whether two ranges have moments of both tracks in common."""
    return min(_shares(one, [other])) > 0.0


def _stands_for(one: MatchedRange, other: MatchedRange) -> bool:
    """Say whether half of the shorter range, in both tracks, lies in the longer one."""
    return max(min(_shares(one, [other])), min(_shares(other, [one]))) >= _COVERED
