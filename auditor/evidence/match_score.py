"""The score that decides: what the d-vectors share, and whether the spectra agree.

The second witness (``auditor.evidence.alignment.ranges``) finds a stretch of one track in another
by d-vectors, which bear with pitch, tempo, noise and rooms.  The spectra of both stretches, brought
to one tempo and pitch, are then correlated moment by moment
(``auditor.evidence.spectra.pitch_tempo``): unrelated music that has fooled the d-vectors hardly
ever agrees there, and copies nearly always do.

The match score of a range is

    score + GAIN * max(0, correlation - CHANCE),

at most 1.  A range that the spectra alone found carries its own (``MatchedRange.match_score``): its
margin where they agree beyond doubt for long enough, else MARGIN_GAIN times it.  The score of a
pair is the highest of its ranges.  Without spectra it is the score of the d-vectors alone, so a
missing spectrum can hide a copy and never raises an alarm.
"""

from __future__ import annotations

from auditor.records import Evidence, MatchedRange

GAIN, CHANCE = 0.5, 0.15
"""Chosen on the validation music (docs/calibration.md)."""

CLEAR_CORRELATION = 0.5
"""Correlation from which spectra agree beyond doubt."""

MARGIN_GAIN = 0.5
"""Score per unit of a margin where spectra agree less than that; chosen so that strangers reach
a score as seldom by it as by d-vectors."""

MIN_CERTAIN_S = 6.0
"""A line that is shorter tells little, however well it agrees: single notes agree too."""

MIN_SCORE_TO_CONFIRM = 0.15
"""Evidence below this score is too weak to be looked at further."""

MIN_SCORE_TO_SHOW = 0.3
"""A range is shown when its match score reaches it."""

LOWEST_THRESHOLD = 0.35
"""No budget sets a lower threshold, however few the pairs: five of 26 pairs of melodies of one
synthesiser reach 0.3, and of 750 copies of the validation music, altered as hard as any, three lie
between 0.2 and this.  Three of the 26 reach it too; ``verdicts.is_denied`` tells them.
"""


def match_score(evidence: Evidence) -> float:
    """Return the match score of a pair, -1 to 1."""
    return max(evidence.score, max((range_score(r) for r in evidence.ranges), default=-1.0))


def range_score(found: MatchedRange) -> float:
    """Return the match score of a range, at most 1.

    Examples
    --------
    >>> range_score(MatchedRange(0.0, 9.0, 0.0, 9.0, 1.0, 0.3, 0.0, 0.0, correlation=0.75))
    0.6
    """
    if found.match_score is not None:
        return found.match_score
    beyond = max(0.0, (found.correlation or 0.0) - CHANCE)
    return min(1.0, found.score + GAIN * beyond)


def margin_score(margin: float, *, sure: bool) -> float:
    """Return the match score of a range that the spectra alone have found, at most 1.

    Parameters
    ----------
    margin : float
        See ``auditor.evidence.spectra.lines.LeadingLine``.
    sure : bool
        Whether its line agrees by ``CLEAR_CORRELATION``, for ``MIN_CERTAIN_S``.

    Examples
    --------
    >>> margin_score(0.8, sure=True), margin_score(0.8, sure=False)
    (0.8, 0.4)
    """
    return min(1.0, margin if sure else MARGIN_GAIN * margin)
