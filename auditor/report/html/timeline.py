"""What the template of a tracklist is given: one lane a track, and the same as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auditor.records import MixEntry, TracklistResult, find_track
from auditor.report.html.cases import N_COLOURS, Row
from auditor.report.html.tracks import TrackView, track_view
from auditor.report.text.general import show_duration, show_score
from auditor.report.text.timeline import entry_changes

WIDTH, LANE, BAR = 1040.0, 30.0, 20.0
"""Of the picture, of a lane and of a bar, in its own units."""

N_LANES = 400
"""Lanes that are drawn; the table and the JSON hold all entries."""

_STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200)


@dataclass(frozen=True)
class Bar:
    """An entry as a bar; ``row`` is that of its case, counted from 0."""

    x: float
    y: float
    width: float
    colour: int
    row: int
    label: str
    said: str


@dataclass(frozen=True)
class EntryView:
    """An entry as a row of the table."""

    number: int
    when: str
    track: TrackView
    in_track: str
    changes: str
    score: str
    overlap: str
    alternatives: tuple[TrackView, ...]
    row: int


def timeline_view(result: TracklistResult, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the variables of the template that only a tracklist has.

    Parameters
    ----------
    result : TracklistResult
    rows : sequence of (Pair, Track, Track)
        In the order of the page.

    Raises
    ------
    ResultError
        If an entry names a track that the result does not list.
    """
    tracks = {track.id: track for track in result.tracks}
    place = {pair.b: i for i, (pair, _, _) in enumerate(rows)}
    duration_s = max(result.submissions[0].duration_s, 1e-3)
    lanes = {
        track_id: i for i, track_id in enumerate(dict.fromkeys(e.track for e in result.entries))
    }
    scale = WIDTH / duration_s
    bars = [
        Bar(
            x=round(entry.start_s * scale, 2),
            y=LANE * lanes[entry.track],
            width=round(max(1.0, (entry.end_s - entry.start_s) * scale), 2),
            colour=lanes[entry.track] % N_COLOURS,
            row=place.get(entry.track, 0),
            label=track_view(find_track(tracks, entry.track)).label,
            said=_when(entry),
        )
        for entry in result.entries
        if lanes[entry.track] < N_LANES
    ]
    return {
        "bars": bars,
        "lane_width": WIDTH,
        "bar_height": BAR,
        "lanes_height": LANE * min(len(lanes), N_LANES),
        "gap_bars": [
            (round(gap.start_s * scale, 2), round((gap.end_s - gap.start_s) * scale, 2))
            for gap in result.gaps
        ],
        "ticks": _ticks(duration_s),
        "entries": [
            EntryView(
                number=number,
                when=_when(entry),
                track=track_view(find_track(tracks, entry.track)),
                in_track=f"{show_duration(entry.track_start_s)}–{show_duration(entry.track_end_s)}",
                changes=entry_changes(entry),
                score=show_score(entry.score),
                overlap=f"{entry.overlap_s:.0f} s" if entry.overlap_s >= 1.0 else "",
                alternatives=tuple(track_view(find_track(tracks, i)) for i in entry.alternatives),
                row=place.get(entry.track, 0),
            )
            for number, entry in enumerate(result.entries, start=1)
        ],
        "gap_list": [
            f"{show_duration(gap.start_s)}–{show_duration(gap.end_s)}" for gap in result.gaps
        ],
    }


def _when(entry: MixEntry) -> str:
    return f"{show_duration(entry.start_s)}–{show_duration(entry.end_s)}"


def _ticks(duration_s: float) -> list[tuple[float, str]]:
    step_s = next((step for step in _STEPS_S if duration_s / step <= 12), _STEPS_S[-1])
    times = range(0, int(duration_s) + 1, step_s)
    return [(round(time_s * WIDTH / duration_s, 2), show_duration(time_s)) for time_s in times]
