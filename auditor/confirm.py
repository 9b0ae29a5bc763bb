"""Evidence looked at again in the spectra: pitch, exact tempo and times, and whether they agree.

Where the spectra agree on one range beyond doubt, its tempo and pitch are known, and they alone
tell what else both tracks share: short blocks of a are compared with all of b, and each is
explained once, by the line that agrees best.  That finds what the d-vectors missed, ran together or
took for another repetition.  It changes which ranges are shown, never the match score of the pair.

Where no range agrees beyond doubt, the spectra are asked for one that the d-vectors missed, at the
tempo and pitch of the original and at those of the ranges there are: under loud noise, below
another track, in music of few sounds.  This one counts by how much it leads
(``auditor.spectral_lines``), and repeats nothing, for what repeats does not lead.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from auditor.config import SPECTRUM
from auditor.match_score import (
    AGREED,
    CHANCE,
    CONFIRM_FROM,
    SHOWN_FROM,
    lead_score,
    range_score,
)
from auditor.outline import outline_shift
from auditor.pitch import PitchMatch, match_range
from auditor.records import Evidence, MatchedRange
from auditor.spectral_lines import (
    HOP,
    MAX_FRAMES,
    TrackSpectrum,
    agreed_lines,
    leading_line,
)
from auditor.trim import trim_range
from auditor.witness import covered_s, gather_evidence

MAX_CONFIRMED = 6
"""Ranges of a pair whose spectra are compared; further ones stand by their d-vectors."""

PATIENCE = 2
"""When so many, the best ones, do not agree, no further range is looked at."""

_WHOLE = 0.95
"""Where a range that agrees is so much of a, there is nothing further to find."""

_COVERED = 0.5
"""What others explain so much of is no range of its own."""

_SURER = 0.2
"""What else agrees better by so much, on the same stretch of one track, is what was copied; the
other is music that repeats."""

_OTHER_TEMPO = 0.02
"""Share by which a tempo is another one."""

_SAME_PITCH = 0.5
"""Semitones from that of its line at which a range is measured; else the line is believed."""


def confirm(
    evidence: Evidence,
    a: TrackSpectrum | None,
    b: TrackSpectrum | None,
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
    a, b : TrackSpectrum or None
        Without them, pitch and correlation stay unknown.
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
    if a is None or b is None:
        kept = [found for found in heard if range_score(found) >= shown_from]
    else:
        n_agreed = 0
        for n in range(min(len(heard), MAX_CONFIRMED) if evidence.score >= CONFIRM_FROM else 0):
            if n >= PATIENCE and not n_agreed:
                break
            heard[n] = _heard(heard[n], a, b, a_duration_s, b_duration_s)
            n_agreed += _correlation(heard[n]) > CHANCE
        agreed = max(map(_correlation, heard), default=0.0) >= AGREED
        if not agreed and max(len(a.frames), len(b.frames)) <= MAX_FRAMES:
            heard = _with_leading(heard, a, b, a_duration_s, b_duration_s)
            agreed = max(map(_correlation, heard), default=0.0) >= AGREED
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
            search = () if whole else _further(best, a, b, a_duration_s, b_duration_s)
            kept = _best_explained(kept, list(search))
    kept.sort(key=lambda found: (-range_score(found), found.a_start_s))
    return gather_evidence(
        evidence.score, kept, a_s=a_duration_s, b_s=b_duration_s, background=evidence.background
    )


def _correlation(found: MatchedRange) -> float:
    return found.correlation or 0.0


def _heard(
    found: MatchedRange,
    a: TrackSpectrum,
    b: TrackSpectrum,
    a_duration_s: float,
    b_duration_s: float,
) -> MatchedRange:
    match = match_range(found, a.frames, b.frames)
    if match is None:  # nothing agrees
        return dataclasses.replace(found, correlation=0.0)
    # The exact tempo was measured around the middle, which stays where it is.
    half_s = 0.5 * (found.a_end_s - found.a_start_s)
    return trim_range(
        _measured(found, match, half_s, a_duration_s, b_duration_s), a.frames, b.frames
    )


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


def _with_leading(
    heard: list[MatchedRange],
    a: TrackSpectrum,
    b: TrackSpectrum,
    a_duration_s: float,
    b_duration_s: float,
) -> list[MatchedRange]:
    """Return ranges with the one that leads in the spectra, in place of those it stands for."""
    as_it_was = PitchMatch(0.0, 1.0, 0.0)
    tried = [
        PitchMatch(r.pitch_semitones, r.tempo, 0.0) for r in heard if r.pitch_semitones is not None
    ]
    guessed = _guessed(heard, a, b)
    best, found = 0.0, None
    for fit in (as_it_was, *tried, *guessed):
        line = leading_line(*_fitted(a, b, fit))
        if line is None or (fit in guessed and line.correlation < AGREED):
            continue
        score = lead_score(line.lead, line.correlation)
        if score > best:
            best = score
            fit = dataclasses.replace(fit, correlation=line.correlation)
            found = _along(line.first, line.last, line.offset, fit)
    if found is None or best < CONFIRM_FROM:
        return heard
    match = match_range(found, a.frames, b.frames)
    if match is not None and abs(match.semitones - found.pitch_semitones) <= _SAME_PITCH:
        half_s = 0.5 * (found.a_end_s - found.a_start_s)
        found = _measured(found, match, half_s, a_duration_s, b_duration_s)
    found = trim_range(found, a.frames, b.frames)
    others = [other for other in heard if not _stands_for(found, other)]
    replaced = [range_score(other) for other in heard if other not in others]
    score = max([best, *replaced])
    return [dataclasses.replace(found, score=score - range_score(found)), *others]


def _guessed(heard: Sequence[MatchedRange], a: TrackSpectrum, b: TrackSpectrum) -> list[PitchMatch]:
    """Return tempos and pitches that are worth a try, where a line must agree beyond doubt.

    A whole track that was moved in pitch was so by its speed or alone.  A range on which nothing
    agrees may be right in its tempo all the same, in music that repeats.
    """
    fits = []
    semitones = outline_shift(a.outline, b.outline)
    if semitones is not None:
        fits = [PitchMatch(semitones, tempo, 0.0) for tempo in (2.0 ** (semitones / 12.0), 1.0)]
    for found in heard[:PATIENCE]:
        if found.pitch_semitones is None and abs(found.tempo - 1.0) > _OTHER_TEMPO:
            moved = 12.0 * math.log2(found.tempo)
            fits += [PitchMatch(pitch, found.tempo, 0.0) for pitch in (0.0, moved)]
    return fits


def _further(
    known: MatchedRange,
    a: TrackSpectrum,
    b: TrackSpectrum,
    a_duration_s: float,
    b_duration_s: float,
) -> Iterator[MatchedRange]:
    """Yield the ranges that the spectra alone tell, at the tempo and pitch of a known one."""
    fit = PitchMatch(known.pitch_semitones or 0.0, known.tempo, 0.0)
    for line in agreed_lines(*_fitted(a, b, fit)):
        found = dataclasses.replace(_along(*line, fit), repetition=known.repetition)
        match = match_range(found, a.frames, b.frames)
        if match is None or match.correlation < AGREED:
            continue
        half_s = 0.5 * (found.a_end_s - found.a_start_s) + HOP * SPECTRUM.frame_hop_s
        yield trim_range(
            _measured(found, match, half_s, a_duration_s, b_duration_s), a.frames, b.frames
        )


def _fitted(a: TrackSpectrum, b: TrackSpectrum, fit: PitchMatch) -> tuple[np.ndarray, np.ndarray]:
    """Return both spectra levelled, at one tempo and pitch: (n, n_common), (m, n_common)."""
    shift = round(fit.semitones * SPECTRUM.bands_per_octave / 12.0)
    n_bands = SPECTRUM.n_bands
    upper = slice(max(shift, 0), n_bands + min(shift, 0))
    lower = slice(max(-shift, 0), n_bands + min(-shift, 0))
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
