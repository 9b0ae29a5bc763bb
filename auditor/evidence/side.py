"""One side of a pair: what is known of a track, and what is prepared from it when first asked."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from auditor.evidence.alignment.aligner import Examiner
from auditor.evidence.alignment.ranges import WitnessTrack, gather_evidence
from auditor.evidence.match_score import (
    LOWEST_THRESHOLD,
    MIN_SCORE_TO_SHOW,
    range_score,
)
from auditor.evidence.spectra.brief import with_brief
from auditor.evidence.spectra.confirm import confirm
from auditor.evidence.spectra.lines import TrackSpectrum
from auditor.evidence.spectra.performance import played_apart
from auditor.records import Evidence, MatchedRange

MAX_PLAYED_APART = 3
"""Ranges of a pair, the best ones, that are asked whether they were played twice."""


class Side:
    """A track as one side of a pair.

    Parameters
    ----------
    track_id, sha256 : str
        Of the track, and of the bytes of its file.
    duration_s : float
        Seconds of sound.
    windows : callable
        Returns its d-vectors, prepared; None where it has no window.  Called when first needed.
    frames : callable
        Returns its spectrum, (n_frames, n_bands) uint8, or prepared; None where there is none.
    embedding : numpy.ndarray, optional
        (n_dims,) float32.
    brief_cost : float, optional
        As the first side of a pair: passages of seconds are looked for, too, and their match score
        counts by so much less.
    """

    def __init__(
        self,
        track_id: str,
        sha256: str,
        duration_s: float,
        *,
        windows: Callable[[], WitnessTrack | None],
        frames: Callable[[], np.ndarray | TrackSpectrum | None],
        embedding: np.ndarray | None = None,
        brief_cost: float | None = None,
    ) -> None:
        self.id, self.sha256, self.duration_s = track_id, sha256, duration_s
        self._windows, self._frames, self.embedding = windows, frames, embedding
        self.brief_cost = brief_cost

    @functools.cached_property
    def windows(self) -> WitnessTrack | None:
        """Its d-vectors, prepared for alignment; None where it has no window."""
        return self._windows()

    @functools.cached_property
    def spectrum(self) -> TrackSpectrum | None:
        """Its spectrum; None where there is none."""
        frames = self._frames()
        return TrackSpectrum(frames, self.duration_s) if isinstance(frames, np.ndarray) else frames


def compare_sides(
    examiner: Examiner, a: Side, b: Side, *, shown_from: float = MIN_SCORE_TO_SHOW
) -> Evidence:
    """Return what both sides of a pair share: aligned ranges, measured in the spectra.

    Parameters
    ----------
    examiner : Examiner
    a, b : Side
    shown_from : float
        Match score that a range needs to be kept.
    """
    if a.sha256 and a.sha256 == b.sha256:  # nothing to find out
        return whole_evidence(a.duration_s)
    evidence = examiner.evidence(a.windows, b.windows)
    if a.spectrum is not None and b.spectrum is not None:
        evidence = confirm(evidence, a.spectrum, b.spectrum, shown_from=shown_from)
        if a.brief_cost is not None:
            evidence = with_brief(evidence, a.spectrum, b.spectrum, cost=a.brief_cost)
    else:
        shown = [found for found in evidence.ranges if range_score(found) >= shown_from]
        evidence = gather_evidence(
            evidence.score,
            sorted(shown, key=lambda found: (-range_score(found), found.a_start_s)),
            a_s=a.duration_s,
            b_s=b.duration_s,
            background=evidence.background,
        )
    ranges = [dataclasses.replace(r, match_score=range_score(r)) for r in evidence.ranges]
    apart = (
        None if a.spectrum is None or b.spectrum is None else _apart(ranges, a.spectrum, b.spectrum)
    )
    return dataclasses.replace(evidence, ranges=tuple(ranges), played_apart=apart)


def _apart(ranges: Sequence[MatchedRange], a: TrackSpectrum, b: TrackSpectrum) -> float | None:
    """Return the log odds that ranges were played twice: those of the one that most is a copy.

    None where they are not known of one of the ranges, which then may be a copy.
    """
    flaggable = [found for found in ranges if range_score(found) >= LOWEST_THRESHOLD]
    least: float | None = None
    for found in flaggable[:MAX_PLAYED_APART]:
        odds = played_apart(found, a.frames, b.frames)
        if odds is None:
            return None
        least = odds if least is None else min(least, odds)
    return least


def whole_evidence(duration_s: float) -> Evidence:
    """Return the evidence of two files of the same bytes: one range from end to end."""
    return Evidence(1.0, (whole_range(duration_s),), 1.0, 1.0, 1.0, 1.0)


def whole_range(duration_s: float) -> MatchedRange:
    """Return the range of two files of the same bytes: from end to end."""
    return MatchedRange(0.0, duration_s, 0.0, duration_s, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0)


def mirrored_evidence(evidence: Evidence) -> Evidence:
    """Return evidence with the sides exchanged, and all that is said of either."""
    return dataclasses.replace(
        evidence,
        ranges=tuple(_mirrored_range(one) for one in evidence.ranges),
        share_a=evidence.share_b,
        share_b=evidence.share_a,
        tempo=1.0 / evidence.tempo,
    )


def _mirrored_range(one: MatchedRange) -> MatchedRange:
    pitch = one.pitch_semitones
    return dataclasses.replace(
        one,
        a_start_s=one.b_start_s,
        a_end_s=one.b_end_s,
        b_start_s=one.a_start_s,
        b_end_s=one.a_end_s,
        tempo=1.0 / one.tempo,
        pitch_semitones=None if pitch is None else 0.0 - pitch,
    )
