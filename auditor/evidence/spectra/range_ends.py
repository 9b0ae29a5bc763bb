"""Where a matched range begins and ends, to a tenth of a second, by the spectra.

Windows of d-vectors are seconds long, and in two tracks of one sound a range may go on into what
merely resembles it, or end where the music is drowned or grows still.  Along the line of the range,
and a little beyond both ends of one that agrees beyond doubt, the spectra are compared frame by
frame; the range becomes the stretch in which they agree.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from auditor.embedding.config import SPECTRUM
from auditor.embedding.spectrogram import cut_spectrum
from auditor.evidence.match_score import CLEAR_CORRELATION
from auditor.evidence.spectra.moving import moving_mean
from auditor.evidence.spectra.pitch_tempo import common_bands, local_frames
from auditor.records import MatchedRange

MIN_LEVEL = 0.5
"""Agreement of the best moments below which the spectra say too little to cut by."""

MIN_S = 2.0
"""A range is not cut to less."""

_REACH_S = 4.0
_SMOOTH_S, _LAG_S = 1.5, 6.0
_MAX_LAG_S = 0.8
_SILENT = 1.0
"""Mean square of a frame, in dB, below which nothing is heard."""


def trim_range(found: MatchedRange, a: np.ndarray, b: np.ndarray) -> MatchedRange:
    """Return the range in which the spectra agree.

    Parameters
    ----------
    found : MatchedRange
        With tempo and pitch.
    a, b : numpy.ndarray
        (n_frames, n_bands) uint8, spectra of both tracks (``auditor.embedding.spectrogram``).
    """
    hop_s, given = SPECTRUM.frame_hop_s, found
    if (found.correlation or 0.0) >= CLEAR_CORRELATION:
        found = _widened(found, len(a) * hop_s, len(b) * hop_s)
    agreement, silent = _agreement(found, a, b)
    at_s = found.a_start_s + np.arange(len(agreement)) * hop_s
    agreement[silent & ((at_s < given.a_start_s) | (at_s >= given.a_end_s))] = 0.0
    if len(agreement) * hop_s <= MIN_S:
        return given
    level = float(np.quantile(agreement, 0.95))
    if level < MIN_LEVEL:
        return given
    # The stretch whose sum over half the level is largest goes on across weak moments.
    sums = np.concatenate([[0.0], np.cumsum(agreement - 0.5 * level)])
    gains = sums - np.minimum.accumulate(sums)
    last = int(gains.argmax())
    first = int(sums[: last + 1].argmin())
    if (last - first) * hop_s < MIN_S:
        return given
    start_s, end_s = found.a_start_s, found.a_end_s
    if first > 0:
        start_s = found.a_start_s + first * hop_s
    if last < len(agreement):
        end_s = min(end_s, found.a_start_s + last * hop_s)
    return dataclasses.replace(
        found,
        a_start_s=start_s,
        a_end_s=end_s,
        b_start_s=found.b_start_s + found.tempo * (start_s - found.a_start_s),
        b_end_s=found.b_end_s - found.tempo * (found.a_end_s - end_s),
    )


def _widened(found: MatchedRange, a_duration_s: float, b_duration_s: float) -> MatchedRange:
    """Return a range that is longer by ``_REACH_S`` at both ends, inside both tracks."""
    before_s = max(0.0, min(_REACH_S, found.a_start_s, found.b_start_s / found.tempo))
    left_s = a_duration_s - found.a_end_s, (b_duration_s - found.b_end_s) / found.tempo
    after_s = max(0.0, min(_REACH_S, *left_s))
    return dataclasses.replace(
        found,
        a_start_s=max(0.0, found.a_start_s - before_s),
        a_end_s=found.a_end_s + after_s,
        b_start_s=max(0.0, found.b_start_s - found.tempo * before_s),
        b_end_s=found.b_end_s + found.tempo * after_s,
    )


def _agreement(found: MatchedRange, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how the spectra agree around each frame of a, at most 1, and which are silent.

    Both are (n_frames,).
    """
    max_lag = round(_MAX_LAG_S / SPECTRUM.frame_hop_s)
    of_a = cut_spectrum(a, found.a_start_s, found.a_end_s)
    of_b = cut_spectrum(b, found.b_start_s, found.b_end_s)
    if len(of_a) <= 2 * max_lag or len(of_b) < 2:
        return np.zeros(0), np.zeros(0, bool)
    at = np.minimum(np.arange(len(of_a)) * found.tempo, len(of_b) - 1.0)
    low = np.minimum(at.astype(np.int64), len(of_b) - 2)
    share = (at - low)[:, None]
    of_b = (1.0 - share) * of_b[low] + share * of_b[low + 1]
    shift = round((found.pitch_semitones or 0.0) * SPECTRUM.bands_per_octave / 12.0)
    upper, lower = common_bands(shift, SPECTRUM.n_bands)
    of_a = local_frames(of_a, SPECTRUM)[:, upper]
    of_b = local_frames(of_b, SPECTRUM)[:, lower]
    silent = np.minimum((of_a**2).mean(axis=1), (of_b**2).mean(axis=1)) < _SILENT
    of_a, of_b = of_a - of_a.mean(axis=0), of_b - of_b.mean(axis=0)
    return _best_agreement(of_a, of_b, max_lag), silent


def _best_agreement(of_a: np.ndarray, of_b: np.ndarray, max_lag: int) -> np.ndarray:
    """Return how levelled frames agree around each, at the lag that is best around it, (n,).

    A tempo that is a little off drifts.  A lag takes the frames that it moves beyond one end from
    the other end.
    """
    n = len(of_a)
    size, wide = (max(1, round(s / SPECTRUM.frame_hop_s)) for s in (_SMOOTH_S, _LAG_S))
    powers = [moving_mean((values**2).sum(axis=1), size) for values in (of_a, of_b)]
    norm = np.sqrt(np.maximum(powers[0] * powers[1], 1e-9))
    around_b = np.concatenate([of_b[-max_lag:], of_b, of_b[:max_lag]])
    lagged = [around_b[max_lag - lag :][:n] for lag in range(-max_lag, max_lag + 1)]
    products = np.array([np.einsum("ij,ij->i", of_a, moved) for moved in lagged])
    best = moving_mean(products, wide).argmax(axis=0)
    return moving_mean(products, size)[best, np.arange(n)] / norm
