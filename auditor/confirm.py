"""Evidence looked at again in the spectra: pitch, exact tempo and times, and whether they agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from auditor.match_score import CHANCE, CONFIRM_FROM, SHOWN_FROM, range_score
from auditor.pitch import match_range
from auditor.records import Evidence, MatchedRange
from auditor.trim import trim_range
from auditor.witness import gather_evidence

MAX_CONFIRMED = 6
"""Ranges of a pair whose spectra are compared; further ones stand by their d-vectors."""

PATIENCE = 2
"""When so many, the best ones, do not agree, no further range is looked at."""

AGREED = 0.5
"""Correlation of a range whose spectra agree beyond doubt."""

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
        Match score that a range needs to be kept.

    Returns
    -------
    Evidence
        Ranges by falling match score; shares and tempo are those of what is left.
    """
    heard = list(evidence.ranges)
    if heard and evidence.score >= CONFIRM_FROM:
        of_a, of_b = a(), b()
        if of_a is not None and of_b is not None:
            n_agreed = 0
            for n in range(min(len(heard), MAX_CONFIRMED)):
                if n >= PATIENCE and not n_agreed:
                    break
                heard[n] = _heard(heard[n], of_a, of_b, a_duration_s, b_duration_s)
                n_agreed += (heard[n].correlation or 0.0) > CHANCE
    # Where the spectra agree on one range, those that they contradict are of music that repeats.
    agreed = max((found.correlation or 0.0 for found in heard), default=0.0) >= AGREED
    kept = sorted(
        (
            found
            for found in heard
            if range_score(found) >= shown_from
            and not (agreed and found.correlation is not None and found.correlation < CHANCE)
        ),
        key=lambda found: (-range_score(found), found.a_start_s),
    )
    return gather_evidence(
        evidence.score, kept, a_s=a_duration_s, b_s=b_duration_s, background=evidence.background
    )


def _heard(
    found: MatchedRange, a: np.ndarray, b: np.ndarray, a_duration_s: float, b_duration_s: float
) -> MatchedRange:
    match = match_range(found, a, b)
    if match is None:  # nothing agrees
        return dataclasses.replace(found, correlation=0.0)
    # The exact tempo was measured around the middle, which stays where it is.
    half_s = 0.5 * (found.a_end_s - found.a_start_s)
    a_middle_s, b_middle_s = found.a_start_s + half_s, found.b_start_s + found.tempo * half_s
    before_s = min(half_s, a_middle_s, b_middle_s / match.tempo)
    after_s = min(
        half_s, a_duration_s - a_middle_s, max(b_duration_s - b_middle_s, 0.0) / match.tempo
    )
    measured = dataclasses.replace(
        found,
        a_start_s=a_middle_s - before_s,
        a_end_s=a_middle_s + after_s,
        b_start_s=b_middle_s - match.tempo * before_s,
        b_end_s=b_middle_s + match.tempo * after_s,
        tempo=match.tempo,
        pitch_semitones=match.semitones,
        correlation=match.correlation,
    )
    return trim_range(measured, a, b)
