"""Ranges that the spectra of two tracks tell alone, where the d-vectors missed them.

``leading_range`` looks for one where nothing is known: at the tempo and pitch of the original, at
those of the ranges there are, and at what the mean spectra say of a whole track that was moved
(``auditor.evidence.spectra.range_search``).  ``further_ranges`` looks for more at the tempo and
pitch of one that agrees beyond doubt.  The lines themselves are those of
``auditor.evidence.spectra.lines``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from auditor.embedding.config import SPECTRUM
from auditor.evidence.alignment.line_fit import running_sums
from auditor.evidence.match_score import (
    CLEAR_CORRELATION,
    MIN_CERTAIN_S,
    MIN_SCORE_TO_CONFIRM,
    margin_score,
)
from auditor.evidence.spectra.lines import (
    HOP,
    LeadingLine,
    TrackSpectrum,
    agreed_lines,
    at_tempo,
    can_agree,
    can_lead,
    leading_line,
)
from auditor.evidence.spectra.pitch_tempo import (
    PitchMatch,
    common_bands,
    match_range,
    parabola_peak,
)
from auditor.evidence.spectra.range_ends import trim_range
from auditor.records import MatchedRange

MAX_SEMITONES = 7.0
"""Larger shifts are not looked for: speeds of 0.67 to 1.5."""

ALIKE = 0.7
"""Correlation from which two mean spectra may belong to one piece, an excerpt of it, or one with
echoes: a shift is worth a try."""

SURELY_ALIKE = 0.8
"""Correlation from which they do, so that no other shift is worth one."""

MAYBE_ALIKE = 0.4
"""Correlation from which they may do if one is a minute of the other, with echoes: a speed is worth
a probe."""


def mean_spectrum_shift(a: np.ndarray, b: np.ndarray, *, alike: float = ALIKE) -> float | None:
    """Return by how many semitones a looks moved against b.

    Parameters
    ----------
    a, b : numpy.ndarray
        (n_bands,) mean spectra of whole tracks, the local mean over the frequencies taken off.
    alike : float
        Correlation that they need.

    Returns
    -------
    float or None
        None where they are not alike, or most alike as they are or within three quarters of a
        semitone of it, where a shift tells little.

    Examples
    --------
    >>> spectrum = np.random.default_rng(0).normal(size=SPECTRUM.n_bands)
    >>> round(mean_spectrum_shift(np.roll(spectrum, 8), spectrum), 1)
    4.0
    """
    reach = round(MAX_SEMITONES * SPECTRUM.bands_per_octave / 12.0)
    found = _moved_correlations(a, b, reach)
    best = int(found.argmax())
    if found[best] < alike or abs(best - reach) <= 1:
        return None
    return float(best - reach + parabola_peak(found, best)) * 12.0 / SPECTRUM.bands_per_octave


def _moved_correlations(a: np.ndarray, b: np.ndarray, reach: int) -> np.ndarray:
    """Return the correlation of the bands that go together where a is -reach .. reach higher.

    The sums over the bands in common are differences of running sums, and the products of all
    shifts are one correlation: (2 * reach + 1,) float64.
    """
    a, b = (values - values.mean() for values in (a.astype(np.float64), b.astype(np.float64)))
    shifts = np.arange(-reach, reach + 1)
    upper, lower = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    count = len(a) - np.abs(shifts)
    of_a, of_b, power_a, power_b = (
        sums[first + count] - sums[first]
        for sums, first in zip(
            map(running_sums, (a, b, a * a, b * b)), (upper, lower, upper, lower), strict=True
        )
    )
    at_0 = len(a) - 1  # where band i of a meets band i of b
    products = np.correlate(a, b, "full")[at_0 - reach : at_0 + reach + 1]
    powers = (power_a - of_a * of_a / count) * (power_b - of_b * of_b / count)
    norms = np.sqrt(np.maximum(powers, 0.0))
    return (products - of_a * of_b / count) / np.maximum(norms, 1e-9)


_GUESS_S = 10.0
"""A line at a tempo and pitch that are only a guess counts if it is as long: two notes of other
pitches, moved onto each other, agree for as long as they sound."""

_LEADS_S, _LEADS, _LEADS_BY = 24.0, 0.3, 1.0
"""A longer line at a guess counts although it agrees less, if it agrees and leads by so much: of
11,300 pairs of strangers none that agrees by 0.3 is so long, and one leads by 1."""

_PROBE_S = 30.0
"""Seconds of the middle of the shorter track that a probe compares, at the pace of the longer."""

_PROBE_FROM_S = 35.0
"""Clips of 30 s are not probed: what is left of one at another speed is alike as a whole."""

_PROBE_AGREES, _PROBE_LEADS = 0.25, 0.4
"""What a line of the probe needs: no stranger of 1,444 has both, and 73 of 76 copies do."""

_PUZZLING = 0.4
"""Score of a range of the d-vectors that is puzzling where no spectra agree."""

_TEMPOS = tuple(1.02**k for k in range(-14, 15) if k)
"""From 0.76 to 1.32: over ten seconds, a tempo that is a per cent off does no harm."""

_SAME_PITCH = 0.5
"""Semitones from that of its line at which a range is measured; else the line is believed."""


def any_agrees(ranges: Iterable[MatchedRange]) -> bool:
    """Say whether the spectra agree beyond doubt on one of some ranges."""
    return any((found.correlation or 0.0) >= CLEAR_CORRELATION for found in ranges)


def leading_range(
    heard: Sequence[MatchedRange],
    a: TrackSpectrum,
    b: TrackSpectrum,
) -> MatchedRange | None:
    """Return the range that leads in the spectra, None where none does.

    Parameters
    ----------
    heard : sequence of MatchedRange
        Those of the d-vectors, best first, as the spectra have measured them.
    a, b : TrackSpectrum

    Returns
    -------
    MatchedRange or None
        Its match score is what ``margin_score`` makes of its margin.
    """
    if not can_lead(len(a.frames), len(b.frames)):
        return None
    known = [PitchMatch(0.0, 1.0, 0.0)]
    known += [
        PitchMatch(r.pitch_semitones, r.tempo, 0.0) for r in heard if r.pitch_semitones is not None
    ]
    guessed = _guessed(heard, a, b)
    best, found = 0.0, None
    for fit in dict.fromkeys([*known, *guessed]):
        line = leading_line(*_fitted(a, b, fit))
        if line is None:
            continue
        length_s = (line.last - line.first) * SPECTRUM.frame_hop_s
        agrees = line.correlation >= CLEAR_CORRELATION
        if fit in guessed and not _counts(line, length_s):
            continue
        score = margin_score(line.margin, sure=agrees and length_s >= MIN_CERTAIN_S)
        if score > best:
            best = score
            fit = dataclasses.replace(fit, correlation=line.correlation)
            found = _along(line.first, line.last, line.offset, fit)
    if found is None or best < MIN_SCORE_TO_CONFIRM:
        return None
    match = match_range(found, a.frames, b.frames)
    if match is not None and abs(match.semitones - (found.pitch_semitones or 0.0)) <= _SAME_PITCH:
        half_s = 0.5 * (found.a_end_s - found.a_start_s)
        found = measured_range(found, match, half_s, a, b)
    found = trim_range(found, a.frames, b.frames)
    return dataclasses.replace(found, match_score=best)


def _counts(line: LeadingLine, length_s: float) -> bool:
    """Say whether a line at a guess is more than chance."""
    if length_s >= _LEADS_S and line.correlation >= _LEADS and line.margin >= _LEADS_BY:
        return True
    return length_s >= _GUESS_S and line.correlation >= CLEAR_CORRELATION


def further_ranges(
    known: MatchedRange, a: TrackSpectrum, b: TrackSpectrum
) -> Iterator[MatchedRange]:
    """Yield the ranges that the spectra alone tell, at the tempo and pitch of a known one."""
    if not can_agree(len(a.frames), len(b.frames)):
        return
    fit = PitchMatch(known.pitch_semitones or 0.0, known.tempo, 0.0)
    for line in agreed_lines(*_fitted(a, b, fit)):
        found = dataclasses.replace(_along(*line, fit), repetition=known.repetition)
        match = match_range(found, a.frames, b.frames)
        if match is None or match.correlation < CLEAR_CORRELATION:
            continue
        half_s = 0.5 * (found.a_end_s - found.a_start_s) + HOP * SPECTRUM.frame_hop_s
        yield trim_range(measured_range(found, match, half_s, a, b), a.frames, b.frames)


def measured_range(
    found: MatchedRange,
    match: PitchMatch,
    half_s: float,
    a: TrackSpectrum,
    b: TrackSpectrum,
) -> MatchedRange:
    """Return what was measured of a range, around its middle, ``half_s`` of a either way.

    The exact tempo was measured around the middle, which stays where it is.
    """
    tempo = match.tempo
    old_half_s = 0.5 * (found.a_end_s - found.a_start_s)
    a_middle_s = found.a_start_s + old_half_s
    b_middle_s = found.b_start_s + found.tempo * old_half_s
    before_s = min(half_s, a_middle_s, b_middle_s / tempo)
    after_s = min(half_s, a.duration_s - a_middle_s, max(b.duration_s - b_middle_s, 0.0) / tempo)
    return dataclasses.replace(
        found,
        a_start_s=max(0.0, a_middle_s - before_s),
        a_end_s=a_middle_s + after_s,
        b_start_s=max(0.0, b_middle_s - tempo * before_s),
        b_end_s=b_middle_s + tempo * after_s,
        tempo=tempo,
        pitch_semitones=match.semitones,
        correlation=match.correlation,
    )


def _guessed(heard: Sequence[MatchedRange], a: TrackSpectrum, b: TrackSpectrum) -> list[PitchMatch]:
    """Return tempos and pitches that are worth a try, where a line must agree beyond doubt.

    A whole track that was moved in pitch was so by its speed or alone.  An excerpt may have been by
    its speed, which is probed.  Where the d-vectors are sure of what the spectra deny, as in music
    of few sounds, every tempo is tried.
    """
    fits = []
    means = a.mean_spectrum, b.mean_spectrum
    if (semitones := mean_spectrum_shift(*means)) is not None:
        fits = [_speed(semitones), PitchMatch(semitones, 1.0, 0.0)]
    elif (semitones := mean_spectrum_shift(*means, alike=MAYBE_ALIKE)) is not None:
        fits = [_speed(semitones)] if _probe(a, b, _speed(semitones)) else []
    if heard and heard[0].score >= _PUZZLING and not any_agrees(heard):
        sure = mean_spectrum_shift(a.mean_spectrum, b.mean_spectrum, alike=SURELY_ALIKE)
        fits += [PitchMatch(sure or 0.0, tempo, 0.0) for tempo in _TEMPOS]
    return fits


def _speed(semitones: float) -> PitchMatch:
    """Return the fit of a track that was moved by its speed."""
    return PitchMatch(semitones, 2.0 ** (semitones / 12.0), 0.0)


def _probe(a: TrackSpectrum, b: TrackSpectrum, fit: PitchMatch) -> bool:
    """Say whether the middle of the shorter track has a line in the longer one.

    Only that middle is brought to the tempo of the other, so the price does not grow with both.
    """
    upper, lower = _bands(fit)
    one, other, tempo = a.levelled()[:, upper], b.levelled()[:, lower], 1.0 / fit.tempo
    if len(one) * fit.tempo > len(other):
        one, other, tempo = other, one, fit.tempo
    if len(one) * SPECTRUM.frame_hop_s < _PROBE_FROM_S:
        return False
    n = round(_PROBE_S / SPECTRUM.frame_hop_s * tempo)
    first = max(0, (len(one) - n) // 2)
    line = leading_line(at_tempo(one[first : first + n], tempo), other)
    return line is not None and line.correlation >= _PROBE_AGREES and line.margin >= _PROBE_LEADS


def _bands(fit: PitchMatch) -> tuple[slice, slice]:
    """Return which bands of a and of b go together."""
    return common_bands(round(fit.semitones * SPECTRUM.bands_per_octave / 12.0), SPECTRUM.n_bands)


def _fitted(a: TrackSpectrum, b: TrackSpectrum, fit: PitchMatch) -> tuple[np.ndarray, np.ndarray]:
    """Return both spectra levelled, at one tempo and pitch: (n, n_common), (m, n_common)."""
    upper, lower = _bands(fit)
    return a.levelled()[:, upper], b.levelled(fit.tempo)[:, lower]


def _along(first: int, last: int, offset: int, fit: PitchMatch) -> MatchedRange:
    """Return the range between two frames of fitted spectra, without a score."""
    start_s, end_s, offset_s = (n * SPECTRUM.frame_hop_s for n in (first, last, offset))
    return MatchedRange(
        a_start_s=start_s,
        a_end_s=end_s,
        b_start_s=fit.tempo * (start_s + offset_s),
        b_end_s=fit.tempo * (end_s + offset_s),
        tempo=fit.tempo,
        score=0.0,
        pitch_semitones=fit.semitones,
        repetition=0.0,
        correlation=fit.correlation,
    )
