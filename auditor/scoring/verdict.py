"""What is said of a pair, from both witnesses: the rules, in one place.

The embeddings say how alike two tracks sound as a whole, the second witness
(``auditor.evidence.alignment.ranges``) what they share from when to when.  The rules are asked in
order, and the first that holds speaks:

1. Both files hold the same bytes: ``identical file``.
2. The evidence reaches the threshold, is no loop or drone, the spectra do not deny it, and it is
   not of two performances.  Where it covers nearly all of one track, the recording is the same:
   ``altered recording`` if tempo or pitch differ, else ``same recording``.  Else
   ``shared excerpt``.
3. The embeddings are as similar as those of copies, or the evidence is of a loop or a drone, denied
   or of two performances: ``sounds alike``, which is shown and not flagged.
4. ``clear``.

A loop or a drone is a range of which many moments are heard again and again, in tracks that are
alike all over, and whose spectra do not agree moment by moment: two takes of one synthesiser chord
match everywhere and prove nothing.  Where there is nothing but one sound over and
over, as of a metronome, spectra that agree prove nothing either: those of any two agree.

Two performances of the same notes, as of a close cover, have no recording in common
(``auditor.evidence.spectra.performance``).  Where that is sure, the pair belongs to the
compositions alone.  Where it is likely, it is said, and the pair is compared as a composition, too.

Evidence is denied where the spectra of the best range agree nowhere, in tracks that are alike all
over: two melodies of one synthesiser have its sound in common, and no notes.
"""

from __future__ import annotations

from dataclasses import dataclass

from auditor.records import Evidence, MatchedRange, Verdict


@dataclass(frozen=True)
class VerdictRules:
    """The numbers behind the rules, chosen on the validation music (docs/calibration.md).

    Attributes
    ----------
    whole : float
        Share of a track, the better covered one, from which the match is the whole recording.
    tempo, semitones : float
        Differences from which a recording is altered: a share of the tempo, and a pitch.
    loop_repetition, loop_background : float
        Both reached, a match is of a loop or a drone: repetition of the best range, and mean
        similarity of the two tracks,
    loop_correlation : float
        unless the spectra correlate by so much: then it is the very same one.
    one_sound_repetition, one_sound_background : float
        Both reached, there is but one sound, and the spectra are not asked.
    denied_correlation, denied_background : float
        The spectra of the best range correlate by less than the first, and the mean similarity of
        the two tracks reaches the second.  The best ranges of 1,394 copies of the validation music,
        altered as hard as any, correlate by 0.14 or more.
    may_be_played_apart, played_apart : float
        Log odds from which a passage may have been played twice, and from which it was
        (``auditor.evidence.spectra.performance``).  The highest of 1,639 altered copies, with works
        and tracks left out in turn, has 2.8, and the highest of 991 others 2.5.
    """

    whole: float = 0.8
    tempo: float = 0.01
    semitones: float = 0.5
    loop_repetition: float = 0.4
    loop_background: float = 0.7
    loop_correlation: float = 0.6
    one_sound_repetition: float = 0.9
    one_sound_background: float = 0.85
    denied_correlation: float = 0.1
    denied_background: float = 0.5
    may_be_played_apart: float = 2.0
    played_apart: float = 4.0


RULES = VerdictRules()


def decide_verdict(
    evidence: Evidence,
    *,
    score: float,
    threshold: float,
    identical_file: bool = False,
    similarity: float = -1.0,
    similar_from: float = 1.0,
    rules: VerdictRules = RULES,
) -> Verdict:
    """Return what is said of a pair.

    Parameters
    ----------
    evidence : Evidence
        With pitch where it could be measured.
    score, threshold : float
        Match score of the evidence (``auditor.evidence.match_score``), and what it must reach.
    identical_file : bool
    similarity, similar_from : float
        Cosine of the embeddings, and what it must reach to be called similar.
    rules : VerdictRules

    Examples
    --------
    >>> both = MatchedRange(0.0, 60.0, 0.0, 60.0, 1.0, 0.9, 0.0, 0.0)
    >>> decide_verdict(Evidence(0.9, (both,), 1.0, 1.0, 1.0, 0.2), score=0.9, threshold=0.4).value
    'same recording'
    >>> decide_verdict(Evidence(0.1, (), 0.0, 0.0, 1.0, 0.2), score=0.1, threshold=0.4).value
    'clear'
    """
    if identical_file:
        return Verdict.IDENTICAL_FILE
    proves = evidence.ranges and not is_loop(evidence, rules) and not is_denied(evidence, rules)
    if proves and score >= threshold and not is_played_apart(evidence, rules):
        if max(evidence.share_a, evidence.share_b) < rules.whole:
            return Verdict.SHARED_EXCERPT
        altered = is_altered(evidence.ranges[0], rules)
        return Verdict.ALTERED_RECORDING if altered else Verdict.SAME_RECORDING
    if similarity >= similar_from or score >= threshold:
        return Verdict.SOUNDS_ALIKE
    return Verdict.CLEAR


def is_altered(found: MatchedRange, rules: VerdictRules = RULES) -> bool:
    """Say whether a range is played at another tempo or pitch in one track than in the other."""
    other_pitch = abs(found.pitch_semitones or 0.0) >= rules.semitones
    return other_pitch or abs(found.tempo - 1.0) >= rules.tempo


def is_loop(evidence: Evidence, rules: VerdictRules = RULES) -> bool:
    """Say whether what matches is a loop or a drone, which unrelated tracks may have in common."""
    best, background = evidence.ranges[0], evidence.background
    loop = best.repetition >= rules.loop_repetition and background >= rules.loop_background
    one_sound = (
        best.repetition >= rules.one_sound_repetition and background >= rules.one_sound_background
    )
    return one_sound or (loop and (best.correlation or 0.0) < rules.loop_correlation)


def is_denied(evidence: Evidence, rules: VerdictRules = RULES) -> bool:
    """Say whether the spectra agree nowhere on what matches, in tracks that are alike all over."""
    correlation = evidence.ranges[0].correlation
    agrees = correlation is None or correlation >= rules.denied_correlation
    return not agrees and evidence.background >= rules.denied_background


def is_played_apart(evidence: Evidence, rules: VerdictRules = RULES) -> bool:
    """Say whether what matches are two performances of the same notes, and no recording."""
    return evidence.played_apart is not None and evidence.played_apart >= rules.played_apart


def may_be_played_apart(evidence: Evidence | None, rules: VerdictRules = RULES) -> bool:
    """Say whether what matches may be two performances of the same notes, and no recording."""
    odds = None if evidence is None else evidence.played_apart
    return odds is not None and odds >= rules.may_be_played_apart
