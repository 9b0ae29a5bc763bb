"""Results in words and numbers for people: what the terminal table and the HTML report both say.

Nothing here decides anything; every number is one of the result's, rounded for reading.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from auditor.errors import ResultError
from auditor.records import (
    DECISIONS,
    CheckResult,
    Detection,
    Pair,
    RecommendResult,
    Result,
    ScanResult,
    ThresholdUse,
    Track,
)

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_JOINERS = "\u200c\u200d"


def show_text(text: str) -> str:
    r"""Return a tag as text that cannot act on what shows it.

    Control characters, line and paragraph separators, invisible format characters (such as those
    that reverse the direction of writing), unassigned code points and lone surrogates are shown as
    Python escapes.  The two joiners stay, since Persian, Hindi and emoji are written with them.

    Examples
    --------
    >>> show_text("one\ntwo\u202e\ud800")
    'one\\ntwo\\u202e\\ud800'
    """
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in ("Cc", "Cf", "Cn", "Cs", "Zl", "Zp") and c not in _JOINERS
        else c
        for c in text
    )


def show_duration(duration_s: float) -> str:
    """Return seconds as minutes and seconds, with hours where there are any.

    Examples
    --------
    >>> show_duration(222.4), show_duration(3723.0)
    ('3:42', '1:02:03')
    """
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def show_count(n: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> show_count(1, "pair"), show_count(8000, "track")
    ('1 pair', '8,000 tracks')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def show_score(score: float) -> str:
    """Return a score with four decimals and a true minus sign.

    Examples
    --------
    >>> show_score(0.98765), show_score(-0.25)
    ('0.9877', '−0.2500')
    """
    return f"{score:.4f}".replace("-", "−")


def show_number(value: float) -> str:
    """Return a number of two significant digits, as one would say it.

    Examples
    --------
    >>> show_number(0.8), show_number(12.6), show_number(1234.0), show_number(1e-6), show_number(0)
    ('0.8', '13', '1,234', '<0.001', '0')
    """
    if 0 < value < 0.001:
        return "<0.001"
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.2g}"


def show_rate(rate: float) -> str:
    """Return an error rate as a power of ten where it is small.

    Examples
    --------
    >>> show_rate(1.2e-7), show_rate(0.025), show_rate(0.0)
    ('1.2 × 10⁻⁷', '0.025', '0')
    """
    if rate == 0.0 or rate >= 0.001:
        return f"{rate:.2g}"
    exponent = math.floor(math.log10(rate))
    mantissa = f"{rate / 10.0**exponent:.2g}"
    if mantissa == "10":
        mantissa, exponent = "1", exponent + 1
    return f"{mantissa} × 10{str(exponent).translate(_SUPERSCRIPTS)}"


def _interval(low: float | None, high: float | None, show: Callable[[float], str]) -> str:
    if low is None or high is None:
        return ""
    shown_low, shown_high = show(low), show(high)
    if not shown_high.startswith("<"):
        return f" (95 % {shown_low.replace('<', 'below ')}–{shown_high})"
    below = shown_high.replace("<", "below ")
    return f" (95 % {below})" if shown_low.startswith("<") else f" (95 % {shown_low} to {below})"


def false_pairs(use: ThresholdUse, n_pairs_compared: int) -> str:
    """Return the expected number of false pairs with its 95 % interval, or ``unknown``.

    Examples
    --------
    >>> use = ThresholdUse(0.9, "song.json", 8e-7, 2e-7, 19e-7, 0.8)
    >>> false_pairs(use, 1_000_000)
    '0.8 (95 % 0.2–1.9)'
    >>> false_pairs(ThresholdUse(0.9, "song.json", 1e-7, 0.0, 8e-7, 1e-4), 1_000)
    '<0.001 (95 % 0 to below 0.001)'
    """
    if use.expected_false_pairs is None:
        return "unknown"
    low, high = use.expected_low, use.expected_high
    if low is None and use.far_low is not None:
        low = use.far_low * n_pairs_compared
    if high is None and use.far_high is not None:
        high = use.far_high * n_pairs_compared
    return show_number(use.expected_false_pairs) + _interval(low, high, show_number)


def show_compared(result: ScanResult | CheckResult) -> str:
    """Return how many pairs were compared, and of how many, where an index proposed them."""
    n_compared, n_comparisons = result.n_pairs_compared, result.threshold.n_comparisons
    if n_comparisons is None or n_comparisons == n_compared:
        return show_count(n_compared, "pair")
    return f"{n_compared:,} of {show_count(n_comparisons, 'pair')}"


def error_line(result: ScanResult | CheckResult) -> str:
    """Return pairs compared, threshold and expected false pairs, in one line."""
    return (
        f"{show_compared(result)} compared, threshold {show_score(result.threshold.threshold)}, "
        f"expected false pairs {false_pairs(result.threshold, result.n_pairs_compared)}"
    )


def show_budget(use: ThresholdUse) -> str:
    """Return the error budget that was asked for; empty where there was none.

    Examples
    --------
    >>> show_budget(ThresholdUse(0.9, "song.json", budget=1.0))
    '1 false pair'
    """
    if use.budget is None:
        return ""
    return f"{use.budget:,g} false pair{'' if use.budget == 1.0 else 's'}"


def false_alarm_rate(use: ThresholdUse) -> str:
    """Return the false alarm rate per pair with its 95 % interval, or ``unknown``."""
    if use.far is None:
        return "unknown"
    return f"{show_rate(use.far)} per pair" + _interval(use.far_low, use.far_high, show_rate)


def track_facts(track: Track) -> str:
    """Return the line under a track's name: id, duration, codec, licence where known."""
    facts = (track.id, show_duration(track.duration_s), track.codec, track.licence)
    return show_text(" · ".join(fact for fact in facts if fact))


def track_badges(track: Track) -> tuple[str, ...]:
    """Return what a reader must know of a track before trusting its scores."""
    known = (("truncated", track.truncated), ("silent", track.silent), ("missing", track.missing))
    return tuple(name for name, holds in known if holds)


def comparison_gaps(track: Track) -> str:
    """Return why a track was not compared, or not wholly; empty if it was, as a whole.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> comparison_gaps(SimpleNamespace(missing=False, silent=True, truncated=False))
    'silent: no window is loud enough, so it was not compared'
    """
    if track.missing:
        return "missing: the file that was scanned is no longer there, so it was not compared"
    if track.silent:
        return "silent: no window is loud enough, so it was not compared"
    if track.truncated:
        return (
            "truncated: the file is cut short or damaged; only what could be decoded was compared"
        )
    return ""


def not_wholly_compared(tracks: Iterable[Track]) -> list[Track]:
    """Return the missing, then the silent, then the truncated tracks, each in the given order."""
    odd = [track for track in tracks if comparison_gaps(track)]
    return sorted(odd, key=lambda track: (not track.missing, not track.silent))


def count_not_wholly_compared(tracks: Sequence[Track], noun: str) -> str:
    """Return how many of these tracks are missing, silent and truncated; one may be several."""
    badges = [badge for track in tracks for badge in track_badges(track)]
    names = ("missing", "silent", "truncated")
    counts = [f"{badges.count(name):,} {name}" for name in names if name in badges]
    return f"{show_count(len(tracks), noun)} not wholly compared: {', '.join(counts)}"


def is_set_aside(pair: Pair) -> bool:
    """Say whether it was decided that a pair does not matter; such a pair is not flagged."""
    return pair.decision not in ("", "confirmed")


def count_set_aside(pairs: Iterable[Pair]) -> str:
    """Return how many pairs were set aside, by decision; empty if none was.

    Examples
    --------
    >>> count_set_aside([Pair("x", "y", 1.0, flagged=False, decision="licensed")])
    '1 pair set aside: 1 licensed'
    """
    made = [pair.decision for pair in pairs if is_set_aside(pair)]
    counts = [f"{made.count(kind):,} {kind}" for kind in DECISIONS if kind in made]
    return f"{show_count(len(made), 'pair')} set aside: {', '.join(counts)}" if made else ""


def pair_marks(pair: Pair) -> tuple[str, ...]:
    """Return what both tracks of a pair have or lack in common."""
    known = (("licences differ", pair.licences_differ), ("identical file", pair.identical_file))
    return tuple(name for name, holds in known if holds)


def pair_state(pair: Pair) -> str:
    """Return what was decided of a pair, else why it is not flagged; empty if it is.

    Examples
    --------
    >>> pair_state(Pair("x", "y", 0.9, decision="confirmed")), pair_state(Pair("x", "y", 0.9))
    ('decided: confirmed', '')
    """
    if pair.decision:
        return f"decided: {pair.decision}"
    if pair.verdict == "sounds alike" and not pair.flagged:
        return "not flagged"
    return "" if pair.flagged else "below the threshold"


def pair_badges(pair: Pair, a: Track, b: Track, *, sides: tuple[str, str]) -> tuple[str, ...]:
    """Return the badges of a pair, those of one track led by the name of its side.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> whole = SimpleNamespace(truncated=False, silent=False, missing=False)
    >>> cut = SimpleNamespace(truncated=True, silent=False, missing=False)
    >>> pair_badges(Pair("x", "y", 1.0, identical_file=True), whole, cut, sides=("A", "B"))
    ('identical file', 'B truncated')
    """
    badges = list(pair_marks(pair))
    for badge in ("truncated", "silent", "missing"):
        named = [side for side, t in zip(sides, (a, b), strict=True) if badge in track_badges(t)]
        if named:
            badges.append(f"{' and '.join(named)} {badge}")
    return (*badges, pair_state(pair)) if pair_state(pair) else tuple(badges)


def pairs_with_tracks(result: ScanResult | CheckResult) -> list[tuple[Pair, Track, Track]]:
    """Return every pair with its two tracks, in the result's order.

    In a check, ``a`` is looked for among the submissions and ``b`` in the catalogue.

    Raises
    ------
    ResultError
        If the result does not list a track that a pair names.
    """
    tracks_b = {track.id: track for track in result.tracks}
    tracks_a = tracks_b
    if isinstance(result, CheckResult):
        tracks_a = {track.id: track for track in result.submissions}
    return [
        (pair, find_track(tracks_a, pair.a), find_track(tracks_b, pair.b)) for pair in result.pairs
    ]


def find_track(tracks: dict[str, Track], track_id: str) -> Track:
    """Return the track of that id.

    Raises
    ------
    ResultError
        If there is none.
    """
    if track_id not in tracks:
        raise ResultError(
            f"the result names the track {show_text(track_id)!r} but does not list it. "
            "Give a file that audit wrote, whole."
        )
    return tracks[track_id]


def show_search(result: ScanResult | CheckResult) -> str:
    """Return how candidates were found, with the index recall where there was an index."""
    if result.index_recall is None:
        return f"{result.search} search"
    return f"{result.search} search, index recall {100 * result.index_recall:.1f} %"


def headline(result: Result) -> str:
    """Return what the result says, in one line."""
    among = f"among {show_count(result.n_tracks, 'track')}"
    if isinstance(result, RecommendResult):
        n_recommended = len(result.recommendations)
        return f"{show_count(n_recommended, 'track')} recommended {among}"
    if isinstance(result, ScanResult):
        if not result.n_pairs_compared:
            return f"No pairs to compare {among}"
        n_flagged = sum(pair.flagged for pair in result.pairs)
        if not n_flagged and any(is_set_aside(pair) for pair in result.pairs):
            return f"Nothing flagged that is not decided {among}"
        if not n_flagged:
            return f"Nothing at or above the threshold {among}"
        n_clusters = show_count(len(result.clusters), "cluster")
        return f"{show_count(n_flagged, 'pair')} in {n_clusters} {among}"
    submissions = show_count(len(result.submissions), "submission")
    n_flagged = len({pair.a for pair in result.pairs if pair.flagged})
    compared = f"compared with {show_count(result.n_tracks, 'track')}"
    if n_flagged:
        return f"{n_flagged:,} of {submissions} flagged, {compared}"
    if any(is_set_aside(pair) for pair in result.pairs):
        return f"Nothing flagged that is not decided: {submissions} {compared}"
    return f"Nothing at or above the threshold: {submissions} {compared}"


def submission_verdict(submission: Track, n_flagged: int, n_set_aside: int = 0) -> str:
    """Return what is said of one submission of a check."""
    if submission.silent:
        return "not compared: no window is loud enough"
    part = "; truncated, so only a part was compared" if submission.truncated else ""
    if n_flagged:
        return f"flagged: {show_count(n_flagged, 'track')} at or above the threshold{part}"
    if n_set_aside:
        return f"nothing flagged: {show_count(n_set_aside, 'pair')} set aside by decisions{part}"
    return f"nothing at or above the threshold{part}"


def detection_line(detection: Sequence[Detection]) -> str:
    """Return what share of altered copies the threshold finds, in one line; empty if unknown.

    Examples
    --------
    >>> kinds = [Detection("mp3", 40, 40, 0.91, 1.0), Detection("noise", 40, 30, 0.6, 0.86)]
    >>> detection_line(kinds)
    'of altered copies 87.5 % reach this threshold; fewest of: noise, 75 % (95 % 60–86)'
    """
    measured = [kind for kind in detection if kind.n_copies]
    if not measured:
        return ""
    mean = sum(kind.n_found / kind.n_copies for kind in measured) / len(measured)
    worst = min(measured, key=lambda kind: kind.n_found / kind.n_copies)
    return (
        f"of altered copies {100 * mean:.1f} % reach this threshold; fewest of: "
        f"{show_text(worst.alteration)}, {100 * worst.n_found / worst.n_copies:.0f} % "
        f"(95 % {100 * worst.low:.0f}–{100 * worst.high:.0f})"
    )
