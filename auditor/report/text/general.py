"""Results in words and numbers for people: what the terminal table and the HTML report both say.

Nothing here decides anything; every number is one of the result's, rounded for reading.  What is
said of error rates is in ``rate_words``, what is said of evidence in ``evidence_words``.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from auditor.errors import show_text
from auditor.records import (
    CheckResult,
    CompareResult,
    CompositionMatch,
    DecisionKind,
    GeneratedResult,
    LeakResult,
    Pair,
    RecommendResult,
    Result,
    ScanResult,
    SinceLastScan,
    Track,
    TracklistResult,
    Verdict,
)
from auditor.report.text.credentials import credentials_badge


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


def track_facts(track: Track) -> str:
    """Return the line under a track's name: id, duration, codec, licence where known."""
    facts = (track.id, show_duration(track.duration_s), track.codec, track.licence)
    return show_text(" · ".join(fact for fact in facts if fact))


def track_badges(track: Track) -> tuple[str, ...]:
    """Return what a reader must know of a track before trusting its scores."""
    known = (
        ("truncated", track.truncated),
        ("silent", track.silent),
        ("missing", track.missing),
        (f"{len(track.parts_s)} streams", bool(track.parts_s)),
        (f"channel mix: {track.downmix}", bool(track.downmix)),
        (credentials_badge(track.c2pa), bool(track.c2pa)),
    )
    return tuple(name for name, holds in known if holds)


def repeated_labels(tracks: Iterable[Track]) -> frozenset[str]:
    """Return the labels that several tracks have, so that only their paths tell them apart.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> tracks = [SimpleNamespace(id=i, label=name) for i, name in ("ax", "bx", "cy", "cy")]
    >>> repeated_labels(tracks)
    frozenset({'x'})
    """
    labels = Counter({track.id: track.label for track in tracks}.values())
    return frozenset(label for label, n in labels.items() if n > 1)


def show_streams(track: Track) -> str:
    """Return where each audio stream of a track lies, if it has several; else nothing.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> show_streams(SimpleNamespace(parts_s=(60.0, 90.0)))
    '; stream 1 from 0:00 to 1:00, stream 2 from 1:00 to 2:30'
    """
    ends = list(itertools.accumulate(track.parts_s))
    spans = zip([0.0, *ends], ends, strict=False)
    told = [
        f"stream {n} from {show_duration(a)} to {show_duration(b)}"
        for n, (a, b) in enumerate(spans, start=1)
    ]
    return f"; {', '.join(told)}" if told else ""


def comparison_gaps(track: Track) -> str:
    """Return why a track was not compared, or not wholly; empty if it was, as a whole.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> comparison_gaps(SimpleNamespace(missing=False, silent=True, truncated=False))
    'silent: no window is loud enough, so it was neither compared nor counted'
    """
    if track.missing:
        return "missing: the scanned file no longer exists, so it was neither compared nor counted"
    if track.silent:
        return "silent: no window is loud enough, so it was neither compared nor counted"
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
    return f"{show_count(len(tracks), noun)} not fully compared: {', '.join(counts)}"


def cluster_name(number: int) -> str:
    """Return what a cluster is called: neither like a case, which has a number, nor like A and B.

    Parameters
    ----------
    number : int
        From 1, in the order of the result; 0 for no cluster.

    Examples
    --------
    >>> cluster_name(1), cluster_name(5000), cluster_name(0)
    ('C1', 'C5000', '')
    """
    return f"C{number}" if number else ""


def show_kind(kind: str) -> str:
    """Return a decision in the words of the buttons that make it.

    Examples
    --------
    >>> show_kind("false-alarm")
    'false alarm'
    """
    return kind.replace("-", " ")


def is_set_aside(pair: Pair) -> bool:
    """Say whether it was decided that a pair does not matter; such a pair is not flagged."""
    return pair.decision not in ("", DecisionKind.CONFIRMED)


def count_set_aside(pairs: Iterable[Pair]) -> str:
    """Return how many pairs were set aside, by decision; empty if none was.

    Examples
    --------
    >>> count_set_aside([Pair("x", "y", 1.0, flagged=False, decision="licensed")])
    '1 pair set aside: 1 licensed'
    """
    made = [pair.decision for pair in pairs if is_set_aside(pair)]
    counts = [f"{made.count(kind):,} {show_kind(kind)}" for kind in DecisionKind if kind in made]
    return f"{show_count(len(made), 'pair')} set aside: {', '.join(counts)}" if made else ""


def show_when(moment: str) -> str:
    """Return a moment in UTC to the minute; empty for none.

    Examples
    --------
    >>> show_when("2026-05-03T12:00:59.000000Z")
    '2026-05-03 12:00 UTC'
    """
    return f"{moment[:16].replace('T', ' ')} UTC" if moment else ""


def show_decider(pair: Pair | CompositionMatch) -> str:
    """Return who decided a pair and when, as far as that is known.

    Examples
    --------
    >>> show_decider(Pair("x", "y", 0.9, decision_by="Ana", decision_when="2026-05-03T12:00:59Z"))
    'by Ana, 2026-05-03 12:00 UTC'
    """
    by = f"by {show_text(pair.decision_by)}" if pair.decision_by else ""
    return ", ".join(part for part in (by, show_when(pair.decision_when)) if part)


def pair_marks(pair: Pair) -> tuple[str, ...]:
    """Return what both tracks of a pair have or lack in common.

    Examples
    --------
    >>> pair_marks(Pair("x", "y", 1.0, identical_file=True, n_files_a=640, n_files_b=640))
    ('640 identical files',)
    """
    n_files = max(pair.n_files_a, pair.n_files_b)
    same = "identical file" if n_files <= 2 else show_count(n_files, "identical file")
    known = (("licences differ", pair.licences_differ), (same, pair.identical_file))
    return tuple(name for name, holds in known if holds)


def n_files_badge(pair: Pair, n_files: int) -> tuple[str, ...]:
    """Return that a track of a pair stands for several files, which its other marks do not say."""
    said = pair.identical_file and pair.n_files_a > 1
    return () if n_files < 2 or said else (show_count(n_files, "identical file"),)


def identical_line(result: ScanResult | CheckResult) -> str:
    """Return how many files hold the same bytes as another; empty if none does.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> groups = (SimpleNamespace(tracks=("a", "a-2", "a-3")), SimpleNamespace(tracks=("b", "b-2")))
    >>> identical_line(SimpleNamespace(identical=groups))
    '5 files have the same content as another, in 2 groups; one of each group was compared'
    """
    n_files = sum(len(group.tracks) for group in result.identical)
    if not n_files:
        return ""
    groups = show_count(len(result.identical), "group")
    said = f"{n_files:,} files have the same content as another, in {groups}"
    return f"{said}; one of each group was compared"


def pair_state(pair: Pair) -> str:
    """Return what was decided of a pair, else why it is not flagged; empty if it is.

    Examples
    --------
    >>> pair_state(Pair("x", "y", 0.9, decision="confirmed")), pair_state(Pair("x", "y", 0.9))
    ('decided: confirmed', '')
    """
    if pair.decision:
        return f"decided: {show_kind(pair.decision)}"
    if pair.verdict == Verdict.SOUNDS_ALIKE and not pair.flagged:
        return "not flagged"
    return "" if pair.flagged else "below the threshold"


def pair_badges(pair: Pair, a: Track, b: Track, *, sides: tuple[str, str]) -> tuple[str, ...]:
    """Return the badges of a pair, those of one track led by the name of its side.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> facts = dict(silent=False, missing=False, licence="", parts_s=(), downmix="", c2pa=())
    >>> whole, cut = (SimpleNamespace(truncated=t, **facts) for t in (False, True))
    >>> pair_badges(Pair("x", "y", 1.0, identical_file=True), whole, cut, sides=("A", "B"))
    ('identical file', 'B truncated')
    """
    badges = [*pair_marks(pair), *_licence_gap(pair, a, b, sides)]
    for side, n_files in zip(sides, (pair.n_files_a, pair.n_files_b), strict=True):
        badges += [f"{side}: {badge}" for badge in n_files_badge(pair, n_files)]
    for badge in dict.fromkeys([*track_badges(a), *track_badges(b)]):
        named = [side for side, t in zip(sides, (a, b), strict=True) if badge in track_badges(t)]
        if named:
            badges.append(f"{' and '.join(named)} {badge}")
    return (*badges, pair_state(pair)) if pair_state(pair) else tuple(badges)


def _licence_gap(pair: Pair, a: Track, b: Track, sides: tuple[str, str]) -> tuple[str, ...]:
    """Return which track of a match carries no licence, where the other one does."""
    if not (pair.flagged or pair.decision) or bool(a.licence) == bool(b.licence):
        return ()
    return (f"{sides[0] if b.licence else sides[1]} carries no licence",)


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
        if result.compositions is not None:
            return f"{show_count(n_recommended, 'track')} may be the same composition {among}"
        by = f", compared by {result.compared_by}" if result.compared_by else ""
        return f"{show_count(n_recommended, 'track')} recommended {among}{by}"
    if isinstance(result, TracklistResult):
        from auditor.report.text.timeline import timeline_headline

        return timeline_headline(result)
    if isinstance(result, LeakResult):
        from auditor.report.text.leaks import leak_headline

        return leak_headline(result)
    if isinstance(result, GeneratedResult):
        from auditor.report.text.generated import generated_headline

        return generated_headline(result)
    if isinstance(result, CompareResult):
        sides = (f"{c.name} ({show_count(c.n_tracks, 'track')})" for c in result.collections)
        among = show_text(f"between {' and '.join(sides)}")
    if isinstance(result, ScanResult):
        if not result.n_pairs_compared and not result.pairs:
            return f"No pairs to compare {among}"
        n_flagged = sum(pair.flagged for pair in result.pairs)
        if not n_flagged and any(is_set_aside(pair) for pair in result.pairs):
            return f"No undecided match {among}"
        if not n_flagged:
            return f"No matching pairs {among}"
        return f"{show_count(n_flagged, 'matching pair')}{_in_clusters(result)} {among}"
    submissions = show_count(len(result.submissions), "submission")
    catalogue = f"the catalogue ({show_count(result.n_tracks, 'track')})"
    n_flagged = len({pair.a for pair in result.pairs if pair.flagged})
    if n_flagged:
        verb = "matches" if n_flagged == 1 else "match"
        return f"{n_flagged:,} of {submissions} {verb} a track of {catalogue}"
    if any(is_set_aside(pair) for pair in result.pairs):
        return f"No undecided match: {submissions}, compared with {catalogue}"
    if len(compared_with_nothing(result)) == len(result.submissions):
        return f"Nothing to compare: {submissions}, and no other track in {catalogue}"
    return f"No match: {submissions}, compared with {catalogue}"


def new_pairs(result: Result) -> frozenset[str]:
    """Return the ids of the pairs that the last scan did not flag; empty without a last scan."""
    since = result.since if isinstance(result, ScanResult) else None
    return frozenset(() if since is None else since.new)


def since_line(result: Result) -> str:
    """Return what is new since the last scan, in one line; empty where there was none."""
    since = result.since if isinstance(result, ScanResult) else None
    return "" if since is None else since_words(since)


def since_words(since: SinceLastScan) -> str:
    """Return how many pairs are new and how many are gone, and since when.

    Examples
    --------
    >>> since_words(SinceLastScan("2026-05-03T12:00:59Z", ("dacd20d3",), ()))
    '1 new pair since the last scan (2026-05-03 12:00 UTC)'
    >>> since_words(SinceLastScan("2026-05-03T12:00:59Z", (), ("dacd20d3", "264efbe4")))
    'no new pair since the last scan (2026-05-03 12:00 UTC); 2 pairs no longer flagged'
    """
    new = show_count(len(since.new), "new pair") if since.new else "no new pair"
    gone = f"; {show_count(len(since.gone), 'pair')} no longer flagged" if since.gone else ""
    return f"{new} since the last scan ({show_when(since.when)}){gone}"


def has_larger_cluster(result: ScanResult) -> bool:
    """Say whether a cluster holds more than one pair, so that clusters are worth a word."""
    return any(len(cluster.tracks) > 2 for cluster in result.clusters)


def _in_clusters(result: ScanResult) -> str:
    """Return in how many clusters the flagged pairs lie; empty where each is one of its own."""
    if not has_larger_cluster(result):
        return ""
    return f" in {show_count(len(result.clusters), 'cluster')}"


def compared_with_nothing(result: CheckResult) -> frozenset[str]:
    """Return the ids of the submissions for which the catalogue held no track to compare."""
    return frozenset(each.submission for each in result.thresholds if not each.n_comparisons)


def submission_verdict(
    submission: Track,
    n_flagged: int,
    n_set_aside: int = 0,
    *,
    threshold: str = "",
    alone: bool = False,
) -> str:
    """Return what is said of one submission of a check.

    Parameters
    ----------
    submission : Track
    n_flagged, n_set_aside : int
        Tracks that are flagged, and pairs that decisions set aside.
    threshold : str
        Its own threshold; empty where all submissions have the same.
    alone : bool
        The catalogue held no track to compare it with.
    """
    the_threshold = f"its threshold, {threshold}" if threshold else "the threshold"
    if submission.silent:
        return "not compared: no window is loud enough"
    if alone:
        return "not compared: the catalogue holds no other track"
    part = "; truncated, so only a part was compared" if submission.truncated else ""
    if n_flagged:
        return f"flagged: {show_count(n_flagged, 'track')} at or above {the_threshold}{part}"
    if n_set_aside:
        return f"nothing flagged: {show_count(n_set_aside, 'pair')} set aside by decisions{part}"
    return f"nothing at or above {the_threshold}{part}"


def submission_grade(
    submission: Track, n_flagged: int, n_set_aside: int = 0, *, alone: bool = False
) -> str:
    """Return what is said of one submission of a check at one glance.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> whole = SimpleNamespace(missing=False, silent=False, truncated=False)
    >>> submission_grade(whole, 2), submission_grade(whole, 0), submission_grade(whole, 0, 1)
    ('Match', 'No match', 'Decided')
    """
    if submission.silent or submission.missing or alone:
        return "Not compared"
    if n_flagged:
        return "Match"
    if n_set_aside:
        return "Decided"
    return "No match in part" if submission.truncated else "No match"
