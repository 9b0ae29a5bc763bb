"""Evidence looked at again in the spectra: pitch, exact tempo and times, and whether they agree.

Where the spectra agree on one range beyond doubt, its tempo and pitch are known, and they alone
tell what else both tracks share: short blocks of a are compared with all of b, and each is
explained once, by the line that agrees best.  That finds what the d-vectors missed, ran together or
took for another repetition.  It changes which ranges are shown, never the match score of the pair.

Where no range agrees beyond doubt, the spectra are asked for one that the d-vectors missed
(``auditor.evidence.spectra.range_search``): under loud noise, below another track, in music of few
sounds, at another speed.  This one counts by how much it leads, and repeats nothing, for what
repeats does not lead.  A range that agrees although its d-vectors say little counts by its margin
too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from auditor.evidence.alignment.ranges import covered_s, gather_evidence
from auditor.evidence.match_score import (
    CHANCE,
    CLEAR_CORRELATION,
    MIN_SCORE_TO_CONFIRM,
    MIN_SCORE_TO_SHOW,
    range_score,
)
from auditor.evidence.spectra.lines import TrackSpectrum
from auditor.evidence.spectra.pitch_tempo import match_range
from auditor.evidence.spectra.range_ends import trim_range
from auditor.evidence.spectra.range_search import (
    any_agrees,
    further_ranges,
    leading_range,
    measured_range,
)
from auditor.records import Evidence, MatchedRange

MAX_CONFIRMED_RANGES = 6
"""Ranges of a pair whose spectra are compared; further ones stand by their d-vectors."""

PATIENCE = 2
"""When so many, the best ones, do not agree, no further range is looked at."""

_CLEAR = 0.7
"""Match score of a range that agrees from which nothing can be gained by asking how it leads."""

_WHOLE = 0.95
"""Where a range that agrees is so much of a, there is nothing further to find."""

_COVERED = 0.5
"""What others explain so much of is no range of its own."""

_OTHER_TEMPO = 0.02
"""Share by which a tempo is another one."""

_SURER = 0.2
"""What else agrees better by so much, on the same stretch of one track, is what was copied; the
other is music that repeats."""


def confirm(
    evidence: Evidence,
    a: TrackSpectrum,
    b: TrackSpectrum,
    *,
    shown_from: float = MIN_SCORE_TO_SHOW,
) -> Evidence:
    """Return evidence whose ranges were compared in the spectra, the doubtful ones left out.

    Parameters
    ----------
    evidence : Evidence
        Searched with a low ``min_score``, so that the spectra can speak for weak ranges.
    a, b : TrackSpectrum
    shown_from : float
        Match score that a range needs to be kept; those found in the spectra do not.

    Returns
    -------
    Evidence
        Ranges by falling match score; shares and tempo are those of what is left.
    """
    ranges = list(evidence.ranges)
    n_agreed = 0
    n_to_measure = min(len(ranges), MAX_CONFIRMED_RANGES)
    for n in range(n_to_measure if evidence.score >= MIN_SCORE_TO_CONFIRM else 0):
        if n >= PATIENCE and not n_agreed:
            break
        ranges[n] = measured_again(ranges[n], a, b)
        n_agreed += _correlation(ranges[n]) > CHANCE
    agreed = any_agrees(ranges)
    if not agreed or max(map(range_score, ranges)) < _CLEAR:
        ranges = _with_leading(ranges, a, b)
        agreed = any_agrees(ranges)
    # Where they agree on one range, those that they contradict are of music that repeats.
    kept = [
        found
        for found in ranges
        if range_score(found) >= shown_from
        and not (agreed and found.correlation is not None and found.correlation < CHANCE)
    ]
    best = max(kept, key=_correlation, default=None)
    if best is not None and _correlation(best) >= CLEAR_CORRELATION:
        whole = best.a_end_s - best.a_start_s >= _WHOLE * a.duration_s
        kept = _best_explained(kept, [] if whole else list(further_ranges(best, a, b)))
    kept.sort(key=lambda found: (-range_score(found), found.a_start_s))
    return gather_evidence(
        evidence.score, kept, a_s=a.duration_s, b_s=b.duration_s, background=evidence.background
    )


def _correlation(found: MatchedRange) -> float:
    return found.correlation or 0.0


def measured_again(found: MatchedRange, a: TrackSpectrum, b: TrackSpectrum) -> MatchedRange:
    """Return a range as the spectra measure it; once more where it became another one."""
    for _ in range(2):
        match = match_range(found, a.frames, b.frames)
        if match is None:  # nothing agrees
            return found if found.correlation else dataclasses.replace(found, correlation=0.0)
        before = found
        half_s = 0.5 * (found.a_end_s - found.a_start_s)
        found = trim_range(measured_range(found, match, half_s, a, b), a.frames, b.frames)
        moved = abs(found.tempo / before.tempo - 1.0) > _OTHER_TEMPO
        if not moved or _correlation(found) < CLEAR_CORRELATION:
            break
    return found


def _with_leading(
    ranges: list[MatchedRange], a: TrackSpectrum, b: TrackSpectrum
) -> list[MatchedRange]:
    """Return ranges with the one that leads in the spectra, in place of those it stands for."""
    found = leading_range(ranges, a, b)
    if found is None:
        return ranges
    if any_agrees(ranges) and range_score(found) <= max(map(range_score, ranges)):
        return ranges
    others = [other for other in ranges if not _stands_for(found, other)]
    replaced = [range_score(other) for other in ranges if other not in others]
    return [dataclasses.replace(found, match_score=max([range_score(found), *replaced])), *others]


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
        chosen[n] = dataclasses.replace(
            found,
            match_score=min(range_score(found), highest) if best is None else range_score(best),
            repetition=found.repetition if best is None else best.repetition,
        )
    return chosen


def _needed(found: MatchedRange) -> float:
    """Return from which correlation on another range makes this one a mere likeness."""
    correlation = _correlation(found)
    return CLEAR_CORRELATION if correlation < CLEAR_CORRELATION else correlation + _SURER


def _seconds_explained(found: MatchedRange) -> float:
    return (found.a_end_s - found.a_start_s) * (_correlation(found) - CLEAR_CORRELATION)


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
