"""The pitch shift, and the exact tempo ratio, between two recordings of one stretch of music.

On a log-frequency axis a pitch shift is a translation.  The frames of both stretches are brought to
one time axis (the tempo is known), levelled, and correlated at every translation of up to eight
semitones and every small lag; a parabola through the best one and its neighbours gives the fraction
of a band.

Levelled means: in every frame the local mean over the frequencies is taken off, and in every band
the mean over time.  What an equaliser, a room or a loudspeaker does to all frames alike stays where
it is when the music is shifted, and is gone after that.

The d-vectors tell the tempo of a short stretch to a few per cent only.  ``match_frames`` tries the
ratios around theirs, and 1, on the middle of the stretch, where errors of the tempo do least, and
then refines the best one on all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from auditor.embedding.config import SPECTRUM, FeatureConfig
from auditor.embedding.spectrogram import cut_spectrum
from auditor.evidence.spectra.moving import moving_mean
from auditor.records import MatchedRange

MAX_SEMITONES = 8.0
"""Larger shifts are not looked for."""

MIN_CORRELATION = 0.1
"""A peak of the correlation below it says nothing."""

_MAX_LAG_S = 0.8
_MIDDLE_S, _MAX_S = 8.0, 30.0
_COARSE, _FINE = 0.006, 0.001
_RANGE_DB = 50.0
_LOCAL_SEMITONES = 8.0
_STEP_S = 0.064


@dataclass(frozen=True)
class PitchMatch:
    """How two stretches of frames fit together.

    Attributes
    ----------
    semitones : float
        How much higher a is than b, -8 to 8.
    tempo : float
        Seconds of b that pass in one second of a.
    correlation : float
        Of the levelled frames, at most 1.
    """

    semitones: float
    tempo: float
    correlation: float


def match_range(found: MatchedRange, a: np.ndarray, b: np.ndarray) -> PitchMatch | None:
    """Return how the middle of a matched range fits, at most 30 s of it.

    Parameters
    ----------
    found : MatchedRange
    a, b : numpy.ndarray
        (n_frames, n_bands) uint8, spectra of both tracks (``auditor.embedding.spectrogram``).

    Returns
    -------
    PitchMatch or None
        As ``match_frames``.
    """
    length_s = min(_MAX_S, found.a_end_s - found.a_start_s)
    skip_s = 0.5 * (found.a_end_s - found.a_start_s - length_s)
    a_s, b_s = found.a_start_s + skip_s, found.b_start_s + found.tempo * skip_s
    return match_frames(
        cut_spectrum(a, a_s, a_s + length_s),
        cut_spectrum(b, b_s, b_s + found.tempo * length_s),
        tempo=found.tempo,
    )


def pitch_shift(
    a_frames: np.ndarray,
    b_frames: np.ndarray,
    *,
    tempo: float,
    features: FeatureConfig = SPECTRUM,
) -> float | None:
    """Return by how many semitones a is higher than b.

    Parameters
    ----------
    a_frames, b_frames : numpy.ndarray
        (n, n_bands) and (m, n_bands) dB, frames of the same music, which starts in both at the same
        moment within 0.8 s.
    tempo : float
        Seconds of b that pass in one second of a; above 1 a is the faster one.
    features : FeatureConfig
        Of the frames; its layout is ``log``.

    Returns
    -------
    float or None
        In semitones, -8 to 8; None where the two do not correlate, or less than 1 s is left.

    Raises
    ------
    ValueError
        If the bands are not on a log-frequency axis, or the arrays do not have them.
    """
    match = match_frames(a_frames, b_frames, tempo=tempo, features=features, slack=0.0)
    return None if match is None else match.semitones


def match_frames(
    a_frames: np.ndarray,
    b_frames: np.ndarray,
    *,
    tempo: float,
    features: FeatureConfig = SPECTRUM,
    slack: float = 0.06,
) -> PitchMatch | None:
    """Return pitch and tempo of a matched range; None where ``pitch_shift`` has none.

    Parameters and errors are those of ``pitch_shift``, but the tempo need only be right within
    ``slack``, a share of it; 1 is always tried.
    """
    if features.layout != "log":
        raise ValueError(f"the frames have layout {features.layout!r}; 'log' is needed")
    for name, frames in (("a_frames", a_frames), ("b_frames", b_frames)):
        if frames.ndim != 2 or frames.shape[1] != features.n_bands:
            raise ValueError(f"{name} has shape {frames.shape}; (n, {features.n_bands}) is needed")
    if not 0.2 <= tempo <= 5.0:
        raise ValueError(f"tempo is {tempo}; it must lie between 0.2 and 5")
    n_shifts = round(MAX_SEMITONES * features.bands_per_octave / 12.0)
    n_shifts = min(n_shifts, features.n_bands // 2)
    shifts = np.arange(-n_shifts, n_shifts + 1)
    if slack > 0.0:
        ratios = tempo * (1.0 + np.arange(-slack, slack + 0.5 * _COARSE, _COARSE))
        ratios = np.append(ratios, 1.0)
        tried = _correlations(a_frames, b_frames, ratios, shifts, features, _MIDDLE_S)
        best = int(np.argmax([0.0 if c is None else c.max() for c in tried]))
        at_best = tried[best]
        if at_best is None:
            return None
        tempo = float(ratios[best])
        centre = int(shifts[at_best.argmax()])
        shifts = shifts[np.abs(shifts - centre) <= 2]
    steps = np.arange(-_COARSE, _COARSE + 0.5 * _FINE, _FINE) if slack > 0.0 else np.zeros(1)
    ratios = tempo * (1.0 + steps)
    found = _correlations(a_frames, b_frames, ratios, shifts, features, _MAX_S)
    peaks = np.asarray([0.0 if c is None else c.max() for c in found])
    best = int(peaks.argmax())
    at_peak = found[best]
    if at_peak is None or peaks[best] < MIN_CORRELATION:
        return None
    shift = int(at_peak.argmax())
    position = shifts[shift] + parabola_peak(at_peak, shift)
    return PitchMatch(
        semitones=float(position * 12.0 / features.bands_per_octave),
        tempo=tempo * (1.0 + float(steps[best]) + _FINE * parabola_peak(peaks, best)),
        correlation=float(peaks[best]),
    )


def _correlations(
    a_frames: np.ndarray,
    b_frames: np.ndarray,
    tempos: np.ndarray,
    shifts: np.ndarray,
    features: FeatureConfig,
    duration_s: float,
) -> list[np.ndarray | None]:
    """Return for each tempo the highest correlation of any lag at every translation.

    The middle ``duration_s`` seconds of a are compared with as much of b.

    Returns
    -------
    list of numpy.ndarray or None
        (n_shifts,) each, in [-1, 1]; ``shifts`` are bands by which a is higher.  None below 1 s.
    """
    from scipy.fft import irfft, next_fast_len, rfft  # a tenth of a second, seldom needed

    step = max(1, round(_STEP_S / features.frame_hop_s))
    step_s = step * features.frame_hop_s
    max_lag = round(_MAX_LAG_S / step_s)
    part = _middle(len(a_frames), duration_s, features)
    a = _resampled(a_frames, _running_sums(a_frames), part, float(step))
    a = level_frames(a, features)
    # A power of two or so above all lengths, so that a is transformed once.
    size = next_fast_len(round(1.05 * len(a)) + 2 * max_lag + 8, real=True)
    n_bands, n_frequencies = features.n_bands, size // 2 + 1
    b_sums = _running_sums(b_frames)
    heard: list[int] = []
    powers: list[np.ndarray] = []
    of_b: np.ndarray = np.empty((n_frequencies, len(tempos), n_bands), np.complex64)
    for n, tempo in enumerate(tempos.tolist()):
        part = _middle(len(b_frames), duration_s * tempo, features)
        b = _resampled(b_frames, b_sums, part, step * tempo)
        b = level_frames(b, features)[: size - max_lag]
        if min(len(a), len(b)) * step_s >= 1.0:
            np.conj(rfft(b, size, axis=0), out=of_b[:, len(heard)])
            powers.append(_band_powers(b))
            heard.append(n)
    found: list[np.ndarray | None] = [None] * len(tempos)
    if not heard:
        return found
    # Frequency by frequency: all translations of a, times b at all tempos.
    reach = int(np.abs(shifts).max())
    of_a = np.pad(rfft(a, size, axis=0), ((0, 0), (reach, reach)))
    moved = sliding_window_view(of_a, n_bands, axis=1)[:, reach + shifts]
    spectra = of_b[:, : len(heard)] @ moved.transpose(0, 2, 1)
    products = irfft(spectra, size, axis=0)  # (size, n_heard, n_shifts)
    lagged = np.maximum(products[-max_lag:].max(axis=0), products[: max_lag + 1].max(axis=0))
    upper, lower = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    power_a = _band_powers(a)
    power_a = power_a[n_bands - lower] - power_a[upper]
    for n, power_b, values in zip(heard, powers, lagged, strict=True):
        norms = power_a * (power_b[n_bands - upper] - power_b[lower])
        found[n] = values / np.maximum(np.sqrt(np.maximum(norms, 0.0)), 1e-9)
    return found


def _band_powers(frames: np.ndarray) -> np.ndarray:
    """Return the power of the first 0, 1, 2 ... bands, (n_bands + 1,) float64."""
    return np.concatenate([[0.0], np.cumsum((frames**2).sum(axis=0), dtype=np.float64)])


def _middle(n_frames: int, duration_s: float, features: FeatureConfig) -> slice:
    """Return which frames are the middle ``duration_s`` seconds, all if there are less."""
    n = round(duration_s / features.frame_hop_s)
    start = max(0, (n_frames - n) // 2)
    return slice(start, min(start + n, n_frames))


def parabola_peak(values: np.ndarray, at: int) -> float:
    """Return where a parabola through a value and its neighbours peaks, relative to its place."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, top, right = (float(v) for v in values[at - 1 : at + 2])
    return float(np.clip(0.5 * (right - left) / max(2.0 * top - left - right, 1e-9), -0.5, 0.5))


def _running_sums(frames: np.ndarray) -> np.ndarray:
    """Return the sums of the first 0, 1, 2 ... frames, (n_frames + 1, n_bands) float64."""
    sums = np.zeros((len(frames) + 1, frames.shape[1]))
    np.cumsum(frames, axis=0, out=sums[1:])
    return sums


def _resampled(frames: np.ndarray, sums: np.ndarray, part: slice, step: float) -> np.ndarray:
    """Return means of ``step`` frames of a part, a fraction allowed, (n, n_bands) float32."""
    n_frames = part.stop - part.start
    if n_frames < step:
        return np.zeros((0, frames.shape[1]), np.float32)
    edges = np.arange(int(n_frames / step) + 1) * step
    low = np.minimum(edges.astype(np.int64), n_frames - 1)
    share = (edges - low)[:, None]
    at_edges = sums.take(part.start + low, axis=0)
    at_edges += share * frames.take(part.start + low, axis=0)
    return ((at_edges[1:] - at_edges[:-1]) / step).astype(np.float32)


def level_frames(frames: np.ndarray, features: FeatureConfig) -> np.ndarray:
    """Return (n_frames, n_bands) dB levelled as the module says."""
    local = local_frames(frames, features)
    return local - local.mean(axis=0) if len(local) else local


def local_frames(frames: np.ndarray, features: FeatureConfig) -> np.ndarray:
    """Return (n_frames, n_bands) dB less the local mean over the frequencies."""
    if len(frames) == 0:
        return frames
    width = max(3, round(_LOCAL_SEMITONES * features.bands_per_octave / 12.0))
    top = _quantile(frames.max(axis=1), 0.95)
    clipped = np.maximum(frames, top - _RANGE_DB)
    return clipped - moving_mean(clipped, width)


def common_bands(shift: int, n_bands: int) -> tuple[slice, slice]:
    """Return the bands of a and those of b that go together where a is so many bands higher.

    Examples
    --------
    >>> common_bands(2, 10)
    (slice(2, 10, None), slice(0, 8, None))
    """
    return (
        slice(max(shift, 0), n_bands + min(shift, 0)),
        slice(max(-shift, 0), n_bands + min(-shift, 0)),
    )


def moved_bands(
    frames: np.ndarray, semitones: float, features: FeatureConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return frames moved up by semitones, fractions of a band allowed, and which bands remain.

    Returns
    -------
    tuple of numpy.ndarray
        (n_frames, n) float32, and (n_bands,) bool of which n are true.
    """
    sources = np.arange(features.n_bands) - semitones * (features.bands_per_octave / 12.0)
    there = (sources >= 0.0) & (sources <= features.n_bands - 1.001)
    low, share = sources[there].astype(int), (sources[there] % 1.0).astype(np.float32)
    return frames[:, low] * (1.0 - share) + frames[:, low + 1] * share, there


def _quantile(values: np.ndarray, share: float) -> np.floating:
    """Return what ``numpy.quantile`` does of (n,) values, in a fifth of its time."""
    at = (len(values) - 1) * values.dtype.type(share)
    low = int(at)
    high = min(low + 1, len(values) - 1)
    ordered = np.partition(values, (low, high))
    below, above, part = ordered[low], ordered[high], at - low
    if part >= 0.5:
        return above - (above - below) * (1 - part)
    return below + (above - below) * part
