"""Evidence looked at again in the spectra: pitch, exact tempo and times, and whether they agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from auditor.match_score import CHANCE, CONFIRM_FROM, SHOWN_FROM, range_score
from auditor.pitch import match_range
from auditor.records import Evidence, MatchedRange
from auditor.trim import trim_range
from auditor.witness import covered_s

MAX_CONFIRMED = 6
"""Ranges of a pair whose spectra are compared; further ones stand by their d-vectors."""

PATIENCE = 2
"""When so many, the best ones, do not agree, no further range is looked at."""

Spectrum = Callable[[], np.ndarray | None]
"""Returns (n_frames, n_bands) uint8 (``auditor.spectrum``), None where it is not to be had."""


def confirm(
    evidence: Evidence,
    a: Spectrum,
    b: Spectrum,
    *,
    a_duration_s: float,
    b_duration_s: float,
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
                heard[n] = _heard(heard[n], of_a, of_b)
                n_agreed += (heard[n].correlation or 0.0) > CHANCE
    kept = sorted(
        (found for found in heard if range_score(found) >= SHOWN_FROM),
        key=lambda found: (-range_score(found), found.a_start_s),
    )
    return dataclasses.replace(
        evidence,
        ranges=tuple(kept),
        share_a=covered_s([(r.a_start_s, r.a_end_s) for r in kept]) / max(a_duration_s, 1e-3),
        share_b=covered_s([(r.b_start_s, r.b_end_s) for r in kept]) / max(b_duration_s, 1e-3),
        tempo=kept[0].tempo if kept else 1.0,
    )


def _heard(found: MatchedRange, a: np.ndarray, b: np.ndarray) -> MatchedRange:
    match = match_range(found, a, b)
    if match is None:  # nothing agrees
        return dataclasses.replace(found, correlation=0.0)
    measured = dataclasses.replace(
        found,
        tempo=match.tempo,
        pitch_semitones=match.semitones,
        correlation=match.correlation,
    )
    return trim_range(measured, a, b)
