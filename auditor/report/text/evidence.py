"""Verdicts, matched ranges and scores of a pair, in words for somebody who decides.

Nothing here decides anything: a sentence says what the second witness heard, from where to where
and how altered, with the numbers of ``records.Evidence``, and never that anything infringes.
"""

from __future__ import annotations

from collections.abc import Mapping

from auditor.errors import show_text
from auditor.records import Evidence, MatchedRange, Pair, Track
from auditor.report.text.general import show_duration
from auditor.scoring.originals import is_lossless
from auditor.scoring.verdict import (
    RULES,
    is_denied,
    is_loop,
    is_played_apart,
    may_be_played_apart,
)

UNHEARD_MEANING = "The score reaches the threshold, but no aligned passage was found."
"""What it means that a pair has no verdict."""

FACTS = (
    "Tempo",
    "Pitch",
    "Offset",
    "Matched share of A",
    "Matched share of B",
    "Ranges",
    "Loops in the range",
    "Spectral correlation",
    "Embedding similarity",
)
"""Names of what ``evidence_facts`` returns."""

FACT_NOTES: Mapping[str, str] = {
    "Loops in the range": "loops and drones match in many places, so they prove little",
    "Embedding similarity": (
        "how alike the two tracks sound overall, at most 1; used only to select pairs to "
        "compare: two tracks in the same style may reach 0.9, a track with a short excerpt of "
        "the other may not"
    ),
    "Spectral correlation": "of the best range, frame by frame; near 1 for the same recording",
}
"""What the less telling ones of ``FACTS`` mean."""

NOT_MEASURED = "Loudness, equalisation, noise and added sounds are not measured."

_MIN_OFFSET_S = 1.0
_WHOLE = 0.97
"""Share of a track from which it is called the whole: fades are not heard to their very end."""

_TEMPO_PLACES_S = 0.1
"""How well the begin and the end of a range are known, about."""


def verdict_name(pair: Pair) -> str:
    """Return the verdict of a pair; where no aligned passage was found, what its score says.

    Examples
    --------
    >>> verdict_name(Pair("x", "y", 0.9, verdict="shared excerpt"))
    'shared excerpt'
    >>> verdict_name(Pair("x", "y", 0.9)), verdict_name(Pair("x", "y", 0.1, flagged=False))
    ('high score', 'below the threshold')
    """
    if pair.verdict:
        return pair.verdict
    if pair.identical_file:
        return "identical file"
    return "high score" if pair.flagged or pair.decision else "below the threshold"


def verdict_sentence(pair: Pair) -> str:
    """Return what was heard, from where to where, and how altered, as one sentence.

    Examples
    --------
    >>> from auditor.records import Evidence
    >>> heard = MatchedRange(0.0, 180.0, 12.0, 199.2, 1.04, 0.8, 0.0, 0.1)
    >>> evidence = Evidence(0.8, (heard,), 1.0, 0.9, 1.04, 0.2)
    >>> verdict_sentence(Pair("x", "y", 0.9, verdict="altered recording", evidence=evidence))
    '0:00–3:00 of A matches 0:12–3:19 of B; there A is 4.0 % faster than B. That is the whole \
of A and 90 % of B.'
    """
    verdict = verdict_name(pair)
    ranges = pair.evidence.ranges if pair.evidence else ()
    if verdict == "identical file":
        return "The two files are identical, byte for byte."
    if verdict == "sounds alike":
        if matches_by_loop(pair):
            return "Only a loop or a drone matches, which proves nothing."
        if is_denied_pair(pair):
            return "The aligned passages sound similar, but their spectra do not match."
        if is_of_two_performances(pair):
            return (
                "The aligned passages play the same notes, but the sound beyond the notes differs: "
                "two performances, which belong to the compositions."
            )
        if ranges:
            return "Alike in overall sound; the aligned passages score below the threshold."
        return "Alike in overall sound only: there are no aligned passages."
    if verdict == "clear":
        return "No sign of shared material was found."
    if verdict == "below the threshold":
        return "The score does not reach the threshold."
    if not ranges:
        return "The score reaches the threshold; no aligned passage is known."
    best, n_more = ranges[0], len(ranges) - 1
    said = f"{show_times(best.a_start_s, best.a_end_s)} of A matches "
    said += f"{show_times(best.b_start_s, best.b_end_s)} of B"
    if changed := alteration(best):
        said += f"; there {changed}"
    else:
        said += ", at the same speed" + ("" if best.pitch_semitones is None else " and pitch")
    if n_more:
        said += f"; {n_more} more such range" + ("s" if n_more > 1 else "")
    said = f"{said}. {_shares(pair)}"
    if may_be_played_apart(pair.evidence):
        said += " The sound agrees less than the notes: these may be two performances."
    return said


def matches_by_loop(pair: Pair) -> bool:
    """Say whether something matches, and is a loop or a drone (``verdicts.is_loop``)."""
    return pair.evidence is not None and bool(pair.evidence.ranges) and is_loop(pair.evidence)


def is_denied_pair(pair: Pair) -> bool:
    """Say whether something lines up that is no loop, and the spectra deny it."""
    if pair.evidence is None or not pair.evidence.ranges:
        return False
    return is_denied(pair.evidence) and not matches_by_loop(pair)


def is_of_two_performances(pair: Pair) -> bool:
    """Say whether what lines up was played twice, and is neither a loop nor denied."""
    if pair.evidence is None or not pair.evidence.ranges or matches_by_loop(pair):
        return False
    return is_played_apart(pair.evidence) and not is_denied(pair.evidence)


def _shares(pair: Pair) -> str:
    """Return how much of either track lies in ranges, the larger share first."""
    assert pair.evidence is not None
    shares = [("A", pair.evidence.share_a), ("B", pair.evidence.share_b)]
    shares.sort(key=lambda side: -round(side[1], 2))
    together = "Together that" if len(pair.evidence.ranges) > 1 else "That"
    if shares[1][1] >= _WHOLE:
        return f"{together} covers all of both tracks."
    parts = [
        f"the whole of {side}" if share >= _WHOLE else f"{100.0 * share:.0f} % of {side}"
        for side, share in shares
    ]
    return f"{together} is {parts[0]} and {parts[1]}."


def coding_words(pair: Pair, a: Track, b: Track) -> str:
    """Return what the two files themselves tell of a match: that they are one, or their coding.

    Parameters
    ----------
    pair : Pair
    a, b : Track
        Its tracks.
    """
    if pair.identical_file:
        return f"SHA-256 of both: {a.sha256}."
    if not pair.evidence or not pair.evidence.ranges or pair.verdict == "sounds alike":
        return ""
    coded_a, coded_b = _coding(a), _coding(b)
    said = f"Re-encoded: A is {coded_a}, B is {coded_b}."
    if coded_a == coded_b:
        said = f"Both files are {coded_a}."
    return f"{said} {NOT_MEASURED}"


def _coding(track: Track) -> str:
    """Return codec and bit rate; the rate of a lossless file tells of its music alone."""
    codec = show_text(track.codec)
    if is_lossless(track):
        return f"lossless ({codec})"
    return f"{codec} at {track.bit_rate / 1000:,.0f} kbit/s" if track.bit_rate else codec


def alteration(heard: MatchedRange) -> str:
    """Return how a differs from b in a range; empty where neither tempo nor pitch does.

    Only what ``verdicts.RULES`` takes for an alteration is spoken of.

    Examples
    --------
    >>> alteration(MatchedRange(0.0, 9.0, 0.0, 9.0, 0.95, 0.8, None, 0.0))
    'A is 5.0 % slower than B'
    >>> alteration(MatchedRange(0.0, 9.0, 0.0, 9.0, 1.0, 0.8, 0.1, 0.0))
    ''
    """
    words = [word for word in (_tempo(heard.tempo), _pitch(heard.pitch_semitones)) if word]
    return f"A is {' and '.join(words)} than B" if words else ""


def what_differs(heard: MatchedRange) -> str:
    """Return how a differs from b in a range, in any case.

    Examples
    --------
    >>> what_differs(MatchedRange(0.0, 9.0, 0.0, 9.0, 1.0, 0.8, None, 0.0))
    'same tempo; the pitch was not measured'
    """
    if heard.pitch_semitones is None:
        return f"{alteration(heard) or 'same tempo'}; the pitch was not measured"
    return alteration(heard) or "same tempo and pitch"


def offset(heard: MatchedRange) -> str:
    """Return where one track would begin in the other, if the range went on to its start.

    Examples
    --------
    >>> offset(MatchedRange(70.0, 80.0, 10.0, 20.0, 1.0, 0.8, 0.0, 0.0))
    'B begins at 1:00 of A'
    >>> offset(MatchedRange(70.0, 80.0, 70.2, 80.2, 1.0, 0.8, 0.0, 0.0))
    'both begin together'
    """
    start_s = heard.b_start_s - heard.tempo * heard.a_start_s
    if start_s >= _MIN_OFFSET_S:
        return f"A begins at {show_duration(start_s)} of B"
    if start_s <= -_MIN_OFFSET_S:
        return f"B begins at {show_duration(-start_s / heard.tempo)} of A"
    return "both begin together"


def evidence_facts(pair: Pair) -> tuple[str, ...]:
    """Return what was estimated of a pair, one text for each of ``FACTS``; – where unknown."""
    evidence = pair.evidence
    if evidence is None:
        return ("–",) * len(FACTS)
    alike = "–" if pair.similarity is None else _cosine(pair.similarity)
    if not evidence.ranges:
        return (*("–",) * 3, "0 %", "0 %", "none", "–", "–", alike)
    best = evidence.ranges[0]
    tempo, pitch = _tempo(best.tempo), _pitch(best.pitch_semitones)
    unknown = best.pitch_semitones is None
    return (
        f"A is {tempo} (± {_tempo_error(best):.1f} %)" if tempo else "the same",
        f"A is {pitch}" if pitch else "not measured" if unknown else "the same",
        offset(best) if max(evidence.share_a, evidence.share_b) >= RULES.whole else "–",
        f"{100.0 * evidence.share_a:.0f} %",
        f"{100.0 * evidence.share_b:.0f} %",
        str(len(evidence.ranges)),
        _repetition(evidence),
        "not measured" if best.correlation is None else _cosine(best.correlation),
        alike,
    )


def best_range(pair: Pair) -> str:
    """Return the best range of a pair as one line of a table; empty where there is none.

    Examples
    --------
    >>> from auditor.records import Evidence
    >>> heard = MatchedRange(12.0, 22.0, 63.0, 73.0, 1.0, 0.8, -0.5, 0.0)
    >>> best_range(Pair("x", "y", 0.9, evidence=Evidence(0.8, (heard,), 0.1, 0.1, 1.0, 0.0)))
    'a 0:12-0:22 = b 1:03-1:13, pitch -0.5'
    """
    if pair.evidence is None or not pair.evidence.ranges:
        return ""
    best = pair.evidence.ranges[0]
    said = f"a {show_times(best.a_start_s, best.a_end_s)} = b "
    said = (said + show_times(best.b_start_s, best.b_end_s)).replace("–", "-")
    if _pitch(best.pitch_semitones):
        said += f", pitch {best.pitch_semitones:+.1f}"
    if _tempo(best.tempo):
        said += f", tempo {100.0 * (best.tempo - 1.0):+.1f} %"
    more = len(pair.evidence.ranges) - 1
    return said + (f", {more} more" if more else "")


def show_times(start_s: float, end_s: float) -> str:
    """Return from when to when.

    Examples
    --------
    >>> show_times(12.0, 22.4)
    '0:12–0:22'
    """
    return f"{show_duration(start_s)}–{show_duration(end_s)}"


def _cosine(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _tempo(tempo: float) -> str:
    change = tempo - 1.0
    if abs(change) < RULES.tempo:
        return ""
    return f"{100.0 * abs(change):.1f} % {'faster' if change > 0 else 'slower'}"


def _tempo_error(heard: MatchedRange) -> float:
    """Return how far off the tempo of a range may be, in per cent, about."""
    return max(0.1, 100.0 * _TEMPO_PLACES_S / max(heard.a_end_s - heard.a_start_s, 1.0))


def _pitch(semitones: float | None) -> str:
    if semitones is None or abs(semitones) < RULES.semitones:
        return ""
    size = f"{abs(semitones):.1f}"
    unit = "semitone" if size == "1.0" else "semitones"
    return f"{size} {unit} {'higher' if semitones > 0 else 'lower'}"


def _repetition(evidence: Evidence) -> str:
    repetition = evidence.ranges[0].repetition
    if repetition >= 0.5 or is_loop(evidence):
        return "mostly loops or a drone"
    return "some" if repetition >= 0.2 else "hardly any"
