"""The list of compositions in words: its headline, its lines, and how much of it is chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from auditor.errors import show_text
from auditor.records import (
    CheckResult,
    CompositionMatch,
    Compositions,
    CompositionVerdict,
    DecisionKind,
    ScanResult,
    Track,
    compositions_with_tracks,
)
from auditor.report.text.general import show_count, show_duration, show_number
from auditor.scoring.composition import MIN_HARMONY

NOT_FLAGGED = ("beyond", "same chords", "common figure")
GROUPS = ("flagged", "decided", *NOT_FLAGGED)
"""Kinds of lines: flagged ones, those set aside by decisions, those that chance may explain, and
those that share their chords only."""

NOT_COMPARED = (
    "Not compared are rhythm, lyrics, sound and form; pitches below 220 Hz and above 3.8 kHz; and "
    "passages that last only a few seconds. A short quotation, a riff or a drum pattern that two "
    "pieces share does not show here."
)
"""What a line does not speak of."""


@dataclass(frozen=True)
class ListedMatch:
    """A line of the list with its tracks.

    ``rank`` counts from 1; in a check, each submission has a list of its own.
    """

    rank: int
    match: CompositionMatch
    a: Track
    b: Track

    @property
    def group(self) -> str:
        """One of ``GROUPS``."""
        if self.match.flagged:
            return "flagged"
        if self.match.decision not in ("", DecisionKind.CONFIRMED):
            return "decided"
        same = self.match.verdict == CompositionVerdict.SAME_COMPOSITION
        return "beyond" if same else self.match.verdict


def listed_matches(result: ScanResult | CheckResult) -> list[ListedMatch]:
    """Return the lines of a result in its order.

    Raises
    ------
    ResultError
        If a line names a track that the result does not list.
    """
    n_above: Counter[str] = Counter()
    listed = []
    for match, a, b in compositions_with_tracks(result):
        of_list = match.a if isinstance(result, CheckResult) else ""
        n_above[of_list] += 1
        listed.append(ListedMatch(n_above[of_list], match, a, b))
    return listed


def matches_in_order(result: ScanResult | CheckResult) -> list[ListedMatch]:
    """Return the lines in the order of the report: by ``GROUPS``, then as listed."""
    return sorted(listed_matches(result), key=lambda line: GROUPS.index(line.group))


def compositions_headline(found: Compositions, listed: Sequence[ListedMatch]) -> str:
    """Return what the list says, in one line.

    Examples
    --------
    >>> compositions_headline(Compositions((), 0.1, 1225, 1225, "0a1b2c3d"), [])
    'No pair is flagged as the same composition (1,225 pairs)'
    """
    flagged = [line for line in listed if line.group == "flagged"]
    if not flagged:
        pairs = show_count(found.n_pairs, "pair")
        return f"No pair is flagged as the same composition ({pairs})"
    most = f"at most {per_cent(found.max_chance_share)} of them chance"
    return f"{show_count(len(flagged), 'pair')} may be the same composition ({most})"


def chance_statement(line: ListedMatch) -> str:
    """Return how many of the lines down to this one are expected to be chance.

    Examples
    --------
    >>> match = CompositionMatch("x", "y", 0.5, "same composition", True, 1e-6, 0.2, 0.05, 0.0,
    ...     0.25, 0.0, 30.0, 0.0, 30.0, 0, 1.0, 0.8, 0.9)
    >>> chance_statement(ListedMatch(4, match, None, None))
    'Of the 4 lines down to this one, 0.2 are expected to be chance (95 % 0–1)'
    """
    match = line.match
    if match.chance_share is None:
        return "How many lines are chance is not known: no calibration was found"
    expected = min(float(line.rank), match.expected_by_chance or 0.0)
    low, high = match.chance_share_low, match.chance_share_high
    interval = ""
    if low is not None and high is not None:
        interval = f" (95 % {round(low * line.rank):,}–{round(high * line.rank):,})"
    many = show_number(expected)
    if line.rank == 1:
        return f"{many} lines as high as this first one are expected by chance{interval}"
    are = "is" if expected == 1.0 else "are"
    return (
        f"Of the {line.rank:,} lines down to this one, {many} {are} expected to be chance{interval}"
    )


def composition_sentence(match: CompositionMatch) -> str:
    """Return what both tracks share, and where, as one sentence."""
    where = (
        f"from {show_duration(match.a_start_s)} to {show_duration(match.a_end_s)} in A and from "
        f"{show_duration(match.b_start_s)} to {show_duration(match.b_end_s)} in B"
    )
    if match.verdict == CompositionVerdict.SAME_CHORDS:
        if match.harmony < MIN_HARMONY:
            return f"What is played {where} aligns; neither melody nor chords agree enough."
        return f"The same chords follow each other {where}; the melodies differ."
    if match.verdict == CompositionVerdict.COMMON_FIGURE:
        return f"Both tracks repeat one short figure, {where}."
    return f"Much of the melody is the same {where}."


def compare_keys(match: CompositionMatch) -> str:
    """Return how much higher one track is than the other."""
    n = match.transposition
    if not n:
        return "same key"
    return f"A is {show_count(abs(n), 'semitone')} {'higher' if n > 0 else 'lower'} than B"


def compare_tempos(match: CompositionMatch) -> str:
    """Return how much faster one track is than the other."""
    change = round(100.0 * (match.tempo - 1.0))
    if not change:
        return "same tempo"
    return f"A is {abs(change)} % {'faster' if change > 0 else 'slower'} than B"


def show_transposition(semitones: int) -> str:
    """Return by how much b is moved to the key of a.

    Examples
    --------
    >>> show_transposition(3), show_transposition(-1), show_transposition(0)
    ('+3 semitones', '−1 semitone', 'same key')
    """
    if not semitones:
        return "same key"
    sign = "+" if semitones > 0 else "−"
    return f"{sign}{show_count(abs(semitones), 'semitone')}"


def show_tempo(tempo: float) -> str:
    """Return how much faster a is than b, in per cent.

    Examples
    --------
    >>> show_tempo(1.1), show_tempo(0.875), show_tempo(1.004)
    ('tempo +10 %', 'tempo −12 %', 'same tempo')
    """
    change = round(100.0 * (tempo - 1.0))
    if not change:
        return "same tempo"
    return f"tempo {'+' if change > 0 else '−'}{abs(change)} %"


def per_cent(share: float) -> str:
    """Return a share in per cent.

    Examples
    --------
    >>> per_cent(0.1), per_cent(0.005), per_cent(0.83)
    ('10 %', '0.5 %', '83 %')
    """
    value = 100.0 * share
    return f"{value:.1f} %" if 0 < value < 0.95 else f"{value:.0f} %"


def agreement_words(match: CompositionMatch) -> str:
    """Return how far melodies and chords agree.

    Examples
    --------
    >>> match = CompositionMatch("x", "y", 0.5, "same composition", True, None, None, None, None,
    ...     None, 0.0, 30.0, 0.0, 30.0, 0, 1.0, 0.8, 0.91)
    >>> agreement_words(match)
    'melody 80 %, harmony 91 %'
    """
    return f"melody {per_cent(match.melody)}, harmony {per_cent(match.harmony)}"


def rest_lines(
    found: Compositions, listed: Sequence[ListedMatch], *, shown: Sequence[str]
) -> list[str]:
    """Return what is not among the lines that are shown, a sentence each.

    Parameters
    ----------
    found : Compositions
    listed : sequence of ListedMatch
    shown : sequence of str
        Those of ``GROUPS`` that are shown.
    """
    n = Counter(line.group for line in listed if line.group not in shown)
    lines = []
    if n["beyond"]:
        share = per_cent(found.max_chance_share)
        why = f"more than {share} of the list down to there may be chance"
        if any(line.match.chance_share is None for line in listed):
            why = "no rate is known"
        lines.append(f"{show_count(n['beyond'], 'line')} not flagged: {why}")
    if n["same chords"]:
        lines.append(f"{show_count(n['same chords'], 'line')} not flagged: same chords, no melody")
    if n["common figure"]:
        lines.append(
            f"{show_count(n['common figure'], 'line')} not flagged: both repeat one short figure"
        )
    if n["decided"]:
        lines.append(f"{show_count(n['decided'], 'line')} set aside by decisions")
    if found.not_comparable:
        lines.append(not_comparable_line(found))
    return lines


def not_comparable_line(found: Compositions) -> str:
    """Return how many tracks have no composition to compare, and why."""
    n_tracks = len(found.not_comparable)
    reasons = Counter(show_text(each.reason) for each in found.not_comparable)
    counted = [f"{reason} ({n:,})" for reason, n in sorted(reasons.items())]
    why = next(iter(reasons)) if len(reasons) == 1 else "; ".join(counted)
    kind = "a composition" if n_tracks == 1 else "compositions"
    return f"{show_count(n_tracks, 'track')} not compared as {kind}: {why}"
