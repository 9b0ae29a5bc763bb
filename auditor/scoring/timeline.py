"""Which tracks of a catalogue play in a long mix, from when to when.

A mix is examined in parts that overlap, so that memory is bounded by a part and each part has
candidates of its own: their number grows with the length of the mix.  A part votes for tracks in
the excerpt index; each candidate is aligned with the part, and what matches is moved to its place
in the mix.  Ranges of one track that go on in the next part are joined.

Of several tracks at one place the strongest stands there, and the others are its alternatives, such
as another encoding of it; tracks that overlap by less, as in a crossfade, stand beside each other.
At last each is followed into its fades (``evidence.spectra.fades``).
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from auditor.errors import DamagedTrackError
from auditor.evidence.match_score import MIN_SCORE_TO_SHOW, match_score
from auditor.evidence.side import Side, compare_sides
from auditor.evidence.spectra.fades import reach_into_fades
from auditor.ingest.submissions import Submission
from auditor.parallel import OnProgress
from auditor.records import MatchedRange
from auditor.scoring.track_reader import CatalogueReader, TrackReader
from auditor.scoring.verdict import decide_verdict
from auditor.search.excerpts.index import ExcerptSearch

PART_S, PART_STEP_S = 120.0, 60.0
"""Length of a part, and from one part to the next: every moment lies in two parts."""

N_PART = 12
"""Candidates of a part."""

MIN_ENTRY_S = 6.0
"""Shorter entries are left out: single bars agree by chance."""

MAX_HOLE_S = 45.0
"""Seconds of a mix without a match, as under a voice, over which one track goes on."""

SAME_LINE_S = 3.0
"""Seconds by which two ranges of one line may differ, and 2 % of the time between them."""

NEIGHBOUR_S = 40.0
"""Ranges of a mix that are less apart may play at the same time."""

SAME_PLACE = 0.6
"""Share of the shorter of two entries that overlaps, from which they are at one place."""


@dataclass(frozen=True)
class MixPart:
    """A part of a mix.

    Attributes
    ----------
    start_s, end_s : float
        In seconds of the mix.
    dvectors, levels : numpy.ndarray
        (n, n_dims) and (n,).
    spectrum : numpy.ndarray or None
        (n_frames, n_bands) uint8.
    """

    start_s: float
    end_s: float
    dvectors: np.ndarray
    levels: np.ndarray
    spectrum: np.ndarray | None


@dataclass(frozen=True)
class TimelineEntry:
    """A track at a place of a mix.

    Attributes
    ----------
    track_id : str
    range : MatchedRange
        ``a`` is the mix, ``b`` the track.
    alternatives : tuple of str
        Weaker tracks at the same place, the strongest first.
    """

    track_id: str
    range: MatchedRange
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Timeline:
    """The entries of a mix in order of time, and how many pairs of parts and tracks there were.

    Attributes
    ----------
    entries : tuple of TimelineEntry
    n_examined : int
        Pairs of a part and a track that were aligned.
    damaged : dict of str to str
        Tracks whose stored rows are damaged, and what is wrong.
    """

    entries: tuple[TimelineEntry, ...]
    n_examined: int
    damaged: dict[str, str]


def n_parts(duration_s: float) -> int:
    """Return in how many parts a mix is examined.

    Examples
    --------
    >>> n_parts(30.0), n_parts(120.0), n_parts(121.0), n_parts(7200.0)
    (1, 1, 2, 119)
    """
    return 1 + max(0, math.ceil((duration_s - PART_S) / PART_STEP_S))


def mix_parts(mix: Submission, hop_s: float, window_s: float) -> Iterator[MixPart]:
    """Yield the parts of a mix."""
    duration_s = mix.track.duration_s
    for i in range(n_parts(duration_s)):
        start_s = i * PART_STEP_S
        span = start_s, min(start_s + PART_S, duration_s)
        yield cut_part(
            (mix.dvectors, mix.levels, mix.spectrum),
            span,
            duration_s=duration_s,
            hop_s=hop_s,
            window_s=window_s,
        )


def cut_part(
    track: tuple[np.ndarray, np.ndarray, np.ndarray | None],
    span: tuple[float, float],
    *,
    duration_s: float,
    hop_s: float,
    window_s: float,
) -> MixPart:
    """Return the part of a track between two moments, of whole windows, at least one.

    Parameters
    ----------
    track : tuple of numpy.ndarray
        D-vectors (n, n_dims), levels (n,), and spectrum (n_frames, n_bands) uint8 or None.
    span : tuple of float
        Seconds; the part begins with the first window that begins there or later.
    duration_s : float
        Of the track.
    hop_s, window_s : float
        Step and length of the windows.
    """
    dvectors, levels, spectrum = track
    first, last = part_windows(span, len(dvectors), duration_s, hop_s=hop_s, window_s=window_s)
    frames = None
    if spectrum is not None:
        n_frames = len(spectrum)
        frames = spectrum[
            slice(
                round(first * hop_s / duration_s * n_frames), round(span[1] / duration_s * n_frames)
            )
        ]
    return MixPart(first * hop_s, span[1], dvectors[first:last], levels[first:last], frames)


def part_windows(
    span: tuple[float, float], n_windows: int, duration_s: float, *, hop_s: float, window_s: float
) -> tuple[int, int]:
    """Return the first window of a part, and the one after its last.

    Examples
    --------
    >>> part_windows((60.0, 180.0), 400, 322.0, hop_s=0.8, window_s=3.2)
    (75, 222)
    """
    start_s, end_s = span
    first = min(math.ceil(start_s / hop_s - 1e-6), max(0, n_windows - 1))
    last = max(first + 1, math.floor((end_s - window_s) / hop_s + 1e-6) + 1)
    return first, n_windows if end_s >= duration_s else min(last, n_windows)


def examine_mix(
    reader: CatalogueReader,
    mix: Submission,
    *,
    threshold: float,
    on_part: OnProgress | None = None,
) -> Timeline:
    """Return what plays in a mix, and when.

    Parameters
    ----------
    reader : CatalogueReader
    mix : Submission
        ``own_id`` is left out.
    threshold : float
        Match score that a range must reach, unless it goes on from one that does.
    on_part : callable, optional
        Called with the parts examined and all of them.

    Raises
    ------
    AuditError
        If a part of the workspace is damaged.
    """
    index, _ = reader.excerpts()
    found: dict[str, list[MatchedRange]] = defaultdict(list)
    damaged: dict[str, str] = {}
    n_examined = 0
    total = n_parts(mix.track.duration_s)
    with threadpool_limits(1, user_api="blas"):  # products of a pair are too small to share
        for n_done, part in enumerate(mix_parts(mix, reader.hop_s, reader.window_s), start=1):
            proposed = index.candidates(
                part.dvectors,
                levels=part.levels,
                exclude=mix.own_id or None,
                search=ExcerptSearch(top=N_PART),
            )
            side = part_side(part, reader)
            for candidate in sorted({one.track_id for one in proposed} | set(index.uncovered)):
                if candidate == mix.own_id:
                    continue
                n_examined += 1
                try:
                    found[candidate] += part_matches(
                        side, part, reader, reader.side(candidate), threshold
                    )
                except DamagedTrackError as error:
                    damaged[error.track_id] = str(error)
            if on_part is not None:
                on_part(n_done, total)
    entries = [
        TimelineEntry(track_id, joined)
        for track_id, ranges in sorted(found.items())
        for joined in distinct_lines(join_ranges(ranges, threshold=threshold))
    ]
    placed = _with_fades(place_entries(entries), mix, reader, damaged)
    return Timeline(tuple(rejoin_entries(placed)), n_examined, damaged)


def _with_fades(
    entries: Sequence[TimelineEntry],
    mix: Submission,
    reader: CatalogueReader,
    damaged: dict[str, str],
) -> list[TimelineEntry]:
    """Return entries that are as long as their tracks are heard under their neighbours."""

    def frames_of(track_id: str) -> np.ndarray | None:
        try:
            spectrum = reader.side(track_id).spectrum
        except DamagedTrackError as error:
            damaged[error.track_id] = str(error)
            return None
        return None if spectrum is None else spectrum.frames

    reached = []
    for entry in entries:
        frames = frames_of(entry.track_id)
        if mix.spectrum is None or frames is None:
            reached.append(entry)
            continue
        others = [
            other
            for other in entries
            if _apart_s(entry.range, other.range) <= NEIGHBOUR_S
            and other.track_id not in (entry.track_id, *entry.alternatives)
        ]
        neighbours = [
            (other.range, of_other)
            for other in others
            if (of_other := frames_of(other.track_id)) is not None
        ]
        found = reach_into_fades(entry.range, mix.spectrum, frames, neighbours)
        same = [other.range for other in entries if other.track_id == entry.track_id]
        reached.append(dataclasses.replace(entry, range=grown_until_next(found, entry.range, same)))
    return reached


def grown_until_next(
    grown: MatchedRange, given: MatchedRange, same: Sequence[MatchedRange]
) -> MatchedRange:
    """Return a range that has grown, but not into other ranges of the same track.

    Music that repeats goes on on the line of either.
    """
    latest_s = min((r.a_start_s for r in same if r.a_start_s > given.a_start_s), default=math.inf)
    earliest_s = max((r.a_end_s for r in same if r.a_end_s < given.a_end_s), default=-math.inf)
    end_s = max(given.a_end_s, min(grown.a_end_s, latest_s))
    start_s = min(given.a_start_s, max(grown.a_start_s, earliest_s))
    return dataclasses.replace(
        grown,
        a_start_s=start_s,
        a_end_s=end_s,
        b_start_s=grown.b_start_s + grown.tempo * (start_s - grown.a_start_s),
        b_end_s=grown.b_end_s - grown.tempo * (grown.a_end_s - end_s),
    )


def rejoin_entries(entries: Sequence[TimelineEntry]) -> list[TimelineEntry]:
    """Return entries in order of time, those of one track joined that have grown together."""
    joined: list[TimelineEntry] = []
    for entry in sorted(entries, key=lambda e: (e.range.a_start_s, e.range.a_end_s, e.track_id)):
        for i, old in enumerate(joined):
            if old.track_id == entry.track_id and _on_one_line(old.range, entry.range, 1.0):
                alternatives = dict.fromkeys((*old.alternatives, *entry.alternatives))
                both = _joined([old.range, entry.range])
                joined[i] = TimelineEntry(entry.track_id, both, tuple(alternatives))
                break
        else:
            joined.append(entry)
    return sorted(joined, key=lambda e: (e.range.a_start_s, e.range.a_end_s, e.track_id))


def _apart_s(one: MatchedRange, other: MatchedRange) -> float:
    """Return the seconds of a mix between two ranges, negative where they overlap."""
    return max(one.a_start_s, other.a_start_s) - min(one.a_end_s, other.a_end_s)


def part_side(part: MixPart, reader: TrackReader, *, brief_cost: float | None = None) -> Side:
    """Return a part as a side of a pair, see ``Side``."""
    examiner, duration_s = reader.examiner, part.end_s - part.start_s
    return Side(
        "",
        "",
        duration_s,
        windows=lambda: examiner.prepare(part.dvectors, part.levels, duration_s),
        frames=lambda: part.spectrum,
        brief_cost=brief_cost,
    )


def part_matches(
    side: Side, part: MixPart, reader: TrackReader, track: Side, threshold: float
) -> list[MatchedRange]:
    """Return the ranges of a track in a part, in seconds of the mix; none of a loop or a drone."""
    shown_from = min(MIN_SCORE_TO_SHOW, threshold)
    evidence = compare_sides(reader.examiner, side, track, shown_from=shown_from)
    score = match_score(evidence)
    if not decide_verdict(evidence, score=score, threshold=shown_from).flagged:
        return []
    return [
        dataclasses.replace(
            one, a_start_s=one.a_start_s + part.start_s, a_end_s=one.a_end_s + part.start_s
        )
        for one in evidence.ranges
    ]


def join_ranges(
    ranges: Sequence[MatchedRange],
    *,
    threshold: float,
    min_s: float = MIN_ENTRY_S,
    max_hole_s: float = MAX_HOLE_S,
) -> list[MatchedRange]:
    """Return the ranges of one track joined along their lines, those that reach the threshold.

    A weaker range lengthens a line that has one which reaches it.  Shorter ranges than ``min_s``
    are left out; holes of up to ``max_hole_s`` are joined over.

    Examples
    --------
    >>> one = MatchedRange(0.0, 50.0, 10.0, 60.0, 1.0, 0.9, 0.0, 0.0, 0.9, 0.9)
    >>> two = MatchedRange(48.0, 80.0, 58.0, 90.0, 1.0, 0.4, 0.0, 0.0, 0.5, 0.4)
    >>> [(r.a_start_s, r.a_end_s, r.b_end_s) for r in join_ranges([two, one], threshold=0.5)]
    [(0.0, 80.0, 90.0)]
    """
    lines: list[list[MatchedRange]] = []
    for one in sorted(ranges, key=lambda r: (r.a_start_s, r.b_start_s, r.a_end_s)):
        for line in lines:
            if any(_on_one_line(old, one, max_hole_s) for old in line[-4:]):
                line.append(one)
                break
        else:
            lines.append([one])
    joined = [_joined(line) for line in lines]
    return [
        one
        for one in joined
        if (one.match_score or 0.0) >= threshold and one.a_end_s - one.a_start_s >= min_s
    ]


def _on_one_line(old: MatchedRange, new: MatchedRange, max_hole_s: float) -> bool:
    if new.a_start_s > old.a_end_s + max_hole_s:
        return False
    later_s = new.a_start_s - old.a_start_s
    expected_s = old.b_start_s + old.tempo * later_s
    return abs(expected_s - new.b_start_s) <= SAME_LINE_S + 0.02 * later_s


def _joined(line: Sequence[MatchedRange]) -> MatchedRange:
    best = max(line, key=lambda r: (r.match_score or 0.0, r.a_end_s - r.a_start_s))
    first = min(line, key=lambda r: r.a_start_s)
    last = max(line, key=lambda r: r.a_end_s)
    length_s = last.a_end_s - first.a_start_s
    tempo = (last.b_end_s - first.b_start_s) / length_s if length_s > 0 else best.tempo
    return dataclasses.replace(
        best,
        a_start_s=first.a_start_s,
        a_end_s=last.a_end_s,
        b_start_s=first.b_start_s,
        b_end_s=last.b_end_s,
        tempo=tempo if tempo > 0 else best.tempo,
    )


def distinct_lines(lines: Sequence[MatchedRange]) -> list[MatchedRange]:
    """Return the lines of one track without weaker ones at the same place, as of a looped bar."""
    kept: list[MatchedRange] = []
    for one in sorted(lines, key=lambda r: (-_weight(r), r.a_start_s)):
        if not any(overlap_share(one, other) >= SAME_PLACE for other in kept):
            kept.append(one)
    return kept


def _weight(one: MatchedRange) -> float:
    return (one.match_score or 0.0) * (one.a_end_s - one.a_start_s)


def overlap_share(a: MatchedRange, b: MatchedRange) -> float:
    """Return the share of the shorter of two ranges of a mix that lies in the other."""
    shared_s = min(a.a_end_s, b.a_end_s) - max(a.a_start_s, b.a_start_s)
    shorter_s = min(a.a_end_s - a.a_start_s, b.a_end_s - b.a_start_s)
    return max(0.0, shared_s) / shorter_s if shorter_s > 0 else 0.0


def place_entries(entries: Sequence[TimelineEntry]) -> list[TimelineEntry]:
    """Return entries in order of time, of each place the strongest with its alternatives."""
    kept: list[TimelineEntry] = []
    weaker: dict[int, list[str]] = defaultdict(list)
    for entry in sorted(entries, key=lambda e: (-_weight(e.range), e.range.a_start_s, e.track_id)):
        places = [
            i
            for i, other in enumerate(kept)
            if overlap_share(entry.range, other.range) >= SAME_PLACE
        ]
        if not places:
            kept.append(entry)
        elif kept[places[0]].track_id != entry.track_id:
            weaker[places[0]].append(entry.track_id)
    placed = [
        dataclasses.replace(entry, alternatives=tuple(dict.fromkeys(weaker[i])))
        for i, entry in enumerate(kept)
    ]
    return sorted(placed, key=lambda e: (e.range.a_start_s, e.range.a_end_s, e.track_id))
