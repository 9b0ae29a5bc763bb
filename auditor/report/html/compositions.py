"""What the template of compositions is given: lines as cases, both melodies drawn as piano rolls.

Lengths along the time axis are in per cent of the passage or in steps, so the pictures stretch with
the page; heights are in pixels.  A result may come from a stranger, so melodies are cut to a bound,
and pitches and chords that do not exist are left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from auditor.errors import show_text
from auditor.evidence.composition.roll import CHORD_NAMES
from auditor.records import (
    CheckResult,
    CompositionMatch,
    DecisionKind,
    ScanResult,
)
from auditor.report.html.cases import NO_MEDIA, ClipView, MediaLookup, clip_view
from auditor.report.html.shapes import Mark, round_step_s
from auditor.report.html.tracks import TrackView, track_view
from auditor.report.media.model import Clip, Media, PairMedia
from auditor.report.text.compositions import (
    GROUPS,
    NOT_COMPARED,
    ListedMatch,
    agreement_words,
    chance_statement,
    compare_keys,
    compare_tempos,
    composition_sentence,
    compositions_headline,
    matches_in_order,
    not_comparable_line,
    per_cent,
)
from auditor.report.text.error_rates import show_rate
from auditor.report.text.evidence import show_times
from auditor.report.text.general import (
    show_count,
    show_decider,
    show_duration,
    show_kind,
    show_score,
)

N_IN_FULL = 50
"""Lines that are drawn; of the others the page has a row."""

N_ROWS = 200
"""Rows of further lines in the page; the JSON beside it has them all."""

MAX_STEPS = 4096
"""Steps of a melody that are drawn."""

MIN_NAMED_S = 1.0
"""Seconds that a chord must hold to be named."""

_PANEL_PX = 150
_LEAST_ROW_PX, _MOST_ROW_PX = 3, 8
_STRIP_PX = 20
_GAP_PX = 12
_AXIS_PX = 18
_NARROW_NAME, _LEAST_NAME = 8.0, 2.5
_N_NOTES_AS_TEXT = 500
_PATH_PX = 72
_N_PATH_POINTS = 400

KINDS = (
    (DecisionKind.COVER.value, "Cover", DecisionKind.COVER.meaning),
    (DecisionKind.LICENSED.value, "Licensed", DecisionKind.LICENSED.meaning),
    (DecisionKind.FALSE_ALARM.value, "Not the same", DecisionKind.FALSE_ALARM.meaning),
)
"""What can be decided of a line: kind, what the button says, what it means."""


@dataclass(frozen=True)
class Name:
    """A chord's name: where it begins in per cent, and whether only a wide page has room for it."""

    x: float
    text: str
    wide: bool


@dataclass(frozen=True)
class Strip:
    """The chords of one track: paths in steps, where chords begin in per cent, and their names."""

    y: int
    shared: str
    other: str
    edges: tuple[float, ...]
    names: tuple[Name, ...]


@dataclass(frozen=True)
class Panel:
    """The melody of one track: paths in steps and semitones, its octaves in pixels, its notes."""

    y: int
    shared: str
    other: str
    octaves: tuple[tuple[int, str], ...]
    as_text: str


@dataclass(frozen=True)
class PathView:
    """The alignment path: steps of a across, the time of b upwards, in thousandths of its passage.

    ``low`` and ``high`` are the times of b at its edges.
    """

    y: int
    px: int
    points: str
    low: str
    high: str


@dataclass(frozen=True)
class RollView:
    """Both melodies above each other and both rows of chords, on one time axis.

    ``n_steps`` and ``n_rows`` are the units of the paths; ``marks`` are seconds of a.
    ``alignment`` is None in results that do not have it.
    """

    n_steps: int
    n_rows: int
    panel_px: int
    strip_px: int
    height: int
    axis_y: int
    a: Panel
    b: Panel
    chords_a: Strip
    chords_b: Strip
    marks: tuple[Mark, ...]
    description: str
    alignment: PathView | None = None


@dataclass(frozen=True)
class CompositionView:
    """A line of the list; ``place`` counts from 0 in the order of the page."""

    place: int
    rank: int
    group: str
    score: str
    verdict: str
    said: str
    chance: str
    brief: str
    flagged: bool
    pair_id: str
    decision: str
    decided: str
    note: str
    licences_differ: bool
    a: TrackView
    b: TrackView
    facts: tuple[tuple[str, str, str], ...]
    times: tuple[float, float, float, float]
    links: tuple[tuple[str, str, str], ...] = ()
    clips: tuple[ClipView, ...] = ()
    lacking: str = ""
    roll: RollView | None = None
    heard: tuple[float, float] | None = None


def compositions_view(
    result: ScanResult | CheckResult, shelf: MediaLookup, media: Media | None
) -> dict[str, Any] | None:
    """Return what the section of compositions shows; None where they were not compared.

    Raises
    ------
    ResultError
        If a line names a track that the result does not list.
    """
    found = result.compositions
    if found is None:
        return None
    heard = {(each.a, each.b): each for each in media.compositions} if media else {}
    listed = matches_in_order(result)
    shown = listed[: N_IN_FULL + N_ROWS]
    views = [_view(place, line, shelf, heard) for place, line in enumerate(shown)]
    return {
        "headline": compositions_headline(found, listed),
        "n_flagged": sum(line.group == GROUPS[0] for line in listed),
        "cases": views[:N_IN_FULL],
        "others": views[N_IN_FULL:],
        "n_left": len(listed) - len(shown),
        "compared": f"{found.n_compared:,} of {show_count(found.n_pairs, 'pair')} were aligned",
        "share": per_cent(found.max_chance_share),
        "source": show_text(found.source),
        "note": show_text(found.note),
        "left_out": not_comparable_line(found) if found.not_comparable else "",
        "not_compared": NOT_COMPARED,
        "kinds": KINDS,
    }


def draw_roll(match: CompositionMatch) -> RollView | None:
    """Return the picture of a line; None where no melody is heard in either track.

    Parameters
    ----------
    match : CompositionMatch
        Its steps are spread evenly over the passage of a.
    """
    n_steps = min(len(match.melody_a), len(match.melody_b), MAX_STEPS)
    melodies = [
        tuple(pitch if 0 < pitch < 128 else 0 for pitch in melody[:n_steps])
        for melody in (match.melody_a, match.melody_b)
    ]
    sounding = [pitch for melody in melodies for pitch in melody if pitch]
    if not sounding:
        return None
    low, high = min(sounding) // 12 * 12, -(-max(sounding) // 12) * 12
    n_rows = high - low + 1
    row_px = min(max(_PANEL_PX // n_rows, _LEAST_ROW_PX), _MOST_ROW_PX)
    panel_px = n_rows * row_px
    n_both = sum(bool(a and b) for a, b in zip(*melodies, strict=True))
    same = [bool(a and b) and (a - b) % 12 == 0 for a, b in zip(*melodies, strict=True)]
    octaves = [
        ((high - pitch + 1) * row_px, note_name(pitch)) for pitch in range(low, high + 1, 12)
    ]
    panels = [
        Panel(
            top,
            _notes(melody, same, high),
            _notes(melody, [not each for each in same], high),
            tuple((top + y, name) for y, name in octaves),
            _as_text(melody),
        )
        for top, melody in zip((0, panel_px + _GAP_PX), melodies, strict=True)
    ]
    length_s = max(match.a_end_s - match.a_start_s, 0.0)
    first = 2 * (panel_px + _GAP_PX)
    rows = [_known_chords(row[:n_steps]) for row in (match.chords_a, match.chords_b)]
    alike = [a == b for a, b in itertools.zip_longest(*rows, fillvalue=-1)]
    strips = [
        _strip(first + place * (_STRIP_PX + 3), row, alike, n_steps, length_s)
        for place, row in enumerate(rows)
    ]
    axis_y = first + 2 * _STRIP_PX + 5
    path = _path(match, n_steps, axis_y + _GAP_PX)
    if path is not None:
        axis_y = path.y + path.px + 2
    from_to = f"{show_duration(match.a_start_s)} to {show_duration(match.a_end_s)}"
    return RollView(
        n_steps,
        n_rows,
        panel_px,
        _STRIP_PX,
        axis_y + _AXIS_PX,
        axis_y,
        panels[0],
        panels[1],
        strips[0],
        strips[1],
        _marks(match.a_start_s, length_s),
        f"Piano rolls: the melody of A above that of B in the key of A, from {from_to} of A. At "
        f"{sum(same):,} of the {n_both:,} moments at which both are heard they play the same note "
        "or its octave.",
        path,
    )


def _path(match: CompositionMatch, n_steps: int, y: int) -> PathView | None:
    """Return the alignment path; None where it is unknown or goes nowhere."""
    moments = match.moments_b[:n_steps]
    low, high = match.b_start_s, match.b_end_s
    if len(moments) < 2 or not high > low:
        return None
    every = -(-len(moments) // _N_PATH_POINTS)
    kept = sorted({*range(0, len(moments), every), len(moments) - 1})
    shares = ((k, (moments[k] - low) / (high - low)) for k in kept)
    points = " ".join(f"{k},{round(1000 * (1 - min(1.0, max(0.0, s))))}" for k, s in shares)
    return PathView(y, _PATH_PX, points, show_duration(low), show_duration(high))


def note_name(pitch: int) -> str:
    """Return the name of a MIDI pitch.

    Examples
    --------
    >>> note_name(60), note_name(70)
    ('C4', 'B♭4')
    """
    return f"{CHORD_NAMES[pitch % 12]}{pitch // 12 - 1}"


def _known_chords(row: Sequence[int]) -> tuple[int, ...]:
    return tuple(chord if 0 <= chord < len(CHORD_NAMES) else -1 for chord in row)


def _runs(values: Sequence[Any]) -> Iterator[tuple[int, int, Any]]:
    """Yield first step, number of steps and value of each run of equal values."""
    at = 0
    for value, run in itertools.groupby(values):
        n = sum(1 for _ in run)
        yield at, n, value
        at += n


def _notes(melody: Sequence[int], wanted: Sequence[bool], high: int) -> str:
    """Return the notes at wanted steps as a path, a row a semitone from the highest downwards."""
    shown = [pitch if want else 0 for pitch, want in zip(melody, wanted, strict=True)]
    runs = ((at, n, pitch) for at, n, pitch in _runs(shown) if pitch)
    return "".join(f"M{at} {high - pitch}h{n}v1h-{n}z" for at, n, pitch in runs)


def _as_text(melody: Sequence[int]) -> str:
    names = [note_name(pitch) if pitch else "–" for _, _, pitch in _runs(melody)]
    more = " …" if len(names) > _N_NOTES_AS_TEXT else ""
    return " ".join(names[:_N_NOTES_AS_TEXT]) + more


def _strip(
    y: int, chords: Sequence[int], alike: Sequence[bool], n_steps: int, length_s: float
) -> Strip:
    paths = {True: "", False: ""}
    for at, n, (chord, same) in _runs(list(zip(chords, alike, strict=False))):
        if chord >= 0:
            paths[same] += f"M{at} 0h{n}v1h-{n}z"
    names, edges = [], []
    for at, n, chord in _runs(chords):
        if chord < 0:
            continue
        x, width = round(100.0 * at / n_steps, 2), 100.0 * n / n_steps
        edges.append(x)
        if n * length_s / n_steps >= MIN_NAMED_S and width >= _LEAST_NAME:
            names.append(Name(x, CHORD_NAMES[chord], width < _NARROW_NAME))
    return Strip(y, paths[True], paths[False], tuple(edges), tuple(names))


def _marks(start_s: float, length_s: float) -> tuple[Mark, ...]:
    """Return round times of a, in per cent of the passage; none so near its end that it is cut."""
    if length_s <= 0.0:
        return ()
    step_s = round_step_s(length_s)
    first = math.ceil(start_s / step_s)
    times = [step_s * k for k in range(first, first + 12)]
    shares = [(100.0 * (time_s - start_s) / length_s, time_s) for time_s in times]
    return tuple(Mark(round(x, 2), show_duration(time_s)) for x, time_s in shares if x <= 92.0)


def _view(
    place: int,
    line: ListedMatch,
    shelf: MediaLookup,
    heard: Mapping[tuple[str, str], PairMedia],
) -> CompositionView:
    match, in_full = line.match, place < N_IN_FULL
    found = heard.get((match.a, match.b)) if in_full else None
    links = [(side, shelf.track(i).link) for side, i in (("A", match.a), ("B", match.b))]
    return CompositionView(
        place=place,
        rank=line.rank,
        group=line.group,
        score=show_score(match.score),
        verdict=show_text(match.verdict).capitalize(),
        said=composition_sentence(match),
        chance=chance_statement(line),
        brief="; ".join((agreement_words(match), compare_keys(match), compare_tempos(match))),
        flagged=match.flagged,
        pair_id=match.pair_id,
        decision=show_kind(match.decision),
        decided=show_decider(match),
        note=show_text(" / ".join(match.decision_note.splitlines())),
        licences_differ=match.licences_differ,
        a=track_view(line.a),
        b=track_view(line.b),
        facts=_facts(match),
        times=(match.a_start_s, match.a_end_s, match.b_start_s, match.b_end_s),
        links=tuple((side, link, show_text(unquote(link))) for side, link in links if link),
        clips=tuple(clip_view(clip) for clip in found.clips) if found else (),
        lacking=(show_text(found.lacking) if found else NO_MEDIA) if in_full else "",
        roll=draw_roll(match) if in_full else None,
        heard=_heard(match, found.clips) if found else None,
    )


def _heard(match: CompositionMatch, clips: Sequence[Clip]) -> tuple[float, float] | None:
    """Return where the clip of a begins and how long it is, in per cent of the passage."""
    length_s = match.a_end_s - match.a_start_s
    for clip in clips:
        if clip.side == "a" and length_s > 0.0:
            ends = [(time_s - match.a_start_s) / length_s for time_s in (clip.start_s, clip.end_s)]
            start, end = (min(1.0, max(0.0, share)) for share in ends)
            return round(100.0 * start, 2), round(100.0 * (end - start), 2)
    return None


def _facts(match: CompositionMatch) -> tuple[tuple[str, str, str], ...]:
    """Return names, meanings and values."""
    scale = "at most 1; 0.5 is ten standard deviations above unrelated works"
    rate = "unknown" if match.far is None else show_rate(match.far)
    return (
        ("Melody", "how far both melodies agree beyond chance", per_cent(match.melody)),
        ("Harmony", "how far all that sounds agrees", per_cent(match.harmony)),
        ("Key", "octaves do not count", compare_keys(match)),
        ("Tempo", "", compare_tempos(match)),
        ("Passage of A", "", show_times(match.a_start_s, match.a_end_s)),
        ("Passage of B", "", show_times(match.b_start_s, match.b_end_s)),
        ("Score", scale, show_score(match.score)),
        ("False alarm rate", "share of unrelated pairs that score as high", rate),
    )
